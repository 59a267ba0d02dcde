//! Frames that wait in the interpreter, or run in it, go on in the new bodies of their functions.

use anyhow::Result;
use midair::{
    Caller, Config, Engine, Instance, Linker, Module, Policy, Store, Tier, Trap, TypedFunc,
    WasmBacktrace,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// What host functions replace with: the bodies in order, over and over.
struct Script {
    module: Module,
    bodies: Vec<Vec<u8>>,
    next: usize,
    policy: Policy,
    f: Option<TypedFunc<i32, i32>>,
}

const IMPORTS: &str = r#"
    (import "host" "replace" (func $replace))
    (import "host" "pass" (func $pass))
    (import "host" "f" (func $host_f (param i32) (result i32)))"#;

/// The host functions: `replace`; `pass`, which does nothing; and `f`, which calls the export `f`.
fn linker(engine: &Engine) -> Linker<Script> {
    let mut linker = Linker::new(engine);
    let replace = |mut caller: Caller<'_, Script>| -> Result<()> {
        let script = caller.data_mut();
        let body = script.bodies[script.next % script.bodies.len()].clone();
        script.next += 1;
        let function = script.module.function_index("f").unwrap();
        let update = script.module.update().body(function, body);
        update.policy(function, script.policy).apply()?;
        Ok(())
    };
    linker.func_wrap("host", "replace", replace).unwrap();
    linker.func_wrap("host", "pass", |_: Caller<'_, Script>| {}).unwrap();
    linker
        .func_wrap("host", "f", |mut caller: Caller<'_, Script>, n: i32| -> Result<i32> {
            let f = caller.data().f.clone().unwrap();
            f.call(&mut caller, n)
        })
        .unwrap();
    linker
}

fn interpreter() -> Engine {
    Engine::new(Config::new().tier(Tier::Interp)).unwrap()
}

/// The body of `f` in this module.
fn body(engine: &Engine, text: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body("f").unwrap()
}

/// A store with an instance of `texts[0]`, whose function `f` `host.replace` replaces by that of the others,
/// and then of all, in turn.
fn program(engine: &Engine, texts: &[String]) -> (Store<Script>, TypedFunc<i32, i32>) {
    let module = Module::new(engine, &texts[0]).unwrap();
    let mut bodies: Vec<_> = texts.iter().map(|text| body(engine, text)).collect();
    bodies.rotate_left(1);
    let policy = Policy::Migrate;
    let script = Script { module: module.clone(), bodies, next: 0, policy, f: None };
    let mut store = Store::new(engine, script);
    let instance = linker(engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    store.data_mut().f = Some(f.clone());
    (store, f)
}

/// `f(n)` recurses to the bottom, replaces itself there, and adds `add` in every frame on the way back.
fn recursion(add: i32) -> String {
    format!(
        r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0))
                (then (call $replace) (i32.const 0))
                (else (i32.add
                    (call $f (i32.sub (local.get 0) (i32.const 1)))
                    (i32.const {add}))))))"#
    )
}

#[test]
fn all_frames_of_a_deep_recursion_go_on_in_the_new_body() {
    let _watchdog = Watchdog::start();
    let engine = Engine::new(Config::new().tier(Tier::Interp).max_wasm_stack(1 << 24)).unwrap();
    let (mut store, f) = program(&engine, &[recursion(1), recursion(10)]);
    for depth in [1, 2, 20_000, 5000] {
        let before = engine.stats().frames.kinds.from.interpreter;
        assert_eq!(f.call(&mut store, depth).unwrap(), 10 * depth);
        // The frame at the bottom moves too.
        assert_eq!(engine.stats().frames.kinds.from.interpreter - before, depth as u64 + 1);
        assert_eq!(f.call(&mut store, depth).unwrap(), depth);
    }
}

#[test]
fn frames_that_wait_for_several_replacements_go_on_in_the_last_body() {
    let _watchdog = Watchdog::start();
    let adds = [1, 10, 100];
    // Every third frame replaces the function once more on the way back, and every fifth on the way in.
    let text = |add: i32| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32) (local i32)
                (if (i32.eqz (local.get 0)) (then (call $replace) (return (i32.const 0))))
                (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 5))) (then (call $replace)))
                (local.set 1 (call $f (i32.sub (local.get 0) (i32.const 1))))
                (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 3))) (then (call $replace)))
                (i32.add (local.get 1) (i32.const {add}))))"#
        )
    };
    let mut config = Config::new();
    config.background_compilation(false);
    for tier in [Tier::Interp, Tier::Auto, Tier::Optimized] {
        let engine = Engine::new(config.tier(tier).optimized_threshold(7)).unwrap();
        let (mut store, f) = program(&engine, &adds.map(text));
        let mut version = 0;
        for depth in [0, 10, 50, 200] {
            version += 1 + depth / 5;
            let mut sum = 0;
            for n in 1..=depth {
                version += usize::from(n % 3 == 0);
                sum += adds[version % 3];
            }
            assert_eq!(f.call(&mut store, depth as i32).unwrap(), sum, "{tier:?}, depth {depth}");
        }
    }
}

/// Segments of the interpreter, of the host and, where functions become hot, of machine code.
#[test]
fn frames_between_those_of_the_host_move() {
    let _watchdog = Watchdog::start();
    let text = |add: i32| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32) (local i32)
                (if (i32.eqz (local.get 0)) (then (call $replace) (return (i32.const 0))))
                (local.set 1 (i32.sub (local.get 0) (i32.const 1)))
                (i32.add
                    (if (result i32) (i32.rem_u (local.get 0) (i32.const 4))
                        (then (call $f (local.get 1))) (else (call $host_f (local.get 1))))
                    (i32.const {add}))))"#
        )
    };
    let mut config = Config::new();
    config.background_compilation(false);
    for (tier, threshold) in [(Tier::Interp, 1), (Tier::Auto, 10), (Tier::Optimized, 1)] {
        let engine = Engine::new(config.tier(tier).optimized_threshold(threshold)).unwrap();
        let (mut store, f) = program(&engine, &[text(1), text(10)]);
        for _ in 0..20 {
            assert_eq!(f.call(&mut store, 50).unwrap(), 500, "{tier:?}");
            assert_eq!(f.call(&mut store, 50).unwrap(), 50, "{tier:?}");
        }
        let frames = engine.stats().frames;
        assert_eq!(frames.kinds.from.interpreter > 0, tier != Tier::Optimized);
        assert_eq!(frames.moved > 0, tier != Tier::Interp);
    }
}

/// The recursion begins in the interpreter; its inner frames are of machine code.
#[test]
fn frames_of_both_tiers_in_one_recursion_move() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Auto).optimized_threshold(130).background_compilation(false);
    let engine = Engine::new(&config).unwrap();
    let (mut store, f) = program(&engine, &[recursion(1), recursion(10)]);
    assert_eq!(f.call(&mut store, 100).unwrap(), 1000);
    let frames = engine.stats().frames;
    assert!(frames.kinds.from.interpreter >= 30 && frames.moved >= 60, "{frames:?}");
}

#[test]
fn points_without_a_counterpart_finish_in_the_old_body() {
    let _watchdog = Watchdog::start();
    let engine = interpreter();
    let old = recursion(1);
    // Another operand below the call.
    let new = format!(
        r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0))
                (then (call $replace) (i32.const 0))
                (else (i32.add (i32.const 10)
                    (call $f (i32.sub (local.get 0) (i32.const 1))))))))"#
    );
    let (mut store, f) = program(&engine, &[old, new]);
    assert_eq!(f.call(&mut store, 100).unwrap(), 100);
    // Only the call at the bottom has a counterpart.
    assert_eq!(engine.stats().frames.kinds.from.interpreter, 1);
    assert_eq!(f.call(&mut store, 100).unwrap(), 1000);
    assert_eq!(engine.stats().frames.kinds.from.interpreter, 2);
}

#[test]
fn frames_that_shall_finish_do() {
    let _watchdog = Watchdog::start();
    let engine = interpreter();
    let (mut store, f) = program(&engine, &[recursion(1), recursion(10)]);
    store.data_mut().policy = Policy::Finish;
    for _ in 0..10 {
        assert_eq!(f.call(&mut store, 100).unwrap(), 100);
        assert_eq!(f.call(&mut store, 100).unwrap(), 1000);
    }
    assert_eq!(engine.stats().frames.kinds.from.interpreter, 0);
}

#[test]
fn frames_that_shall_trap_do() {
    let _watchdog = Watchdog::start();
    let engine = interpreter();
    // At the bottom another function replaces `f`, so that frames of that are returned to later.
    let text = |add: i32| {
        format!(
            r#"(module {IMPORTS}
            (func $bottom (result i32) (call $replace) (i32.const 0))
            (func $f (export "f") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call $bottom))
                    (else (i32.add
                        (call $f (i32.sub (local.get 0) (i32.const 1)))
                        (i32.const {add}))))))"#
        )
    };
    let (mut store, f) = program(&engine, &[text(1), text(10)]);
    store.data_mut().policy = Policy::Trap;
    for _ in 0..10 {
        let error = f.call(&mut store, 30).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::FunctionReplaced));
        assert_eq!(error.downcast_ref::<WasmBacktrace>().unwrap().frames().len(), 31);
    }
}

#[test]
fn many_results_and_more_locals() {
    let _watchdog = Watchdog::start();
    let text = |add: i32, locals: &str, set: &str| {
        format!(
            r#"(module {IMPORTS}
                (func $pair (param i32) (result i32 i64 f64 i32)
                    (call $host_f (local.get 0))
                    (i64.const -7) (f64.const 0.5) (i32.const 1000))
                (func $f (export "f") (param i32) (result i32) (local i32 i64 f64 {locals})
                    {set}
                    (if (i32.eqz (local.get 0)) (then (call $replace) (return (i32.const 0))))
                    (i32.const 5)
                    (call $pair (i32.sub (local.get 0) (i32.const 1)))
                    (local.set 1) (local.set 3) (local.set 2)
                    (i32.add)
                    (i32.add (local.get 1))
                    (i32.add (i32.wrap_i64 (local.get 2)))
                    (i32.add (i32.trunc_f64_s (f64.mul (local.get 3) (f64.const 4))))
                    (i32.add (i32.const {add}))))"#
        )
    };
    let engine = interpreter();
    let more = "i64 i64 i64 i64 i64 i64 i64 i64";
    let old = text(0, "", "");
    let new = text(1, more, "(local.set 11 (i64.const 3))");
    let (mut store, f) = program(&engine, &[old, new]);
    for _ in 0..5 {
        assert_eq!(f.call(&mut store, 60).unwrap(), 60 * 1001);
        assert_eq!(f.call(&mut store, 60).unwrap(), 60 * 1000);
    }
}

#[test]
fn a_trap_on_the_way_back_drops_what_waits() {
    let _watchdog = Watchdog::start();
    // Traps when it has come back to the frame `stop`.
    let text = |add: i32, stop: i32| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call $replace) (i32.const 0))
                    (else (i32.add
                        (call $f (i32.sub (local.get 0) (i32.const 1)))
                        (if (result i32) (i32.eq (local.get 0) (i32.const {stop}))
                            (then (unreachable)) (else (i32.const {add}))))))))"#
        )
    };
    let engine = interpreter();
    let (mut store, f) = program(&engine, &[text(1, -1), text(10, 30), text(1, -1), text(10, -1)]);
    for _ in 0..20 {
        let error = f.call(&mut store, 50).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
        let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
        assert_eq!(backtrace.frames().len(), 21);
        // The trap is in the new body; the frames outside wait at the call.
        let offsets: Vec<_> = backtrace.frames().iter().map(|frame| frame.func_offset()).collect();
        assert!(offsets[1..].iter().all(|offset| *offset == offsets[1]), "{offsets:?}");
        assert!(offsets[0] > offsets[1]);
        assert_eq!(f.call(&mut store, 50).unwrap(), 50);
        assert_eq!(f.call(&mut store, 50).unwrap(), 500);
        assert_eq!(f.call(&mut store, 50).unwrap(), 50);
    }
}

/// Fuel is the same whether frames move to another body that does the same or not.
#[test]
fn fuel_does_not_depend_on_moving() {
    let _watchdog = Watchdog::start();
    let text = |at_bottom: &str| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32) (result i32)
                (local i32)
                (loop
                    (local.set 1 (i32.add (local.get 1) (i32.const 3)))
                    (br_if 0 (i32.lt_u (local.get 1) (i32.const 9))))
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call {at_bottom}) (i32.const 0))
                    (else (i32.add
                        (call $f (i32.sub (local.get 0) (i32.const 1)))
                        (i32.const 1))))))"#
        )
    };
    let engine = Engine::new(Config::new().tier(Tier::Interp).consume_fuel(true)).unwrap();
    let mut used = Vec::new();
    for at_bottom in ["$pass", "$replace"] {
        let (mut store, f) = program(&engine, &[text(at_bottom), text(at_bottom)]);
        store.set_fuel(1_000_000).unwrap();
        assert_eq!(f.call(&mut store, 50).unwrap(), 50);
        used.push(1_000_000 - store.get_fuel().unwrap());
    }
    assert_eq!(used[0], used[1]);
    assert_eq!(engine.stats().frames.kinds.from.interpreter, 51);
}

/// A loop that never ends, and one like it that does.
fn endless(go_on: i32) -> String {
    format!(
        r#"(module (global $n (export "n") (mut i32) (i32.const 0))
            (func (export "f") (param i32) (result i32)
                (loop
                    (global.set $n (i32.add (global.get $n) (i32.const 1)))
                    (br_if 0 (i32.const {go_on})))
                (local.get 0)))"#
    )
}

#[test]
fn an_endless_loop_ends_when_another_thread_replaces_it() {
    let _watchdog = Watchdog::start();
    let engine = interpreter();
    let new = body(&engine, &endless(0));
    for _ in 0..20 {
        let module = Module::new(&engine, endless(1)).unwrap();
        let begun = Arc::new(Barrier::new(2));
        let guest = {
            let (engine, module, begun) = (engine.clone(), module.clone(), begun.clone());
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                begun.wait();
                f.call(&mut store, 7).unwrap()
            })
        };
        begun.wait();
        std::thread::sleep(Duration::from_micros(200));
        module.replace_function(0, &new).unwrap();
        assert_eq!(guest.join().unwrap(), 7);
    }
}

/// Guests recurse and loop in the interpreter, or in both tiers, while another thread replaces what they run
/// by bodies that do the same with other locals.
fn replaced_from_outside(config: &Config) {
    let text = |locals: &str| {
        format!(
            r#"(module
            (func $f (export "f") (param i32) (result i32) {locals}
                (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
                (i32.add
                    (call $sum (i32.const 3))
                    (i32.mul (i32.const 2) (call $f (i32.sub (local.get 0) (i32.const 1))))))
            (func $sum (param i32) (result i32) (local i32)
                (loop
                    (local.set 1 (i32.add (local.get 1) (local.get 0)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
        )
    };
    let engine = Engine::new(config).unwrap();
    let texts = ["", "(local i64 i64)", "(local f64 i32 i32)"].map(text);
    let module = Module::new(&engine, &texts[0]).unwrap();
    let bodies = texts.map(|text| body(&engine, &text));
    let done = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(Barrier::new(3));
    let threads = [(); 2].map(|()| {
        let (engine, module) = (engine.clone(), module.clone());
        let (begun, done) = (begun.clone(), done.clone());
        std::thread::spawn(move || {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
            let expected = (0..200).fold(1i32, |sum, _| sum.wrapping_mul(2).wrapping_add(6));
            begun.wait();
            while !done.load(Ordering::Relaxed) {
                assert_eq!(f.call(&mut store, 200).unwrap(), expected);
            }
        })
    });
    begun.wait();
    // More of them if the guests have not been in the middle of anything so far.
    let moved = || engine.stats().frames.kinds.from.interpreter > 0;
    for round in (0..50_000).take_while(|&round| round < 500 || !moved()) {
        module.replace_function(0, &bodies[(round + 1) % 3]).unwrap();
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    done.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(moved());
}

#[test]
fn replacements_from_another_thread_change_nothing_where_bodies_do_the_same() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    replaced_from_outside(config.tier(Tier::Interp));
    replaced_from_outside(config.tier(Tier::Auto).optimized_threshold(2000));
    config.background_compilation(false).stress("osr:3".parse().unwrap());
    replaced_from_outside(&config);
}
