//! Guests that wait in a shared memory.
//!
//! A guest that waits is suspended as in a call of the host: its frames stand still, so that other threads can replace
//! functions, move its frames and free their code, and an update does not wait for it. So to machine code a wait is a call,
//! whose frame is described, and to the interpreter as well.

use crate::code::accounts::Activity;
use crate::code::sampling::Place;
use crate::stack::raise::raise;
use crate::stack::transition::while_suspended;
use crate::store::of_context::{instance_of, store_of};
use crate::store::shared_memory::load;
use crate::store::waiters::WaitEnd;
use midair_osr::{CalloutFrame, CalloutOutcome};
use midair_tiers::abi::wait_shape;
use midair_tiers::context::{WAITS_64, Wait};
use midair_tiers::{InstanceContext, TrapCode};
use std::time::Duration;

/// Waits, and answers what the operator does.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread; the guest is at a call, with all frames of the
/// interpreter saved, and nothing else uses the store. The memory must be one of the instance's.
unsafe fn wait(cx: *mut InstanceContext, wait: &Wait) -> Result<u32, TrapCode> {
    // SAFETY: as the caller vouches; memories live as long as their store.
    let memory = unsafe { instance_of(cx).memory(wait.memory).as_ref() };
    let bytes = if wait.is_64 { 8 } else { 4 };
    let place = memory.atomic_place(wait.at, bytes).map_err(|trap| trap.code())?;
    let Some(shared) = &memory.shared else { return Err(TrapCode::WaitInUnsharedMemory) };
    let timeout = u64::try_from(wait.timeout).ok().map(Duration::from_nanos);
    // SAFETY: it is a place in the memory, for so many bytes.
    let is_expected = || unsafe { load(place, bytes) } == wait.expected;
    // SAFETY: as the caller vouches.
    let store = unsafe { store_of(cx) };
    let (mutator, interrupt) = (store.mutator.clone(), store.interrupt.clone());
    let counters = &store.engine().code().counters;
    counters.waits.add(1);
    let _place = store.sampling.then(|| Place::of_guest(Activity::Waiting));
    // SAFETY: as the caller vouches. What is used meanwhile belongs to no store.
    let end = unsafe {
        while_suspended(&mutator, || {
            shared.waiters.wait(wait.at, is_expected, timeout, Some(&interrupt))
        })
    };
    // SAFETY: as the caller vouches.
    let store = unsafe { store_of(cx) };
    if store.contents.is_memory_pending() {
        // SAFETY: this is the store's thread, at a call of its guest: nothing has borrowed its memories.
        unsafe { store.contents.change_memories() };
    }
    match end {
        WaitEnd::Notified => Ok(0),
        WaitEnd::Mismatch => Ok(1),
        WaitEnd::TimedOut => Ok(2),
        WaitEnd::Interrupted => {
            store.take_interrupt();
            Err(TrapCode::Interrupt)
        }
    }
}

/// `Builtins::wait`.
///
/// # Safety
/// As for [`wait`].
pub(crate) unsafe extern "sysv64" fn wait_in_interpreter(
    cx: *mut InstanceContext,
    operands: &Wait,
) -> u64 {
    // SAFETY: the interpreter passes the context of the instance whose code runs, and has saved its frames.
    match unsafe { wait(cx, operands) } {
        Ok(result) => result.into(),
        Err(code) => u64::from(code as u32) << 32,
    }
}

/// Machine code waits: the callout of `Builtins::request_entry`.
///
/// # Safety
/// Only the callout handler of instances calls it, with its arguments.
pub(crate) unsafe fn wait_in_code(
    cx: *mut InstanceContext,
    frame: &mut CalloutFrame,
) -> CalloutOutcome {
    let argument = |n| frame.integer_argument(n);
    let operands = Wait {
        is_64: argument(0) as u32 == WAITS_64,
        memory: argument(1) as u32,
        at: argument(2),
        expected: argument(3),
        timeout: argument(4).cast_signed(),
    };
    // SAFETY: machine code has called with these arguments.
    match unsafe { wait(cx, &operands) } {
        Ok(result) => {
            // SAFETY: the stack is that of the store whose guest has called.
            unsafe {
                wait_shape().write_results(frame, &mut *(*cx).header.stack, &[result.into()])
            };
            CalloutOutcome::Return
        }
        Err(code) => {
            // SAFETY: as above.
            raise(unsafe { store_of(cx) }, code);
            CalloutOutcome::Unwind
        }
    }
}
