// An enumerator is inserted before one that memory holds.
#include "host.h"

enum fruit {
  apple,
#ifdef NEW
  cherry,
#endif
  pear
} eaten[4];
MAIN {
  eaten[number(1)] = pear;
  while (go_on(eaten[number(1)] == pear, eaten[number(1)])) {
  }
  return 0;
}
