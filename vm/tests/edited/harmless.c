// A constant is another one.
#include "host.h"

static int calls;
MAIN {
  int n = 0;
  do {
    calls += 1;
    n += number(1);
  } while (go_on(n + EDIT(0, 1000000), calls));
  return 0;
}
