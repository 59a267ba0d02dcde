//! Midair: a WebAssembly virtual machine that changes its own code in mid-air.
//!
//! The interface has the shape that users of Wasmtime know:
//!
//! * an [`Engine`] holds what is shared by everything: configuration, code memory, compilers;
//! * a [`Module`] is a loaded program;
//! * a [`Store`] owns instances, their memories, tables and globals, and the embedder's data;
//! * a [`Linker`] resolves imports by name; an [`Instance`] is a module that has been linked;
//! * [`Func`], [`TypedFunc`], [`Memory`], [`Table`] and [`Global`] are handles into a store.
//!
//! ```
//! use midair::{Engine, Linker, Module, Result, Store};
//!
//! # fn main() -> Result<()> {
//! let engine = Engine::default();
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "host" "double" (func $double (param i32) (result i32)))
//!         (func (export "run") (param i32) (result i32)
//!             (i32.add (call $double (local.get 0)) (i32.const 1))))"#,
//! )?;
//!
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "double", |x: i32| x * 2)?;
//!
//! let mut store = Store::new(&engine, ());
//! let instance = linker.instantiate(&mut store, &module)?;
//! let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
//! assert_eq!(run.call(&mut store, 20)?, 41);
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod call;
mod code;
mod config;
mod engine;
#[cfg(test)]
mod every_tier;
mod link;
mod live;
mod module;
mod stack;
mod store;
mod types;
#[cfg(feature = "wasi")]
pub mod wasi;

pub use anyhow::{Error, Result};
pub use call::into_func::{IntoFunc, WasmRet};
pub use call::typed_func::{TypedFunc, WasmParams, WasmResults, WasmTy};
pub use code::events::{Event, Events, ModuleLabel};
pub use code::ledger::{
    CodeEntry, CodeLedger, CodeState, KeptVersion, LedgerEntry, LedgerSummary, Pin, Sum,
};
pub use code::recompile::{RecompileOptions, Recompiled};
pub use code::stats::{self, Stats};
pub use code::timeline::{self, Timeline};
pub use config::stress::{self, StressSpec};
pub use config::{Config, Tier};
pub use engine::Engine;
pub use link::instance::{Export, Instance};
pub use link::linker::{InstancePre, Linker, UnlinkedImport, UnlinkedImports};
pub use live::applied::{Applied, AppliedFunction, Replacement};
pub use live::correspondence::Place;
pub use live::definitions::Definition;
pub use live::frame_map::{FrameMap, Source};
pub use live::module_diff::initial_data::DataPolicy;
pub use live::module_diff::refusal::{ModuleRefusal, ModuleRefused};
pub use live::module_diff::summary::{FunctionLabel, ModuleSummary};
pub use live::plan::{Plan, PlannedFrames, PlannedFunction, PlannedOutcome};
pub use live::policy::Policy;
pub use live::references::{Reference, StillReferred};
pub use live::refusal::Refusal;
pub use live::update::Update;
pub use midair_osr::{OtherProcess, unblock_trap_signals};
pub use midair_tiers::module_env::{GlobalType, MemoryType, TableType};
pub use midair_tiers::types::{FuncType, HeapType, RefType, TypeId, ValType};
pub use midair_tiers::{CodegenSettings, OptLevel, RegisterAllocation};
pub use module::Module;
pub use module::debug_info::SourceLine;
pub use stack::frames::Frame;
pub use store::backtrace::{FrameInfo, WasmBacktrace};
pub use store::caller::Caller;
pub use store::exceptions::{Exception, ExnRef};
pub use store::external::Extern;
pub use store::func::Func;
pub use store::global::Global;
pub use store::interrupt::InterruptHandle;
pub use store::limits::{ResourceLimiter, StoreLimits};
pub use store::memory::{Memory, MemoryAccessError};
pub use store::shared_memory::{SharedMemory, WaitResult};
pub use store::table::Table;
pub use store::tag::Tag;
pub use store::value::{ExternRef, Val};
pub use store::{AsContext, AsContextMut, Store, StoreContextMut, StoreContextRef};
pub use types::error::{ErrorKind, Failure};
pub use types::printable::{Printable, PrintableName};
pub use types::trap::Trap;
pub use types::{ExportType, ExternType, ImportType, TagType};

/// The README's example is one of the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
