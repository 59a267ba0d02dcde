/* Dense double matrices, three nested loops: loop-carried floats and strided loads. */
#include <stdio.h>
#include <stdlib.h>

static void multiply(int n, const double *a, const double *b, double *out) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
      out[i * n + j] = sum;
    }
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 128;
  int rounds = argc > 2 ? atoi(argv[2]) : 1;
  size_t cells = (size_t)n * n;
  double *a = malloc(cells * sizeof *a), *b = malloc(cells * sizeof *b);
  double *c = malloc(cells * sizeof *c);
  if (!a || !b || !c) return 1;
  for (size_t i = 0; i < cells; i++) {
    a[i] = (double)(i % 17) / 16;
    b[i] = (double)(i % 13) / 12;
  }
  for (int r = 0; r < rounds; r++) {
    multiply(n, a, b, c);
    a[r % cells] += c[(size_t)r * 7 % cells] * 1e-6;
  }
  double trace = 0;
  for (int i = 0; i < n; i++) trace += c[(size_t)i * n + i];
  printf("trace %.17g\n", trace);
  return 0;
}
