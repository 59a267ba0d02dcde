//! Instances, as their store keeps them.

use super::external::Extern;
use super::func::Func;
use super::global::Global;
use super::instance_context::ContextAllocation;
use super::memory::{Memory, MemoryEntity};
use super::opaque::StoreOpaque;
use super::shared_memory::SharedMemory;
use super::table::{Table, TableEntity};
use super::tag::Tag;
use crate::module::added::Moves;
use crate::module::const_expr::{ConstScope, evaluate, for_each_element};
use crate::module::load::ElementSegment;
use crate::module::{Item, ModuleState};
use midair_tiers::{FuncRef, GlobalCell, InstanceContext, ValType};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// An instance as its store keeps it.
pub(crate) struct InstanceEntity {
    pub(crate) module: Arc<ModuleState>,
    pub(crate) context: ContextAllocation,
    /// Elements of the segments that `table.init` can still copy from; the others are empty. Updates change
    /// them while the guest stands still.
    pub(crate) elements: Vec<Box<[AtomicU64]>>,
    /// Which data segments have been dropped.
    pub(crate) dropped_data: Vec<bool>,
}

impl InstanceEntity {
    /// What machine code and interpreter see of the instance.
    pub(crate) fn context(&self) -> *mut InstanceContext {
        self.context.as_ptr()
    }

    pub(crate) fn memory(&self, index: u32) -> NonNull<MemoryEntity> {
        self.context.memories[index as usize]
    }

    pub(crate) fn table(&self, index: u32) -> NonNull<TableEntity> {
        self.context.tables[index as usize]
    }

    /// Bytes of a data segment that `memory.init` can still copy from.
    pub(crate) fn data_segment(&self, segment: u32) -> &[u8] {
        if self.dropped_data[segment as usize] {
            return &[];
        }
        let range = &self.module.data[segment as usize].bytes;
        &self.module.bytes()[range.start as usize..range.end as usize]
    }

    /// The reference of a function, initialised.
    pub(crate) fn func_ref(&self, function: u32) -> NonNull<FuncRef> {
        // SAFETY: indices come from the module, which has been validated.
        let func_ref = unsafe { self.context.func_ref(function) };
        let place = func_ref.as_ptr();
        // SAFETY: the references live as long as the instance. An update may initialise the same one on
        // another thread, with the same values: so all fields are written atomically, the context last, and
        // who sees that sees the others.
        unsafe {
            let context = AtomicPtr::from_ptr(&raw mut (*place).context);
            if context.load(Ordering::Acquire).is_null() {
                let env = &self.module.env;
                let defined = (function - env.imported_functions) as usize;
                let ty = env.functions[function as usize];
                let entry = &raw const self.module.code.functions()[defined].entry;
                AtomicPtr::from_ptr((&raw mut (*place).entry).cast::<*mut _>())
                    .store(entry.cast_mut(), Ordering::Relaxed);
                AtomicU32::from_ptr(&raw mut (*place).signature)
                    .store(env.type_ids[ty as usize].number(), Ordering::Relaxed);
                AtomicU32::from_ptr(&raw mut (*place).index).store(function, Ordering::Relaxed);
                context.store(self.context().cast(), Ordering::Release);
            }
        }
        func_ref
    }

    /// The handle of an item of the instance.
    pub(crate) fn item(&self, store: &StoreOpaque, item: Item) -> Extern {
        match item {
            Item::Func(index) => Extern::Func(Func::from_raw(store, self.func_ref(index))),
            Item::Table(index) => Extern::Table(Table::from_raw(store, self.table(index))),
            Item::Memory(index) => {
                let memory = self.memory(index);
                // SAFETY: memories live as long as the stores of their instances.
                if unsafe { memory.as_ref() }.is_shared() {
                    // SAFETY: as above.
                    let memory = unsafe { SharedMemory::from_raw(store.engine(), memory) };
                    return Extern::SharedMemory(memory);
                }
                Extern::Memory(Memory::from_raw(store, memory))
            }
            Item::Tag(index) => {
                Extern::Tag(Tag::from_raw(store, self.context.tags[index as usize]))
            }
            Item::Global(index) => {
                let ty = self.module.env.globals[index as usize];
                let cell = self.context.global(index);
                Extern::Global(Global::from_raw(store, cell, ty))
            }
        }
    }

    /// The export of this name.
    ///
    /// # Safety
    /// The instance must belong to this store.
    pub(crate) unsafe fn export(
        this: NonNull<InstanceEntity>,
        store: &StoreOpaque,
        name: &str,
    ) -> Option<Extern> {
        // SAFETY: instances live as long as their store.
        let this = unsafe { this.as_ref() };
        let export = this.module.export(name)?;
        Some(this.item(store, export.item()))
    }

    /// Gives the globals from this index on, which updates have added, their initial values.
    pub(crate) fn add_globals(&self, first: usize) {
        let (env, inits) = (&self.module.env, self.module.added.globals());
        let first_added = env.globals.len() - inits.len();
        for index in first.max(first_added)..env.globals.len() {
            let init = &inits[index - first_added];
            let reader = wasmparser::BinaryReader::new(init, 0);
            let value = evaluate(reader, &mut Scope::new(self, env.globals[index].content));
            self.context.add_global(index as u32, GlobalCell(value));
        }
    }

    /// References of an element segment.
    pub(crate) fn evaluate_elements(&self, segment: &ElementSegment) -> Box<[AtomicU64]> {
        let bytes = self.module.bytes();
        let mut elements = Vec::new();
        for_each_element(bytes, &segment.items, &mut Scope::new(self, segment.ty), |slot| {
            elements.push(AtomicU64::new(slot));
        });
        elements.into()
    }

    /// The cell of a global; `None` if it has not been added to this instance yet.
    pub(crate) fn global_if_there(&self, index: u32) -> Option<NonNull<GlobalCell>> {
        self.context.global_if_there(index)
    }

    /// Calls `f` with the references to exceptions, and nulls, that globals and element segments hold.
    pub(crate) fn each_exnref(&self, f: &mut impl FnMut(u64)) {
        let env = &self.module.env;
        for (index, ty) in env.globals.iter().enumerate() {
            if ty.content.is_exn_ref()
                && let Some(cell) = self.global_if_there(index as u32)
            {
                // SAFETY: cells live as long as their store, whose thread this is.
                f(unsafe { cell.as_ref() }.0[0]);
            }
        }
        for (segment, elements) in self.module.elements.iter().zip(&self.elements) {
            if segment.ty.is_exn_ref() {
                elements.iter().for_each(|element| f(element.load(Ordering::Relaxed)));
            }
        }
    }

    /// The reference of an imported function.
    pub(crate) fn imported_func_ref(&self, function: u32) -> NonNull<FuncRef> {
        debug_assert!(function < self.module.env.imported_functions);
        // SAFETY: the module has the function.
        unsafe { self.context.func_ref(function) }
    }
}

/// An instance's values in constant expressions.
pub(crate) struct Scope<'a> {
    instance: &'a InstanceEntity,
    /// Functions that references have become references to.
    moved: Arc<Moves>,
    /// Type of the place that the value goes to.
    ty: ValType,
}

impl Scope<'_> {
    /// For values that go to places of type `ty`.
    pub(crate) fn new(instance: &InstanceEntity, ty: ValType) -> Scope<'_> {
        Scope { instance, moved: instance.module.added.moved(), ty }
    }

    /// The function that a reference to `function` has become a reference to.
    fn now(&self, function: u32) -> u32 {
        self.instance.module.moved_by(&self.moved, function, self.ty)
    }
}

impl ConstScope for Scope<'_> {
    fn global(&mut self, index: u32) -> [u64; 2] {
        // SAFETY: the cells live as long as the store; validation lets expressions refer only to
        // globals that have been initialised.
        unsafe { self.instance.context.global(index).as_ref().0 }
    }

    fn ref_func(&mut self, index: u32) -> u64 {
        self.instance.func_ref(self.now(index)).as_ptr() as u64
    }
}

const _: () = {
    // Function states are what references point to.
    assert!(std::mem::offset_of!(midair_tiers::FunctionState, entry) == 0);
    assert!(size_of::<AtomicPtr<u8>>() == 8);
};
