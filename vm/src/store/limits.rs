//! Limits of a store.

use super::opaque::{PendingExit, StoreOpaque};
use crate::code::standing::Standing;
use crate::types::error::{ErrorKind, Failure};
use anyhow::Error;
use midair_osr::OtherProcess;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// What the guests of a store may use at most. The default is no limit.
///
/// A guest that asks for more gets the same answer as when memory is short: `memory.grow` and
/// `table.grow` return -1, instantiation fails. Where it depends on more than two numbers, a [`ResourceLimiter`] can
/// decide.
///
/// ```
/// use midair::{Engine, Memory, MemoryType, Store, StoreLimits};
///
/// let mut store = Store::new(&Engine::default(), ());
/// store.set_limits(StoreLimits::new().memory_bytes(2 << 16));
/// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert!(memory.grow(&mut store, 1).is_err());
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: u64,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits { memory_bytes: u64::MAX, table_elements: u64::MAX }
    }
}

impl StoreLimits {
    /// No limits.
    pub fn new() -> StoreLimits {
        StoreLimits::default()
    }

    /// Bytes of all linear memories of the store together.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> StoreLimits {
        self.memory_bytes = bytes;
        self
    }

    /// Elements of all tables of the store together.
    #[must_use]
    pub fn table_elements(mut self, elements: u64) -> StoreLimits {
        self.table_elements = elements;
        self
    }
}

/// Decides whether memories and tables of a store may grow: see [`Store::limiter`](crate::Store::limiter).
///
/// It is asked when a memory or table is made (`current` is 0 then) and before it grows, by a guest or by the embedder,
/// unless its type forbids that anyway. If the answer is `Ok(false)`, `memory.grow` and `table.grow` answer -1, and what
/// the embedder does fails. If it is an error, the guest traps with that error, and what the embedder does fails with it.
///
/// It is called on the thread that runs the store, with none of the engine's locks held, so that it may take locks of
/// its own, wait, and use other stores. The guest stands still meanwhile where no frame can move: whoever updates its
/// module waits for the answer, and a limiter that tries to update or recompile something itself is refused.
///
/// What [updates](crate::Update) add to memories and tables is not asked for: it is done to all stores at once.
/// [`StoreLimits`] hold for that too.
///
/// ```
/// use midair::{Engine, ErrorKind, Instance, Module, ResourceLimiter, Result, Store};
///
/// /// Counts what all memories have, and gives up when a guest wants much at once.
/// struct Budget {
///     left: usize,
/// }
///
/// impl ResourceLimiter for Budget {
///     fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
///         let more = desired - current;
///         if more > 1 << 30 {
///             return Err(midair::Error::msg("this guest wants too much"));
///         }
///         let granted = more <= self.left;
///         self.left -= if granted { more } else { 0 };
///         Ok(granted)
///     }
///
///     fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
///         Ok(desired <= 1000)
///     }
/// }
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (memory 1)
///     (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#)?;
/// let mut store = Store::new(&engine, Budget { left: 3 << 16 });
/// store.limiter(|budget| budget);
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow")?;
/// assert_eq!(grow.call(&mut store, 1)?, 1);
/// assert_eq!(grow.call(&mut store, 2)?, -1);
/// let error = grow.call(&mut store, 30_000).unwrap_err();
/// assert_eq!(error.root_cause().to_string(), "this guest wants too much");
/// # Ok::<(), midair::Error>(())
/// ```
pub trait ResourceLimiter {
    /// A memory is about to have `desired` bytes, and has `current`. `maximum` is what its type says, in bytes.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> anyhow::Result<bool>;

    /// A table is about to have `desired` elements, and has `current`. `maximum` is what its type says.
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> anyhow::Result<bool>;

    /// A memory could not grow although that was granted: the system has no room, or [`StoreLimits`] forbid it. With an
    /// error the guest traps; otherwise it is told that the memory has not grown.
    fn memory_grow_failed(&mut self, error: Error) -> anyhow::Result<()> {
        drop(error);
        Ok(())
    }

    /// The same for a table.
    fn table_grow_failed(&mut self, error: Error) -> anyhow::Result<()> {
        drop(error);
        Ok(())
    }
}

/// What a limiter is asked about.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    Memory,
    Table,
}

/// What a limiter is asked or told.
pub(crate) enum Question {
    Growing { resource: Resource, current: usize, desired: usize, maximum: Option<usize> },
    Failed { resource: Resource, error: Error },
}

impl Question {
    /// What the limiter says. `true` to what it is only told.
    pub(crate) fn put_to(self, limiter: &mut dyn ResourceLimiter) -> anyhow::Result<bool> {
        match self {
            Question::Growing { resource: Resource::Memory, current, desired, maximum } => {
                limiter.memory_growing(current, desired, maximum)
            }
            Question::Growing { resource: Resource::Table, current, desired, maximum } => {
                limiter.table_growing(current, desired, maximum)
            }
            Question::Failed { resource: Resource::Memory, error } => {
                limiter.memory_grow_failed(error).map(|()| true)
            }
            Question::Failed { resource: Resource::Table, error } => {
                limiter.table_grow_failed(error).map(|()| true)
            }
        }
    }
}

/// Puts a question to the limiter that is found by way of a store's data.
pub(crate) type Limiter =
    Box<dyn FnMut(NonNull<StoreOpaque>, Question) -> anyhow::Result<bool> + Send + Sync>;

impl StoreOpaque {
    /// Asks the limiter, if there is one. None of the store's locks may be held.
    pub(crate) fn ask_limiter(&mut self, question: Question) -> Result<bool, PendingExit> {
        let Some(mut limiter) = self.limiter.take() else { return Ok(true) };
        // SAFETY: the runtime context lives as long as the store. By way of it there is access to the whole store.
        let store = unsafe { StoreOpaque::from_runtime(self.runtime()) };
        let standing = Standing::new();
        // A panic goes on where the guest was called, or in the embedder's call.
        let answer = catch_unwind(AssertUnwindSafe(|| limiter(store, question)));
        drop(standing);
        self.limiter = Some(limiter);
        self.process.check().map_err(|error: OtherProcess| PendingExit::Error(error.into()))?;
        match answer {
            Ok(answer) => answer.map_err(PendingExit::Error),
            Err(payload) => Err(PendingExit::Panic(payload)),
        }
    }

    /// Tells the limiter that something has not grown although it might have.
    pub(crate) fn tell_limiter_of_failure(
        &mut self,
        resource: Resource,
    ) -> Result<(), PendingExit> {
        if self.limiter.is_none() {
            return Ok(());
        }
        let what = match resource {
            Resource::Memory => "memory",
            Resource::Table => "table",
        };
        let text = format!("a {what} cannot grow: the store's limit is reached, or the system's");
        let error = Failure::new(ErrorKind::Limit, text).into();
        self.ask_limiter(Question::Failed { resource, error }).map(drop)
    }
}
