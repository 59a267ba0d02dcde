//! Chains of tail calls between functions with parameters and results of all kinds, of which as many as one likes lie on the
//! stack, called by a function that has much to lose.
//!
//! What the tiers give is compared with what the interpreter gives for a short chain; there tail calls move slots only.

use anyhow::{Context, Result};
use midair::{Config, Engine, Instance, Linker, Module, Store, StressSpec, Tier};
use midair_tests::mutation::Random;
use midair_watchdog::Watchdog;

/// Bytes of stack for a chain, which would have a frame for each link otherwise.
const STACK: usize = 64 << 10;
const TYPES: [&str; 6] = ["i32", "i64", "f32", "f64", "v128", "funcref"];
const FUNCTIONS: usize = 5;

/// The bits of a local of this type as an i64.
fn bits(ty: &str, local: usize) -> String {
    let get = format!("(local.get {local})");
    match ty {
        "i32" => format!("(i64.extend_i32_u {get})"),
        "i64" => get,
        "f32" => format!("(i64.extend_i32_u (i32.reinterpret_f32 {get}))"),
        "f64" => format!("(i64.reinterpret_f64 {get})"),
        "v128" => format!(
            "(i64.xor (i64x2.extract_lane 0 {get}) (i64.rotl (i64x2.extract_lane 1 {get}) (i64.const 9)))"
        ),
        _ => format!("(i64.extend_i32_u (ref.is_null {get}))"),
    }
}

/// A value of this type that is made of the local `$acc`.
fn made(ty: &str, random: &mut Random) -> String {
    let by = random.below(63);
    let acc = format!("(i64.rotl (local.get $acc) (i64.const {by}))");
    match ty {
        // Its upper half is anything.
        "i32" => format!("(i32.wrap_i64 {acc})"),
        "i64" => acc,
        // Also what is no number: it is only passed on.
        "f32" => format!("(f32.reinterpret_i32 (i32.wrap_i64 {acc}))"),
        "f64" => format!("(f64.reinterpret_i64 {acc})"),
        "v128" => format!("(i64x2.replace_lane 1 (i64x2.splat {acc}) (local.get $acc))"),
        _ => ["(ref.null func)", "(ref.func $f0)"][random.below(2)].to_owned(),
    }
}

/// The text of a module whose `run` makes a chain of as many links as it is told.
struct Text {
    random: Random,
    params: Vec<Vec<&'static str>>,
    results: Vec<&'static str>,
    text: String,
}

impl Text {
    fn new(seed: u64) -> Text {
        let mut random = Random::new(seed);
        let mut types = |count: usize| -> Vec<&'static str> {
            (0..count).map(|_| TYPES[random.below(TYPES.len())]).collect()
        };
        let results = types(seed as usize % 5);
        let counts = [[0, 2, 14, 4, 30], [6, 7, 6, 8, 9], [1, 20, 1, 20, 3], [12, 5, 16, 0, 11]];
        let params = counts[seed as usize % counts.len()].map(&mut types).into();
        Text { random, params, results, text: String::new() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Values of these types, made of `$acc`.
    fn make(&mut self, types: &[&'static str]) {
        for ty in types {
            let value = made(ty, &mut self.random);
            self.line(&value);
        }
    }

    /// Folds all parameters of a function into `$acc`.
    fn fold_parameters(&mut self, function: usize) {
        for (local, ty) in self.params[function].clone().into_iter().enumerate() {
            self.fold(&bits(ty, local));
        }
    }

    fn fold(&mut self, value: &str) {
        self.line(&format!(
            "(local.set $acc (i64.add (i64.rotl (local.get $acc) (i64.const 5)) {value}))"
        ));
    }

    fn link(&mut self, function: usize) {
        self.line(&format!("(func $f{function} (type $t{function})"));
        self.line("(local $acc i64) (local $n i32) (local v128 f64)");
        self.line("(local.set $acc (global.get $seed))");
        self.fold_parameters(function);
        if self.random.below(2) == 0 {
            self.line(
                "(local.set $acc (call $ordinary (local.get $acc) (i64.const 1) (i64.const 2)",
            );
            self.line("(i64.const 3) (i64.const 4) (i64.const 5) (local.get $acc) (f64.const 6)))");
            // The parameters are still wanted behind the call.
            self.fold_parameters(function);
        }
        if self.random.below(2) == 0 {
            self.line("(local.set $n (i32.const 4))");
            self.line("(loop (local.set $acc (i64.rotl (local.get $acc) (i64.const 3)))");
            self.line("(br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))");
            // And behind the loop.
            self.fold_parameters(function);
        }
        self.line("(global.set $seed (local.get $acc))");
        self.line("(if (i64.eqz (global.get $left)) (then");
        self.make(&self.results.clone());
        self.line("(return)))");
        self.line("(global.set $left (i64.sub (global.get $left) (i64.const 1)))");
        // One of two callees; operands lie below the arguments of the first.
        self.line("(if (i64.lt_s (local.get $acc) (i64.const 0)) (then");
        self.line("(f32.const 1) (v128.const i64x2 3 4)");
        self.tail_call();
        self.line("))");
        self.tail_call();
        self.line(")");
    }

    fn tail_call(&mut self) {
        let next = self.random.below(FUNCTIONS);
        self.make(&self.params[next].clone());
        let call = match self.random.below(3) {
            0 => format!("(return_call $f{next})"),
            1 => format!("(return_call_indirect (type $t{next}) (i32.const {next}))"),
            _ => format!("(return_call_ref $t{next} (ref.func $f{next}))"),
        };
        self.line(&call);
    }

    /// The function that calls the first link, and has live values of all kinds meanwhile.
    fn caller(&mut self) {
        self.line("(func (export \"run\") (param i64 i64) (result i64) (local $acc i64)");
        let kept: Vec<&'static str> = (0..24).map(|i| TYPES[i % TYPES.len()]).collect();
        self.line(&format!("(local {})", kept.join(" ")));
        self.line("(local.set $acc (local.get 1))");
        for (local, ty) in kept.iter().enumerate() {
            let value = made(ty, &mut self.random);
            self.line(&format!("(local.set {} {value})", local + 3));
        }
        self.line("(global.set $left (local.get 0)) (global.set $seed (local.get 1))");
        self.make(&self.params[0].clone());
        self.line("(call $f0)");
        for ty in self.results.clone().into_iter().rev() {
            let local = 3 + kept.iter().position(|&kept| kept == ty).expect("one of each type");
            // With what lay there before.
            self.fold(&bits(ty, local));
            self.line(&format!("(local.set {local})"));
        }
        for (local, ty) in kept.iter().enumerate() {
            self.fold(&bits(ty, local + 3));
        }
        self.line("(local.get $acc))");
    }

    fn module(mut self) -> String {
        self.line("(module (global $left (mut i64) (i64.const 0))");
        self.line("(global $seed (mut i64) (i64.const 0))");
        for function in 0..FUNCTIONS {
            let (params, results) = (self.params[function].join(" "), self.results.join(" "));
            self.line(&format!("(type $t{function} (func (param {params}) (result {results})))"));
        }
        let names: Vec<String> = (0..FUNCTIONS).map(|i| format!("$f{i}")).collect();
        self.line(&format!("(table funcref (elem {}))", names.join(" ")));
        self.line(
            "(func $ordinary (param i64 i64 i64 i64 i64 i64 i64 f64) (result i64) (local i32)",
        );
        self.line("(local.set 8 (i32.const 3))");
        self.line("(loop (local.set 0 (i64.add (local.get 0) (local.get 6)))");
        self.line("(br_if 0 (local.tee 8 (i32.sub (local.get 8) (i32.const 1)))))");
        self.line("(local.get 0))");
        (0..FUNCTIONS).for_each(|function| self.link(function));
        self.caller();
        self.line(")");
        self.text
    }
}

fn run(engine: &Engine, text: &str, links: i64) -> Result<i64> {
    let module = Module::new(engine, text)?;
    let mut store = Store::new(engine, ());
    let instance: Instance = Linker::new(engine).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(i64, i64), i64>(&mut store, "run")?;
    run.call(&mut store, (links, 0x0123_4567_89ab_cdef))
}

fn engine(tier: Tier, stress: &str) -> Result<Engine> {
    let mut config = Config::new();
    config.tier(tier).max_wasm_stack(STACK).background_compilation(false);
    config.optimized_threshold(20);
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>()?);
    }
    Engine::new(&config)
}

#[test]
fn links_of_all_signatures_pass_on_what_they_get() -> Result<()> {
    let _watchdog = Watchdog::start();
    let configurations = [
        (Tier::Baseline, "", 2_000),
        (Tier::Optimized, "", 2_000),
        (Tier::Auto, "", 2_000),
        (Tier::Interp, "far:7", 2_000),
        (Tier::Baseline, "osr:1,retire:1", 200),
        (Tier::Optimized, "osr:1,retire:1", 200),
        (Tier::Optimized, "osr:2,retire:3", 200),
        (Tier::Auto, "osr:3", 1_000),
        (Tier::Auto, "osr:7,retire:5", 1_000),
        (Tier::Auto, "mixed:1", 1_000),
        (Tier::Auto, "mixed:3,osr:7,retire:5", 1_000),
    ];
    let interpreter = engine(Tier::Interp, "")?;
    for seed in 0..20 {
        let text = Text::new(seed).module();
        let mut expected = std::collections::HashMap::new();
        for (tier, stress, links) in configurations {
            let what = || format!("seed {seed}, {tier:?} {stress}");
            let expected = match expected.entry(links) {
                std::collections::hash_map::Entry::Occupied(known) => *known.get(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    *new.insert(run(&interpreter, &text, links).with_context(|| text.clone())?)
                }
            };
            let engine = engine(tier, stress)?;
            let found = run(&engine, &text, links).with_context(what)?;
            anyhow::ensure!(found == expected, "{}: {found:#x}, {expected:#x}\n{text}", what());
            let stats = engine.stats();
            let [baseline, optimized] = [stats.baseline_compilation, stats.optimized_compilation];
            anyhow::ensure!(baseline.failed + optimized.failed == 0, "{}: refused", what());
            let compiled = baseline.count + optimized.count;
            anyhow::ensure!(compiled > 0 || tier == Tier::Interp, "{}: none compiled", what());
            let moved = stats.frames.kinds.with_tail_calls;
            let moves = tier != Tier::Baseline && stress.contains("retire");
            anyhow::ensure!(moved > 0 || !moves, "{}: nothing moved", what());
        }
    }
    Ok(())
}

/// As many parameters as there may be, where there was room for none.
#[test]
fn a_callee_has_as_many_parameters_as_there_may_be() -> Result<()> {
    let _watchdog = Watchdog::start();
    for ty in ["v128", "i64", "f32"] {
        let value = |i: usize| match ty {
            "v128" => format!("(v128.const i64x2 {i} {})", 3 * i),
            "i64" => format!("(i64.const {i})"),
            _ => format!("(f32.const {i})"),
        };
        let get = |i: usize| bits(ty, i);
        let sum = (0..1000).fold("(i64.const 0)".to_owned(), |sum, i| {
            format!("(i64.add (i64.mul (i64.const 31) {sum}) {})", get(i))
        });
        let values: String = (0..1000).map(value).collect();
        let text = format!(
            "(module (type $t (func (param {}) (result i64)))
                (table funcref (elem $f))
                (func $f (type $t) {sum})
                (func $none (result i64) (return_call_indirect (type $t) {values} (i32.const 0)))
                (func (export \"run\") (param i64 i64) (result i64)
                    (i64.add (local.get 0) (call $none))))",
            format!("{ty} ").repeat(1000)
        );
        let mut found = Vec::new();
        for (tier, stress) in [
            (Tier::Interp, ""),
            (Tier::Baseline, ""),
            (Tier::Optimized, ""),
            (Tier::Optimized, "osr:1,retire:1"),
            (Tier::Auto, "mixed:1"),
        ] {
            found.push(run(&engine(tier, stress)?, &text, 5)?);
        }
        anyhow::ensure!(found.iter().all(|sum| *sum == found[0] && *sum != 5), "{found:?}");
    }
    Ok(())
}
