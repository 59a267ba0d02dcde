//! Calls from the host into guest code, and what comes back out of it.

use crate::call::tail_calls;
use crate::code::sampling::Place;
use crate::stack::raise::raise;
use crate::store::backtrace::WasmBacktrace;
use crate::store::guest_stack::GuestStack;
use crate::store::native_stack::{limit_on_another, stack_pointer};
use crate::store::opaque::{PendingExit, StoreOpaque};
use crate::types::signatures::Signature;
use crate::types::trap::Trap;
use anyhow::{Error, Result};
use midair_osr::NativeOutcome;
use midair_osr::call::call_native;
use midair_osr::handshake::State;
use midair_tiers::interp::{self, Activation, Exit};
use midair_tiers::{FuncRef, FunctionState, TrapCode};
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// A number that tells the threads that are alive apart.
// Not inlined: after a call of the host the compiler might know where this thread's variables were before.
#[inline(never)]
pub(crate) fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

/// Runs `body` with so many zeroed slots: the arguments and results of a call.
pub(crate) fn with_slots<R>(count: usize, body: impl FnOnce(&mut [u64]) -> R) -> R {
    const INLINE: usize = 8;
    if count <= INLINE { body(&mut [0; INLINE][..count]) } else { body(&mut vec![0; count]) }
}

/// Undoes what entering guest code has done to the store.
struct Entered {
    store: NonNull<StoreOpaque>,
    /// Where tiers are sampled: that this thread runs the guest.
    place: Option<Place>,
    /// `StoreOpaque::call_boundary` of before.
    boundary: (usize, *const Activation),
    /// If this call is made on another native stack than the one outside: the beginning and the limits of that.
    outside: Option<[usize; 3]>,
}

impl Entered {
    /// Prepares the store for guest code on the present native stack.
    ///
    /// # Safety
    /// The store must be alive, and not be borrowed while the guard lives.
    unsafe fn new(store: NonNull<StoreOpaque>) -> Result<Entered> {
        // SAFETY: as the caller vouches.
        let this = unsafe { &mut *store.as_ptr() };
        this.process.check()?;
        let mut outside = None;
        if this.depth == 0 {
            // Not every function has a poll.
            if this.interrupt.is_requested() && this.take_interrupt() {
                return Err(Trap::Interrupt.into());
            }
            let size = this.engine().config().max_wasm_stack;
            if this.guest_stack.is_none() {
                this.guest_stack = Some(GuestStack::take(size)?);
            }
            let guest_stack = this.guest_stack.as_ref().expect("made above");
            // SAFETY: no guest code runs on the runtime context.
            let runtime = unsafe { &mut *this.runtime() };
            runtime.value_top = guest_stack.values();
            runtime.value_limit = guest_stack.values_end();
            runtime.stack.results = guest_stack.results();
            runtime.stack.resume = guest_stack.resume();
            this.thread = this_thread();
            this.stack_base = stack_pointer();
            this.set_stack_limit(this.stack_base.saturating_sub(size));
        } else if this.thread != this_thread() {
            return Err(anyhow::Error::msg(
                "the store's guest is suspended in a host function on another thread",
            ));
        } else if !(this.stack_limit..=this.stack_base).contains(&stack_pointer()) {
            let (at, size) = (stack_pointer(), this.engine().config().max_wasm_stack);
            let limit = limit_on_another(this.stack_base, at, size);
            let Some(limit) = limit.filter(|&limit| limit < at) else {
                return Err(Trap::StackOverflow.into());
            };
            outside = Some([this.stack_base, this.full_stack_limit, this.stack_limit]);
            this.stack_base = at;
            this.set_stack_limit(limit);
            // SAFETY: the runtime context lives as long as the store; the field is atomic, if it is used at all.
            unsafe { (*this.stack()).on_another_native_stack(true) };
        }
        this.depth += 1;
        this.calls_made += 1;
        this.calls.push(this.calls_made);
        // SAFETY: the runtime context lives as long as the store, and no guest code runs on it.
        let here =
            unsafe { ((*this.stack()).entries, (*this.runtime()).activation.cast_const().cast()) };
        let boundary = std::mem::replace(&mut this.call_boundary, here);
        // SAFETY: the stack has no frames, or they are suspended in a host function on this thread.
        unsafe { this.mutator.enter() };
        // Only now: entering may have left changes with the store, and not every function has a poll.
        if this.contents.is_memory_pending() {
            // SAFETY: the store is borrowed mutably here, so that nothing of it is borrowed elsewhere.
            unsafe { this.contents.change_memories() };
        }
        // SAFETY: the engine lives as long as the store, which lives as long as the guard.
        let place = this.sampling.then(|| unsafe { Place::guest(this.engine().code()) });
        Ok(Entered { store, place, boundary, outside })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: the store outlives the guard.
        let this = unsafe { &mut *self.store.as_ptr() };
        this.depth -= 1;
        this.calls.pop();
        this.call_boundary = self.boundary;
        if !this.process.is_current() {
            // A host function has forked. No guest of this store runs again, and nobody else knows of the stack.
            return;
        }
        if let Some([base, full_limit, limit]) = self.outside {
            this.stack_base = base;
            this.set_stack_limit(limit);
            this.full_stack_limit = full_limit;
            // SAFETY: as in `new`.
            unsafe { (*this.stack()).on_another_native_stack(false) };
        }
        let to = if this.depth == 0 { State::Outside } else { State::Host };
        // SAFETY: the frames of this call are gone, and those outside it are suspended.
        unsafe { this.mutator.leave(to) };
        if this.depth == 0 {
            this.guest_stack = this.guest_stack.take().and_then(GuestStack::give);
        }
        if this.depth == 0 && self.place.is_some() {
            // SAFETY: the runtime context lives as long as the store, and no guest runs on it.
            let calls = unsafe { &mut (*this.runtime()).calls };
            this.engine().code().counters.take_calls(calls);
        }
    }
}

/// Calls a function. `slots` holds its arguments, and its results afterwards.
///
/// # Safety
/// The function must belong to the store and have this signature, `slots` must have room for its
/// parameters and results, and nothing else may use the store during the call.
///
/// # Panics
/// If a host function panicked.
pub(crate) unsafe fn invoke(
    store: NonNull<StoreOpaque>,
    func_ref: NonNull<FuncRef>,
    signature: &Signature,
    slots: &mut [u64],
) -> Result<()> {
    // SAFETY: as the caller vouches.
    let entered = unsafe { Entered::new(store)? };
    // SAFETY: as the caller vouches.
    let outcome = unsafe { run(store, *func_ref.as_ptr(), signature, slots) };
    match outcome {
        NativeOutcome::Returned => {
            drop(entered);
            Ok(())
        }
        NativeOutcome::Unwound => {
            // SAFETY: guest code has been unwound, so the store is free.
            let opaque = unsafe { &mut *store.as_ptr() };
            if opaque.process.is_current() {
                // Before the store is left: other threads may work on the table of redirected frames then.
                // SAFETY: as above; the runtime context lives as long as the store.
                let dropped = unsafe { (*opaque.stack()).redirected.take_dropped() };
                opaque.engine().code().counters.frames_dropped.add(dropped);
            }
            drop(entered);
            // SAFETY: as above.
            Err(take_exit(unsafe { &mut *store.as_ptr() }))
        }
    }
}

/// Runs a function until it has returned or was unwound.
///
/// # Safety
/// As for [`invoke`]; the store has been entered.
unsafe fn run(
    store: NonNull<StoreOpaque>,
    func_ref: FuncRef,
    signature: &Signature,
    slots: &mut [u64],
) -> NativeOutcome {
    let FuncRef { context, index, .. } = func_ref;
    let shape = &signature.shape;
    // Entries are the first field of function states, also those of host functions.
    let state = func_ref.entry.cast::<FunctionState>();
    // SAFETY: the function is of this store, whose guest stack and limits are set up; the caller
    // vouches for signature and slots.
    unsafe {
        let native = (*state).native.load(Ordering::Acquire);
        if !native.is_null() {
            return call_native(native, context, shape, slots.as_mut_ptr());
        }
        let runtime = store.as_ref().runtime();
        let base = (*runtime).value_top;
        let room = ((*runtime).value_limit as usize).saturating_sub(base as usize) / 8;
        if room < slots.len() {
            raise(&mut *store.as_ptr(), TrapCode::StackOverflow);
            return NativeOutcome::Unwound;
        }
        base.copy_from_nonoverlapping(slots.as_ptr(), slots.len());
        let outcome = match interp::call(context.cast(), index, base) {
            Exit::Returned => NativeOutcome::Returned,
            Exit::Trapped => NativeOutcome::Unwound,
            Exit::Enter(code) => call_native(code, context, shape, base),
            Exit::TailCall(call) => tail_calls::run(context.cast(), call, base),
        };
        if outcome == NativeOutcome::Returned {
            slots.as_mut_ptr().copy_from_nonoverlapping(base, slots.len());
        }
        outcome
    }
}

/// The error that made guest code unwind.
///
/// # Panics
/// If it was a panic of a host function, which goes on here.
fn take_exit(store: &mut StoreOpaque) -> Error {
    let backtrace = store.backtrace.take();
    if store.is_exception_on_its_way() {
        let thrown_by_host = store.pending.take();
        let error = store.catch_exception_as_error();
        return match thrown_by_host {
            // It says more: what the host function has made of the exception.
            Some(PendingExit::Error(original)) => match error.downcast::<WasmBacktrace>() {
                Ok(backtrace) if original.downcast_ref::<WasmBacktrace>().is_none() => {
                    original.context(backtrace)
                }
                _ => original,
            },
            _ => error,
        };
    }
    // SAFETY: the runtime context lives as long as the store.
    let number = unsafe { std::mem::take(&mut (*store.runtime()).trap) };
    let error =
        match (store.pending.take(), TrapCode::from_number(number).and_then(Trap::from_code)) {
            (Some(PendingExit::Panic(payload)), _) => resume_unwind(payload),
            (Some(PendingExit::Error(error)), _) => error,
            (None, Some(trap)) => trap.into(),
            (None, None) => unreachable!("unwound without a reason (code {number})"),
        };
    match backtrace {
        // The innermost backtrace says where it happened.
        Some(backtrace) if error.downcast_ref::<WasmBacktrace>().is_none() => {
            error.context(backtrace)
        }
        _ => error,
    }
}

const _: () = assert!(std::mem::offset_of!(FunctionState, entry) == 0);

#[cfg(test)]
mod tests;
