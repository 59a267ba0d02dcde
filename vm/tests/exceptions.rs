//! Exceptions across tiers, instances and host functions; what the embedder sees of them; and functions that are
//! replaced while frames wait for a callee that then throws.

use anyhow::Result;
use midair::{
    Caller, Config, Engine, ErrorKind, Exception, FrameMap, Instance, Linker, Module,
    ModuleRefused, Policy, Source, Store, Tag, TagType, Tier, Trap, Update, Val, ValType,
    WasmBacktrace,
};
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];
const STRESS: [&str; 4] = ["osr:1", "retire:1", "osr:1,retire:1", "mixed:2"];

/// Calls `test` with a configuration for each tier, and for guests that change tiers all the time.
fn in_every_tier(test: impl Fn(&Engine)) {
    for tier in TIERS {
        let engine = |stress: Option<&str>| {
            let mut config = Config::new();
            config.tier(tier).background_compilation(false).optimized_threshold(4);
            config.max_wasm_stack(256 << 10);
            if let Some(stress) = stress {
                config.stress(stress.parse().unwrap());
            }
            Engine::new(&config).unwrap()
        };
        test(&engine(None));
        for stress in STRESS {
            test(&engine(Some(stress)));
        }
    }
}

fn instance(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, text).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, argument: i32) -> Result<i32> {
    instance.get_typed_func::<i32, i32>(&mut *store, name)?.call(store, argument)
}

#[test]
fn exceptions_carry_values_of_all_types_through_frames_that_do_not_catch_them() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $e (param i32 i64 f32 f64))
                (func $throw (param $n i32)
                    (throw $e (local.get $n) (i64.const -2) (f32.const 0.5) (f64.const 4.25)))
                (func $down (param $n i32) (param $depth i32)
                    (if (local.get $depth)
                        (then (call $down (local.get $n) (i32.sub (local.get $depth) (i32.const 1))))
                        (else (call $throw (local.get $n)))))
                (func (export "run") (param $n i32) (result i32) (local $kept i64)
                    (local.set $kept (i64.extend_i32_s (local.get $n)))
                    (i32.add
                        (i32.const 1000)
                        (block $out (result i32)
                            (block $caught (result i32 i64 f32 f64)
                                (try_table (catch $e $caught)
                                    (call $down (local.get $n) (i32.const 5)))
                                (unreachable))
                            (i32.trunc_f64_s)
                            (local.set $n)
                            (i32.trunc_f32_s (f32.mul (f32.const 20)))
                            (i32.add (local.get $n))
                            (local.set $n)
                            (i32.wrap_i64 (i64.add (local.get $kept)))
                            (i32.add)
                            (i32.add (local.get $n))))))"#,
        );
        for n in [3, -7, 100] {
            // 1000, thrice what is carried: n, n - 2, and 4 + 10.
            assert_eq!(call(&mut store, instance, "run", n).unwrap(), 1000 + 2 * n - 2 + 14);
        }
    });
}

#[test]
fn vectors_are_carried_and_wait_below_handlers() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $e (param i32 v128 i64))
                (func $throw (param i32)
                    (throw $e (local.get 0) (i64x2.splat (i64.extend_i32_s (local.get 0))) (i64.const 5)))
                (func (export "run") (param $n i32) (result i32) (local $v v128) (local $x i64)
                    (local.set $v (i32x4.splat (i32.const 1000)))
                    (i32.const 7)
                    (i32x4.splat (i32.const 2))
                    (block $outer (result i32 v128 i64)
                        (i32x4.splat (i32.const 3))
                        (block $unused
                            (try_table (catch $e $outer) (call $throw (local.get $n))))
                        (unreachable))
                    (local.set $x)
                    (i32x4.add (local.get $v))
                    (local.set $v)
                    (local.set $n)
                    (i32x4.add (local.get $v))
                    (i32x4.extract_lane 2)
                    (i32.add)
                    (i32.add (local.get $n))
                    (i32.add (i32.wrap_i64 (local.get $x)))))"#,
        );
        for n in [4, 100] {
            assert_eq!(call(&mut store, instance, "run", n).unwrap(), 7 + 2 + 1000 + n + n + 5);
        }
    });
}

#[test]
fn handlers_are_asked_in_order_and_inner_ones_first() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $a) (tag $b (param i32)) (tag $c)
                (func $throw (param i32)
                    (if (i32.eq (local.get 0) (i32.const 0)) (then (throw $a)))
                    (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $b (i32.const 77))))
                    (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $c))))
                (func (export "run") (param i32) (result i32)
                    (block $all
                        (block $outer_b (result i32)
                            (block $inner_a
                                (try_table (catch $b $outer_b) (catch_all $all)
                                    (try_table (catch $a $inner_a) (call $throw (local.get 0))))
                                (return (i32.const -1)))
                            (return (i32.const 5)))
                        (return))
                    (i32.const 9)))"#,
        );
        for (n, expected) in [(0, 5), (1, 77), (2, 9), (3, -1)] {
            assert_eq!(call(&mut store, instance, "run", n).unwrap(), expected);
        }
    });
}

#[test]
fn an_exception_that_nothing_catches_reaches_the_embedder() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module $m
                (tag $oops (export "oops") (param i32 f64))
                (func $inner (param i32) (throw $oops (local.get 0) (f64.const 1.5)))
                (func $outer (export "run") (param i32) (result i32)
                    (call $inner (local.get 0)) (i32.const 0)))"#,
        );
        let error = call(&mut store, instance, "run", 42).unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::Exception);
        let exception = error.downcast_ref::<Exception>().unwrap();
        assert_eq!(exception.tag(), instance.get_tag(&mut store, "oops").unwrap());
        assert_eq!(exception.values()[0].unwrap_i32(), 42);
        assert_eq!(exception.values()[1].unwrap_f64(), 1.5);
        assert_eq!(exception.to_string(), "uncaught exception: tag oops (42, 1.5)");
        let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
        let names: Vec<_> = backtrace.frames().iter().map(|frame| frame.func_name()).collect();
        assert_eq!(names, [Some("inner"), Some("outer")]);
        assert!(error.downcast_ref::<Trap>().is_none());
    });
}

#[test]
fn the_backtrace_is_that_of_the_throw_also_where_frames_have_cleaned_up_on_the_way() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $e)
                (func $thrower (throw $e))
                (func $cleans (export "modern") (param i32) (result i32)
                    (block $cleanup (result exnref)
                        (try_table (catch_all_ref $cleanup) (call $thrower))
                        (return (i32.const 0)))
                    (throw_ref))
                (func (export "legacy") (param i32) (result i32)
                    try
                        call $thrower
                    catch_all
                        rethrow 0
                    end
                    i32.const 0))"#,
        );
        for name in ["modern", "legacy"] {
            let error = call(&mut store, instance, name, 0).unwrap_err();
            let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
            assert_eq!(backtrace.frames()[0].func_name(), Some("thrower"), "{name}");
            assert_eq!(backtrace.frames().len(), 2);
        }
    });
}

/// A guest whose imports are a tag, and a function that calls export `inner` and does as the test says.
const NESTED: &str = r#"(module
    (import "host" "tag" (tag $e (param i32)))
    (import "host" "nest" (func $nest (param i32)))
    (func (export "inner") (param i32) (throw $e (local.get 0)))
    (func (export "run") (param $n i32) (result i32)
        (block $caught (result i32)
            (try_table (catch $e $caught) (call $nest (local.get $n)))
            (i32.const -1))))"#;

fn nested(
    engine: &Engine,
    host: impl Fn(Caller<'_, ()>, Tag, i32) -> Result<()> + Send + Sync + 'static,
) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let tag = Tag::new(&mut store, TagType::new([ValType::I32])).unwrap();
    let mut linker = Linker::new(engine);
    linker.define(&mut store, "host", "tag", tag).unwrap();
    linker
        .func_wrap("host", "nest", move |caller: Caller<'_, ()>, n: i32| host(caller, tag, n))
        .unwrap();
    let module = Module::new(engine, NESTED).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn call_inner(caller: &mut Caller<'_, ()>, n: i32) -> Result<()> {
    let inner = caller.get_export("inner").unwrap().into_func().unwrap();
    inner.call(&mut *caller, &[Val::I32(n)], &mut [])
}

#[test]
fn exceptions_pass_through_host_functions() {
    in_every_tier(|engine| {
        // Passed on as it is, and with something said about it.
        let (mut store, instance) = nested(engine, |mut caller, _, n| call_inner(&mut caller, n));
        assert_eq!(call(&mut store, instance, "run", 11).unwrap(), 11);
        let (mut store, instance) = nested(engine, |mut caller, _, n| {
            call_inner(&mut caller, n).map_err(|error| error.context("while nesting"))
        });
        assert_eq!(call(&mut store, instance, "run", 12).unwrap(), 12);
    });
}

#[test]
fn host_functions_catch_and_throw() {
    in_every_tier(|engine| {
        let (mut store, instance) = nested(engine, |mut caller, tag, n| {
            let error = call_inner(&mut caller, n).unwrap_err();
            let exception = error.downcast_ref::<Exception>().unwrap();
            assert_eq!((exception.tag(), exception.values()[0].unwrap_i32()), (tag, n));
            if n > 0 {
                Err(Exception::new(&mut caller, &tag, &[Val::I32(2 * n)])?.into())
            } else {
                Ok(())
            }
        });
        assert_eq!(call(&mut store, instance, "run", 21).unwrap(), 42);
        assert_eq!(call(&mut store, instance, "run", -1).unwrap(), -1);
    });
}

#[test]
fn what_a_host_function_says_of_an_exception_reaches_the_embedder() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let tag = Tag::new(&mut store, TagType::new([])).unwrap();
    let mut linker = Linker::new(&engine);
    let throw = move |mut caller: Caller<'_, ()>| -> Result<()> {
        Err(anyhow::Error::from(Exception::new(&mut caller, &tag, &[])?).context("disk full"))
    };
    linker.func_wrap("host", "throw", throw).unwrap();
    let module = r#"(module (import "host" "throw" (func $f)) (func (export "run") (call $f)))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    let error = run.call(&mut store, ()).unwrap_err();
    assert!(error.chain().any(|cause| cause.to_string() == "disk full"), "{error:?}");
    assert_eq!(error.downcast_ref::<Exception>().unwrap().tag(), tag);
    assert_eq!(error.downcast_ref::<WasmBacktrace>().unwrap().frames().len(), 1);
    let again = Exception::new(&mut store, &tag, &[Val::I32(1)]).unwrap_err();
    assert_eq!(ErrorKind::of(&again), ErrorKind::Misuse);
}

#[test]
fn traps_are_not_caught() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (func $trap (param i32) (result i32)
                    (i32.div_s (i32.const 1) (local.get 0)))
                (func $deep (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))))
                (func (export "divide") (param i32) (result i32)
                    (block $all (try_table (catch_all $all) (return (call $trap (local.get 0)))))
                    (i32.const -1))
                (func (export "overflow") (param i32) (result i32)
                    try (result i32)
                        local.get 0
                        call $deep
                    catch_all
                        i32.const -1
                    end)
                (func (export "null") (param i32) (result i32)
                    (block $all (try_table (catch_all $all) (throw_ref (ref.null exn))))
                    (i32.const -1)))"#,
        );
        for (name, trap) in [
            ("divide", Trap::IntegerDivisionByZero),
            ("overflow", Trap::StackOverflow),
            ("null", Trap::NullReference),
        ] {
            let error = call(&mut store, instance, name, 0).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&trap), "{name}");
        }
    });
}

#[test]
fn fuel_is_the_same_in_every_tier_and_running_out_of_it_is_not_caught() {
    let text = r#"(module
        (tag $e (param i32))
        (func $f (param i32) (if (i32.and (local.get 0) (i32.const 1)) (then (throw $e (local.get 0)))))
        (func (export "run") (param $n i32) (result i32) (local $sum i32)
            (loop $l
                (block $caught (result i32)
                    (try_table (catch $e $caught) (call $f (local.get $n)))
                    (i32.const 3))
                (local.set $sum (i32.add (local.get $sum)))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (block $all (try_table (catch_all $all) (loop $for_ever (br $for_ever))))
            (local.get $sum)))"#;
    let mut left = Vec::new();
    for tier in TIERS {
        for stress in [None, Some("osr:2,retire:3")] {
            let mut config = Config::new();
            config.tier(tier).consume_fuel(true).background_compilation(false);
            if let Some(stress) = stress {
                config.stress(stress.parse().unwrap());
            }
            let (mut store, instance) = instance(&Engine::new(&config).unwrap(), text);
            store.set_fuel(10_001).unwrap();
            let error = call(&mut store, instance, "run", 100).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::OutOfFuel));
            left.push(store.get_fuel().unwrap());
        }
    }
    assert!(left.iter().all(|fuel| *fuel == left[0]), "{left:?}");
}

/// Loops inside a `try_table`, inside a `try` and inside its `catch`, whose frames change tiers at each iteration.
#[test]
fn loops_inside_tries_and_handlers_change_tiers() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $e (param i32))
                (func $f (param i32) (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 7)))))
                (func (export "run") (param $n i32) (result i32) (local $i i32) (local $sum i64)
                    (local.set $i (local.get $n))
                    (block $caught (result i32)
                        (try_table (catch $e $caught)
                            (loop $l
                                (local.set $sum (i64.add (local.get $sum) (i64.const 1)))
                                (call $f (local.get $i))
                                (local.set $i (i32.sub (local.get $i) (i32.const 1)))
                                (br $l)))
                        (unreachable))
                    ;; Waits below what follows.
                    try (result i32)
                        loop
                            local.get $sum
                            i64.const 100
                            i64.add
                            local.set $sum
                            local.get $i
                            call $f
                            br 0
                        end
                        unreachable
                    catch $e
                        local.set $i
                        loop
                            local.get $sum
                            i64.const 10000
                            i64.add
                            local.set $sum
                            local.get $i
                            i32.const 1
                            i32.sub
                            local.tee $i
                            br_if 0
                        end
                        try
                            i32.const 0
                            call $f
                        catch_all
                            try
                                rethrow 1
                            catch $e
                                i64.extend_i32_s
                                local.get $sum
                                i64.add
                                local.set $sum
                            end
                        end
                        local.get $sum
                        i32.wrap_i64
                    end
                    i32.add))"#,
        );
        for n in [0, 3, 30] {
            let expected = 7 + (n + 1) + 100 + 7 * 10_000 + 7;
            assert_eq!(call(&mut store, instance, "run", n).unwrap(), expected);
        }
    });
}

#[test]
fn exceptions_pass_between_instances_that_share_a_tag() {
    in_every_tier(|engine| {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        let thrower = r#"(module
            (tag $e (export "e") (param i32)) (tag $other (export "other") (param i32))
            (func (export "throw") (param i32)
                (if (local.get 0) (then (throw $e (local.get 0))) (else (throw $other (i32.const 3))))))"#;
        let thrower = Module::new(engine, thrower).unwrap();
        let thrower = linker.instantiate(&mut store, &thrower).unwrap();
        linker.instance(&mut store, "thrower", thrower).unwrap();
        let catcher = r#"(module
            (import "thrower" "other" (tag $first (param i32)))
            (import "thrower" "e" (tag $e (param i32)))
            (import "thrower" "throw" (func $throw (param i32)))
            (tag $own (param i32))
            (func (export "run") (param i32) (result i32)
                (block $caught_first (result i32)
                    (block $caught (result i32)
                        (try_table (catch $own $caught_first) (catch $e $caught) (catch $first $caught_first)
                            (call $throw (local.get 0)))
                        (unreachable))
                    (return (i32.mul (i32.const 10))))))"#;
        let catcher = Module::new(engine, catcher).unwrap();
        let catcher = linker.instantiate(&mut store, &catcher).unwrap();
        assert_eq!(call(&mut store, catcher, "run", 5).unwrap(), 50);
        assert_eq!(call(&mut store, catcher, "run", 0).unwrap(), 3);
        // Another instance has another tag.
        let module = catcher.module(&store);
        let found = thrower.get_tag(&mut store, "other").unwrap();
        assert_eq!(found.ty(&store).params(), [ValType::I32]);
        assert_eq!(module.imports().next().unwrap().ty().to_string(), "tag (i32)");
    });
}

#[test]
fn references_to_exceptions_can_be_kept_and_thrown_again() {
    in_every_tier(|engine| {
        let (mut store, instance) = instance(
            engine,
            r#"(module
                (tag $e (param i32))
                (global $kept (export "kept") (mut exnref) (ref.null exn))
                (table $t 4 exnref)
                (func $throw (param i32) (throw $e (local.get 0)))
                (func (export "catch") (param i32) (result i32) (local exnref)
                    (block $caught (result i32 exnref)
                        (try_table (catch_ref $e $caught) (call $throw (local.get 0)))
                        (unreachable))
                    (local.set 1)
                    (global.set $kept (local.get 1))
                    (table.set $t (i32.const 2) (local.get 1)))
                (func (export "throw_again") (param i32) (result i32)
                    (block $caught (result i32)
                        (try_table (catch $e $caught) (throw_ref (table.get $t (local.get 0))))
                        (unreachable))))"#,
        );
        assert_eq!(call(&mut store, instance, "catch", 31).unwrap(), 31);
        // So many that those which nobody refers to are freed.
        for n in 0..3000 {
            if n == 1500 {
                assert_eq!(call(&mut store, instance, "throw_again", 2).unwrap(), 31);
            }
            let error = instance.get_typed_func::<i32, i32>(&mut store, "throw_again").unwrap();
            assert!(error.call(&mut store, 0).unwrap_err().is::<Trap>());
        }
        let kept = instance.get_global(&mut store, "kept").unwrap().get(&mut store);
        let exception = kept.exn_ref().unwrap().unwrap().exception(&store);
        assert_eq!(exception.values()[0].unwrap_i32(), 31);
    });
}

type Edit = Box<dyn FnOnce(&Module) -> Result<()> + Send>;

/// A program whose import `host.edit` applies the edit.
fn edited(engine: &Engine, text: &str, edit: Edit) -> (Store<()>, Instance) {
    let module = Module::new(engine, text).unwrap();
    let mut linker = Linker::new(engine);
    let (target, waiting) = (module.clone(), Arc::new(Mutex::new(Some(edit))));
    let apply = move || -> Result<()> {
        let edit = waiting.lock().unwrap().take();
        edit.map_or(Ok(()), |edit| edit(&target))
    };
    linker.func_wrap("host", "edit", apply).unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn body(engine: &Engine, text: &str, name: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body(name).unwrap()
}

fn replace_run(module: &Module, body: Vec<u8>) -> Update {
    module.update().body(module.function_index("run").unwrap(), body)
}

/// `run` waits for `$throw`, which edits the program and then throws. `handled` is what it does with the call.
fn waiting(handled: &str) -> String {
    format!(
        r#"(module
            (import "host" "edit" (func $edit))
            (tag $e (param i32))
            (func $throw (param i32) (call $edit) (throw $e (local.get 0)))
            (func $between (param i32) (call $throw (local.get 0)))
            (func (export "run") (param $n i32) (result i32) (local $x i32)
                (local.set $x (i32.mul (local.get $n) (i32.const 100)))
                {handled}))"#
    )
}

const HANDLES: &str = "(block $caught (result i32)
    (try_table (catch $e $caught) (call $between (local.get $n)))
    (unreachable))
    (return (i32.add (local.get $x)))";
/// The same with another end.
const HANDLES_OTHERWISE: &str = "(block $caught (result i32)
    (try_table (catch $e $caught) (call $between (local.get $n)))
    (unreachable))
    (return (i32.sub (local.get $x)))";

#[test]
fn a_frame_that_waits_for_what_throws_handles_it_in_its_new_body() {
    in_every_tier(|engine| {
        let new = body(engine, &waiting(HANDLES_OTHERWISE), "run");
        let edit: Edit = Box::new(move |module| {
            let applied = replace_run(module, new).apply()?;
            assert!(applied.functions[0].refusals.is_empty(), "{applied:?}");
            Ok(())
        });
        let (mut store, instance) = edited(engine, &waiting(HANDLES), edit);
        assert_eq!(call(&mut store, instance, "run", 3).unwrap(), 3 - 300);
        assert_eq!(call(&mut store, instance, "run", 4).unwrap(), 4 - 400);
    });
}

#[test]
fn a_frame_that_finishes_in_its_old_body_has_the_old_handler() {
    in_every_tier(|engine| {
        let new = body(engine, &waiting("(return (i32.const -5))"), "run");
        let edit: Edit = Box::new(move |module| {
            replace_run(module, new).default_policy(Policy::Finish).apply()?;
            Ok(())
        });
        let (mut store, instance) = edited(engine, &waiting(HANDLES), edit);
        assert_eq!(call(&mut store, instance, "run", 3).unwrap(), 303);
        assert_eq!(call(&mut store, instance, "run", 3).unwrap(), -5);
    });
}

#[test]
fn a_frame_that_is_to_trap_does_not_handle_exceptions() {
    in_every_tier(|engine| {
        let new = body(engine, &waiting("(return (i32.const -5))"), "run");
        let edit: Edit = Box::new(move |module| {
            replace_run(module, new).default_policy(Policy::Trap).apply()?;
            Ok(())
        });
        let (mut store, instance) = edited(engine, &waiting(HANDLES), edit);
        let error = call(&mut store, instance, "run", 3).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::FunctionReplaced));
    });
}

#[test]
fn a_handler_that_is_new_catches_what_comes_out_of_a_call_that_began_before() {
    in_every_tier(|engine| {
        let without = "(call $between (local.get $n)) (return (local.get $x))";
        let with = "(block $caught (result i32)
            (try_table (catch $e $caught) (call $between (local.get $n)))
            (return (local.get $x)))
            (return (i32.add (local.get $x)))";
        let text = waiting(with);
        let new = body(engine, &text, "run");
        let point = |engine: &Engine, text: &str| call_point(&body(engine, text, "run"));
        let (old, at) = (point(engine, &waiting(without)), point(engine, &text));
        let edit: Edit = Box::new(move |module| {
            let map = FrameMap::new().point(old, at);
            let run = module.function_index("run").unwrap();
            replace_run(module, new).frame_map(run, map).apply()?;
            Ok(())
        });
        let (mut store, instance) = edited(engine, &waiting(without), edit);
        assert_eq!(call(&mut store, instance, "run", 3).unwrap(), 303);
    });
}

/// The offset of the first call in a body.
fn call_point(body: &[u8]) -> u32 {
    call_points(body)[0]
}

fn call_points(body: &[u8]) -> Vec<u32> {
    let body = wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(body, 0));
    let operators = body.get_operators_reader().unwrap().into_iter_with_offsets();
    let is_call = |operator: &_| matches!(operator, wasmparser::Operator::Call { .. });
    let calls = operators.map(Result::unwrap).filter(|(operator, _)| is_call(operator));
    calls.map(|(_, offset)| offset as u32).collect()
}

/// `run` waits inside a legacy handler, whose exception it throws again.
fn waiting_in_a_handler(scale: i32) -> String {
    format!(
        r#"(module
            (import "host" "edit" (func $edit))
            (tag $e (param i32))
            (func $throw (param i32) (throw $e (local.get 0)))
            (func (export "run") (param $n i32) (result i32)
                try (result i32)
                    try
                        local.get $n
                        call $throw
                    catch_all
                        call $edit
                        rethrow 0
                    end
                    unreachable
                catch $e
                    i32.const {scale}
                    i32.mul
                end))"#
    )
}

#[test]
fn a_caught_exception_goes_along_when_a_frame_moves_inside_its_handler() {
    in_every_tier(|engine| {
        let new = body(engine, &waiting_in_a_handler(10), "run");
        let edit: Edit = Box::new(move |module| {
            let applied = replace_run(module, new).apply()?;
            assert!(applied.functions[0].refusals.is_empty(), "{applied:?}");
            Ok(())
        });
        let (mut store, instance) = edited(engine, &waiting_in_a_handler(2), edit);
        assert_eq!(call(&mut store, instance, "run", 6).unwrap(), 60);
    });
}

/// The embedder's map says nothing of the exception, which no local of the bodies is.
#[test]
fn a_caught_exception_goes_along_where_a_frame_map_says() {
    in_every_tier(|engine| {
        let text = waiting_in_a_handler(10);
        let text = text.replace("try (result i32)", "(local exnref i64) try (result i32)");
        let new = body(engine, &text, "run");
        let old = body(engine, &waiting_in_a_handler(2), "run");
        let (from, to) = (call_points(&old)[1], call_points(&new)[1]);
        let null = || Source::Const(Val::ExnRef(None));
        let values = vec![Source::Local(0), null(), Source::Const(Val::I64(5))];
        for map in [
            FrameMap::new().point(from, to),
            FrameMap::new().point_with(from, to, values, Vec::new()),
        ] {
            let new = new.clone();
            let edit: Edit = Box::new(move |module| {
                let run = module.function_index("run").unwrap();
                replace_run(module, new).frame_map(run, map).apply()?;
                Ok(())
            });
            let (mut store, instance) = edited(engine, &waiting_in_a_handler(2), edit);
            assert_eq!(call(&mut store, instance, "run", 6).unwrap(), 60);
        }
    });
}

#[test]
fn a_frame_map_into_a_handler_that_throws_again_what_the_frame_does_not_hold_is_refused() {
    let engine = Engine::default();
    let text = waiting_in_a_handler(2);
    let forgets = text.replace("rethrow 0", "i32.const 4 call $throw");
    let module = Module::new(&engine, &forgets).unwrap();
    let (old, new) = (body(&engine, &forgets, "run"), body(&engine, &text, "run"));
    let map = FrameMap::new().point(call_points(&old)[1], call_points(&new)[1]);
    let run = module.function_index("run").unwrap();
    let error = replace_run(&module, new).frame_map(run, map).apply().unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::UpdateRefused);
    assert!(format!("{error:#}").contains("throws a caught exception again"), "{error:#}");
}

#[test]
fn frames_are_listed_without_the_exceptions_that_handlers_hold() {
    in_every_tier(|engine| {
        let module = Module::new(engine, waiting_in_a_handler(2)).unwrap();
        let mut linker = Linker::new(engine);
        linker
            .func_wrap("host", "edit", |caller: Caller<'_, ()>| {
                let frames = caller.frames();
                assert_eq!((frames.len(), frames[0].locals().len()), (1, 1));
                assert!(frames[0].operands().is_empty());
            })
            .unwrap();
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        assert_eq!(call(&mut store, instance, "run", 6).unwrap(), 12);
    });
}

#[test]
fn modules_with_other_tags_are_refused_by_name() {
    let engine = Engine::default();
    let text = |tags: &str| format!(r#"(module (func (export "f")) {tags})"#);
    let module = Module::new(&engine, text("(tag $a (param i32)) (tag $b)")).unwrap();
    for (tags, expected) in [
        ("(tag $a (param i32)) (tag $b) (tag $c)", "tag `c` is new"),
        ("(tag $a (param i32))", "tag `b` is gone"),
        ("(tag $a (param i64)) (tag $b)", "tag `a` carries (i64) instead of (i32)"),
        ("(tag $b) (tag $a (param i32))", "tag number 0 is tag `b` instead of tag `a`"),
    ] {
        let error = module.update().module(text(tags)).unwrap().apply().unwrap_err();
        let refused = error.downcast_ref::<ModuleRefused>().unwrap().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    module.update().module(text("(tag (param i32)) (tag)")).unwrap().apply().unwrap();
}

#[test]
fn throwing_in_a_loop_takes_no_native_stack() {
    for tier in TIERS {
        let mut config = Config::new();
        config.tier(tier);
        let (mut store, instance) = instance(
            &Engine::new(&config).unwrap(),
            r#"(module
                (tag $e (param i32))
                (func $down (param $depth i32)
                    (if (local.get $depth)
                        (then (call $down (i32.sub (local.get $depth) (i32.const 1))))
                        (else (throw $e (i32.const 1)))))
                (func (export "run") (param $n i32) (result i32) (local $sum i32)
                    (loop $again
                        (block $caught (result i32)
                            (try_table (catch $e $caught) (call $down (i32.const 3)))
                            (unreachable))
                        (local.set $sum (i32.add (local.get $sum)))
                        (br_if $again (i32.lt_u (local.get $sum) (local.get $n))))
                    (local.get $sum)))"#,
        );
        assert_eq!(call(&mut store, instance, "run", 200_000).unwrap(), 200_000, "{tier:?}");
    }
}

/// At each depth at which the stack ends in the frame of what throws, that is told from a frame that was called too deep.
#[test]
fn a_throw_without_native_stack_left_is_an_overflow() {
    let text = r#"(module
        (tag $e)
        (func $thrower (throw $e))
        (func $down (param i32)
            (if (local.get 0)
                (then (call $down (i32.sub (local.get 0) (i32.const 1))))
                (else (call $thrower))))
        (func (export "run") (param i32) (result i32)
            (block $caught
                (try_table (catch $e $caught) (call $down (local.get 0)))
                (unreachable))
            (i32.const 1)))"#;
    let mut config = Config::new();
    config.tier(Tier::Optimized).max_wasm_stack(64 << 10).background_compilation(false);
    let (mut store, instance) = instance(&Engine::new(&config).unwrap(), text);
    let mut run = |depth| match call(&mut store, instance, "run", depth) {
        Ok(_) => None,
        Err(error) => {
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow));
            let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
            Some(backtrace.frames()[0].func_name().unwrap().to_owned())
        }
    };
    // The first calls compile.
    assert_eq!(run(100), None);
    let (mut fits, mut too_deep) = (0, 10_000);
    while fits + 1 < too_deep {
        let depth = (fits + too_deep) / 2;
        if run(depth).is_none() { fits = depth } else { too_deep = depth }
    }
    assert_eq!(run(too_deep).as_deref(), Some("thrower"));
    assert_eq!(run(10_000).as_deref(), Some("down"));
}
