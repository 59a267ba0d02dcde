// Two fields of a struct have changed places.
#include "host.h"

struct pair { EDIT(int key; int value;, int value; int key;) };
static struct pair pairs[100];
MAIN {
  struct pair *all = pairs + number(0);
  for (int i = 0; i < 100; i++) {
    all[i].key = i;
    all[i].value = i * 100;
  }
  for (int i = 0; go_on(all[i].key, all[i].value); i++) {
  }
  return 0;
}
