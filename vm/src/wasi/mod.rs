//! WASI preview 1: what command-line programs import.
//!
//! The system calls themselves are those of the `wasi-common` crate; this module puts them into a
//! [`Linker`](crate::Linker), and corrects what they get wrong. [`WasiCtxBuilder`] says what a guest gets to see:
//! arguments, environment, standard streams, directories. A new one shows nothing.
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
//!
//! Standard streams can be pipes in memory, or any reader and writer ([`ReadPipe::new`], [`WritePipe::new`]):
//!
//! ```
//! use midair::wasi::{ReadPipe, WasiCtx, WasiCtxBuilder, WritePipe};
//! use midair::{Engine, Linker, Module, Store};
//!
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! midair::wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
//!
//! // Copies eight bytes from one stream to the other.
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "wasi_snapshot_preview1" "fd_read"
//!             (func $read (param i32 i32 i32 i32) (result i32)))
//!         (import "wasi_snapshot_preview1" "fd_write"
//!             (func $write (param i32 i32 i32 i32) (result i32)))
//!         (memory (export "memory") 1)
//!         (data (i32.const 0) "\10\00\00\00\08\00\00\00")
//!         (func (export "_start")
//!             (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
//!             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
//! )?;
//! let output = WritePipe::new_in_memory();
//! let wasi = WasiCtxBuilder::new()
//!     .stdin(Box::new(ReadPipe::from("mid-air!")))
//!     .stdout(Box::new(output.clone()))
//!     .build();
//! let mut store = Store::new(&engine, wasi);
//! let instance = linker.instantiate(&mut store, &module)?;
//! instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
//! // The guest's end has to be gone.
//! drop(store);
//! let written = output.try_into_inner().expect("nobody else has it").into_inner();
//! assert_eq!(written, b"mid-air!");
//! # Ok::<(), midair::Error>(())
//! ```

// `preview1` defines the calls, and says which are corrected: by `rights`, `sockets` and `wall_clock`. What they work
// on is in `context`, which hands out corrected objects: `directory`, `standard_streams` and `poll`. `errno` is the way
// from errors to numbers, for all of them. `threads` is what programs with threads need besides.
mod context;
mod directory;
mod errno;
mod poll;
mod preview1;
mod rights;
mod sockets;
mod standard_streams;
pub mod threads;
mod wall_clock;

pub use context::{WasiCtx, WasiCtxBuilder};
pub use preview1::add_to_linker;
/// The error with which a call returns when the guest ended itself by `proc_exit`.
pub use wasi_common::I32Exit;
pub use wasi_common::sync::{Dir, ambient_authority};
/// Standard streams that are no files: see the example above.
pub use wasi_common::{
    WasiFile,
    pipe::{ReadPipe, WritePipe},
};
