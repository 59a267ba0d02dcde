//! Runs compiled code, for tests: on the interpreter's test instance, with real memory reservations,
//! and with frames that leave their code at polls, for OSR entries and for the interpreter.

use super::trap_code_of;
use crate::compile::{CodegenSettings, CompileOptions, Compiler, EntryPoint};
use crate::context::{Builtins, InstanceContext, MemoryDef, StoreContext};
use crate::interp::harness::Instance;
use crate::interp::{self, CanonicalFrame, Exit};
use crate::trap::TrapCode;
use cranelift_codegen::ir;
use midair_osr::{
    CallShape, CalloutFrame, CalloutOutcome, CapturedFrame, Choice, CodeHeap, CodeObject,
    ContextHeader, NativeOutcome, RESUME_TOKEN, SiteKind, StackContext, TransferHook, call_native,
    resume_entry,
};
use std::collections::HashMap;
use std::num::NonZeroU8;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wasmparser::Operator;

/// When frames leave their code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stress {
    /// Never.
    None,
    /// At every so many polls a frame that polls at a loop goes on in an OSR entry.
    Reenter(u32),
    /// At every so many polls all frames on the stack leave for the interpreter.
    LeaveAll(u32),
}

/// An instance all of whose functions are compiled.
pub(crate) struct CompiledInstance {
    pub(crate) instance: Box<Instance>,
    compiler: Compiler,
    options: CompileOptions,
    heap: CodeHeap,
    objects: Vec<Arc<CodeObject>>,
    osr_entries: HashMap<(u32, u32), *const u8>,
    stress: Stress,
    polls: u32,
    /// An OSR entry is about to run: it polls first of all, and must not leave again at once.
    entering: bool,
    pub(crate) reentered: u32,
    pub(crate) left: u32,
    /// Frames that are about to go on in the interpreter.
    captured: Vec<CapturedFrame>,
    /// Lowest stack pointer that code may really run at.
    stack_limit: usize,
    reservations: Vec<*mut u8>,
}

/// Stack that a test's guest may use.
const STACK: usize = 512 << 10;
/// What two 32-bit numbers can reach, and the widest access.
const RESERVATION: usize = (8 << 30) + (64 << 10);

impl CompiledInstance {
    /// Compiles every function; `None` if the code generator does not support one.
    pub(crate) fn new(
        instance: Box<Instance>,
        settings: CodegenSettings,
        stress: Stress,
    ) -> Box<CompiledInstance> {
        let mut compiled = Box::new(CompiledInstance {
            instance,
            compiler: Compiler::with_verifier(true).unwrap(),
            options: CompileOptions::new(settings),
            heap: CodeHeap::new(64 << 20).unwrap(),
            objects: Vec::new(),
            osr_entries: HashMap::new(),
            stress,
            polls: 0,
            entering: false,
            reentered: 0,
            left: 0,
            captured: Vec::new(),
            stack_limit: 0,
            reservations: Vec::new(),
        });
        let context = compiled.instance.context();
        compiled.reserve_memories();
        let owner = &raw mut *compiled;
        let store = &mut *compiled.instance.store;
        store.owner = owner.cast();
        store.stack.on_poll = on_poll;
        store.stack.on_trap = on_trap;
        store.stack.results = Box::leak(vec![0u64; 1024].into_boxed_slice()).as_mut_ptr();
        store.stack.transfer = Some(Box::new(Transfer { owner }));
        // SAFETY: the instance's context is complete, and nothing runs.
        unsafe {
            (*context).header = ContextHeader::new(on_callout, &mut store.stack);
            let mut builtins = ptr::read((*context).builtins);
            builtins.memory_grow = memory_grow;
            (*context).builtins = Box::leak::<'static>(Box::<Builtins>::new(builtins));
        }
        for function in 0..compiled.instance.bodies.len() as u32 {
            let code = compiled.publish(function, EntryPoint::Function);
            let state = compiled.instance.state(function);
            state.entry.store(code.cast_mut(), Ordering::Release);
            state.native.store(code.cast_mut(), Ordering::Release);
        }
        compiled
    }

    fn publish(&mut self, function: u32, entry: EntryPoint) -> *const u8 {
        let (env, body) = (&self.instance.env, &self.instance.bodies[function as usize]);
        let description = self
            .compiler
            .compile(env, body, entry, &self.options)
            .unwrap_or_else(|error| panic!("{body:?}, {entry:?}: {error}"));
        let object = self.heap.publish(description, Arc::new(function)).unwrap();
        let start = object.start();
        self.objects.push(object);
        start
    }

    /// Moves memory contents into reservations.
    fn reserve_memories(&mut self) {
        let context = self.instance.context();
        for index in 0..self.instance.env.memories.len() {
            // SAFETY: a fresh mapping; the contents fit into its accessible part.
            unsafe {
                let memory: *mut MemoryDef = *(*context).memories.add(index);
                let base = libc::mmap(
                    ptr::null_mut(),
                    RESERVATION,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                );
                assert_ne!(base, libc::MAP_FAILED);
                let base = base.cast::<u8>();
                make_accessible(base, (*memory).len());
                ptr::copy_nonoverlapping((*memory).base, base, (*memory).len());
                (*memory).base = base;
                self.reservations.push(base);
                if index == 0 {
                    (*context).memory0_base = base;
                }
            }
        }
    }

    /// Calls an export.
    pub(crate) fn call(&mut self, name: &str, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        let function = self.instance.function(name);
        let context = self.instance.context();
        let here = &raw const function as usize;
        self.stack_limit = here - STACK;
        self.polls = 0;
        let stack = &self.instance.store.stack;
        let stressed = self.stress != Stress::None;
        stack.poll_flag.store(stressed.into(), Ordering::Relaxed);
        // Every function entry polls.
        let limit = if stressed { usize::MAX } else { self.stack_limit };
        stack.stack_limit.store(limit, Ordering::Relaxed);
        let shape = self.instance.env.shape(function).clone();
        let mut slots = args.to_vec();
        slots.resize(shape.slot_count(), 0);
        let code = self.instance.state(function).entry.load(Ordering::Acquire);
        // SAFETY: compiled code of this shape and context.
        let outcome = unsafe { call_native(code, context.cast(), &shape, slots.as_mut_ptr()) };
        assert!(self.captured.is_empty() && self.instance.store.stack.redirected.is_empty());
        match outcome {
            NativeOutcome::Returned => {
                slots.truncate(shape.result_slots());
                Ok(slots)
            }
            NativeOutcome::Unwound => {
                let code = std::mem::take(&mut self.instance.store.trap);
                Err(TrapCode::from_number(code).expect("a trap is pending"))
            }
        }
    }

    /// Shape of the call at a point of a body.
    fn shape_at(&self, function: u32, point: u32) -> &CallShape {
        let env = &self.instance.env;
        let mut operators =
            self.instance.bodies[function as usize].reader().get_operators_reader().unwrap();
        let ty = loop {
            let (operator, offset) = operators.read_with_offset().unwrap();
            match operator {
                _ if offset != u64::from(point) => {}
                Operator::Call { function_index } => {
                    break env.functions[function_index as usize];
                }
                Operator::CallIndirect { type_index, .. } | Operator::CallRef { type_index } => {
                    break type_index;
                }
                other => panic!("{other:?} is not a call"),
            }
        };
        &env.shapes[ty as usize]
    }

    /// Runs a captured frame to its end in the interpreter.
    fn resume(&mut self, frame: CapturedFrame, callout: &mut CalloutFrame) -> CalloutOutcome {
        let function = *frame.object.owner.downcast_ref::<u32>().unwrap();
        let mut values = frame.values;
        if frame.kind == SiteKind::Call {
            let shape = self.shape_at(function, frame.point);
            let returned = frame.returned;
            // SAFETY: a call of this shape has just returned with these registers.
            unsafe {
                let stack = &self.instance.store.stack;
                shape.read_results(
                    returned.gpr,
                    |n| returned.xmm[n],
                    stack,
                    |_, value| {
                        values.push(value);
                    },
                );
            }
        }
        let code: *const interp::LoweredCode = self.instance.code(function);
        let context = self.instance.context();
        let base = self.instance.store.value_top;
        let frame = CanonicalFrame { kind: frame.kind, point: frame.point, values: &values };
        // SAFETY: the frame is one of this instance; `base` is the value stack's top.
        let exit = unsafe { interp::resume(context, &*code, frame, base, interp::epoch(context)) };
        match exit {
            Exit::Returned => {
                let shape = self.instance.env.shape(function).clone();
                let count = shape.result_slots();
                // SAFETY: the results are at `base`; the callout came from this stack.
                unsafe {
                    let results = std::slice::from_raw_parts(base, count);
                    shape.write_results(callout, &mut self.instance.store.stack, results);
                }
                CalloutOutcome::Return
            }
            Exit::Trapped => CalloutOutcome::Unwind,
            Exit::Enter(_) | Exit::TailCall(_) => panic!("nothing asks the interpreter to leave"),
        }
    }
}

impl Drop for CompiledInstance {
    fn drop(&mut self) {
        for base in &self.reservations {
            // SAFETY: mapped by `reserve_memories`; the instance is not used again.
            unsafe { libc::munmap(base.cast(), RESERVATION) };
        }
    }
}

/// Where frames go on.
struct Transfer {
    owner: *mut CompiledInstance,
}

impl TransferHook for Transfer {
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8 {
        // SAFETY: the instance outlives its code; nothing else refers to it during a transfer.
        let owner = unsafe { &mut *self.owner };
        let function = *frame.object.owner.downcast_ref::<u32>().unwrap();
        let at_loop = frame.kind == SiteKind::Poll && frame.point != 0;
        if !at_loop || matches!(owner.stress, Stress::LeaveAll(_)) {
            owner.left += 1;
            owner.captured.push(frame);
            return resume_entry();
        }
        owner.reentered += 1;
        owner.entering = true;
        // SAFETY: the buffer has room for the frames of tests.
        unsafe {
            let buffer = (*stack).resume;
            ptr::copy_nonoverlapping(frame.values.as_ptr(), buffer, frame.values.len());
        }
        let key = (function, frame.point);
        if let Some(&entry) = owner.osr_entries.get(&key) {
            return entry;
        }
        let entry = owner.publish(function, EntryPoint::Loop(frame.point));
        owner.osr_entries.insert(key, entry);
        entry
    }
}

/// The instance whose code runs on a stack.
///
/// # Safety
/// `stack` must be the first field of the store of a live `CompiledInstance`, as every stack of these
/// tests is, and nothing else may use the instance while the reference lives.
unsafe fn owner<'a>(stack: *mut StackContext) -> &'a mut CompiledInstance {
    // SAFETY: every stack of these tests is the first field of a store that a `CompiledInstance` owns.
    unsafe { &mut *(*stack.cast::<StoreContext>()).owner.cast::<CompiledInstance>() }
}

/// The poll handler: counts polls and redirects frames as the stress asks.
///
/// # Safety
/// `stack` must be that of a `CompiledInstance` whose machine code is in a poll on this thread.
unsafe extern "sysv64" fn on_poll(_: *mut ContextHeader, stack: *mut StackContext) -> usize {
    // SAFETY: the poll comes from a test's code.
    let owner = unsafe { owner(stack) };
    let store = &mut *owner.instance.store;
    if store.stack.exit_fp < owner.stack_limit {
        store.trap = TrapCode::StackOverflow as u32;
        return 1;
    }
    if std::mem::take(&mut owner.entering) {
        return 0;
    }
    owner.polls += 1;
    match owner.stress {
        Stress::Reenter(every) if owner.polls % every == 0 => {
            // SAFETY: the thread is in a poll.
            unsafe {
                let at_loop = store.stack.walk().next().is_some_and(|frame| {
                    frame.object().frame_map(frame.pc).is_some_and(|map| map.point != 0)
                });
                if at_loop {
                    store.stack.redirect_innermost();
                }
            }
        }
        Stress::LeaveAll(every) if owner.polls % every == 0 => {
            // SAFETY: the thread is in a poll.
            unsafe { store.stack.redirect_frames(|_| Choice::Redirect) };
        }
        _ => {}
    }
    0
}

/// # Safety
/// `stack` must be that of a `CompiledInstance` whose machine code has trapped on this thread.
unsafe extern "sysv64" fn on_trap(stack: *mut StackContext, code: u32, _: usize, _: usize) {
    // SAFETY: the trap comes from a test's code.
    let owner = unsafe { owner(stack) };
    let code = NonZeroU8::new(code as u8).map(ir::TrapCode::from_raw);
    owner.instance.store.trap = code.and_then(trap_code_of).expect("a trap code") as u32;
}

/// # Safety
/// `context` must be that of a `CompiledInstance` whose machine code makes the callout on this thread,
/// and `frame` the callout stub's.
unsafe extern "sysv64" fn on_callout(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize {
    assert_eq!(token, RESUME_TOKEN);
    // SAFETY: the callout comes from a test's code.
    let (owner, frame) = unsafe { (owner((*context).stack), &mut *frame) };
    let captured = owner.captured.pop().expect("a transfer precedes each resumption");
    owner.resume(captured, frame).into_word()
}

/// # Safety
/// `context` must be that of a `CompiledInstance` whose code waits for the answer, and `index` one of
/// its memories.
unsafe extern "sysv64" fn memory_grow(
    context: *mut InstanceContext,
    index: u32,
    delta: u64,
) -> u64 {
    // SAFETY: called with the context of a test's instance.
    unsafe {
        let env = &*(*context).env;
        let memory: *mut MemoryDef = *(*context).memories.add(index as usize);
        let old = ((*memory).len() >> 16) as u64;
        let maximum = env.memories[index as usize].maximum.unwrap_or(65536);
        if old + delta > maximum {
            return 0xffff_ffff;
        }
        let len = ((old + delta) << 16) as usize;
        make_accessible((*memory).base, len);
        (*memory).set_len(len);
        old
    }
}

/// # Safety
/// `base..base + len` must be part of a memory's reservation.
unsafe fn make_accessible(base: *mut u8, len: usize) {
    // SAFETY: the caller passes a part of a reservation.
    let result = unsafe { libc::mprotect(base.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(result, 0);
}
