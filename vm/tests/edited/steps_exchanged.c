// Two variables have exchanged their steps.
#include "host.h"

MAIN {
  int a = 100, b = 7000;
  do {
    a += EDIT(1, 2);
    b += EDIT(2, 1);
  } while (go_on(a, b));
  return 0;
}
