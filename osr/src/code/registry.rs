//! From a program counter to its code object, without a lock: signal handlers and walks ask.
//!
//! The heaps of the process are listed in a fixed number of slots, each of which is used again when its heap
//! is gone. A reader that looks at a slot while it changes passes it by: the slot of the heap that its program
//! counter lies in does not change, for that heap's code is running.

use crate::code::code_heap::GRANULE;
use crate::code::code_object::CodeObject;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

/// Most heaps that can exist at the same time in a process.
const MAX_HEAPS: usize = 1024;

/// What look-ups need of a heap.
struct Slot {
    /// 0: free. Odd: being written, by the thread that made it odd. Counts on with every change.
    version: AtomicU64,
    code_start: AtomicUsize,
    /// 0: no heap.
    code_len: AtomicUsize,
    /// Owner of every granule.
    owners: AtomicPtr<AtomicPtr<CodeObject>>,
}

static HEAPS: [Slot; MAX_HEAPS] = [const {
    Slot {
        version: AtomicU64::new(0),
        code_start: AtomicUsize::new(0),
        code_len: AtomicUsize::new(0),
        owners: AtomicPtr::new(std::ptr::null_mut()),
    }
}; MAX_HEAPS];
/// One more than the highest slot that was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    /// Begins to write the slot, if its state is still `version`.
    fn begin(&self, version: u64) -> bool {
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        let begun = self.version.compare_exchange(version, version + 1, acquire, relaxed).is_ok();
        // The fields change after the version has.
        fence(Ordering::Release);
        begun
    }

    fn write(&self, start: usize, len: usize, owners: *mut AtomicPtr<CodeObject>) {
        self.code_start.store(start, Ordering::Relaxed);
        self.code_len.store(len, Ordering::Relaxed);
        self.owners.store(owners, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The owner of the granule at `pc`, if `pc` lies in the slot's heap.
    fn owner(&self, pc: usize) -> Option<*mut CodeObject> {
        let version = self.version.load(Ordering::Acquire);
        let (start, len) =
            (self.code_start.load(Ordering::Relaxed), self.code_len.load(Ordering::Relaxed));
        let owners = self.owners.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let offset = pc.wrapping_sub(start);
        if offset >= len || version % 2 == 1 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        // SAFETY: the heap that holds `pc` exists, for nobody looks for code of a heap that is gone; the three
        // fields are of one heap, as the version says; and that heap has an owner for each granule.
        Some(unsafe { &*owners.add(offset / GRANULE) }.load(Ordering::Acquire))
    }
}

/// Registers a heap, and returns its slot; `None` if there are too many. `owners` has an element for each granule
/// and must be there until the heap is unregistered.
pub(crate) fn register(
    start: usize,
    len: usize,
    owners: NonNull<AtomicPtr<CodeObject>>,
) -> Option<usize> {
    for (i, slot) in HEAPS.iter().enumerate() {
        let version = slot.version.load(Ordering::Relaxed);
        let free = version % 2 == 0 && slot.code_len.load(Ordering::Relaxed) == 0;
        if free && slot.begin(version) {
            slot.write(start, len, owners.as_ptr());
            USED.fetch_max(i + 1, Ordering::AcqRel);
            return Some(i);
        }
    }
    None
}

/// Removes a heap that was registered in this slot.
pub(crate) fn unregister(slot: usize) {
    let slot = &HEAPS[slot];
    // Only the owner of a used slot changes it.
    let version = slot.version.load(Ordering::Relaxed);
    let begun = slot.begin(version);
    debug_assert!(begun, "a heap is unregistered once");
    slot.write(0, 0, std::ptr::null_mut());
}

/// The code object whose bytes hold `pc`, in any heap of the process.
///
/// The pointer is good for as long as the object is: code with a frame on a stack is not freed before
/// that stack has been redirected.
pub(crate) fn lookup(pc: usize) -> Option<*const CodeObject> {
    let owner = HEAPS[..USED.load(Ordering::Acquire)].iter().find_map(|slot| slot.owner(pc))?;
    (!owner.is_null()).then_some(owner.cast_const())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_forgets_its_heap() {
        let object = CodeObject::for_tests();
        let owners =
            [AtomicPtr::new(std::sync::Arc::as_ptr(&object).cast_mut()), AtomicPtr::default()];
        // No mapping lies at such addresses.
        let start = 1 << 60;
        let first = NonNull::from(&owners[0]);
        let slot = register(start, 2 * GRANULE, first).unwrap();
        assert_eq!(lookup(start + 1), Some(std::sync::Arc::as_ptr(&object)));
        assert_eq!(lookup(start + GRANULE), None);
        assert_eq!(lookup(start + 2 * GRANULE), None);
        unregister(slot);
        assert_eq!(lookup(start + 1), None);
        for _ in 0..3 * MAX_HEAPS {
            let slot = register(start, GRANULE, first).expect("slots are used again");
            unregister(slot);
        }
    }
}
