// A variable is added before the others.
#include "host.h"

MAIN {
  EDIT(, int a = 100;)
  int b = 7000, c = 90000;
  for (;;) {
    EDIT(, a += 1;)
    b += 1;
    c += 1;
    if (!go_on(b, c)) return EDIT(0, a);
  }
}
