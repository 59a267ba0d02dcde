//! The baseline tier: machine code for lowered code, in one pass, on the interpreter's own frames.
//!
//! A frame of baseline code *is* a frame of the interpreter, slot for slot, and everything that looks at frames sees it so. The
//! pinned registers are those of the handlers, so that any instruction can be left to its handler, which comes back
//! through a word: see [`crate::lowered::continuations`], which also says why the code can be freed at any safepoint.
//!
//! ```text
//!   rdi  instruction, where a handler is jumped to    rax, xmm0, xmm1  free within an instruction
//!   rsi  frame                                        r10 r11 rbp r12-r15, xmm2-xmm15  slots
//!   rdx  base of memory 0
//!   rcx  length of memory 0
//!   r8   instance
//!   r9   store
//! ```
//!
//! ```text
//!   assembler     x86-64 machine code
//!   instruction   reading lowered code
//!   registers     which slots are in registers
//!   translator    the pass: labels, what is left to handlers, traps
//!   operators     the instructions, one by one
//!   integers, floats, memory   what they do
//!   control       branches, calls, returns, loops
//!   linking       putting code in use and out of use
//! ```
//!
//! Registers are a cache of slots: written back before branches, labels, calls and loop headers, and intersected where
//! branches meet. Nothing has to be known about what comes later, for each temporary is read once.

mod assembler;
mod control;
mod floats;
mod instruction;
mod integers;
mod linking;
mod memory;
mod operators;
mod registers;
#[cfg(test)]
mod tests;
mod translator;

pub use linking::{BaselineCode, BaselineLinks, compile};
