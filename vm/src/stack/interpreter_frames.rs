//! Frames of the interpreter whose function was replaced: each is asked where it goes on when control comes
//! back to it, and not before. (Frames of machine code are moved by [`super::transition`].)

use super::transition;
use crate::code::continuation::Continuation;
use crate::code::counters::Departure;
use crate::code::suspension::suspended_in;
use crate::config::Tier;
use crate::store::of_context::module_of;
use midair_tiers::context::{FrameContinuation, SuspendedFrame};
use midair_tiers::interp::LoweredCode;
use midair_tiers::{InstanceContext, TrapCode};

/// Where a frame goes on that does not run its function's current version: `Builtins::continuation`.
///
/// # Safety
/// `instance` must be the context of an instance whose store runs on this thread and is at a safepoint, and
/// `frame` a frame of a function of its module, with its code alive.
pub(crate) unsafe extern "sysv64" fn continuation(
    instance: *mut InstanceContext,
    frame: &mut SuspendedFrame,
) -> FrameContinuation {
    // SAFETY: as the caller vouches.
    let (module, from) = unsafe { (module_of(instance), (*frame.code).body()) };
    let Some(version) = module.version_of(frame.code, from.function) else {
        return FrameContinuation::Stay;
    };
    let point = frame.point;
    let ask = || version.continuation(point);
    // SAFETY: as the caller vouches.
    match unsafe { transition::continuation_when_served(instance, ask) } {
        Continuation::Stay => {
            let lowered = version.lowered().expect("a frame runs it");
            let code: *const LoweredCode = version.code_of_frames(&module.env, lowered);
            if std::ptr::eq(code, frame.code) {
                return FrameContinuation::Stay;
            }
            frame.code = code;
            FrameContinuation::Move
        }
        Continuation::Trap => {
            version.frame_trapped(&module);
            FrameContinuation::Trap(TrapCode::FunctionReplaced)
        }
        Continuation::Move { version: next, point, layout } => {
            // A version is lowered before it becomes current, so that this finds the code.
            let Ok(code) = module.lowered(&next) else {
                return FrameContinuation::Trap(TrapCode::InvalidFunction);
            };
            let at = suspended_in(&module, from, frame.point);
            // SAFETY: lowered code is kept while frames run it.
            let old = unsafe { &*frame.code };
            let departure = Departure {
                from: Tier::Interp,
                at,
                has_vectors: old.has_vectors(),
                has_tail_calls: old.has_tail_calls(),
                has_handlers: old.has_handlers(),
                has_shared_memory: module.env.has_shared_memory(),
            };
            version.frame_moved(&module, departure, Tier::Interp, &next);
            frame.code = next.code_of_frames(&module.env, code);
            frame.point = point;
            frame.values = layout.apply(&frame.values);
            FrameContinuation::Move
        }
    }
}
