//! What a person is told of frames of machine code.

use crate::code::version::CodeOwner;
use crate::module::{Module, ModuleState};
use crate::store::backtrace::FrameInfo;
use midair_osr::walk::WalkedFrame;
use midair_osr::{CodeObject, CodeRegistry};

/// Of a suspended frame.
pub(crate) fn frame_info(frame: &WalkedFrame) -> Option<FrameInfo> {
    // A return address stands behind its call.
    object_info(frame.object(), frame.pc - 1)
}

/// Of the frame that trapped at `pc`.
///
/// # Safety
/// `pc` must be the program counter of a frame that is alive.
pub(crate) unsafe fn trapped_frame(pc: usize) -> Option<FrameInfo> {
    // SAFETY: as the caller vouches.
    unsafe { CodeRegistry::with(pc, |object| object_info(object, pc)) }?
}

/// Of a frame that executes the instruction at `pc` of this object.
pub(crate) fn object_info(object: &CodeObject, pc: usize) -> Option<FrameInfo> {
    let owner = CodeOwner::of(object);
    let state = ModuleState::of_code(&*owner.module.upgrade()?)?;
    Some(FrameInfo::new(Module { state }, &owner.version.body, object.point(pc)?))
}
