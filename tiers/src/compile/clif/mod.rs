//! From bytecode to CLIF.
//!
//! [`translate`] makes one function of one body: its ordinary code, or an OSR entry at a loop. Where
//! to read on:
//!
//! * [`translator`](self::translator): the state of a translation, and the loop over the operators;
//! * `entry`: what comes first: parameters, stack check, polls, the loading of an OSR frame;
//!   `osr_prefix`: how much of the body an OSR entry leaves out;
//! * `control`: blocks, loops, branches; `calls`: guest calls and runtime calls; `tail_calls`; `exceptions`: what
//!   throws, and where code is entered at a handler; `memory`: memories, tables, globals, fuel; `numeric`: everything that only computes; `vector`: operators on vectors;
//!   `atomics`: those of threads;
//! * `frame_state`: how the canonical frame at a safepoint becomes exception-table items or poll
//!   arguments; `aliases`: which value an alias stands for;
//! * `runtime`: loads from the context, with what they may be assumed to alias.
//!
//! # Calls and polls
//!
//! A guest call is a `try_call_indirect` without handlers. Its exception table lists the frame's live
//! values, so that the register allocator reports where each of them is while the call is suspended.
//! A poll is an ordinary call that clobbers nothing, in a cold block, whose arguments are the live
//! values. Either carries its point as its source location, which names its frame state.

mod aliases;
mod atomics;
mod calls;
mod control;
mod entry;
mod exceptions;
#[cfg(test)]
mod execution;
mod frame_state;
mod memory;
mod numeric;
mod operand_stack;
mod osr_prefix;
mod runtime;
#[cfg(test)]
mod spec_tests;
mod tail_calls;
mod translator;
pub mod traps;
mod vector;

pub(crate) use translator::{Source, TranslateError, translate};
pub use traps::{trap_code_of, trap_code_of_site};
