#include <stdio.h>

int main(void) {
  int unused = "not a number";
  return undeclared + printf("%s\n", 42);
}
