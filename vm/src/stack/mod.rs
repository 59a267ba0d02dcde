//! Suspended frames: who they are, and where they go on.
//!
//! ```text
//!   transition          safepoints, tier-up, and where frames go that leave their machine code
//!   interpreter_frames  where frames of the interpreter go on whose function was replaced
//!   guest_frames        frames of both kinds in order
//!   code_frames         what a person is told of frames of machine code
//!   backtrace           the frames at the moment of a trap
//!   frames              listing suspended frames with their values
//! ```

pub(crate) mod backtrace;
pub(crate) mod code_frames;
pub(crate) mod frames;
pub(crate) mod guest_frames;
pub(crate) mod interpreter_frames;
pub(crate) mod transition;
