//! There is one timer in a process: all tests that sample are one test.

use crate::code::stats::{Stats, TierStats};
use crate::config::{Config, Tier};
use crate::engine::Engine;
use crate::link::instance::Instance;
use crate::link::linker::Linker;
use crate::module::Module;
use crate::store::Store;
use std::time::Duration;

/// `spin` calls `step` so many times; `steps` returns how often.
const MODULE: &str = r#"(module
    (import "host" "work" (func $work))
    (global $steps (mut i64) (i64.const 0))
    (func $step (param $n i32)
        (global.set $steps (i64.add (global.get $steps) (i64.const 1)))
        (loop $again
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "spin") (param $n i32)
        (loop $again
            (call $step (i32.const 100))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "steps") (result i64) (global.get $steps))
    (func (export "work") (call $work)))"#;

/// Uses the processor.
fn work() {
    let mut state = 1u64;
    for _ in 0..100_000 {
        state = std::hint::black_box(state.wrapping_mul(3));
    }
}

/// Has a guest work until there are `samples` samples, as `count` sees it. Returns the statistics, and the
/// number of calls of the guest's own functions.
fn run(
    config: &Config,
    function: &str,
    count: impl Fn(&Stats) -> u64,
    samples: u64,
) -> (Stats, u64) {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, MODULE).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "work", work).unwrap();
    let mut store = Store::new(&engine, ());
    let instance: Instance = linker.instantiate(&mut store, &module).unwrap();
    let steps = instance.get_typed_func::<(), i64>(&mut store, "steps").unwrap();
    let mut calls = 0;
    while count(&engine.stats()) < samples {
        if function == "spin" {
            let spin = instance.get_typed_func::<i32, ()>(&mut store, "spin").unwrap();
            spin.call(&mut store, 1000).unwrap();
        } else {
            let work = instance.get_typed_func::<(), ()>(&mut store, "work").unwrap();
            work.call(&mut store, ()).unwrap();
        }
        calls += 1;
    }
    let steps = steps.call(&mut store, ()).unwrap() as u64;
    (engine.stats(), calls + steps + 1)
}

fn is_unused(tier: &TierStats) -> bool {
    *tier == TierStats::default()
}

#[test]
fn samples_and_calls_are_those_of_the_tier_that_runs() {
    let config = |tier| Config::new().sample_tiers(true).tier(tier).clone();

    let (stats, calls) = run(&config(Tier::Interp), "spin", |s| s.interpreter.samples, 10);
    assert_eq!(stats.interpreter.calls, calls);
    assert!(stats.interpreter.time > Duration::ZERO);
    assert!(stats.sample_interval() > Duration::ZERO);
    assert!(is_unused(&stats.baseline) && is_unused(&stats.optimized) && is_unused(&stats.host));

    let (stats, calls) = run(&config(Tier::Optimized), "spin", |s| s.optimized.samples, 10);
    assert_eq!((stats.optimized.calls, stats.interpreter.calls), (calls, 0));
    assert!(stats.optimized.time > stats.interpreter.time, "{stats:?}");
    assert!(is_unused(&stats.baseline) && is_unused(&stats.host));

    let (stats, calls) = run(&config(Tier::Baseline), "spin", |s| s.baseline.samples, 10);
    assert_eq!((stats.baseline.calls, stats.interpreter.calls), (calls, 0));
    assert!(is_unused(&stats.optimized));

    // Each call is counted in one tier, whatever becomes of its frame.
    for stress in ["osr:1", "retire:200", "osr:3,retire:200"] {
        let config = config(Tier::Optimized).stress(stress.parse().unwrap()).clone();
        for function in ["spin", "work"] {
            let all = |s: &Stats| s.host.samples + s.interpreter.samples + s.optimized.samples;
            let (stats, calls) = run(&config, function, all, 2);
            assert_eq!(stats.optimized.calls + stats.interpreter.calls, calls, "{stress}");
        }
    }
    let config_auto = config(Tier::Auto).optimized_threshold(500).clone();
    let (stats, calls) = run(&config_auto, "spin", |s| s.optimized.samples, 10);
    let TierStats { calls: in_baseline_code, .. } = stats.baseline;
    assert_eq!(stats.optimized.calls + in_baseline_code + stats.interpreter.calls, calls);
    assert!(stats.optimized.calls > 0 && in_baseline_code > 0, "{stats:?}");
    assert!(stats.interpreter.calls > 0, "{stats:?}");

    let (stats, calls) = run(&config(Tier::Optimized), "work", |s| s.host.samples, 10);
    assert_eq!(stats.host.calls + 1, calls);
    assert!(stats.host.time > stats.optimized.time);

    let first = Engine::new(&config(Tier::Auto)).unwrap();
    let second = Engine::new(&config(Tier::Auto)).unwrap_err();
    assert!(second.to_string().contains("sampling"), "{second}");
    drop(first);
    Engine::new(&config(Tier::Auto)).unwrap();

    let stats = Engine::default().stats();
    assert!(is_unused(&stats.interpreter));
}
