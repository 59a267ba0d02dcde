/* What a C library has of its own for threads on WASI: how one is started and waited for, and how to sleep. */
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "pthread_impl.h"

#define STACK 65536

struct start {
  char *stack; /* `wasi_thread_start` reads it */
  void *tls;
  void *(*function)(void *);
  void *argument;
  int detached;
  volatile int started;
};

__attribute__((import_module("wasi"), import_name("thread-spawn"))) int spawn(struct start *);
void __wasm_init_tls(void *);

/* Nothing in C can run before there is a stack. */
__asm__(".globaltype __stack_pointer, i32\n"
        ".functype thread_main (i32, i32) -> ()\n"
        ".export_name wasi_thread_start, wasi_thread_start\n"
        ".globl wasi_thread_start\n"
        ".type wasi_thread_start, @function\n"
        "wasi_thread_start:\n"
        ".functype wasi_thread_start (i32, i32) -> ()\n"
        "local.get 1\n"
        "i32.load 0\n"
        "global.set __stack_pointer\n"
        "local.get 0\n"
        "local.get 1\n"
        "call thread_main\n"
        "end_function\n");
void wasi_thread_start(int, struct start *);

long thread_futex(volatile void *address, int operation, ...) {
  va_list list;
  va_start(list, operation);
  long result = -ENOSYS;
  switch (operation & ~FUTEX_PRIVATE) {
  case FUTEX_WAIT: {
    int value = va_arg(list, int);
    const struct timespec *time = va_arg(list, const struct timespec *);
    long long most = time ? time->tv_sec * 1000000000LL + time->tv_nsec : -1;
    result = -(long[]){0, EAGAIN, ETIMEDOUT}[__builtin_wasm_memory_atomic_wait32((int *)address, value, most)];
    break;
  }
  case FUTEX_WAKE:
  case FUTEX_REQUEUE: /* nobody is moved to another queue: he wakes, and waits there */
    result = (long)__builtin_wasm_memory_atomic_notify((int *)address, 1);
    break;
  }
  va_end(list);
  return result;
}

/* All times are of the one clock that programs here use. */
int __timedwait_cp(volatile int *address, int value, clockid_t clock, const struct timespec *until, int private) {
  struct timespec now, left;
  if (until) {
    if (until->tv_nsec >= 1000000000UL) return EINVAL;
    clock_gettime(CLOCK_REALTIME, &now);
    left.tv_sec = until->tv_sec - now.tv_sec;
    left.tv_nsec = until->tv_nsec - now.tv_nsec;
    if (left.tv_nsec < 0) left.tv_sec--, left.tv_nsec += 1000000000;
    if (left.tv_sec < 0) return ETIMEDOUT;
  }
  return thread_futex(address, FUTEX_WAIT, value, until ? &left : NULL) == -ETIMEDOUT ? ETIMEDOUT : 0;
}
int __timedwait(volatile int *address, int value, clockid_t clock, const struct timespec *until, int private) {
  return __timedwait_cp(address, value, clock, until, private);
}

static volatile int list_lock[2];
void __tl_lock(void) { while (a_cas(list_lock, 0, 1)) __wait(list_lock, list_lock + 1, 1, 1); }
void __tl_unlock(void) {
  a_store(list_lock, 0);
  if (list_lock[1]) __wake(list_lock, 1, 1);
}

static void begin(int tid, int state) {
  pthread_t self = __pthread_self();
  self->self = self->prev = self->next = self;
  self->tid = tid;
  self->detach_state = state;
  self->robust_list.head = &self->robust_list.head;
}

__attribute__((constructor)) static void first_thread(void) { begin(0x3fffffff, DT_JOINABLE); }

void thread_main(int tid, struct start *start) {
  __wasm_init_tls(start->tls);
  begin(tid, start->detached ? DT_DETACHED : DT_JOINABLE);
  pthread_t self = __pthread_self();
  self->tsd = (void **)((char *)start->tls + __builtin_wasm_tls_size());
  void *(*function)(void *) = start->function;
  void *argument = start->argument;
  a_store(&start->started, 1); /* `start` is gone from here on */
  __wake(&start->started, 1, 1);
  self->result = function(argument);
  __pthread_tsd_run_dtors();
  a_store(&self->detach_state, DT_EXITED);
  __wake(&self->detach_state, 1, 1);
}

/* Stacks are not freed: a thread runs on its own until it has ended. */
int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                   void *(*function)(void *), void *restrict argument) {
  size_t tls = __builtin_wasm_tls_size(), keys = PTHREAD_KEYS_MAX * sizeof(void *);
  char *stack = aligned_alloc(16, STACK + ((tls + keys + 15) & -16ul));
  if (!stack) return EAGAIN;
  struct start start = {stack + STACK, stack + STACK, function, argument, 0, 0};
  start.detached = attributes && attributes->_a_detach;
  for (size_t i = 0; i < keys; i++) stack[STACK + tls + i] = 0;
  size_t offset = (size_t)__pthread_self() - (size_t)__builtin_wasm_tls_base();
  *thread = (pthread_t)(stack + STACK + offset);
  if (spawn(&start) < 0) return EAGAIN;
  while (!start.started) __wait(&start.started, 0, 0, 1);
  return 0;
}

int pthread_join(pthread_t thread, void **result) {
  int state;
  while ((state = thread->detach_state) != DT_EXITED) __wait(&thread->detach_state, 0, state, 1);
  if (result) *result = thread->result;
  return 0;
}

int pthread_detach(pthread_t thread) {
  a_cas(&thread->detach_state, DT_JOINABLE, DT_DETACHED);
  return 0;
}
