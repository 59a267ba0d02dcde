/* Included before the C library's own sources of threads, and the program that uses them. */

/* The library that they are linked with has functions of these names for programs with one thread. */
#define pthread_mutex_init t_pthread_mutex_init
#define pthread_mutexattr_init t_pthread_mutexattr_init
#define pthread_mutexattr_settype t_pthread_mutexattr_settype
#define __pthread_mutex_lock t___pthread_mutex_lock
#define pthread_mutex_lock t_pthread_mutex_lock
#define __pthread_mutex_trylock t___pthread_mutex_trylock
#define __pthread_mutex_trylock_owner t___pthread_mutex_trylock_owner
#define pthread_mutex_trylock t_pthread_mutex_trylock
#define __pthread_mutex_timedlock t___pthread_mutex_timedlock
#define pthread_mutex_timedlock t_pthread_mutex_timedlock
#define __pthread_mutex_unlock t___pthread_mutex_unlock
#define pthread_mutex_unlock t_pthread_mutex_unlock
#define pthread_cond_wait t_pthread_cond_wait
#define __pthread_cond_timedwait t___pthread_cond_timedwait
#define pthread_cond_timedwait t_pthread_cond_timedwait
#define pthread_cond_signal t_pthread_cond_signal
#define pthread_cond_broadcast t_pthread_cond_broadcast
#define __private_cond_signal t___private_cond_signal
#define pthread_barrier_init t_pthread_barrier_init
#define pthread_barrier_wait t_pthread_barrier_wait
#define __pthread_rwlock_rdlock t___pthread_rwlock_rdlock
#define pthread_rwlock_rdlock t_pthread_rwlock_rdlock
#define __pthread_rwlock_tryrdlock t___pthread_rwlock_tryrdlock
#define pthread_rwlock_tryrdlock t_pthread_rwlock_tryrdlock
#define __pthread_rwlock_timedrdlock t___pthread_rwlock_timedrdlock
#define pthread_rwlock_timedrdlock t_pthread_rwlock_timedrdlock
#define __pthread_rwlock_wrlock t___pthread_rwlock_wrlock
#define pthread_rwlock_wrlock t_pthread_rwlock_wrlock
#define __pthread_rwlock_trywrlock t___pthread_rwlock_trywrlock
#define pthread_rwlock_trywrlock t_pthread_rwlock_trywrlock
#define __pthread_rwlock_timedwrlock t___pthread_rwlock_timedwrlock
#define pthread_rwlock_timedwrlock t_pthread_rwlock_timedwrlock
#define __pthread_rwlock_unlock t___pthread_rwlock_unlock
#define pthread_rwlock_unlock t_pthread_rwlock_unlock
#define __pthread_once_full t___pthread_once_full
#define __pthread_once t___pthread_once
#define pthread_once t_pthread_once
#define __pthread_key_create t___pthread_key_create
#define pthread_key_create t_pthread_key_create
#define __pthread_key_delete t___pthread_key_delete
#define pthread_key_delete t_pthread_key_delete
#define __pthread_tsd_main t___pthread_tsd_main
#define __pthread_tsd_size t___pthread_tsd_size
#define __pthread_tsd_run_dtors t___pthread_tsd_run_dtors
#define __pthread_key_atfork t___pthread_key_atfork
#define pthread_setspecific t_pthread_setspecific
#define __pthread_getspecific t___pthread_getspecific
#define pthread_getspecific t_pthread_getspecific
#define tss_get t_tss_get
#define __pthread_setcancelstate t___pthread_setcancelstate
#define pthread_setcancelstate t_pthread_setcancelstate
#define __pthread_testcancel t___pthread_testcancel
#define pthread_testcancel t_pthread_testcancel
#define _pthread_cleanup_push t__pthread_cleanup_push
#define _pthread_cleanup_pop t__pthread_cleanup_pop
#define __do_cleanup_push t___do_cleanup_push
#define __do_cleanup_pop t___do_cleanup_pop
#define __wait t___wait
#define __timedwait t___timedwait
#define __timedwait_cp t___timedwait_cp
#define __vm_lock t___vm_lock
#define __vm_unlock t___vm_unlock
#define __vm_wait t___vm_wait
#define __vmlock_lockptr t___vmlock_lockptr
#define sem_init t_sem_init
#define sem_post t_sem_post
#define sem_trywait t_sem_trywait
#define sem_wait t_sem_wait
#define sem_timedwait t_sem_timedwait
#define pthread_create t_pthread_create
#define pthread_join t_pthread_join
#define pthread_detach t_pthread_detach
#define pthread_self t_pthread_self
#define thrd_current t_thrd_current
#define __wasilibc_pthread_self t___wasilibc_pthread_self
#include <features.h>
#undef weak_alias
#define weak_alias(old, new) renamed_alias(old, new)
#define renamed_alias(old, new) extern __typeof(old) new __attribute__((__weak__, __alias__(#old)))

/* What they ask the kernel for is only to wait at an address, and to wake who waits there. */
#define SYS_futex 0
long thread_futex(volatile void *address, int operation, ...);
#define __syscall(number, ...) thread_futex(__VA_ARGS__)
#define __syscall_cp(number, ...) thread_futex(__VA_ARGS__)
#define __block_app_sigs(set) ((void)(set))
#define __restore_sigs(set) ((void)(set))
void __vm_lock(void);
void __vm_unlock(void);
