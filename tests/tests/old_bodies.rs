//! Frames that an update leaves in an old body, and what is kept for them.

use anyhow::Result;
use midair::{
    Caller, CodeState, Config, Engine, Linker, Module, PlannedOutcome, Policy, Store, Tier,
    TypedFunc,
};
use midair_watchdog::Watchdog;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In each tier, and where frames go from one to another.
fn engines() -> Vec<(String, Engine)> {
    let mut engines = Vec::new();
    for (tier, threshold) in [
        (Tier::Interp, 1),
        (Tier::Auto, 1_000_000),
        (Tier::Auto, 10),
        (Tier::Auto, 0),
        (Tier::Baseline, 1),
        (Tier::Optimized, 1),
    ] {
        let mut config = Config::new();
        config.tier(tier).background_compilation(false).optimized_threshold(threshold);
        engines.push((format!("{tier:?} {threshold}"), Engine::new(&config).unwrap()));
    }
    engines
}

/// The tier that loops enter machine code in.
fn auto() -> Engine {
    let mut config = Config::new();
    config.tier(Tier::Auto).background_compilation(false).optimized_threshold(100);
    Engine::new(&config).unwrap()
}

/// A program, what `host.edit` does at its calls, and how often that has been called.
struct Program {
    module: Module,
    edit: Edit,
    edits: usize,
}

/// Is told how often it has been called.
type Edit = Arc<dyn Fn(&Module, usize) -> Result<()> + Send + Sync>;

const IMPORTS: &str = r#"
    (import "host" "edit" (func $edit))
    (import "host" "same" (func $same (param i32) (result i32)))"#;

fn program(
    engine: &Engine,
    text: &str,
    edit: impl Fn(&Module, usize) -> Result<()> + Send + Sync + 'static,
) -> (Store<Program>, TypedFunc<i32, i32>) {
    let module = Module::new(engine, text).unwrap();
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("host", "edit", |mut caller: Caller<'_, Program>| -> Result<()> {
            let program = caller.data_mut();
            program.edits += 1;
            let (module, edit) = (program.module.clone(), program.edit.clone());
            edit(&module, program.edits)
        })
        .unwrap();
    linker.func_wrap("host", "same", |_: Caller<'_, Program>, n: i32| n).unwrap();
    let edit: Edit = Arc::new(edit);
    let mut store = Store::new(engine, Program { module: module.clone(), edit, edits: 0 });
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func(&mut store, "f").unwrap();
    (store, f)
}

/// The body of an export of this text, as an update.
fn replace(module: &Module, name: &str, text: &str, policy: Policy) -> Result<()> {
    let function = module.function_index(name).unwrap();
    let body = Module::new(module.engine(), text)?.function_body(name).unwrap();
    module.update().body(function, body).policy(function, policy).apply()?;
    Ok(())
}

/// `f(n)` counts by `step` for `n` iterations; with `call`, it calls something before that.
fn counting(call: &str, step: i32) -> String {
    format!(
        r#"(module {IMPORTS}
            (func (export "g") (result i32) (i32.const {step}))
            (func $f (export "f") (param i32) (result i32) (local i32)
                {call}
                (loop $l
                    (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                    (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
    )
}

#[test]
fn a_frame_whose_call_has_no_counterpart_moves_at_the_next_loop() {
    for (name, engine) in engines() {
        let (mut store, f) = program(&engine, &counting("(call $edit)", 1), |module, _| {
            let f = module.function_index("f").unwrap();
            let text = counting("", 3);
            let body = Module::new(module.engine(), &text)?.function_body("f").unwrap();
            let plan = module.update().body(f, body).plan()?;
            assert_eq!(plan.frames.len(), 1);
            assert!(matches!(plan.frames[0].outcome, PlannedOutcome::Stay { why: Some(_) }));
            replace(module, "f", &text, Policy::Migrate)
        });
        assert_eq!(f.call(&mut store, 1000).unwrap(), 3000, "{name}");
        assert_eq!(f.call(&mut store, 1000).unwrap(), 3000, "{name}");
    }
}

/// The call that the frame moves at has operands below it, arguments, a result, and in one case frames of its
/// own function above it.
#[test]
fn a_frame_whose_call_has_no_counterpart_moves_at_the_next_call() {
    let text = |first: &str, callee: &str, add: i32| {
        format!(
            r#"(module {IMPORTS}
                (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
                (func $f (export "f") (param i32) (result i32) (local i32)
                    (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
                    {first}
                    (i32.add
                        (i32.sub
                            (i32.mul (local.get 0) (i32.const 100))
                            (call {callee} (i32.sub (local.get 0) (local.get 0))))
                        (i32.const {add}))))"#
        )
    };
    for (name, engine) in engines() {
        for (callee, result) in [("$same", 0), ("$double", 0), ("$f", 1)] {
            let (before, after) = (text("(call $edit)", callee, 1), text("", callee, 7));
            let (mut store, f) = program(&engine, &before, move |module, _| {
                replace(module, "f", &after, Policy::Migrate)
            });
            for _ in 0..3 {
                let found = f.call(&mut store, 5).unwrap();
                assert_eq!(found, 500 - result + 7, "{name}, {callee}");
            }
        }
    }
}

/// What a frame does must not depend on whether some other function gets a new body.
#[test]
fn frames_in_old_bodies_do_the_same_whatever_else_is_updated() {
    // Two loops; the new body only has the second one, for the first is inside a block there.
    let text = |open: &str, close: &str, edit: &str, step: i32| {
        format!(
            r#"(module {IMPORTS}
                (func (export "g") (result i32) (i32.const {step}))
                (func $f (export "f") (param i32) (result i32) (local i32 i32)
                    (local.set 2 (local.get 0))
                    {open}
                    (loop $l
                        {edit}
                        (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                    {close}
                    (loop $m
                        (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                        (drop (call $same (i32.const 0)))
                        (br_if $m (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
                    (local.get 1)))"#
        )
    };
    for (name, engine) in engines() {
        for others in [false, true] {
            let before = text("", "", "(call $edit)", 1);
            let (mut store, f) = program(&engine, &before, move |module, edits| match edits {
                1 => replace(module, "f", &text("(block", ")", "", 10), Policy::Migrate),
                n if others => replace(module, "g", &text("", "", "", n as i32), Policy::Migrate),
                _ => Ok(()),
            });
            assert_eq!(f.call(&mut store, 50).unwrap(), 50 + 500, "{name}, others: {others}");
            assert_eq!(f.call(&mut store, 50).unwrap(), 500 + 500, "{name}, others: {others}");
        }
    }
}

#[test]
fn frames_finish_in_an_old_body_through_all_later_updates() {
    let text = |step: i32| {
        format!(
            r#"(module {IMPORTS}
                (func $f (export "f") (param i32) (result i32) (local i32)
                    (loop $l
                        (call $edit)
                        (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                    (local.get 1)))"#
        )
    };
    for (name, engine) in engines() {
        let (mut store, f) = program(&engine, &text(1), move |module, edits| {
            let policy = if edits == 1 { Policy::Finish } else { Policy::Migrate };
            replace(module, "f", &text(1000 + edits as i32), policy)
        });
        assert_eq!(f.call(&mut store, 40).unwrap(), 40, "{name}");
        // The next call's frame goes on in each new body: its first one is that of edit 41.
        let sum: i32 = (41..=80).map(|edits| 1000 + edits).sum();
        assert_eq!(f.call(&mut store, 40).unwrap(), sum, "{name}");
    }
}

/// Whether the ledger has code of this version of the function `f`, in this state.
fn has_code(engine: &Engine, f: u32, version: u32, state: CodeState) -> bool {
    let ledger = engine.code_ledger();
    ledger.code.iter().any(|e| (e.function, e.version, e.state) == (f, version, state))
}

#[test]
fn a_frame_that_stays_in_an_old_body_does_not_keep_calls_in_the_interpreter() {
    const LOOP: &str = "(loop $k (br_if $k (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";
    let ending = |first: &str, rest: &str| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
                {first} {rest} (call $same (i32.const 1))))"#
        )
    };
    for (old, new) in [
        // The frame moves at the loop.
        (counting("(call $edit)", 1), counting("", 2)),
        // It stays in the loop, which is not compiled, for a call with a counterpart comes behind it.
        (ending("(call $edit)", LOOP), ending("", "")),
    ] {
        let engine = auto();
        let (mut store, f) =
            program(&engine, &old, move |module, _| replace(module, "f", &new, Policy::Migrate));
        f.call(&mut store, 100_000).unwrap();
        for _ in 0..2000 {
            f.call(&mut store, 1).unwrap();
        }
        let function = store.data().module.function_index("f").unwrap();
        assert!(has_code(&engine, function, 1, CodeState::Linked), "{}", engine.code_ledger());
    }
}

/// Machine code of an old body is only made where no point with a counterpart can follow.
#[test]
fn loops_of_old_bodies_are_compiled_if_their_frames_finish_there() {
    let text = |first: &str, rest: &str| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
                {first} {rest} (i32.const 0)))"#
        )
    };
    const LOOP: &str = "(call $edit)
        (loop $k (br_if $k (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";
    const CALL: &str = "(drop (call $same (i32.const 1)))";
    for (first, rest, compiled) in [(CALL, LOOP, true), (LOOP, CALL, false)] {
        let engine = auto();
        let (mut store, f) = program(&engine, &text(first, rest), move |module, _| {
            replace(module, "f", &text(CALL, ""), Policy::Migrate)
        });
        assert_eq!(f.call(&mut store, 100_000).unwrap(), 0);
        assert_eq!(has_code(&engine, 2, 0, CodeState::OsrEntry), compiled);
    }
}

/// A census asks each store once, however many instances it has.
#[test]
fn a_plan_counts_frames_once_where_stores_have_several_instances() {
    let engine = Engine::default();
    let text = counting("(call $edit)", 1);
    let module = Module::new(&engine, &text).unwrap();
    let mut linker = Linker::new(&engine);
    let planned = module.clone();
    linker
        .func_wrap("host", "edit", move || -> Result<()> {
            let f = planned.function_index("f").unwrap();
            let text = counting("(call $edit)", 2);
            let body = Module::new(planned.engine(), text)?.function_body("f").unwrap();
            let plan = planned.update().body(f, body).plan()?;
            assert_eq!(plan.frames.iter().map(|frames| frames.count).sum::<usize>(), 1, "{plan}");
            Ok(())
        })
        .unwrap();
    linker.func_wrap("host", "same", |n: i32| n).unwrap();
    let (mut a, mut b) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let mut instance = None;
    for _ in 0..4 {
        instance = Some(linker.instantiate(&mut a, &module).unwrap());
        linker.instantiate(&mut b, &module).unwrap();
    }
    let f = instance.unwrap().get_typed_func::<i32, i32>(&mut a, "f").unwrap();
    assert_eq!(f.call(&mut a, 3).unwrap(), 3);
}

/// A frame with more locals than the interpreter's instructions can name.
#[test]
fn frames_finish_in_an_old_body_of_any_size() {
    let mut config = Config::new();
    config.tier(Tier::Optimized).background_compilation(false);
    let text = |locals: usize| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32) (local {})
                (call $edit) (local.get {locals}) (i32.wrap_i64) (i32.const {locals}) (i32.add)))"#,
            "i64 ".repeat(locals)
        )
    };
    for locals in [100, 33_000, 49_999] {
        let engine = Engine::new(&config).unwrap();
        let (mut store, f) = program(&engine, &text(locals), |module, edits| {
            if edits > 1 {
                return Ok(());
            }
            let text = format!(
                r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
                    (call $edit) (i32.const 7)))"#
            );
            replace(module, "f", &text, Policy::Finish)
        });
        assert_eq!(f.call(&mut store, 0).unwrap(), locals as i32);
        assert_eq!(f.call(&mut store, 0).unwrap(), 7);
    }
}

/// Code that was made for a loop to finish in goes, with its version, when no frame is in it any more.
#[test]
fn machine_code_of_old_bodies_is_freed_when_no_frame_is_left() {
    let engine = auto();
    let (mut store, f) =
        program(&engine, &counting("(call $edit)", 1), |module, edits| match edits {
            1 => replace(module, "f", &counting("(call $edit)", 2), Policy::Finish),
            _ => Ok(()),
        });
    assert_eq!(f.call(&mut store, 100_000).unwrap(), 100_000);
    assert!(has_code(&engine, 3, 0, CodeState::OsrEntry));
    let module = store.data().module.clone();
    for n in 0..200 {
        replace(&module, "g", &counting("", n), Policy::Migrate).unwrap();
    }
    let ledger = engine.code_ledger();
    assert!(!ledger.code.iter().any(|entry| entry.function == 3 && entry.version == 0), "{ledger}");
    assert!(!ledger.versions.iter().any(|kept| kept.function == 3), "{ledger}");
    assert_eq!(f.call(&mut store, 1000).unwrap(), 2000);
}

/// The same while a frame is in that code, or comes back to it each time.
#[test]
fn frames_go_on_where_the_machine_code_of_their_old_body_is_freed() {
    let text = |step: i32| counting("", step).replace("(loop $l", "(loop $l (call $edit)");
    let engine = auto();
    let (mut store, f) = program(&engine, &text(1), |module, edits| match edits {
        1 => replace(
            module,
            "f",
            &counting("", 2).replace("(loop $l", "(loop $l (call $edit)"),
            Policy::Finish,
        ),
        n => replace(module, "g", &counting("", n as i32), Policy::Migrate),
    });
    assert_eq!(f.call(&mut store, 1500).unwrap(), 1500);
    // The one that the frame was in was not forgotten under it, and is now.
    let module = store.data().module.clone();
    for n in 0..300 {
        replace(&module, "g", &counting("", n), Policy::Migrate).unwrap();
    }
    let ledger = engine.code_ledger();
    assert!(!ledger.versions.iter().any(|kept| kept.function == 3), "{ledger}");
}

#[test]
fn old_versions_are_forgotten_below_deep_stacks_of_the_interpreter() {
    let mut config = Config::new();
    config.tier(Tier::Interp).max_wasm_stack(1 << 22);
    let engine = Engine::new(&config).unwrap();
    let text = |n: i32| {
        format!(
            r#"(module {IMPORTS}
                (func (export "g") (result i32) (i32.const {n}))
                (func $f (export "f") (param i32) (result i32)
                    (if (result i32) (local.get 0)
                        (then (i32.add
                            (call $f (i32.sub (local.get 0) (i32.const 1)))
                            (i32.const 1)))
                        (else (call $edit) (i32.const 0)))))"#
        )
    };
    let (mut store, f) = program(&engine, &text(0), |module, _| {
        for n in 0..1000 {
            let text =
                format!(r#"(module {IMPORTS} (func (export "g") (result i32) (i32.const {n})))"#);
            replace(module, "g", &text, Policy::Migrate)?;
        }
        let kept = module.engine().code_ledger().versions.len();
        anyhow::ensure!(kept < 300, "{kept} old versions are kept");
        Ok(())
    });
    assert_eq!(f.call(&mut store, 9000).unwrap(), 9000);
}

/// A compiler thread is busy with a body for some hundred milliseconds, and the body is replaced meanwhile.
#[test]
fn code_that_is_finished_when_its_body_has_been_replaced_is_not_installed() {
    let _watchdog = Watchdog::start();
    let engine = Engine::new(Config::new().tier(Tier::Auto).optimized_threshold(2)).unwrap();
    let steps: String = (0..20_000)
        .map(|i| {
            format!(
                "(local.set 0 (i32.xor (i32.rotl (local.get 0) (i32.const 5)) (i32.const {i})))"
            )
        })
        .collect();
    let long = |mark: i32| {
        let f =
            format!("(func (export \"f\") (param i32) (result i32) {steps} (i32.const {mark}))");
        format!("(module {f})")
    };
    let short = r#"(module (func (export "f") (param i32) (result i32) (i32.const -1)))"#;
    let module = Module::new(&engine, long(0)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    let attempted = || {
        let stats = engine.stats().optimized_compilation;
        stats.count + stats.failed
    };
    // In flight: asked for before the update, and not there yet behind it.
    let mut in_flight = 0;
    for mark in 1.. {
        let before = attempted();
        for _ in 0..10 {
            f.call(&mut store, 0).unwrap();
        }
        // So that the compiler has begun.
        std::thread::sleep(Duration::from_millis(5));
        replace(&module, "f", short, Policy::Migrate).unwrap();
        if attempted() == before {
            in_flight += 1;
            let until = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < until {
                assert_eq!(f.call(&mut store, 0).unwrap(), -1, "attempt {mark}");
                std::thread::sleep(Duration::from_millis(1));
            }
            let ledger = engine.code_ledger();
            assert!(ledger.code.iter().all(|entry| entry.version % 2 == 1), "{ledger}");
        }
        if in_flight == 2 {
            return;
        }
        replace(&module, "f", &long(mark), Policy::Migrate).unwrap();
    }
}
