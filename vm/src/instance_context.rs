//! The context that machine code and interpreter see of an instance, and its memory.

use crate::memory::MemoryEntity;
use crate::table::TableEntity;
use midair_tiers::{FuncRef, GlobalCell, InstanceContext, MemoryDef};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The memory of an instance that has none.
struct NoMemory(MemoryDef);

// SAFETY: it is never written: its length is 0, and a memory that a module does not have cannot grow.
unsafe impl Sync for NoMemory {}

static NO_MEMORY: NoMemory = NoMemory(MemoryDef { base: std::ptr::dangling_mut::<u8>(), len: 0 });

/// Zeroed memory for `T`s, with a stable address. Large pieces cost nothing until they are written.
struct Zeroed<T> {
    base: NonNull<T>,
    layout: Layout,
}

impl<T> Zeroed<T> {
    fn new(layout: Layout) -> Zeroed<T> {
        if layout.size() == 0 {
            return Zeroed { base: NonNull::dangling(), layout };
        }
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base.cast()) else { handle_alloc_error(layout) };
        Zeroed { base, layout }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
        }
    }
}

/// The instance context with the cells of its defined globals, and the arrays that it points to.
pub(crate) struct ContextAllocation {
    context: Zeroed<InstanceContext>,
    func_refs: Zeroed<FuncRef>,
    pub(crate) memories: Box<[NonNull<MemoryEntity>]>,
    pub(crate) tables: Box<[NonNull<TableEntity>]>,
    pub(crate) globals: Box<[NonNull<GlobalCell>]>,
}

impl ContextAllocation {
    /// A context of zeroes but for the arrays. `imported_globals` come first in the index space, then
    /// `defined_globals` cells behind the context.
    pub(crate) fn new(
        functions: usize,
        memories: Vec<NonNull<MemoryEntity>>,
        tables: Vec<NonNull<TableEntity>>,
        imported_globals: Vec<NonNull<GlobalCell>>,
        defined_globals: usize,
    ) -> ContextAllocation {
        let cells = Layout::array::<GlobalCell>(defined_globals).expect("limited by validation");
        let (layout, offset) =
            Layout::new::<InstanceContext>().extend(cells).expect("limited by validation");
        assert_eq!(offset, InstanceContext::SIZE);
        let context = Zeroed::<InstanceContext>::new(layout);
        let func_refs = Zeroed::new(Layout::array::<FuncRef>(functions).expect("limited"));

        let mut globals = imported_globals;
        globals.reserve_exact(defined_globals);
        // SAFETY: the cells lie behind the context, in the same allocation.
        let first = unsafe { context.base.as_ptr().cast::<u8>().add(offset).cast::<GlobalCell>() };
        for i in 0..defined_globals {
            // SAFETY: as above; not null.
            globals.push(unsafe { NonNull::new_unchecked(first.add(i)) });
        }
        let this = ContextAllocation {
            context,
            func_refs,
            memories: memories.into(),
            tables: tables.into(),
            globals: globals.into(),
        };
        let no_memory = (&raw const NO_MEMORY.0).cast_mut();
        let memory0 = this.memories.first().map_or(no_memory, |memory| memory.as_ptr().cast());
        // SAFETY: the context has just been allocated; entities start with what instances point to.
        unsafe {
            let context = this.as_ptr();
            (&raw mut (*context).memory0_base).write((*memory0).base);
            (&raw mut (*context).memory0).write(memory0);
            (&raw mut (*context).memories).write(this.memories.as_ptr().cast());
            (&raw mut (*context).tables).write(this.tables.as_ptr().cast());
            (&raw mut (*context).globals).write(this.globals.as_ptr().cast());
            (&raw mut (*context).func_refs).write(this.func_refs.base.as_ptr());
        }
        this
    }

    /// The context.
    pub(crate) fn as_ptr(&self) -> *mut InstanceContext {
        self.context.base.as_ptr()
    }

    /// The reference of a function, not necessarily initialised.
    ///
    /// # Safety
    /// The module must have so many functions.
    pub(crate) unsafe fn func_ref(&self, function: u32) -> NonNull<FuncRef> {
        // SAFETY: as the caller vouches.
        unsafe { self.func_refs.base.add(function as usize) }
    }
}
