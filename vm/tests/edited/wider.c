// A variable is wider than before.
#include "host.h"

static int cells[4];
MAIN {
  EDIT(int, long long) a = 1000;
  do {
    a += 1;
    cells[a & 3] += 1;
  } while (go_on((int)a, cells[1] + (int)(a >> 8)));
  return 0;
}
