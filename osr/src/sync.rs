//! What the handshake is synchronised by: atomics, locks, and the two halves of an asymmetric fence.
//!
//! Nothing else of `std` synchronises in `handshake/`, so that the same text is model-checked with
//! the types of `loom` in place of these (`tests/model`).
//!
//! The *light* half of the fence stands on the hot ways of mutators and costs nothing: it only keeps the
//! compiler from exchanging a store and a load. The *heavy* half makes every running thread of the process
//! execute a full barrier (`membarrier`). Between two threads of which one executes the light half and the
//! other one the heavy half, both act as sequentially consistent fences.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::num::NonZero;
use std::sync::atomic::{compiler_fence, fence};
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The system has no `membarrier`: both halves of the fence are real ones. Decided before there is a
/// mutator, and never changed afterwards.
static SYMMETRIC: AtomicBool = AtomicBool::new(false);

/// `membarrier` commands of <linux/membarrier.h>.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Decides how fences are made. Has to be called before any of them is needed.
pub(crate) fn prepare_fences() {
    // Not a `Once`: a child that is forked while another thread decides would wait for that thread for ever. Two
    // threads that decide at once come to the same decision.
    static DECIDED: AtomicBool = AtomicBool::new(false);
    if !DECIDED.load(Ordering::Acquire) {
        if !membarrier(REGISTER_PRIVATE_EXPEDITED) || !membarrier(PRIVATE_EXPEDITED) {
            SYMMETRIC.store(true, Ordering::SeqCst);
        }
        DECIDED.store(true, Ordering::Release);
    }
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: a system call without pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Whether mutators have to execute [`full_fence`] beside [`light_fence`].
pub(crate) fn symmetric() -> bool {
    SYMMETRIC.load(Ordering::Relaxed)
}

/// The half that mutators execute.
#[inline(always)]
pub(crate) fn light_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// A fence of the processor.
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// How long is waited before that is worth a system call: a few times what a guest takes to come to its next
/// poll and go through the innermost frames of its stack.
const SOON: Duration = Duration::from_micros(20);

/// Whether something comes true in a moment.
pub(crate) fn is_soon(mut is_true: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        for _ in 0..16 {
            if is_true() {
                return true;
            }
            std::hint::spin_loop();
        }
        if started.elapsed() >= SOON {
            return false;
        }
    }
}

/// Whether managed code has stood still for as long as is reasonable for work that can be put off.
pub(crate) fn is_long(time: Duration) -> bool {
    time >= Duration::from_micros(10)
}

/// Waits until it is woken, or for so long.
pub(crate) fn wait_briefly<'a>(
    condvar: &Condvar,
    guard: MutexGuard<'a, ()>,
    limit: Duration,
) -> MutexGuard<'a, ()> {
    condvar.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
}

/// How many threads of this process can run at a time.
pub(crate) fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// Lets another thread have the processor.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

/// The half that requesters execute.
pub(crate) fn heavy_fence() {
    fence(Ordering::SeqCst);
    if !symmetric() && !membarrier(PRIVATE_EXPEDITED) {
        // It worked at start-up, and was forbidden to the process since.
        interrupt_processors();
    }
}

/// Interrupts every processor that runs this process, by changing a mapping's protection.
pub(crate) fn interrupt_processors() {
    // SAFETY: a fresh private page.
    unsafe {
        let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), 4096, read | libc::PROT_WRITE, private, -1, 0);
        if page != libc::MAP_FAILED {
            *page.cast::<u8>() = 1;
            libc::mprotect(page, 4096, read);
            libc::munmap(page, 4096);
        }
    }
}
