//! Calls between the host and guest code, and what guest code calls in the runtime.
//!
//! ```text
//!   invoke         from the host into guest code, and what comes back out of it
//!   func           calls of functions, and closures that are made functions
//!   typed_func     functions whose types Rust knows
//!   host           host functions, and how guest code reaches them
//!   into_func      Rust closures as host functions
//!   callout        machine code calls a function that has none
//!   tail_calls     tail calls that leave the interpreter
//!   waits          guests that wait in a shared memory
//!   builtins       what guest code calls in the runtime
//! ```

pub(crate) mod builtins;
pub(crate) mod callout;
pub(crate) mod func;
pub(crate) mod host;
pub(crate) mod into_func;
pub(crate) mod invoke;
pub(crate) mod tail_calls;
pub(crate) mod typed_func;
pub(crate) mod waits;
