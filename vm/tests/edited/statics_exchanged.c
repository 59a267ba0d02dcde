// Static variables are used in another order: that is the order in which they lie.
#include "host.h"

static int first, second;
MAIN {
  do {
    EDIT(first += 1; second += 1000;, second += 1000; first += 1;)
  } while (go_on(first, second));
  return 0;
}
