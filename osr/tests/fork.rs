//! Code heaps after `fork`: a child changes nothing of the memory that it shares with its parent.

use midair_osr::{CodeDescription, CodeHeap, CodeHeapError, CodeState, Process, StackContext};
use midair_watchdog::Watchdog;
use std::sync::Arc;

/// `mov eax, n; ret`, with bytes that nothing runs behind it.
fn answer(n: u32, len: usize) -> CodeDescription {
    let mut bytes = vec![0xb8];
    bytes.extend(n.to_le_bytes());
    bytes.push(0xc3);
    bytes.resize(len, 0x90);
    CodeDescription { bytes, ..CodeDescription::default() }
}

fn run(code: *const u8) -> u32 {
    // SAFETY: the tests' code is that of `answer`.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u32>(code)() }
}

/// Forks; the child does `work`, and ends. It must answer true.
fn in_child(work: impl FnOnce() -> bool) {
    // SAFETY: plain system calls with valid arguments. The child does its work and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(30);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            libc::_exit(match result {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(_) => 2,
            });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child's work has failed");
    }
}

extern "sysv64" fn no_poll(_: *mut midair_osr::ContextHeader, _: *mut StackContext) -> usize {
    0
}

extern "sysv64" fn no_trap(_: *mut StackContext, _: u32, _: usize, _: usize) {}

#[test]
fn a_child_neither_publishes_nor_frees_in_its_parents_heap() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(1 << 20).unwrap();
    let kept = heap.publish(answer(1, 6), Arc::new(())).unwrap();
    let freed = heap.publish(answer(2, 6), Arc::new(())).unwrap();
    // What `collect` would give back.
    let large = heap.publish(answer(3, 256 << 10), Arc::new(())).unwrap();
    heap.entry_thunk(0).unwrap();
    let stack = StackContext::new(no_poll, no_trap);
    let before = heap.stats();
    in_child(|| {
        assert!(!heap.process().is_current() && Process::current().is_current());
        let refused = |result| matches!(result, Err(CodeHeapError::OtherProcess(_)));
        assert!(refused(heap.publish(answer(4, 6), Arc::new(())).map(drop)));
        // More than there are.
        assert!(refused(heap.entry_thunk(5000).map(drop)));
        // SAFETY: nobody in this process runs the code.
        unsafe { heap.free(&freed) };
        assert_eq!(freed.state(), CodeState::Live);
        heap.collect();
        heap.empty_full_quarantine();
        assert!(!heap.is_idle());
        // A heap of its own is as good as any, also when the other one is gone.
        let own = CodeHeap::new(1 << 20).unwrap();
        assert_eq!(run(own.publish(answer(7, 6), Arc::new(())).unwrap().start()), 7);
        drop((heap_again(&heap), stack));
        let code = own.publish(answer(8, 6), Arc::new(())).unwrap();
        assert_eq!(run(code.start()), 8);
        // SAFETY: nothing runs it any more.
        unsafe { own.free(&code) };
        own.is_poisoned(&code)
    });
    assert_eq!(heap.stats(), before);
    assert_eq!([&kept, &freed, &large].map(|code| run(code.start())), [1, 2, 3]);
    // SAFETY: nothing runs them any more.
    unsafe {
        heap.free(&freed);
        heap.free(&large);
    }
    heap.collect();
    assert!(heap.is_poisoned(&freed) && heap.stats().quarantined_bytes == 0);
    assert_eq!(run(kept.start()), 1);
}

/// The heap once more, to be dropped in the child.
fn heap_again(heap: &CodeHeap) -> CodeHeap {
    // SAFETY: the child uses the other one no more.
    unsafe { std::ptr::read(heap) }
}

#[test]
fn a_child_does_not_wait_for_threads_that_are_its_parents() {
    let _watchdog = Watchdog::start();
    let heap = CodeHeap::new(1 << 20).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let code = heap.publish(answer(1, 16 << 10), Arc::new(())).unwrap();
                // SAFETY: nothing runs it.
                unsafe { heap.free(&code) };
                heap.collect();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..50 {
                in_child(|| {
                    heap.collect();
                    heap.publish(answer(1, 6), Arc::new(())).is_err() && !heap.is_idle()
                });
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        result.unwrap();
    });
}
