//! The layout of an interpreter frame on the value stack.
//!
//! ```text
//!            first slot                    fp                 fp + HEADER
//!            |                             |                  |
//!            v                             v                  v
//!   caller   +---------------+-------------+---------+-------+-------------------+
//!   temps .. | parameters    | other locals| return  | caller| LoweredCode |temps |  callee's ..
//!            +---------------+-------------+---------+-------+-------------------+
//! slot no.    -locals                    -1  0         1       2           3 ..
//! ```
//!
//! The machine's frame pointer is the header, so that the header has the same place in every frame;
//! locals have negative slot numbers. Temporaries are the operand stack, each at a fixed place by its
//! height. Arguments lie where the caller's operand stack holds them, and become the callee's first
//! locals; results are written from the callee's first slot on, which is where the caller expects
//! them as operands.
//!
//! Code in the wide form has scratch slots between the header and the temporaries: values of slots that
//! instructions cannot name go through them. Nothing is in them at a safepoint.
//!
//! ```text
//!   fp            fp + HEADER   fp + HEADER + SCRATCH or VECTOR_SCRATCH
//!   +-------------+-------------+-------------------+
//!   | header      | scratch     | temps             |
//!   +-------------+-------------+-------------------+
//! ```

use super::code::LoweredCode;

/// Header: address of the instruction to return to.
pub(crate) const RETURN_IP: usize = 0;
/// Header: the caller's frame pointer; null in a base frame.
pub(crate) const CALLER_FP: usize = 1;
/// Header: the code that this frame runs.
pub(crate) const CODE: usize = 2;
/// Slots of the header.
pub(crate) const HEADER: usize = 3;
/// Scratch slots of code in the wide form: one for each operand of an instruction that can be a slot.
pub(crate) const SCRATCH: usize = 4;
/// The same where instructions work on vectors: two for each operand.
pub(crate) const VECTOR_SCRATCH: usize = 2 * SCRATCH;

/// The code that a frame runs.
///
/// # Safety
/// `fp` must be the frame pointer of a frame.
pub(crate) unsafe fn code(fp: *const u64) -> *const LoweredCode {
    // SAFETY: the caller's contract.
    unsafe { fp.add(CODE).read() as *const LoweredCode }
}

/// Zeroes the locals from `first` up to the header.
///
/// # Safety
/// The range must be writable.
#[inline(always)]
pub(crate) unsafe fn zero_locals(first: *mut u64, header: *mut u64) {
    let mut slot = first;
    while slot < header {
        // SAFETY: within the range. Volatile, because the optimiser would make the loop a call of
        // `memset`, which costs more than it saves for a few slots, and would make every call of
        // a function spill the machine registers.
        unsafe {
            slot.write_volatile(0);
            slot = slot.add(1);
        }
    }
}
