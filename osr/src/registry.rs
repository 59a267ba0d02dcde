//! From a program counter to its code object, without a lock: signal handlers and walks ask.

use crate::code_heap::{GRANULE, HeapMap};
use crate::code_object::CodeObject;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Most heaps that can exist at the same time in a process.
const MAX_HEAPS: usize = 1024;

static HEAPS: [AtomicPtr<HeapMap>; MAX_HEAPS] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_HEAPS];
/// One more than the highest slot that was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Registers a heap; `None` if there are too many.
pub(crate) fn register(map: &'static HeapMap) -> Option<usize> {
    let map = std::ptr::from_ref(map).cast_mut();
    for (i, slot) in HEAPS.iter().enumerate() {
        let free = std::ptr::null_mut();
        if slot.compare_exchange(free, map, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            USED.fetch_max(i + 1, Ordering::AcqRel);
            return Some(i);
        }
    }
    None
}

/// Removes a heap that was registered in this slot.
pub(crate) fn unregister(slot: usize) {
    HEAPS[slot].store(std::ptr::null_mut(), Ordering::Release);
}

/// The code object whose bytes hold `pc`, in any heap of the process.
///
/// The pointer is good for as long as the object is: code with a frame on a stack is not freed before
/// that stack has been redirected.
pub(crate) fn lookup(pc: usize) -> Option<*const CodeObject> {
    for slot in &HEAPS[..USED.load(Ordering::Acquire)] {
        let map = slot.load(Ordering::Acquire);
        if map.is_null() {
            continue;
        }
        // SAFETY: maps are never freed. Nobody looks for code of a heap that is being dropped, so what the
        // map points to is there if `pc` is in its range.
        let map = unsafe { &*map };
        if pc.wrapping_sub(map.code_start) < map.code_len {
            let object = map.owners[(pc - map.code_start) / GRANULE].load(Ordering::Acquire);
            return (!object.is_null()).then_some(object.cast_const());
        }
    }
    None
}

/// From program counters to code objects, for embedders.
#[derive(Debug)]
pub struct CodeRegistry;

impl CodeRegistry {
    /// Runs `f` on the code object that holds `pc`.
    ///
    /// # Safety
    /// The object must not be freed meanwhile: `pc` is that of a live frame, or the caller holds it.
    pub unsafe fn with<R>(pc: usize, f: impl FnOnce(&CodeObject) -> R) -> Option<R> {
        // SAFETY: the caller vouches that it lives.
        lookup(pc).map(|object| f(unsafe { &*object }))
    }
}
