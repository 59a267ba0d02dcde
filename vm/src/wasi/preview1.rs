//! The functions of `wasi_snapshot_preview1`, as host functions of a linker.

use crate::link::linker::Linker;
use crate::store::caller::Caller;
use crate::store::external::Extern;
use anyhow::Result;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasi_common::snapshots::preview_1::wasi_snapshot_preview1 as system;
use wasi_common::{I32Exit, WasiCtx};
use wiggle::GuestMemory;

/// Name of the module that guests import WASI preview 1 from.
const MODULE: &str = "wasi_snapshot_preview1";

/// Result of a future that never waits.
///
/// The system calls are written as `async` functions, for hosts with an executor. Those of
/// `wasi_common::sync` block the thread instead of waiting, so one poll ends them.
fn complete<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => anyhow::bail!("a WASI call waits for an executor, and there is none"),
    }
}

/// The guest's memory and the embedder's data.
fn memory_and_data<'a, T: 'static>(
    caller: &'a mut Caller<'_, T>,
) -> Result<(&'a mut [u8], &'a mut T)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory.data_and_store_mut(caller)),
        _ => anyhow::bail!("the module calls WASI but exports no memory named `memory`"),
    }
}

/// Defines [`add_to_linker`] for functions of these signatures, which all return an `errno`.
macro_rules! define_preview1 {
    ($( fn $name:ident($($arg:ident: $ty:ty),*); )*) => {
        /// Defines all functions of WASI preview 1 in `linker`.
        ///
        /// `context` finds the [`WasiCtx`] in the data of the store.
        ///
        /// A guest that calls `proc_exit` ends with the error [`I32Exit`], whatever the status.
        pub fn add_to_linker<T: 'static>(
            linker: &mut Linker<T>,
            context: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
        ) -> Result<()> {
            $(
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    move |mut caller: Caller<'_, T> $(, $arg: $ty)*| -> Result<i32> {
                        let (bytes, data) = memory_and_data(&mut caller)?;
                        let mut memory = GuestMemory::Unshared(bytes);
                        complete(system::$name(context(data), &mut memory $(, $arg)*))?
                    },
                )?;
            )*
            // `wasi-common` refuses statuses of 126 and more; the system's own programs use them.
            linker.func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> {
                Err(I32Exit(status).into())
            })?;
            Ok(())
        }
    };
}

define_preview1! {
    fn args_get(a: i32, b: i32);
    fn args_sizes_get(a: i32, b: i32);
    fn environ_get(a: i32, b: i32);
    fn environ_sizes_get(a: i32, b: i32);
    fn clock_res_get(a: i32, b: i32);
    fn clock_time_get(a: i32, b: i64, c: i32);
    fn fd_advise(a: i32, b: i64, c: i64, d: i32);
    fn fd_allocate(a: i32, b: i64, c: i64);
    fn fd_close(a: i32);
    fn fd_datasync(a: i32);
    fn fd_fdstat_get(a: i32, b: i32);
    fn fd_fdstat_set_flags(a: i32, b: i32);
    fn fd_fdstat_set_rights(a: i32, b: i64, c: i64);
    fn fd_filestat_get(a: i32, b: i32);
    fn fd_filestat_set_size(a: i32, b: i64);
    fn fd_filestat_set_times(a: i32, b: i64, c: i64, d: i32);
    fn fd_pread(a: i32, b: i32, c: i32, d: i64, e: i32);
    fn fd_prestat_get(a: i32, b: i32);
    fn fd_prestat_dir_name(a: i32, b: i32, c: i32);
    fn fd_pwrite(a: i32, b: i32, c: i32, d: i64, e: i32);
    fn fd_read(a: i32, b: i32, c: i32, d: i32);
    fn fd_readdir(a: i32, b: i32, c: i32, d: i64, e: i32);
    fn fd_renumber(a: i32, b: i32);
    fn fd_seek(a: i32, b: i64, c: i32, d: i32);
    fn fd_sync(a: i32);
    fn fd_tell(a: i32, b: i32);
    fn fd_write(a: i32, b: i32, c: i32, d: i32);
    fn path_create_directory(a: i32, b: i32, c: i32);
    fn path_filestat_get(a: i32, b: i32, c: i32, d: i32, e: i32);
    fn path_filestat_set_times(a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32);
    fn path_link(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32);
    fn path_open(a: i32, b: i32, c: i32, d: i32, e: i32, f: i64, g: i64, h: i32, i: i32);
    fn path_readlink(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
    fn path_remove_directory(a: i32, b: i32, c: i32);
    fn path_rename(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
    fn path_symlink(a: i32, b: i32, c: i32, d: i32, e: i32);
    fn path_unlink_file(a: i32, b: i32, c: i32);
    fn poll_oneoff(a: i32, b: i32, c: i32, d: i32);
    fn proc_raise(a: i32);
    fn sched_yield();
    fn random_get(a: i32, b: i32);
    fn sock_accept(a: i32, b: i32, c: i32);
    fn sock_recv(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
    fn sock_send(a: i32, b: i32, c: i32, d: i32, e: i32);
    fn sock_shutdown(a: i32, b: i32);
}
