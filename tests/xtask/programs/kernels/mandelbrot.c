/* Escape times of the Mandelbrot set: float loops whose trip counts nobody can foresee. */
#include <stdio.h>
#include <stdlib.h>

static int escape(double re, double im, int limit) {
  double x = 0, y = 0;
  int i = 0;
  while (i < limit && x * x + y * y <= 4) {
    double t = x * x - y * y + re;
    y = 2 * x * y + im;
    x = t;
    i++;
  }
  return i;
}

int main(int argc, char **argv) {
  int size = argc > 1 ? atoi(argv[1]) : 100;
  int limit = argc > 2 ? atoi(argv[2]) : 200;
  unsigned long long total = 0;
  for (int row = 0; row < size; row++)
    for (int column = 0; column < size; column++)
      total += (unsigned)escape(-2.2 + 3.0 * column / size, -1.5 + 3.0 * row / size, limit);
  printf("steps %llu\n", total);
  for (int row = 0; row < 16; row++) {
    for (int column = 0; column < 48; column++)
      putchar(" .:-=+*#%@"[escape(-2.2 + 3.0 * column / 48, -1.5 + 3.0 * row / 16, 63) / 7]);
    putchar('\n');
  }
  return 0;
}
