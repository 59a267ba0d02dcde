//! How long guests stand still when code is replaced: `cargo bench --bench pauses`.
//!
//! Guests run on their own threads, one store each: they descend through so many frames, spin in a loop that
//! polls, and return, over and over. The main thread replaces a function every now and then: that of all the
//! frames, or one that no frame is suspended in. `--quick` makes a tenth of the replacements; `--throughput`
//! prints the second table only.

use anyhow::{Context, Result, ensure};
use midair::{Config, Engine, Instance, Module, Replacement, Store, Tier};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let has = |option: &str| std::env::args().any(|argument| argument == option);
    let quick = has("--quick");
    if !has("--throughput") {
        all_pauses(quick)?;
    }
    println!("| what | figure |");
    println!("|---|---|");
    throughput(if quick { 4 } else { 30 })
}

fn all_pauses(quick: bool) -> Result<()> {
    println!(
        "| guests | frames | concerned | pause: median | 99 of 100 | longest | freed: median | 99 of 100 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for threads in [1, 2, 8] {
        for frames in [10, 1_000, 100_000] {
            for concerned in [true, false] {
                let replacements = if frames > 1_000 { 200 } else { 1_000 };
                pauses(
                    threads,
                    frames,
                    concerned,
                    if quick { replacements / 10 } else { replacements },
                )?;
            }
        }
    }
    println!();
    Ok(())
}

/// `deep` descends, and `spin` runs at the bottom and calls `other`.
fn program(step: i32) -> String {
    format!(
        r#"(module
            (func $deep (export "deep") (param $n i32) (result i64) (local $below i64)
                (if (i32.eqz (local.get $n)) (then (return (call $spin (i32.const 200000)))))
                (local.set $below (call $deep (i32.sub (local.get $n) (i32.const 1))))
                (i64.add (local.get $below) (i64.const {step})))
            (func $spin (export "spin") (param $n i32) (result i64) (local $sum i64)
                (loop $again
                    (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (call $other (local.get $n)))))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (i64.and (local.get $sum) (i64.const 0)))
            (func $other (export "other") (param i32) (result i32)
                (if (result i32) (i32.eq (local.get 0) (i32.const -1))
                    (then (call $other (i32.const 1))) (else (i32.const {step})))))"#
    )
}

/// A module that runs the program, and the two bodies that a function gets in turn.
struct Subject {
    engine: Engine,
    module: Module,
    function: u32,
    bodies: [Vec<u8>; 2],
}

impl Subject {
    fn new(function: &str) -> Result<Subject> {
        let mut config = Config::new();
        config.tier(Tier::Optimized).max_wasm_stack(64 << 20);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, program(1))?;
        let edited = Module::new(&engine, program(2))?;
        let body = |module: &Module| module.function_body(function).context("exported");
        let bodies = [body(&edited)?, body(&module)?];
        let function = module.function_index(function).context("exported")?;
        Ok(Subject { engine, module, function, bodies })
    }

    fn replace(&self, round: usize) -> Result<Replacement> {
        self.module.replace_function(self.function, &self.bodies[round % 2])
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(times: &[f64], part: f64) -> f64 {
    times[((times.len() - 1) as f64 * part).round() as usize]
}

/// A row: the longest pause of a guest for each replacement, and its time to freed memory.
fn pauses(threads: usize, frames: i32, concerned: bool, replacements: usize) -> Result<()> {
    let subject = Subject::new(if concerned { "deep" } else { "other" })?;
    let begun = Arc::new(Barrier::new(threads + 1));
    let done = Arc::new(AtomicBool::new(false));
    let guests: Vec<_> = (0..threads)
        .map(|_| {
            let (engine, module) = (subject.engine.clone(), subject.module.clone());
            let (begun, done) = (begun.clone(), done.clone());
            let guest = move || -> Result<()> {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[])?;
                let deep = instance.get_typed_func::<i32, i64>(&mut store, "deep")?;
                deep.call(&mut store, frames)?;
                begun.wait();
                let n = i64::from(frames);
                while !done.load(Ordering::Relaxed) {
                    let sum = deep.call(&mut store, frames)?;
                    ensure!((n..=2 * n).contains(&sum), "wrong result {sum}");
                }
                Ok(())
            };
            std::thread::Builder::new().stack_size(96 << 20).spawn(guest)
        })
        .collect::<std::io::Result<_>>()?;
    begun.wait();
    // Long enough for the guests to be at the bottom of their stacks again.
    let rest = Duration::from_micros(1_000 + frames as u64 / 10);
    let mut reports = Vec::new();
    for round in 0..replacements {
        std::thread::sleep(rest);
        reports.push(subject.replace(round)?);
    }
    done.store(true, Ordering::Relaxed);
    for guest in guests {
        guest.join().expect("a guest's thread")?;
    }
    let pauses = sorted(reports.iter().map(|report| report.pause));
    let freed = sorted(reports.iter().map(|report| report.time_to_freed));
    let us = |times: &[f64], part| format!("{:.1} us", percentile(times, part));
    println!(
        "| {threads} | {frames} | {} | {} | {} | {} | {} | {} |",
        if concerned { "yes" } else { "no" },
        us(&pauses, 0.5),
        us(&pauses, 0.99),
        us(&pauses, 1.0),
        us(&freed, 0.5),
        us(&freed, 0.99),
    );
    Ok(())
}

/// What a program loses whose hot function is replaced 1,000 times a second. Times without replacements, with
/// replacements in a module that no guest runs, and with those in question take turns in one run: the second
/// is what compiling beside the guest costs, whatever becomes of the code.
fn throughput(turns: usize) -> Result<()> {
    let (subject, bystander) = (Subject::new("other")?, Subject::new("other")?);
    {
        // Its code is hot too.
        let mut store = Store::new(&bystander.engine, ());
        let instance = Instance::new(&mut store, &bystander.module, &[])?;
        instance.get_typed_func::<i32, i64>(&mut store, "spin")?.call(&mut store, 20_000)?;
    }
    let done = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let guest = {
        let (engine, module) = (subject.engine.clone(), subject.module.clone());
        let (done, rounds) = (done.clone(), rounds.clone());
        std::thread::spawn(move || -> Result<()> {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[])?;
            let spin = instance.get_typed_func::<i32, i64>(&mut store, "spin")?;
            while !done.load(Ordering::Relaxed) {
                spin.call(&mut store, 20_000)?;
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    };
    let (mut losses, mut beside) = (Vec::new(), Vec::new());
    let mut replaced = 0;
    let turn = Duration::from_millis(100);
    for _ in 0..turns {
        let mut speeds = [0.0; 3];
        let replacing = [None, Some(&bystander), Some(&subject)];
        for (speed, replacing) in speeds.iter_mut().zip(replacing) {
            let (started, before) = (Instant::now(), rounds.load(Ordering::Relaxed));
            let mut next = started;
            while started.elapsed() < turn {
                next += Duration::from_millis(1);
                if let Some(replacing) = replacing {
                    replacing.replace(replaced)?;
                    replaced += 1;
                }
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            *speed =
                (rounds.load(Ordering::Relaxed) - before) as f64 / started.elapsed().as_secs_f64();
        }
        let lost = |speed, of| 100.0 * (1.0 - speed / of);
        beside.push(lost(speeds[1], speeds[0]));
        losses.push(lost(speeds[2], speeds[1]));
    }
    done.store(true, Ordering::Relaxed);
    guest.join().expect("the guest's thread")?;
    let rate = replaced as f64 / (2.0 * turns as f64 * turn.as_secs_f64());
    for (what, mut losses) in [
        ("while functions that it does not run are", beside),
        ("more than that while its own hot function is", losses),
    ] {
        losses.sort_by(f64::total_cmp);
        println!(
            "| throughput that a loop loses {what} replaced {rate:.0} times a second | {:.1} % (median of {turns}) |",
            losses[turns / 2]
        );
    }
    Ok(())
}
