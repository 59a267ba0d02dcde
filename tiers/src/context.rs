//! The runtime interface of all tiers: the structures that interpreter and machine code work on,
//! and the one table of runtime calls. The `midair` crate fills and owns them.
//!
//! Ownership: a store owns a [`StoreContext`] and the [`InstanceContext`]s of its instances; a module
//! owns one [`FunctionState`] for each function that it defines, shared by all its instances.

use crate::lowered::code::{Handler, LoweredCode};
use crate::trap::TrapCode;
use midair_osr::{ContextHeader, StackContext};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// State of one store. Machine code reaches it through `ContextHeader::stack`, its first field.
#[repr(C)]
pub struct StoreContext {
    /// Stack limit, poll flag, exit records, redirected frames.
    pub stack: StackContext,
    /// Fuel left. Charged by `crate::fuel` costs when the module's `consume_fuel` is on; a charge
    /// that would make it negative traps with `OutOfFuel` and leaves it as it was.
    pub fuel: i64,
    /// Calls of functions, by the tier in which the body began: interpreter, baseline, optimized.
    /// Counted behind the safepoint at the function's entry, where the module's `count_calls` is on.
    pub calls: [u64; 3],
    /// The interpreter's value stack: the first free slot.
    pub value_top: *mut u64,
    /// The value stack's end.
    pub value_limit: *mut u64,
    /// Innermost interpreter activation (`crate::interp::Activation`), or null.
    pub activation: *mut c_void,
    /// Trap that is being raised: number of its `TrapCode`, 0 if none. Whoever makes an activation or
    /// compiled code return "trapped" has set it.
    pub trap: u32,
    /// The embedder's store.
    pub owner: *mut c_void,
    /// The exception that is on its way while `trap` is `UncaughtException`.
    pub exception: *mut Exception,
}

/// A tag, which exceptions are told apart by: two are the same if they are at the same address.
#[repr(C)]
#[derive(Debug)]
pub struct TagDef {
    /// Identity of its type within the engine. The parameters are what its exceptions carry.
    pub signature: u32,
}

/// The head of an exception, and the value of an `exnref` that is not null: its address. What it carries is the
/// embedder's.
#[repr(C)]
#[derive(Debug)]
pub struct Exception {
    /// Its tag.
    pub tag: *const TagDef,
}

/// What one function entry points to, one for each function that a module defines.
///
/// `entry` is what machine code calls: never null; an entry thunk (which makes a callout) until code
/// is published.
#[repr(C)]
pub struct FunctionState {
    /// +0: address to call.
    pub entry: AtomicPtr<u8>,
    /// +8: compiled code for interpreters to call, or null while the function is to be interpreted.
    pub native: AtomicPtr<u8>,
    /// +16: lowered code of the current version (`crate::interp::LoweredCode`), or null.
    pub lowered: AtomicPtr<c_void>,
    /// +24: calls and loop iterations until the interpreter calls `Builtins::hot`.
    pub countdown: AtomicI32,
    _pad: u32,
    /// +32: what baseline code calls, never null: the entry of the function's baseline code, or what leaves the call to
    /// its handler.
    pub baseline: AtomicPtr<u8>,
}

impl FunctionState {
    /// Bytes of one element.
    pub const SIZE: usize = 40;
    /// Offset of `countdown`.
    pub const COUNTDOWN: i32 = 24;
    /// Offset of `baseline`.
    pub const BASELINE: i32 = 32;
    /// Offset of `entry`.
    pub const ENTRY: i32 = 0;

    /// A function that has not been called yet.
    pub fn new(entry_thunk: *mut u8, countdown: i32) -> FunctionState {
        FunctionState {
            entry: AtomicPtr::new(entry_thunk),
            native: AtomicPtr::new(std::ptr::null_mut()),
            lowered: AtomicPtr::new(std::ptr::null_mut()),
            countdown: AtomicI32::new(countdown),
            _pad: 0,
            baseline: AtomicPtr::new(crate::lowered::continuations::call_by_handler()),
        }
    }

    /// Counts a call between machine code and what runs on frames of the interpreter: against the function that is still
    /// there, whether it calls (tail calls and calls of other instances do not count) or is called. Such calls cost more than one of these two tiers gains, so that functions that
    /// call each other often have to get to the same tier soon.
    pub fn count_crossing(&self) {
        let left = self.countdown.load(Ordering::Relaxed);
        if CROSSINGS_COUNT.contains(&left) {
            let left = (left - CROSSING).max(CROSSINGS_COUNT.start);
            self.countdown.store(left, Ordering::Relaxed);
        }
    }
}

/// What a call between tiers counts, in calls within one.
const CROSSING: i32 = 50;

/// The countdowns that such calls count against. Functions that are about to ask for code, or wait for it, ask soon enough; and
/// what is not to be compiled has far more than any threshold.
const CROSSINGS_COUNT: std::ops::Range<i32> = 1_000..i32::MAX / 2;

/// A function value: what a funcref points to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FuncRef {
    /// +0: address of a word that holds the address to call (`&FunctionState::entry`, or a host
    /// function's word).
    pub entry: *const AtomicPtr<u8>,
    /// +8: the context to pass in `rdi`; null: not initialised.
    pub context: *mut ContextHeader,
    /// +16: identity of the signature within the engine.
    pub signature: u32,
    /// +20: index in the defining module (imports first); the token of a host function.
    pub index: u32,
}

impl FuncRef {
    /// Bytes of one element.
    pub const SIZE: usize = 24;
    /// Offset of `entry`.
    pub const ENTRY: i32 = 0;
    /// Offset of `context`.
    pub const CONTEXT: i32 = 8;
    /// Offset of `signature`.
    pub const SIGNATURE: i32 = 16;
    /// Offset of `index`.
    pub const INDEX: i32 = 20;
}

/// A linear memory. `base` never changes: the whole range is reserved, with no access beyond `len`. In a memory that
/// [is guarded](crate::module_env::MemoryType::is_guarded) `base + index + offset` (both 32 bits) always lies in the
/// reservation.
#[repr(C)]
#[derive(Debug)]
pub struct MemoryDef {
    /// +0
    pub base: *mut u8,
    /// +8: bytes that are accessible. They only become more; those of a shared memory while others read this.
    len: AtomicUsize,
}

impl MemoryDef {
    /// A memory of which so many bytes are accessible.
    pub const fn new(base: *mut u8, len: usize) -> MemoryDef {
        MemoryDef { base, len: AtomicUsize::new(len) }
    }

    /// Bytes that are accessible.
    #[inline(always)]
    pub fn len(&self) -> usize {
        // For the processor it is what any load is. Who reads a greater length may use the bytes: they have been made
        // accessible by the system, for all threads.
        self.len.load(Ordering::Acquire)
    }

    /// Whether nothing is accessible.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that so many bytes are accessible now. Those who do that keep others out.
    pub fn set_len(&self, len: usize) {
        self.len.store(len, Ordering::SeqCst);
    }
}

/// A table of references: 64 bits each, 0 is null.
#[repr(C)]
#[derive(Debug)]
pub struct TableDef {
    /// +0: changes when the table grows.
    pub base: *mut u64,
    /// +8: number of elements.
    pub len: usize,
}

/// A global's value: its bits in the low half (both halves for v128); i32 and f32 with zero upper bits.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct GlobalCell(pub [u64; 2]);

/// Context of one instance: what `rdi` points to in the code of its module.
///
/// The globals that the module defines follow right behind it: see [`InstanceContext::global_offset`].
#[repr(C, align(16))]
pub struct InstanceContext {
    /// +0..32
    pub header: ContextHeader,
    /// +32: base of memory 0; dangling (never accessed: its length is 0) if there is none.
    pub memory0_base: *mut u8,
    /// +40: memory 0; a static empty one if there is none.
    pub memory0: *mut MemoryDef,
    /// +48: `[*mut MemoryDef]`, by memory index.
    pub memories: *const *mut MemoryDef,
    /// +56: `[*mut TableDef]`, by table index.
    pub tables: *const *mut TableDef,
    /// +64: `[*mut GlobalCell]`, by global index; those of defined globals point behind this struct.
    pub globals: *const *mut GlobalCell,
    /// +72: `[FunctionState]` of the module, by function index minus the number of imported functions.
    pub functions: *const FunctionState,
    /// +80: `[FuncRef]`, by function index. Imports are always initialised; of defined functions
    /// only those that `Builtins::ref_func` has been called for.
    pub func_refs: *mut FuncRef,
    /// +88: `[u32]`: engine-wide signature identities, by type index.
    pub signatures: *const u32,
    /// +96
    pub builtins: *const Builtins,
    /// +104: `ModuleEnv` of the module.
    pub env: *const crate::module_env::ModuleEnv,
    /// +112: the embedder's instance.
    pub owner: *mut c_void,
    /// +120: the embedder's code manager of the module.
    pub code: *mut c_void,
    /// +128: counted up, by any thread, after functions of the module have got new bodies. Activations
    /// of the interpreter look at it wherever control comes back to them, and then ask
    /// `Builtins::continuation` about each of their frames before that goes on: see `crate::interp`.
    pub epoch: *const AtomicU64,
    /// +136: `[*const TagDef]`, by tag index.
    pub tags: *const *const TagDef,
}

impl InstanceContext {
    /// Offset of `memory0_base`.
    pub const MEMORY0_BASE: i32 = 32;
    /// Offset of `memory0`.
    pub const MEMORY0: i32 = 40;
    /// Offset of `memories`.
    pub const MEMORIES: i32 = 48;
    /// Offset of `tables`.
    pub const TABLES: i32 = 56;
    /// Offset of `globals`.
    pub const GLOBALS: i32 = 64;
    /// Offset of `functions`.
    pub const FUNCTIONS: i32 = 72;
    /// Offset of `func_refs`.
    pub const FUNC_REFS: i32 = 80;
    /// Offset of `signatures`.
    pub const SIGNATURES: i32 = 88;
    /// Offset of `builtins`.
    pub const BUILTINS: i32 = 96;
    /// Bytes of the fixed part.
    pub const SIZE: usize = 144;

    /// Offset of the `index`th *defined* global's cell.
    pub const fn global_offset(index: u32) -> i32 {
        (Self::SIZE + index as usize * 16) as i32
    }

    /// The store that this instance belongs to.
    pub fn store(&self) -> *mut StoreContext {
        self.header.stack.cast()
    }
}

/// Status of a runtime call: 0, or the number of a [`TrapCode`] to raise.
pub type Status = u32;

/// What the embedder answers at a safepoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafepointAction {
    /// Go on where you are.
    Continue,
    /// Trap with this code.
    Trap(TrapCode),
    /// Interpreter only: go on in this machine code. At a function's entry it is the function's
    /// ordinary code; at a loop header it is an OSR entry for exactly this point (its state is then
    /// put into `StackContext::resume` by the interpreter).
    Enter(*const u8),
}

/// A frame of the interpreter that is about to go on, for `Builtins::continuation` to look at and
/// to change.
#[derive(Clone, Debug)]
pub struct SuspendedFrame {
    /// The code that the frame runs, as `crate::lower::lower` made it; afterwards that code or
    /// [`LoweredCode::with_exits`] of it.
    pub code: *const LoweredCode,
    /// The safepoint at which it is suspended.
    pub point: u32,
    /// The frame in canonical form; at a call with the call's results.
    pub values: Vec<u64>,
}

/// What becomes of a [`SuspendedFrame`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameContinuation {
    /// It goes on as it is.
    Stay,
    /// It goes on as the [`SuspendedFrame`] says now, at a safepoint of the same kind. The code stays
    /// alive while frames run it.
    Move,
    /// It traps with this code.
    Trap(TrapCode),
}

/// What `memory.grow` and `table.grow` answer if the guest is to trap with [`TrapCode::HostError`]; the error lies with
/// the store.
pub const GROW_TRAPS: u64 = u64::MAX - 1;

/// The runtime calls, one table for all tiers. All are `extern "sysv64"`; none of them unwinds or
/// runs guest code, unless it says so. In machine code they are called through
/// `InstanceContext::builtins`; offset of the `n`th is `8 * n`.
///
/// Those that fill, copy and initialise answer with the trap's number, of which machine code knows two: what they work on is
/// out of bounds, or the guest is interrupted.
///
/// Indices are the module's; addresses, sizes and lengths are in the units of the instruction,
/// zero-extended to 64 bits.
#[repr(C)]
pub struct Builtins {
    /// 0: `memory.grow`: old size in pages, or -1 of the type of the memory's addresses, zero-extended, or [`GROW_TRAPS`].
    pub memory_grow:
        unsafe extern "sysv64" fn(*mut InstanceContext, memory: u32, delta: u64) -> u64,
    /// 1: `memory.fill`
    pub memory_fill: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        memory: u32,
        dst: u64,
        value: u32,
        len: u64,
    ) -> Status,
    /// 2: `memory.copy`
    pub memory_copy: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        dst_memory: u32,
        src_memory: u32,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Status,
    /// 3: `memory.init`
    pub memory_init: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        memory: u32,
        segment: u32,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Status,
    /// 4: `data.drop`
    pub data_drop: unsafe extern "sysv64" fn(*mut InstanceContext, segment: u32),
    /// 5: `table.grow`: old size, or -1 of the type of the table's indices, zero-extended, or [`GROW_TRAPS`].
    pub table_grow:
        unsafe extern "sysv64" fn(*mut InstanceContext, table: u32, value: u64, delta: u64) -> u64,
    /// 6: `table.fill`
    pub table_fill: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        table: u32,
        dst: u64,
        value: u64,
        len: u64,
    ) -> Status,
    /// 7: `table.copy`
    pub table_copy: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        dst_table: u32,
        src_table: u32,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Status,
    /// 8: `table.init`
    pub table_init: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        table: u32,
        segment: u32,
        dst: u64,
        src: u64,
        len: u64,
    ) -> Status,
    /// 9: `elem.drop`
    pub elem_drop: unsafe extern "sysv64" fn(*mut InstanceContext, segment: u32),
    /// 10: `ref.func`: the `FuncRef`, initialised.
    pub ref_func: unsafe extern "sysv64" fn(*mut InstanceContext, function: u32) -> *const FuncRef,
    /// 11: whether functions of signature `found`, which is another one than `expected`, are of a subtype of that.
    pub is_subtype:
        unsafe extern "sysv64" fn(*mut InstanceContext, found: u32, expected: u32) -> u32,
    /// 12: What machine code calls to throw and to wait, as it calls a function (see [`midair_osr::request_entry`]).
    ///
    /// To throw: with the tag, whose values are in `StackContext::results`, or with [`THROWS_REFERENCE`] and an `exnref`.
    /// It does not return.
    ///
    /// To wait: with [`WAITS_32`] or [`WAITS_64`], the memory, the effective address, the expected value, and the time in
    /// nanoseconds. It returns what `memory.atomic.wait` does.
    pub request_entry: unsafe extern "sysv64" fn(),
    /// 13: What machine code jumps to for a tail call for whose arguments there is no room: see
    /// [`midair_osr::more_arguments_entry`].
    pub more_arguments_entry: unsafe extern "sysv64" fn(),
    /// 14: Where its callees return: see [`midair_osr::more_arguments_return`].
    pub more_arguments_return: unsafe extern "sysv64" fn(),
    /// 15: `memory.atomic.notify` at an effective address, whose alignment has been checked: how many were woken, or
    /// [`OUTSIDE`].
    pub notify:
        unsafe extern "sysv64" fn(*mut InstanceContext, memory: u32, at: u64, count: u32) -> u64,

    // For the interpreter only:
    /// Makes `FunctionState::lowered` of the function (an index into `functions`, imports first)
    /// ready, or publishes machine code for it where a compiled tier is forced; on return at least
    /// one of `native` and `lowered` is set, unless the status says why not.
    pub prepare: unsafe extern "sysv64" fn(*mut InstanceContext, function: u32) -> Status,
    /// `countdown` of the function fell below 0; resets it. `point` is `FunctionBody::ENTRY` or a
    /// loop header where the interpreter could enter an OSR entry right now.
    pub hot: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        function: u32,
        point: u32,
    ) -> SafepointAction,
    /// The poll flag is set at a function's entry or a loop header of the interpreter.
    pub safepoint: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        function: u32,
        point: u32,
    ) -> SafepointAction,
    /// Functions have got new bodies, or it has come to an exit, and a frame is about to go on that does not
    /// run its function's current lowered code: decides where it does.
    pub continuation: unsafe extern "sysv64" fn(
        *mut InstanceContext,
        frame: &mut SuspendedFrame,
    ) -> FrameContinuation,
    /// The interpreter throws an exception with this tag and these values, in canonical slots: it is on its way
    /// afterwards. The frames of the innermost activation still stand and can be walked.
    pub throw: unsafe extern "sysv64" fn(*mut InstanceContext, tag: u32, values: *const u64),
    /// The same for an `exnref` that is not null.
    pub throw_ref: unsafe extern "sysv64" fn(*mut InstanceContext, exception: u64),
    /// The exception that is on its way is caught by this handler, whose operands are put to `to`, in canonical slots.
    pub catch: unsafe extern "sysv64" fn(*mut InstanceContext, handler: &Handler, to: *mut u64),
    /// The interpreter waits, for a value of 8 bytes or else of 4, at an effective address that has been checked for
    /// alignment; the top frame is suspended as in a call, and other threads may replace functions meanwhile. The answer
    /// is the operator's result, or the number of a trap in its upper half.
    pub wait: unsafe extern "sysv64" fn(*mut InstanceContext, &Wait) -> u64,
    /// The interpreter raises a trap: `StoreContext::trap` is set, the frames of the innermost
    /// activation still stand and can be walked. Called once for each trap, where it is raised, and
    /// not for traps that come out of machine code.
    pub raise: unsafe extern "sysv64" fn(*mut InstanceContext, code: u32),
}

/// Numbers of the runtime calls that machine code makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum BuiltinIndex {
    MemoryGrow = 0,
    MemoryFill,
    MemoryCopy,
    MemoryInit,
    DataDrop,
    TableGrow,
    TableFill,
    TableCopy,
    TableInit,
    ElemDrop,
    RefFunc,
    IsSubtype,
    RequestEntry,
    MoreArgumentsEntry,
    MoreArgumentsReturn,
    Notify,
}

/// In place of a tag: see [`Builtins::request_entry`].
pub const THROWS_REFERENCE: u32 = u32::MAX;
/// In place of a tag: see [`Builtins::request_entry`].
pub const WAITS_32: u32 = u32::MAX - 1;
/// In place of a tag: see [`Builtins::request_entry`].
pub const WAITS_64: u32 = u32::MAX - 2;

/// What `memory.atomic.notify` is answered where the address lies outside the memory.
pub const OUTSIDE: u64 = u64::MAX;

/// A `memory.atomic.wait32` or `memory.atomic.wait64`.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Memory index.
    pub memory: u32,
    /// Effective address.
    pub at: u64,
    /// Whether the value has 8 bytes, and not 4.
    pub is_64: bool,
    /// The value that must be there.
    pub expected: u64,
    /// Nanoseconds; negative for ever.
    pub timeout: i64,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<FunctionState>() == FunctionState::SIZE);
    assert!(offset_of!(FunctionState, countdown) == FunctionState::COUNTDOWN as usize);
    assert!(offset_of!(FunctionState, baseline) == FunctionState::BASELINE as usize);
    assert!(size_of::<FuncRef>() == FuncRef::SIZE);
    assert!(size_of::<InstanceContext>() == InstanceContext::SIZE);
    assert!(offset_of!(StoreContext, stack) == 0);
    assert!(offset_of!(InstanceContext, memory0_base) == InstanceContext::MEMORY0_BASE as usize);
    assert!(offset_of!(InstanceContext, memory0) == InstanceContext::MEMORY0 as usize);
    assert!(offset_of!(InstanceContext, memories) == InstanceContext::MEMORIES as usize);
    assert!(offset_of!(InstanceContext, tables) == InstanceContext::TABLES as usize);
    assert!(offset_of!(InstanceContext, globals) == InstanceContext::GLOBALS as usize);
    assert!(offset_of!(InstanceContext, functions) == InstanceContext::FUNCTIONS as usize);
    assert!(offset_of!(InstanceContext, func_refs) == InstanceContext::FUNC_REFS as usize);
    assert!(offset_of!(InstanceContext, signatures) == InstanceContext::SIGNATURES as usize);
    assert!(offset_of!(InstanceContext, builtins) == InstanceContext::BUILTINS as usize);
    assert!(offset_of!(Builtins, ref_func) == 8 * BuiltinIndex::RefFunc as usize);
    assert!(offset_of!(Builtins, is_subtype) == 8 * BuiltinIndex::IsSubtype as usize);
    assert!(offset_of!(Builtins, request_entry) == 8 * BuiltinIndex::RequestEntry as usize);
    let more_arguments_entry = offset_of!(Builtins, more_arguments_entry);
    assert!(more_arguments_entry == 8 * BuiltinIndex::MoreArgumentsEntry as usize);
    let more_arguments_return = offset_of!(Builtins, more_arguments_return);
    assert!(more_arguments_return == 8 * BuiltinIndex::MoreArgumentsReturn as usize);
    assert!(offset_of!(Builtins, notify) == 8 * BuiltinIndex::Notify as usize);
    assert!(offset_of!(MemoryDef, len) == 8);
};
impl StoreContext {
    /// Offset of `fuel`.
    pub const FUEL: i32 = std::mem::offset_of!(StoreContext, fuel) as i32;
    /// Offset of `calls`.
    pub const CALLS: i32 = std::mem::offset_of!(StoreContext, calls) as i32;
    /// Offset of `value_limit`.
    pub const VALUE_LIMIT: i32 = std::mem::offset_of!(StoreContext, value_limit) as i32;
    /// Offset of the poll flag.
    pub const POLL_FLAG: i32 = (std::mem::offset_of!(StoreContext, stack)
        + std::mem::offset_of!(StackContext, poll_flag)) as i32;
    /// Index of the interpreter in `calls`.
    pub const INTERPRETER_CALLS: usize = 0;
    /// Index of the baseline tier in `calls`.
    pub const BASELINE_CALLS: usize = 1;
    /// Index of the optimising tier in `calls`.
    pub const OPTIMIZED_CALLS: usize = 2;
}
