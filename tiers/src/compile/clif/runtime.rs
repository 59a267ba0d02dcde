//! Loads from the context and what it points to.
//!
//! Every access says what it may be assumed to alias with: that is what lets Cranelift merge,
//! forward and hoist them.

use crate::context::{InstanceContext, StoreContext};
use cranelift_codegen::ir::{
    AliasRegion, AliasRegionData, Function, InstBuilder, MemFlagsData, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use midair_osr::{ContextHeader, StackContext};

/// Parts of memory that are disjoint from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    /// Contents of the linear memories. All in one: two imported memories may be the same one.
    Heap,
    /// `MemoryDef`s.
    MemoryDefs,
    /// Contents of the tables.
    Tables,
    /// `TableDef`s.
    TableDefs,
    /// Imported mutable globals; two of them may be the same one.
    ImportedGlobals,
    /// A mutable global that the module defines.
    Global(u32),
    /// Words that hold addresses to call. They change at any safepoint.
    Entries,
    /// The stack context's limit and poll flag, which other threads write.
    Control,
    /// Fuel left.
    Fuel,
    /// Counted calls.
    Calls,
    /// The buffers that results, OSR state, and what a tail call has no room for are passed in, and the pointers to them.
    Buffers,
    /// The function's own arguments on the stack.
    Arguments,
}

/// Globals from this index on share one region: the number of distinct flags of a function is limited.
const MAX_GLOBAL_REGIONS: u32 = 4096;

impl Region {
    fn data(self) -> AliasRegionData {
        let (user_id, description) = match self {
            Region::Heap => (0, "heap"),
            Region::MemoryDefs => (1, "memory definitions"),
            Region::Tables => (2, "table elements"),
            Region::TableDefs => (3, "table definitions"),
            Region::ImportedGlobals => (4, "imported globals"),
            Region::Entries => (5, "entries"),
            Region::Control => (6, "control"),
            Region::Fuel => (7, "fuel"),
            Region::Buffers => (8, "buffers"),
            Region::Calls => (9, "calls"),
            Region::Arguments => (10, "arguments"),
            Region::Global(index) => (16 + index.min(MAX_GLOBAL_REGIONS), "global"),
        };
        AliasRegionData { user_id, description: description.into() }
    }

    fn intern(self, func: &mut Function) -> AliasRegion {
        func.dfg.alias_regions.insert(self.data())
    }
}

/// Flags of a load of something that does not change while the code runs, from an address that is
/// valid wherever it can be computed.
pub(super) fn constant() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

/// Flags of an access that cannot trap, to this region.
pub(super) fn flags(func: &mut Function, region: Region) -> MemFlagsData {
    let region = region.intern(func);
    MemFlagsData::trusted().with_alias_region(Some(region))
}

/// The same for a value of this type. Slots are aligned to 8 bytes, which is not enough for vectors.
fn flags_for(func: &mut Function, region: Region, ty: Type) -> MemFlagsData {
    match ty.is_vector() {
        true => {
            let region = region.intern(func);
            MemFlagsData::new().with_notrap().with_alias_region(Some(region))
        }
        false => flags(func, region),
    }
}

/// The context pointer, and how to get from there to everything else.
#[derive(Clone, Copy)]
pub(super) struct Runtime {
    /// The context pointer of the function.
    pub(super) context: Value,
}

impl Runtime {
    /// A pointer in the context that never changes.
    pub(super) fn context_field(self, builder: &mut FunctionBuilder<'_>, offset: i32) -> Value {
        load_constant(builder, types::I64, self.context, offset)
    }

    /// The store's context, which begins with the stack's.
    pub(super) fn store_context(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.context_field(builder, ContextHeader::STACK)
    }

    pub(super) fn stack_limit(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.store_field(builder, Region::Control, StackContext::STACK_LIMIT)
    }

    /// The poll flag. A loop's every iteration has to load it anew. Cranelift may replace a load by
    /// an earlier one of the same region if nothing lies in between that may write to it; but
    /// between two polls there is always the first one's cold path, whose call may.
    pub(super) fn poll_flag(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.store_field(builder, Region::Control, StackContext::POLL_FLAG)
    }

    pub(super) fn fuel(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.store_field(builder, Region::Fuel, StoreContext::FUEL)
    }

    pub(super) fn set_fuel(self, builder: &mut FunctionBuilder<'_>, fuel: Value) {
        let store = self.store_context(builder);
        let flags = flags(builder.func, Region::Fuel);
        builder.ins().store(flags, fuel, store, StoreContext::FUEL);
    }

    /// Adds one to an element of `StoreContext::calls`.
    pub(super) fn count_call(self, builder: &mut FunctionBuilder<'_>) {
        let optimized = StoreContext::OPTIMIZED_CALLS as u32;
        let offset = StoreContext::CALLS + element_offset(optimized, 8);
        let calls = self.store_field(builder, Region::Calls, offset);
        let one = builder.ins().iconst(types::I64, 1);
        let calls = builder.ins().iadd(calls, one);
        let context = self.store_context(builder);
        store(builder, Region::Calls, calls, context, offset);
    }

    /// The buffer that an OSR entry's frame is passed in.
    pub(super) fn resume_buffer(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.store_field(builder, Region::Buffers, StackContext::RESUME)
    }

    /// The buffer for results that do not fit into registers, and for arguments of tail calls for which there is no room.
    pub(super) fn results_buffer(self, builder: &mut FunctionBuilder<'_>) -> Value {
        self.store_field(builder, Region::Buffers, StackContext::RESULTS)
    }

    fn store_field(self, builder: &mut FunctionBuilder<'_>, region: Region, offset: i32) -> Value {
        let store = self.store_context(builder);
        load(builder, types::I64, region, store, offset)
    }

    /// The `index`th pointer of one of the context's arrays of pointers, none of which changes.
    pub(super) fn array_element(
        self,
        builder: &mut FunctionBuilder<'_>,
        array: i32,
        index: u32,
    ) -> Value {
        let array = self.context_field(builder, array);
        load_constant(builder, types::I64, array, element_offset(index, 8))
    }

    pub(super) fn memory_base(self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        if memory == 0 {
            return self.context_field(builder, InstanceContext::MEMORY0_BASE);
        }
        let definition = self.memory_definition(builder, memory);
        load_constant(builder, types::I64, definition, 0)
    }

    /// Bytes of a memory.
    pub(super) fn memory_len(self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        let definition = self.memory_definition(builder, memory);
        load(builder, types::I64, Region::MemoryDefs, definition, 8)
    }

    fn memory_definition(self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        if memory == 0 {
            return self.context_field(builder, InstanceContext::MEMORY0);
        }
        self.array_element(builder, InstanceContext::MEMORIES, memory)
    }
}

/// Loads something that never changes.
pub(super) fn load_constant(
    builder: &mut FunctionBuilder<'_>,
    ty: Type,
    address: Value,
    offset: i32,
) -> Value {
    builder.ins().load(ty, constant(), address, offset)
}

/// Loads from a region, at an address that is known to be good.
pub(super) fn load(
    builder: &mut FunctionBuilder<'_>,
    ty: Type,
    region: Region,
    address: Value,
    offset: i32,
) -> Value {
    let flags = flags_for(builder.func, region, ty);
    builder.ins().load(ty, flags, address, offset)
}

/// Stores to a region, at an address that is known to be good.
pub(super) fn store(
    builder: &mut FunctionBuilder<'_>,
    region: Region,
    value: Value,
    address: Value,
    offset: i32,
) {
    let ty = builder.func.dfg.value_type(value);
    let flags = flags_for(builder.func, region, ty);
    builder.ins().store(flags, value, address, offset);
}

/// Offset of an array's element. Index spaces are limited to far less than 2^31 / `size` entries.
pub(super) fn element_offset(index: u32, size: usize) -> i32 {
    i32::try_from(index as usize * size).expect("index spaces of a valid module are small")
}
