//! What a link of a chain of tail calls costs: `cargo bench --bench tail_calls`. With `-- --write DIR` the modules are put
//! there, for other engines: each exports `run`, which takes the number of links.

use anyhow::{Context, Result};
use midair::{Config, Engine, Instance, Module, RecompileOptions, Store, Tier};
use std::path::Path;
use std::time::Duration;

/// A function of so many parameters that goes on with what `next` says of its arguments, in the order of its parameters:
/// how much is left, a sum, and others.
fn link(name: &str, params: usize, call: &str, arguments: usize) -> String {
    let others: String = (2..arguments)
        .map(|i| match i < params {
            // Each in another place.
            true => format!("(local.get {})", if i + 1 < params { i + 1 } else { 2 }),
            false => format!("(i64.const {i})"),
        })
        .collect();
    let last = params - 1;
    format!(
        "(func ${name} (param {}) (result i64)
            (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
            (i64.sub (local.get 0) (i64.const 1))
            (i64.xor (i64.add (local.get 1) (i64.const 7)) (local.get {last})) {others} {call})\n",
        "i64 ".repeat(params)
    )
}

fn module(links: &str, params: usize) -> String {
    let zeros = "(i64.const 0)".repeat(params - 1);
    format!(
        "(module (type $t (func (param i64 i64 i64) (result i64)))\n{links}
            (func $run (export \"run\") (param i64) (result i64) (call $a (local.get 0) {zeros})))"
    )
}

/// What is measured, and its module.
fn modules() -> Vec<(&'static str, String)> {
    let itself = link("a", 2, "(return_call $a)", 2);
    let two = link("a", 4, "(return_call $b)", 4) + &link("b", 4, "(return_call $a)", 4);
    // Which one is next depends on what is left.
    let call =
        "(i32.wrap_i64 (i64.and (local.get 0) (i64.const 3))) (return_call_indirect (type $t))";
    let table: String = ["a", "b", "c", "d"].map(|name| link(name, 3, call, 3)).concat()
        + "(table funcref (elem $a $b $c $d))";
    let stack = link("a", 8, "(return_call $b)", 8) + &link("b", 8, "(return_call $a)", 8);
    let more = link("a", 2, "(return_call $b)", 8) + &link("b", 8, "(return_call $a)", 2);
    vec![
        ("a function calls itself", module(&itself, 2)),
        ("two functions in turn", module(&two, 4)),
        ("four through a table", module(&table, 3)),
        ("two with eight arguments", module(&stack, 8)),
        ("two with two and eight arguments", module(&more, 2)),
    ]
}

/// Processor time of this thread.
fn processor_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("nanoseconds")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Nanoseconds of processor time a link: the median of seven runs.
fn measure(engine: &Engine, text: &str, links: i64, compiled: &[u32]) -> Result<f64> {
    let module = Module::new(engine, text)?;
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    run.call(&mut store, 1000)?;
    for &function in compiled {
        module.recompile(function, &RecompileOptions::optimized())?;
    }
    let mut times = Vec::new();
    for _ in 0..7 {
        let started = processor_time()?;
        run.call(&mut store, links)?;
        let time = processor_time()? - started;
        times.push(time.as_secs_f64() * 1e9 / links as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[3])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        let directory = Path::new(arguments.get(at + 1).context("--write needs a directory")?);
        for (what, text) in modules() {
            let file = directory.join(what.replace(' ', "_")).with_extension("wat");
            std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        }
        return Ok(());
    }
    println!("| what | optimized | baseline | interpreter | one of them interpreted |");
    println!("|---|---|---|---|---|");
    for (what, text) in modules() {
        let engine = |tier| Engine::new(Config::new().tier(tier).background_compilation(false));
        let optimized = measure(&engine(Tier::Optimized)?, &text, 100_000_000, &[])?;
        let baseline = measure(&engine(Tier::Baseline)?, &text, 50_000_000, &[])?;
        let interpreter = measure(&engine(Tier::Interp)?, &text, 10_000_000, &[])?;
        let mixed = match what.contains("itself") {
            true => String::new(),
            false => {
                let mixed = measure(&engine(Tier::Interp)?, &text, 2_000_000, &[0])?;
                format!("{mixed:.0} ns")
            }
        };
        println!(
            "| {what} | {optimized:.2} ns | {baseline:.2} ns | {interpreter:.1} ns | {mixed} |"
        );
    }
    Ok(())
}
