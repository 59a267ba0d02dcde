//! Handlers, and loops in handlers, that frames enter in machine code.

use midair::{Config, Engine, Instance, Module, Store, StressSpec, Tier};
use midair_watchdog::Watchdog;

/// What lies behind the handlers of `try_table`s, where nothing else leads: a loop; another `try_table`; a loop in its
/// handler, which gives what is caught on to a third one.
const BEHIND_HANDLERS: &str = r#"(module
    (tag $e (param i32 f64))
    (func $throw (param i32)
        (throw $e (local.get 0) (f64.convert_i32_u (local.get 0))))
    (func (export "loop") (param $n i32) (result i32) (local $sum i32) (local $x f64)
        (block $caught (result i32 f64)
            (try_table (catch $e $caught) (call $throw (local.get $n)))
            (unreachable))
        (local.set $x)
        (local.set $n)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (i32.trunc_f64_u (local.get $x))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))
    (func $twice (param $n i32) (result i32) (local $x f64) (local $all exnref)
        (block $all (result exnref)
            (try_table (catch_all_ref $all) (call $throw (local.get $n)))
            (unreachable))
        (local.set $all)
        (block $caught (result i32 f64)
            (try_table (catch $e $caught) (throw_ref (local.get $all)))
            (unreachable))
        (local.set $x)
        (local.set $n)
        (block $any
            (loop $again
                (try_table (catch_all $any)
                    (if (i32.eqz (local.get $n)) (then (throw_ref (local.get $all)))))
                (local.set $x (f64.add (local.get $x) (f64.const 1)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br $again)))
        (i32.trunc_f64_u (local.get $x)))
    (func (export "tries") (param $n i32) (result i32) (local $i i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call $twice (i32.and (local.get $i) (i32.const 7)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $sum)))"#;

#[test]
fn what_lies_behind_a_handler_is_entered_in_machine_code() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Optimized, Tier::Auto] {
        for stress in [None, Some("osr:1"), Some("osr:3,retire:2")] {
            let mut config = Config::new();
            config.tier(tier);
            if let Some(stress) = stress {
                config.stress(stress.parse::<StressSpec>().unwrap());
            }
            let engine = Engine::new(&config).unwrap();
            let module = Module::new(&engine, BEHIND_HANDLERS).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            for (name, argument, result) in [("loop", 2000, 4_000_000), ("tries", 400, 2800)] {
                let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
                assert_eq!(
                    function.call(&mut store, argument).unwrap(),
                    result,
                    "{name} {tier:?} {stress:?}"
                );
            }
            let compiled = engine.stats().osr_compilation;
            assert_eq!(compiled.failed, 0, "{tier:?} {stress:?}");
            assert!(stress.is_none() || compiled.count > 0, "{tier:?} {stress:?}: {compiled:?}");
        }
    }
}
