//! Limits of a store.

/// What the guests of a store may use at most. The default is no limit.
///
/// A guest that asks for more gets the same answer as when memory is short: `memory.grow` and
/// `table.grow` return -1, instantiation fails.
///
/// ```
/// use midair::{Engine, Memory, MemoryType, Store, StoreLimits};
///
/// let mut store = Store::new(&Engine::default(), ());
/// store.limiter(StoreLimits::new().memory_bytes(2 << 16));
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
