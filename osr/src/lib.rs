//! On-stack replacement for machine code made by Cranelift.
//!
//! This crate owns everything that has to do with *machine frames*: the memory that code lives
//! in, the tables that say where a suspended frame keeps its values, the walk over the frames of
//! a stack, the redirection of return addresses, and the transfer of a live frame out of code that
//! is about to vanish. It knows nothing of any source language. A language supplies
//!
//! * code objects ([`CodeDescription`]), each with a frame map for every call and poll site;
//! * a [`TransferHook`] that is handed a [`CapturedFrame`] and answers where to go on.
//!
//! # Calling convention
//!
//! Managed code follows the System V convention with the context pointer (`*mut ContextHeader`)
//! as its first argument, in `rdi`. See [`CallShape`] for results.
//!
//! # The life of a code object
//!
//! publish → (run) → retire: unlinked by its owner, [`StackContext::redirect_frames`] for every
//! stack that may hold its frames, by way of a [`Handshake`] → freed: poisoned, quarantined, reused.

pub mod call;
pub mod capture;
pub mod code_heap;
pub mod code_object;
pub mod context;
pub mod cranelift;
pub mod frame_map;
pub mod handshake;
mod position;
pub mod read_frames;
pub mod redirect;
mod redirect_table;
pub mod registers;
pub mod registry;
mod stubs;
mod sync;
pub mod trap_signal;
pub mod verify_slots;
#[cfg(feature = "verify-walks")]
pub mod verify_walks;
pub mod walk;

pub use call::{
    CallShape, CalloutFrame, CalloutOutcome, NativeOutcome, RESUME_TOKEN, call_native, resume_entry,
};
pub use capture::{CapturedFrame, ReturnRegisters, TransferHook};
pub use code_heap::{CodeHeap, CodeHeapError, CodeHeapSnapshot, CodeHeapStats, POISON};
pub use code_object::{CodeDescription, CodeObject, CodeState};
pub use context::{ContextHeader, StackContext};
pub use frame_map::{
    FrameMap, FrameMapTable, FrameValue, Location, SiteKind, ValueClass, ValueKind,
};
pub use handshake::{Handshake, HandshakeProgress, Operation, Stepwise};
pub use position::Position;
pub use read_frames::{FrameReader, FrameState, SuspendedFrame};
pub use redirect::{Choice, RedirectTable, ShadowStackActive, shadow_stack_active};
pub use registry::CodeRegistry;
pub use walk::{StackWalk, WalkedFrame};

/// A stack of managed frames as requesters see it.
pub type Mutator = handshake::Mutator<StackContext>;

/// Tells the system that threads of this process will be made to execute barriers. Code heaps and mutators do so
/// themselves; but while the process has a single thread it costs nothing, and later some 10 milliseconds.
pub fn prepare_process() {
    sync::prepare_fences();
    code_heap::register_for_barriers();
}
