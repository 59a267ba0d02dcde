//! Baseline code notices what others want of its thread.

use midair::{Caller, Config, Engine, Linker, Module, Store, Tier, Trap, Val};
use midair_watchdog::Watchdog;
use std::sync::mpsc;
use std::time::Duration;

/// All functions get baseline code at their first call, and no other.
fn engine() -> Engine {
    let mut config = Config::new();
    Engine::new(config.tier(Tier::Baseline)).unwrap()
}

/// What a function with a number of rounds in its local 0 does after it has asked for its own interruption: nobody looks but
/// the loop or the call.
const ROUNDS: [(&str, &str); 8] = [
    (
        "a loop that ends in a condition",
        "(loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))",
    ),
    (
        "a loop that begins with one",
        "(block (loop
            (br_if 1 (i32.eqz (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (br 0)))",
    ),
    (
        "a loop that ends in a table",
        "(block (loop
            (br_table 1 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
    ),
    (
        "a loop that carries values",
        "(i64.const 1) (f64.const 2)
         (loop (param i64 f64) (result i64 f64)
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
         drop drop",
    ),
    (
        "a loop in a handler",
        "try (throw $e) catch $e
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
         end",
    ),
    (
        "calls of itself",
        "(if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))",
    ),
    (
        "a call of itself through a table",
        "(if (local.get 0) (then
        (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))",
    ),
    (
        "tail calls of itself",
        "(if (local.get 0) (then
        (return_call $f (i32.sub (local.get 0) (i32.const 1)))))",
    ),
];

#[test]
fn loops_and_calls_are_interrupted() {
    let _watchdog = Watchdog::start();
    for (what, code) in ROUNDS {
        let engine = engine();
        let text = format!(
            r#"(module
                (import "host" "interrupt" (func $interrupt))
                (tag $e)
                (type $t (func (param i32)))
                (table funcref (elem $f))
                (func $f (export "f") (type $t)
                    (if (i32.eq (local.get 0) (i32.const 100)) (then (call $interrupt)))
                    {code}))"#
        );
        let module = Module::new(&engine, text).unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("host", "interrupt", |caller: Caller<'_, ()>| {
                caller.interrupt_handle().interrupt();
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
        for _ in 0..3 {
            f.call(&mut store, 50).unwrap();
        }
        assert!(engine.stats().baseline_compilation.count > 0, "{what}");
        let error = f.call(&mut store, 100).expect_err(what);
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{what}");
    }
}

/// A loop that calls nothing goes on in its function's new body, which ends it.
#[test]
fn a_loop_goes_on_in_a_new_body() {
    let _watchdog = Watchdog::start();
    let text = |condition: &str| {
        format!(
            r#"(module
                (import "host" "begun" (func $begun))
                (func (export "f") (param $again i32) (result i64) (local $n i64)
                    (call $begun)
                    (loop $loop
                        (local.set $n (i64.add (local.get $n) (i64.const 1)))
                        (br_if $loop {condition}))
                    (local.get $n)))"#
        )
    };
    let engine = engine();
    let module = Module::new(&engine, text("(local.get $again)")).unwrap();
    let body = Module::new(&engine, text("(i32.const 0)")).unwrap().function_body("f").unwrap();
    let (begins, begun) = mpsc::channel();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "begun", move || begins.send(()).unwrap()).unwrap();
    let guest = {
        let module = module.clone();
        std::thread::spawn(move || {
            let mut store = Store::new(module.engine(), ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
            for _ in 0..3 {
                assert_eq!(f.call(&mut store, 0).unwrap(), 1);
            }
            f.call(&mut store, 1).unwrap()
        })
    };
    for _ in 0..4 {
        begun.recv().unwrap();
    }
    // So that it is in the loop: it would move too if it were still at its call.
    std::thread::sleep(Duration::from_millis(20));
    module.replace_function(module.function_index("f").unwrap(), &body).unwrap();
    assert!(guest.join().unwrap() > 0);
}

/// Branches on references and checks of them leave a reference that is not null where it is, wherever it has come from. Baseline
/// code that forgot it would not be made.
#[test]
fn references_that_are_not_null_stay_where_they_are() {
    let _watchdog = Watchdog::start();
    let sources = [
        "(global.get $g)",
        "(table.get $r (i32.const 0))",
        "(local.get 0)",
        "(local.tee 1 (global.get $g))",
        "(select (result (ref null $t)) (global.get $g) (ref.null $t) (i32.const 1))",
        "(call $give)",
        "(block (result (ref null $t)) (global.get $g))",
    ];
    let functions: String = sources
        .iter()
        .enumerate()
        .map(|(n, source)| {
            let function = |name: &str, code: String| {
                format!(
                    "(func (export \"{name}{n}\") (param (ref null $t)) (result i32)
                        (local (ref null $t) i32)
                        (local.set 2 (i32.const 1))
                        {code} (i32.add (local.get 2)) (i32.sub (i32.const 1)))"
                )
            };
            function(
                "null",
                format!(
                    "(block $b (result i32)
                        (block $null (br $b (call_ref $t (br_on_null $null {source}))))
                        (i32.const 0))"
                ),
            ) + &function(
                "not",
                format!(
                    "(block $b (result i32)
                        (call_ref $t (block $l (result (ref $t))
                            (br_on_non_null $l {source})
                            (br $b (i32.const 0)))))"
                ),
            ) + &function(
                "check",
                format!(
                    "(if (result i32) (ref.is_null {source}) (then (i32.const 0)) (else
                    (call_ref $t (ref.as_non_null {source}))))"
                ),
            )
        })
        .collect();
    let text = format!(
        "(module
            (type $t (func (result i32)))
            (func $seven (type $t) (i32.const 7))
            (global $g (mut (ref null $t)) (ref.func $seven))
            (table $r 1 (ref null $t) (ref.func $seven))
            (func $give (result (ref null $t)) (global.get $g))
            (func (export \"clear\")
                (global.set $g (ref.null $t))
                (table.set $r (i32.const 0) (ref.null $t)))
            (func (export \"seven\") (result (ref null $t)) (global.get $g))
            {functions})"
    );
    let engine = engine();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let seven = instance.get_func(&mut store, "seven").unwrap();
    let mut reference = [Val::FuncRef(None)];
    seven.call(&mut store, &[], &mut reference).unwrap();
    for expected in [7, 0] {
        for name in ["null", "not", "check"] {
            for (n, source) in sources.iter().enumerate() {
                let f = instance.get_func(&mut store, &format!("{name}{n}")).unwrap();
                for _ in 0..2 {
                    let mut results = [Val::I32(-1)];
                    f.call(&mut store, &reference, &mut results).unwrap();
                    assert_eq!(results[0].unwrap_i32(), expected, "{name} {source}");
                }
            }
        }
        let clear = instance.get_typed_func::<(), ()>(&mut store, "clear").unwrap();
        clear.call(&mut store, ()).unwrap();
        reference = [Val::FuncRef(None)];
    }
    let functions = 4 + 3 * sources.len() as u64;
    assert_eq!(engine.stats().baseline_compilation.count, functions);
}
