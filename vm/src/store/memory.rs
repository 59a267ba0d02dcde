//! Linear memories.

use super::contents::LockedContents;
use super::limits::{Question, Resource};
use super::opaque::{PendingExit, StoreId, StoreOpaque};
use super::reservation::{Reservation, host_page_size};
use super::shared_memory::SharedMemory;
use super::waiters::Waiters;
use super::{AsContext, AsContextMut, StoreContextMut, StoreContextRef};
use crate::module::ModuleState;
use crate::types::error::{ErrorKind, Failure};
use crate::types::trap::Trap;
use anyhow::{Context as _, Result};
use midair_tiers::MemoryDef;
use midair_tiers::module_env::MemoryType;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes that a 32-bit index plus a 32-bit offset can reach, and the widest access beyond.
const REACH: usize = (8 << 30) + (64 << 10);

/// Bytes of address space that are set aside for a memory to grow which could become larger; less if the system does not
/// give so much.
const ROOM: usize = 256 << 30;

/// Most pages of a memory of this type, whatever its own limit is.
pub(crate) fn most_pages(ty: &MemoryType) -> u64 {
    if ty.is_64 {
        u64::MAX >> ty.page_size_log2
    } else {
        // Sizes have 32 bits too.
        ((1 << 32) >> ty.page_size_log2).min(u32::MAX.into())
    }
}

/// Whether there can be a memory of this type. A limit may be as high as validation allows: what it comes to in bytes
/// need not have 64 bits.
pub(crate) fn is_possible(ty: &MemoryType) -> bool {
    let highest = if ty.is_64 && ty.page_size_log2 > 0 {
        1 << (64 - ty.page_size_log2)
    } else {
        most_pages(ty)
    };
    ty.minimum <= most_pages(ty)
        && ty.maximum.is_none_or(|maximum| maximum <= highest && ty.minimum <= maximum)
}

/// Reserves the address range of a memory that begins with `len` bytes.
fn reserve(ty: &MemoryType, len: usize) -> Result<Reservation> {
    if ty.is_guarded() {
        return Reservation::new(REACH + host_page_size());
    }
    let most = ty.maximum.unwrap_or(u64::MAX).min(most_pages(ty));
    let most = usize::try_from(most.saturating_mul(ty.page_size())).unwrap_or(usize::MAX);
    let mut room = most.min(ROOM).max(len);
    loop {
        match Reservation::new(room) {
            Err(_) if room > len => room = (room / 2).max(len),
            reservation => return reservation,
        }
    }
}

/// A memory as its store keeps it. The definition comes first: instances point to it.
#[repr(C)]
pub(crate) struct MemoryEntity {
    pub(crate) def: MemoryDef,
    ty: MemoryType,
    /// Locked while it grows.
    pages: Mutex<Reservation>,
    /// What only shared memories have. These lie in an `Arc`.
    pub(crate) shared: Option<SharedPart>,
}

/// What only shared memories have.
#[derive(Default)]
pub(crate) struct SharedPart {
    pub(crate) waiters: Arc<Waiters>,
    /// Modules of which it has instances, or had.
    modules: Mutex<Vec<Weak<ModuleState>>>,
}

// SAFETY: a memory belongs to no thread. What is known of one changes under a lock, or is atomic; its bytes are the
// concern of who accesses them.
unsafe impl Send for MemoryEntity {}
// SAFETY: as above.
unsafe impl Sync for MemoryEntity {}

impl MemoryEntity {
    pub(crate) fn new(ty: MemoryType) -> Result<MemoryEntity> {
        let system = |text| Failure::new(ErrorKind::System, text);
        let len = ty.minimum.checked_mul(ty.page_size()).and_then(|len| usize::try_from(len).ok());
        let len = len.context(system("a linear memory is larger than the address space"))?;
        let mut pages = reserve(&ty, len)
            .context(system("cannot reserve the address range of a linear memory"))?;
        pages.make_accessible(len).context(system("cannot allocate a linear memory"))?;
        let def = MemoryDef::new(pages.base(), len);
        let shared = ty.shared.then(SharedPart::default);
        Ok(MemoryEntity { def, ty, pages: Mutex::new(pages), shared })
    }

    fn pages(&self) -> MutexGuard<'_, Reservation> {
        // What panics under the lock has changed nothing before.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether other threads may use it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether it is the first time that this shared memory is given to an instance of this module.
    pub(crate) fn is_new_to(&self, module: &Arc<ModuleState>) -> bool {
        let Some(shared) = &self.shared else { return false };
        let mut modules = shared.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.retain(|known| known.strong_count() > 0);
        let is_known = modules.iter().any(|known| ptr::eq(known.as_ptr(), Arc::as_ptr(module)));
        if !is_known {
            modules.push(Arc::downgrade(module));
        }
        !is_known
    }

    /// Where so many bytes lie for an atomic access.
    pub(crate) fn atomic_place(&self, at: u64, bytes: u64) -> Result<*mut u8, Trap> {
        if !at.is_multiple_of(bytes) {
            return Err(Trap::UnalignedAtomic);
        }
        let end = at.checked_add(bytes).filter(|end| *end <= self.def.len() as u64);
        end.ok_or(Trap::MemoryOutOfBounds)?;
        Ok(self.def.base.wrapping_add(at as usize))
    }

    /// Pages.
    pub(crate) fn size(&self) -> u64 {
        self.def.len() as u64 >> self.ty.page_size_log2
    }

    /// The type, with the present size as its minimum.
    pub(crate) fn ty(&self) -> MemoryType {
        let mut ty = self.ty;
        ty.minimum = self.size();
        ty
    }

    /// Bytes by which it grows to have at least so many pages; `None` if its type forbids that.
    pub(crate) fn missing(&self, pages: u64) -> Option<u64> {
        let Some(delta) = pages.checked_sub(self.size()) else { return Some(0) };
        let most = self.ty.maximum.unwrap_or(u64::MAX).min(most_pages(&self.ty));
        if delta > 0 && pages > most { None } else { delta.checked_mul(self.ty.page_size()) }
    }

    /// Whether addresses have 64 bits.
    pub(crate) fn is_64(&self) -> bool {
        self.ty.is_64
    }

    /// Whether the host has so many more bytes for it, as far as that can be known before they are used.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let pages = self.pages();
        let len = usize::try_from(bytes).ok().and_then(|bytes| self.def.len().checked_add(bytes));
        // To ask the system is to try, and other threads would see that.
        len.is_some_and(|len| {
            if self.is_shared() { len <= pages.len() } else { pages.can_make_accessible(len) }
        })
    }

    /// Grows by `delta` pages; the size before. `None` if its type, the store that counts the bytes, or the host do not
    /// allow it; then nothing has changed.
    pub(crate) fn grow(&self, delta: u64, mut store: Option<&mut LockedContents>) -> Option<u64> {
        let mut pages = self.pages();
        let old = self.size();
        let bytes = self.missing(old.checked_add(delta)?)?;
        if let Some(store) = &mut store
            && !store.count_bytes(bytes)
        {
            return None;
        }
        if self.extend(&mut pages, bytes) {
            return Some(old);
        }
        if let Some(store) = store {
            store.uncount_bytes(bytes);
        }
        None
    }

    /// Grows to at least so many pages, if the host has them; by how many bytes.
    pub(crate) fn grow_to(&self, size: u64) -> u64 {
        let mut pages = self.pages();
        let bytes = self.missing(size).unwrap_or(0);
        if self.extend(&mut pages, bytes) { bytes } else { 0 }
    }

    fn extend(&self, pages: &mut Reservation, bytes: u64) -> bool {
        let len = usize::try_from(bytes).ok().and_then(|bytes| self.def.len().checked_add(bytes));
        let extended = len.filter(|len| pages.make_accessible(*len).is_ok());
        if let Some(len) = extended {
            self.def.set_len(len);
        }
        extended.is_some()
    }
}

impl StoreOpaque {
    /// A new memory of zeroes.
    pub(crate) fn new_memory(&mut self, ty: MemoryType) -> Result<NonNull<MemoryEntity>> {
        self.process.check()?;
        let fail = |text: String| Err(Failure::new(ErrorKind::Limit, text).into());
        let bytes = ty.minimum.checked_mul(ty.page_size());
        let Some(bytes) = bytes.filter(|_| is_possible(&ty)) else {
            return fail(format!("a memory of {} pages is not possible", ty.minimum));
        };
        let granted = self.ask_limiter(Question::Growing {
            resource: Resource::Memory,
            current: 0,
            desired: bytes as usize,
            maximum: maximum_bytes(&ty),
        });
        if !granted.map_err(PendingExit::into_error)? {
            return fail(format!("the limiter has denied a memory of {bytes} bytes"));
        }
        if !self.contents.lock().count_bytes(bytes) {
            self.tell_limiter_of_failure(Resource::Memory).map_err(PendingExit::into_error)?;
            return fail(format!("a memory of {bytes} bytes exceeds the store's limit"));
        }
        let memory = if ty.shared {
            SharedMemory::new(self.engine(), ty).map(|memory| self.hold_shared_memory(&memory))
        } else {
            MemoryEntity::new(ty).map(|memory| self.memories.alloc(memory))
        };
        match memory {
            Ok(memory) => Ok(memory),
            Err(error) => {
                self.contents.lock().uncount_bytes(bytes);
                self.tell_limiter_of_failure(Resource::Memory).map_err(PendingExit::into_error)?;
                Err(error)
            }
        }
    }

    /// Keeps a shared memory as long as the store.
    pub(crate) fn hold_shared_memory(&mut self, memory: &SharedMemory) -> NonNull<MemoryEntity> {
        if self.shared_memories.iter().all(|known| known.raw() != memory.raw()) {
            self.shared_memories.push(memory.clone());
        }
        memory.raw()
    }

    /// Grows a memory of this store by `delta` pages; the size before. `None` if that is more than its
    /// type, the store's limits, its limiter or the host allow; then nothing has changed. Fails as the limiter does.
    pub(crate) fn grow_memory(
        &mut self,
        memory: NonNull<MemoryEntity>,
        delta: u64,
    ) -> Result<Option<u64>, PendingExit> {
        if self.limiter.is_some() {
            // SAFETY: the memory belongs to this store; only its thread, which is this one, changes it.
            let (ty, bytes) = unsafe {
                let memory = memory.as_ref();
                let pages = memory.size().checked_add(delta);
                (memory.ty(), pages.and_then(|pages| memory.missing(pages)))
            };
            let Some(bytes) = bytes else { return Ok(None) };
            let current = (ty.minimum * ty.page_size()) as usize;
            let Some(desired) = current.checked_add(bytes as usize) else { return Ok(None) };
            let maximum = maximum_bytes(&ty);
            let question =
                Question::Growing { resource: Resource::Memory, current, desired, maximum };
            if bytes > 0 && !self.ask_limiter(question)? {
                return Ok(None);
            }
        }
        // SAFETY: the memory belongs to this store, which is borrowed mutably by its thread.
        let old = unsafe { self.contents.lock().grow_memory(memory, delta) };
        if old.is_none() {
            self.tell_limiter_of_failure(Resource::Memory)?;
        }
        Ok(old)
    }
}

/// The limit of a memory's type in bytes, or as many as can be counted.
fn maximum_bytes(ty: &MemoryType) -> Option<usize> {
    let bytes = ty.maximum?.saturating_mul(ty.page_size());
    Some(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// A handle to a linear memory.
///
/// ```
/// use midair::{Engine, Memory, MemoryType, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let memory = Memory::new(&mut store, MemoryType::new(1, Some(2)))?;
/// memory.write(&mut store, 10, b"hello")?;
/// let mut bytes = [0; 5];
/// memory.read(&store, 10, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert_eq!(memory.size(&store), 2);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    store: StoreId,
    entity: NonNull<MemoryEntity>,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

/// A read or write of the host beyond a memory's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryAccessError;

impl fmt::Display for MemoryAccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of bounds memory access")
    }
}

impl std::error::Error for MemoryAccessError {}

impl Memory {
    /// A new memory of zeroes, which is not shared: see [`SharedMemory`] for those that are.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        if ty.shared {
            let text = "a shared memory is no part of a store: see `SharedMemory`";
            return Err(Failure::new(ErrorKind::Misuse, text).into());
        }
        let mut store = store.as_context_mut();
        let entity = store.opaque_mut().new_memory(ty)?;
        Ok(Memory::from_raw(store.opaque(), entity))
    }

    /// The handle of a memory of `store`.
    pub(crate) fn from_raw(store: &StoreOpaque, entity: NonNull<MemoryEntity>) -> Memory {
        Memory { store: store.id(), entity }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store
    }

    /// # Panics
    /// If the memory belongs to another store.
    #[track_caller]
    pub(crate) fn raw(&self, store: &StoreOpaque) -> NonNull<MemoryEntity> {
        self.store.check(store);
        self.entity
    }

    #[track_caller]
    fn entity<'a>(&self, store: &'a StoreOpaque) -> &'a MemoryEntity {
        // SAFETY: the memory belongs to this store, which is borrowed for `'a`.
        unsafe { self.raw(store).as_ref() }
    }

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> MemoryType {
        self.entity(store).ty()
    }

    /// Its type; the minimum is the present size.
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        self.ty_in(store.as_context().opaque())
    }

    /// Bytes of a page: 64 KiB, unless its type says otherwise.
    pub fn page_size(&self, store: impl AsContext) -> u64 {
        self.ty_in(store.as_context().opaque()).page_size()
    }

    /// Size in pages.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.entity(store.as_context().opaque()).size()
    }

    /// Size in bytes.
    pub fn data_size(&self, store: impl AsContext) -> usize {
        self.entity(store.as_context().opaque()).def.len()
    }

    /// Address of the first byte in the host. It stays the same when the memory grows.
    pub fn data_ptr(&self, store: impl AsContext) -> *mut u8 {
        self.entity(store.as_context().opaque()).def.base
    }

    /// All bytes.
    pub fn data<'a, T: 'static>(&self, store: impl Into<StoreContextRef<'a, T>>) -> &'a [u8] {
        let def = &self.entity(store.into().opaque()).def;
        // SAFETY: so many bytes are accessible, and the store is borrowed for `'a`, so no guest and no
        // host changes them.
        unsafe { std::slice::from_raw_parts(def.base, def.len()) }
    }

    /// All bytes.
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> &'a mut [u8] {
        self.data_and_store_mut(store).0
    }

    /// All bytes, and the embedder's data.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let store = store.into();
        let def = &self.entity(store.opaque()).def;
        // SAFETY: so many bytes are accessible, the store is borrowed mutably for `'a`, and the bytes
        // lie in a mapping of their own, apart from the embedder's data.
        let bytes = unsafe { std::slice::from_raw_parts_mut(def.base, def.len()) };
        (bytes, store.into_data_mut())
    }

    /// Copies bytes from `offset` on into `buffer`.
    pub fn read(
        &self,
        store: impl AsContext,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), MemoryAccessError> {
        let store = store.as_context();
        let bytes = self.data(store);
        let bytes = offset
            .checked_add(buffer.len())
            .and_then(|end| bytes.get(offset..end))
            .ok_or(MemoryAccessError)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    /// Copies `buffer` into the bytes from `offset` on.
    pub fn write(
        &self,
        mut store: impl AsContextMut,
        offset: usize,
        buffer: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let store = store.as_context_mut();
        let bytes = self.data_mut(store);
        offset
            .checked_add(buffer.len())
            .and_then(|end| bytes.get_mut(offset..end))
            .ok_or(MemoryAccessError)?
            .copy_from_slice(buffer);
        Ok(())
    }

    /// Grows it by `delta` pages and returns the size before, or fails and changes nothing.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let entity = self.raw(store.opaque());
        store.opaque().process.check()?;
        let old = store.opaque_mut().grow_memory(entity, delta).map_err(PendingExit::into_error)?;
        let failure =
            || Failure::new(ErrorKind::Limit, format!("failed to grow memory by {delta} pages"));
        old.ok_or_else(|| failure().into())
    }
}

#[cfg(test)]
mod tests;
