//! WASI preview 1: what command-line programs import.
//!
//! The system calls themselves are those of the `wasi-common` crate; this module puts them into a
//! [`Linker`](crate::Linker). [`WasiCtxBuilder`] says what a guest gets to see: arguments,
//! environment, standard streams, directories. A new one shows nothing.
//!
//! ```
//! use midair::wasi::{I32Exit, WasiCtx, WasiCtxBuilder};
//! use midair::{Engine, Linker, Module, Store};
//!
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! midair::wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
//!
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//!         (memory (export "memory") 1)
//!         (func (export "_start") (call $exit (i32.const 7))))"#,
//! )?;
//! let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
//! let instance = linker.instantiate(&mut store, &module)?;
//! let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
//! let error = start.call(&mut store, ()).unwrap_err();
//! assert_eq!(error.downcast_ref::<I32Exit>().map(|exit| exit.0), Some(7));
//! # Ok::<(), midair::Error>(())
//! ```

mod preview1;

pub use preview1::add_to_linker;
pub use wasi_common::sync::{Dir, WasiCtxBuilder, ambient_authority};
/// The error with which a call returns when the guest ended itself by `proc_exit`.
pub use wasi_common::{I32Exit, WasiCtx};
