/* `threads ROUNDS`: four threads with all that they use to wait for each other. What is printed does not depend on
   who comes first. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREADS 4
#define CELLS 1024

static int rounds;

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, recursive, checked;
static uint64_t counted, twice;
static _Thread_local uint32_t seed;
static _Thread_local char name[16];

static uint32_t draw(void) { return (seed = seed * 1664525 + 1013904223) >> 8; }

static void deeper(int depth) {
  pthread_mutex_lock(&recursive);
  twice++;
  if (depth) deeper(depth - 1);
  pthread_mutex_unlock(&recursive);
}

/* A queue with few places. */
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static uint32_t queue[5];
static int first, waiting;

static void put(uint32_t value) {
  pthread_mutex_lock(&plain);
  while (waiting == 5) pthread_cond_wait(&emptied, &plain);
  queue[(first + waiting++) % 5] = value;
  pthread_cond_signal(&filled);
  pthread_mutex_unlock(&plain);
}

static uint32_t get(void) {
  pthread_mutex_lock(&plain);
  while (!waiting) pthread_cond_wait(&filled, &plain);
  uint32_t value = queue[first];
  first = (first + 1) % 5;
  waiting--;
  pthread_cond_signal(&emptied);
  pthread_mutex_unlock(&plain);
  return value;
}

/* Cells that are smoothed in steps, between which all wait for each other. */
static pthread_barrier_t barrier;
static uint32_t cells[2][CELLS];
static int served;

static void smooth(int from, int to) {
  for (int step = 0; step < rounds; step++) {
    const uint32_t *old = cells[step & 1];
    uint32_t *new = cells[~step & 1];
    for (int i = from; i < to; i++)
      new[i] = (old[(i + CELLS - 1) % CELLS] + 2 * old[i] + old[(i + 1) % CELLS]) / 4 + (old[i] >> 20);
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) served++;
    pthread_barrier_wait(&barrier);
  }
}

/* Two numbers that are only ever changed together. */
static pthread_rwlock_t both = PTHREAD_RWLOCK_INITIALIZER;
static uint64_t left, right;
static _Atomic int torn;

static void together(int i) {
  if (i % 4 == 0) {
    pthread_rwlock_wrlock(&both);
    left += 3;
    right += 5;
    pthread_rwlock_unlock(&both);
  } else {
    pthread_rwlock_rdlock(&both);
    if (left * 5 != right * 3) torn++;
    pthread_rwlock_unlock(&both);
  }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Atomic int initialised, destroyed, atomic_sum;
static _Atomic uint64_t atomic_wide;

static void destroy(void *value) { destroyed += (int)(intptr_t)value; }
static void initialise(void) { initialised++; }

static sem_t tickets;
static _Atomic int inside, most;

static void with_ticket(void) {
  sem_wait(&tickets);
  int now = ++inside, seen = most;
  while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {}
  inside--;
  sem_post(&tickets);
}

struct work {
  int number;
  uint64_t sum;
  int strange;
};

static void *run(void *argument) {
  struct work *work = argument;
  seed = (uint32_t)work->number * 77;
  snprintf(name, sizeof name, "thread %d", work->number);
  pthread_once(&once, initialise);
  pthread_setspecific(key, (void *)(intptr_t)(work->number + 1));
  for (int i = 0; i < rounds; i++) {
    pthread_mutex_lock(&plain);
    counted += 1;
    pthread_mutex_unlock(&plain);
    deeper(i % 5);
    together(i);
    with_ticket();
    atomic_sum += i % 7;
    atomic_wide += 1ull << 33;
    if (work->number < 2)
      put(draw() % 1000);
    else
      work->sum += get();
  }
  if (pthread_mutex_lock(&checked)) work->strange |= 1;
  if (pthread_mutex_lock(&checked) != EDEADLK) work->strange |= 2;
  if (pthread_mutex_unlock(&checked)) work->strange |= 4;
  if (pthread_mutex_unlock(&checked) != EPERM) work->strange |= 8;
  smooth(work->number * CELLS / THREADS, (work->number + 1) * CELLS / THREADS);
  if (pthread_getspecific(key) != (void *)(intptr_t)(work->number + 1)) work->strange |= 16;
  if (name[7] != '0' + work->number) work->strange |= 32;
  return (void *)(intptr_t)(work->number * 11);
}

/* Waits for what never comes, for a thousandth of a second. */
static int times_out(void) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_mutex_lock(&checked);
  int error = pthread_cond_timedwait(&filled, &checked, &until);
  pthread_mutex_unlock(&checked);
  return error == ETIMEDOUT && sem_timedwait(&tickets, &until) && errno == ETIMEDOUT;
}

static void *brief(void *argument) {
  sem_post(argument);
  return NULL;
}

int main(int count, char **list) {
  rounds = count > 1 ? atoi(list[1]) : 100;
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&recursive, &kind);
  pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&checked, &kind);
  pthread_barrier_init(&barrier, NULL, THREADS);
  pthread_key_create(&key, destroy);
  sem_init(&tickets, 0, 2);
  for (int i = 0; i < CELLS; i++) cells[0][i] = (uint32_t)(i * i * 2654435761u);

  struct work works[THREADS];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    works[i] = (struct work){i, 0, 0};
    int error = pthread_create(&threads[i], NULL, run, &works[i]);
    if (error) return printf("thread %d: error %d\n", i, error), 1;
  }
  long results = 0;
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    results += (long)result;
    if (works[i].strange) printf("thread %d: strange %d\n", i, works[i].strange);
  }
  uint32_t hash = 2166136261u;
  for (int i = 0; i < CELLS; i++) hash = (hash ^ cells[rounds & 1][i]) * 16777619u;
  printf("counted %llu, nested %llu, queue %llu, cells %08x served %d\n", counted, twice,
         works[2].sum + works[3].sum, hash, served);
  printf("together %llu %llu torn %d, once %d, destroyed %d, atomic %d %llx, tickets %d, results %ld\n", left, right,
         torn, initialised, destroyed, atomic_sum, atomic_wide >> 32, most <= 2, results);

  sem_wait(&tickets);
  sem_wait(&tickets);
  int late = times_out();
  sem_t done;
  sem_init(&done, 0, 0);
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, brief, &done)) return 1;
    if (i % 2) pthread_detach(thread); else pthread_join(thread, NULL);
  }
  for (int i = 0; i < 20; i++) sem_wait(&done);
  printf("late %d, main's own number is %u\n", late, seed);
  return 0;
}
