//! Stacks of managed frames, as they are found.
//!
//! ```text
//!   context          what machine code reaches through `rdi`; the thread's current stack
//!   callout_frame    what managed code hands over when it leaves for Rust
//!   captured_frame   a frame that has left its machine code, and who decides where it goes on
//!   position         the order of a stack's frames, which may lie on several native stacks
//!   redirect_table   which return addresses have been redirected, and what they were
//!   walk             walking frames through any number of host frames
//!   read_frames      reading the values of suspended frames in place
//! ```

pub(crate) mod callout_frame;
pub(crate) mod captured_frame;
pub mod context;
pub(crate) mod position;
pub mod read_frames;
pub(crate) mod redirect_table;
pub mod walk;
