//! Signals that are traps, and those that are not: what somebody sends to a thread is no trap, wherever the thread
//! is, and goes to the handler that was there before.
//!
//! What could end the process runs in one of its own.

use midair_osr::{
    CallShape, CalloutFrame, CodeDescription, CodeHeap, ContextHeader, NativeOutcome, StackContext,
    ValueKind, call_native,
};
use midair_watchdog::Watchdog;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

extern "sysv64" fn on_callout(_: *mut ContextHeader, _: u32, _: *mut CalloutFrame) -> usize {
    unreachable!("the code calls nothing")
}

extern "sysv64" fn on_poll(_: *mut ContextHeader, _: *mut StackContext) -> usize {
    unreachable!("the code has no polls")
}

extern "sysv64" fn on_trap(_: *mut StackContext, _: u32, _: usize, _: usize) {}

/// Code that waits until the word at its argument is not 0, and consists of nothing but trap sites.
fn waiting_loop() -> CodeDescription {
    #[rustfmt::skip]
    let bytes = vec![
        0x48, 0x8b, 0x06, // 0: mov rax, [rsi]
        0x48, 0x85, 0xc0, // 3: test rax, rax
        0x74, 0xf8,       // 6: jz 0
        0xc3,             // 8: ret
    ];
    let traps = vec![(0, 7), (3, 7), (6, 7), (8, 7)];
    CodeDescription { bytes, traps, ..CodeDescription::default() }
}

#[test]
fn a_signal_that_is_sent_to_a_thread_at_a_trap_site_is_not_a_trap() {
    let _watchdog = Watchdog::start();
    for signal in [libc::SIGSEGV, libc::SIGILL] {
        // SAFETY: the handler only counts.
        let before = unsafe { libc::signal(signal, count as *const () as usize) };
        assert_ne!(before, libc::SIG_ERR);
    }
    // Installs the handler of traps.
    let heap = CodeHeap::new(1 << 20).unwrap();
    let object = heap.publish(waiting_loop(), Arc::new(())).unwrap();
    let start = object.start() as usize;
    let word = AtomicU64::new(0);
    let thread = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut stack = StackContext::new(on_poll, on_trap);
            let mut context = ContextHeader::new(on_callout, &mut stack);
            let one = [ValueKind::I64];
            let shape = CallShape::new(one.into_iter(), one.into_iter());
            let mut slots = [word.as_ptr() as u64];
            // SAFETY: a call without arguments.
            thread.store(unsafe { libc::pthread_self() }, Ordering::SeqCst);
            let (code, slots) = (start as *const u8, slots.as_mut_ptr());
            // SAFETY: the code has this shape and calls nothing.
            unsafe { call_native(code, &mut context, &shape, slots) }
        });
        for sent in 1..=100 {
            while thread.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let signal = if sent % 2 == 0 { libc::SIGSEGV } else { libc::SIGILL };
            // SAFETY: the thread is alive: it waits for the word.
            let result = unsafe { libc::pthread_kill(thread.load(Ordering::SeqCst), signal) };
            assert_eq!(result, 0);
            while HANDLED.load(Ordering::SeqCst) < sent && !guest.is_finished() {
                std::thread::yield_now();
            }
        }
        word.store(1, Ordering::SeqCst);
        assert_eq!(guest.join().unwrap(), NativeOutcome::Returned);
    });
    assert_eq!(HANDLED.load(Ordering::SeqCst), 100);
}

/// Runs a test of this file again, in a process of its own, which has to succeed. Returns whether this is that
/// process.
fn is_child(test: &str) -> bool {
    const CHILD: &str = "MIDAIR_SIGNALS_CHILD";
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, test);
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "it has run the test: {out}");
    false
}

/// Calls code whose only instruction traps.
fn trap(heap: &CodeHeap) -> NativeOutcome {
    let bytes = vec![0x0f, 0x0b]; // ud2
    let description = CodeDescription { bytes, traps: vec![(0, 7)], ..CodeDescription::default() };
    let object = heap.publish(description, Arc::new(())).unwrap();
    let mut stack = StackContext::new(on_poll, on_trap);
    let mut context = ContextHeader::new(on_callout, &mut stack);
    let shape = CallShape::new(std::iter::empty(), std::iter::empty());
    let mut slots = [0];
    // SAFETY: the code has this shape and calls nothing.
    unsafe { call_native(object.start(), &mut context, &shape, slots.as_mut_ptr()) }
}

/// A set with these signals.
fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: plain data; the set is initialised.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            assert_eq!(libc::sigaddset(&mut set, *signal), 0);
        }
        set
    }
}

/// Whether this thread blocks a signal.
fn blocks(signal: libc::c_int) -> bool {
    let mut set = set_of(&[]);
    // SAFETY: asks only; both sets are initialised.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        libc::sigismember(&set, signal) == 1
    }
}

/// Blocks every signal on this thread.
fn block_all() {
    // SAFETY: plain system calls with an initialised set.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()), 0);
    }
}

#[test]
fn a_trap_on_a_thread_that_blocks_all_signals_is_a_trap() {
    let _watchdog = Watchdog::start();
    if !is_child("a_trap_on_a_thread_that_blocks_all_signals_is_a_trap") {
        return;
    }
    let heap = CodeHeap::new(1 << 20).unwrap();
    // Threads inherit what is blocked.
    block_all();
    let trapped = std::thread::scope(|scope| scope.spawn(|| trap(&heap)).join().unwrap());
    assert_eq!(trapped, NativeOutcome::Unwound);
    assert_eq!(trap(&heap), NativeOutcome::Unwound);
    assert!(blocks(libc::SIGTERM) && blocks(libc::SIGPROF), "others stay blocked");
    assert!(!blocks(libc::SIGSEGV) && !blocks(libc::SIGFPE), "these stay unblocked");
    // Blocked once more, they are unblocked only when that is asked for.
    block_all();
    midair_osr::unblock_trap_signals();
    assert_eq!(trap(&heap), NativeOutcome::Unwound);
}

static SEEN_MASK: [AtomicUsize; 4] = [const { AtomicUsize::new(2) }; 4];

/// Notes which signals are blocked while it runs.
extern "C" fn note_mask(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    for (seen, signal) in
        SEEN_MASK.iter().zip([libc::SIGSEGV, libc::SIGUSR1, libc::SIGPROF, libc::SIGUSR2])
    {
        seen.store(usize::from(blocks(signal)), Ordering::SeqCst);
    }
}

#[test]
fn the_handler_that_was_there_before_runs_as_it_was_installed() {
    let _watchdog = Watchdog::start();
    if !is_child("the_handler_that_was_there_before_runs_as_it_was_installed") {
        return;
    }
    let install = |signal, handler: usize, flags, mask| {
        // SAFETY: the handlers only store to atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            action.sa_mask = mask;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    };
    let mask = set_of(&[libc::SIGUSR1]);
    install(libc::SIGSEGV, note_mask as *const () as usize, libc::SA_SIGINFO, mask);
    install(libc::SIGFPE, libc::SIG_IGN, 0, set_of(&[]));
    install(libc::SIGILL, count as *const () as usize, libc::SA_RESETHAND, set_of(&[]));
    let _heap = CodeHeap::new(1 << 20).unwrap();
    // SAFETY: SIGUSR2 is blocked on this thread, and signals are sent to it that are handled.
    unsafe {
        let mask = set_of(&[libc::SIGUSR2]);
        libc::pthread_sigmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut());
        libc::raise(libc::SIGSEGV);
        libc::raise(libc::SIGFPE);
    }
    let seen = SEEN_MASK.each_ref().map(|seen| seen.load(Ordering::SeqCst));
    // Itself; what it asked for; not what our handler asks for; what was blocked when the signal came.
    assert_eq!(seen, [1, 1, 0, 1]);
    assert!(!blocks(libc::SIGSEGV) && !blocks(libc::SIGUSR1), "until it has returned");
    // A handler that is to be asked once is asked once: the second signal does what it does by default.
    // SAFETY: the child process of a process with a single other thread makes system calls only.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::raise(libc::SIGILL);
            if HANDLED.load(Ordering::SeqCst) != 1 {
                libc::_exit(1);
            }
            libc::raise(libc::SIGILL);
            libc::_exit(2);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGILL);
    }
}

#[test]
fn a_signal_that_comes_while_handlers_are_installed_goes_to_the_one_before() {
    let test = "a_signal_that_comes_while_handlers_are_installed_goes_to_the_one_before";
    if std::env::var("MIDAIR_SIGNALS_CHILD").is_err() {
        let _watchdog = Watchdog::start();
        // Handlers are installed once in a process, so that each is one chance.
        for _ in 0..40 {
            assert!(!is_child(test));
        }
        return;
    }
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGSEGV, count as *const () as usize) };
    let stop = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::Relaxed) == 0 {
                // SAFETY: the signal is handled.
                unsafe { libc::raise(libc::SIGSEGV) };
            }
        });
        while HANDLED.load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
        let heap = CodeHeap::new(1 << 20).unwrap();
        drop(heap);
        stop.store(1, Ordering::Relaxed);
    });
}
