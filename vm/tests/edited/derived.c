// Something that is computed from a variable is shown: a compiler counts it separately.
#include "host.h"

MAIN {
  for (int i = 1;; i++)
    if (!go_on(i * 10, EDIT(0, i))) return 0;
}
