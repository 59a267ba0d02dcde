//! Traps of managed code: a fault or an undefined instruction at a trap site becomes an orderly trap.
//!
//! The handler only looks the site up (without a lock) and redirects the thread to the trap stub, which
//! calls `StackContext::on_trap` as ordinary code and unwinds to the innermost entry. Every other signal
//! goes to the handler that was there before: so does one that was sent, by `kill` for one, while the thread
//! happened to be at a trap site.
//!
//! The system kills a process whose thread faults while it blocks the signal; no handler is asked. So these
//! signals are unblocked on each thread that enters managed code: see [`unblock`].

use crate::code::registry;
use crate::stack::context;
use crate::stub_addresses;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// What was done about each of the signals before. Null until it is known, which is before our handler is
/// installed; and again when the handler that was there was to be asked only once.
// Handlers read it, so no lock may be needed. What it points to is never freed.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 4] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

/// Installs the handlers, once for the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            // A signal may come as soon as the handler is there, and has to go to the one before.
            let asked = exchange(signal, None);
            let saved = keep(asked);
            previous.store(saved, Ordering::SeqCst);
            let replaced = exchange(signal, Some(&action()));
            // Another thread may have installed a handler between the two calls.
            if is_other(&asked, &replaced) {
                previous.store(keep(replaced), Ordering::SeqCst);
            }
        }
    });
}

/// Our handler, as the system is told of it.
fn action() -> libc::sigaction {
    // SAFETY: plain data, for which zeros are valid; the set is initialised.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        // On the alternate stack, if the thread has one.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&mut action.sa_mask);
        // The alternate stack is small: a profiler's signal has to wait.
        libc::sigaddset(&mut action.sa_mask, libc::SIGPROF);
        action
    }
}

/// Sets what is done about a signal, or nothing; returns what was done until now.
fn exchange(signal: libc::c_int, new: Option<&libc::sigaction>) -> libc::sigaction {
    // SAFETY: plain data, for which zeros are valid; pointers to live structures, or null.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        let result = libc::sigaction(signal, new.map_or(ptr::null(), ptr::from_ref), &mut old);
        assert_eq!(result, 0, "sigaction failed");
        old
    }
}

/// Puts it where handlers find it for as long as the process lives.
fn keep(action: libc::sigaction) -> *mut libc::sigaction {
    Box::leak(Box::new(action))
}

fn is_other(a: &libc::sigaction, b: &libc::sigaction) -> bool {
    a.sa_sigaction != b.sa_sigaction
        || a.sa_flags != b.sa_flags
        || kernel_set(&a.sa_mask) != kernel_set(&b.sa_mask)
}

/// The system's part of a set of signals: one bit for each. What the library keeps behind it is unused.
fn kernel_set(set: &libc::sigset_t) -> u64 {
    const { assert!(size_of::<libc::sigset_t>() >= size_of::<u64>()) };
    // SAFETY: the set begins with its 64 bits.
    unsafe { ptr::from_ref(set).cast::<u64>().read() }
}

fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

/// Unblocks the signals by which managed code traps (SIGSEGV, SIGBUS, SIGILL, SIGFPE) on this thread.
///
/// That is done by itself when a thread enters managed code for the first time, and they stay unblocked: to
/// ask for the mask at each call would cost more than the call. A program that blocks them afterwards,
/// though no thread can put off a fault of its own, has to call this before it enters managed code again,
/// or comes back to it from a host function; otherwise the next trap ends the process.
pub fn unblock() {
    // SAFETY: plain system calls with initialised structures.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        let result = libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        assert_eq!(result, 0, "pthread_sigmask failed");
    }
}

/// The handler of the signals that traps raise.
///
/// # Safety
/// Only the kernel may call it, as the `SA_SIGINFO` handler that [`install`] registers: `ucontext` is
/// then the `ucontext_t` of the interrupted thread, which nothing else uses until the handler returns.
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    ucontext: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over a ucontext_t.
    let registers = unsafe { &mut (*ucontext.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let pc = registers[libc::REG_RIP as usize] as usize;
    let stack = context::current();
    // SAFETY: the kernel hands over a siginfo_t.
    let raised_here = unsafe { is_fault(info) };
    // SAFETY: code that is running is alive.
    let site = registry::lookup(pc)
        .filter(|_| raised_here)
        .and_then(|object| unsafe { (*object).trap_code(pc) });
    if let Some(code) = site
        && !stack.is_null()
    {
        let fp = registers[libc::REG_RBP as usize] as usize;
        let sp = registers[libc::REG_RSP as usize] as usize;
        registers[libc::REG_RDI as usize] = stack as i64;
        registers[libc::REG_RSI as usize] = i64::from(code);
        registers[libc::REG_RDX as usize] = pc as i64;
        registers[libc::REG_RCX as usize] = fp as i64;
        registers[libc::REG_RSP as usize] = ((sp & !15) - 128) as i64;
        registers[libc::REG_RIP as usize] = stub_addresses::trap_address() as i64;
        return;
    }
    // SAFETY: what the kernel has handed over is handed on.
    unsafe { forward(signal, info, ucontext) };
}

/// Whether the instruction that was executing raised the signal. (If not, somebody sent it.)
///
/// # Safety
/// `info` must be what the kernel has handed to a signal handler.
unsafe fn is_fault(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller's contract. The kernel's own codes are positive; those of `kill`, `tgkill` and
    // `sigqueue` are not.
    unsafe { (*info).si_code > 0 }
}

/// Hands a signal that is not ours to the previous handler, as the system would have: with the signals
/// blocked that it wants blocked, and only once if it wants that. (It runs on the alternate stack even if it
/// has not asked for that.)
///
/// # Safety
/// Called by [`handle`], with its arguments.
unsafe fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, ucontext: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|s| *s == signal);
    let slot = &PREVIOUS[index.expect("the handler is installed for these signals only")];
    let mut previous = slot.load(Ordering::SeqCst);
    // SAFETY: never freed once it is in the slot.
    if !previous.is_null() && unsafe { (*previous).sa_flags } & libc::SA_RESETHAND != 0 {
        // If another thread was faster, it was asked already.
        let taken =
            slot.compare_exchange(previous, ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst);
        if taken.is_err() {
            previous = ptr::null_mut();
        }
    }
    // SAFETY: as above.
    let previous = unsafe { previous.as_ref() };
    // SAFETY: the previous handler is called as the kernel would have called it. Without one, the default
    // action is restored so that the instruction faults again; a signal that was sent is sent again.
    unsafe {
        match previous {
            Some(action) if action.sa_sigaction == libc::SIG_IGN && !is_fault(info) => {}
            Some(action) if action.sa_sigaction > libc::SIG_IGN => {
                block_for(action, signal, ucontext);
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(action.sa_sigaction);
                    handler(signal, info, ucontext);
                } else {
                    let handler: extern "C" fn(i32) = std::mem::transmute(action.sa_sigaction);
                    handler(signal);
                }
                // Rust's own handler leaves the default action behind, so that the instruction faults once more;
                // but nothing faults again where a signal was sent.
                if !is_fault(info) && exchange(signal, None).sa_sigaction == libc::SIG_DFL {
                    libc::raise(signal);
                }
            }
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                if !is_fault(info) {
                    libc::raise(signal);
                }
            }
        }
    }
}

/// Blocks what the system would have blocked for this handler. When ours returns, the system sets the mask
/// of the interrupted code again.
///
/// # Safety
/// `ucontext` is what the kernel has handed to the handler that is running.
unsafe fn block_for(action: &libc::sigaction, signal: libc::c_int, ucontext: *const libc::c_void) {
    // SAFETY: the caller's contract. The kernel writes the set's first 64 bits only.
    let interrupted = unsafe { kernel_set(&(*ucontext.cast::<libc::ucontext_t>()).uc_sigmask) };
    let deferred = if action.sa_flags & libc::SA_NODEFER == 0 { bit(signal) } else { 0 };
    let mask = interrupted | kernel_set(&action.sa_mask) | deferred;
    // SAFETY: a set of the size that is given. (The library's function wants a set of its own, larger size.)
    unsafe {
        let no_set = ptr::null_mut::<u64>();
        let size = size_of::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, no_set, size);
    }
}
