//! Code objects, and the memory that they lie in.
//!
//! ```text
//!   frame_map     where each value of a frame lies at a site; the compact encoding
//!   registers     machine registers as the stubs save them; a frame's values by its map
//!   code_object   published code and its tables
//!   code_heap     memory for code: allocation, publishing, poison, quarantine, barriers
//!   registry      from a program counter to its code object, without a lock
//!   cranelift     the settings that managed code needs; from Cranelift's output to a code description
//!   verify_slots, unwind_table   for tests
//! ```

pub mod code_heap;
pub mod code_object;
pub mod cranelift;
pub mod frame_map;
pub mod registers;
pub mod registry;
#[cfg(feature = "verify-walks")]
pub(crate) mod unwind_table;
pub mod verify_slots;
