// Two variables in memory that debug information says nothing of are declared in the other order.
#include "host.h"

#define UNNAMED __attribute__((nodebug)) int
MAIN {
  EDIT(UNNAMED up = 5; UNNAMED down = 1000;, UNNAMED down = 1000; UNNAMED up = 5;)
  number((int)&up);
  number((int)&down);
  do {
    up += 1;
    down -= 1;
  } while (go_on(up, down));
  return 0;
}
