//! The default frame map: a random function, a random edit, a random suspension point.
//!
//! The oracle is an interpreter of a few dozen lines, which shares nothing with Midair: it runs the old body
//! up to the suspension point, takes the frame over to where the plan says that it goes on, and runs the new
//! body from there. Where the frame has to stay in the old body, it is taken over at the first loop or call that
//! it comes to and that has a counterpart. Every tier has to show the same frame, and to end with the same
//! result.
//!
//! A frame is suspended in a call of the host, which makes the updates; or it runs, and comes to the header of
//! a loop while another thread makes them.

mod gate;
mod maps;
mod oracle;
mod source;

use anyhow::{Context as _, Result, ensure};
use gate::Gate;
use maps::{Maps, Moving};
use midair::{
    Caller, Config, Engine, FrameMap, Func, Linker, Module, Plan, PlannedOutcome, Store, Tier,
    Update, Val,
};
use midair_watchdog::Watchdog;
use oracle::{Code, Counts, Op, Oracle, Stop, TYPES, answer, compile, val_type};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use source::{Edit, PARAMS, Source, Ty, edit, source};
use std::sync::atomic::{AtomicUsize, Ordering};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection,
    MemorySection, MemoryType, TypeSection, ValType,
};

/// A function, the edits that it goes through while it is suspended, where it is, and arguments.
#[derive(Clone, Debug)]
struct Case {
    old: Source,
    /// The edits of each update.
    updates: Vec<Vec<Edit>>,
    stop: Stop,
    arguments: [i8; PARAMS],
}

fn case() -> impl Strategy<Value = Case> {
    let edits = proptest::collection::vec(edit(), 0..3);
    let stop = prop_oneof![(1usize..6).prop_map(Stop::Call), (1usize..9).prop_map(Stop::Header)];
    (source(), proptest::collection::vec(edits, 1..4), stop, any::<[i8; PARAMS]>())
        .prop_map(|(old, updates, stop, arguments)| Case { old, updates, stop, arguments })
}

/// The function's index.
const F: u32 = 2;

fn module(code: &Code) -> Vec<u8> {
    let params: Vec<ValType> = code.locals[..PARAMS].iter().map(|&ty| val_type(ty)).collect();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function(params, [ValType::I64]);
    for ty in TYPES {
        types.ty().function([val_type(ty)], [val_type(ty)]);
    }
    let mut imports = ImportSection::new();
    imports.import("host", "a", EntityType::Function(0));
    imports.import("host", "b", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, F).export("m", ExportKind::Memory, 0);
    let mut bodies = CodeSection::new();
    bodies.raw(&code.body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&memories);
    module.section(&exports).section(&bodies);
    module.finish()
}

/// A suspended frame: offset, locals, operands.
type Seen = (usize, Vec<Option<u64>>, Vec<u64>);

/// What the host does and has seen.
struct Host {
    module: Module,
    bodies: Vec<Vec<u8>>,
    /// The call that it makes the updates in.
    stop: Option<usize>,
    calls: usize,
    /// The frame when it is suspended in that call.
    seen: Option<Seen>,
    plans: Vec<Plan>,
}

fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(value) => u64::from(*value as u32),
        Val::I64(value) => *value as u64,
        Val::F32(bits) => u64::from(*bits),
        Val::F64(bits) => *bits,
        other => panic!("no such values: {other:?}"),
    }
}

fn host(import: u32) -> impl Fn(Caller<'_, Host>, i32) -> Result<i32> {
    move |mut caller, argument| {
        let frame = caller.frames().first().map(|frame| {
            let locals = frame.locals().iter().map(|local| local.as_ref().map(bits)).collect();
            (frame.func_offset(), locals, frame.operands().iter().map(bits).collect())
        });
        let host = caller.data_mut();
        host.calls += 1;
        if host.stop == Some(host.calls) {
            host.seen = frame;
            for body in &host.bodies {
                let update = update_by_index(&host.module, body)?;
                host.plans.push(update.plan()?);
                update.apply()?;
            }
        }
        Ok(answer(import, argument, host.calls))
    }
}

/// How a case is run.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Only(Tier),
    /// Interpreted at first; loops go on in machine code after some rounds.
    Rising,
}

impl Mode {
    fn config(self) -> Config {
        let mut config = Config::new();
        config.background_compilation(false);
        match self {
            Mode::Only(tier) => config.tier(tier),
            Mode::Rising => config.tier(Tier::Auto).optimized_threshold(3),
        };
        config
    }
}

/// Runs the case in one mode: the result, what was planned, and the frame if the host has seen it. `stop`: where it
/// is suspended, if it comes there.
fn run(
    mode: Mode,
    stop: Option<Stop>,
    codes: &[Code],
    arguments: &[u64],
) -> Result<(i64, Vec<Plan>, Option<Seen>)> {
    let engine = Engine::new(&mode.config())?;
    let module = Module::new(&engine, module(&codes[0]))?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "a", host(0))?;
    linker.func_wrap("host", "b", host(1))?;
    let (call, header) = match stop {
        Some(Stop::Call(number)) => (Some(number), None),
        Some(Stop::Header(number)) => (None, Some(number)),
        None => (None, None),
    };
    let bodies = || codes[1..].iter().map(|code| code.body.clone());
    let data = Host {
        module: module.clone(),
        bodies: bodies().collect(),
        stop: call,
        calls: 0,
        seen: None,
        plans: Vec::new(),
    };
    let mut store = Store::new(&engine, data);
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").context("an export")?;
    let memory = instance.get_memory(&mut store, "m").context("an export")?;
    // SAFETY: the store, which owns the memory, outlives the gate; the host leaves the memory alone.
    let gate = unsafe { Gate::new(memory.data_ptr(&store), header) };
    let typed: Vec<Val> = arguments
        .iter()
        .zip(&codes[0].locals)
        .map(|(&bits, ty)| match ty {
            Ty::I32 => Val::I32(bits as i32),
            Ty::I64 => Val::I64(bits as i64),
            Ty::F32 => Val::F32(bits as u32),
            Ty::F64 => Val::F64(bits),
        })
        .collect();
    let (result, plans) = match header {
        None => {
            drop(gate);
            (call_f(f, &mut store, &typed)?, Vec::new())
        }
        Some(_) => update_beside(&module, bodies(), gate, || call_f(f, &mut store, &typed))?,
    };
    ensure!(engine.code_stats().retired == 0, "retired code is freed");
    let host = store.into_data();
    Ok((result, if header.is_none() { host.plans } else { plans }, host.seen))
}

fn call_f(f: Func, store: &mut Store<Host>, arguments: &[Val]) -> Result<i64> {
    let mut results = [Val::I64(0)];
    f.call(store, arguments, &mut results)?;
    let Val::I64(result) = results[0] else { anyhow::bail!("an i64") };
    Ok(result)
}

/// Runs `guest` on another thread, and updates its function while it is held at the header of a loop.
fn update_beside(
    module: &Module,
    bodies: impl Iterator<Item = Vec<u8>>,
    gate: Gate<'_>,
    guest: impl FnOnce() -> Result<i64> + Send,
) -> Result<(i64, Vec<Plan>)> {
    std::thread::scope(|scope| {
        let guest = scope.spawn(guest);
        let update = || -> Result<Vec<Plan>> {
            gate.wait_for_rounds(|| guest.is_finished())?;
            bodies
                .map(|body| {
                    let update = update_by_index(module, &body)?;
                    let plan = update.plan()?;
                    update.apply()?;
                    // Frames of the interpreter find out by themselves.
                    gate.wait_for_rounds(|| guest.is_finished())?;
                    Ok(plan)
                })
                .collect()
        };
        let plans = update();
        drop(gate);
        let result = guest.join().expect("guests do not panic");
        Ok((result?, plans?))
    })
}

/// What happened, to know that cases are worth something.
#[derive(Default)]
struct Tally {
    /// Frames that were suspended in a call, and that ran a loop.
    moved: [AtomicUsize; 2],
    stayed: [AtomicUsize; 2],
    never_suspended: AtomicUsize,
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a frame that is suspended does according to the oracle.
struct Expected {
    /// Where it goes on at each update: offset in the new body.
    outcomes: Vec<Option<u32>>,
    /// Whether it leaves the body that it is suspended in.
    moved: bool,
    result: i64,
}

fn check(case: &Case, modes: &[Mode], tally: &Tally) -> Result<(), TestCaseError> {
    let mut sources = vec![case.old.clone()];
    for edits in &case.updates {
        let last = sources.last().expect("the old one").clone();
        sources.push(edits.iter().fold(last, |source, edit| source.edit(edit)));
    }
    // Parameters keep their types.
    let codes: Vec<Code> = sources.iter().map(compile).collect();
    let arguments: Vec<u64> = case
        .arguments
        .iter()
        .zip(&case.old.locals)
        .map(|(&value, ty)| match ty {
            Ty::I32 => u64::from(i32::from(value) as u32),
            Ty::I64 => i64::from(value) as u64,
            Ty::F32 => u64::from(f32::from(value).to_bits()),
            Ty::F64 => f64::from(value).to_bits(),
        })
        .collect();

    let mut oracle = Oracle::new(&codes[0], &arguments);
    let mut counts = Counts::default();
    let suspended = oracle.run(&codes[0], &mut counts, Some(case.stop));
    let fail = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
    let (stop, expected) = match suspended {
        // The oracle knows before Midair runs.
        None => return Err(TestCaseError::reject("too long")),
        Some(false) => {
            add(&tally.never_suspended);
            let result = *oracle.stack.last().expect("a result") as i64;
            (None, Expected { outcomes: Vec::new(), moved: false, result })
        }
        Some(true) => {
            // Where the frame goes on is what the plans say of the bodies; they do not depend on the tier.
            let plans = plans(&codes).map_err(fail)?;
            let expected = go_on(case, &codes, &arguments, &oracle, counts, &plans)?;
            let Some(expected) = expected else { return Err(TestCaseError::reject("too long")) };
            let kind = usize::from(matches!(case.stop, Stop::Header(_)));
            add(if expected.moved { &tally.moved[kind] } else { &tally.stayed[kind] });
            (Some(case.stop), expected)
        }
    };
    for &mode in modes {
        let fail = |error: anyhow::Error| TestCaseError::fail(format!("{mode:?}: {error:#}"));
        let (result, plans, seen) = run(mode, stop, &codes, &arguments).map_err(fail)?;
        if stop.is_some() {
            let offset = codes[0].offsets[oracle.at];
            if let Some((seen_at, locals, operands)) = seen {
                prop_assert_eq!(seen_at as u32, offset, "{:?}: where it is suspended", mode);
                prop_assert_eq!(&operands, &oracle.stack, "{:?}: operands", mode);
                for (local, (seen, expected)) in locals.iter().zip(&oracle.locals).enumerate() {
                    let same = seen.is_none_or(|seen| seen == *expected);
                    prop_assert!(same, "{:?}: local {}", mode, local);
                }
            } else {
                prop_assert!(matches!(case.stop, Stop::Header(_)), "the call was reached");
            }
            prop_assert_eq!(plans.len(), expected.outcomes.len());
            prop_assert_eq!(plans[0].frames[0].point, offset, "{:?}: {}", mode, &plans[0]);
            for (plan, outcome) in plans.iter().zip(&expected.outcomes) {
                let [frames] = &plan.frames[..] else {
                    return Err(TestCaseError::fail(format!("{mode:?}: one frame: {plan}")));
                };
                let planned = match frames.outcome {
                    PlannedOutcome::Migrate { point } => Some(point),
                    _ => None,
                };
                prop_assert_eq!(planned, *outcome, "{:?}: {}", mode, plan);
            }
        }
        prop_assert_eq!(result, expected.result, "{:?}", mode);
    }
    Ok(())
}

/// What the frame of the oracle does from its suspension on. `None`: it takes too long.
fn go_on(
    case: &Case,
    codes: &[Code],
    arguments: &[u64],
    suspended: &Oracle,
    counts: Counts,
    plans: &[Plan],
) -> Result<Option<Expected>, TestCaseError> {
    let mut frame = suspended.clone();
    let is_call = matches!(case.stop, Stop::Call(_));
    let (mut version, mut moved) = (0, false);
    let mut maps = Maps::default();
    let mut outcomes = Vec::new();
    for plan in plans {
        maps.update(codes, &plan.functions[0].mapped);
        let offset = codes[version].offsets[frame.at];
        let to = maps.target(version, offset);
        outcomes.push(to.filter(|to| to.0 == maps.newest()).map(|to| to.1));
        if !is_call {
            // It runs, and moves before the next update.
            let mut moving = Moving { codes, maps: &maps, frame, version };
            moved |= moving.leave(offset)?;
            (frame, version) = (moving.frame, moving.version);
        }
    }
    let mut moving = Moving { codes, maps: &maps, frame, version };
    if let Op::Call(import) = codes[0].ops[suspended.at] {
        // The argument has gone to the host; it is computed anew from the old frame.
        let argument = argument_of(case.stop, &codes[0], arguments);
        moving.frame.stack.push(u64::from(answer(import, argument, counts.calls) as u32));
        moved |= moving.leave(codes[0].offsets[suspended.at])?;
        moving.frame.at += 1;
    }
    let Some(later) = moving.run(counts)? else { return Ok(None) };
    let result = *moving.frame.stack.last().expect("a result") as i64;
    Ok(Some(Expected { outcomes, moved: moved || later, result }))
}

/// An update whose frames keep their locals by index, which is what the oracle knows: where the default map finds a
/// counterpart, and the locals of equal indices are fit for it. (Which variable is which is tested elsewhere.)
fn update_by_index(module: &Module, body: &[u8]) -> Result<Update> {
    let update = module.update().body(F, body.to_vec());
    let mut map = FrameMap::new().exclusive();
    for &(old, new) in &update.plan()?.functions[0].mapped {
        let one = FrameMap::new().exclusive().point(old, new);
        if update.clone().frame_map(F, one).plan().is_ok() {
            map = map.point(old, new);
        }
    }
    Ok(update.frame_map(F, map))
}

/// The plans of updates from each body to the next, made where nothing runs.
fn plans(codes: &[Code]) -> Result<Vec<Plan>> {
    let engine = Engine::new(Config::new().tier(Tier::Interp))?;
    let module = Module::new(&engine, module(&codes[0]))?;
    codes[1..]
        .iter()
        .map(|code| {
            let update = update_by_index(&module, &code.body)?;
            let plan = update.plan()?;
            update.apply()?;
            Ok(plan)
        })
        .collect()
}

/// The argument of the call that the frame is suspended at.
fn argument_of(stop: Stop, code: &Code, arguments: &[u64]) -> i32 {
    let mut oracle = Oracle::new(code, arguments);
    let mut counts = Counts::default();
    // The argument is the operand that the last step takes away: run again, and look before it.
    loop {
        let argument = oracle.stack.last().copied();
        if oracle.step(code, &mut counts, Some(stop)) {
            return argument.expect("an argument") as i32;
        }
    }
}

#[test]
fn frames_go_on_where_the_plan_says_with_the_same_result_in_every_tier() {
    let _watchdog = Watchdog::start();
    let modes = [
        Mode::Only(Tier::Interp),
        Mode::Only(Tier::Baseline),
        Mode::Only(Tier::Optimized),
        Mode::Rising,
    ];
    let tally = Tally::default();
    // `PROPTEST_CASES` says how many.
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&case(), |case| check(&case, &modes, &tally)) {
        panic!("{error}");
    }
    let count = |counters: &[AtomicUsize; 2]| {
        counters.each_ref().map(|counter| counter.load(Ordering::Relaxed))
    };
    let (moved, stayed) = (count(&tally.moved), count(&tally.stayed));
    let never = tally.never_suspended.load(Ordering::Relaxed);
    println!("[calls, loops]: {moved:?} moved, {stayed:?} stayed; {never} not suspended");
    assert!(moved.iter().all(|&count| count > 20), "{moved:?} moved");
    assert!(stayed.iter().all(|&count| count > 3), "{stayed:?} stayed");
}
