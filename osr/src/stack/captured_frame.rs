//! A frame that has left its machine code, and who decides where it goes on.

use super::context::{ContextHeader, StackContext};
use crate::code::code_object::CodeObject;
use crate::code::frame_map::SiteKind;
use std::sync::Arc;

/// Registers that carry a call's results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReturnRegisters {
    /// `rax`, `rdx`.
    pub gpr: [u64; 2],
    /// `xmm0`, `xmm1`, low halves first.
    pub xmm: [[u64; 2]; 2],
}

/// A frame that has left its machine code, in canonical form.
#[derive(Debug)]
#[non_exhaustive]
pub struct CapturedFrame {
    /// The code object that the frame ran. Its bytes may be gone.
    pub object: Arc<CodeObject>,
    /// The frame's context pointer.
    pub context: *mut ContextHeader,
    /// The frame map's point.
    pub point: u32,
    /// Whether the frame was suspended at a call or at a poll.
    pub kind: SiteKind,
    /// The frame's values in the frame map's order, [`crate::ValueKind::slots`] slots each, in canonical
    /// form.
    /// After a call the results are *not* among them.
    pub values: Vec<u64>,
    /// Whether a value that is kept is a [`crate::ValueKind::V128`].
    pub has_vectors: bool,
    /// After a call: where its results are.
    pub returned: ReturnRegisters,
}

/// Decides where captured frames of a stack go on.
pub trait TransferHook {
    /// Called when a captured frame is to go on. The answer is code, or an entry thunk, with the
    /// signature of the frame's function. It is entered with the captured context in `rdi`, undefined
    /// arguments, and the return address of the frame; whatever state it needs, the hook has put where
    /// it looks for it (`StackContext::resume`).
    ///
    /// Must not unwind: a panic aborts the process, for there is no frame to unwind to.
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8;
}
