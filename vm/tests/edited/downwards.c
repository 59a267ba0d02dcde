// A loop counts down instead of up.
#include "host.h"

MAIN {
  for (int i = EDIT(1, 1000000); EDIT(i < 1000000, i > 0); EDIT(i++, i--))
    if (!go_on(i, 0)) break;
  return 0;
}
