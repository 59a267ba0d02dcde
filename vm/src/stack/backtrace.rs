//! Where the guest was when it trapped.

use super::code_frames;
use super::guest_frames::{GuestFrame, GuestFrames};
use crate::module::Module;
use crate::store::backtrace::{FrameInfo, WasmBacktrace};
use crate::store::instance::InstanceEntity;
use crate::store::opaque::StoreOpaque;
use midair_tiers::interp::{Activation, InterpFrame};

/// Records the guest's frames with the store, for the error that will be made when they are gone.
///
/// `trapped` is program counter and frame pointer of machine code that trapped; otherwise the innermost
/// frame is one of the interpreter that has saved its state, or machine code that has left for Rust.
pub(crate) fn capture(store: &mut StoreOpaque, trapped: Option<(usize, usize)>) {
    if !store.process.is_current() {
        // What has been called by the guest has forked. What is known of its frames may be half written here.
        return;
    }
    let runtime = store.runtime();
    let mut backtrace = WasmBacktrace::default();
    // SAFETY: this thread runs the store, and its guest waits: activations and machine frames stand
    // still.
    unsafe {
        let stack = &mut (*runtime).stack;
        let top = trapped.map(|(pc, _)| (stack.entries, code_frames::trapped_frame(pc)));
        let walk = match trapped {
            Some((_, fp)) => stack.walk_callers(fp),
            None => stack.walk(),
        };
        let walked = walk.map(|frame| (frame.entries, code_frames::frame_info(&frame)));
        let machine = top.into_iter().chain(walked);
        for frame in GuestFrames::new(machine, Activation::innermost(runtime)) {
            backtrace.push(|| match frame {
                GuestFrame::Machine(info) => info,
                GuestFrame::Interpreted(frame) => Some(interpreted(&frame)),
            });
        }
    }
    store.backtrace = Some(backtrace);
}

/// What a person is told of a frame of the interpreter.
///
/// # Safety
/// The frame's store must be alive.
pub(crate) unsafe fn interpreted(frame: &InterpFrame<'_>) -> FrameInfo {
    // SAFETY: the frame's context is that of an instance of the store; its code is alive.
    unsafe {
        let instance = (*frame.context()).owner.cast::<InstanceEntity>();
        let module = (*instance).module.clone();
        FrameInfo::new(Module { state: module }, (*frame.code()).body(), frame.point())
    }
}
