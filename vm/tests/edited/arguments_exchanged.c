// Two variables are declared in the other order, and so is what they begin with asked for.
#include "host.h"

MAIN {
  EDIT(int low = number(3); int high = number(90);, int high = number(90); int low = number(3);)
  while (go_on(low, high)) {
  }
  return 0;
}
