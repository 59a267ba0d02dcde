//! Functions in different tiers call each other, and change their tiers between two calls.

use midair::stats::{MixedTierStats, Stats};
use midair::{Config, Engine, Linker, Module, Store, Tier};

/// `hash` leaves something in the upper half of the register of its result, and `widen` reads it.
const HASH: &str = r#"(module
    (func $hash (param i64) (result i32)
        (i32.wrap_i64 (i64.shr_u
            (i64.mul (local.get 0) (i64.const 0x9E3779B97F4A7C15)) (i64.const 8))))
    (func (export "warm") (param i32)
        (loop (drop (call $hash (i64.extend_i32_u (local.get 0))))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "cold") (param i64) (result i64)
        (i64.extend_i32_u (call $hash (local.get 0)))))"#;

#[test]
fn a_cold_function_widens_what_a_hot_one_has_narrowed() {
    let engine =
        Engine::new(Config::new().optimized_threshold(100).background_compilation(false)).unwrap();
    let module = Module::new(&engine, HASH).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let cold = instance.get_typed_func::<i64, i64>(&mut store, "cold").unwrap();
    let warm = instance.get_typed_func::<i32, ()>(&mut store, "warm").unwrap();
    assert_eq!(cold.call(&mut store, 12345).unwrap(), 0x2b4e_d990);
    warm.call(&mut store, 1_000).unwrap();
    assert!(engine.stats().optimized_compilation.count > 0);
    assert_eq!(cold.call(&mut store, 12345).unwrap(), 0x2b4e_d990);
}

/// Twelve functions, each of which calls the next one twice, and so on.
fn tree() -> String {
    let functions: String = (0..12)
        .map(|i| {
            let calls = match i {
                11 => "(local.get 0)".to_owned(),
                _ => format!(
                    "(i64.extend_i32_u (i32.add
                        (i32.wrap_i64 (call {0} (i64.mul (local.get 0) (i64.const 0x9E3779B97F4A7C15))))
                        (i32.wrap_i64 (call {0} (i64.add (local.get 0) (i64.const {0}))))))",
                    i + 1
                ),
            };
            format!("(func (export \"f{i}\") (param i64) (result i64) {calls})")
        })
        .collect();
    format!("(module {functions})")
}

fn run(tier: Tier, stress: &str) -> (i64, Stats) {
    let mut config = Config::new();
    config.tier(tier);
    if !stress.is_empty() {
        config.stress(stress.parse().unwrap());
    }
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, tree()).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i64, i64>(&mut store, "f0").unwrap();
    (f.call(&mut store, 0x0123_4567_89ab_cdef).unwrap(), engine.stats())
}

#[test]
fn all_kinds_of_changes_happen_and_each_function_is_compiled_once_with_each_settings() {
    let (expected, calm) = run(Tier::Interp, "");
    assert_eq!(calm.mixed, MixedTierStats::default());
    for stress in ["mixed:1", "mixed:3,seed:7", "mixed:20,seed:8"] {
        let (result, stats) = run(Tier::Auto, stress);
        assert_eq!(result, expected, "{stress}");
        let mixed = &stats.mixed;
        let kinds = [mixed.linked, mixed.unlinked, mixed.exchanged];
        let changes = [mixed.interpreter_to_code, mixed.code_to_interpreter];
        assert!(!kinds.contains(&0) && !changes.contains(&0), "{stress}: {mixed:?}");
        // By the optimising compiler with both settings. Baseline code is not kept on a shelf.
        let (baseline, optimized) = (stats.baseline_compilation, stats.optimized_compilation);
        assert!((1..=24).contains(&optimized.count), "{stress}: {optimized:?}");
        assert!(baseline.count > 0, "{stress}");
    }
}

#[test]
fn a_seed_makes_the_same_choices_each_time_and_another_one_others() {
    let mixed = |stress| run(Tier::Auto, stress).1.mixed;
    assert_eq!(mixed("mixed:3,seed:7"), mixed("mixed:3,seed:7"));
    assert_ne!(mixed("mixed:3,seed:7"), mixed("mixed:3,seed:8"));
}

#[test]
fn a_forced_tier_is_mixed_with_the_interpreter_only() {
    let (_, baseline) = run(Tier::Baseline, "mixed:2");
    let (_, optimized) = run(Tier::Optimized, "mixed:2");
    let (_, interpreter) = run(Tier::Interp, "mixed:2");
    assert!(baseline.mixed.linked > 0 && baseline.optimized_compilation.count == 0);
    assert!(optimized.mixed.linked > 0 && optimized.baseline_compilation.count == 0);
    assert_eq!(interpreter.mixed, MixedTierStats::default());
    assert_eq!(interpreter.optimized_compilation.count, 0);
}
