/* Primes by crossing out: byte stores at growing strides in one long loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned count_primes(unsigned char *crossed, unsigned limit) {
  unsigned count = 0;
  memset(crossed, 0, limit + 1);
  for (unsigned p = 2; p <= limit; p++) {
    if (crossed[p]) continue;
    count++;
    for (unsigned long long m = (unsigned long long)p * p; m <= limit; m += p) crossed[m] = 1;
  }
  return count;
}

int main(int argc, char **argv) {
  unsigned limit = argc > 1 ? (unsigned)atoi(argv[1]) : 1000000;
  int rounds = argc > 2 ? atoi(argv[2]) : 1;
  unsigned char *crossed = malloc(limit + 1);
  if (!crossed) return 1;
  unsigned long long total = 0;
  for (int r = 0; r < rounds; r++) total += count_primes(crossed, limit - (unsigned)r);
  printf("primes %llu\n", total);
  return 0;
}
