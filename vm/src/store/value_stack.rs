//! The interpreter's value stack.

use crate::reservation::Reservation;

/// Slots of 64 bits for the frames of the interpreter. Pages are backed by memory when they are first
/// used.
pub(crate) struct ValueStack {
    slots: Reservation,
}

impl ValueStack {
    /// A stack of `bytes` bytes, rounded up to pages.
    pub(crate) fn new(bytes: usize) -> crate::Result<ValueStack> {
        let mut slots = Reservation::new(bytes)?;
        slots.make_accessible(slots.len())?;
        Ok(ValueStack { slots })
    }

    /// The first slot.
    pub(crate) fn base(&self) -> *mut u64 {
        self.slots.base().cast()
    }

    /// The end of the last slot.
    pub(crate) fn limit(&self) -> *mut u64 {
        self.base().wrapping_add(self.slots.len() / 8)
    }
}
