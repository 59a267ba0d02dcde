//! The context that machine code and interpreter see of an instance, and its memory.

use super::memory::MemoryEntity;
use super::table::TableEntity;
use super::tag::TagEntity;
use midair_tiers::{FuncRef, GlobalCell, InstanceContext, MemoryDef};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The memory of an instance that has none.
struct NoMemory(MemoryDef);

// SAFETY: it is never written: its length is 0, and a memory that a module does not have cannot grow.
unsafe impl Sync for NoMemory {}

static NO_MEMORY: NoMemory = NoMemory(MemoryDef::new(std::ptr::dangling_mut::<u8>(), 0));

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
    globals: Zeroed<*mut GlobalCell>,
    imported_globals: usize,
    /// How many globals it has room for.
    most_globals: usize,
    pub(crate) memories: Box<[NonNull<MemoryEntity>]>,
    pub(crate) tables: Box<[NonNull<TableEntity>]>,
    pub(crate) tags: Box<[NonNull<TagEntity>]>,
}

impl ContextAllocation {
    /// A context of zeroes but for the arrays, with room for so many functions and globals. Of the globals
    /// it has only the imported ones, until [`ContextAllocation::add_global`] is called.
    pub(crate) fn new(
        most_functions: usize,
        memories: Vec<NonNull<MemoryEntity>>,
        tables: Vec<NonNull<TableEntity>>,
        tags: Vec<NonNull<TagEntity>>,
        imported_globals: Vec<NonNull<GlobalCell>>,
        most_globals: usize,
    ) -> ContextAllocation {
        let cells = Layout::array::<GlobalCell>(most_globals - imported_globals.len())
            .expect("limited by validation");
        let (layout, offset) =
            Layout::new::<InstanceContext>().extend(cells).expect("limited by validation");
        assert_eq!(offset, InstanceContext::SIZE);
        let context = Zeroed::<InstanceContext>::new(layout);
        let func_refs = Zeroed::new(Layout::array::<FuncRef>(most_functions).expect("limited"));

        let globals = Zeroed::<*mut GlobalCell>::new(
            Layout::array::<*mut GlobalCell>(most_globals).expect("limited"),
        );
        for (i, cell) in imported_globals.iter().enumerate() {
            // SAFETY: there is room for all globals.
            unsafe { globals.base.add(i).write(cell.as_ptr()) };
        }
        let this = ContextAllocation {
            context,
            func_refs,
            memories: memories.into(),
            tables: tables.into(),
            tags: tags.into(),
            globals,
            imported_globals: imported_globals.len(),
            most_globals,
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
            (&raw mut (*context).tags).write(this.tags.as_ptr().cast());
            (&raw mut (*context).globals).write(this.globals.base.as_ptr());
            (&raw mut (*context).func_refs).write(this.func_refs.base.as_ptr());
        }
        this
    }

    /// The context.
    pub(crate) fn as_ptr(&self) -> *mut InstanceContext {
        self.context.base.as_ptr()
    }

    /// The cell of a global that has been added or imported.
    ///
    /// # Panics
    /// If it is not there.
    pub(crate) fn global(&self, index: u32) -> NonNull<GlobalCell> {
        self.global_if_there(index).expect("a global that is there")
    }

    /// The cell of a global; `None` if it has not been added yet.
    ///
    /// # Panics
    /// If there is no room for so many.
    pub(crate) fn global_if_there(&self, index: u32) -> Option<NonNull<GlobalCell>> {
        assert!((index as usize) < self.most_globals);
        // SAFETY: there is room for so many globals; those that are not there are null.
        NonNull::new(unsafe { self.globals.base.add(index as usize).read() })
    }

    /// Makes a defined global exist, with this value.
    ///
    /// # Panics
    /// If there is no room, or if the index is an imported global's.
    pub(crate) fn add_global(&self, index: u32, value: GlobalCell) {
        let index = index as usize;
        assert!((self.imported_globals..self.most_globals).contains(&index));
        // SAFETY: the cells of defined globals lie behind the context, in the same allocation. No code refers
        // to this one yet.
        unsafe {
            let first = self.as_ptr().add(1).cast::<GlobalCell>();
            let cell = first.add(index - self.imported_globals);
            cell.write(value);
            self.globals.base.add(index).write(cell);
        }
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
