//! Lowered code: what lowering makes, and the interpreter runs.
//!
//! ```text
//!   code            lowered code, and the table that relates it to its bytecode
//!   continuations   where baseline code is entered, and left for the interpreter
//!   frame           the layout of an interpreter frame on the value stack
//! ```

pub(crate) mod code;
pub(crate) mod continuations;
pub(crate) mod frame;
