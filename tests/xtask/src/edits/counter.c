/* Every variable goes on by a fixed step with each line of input, so that whoever reads the output sees which
   of them lost its value. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pair {
  int first;
  int second;
};

static struct pair pairs[3];
static int calls;
static int table[4];
static int last;
int settings[2] = {700, 800};
static struct pair *heap;

__attribute__((noinline)) static void advance(struct pair *pair, int by) {
  pair->first += by;
  pair->second += by;
}

__attribute__((noinline)) static int step(int index) {
  calls += 1;
  advance(&pairs[index & 1], 1);
  advance(&pairs[index & 1], 1);
  table[index & 1] += 1;
  last += 1;
  settings[1] += 1;
  return calls;
}

__attribute__((noinline)) static int wait_for_line(void) {
  char byte;
  do {
    if (read(0, &byte, 1) != 1)
      return 0;
  } while (byte != '\n');
  return 1;
}

int main(void) {
  int up = 5;
  int down = 1000;
  int through = 30;
  heap = malloc(2 * sizeof *heap);
  heap[0].first = heap[0].second = 10;
  heap[1].first = heap[1].second = 20;
  while (wait_for_line()) {
    int count = step(1);
    up += 1;
    down -= 1;
    through += count - through + 30;
    advance(&heap[1], 1);
    printf("up=%d down=%d through=%d calls=%d second=%d table=%d last=%d set=%d heap=%d\n", up, down,
           through, calls, pairs[1].second, table[1], last, settings[1], heap[1].second);
    fflush(stdout);
  }
  return 0;
}
