//! What can be imported and exported.

use super::AsContext;
use super::func::Func;
use super::global::Global;
use super::memory::Memory;
use super::opaque::StoreOpaque;
use super::shared_memory::SharedMemory;
use super::table::Table;
use super::tag::Tag;
use crate::engine::Engine;
use crate::types::ExternType;

/// A handle to something that an instance can import or export.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A global.
    Global(Global),
    /// A table.
    Table(Table),
    /// A linear memory.
    Memory(Memory),
    /// A linear memory that several threads use at once. It can be used with any store of its engine.
    SharedMemory(SharedMemory),
    /// A tag.
    Tag(Tag),
}

impl Extern {
    /// The function, if it is one.
    pub fn into_func(self) -> Option<Func> {
        match self {
            Extern::Func(func) => Some(func),
            _ => None,
        }
    }

    /// The global, if it is one.
    pub fn into_global(self) -> Option<Global> {
        match self {
            Extern::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn into_table(self) -> Option<Table> {
        match self {
            Extern::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The shared memory, if it is one.
    pub fn into_shared_memory(self) -> Option<SharedMemory> {
        match self {
            Extern::SharedMemory(memory) => Some(memory),
            _ => None,
        }
    }

    /// The memory, if it is one that is not shared.
    pub fn into_memory(self) -> Option<Memory> {
        match self {
            Extern::Memory(memory) => Some(memory),
            _ => None,
        }
    }

    /// The tag, if it is one.
    pub fn into_tag(self) -> Option<Tag> {
        match self {
            Extern::Tag(tag) => Some(tag),
            _ => None,
        }
    }

    /// Its type. Sizes of memories and tables are the present ones.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.ty_in(store.as_context().opaque())
    }

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> ExternType {
        match self {
            Extern::Func(func) => ExternType::Func(func.signature(store).ty.clone()),
            Extern::Global(global) => ExternType::Global(global.ty_in(store)),
            Extern::Table(table) => ExternType::Table(table.ty_in(store)),
            Extern::Memory(memory) => ExternType::Memory(memory.ty_in(store)),
            Extern::SharedMemory(memory) => ExternType::Memory(memory.ty()),
            Extern::Tag(tag) => ExternType::Tag(tag.ty_in(store)),
        }
    }

    /// Whether it can be used with this store.
    pub(crate) fn belongs_to(&self, store: &StoreOpaque) -> bool {
        let id = match self {
            Extern::Func(func) => func.store_id(),
            Extern::Global(global) => global.store_id(),
            Extern::Table(table) => table.store_id(),
            Extern::Memory(memory) => memory.store_id(),
            Extern::SharedMemory(memory) => {
                return Engine::same(memory.engine(), store.engine());
            }
            Extern::Tag(tag) => tag.store_id(),
        };
        id == store.id()
    }
}

impl From<Func> for Extern {
    fn from(func: Func) -> Extern {
        Extern::Func(func)
    }
}

impl From<Global> for Extern {
    fn from(global: Global) -> Extern {
        Extern::Global(global)
    }
}

impl From<Table> for Extern {
    fn from(table: Table) -> Extern {
        Extern::Table(table)
    }
}

impl From<Tag> for Extern {
    fn from(tag: Tag) -> Extern {
        Extern::Tag(tag)
    }
}

impl From<Memory> for Extern {
    fn from(memory: Memory) -> Extern {
        Extern::Memory(memory)
    }
}

impl From<SharedMemory> for Extern {
    fn from(memory: SharedMemory) -> Extern {
        Extern::SharedMemory(memory)
    }
}
