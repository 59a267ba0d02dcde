//! The code heap: the memory that machine code lives in.
//!
//! One reserved range per heap, so that all code lies within 2 GiB, backed by a memory file that is
//! mapped twice: read-execute at the addresses that run, read-write at an alias. No page is writable and
//! executable through one address. Allocation is best fit with coalescing in granules of 64 bytes.
//!
//! Freed bytes are filled with `int3`, wait in quarantine until the next barrier (after which no
//! processor can still hold them decoded), and are reused; page runs without any code are given back to
//! the system.
//!
//! A child that is forked shares the bytes with its parent, but has books of its own. So it does nothing to them:
//! there the heap publishes no code and frees none.
//!
//! ```text
//!   code_start                                             code_start + code_len
//!   | entry thunks (8 bytes each, up to MAX_THUNKS) | code objects ...        |
//! ```

mod space;

use super::registry;
use crate::code::code_object::{CodeDescription, CodeObject, CodeState};
use crate::process::{OtherProcess, Process};
use space::Space;
use std::any::Any;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Alignment and unit of allocation, in bytes.
pub(crate) const GRANULE: usize = 64;
/// Unit in which empty memory is given back: one page of the owner map covers just this much code.
const RELEASE_UNIT: usize = 512 * GRANULE;
/// The byte that freed code is filled with: `int3`.
pub const POISON: u8 = 0xcc;
const THUNK_BYTES: usize = 8;
const MAX_THUNKS: usize = 1 << 20;
const THUNK_AREA: usize = THUNK_BYTES * MAX_THUNKS;
/// The quarantine is emptied at this many objects or bytes.
const QUARANTINE_OBJECTS: usize = 64;
const QUARANTINE_BYTES: usize = 2 << 20;
/// Memory that is kept for new code although it is empty: giving it back and faulting it in again costs
/// more than publishing does.
const SLACK_BYTES: u64 = 8 << 20;

/// Why code cannot be published.
#[derive(Debug)]
#[non_exhaustive]
pub enum CodeHeapError {
    /// The reserved range is full.
    OutOfCodeSpace {
        /// Bytes that were asked for.
        wanted: usize,
    },
    /// The system refused memory.
    System(&'static str, std::io::Error),
    /// Too many heaps in this process, or more functions than thunks.
    TooMany(&'static str),
    /// The heap belongs to the process that this one was forked from.
    OtherProcess(OtherProcess),
}

impl std::fmt::Display for CodeHeapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CodeHeapError::OutOfCodeSpace { wanted } => {
                write!(f, "out of code space: no room for {wanted} bytes")
            }
            CodeHeapError::System(what, error) => write!(f, "code heap: {what}: {error}"),
            CodeHeapError::TooMany(what) => write!(f, "code heap: too many {what}"),
            CodeHeapError::OtherProcess(error) => write!(f, "code heap: {error}"),
        }
    }
}

impl std::error::Error for CodeHeapError {}

impl From<OtherProcess> for CodeHeapError {
    fn from(error: OtherProcess) -> CodeHeapError {
        CodeHeapError::OtherProcess(error)
    }
}

/// Counters of a code heap. Bytes are rounded up to granules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeHeapStats {
    /// Bytes of live and retired code.
    pub live_bytes: u64,
    /// Most that `live_bytes` ever was.
    pub peak_bytes: u64,
    /// Bytes freed since the heap was made.
    pub freed_bytes: u64,
    /// Bytes in quarantine.
    pub quarantined_bytes: u64,
    /// Code objects whose bytes are there.
    pub live_objects: u64,
    /// Code objects published since the heap was made.
    pub published: u64,
    /// Code objects freed since the heap was made.
    pub freed: u64,
    /// Barriers made so that freed memory could be reused.
    pub barriers: u64,
    /// Bytes given back to the system.
    pub released_bytes: u64,
    /// Bytes that may have memory behind them: those of live code, and of what is kept for new code.
    pub committed_bytes: u64,
}

/// What a heap held at one moment: all counters and lists agree with each other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CodeHeapSnapshot {
    /// The counters.
    pub stats: CodeHeapStats,
    /// All objects whose bytes are there, by address.
    pub objects: Vec<Arc<CodeObject>>,
    /// Address and length of what is in quarantine.
    pub quarantined: Vec<(usize, usize)>,
    /// Bytes of address space that are set aside for entry thunks.
    pub thunk_area_bytes: u64,
    /// Bytes of the entry thunks that have been made.
    pub thunk_bytes: u64,
    /// Bytes that new code can have at once.
    pub free_bytes: u64,
    /// Bytes of address space: thunk area, live, quarantined and free.
    pub reserved_bytes: u64,
}

/// Memory for machine code. See the module's documentation.
pub struct CodeHeap {
    /// The range that code runs in.
    code: Mapping,
    /// The writable alias of `code`.
    writable: Mapping,
    /// Owner of every granule: see [`CodeHeap::owners`].
    owners: Mapping,
    file: OwnedFd,
    slot: usize,
    space: Mutex<Space>,
    process: Process,
}

/// A mapping of this process's, unmapped when it is dropped.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a range of addresses belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access gives out nothing but addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A new mapping of `len` bytes; anonymous without a file.
    fn new(
        what: &'static str,
        len: usize,
        protection: libc::c_int,
        file: Option<&OwnedFd>,
    ) -> Result<Mapping, CodeHeapError> {
        let (kind, file) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a fresh mapping at an address of the system's choice.
        let address = unsafe {
            let null = std::ptr::null_mut();
            libc::mmap(null, len, protection, kind | libc::MAP_NORESERVE, file, 0)
        };
        let base = NonNull::new(address.cast::<u8>()).filter(|_| address != libc::MAP_FAILED);
        let base = base.ok_or_else(|| system_error(what))?;
        Ok(Mapping { base, len })
    }

    fn address(&self) -> usize {
        self.base.as_ptr() as usize
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody uses it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn system_error(what: &'static str) -> CodeHeapError {
    CodeHeapError::System(what, std::io::Error::last_os_error())
}

impl CodeHeap {
    /// Reserves `capacity` bytes of address space for code (rounded up; at most 2 GiB minus the
    /// thunks). No memory is used until code is published.
    pub fn new(capacity: usize) -> Result<CodeHeap, CodeHeapError> {
        register_for_barriers();
        let capacity = capacity.clamp(RELEASE_UNIT, (2 << 30) - THUNK_AREA);
        let len = THUNK_AREA + capacity.next_multiple_of(RELEASE_UNIT);
        // SAFETY: a system call with a valid name; the descriptor, if there is one, is nobody else's.
        let file = unsafe {
            let file = libc::memfd_create(c"midair-code".as_ptr(), libc::MFD_CLOEXEC);
            if file < 0 {
                return Err(system_error("memfd_create"));
            }
            OwnedFd::from_raw_fd(file)
        };
        // SAFETY: a system call without pointers.
        if unsafe { libc::ftruncate(file.as_raw_fd(), len as libc::off_t) } != 0 {
            return Err(system_error("ftruncate"));
        }
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let code = Mapping::new("mapping code", len, read | libc::PROT_EXEC, Some(&file))?;
        let writable = Mapping::new("mapping the writable alias", len, write, Some(&file))?;
        // Zeroed memory is an array of null pointers.
        let owners_len = len / GRANULE * size_of::<AtomicPtr<CodeObject>>();
        let owners = Mapping::new("mapping the owner map", owners_len, write, None)?;
        let slot = registry::register(code.address(), len, owners.base.cast())
            .ok_or(CodeHeapError::TooMany("heaps"))?;
        let mut space = Space::new(len);
        space.insert_free(THUNK_AREA, len - THUNK_AREA);
        let (space, process) = (Mutex::new(space), Process::current());
        Ok(CodeHeap { code, writable, owners, file, slot, space, process })
    }

    /// The process that made it, in which alone it publishes and frees code, and in which alone its code runs.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Owner of every granule; null where there is no code.
    fn owners(&self) -> &[AtomicPtr<CodeObject>] {
        // SAFETY: the mapping has so many elements, is readable and writable, and lives as long as `self`.
        unsafe {
            std::slice::from_raw_parts(self.owners.base.as_ptr().cast(), self.code.len / GRANULE)
        }
    }

    /// Runs `f` on the code object of this heap that holds `pc`. Takes no lock and makes no system call:
    /// signal handlers can ask.
    ///
    /// # Safety
    /// The object must not be freed meanwhile: a thread is running at `pc`, or the caller holds it.
    pub unsafe fn with_object<R>(&self, pc: usize, f: impl FnOnce(&CodeObject) -> R) -> Option<R> {
        let offset = pc.wrapping_sub(self.code.address());
        let object = self.owners().get(offset / GRANULE)?.load(Ordering::Acquire);
        // SAFETY: owners are code objects that the heap holds; the caller vouches that this one lives.
        (!object.is_null()).then(|| f(unsafe { &*object }))
    }

    /// # Panics
    /// In another process than the heap's: a thread may have held the lock at the fork that does not exist here.
    fn space(&self) -> MutexGuard<'_, Space> {
        self.process.assert_current();
        // The space is consistent between any two statements that can panic.
        self.space.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The entry thunk with this number: code that puts the number into `eax` and jumps to the callout
    /// stub that its context names. Thunks are made on demand and stay.
    pub fn entry_thunk(&self, number: u32) -> Result<*const u8, CodeHeapError> {
        let wanted = number as usize + 1;
        if wanted > MAX_THUNKS {
            return Err(CodeHeapError::TooMany("entry thunks"));
        }
        self.process.check()?;
        let mut space = self.space();
        if space.thunks < wanted {
            let until = wanted.next_power_of_two().clamp(64, MAX_THUNKS);
            for i in space.thunks..until {
                let mut thunk = [POISON; THUNK_BYTES];
                thunk[0] = 0xb8; // mov eax, imm32
                thunk[1..5].copy_from_slice(&(i as u32).to_le_bytes());
                thunk[5..7].copy_from_slice(&[0xff, 0x27]); // jmp [rdi]
                // SAFETY: thunk `i` lies in the thunk area, and nothing runs it yet.
                unsafe {
                    let at = (self.writable.address() + i * THUNK_BYTES) as *mut [u8; THUNK_BYTES];
                    *at = thunk;
                }
            }
            space.thunks = until;
        }
        Ok((self.code.address() + number as usize * THUNK_BYTES) as *const u8)
    }

    /// Whether the address is that of an entry thunk of this heap.
    pub fn is_entry_thunk(&self, address: *const u8) -> bool {
        (address as usize).wrapping_sub(self.code.address()) < THUNK_AREA
    }

    /// Publishes code. It can be run as soon as this returns.
    pub fn publish(
        &self,
        description: CodeDescription,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Arc<CodeObject>, CodeHeapError> {
        self.process.check()?;
        let len = description.bytes.len();
        let size = heap_bytes(len);
        self.empty_full_quarantine();
        let mut space = self.space();
        let offset = match space.take_free(size) {
            Some(offset) => offset,
            None => {
                self.empty_quarantine(&mut space);
                space.take_free(size).ok_or(CodeHeapError::OutOfCodeSpace { wanted: len })?
            }
        };
        // SAFETY: the range was free, so nothing runs or reads it; the alias covers the whole heap.
        unsafe {
            let at = (self.writable.address() + offset) as *mut u8;
            std::ptr::copy_nonoverlapping(description.bytes.as_ptr(), at, len);
            std::ptr::write_bytes(at.add(len), POISON, size - len);
        }
        space.next_id += 1;
        let start = self.code.address() + offset;
        let object = Arc::new(CodeObject::new(space.next_id, start, description, owner));
        let owner = Arc::as_ptr(&object).cast_mut();
        for granule in &self.owners()[offset / GRANULE..(offset + size) / GRANULE] {
            granule.store(owner, Ordering::Release);
        }
        space.insert_live(offset, object.clone());
        Ok(object)
    }

    /// Frees the bytes of a code object: poisons them and puts them into quarantine, which is emptied if it is
    /// full. Its tables live on with the object. Does nothing if they were freed before, and nothing in another
    /// process than the heap's.
    ///
    /// # Safety
    /// No machine code of the object can run again: nothing refers to its entry, and every frame that was
    /// suspended in it has been redirected or is gone.
    pub unsafe fn free(&self, object: &CodeObject) {
        // SAFETY: as the caller vouches.
        unsafe { self.free_into_quarantine(object) };
        self.empty_full_quarantine();
    }

    /// Whether nobody else works on the heap at the moment, so that freeing has to wait for nobody.
    pub fn is_idle(&self) -> bool {
        self.process.is_current() && self.space.try_lock().is_ok()
    }

    /// Empties the quarantine if it is full.
    pub fn empty_full_quarantine(&self) {
        if !self.process.is_current() {
            return;
        }
        let space = &mut *self.space();
        if space.quarantine.len() >= QUARANTINE_OBJECTS
            || space.stats.quarantined_bytes >= QUARANTINE_BYTES as u64
        {
            self.empty_quarantine(space);
        }
    }

    /// Frees the bytes of a code object as [`CodeHeap::free`] does, in less than a microsecond for a few KiB. The
    /// barrier that empties a full quarantine is left to others, who call
    /// [`CodeHeap::empty_full_quarantine`] or publish code.
    ///
    /// # Safety
    /// As for [`CodeHeap::free`].
    pub unsafe fn free_into_quarantine(&self, object: &CodeObject) {
        let offset = (object.start() as usize).wrapping_sub(self.code.address());
        assert!(offset < self.code.len, "a code object of another heap");
        if !self.process.is_current() {
            return;
        }
        let size = object.heap_bytes();
        let mut space = self.space();
        if !object.mark_freed() {
            return;
        }
        // SAFETY: nothing runs these bytes any more, as the caller vouches.
        unsafe {
            std::ptr::write_bytes((self.writable.address() + offset) as *mut u8, POISON, size)
        };
        for granule in &self.owners()[offset / GRANULE..(offset + size) / GRANULE] {
            granule.store(std::ptr::null_mut(), Ordering::Release);
        }
        let held = space.quarantine_live(offset);
        drop(space);
        drop(held);
    }

    /// Makes all freed memory reusable and gives empty page runs back to the system. Does nothing in another process
    /// than the heap's.
    pub fn collect(&self) {
        if !self.process.is_current() {
            return;
        }
        let space = &mut *self.space();
        self.empty_quarantine(space);
        let runs: Vec<(usize, usize)> = space.by_offset.iter().map(|(&o, &s)| (o, s)).collect();
        for (offset, size) in runs {
            self.release(space, offset, size);
        }
    }

    /// Counters.
    ///
    /// # Panics
    /// In another process than the heap's.
    pub fn stats(&self) -> CodeHeapStats {
        self.space().stats
    }

    /// Everything that the heap holds now.
    ///
    /// # Panics
    /// In another process than the heap's.
    pub fn snapshot(&self) -> CodeHeapSnapshot {
        let space = self.space();
        let start = self.code.address();
        CodeHeapSnapshot {
            stats: space.stats,
            objects: space.live.values().cloned().collect(),
            quarantined: space.quarantine.iter().map(|&(o, size)| (start + o, size)).collect(),
            thunk_area_bytes: THUNK_AREA as u64,
            thunk_bytes: (space.thunks * THUNK_BYTES) as u64,
            free_bytes: space.by_offset.values().map(|&size| size as u64).sum(),
            reserved_bytes: self.code.len as u64,
        }
    }

    /// Bytes of memory that the system has given to the heap's file, as the system counts them.
    pub fn resident_bytes(&self) -> std::io::Result<u64> {
        // SAFETY: zeroes are a valid `stat`, which the call fills.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(self.file.as_raw_fd(), &mut stat) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // In units of 512 bytes, whatever the file system's block size.
            Ok(stat.st_blocks as u64 * 512)
        }
    }

    /// Whether the bytes that a freed object had are no code any more: see [`CodeHeap::is_free`].
    pub fn is_poisoned(&self, object: &CodeObject) -> bool {
        object.state() == CodeState::Freed && self.is_free(object.start() as usize, object.len())
    }

    /// Whether there is no code in `len` bytes at this address: each is poison, or part of a newer object,
    /// or has been given back to the system.
    ///
    /// # Panics
    /// In another process than the heap's.
    pub fn is_free(&self, address: usize, len: usize) -> bool {
        let offset = address.wrapping_sub(self.code.address());
        if offset >= self.code.len || len > self.code.len - offset {
            return false;
        }
        // Held so that nothing is published there meanwhile.
        let space = self.space();
        (offset..offset + len).all(|at| {
            let owner = self.owners()[at / GRANULE].load(Ordering::Acquire);
            // Reading what has been given back would ask for memory again.
            if !owner.is_null() || at >= THUNK_AREA && !space.is_populated(at) {
                return true;
            }
            // SAFETY: the alias is readable over the whole heap.
            let byte = unsafe { *((self.writable.address() + at) as *const u8) };
            byte == POISON || byte == 0
        })
    }

    fn empty_quarantine(&self, space: &mut Space) {
        if space.quarantine.is_empty() {
            return;
        }
        barrier();
        space.stats.barriers += 1;
        let grown = space.end_quarantine();
        if space.stats.committed_bytes <= space.stats.live_bytes + SLACK_BYTES {
            return;
        }
        for offset in grown {
            // A run may have been swallowed by its left neighbour meanwhile; that one is listed too.
            if let Some(&size) = space.by_offset.get(&offset) {
                self.release(space, offset, size);
            }
        }
    }

    /// Gives the memory behind whole release units of a free run back to the system.
    fn release(&self, space: &mut Space, offset: usize, size: usize) {
        let end = offset + size;
        let mut from = offset;
        while let Some(units) = space.take_populated(from..end) {
            from = units.end;
            // SAFETY: the units lie in a free run: no code, no owner. Both mappings see zeros afterwards.
            unsafe {
                let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let (at, len) = (units.start as libc::off_t, units.len() as libc::off_t);
                if libc::fallocate(self.file.as_raw_fd(), flags, at, len) == 0 {
                    space.stats.released_bytes += units.len() as u64;
                }
                let owners = &self.owners()[units.start / GRANULE..units.end / GRANULE];
                let bytes = size_of_val(owners);
                libc::madvise(owners.as_ptr() as *mut libc::c_void, bytes, libc::MADV_DONTNEED);
            }
        }
    }
}

/// Bytes that code of `len` bytes takes in a heap.
pub(crate) fn heap_bytes(len: usize) -> usize {
    len.max(1).next_multiple_of(GRANULE)
}

impl Drop for CodeHeap {
    fn drop(&mut self) {
        // From here on no look-up finds the heap. Nobody looks for its code, for nothing runs it.
        registry::unregister(self.slot);
        let space = self.space.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for object in space.live.values() {
            object.mark_freed();
        }
        // The mappings and the file go with the fields.
    }
}

impl std::fmt::Debug for CodeHeap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = self.process.is_current().then(|| self.stats());
        f.debug_struct("CodeHeap").field("stats", &stats).finish_non_exhaustive()
    }
}

/// `membarrier` commands of <linux/membarrier.h>.
const PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 5;
const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 6;

/// Tells the system that barriers will be asked for: see [`prepare_process`](crate::prepare_process).
pub(crate) fn register_for_barriers() {
    // SAFETY: a system call without pointers. Where it does not exist, `barrier` falls back.
    unsafe {
        libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
    }
}

/// After this, every thread of the process has executed a serialising instruction since the call: none
/// can run instructions that it fetched from memory before it was freed.
fn barrier() {
    // SAFETY: a system call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) };
    if result != 0 {
        // Old kernels.
        crate::sync::interrupt_processors();
    }
}

#[cfg(test)]
mod tests;
