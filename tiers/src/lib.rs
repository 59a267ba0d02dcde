//! The tiers of Midair: validated bytecode is lowered to register code and interpreted; lowered code becomes baseline code,
//! which runs on the same frames; hot functions are translated to CLIF and compiled by Cranelift, with a frame map at every
//! safepoint.
//!
//! All tiers run on one runtime interface, [`context`], which the `midair` crate implements.

#![deny(missing_docs)]

pub mod abi;
mod append_vec;
pub mod atomics;
pub mod baseline;
pub mod body;
pub mod caught;
pub mod compile;
pub mod context;
pub mod fuel;
pub mod interp;
pub mod liveness;
pub mod lower;
mod lowered;
pub mod module_env;
pub mod shared_bytes;
pub mod trap;
pub mod types;

pub use append_vec::AppendVec;
pub use body::FunctionBody;
pub use compile::settings::{CodegenSettings, OptLevel, RegisterAllocation};
pub use compile::{CompileError, CompileOptions, Compiler, EntryPoint};
pub use context::{
    Builtins, Exception, FuncRef, FunctionState, GlobalCell, InstanceContext, MemoryDef,
    StoreContext, TableDef, TagDef,
};
pub use lowered::code::Handler;
pub use module_env::ModuleEnv;
pub use trap::TrapCode;
pub use types::{FuncType, HeapType, RefType, TypeId, ValType};
