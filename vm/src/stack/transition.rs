//! Transitions between the tiers: what happens at safepoints, and where frames go that have left their
//! machine code.
//!
//! ```text
//!   interpreter --- hot / safepoint ---> Enter(code): the function's code, or an OSR entry
//!   machine code -- poll --------------> its own return is redirected, as are those of retired callers
//!   redirected return -----------------> Transfer: migrate, then an OSR entry or `resume_entry`
//!   resume_entry ----------------------> callout -> `resume` -> the interpreter
//! ```

use super::raise::raise;
use crate::code::accounts::Activity;
use crate::code::continuation::Continuation;
use crate::code::counters::Departure;
use crate::code::module_code::ModuleCode;
use crate::code::publication::ASK_AGAIN;
use crate::code::retire;
use crate::code::sampling::Place;
use crate::code::stats::SuspendedIn;
use crate::code::suspension::callee;
use crate::code::timeline::What;
use crate::code::version::{CodeOwner, FunctionVersion};
use crate::store::guest_stack::RESUME_SLOTS;
use crate::store::native_stack::stack_pointer;
use crate::store::of_context::{module_of, store_of};
use crate::store::opaque::StoreOpaque;
use crate::store::transitions::{Caught, Resumption};
use midair_osr::handshake::{Stack, State};
use midair_osr::{
    CapturedFrame, CodeObject, ContextHeader, Mutator, SiteKind, StackContext, TransferHook,
    resume_entry,
};
use midair_tiers::compile::EntryPoint;
use midair_tiers::context::SafepointAction;
use midair_tiers::{FunctionBody, FunctionState, InstanceContext, TrapCode};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Priority of an OSR entry that a running loop waits for.
const PRIORITY_LOOP: u32 = 2;
/// Priority of a function that is called often.
const PRIORITY_FUNCTION: u32 = 1;

/// What every safepoint that is taken does first: serves other threads, and lets the polls pass again.
/// Returns whether the guest is interrupted.
///
/// # Safety
/// The thread is at a safepoint of the store.
unsafe fn serve(store: &mut StoreOpaque) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { serve_others(store) };
    store.take_interrupt()
}

/// Does what other threads have asked for. What is polled stays as it is.
///
/// # Safety
/// As for [`serve`].
pub(crate) unsafe fn serve_others(store: &mut StoreOpaque) {
    if store.mutator.is_requested() {
        // SAFETY: as the caller vouches, and every frame outside a safepoint can be redirected.
        unsafe { store.mutator.serve() };
    } else if store.mutator.can_help() {
        // SAFETY: as above.
        unsafe { store.mutator.help(store.stack()) };
    }
    if store.contents.is_memory_pending() {
        // SAFETY: as the caller vouches; host functions below have lent the store to their guest.
        unsafe { store.contents.change_memories() };
    }
}

/// Runs `work`, which may take long, with the guest suspended as it is in a host function: whoever replaces code
/// meanwhile does not wait for it.
///
/// # Safety
/// The thread is at a safepoint of the mutator's store, or in a call that has not begun; frames of the interpreter
/// have been saved. `work` does not use the store. What the caller knows of entry addresses is forgotten.
pub(crate) unsafe fn while_suspended<R>(mutator: &Mutator, work: impl FnOnce() -> R) -> R {
    // SAFETY: as the caller vouches: all frames stand still.
    unsafe { mutator.leave(State::Host) };
    let result = work();
    // SAFETY: as above. Nothing has touched the stack since but requesters.
    unsafe { mutator.enter() };
    result
}

impl Resumption {
    /// Makes up for what could not be done when the frame was captured: serves other threads, and moves the
    /// frame to the version that is current then.
    ///
    /// # Safety
    /// As for [`continuation_when_served`], in the callout that resumes the frame.
    pub(crate) unsafe fn serve(&mut self, instance: *mut InstanceContext) {
        if !std::mem::take(&mut self.unserved) {
            return;
        }
        // SAFETY: as the caller vouches.
        let continuation = unsafe {
            continuation_when_served(instance, || {
                self.epoch = self.module.epoch().load(Ordering::Acquire);
                self.version.continuation(self.point)
            })
        };
        match continuation {
            Continuation::Stay => {}
            Continuation::Move { version, point, layout } => {
                self.values = layout.apply(&self.values);
                (self.version, self.point) = (version, point);
            }
            Continuation::Trap => self.trap = Some(TrapCode::FunctionReplaced),
        }
    }
}

/// Where a frame goes on, with everything done to the store that belongs to the version that it goes on in.
///
/// # Safety
/// As for [`safepoint`], at a safepoint of the store.
pub(crate) unsafe fn continuation_when_served(
    instance: *mut InstanceContext,
    mut continuation: impl FnMut() -> Continuation,
) -> Continuation {
    loop {
        // SAFETY: as the caller vouches.
        let store = unsafe { store_of(instance) };
        // SAFETY: as above.
        unsafe { serve_others(store) };
        let continuation = continuation();
        // A version is not published before its request is.
        if !store.mutator.is_requested() {
            return continuation;
        }
    }
}

/// The poll handler of guest code: `StackContext::on_poll`.
///
/// # Safety
/// `stack` must be the stack of a store that runs on this thread, and the machine code on top of it
/// must wait in the poll stub, so that nothing else uses the store.
pub(crate) unsafe extern "sysv64" fn on_poll(
    context: *mut ContextHeader,
    stack: *mut StackContext,
) -> usize {
    // SAFETY: guest stacks are those of stores; the store is this thread's while its guest runs.
    let store = unsafe { StoreOpaque::from_runtime(stack.cast()).as_mut() };
    // SAFETY: the thread is in a poll.
    if unsafe { serve(store) } {
        raise(store, TrapCode::Interrupt);
        return 1;
    }
    if stack_pointer() < store.stack_limit {
        raise(store, TrapCode::StackOverflow);
        return 1;
    }
    let stress = store.engine().config().stress;
    let wish = store.transitions.step(stress);
    let may_redirect =
        !(wish.retire || wish.leave_or_enter) || !store.engine().config().forbids_redirection();
    if wish.retire && may_redirect {
        // SAFETY: the thread is in a poll.
        unsafe { retire_stack(store, stack) };
    }
    if stress.mixed.is_some() {
        // SAFETY: guest code polls with its instance as its context.
        let module = unsafe { module_of(context.cast()) };
        store.transitions.at_safepoint_of_mixed(&module, false);
        if let Some(bits) = wish.mix {
            // SAFETY: the thread is in a poll, where the innermost frame is that which polls.
            let frame = unsafe { (*stack).walk().next() };
            let running = frame.map(|frame| CodeOwner::of(frame.object()).version.body.function);
            module.mix(bits, running);
        }
    }
    if wish.leave_or_enter && may_redirect {
        store.transitions.to_interpreter = true;
        // SAFETY: the thread is in a poll. The frame may have been redirected by a retirement already.
        if unsafe { (*stack).redirect_innermost() } {
            store.engine().code().counters.frames_redirected.add(1);
        }
    }
    0
}

/// A safepoint of the interpreter while the poll flag is set: `Builtins::safepoint`.
///
/// # Safety
/// `instance` must be the context of an instance whose store runs on this thread, and the function must be at the
/// safepoint `point` in the innermost frame, which the interpreter has saved. It waits for the answer, so that
/// nothing else uses the store.
pub(crate) unsafe extern "sysv64" fn safepoint(
    instance: *mut InstanceContext,
    function: u32,
    point: u32,
) -> SafepointAction {
    // SAFETY: as the caller vouches.
    let store = unsafe { store_of(instance) };
    let stack = store.stack();
    // SAFETY: the interpreter was reached through a callout, or there are no managed frames.
    if unsafe { serve(store) } {
        return SafepointAction::Trap(TrapCode::Interrupt);
    }
    let stress = store.engine().config().stress;
    let wish = store.transitions.step(stress);
    if wish.retire && !store.engine().config().forbids_redirection() {
        // SAFETY: as above.
        unsafe { retire_stack(store, stack) };
    }
    // SAFETY: as the caller vouches.
    let module = || unsafe { module_of(instance) };
    if wish.retire && module().retire_baseline(function) {
        // SAFETY: this thread is at a safepoint.
        unsafe { store.mutator.serve() };
        // What the request has raised.
        store.rearm();
    }
    if stress.mixed.is_some() {
        store.transitions.at_safepoint_of_mixed(&module(), true);
        if let Some(bits) = wish.mix {
            module().mix(bits, Some(function));
        }
    }
    if !wish.leave_or_enter {
        return SafepointAction::Continue;
    }
    let module = module();
    let (version, entry) = if point == FunctionBody::ENTRY {
        (Some(module.current(function)), EntryPoint::Function)
    } else {
        (store.top_version(&module, function), EntryPoint::Loop(point))
    };
    let Some(version) = version else { return SafepointAction::Continue };
    let place = store.sampling.then(|| Place::of_guest(Activity::Optimizing));
    module.compile_now(&version, entry);
    drop(place);
    let Some(code) = version.code().object(entry).map(|object| object.start()) else {
        return SafepointAction::Continue;
    };
    store.transitions.entering();
    let counters = &store.engine().code().counters;
    counters.osr_entries_stress.add(1);
    counters.record(|| (Duration::ZERO, What::osr_entry(module.id, function, point)));
    SafepointAction::Enter(code)
}

/// Begins a countdown that has run out anew; not one that somebody else has begun meanwhile, for another version perhaps.
fn restart(state: &FunctionState, countdown: i32) {
    let ran_out = |left: i32| (left < 0).then_some(countdown);
    let _ = state.countdown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ran_out);
}

/// A function's countdown ran out: `Builtins::hot`.
///
/// # Safety
/// As for [`safepoint`].
pub(crate) unsafe extern "sysv64" fn hot(
    instance: *mut InstanceContext,
    function: u32,
    point: u32,
) -> SafepointAction {
    // SAFETY: as the caller vouches.
    let (module, store) = unsafe { (module_of(instance), store_of(instance)) };
    let (mutator, sampling) = (store.mutator.clone(), store.sampling);
    let state = module.state(function);
    let is_linked = || !state.native.load(Ordering::Relaxed).is_null();
    // Without a threshold nothing is compiled because it is hot, but for loops of what has been compiled.
    let may_be_hot = module.config.optimized_threshold != u32::MAX;
    let request = |version: &Arc<FunctionVersion>, entry, priority| {
        if !may_be_hot && !is_linked() {
            return false;
        }
        if module.config.background_compilation {
            return module.request(version, entry, priority);
        }
        let _place = sampling.then(|| Place::of_guest(Activity::Optimizing));
        // SAFETY: as the caller vouches; entry addresses are looked up below.
        unsafe { while_suspended(&mutator, || module.request(version, entry, priority)) }
    };
    let current = module.current(function);
    if state.native.load(Ordering::Relaxed).is_null() && module.wants_baseline(&current) {
        let _place = sampling.then(|| Place::of_guest(Activity::Baseline));
        // SAFETY: as the caller vouches; no entry address is known here.
        unsafe { while_suspended(&mutator, || module.compile_baseline(&current)) };
        let rest = module.second_countdown(&current);
        if rest > 0 {
            restart(state, rest);
            return SafepointAction::Continue;
        }
    }
    let looping = point != FunctionBody::ENTRY && module.config.osr;
    let version = if looping { store.top_version(&module, function) } else { None };
    // The counts are those of calls of the current version, and of loops of frames that stay in old ones.
    let stays = version.as_ref().is_some_and(|version| !Arc::ptr_eq(version, &current));
    // Whether a frame of an old version has anything to hope for says nothing about the current one.
    let hope = is_linked() || request(&current, EntryPoint::Function, PRIORITY_FUNCTION);
    let entry = EntryPoint::Loop(point);
    // A frame that is still in the interpreter although its function has code is in a long loop.
    let version = version.filter(|_| stays || is_linked());
    let wanted = version.as_ref().is_some_and(|version| request(version, entry, PRIORITY_LOOP));
    restart(state, if hope || wanted { ASK_AGAIN } else { i32::MAX });
    let Some(version) = version else { return SafepointAction::Continue };
    let Some(code) = version.code().object(entry).map(|object| object.start()) else {
        return SafepointAction::Continue;
    };
    store.transitions.entering();
    let counters = &module.system.counters;
    counters.osr_entries_hot_loop.add(1);
    counters.record(|| (Duration::ZERO, What::osr_entry(module.id, function, point)));
    SafepointAction::Enter(code)
}

/// Recompiles all functions that are on this stack in machine code, retires their old code, and frees it.
///
/// # Safety
/// As for [`StackContext::redirect_frames`].
unsafe fn retire_stack(store: &mut StoreOpaque, stack: *mut StackContext) {
    // SAFETY: as the caller vouches.
    let whole = unsafe { (*stack).redirected.is_selective() };
    let mut retired: Vec<Arc<CodeObject>> = Vec::new();
    let mut seen = HashSet::new();
    // SAFETY: as the caller vouches.
    for frame in unsafe { (*stack).walk() } {
        if frame.redirected {
            // Everything outside was redirected by the retirement that redirected this one.
            if whole { continue } else { break }
        }
        if seen.insert(frame.object().id) {
            retired.push(frame.object_arc());
        }
    }
    let mut stores = Vec::new();
    for object in &retired {
        let owner = CodeOwner::of(object);
        let Some(module) = owner.module.upgrade() else { continue };
        if module.take_object(&owner.version, object) {
            // SAFETY: nobody frees it before this store is served, which is below.
            unsafe { module.republish(object) };
        }
        stores.extend(module.stores());
    }
    if retired.is_empty() {
        return;
    }
    let system = store.engine().code().clone();
    // SAFETY: as the caller vouches.
    let innermost = unsafe { StackContext::innermost(stack) }.expect("the code has frames");
    // SAFETY: the code was unlinked above, and is that of the frames inside the first redirected one.
    unsafe { retire::request(&system, retired, stores, Some(innermost)) };
    // SAFETY: this thread is at a safepoint.
    unsafe { store.mutator.serve() };
    // What the request has raised.
    store.rearm();
}

impl ModuleCode {
    /// Publishes the code of `old` once more, for the compiler would make the same again.
    ///
    /// # Safety
    /// `old` is not freed meanwhile.
    unsafe fn republish(self: &Arc<Self>, old: &CodeObject) {
        let CodeOwner { version, entry, options, .. } = CodeOwner::of(old);
        let Some(options) = options else { return };
        // SAFETY: as the caller vouches.
        let description = unsafe { old.describe() };
        // Without room the version stays in the interpreter until it is asked for again.
        if let Ok(Some(object)) = self.install(version, *entry, options, description) {
            let (function, version) = (version.body.function, version.body.version);
            let (tier, bytes) = (CodeOwner::of(&object).tier(), object.len());
            let what = || What::copied(self.id, function, version, tier, *entry, bytes);
            self.system.counters.record(|| (Duration::ZERO, what()));
        }
    }
}

/// Decides where frames go that have left their machine code.
pub(crate) struct Transfer;

impl TransferHook for Transfer {
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8 {
        // SAFETY: guest stacks are those of stores; the store is this thread's while its guest runs.
        let store = unsafe { StoreOpaque::from_runtime(stack.cast()).as_mut() };
        let owner = CodeOwner::of(&frame.object);
        let module = owner.module.upgrade().expect("an instance with frames holds its module");
        let to_interpreter = std::mem::take(&mut store.transitions.to_interpreter);
        if let Some(caught) = store.transitions.caught.take() {
            return handle(stack, store, &module, frame, caught, to_interpreter);
        }
        let counters = &module.system.counters;
        counters.frames_moved.add(1);
        // Before the version is chosen: what replaces that later, the interpreter has to see.
        let epoch = module.epoch().load(Ordering::Acquire);
        let mut version = owner.version.clone();
        let (kind, mut point, mut values) = (frame.kind, frame.point, frame.values);
        let mut at = SuspendedIn::Poll;
        if kind == SiteKind::Call {
            let (gpr, xmm) = (frame.returned.gpr, frame.returned.xmm);
            let callee = callee(&module, &version.body, point).expect("the site is a call");
            at = callee.suspension(&module, &version.body);
            let shape = callee.shape(&module);
            // SAFETY: a call of this type has just returned to the landing.
            unsafe { shape.read_results(gpr, |n| xmm[n], &*stack, |_, value| values.push(value)) };
        }
        let mut trap = None;
        let continuation = version.continuation(point);
        // What belongs to the new version may not have been done to this store yet, and a landing is no place
        // to do it: the frame is asked again when it is resumed.
        let unserved = store.mutator.is_requested();
        match continuation {
            _ if unserved => {}
            Continuation::Stay => {}
            Continuation::Move { version: next, point: at, layout } => {
                values = layout.apply(&values);
                (version, point) = (next, at);
            }
            Continuation::Trap => trap = Some(TrapCode::FunctionReplaced),
        }
        let departure = departure(&module, owner, at, frame.has_vectors);
        // A function that is compiled without having been lowered can have any number of operands.
        let fits = values.len() <= RESUME_SLOTS;
        let at_loop = kind == SiteKind::Poll && point != FunctionBody::ENTRY && !unserved;
        if at_loop && !to_interpreter && fits && trap.is_none() {
            if module.config.stress.retire.is_some() {
                module.compile_now(&version, EntryPoint::Loop(point));
            }
            let code = version.code().object(EntryPoint::Loop(point)).cloned();
            if let Some(code) = code {
                // SAFETY: the resume buffer has room, as has just been checked.
                unsafe {
                    std::ptr::copy_nonoverlapping(values.as_ptr(), (*stack).resume, values.len());
                }
                store.transitions.entering();
                counters.osr_entries_return.add(1);
                let function = version.body.function;
                counters.record(|| (Duration::ZERO, What::osr_entry(module.id, function, point)));
                let to = CodeOwner::of(&code).tier();
                owner.version.frame_moved(&module, departure, to, &version);
                return code.start();
            }
            // It will be wanted in a moment, by the frame in the interpreter or by the next one here.
            if module.config.osr && module.config.background_compilation {
                module.request(&version, EntryPoint::Loop(point), PRIORITY_LOOP);
            }
        }
        if to_interpreter {
            counters.osr_exits_stress.add(1);
        } else if kind == SiteKind::Poll {
            counters.osr_exits_running.add(1);
        } else {
            counters.osr_exits_return.add(1);
        }
        let function = version.body.function;
        counters.record(|| (Duration::ZERO, What::osr_exit(module.id, function, point)));
        store.transitions.resumption = Some(Box::new(Resumption {
            origin: owner.version.clone(),
            departure,
            module,
            version,
            kind,
            point,
            values,
            to_interpreter,
            trap,
            epoch,
            unserved,
        }));
        resume_entry()
    }
}

/// A frame leaves machine code.
fn departure(
    module: &ModuleCode,
    owner: &CodeOwner,
    at: SuspendedIn,
    has_vectors: bool,
) -> Departure {
    let lowered = owner.version.lowered();
    Departure {
        from: owner.tier(),
        at,
        has_vectors,
        has_tail_calls: lowered.is_some_and(|lowered| lowered.has_tail_calls()),
        has_handlers: lowered.is_some_and(|lowered| lowered.has_handlers()),
        has_shared_memory: module.env.has_shared_memory(),
    }
}

/// A frame goes on where the handler begins that has caught the exception on its way.
fn handle(
    stack: *mut StackContext,
    store: &mut StoreOpaque,
    module: &Arc<ModuleCode>,
    frame: CapturedFrame,
    caught: Caught,
    to_interpreter: bool,
) -> *const u8 {
    let owner = CodeOwner::of(&frame.object);
    let counters = &module.system.counters;
    counters.frames_moved.add(1);
    let mut values = frame.values;
    let Caught { version, handler, layout, locals, epoch } = caught;
    // What throws is called by nobody.
    let callee = callee(module, &owner.version.body, frame.point);
    let at = callee.as_ref().map(|callee| callee.suspension(module, &owner.version.body));
    if let Some(layout) = layout {
        counters.exceptions_in_other_version.add(1);
        // As if the call had returned; handlers do not have its results.
        let results = callee.map_or(0, |callee| callee.shape(module).result_slots());
        values.resize(values.len() + results, 0);
        values = layout.apply(&values);
    }
    values.truncate(locals + handler.height as usize);
    values.extend(store.catch_exception(handler.tag.is_some(), handler.by_ref));
    let at = at.unwrap_or(SuspendedIn::Call);
    let departure = departure(module, owner, at, frame.has_vectors);
    let entry = EntryPoint::Loop(handler.point);
    if !to_interpreter && values.len() <= RESUME_SLOTS {
        if module.config.stress.retire.is_some() {
            module.compile_now(&version, entry);
        }
        let code = version.code().object(entry).cloned();
        if let Some(code) = code {
            // SAFETY: the resume buffer has room, as has just been checked.
            unsafe {
                std::ptr::copy_nonoverlapping(values.as_ptr(), (*stack).resume, values.len());
            }
            counters.exceptions_code.add(1);
            let to = CodeOwner::of(&code).tier();
            owner.version.frame_moved(module, departure, to, &version);
            return code.start();
        }
        if module.config.osr && module.config.background_compilation && version.is_handler_hot() {
            module.request(&version, entry, PRIORITY_LOOP);
        }
    }
    counters.exceptions_code_to_interpreter.add(1);
    store.transitions.resumption = Some(Box::new(Resumption {
        origin: owner.version.clone(),
        departure,
        module: module.clone(),
        version,
        kind: SiteKind::Poll,
        point: handler.point,
        values,
        to_interpreter,
        trap: None,
        epoch,
        unserved: false,
    }));
    resume_entry()
}
