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

mod backtrace;
mod builtins;
mod caller;
mod code;
mod config;
mod engine;
#[cfg(test)]
mod every_tier;
mod external;
mod frames;
mod func;
mod global;
mod guest_frames;
mod host;
mod instance;
mod instance_context;
mod interrupt;
mod into_func;
mod invoke;
mod limits;
mod linker;
mod live;
mod memory;
mod module;
mod native_stack;
mod reservation;
mod sampling;
mod signatures;
pub mod stats;
mod store;
pub mod stress;
mod table;
mod trap;
mod typed_func;
mod types;
mod value;
#[cfg(feature = "wasi")]
pub mod wasi;

pub use anyhow::{Error, Result};
pub use backtrace::{FrameInfo, WasmBacktrace};
pub use caller::Caller;
pub use code::{
    CodeEntry, CodeLedger, CodeState, Event, Events, KeptVersion, LedgerEntry, LedgerSummary,
    ModuleLabel, Pin, RecompileOptions, Recompiled, Sum,
};
pub use config::{Config, Tier};
pub use engine::Engine;
pub use external::Extern;
pub use frames::Frame;
pub use func::Func;
pub use global::Global;
pub use instance::{Export, Instance};
pub use interrupt::InterruptHandle;
pub use into_func::{IntoFunc, WasmRet};
pub use limits::StoreLimits;
pub use linker::{InstancePre, Linker, UnlinkedImport, UnlinkedImports};
pub use live::{
    Applied, AppliedFunction, DataPolicy, Definition, FrameMap, FunctionLabel, ModuleRefusal,
    ModuleRefused, ModuleSummary, Place, Plan, PlannedFrames, PlannedFunction, PlannedOutcome,
    Policy, Reference, Refusal, Replacement, Source, StillReferred, Update,
};
pub use memory::{Memory, MemoryAccessError};
pub use midair_osr::OtherProcess;
pub use midair_tiers::{CodegenSettings, OptLevel, RegisterAllocation};
pub use module::Module;
pub use stats::Stats;
pub use store::{AsContext, AsContextMut, Store, StoreContextMut, StoreContextRef};
pub use stress::StressSpec;
pub use table::Table;
pub use trap::Trap;
pub use typed_func::{TypedFunc, WasmParams, WasmResults, WasmTy};
pub use types::{
    ExportType, ExternType, FuncType, GlobalType, ImportType, MemoryType, TableType, ValType,
};
pub use value::{ExternRef, Val};

/// The README's example is one of the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
