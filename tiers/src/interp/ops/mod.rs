//! The handlers, by kind. Each file says what its instructions do; [`super::op`] lists them.

pub(super) mod atomics;
pub(super) mod calls;
pub(super) mod compare;
pub(super) mod control;
pub(super) mod convert;
pub(super) mod exceptions;
pub(super) mod float;
pub(super) mod fused;
pub(super) mod integer;
mod lanes;
pub(super) mod memory;
pub(super) mod table;
pub(super) mod tail_calls;
pub(super) mod vector;
pub(super) mod vector_memory;
