/* A small solar system: floating-point arithmetic with square roots, structures in memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BODIES 6

struct body {
  double at[3], speed[3], mass;
};

static struct body bodies[BODIES];

static void set_up(void) {
  for (int i = 0; i < BODIES; i++) {
    double distance = i * 1.5 + (i ? 0.4 : 0);
    bodies[i].mass = i ? 1e-3 / (i * i) : 1.0;
    bodies[i].at[i % 2] = distance;
    bodies[i].at[2] = i * 0.01;
    bodies[i].speed[(i + 1) % 2] = i ? 1 / sqrt(distance) : 0;
  }
}

static void step(double dt) {
  for (int i = 0; i < BODIES; i++)
    for (int j = i + 1; j < BODIES; j++) {
      double d[3], square = 1e-9;
      for (int k = 0; k < 3; k++) {
        d[k] = bodies[i].at[k] - bodies[j].at[k];
        square += d[k] * d[k];
      }
      double pull = dt / (square * sqrt(square));
      for (int k = 0; k < 3; k++) {
        bodies[i].speed[k] -= d[k] * bodies[j].mass * pull;
        bodies[j].speed[k] += d[k] * bodies[i].mass * pull;
      }
    }
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++) bodies[i].at[k] += dt * bodies[i].speed[k];
}

static double energy(void) {
  double sum = 0;
  for (int i = 0; i < BODIES; i++) {
    for (int k = 0; k < 3; k++)
      sum += bodies[i].mass * bodies[i].speed[k] * bodies[i].speed[k] / 2;
    for (int j = i + 1; j < BODIES; j++) {
      double square = 0;
      for (int k = 0; k < 3; k++) {
        double d = bodies[i].at[k] - bodies[j].at[k];
        square += d * d;
      }
      sum -= bodies[i].mass * bodies[j].mass / sqrt(square);
    }
  }
  return sum;
}

int main(int argc, char **argv) {
  int steps = argc > 1 ? atoi(argv[1]) : 10000;
  set_up();
  printf("before %.17g\n", energy());
  for (int i = 0; i < steps; i++) step(1e-3);
  printf("after  %.17g\n", energy());
  return 0;
}
