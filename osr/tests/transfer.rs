//! The whole way of a frame, with code made here by Cranelift for a language of two functions:
//!
//! * `sum(n) = n == 0 ? host() : sum(n - 1) + n`, suspended in itself as deep as asked for;
//! * a loop that polls.
//!
//! The host redirects every frame, frees the code, and returns into a stack whose code is gone.

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, ExceptionTableData, ExceptionTableItem, Function, InstBuilder,
    MemFlagsData, Signature, SourceLoc, Value, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::Configurable;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use framehop::Unwinder;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use midair_osr::cranelift::{self, SiteDescription, SiteValue, Sites, describe};
use midair_osr::{
    CallShape, CalloutFrame, CalloutOutcome, CapturedFrame, Choice, CodeDescription, CodeHeap,
    CodeObject, CodeState, ContextHeader, NativeOutcome, RESUME_TOKEN, SiteKind, StackContext,
    SuspendedFrame, TransferHook, ValueKind, call_native, resume_entry,
};
use std::sync::Arc;

#[path = "transfer/read_frames.rs"]
mod read_frames;
#[cfg(feature = "verify-walks")]
#[path = "transfer/verify_walks.rs"]
mod verify_walks;

/// The context of the test's language.
#[repr(C)]
struct TestContext {
    header: ContextHeader,
    /// +32: address of `sum`.
    sum: *const u8,
    /// +40: address of the host's entry thunk.
    host: *const u8,
    heap: *const CodeHeap,
    object: Option<Arc<CodeObject>>,
    /// What the host does.
    on_host: fn(&mut TestContext),
    captured: Vec<CapturedFrame>,
    moved: usize,
    polls: usize,
    /// A frame as it was read in place before it was captured.
    read: Option<SuspendedFrame>,
}

fn isa() -> OwnedTargetIsa {
    let mut flags = cranelift::flags();
    flags.set("opt_level", "speed").unwrap();
    cranelift::code_generator(flags).unwrap()
}

fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::I64));
    signature.params.push(AbiParam::new(types::I64));
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

fn compile(build: impl FnOnce(&mut FunctionBuilder<'_>, &mut Sites)) -> CodeDescription {
    let isa = isa();
    let mut context = Context::new();
    context.func = Function::with_name_signature(Default::default(), signature());
    let mut frontend = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut context.func, &mut frontend);
    let mut sites = Sites::new();
    build(&mut builder, &mut sites);
    builder.seal_all_blocks();
    builder.finalize(isa.frontend_config());
    let code = context.compile(&*isa, &mut ControlPlane::default()).unwrap();
    describe(code, &*isa, &sites, 1 << 16).unwrap()
}

/// A guest call with its live values; returns the result.
fn call_with_state(
    builder: &mut FunctionBuilder<'_>,
    callee: Value,
    args: &[Value],
    live: &[Value],
) -> Value {
    let signature = builder.import_signature(signature());
    let next = builder.create_block();
    let result = builder.append_block_param(next, types::I64);
    let normal = builder.func.dfg.block_call(next, &[BlockArg::TryCallRet(0)]);
    let items = live.iter().map(|v| ExceptionTableItem::Context(*v));
    let table = ExceptionTableData::new(signature, normal, items);
    let table = builder.func.dfg.exception_tables.push(table);
    builder.ins().try_call_indirect(callee, args, table);
    builder.switch_to_block(next);
    result
}

/// `sum`, with as many live values around its call as asked for: some in registers, some spilled.
fn sum(extra: i64) -> CodeDescription {
    compile(|builder, sites| {
        let trusted = MemFlagsData::trusted();
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let (context, n) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
        let (deeper, bottom) = (builder.create_block(), builder.create_block());
        builder.ins().brif(n, deeper, &[], bottom, &[]);

        builder.switch_to_block(bottom);
        builder.set_srcloc(SourceLoc::new(1));
        let host = builder.ins().load(types::I64, trusted, context, 40);
        let result = call_with_state(builder, host, &[context, n], &[context]);
        builder.ins().return_(&[result]);
        sites.insert(1, SiteDescription { kind: SiteKind::Call, point: 1, values: vec![] });

        builder.switch_to_block(deeper);
        builder.set_srcloc(SourceLoc::new(2));
        let less = builder.ins().iadd_imm_s(n, -1);
        let values: Vec<Value> = (0..extra).map(|k| builder.ins().imul_imm_s(n, k + 3)).collect();
        let callee = builder.ins().load(types::I64, trusted, context, 32);
        let mut live = vec![context, n];
        live.extend(&values);
        let mut total = call_with_state(builder, callee, &[context, less], &live);
        let mut described = vec![(ValueKind::I64, SiteValue::Item(1))];
        described.extend((0..extra).map(|k| (ValueKind::I64, SiteValue::Item(k as u16 + 2))));
        sites.insert(2, SiteDescription { kind: SiteKind::Call, point: 2, values: described });
        total = builder.ins().iadd(total, n);
        for value in values {
            total = builder.ins().iadd(total, value);
        }
        builder.ins().return_(&[total]);
    })
}

/// What `sum` computes from depth `n` on, given the host's answer.
fn expected(n: u64, extra: u64, host: u64) -> u64 {
    let each: u64 = 1 + (0..extra).map(|k| k + 3).sum::<u64>();
    host + each * n * (n + 1) / 2
}

/// Frames go on in Rust: the "interpreter" of this language.
struct GoOnInRust;

impl TransferHook for GoOnInRust {
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8 {
        let _ = stack;
        // SAFETY: the context of the test's frames is a TestContext.
        let context = unsafe { &mut *frame.context.cast::<TestContext>() };
        read_frames::check_noted(context, &frame);
        context.captured.push(frame);
        resume_entry()
    }
}

const SHAPE_CLASSES: [ValueKind; 1] = [ValueKind::I64];

fn shape() -> CallShape {
    CallShape::new(SHAPE_CLASSES.into_iter(), SHAPE_CLASSES.into_iter())
}

/// # Safety
/// `context` must be the header of the `TestContext` that `run` set up, and `frame` that of the callout
/// stub, both used by nothing else until this returns.
unsafe extern "sysv64" fn on_callout(
    context: *mut ContextHeader,
    token: u32,
    frame: *mut CalloutFrame,
) -> usize {
    // SAFETY: the callout comes from this test's code; the frame is the stub's.
    let (context, frame) = unsafe { (&mut *context.cast::<TestContext>(), &mut *frame) };
    // SAFETY: set up by `run`.
    let stack = unsafe { &mut *context.header.stack };
    let result = if token == RESUME_TOKEN {
        context.moved += 1;
        let captured = context.captured.pop().expect("a transfer precedes each resumption");
        assert_eq!(captured.object.state(), CodeState::Freed);
        let total: u64 = captured.values.iter().sum();
        if captured.kind == SiteKind::Call { total + captured.returned.gpr[0] } else { total }
    } else {
        (context.on_host)(context);
        1000
    };
    // SAFETY: the stack is the one that the callout came from.
    unsafe { shape().write_results(frame, stack, &[result]) };
    CalloutOutcome::Return.into_word()
}

/// # Safety
/// `context` must be the header of the `TestContext` that `run` set up, and `stack` its stack, whose
/// thread is in a poll.
unsafe extern "sysv64" fn on_poll(context: *mut ContextHeader, stack: *mut StackContext) -> usize {
    // SAFETY: the poll comes from this test's code.
    let context = unsafe { &mut *context.cast::<TestContext>() };
    context.polls += 1;
    if context.polls == 5 {
        read_frames::note_innermost(context);
        // SAFETY: the thread is in a poll.
        assert!(unsafe { (*stack).redirect_innermost() });
        // SAFETY: the only frame that ran the object has been redirected.
        unsafe { free_all(context) };
    }
    0
}

extern "sysv64" fn on_trap(_: *mut StackContext, code: u32, _: usize, _: usize) {
    assert_eq!(code, 7);
}

/// # Safety
/// Every frame of the context's object has been redirected.
unsafe fn free_all(context: &mut TestContext) {
    let object = context.object.take().unwrap();
    object.retire();
    // SAFETY: the heap outlives the test's run, and no frame is left, as the caller vouches.
    unsafe {
        (*context.heap).free(&object);
        assert!((*context.heap).is_poisoned(&object));
    }
}

fn run(
    code: CodeDescription,
    argument: u64,
    on_host: fn(&mut TestContext),
) -> (NativeOutcome, u64, usize) {
    let heap = CodeHeap::new(1 << 20).unwrap();
    let object = heap.publish(code, Arc::new(())).unwrap();
    let mut stack = StackContext::new(on_poll, on_trap);
    stack.transfer = Some(Box::new(GoOnInRust));
    stack.poll_flag.store(1, std::sync::atomic::Ordering::Relaxed);
    let start = object.start();
    let mut context = TestContext {
        header: ContextHeader::new(on_callout, &mut stack),
        sum: start,
        host: heap.entry_thunk(3).unwrap(),
        heap: &heap,
        object: Some(object),
        on_host,
        captured: Vec::new(),
        moved: 0,
        polls: 0,
        read: None,
    };
    let mut slots = [argument];
    let header = std::ptr::from_mut(&mut context).cast();
    // SAFETY: the code has this shape and expects this context.
    let outcome = unsafe { call_native(start, header, &shape(), slots.as_mut_ptr()) };
    assert!(stack.redirected.is_empty());
    (outcome, slots[0], context.moved)
}

#[test]
fn code_is_freed_while_its_frames_are_suspended() {
    for extra in [0, 3, 12] {
        let (outcome, result, moved) = run(sum(extra), 100, |context| {
            // SAFETY: the thread is in a callout.
            let redirected =
                unsafe { (*context.header.stack).redirect_frames(|_| Choice::Redirect) };
            assert_eq!(redirected, 101);
            // SAFETY: every frame has been redirected.
            unsafe { free_all(context) };
        });
        assert_eq!(outcome, NativeOutcome::Returned);
        assert_eq!(result, expected(100, extra as u64, 1000));
        assert_eq!(moved, 101);
    }
}

#[test]
fn frames_that_are_not_selected_stay() {
    let (_, result, moved) = run(sum(4), 50, |context| {
        let mut seen = 0;
        // SAFETY: the thread is in a callout.
        let redirected = unsafe {
            (*context.header.stack).redirect_frames(|_| {
                seen += 1;
                if seen % 3 == 0 { Choice::Redirect } else { Choice::Skip }
            })
        };
        assert_eq!((seen, redirected), (51, 17));
        // The second walk sees through the redirected addresses and takes the rest but one.
        // SAFETY: as above.
        let rest = unsafe { (*context.header.stack).redirect_frames(|_| Choice::Redirect) };
        assert_eq!(rest, 34);
        // SAFETY: every frame has been redirected now.
        unsafe { free_all(context) };
    });
    assert_eq!(result, expected(50, 4, 1000));
    assert_eq!(moved, 51);
}

#[test]
fn a_second_walker_sees_the_same_frames() {
    let (_, result, _) = run(sum(7), 200, |context| {
        // SAFETY: set up by `run`.
        let stack = unsafe { &mut *context.header.stack };
        // SAFETY: the thread is in a callout.
        let ours: Vec<u64> = unsafe { stack.walk() }.map(|frame| frame.pc as u64).collect();
        let mut read = |address: u64| {
            // SAFETY: framehop follows frame records of this thread's stack.
            Ok(unsafe { (address as *const u64).read() })
        };
        let record = stack.exit_fp as u64;
        let (fp, pc) = (read(record).unwrap(), read(record + 8).unwrap());
        let unwinder: UnwinderX86_64<Vec<u8>> = UnwinderX86_64::new();
        let mut cache: CacheX86_64 = CacheX86_64::new();
        let registers = UnwindRegsX86_64::new(pc, record + 16, fp);
        let mut frames = unwinder.iter_frames(pc, registers, &mut cache, &mut read);
        for (depth, pc) in ours.iter().enumerate() {
            let frame = frames.next().unwrap().expect("framehop ends too early");
            assert_eq!(frame.address(), *pc, "frame {depth}");
        }
        assert_eq!(ours.len(), 201);
    });
    assert_eq!(result, expected(200, 7, 1000));
}

/// `loop { n -= 1; s += n * k...; poll }`: a loop that carries many values, integer and float.
fn polling_loop(carried: usize) -> CodeDescription {
    compile(|builder, sites| {
        let trusted = MemFlagsData::trusted();
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let (context, n) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
        let variables: Vec<Variable> =
            (0..carried).map(|_| builder.declare_var(types::I64)).collect();
        for (k, variable) in variables.iter().enumerate() {
            let value = builder.ins().iadd_imm_s(n, k as i64);
            builder.def_var(*variable, value);
        }
        let (header, cold, next, exit) = (
            builder.create_block(),
            builder.create_block(),
            builder.create_block(),
            builder.create_block(),
        );
        builder.set_cold_block(cold);
        builder.ins().jump(header, &[]);
        builder.switch_to_block(header);
        let stack = builder.ins().load(types::I64, trusted, context, ContextHeader::STACK);
        let flag = builder.ins().load(types::I64, trusted, stack, StackContext::POLL_FLAG);
        builder.ins().brif(flag, cold, &[], next, &[]);

        builder.switch_to_block(cold);
        builder.set_srcloc(SourceLoc::new(7));
        let mut arguments = vec![context];
        arguments.extend(variables.iter().map(|v| builder.use_var(*v)));
        let mut poll = Signature::new(CallConv::PreserveAll);
        poll.params.extend(arguments.iter().map(|_| AbiParam::new(types::I64)));
        let poll = builder.import_signature(poll);
        let stub = builder.ins().load(types::I64, trusted, context, ContextHeader::POLL);
        builder.ins().call_indirect(poll, stub, &arguments);
        builder.ins().jump(next, &[]);
        let values = (0..carried).map(|k| (ValueKind::I64, SiteValue::Item(k as u16 + 1)));
        let kind = SiteKind::Poll;
        sites.insert(7, SiteDescription { kind, point: 7, values: values.collect() });

        builder.switch_to_block(next);
        let mut sum = builder.ins().iconst(types::I64, 0);
        for variable in &variables {
            let value = builder.use_var(*variable);
            let value = builder.ins().iadd_imm_s(value, 1);
            builder.def_var(*variable, value);
            sum = builder.ins().iadd(sum, value);
        }
        let done = builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, sum, 1 << 40);
        builder.ins().brif(done, exit, &[], header, &[]);
        builder.switch_to_block(exit);
        builder.ins().return_(&[sum]);
    })
}

#[test]
fn a_running_frame_leaves_at_its_poll_and_its_code_is_freed() {
    for carried in [1, 5, 6, 20] {
        let (outcome, result, moved) = run(polling_loop(carried), 10, |_| unreachable!());
        assert_eq!(outcome, NativeOutcome::Returned);
        assert_eq!(moved, 1);
        // The fifth poll sees four increments.
        let carried = carried as u64;
        assert_eq!(result, (0..carried).map(|k| 10 + k + 4).sum::<u64>());
    }
}

#[test]
fn a_trap_unwinds_to_the_entry() {
    let code = compile(|builder, _| {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let n = builder.block_params(entry)[1];
        builder.ins().trapnz(n, cranelift_codegen::ir::TrapCode::unwrap_user(7));
        builder.ins().return_(&[n]);
    });
    let (outcome, _, _) = run(code.clone(), 1, |_| unreachable!());
    assert_eq!(outcome, NativeOutcome::Unwound);
    let (outcome, result, _) = run(code, 0, |_| unreachable!());
    assert_eq!((outcome, result), (NativeOutcome::Returned, 0));
}
