//! Damaged modules are refused or run within their limits; the virtual machine never panics.
//!
//! `MIDAIR_RANDOM_SEED` gives other mutants, `MIDAIR_MUTANTS` more or fewer of them.

use midair::{Config, Engine, Linker, Module, Store, StoreLimits, Tier, Val};
use midair_tests::mutation::{Random, mutate};
use midair_tests::spec_suite;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many mutated modules there are by default.
const MUTANTS: u64 = 100_000;

/// The seed of the mutants by default.
const SEED: u64 = 0x6d69_6461_6972;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn engines(tier: Tier) -> [Engine; 2] {
    [false, true].map(|lazy| {
        let mut config = Config::new();
        config.tier(tier).consume_fuel(true).lazy_validation(lazy).max_wasm_stack(256 << 10);
        Engine::new(&config).unwrap()
    })
}

/// Loads a module, and runs what it exports within limits. Returns whether it was accepted.
fn exercise(engine: &Engine, bytes: &[u8]) -> bool {
    let Ok(module) = Module::from_binary(engine, bytes) else {
        return false;
    };
    let mut store = Store::new(engine, ());
    store.set_limits(StoreLimits::new().memory_bytes(16 << 20).table_elements(1 << 16));
    store.set_fuel(5_000).unwrap();
    let linker = Linker::new(engine);
    let Ok(instance) = linker.instantiate(&mut store, &module) else {
        return true;
    };
    for export in module.exports() {
        let Some(function) = instance.get_func(&mut store, export.name()) else {
            continue;
        };
        let ty = function.ty(&store);
        let arguments: Option<Vec<Val>> =
            ty.params.iter().map(|&p| Val::default_for_ty(p)).collect();
        let mut results = vec![Val::I32(0); ty.results.len()];
        // Whether it traps does not matter.
        let _ = function.call(&mut store, &arguments.unwrap_or_default(), &mut results);
    }
    true
}

/// Exercises all inputs; returns how many there were, and how many were accepted.
fn exercise_all(tier: Tier, inputs: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
    let engines = engines(tier);
    let (mut count, mut accepted) = (0, 0);
    for bytes in inputs {
        for engine in &engines {
            match catch_unwind(AssertUnwindSafe(|| exercise(engine, &bytes))) {
                Ok(loaded) => accepted += usize::from(loaded),
                Err(_) => {
                    let path =
                        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("panics.wasm");
                    std::fs::write(&path, &bytes).unwrap();
                    panic!("a damaged module makes {tier:?} panic: {}", path.display());
                }
            }
        }
        count += 1;
    }
    (count, accepted)
}

/// On a thread with enough stack for the guests.
fn with_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(test);
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn truncated_modules() {
    with_stack(|| {
        let modules = spec_suite::modules();
        let cuts =
            modules.iter().flat_map(|module| (0..module.len()).map(|end| module[..end].to_vec()));
        let (count, accepted) = exercise_all(Tier::Interp, cuts);
        println!("{count} truncated modules, {accepted} loads accepted");
        assert!(count > 0);
    });
}

fn mutants() -> impl Iterator<Item = Vec<u8>> {
    let modules = spec_suite::modules();
    let mut random = Random::new(number("MIDAIR_RANDOM_SEED").unwrap_or(SEED));
    let count = number("MIDAIR_MUTANTS").unwrap_or(MUTANTS);
    (0..count).map(move |_| {
        let module = &modules[random.below(modules.len())];
        let other = &modules[random.below(modules.len())];
        mutate(module, other, &mut random)
    })
}

#[test]
fn mutated_modules_interpreted() {
    with_stack(|| {
        let (count, accepted) = exercise_all(Tier::Interp, mutants());
        println!("{count} mutated modules, {accepted} loads accepted");
        assert!(accepted > 0, "the mutations leave nothing to run");
    });
}

#[test]
fn mutated_modules_compiled() {
    with_stack(|| {
        let (count, accepted) = exercise_all(Tier::Optimized, mutants());
        println!("{count} mutated modules, {accepted} loads accepted");
        assert!(accepted > 0, "the mutations leave nothing to run");
    });
}

/// Texts are input too.
#[test]
fn damaged_texts() {
    let engine = Engine::default();
    let mut random = Random::new(7);
    for script in spec_suite::scripts() {
        for _ in 0..20 {
            let from = random.below(script.text.len().max(1));
            let end = (from + random.below(2_000)).min(script.text.len());
            if let Some(part) = script.text.get(from..end) {
                let _ = Module::new(&engine, part);
            }
        }
    }
}
