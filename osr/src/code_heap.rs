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
//! ```text
//!   code_start                                             code_start + code_len
//!   | entry thunks (8 bytes each, up to MAX_THUNKS) | code objects ...        |
//! ```

use crate::code_object::{CodeDescription, CodeObject, CodeState};
use crate::{registry, trap_signal};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
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

/// What look-ups need of a heap. Read without a lock, also by threads that run code of other heaps and
/// have found this one just before it was dropped: so it is never freed.
pub(crate) struct HeapMap {
    pub(crate) code_start: usize,
    pub(crate) code_len: usize,
    /// Owner of every granule.
    pub(crate) owners: &'static [AtomicPtr<CodeObject>],
}

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
}

impl std::fmt::Display for CodeHeapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CodeHeapError::OutOfCodeSpace { wanted } => {
                write!(f, "out of code space: no room for {wanted} bytes")
            }
            CodeHeapError::System(what, error) => write!(f, "code heap: {what}: {error}"),
            CodeHeapError::TooMany(what) => write!(f, "code heap: too many {what}"),
        }
    }
}

impl std::error::Error for CodeHeapError {}

/// Counters of a code heap. Bytes are rounded up to granules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

#[derive(Default)]
struct Space {
    /// Free runs by offset.
    by_offset: BTreeMap<usize, usize>,
    /// The same by size.
    by_size: BTreeSet<(usize, usize)>,
    quarantine: Vec<(usize, usize)>,
    stats: CodeHeapStats,
    next_id: u64,
    thunks: usize,
    /// Which release units may have memory behind them.
    populated: Vec<u64>,
    /// Bytes of those.
    populated_bytes: u64,
}

/// Memory for machine code. See the module's documentation.
pub struct CodeHeap {
    map: &'static HeapMap,
    slot: usize,
    /// Address of the writable alias of `code_start`.
    writable: usize,
    file: libc::c_int,
    space: Mutex<Space>,
}

impl CodeHeap {
    /// Reserves `capacity` bytes of address space for code (rounded up; at most 2 GiB minus the
    /// thunks). No memory is used until code is published.
    pub fn new(capacity: usize) -> Result<CodeHeap, CodeHeapError> {
        trap_signal::install();
        let system = |what| CodeHeapError::System(what, std::io::Error::last_os_error());
        let capacity = capacity.clamp(RELEASE_UNIT, (2 << 30) - THUNK_AREA);
        let len = THUNK_AREA + capacity.next_multiple_of(RELEASE_UNIT);
        // SAFETY: fresh mappings only; every result is checked.
        unsafe {
            let file = libc::memfd_create(c"midair-code".as_ptr(), libc::MFD_CLOEXEC);
            if file < 0 {
                return Err(system("memfd_create"));
            }
            let map = |protection, flags, file, len| {
                let null = std::ptr::null_mut();
                let address = libc::mmap(null, len, protection, flags, file, 0);
                (address != libc::MAP_FAILED).then_some(address as usize)
            };
            let shared = libc::MAP_SHARED | libc::MAP_NORESERVE;
            let mapped = (|| {
                if libc::ftruncate(file, len as libc::off_t) != 0 {
                    return Err(system("ftruncate"));
                }
                let run = map(libc::PROT_READ | libc::PROT_EXEC, shared, file, len)
                    .ok_or_else(|| system("mapping code"))?;
                let write = map(libc::PROT_READ | libc::PROT_WRITE, shared, file, len)
                    .ok_or_else(|| system("mapping the writable alias"))?;
                let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                let owners = map(
                    libc::PROT_READ | libc::PROT_WRITE,
                    private,
                    -1,
                    len / GRANULE * size_of::<usize>(),
                )
                .ok_or_else(|| system("mapping the owner map"))?;
                Ok((run, write, owners))
            })();
            let (run, write, owners) = mapped.inspect_err(|_| {
                libc::close(file);
            })?;
            // Zeroed memory is an array of null pointers.
            let owners =
                std::slice::from_raw_parts(owners as *const AtomicPtr<CodeObject>, len / GRANULE);
            let map = &*Box::leak(Box::new(HeapMap { code_start: run, code_len: len, owners }));
            let slot = registry::register(map).ok_or(CodeHeapError::TooMany("heaps"))?;
            register_for_barriers();
            let mut space =
                Space { populated: vec![0; len / RELEASE_UNIT / 64 + 1], ..Space::default() };
            space.insert_free(THUNK_AREA, len - THUNK_AREA);
            Ok(CodeHeap { map, slot, writable: write, file, space: Mutex::new(space) })
        }
    }

    /// Runs `f` on the code object of this heap that holds `pc`. Takes no lock and makes no system call:
    /// signal handlers can ask.
    ///
    /// # Safety
    /// The object must not be freed meanwhile: a thread is running at `pc`, or the caller holds it.
    pub unsafe fn with_object<R>(&self, pc: usize, f: impl FnOnce(&CodeObject) -> R) -> Option<R> {
        let offset = pc.wrapping_sub(self.map.code_start);
        let object = self.map.owners.get(offset / GRANULE)?.load(Ordering::Acquire);
        // SAFETY: owners are code objects that the heap holds; the caller vouches that this one lives.
        (!object.is_null()).then(|| f(unsafe { &*object }))
    }

    fn space(&self) -> MutexGuard<'_, Space> {
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
                    let at = (self.writable + i * THUNK_BYTES) as *mut [u8; THUNK_BYTES];
                    *at = thunk;
                }
            }
            space.thunks = until;
        }
        Ok((self.map.code_start + number as usize * THUNK_BYTES) as *const u8)
    }

    /// Whether the address is that of an entry thunk of this heap.
    pub fn is_entry_thunk(&self, address: *const u8) -> bool {
        (address as usize).wrapping_sub(self.map.code_start) < THUNK_AREA
    }

    /// Publishes code. It can be run as soon as this returns.
    pub fn publish(
        &self,
        description: CodeDescription,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Arc<CodeObject>, CodeHeapError> {
        let size = description.bytes.len().max(1).next_multiple_of(GRANULE);
        let mut space = self.space();
        let offset = match space.take_free(size) {
            Some(offset) => offset,
            None => {
                self.empty_quarantine(&mut space);
                space
                    .take_free(size)
                    .ok_or(CodeHeapError::OutOfCodeSpace { wanted: description.bytes.len() })?
            }
        };
        space.mark_populated(offset, size);
        space.next_id += 1;
        space.stats.published += 1;
        space.stats.live_objects += 1;
        space.stats.live_bytes += size as u64;
        space.stats.peak_bytes = space.stats.peak_bytes.max(space.stats.live_bytes);
        let id = space.next_id;
        drop(space);
        // SAFETY: the range was free, so nothing runs or reads it; the alias covers the whole heap.
        unsafe {
            let at = (self.writable + offset) as *mut u8;
            let len = description.bytes.len();
            std::ptr::copy_nonoverlapping(description.bytes.as_ptr(), at, len);
            std::ptr::write_bytes(at.add(len), POISON, size - len);
        }
        let start = self.map.code_start + offset;
        let object = Arc::new(CodeObject::new(id, start, description, owner));
        let owner = Arc::into_raw(object.clone()).cast_mut();
        for granule in &self.map.owners[offset / GRANULE..(offset + size) / GRANULE] {
            granule.store(owner, Ordering::Release);
        }
        Ok(object)
    }

    /// Frees the bytes of a code object: poisons them and puts them into quarantine. Its tables live on
    /// with the object. Does nothing if they were freed before.
    ///
    /// # Safety
    /// No machine code of the object can run again: nothing refers to its entry, and every frame that was
    /// suspended in it has been redirected or is gone.
    pub unsafe fn free(&self, object: &CodeObject) {
        let offset = (object.start() as usize).wrapping_sub(self.map.code_start);
        assert!(offset < self.map.code_len, "a code object of another heap");
        if !object.mark_freed() {
            return;
        }
        let size = object.len().max(1).next_multiple_of(GRANULE);
        // SAFETY: nothing runs these bytes any more, as the caller vouches.
        unsafe { std::ptr::write_bytes((self.writable + offset) as *mut u8, POISON, size) };
        for granule in &self.map.owners[offset / GRANULE..(offset + size) / GRANULE] {
            granule.store(std::ptr::null_mut(), Ordering::Release);
        }
        // SAFETY: the heap held one count since `publish`.
        unsafe { Arc::decrement_strong_count(std::ptr::from_ref(object)) };
        let mut space = self.space();
        space.stats.live_objects -= 1;
        space.stats.live_bytes -= size as u64;
        space.stats.freed_bytes += size as u64;
        space.stats.freed += 1;
        space.stats.quarantined_bytes += size as u64;
        space.quarantine.push((offset, size));
        if space.quarantine.len() >= QUARANTINE_OBJECTS
            || space.stats.quarantined_bytes >= QUARANTINE_BYTES as u64
        {
            self.empty_quarantine(&mut space);
        }
    }

    /// Makes all freed memory reusable and gives empty page runs back to the system.
    pub fn collect(&self) {
        let space = &mut *self.space();
        self.empty_quarantine(space);
        let runs: Vec<(usize, usize)> = space.by_offset.iter().map(|(&o, &s)| (o, s)).collect();
        for (offset, size) in runs {
            self.release(space, offset, size);
        }
    }

    /// Counters.
    pub fn stats(&self) -> CodeHeapStats {
        self.space().stats
    }

    /// Whether the bytes that a freed object had are no code any more: see [`CodeHeap::is_free`].
    pub fn is_poisoned(&self, object: &CodeObject) -> bool {
        object.state() == CodeState::Freed && self.is_free(object.start() as usize, object.len())
    }

    /// Whether there is no code in `len` bytes at this address: each is poison, or part of a newer object,
    /// or has been given back to the system.
    pub fn is_free(&self, address: usize, len: usize) -> bool {
        let offset = address.wrapping_sub(self.map.code_start);
        if offset >= self.map.code_len || len > self.map.code_len - offset {
            return false;
        }
        // Held so that nothing is published there meanwhile.
        let _space = self.space();
        (offset..offset + len).all(|at| {
            let owner = self.map.owners[at / GRANULE].load(Ordering::Acquire);
            // SAFETY: the alias is readable over the whole heap.
            let byte = unsafe { *((self.writable + at) as *const u8) };
            !owner.is_null() || byte == POISON || byte == 0
        })
    }

    fn empty_quarantine(&self, space: &mut Space) {
        if space.quarantine.is_empty() {
            return;
        }
        barrier();
        space.stats.barriers += 1;
        let freed = std::mem::take(&mut space.quarantine);
        let mut grown = BTreeSet::new();
        for (offset, size) in freed {
            space.stats.quarantined_bytes -= size as u64;
            grown.insert(space.insert_free(offset, size));
        }
        if space.populated_bytes <= space.stats.live_bytes + SLACK_BYTES {
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
        let first = offset.div_ceil(RELEASE_UNIT);
        let end = (offset + size) / RELEASE_UNIT;
        for unit in first..end {
            let (word, bit) = (unit / 64, 1u64 << (unit % 64));
            if space.populated[word] & bit == 0 {
                continue;
            }
            space.populated[word] &= !bit;
            space.populated_bytes -= RELEASE_UNIT as u64;
            let start = unit * RELEASE_UNIT;
            // SAFETY: the unit lies in a free run: no code, no owner. Both mappings see zeros afterwards.
            unsafe {
                let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let (at, len) = (start as libc::off_t, RELEASE_UNIT as libc::off_t);
                if libc::fallocate(self.file, flags, at, len) == 0 {
                    space.stats.released_bytes += RELEASE_UNIT as u64;
                }
                let owners = &self.map.owners[start / GRANULE..];
                let bytes = RELEASE_UNIT / GRANULE * size_of::<usize>();
                libc::madvise(owners.as_ptr() as *mut libc::c_void, bytes, libc::MADV_DONTNEED);
            }
        }
    }
}

impl Space {
    /// Adds a free run, merged with its neighbours; returns the offset of the merged run.
    fn insert_free(&mut self, mut offset: usize, mut size: usize) -> usize {
        if let Some((&left, &left_size)) = self.by_offset.range(..offset).next_back()
            && left + left_size == offset
        {
            self.remove(left, left_size);
            offset = left;
            size += left_size;
        }
        if let Some(&right_size) = self.by_offset.get(&(offset + size)) {
            self.remove(offset + size, right_size);
            size += right_size;
        }
        self.by_offset.insert(offset, size);
        self.by_size.insert((size, offset));
        offset
    }

    fn take_free(&mut self, size: usize) -> Option<usize> {
        let &(run, offset) = self.by_size.range((size, 0)..).next()?;
        self.remove(offset, run);
        if run > size {
            self.by_offset.insert(offset + size, run - size);
            self.by_size.insert((run - size, offset + size));
        }
        Some(offset)
    }

    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }

    fn mark_populated(&mut self, offset: usize, size: usize) {
        for unit in offset / RELEASE_UNIT..=(offset + size - 1) / RELEASE_UNIT {
            let (word, bit) = (unit / 64, 1u64 << (unit % 64));
            if self.populated[word] & bit == 0 {
                self.populated[word] |= bit;
                self.populated_bytes += RELEASE_UNIT as u64;
            }
        }
    }
}

impl Drop for CodeHeap {
    fn drop(&mut self) {
        registry::unregister(self.slot);
        let mut granule = THUNK_AREA / GRANULE;
        // The highest address ever used is not kept; free runs tell where code is left.
        let space = self.space.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut free: Vec<(usize, usize)> = space.by_offset.iter().map(|(&o, &s)| (o, s)).collect();
        free.extend(&space.quarantine);
        free.sort_unstable();
        free.push((self.map.code_len, 0));
        for (offset, size) in free {
            let mut last = std::ptr::null();
            for slot in &self.map.owners[granule..offset / GRANULE] {
                let object = slot.load(Ordering::Acquire).cast_const();
                if !object.is_null() && object != last {
                    // SAFETY: the heap holds one count of every object that it has not freed.
                    unsafe {
                        (*object).mark_freed();
                        Arc::decrement_strong_count(object);
                    }
                    last = object;
                }
            }
            granule = (offset + size) / GRANULE;
        }
        // SAFETY: the mappings were made by `new` and nothing runs code of a heap that is dropped.
        unsafe {
            let owners = self.map.owners;
            libc::munmap(owners.as_ptr() as *mut libc::c_void, size_of_val(owners));
            libc::munmap(self.map.code_start as *mut libc::c_void, self.map.code_len);
            libc::munmap(self.writable as *mut libc::c_void, self.map.code_len);
            libc::close(self.file);
        }
    }
}

impl std::fmt::Debug for CodeHeap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeHeap").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// `membarrier` commands of <linux/membarrier.h>.
const PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 5;
const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 6;

fn register_for_barriers() {
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
        // Old kernels: changing a mapping's protection interrupts every processor that runs this process.
        // SAFETY: a fresh private page.
        unsafe {
            let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let page =
                libc::mmap(std::ptr::null_mut(), 4096, read | libc::PROT_WRITE, private, -1, 0);
            if page != libc::MAP_FAILED {
                *page.cast::<u8>() = 1;
                libc::mprotect(page, 4096, read);
                libc::munmap(page, 4096);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(len: usize, fill: u8) -> CodeDescription {
        CodeDescription { bytes: vec![fill; len], ..CodeDescription::default() }
    }

    fn bytes(object: &CodeObject) -> &[u8] {
        // SAFETY: live code is readable.
        unsafe { std::slice::from_raw_parts(object.start(), object.len()) }
    }

    #[test]
    fn published_code_runs() {
        let heap = CodeHeap::new(1 << 20).unwrap();
        // mov eax, 42; ret
        let bytes = vec![0xb8, 42, 0, 0, 0, 0xc3];
        let description = CodeDescription { bytes, ..CodeDescription::default() };
        let object = heap.publish(description, Arc::new(())).unwrap();
        // SAFETY: the bytes are a function of this type.
        let run: extern "sysv64" fn() -> u32 = unsafe { std::mem::transmute(object.start()) };
        assert_eq!(run(), 42);
    }

    #[test]
    fn freed_code_is_poisoned_at_once() {
        let heap = CodeHeap::new(1 << 20).unwrap();
        let object = heap.publish(code(100, 0x90), Arc::new(())).unwrap();
        assert!(!heap.is_poisoned(&object));
        // SAFETY: nothing ever ran it.
        unsafe { heap.free(&object) };
        assert!(heap.is_poisoned(&object));
        assert_eq!(bytes(&object), [POISON; 100]);
        assert_eq!(heap.stats().live_bytes, 0);
    }

    #[test]
    fn empty_memory_is_given_back() {
        let heap = CodeHeap::new(64 << 20).unwrap();
        let publish = || heap.publish(code(100_000, 1), Arc::new(())).unwrap();
        let objects: Vec<_> = (0..200).map(|_| publish()).collect();
        for object in &objects {
            // SAFETY: nothing ever ran it.
            unsafe { heap.free(object) };
        }
        assert!(heap.stats().released_bytes > 8 << 20, "{:?}", heap.stats());
        heap.collect();
        assert!(heap.stats().released_bytes > 19 << 20, "{:?}", heap.stats());
    }

    #[test]
    fn a_full_heap_says_so_and_recovers() {
        let heap = CodeHeap::new(RELEASE_UNIT).unwrap();
        let object = heap.publish(code(RELEASE_UNIT, 1), Arc::new(())).unwrap();
        let full = heap.publish(code(1, 1), Arc::new(()));
        assert!(matches!(full, Err(CodeHeapError::OutOfCodeSpace { wanted: 1 })));
        // SAFETY: nothing ever ran it.
        unsafe { heap.free(&object) };
        assert!(heap.publish(code(1, 1), Arc::new(())).is_ok());
    }

    #[test]
    fn dropping_a_heap_drops_the_owners_of_its_code() {
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(());
        let heap = CodeHeap::new(1 << 20).unwrap();
        for _ in 0..10 {
            heap.publish(code(100, 1), owner.clone()).unwrap();
        }
        drop(heap);
        assert_eq!(Arc::strong_count(&owner), 1);
    }

    proptest! {
        #[test]
        fn live_code_never_overlaps_and_keeps_its_bytes(
            steps in proptest::collection::vec((1usize..5000, any::<prop::sample::Index>(), any::<bool>()), 1..200)
        ) {
            let heap = CodeHeap::new(1 << 20).unwrap();
            let mut live: Vec<(u8, Arc<CodeObject>)> = Vec::new();
            for (i, (len, victim, free)) in steps.into_iter().enumerate() {
                if free && !live.is_empty() {
                    let (_, object) = live.swap_remove(victim.index(live.len()));
                    // SAFETY: nothing ever ran it.
                    unsafe { heap.free(&object) };
                } else if let Ok(object) = heap.publish(code(len, i as u8), Arc::new(())) {
                    live.push((i as u8, object));
                }
            }
            for (fill, object) in &live {
                prop_assert!(bytes(object).iter().all(|b| b == fill));
                let inside = object.start() as usize + object.len() - 1;
                prop_assert_eq!(registry::lookup(inside), Some(Arc::as_ptr(object)));
            }
            let held: usize = live.iter().map(|(_, o)| o.len().next_multiple_of(GRANULE)).sum();
            prop_assert_eq!(heap.stats().live_bytes, held as u64);
        }
    }
}
