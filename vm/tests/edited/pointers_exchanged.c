// Functions whose addresses are taken are named in another order: that is their order in the table.
#include "host.h"

static int one(int x) { return x + 1; }
static int thousand(int x) { return x + 1000; }
typedef int function(int);
static function *volatile chosen;
static __attribute__((noinline)) function *choose(int n) {
  switch (n) {
    EDIT(case 1: return one; case 2: return thousand;, case 2: return thousand; case 1: return one;)
  }
  return 0;
}
MAIN {
  int n = 0;
  chosen = choose(number(2));
  while (go_on(n, 0)) n = chosen(n);
  return 0;
}
