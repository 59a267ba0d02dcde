/* Quicksort with a comparison that it is handed: an indirect call in the innermost loop. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef int (*order)(uint32_t, uint32_t);

static int up(uint32_t a, uint32_t b) { return a < b; }
static int down(uint32_t a, uint32_t b) { return a > b; }
static int low_bits_first(uint32_t a, uint32_t b) {
  return (a & 0xffff) != (b & 0xffff) ? (a & 0xffff) < (b & 0xffff) : a < b;
}

static void sort(uint32_t *v, long n, order before) {
  while (n > 1) {
    uint32_t pivot = v[n / 2];
    long i = 0, j = n - 1;
    while (i <= j) {
      while (before(v[i], pivot)) i++;
      while (before(pivot, v[j])) j--;
      if (i <= j) {
        uint32_t t = v[i];
        v[i++] = v[j];
        v[j--] = t;
      }
    }
    if (j + 1 < n - i) {
      sort(v, j + 1, before);
      v += i;
      n -= i;
    } else {
      sort(v + i, n - i, before);
      n = j + 1;
    }
  }
}

int main(int argc, char **argv) {
  long n = argc > 1 ? atol(argv[1]) : 100000;
  int rounds = argc > 2 ? atoi(argv[2]) : 1;
  static const order orders[] = {up, down, low_bits_first};
  uint32_t *v = malloc((size_t)n * sizeof *v), seed = 1, sum = 0;
  if (!v) return 1;
  for (int r = 0; r < rounds; r++) {
    for (long i = 0; i < n; i++) v[i] = seed = seed * 1664525u + 1013904223u;
    sort(v, n, orders[r % 3]);
    for (long i = 0; i < n; i++) sum = sum * 31 + v[i];
  }
  printf("first %u last %u sum %u\n", v[0], v[n - 1], sum);
  return 0;
}
