//! Suspended frames: who they are, and where they go on.
//!
//! ```text
//!   transition          safepoints, tier-up, and where frames go that leave their machine code
//!   interpreter_frames  where frames of the interpreter go on whose function was replaced
//!   guest_frames        frames of both kinds in order
//!   code_frames         what a person is told of frames of machine code
//!   exceptions          exceptions on their way to the frames that handle them
//!   raise, backtrace    traps, and the frames at the moment of one
//!   runtime_context     who handles the polls and traps of a new store's guest
//!   frames              listing suspended frames with their values
//! ```

pub(crate) mod backtrace;
pub(crate) mod code_frames;
pub(crate) mod exceptions;
pub(crate) mod frames;
pub(crate) mod guest_frames;
pub(crate) mod interpreter_frames;
pub(crate) mod raise;
pub(crate) mod runtime_context;
pub(crate) mod transition;
