//! Host functions, and the callout by which guest code reaches them.
//!
//! A host function is called like any other: through an entry word, with its context in `rdi`. Its
//! context is a [`HostFunction`], and its entry is an entry thunk for good, so that the callout stub
//! hands every call to [`host_callout`].

use super::invoke::{this_thread, with_slots};
use crate::code::accounts::Activity;
use crate::code::sampling::Place;
use crate::engine::Engine;
use crate::stack::backtrace;
use crate::stack::exceptions::{propagate, throw_from_host};
use crate::store::host_function::{HostCall, HostDefinition, HostFunction};
use crate::store::instance::InstanceEntity;
use crate::store::opaque::{PendingExit, StoreOpaque};
use anyhow::Result;
use midair_osr::handshake::State;
use midair_osr::{CalloutFrame, CalloutOutcome, ContextHeader, StackContext};
use midair_tiers::{FuncRef, FunctionState, TrapCode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

/// The thunk that host functions are entered through. Its number tells nothing: the context does.
const HOST_TOKEN: u32 = 0;

impl StoreOpaque {
    /// Makes a host function of this store.
    pub(crate) fn new_host_function(
        &mut self,
        definition: Arc<HostDefinition>,
        instance: Option<NonNull<InstanceEntity>>,
    ) -> Result<NonNull<FuncRef>> {
        self.process.check()?;
        let engine = self.engine().clone();
        let signature = engine.intern(&definition.ty)?;
        let thunk = engine.entry_thunk(HOST_TOKEN)?.cast_mut();
        let state = FunctionState::new(thunk, i32::MAX);
        state.native.store(thunk, std::sync::atomic::Ordering::Release);
        let function = self.host_functions.alloc(HostFunction {
            // The runtime context starts with the stack context.
            header: ContextHeader::new(HOST_CALLOUT, self.runtime().cast()),
            state,
            func_ref: FuncRef {
                entry: std::ptr::null(),
                context: std::ptr::null_mut(),
                signature: signature.number,
                index: HOST_TOKEN,
            },
            signature,
            definition,
            instance,
        });
        let function = function.as_ptr();
        // SAFETY: the function has just been allocated, and stays where it is as long as the store.
        unsafe {
            (*function).func_ref.entry = &raw const (*function).state.entry;
            (*function).func_ref.context = function.cast();
            Ok(NonNull::new_unchecked(&raw mut (*function).func_ref))
        }
    }
}

/// The definition of a function that is a host function; `None` for functions of instances.
///
/// # Safety
/// The reference must be initialised and its store alive.
pub(crate) unsafe fn definition_of(func_ref: NonNull<FuncRef>) -> Option<Arc<HostDefinition>> {
    // SAFETY: the context of an initialised reference is valid.
    let context = unsafe { (*func_ref.as_ptr()).context };
    // SAFETY: as above. Both sides come from one constant, and no other callout handler has its code.
    let is_host = unsafe { (*context).on_callout as usize } == HOST_CALLOUT as usize;
    // SAFETY: contexts with this handler are host functions.
    is_host.then(|| unsafe { (*context.cast::<HostFunction>()).definition.clone() })
}

static HOST_CALLOUT: midair_osr::CalloutHandler = host_callout;

/// Guest code, or the host through the entry trampoline, calls a host function.
///
/// # Safety
/// Only the callout stub calls it: `context` is a [`HostFunction`], and `frame` what the stub saved.
unsafe extern "sysv64" fn host_callout(
    context: *mut ContextHeader,
    _token: u32,
    frame: *mut CalloutFrame,
) -> usize {
    // SAFETY: the context of a host function is its `HostFunction`.
    let function = unsafe { &*context.cast::<HostFunction>() };
    let shape = &function.signature.shape;
    // SAFETY: the stack of a host function is that of its store, which is alive.
    let store = unsafe { StoreOpaque::from_runtime(function.header.stack.cast()) };
    let outcome = with_slots(function.signature.slots, |slots| {
        // SAFETY: the caller has called with the function's signature.
        unsafe { shape.read_arguments(&*frame, slots) };
        // SAFETY: the store is alive; its handle on the stack stays where it is.
        let mutator = unsafe { &store.as_ref().mutator };
        // SAFETY: as above.
        let call = unsafe { store.as_ref().calls.last().copied() };
        // SAFETY: this thread runs the guest, which waits for this callout.
        unsafe { mutator.leave(State::Host) };
        let outcome = call_host(function, store, slots);
        // SAFETY: the store is alive.
        if let Err(error) = unsafe { store.as_ref().process.check() } {
            // It has forked, and this is the child: the guest's code is the parent's.
            return Err(outcome.err().unwrap_or_else(|| PendingExit::Error(error.into())));
        }
        // SAFETY: the store is alive, and this is one of its callouts.
        unsafe { check_nesting(store, call) };
        // SAFETY: as above. Nothing has touched the stack since but requesters, and calls into the guest
        // that have ended.
        unsafe { mutator.enter() };
        // SAFETY: the store is alive; its handle on its contents stays where it is.
        let contents = unsafe { &store.as_ref().contents };
        if contents.is_memory_pending() {
            // SAFETY: this is the store's thread, and the host function has ended, with all that it borrowed.
            unsafe { contents.change_memories() };
        }
        outcome?;
        // SAFETY: the stack is the store's, and its result buffer has room for any signature.
        unsafe { shape.write_results(&mut *frame, &mut *function.header.stack, slots) };
        Ok(())
    });
    match outcome {
        Ok(()) => CalloutOutcome::Return.into_word(),
        Err(exit) => {
            // SAFETY: the store is alive, and nothing else uses it: the guest waits for this call.
            unsafe { raise_exit(store, exit) }.into_word()
        }
    }
}

/// The host function has ended that the guest's call number `call` had called, and the guest is about to go on.
///
/// If the host goes round the borrow of the store by unsafe code, it may have switched away from a native stack on
/// which a later call is suspended, or may have brought the guest to another thread. Nothing can be unwound then: what
/// is known of the frames outside and inside belongs to others.
///
/// # Safety
/// The store must be alive, and its guest wait for the host function.
unsafe fn check_nesting(store: NonNull<StoreOpaque>, call: Option<u64>) {
    // SAFETY: as the caller vouches.
    let store = unsafe { store.as_ref() };
    if store.calls.last().copied() != call {
        give_up(
            "returned while a later call into the same guest is suspended on another native stack",
        );
    }
    if store.thread != this_thread() {
        give_up("returned on another thread than the one on which its guest was called");
    }
    // SAFETY: the stack is the store's, whose code goes on. Guests of other stores may be suspended on other native
    // stacks.
    unsafe { StackContext::goes_on(store.stack()) };
}

#[cold]
fn give_up(what: &str) -> ! {
    eprintln!("midair: a host function has {what}");
    std::process::abort();
}

/// Runs a host function's code; panics do not get out.
fn call_host(
    function: &HostFunction,
    store: NonNull<StoreOpaque>,
    slots: &mut [u64],
) -> Result<(), PendingExit> {
    // SAFETY: the store is alive, and nothing else uses it: the guest waits for this call.
    let this = unsafe { store.as_ref() };
    let _place = this.sampling.then(|| {
        this.engine().code().counters.host_calls.add(1);
        Place::of_guest(Activity::Host)
    });
    let call = HostCall { store, instance: function.instance, slots };
    // The closure's captures may be left in any state; so they would be after a panic in a caller of
    // their own, which is where the panic goes on.
    match catch_unwind(AssertUnwindSafe(|| (function.definition.code)(call))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(PendingExit::Error(error)),
        Err(payload) => Err(PendingExit::Panic(payload)),
    }
}

/// Leaves an error or a panic with the store, for the call that the guest is unwound to; an error that is an exception
/// is thrown.
///
/// # Safety
/// The store must be alive and not be used by anything else.
unsafe fn raise_exit(store: NonNull<StoreOpaque>, mut exit: PendingExit) -> CalloutOutcome {
    // SAFETY: as the caller vouches.
    let store = unsafe { &mut *store.as_ptr() };
    if store.process.is_current() {
        // SAFETY: as the caller vouches: the guest is at the call of the host function.
        match unsafe { throw_from_host(store, exit) } {
            // SAFETY: as above; what the host function has called has ended.
            Ok(()) => return unsafe { propagate(store) },
            Err(other) => exit = other,
        }
    }
    store.pending = Some(exit);
    // SAFETY: the runtime context lives as long as the store.
    unsafe { (*store.runtime()).trap = TrapCode::HostError as u32 };
    backtrace::capture(store, None);
    CalloutOutcome::Unwind
}

impl Engine {
    /// The entry thunk of this number.
    pub(crate) fn entry_thunk(&self, number: u32) -> Result<*const u8> {
        Ok(self.code_heap().entry_thunk(number)?)
    }
}

#[cfg(test)]
mod tests;
