//! What transitions cost: `cargo bench --bench osr`.
//!
//! Prints one table. Each figure is the median of several runs; costs of a frame or a transition are
//! differences between a run with and one without, divided by how many there were, as the engine counts
//! them. `--quick` makes the long run of replacements a hundred times shorter, `--long`
//! ten times longer.

use anyhow::{Context, Result, ensure};
use midair::{Caller, Config, Engine, Linker, Module, Store, StressSpec, Tier};
use midair_osr::{CodeDescription, CodeHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    println!("| what | figure |");
    println!("|---|---|");
    transitions()?;
    frames()?;
    publish_and_free()?;
    let long = std::env::args().any(|argument| argument == "--long");
    let replacements = match (quick, long) {
        (true, _) => 10_000,
        (_, true) => 10_000_000,
        _ => 1_000_000,
    };
    recompiled_while_running(replacements)?;
    replaced_while_running(replacements)?;
    Ok(())
}

fn row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

fn median(runs: usize, mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut times = (0..runs).map(|_| run()).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[runs / 2])
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn config(tier: Tier, stress: &str) -> Result<Config> {
    let mut config = Config::new();
    config.tier(tier).background_compilation(false).max_wasm_stack(64 << 20);
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>()?);
    }
    Ok(config)
}

const LOOP: &str = r#"(module (func (export "run") (param $n i32) (result i64)
    (local $sum i64)
    (loop $again
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))"#;

/// Time of a loop of so many iterations, and how many OSR entries and exits it made.
fn run_loop(stress: &str, iterations: i32) -> Result<(f64, u64, u64)> {
    let engine = Engine::new(&config(Tier::Optimized, stress)?)?;
    let module = Module::new(&engine, LOOP)?;
    let mut store = Store::new(&engine, ());
    let instance = midair::Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run")?;
    run.call(&mut store, 100)?;
    let before = engine.stats();
    let started = Instant::now();
    let sum = run.call(&mut store, iterations)?;
    let time = nanoseconds(started.elapsed());
    let n = i64::from(iterations);
    ensure!(sum == n * (n + 1) / 2, "wrong result {sum}");
    let after = engine.stats();
    Ok((
        time,
        after.osr_entries.total() - before.osr_entries.total(),
        after.osr_exits.total() - before.osr_exits.total(),
    ))
}

/// OSR entries and exits. Under `osr:1` a loop goes back and forth at every iteration, so entry and exit
/// come in pairs; what polling alone costs is measured by a schedule that is never due.
fn transitions() -> Result<()> {
    const ITERATIONS: i32 = 200_000;
    let polling = median(5, || Ok(run_loop("osr:1000000000", ITERATIONS)?.0))?;
    let pair = median(5, || {
        let (time, entries, exits) = run_loop("osr:1", ITERATIONS)?;
        ensure!(entries.abs_diff(exits) <= 2 && exits > 1000, "{entries} entries, {exits} exits");
        Ok((time - polling) / exits as f64)
    })?;
    row("OSR entry and exit of a loop, together", format!("{pair:.0} ns"));
    row("a poll that is taken and does nothing", {
        format!("{:.0} ns", polling / f64::from(ITERATIONS))
    });
    // An exit without an entry: the running code is retired, and goes on in new code of the same loop.
    let moved = median(5, || {
        let (time, entries, _) = run_loop("retire:1", ITERATIONS)?;
        ensure!(entries > 1000, "{entries} entries");
        Ok((time - polling) / entries as f64)
    })?;
    row(
        "retire, free and republish the running code, and move its frame",
        format!("{moved:.0} ns"),
    );
    Ok(())
}

fn recursion(step: u32) -> String {
    format!(
        r#"(module
            (import "host" "bottom" (func $bottom))
            (func $descend (export "descend") (param $n i32) (result i64)
                (local $below i64)
                (if (i32.eqz (local.get $n)) (then (call $bottom) (return (i64.const 0))))
                (local.set $below (call $descend (i32.sub (local.get $n) (i32.const 1))))
                (i64.add (local.get $below)
                    (i64.mul (i64.const {step}) (i64.extend_i32_u (local.get $n))))))"#
    )
}

/// What the host does at the bottom of a recursion.
struct Bottom {
    replace: Option<Vec<u8>>,
    redirect: Duration,
    frames: usize,
    left: Option<Instant>,
}

/// Redirects and moves the frames of a stack; returns nanoseconds for redirecting one frame, for its way
/// back when it is moved, and for its way back when it is not.
fn redirect_and_move(depth: i32) -> Result<(f64, f64, f64)> {
    let mut back = [0.0; 2];
    let mut redirect = 0.0;
    for replace in [false, true] {
        let engine = Engine::new(&config(Tier::Optimized, "")?)?;
        let module = Module::new(&engine, recursion(1))?;
        let edited = Module::new(&engine, recursion(2))?;
        let body = edited.function_body("descend").context("descend")?;
        let function = module.function_index("descend").context("descend")?;
        let mut linker = Linker::new(&engine);
        let target = module.clone();
        let bottom = move |mut caller: Caller<'_, Bottom>| -> Result<()> {
            if let Some(body) = caller.data_mut().replace.take() {
                let report = target.replace_function(function, &body)?;
                caller.data_mut().redirect = report.time_to_freed;
                caller.data_mut().frames = report.frames_redirected;
            }
            caller.data_mut().left = Some(Instant::now());
            Ok(())
        };
        linker.func_wrap("host", "bottom", bottom)?;
        let data = Bottom { replace: None, redirect: Duration::ZERO, frames: 0, left: None };
        let mut store = Store::new(&engine, data);
        let instance = linker.instantiate(&mut store, &module)?;
        let descend = instance.get_typed_func::<i32, i64>(&mut store, "descend")?;
        // The stack's pages are touched and the code is there before anything is measured.
        descend.call(&mut store, depth)?;
        store.data_mut().replace = replace.then_some(body);
        let sum = descend.call(&mut store, depth)?;
        let returned = store.data().left.context("the bottom was reached")?.elapsed();
        let n = i64::from(depth);
        let step = if replace { 2 } else { 1 };
        ensure!(sum == step * n * (n + 1) / 2, "wrong result {sum}");
        back[usize::from(replace)] = nanoseconds(returned) / f64::from(depth);
        if replace {
            ensure!(store.data().frames == depth as usize + 1, "every frame is redirected");
            redirect = nanoseconds(store.data().redirect) / f64::from(depth);
        }
    }
    Ok((redirect, back[1], back[0]))
}

fn frames() -> Result<()> {
    for depth in [10, 1_000, 100_000] {
        let mut runs = (0..9).map(|_| redirect_and_move(depth)).collect::<Result<Vec<_>>>()?;
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (redirect, ..) = runs[4];
        runs.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (_, moved, plain) = runs[4];
        row(
            &format!(
                "redirect one of {depth} frames, with all that is done until their code is free"
            ),
            format!("{redirect:.0} ns"),
        );
        row(
            &format!(
                "return to one of {depth} redirected frames: move it into the interpreter, finish it"
            ),
            format!("{moved:.0} ns (not redirected: {plain:.0} ns)"),
        );
    }
    Ok(())
}

fn publish_and_free() -> Result<()> {
    const OBJECTS: u32 = 100_000;
    let heap = CodeHeap::new(64 << 20)?;
    let time = median(5, || {
        let started = Instant::now();
        for _ in 0..OBJECTS {
            let description = CodeDescription { bytes: vec![0xc3; 300], ..Default::default() };
            let object = heap.publish(description, Arc::new(()))?;
            // SAFETY: nothing ever runs it.
            unsafe { heap.free(&object) };
        }
        Ok(nanoseconds(started.elapsed()) / f64::from(OBJECTS))
    })?;
    row("publish and free one function of 300 bytes, barriers included", format!("{time:.0} ns"));
    Ok(())
}

/// Resident memory, in bytes.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}

/// The growth of resident memory between the first tenth of a long run and its end, as text.
fn flat(first: u64, last: u64) -> Result<String> {
    let grown = last.saturating_sub(first);
    ensure!(grown < 4 << 20, "resident memory has grown by {grown} bytes");
    Ok(format!("resident {:.1} MiB, then {:.1} MiB", mib(first), mib(last)))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The code of a running loop is retired, freed and published anew at each iteration.
fn recompiled_while_running(count: u64) -> Result<()> {
    let engine = Engine::new(&config(Tier::Optimized, "retire:1")?)?;
    let module = Module::new(&engine, LOOP)?;
    let mut store = Store::new(&engine, ());
    let instance = midair::Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run")?;
    let tenth = i32::try_from(count / 10)?;
    let mut samples = Vec::new();
    let started = Instant::now();
    for _ in 0..10 {
        // A replacement every second iteration: the safepoint that is entered counts as served.
        run.call(&mut store, 2 * tenth)?;
        samples.push(resident()?);
    }
    let time = nanoseconds(started.elapsed()) / count as f64;
    let stats = engine.stats();
    ensure!(stats.pauses.count >= count, "only {} replacements", stats.pauses.count);
    row(
        &format!("{} times new code for a running loop", stats.pauses.count),
        format!("{time:.0} ns each; {}", flat(samples[0], samples[9])?),
    );
    Ok(())
}

/// A function that is suspended in a host call gets a new body at each call.
fn replaced_while_running(count: u64) -> Result<()> {
    let program = |step: u32| {
        format!(
            r#"(module
                (import "host" "swap" (func $swap))
                (func $step (export "step") (result i32)
                    (call $swap) (i32.const {step}))
                (func (export "run") (param $n i32) (result i32) (local $sum i32)
                    (loop $again
                        (local.set $sum (i32.add (local.get $sum) (call $step)))
                        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (local.get $sum)))"#
        )
    };
    let mut config = config(Tier::Auto, "")?;
    config.background_compilation(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, program(1))?;
    let edited = Module::new(&engine, program(2))?;
    let bodies = [&edited, &module].map(|m| m.function_body("step").expect("exported"));
    let function = module.function_index("step").context("step")?;
    let mut linker = Linker::new(&engine);
    let target = module.clone();
    linker.func_wrap("host", "swap", move |mut caller: Caller<'_, usize>| -> Result<()> {
        let which = *caller.data() % 2;
        *caller.data_mut() += 1;
        target.replace_function(function, &bodies[which])?;
        Ok(())
    })?;
    let mut store = Store::new(&engine, 0usize);
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
    let tenth = i32::try_from(count / 10)?;
    let mut samples = Vec::new();
    let started = Instant::now();
    for _ in 0..10 {
        run.call(&mut store, tenth)?;
        samples.push(resident()?);
    }
    let time = nanoseconds(started.elapsed()) / count as f64;
    row(
        &format!("{count} new bodies for a suspended function"),
        format!(
            "{time:.0} ns each, validation and lowering included; {}",
            flat(samples[0], samples[9])?
        ),
    );
    Ok(())
}
