//! From what went wrong to the number that the guest gets.

use anyhow::Result;
use std::io;
use wasi_common::snapshots::preview_1::types::Errno;
use wiggle::GuestError;

/// The number for an error of a system call, or the error again if it is none that a guest can be told.
///
/// `wasi-common` ends the guest at errors of the system that it does not know, at pointers to outside of the
/// memory, and at flags and numbers that the interface does not have. A program has to be able to go on after either, as it would elsewhere.
pub fn from_error(error: anyhow::Error) -> Result<Errno> {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Ok(from_io(error));
        }
        if let Some(error) = cause.downcast_ref::<GuestError>() {
            return Ok(from_guest(error));
        }
    }
    Err(error)
}

/// What is wrong with what the guest passed.
fn from_guest(error: &GuestError) -> Errno {
    match error {
        GuestError::PtrOverflow
        | GuestError::PtrOutOfBounds(_)
        | GuestError::SliceLengthsDiffer => Errno::Fault,
        GuestError::PtrNotAligned(..)
        | GuestError::InvalidFlagValue(_)
        | GuestError::InvalidEnumValue(_)
        | GuestError::TryFromIntError(_) => Errno::Inval,
        GuestError::InvalidUtf8(_) => Errno::Ilseq,
        // Says where.
        GuestError::InFunc { err, .. } => from_guest(err),
    }
}

/// What `wasi-common` does not know, and what else there is.
fn from_io(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::ECHILD) => Errno::Child,
        Some(libc::EDEADLK) => Errno::Deadlk,
        Some(libc::EDOM) => Errno::Dom,
        Some(libc::ENETUNREACH) => Errno::Netunreach,
        Some(libc::ENODEV) => Errno::Nodev,
        Some(libc::ENOEXEC) => Errno::Noexec,
        Some(libc::ENOLCK) => Errno::Nolck,
        Some(libc::ENOSYS) => Errno::Nosys,
        Some(libc::ENOTTY) => Errno::Notty,
        Some(libc::ENXIO) => Errno::Nxio,
        Some(libc::ERANGE) => Errno::Range,
        Some(libc::EROFS) => Errno::Rofs,
        Some(libc::ETXTBSY) => Errno::Txtbsy,
        Some(libc::EXDEV) => Errno::Xdev,
        _ => Errno::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(error: impl Into<anyhow::Error>) -> Option<Errno> {
        from_error(error.into().context("of a call")).ok()
    }

    #[test]
    fn errors_of_the_system_have_numbers() {
        assert_eq!(number(io::Error::from_raw_os_error(libc::EXDEV)), Some(Errno::Xdev));
        assert_eq!(number(io::Error::from_raw_os_error(libc::EROFS)), Some(Errno::Rofs));
        assert_eq!(number(io::Error::from_raw_os_error(libc::EBADE)), Some(Errno::Io));
        assert_eq!(number(io::Error::other("odd")), Some(Errno::Io));
    }

    #[test]
    fn other_errors_remain() {
        assert_eq!(number(anyhow::anyhow!("no memory")), None);
    }
}
