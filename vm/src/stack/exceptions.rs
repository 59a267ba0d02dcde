//! Exceptions on their way through the frames of a guest.
//!
//! The interpreter looks through the frames of its own activation. When an exception leaves that, or comes out of
//! machine code or of a host function, the frames of machine code that have called it are looked through, up to the
//! next activation or the host: the way is the same as that of traps. A frame of machine code that handles it leaves
//! its code: it is captured and goes on where the handler begins, in the interpreter or in code that is entered there.
//!
//! ```text
//!   throw, host function
//!     interpreter: tiers/src/interp/unwind.rs    frames of the activation
//!     callout ends: propagate                    frames of machine code up to the entry from Rust
//!     interpreter, host: as before               further out
//! ```

use super::backtrace;
use super::guest_frames::{GuestFrame, GuestFrames};
use super::raise::raise;
use super::transition::serve_others;
use crate::code::continuation::Continuation;
use crate::code::version::CodeOwner;

use crate::store::exceptions::{Exception, ExceptionEntity};
use crate::store::native_stack::stack_pointer;
use crate::store::of_context::store_of;
use crate::store::opaque::{PendingExit, StoreOpaque};
use crate::store::transitions::Caught;
use midair_osr::{CalloutFrame, CalloutOutcome};
use midair_tiers::context::THROWS_REFERENCE;
use midair_tiers::interp::{Activation, LoweredCode};
use midair_tiers::{Handler, InstanceContext, ModuleEnv, TrapCode};
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// The interpreter throws: `Builtins::throw`.
///
/// # Safety
/// `cx` must be the context of an instance whose store runs on this thread; its innermost frame is at a `throw`, and has
/// been saved. `tag` must be one of its tags, and `values` point to what that carries.
pub(crate) unsafe extern "sysv64" fn throw(cx: *mut InstanceContext, tag: u32, values: *const u64) {
    // SAFETY: as the caller vouches.
    unsafe {
        let exception = new_exception(cx, tag, values);
        begin(store_of(cx), exception);
    }
}

/// An exception with these values.
///
/// # Safety
/// As for [`throw`].
unsafe fn new_exception(
    cx: *mut InstanceContext,
    tag: u32,
    values: *const u64,
) -> NonNull<ExceptionEntity> {
    // SAFETY: as the caller vouches. Tags of instances are those of their store.
    unsafe {
        let tag = NonNull::new_unchecked((*(*cx).tags.add(tag as usize)).cast_mut().cast());
        let values = std::slice::from_raw_parts(values, value_count(tag));
        store_of(cx).new_exception(tag, values)
    }
}

/// How many slots exceptions with this tag carry.
///
/// # Safety
/// The tag's store must be alive.
unsafe fn value_count(tag: NonNull<crate::store::tag::TagEntity>) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { tag.as_ref() }.ty.params().iter().map(|ty| ty.kind().slots()).sum()
}

/// The interpreter throws an exception that was caught: `Builtins::throw_ref`.
///
/// # Safety
/// As for [`throw`]; `exception` must be an `exnref` of the store that is not null.
pub(crate) unsafe extern "sysv64" fn throw_ref(cx: *mut InstanceContext, exception: u64) {
    // SAFETY: as the caller vouches.
    unsafe { begin(store_of(cx), NonNull::new_unchecked(exception as *mut ExceptionEntity)) };
}

/// The interpreter catches the exception that is on its way: `Builtins::catch`.
///
/// # Safety
/// As for [`throw`]; an exception is on its way, and `to` has room for the handler's operands.
pub(crate) unsafe extern "sysv64" fn catch(
    cx: *mut InstanceContext,
    handler: &Handler,
    to: *mut u64,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let store = store_of(cx);
        store.engine().code().counters.exceptions_interpreter.add(1);
        let values = store.catch_exception(handler.tag.is_some(), handler.by_ref);
        to.copy_from_nonoverlapping(values.as_ptr(), values.len());
    }
}

/// Machine code throws: the callout of `Builtins::request_entry`.
///
/// # Safety
/// Only the callout handler of instances calls it, with its arguments.
pub(crate) unsafe fn throw_from_code(
    cx: *mut InstanceContext,
    frame: &CalloutFrame,
) -> CalloutOutcome {
    let (tag, exception) = (frame.integer_argument(0) as u32, frame.integer_argument(1));
    // SAFETY: machine code has called with these arguments, and has put the values into the buffer.
    unsafe {
        // A function that calls nothing else has not looked.
        if stack_pointer() < store_of(cx).stack_limit {
            raise(store_of(cx), TrapCode::StackOverflow);
            return CalloutOutcome::Unwind;
        }
        let exception = if tag == THROWS_REFERENCE {
            NonNull::new_unchecked(exception as *mut ExceptionEntity)
        } else {
            new_exception(cx, tag, (*(*cx).header.stack).results)
        };
        let store = store_of(cx);
        set_on_its_way(store, exception);
        if exception.as_ref().backtrace.is_some() {
            return propagate(store);
        }
        // Mostly the handler is in one of the frames that are looked through anyway.
        let mut only_cleans_up = false;
        let outcome = unwind_to_handler(store, |handler| {
            only_cleans_up = !is_specific(handler);
            !only_cleans_up
        });
        if outcome == CalloutOutcome::Unwind && store.is_exception_on_its_way() {
            take_backtrace(store, exception);
            if only_cleans_up {
                return propagate(store);
            }
        }
        outcome
    }
}

/// A host function has failed: if that is to throw an exception, it is on its way. The error stays what the embedder is
/// told if nothing catches it.
///
/// # Safety
/// The store's guest waits for the callout of that host function.
pub(crate) unsafe fn throw_from_host(
    store: &mut StoreOpaque,
    exit: PendingExit,
) -> Result<(), PendingExit> {
    let PendingExit::Error(error) = &exit else { return Err(exit) };
    let Some(thrown) = error.downcast_ref::<Exception>() else { return Err(exit) };
    // SAFETY: as the caller vouches: the guest is at a call.
    let Some(mut exception) = (unsafe { thrown.in_store(store) }) else { return Err(exit) };
    // It says already where it was thrown, if it comes out of a guest.
    let known = error.downcast_ref::<crate::store::backtrace::WasmBacktrace>().cloned();
    // SAFETY: it is one of the store's.
    unsafe { exception.as_mut() }.backtrace = known.map(Box::new);
    begin(store, exception);
    store.pending = Some(exit);
    Ok(())
}

/// An exception is on its way from here.
fn begin(store: &mut StoreOpaque, exception: NonNull<ExceptionEntity>) {
    set_on_its_way(store, exception);
    take_backtrace(store, exception);
}

fn set_on_its_way(store: &mut StoreOpaque, exception: NonNull<ExceptionEntity>) {
    store.engine().code().counters.exceptions_thrown.add(1);
    store.set_exception_on_its_way(exception);
}

/// Whether the handler does not just clean up and throw the exception again, as those do that take everything by
/// reference.
fn is_specific(handler: &Handler) -> bool {
    handler.tag.is_some() || !handler.by_ref
}

/// Says where the exception on its way was thrown, unless that is known or a handler will not want to.
fn take_backtrace(store: &mut StoreOpaque, mut exception: NonNull<ExceptionEntity>) {
    // SAFETY: it is one of the store's.
    let entity = unsafe { exception.as_mut() };
    if entity.backtrace.is_some() {
        return;
    }
    // To look where one is takes long.
    // SAFETY: the guest stands still, and has saved its frames.
    let handler = unsafe { handler_within_call(store) };
    if !handler.is_some_and(|handler| is_specific(&handler)) {
        backtrace::capture(store, None);
        entity.backtrace = store.backtrace.take().map(Box::new);
    }
}

/// The handler that the exception on its way would come to in the innermost call from the host, if everything stays as
/// it is.
///
/// # Safety
/// The guest stands still, and has saved its frames.
unsafe fn handler_within_call(store: &mut StoreOpaque) -> Option<Handler> {
    if !store.process.is_current() {
        return None;
    }
    let runtime = store.runtime();
    let boundary = store.call_boundary;
    // SAFETY: as the caller vouches.
    unsafe {
        let mut reader = (*runtime).stack.read_frames();
        let machine = std::iter::from_fn(|| {
            let frame = reader.advance()?;
            let (entries, point) = (frame.entries, frame.object().point(frame.pc - 1));
            let owner = CodeOwner::of(frame.object());
            if owner.version.never_handles() {
                return Some((entries, None));
            }
            let version = owner.version.clone();
            let module = owner.module.upgrade();
            let lowered = module.as_ref().and_then(|module| {
                let lowered = module.lowered(&version).ok()?;
                lowered.has_handlers().then(|| lowered.clone())
            });
            let found = lowered.zip(module).zip(point).zip(reader.context());
            Some((
                entries,
                found.map(|(((lowered, module), point), cx)| (lowered, module, point, cx)),
            ))
        });
        let machine = machine.take_while(|(entries, _)| *entries > boundary.0);
        let mut innermost = Activation::innermost(runtime);
        if innermost.is_some_and(|activation| std::ptr::eq(activation, boundary.1)) {
            innermost = None;
        }
        for frame in GuestFrames::new(machine, innermost) {
            let handler = match frame {
                GuestFrame::Machine(None) => None,
                GuestFrame::Machine(Some((lowered, module, point, cx))) => {
                    handler_at(store, &lowered, &module.env, point, cx.cast())
                }
                GuestFrame::Interpreted(frame) => {
                    if std::ptr::eq(frame.activation(), boundary.1) {
                        return None;
                    }
                    let (code, cx) = (&*frame.code(), frame.context());
                    if code.has_handlers() {
                        handler_at(store, code, &*(*cx).env, frame.point(), cx)
                    } else {
                        None
                    }
                }
            };
            if handler.is_some() {
                return handler;
            }
        }
    }
    None
}

/// The handler of the exception on its way that comes out of a call or `throw` at this point.
///
/// # Safety
/// `cx` must be the context of an instance of the code's module.
unsafe fn handler_at(
    store: &StoreOpaque,
    code: &LoweredCode,
    env: &ModuleEnv,
    point: u32,
    cx: *const InstanceContext,
) -> Option<Handler> {
    // SAFETY: handlers name tags of the module.
    unsafe {
        let thrown = store.exception_on_its_way().as_ref().tag().as_ptr();
        code.handler(env, point, |tag| {
            let tag = *(*cx).tags.add(tag as usize);
            std::ptr::eq(tag.cast(), thrown)
        })
    }
}

/// A callout ends with the guest being unwound. If that is because of an exception, a frame of machine code that handles
/// it goes on; what is between here and there is dropped.
///
/// # Safety
/// The thread is in a callout of the store's guest, and nothing has called machine code since that has not ended. The
/// answer must be that of the callout.
pub(crate) unsafe fn propagate(store: &mut StoreOpaque) -> CalloutOutcome {
    // SAFETY: as the caller vouches.
    unsafe { unwind_to_handler(store, |_| true) }
}

/// The same, if the handler is as `accepts` wants it; otherwise nothing is done.
///
/// # Safety
/// As for [`propagate`].
unsafe fn unwind_to_handler(
    store: &mut StoreOpaque,
    mut accepts: impl FnMut(&Handler) -> bool,
) -> CalloutOutcome {
    if !store.is_exception_on_its_way() || !store.process.is_current() {
        return CalloutOutcome::Unwind;
    }
    // SAFETY: as the caller vouches: all frames are at safepoints.
    unsafe { serve_others(store) };
    let stack = store.stack();
    let mut caught = None;
    let mut trapped = None;
    let handles = |store: &StoreOpaque,
                   frame: &midair_osr::WalkedFrame,
                   context: &dyn Fn() -> Option<*mut midair_osr::ContextHeader>| {
        let owner = CodeOwner::of(frame.object());
        if owner.version.never_handles() {
            return None;
        }
        let module = owner.module.upgrade()?;
        // Before the version is chosen: what replaces that later, the interpreter has to see.
        let epoch = module.epoch().load(Ordering::Acquire);
        let point = frame.object().point(frame.pc - 1)?;
        let (version, point, layout) = match owner.version.continuation(point) {
            Continuation::Stay => (owner.version.clone(), point, None),
            Continuation::Move { version, point, layout } => (version, point, Some(layout)),
            Continuation::Trap => return Some(Err((owner.version.clone(), module))),
        };
        let lowered = module.lowered(&version).ok()?.clone();
        if !lowered.has_handlers() {
            return None;
        }
        // SAFETY: the frame's context is that of an instance of the module.
        let handler =
            unsafe { handler_at(store, &lowered, &module.env, point, context()?.cast()) }?;
        Some(Ok(Caught { version, handler, layout, epoch, locals: lowered.local_slots() }))
    };
    let (mut through_redirected, mut in_redirected) = (0, 0);
    let mut is_refused = false;
    // SAFETY: as the caller vouches.
    let found = unsafe {
        (*stack).unwind_to_frame(|frame, context| match handles(store, frame, context) {
            None => {
                through_redirected += u64::from(frame.redirected);
                ControlFlow::Continue(())
            }
            Some(Ok(found)) if !accepts(&found.handler) => {
                is_refused = true;
                ControlFlow::Break(false)
            }
            Some(Ok(found)) => {
                in_redirected = u64::from(frame.redirected);
                caught = Some(found);
                ControlFlow::Break(true)
            }
            Some(Err(frame)) => {
                trapped = Some(frame);
                ControlFlow::Break(false)
            }
        })
    };
    if is_refused {
        return CalloutOutcome::Unwind;
    }
    let counters = &store.engine().code().counters;
    counters.exceptions_through_redirected.add(through_redirected);
    counters.exceptions_in_redirected.add(in_redirected);
    if let Some((version, module)) = trapped {
        version.frame_trapped(&module);
        // What a host function has said of the exception.
        store.pending = None;
        raise(store, TrapCode::FunctionReplaced);
    }
    if !found {
        return CalloutOutcome::Unwind;
    }
    store.transitions.caught = caught;
    CalloutOutcome::UnwindToFrame
}
