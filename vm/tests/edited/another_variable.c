// A variable is gone, and another one has come in its place.
#include "host.h"

MAIN {
  int EDIT(b = 7000, d = 100), c = 90000;
  do {
    EDIT(b, d) += EDIT(1, 5);
    c += 1;
  } while (go_on(EDIT(b, d), c));
  return 0;
}
