//! The memory that guest code works on besides the native stack.

use crate::reservation::Reservation;

/// Slots for results that do not fit into registers. Validation allows 1000 results of up to 2 slots.
const RESULT_SLOTS: usize = 2000;

/// Least number of slots for the state of a frame that changes its tier.
pub(crate) const RESUME_SLOTS: usize = 128 << 10;

/// The interpreter's value stack, and the buffers of the stack context. Pages are backed by memory when
/// they are first used.
///
/// ```text
/// results | resume buffer | value stack
/// ```
pub(crate) struct GuestStack {
    slots: Reservation,
    resume_slots: usize,
}

impl GuestStack {
    /// A value stack of at least `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> crate::Result<GuestStack> {
        anyhow::ensure!(bytes < usize::MAX / 4, "a stack of {bytes} bytes is too large");
        let resume_slots = RESUME_SLOTS.max(bytes / 8);
        let mut slots = Reservation::new((RESULT_SLOTS + resume_slots) * 8 + bytes)?;
        slots.make_accessible(slots.len())?;
        Ok(GuestStack { slots, resume_slots })
    }

    /// The buffer for results.
    pub(crate) fn results(&self) -> *mut u64 {
        self.slots.base().cast()
    }

    /// The buffer for the state of a frame that changes its tier.
    pub(crate) fn resume(&self) -> *mut u64 {
        self.results().wrapping_add(RESULT_SLOTS)
    }

    /// The first slot of the value stack.
    pub(crate) fn values(&self) -> *mut u64 {
        self.resume().wrapping_add(self.resume_slots)
    }

    /// The end of the value stack.
    pub(crate) fn values_end(&self) -> *mut u64 {
        self.results().wrapping_add(self.slots.len() / 8)
    }
}
