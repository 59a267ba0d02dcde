//! The memory that guest code works on besides the native stack.

use super::reservation::Reservation;
use std::cell::RefCell;

/// Slots for results that do not fit into registers. Validation allows 1000 results of up to 2 slots, and as many
/// arguments: tail calls put those that are not in registers here, behind two words. At least eight vectors are in registers.
const RESULT_SLOTS: usize = 2000;

/// Least number of slots for the state of a frame that changes its tier.
pub(crate) const RESUME_SLOTS: usize = 128 << 10;

/// The interpreter's value stack, and the buffers of the stack context. Pages are backed by memory when
/// they are first used.
///
/// ```text
/// results | value stack | resume buffer
/// ```
pub(crate) struct GuestStack {
    slots: Reservation,
    value_slots: usize,
}

impl GuestStack {
    /// A value stack of at least `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> anyhow::Result<GuestStack> {
        anyhow::ensure!(bytes < usize::MAX / 4, "a stack of {bytes} bytes is too large");
        let resume_slots = RESUME_SLOTS.max(bytes / 8);
        let value_slots = bytes.div_ceil(8);
        let mut slots = Reservation::new((RESULT_SLOTS + value_slots + resume_slots) * 8)?;
        slots.make_accessible(slots.len())?;
        Ok(GuestStack { slots, value_slots })
    }

    /// The buffer for results.
    pub(crate) fn results(&self) -> *mut u64 {
        self.slots.base().cast()
    }

    /// The first slot of the value stack.
    pub(crate) fn values(&self) -> *mut u64 {
        self.results().wrapping_add(RESULT_SLOTS)
    }

    /// The end of the value stack. More slots follow, which a call may read: see [`midair_osr::call::SLOTS_IN_PLACE`].
    pub(crate) fn values_end(&self) -> *mut u64 {
        self.values().wrapping_add(self.value_slots)
    }

    /// The buffer for the state of a frame that changes its tier.
    pub(crate) fn resume(&self) -> *mut u64 {
        self.values_end()
    }
}

/// Most stacks that a thread keeps for its next calls: guests of several stores nest where host functions call
/// other stores.
const MAX_IDLE: usize = 4;

/// Larger stacks are not kept by a thread but by their store, for they may hold much memory.
const MAX_IDLE_BYTES: usize = 8 << 20;

thread_local! {
    /// Stacks that no guest runs on.
    static IDLE: RefCell<Vec<GuestStack>> = const { RefCell::new(Vec::new()) };
}

/// Stacks belong to threads and not to stores: a store that runs no guest has none, so that a program can keep
/// very many stores, and one that is only called once does not pay for mapping a stack.
///
/// What the last guest left in the slots stays there: no tier reads a slot that it has not written before.
impl GuestStack {
    /// A stack with a value stack of `bytes` bytes, for a guest that begins to run on this thread.
    pub(crate) fn take(bytes: usize) -> anyhow::Result<GuestStack> {
        let slots = bytes.div_ceil(8);
        let idle = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            let at = idle.iter().rposition(|stack| stack.value_slots == slots)?;
            Some(idle.swap_remove(at))
        });
        // A thread that is ending has no idle stacks any more.
        idle.ok().flatten().map_or_else(|| GuestStack::new(bytes), Ok)
    }

    /// Leaves a stack that no guest runs on any more to this thread. Returns it if it is too large for that.
    pub(crate) fn give(self) -> Option<GuestStack> {
        if self.slots.len() > MAX_IDLE_BYTES {
            return Some(self);
        }
        // If the thread is ending or has enough of them, the stack is dropped.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < MAX_IDLE {
                idle.push(self);
            }
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_uses_its_stacks_again_and_keeps_few() {
        let stack = GuestStack::take(1 << 20).unwrap();
        let values = stack.values();
        assert!(stack.give().is_none());
        assert_ne!(GuestStack::take(1 << 16).unwrap().values(), values, "of another size");
        let stack = GuestStack::take(1 << 20).unwrap();
        assert_eq!(stack.values(), values);
        let stacks: Vec<_> =
            (0..2 * MAX_IDLE).map(|_| GuestStack::take(1 << 16).unwrap()).collect();
        assert!(stacks.into_iter().all(|stack| stack.give().is_none()));
        assert_eq!(IDLE.with(|idle| idle.borrow().len()), MAX_IDLE);
        assert!(GuestStack::take(MAX_IDLE_BYTES).unwrap().give().is_some(), "too large to keep");
    }
}
