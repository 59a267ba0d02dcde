//! The default frame map: a random function, a random edit, a random suspension point.
//!
//! The oracle is an interpreter of a few dozen lines, which shares nothing with Midair: it runs the old body
//! up to the suspended call, takes the frame over to where the plan says that it goes on, and runs the new
//! body from there. Where the frame has to stay in the old body, it is taken over at the first loop or call that
//! it comes to and that has a counterpart. Every tier has to show the same frame, and to end with the same
//! result.

mod maps;
mod oracle;
mod source;

use anyhow::{Result, ensure};
use maps::{Maps, Moving};
use midair::{Caller, Config, Engine, Linker, Module, Plan, PlannedOutcome, Store, Tier, Val};
use oracle::{Code, Op, Oracle, answer, compile, val_type};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use source::{Edit, PARAMS, Source, Ty, edit, source};
use std::sync::atomic::{AtomicUsize, Ordering};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection,
    TypeSection, ValType,
};

/// A function, the edits that it goes through while it is suspended, the call at which it is, and arguments.
#[derive(Clone, Debug)]
struct Case {
    old: Source,
    /// The edits of each update.
    updates: Vec<Vec<Edit>>,
    call: usize,
    arguments: [i8; PARAMS],
}

fn case() -> impl Strategy<Value = Case> {
    let edits = proptest::collection::vec(edit(), 0..3);
    (source(), proptest::collection::vec(edits, 1..4), 1usize..6, any::<[i8; PARAMS]>())
        .prop_map(|(old, updates, call, arguments)| Case { old, updates, call, arguments })
}

fn module(code: &Code) -> Vec<u8> {
    let params: Vec<ValType> = code.locals[..PARAMS].iter().map(|&ty| val_type(ty)).collect();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function(params, [ValType::I64]);
    let mut imports = ImportSection::new();
    imports.import("host", "a", EntityType::Function(0));
    imports.import("host", "b", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, 2);
    let mut bodies = CodeSection::new();
    bodies.raw(&code.body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports);
    module.section(&bodies);
    module.finish()
}

/// What the host does and has seen.
struct Host {
    module: Option<Module>,
    bodies: Vec<Vec<u8>>,
    stop: usize,
    calls: usize,
    /// The frame when it is suspended: offset, locals, operands.
    seen: Option<(usize, Vec<Option<u64>>, Vec<u64>)>,
    plans: Vec<Plan>,
}

fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(value) => u64::from(*value as u32),
        Val::I64(value) => *value as u64,
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
        if host.calls == host.stop {
            host.seen = frame;
            let module = host.module.clone().expect("set before the call");
            for body in &host.bodies {
                let update = module.update().body(2, body.clone());
                host.plans.push(update.plan()?);
                update.apply()?;
            }
        }
        Ok(answer(import, argument, host.calls))
    }
}

/// Runs the case in one tier: the result, and what the host has seen.
fn run(tier: Tier, case: &Case, codes: &[Code], arguments: &[u64]) -> Result<(i64, Host)> {
    let engine = Engine::new(Config::new().tier(tier).background_compilation(false))?;
    let module = Module::new(&engine, module(&codes[0]))?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "a", host(0))?;
    linker.func_wrap("host", "b", host(1))?;
    let mut store = Store::new(
        &engine,
        Host {
            module: Some(module.clone()),
            bodies: codes[1..].iter().map(|code| code.body.clone()).collect(),
            stop: case.call,
            calls: 0,
            seen: None,
            plans: Vec::new(),
        },
    );
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").expect("an export");
    let typed: Vec<Val> = arguments
        .iter()
        .zip(&codes[0].locals)
        .map(|(&bits, ty)| match ty {
            Ty::I32 => Val::I32(bits as i32),
            Ty::I64 => Val::I64(bits as i64),
            Ty::F64 => Val::F64(bits),
        })
        .collect();
    let mut results = [Val::I64(0)];
    f.call(&mut store, &typed, &mut results)?;
    let Val::I64(result) = results[0] else { anyhow::bail!("an i64") };
    ensure!(engine.code_stats().retired == 0, "retired code is freed");
    Ok((result, store.into_data()))
}

/// What happened, to know that cases are worth something.
#[derive(Default)]
struct Tally {
    moved: AtomicUsize,
    stayed: AtomicUsize,
    never_suspended: AtomicUsize,
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn check(case: &Case, tiers: &[Tier], tally: &Tally) -> Result<(), TestCaseError> {
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
            Ty::F64 => f64::from(value).to_bits(),
        })
        .collect();

    let mut oracle = Oracle::new(&codes[0], &arguments);
    let mut calls = 0;
    let suspended = oracle.run(&codes[0], &mut calls, case.call);
    prop_assume!(suspended.is_some(), "too long");
    let suspended = suspended == Some(true);
    if !suspended {
        add(&tally.never_suspended);
    }
    for (index, &tier) in tiers.iter().enumerate() {
        // Too many iterations with what counters are after the edits: the oracle knows before Midair runs.
        let (result, host) = match run_bounded(tier, case, &codes, &arguments, &oracle, suspended)?
        {
            Some(outcome) => outcome,
            None => return Err(TestCaseError::reject("too long")),
        };
        prop_assert_eq!(result, host.1, "{:?}", tier);
        if suspended && index == 0 {
            add(if host.0 { &tally.moved } else { &tally.stayed });
        }
    }
    Ok(())
}

/// Runs a case, and the oracle beside it. Returns Midair's result, and whether the frame moved with the
/// result that the oracle has.
#[allow(clippy::type_complexity)]
fn run_bounded(
    tier: Tier,
    case: &Case,
    codes: &[Code],
    arguments: &[u64],
    suspended_frame: &Oracle,
    suspended: bool,
) -> Result<Option<(i64, (bool, i64))>, TestCaseError> {
    let fail = |error: anyhow::Error| TestCaseError::fail(format!("{tier:?}: {error:#}"));
    if !suspended {
        let (result, _) = run(tier, case, codes, arguments).map_err(fail)?;
        let expected = *suspended_frame.stack.last().expect("a result") as i64;
        return Ok(Some((result, (false, expected))));
    }
    // Where the frame goes on is what the plans say of the bodies; they do not depend on the tier.
    let mut frame = suspended_frame.clone();
    let offset = codes[0].offsets[frame.at];
    let plans = plans(codes).map_err(fail)?;
    let mut maps = Maps::default();
    let mut outcomes = Vec::new();
    for plan in &plans {
        maps.update(codes, &plan.functions[0].mapped);
        let to = maps.target(0, offset);
        outcomes.push(to.filter(|to| to.0 == maps.newest()).map(|to| to.1));
    }
    let Op::Call(import) = codes[0].ops[frame.at] else { unreachable!("suspended at a call") };
    // The argument has gone to the host; it is computed anew from the old frame.
    let argument = argument_of(case, &codes[0], arguments);
    frame.stack.push(u64::from(answer(import, argument, case.call) as u32));
    let mut moving = Moving { codes, maps: &maps, frame, version: 0 };
    let moved = moving.leave(offset)?;
    moving.frame.at += 1;
    let Some(later) = moving.run(case.call)? else { return Ok(None) };
    let (frame, moved) = (moving.frame, moved || later);
    let expected = *frame.stack.last().expect("a result") as i64;

    let (result, host) = run(tier, case, codes, arguments).map_err(fail)?;
    let (seen_at, locals, operands) = host.seen.expect("the call was reached");
    prop_assert_eq!(seen_at as u32, offset, "{:?}: where it is suspended", tier);
    prop_assert_eq!(&operands, &suspended_frame.stack, "{:?}: operands", tier);
    for (local, (seen, expected)) in locals.iter().zip(&suspended_frame.locals).enumerate() {
        prop_assert!(seen.is_none_or(|seen| seen == *expected), "{:?}: local {}", tier, local);
    }
    for (plan, outcome) in host.plans.iter().zip(outcomes) {
        let [frames] = &plan.frames[..] else {
            return Err(TestCaseError::fail(format!("{tier:?}: one frame: {plan}")));
        };
        let planned = match frames.outcome {
            PlannedOutcome::Migrate { point } => Some(point),
            _ => None,
        };
        prop_assert_eq!(planned, outcome, "{:?}: {}", tier, plan);
    }
    Ok(Some((result, (moved, expected))))
}

/// The plans of updates from each body to the next, made where nothing runs.
fn plans(codes: &[Code]) -> Result<Vec<Plan>> {
    let engine = Engine::new(Config::new().tier(Tier::Interp))?;
    let module = Module::new(&engine, module(&codes[0]))?;
    codes[1..]
        .iter()
        .map(|code| {
            let update = module.update().body(2, code.body.clone());
            let plan = update.plan()?;
            update.apply()?;
            Ok(plan)
        })
        .collect()
}

/// The argument of the call that the frame is suspended at.
fn argument_of(case: &Case, code: &Code, arguments: &[u64]) -> i32 {
    let mut oracle = Oracle::new(code, arguments);
    let mut calls = 0;
    // The argument is the operand that the last step takes away: run again, and look before it.
    let mut last = 0;
    while calls < case.call {
        if let Op::Call(_) = code.ops[oracle.at] {
            last = *oracle.stack.last().expect("an argument") as i32;
        }
        oracle.step(code, &mut calls, case.call);
    }
    last
}

#[test]
fn frames_go_on_where_the_plan_says_with_the_same_result_in_every_tier() {
    let tiers = [Tier::Interp, Tier::Baseline, Tier::Optimized];
    let tally = Tally::default();
    let config =
        ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&case(), |case| check(&case, &tiers, &tally)) {
        panic!("{error}");
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (moved, stayed) = (count(&tally.moved), count(&tally.stayed));
    println!("{moved} moved, {stayed} stayed, {} not suspended", count(&tally.never_suspended));
    assert!(moved > 100 && stayed > 10, "{moved} moved, {stayed} stayed");
}
