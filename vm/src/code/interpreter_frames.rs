//! Frames of the interpreter whose function was replaced: each is asked where it goes on when control comes
//! back to it, and not before. (Frames of machine code are moved by [`super::transition`].)

use super::module_code::ModuleCode;
use super::transition;
use crate::config::Tier;
use crate::live::Continuation;
use midair_tiers::TrapCode;
use midair_tiers::context::{FrameContinuation, SuspendedFrame};
use std::sync::Arc;

/// Where a frame goes on that does not run its function's current version.
///
/// # Safety
/// `frame` must be a frame of a function of the module, with its code alive.
pub(super) unsafe fn continuation(
    module: &ModuleCode,
    frame: &mut SuspendedFrame,
) -> FrameContinuation {
    // SAFETY: as the caller vouches.
    let from = unsafe { (*frame.code).body() };
    let Some(version) = module.version_of(frame.code, from.function) else {
        return FrameContinuation::Stay;
    };
    match version.continuation(frame.point) {
        Continuation::Stay => FrameContinuation::Stay,
        Continuation::Trap => FrameContinuation::Trap(TrapCode::FunctionReplaced),
        Continuation::Move { version, point, layout } => {
            // A version is lowered before it becomes current, so that this finds the code.
            let Ok(code) = module.lowered(&version) else {
                return FrameContinuation::Trap(TrapCode::InvalidFunction);
            };
            let at = transition::suspended_in(module, from, frame.point);
            module.system.counters.moved.left(Tier::Interp, at, true);
            module.system.counters.moved.arrived(Tier::Interp);
            frame.code = Arc::as_ptr(code);
            frame.point = point;
            frame.values = layout.apply(&frame.values);
            FrameContinuation::Move
        }
    }
}
