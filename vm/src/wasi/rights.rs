//! Rights that a guest gives up.
//!
//! Each descriptor has rights to what can be done with it (*base*), and, if others are opened through it, those
//! that they can have (*inheriting*). A guest can give rights up by `fd_fdstat_set_rights`, and can never get them
//! back. `wasi-common` says that it has taken them away, and goes on as before.
//!
//! What a descriptor *begins* with is left as `wasi-common` has it: whatever its kind can do, and reading and
//! writing as far as it was opened for them. Other rights that are asked for when it is opened count for nothing.
//! Many programs ask for less than they use. Therefore this is a table of what
//! has been given up, and it is empty for nearly all guests.

use super::context::WasiCtx;
use super::errno;
use super::preview1::{complete, uncorrected};
use anyhow::Result;
use std::collections::HashMap;
use wasi_common::snapshots::preview_1::types::{Errno, Fdstat, Filetype, Oflags, Rights};
use wasi_common::snapshots::preview_1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

/// Rights of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfDescriptor {
    base: Rights,
    inheriting: Rights,
}

/// What has been given up, by descriptor. Those of which nothing has are not here.
#[derive(Default)]
pub struct GivenUp(HashMap<u32, OfDescriptor>);

impl GivenUp {
    fn of(&self, fd: u32) -> OfDescriptor {
        let nothing = OfDescriptor { base: Rights::empty(), inheriting: Rights::empty() };
        self.0.get(&fd).copied().unwrap_or(nothing)
    }

    fn set(&mut self, fd: u32, given_up: OfDescriptor) {
        if given_up.base.is_empty() && given_up.inheriting.is_empty() {
            self.0.remove(&fd);
        } else {
            self.0.insert(fd, given_up);
        }
    }

    /// Whether all of these rights are still there.
    pub fn leave(&self, fd: i32, rights: Rights) -> bool {
        !self.of(fd.cast_unsigned()).base.intersects(rights)
    }

    /// `fd` was opened through `parent`.
    fn opened(&mut self, parent: u32, fd: u32) {
        let inherited = self.of(parent).inheriting;
        self.set(fd, OfDescriptor { base: inherited, inheriting: inherited });
    }

    fn closed(&mut self, fd: u32) {
        self.0.remove(&fd);
    }

    fn renumbered(&mut self, from: u32, to: u32) {
        let given_up = self.of(from);
        self.closed(from);
        self.set(to, given_up);
    }
}

/// What a descriptor of this kind begins with. `wasi-common` tells, of files, reading and writing only.
fn initial(stat: &Fdstat) -> OfDescriptor {
    let any = Rights::FD_FILESTAT_GET | Rights::FD_FDSTAT_SET_FLAGS | Rights::POLL_FD_READWRITE;
    let (base, inheriting) = match stat.fs_filetype {
        Filetype::Directory => (
            Rights::PATH_FILESTAT_SET_SIZE,
            Rights::PATH_FILESTAT_SET_SIZE | Rights::FD_FDSTAT_SET_FLAGS,
        ),
        Filetype::RegularFile | Filetype::BlockDevice => {
            let storage = Rights::FD_SEEK
                | Rights::FD_TELL
                | Rights::FD_SYNC
                | Rights::FD_DATASYNC
                | Rights::FD_ADVISE
                | Rights::FD_ALLOCATE
                | Rights::FD_FILESTAT_SET_SIZE
                | Rights::FD_FILESTAT_SET_TIMES;
            (any | storage, Rights::empty())
        }
        Filetype::SocketStream | Filetype::SocketDgram => {
            let connection = any | Rights::SOCK_SHUTDOWN;
            (connection | Rights::SOCK_ACCEPT, connection | Rights::FD_READ | Rights::FD_WRITE)
        }
        // No right to seek: that is how guests tell a terminal.
        _ => (any, Rights::empty()),
    };
    OfDescriptor {
        base: base | stat.fs_rights_base,
        inheriting: inheriting | stat.fs_rights_inheriting,
    }
}

/// What there is to know about a descriptor, with the rights that it has.
fn stat(context: &mut WasiCtx, fd: i32) -> Result<Result<Fdstat, Errno>> {
    let fd = fd.cast_unsigned();
    let known =
        complete(context.system.fd_fdstat_get(&mut GuestMemory::Unshared(&mut []), fd.into()))?;
    let mut stat = match known {
        Ok(stat) => stat,
        Err(error) => {
            return Ok(Err(match error.downcast() {
                Ok(errno) => errno,
                Err(other) => errno::from_error(other)?,
            }));
        }
    };
    let (initial, given_up) = (initial(&stat), context.given_up().of(fd));
    stat.fs_rights_base = initial.base - given_up.base;
    stat.fs_rights_inheriting = initial.inheriting - given_up.inheriting;
    Ok(Ok(stat))
}

/// `fd_fdstat_get`.
pub fn get(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    result: i32,
) -> Result<Errno> {
    let stat = match stat(context, fd)? {
        Ok(stat) => stat,
        Err(errno) => return Ok(errno),
    };
    match memory.write(GuestPtr::new(result.cast_unsigned()), stat) {
        Ok(()) => Ok(Errno::Success),
        Err(error) => errno::from_error(error.into()),
    }
}

/// `fd_fdstat_set_rights`.
pub fn set(
    context: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: i32,
    base: i64,
    inheriting: i64,
) -> Result<Errno> {
    let stat = match stat(context, fd)? {
        Ok(stat) => stat,
        Err(errno) => return Ok(errno),
    };
    let rights = |bits: i64| Rights::from_bits(bits.cast_unsigned());
    let (Some(base), Some(inheriting)) = (rights(base), rights(inheriting)) else {
        return Ok(Errno::Inval);
    };
    if !stat.fs_rights_base.contains(base) || !stat.fs_rights_inheriting.contains(inheriting) {
        return Ok(Errno::Notcapable);
    }
    let left = OfDescriptor { base, inheriting };
    let had = OfDescriptor { base: stat.fs_rights_base, inheriting: stat.fs_rights_inheriting };
    if left != had {
        // Also those that the descriptor's kind has no use for: others may be opened through it that have.
        let given_up = OfDescriptor { base: !base, inheriting: !inheriting };
        context.given_up().set(fd.cast_unsigned(), given_up);
    }
    Ok(Errno::Success)
}

/// `path_open`.
#[expect(clippy::too_many_arguments, reason = "those of the call")]
pub fn open(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    directory: i32,
    lookup: i32,
    path: i32,
    path_len: i32,
    oflags: i32,
    base: i64,
    inheriting: i64,
    fdflags: i32,
    result: i32,
) -> Result<Errno> {
    let has = |flag: Oflags| oflags & i32::from(u16::from(flag)) != 0;
    let mut needed = Rights::empty();
    if has(Oflags::CREAT) {
        needed |= Rights::PATH_CREATE_FILE;
    }
    if has(Oflags::TRUNC) {
        needed |= Rights::PATH_FILESTAT_SET_SIZE;
    }
    let asked = Rights::from_bits_truncate(base.cast_unsigned());
    let may_not_have = context.given_up().of(directory.cast_unsigned()).inheriting;
    if !context.given_up().leave(directory, needed) || asked.intersects(may_not_have) {
        return Ok(Errno::Notcapable);
    }
    // `wasi-common` takes no others, and some guests ask for all that there may ever be.
    let base = asked.bits().cast_signed();
    let inheriting = Rights::from_bits_truncate(inheriting.cast_unsigned()).bits().cast_signed();
    opening(context, memory, directory, result, |context, memory| {
        uncorrected::path_open(
            context, memory, directory, lookup, path, path_len, oflags, base, inheriting, fdflags,
            result,
        )
    })
}

/// Opens a descriptor through `parent` by `open`, which puts its number at `result`.
pub fn opening(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    parent: i32,
    result: i32,
    open: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<Errno>,
) -> Result<Errno> {
    let result = GuestPtr::<u32>::new(result.cast_unsigned());
    // Not only afterwards: it would be open, and nobody would know which.
    if let Err(error) = memory.read(result) {
        return errno::from_error(error.into());
    }
    let errno = open(context, memory)?;
    if errno == Errno::Success {
        let fd = memory.read(result)?;
        context.given_up().opened(parent.cast_unsigned(), fd);
    }
    Ok(errno)
}

/// `fd_close`. Whoever gets the number next begins anew.
pub fn close(context: &mut WasiCtx, memory: &mut GuestMemory<'_>, fd: i32) -> Result<Errno> {
    let errno = uncorrected::fd_close(context, memory, fd)?;
    if errno == Errno::Success {
        context.given_up().closed(fd.cast_unsigned());
    }
    Ok(errno)
}

/// `fd_renumber`. Rights are the descriptor's, not the number's.
pub fn renumber(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    from: i32,
    to: i32,
) -> Result<Errno> {
    let errno = uncorrected::fd_renumber(context, memory, from, to)?;
    if errno == Errno::Success {
        context.given_up().renumbered(from.cast_unsigned(), to.cast_unsigned());
    }
    Ok(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_through_a_descriptor_has_given_up_what_that_may_not_pass_on() {
        let mut given_up = GivenUp::default();
        given_up.set(
            3,
            OfDescriptor { base: Rights::PATH_OPEN, inheriting: Rights::FD_READ | Rights::FD_SEEK },
        );
        assert!(!given_up.leave(3, Rights::PATH_OPEN | Rights::FD_READDIR));
        assert!(given_up.leave(3, Rights::FD_READ));
        given_up.opened(3, 4);
        assert!(!given_up.leave(4, Rights::FD_SEEK));
        assert!(given_up.leave(4, Rights::PATH_OPEN));
        given_up.opened(4, 5);
        assert!(!given_up.leave(5, Rights::FD_READ));
    }

    #[test]
    fn rights_follow_the_descriptor_not_the_number() {
        let mut given_up = GivenUp::default();
        given_up.set(3, OfDescriptor { base: Rights::FD_READ, inheriting: Rights::empty() });
        given_up.renumbered(3, 7);
        assert!(given_up.leave(3, Rights::FD_READ));
        assert!(!given_up.leave(7, Rights::FD_READ));
        given_up.renumbered(4, 7);
        assert!(given_up.leave(7, Rights::FD_READ));
        given_up.set(7, OfDescriptor { base: Rights::FD_READ, inheriting: Rights::empty() });
        given_up.closed(7);
        assert!(given_up.leave(7, Rights::FD_READ));
        assert!(given_up.0.is_empty());
    }
}
