//! Functions that call each other often get to the same tier soon.

use midair::{Config, Engine, Instance, Module, Store, Tier};

/// `small` gets to the optimising compiler by its own calls, and `large` would need a hundred times as many.
fn text() -> String {
    let padding =
        "(i64.add (i64.const 1234567890123)) (i64.sub (i64.const 1234567890123))".repeat(120);
    format!(
        r#"(module
            (func $small (export "small") (param i64) (result i64)
                (i64.add (local.get 0) (i64.const 1)))
            (func $large (export "large") (param i64) (result i64)
                (call $small (local.get 0)) {padding})
            (func (export "caller") (param $n i64) (result i64) (local $sum i64)
                (loop $again
                    (local.set $sum (call $large (local.get $sum)))
                    (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
                (local.get $sum)))"#
    )
}

fn subject() -> (Engine, Store<()>, Instance) {
    let mut config = Config::new();
    config.tier(Tier::Auto).background_compilation(false).optimized_threshold(10_000);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, text()).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (engine, store, instance)
}

fn optimized(engine: &Engine) -> u64 {
    engine.stats().optimized_compilation.count
}

#[test]
fn a_function_that_often_calls_optimized_code_is_optimized() {
    let (engine, mut store, instance) = subject();
    let small = instance.get_typed_func::<i64, i64>(&mut store, "small").unwrap();
    let large = instance.get_typed_func::<i64, i64>(&mut store, "large").unwrap();
    for n in 0..2_000 {
        assert_eq!(large.call(&mut store, n).unwrap(), n + 1);
    }
    assert_eq!(optimized(&engine), 0);
    for n in 0..10_000 {
        small.call(&mut store, n).unwrap();
    }
    assert_eq!(
        optimized(&engine),
        1,
        "only `small`: `large` would have to be called 190,000 times"
    );
    for n in 0..10_000 {
        assert_eq!(large.call(&mut store, n).unwrap(), n + 1);
    }
    assert_eq!(optimized(&engine), 2, "both");
}

#[test]
fn a_function_that_optimized_code_often_calls_is_optimized() {
    let (engine, mut store, instance) = subject();
    let caller = instance.get_typed_func::<i64, i64>(&mut store, "caller").unwrap();
    assert_eq!(caller.call(&mut store, 30_000).unwrap(), 30_000);
    assert!(optimized(&engine) >= 3, "all three: {:?}", engine.stats().optimized_compilation);
}
