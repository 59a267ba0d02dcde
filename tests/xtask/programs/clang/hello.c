#include <stdio.h>

int main(void) {
  puts("Hello from mid-air.");
  return 0;
}
