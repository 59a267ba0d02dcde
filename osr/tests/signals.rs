//! Signals that somebody sends to a thread are no traps, wherever the thread is.

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
