// The first of three variables is gone.
#include "host.h"

MAIN {
  EDIT(int a = 100;, )
  int b = 7000, c = 90000;
  for (;;) {
    EDIT(a += 1;, )
    b += 1;
    c += 1;
    if (!go_on(b, c)) return EDIT(a, 0);
  }
}
