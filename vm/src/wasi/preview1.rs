//! The functions of `wasi_snapshot_preview1`, as host functions of a linker.

use super::context::WasiCtx;
use super::{errno, rights, sockets, wall_clock};
use crate::link::linker::Linker;
use crate::store::caller::Caller;
use crate::store::external::Extern;
use crate::store::shared_memory::SharedMemory;
use anyhow::Result;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasi_common::I32Exit;
use wasi_common::snapshots::preview_1::types::{Errno, Rights};
use wasi_common::snapshots::preview_1::wasi_snapshot_preview1 as system;
use wiggle::GuestMemory;

/// Name of the module that guests import WASI preview 1 from.
const MODULE: &str = "wasi_snapshot_preview1";

/// Result of a future that never waits.
///
/// The system calls are written as `async` functions, for hosts with an executor. Those of
/// `wasi_common::sync` block the thread instead of waiting, so one poll ends them.
pub fn complete<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => anyhow::bail!("a WASI call waits for an executor, and there is none"),
    }
}

/// The `errno` that a system call ends with.
fn errno_of(call: impl Future<Output = anyhow::Result<i32>>) -> Result<Errno> {
    match complete(call)? {
        Ok(errno) => Ok(Errno::try_from(errno)?),
        Err(error) => errno::from_error(error),
    }
}

/// As the guest gets it.
fn number(errno: Errno) -> i32 {
    u16::from(errno).into()
}

/// The guest's memory and the embedder's data. A shared memory is kept in `shared`.
fn memory_and_data<'a, T: 'static>(
    caller: &'a mut Caller<'_, T>,
    shared: &'a mut Option<SharedMemory>,
) -> Result<(GuestMemory<'a>, &'a mut T)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let (memory, data) = memory.data_and_store_mut(caller);
            Ok((GuestMemory::Unshared(memory), data))
        }
        Some(Extern::SharedMemory(memory)) => {
            let memory = GuestMemory::Shared(shared.insert(memory).data());
            Ok((memory, caller.data_mut()))
        }
        _ => anyhow::bail!("the module calls WASI but exports no memory named `memory`"),
    }
}

/// Defines all functions of WASI preview 1 in `linker`.
///
/// `context` finds the [`WasiCtx`] in the data of the store.
///
/// A guest that calls `proc_exit` ends with the error [`I32Exit`], whatever the status.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    context: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    add_system_calls(linker, context)?;
    // `wasi-common` refuses statuses of 126 and more; the system's own programs use them.
    linker.func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> {
        Err(I32Exit(status).into())
    })?;
    // `wasi-common` ends the guest instead of refusing.
    linker.func_wrap(MODULE, "proc_raise", |_signal: i32| number(Errno::Notsup))?;
    Ok(())
}

/// Defines [`add_system_calls`] for functions of these signatures, which all return an `errno`. The rights that
/// follow an argument are those that are needed for the descriptor of this number. What follows `=` is done instead
/// of the call of this name.
macro_rules! define_system_calls {
    ($( fn $name:ident($($arg:ident: $ty:ty $([$($right:ident),+])?),*) $(= $corrected:path)?; )*) => {
        fn add_system_calls<T: 'static>(
            linker: &mut Linker<T>,
            context: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
        ) -> Result<()> {
            $(
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    move |mut caller: Caller<'_, T> $(, $arg: $ty)*| -> Result<i32> {
                        let mut shared = None;
                        let (mut memory, data) = memory_and_data(&mut caller, &mut shared)?;
                        let (memory, context) = (&mut memory, context(data));
                        $($(
                            if !context.given_up().leave($arg, $(Rights::$right)|+) {
                                return Ok(number(Errno::Notcapable));
                            }
                        )?)*
                        let call = define_system_calls!(@call $name $($corrected)?);
                        Ok(number(call(context, memory $(, $arg)*)?))
                    },
                )?;
            )*
            Ok(())
        }

        /// The calls as they are in `wasi-common`.
        #[expect(clippy::too_many_arguments, reason = "those of the calls")]
        #[expect(dead_code, reason = "of some nothing is left")]
        pub mod uncorrected {
            use super::*;
            $(
                pub fn $name(
                    context: &mut WasiCtx,
                    memory: &mut GuestMemory<'_>
                    $(, $arg: $ty)*
                ) -> Result<Errno> {
                    errno_of(system::$name(&mut context.system, memory $(, $arg)*))
                }
            )*
        }
    };
    (@call $name:ident) => { uncorrected::$name };
    (@call $name:ident $corrected:path) => { $corrected };
}

define_system_calls! {
    fn args_get(a: i32, b: i32);
    fn args_sizes_get(a: i32, b: i32);
    fn environ_get(a: i32, b: i32);
    fn environ_sizes_get(a: i32, b: i32);
    fn clock_res_get(a: i32, b: i32);
    fn clock_time_get(a: i32, b: i64, c: i32);
    fn fd_advise(fd: i32 [FD_ADVISE], b: i64, c: i64, d: i32);
    fn fd_allocate(fd: i32 [FD_ALLOCATE], b: i64, c: i64);
    fn fd_close(fd: i32) = rights::close;
    fn fd_datasync(fd: i32 [FD_DATASYNC]);
    fn fd_fdstat_get(fd: i32, b: i32) = rights::get;
    fn fd_fdstat_set_flags(fd: i32 [FD_FDSTAT_SET_FLAGS], b: i32);
    fn fd_fdstat_set_rights(fd: i32, b: i64, c: i64) = rights::set;
    fn fd_filestat_get(fd: i32 [FD_FILESTAT_GET], b: i32);
    fn fd_filestat_set_size(fd: i32 [FD_FILESTAT_SET_SIZE], b: i64);
    fn fd_filestat_set_times(fd: i32 [FD_FILESTAT_SET_TIMES], b: i64, c: i64, d: i32);
    fn fd_pread(fd: i32 [FD_READ, FD_SEEK], b: i32, c: i32, d: i64, e: i32);
    fn fd_prestat_get(fd: i32, b: i32);
    fn fd_prestat_dir_name(fd: i32, b: i32, c: i32);
    fn fd_pwrite(fd: i32 [FD_WRITE, FD_SEEK], b: i32, c: i32, d: i64, e: i32);
    fn fd_read(fd: i32 [FD_READ], b: i32, c: i32, d: i32);
    fn fd_readdir(fd: i32 [FD_READDIR], b: i32, c: i32, d: i64, e: i32);
    fn fd_renumber(from: i32, to: i32) = rights::renumber;
    fn fd_seek(fd: i32 [FD_SEEK], b: i64, c: i32, d: i32);
    fn fd_sync(fd: i32 [FD_SYNC]);
    fn fd_tell(fd: i32 [FD_TELL], b: i32);
    fn fd_write(fd: i32 [FD_WRITE], b: i32, c: i32, d: i32);
    fn path_create_directory(fd: i32 [PATH_CREATE_DIRECTORY], b: i32, c: i32);
    fn path_filestat_get(fd: i32 [PATH_FILESTAT_GET], b: i32, c: i32, d: i32, e: i32);
    fn path_filestat_set_times(fd: i32 [PATH_FILESTAT_SET_TIMES], b: i32, c: i32, d: i32, e: i64, f: i64, g: i32);
    fn path_link(old: i32 [PATH_LINK_SOURCE], b: i32, c: i32, d: i32, new: i32 [PATH_LINK_TARGET], f: i32, g: i32);
    fn path_open(fd: i32 [PATH_OPEN], b: i32, c: i32, d: i32, e: i32, f: i64, g: i64, h: i32, i: i32) = rights::open;
    fn path_readlink(fd: i32 [PATH_READLINK], b: i32, c: i32, d: i32, e: i32, f: i32);
    fn path_remove_directory(fd: i32 [PATH_REMOVE_DIRECTORY], b: i32, c: i32);
    fn path_rename(old: i32 [PATH_RENAME_SOURCE], b: i32, c: i32, new: i32 [PATH_RENAME_TARGET], e: i32, f: i32);
    fn path_symlink(a: i32, b: i32, fd: i32 [PATH_SYMLINK], d: i32, e: i32);
    fn path_unlink_file(fd: i32 [PATH_UNLINK_FILE], b: i32, c: i32);
    fn poll_oneoff(a: i32, b: i32, c: i32, d: i32) = wall_clock::poll;
    fn sched_yield();
    fn random_get(a: i32, b: i32);
    fn sock_accept(fd: i32 [SOCK_ACCEPT], b: i32, c: i32) = sockets::accept;
    fn sock_recv(fd: i32 [FD_READ], b: i32, c: i32, d: i32, e: i32, f: i32) = sockets::recv;
    fn sock_send(fd: i32 [FD_WRITE], b: i32, c: i32, d: i32, e: i32) = sockets::send;
    fn sock_shutdown(fd: i32 [SOCK_SHUTDOWN], b: i32) = sockets::shutdown;
}
