//! Memories that several threads use at once.

use super::memory::{MemoryAccessError, MemoryEntity, SharedPart, is_possible};
use super::waiters::{WaitEnd, Waiters};
use crate::engine::Engine;
use crate::types::error::{ErrorKind, Failure};
use crate::types::trap::Trap;
use anyhow::Result;
use midair_tiers::module_env::MemoryType;
use midair_tiers::shared_bytes;
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A linear memory that several threads use at once: one that instances in different stores of an engine import.
///
/// A thread of a guest has a store of its own, and an instance there. What threads share is their memory. It belongs to no
/// store: it lives as long as anybody has it, and a store's limits and limiter are only asked when that store's own
/// guest makes or grows it.
///
/// Others may read and write any byte at any time, so there is no slice of its bytes. [`read`](SharedMemory::read) and
/// [`write`](SharedMemory::write) copy; what they find in a race is what WebAssembly says: a byte is one that was written, and
/// which one is open. For more, [`data`](SharedMemory::data) has the cells, for accesses by atomics.
///
/// ```
/// use midair::{Engine, Linker, MemoryType, Module, SharedMemory, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (import "env" "memory" (memory 1 1 shared))
///         (func (export "count")
///             (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#,
/// )?;
/// let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1))?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut store = Store::new(&engine, ());
///             let mut linker = Linker::new(&engine);
///             linker.define(&store, "env", "memory", memory.clone())?;
///             let instance = linker.instantiate(&mut store, &module)?;
///             instance.get_typed_func::<(), ()>(&mut store, "count")?.call(&mut store, ())
///         });
///     }
/// });
/// let mut count = [0; 4];
/// memory.read(0, &mut count)?;
/// assert_eq!(u32::from_le_bytes(count), 4);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    entity: Arc<MemoryEntity>,
    engine: Engine,
}

/// How a wait in a [`SharedMemory`] has ended. The numbers are those that guests get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitResult {
    /// Another thread has notified it.
    Ok = 0,
    /// The memory did not have the expected value.
    Mismatch = 1,
    /// The time was over.
    TimedOut = 2,
}

impl SharedMemory {
    /// A new memory of zeroes. Fails if its type is not that of a [shared](MemoryType::shared) memory, is not possible, or
    /// if the system does not have so much memory.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<SharedMemory> {
        engine.process().check()?;
        if !(ty.shared && ty.maximum.is_some() && is_possible(&ty)) {
            let text =
                "a shared memory has a maximum, which is possible and no less than its minimum";
            return Err(Failure::new(ErrorKind::Misuse, text).into());
        }
        Ok(SharedMemory { entity: Arc::new(MemoryEntity::new(ty)?), engine: engine.clone() })
    }

    /// The handle of a memory that a store has.
    ///
    /// # Safety
    /// The memory must be a shared one of this engine, and alive.
    pub(crate) unsafe fn from_raw(engine: &Engine, entity: NonNull<MemoryEntity>) -> SharedMemory {
        let entity = entity.as_ptr().cast_const();
        // SAFETY: as the caller vouches: all shared memories are made by `new`, and so lie in an `Arc`.
        let entity = unsafe {
            Arc::increment_strong_count(entity);
            Arc::from_raw(entity)
        };
        SharedMemory { entity, engine: engine.clone() }
    }

    /// What instances point to. It lives as long as this.
    pub(crate) fn raw(&self) -> NonNull<MemoryEntity> {
        NonNull::from(&*self.entity)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its type; the minimum is the present size.
    pub fn ty(&self) -> MemoryType {
        self.entity.ty()
    }

    /// Bytes of a page: 64 KiB, unless its type says otherwise.
    pub fn page_size(&self) -> u64 {
        self.ty().page_size()
    }

    /// Size in pages. It may grow at any time.
    pub fn size(&self) -> u64 {
        self.entity.size()
    }

    /// Size in bytes. It may grow at any time.
    pub fn data_size(&self) -> usize {
        self.entity.def.len()
    }

    /// Address of the first byte in the host. It stays the same when the memory grows.
    pub fn data_ptr(&self) -> *mut u8 {
        self.entity.def.base
    }

    /// All bytes that there are now. Other threads may write them at any time, so they are to be accessed by atomics, through
    /// the pointers of their cells.
    pub fn data(&self) -> &[UnsafeCell<u8>] {
        let def = &self.entity.def;
        // SAFETY: so many bytes are accessible, and remain so as long as the memory. Cells promise nothing of their contents.
        unsafe { std::slice::from_raw_parts(def.base.cast::<UnsafeCell<u8>>(), def.len()) }
    }

    /// Copies bytes from `offset` on into `buffer`.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), MemoryAccessError> {
        let from = self.place(offset, buffer.len())?;
        // SAFETY: so many bytes are there; the buffer is nobody else's.
        unsafe { shared_bytes::copy(from, buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Copies `buffer` into the bytes from `offset` on.
    pub fn write(&self, offset: usize, buffer: &[u8]) -> Result<(), MemoryAccessError> {
        let to = self.place(offset, buffer.len())?;
        // SAFETY: so many bytes are there, and whoever else accesses them reckons with others.
        unsafe { shared_bytes::copy(buffer.as_ptr(), to, buffer.len()) };
        Ok(())
    }

    fn place(&self, offset: usize, len: usize) -> Result<*mut u8, MemoryAccessError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.data_size());
        end.ok_or(MemoryAccessError)?;
        Ok(self.data_ptr().wrapping_add(offset))
    }

    /// Grows it by `delta` pages and returns the size before, or fails and changes nothing. Guests may run meanwhile.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        self.engine.process().check()?;
        self.entity.grow(delta, None).ok_or_else(|| {
            let text = format!("failed to grow memory by {delta} pages");
            Failure::new(ErrorKind::Limit, text).into()
        })
    }

    /// Wakes threads that wait at `address`, at most `count`; how many those were. As `memory.atomic.notify`.
    pub fn atomic_notify(&self, address: u64, count: u32) -> Result<u32, Trap> {
        self.entity.atomic_place(address, 4)?;
        Ok(self.waiters().notify(address, count))
    }

    /// Waits at `address` until another thread notifies there, if the four bytes there are `expected`; without a time, for
    /// ever. As `memory.atomic.wait32`.
    pub fn atomic_wait32(
        &self,
        address: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        self.wait(address, 4, expected.into(), timeout)
    }

    /// Waits at `address` until another thread notifies there, if the eight bytes there are `expected`; without a time, for
    /// ever. As `memory.atomic.wait64`.
    pub fn atomic_wait64(
        &self,
        address: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        self.wait(address, 8, expected, timeout)
    }

    fn wait(
        &self,
        address: u64,
        bytes: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        let place = self.entity.atomic_place(address, bytes)?;
        // SAFETY: it is a place in this memory, for so many bytes.
        let is_expected = || unsafe { load(place, bytes) } == expected;
        Ok(match self.waiters().wait(address, is_expected, timeout, None) {
            WaitEnd::Notified => WaitResult::Ok,
            WaitEnd::Mismatch => WaitResult::Mismatch,
            WaitEnd::TimedOut | WaitEnd::Interrupted => WaitResult::TimedOut,
        })
    }

    fn waiters(&self) -> &Arc<Waiters> {
        let shared: &SharedPart = self.entity.shared.as_ref().expect("the memory is shared");
        &shared.waiters
    }
}

/// The number of 4 or 8 bytes at an address, read at once and in order.
///
/// # Safety
/// So many bytes must be accessible there, and the address aligned.
pub(crate) unsafe fn load(place: *mut u8, bytes: u64) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe {
        if bytes == 8 {
            AtomicU64::from_ptr(place.cast()).load(Ordering::SeqCst)
        } else {
            AtomicU32::from_ptr(place.cast()).load(Ordering::SeqCst).into()
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("ty", &self.ty()).finish_non_exhaustive()
    }
}
