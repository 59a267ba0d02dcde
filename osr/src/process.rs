//! In which process something was made.
//!
//! After `fork` the child has a copy of everything but two things: code memory is one and the same in both processes,
//! and threads are gone in the child, with whatever they were in the midst of. So what has to do with code can only be
//! used in the process that made it, and has to know when it is not there.
//!
//! A word is kept in a page that the system clears in each child (`MADV_WIPEONFORK`), however that comes into being.
//! Where the system is too old for that, a handler of `pthread_atfork` clears the word. To ask whether one still is
//! where one was is two loads.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The number of this process, 0 if it has none yet.
static NUMBER: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const WITHOUT_PAGE).cast_mut());

/// The word until there is a page, and where there can be none.
static WITHOUT_PAGE: AtomicU64 = AtomicU64::new(0);

/// The last number that was given to this process or one that it comes from.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Bytes of a page.
const PAGE: usize = 4096;

/// A process, as distinct from those that it was forked from and those that are forked from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process(u64);

impl Process {
    /// This process.
    pub fn current() -> Process {
        let number = prepared();
        let known = number.load(Ordering::Relaxed);
        if known != 0 {
            return Process(known);
        }
        // Counted before it is given: a child of this process never gets the same one.
        let new = LAST.fetch_add(1, Ordering::SeqCst) + 1;
        match number.compare_exchange(0, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Process(new),
            Err(other) => Process(other),
        }
    }

    /// Whether this still is that process, and not one that was forked from it.
    #[inline(always)]
    pub fn is_current(self) -> bool {
        // SAFETY: the word is a static, or lies in a page that is never unmapped.
        let number = unsafe { &*NUMBER.load(Ordering::Acquire) };
        number.load(Ordering::Relaxed) == self.0
    }

    /// Fails in a process that was forked from it.
    #[inline(always)]
    pub fn check(self) -> Result<(), OtherProcess> {
        if self.is_current() { Ok(()) } else { Err(OtherProcess) }
    }

    /// # Panics
    /// In a process that was forked from it.
    #[inline(always)]
    #[track_caller]
    pub fn assert_current(self) {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
    }
}

/// What was made before a `fork` has been used in the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct OtherProcess;

impl std::fmt::Display for OtherProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "this belongs to the process that the present one was forked from, and can be used there only: \
             after a fork the child has to make an engine of its own",
        )
    }
}

impl std::error::Error for OtherProcess {}

/// The word with the number, which is cleared in children from now on.
fn prepared() -> &'static AtomicU64 {
    let without = (&raw const WITHOUT_PAGE).cast_mut();
    if NUMBER.load(Ordering::Acquire) == without
        && let Some(page) = page_that_children_find_cleared()
    {
        let (swap, keep) = (Ordering::AcqRel, Ordering::Acquire);
        if NUMBER.compare_exchange(without, page, swap, keep).is_err() {
            // SAFETY: another thread was faster, and nobody knows of this page.
            unsafe { libc::munmap(page.cast(), PAGE) };
        }
    }
    // SAFETY: the word is a static, or lies in a page that is never unmapped.
    unsafe { &*NUMBER.load(Ordering::Acquire) }
}

/// The word in a page of its own. `None` if the system cannot do that; then the other word is cleared in children.
fn page_that_children_find_cleared() -> Option<*mut AtomicU64> {
    // SAFETY: a fresh private page, which is given back if it is no good.
    unsafe {
        let (access, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), PAGE, access, private, -1, 0);
        if page != libc::MAP_FAILED {
            if libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) == 0 {
                return Some(page.cast());
            }
            libc::munmap(page, PAGE);
        }
    }
    clear_in_children();
    None
}

/// Has the word that lies in no page cleared by a handler in children. Those that the C library does not know of keep
/// it.
fn clear_in_children() {
    extern "C" fn clear() {
        WITHOUT_PAGE.store(0, Ordering::SeqCst);
    }
    static REGISTERED: AtomicU64 = AtomicU64::new(0);
    if REGISTERED.swap(1, Ordering::SeqCst) == 0 {
        // SAFETY: the handler does nothing but a store.
        unsafe { libc::pthread_atfork(None, None, Some(clear)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_have_one_number() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(Process::current)).collect();
        let here = Process::current();
        assert!(here.is_current());
        for thread in threads {
            assert_eq!(thread.join().unwrap(), here);
        }
    }

    #[test]
    fn the_word_without_a_page_is_cleared_in_children_too() {
        // The other word is in use.
        Process::current();
        WITHOUT_PAGE.store(7, Ordering::SeqCst);
        clear_in_children();
        // SAFETY: the child does nothing but end.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(WITHOUT_PAGE.load(Ordering::SeqCst) as i32);
            }
            child
        };
        let mut status = 0;
        // SAFETY: plain system call with a valid place for the status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
        assert_eq!(WITHOUT_PAGE.load(Ordering::SeqCst), 7);
        WITHOUT_PAGE.store(0, Ordering::SeqCst);
    }
}
