//! Calls about sockets on descriptors that are none.
//!
//! `wasi-common` says of such a descriptor that it is not open.

use super::context::WasiCtx;
use super::preview1::uncorrected;
use super::rights;
use anyhow::Result;
use wasi_common::snapshots::preview_1::types::Errno;
use wiggle::GuestMemory;

fn correct(context: &WasiCtx, fd: i32, errno: Errno) -> Errno {
    let is_open = context.system.table().contains_key(fd.cast_unsigned());
    if errno == Errno::Badf && is_open { Errno::Notsock } else { errno }
}

/// `sock_accept`.
pub fn accept(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    flags: i32,
    result: i32,
) -> Result<Errno> {
    let errno = rights::opening(context, memory, fd, result, |context, memory| {
        uncorrected::sock_accept(context, memory, fd, flags, result)
    })?;
    Ok(correct(context, fd, errno))
}

/// `sock_recv`.
#[expect(clippy::too_many_arguments, reason = "those of the call")]
pub fn recv(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    data: i32,
    data_len: i32,
    flags: i32,
    size: i32,
    out_flags: i32,
) -> Result<Errno> {
    let errno =
        uncorrected::sock_recv(context, memory, fd, data, data_len, flags, size, out_flags)?;
    Ok(correct(context, fd, errno))
}

/// `sock_send`.
pub fn send(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    data: i32,
    data_len: i32,
    flags: i32,
    size: i32,
) -> Result<Errno> {
    let errno = uncorrected::sock_send(context, memory, fd, data, data_len, flags, size)?;
    Ok(correct(context, fd, errno))
}

/// `sock_shutdown`.
pub fn shutdown(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    how: i32,
) -> Result<Errno> {
    let errno = uncorrected::sock_shutdown(context, memory, fd, how)?;
    Ok(correct(context, fd, errno))
}
