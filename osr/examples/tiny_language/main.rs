//! A complete tiny language whose functions are replaced while they are suspended.
//!
//! `down` and `up` call each other a thousand deep; at the bottom, `edit` calls the host, which replaces both. Their
//! frames are redirected and their machine code is freed before one of them is returned to. Then those of `down` go on
//! in new machine code, those of `up` in the interpreter, and a function that was not replaced where it was.
//!
//! * `language.rs`: the parser, the bytecode, the interpreter.
//! * `compile.rs`: bytecode to Cranelift's input; a frame map at each call; entries behind calls.
//! * here: the context, calls from and to the host, replacing, and where frames go on.
//!
//! Run it with `cargo run --release --example tiny_language`.

mod compile;
mod language;

use compile::{ENTRIES, OUT_OF_STACK, Start, code_generator, compile};
use language::{Function, parse};
use midair_osr::cranelift_codegen::isa::OwnedTargetIsa;
use midair_osr::{
    CallShape, CalloutFrame, CalloutOutcome, CapturedFrame, Choice, CodeHeap, CodeObject,
    ContextHeader, NativeOutcome, RESUME_TOKEN, StackContext, TransferHook, ValueKind, call_native,
    resume_entry,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What functions may call, by number; `edit` is the host's.
const NAMES: [&str; 4] = ["main", "down", "up", "edit"];
const EDIT: usize = 3;

const BEFORE: [&str; 3] = [
    "main(n) = down(n) * 2 + 1",
    "down(n) = if n then up(n - 1) + n else edit()",
    "up(n) = if n then down(n - 1) + n else edit()",
];
const NEW_DOWN: &str = "down(n) = if n then up(n - 1) + n * 1000 else edit()";
const NEW_UP: &str = "up(n) = if n then down(n - 1) + n * 1000000 else edit()";

const DEPTH: i64 = 1000;
/// The stack that the language may use.
const STACK_BYTES: usize = 512 << 10;

/// What `rdi` points to in all code of the language.
#[repr(C)]
struct Context {
    header: ContextHeader,
    entries: *const Cell<*const u8>,
    machine: *const Machine,
}

const _: () = assert!(offset_of!(Context, entries) == ENTRIES as usize);

/// A program, its code, and a stack.
struct Machine {
    isa: OwnedTargetIsa,
    heap: CodeHeap,
    /// Where calls of each function lead to. Linking a new version is one store.
    entries: Vec<Cell<*const u8>>,
    functions: RefCell<Vec<Version>>,
    /// Where frames of replaced code go on: by the number of the code object, and the place of the call.
    landings: RefCell<HashMap<(u64, u32), Landing>>,
    /// What the interpreter is about to go on with: written at a landing, and taken at the callout that follows.
    landed: Cell<Option<Landed>>,
    /// What an OSR entry loads its frame from.
    resume: RefCell<Vec<u64>>,
    stack: Box<StackContext>,
    moved_to_code: Cell<usize>,
    moved_to_interpreter: Cell<usize>,
    edited: Cell<bool>,
}

/// The current version of a function.
#[derive(Clone)]
struct Version {
    function: Arc<Function>,
    /// Its code: the function itself, and the OSR entries.
    code: Vec<Arc<CodeObject>>,
}

/// Where a frame goes on.
#[derive(Clone)]
enum Landing {
    /// In an OSR entry.
    Code(*const u8),
    /// In the interpreter, behind this call.
    Interpreter(Arc<Function>, usize),
}

/// A frame that the interpreter goes on with, behind a call whose result is its last value.
struct Landed {
    function: Arc<Function>,
    call: usize,
    values: Vec<i64>,
}

/// How frames of a replaced function go on.
#[derive(Clone, Copy, PartialEq)]
enum GoOn {
    Compiled,
    Interpreted,
}

fn shape(parameters: usize) -> CallShape {
    let parameters = std::iter::repeat_n(ValueKind::I64, parameters);
    CallShape::new(parameters, std::iter::once(ValueKind::I64))
}

impl Machine {
    fn new(sources: &[&str]) -> Result<Machine> {
        let heap = CodeHeap::new(1 << 20)?;
        let mut stack = Box::new(StackContext::new(on_poll, on_trap));
        stack.transfer = Some(Box::new(Landings));
        // What the thread's stack has below is for the last frame, the interpreter and the host.
        let here = std::ptr::from_ref(&stack) as usize;
        *stack.stack_limit.get_mut() = here - STACK_BYTES;
        let machine = Machine {
            isa: code_generator()?,
            entries: vec![Cell::new(heap.entry_thunk(EDIT as u32)?); NAMES.len()],
            heap,
            functions: RefCell::default(),
            landings: RefCell::default(),
            landed: Cell::default(),
            resume: RefCell::default(),
            stack,
            moved_to_code: Cell::new(0),
            moved_to_interpreter: Cell::new(0),
            edited: Cell::new(false),
        };
        for (n, source) in sources.iter().enumerate() {
            let function = Arc::new(parse(source, &NAMES)?);
            let code = machine.publish(&function, Start::Function)?;
            machine.entries[n].set(code.start());
            machine.functions.borrow_mut().push(Version { function, code: vec![code] });
        }
        Ok(machine)
    }

    fn publish(&self, function: &Function, start: Start) -> Result<Arc<CodeObject>> {
        Ok(self.heap.publish(compile(function, start, &self.isa)?, Arc::new(()))?)
    }

    fn stack(&self) -> *mut StackContext {
        std::ptr::from_ref(&*self.stack).cast_mut()
    }

    /// Calls a function; `None` if it trapped.
    fn call(&self, function: usize, arguments: &[i64]) -> Option<i64> {
        let mut context = Context {
            header: ContextHeader::new(on_callout, self.stack()),
            entries: self.entries.as_ptr(),
            machine: self,
        };
        let shape = shape(arguments.len());
        let mut slots = vec![0; shape.slot_count()];
        for (slot, argument) in slots.iter_mut().zip(arguments) {
            *slot = *argument as u64;
        }
        let code = self.entries[function].get();
        let header = std::ptr::from_mut(&mut context).cast();
        // SAFETY: functions have this shape, with which the parser has seen to it that they are called, and expect
        // this context, which lives until the call has ended, with the stack of this thread.
        let outcome = unsafe { call_native(code, header, &shape, slots.as_mut_ptr()) };
        (outcome == NativeOutcome::Returned).then(|| slots[0] as i64)
    }

    /// Replaces a function, wherever it is suspended.
    fn replace(&self, n: usize, source: &str, go_on: GoOn) -> Result<()> {
        // All that can fail comes first.
        let new = Arc::new(parse(source, &NAMES)?);
        let mut version =
            Version { function: new.clone(), code: vec![self.publish(&new, Start::Function)?] };
        let old = self.functions.borrow()[n].clone();
        let mut calls = new.calls();
        let mut landings = HashMap::new();
        for call in old.function.calls() {
            // The frame goes on behind the call of the same number, if the new function can take its values.
            let same = |to: &usize| new.frame_len(*to) == old.function.frame_len(call);
            let landing = match calls.next().filter(same) {
                Some(to) if go_on == GoOn::Compiled => {
                    let entry = self.publish(&new, Start::Behind(to))?;
                    version.code.push(entry.clone());
                    Landing::Code(entry.start())
                }
                Some(to) => Landing::Interpreter(new.clone(), to),
                // It finishes in the old bytecode. The old machine code goes all the same.
                None => Landing::Interpreter(old.function.clone(), call),
            };
            landings.insert(call as u32, landing);
        }

        // Link the new code: nothing enters the old one any more.
        self.entries[n].set(version.code[0].start());
        let mut redirected = 0;
        for code in &old.code {
            code.retire();
            for (call, landing) in &landings {
                self.landings.borrow_mut().insert((code.id, *call), landing.clone());
            }
            // SAFETY: this thread is in a callout, or has no frames; all calls have frame maps.
            redirected += unsafe {
                (*self.stack()).redirect_frames(|frame| match frame.object().id == code.id {
                    true => Choice::Redirect,
                    false => Choice::Skip,
                })
            };
            // SAFETY: it is not linked any more, and all its frames have been redirected.
            unsafe { self.heap.free(code) };
            assert!(self.heap.is_poisoned(code), "a byte of the old code is left");
        }
        println!("{}: {redirected} frames redirected, the old code is freed", new.name);
        assert!(redirected as i64 >= DEPTH / 2);
        self.functions.borrow_mut()[n] = version;
        Ok(())
    }

    /// What `edit` does: the first time it replaces both functions.
    fn edit(&self) -> Result<i64> {
        if !self.edited.replace(true) {
            self.replace(1, NEW_DOWN, GoOn::Compiled)?;
            self.replace(2, NEW_UP, GoOn::Interpreted)?;
            assert_eq!(self.moved_to_code.get() + self.moved_to_interpreter.get(), 0);
        }
        Ok(7)
    }
}

/// The machine that a context belongs to.
///
/// # Safety
/// The context is one that [`Machine::call`] has made, and that call has not ended.
unsafe fn machine<'a>(context: *mut ContextHeader) -> &'a Machine {
    // SAFETY: as the caller vouches.
    unsafe { &*(*context.cast::<Context>()).machine }
}

/// Managed code calls the host, or a frame that was moved goes on in the interpreter.
///
/// # Safety
/// Only the callout stub calls it, for code of the language.
unsafe extern "sysv64" fn on_callout(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize {
    // SAFETY: the context is that of the code.
    let machine = unsafe { machine(context) };
    let result = if token == RESUME_TOKEN {
        let landed = machine.landed.take().expect("a landing comes before");
        let call = |callee: usize, arguments: &[i64]| machine.call(callee, arguments);
        landed.function.interpret(landed.call + 1, landed.values, call)
    } else {
        Some(machine.edit().expect("the new functions are right"))
    };
    let Some(result) = result else { return CalloutOutcome::Unwind.into_word() };
    // SAFETY: the frame is the stub's, and all functions of the language return one integer.
    unsafe { shape(0).write_results(&mut *frame, &mut *machine.stack(), &[result as u64]) };
    CalloutOutcome::Return.into_word()
}

struct Landings;

impl TransferHook for Landings {
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8 {
        // SAFETY: all frames of this stack have such a context.
        let machine = unsafe { machine(frame.context) };
        let landing = machine.landings.borrow()[&(frame.object.id, frame.point)].clone();
        // What the call has returned comes on top.
        let mut values = frame.values;
        values.push(frame.returned.gpr[0]);
        match landing {
            Landing::Code(entry) => {
                machine.moved_to_code.update(|n| n + 1);
                let mut buffer = machine.resume.borrow_mut();
                *buffer = values;
                // SAFETY: the stack is this thread's. The entry reads the buffer before anything else runs.
                unsafe { (*stack).resume = buffer.as_mut_ptr() };
                entry
            }
            Landing::Interpreter(function, call) => {
                machine.moved_to_interpreter.update(|n| n + 1);
                let values = values.into_iter().map(|value| value as i64).collect();
                machine.landed.set(Some(Landed { function, call, values }));
                resume_entry()
            }
        }
    }
}

/// A language with loops polls in them, so that frames that run can leave, too; calls are enough for this one.
///
/// # Safety
/// None needed.
unsafe extern "sysv64" fn on_poll(_: *mut ContextHeader, _: *mut StackContext) -> usize {
    0
}

extern "sysv64" fn on_trap(_: *mut StackContext, code: u32, _: usize, _: usize) {
    assert_eq!(code, u32::from(OUT_OF_STACK));
    println!("trap: out of stack");
}

fn main() -> Result<()> {
    let machine = Machine::new(&BEFORE)?;
    let result = machine.call(0, &[DEPTH]).ok_or("a trap")?;
    let (code, interpreter) = (machine.moved_to_code.get(), machine.moved_to_interpreter.get());
    println!("{code} frames went on in new machine code, {interpreter} in the interpreter");
    assert_eq!((code as i64, interpreter as i64), (DEPTH / 2 + 1, DEPTH / 2));

    // `down` had the even numbers, and `up` the odd ones.
    let sum = |first| (first..=DEPTH).step_by(2).sum::<i64>();
    let expected = (7 + 1000 * sum(0) + 1_000_000 * sum(1)) * 2 + 1;
    println!("main({DEPTH}) = {result}: every frame went on in its new body");
    assert_eq!(result, expected);

    // The program goes on, also after a trap.
    assert_eq!(machine.call(0, &[i64::MAX]), None);
    assert_eq!(machine.call(0, &[2]), Some((7 + 2000 + 1_000_000) * 2 + 1));
    println!("{} code objects are left", machine.heap.stats().live_objects);
    Ok(())
}
