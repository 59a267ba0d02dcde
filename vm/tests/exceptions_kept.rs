//! Which exceptions a store keeps, while others are freed.

use midair::{Config, Engine, Instance, Module, Store, Tier};

/// What one exception carries of another keeps that alive.
#[test]
fn exceptions_that_exceptions_carry_are_kept() {
    let text = r#"(module
        (tag $e (param i32))
        (tag $outer (param exnref))
        (global $kept (mut exnref) (ref.null exn))
        (func $catch (param $n i32) (result exnref)
            (block $caught (result i32 exnref)
                (try_table (catch_ref $e $caught) (throw $e (local.get $n)))
                (unreachable))
            (return)
            (unreachable))
        (func (export "keep") (param $n i32) (result i32)
            (block $caught (result exnref exnref)
                (try_table (catch_ref $outer $caught)
                    (throw $outer (call $catch (local.get $n))))
                (unreachable))
            (global.set $kept)
            (drop)
            (i32.const 0))
        (func (export "many") (param $n i32) (result i32)
            (loop $again
                (drop (call $catch (local.get $n)))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $n))
        (func (export "value") (param i32) (result i32)
            (block $inner (result i32)
                (try_table (catch $e $inner)
                    (block $carried (result exnref)
                        (try_table (catch $outer $carried) (throw_ref (global.get $kept)))
                        (unreachable))
                    (throw_ref))
                (unreachable))))"#;
    let engine = Engine::default();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut call = |name: &str, argument: i32| {
        let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
        function.call(&mut store, argument).unwrap()
    };
    for n in [-31, -32] {
        call("keep", n);
        call("many", 5000);
        assert_eq!(call("value", 0), n);
    }
}

/// So are those that frames refer to, which wait or throw others themselves, in every tier: in locals, in operands below a
/// call and in a loop's, and in an argument.
#[test]
fn exceptions_that_frames_refer_to_are_kept_while_others_are_thrown() {
    let text = r#"(module
        (tag $e (param i32))
        (func $caught (param $n i32) (result exnref)
            (block $caught (result i32 exnref)
                (try_table (catch_ref $e $caught) (throw $e (local.get $n)))
                (unreachable))
            (return)
            (unreachable))
        (func $value (param $exception exnref) (result i32)
            (block $caught (result i32)
                (try_table (catch $e $caught) (throw_ref (local.get $exception)))
                (unreachable)))
        ;; Throws many, in this frame and in others, and gives the sum of what four exceptions carry.
        (func $many (param $argument exnref) (param $n i32) (result i32) (local $local exnref)
            (local.set $local (call $caught (i32.const 2)))
            (call $caught (i32.const 4))
            (call $caught (i32.const 8))
            (loop $again (param exnref exnref) (result exnref exnref)
                (block $one (result i32) (try_table (catch $e $one) (throw $e (i32.const 0))) (unreachable))
                (drop)
                (drop (call $caught (i32.const 0)))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (call $value)
            (local.set $n)
            (call $value)
            (i32.add (local.get $n))
            (i32.add (call $value (local.get $local)))
            (i32.add (call $value (local.get $argument))))
        (func (export "run") (param $n i32) (result i32) (local $local exnref)
            (local.set $local (call $caught (i32.const 16)))
            (call $caught (i32.const 32))
            (local.set $n (call $many (call $caught (i32.const 1)) (local.get $n)))
            (call $value)
            (i32.add (call $value (local.get $local)))
            (i32.add (local.get $n))))"#;
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        for stress in [None, Some("osr:5,retire:50,until:2000"), Some("mixed:20,until:2000")] {
            let mut config = Config::new();
            config.tier(tier).background_compilation(false).optimized_threshold(1000);
            if let Some(stress) = stress {
                config.stress(stress.parse().unwrap());
            }
            let engine = Engine::new(&config).unwrap();
            let module = Module::new(&engine, text).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
            assert_eq!(run.call(&mut store, 3000).unwrap(), 63, "{tier:?} {stress:?}");
        }
    }
}
