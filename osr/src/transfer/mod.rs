//! Frames leave their machine code while they are suspended.
//!
//! ```text
//!   redirect   the only place that writes a return address
//!   capture    the landing of a redirected return: capture, drop the frame, go on
//!   unwind     dropping frames up to one that goes on elsewhere: how exceptions reach their handlers
//! ```

pub mod capture;
pub mod redirect;
pub mod unwind;
