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
//! # A first program
//!
//! A language needs, besides what it has anyway: Cranelift's settings from [`cranelift::flags`]; a context whose head is
//! a [`ContextHeader`]; at each call the list of the values that its frame consists of; and an idea of where a frame
//! can go on that loses its code. Here is all of that for one function, `sum(n) = if n == 0 { host() } else { sum(n - 1) + n }`.
//! It is suspended in itself a hundred times when the host frees its code; the frames go on in Rust.
//!
//! ```
//! use midair_osr::cranelift::{self, SiteDescription, SiteValue, Sites};
//! use midair_osr::cranelift_codegen::control::ControlPlane;
//! use midair_osr::cranelift_codegen::ir::{
//!     AbiParam, BlockArg, ExceptionTableData, ExceptionTableItem, Function, InstBuilder,
//!     MemFlagsData, Signature, SourceLoc, UserFuncName, Value, types,
//! };
//! use midair_osr::cranelift_codegen::{Context, isa::CallConv};
//! use midair_osr::cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
//! use midair_osr::{
//!     CallShape, CalloutFrame, CalloutOutcome, CapturedFrame, Choice, CodeHeap, CodeObject,
//!     ContextHeader, NativeOutcome, RESUME_TOKEN, SiteKind, StackContext, TransferHook, ValueKind,
//!     call_native, resume_entry,
//! };
//! use std::sync::Arc;
//!
//! /// What `rdi` points to in managed code. Only the head is prescribed.
//! #[repr(C)]
//! struct Language {
//!     header: ContextHeader,
//!     /// What calls of `sum` and `host` lead to.
//!     entries: [*const u8; 2],
//!     heap: CodeHeap,
//!     code: Option<Arc<CodeObject>>,
//!     captured: Vec<CapturedFrame>,
//! }
//!
//! // A call, told to Cranelift as one that may throw: the exception table catches nothing, but its items say which
//! // values are the frame's, and Cranelift answers where each of them lies. Item 0 is the context.
//! fn call(
//!     builder: &mut FunctionBuilder<'_>, signature: &Signature, callee: Value, arguments: &[Value], frame: &[Value],
//! ) -> Value {
//!     let next = builder.create_block();
//!     let result = builder.append_block_param(next, types::I64);
//!     let signature = builder.import_signature(signature.clone());
//!     let normal = builder.func.dfg.block_call(next, &[BlockArg::TryCallRet(0)]);
//!     let items = frame.iter().map(|value| ExceptionTableItem::Context(*value));
//!     let table = ExceptionTableData::new(signature, normal, items);
//!     let table = builder.func.dfg.exception_tables.push(table);
//!     builder.ins().try_call_indirect(callee, arguments, table);
//!     builder.switch_to_block(next);
//!     result
//! }
//!
//! // Managed code calls an entry thunk: the host, or a frame that goes on in Rust.
//! unsafe extern "sysv64" fn on_callout(
//!     context: *mut ContextHeader, token: u32, frame: *mut CalloutFrame,
//! ) -> usize {
//!     // SAFETY: `main` has set the context and its stack up, and the frame is the callout's.
//!     let (language, stack, frame) =
//!         unsafe { (&mut *context.cast::<Language>(), &mut *(*context).stack, &mut *frame) };
//!     let result = if token == RESUME_TOKEN {
//!         // What is left of `sum` behind its call: what that has returned, plus `n`.
//!         let captured = language.captured.pop().unwrap();
//!         match captured.point {
//!             1 => captured.returned.gpr[0],
//!             _ => captured.returned.gpr[0] + captured.values[0],
//!         }
//!     } else {
//!         // Every frame of `sum` is on the stack. Take its code away.
//!         let code = language.code.take().unwrap();
//!         code.retire();
//!         // SAFETY: the thread is in a callout. Then nothing leads into the code any more.
//!         let redirected = unsafe { stack.redirect_frames(|_| Choice::Redirect) };
//!         unsafe { language.heap.free(&code) };
//!         assert!(redirected == 101 && language.heap.is_poisoned(&code));
//!         1_000_000
//!     };
//!     // SAFETY: the callout came from this stack, and has one result.
//!     unsafe { shape().write_results(frame, stack, &[result]) };
//!     CalloutOutcome::Return.into_word()
//! }
//!
//! // A frame without code is returned to. The answer is code that it goes on in: here a callout.
//! struct GoOnInRust;
//!
//! impl TransferHook for GoOnInRust {
//!     fn transfer(&mut self, _: *mut StackContext, frame: CapturedFrame) -> *const u8 {
//!         // SAFETY: all frames have this context.
//!         let language = unsafe { &mut *frame.context.cast::<Language>() };
//!         language.captured.push(frame);
//!         resume_entry()
//!     }
//! }
//!
//! fn shape() -> CallShape {
//!     CallShape::new([ValueKind::I64].into_iter(), [ValueKind::I64].into_iter())
//! }
//!
//! # unsafe extern "sysv64" fn on_poll(_: *mut ContextHeader, _: *mut StackContext) -> usize { 0 }
//! # extern "sysv64" fn on_trap(_: *mut StackContext, _: u32, _: usize, _: usize) {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Cranelift, with the settings that managed code needs. A language adds its own.
//! let isa = cranelift::code_generator(cranelift::flags())?;
//!
//! let mut signature = Signature::new(CallConv::SystemV);
//! signature.params.resize(2, AbiParam::new(types::I64));
//! signature.returns.push(AbiParam::new(types::I64));
//! let function = Function::with_name_signature(UserFuncName::default(), signature.clone());
//! let mut compilation = Context::for_function(function);
//! let mut frontend = FunctionBuilderContext::new();
//! let mut builder = FunctionBuilder::new(&mut compilation.func, &mut frontend);
//! let (entry, deeper, bottom) =
//!     (builder.create_block(), builder.create_block(), builder.create_block());
//! builder.append_block_params_for_function_params(entry);
//! builder.switch_to_block(entry);
//! let (context, n) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
//! builder.ins().brif(n, deeper, &[], bottom, &[]);
//!
//! // Each call has a source location of its own, by which its description is found.
//! let entries = size_of::<ContextHeader>() as i32;
//! builder.switch_to_block(bottom);
//! builder.set_srcloc(SourceLoc::new(1));
//! let host = builder.ins().load(types::I64, MemFlagsData::trusted(), context, entries + 8);
//! let result = call(&mut builder, &signature, host, &[context, n], &[context]);
//! builder.ins().return_(&[result]);
//! builder.switch_to_block(deeper);
//! builder.set_srcloc(SourceLoc::new(2));
//! let less = builder.ins().iadd_imm_s(n, -1);
//! let sum = builder.ins().load(types::I64, MemFlagsData::trusted(), context, entries);
//! let below = call(&mut builder, &signature, sum, &[context, less], &[context, n]);
//! let total = builder.ins().iadd(below, n);
//! builder.ins().return_(&[total]);
//! builder.seal_all_blocks();
//! builder.finalize(isa.frontend_config());
//!
//! let site = |point, values| SiteDescription { kind: SiteKind::Call, point, values };
//! let n = (ValueKind::I64, SiteValue::Item(1));
//! let sites = Sites::from([(1, site(1, vec![])), (2, site(2, vec![n]))]);
//! let compiled = compilation
//!     .compile(&*isa, &mut ControlPlane::default())
//!     .map_err(|error| error.inner)?;
//! let description = cranelift::describe(compiled, &*isa, &sites, 4096)?;
//!
//! // Publish it, and call it.
//! let heap = CodeHeap::new(1 << 20)?;
//! let code = heap.publish(description, Arc::new(()))?;
//! let mut stack = StackContext::new(on_poll, on_trap);
//! stack.transfer = Some(Box::new(GoOnInRust));
//! let mut language = Language {
//!     header: ContextHeader::new(on_callout, &mut stack),
//!     entries: [code.start(), heap.entry_thunk(0)?],
//!     heap,
//!     code: Some(code),
//!     captured: Vec::new(),
//! };
//! let (start, mut slots) = (language.entries[0], [100]);
//! let header = std::ptr::from_mut(&mut language).cast();
//! // SAFETY: `sum` has this shape, and the context and its stack are complete.
//! let outcome = unsafe { call_native(start, header, &shape(), slots.as_mut_ptr()) };
//! assert_eq!((outcome, slots[0]), (NativeOutcome::Returned, 1_000_000 + 100 * 101 / 2));
//! # Ok(())
//! # }
//! ```
//!
//! What this leaves out, the example `tiny_language` has: bytecode, an interpreter, frames that go on in machine
//! code which is entered in its middle, a check for room on the stack, traps, and edits that not every frame can follow.
//!
//! # What Cranelift is told
//!
//! [`cranelift::flags`] makes the settings that managed code needs: `unwind_info` (which registers a prologue has saved),
//! `preserve_frame_pointers` (walks), and neither `enable_probestack` nor `is_pic` (code refers to nothing outside
//! itself). [`cranelift::code_generator`] and [`cranelift::describe`] refuse others. All else is the language's choice.
//! The crates of Cranelift are re-exported, because the frame maps depend on their exact version.
//!
//! # Calling convention
//!
//! Managed code follows the System V convention with the context pointer (`*mut ContextHeader`)
//! as its first argument, in `rdi`. See [`CallShape`] for results. It reaches everything outside itself through the
//! context: a relocation is refused.
//!
//! # Where frames can be taken
//!
//! * At calls ([`SiteKind::Call`]): a `try_call` with the values of the frame as the items of its exception table.
//! * At polls ([`SiteKind::Poll`]), which loops need so that a frame that is running leaves too: if the word at
//!   [`StackContext::POLL_FLAG`] is not 0, a block that is marked cold calls the address at [`ContextHeader::POLL`]
//!   with the convention `PreserveAll`, the context and the values of the frame as its arguments. That calls
//!   [`StackContext::on_poll`], which may redirect the frame ([`StackContext::redirect_innermost`]).
//!
//! Behind either, the values are those that [`TransferHook::transfer`] is handed; behind a call, its results besides.
//! Code that it answers has the signature of the frame's function, and its arguments are undefined: an entry into the
//! middle of a function loads its values from [`StackContext::resume`].
//!
//! # The life of a code object
//!
//! publish → (run) → retire: unlinked by its owner, [`StackContext::redirect_frames`] for every
//! stack that may hold its frames, by way of a [`Handshake`] where other threads run → freed: poisoned, quarantined,
//! reused.
//!
//! After `fork` all that is left to the parent. In the child heaps publish and free nothing, code that was published
//! before must not be called, and managed code that is suspended there must be unwound: see [`process`].

#![deny(missing_docs)]

mod calls;
mod code;
pub mod handshake;
pub mod process;
mod shadow_stack;
mod stack;
mod stub_addresses;
mod sync;
mod transfer;
#[cfg(feature = "verify-walks")]
pub mod verify_walks;

pub use calls::{call, trap_signal};
pub use code::{code_heap, code_object, cranelift, frame_map, registers, registry, verify_slots};
pub use stack::{context, read_frames, walk};
pub use transfer::{capture, redirect, unwind};

pub use cranelift_codegen;
pub use cranelift_frontend;
pub use cranelift_native;

pub use call::{
    CallShape, CalloutOutcome, NativeOutcome, REQUEST_TOKEN, RESUME_TOKEN, call_native,
    more_arguments_entry, more_arguments_return, request_entry, resume_entry,
};
pub use code_heap::{CodeHeap, CodeHeapError, CodeHeapSnapshot, CodeHeapStats, POISON};
pub use code_object::{CodeDescription, CodeObject, CodeState};
pub use context::{ContextHeader, StackContext};
pub use frame_map::{
    FrameMap, FrameMapTable, FrameValue, Location, SiteKind, ValueClass, ValueKind,
};
pub use handshake::{Handshake, HandshakeProgress, Operation, Stepwise};
pub use process::{OtherProcess, Process};
pub use read_frames::{FrameReader, FrameState, SuspendedFrame};
pub use redirect::Choice;
#[cfg(feature = "verify-walks")]
pub use redirect::return_addresses_written;
pub use registry::CodeRegistry;
pub use shadow_stack::{ShadowStackActive, shadow_stack_active};
pub use stack::callout_frame::{CalloutFrame, CalloutHandler};
pub use stack::captured_frame::{CapturedFrame, ReturnRegisters, TransferHook};
pub use stack::position::Position;
pub use stack::redirect_table::RedirectTable;
pub use trap_signal::unblock as unblock_trap_signals;
pub use walk::{StackWalk, WalkedFrame};

/// A stack of managed frames as requesters see it.
pub type Mutator = handshake::Mutator<StackContext>;

/// Tells the system that threads of this process will be made to execute barriers. Code heaps and mutators do so
/// themselves; but while the process has a single thread it costs nothing, and later some 10 milliseconds.
pub fn prepare_process() {
    sync::prepare_fences();
    code_heap::register_for_barriers();
}
