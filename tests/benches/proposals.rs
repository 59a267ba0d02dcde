//! What operators of newer proposals cost: a link of a chain of tail calls, an exception that is thrown and caught, an atomic
//! access. `cargo bench --bench proposals`; with `-- --write DIR` the modules are put there, for other engines: each exports
//! `run`, which takes how often.

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

/// A program that throws and catches in a loop. In between are so many frames, or, without a number, none: it throws within
/// the block that catches.
fn throws(frames: Option<usize>) -> String {
    let mut functions = "(func $f0 (param i64) (result i64) (throw $e (local.get 0)))\n".to_owned();
    for frame in 1..frames.unwrap_or(0) {
        functions += &format!(
            "(func $f{frame} (param i64) (result i64)
                (i64.add (call $f{} (local.get 0)) (i64.const 1)))\n",
            frame - 1
        );
    }
    let thrower = match frames {
        None => "(throw $e (local.get 0))".to_owned(),
        Some(frames) => format!("(call $f{} (local.get 0))", frames - 1),
    };
    format!(
        "(module (tag $e (param i64))\n{functions}
            (func (export \"run\") (param i64) (result i64) (local $sum i64)
                (loop $next
                    (block $caught (result i64)
                        (try_table (result i64) (catch $e $caught) {thrower}))
                    (local.set $sum (i64.add (local.get $sum)))
                    (br_if $next
                        (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
                (local.get $sum)))"
    )
}

/// A loop around an access of a shared memory.
fn accesses(access: &str) -> String {
    format!(
        "(module (memory 1 1 shared)
            (func (export \"run\") (param i64) (result i64) (local $sum i64)
                (loop $next
                    (local.set $sum (i64.add (local.get $sum) {access}))
                    (br_if $next
                        (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
                (local.get $sum)))"
    )
}

/// What is measured, its module, and how often in the fastest tier.
fn modules() -> Vec<(&'static str, String, i64)> {
    let itself = link("a", 2, "(return_call $a)", 2);
    let two = link("a", 4, "(return_call $b)", 4) + &link("b", 4, "(return_call $a)", 4);
    // Which one is next depends on what is left.
    let call =
        "(i32.wrap_i64 (i64.and (local.get 0) (i64.const 3))) (return_call_indirect (type $t))";
    let table: String = ["a", "b", "c", "d"].map(|name| link(name, 3, call, 3)).concat()
        + "(table funcref (elem $a $b $c $d))";
    let stack = link("a", 8, "(return_call $b)", 8) + &link("b", 8, "(return_call $a)", 8);
    let more = link("a", 2, "(return_call $b)", 8) + &link("b", 8, "(return_call $a)", 2);
    let address = "(i32.and (i32.wrap_i64 (local.get 0)) (i32.const 0xff8))";
    vec![
        ("tail calls: a function calls itself", module(&itself, 2), LINKS),
        ("tail calls: two functions in turn", module(&two, 4), LINKS),
        ("tail calls: four through a table", module(&table, 3), LINKS),
        ("tail calls: two with eight arguments", module(&stack, 8), LINKS),
        ("tail calls: two with two and eight arguments", module(&more, 2), LINKS),
        ("exceptions: within a function", throws(None), THROWS),
        ("exceptions: through one frame", throws(Some(1)), THROWS),
        ("exceptions: through ten frames", throws(Some(10)), THROWS),
        ("atomics: load", accesses(&format!("(i64.atomic.load {address})")), LINKS),
        (
            "atomics: store",
            accesses(&format!(
                "(block (result i64) (i64.atomic.store {address} (local.get 0)) (i64.const 1))"
            )),
            ACCESSES,
        ),
        (
            "atomics: add",
            accesses(&format!("(i64.atomic.rmw.add {address} (local.get 0))")),
            ACCESSES,
        ),
        (
            "atomics: add to a byte",
            accesses(&format!("(i64.atomic.rmw8.add_u {address} (local.get 0))")),
            ACCESSES,
        ),
        (
            "atomics: compare and exchange",
            accesses(&format!("(i64.atomic.rmw.cmpxchg {address} (local.get 0) (local.get $sum))")),
            ACCESSES,
        ),
    ]
}

/// How often something happens in optimized code, so that it takes a fraction of a second.
const LINKS: i64 = 100_000_000;
const ACCESSES: i64 = 20_000_000;
const THROWS: i64 = 200_000;

/// Processor time of this thread.
fn processor_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("nanoseconds")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Nanoseconds of processor time each time: the median of seven runs.
fn measure(engine: &Engine, text: &str, times: i64, compiled: &[u32]) -> Result<f64> {
    let module = Module::new(engine, text)?;
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    run.call(&mut store, 1000)?;
    for &function in compiled {
        module.recompile(function, &RecompileOptions::optimized())?;
    }
    let mut measured = Vec::new();
    for _ in 0..7 {
        let started = processor_time()?;
        run.call(&mut store, times)?;
        let time = processor_time()? - started;
        measured.push(time.as_secs_f64() * 1e9 / times as f64);
    }
    measured.sort_by(f64::total_cmp);
    Ok(measured[3])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        let directory = Path::new(arguments.get(at + 1).context("--write needs a directory")?);
        for (what, text, times) in modules() {
            let name = what.replace(": ", "_").replace(' ', "_");
            let file = directory.join(format!("{name}.wat"));
            std::fs::write(&file, text).with_context(|| file.display().to_string())?;
            println!("{times} {}", file.display());
        }
        return Ok(());
    }
    println!("| what | optimized | baseline | interpreter | one of them interpreted |");
    println!("|---|---|---|---|---|");
    for (what, text, times) in modules() {
        let engine = |tier| Engine::new(Config::new().tier(tier).background_compilation(false));
        let optimized = measure(&engine(Tier::Optimized)?, &text, times, &[])?;
        let baseline = measure(&engine(Tier::Baseline)?, &text, times / 2, &[])?;
        let interpreter = measure(&engine(Tier::Interp)?, &text, times / 10, &[])?;
        let mixed = match what.contains("two") || what.contains("four") {
            true => format!("{:.0} ns", measure(&engine(Tier::Interp)?, &text, times / 50, &[0])?),
            false => String::new(),
        };
        println!(
            "| {what} | {optimized:.2} ns | {baseline:.2} ns | {interpreter:.1} ns | {mixed} |"
        );
    }
    Ok(())
}
