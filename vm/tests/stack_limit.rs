//! Replacement where next to nothing is left of the guest's stack.

use midair::{Caller, Config, Engine, Instance, Linker, Module, Result, Store, Tier, Trap};
use midair_watchdog::Watchdog;

/// `f(n)` calls itself to the bottom, and calls `g` on the way back, which calls `h`: all check the limit.
fn recursion(add: i32) -> String {
    format!(
        r#"(module
            (import "host" "bottom" (func $bottom))
            (func $f (export "f") (param $n i32) (result i32)
                (if (i32.eqz (local.get $n)) (then (call $bottom) (return (i32.const 0))))
                (i32.add
                    (call $g (call $f (i32.sub (local.get $n) (i32.const 1))))
                    (i32.const {add})))
            (func $g (export "g") (param i32) (result i32) (call $h (local.get 0)))
            (func $h (export "h") (param i32) (result i32)
                (if (i32.eq (local.get 0) (i32.const -1)) (then (drop (call $h (i32.const -1)))))
                (local.get 0)))"#
    )
}

fn subject(tier: Tier, replaced: bool) -> (Engine, Store<bool>, Instance) {
    let mut config = Config::new();
    config.tier(tier).optimized_threshold(2).background_compilation(false);
    let engine = Engine::new(config.max_wasm_stack(64 << 10)).unwrap();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let body = Module::new(&engine, recursion(10)).unwrap().function_body("f").unwrap();
    let edited = module.clone();
    let mut linker = Linker::new(&engine);
    let bottom = move |caller: Caller<'_, bool>| -> Result<()> {
        if replaced && *caller.data() {
            edited.replace_function(edited.function_index("f").unwrap(), &body)?;
        }
        Ok(())
    };
    linker.func_wrap("host", "bottom", bottom).unwrap();
    let mut store = Store::new(&engine, false);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (engine, store, instance)
}

/// Calls `f(depth)` from always the same place of the native stack.
#[inline(never)]
fn descend(store: &mut Store<bool>, instance: Instance, depth: i32) -> Result<i32> {
    instance.get_typed_func::<i32, i32>(&mut *store, "f").unwrap().call(store, depth)
}

#[test]
fn frames_at_the_very_limit_go_on_when_they_are_replaced() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        // The deepest recursion that there is room for.
        let (_engine, mut store, instance) = subject(tier, false);
        for _ in 0..10 {
            descend(&mut store, instance, 10).unwrap();
        }
        let (mut fits, mut too_deep) = (10, 1 << 20);
        while too_deep - fits > 1 {
            let depth = fits + (too_deep - fits) / 2;
            match descend(&mut store, instance, depth) {
                Ok(sum) => {
                    assert_eq!(sum, depth);
                    fits = depth;
                }
                Err(error) => {
                    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                    too_deep = depth;
                }
            }
        }
        for depth in fits - 40..=fits {
            let (engine, mut store, instance) = subject(tier, true);
            for _ in 0..10 {
                descend(&mut store, instance, 10).unwrap();
            }
            *store.data_mut() = true;
            let sum = descend(&mut store, instance, depth);
            assert_eq!(sum.unwrap(), 10 * depth, "{tier:?}, {depth} of {fits}");
            let redirected = engine.stats().frames.redirected;
            let compiled = tier == Tier::Optimized;
            assert!(!compiled || redirected > depth as u64 / 2, "{redirected}");
            // What was set aside is not left to the guest.
            *store.data_mut() = false;
            let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
            let error = f.call(&mut store, 1 << 24).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        }
    }
}

/// A frame takes the same room in the interpreter and in baseline code, with all the operands that it can have.
#[test]
fn baseline_code_finds_the_limit_where_the_interpreter_does() {
    let _watchdog = Watchdog::start();
    for operands in [0, 1, 7, 500, 3000] {
        let pushed: String =
            (0..operands).map(|n| format!("(i64.mul (local.get $n) (i64.const {n}))\n")).collect();
        let text = format!(
            r#"(module (func $f (export "f") (param $n i64) (result i64)
                {pushed}
                (if (result i64) (i64.eqz (local.get $n))
                    (then (i64.const 0))
                    (else (call $f (i64.sub (local.get $n) (i64.const 1)))))
                {}))"#,
            "i64.add ".repeat(operands)
        );
        let mut interpreted = Config::new();
        interpreted.tier(Tier::Interp);
        let mut baseline = Config::new();
        baseline.tier(Tier::Baseline);
        let [expected, found] = [interpreted, baseline].map(|mut config| {
            let engine = Engine::new(config.max_wasm_stack(256 << 10)).unwrap();
            let module = Module::new(&engine, &text).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let f = instance.get_typed_func::<i64, i64>(&mut store, "f").unwrap();
            let (mut fits, mut too_deep) = (0, 1 << 16);
            while too_deep - fits > 1 {
                let depth = i64::midpoint(fits, too_deep);
                match f.call(&mut store, depth) {
                    Ok(_) => fits = depth,
                    Err(error) => {
                        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                        too_deep = depth;
                    }
                }
            }
            fits
        });
        assert_eq!(found, expected, "{operands} operands");
    }
}
