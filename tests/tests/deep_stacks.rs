//! Replacement under guests whose stacks are deep: the thread that replaces goes through the outer frames
//! while the guest runs on, returns, calls and traps.

use anyhow::Result;
use midair::{Caller, Config, Engine, Linker, Module, Store, Tier, Trap};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// `f(n, depth, trap)` recurses to the bottom, through `g` at every second level and through the host at each
/// whose number is a multiple of 128, goes up and down a little there, and adds `add` in each of its own frames
/// on the way back and 1000 in each of `g`'s. On the way back it traps where `n` is `trap`.
fn recursion(add: i64) -> String {
    format!(
        r#"(module
            (import "host" "again" (func $again (param i32 i32) (result i64)))
            (func $f (export "f") (param $n i32) (param $trap i32) (result i64) (local $i i32) (local $sum i64)
                (if (i32.eqz (local.get $n)) (then
                    (local.set $i (i32.const 20))
                    (loop $again
                        (drop (call $h (local.get $i)))
                        (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                    (return (i64.const 0))))
                (local.set $sum (if (result i64) (i32.and (local.get $n) (i32.const 127))
                    (then (call $g (i32.sub (local.get $n) (i32.const 1)) (local.get $trap)))
                    (else (call $again (i32.sub (local.get $n) (i32.const 1)) (local.get $trap)))))
                (if (i32.eq (local.get $n) (local.get $trap)) (then (unreachable)))
                (i64.add (local.get $sum) (i64.const {add})))
            (func $g (export "g") (param $n i32) (param $trap i32) (result i64)
                (if (i32.eqz (local.get $n)) (then (return (call $f (local.get $n) (local.get $trap)))))
                (i64.add (call $f (local.get $n) (local.get $trap)) (i64.const 1000)))
            (func $h (param $n i32) (result i32)
                (if (result i32) (local.get $n)
                    (then (i32.add (call $h (i32.sub (local.get $n) (i32.const 1))) (i32.const 1)))
                    (else (i32.const 0)))))"#
    )
}

/// Guests go down and up while `f` is replaced, and back, by another thread.
fn replaced_under_deep_stacks(
    tier: Tier,
    replaced: &[&str],
    threads: usize,
    depth: i32,
    traps: bool,
    rounds: usize,
) {
    let mut config = Config::new();
    config.tier(tier).optimized_threshold(20).max_wasm_stack(32 << 20);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let edited = Module::new(&engine, recursion(10)).unwrap();
    let bodies = |name: &str| [&edited, &module].map(|m| m.function_body(name).unwrap());
    let bodies: Vec<_> =
        replaced.iter().map(|name| (module.function_index(name).unwrap(), bodies(name))).collect();
    let done = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(Barrier::new(threads + 1));
    let guests: Vec<_> = (0..threads)
        .map(|number| {
            let (engine, module) = (engine.clone(), module.clone());
            let (done, begun) = (done.clone(), begun.clone());
            let guest = move || {
                let mut linker = Linker::new(&engine);
                let again = |mut caller: Caller<'_, ()>, n: i32, trap: i32| -> Result<i64> {
                    let g = caller.get_export("g").unwrap().into_func().unwrap();
                    g.typed::<(i32, i32), i64>(&caller)?.call(&mut caller, (n, trap))
                };
                linker.func_wrap("host", "again", again).unwrap();
                let mut store = Store::new(&engine, ());
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let f = instance.get_typed_func::<(i32, i32), i64>(&mut store, "f").unwrap();
                begun.wait();
                let mut calls = 0;
                while !done.load(Ordering::Relaxed) {
                    calls += 1;
                    let depth = depth - calls % 7 - number as i32;
                    let trap = if traps && calls % 2 == 0 { depth - calls % 200 } else { -1 };
                    match f.call(&mut store, (depth, trap)) {
                        Ok(sum) => {
                            assert_eq!(trap, -1);
                            // The innermost `g` adds nothing.
                            let own = sum - 1000 * i64::from(depth - 1);
                            let least = i64::from(depth);
                            assert!((least..=10 * least).contains(&own), "{own} of {least}");
                            assert_eq!((own - least) % 9, 0, "{own} of {least}");
                        }
                        Err(error) => {
                            let found = error.downcast_ref::<Trap>();
                            assert_eq!(found, Some(&Trap::UnreachableCodeReached), "{error:?}");
                            assert_ne!(trap, -1);
                        }
                    }
                }
                calls
            };
            std::thread::Builder::new().stack_size(64 << 20).spawn(guest).unwrap()
        })
        .collect();
    begun.wait();
    // More of them if the guests have not been in the middle of anything so far.
    let redirected = || tier != Tier::Optimized || engine.stats().frames.redirected > 0;
    for round in (0..100 * rounds).take_while(|&round| round < rounds || !redirected()) {
        for (function, bodies) in &bodies {
            module.replace_function(*function, &bodies[round % 2]).unwrap();
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    done.store(true, Ordering::Relaxed);
    for guest in guests {
        assert!(guest.join().unwrap() > 0);
    }
    assert_eq!(engine.code_stats().retired, 0);
    if tier == Tier::Optimized {
        let frames = engine.stats().frames;
        assert!(frames.redirected > 0, "{frames:?}");
        assert_eq!(frames.moved + frames.dropped, frames.redirected, "{frames:?}");
    }
}

#[test]
fn guests_return_while_their_outer_frames_are_redirected() {
    let _watchdog = Watchdog::start();
    replaced_under_deep_stacks(Tier::Optimized, &["f"], 1, 10_000, false, 50);
    replaced_under_deep_stacks(Tier::Optimized, &["f"], 3, 2_000, false, 80);
}

#[test]
fn guests_trap_while_their_outer_frames_are_redirected() {
    let _watchdog = Watchdog::start();
    replaced_under_deep_stacks(Tier::Optimized, &["f"], 2, 3_000, true, 80);
}

/// The replacements of two functions overlap on one stack: that of `g` leaves `f`'s frames where they are.
#[test]
fn several_functions_of_one_stack_are_replaced() {
    let _watchdog = Watchdog::start();
    replaced_under_deep_stacks(Tier::Optimized, &["f", "g"], 2, 2_000, true, 50);
    replaced_under_deep_stacks(Tier::Auto, &["f", "g", "f"], 2, 1_000, true, 50);
}

#[test]
fn frames_that_are_not_concerned_stay_where_they_are() {
    let _watchdog = Watchdog::start();
    replaced_under_deep_stacks(Tier::Optimized, &["g"], 2, 3_000, true, 50);
    replaced_under_deep_stacks(Tier::Baseline, &["f"], 2, 500, true, 50);
}
