//! Between Rust and managed code.
//!
//! ```text
//!   stubs         the hand-written machine code, all of it
//!   call          the shape of a call, calls into managed code, the answers of callouts
//!   trap_signal   from a fault in managed code to a trap
//! ```

pub mod call;
pub(crate) mod stubs;
pub mod trap_signal;
