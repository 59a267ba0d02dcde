//! What the tiers have to know of a module to lower or compile one of its functions.

use crate::append_vec::AppendVec;
use crate::types::{FuncType, TypeId, ValType};
use wasmparser::UnpackedIndex;

/// A table's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TableType {
    /// Type of the elements: references.
    pub element: ValType,
    /// Elements at creation.
    pub minimum: u64,
    /// Most elements.
    pub maximum: Option<u64>,
    /// Whether indices have 64 bits, and not 32.
    pub is_64: bool,
}

impl TableType {
    /// A table of `minimum` to `maximum` references, with indices of 32 bits.
    pub fn new(element: ValType, minimum: u32, maximum: Option<u32>) -> TableType {
        let (minimum, maximum) = (minimum.into(), maximum.map(u64::from));
        TableType { element, minimum, maximum, is_64: false }
    }

    /// The same with indices of 64 bits.
    pub fn new64(element: ValType, minimum: u64, maximum: Option<u64>) -> TableType {
        TableType { element, minimum, maximum, is_64: true }
    }
}

/// A linear memory's type. Sizes are in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryType {
    /// Pages at creation.
    pub minimum: u64,
    /// Most pages.
    pub maximum: Option<u64>,
    /// Whether addresses have 64 bits, and not 32.
    pub is_64: bool,
    /// Binary logarithm of the bytes of a page: 16, or 0.
    pub page_size_log2: u8,
    /// Whether several threads may use it at once. Such a memory has a maximum.
    pub shared: bool,
}

impl MemoryType {
    /// [`MemoryType::page_size_log2`] of memories that do not say anything else: pages of 64 KiB.
    pub const PAGE_SIZE_LOG2: u8 = 16;

    /// A memory of `minimum` to `maximum` pages of 64 KiB, with addresses of 32 bits.
    pub fn new(minimum: u64, maximum: Option<u64>) -> MemoryType {
        let page_size_log2 = Self::PAGE_SIZE_LOG2;
        MemoryType { minimum, maximum, is_64: false, page_size_log2, shared: false }
    }

    /// The same with addresses of 64 bits.
    pub fn new64(minimum: u64, maximum: Option<u64>) -> MemoryType {
        MemoryType { is_64: true, ..MemoryType::new(minimum, maximum) }
    }

    /// A memory of `minimum` to `maximum` pages of 64 KiB, with addresses of 32 bits, that several threads may use at once.
    pub fn shared(minimum: u64, maximum: u64) -> MemoryType {
        MemoryType { shared: true, ..MemoryType::new(minimum, Some(maximum)) }
    }

    /// The same with pages of single bytes, in which both limits are counted then.
    pub fn with_single_bytes(self) -> MemoryType {
        MemoryType { page_size_log2: 0, ..self }
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        1 << self.page_size_log2
    }

    /// Whether all that lies beyond the memory's end and can be addressed is reserved and faults, so that code need not
    /// compare addresses with its length.
    pub fn is_guarded(&self) -> bool {
        !self.is_64 && self.page_size_log2 == Self::PAGE_SIZE_LOG2
    }
}

/// A global's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct GlobalType {
    /// Type of the value.
    pub content: ValType,
    /// Whether it can be set.
    pub mutable: bool,
}

impl GlobalType {
    /// A global of type `content`.
    pub fn new(content: ValType, mutable: bool) -> GlobalType {
        GlobalType { content, mutable }
    }
}

/// The index spaces of one module, imports first in each.
///
/// While the module runs they only grow: an index keeps its meaning for ever, and elements do not move.
/// So code that was made when they were shorter, and whoever reads them on other threads, need not know.
#[derive(Clone, Debug, Default)]
pub struct ModuleEnv {
    /// Types, by type index.
    pub types: AppendVec<FuncType>,
    /// What each of `types` is in the whole engine: `FuncRef::signature` of functions of exactly that type.
    pub type_ids: AppendVec<TypeId>,
    /// Which of `types` can have subtypes, so that a function that is called through a table may be of another type.
    pub open_types: AppendVec<bool>,
    /// Call shape of each of `types` (`crate::abi::call_shape`).
    pub shapes: AppendVec<midair_osr::CallShape>,
    /// Type index of every function.
    pub functions: AppendVec<u32>,
    /// How many of `functions` are imported.
    pub imported_functions: u32,
    /// Tables.
    pub tables: Vec<TableType>,
    /// Memories.
    pub memories: Vec<MemoryType>,
    /// Globals.
    pub globals: AppendVec<GlobalType>,
    /// How many of `globals` are imported.
    pub imported_globals: u32,
    /// Type index of every tag: the parameters are what an exception carries.
    pub tags: Vec<u32>,
    /// Whether functions count their calls: see `StoreContext::calls`.
    pub count_calls: bool,
    /// Whether code counts fuel: both tiers charge `crate::fuel` costs at the same places.
    pub consume_fuel: bool,
    /// For tests: the interpreter's instructions name slots only up to this distance from the frame's header,
    /// as if their operands were so small. What lies further off needs the wide form of lowered code.
    pub slot_reach: Option<u16>,
}

impl ModuleEnv {
    /// Makes room for so many more types, functions and globals.
    pub fn reserve(&mut self, additional: usize) {
        self.types.reserve(additional);
        self.type_ids.reserve(additional);
        self.open_types.reserve(additional);
        self.shapes.reserve(additional);
        self.functions.reserve(additional);
        self.globals.reserve(additional);
    }

    /// Whether other threads may see one of its memories.
    pub fn has_shared_memory(&self) -> bool {
        self.memories.iter().any(|memory| memory.shared)
    }

    /// A value type as a body writes it; `None` for types of proposals that are not built yet.
    pub fn val_type(&self, ty: wasmparser::ValType) -> Option<ValType> {
        ValType::from_wasm(ty, |index| self.type_id(index))
    }

    /// What a type index is in the whole engine; `None` for an index of another kind.
    pub fn type_id(&self, index: UnpackedIndex) -> Option<TypeId> {
        match index {
            UnpackedIndex::Module(index) => self.type_ids.get(index as usize).copied(),
            _ => None,
        }
    }

    /// Whether a function that is called through a table as one of this type may be of a subtype.
    pub fn can_have_subtypes(&self, ty: u32) -> bool {
        self.open_types.get(ty as usize).copied().unwrap_or(false)
    }

    /// Shape of calls of a function's type.
    pub fn shape(&self, function: u32) -> &midair_osr::CallShape {
        &self.shapes[self.functions[function as usize] as usize]
    }

    /// Types of what exceptions with this tag carry.
    pub fn tag_params(&self, tag: u32) -> &[ValType] {
        &self.types[self.tags[tag as usize] as usize].params
    }

    /// Type of a function by function index.
    pub fn func_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }
}
