//! Replacing functions while they run: bodies that are refused, frames in both tiers, stores and threads.

use anyhow::Result;
use midair::{
    Applied, AsContextMut, Caller, Config, Engine, FrameMap, Instance, Linker, Module, Store, Tier,
    Trap,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// An engine that compiles every function at its first call.
fn compiled() -> Engine {
    engine(Tier::Optimized)
}

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

/// The body of `f` in this module.
fn body(engine: &Engine, text: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body("f").unwrap()
}

/// What host functions replace with: the bodies in order, over and over.
struct Script {
    module: Module,
    bodies: Vec<Vec<u8>>,
    next: usize,
}

impl Script {
    fn new(module: &Module, bodies: Vec<Vec<u8>>) -> Script {
        Script { module: module.clone(), bodies, next: 0 }
    }
}

/// The host function `host.replace`, and `host.pass`, which does nothing.
fn linker(engine: &Engine) -> Linker<Script> {
    let mut linker = Linker::new(engine);
    let replace = |mut caller: Caller<'_, Script>| -> Result<()> {
        let script = caller.data_mut();
        let body = script.bodies[script.next % script.bodies.len()].clone();
        script.next += 1;
        let (module, function) =
            (script.module.clone(), script.module.function_index("f").unwrap());
        module.replace_function(function, &body)?;
        Ok(())
    };
    linker.func_wrap("host", "replace", replace).unwrap();
    linker.func_wrap("host", "pass", |_: Caller<'_, Script>| {}).unwrap();
    linker
}

const IMPORTS: &str =
    r#"(import "host" "replace" (func $replace)) (import "host" "pass" (func $pass))"#;

#[test]
fn bodies_without_their_end_are_refused() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Interp, Tier::Optimized] {
        let engine = engine(tier);
        let module = Module::new(&engine, r#"(module (func (export "f")))"#).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let bodies: [&[u8]; 6] = [
            &[],                    // nothing
            &[0],                   // no operators
            &[0, 0x01],             // nop
            &[0, 0x02, 0x40, 0x0b], // block end
            &[0, 0x0b, 0x0b],       // end end
            &[0, 0x0b, 0x01],       // end nop
        ];
        for body in bodies {
            assert!(module.replace_function(0, body).is_err(), "{body:x?}");
            f.call(&mut store, ()).unwrap();
        }
        assert_eq!(module.function_body("f").unwrap(), [0, 0x0b]);
        assert!(module.replace_function(0, &[0, 0x01, 0x0b]).is_ok());
        f.call(&mut store, ()).unwrap();
    }
}

/// The validator takes the end of a block for reachable; nothing leads there.
#[test]
fn a_safepoint_that_nothing_leads_to_is_no_counterpart() {
    let _watchdog = Watchdog::start();
    let dead = [
        "(block (unreachable)) (call $replace) (i32.const 2)",
        "(loop (br 0)) (call $replace) (i32.const 2)",
        "(block (return (i32.const 3))) (call $replace) (i32.const 2)",
        "(if (i32.const 1) (then (unreachable)) (else (unreachable))) (call $replace) (i32.const 2)",
    ];
    for tier in [Tier::Optimized, Tier::Baseline] {
        for new in dead {
            let engine = engine(tier);
            let text = |inner: &str| {
                format!(r#"(module {IMPORTS} (func (export "f") (result i32) {inner}))"#)
            };
            let module = Module::new(&engine, text("(call $replace) (i32.const 1)")).unwrap();
            let script = Script::new(&module, vec![body(&engine, &text(new))]);
            let mut store = Store::new(&engine, script);
            let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
            let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
            assert_eq!(f.call(&mut store, ()).unwrap(), 1, "{new}");
        }
    }
}

#[test]
fn a_loop_that_nothing_leads_to_is_no_counterpart() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let text = |head: &str, step: i32| {
        format!(
            r#"(module {IMPORTS} (func (export "f") (param i32) (result i32) (local i32)
                {head}
                (loop
                    (call $pass)
                    (if (i32.eq (local.get 0) (i32.const 5)) (then (call $replace)))
                    (local.set 1 (i32.add (local.get 1) (i32.const {step})))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
        )
    };
    let module = Module::new(&engine, text("", 1)).unwrap();
    let script = Script::new(&module, vec![body(&engine, &text("(block (unreachable))", 100))]);
    let mut store = Store::new(&engine, script);
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, 10).unwrap(), 10);
    let error = f.call(&mut store, 10).unwrap_err();
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
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
fn all_frames_of_a_recursion_move_at_every_replacement() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let bodies = vec![body(&engine, &recursion(10)), body(&engine, &recursion(1))];
    let mut store = Store::new(&engine, Script::new(&module, bodies));
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for _ in 0..50 {
        assert_eq!(f.call(&mut store, 40).unwrap(), 400);
        assert_eq!(f.call(&mut store, 40).unwrap(), 40);
    }
    assert_eq!(engine.code_stats().retired, 0);
    // In each call 40 frames wait for themselves, and the innermost one for the host.
    let kinds = engine.stats().frames.kinds;
    assert_eq!((kinds.at_call, kinds.at_poll), (4100, 0));
    assert_eq!((kinds.recursive, kinds.below_host), (4000, 100));
    assert_eq!(kinds.into_other_version, 4100);
    assert_eq!((kinds.from.optimized, kinds.to.interpreter), (4100, 4100));
}

/// An exclusive map that mentions nothing lets no frame go on in the new body, and none come back.
#[test]
fn what_an_exclusive_map_does_not_mention_finishes_in_the_old_body() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let f = module.function_index("f").unwrap();
    let new = body(&engine, &recursion(10));
    let edited = module.clone();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap(
            "host",
            "replace",
            move |mut caller: Caller<'_, Option<Applied>>| -> Result<()> {
                let applied = match caller.data_mut().take() {
                    Some(applied) => applied.undo()?,
                    None => {
                        let map = FrameMap::new().exclusive();
                        edited.update().body(f, new.clone()).frame_map(f, map).apply()?
                    }
                };
                assert_eq!(applied.functions[0].points_mapped, 0);
                assert_eq!(applied.frames_redirected, 41);
                *caller.data_mut() = Some(applied);
                Ok(())
            },
        )
        .unwrap();
    linker.func_wrap("host", "pass", |_: Caller<'_, Option<Applied>>| {}).unwrap();
    let mut store = Store::new(&engine, None);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for _ in 0..5 {
        assert_eq!(f.call(&mut store, 40).unwrap(), 40);
        assert_eq!(f.call(&mut store, 40).unwrap(), 400);
    }
}

#[test]
fn replacements_with_traps_in_between_leave_no_frame_behind() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    // At the bottom one frame is replaced; `trap` says whether the way back ends in a trap.
    let text = |add: i32| {
        format!(
            r#"(module {IMPORTS} (func $f (export "f") (param i32 i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call $replace) (i32.const 0))
                    (else (i32.add
                        (call $f (i32.sub (local.get 0) (i32.const 1)) (local.get 1))
                        (if (result i32) (i32.eq (local.get 0) (local.get 1))
                            (then (unreachable)) (else (i32.const {add}))))))))"#
        )
    };
    let module = Module::new(&engine, text(1)).unwrap();
    let bodies = vec![body(&engine, &text(10)), body(&engine, &text(1))];
    let mut store = Store::new(&engine, Script::new(&module, bodies));
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(i32, i32), i32>(&mut store, "f").unwrap();
    for round in 0..100 {
        let error = f.call(&mut store, (20, round % 20 + 1)).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
        assert_eq!(f.call(&mut store, (20, -1)).unwrap(), 20);
    }
    assert_eq!(engine.code_stats().retired, 0);
}

/// `f` calls through `h` of another module, which calls back: frames of two modules alternate.
#[test]
fn frames_between_those_of_another_module_move() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let other = Module::new(
        &engine,
        r#"(module
            (type $t (func (param i32) (result i32)))
            (table (export "t") 1 funcref)
            (func (export "h") (param i32) (result i32)
                (i32.add (i32.const 1000)
                    (call_indirect (type $t) (local.get 0) (i32.const 0)))))"#,
    )
    .unwrap();
    let text = |add: i32| {
        format!(
            r#"(module {IMPORTS}
                (import "other" "h" (func $h (param i32) (result i32)))
                (import "other" "t" (table 1 funcref))
                (elem (i32.const 0) $f)
                (func $f (export "f") (param i32) (result i32)
                    (if (result i32) (i32.eqz (local.get 0))
                        (then (call $replace) (i32.const 0))
                        (else (i32.add
                            (call $h (i32.sub (local.get 0) (i32.const 1)))
                            (i32.const {add}))))))"#
        )
    };
    let module = Module::new(&engine, text(1)).unwrap();
    let bodies = vec![body(&engine, &text(10)), body(&engine, &text(1))];
    let mut store = Store::new(&engine, Script::new(&module, bodies));
    let mut linker = linker(&engine);
    linker
        .instantiate(&mut store, &other)
        .and_then(|i| linker.instance(&mut store, "other", i).map(drop))
        .unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for _ in 0..20 {
        assert_eq!(f.call(&mut store, 9).unwrap(), 9090);
        assert_eq!(f.call(&mut store, 9).unwrap(), 9009);
    }
}

const COUNTER: fn(i32) -> String = |value| {
    format!(
        r#"(module
            (func $f (export "f") (result i32) (i32.const {value}))
            (func (export "run") (param i32) (result i32) (local i32)
                (loop
                    (local.set 1 (i32.add (local.get 1) (call $f)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
    )
};

/// Calls from two threads while another one replaces what is called.
///
/// Where guests and the thread that replaces are more than processors, nearly all of the time is spent waiting
/// for the scheduler to let a guest come to its poll: some milliseconds for each replacement. So the numbers of
/// replacements are what these tests cost.
fn replaced_from_outside(config: &Config, replacements: usize) -> Engine {
    let begun = Arc::new(Barrier::new(3));
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, COUNTER(1)).unwrap();
    let f = module.function_index("f").unwrap();
    let bodies = [body(&engine, &COUNTER(2)), body(&engine, &COUNTER(1))];
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (engine, module, done) = (engine.clone(), module.clone(), done.clone());
            let begun = begun.clone();
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
                begun.wait();
                while !done.load(Ordering::Relaxed) {
                    let sum = run.call(&mut store, 2000).unwrap();
                    assert!((2000..=4000).contains(&sum), "{sum}");
                }
            })
        })
        .collect();
    let mut store = Store::new(&engine, ());
    begun.wait();
    for round in 0..replacements {
        module.replace_function(f, &bodies[round % 2]).unwrap();
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    done.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
    let expected = if replacements % 2 == 1 { 200 } else { 100 };
    assert_eq!(run.call(&mut store, 100).unwrap(), expected);
    assert_eq!(engine.code_stats().retired, 0);
    engine
}

#[test]
fn guests_on_other_threads_survive_a_thousand_replacements() {
    let _watchdog = Watchdog::start();
    replaced_from_outside(Config::new().tier(Tier::Interp), 200);
    replaced_from_outside(Config::new().tier(Tier::Optimized), 400);
    let mut config = Config::new();
    config.tier(Tier::Auto).optimized_threshold(10);
    replaced_from_outside(&config, 400);
}

/// Descends through so many frames, each of which adds the step, and spins at the bottom.
fn deep(step: i64) -> String {
    format!(
        r#"(module
            (func $deep (export "deep") (param $n i32) (result i64)
                (if (i32.eqz (local.get $n)) (then (return (call $spin (i32.const 20000)))))
                (i64.add (call $deep (i32.sub (local.get $n) (i32.const 1))) (i64.const {step})))
            (func $spin (param $n i32) (result i64)
                (loop $again
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (i64.const 0)))"#
    )
}

/// Who goes through the frames of a deep stack: the guest itself, at its polls and when it leaves, or the thread
/// that replaces.
#[test]
fn frames_of_deep_stacks_are_redirected_by_guests_or_for_them() {
    let _watchdog = Watchdog::start();
    const FRAMES: i32 = 2_000;
    for guests_redirect in [true, false] {
        let mut config = Config::new();
        config.tier(Tier::Optimized).guests_redirect_frames(guests_redirect);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, deep(1)).unwrap();
        let function = module.function_index("deep").unwrap();
        let bodies = [2, 1]
            .map(|step| Module::new(&engine, deep(step)).unwrap().function_body("deep").unwrap());
        let done = AtomicBool::new(false);
        let mut redirected = 0;
        std::thread::scope(|scope| {
            let guests: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut store = Store::new(&engine, ());
                        let instance = Instance::new(&mut store, &module, &[]).unwrap();
                        let deep = instance.get_typed_func::<i32, i64>(&mut store, "deep").unwrap();
                        while !done.load(Ordering::Relaxed) {
                            let sum = deep.call(&mut store, FRAMES).unwrap();
                            assert!(
                                (FRAMES.into()..=2 * i64::from(FRAMES)).contains(&sum),
                                "{sum}"
                            );
                        }
                    })
                })
                .collect();
            let mut round = 0;
            // Long enough to meet guests at any depth, and with all their frames.
            while round < 200 || redirected < 20 * FRAMES as usize {
                let replacement = module.replace_function(function, &bodies[round % 2]).unwrap();
                redirected += replacement.frames_redirected;
                round += 1;
                assert!(guests.iter().all(|guest| !guest.is_finished()), "a guest has failed");
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(engine.code_stats().retired, 0);
    }
}

/// Compilers that finish after their version was replaced must not leave code that nobody frees.
#[test]
fn code_of_replaced_versions_does_not_pile_up() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Auto).optimized_threshold(10);
    let engine = replaced_from_outside(&config, 400);
    let live = engine.code_stats().live;
    assert!(live < 20_000, "{live} bytes are left of three functions");
}

#[test]
fn a_function_is_replaced_while_it_is_prepared_for_its_first_call() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let new = body(&engine, &COUNTER(2));
    for _ in 0..100 {
        let module = Module::new(&engine, COUNTER(1)).unwrap();
        let f = module.function_index("f").unwrap();
        let start = Arc::new(Barrier::new(2));
        let caller = {
            let (engine, module, start) = (engine.clone(), module.clone(), start.clone());
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
                start.wait();
                f.call(&mut store, ()).unwrap()
            })
        };
        start.wait();
        std::thread::yield_now();
        module.replace_function(f, &new).unwrap();
        assert!([1, 2].contains(&caller.join().unwrap()));
    }
}

#[test]
fn code_that_two_threads_compile_at_once_is_kept_once() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    for _ in 0..50 {
        let module = Module::new(&engine, COUNTER(1)).unwrap();
        let start = Arc::new(Barrier::new(2));
        let threads = [(); 2].map(|()| {
            let (engine, module, start) = (engine.clone(), module.clone(), start.clone());
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
                start.wait();
                assert_eq!(run.call(&mut store, 10).unwrap(), 10);
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }
    assert_eq!(engine.code_stats().live, 0);
}

#[test]
fn replacements_of_one_function_from_two_threads_come_one_after_the_other() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let module = Module::new(&engine, COUNTER(1)).unwrap();
    let f = module.function_index("f").unwrap();
    let threads = [2, 3].map(|value| {
        let (engine, module) = (engine.clone(), module.clone());
        std::thread::spawn(move || {
            let new = body(&engine, &COUNTER(value));
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
            (0..200)
                .map(|_| {
                    let version = module.replace_function(f, &new).unwrap().version;
                    let sum = run.call(&mut store, 10).unwrap();
                    assert!((20..=30).contains(&sum), "{sum}");
                    version
                })
                .collect::<Vec<_>>()
        })
    });
    let mut versions: Vec<u32> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    versions.sort_unstable();
    assert!(versions.iter().copied().eq(1..=400), "{versions:?}");
    drop(module);
    assert_eq!(engine.code_stats().live, 0);
}

/// A host function waits for another thread, which replaces code of the host function's caller.
#[test]
fn frames_below_a_host_function_that_waits_are_redirected_by_another_thread() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let bodies = [body(&engine, &recursion(10)), body(&engine, &recursion(1))];
    let mut linker = Linker::new(&engine);
    let target = module.clone();
    let mut next = 0;
    let next = std::sync::Mutex::new(move || {
        next += 1;
        bodies[(next - 1) % 2].clone()
    });
    linker
        .func_wrap("host", "replace", move || -> Result<()> {
            let new = (next.lock().unwrap())();
            let replace = || target.replace_function(2, &new);
            let report = std::thread::scope(|scope| scope.spawn(replace).join().unwrap())?;
            assert!(report.freed_bytes > 0);
            assert_eq!(report.frames_redirected, 31);
            Ok(())
        })
        .unwrap();
    linker.func_wrap("host", "pass", |_: Caller<'_, ()>| {}).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    for _ in 0..10 {
        assert_eq!(f.call(&mut store, 30).unwrap(), 300);
        assert_eq!(f.call(&mut store, 30).unwrap(), 30);
    }
    assert_eq!(engine.code_stats().retired, 0);
}

/// A host function may lend its store to another thread, which has another stack.
#[test]
fn a_nested_call_on_another_thread_is_refused() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let module = Module::new(
        &engine,
        r#"(module (import "host" "nest" (func $nest (result i32)))
            (func (export "f") (result i32) (call $nest))
            (func (export "g") (result i32) (i32.const 7)))"#,
    )
    .unwrap();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap("host", "nest", |mut caller: Caller<'_, ()>| -> Result<i32> {
            let g = caller.get_export("g").unwrap().into_func().unwrap();
            let g = g.typed::<(), i32>(&caller)?;
            let mut lent = caller.as_context_mut();
            let error = std::thread::scope(|scope| {
                scope.spawn(|| g.call(&mut lent, ()).unwrap_err()).join().unwrap()
            });
            assert!(error.to_string().contains("on another thread"), "{error}");
            g.call(&mut caller, ())
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 7);
    // Between two calls a store may move.
    let sum =
        std::thread::scope(|scope| scope.spawn(|| f.call(&mut store, ()).unwrap()).join().unwrap());
    assert_eq!(sum, 7);
}

/// Sums up `step` in a loop that calls nothing, or in every round calls a function that is not inlined.
fn summing(step: i32, call: bool) -> String {
    let call = if call { "(call $g)" } else { "" };
    format!(
        r#"(module
            (global $n (mut i32) (i32.const 0))
            (func $g (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (if (i32.eqz (global.get $n)) (then (call $g))))
            (func (export "f") (param i32) (result i64) (local i64)
                (loop
                    {call}
                    (local.set 1 (i64.add (local.get 1) (i64.const {step})))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#
    )
}

/// Two threads are in a long loop all the time, which is replaced under them.
fn loops_replaced_from_outside(config: &Config, call: bool, rounds: i32) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, summing(1, call)).unwrap();
    let f = module.function_index("f").unwrap();
    let bodies = [body(&engine, &summing(3, call)), body(&engine, &summing(1, call))];
    let begun = Arc::new(Barrier::new(3));
    let done = Arc::new(AtomicBool::new(false));
    let threads = [(); 2].map(|()| {
        let (engine, module) = (engine.clone(), module.clone());
        let (begun, done) = (begun.clone(), done.clone());
        std::thread::spawn(move || {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
            begun.wait();
            while !done.load(Ordering::Relaxed) {
                let sum = f.call(&mut store, rounds).unwrap();
                assert!((rounds.into()..=3 * i64::from(rounds)).contains(&sum), "{sum}");
                assert_eq!((sum - i64::from(rounds)) % 2, 0);
            }
        })
    });
    begun.wait();
    for round in 0..150 {
        module.replace_function(f, &bodies[round % 2]).unwrap();
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    done.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(engine.code_stats().retired, 0);
    drop(module);
    drop_of_all_code(&engine);
}

/// Waits until compilers have let go of the last module.
fn drop_of_all_code(engine: &Engine) {
    for _ in 0..500 {
        if engine.code_stats().live == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("{} bytes of code are left without a module", engine.code_stats().live);
}

#[test]
fn running_loops_are_replaced_from_another_thread() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    for call in [false, true] {
        loops_replaced_from_outside(config.tier(Tier::Optimized), call, 1_000_000);
        loops_replaced_from_outside(config.tier(Tier::Baseline), call, 1_000_000);
        loops_replaced_from_outside(config.tier(Tier::Interp), call, 100_000);
    }
    config.tier(Tier::Auto).optimized_threshold(50);
    loops_replaced_from_outside(&config, true, 500_000);
}

#[test]
fn transitions_at_every_safepoint_and_replacements_go_together() {
    let _watchdog = Watchdog::start();
    for spec in ["osr:1,retire:1", "osr:3,retire:2", "retire:1", "osr:2"] {
        for tier in [Tier::Auto, Tier::Optimized] {
            let mut config = Config::new();
            config.tier(tier).background_compilation(false).stress(spec.parse().unwrap());
            loops_replaced_from_outside(&config, true, 100);
        }
    }
}
