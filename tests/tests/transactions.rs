//! Updates of running programs: many functions at once or none, policies, maps, plans, undoing.

use anyhow::Result;
use midair::{
    Applied, Caller, CodeState, Config, Engine, Event, FrameMap, Instance, LedgerEntry, Linker,
    Module, PlannedOutcome, Policy, Refusal, Source, Store, StressSpec, Tier, Trap, TypedFunc,
    Update, Val,
};
use midair_watchdog::Watchdog;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TIERS: [Tier; 3] = [Tier::Interp, Tier::Baseline, Tier::Optimized];

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

type Edit = Box<dyn FnOnce(&Module) -> Result<()> + Send>;

/// A program whose import `host.edit` runs what is next in `edits`.
struct Program {
    module: Module,
    store: Store<()>,
    instance: Instance,
    edits: Arc<Mutex<VecDeque<Edit>>>,
}

const EDIT: &str = r#"(import "host" "edit" (func $edit))"#;

impl Program {
    fn new(engine: &Engine, text: &str) -> Program {
        let module = Module::new(engine, text).unwrap();
        let edits: Arc<Mutex<VecDeque<Edit>>> = Arc::default();
        let mut linker = Linker::new(engine);
        let (target, queue) = (module.clone(), edits.clone());
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                let edit = queue.lock().unwrap().pop_front();
                edit.map_or(Ok(()), |edit| edit(&target))
            })
            .unwrap();
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Program { module, store, instance, edits }
    }

    fn then(&self, edit: impl FnOnce(&Module) -> Result<()> + Send + 'static) {
        self.edits.lock().unwrap().push_back(Box::new(edit));
    }

    fn f(&mut self) -> TypedFunc<i32, i32> {
        self.instance.get_typed_func(&mut self.store, "f").unwrap()
    }

    fn call(&mut self, argument: i32) -> Result<i32> {
        self.f().call(&mut self.store, argument)
    }
}

/// The update that gives the exported functions `names` the bodies that they have in `text`.
fn update(module: &Module, text: &str, names: &[&str]) -> Update {
    let edited = Module::new(module.engine(), text).unwrap();
    names.iter().fold(module.update(), |update, name| {
        update.body(module.function_index(name).unwrap(), edited.function_body(name).unwrap())
    })
}

/// `f` calls `g`, which calls `host.edit`; what they add tells which bodies they have.
fn two(f: i32, g: i32) -> String {
    format!(
        r#"(module {EDIT}
            (func $g (export "g") (param i32) (result i32)
                (call $edit)
                (i32.add (local.get 0) (i32.const {g})))
            (func (export "f") (param i32) (result i32)
                (i32.add (call $g (local.get 0)) (i32.const {f}))))"#
    )
}

#[test]
fn two_functions_change_together_and_back() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &two(10, 1));
        assert_eq!(program.call(0).unwrap(), 11);
        let applied: Arc<Mutex<Option<Applied>>> = Arc::default();
        let result = applied.clone();
        program.then(move |module| {
            let applied = update(module, &two(20, 2), &["f", "g"]).apply()?;
            *result.lock().unwrap() = Some(applied);
            Ok(())
        });
        // Both frames are suspended while their functions change.
        assert_eq!(program.call(0).unwrap(), 22, "{tier:?}");
        let applied = applied.lock().unwrap().take().unwrap();
        assert_eq!(applied.functions.len(), 2);
        assert!(applied.functions.iter().all(|f| f.version == 1 && f.refusals.is_empty()));
        assert_eq!(applied.freed_bytes > 0, tier != Tier::Interp);
        let compiled = tier == Tier::Optimized;
        assert_eq!(applied.frames_redirected, if compiled { 2 } else { 0 });
        assert!(applied.functions.iter().all(|f| (f.compiled_bytes > 0) == compiled));
        let line = applied.to_string();
        assert!(line.starts_with("2 functions changed") && !line.contains('\n'), "{line}");

        let again = applied.clone();
        program.then(move |_| again.undo().map(drop));
        assert_eq!(program.call(0).unwrap(), 11, "{tier:?}");
        let error = applied.undo().unwrap_err().to_string();
        assert!(error.contains("changed again since"), "{error}");
        assert_eq!(program.call(0).unwrap(), 11);
        assert_eq!(engine.code_stats().retired, 0);
    }
}

#[test]
fn nothing_changes_if_one_body_is_wrong() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &two(10, 1));
        program.then(|module| {
            let g = module.function_index("g").unwrap();
            for wrong in [&[][..], &[0, 0x0b], &[0, 0x20, 0, 0x20]] {
                let update = update(module, &two(20, 2), &["f"]).body(g, wrong);
                let error = format!("{:#}", update.apply().unwrap_err());
                assert!(error.starts_with("`g` cannot be replaced: "), "{error}");
                assert!(update.plan().is_err());
            }
            let error = module.update().body(0, vec![0, 0x0b]).apply().unwrap_err();
            assert!(format!("{error:#}").contains("not defined by the module"));
            Ok(())
        });
        let before = engine.code_stats().live;
        assert_eq!(program.call(0).unwrap(), 11);
        let compiled = engine.code_stats().live;
        assert_eq!(before < compiled, tier != Tier::Interp);
        assert_eq!(program.call(0).unwrap(), 11);
        // Nor is anything left of what was prepared.
        assert_eq!(engine.code_stats().live, compiled);
        let text = two(20, 2);
        let applied = update(&program.module, &text, &["f", "g"]).apply().unwrap();
        assert!(applied.functions.iter().all(|f| f.version == 1), "versions count updates");
        assert_eq!(program.call(0).unwrap(), 22);
    }
}

#[test]
fn nothing_changes_if_the_compiler_panics() {
    let _watchdog = Watchdog::start();
    // `f` and `g` are the first two compilations; the new bodies are the next two.
    for number in [3, 4] {
        let stress: StressSpec = format!("panic:{number}").parse().unwrap();
        let mut config = Config::new();
        config.tier(Tier::Optimized).background_compilation(false).stress(stress);
        let engine = Engine::new(&config).unwrap();
        let mut events = engine.events();
        let mut program = Program::new(&engine, &two(10, 1));
        program.then(|module| {
            let live = module.engine().code_stats().live;
            let update = update(module, &two(20, 2), &["f", "g"]);
            let error = format!("{:#}", update.apply().unwrap_err());
            assert!(error.contains("cannot be replaced: the compiler panicked"), "{error}");
            assert_eq!(module.engine().code_stats().live, live);
            Ok(())
        });
        assert_eq!(program.call(0).unwrap(), 11);
        assert_eq!(program.call(0).unwrap(), 11);
        assert!(events.all(|event| !matches!(event, Event::Replaced { .. })));
        // The compiler panics only once.
        program.then(|module| update(module, &two(20, 2), &["f", "g"]).apply().map(drop));
        assert_eq!(program.call(0).unwrap(), 22);
    }
}

#[test]
fn nothing_changes_if_code_space_is_used_up() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Optimized).background_compilation(false).code_space(64 << 10);
    let engine = Engine::new(&config).unwrap();
    let mut program = Program::new(&engine, &two(10, 1));
    // Too large for what is left.
    let calls = "(call $g (local.get 0)) (drop) ".repeat(8_000);
    let large = two(20, 2).replace(
        r#"(func (export "f") (param i32) (result i32)"#,
        &format!(r#"(func (export "f") (param i32) (result i32) {calls}"#),
    );
    assert!(large.contains("drop"));
    program.then(move |module| {
        let live = module.engine().code_stats().live;
        let error = format!("{:#}", update(module, &large, &["g", "f"]).apply().unwrap_err());
        assert!(error.contains("out of code space"), "{error}");
        assert_eq!(module.engine().code_stats().live, live);
        Ok(())
    });
    assert_eq!(program.call(0).unwrap(), 11);
    assert_eq!(program.call(0).unwrap(), 11);
    program.then(|module| update(module, &two(20, 2), &["f", "g"]).apply().map(drop));
    assert_eq!(program.call(0).unwrap(), 22);
}

#[test]
fn policies_say_what_suspended_frames_do() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        for policy in [Policy::Migrate, Policy::Finish, Policy::Trap] {
            let engine = engine(tier);
            let mut program = Program::new(&engine, &two(10, 1));
            program.then(move |module| {
                let f = module.function_index("f").unwrap();
                update(module, &two(20, 2), &["f", "g"]).policy(f, policy).apply().map(drop)
            });
            let result = program.call(0);
            match policy {
                Policy::Migrate => assert_eq!(result.unwrap(), 22, "{tier:?}"),
                Policy::Finish => assert_eq!(result.unwrap(), 12, "{tier:?}"),
                _ => {
                    let error = result.unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::FunctionReplaced), "{tier:?}");
                }
            }
            assert_eq!(program.call(0).unwrap(), 22);
            assert_eq!(engine.code_stats().retired, 0);
        }
    }
}

#[test]
fn frames_that_finish_in_an_old_body_are_current_again_when_that_is_undone() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let engine = engine(tier);
        // `f` is suspended while three updates happen.
        let text = |add: i32| {
            format!(
                r#"(module {EDIT}
                    (func (export "f") (param i32) (result i32)
                        (call $edit) (call $edit) (i32.add (local.get 0) (i32.const {add}))))"#
            )
        };
        let mut program = Program::new(&engine, &text(1));
        program.then(move |module| {
            let f = module.function_index("f").unwrap();
            let finish = update(module, &text(2), &["f"]).policy(f, Policy::Finish).apply()?;
            finish.undo()?;
            // The frame of version 0 goes on in version 2, and from there in version 3.
            update(module, &text(30), &["f"]).apply().map(drop)
        });
        assert_eq!(program.call(0).unwrap(), 30, "{tier:?}");
        // Without the undoing it has nothing to do with what comes after version 1.
        program.then(move |module| {
            let f = module.function_index("f").unwrap();
            update(module, &text(4), &["f"]).policy(f, Policy::Finish).apply()?;
            update(module, &text(50), &["f"]).apply().map(drop)
        });
        assert_eq!(program.call(0).unwrap(), 30, "{tier:?}");
        assert_eq!(program.call(0).unwrap(), 50, "{tier:?}");
    }
}

/// The frame waits to go on in version 1 while that is replaced, with a policy by which its frames stay there, and comes
/// back.
#[test]
fn a_frame_on_its_way_to_an_old_body_is_current_again_when_that_comes_back() {
    let _watchdog = Watchdog::start();
    let text = |add: i32| {
        format!(
            r#"(module {EDIT}
                (func (export "f") (param i32) (result i32)
                    (call $edit) (i32.add (local.get 0) (i32.const {add}))))"#
        )
    };
    for tier in TIERS {
        let mut program = Program::new(&engine(tier), &text(1));
        program.then(move |module| {
            let f = module.function_index("f").unwrap();
            update(module, &text(2), &["f"]).apply()?;
            update(module, &text(3), &["f"]).policy(f, Policy::Finish).apply()?;
            update(module, &text(2), &["f"]).apply()?;
            update(module, &text(40), &["f"]).apply().map(drop)
        });
        assert_eq!(program.call(0).unwrap(), 40, "{tier:?}");
    }
}

#[test]
fn a_frame_that_waits_for_several_updates_goes_on_in_the_last_body() {
    let _watchdog = Watchdog::start();
    // Each version has more locals than the one before, and puts a constant into the result.
    let text = |locals: &str, add: i32| {
        format!(
            r#"(module {EDIT}
                (func (export "f") (param i32) (result i32) (local $x i32) (local {locals})
                    (local.set $x (i32.add (local.get 0) (i32.const 1000)))
                    (call $edit)
                    (i32.add (local.get $x) (i32.add (local.get 2) (i32.const {add})))))"#
        )
    };
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &text("i32 i64", 1));
        program.then(move |module| {
            for (locals, add) in [("i32 i64 f64", 2), ("i32", 3), ("i32 f32 i32", 4)] {
                let applied = update(module, &text(locals, add), &["f"]).apply()?;
                assert!(applied.functions[0].refusals.is_empty());
            }
            Ok(())
        });
        assert_eq!(program.call(5).unwrap(), 1009, "{tier:?}");
    }
}

#[test]
fn what_cannot_go_on_is_refused_with_reasons() {
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Optimized);
    let text = |local: &str, body: &str| {
        format!(
            r#"(module {EDIT}
                (func $g (export "g") (param i32) (result i32) (local.get 0))
                (func $f (export "f") (param i32) (result i32) (local {local}) {body}))"#
        )
    };
    let old = text("i32", "(call $edit) (call $g (local.get 0))");
    let module = Module::new(&engine, &old).unwrap();
    let reasons = |new: &str| -> Vec<String> {
        let plan = update(&module, new, &["f"]).plan().unwrap();
        plan.functions[0].refusals.iter().map(Refusal::to_string).collect()
    };
    assert_eq!(
        reasons(&text("f32", "(call $edit) (call $g (local.get 0))")),
        [] as [&str; 0],
        "what nobody reads may be of any type"
    );
    let [no_call] = &reasons(&text("i32", "(call $g (local.get 0))"))[..] else { panic!() };
    assert!(no_call.ends_with("has no counterpart in the new body: it has none such"), "{no_call}");
    let [nested] =
        &reasons(&text("i32", "(call $edit) (block (result i32) (call $g (i32.const 1)))"))[..]
    else {
        panic!()
    };
    assert!(nested.starts_with("the call of `g` at offset 0x"), "{nested}");
    assert!(nested.ends_with("there it is inside 1 block, not 0 blocks"), "{nested}");
    let operands = "(i64.const 1) (call $edit) (drop) (call $g (local.get 0))";
    let [stack] = &reasons(&text("i32", operands))[..] else { panic!() };
    assert!(stack.ends_with("there the operand stack holds i64, not nothing"), "{stack}");
    let reads = "(call $edit) (drop (call $g (i32.const 1))) (local.get 0)";
    let lost = reasons(&text("i32", reads));
    let is_lost = |why: &String| why.contains("local 0 (i32)") && why.contains("does not keep");
    assert!(lost.iter().any(is_lost), "{lost:?}");
}

#[test]
fn of_two_calls_that_are_equally_like_the_old_one_none_is_taken() {
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Interp);
    let text = |calls: &[[i32; 2]]| {
        let call = |[before, behind]: &[i32; 2]| {
            format!("(drop (i32.const {before})) (call $edit) (drop (i32.const {behind}))")
        };
        let calls: String = calls.iter().map(call).collect();
        format!(
            r#"(module {EDIT} (func (export "f") (param i32) (result i32) {calls} (local.get 0)))"#
        )
    };
    let module = Module::new(&engine, text(&[[1, 2]])).unwrap();
    let refusals = |calls: &[[i32; 2]]| {
        update(&module, &text(calls), &["f"]).plan().unwrap().functions.remove(0).refusals
    };
    let ambiguous = refusals(&[[3, 4], [5, 6]]);
    assert_eq!(ambiguous.len(), 1);
    assert!(ambiguous[0].to_string().contains("it is not clear which one"), "{}", ambiguous[0]);
    // What stands around it tells which one it is.
    assert_eq!(refusals(&[[3, 4], [1, 2]]), []);
    assert_eq!(refusals(&[[1, 2], [3, 4]]), []);
}

#[test]
fn a_plan_says_where_frames_are_and_what_they_would_do() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &two(10, 1));
        let plans = Arc::new(Mutex::new(Vec::new()));
        let result = plans.clone();
        program.then(move |module| {
            let g = module.function_index("g").unwrap();
            for policy in [Policy::Migrate, Policy::Finish, Policy::Trap] {
                let update = update(module, &two(20, 2), &["f", "g"]).policy(g, policy);
                result.lock().unwrap().push(update.plan()?);
            }
            Ok(())
        });
        // A plan changes nothing.
        assert_eq!(program.call(0).unwrap(), 11);
        assert_eq!(program.call(0).unwrap(), 11);
        let plans = plans.lock().unwrap();
        let [migrate, finish, trap] = &plans[..] else { panic!("three plans") };
        for plan in [migrate, finish, trap] {
            assert_eq!(plan.functions.len(), 2);
            assert_eq!(plan.frames.len(), 2, "{plan}");
            for frames in &plan.frames {
                assert_eq!((frames.count, frames.version), (1, 0));
                assert_eq!(frames.compiled, tier == Tier::Optimized);
            }
        }
        let g = program.module.function_index("g").unwrap();
        let outcome = |plan: &midair::Plan| {
            plan.frames.iter().find(|frames| frames.function == g).unwrap().outcome.clone()
        };
        assert!(matches!(outcome(migrate), PlannedOutcome::Migrate { .. }), "{migrate}");
        assert_eq!(outcome(finish), PlannedOutcome::Finish { why: None });
        assert_eq!(outcome(trap), PlannedOutcome::Trap);
        let text = migrate.to_string();
        assert!(text.contains("`g`: ") && text.contains("1 "), "{text}");
        // Nothing is suspended any more.
        let text = two(20, 2);
        assert!(update(&program.module, &text, &["f"]).plan().unwrap().frames.is_empty());
    }
}

/// Offsets in the body of `f` of the calls.
fn calls(module: &Module) -> Vec<u32> {
    let plan = module
        .update()
        .body(module.function_index("f").unwrap(), module.function_body("f").unwrap())
        .plan()
        .unwrap();
    let points = &plan.functions[0].mapped;
    points.iter().map(|(old, _)| *old).filter(|point| *point > 0).collect()
}

/// Offset in the body of `f` of the first call.
fn first_call(module: &Module) -> u32 {
    calls(module)[0]
}

#[test]
fn a_map_of_the_embedder_says_where_frames_go_on_and_with_which_values() {
    let _watchdog = Watchdog::start();
    // The new body takes in another order what the old one keeps in its locals and on its stack.
    let old = format!(
        r#"(module {EDIT}
            (func (export "f") (param i32) (result i32) (local i32 i64)
                (local.set 1 (i32.const 7)) (local.set 2 (i64.const 100))
                (i32.const 3)
                (call $edit)
                (i32.add (local.get 1))
                (i32.add (i32.wrap_i64 (local.get 2)))
                (i32.add (local.get 0))))"#
    );
    let new = format!(
        r#"(module {EDIT}
            (func (export "f") (param i32) (result i32) (local f32 i64 i32 i32)
                (block (result i32)
                    (i64.const 0) (i32.const 1)
                    (call $edit)
                    (i32.mul (local.get 3)) (local.set 3) (i32.wrap_i64) (i32.add (local.get 3))
                    (i32.add (local.get 4)) (i32.add (i32.wrap_i64 (local.get 2)))
                    (i32.add (i32.trunc_f32_s (local.get 1))))))"#
    );
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &old);
        let edited = Module::new(&engine, &new).unwrap();
        let (at, to) = (first_call(&program.module), first_call(&edited));
        let text = new.clone();
        program.then(move |module| {
            let f = module.function_index("f").unwrap();
            let update = update(module, &text, &["f"]);
            let good = || {
                (
                    vec![
                        Source::Local(0),
                        Source::Const(Val::F32(1e6f32.to_bits())),
                        Source::Local(2),
                        Source::Local(1),
                        Source::Operand(0),
                    ],
                    vec![Source::Const(Val::I64(50)), Source::Operand(0)],
                )
            };
            let wrong = |change: &dyn Fn(&mut Vec<Source>, &mut Vec<Source>), reason: &str| {
                let (mut locals, mut operands) = good();
                change(&mut locals, &mut operands);
                let map = FrameMap::new().point_with(at, to, locals, operands);
                let error = update.clone().frame_map(f, map).apply().unwrap_err();
                let error = format!("{error:#}");
                assert!(error.contains("frame map from offset"), "{error}");
                assert!(error.contains(reason), "{error}");
            };
            wrong(
                &|locals, _| locals[0] = Source::Local(2),
                "it is of type i32, and old local 2 of type i64",
            );
            wrong(&|locals, _| drop(locals.pop()), "4 locals are given, and the new body has 5");
            wrong(&|locals, _| locals[4] = Source::Local(9), "there is no old local 9");
            wrong(&|_, operands| operands[1] = Source::Operand(1), "there is no old operand 1");
            wrong(&|_, operands| operands.clear(), "0 operands are given, and the new body has 2");
            wrong(
                &|_, operands| operands[0] = Source::Const(Val::I32(1)),
                "operand 0: it is of type i64",
            );
            let (locals, operands) = good();
            let nowhere = FrameMap::new().point_with(at, to + 1, locals, operands);
            let error = update.clone().frame_map(f, nowhere).apply().unwrap_err();
            assert!(
                format!("{error:#}").contains("nothing can be suspended at that offset of the new")
            );
            let entry = FrameMap::new().point(at, 0);
            let error = update.clone().frame_map(f, entry).apply().unwrap_err();
            assert!(format!("{error:#}").contains("cannot go on as the entry"), "{error:#}");
            let (locals, operands) = good();
            let map = FrameMap::new().point_with(at, to, locals, operands);
            let finish = update.clone().frame_map(f, map.clone()).policy(f, Policy::Finish);
            assert!(finish.apply().is_err(), "a map that is not used");
            let applied = update.frame_map(f, map).apply()?;
            // By default only the entry has a counterpart.
            assert_eq!(applied.functions[0].points_mapped, 2);
            Ok(())
        });
        // 3 * 7 + 50, then 3, 100 and a million.
        assert_eq!(program.call(5).unwrap(), 1_000_000 + 21 + 50 + 3 + 100, "{tier:?}");
    }
}

/// The new body has the old one's locals in another order. The frame is in it when the update is undone: it cannot go
/// back, for nobody says how, and finishes there.
#[test]
fn a_frame_does_not_go_back_through_a_map_that_rearranges_values() {
    let _watchdog = Watchdog::start();
    let text = |first: i32, second: i32, difference: &str| {
        format!(
            r#"(module {EDIT}
                (func (export "f") (param i32) (result i32) (local i32 i32)
                    (local.set 1 (i32.const {first})) (local.set 2 (i32.const {second}))
                    (call $edit)
                    (call $edit)
                    {difference}))"#
        )
    };
    let old = text(1, 20, "(i32.sub (local.get 2) (local.get 1))");
    let new = text(20, 1, "(i32.add (i32.const 100) (i32.sub (local.get 1) (local.get 2)))");
    for tier in TIERS {
        let engine = engine(tier);
        let mut program = Program::new(&engine, &old);
        let edited = Module::new(&engine, &new).unwrap();
        let points: Vec<_> = calls(&program.module).into_iter().zip(calls(&edited)).collect();
        assert_eq!(points.len(), 2);
        let applied: Arc<Mutex<Option<Applied>>> = Arc::default();
        let (to_undo, text) = (applied.clone(), new.clone());
        program.then(move |module| {
            let map = points.iter().fold(FrameMap::new(), |map, &(from, to)| {
                let locals = [0, 2, 1].map(Source::Local);
                map.point_with(from, to, locals.to_vec(), Vec::new())
            });
            let f = module.function_index("f").unwrap();
            *applied.lock().unwrap() =
                Some(update(module, &text, &["f"]).frame_map(f, map).apply()?);
            Ok(())
        });
        program.then(move |_| {
            let undone = to_undo.lock().unwrap().take().unwrap().undo()?;
            assert_eq!(undone.functions[0].points_mapped, 0);
            Ok(())
        });
        assert_eq!(program.call(0).unwrap(), 119, "{tier:?}");
        assert_eq!(program.call(0).unwrap(), 19, "{tier:?}");
    }
}

/// A module whose `f` loops until a global says so, adding `step` each time round, and its engine.
fn spinning(step: i32) -> String {
    format!(
        r#"(module (import "host" "round" (func $round (param i32) (result i32)))
            (func $pass (export "pass") (param i32) (result i32) (local.get 0))
            (func (export "f") (param i32) (result i32) (local i32)
                (loop
                    (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                    (br_if 0 (i32.rem_u (call $pass (local.get 1)) (i32.const 4096)))
                    (br_if 0 (call $round (local.get 1))))
                (local.get 1)))"#
    )
}

/// Runs `spinning(0)` on another thread, and `edit` beside it; then ends the loop.
fn beside_a_loop(engine: &Engine, edit: impl FnOnce(&Module, &AtomicI32)) -> Result<i32> {
    let module = Module::new(engine, spinning(0)).unwrap();
    let (rounds, done) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
    let guest = std::thread::spawn({
        let (module, rounds, done) = (module.clone(), rounds.clone(), done.clone());
        move || {
            let mut linker = Linker::new(module.engine());
            linker
                .func_wrap("host", "round", move |_: i32| {
                    rounds.fetch_add(1, Ordering::Relaxed);
                    i32::from(!done.load(Ordering::Relaxed))
                })
                .unwrap();
            let mut store = Store::new(module.engine(), ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap().call(&mut store, 0)
        }
    });
    while rounds.load(Ordering::Relaxed) < 100 {
        std::thread::yield_now();
    }
    edit(&module, &rounds);
    done.store(true, Ordering::Relaxed);
    guest.join().unwrap()
}

#[test]
fn a_running_loop_traps_if_the_policy_says_so() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let result = beside_a_loop(&engine(tier), |module, _| {
            let f = module.function_index("f").unwrap();
            update(module, &spinning(1), &["f"]).policy(f, Policy::Trap).apply().unwrap();
        });
        let error = result.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::FunctionReplaced), "{tier:?}");
        assert!(error.downcast_ref::<midair::WasmBacktrace>().is_some());
    }
}

/// Waits until a loop has gone round some more times.
fn more_rounds(rounds: &AtomicI32) {
    let target = rounds.load(Ordering::Relaxed) + 3;
    while rounds.load(Ordering::Relaxed) < target {
        std::thread::yield_now();
    }
}

#[test]
fn a_loop_that_finishes_in_its_old_body_is_compiled_for_it() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Auto).optimized_threshold(1000);
    let engine = Engine::new(&config).unwrap();
    let result = beside_a_loop(&engine, |module, _| {
        let f = module.function_index("f").unwrap();
        let is_entry_of_old_body = |entry: &LedgerEntry| {
            (entry.function, entry.version, entry.state) == (f, 0, CodeState::OsrEntry)
        };
        update(module, &spinning(1), &["f"]).policy(f, Policy::Finish).apply().unwrap();
        // The old code is gone, with the OSR entry that the loop ran in. It gets another one.
        let has_code = || {
            let ledger = module.engine().code_ledger();
            ledger.code.iter().any(is_entry_of_old_body)
        };
        while !has_code() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(result.unwrap(), 0, "it ended in the old body");
}

/// How often to replace: what `MIDAIR_REPLACEMENTS` says, for long runs, or `usual`.
fn replacements(usual: usize) -> usize {
    std::env::var("MIDAIR_REPLACEMENTS").map_or(usual, |count| count.parse().expect("a number"))
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A function that is never left is replaced all the time. What is left of its versions does not grow.
#[test]
fn replacing_a_function_that_runs_for_ever_keeps_memory_flat() {
    let _watchdog = Watchdog::start();
    for (tier, rounds) in [(Tier::Interp, 20_000), (Tier::Optimized, 2_000)] {
        let (engine, rounds) = (engine(tier), replacements(rounds));
        let result = beside_a_loop(&engine, |module, beats| {
            let updates =
                [spinning(0), spinning(4096)].map(|text| update(module, &text, &["f", "pass"]));
            let replace = |count: usize| {
                for round in 0..count {
                    updates[round % 2].apply().unwrap();
                }
                more_rounds(beats);
            };
            replace(rounds / 4);
            let (resident, live) = (resident_bytes(), engine.code_stats().live);
            replace(rounds);
            let (grown, code) = (
                resident_bytes().saturating_sub(resident),
                engine.code_stats().live.saturating_sub(live),
            );
            assert!(grown < 6 << 20, "{tier:?}: {grown} bytes in {rounds} replacements");
            assert!(code < 16 << 10, "{tier:?}: {code} bytes of code");
        });
        result.unwrap();
    }
}

/// The same for a frame that waits for a call to return.
#[test]
fn replacing_a_function_that_is_suspended_for_ever_keeps_memory_flat() {
    let _watchdog = Watchdog::start();
    for (tier, rounds) in [(Tier::Interp, 20_000), (Tier::Optimized, 2_000)] {
        let (engine, rounds) = (engine(tier), replacements(rounds));
        let mut program = Program::new(&engine, &two(10, 1));
        program.then(move |module| {
            let updates = [two(20, 2), two(10, 1)].map(|text| update(module, &text, &["f", "g"]));
            let replace =
                |count: usize| (0..count).for_each(|round| drop(updates[round % 2].apply()));
            replace(rounds / 4);
            let resident = resident_bytes();
            replace(rounds);
            let grown = resident_bytes().saturating_sub(resident);
            println!("{tier:?}: {grown} bytes more after {rounds} replacements");
            assert!(grown < 6 << 20, "{tier:?}: {grown} bytes in {rounds} replacements");
            updates[0].apply().map(drop)
        });
        assert_eq!(program.call(0).unwrap(), 22, "{tier:?}");
    }
}

#[test]
fn with_a_shadow_stack_only_what_has_been_compiled_cannot_be_replaced() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Auto).optimized_threshold(100).background_compilation(false);
    let engine = Engine::new(config.assume_shadow_stack(true)).unwrap();
    let mut program = Program::new(&engine, &two(10, 1));
    program.then(|module| update(module, &two(20, 2), &["f", "g"]).apply().map(drop));
    assert_eq!(program.call(0).unwrap(), 22, "interpreted frames move");
    for _ in 0..1000 {
        assert_eq!(program.call(0).unwrap(), 22);
    }
    assert!(engine.code_stats().live > 0, "functions move up all the same");
    let text = two(10, 1);
    let update = update(&program.module, &text, &["f", "g"]);
    let error = format!("{:#}", update.apply().unwrap_err());
    assert!(error.contains("shadow stack"), "{error}");
    assert_eq!(program.call(0).unwrap(), 22);
}
