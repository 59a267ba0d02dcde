//! Address ranges that are reserved at once and made accessible bit by bit.

use anyhow::Context as _;
use std::ptr::NonNull;

/// A range of addresses of this process, whose start is accessible for reading and writing, and the
/// rest for nothing.
pub(crate) struct Reservation {
    base: NonNull<u8>,
    len: usize,
    accessible: usize,
}

// SAFETY: a range of memory belongs to no thread.
unsafe impl Send for Reservation {}
// SAFETY: shared access gives out nothing but addresses.
unsafe impl Sync for Reservation {}

/// Size of a page of the host.
pub(crate) fn host_page_size() -> usize {
    use std::sync::OnceLock;
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: `sysconf` has no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    })
}

/// `bytes` rounded up to whole pages of the host.
fn round_up(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(host_page_size())
}

impl Reservation {
    /// Reserves `bytes` bytes, rounded up to pages; nothing is accessible.
    pub(crate) fn new(bytes: usize) -> anyhow::Result<Reservation> {
        let len = round_up(bytes.max(1)).context("address range too large")?;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot reserve {len} bytes of address space"));
        }
        Ok(Reservation {
            base: NonNull::new(base.cast()).context("mapping at address 0")?,
            len,
            accessible: 0,
        })
    }

    /// The first address.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes reserved.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes at least the first `bytes` bytes accessible, whole pages at a time; what was accessible
    /// remains so. New bytes are zero.
    pub(crate) fn make_accessible(&mut self, bytes: usize) -> anyhow::Result<()> {
        let end = self.end(bytes).context("beyond the reservation")?;
        if end > self.accessible {
            self.protect(end, libc::PROT_READ | libc::PROT_WRITE)
                .with_context(|| format!("cannot make {end} bytes accessible"))?;
            self.accessible = end;
        }
        Ok(())
    }

    /// Whether the first `bytes` bytes can be made accessible. The system is asked by doing it, and taking it
    /// back before anybody can have used them: what it has set aside for that it keeps.
    pub(crate) fn can_make_accessible(&self, bytes: usize) -> bool {
        let Some(end) = self.end(bytes) else { return false };
        end <= self.accessible
            || self.protect(end, libc::PROT_READ | libc::PROT_WRITE).is_ok()
                && self.protect(end, libc::PROT_NONE).is_ok()
    }

    /// Where the pages of the first `bytes` bytes end, if that is in the reservation.
    fn end(&self, bytes: usize) -> Option<usize> {
        round_up(bytes).filter(|end| *end <= self.len)
    }

    /// Sets what the bytes up to `end` can be used for that have not been made accessible.
    fn protect(&self, end: usize, protection: libc::c_int) -> std::io::Result<()> {
        // SAFETY: the range lies within the reservation, and is not accessible, so that nobody relies on what
        // happens there.
        let status = unsafe {
            libc::mprotect(
                self.base.as_ptr().add(self.accessible).cast(),
                end - self.accessible,
                protection,
            )
        };
        if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and is given back once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_zeroes_and_keeps_what_was_written() {
        let mut range = Reservation::new(1 << 20).unwrap();
        range.make_accessible(1).unwrap();
        // SAFETY: the first page is accessible.
        unsafe {
            assert_eq!(*range.base(), 0);
            *range.base() = 7;
        }
        range.make_accessible(1 << 20).unwrap();
        // SAFETY: all is accessible.
        unsafe {
            assert_eq!(*range.base(), 7);
            assert_eq!(*range.base().add((1 << 20) - 1), 0);
        }
        assert!(range.make_accessible((1 << 20) + 1).is_err());
        assert!(range.can_make_accessible(1 << 20) && !range.can_make_accessible((1 << 20) + 1));
    }

    #[test]
    fn too_large_is_an_error() {
        assert!(Reservation::new(usize::MAX).is_err());
        assert!(Reservation::new(1 << 60).is_err());
    }
}
