//! What managed code hands over when it leaves for Rust at a callout.

use super::context::ContextHeader;

pub(crate) const GPR_PARAMS: usize = 5;
pub(crate) const XMM_PARAMS: usize = 8;

/// What Rust does at a callout: managed code called an entry thunk. `token` is the thunk's number;
/// see [`CalloutOutcome`] for the answer.
///
/// The handler must not unwind.
pub type CalloutHandler = unsafe extern "sysv64" fn(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize;

/// What the callout stub saved: see `calls::stubs`.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct CalloutFrame {
    pub(crate) context: *mut ContextHeader,
    pub(crate) gpr: [u64; GPR_PARAMS],
    pub(crate) xmm: [[u64; 2]; XMM_PARAMS],
    pub(crate) result_gpr: [u64; 2],
    pub(crate) result_xmm: [[u64; 2]; 2],
    pub(crate) stack_args: *mut u64,
    /// The caller's callee-saved registers, in the order of [`crate::code::registers::CALLEE_SAVED`].
    pub(crate) saved: [u64; 5],
}

impl CalloutFrame {
    /// Offset of `saved`.
    pub(crate) const SAVED: usize = 232;

    /// The `n`th of the integer arguments behind the context that are passed in registers, of which there are five.
    pub fn integer_argument(&self, n: usize) -> u64 {
        self.gpr[n]
    }

    /// The context that the code gets to which the callout jumps: see [`crate::CalloutOutcome::TailCall`].
    pub fn set_context(&mut self, context: *mut ContextHeader) {
        self.context = context;
    }
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(CalloutFrame, gpr) == 8);
    assert!(offset_of!(CalloutFrame, xmm) == 48);
    assert!(offset_of!(CalloutFrame, result_gpr) == 176);
    assert!(offset_of!(CalloutFrame, result_xmm) == 192);
    assert!(offset_of!(CalloutFrame, stack_args) == 224);
    assert!(offset_of!(CalloutFrame, saved) == CalloutFrame::SAVED);
    assert!(size_of::<CalloutFrame>() == 272);
};
