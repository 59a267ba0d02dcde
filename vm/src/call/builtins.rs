//! The runtime calls of guest code. Those that are about memories, tables and references are here; those by which
//! frames change their code are in [`crate::stack`].
//!
//! None of them unwinds, and each is complete in itself: a guest that gives wrong operands gets a trap,
//! and nothing has been changed.

use crate::call::waits;
use crate::code::accounts::Activity;
use crate::code::sampling::Place;
use crate::code::timeline::What;
use crate::stack::transition::while_suspended;
use crate::stack::{backtrace, exceptions, interpreter_frames, transition};
use crate::store::of_context::{instance_of, module_of, store_of};
use crate::store::opaque::{PendingExit, StoreOpaque};
use midair_osr::{more_arguments_entry, more_arguments_return, request_entry};
use midair_tiers::context::{GROW_TRAPS, OUTSIDE, Status};
use midair_tiers::{
    Builtins, FuncRef, InstanceContext, MemoryDef, TableDef, TrapCode, TypeId, shared_bytes,
};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Instant;

static TABLE: Builtins = Builtins {
    memory_grow,
    memory_fill,
    memory_copy,
    memory_init,
    data_drop,
    table_grow,
    table_fill,
    table_copy,
    table_init,
    elem_drop,
    ref_func,
    is_subtype,
    request_entry: request_entry(),
    more_arguments_entry: more_arguments_entry(),
    more_arguments_return: more_arguments_return(),
    notify,
    wait: waits::wait_in_interpreter,
    prepare,
    hot: transition::hot,
    safepoint: transition::safepoint,
    continuation: interpreter_frames::continuation,
    throw: exceptions::throw,
    throw_ref: exceptions::throw_ref,
    catch: exceptions::catch,
    raise,
};

/// The table of runtime calls.
pub(crate) fn table() -> *const Builtins {
    &TABLE
}

/// What `memory.grow` and `table.grow` answer; an error of the limiter is left with the store. `is_64`: whether sizes have
/// 64 bits.
fn grown(store: &mut StoreOpaque, old: Result<Option<u64>, PendingExit>, is_64: bool) -> u64 {
    let failed = if is_64 { u64::MAX } else { u32::MAX.into() };
    match old {
        Ok(old) => old.unwrap_or(failed),
        Err(exit) => {
            store.pending = Some(exit);
            GROW_TRAPS
        }
    }
}

/// The bytes at `at..at + len` of a memory, if they are all there.
///
/// # Safety
/// The instance must have the memory.
unsafe fn bytes(cx: *mut InstanceContext, memory: u32, at: u64, len: u64) -> Option<*mut u8> {
    // SAFETY: as the caller vouches.
    let def: &MemoryDef = unsafe { &**(*cx).memories.add(memory as usize) };
    (at.checked_add(len)? <= def.len() as u64).then(|| def.base.wrapping_add(at as usize))
}

/// Whether other threads may use a memory at the same time.
///
/// # Safety
/// As for [`bytes`].
unsafe fn is_shared(cx: *mut InstanceContext, memory: u32) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { (&(*(*cx).env).memories)[memory as usize].shared }
}

/// The elements at `at..at + len` of a table, if they are all there.
///
/// # Safety
/// The instance must have the table.
unsafe fn elements(cx: *mut InstanceContext, table: u32, at: u64, len: u64) -> Option<*mut u64> {
    // SAFETY: as the caller vouches.
    let def: &TableDef = unsafe { &**(*cx).tables.add(table as usize) };
    (at.checked_add(len)? <= def.len as u64).then(|| def.base.wrapping_add(at as usize))
}

/// The part `at..at + len` of a segment, if it is all there.
fn part<V>(segment: &[V], at: u64, len: u64) -> Option<&[V]> {
    let end = usize::try_from(at.checked_add(len)?).ok()?;
    segment.get(at as usize..end)
}

const MEMORY_OUT_OF_BOUNDS: Status = TrapCode::MemoryOutOfBounds as Status;
const TABLE_OUT_OF_BOUNDS: Status = TrapCode::TableOutOfBounds as Status;

const INTERRUPTED: Status = TrapCode::Interrupt as Status;

/// Bytes that take so long that an interruption is looked for before.
const LONG: u64 = 4096;

/// Takes a pending interruption of the guest, if so many bytes are to be written.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store.
unsafe fn interrupted(cx: *mut InstanceContext, bytes: u64) -> bool {
    if bytes < LONG {
        return false;
    }
    // SAFETY: as the caller vouches.
    let store = unsafe { store_of(cx) };
    store.interrupt.is_requested() && store.take_interrupt()
}

/// `memory.grow`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store. `memory` must
/// be one of its memories.
unsafe extern "sysv64" fn memory_grow(cx: *mut InstanceContext, memory: u32, delta: u64) -> u64 {
    // SAFETY: guest code passes its context, and an index that was validated.
    unsafe {
        let memory = instance_of(cx).memory(memory);
        let old = store_of(cx).grow_memory(memory, delta);
        grown(store_of(cx), old, memory.as_ref().is_64())
    }
}

/// `memory.fill`.
///
/// # Safety
/// As for [`memory_grow`].
unsafe extern "sysv64" fn memory_fill(
    cx: *mut InstanceContext,
    memory: u32,
    dst: u64,
    value: u32,
    len: u64,
) -> Status {
    // SAFETY: guest code passes its context, and an index that was validated; `bytes` checks the range.
    unsafe {
        if interrupted(cx, len) {
            return INTERRUPTED;
        }
        let Some(dst) = bytes(cx, memory, dst, len) else { return MEMORY_OUT_OF_BOUNDS };
        if is_shared(cx, memory) {
            shared_bytes::fill(dst, value as u8, len as usize);
        } else {
            dst.write_bytes(value as u8, len as usize);
        }
    }
    0
}

/// `memory.copy`.
///
/// # Safety
/// As for [`memory_grow`], for both memories.
unsafe extern "sysv64" fn memory_copy(
    cx: *mut InstanceContext,
    dst_memory: u32,
    src_memory: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Status {
    // SAFETY: as in `memory_fill`; the ranges may overlap.
    unsafe {
        if interrupted(cx, len) {
            return INTERRUPTED;
        }
        let (Some(dst), Some(src)) =
            (bytes(cx, dst_memory, dst, len), bytes(cx, src_memory, src, len))
        else {
            return MEMORY_OUT_OF_BOUNDS;
        };
        if is_shared(cx, dst_memory) || is_shared(cx, src_memory) {
            shared_bytes::copy(src, dst, len as usize);
        } else {
            dst.copy_from(src, len as usize);
        }
    }
    0
}

/// `memory.init`.
///
/// # Safety
/// As for [`memory_grow`]; `segment` must be one of the module's data segments.
unsafe extern "sysv64" fn memory_init(
    cx: *mut InstanceContext,
    memory: u32,
    segment: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Status {
    // SAFETY: as in `memory_fill`; the module's bytes are not part of any memory.
    unsafe {
        if interrupted(cx, len) {
            return INTERRUPTED;
        }
        let segment = instance_of(cx).data_segment(segment);
        let (Some(dst), Some(src)) = (bytes(cx, memory, dst, len), part(segment, src, len)) else {
            return MEMORY_OUT_OF_BOUNDS;
        };
        if is_shared(cx, memory) {
            shared_bytes::copy(src.as_ptr(), dst, src.len());
        } else {
            dst.copy_from_nonoverlapping(src.as_ptr(), src.len());
        }
    }
    0
}

/// `memory.atomic.notify`.
///
/// # Safety
/// As for [`memory_grow`].
unsafe extern "sysv64" fn notify(
    cx: *mut InstanceContext,
    memory: u32,
    at: u64,
    count: u32,
) -> u64 {
    // SAFETY: guest code passes its context, and an index that was validated; memories live as long as their store.
    let memory = unsafe { instance_of(cx).memory(memory).as_ref() };
    if memory.atomic_place(at, size_of::<u32>() as u64).is_err() {
        return OUTSIDE;
    }
    // Nobody can wait in a memory that is not shared.
    memory.shared.as_ref().map_or(0, |shared| shared.waiters.notify(at, count)).into()
}

/// `data.drop`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store.
unsafe extern "sysv64" fn data_drop(cx: *mut InstanceContext, segment: u32) {
    // SAFETY: guest code passes its context.
    unsafe { instance_of(cx).dropped_data[segment as usize] = true };
}

/// `table.grow`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store. `table` must be
/// one of its tables, and `value` a null or a reference of the table's type that the store keeps alive.
unsafe extern "sysv64" fn table_grow(
    cx: *mut InstanceContext,
    table: u32,
    value: u64,
    delta: u64,
) -> u64 {
    // SAFETY: guest code passes its context, and an index that was validated.
    unsafe {
        let table = instance_of(cx).table(table);
        let old = store_of(cx).grow_table(table, value, delta);
        grown(store_of(cx), old, table.as_ref().is_64())
    }
}

/// `table.fill`.
///
/// # Safety
/// As for [`table_grow`].
unsafe extern "sysv64" fn table_fill(
    cx: *mut InstanceContext,
    table: u32,
    dst: u64,
    value: u64,
    len: u64,
) -> Status {
    // SAFETY: guest code passes its context, and an index that was validated; `elements` checks the
    // range.
    unsafe {
        if interrupted(cx, len.saturating_mul(size_of::<u64>() as u64)) {
            return INTERRUPTED;
        }
        let Some(dst) = elements(cx, table, dst, len) else { return TABLE_OUT_OF_BOUNDS };
        std::slice::from_raw_parts_mut(dst, len as usize).fill(value);
    }
    0
}

/// `table.copy`.
///
/// # Safety
/// As for [`table_grow`], for both tables; elements of the source's type must be fit for the
/// destination.
unsafe extern "sysv64" fn table_copy(
    cx: *mut InstanceContext,
    dst_table: u32,
    src_table: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Status {
    // SAFETY: as in `table_fill`; the ranges may overlap.
    unsafe {
        if interrupted(cx, len.saturating_mul(size_of::<u64>() as u64)) {
            return INTERRUPTED;
        }
        let (Some(dst), Some(src)) =
            (elements(cx, dst_table, dst, len), elements(cx, src_table, src, len))
        else {
            return TABLE_OUT_OF_BOUNDS;
        };
        dst.copy_from(src, len as usize);
    }
    0
}

/// `table.init`.
///
/// # Safety
/// As for [`table_grow`]; the segment's elements must be of the table's type.
unsafe extern "sysv64" fn table_init(
    cx: *mut InstanceContext,
    table: u32,
    segment: u32,
    dst: u64,
    src: u64,
    len: u64,
) -> Status {
    // SAFETY: as in `table_fill`; segments are not part of any table.
    unsafe {
        if interrupted(cx, len.saturating_mul(size_of::<u64>() as u64)) {
            return INTERRUPTED;
        }
        let segment = &instance_of(cx).elements[segment as usize];
        let (Some(dst), Some(src)) = (elements(cx, table, dst, len), part(segment, src, len))
        else {
            return TABLE_OUT_OF_BOUNDS;
        };
        for (i, element) in src.iter().enumerate() {
            *dst.add(i) = element.load(Ordering::Relaxed);
        }
    }
    0
}

/// `elem.drop`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store.
unsafe extern "sysv64" fn elem_drop(cx: *mut InstanceContext, segment: u32) {
    // SAFETY: guest code passes its context.
    unsafe { instance_of(cx).elements[segment as usize] = Box::default() };
}

/// `ref.func`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store. `function` must
/// be one of its functions.
unsafe extern "sysv64" fn ref_func(cx: *mut InstanceContext, function: u32) -> *const FuncRef {
    // SAFETY: guest code passes its context, and an index that was validated.
    let func_ref: NonNull<FuncRef> = unsafe { instance_of(cx).func_ref(function) };
    func_ref.as_ptr()
}

/// Whether functions of signature `found` are of a subtype of `expected`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread.
unsafe extern "sysv64" fn is_subtype(cx: *mut InstanceContext, found: u32, expected: u32) -> u32 {
    let [found, expected] = [found, expected].map(TypeId::from_number);
    // SAFETY: guest code passes its context.
    let engine = unsafe { &instance_of(cx).module.engine };
    engine.is_func_subtype(found, expected).into()
}

/// The interpreter raises a trap.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the guest code that
/// calls must wait for the answer, so that nothing else uses the instance or the store.
unsafe extern "sysv64" fn raise(cx: *mut InstanceContext, code: u32) {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let store = unsafe { store_of(cx) };
    let has_an_error = [TrapCode::HostError as u32, TrapCode::InvalidFunction as u32];
    if !has_an_error.contains(&code) {
        // It may be that a frame traps which an exception of a host function has come to.
        store.pending = None;
    }
    backtrace::capture(store, None);
}

/// A function is called that has no code yet.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread, and the code that calls
/// must wait for the answer, so that nothing else uses the store. `function` must be one that the
/// instance's module defines.
unsafe extern "sysv64" fn prepare(cx: *mut InstanceContext, function: u32) -> Status {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and waits.
    let (code, mutator, sampling) =
        unsafe { (module_of(cx), store_of(cx).mutator.clone(), store_of(cx).sampling) };
    let begun = Instant::now();
    let place = sampling.then(|| Place::of_guest(Activity::Lowering));
    // SAFETY: as above; the function's code is looked up when it has some.
    let prepared = unsafe { while_suspended(&mutator, || code.prepare(function)) };
    drop(place);
    if prepared.is_ok() {
        code.system.counters.record(|| (begun.elapsed(), What::lowered(code.id, function)));
    }
    match prepared {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: as above.
            let store = unsafe { store_of(cx) };
            store.pending = Some(PendingExit::Error(code.cannot_run(function, &error)));
            TrapCode::InvalidFunction as Status
        }
    }
}
