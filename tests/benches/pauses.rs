//! How long guests stand still when code is replaced: `cargo bench --bench pauses`.
//!
//! Guests run on their own threads, one store each: they descend through so many frames, spin in a loop that
//! polls, and return, over and over. The main thread replaces a function every now and then: that of all the
//! frames, or one that no frame is suspended in. `--quick` makes a tenth of the replacements; `--throughput`
//! prints the second table only; `--replacements` only replaces, for a profiler.

use anyhow::{Context, Result, ensure};
use midair::{Config, Engine, Instance, Module, Replacement, Store, Tier};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let has = |option: &str| std::env::args().any(|argument| argument == option);
    let quick = has("--quick");
    if has("--replacements") {
        return replacements(1_000);
    }
    if !has("--throughput") {
        all_pauses(quick)?;
    }
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

/// Where replacements of a subject's function take their bodies from.
#[derive(Clone, Copy, PartialEq)]
enum Bodies {
    /// Two bodies in turn: from the third time on a body has been compiled before.
    InTurn,
    /// A body that there has not been before.
    New,
}

impl Bodies {
    fn name(self) -> &'static str {
        match self {
            Bodies::InTurn => "two bodies in turn",
            Bodies::New => "a new body each time",
        }
    }
}

/// Gives functions bodies, and measures the processor time that this takes their thread.
struct Replacer {
    /// A body of `other` with a constant of five bytes at `at`.
    body: Vec<u8>,
    at: usize,
    round: u32,
    times: Vec<Duration>,
}

impl Replacer {
    fn new(subject: &Subject) -> Result<Replacer> {
        const CONSTANT: u32 = 0x0765_4321;
        let edited = Module::new(&subject.engine, program(CONSTANT as i32))?;
        let body = edited.function_body("other").context("exported")?;
        let constant = padded(CONSTANT);
        let at = body.windows(4).position(|bytes| bytes == constant);
        Ok(Replacer { body, at: at.context("the constant")?, round: 0, times: Vec::new() })
    }

    fn replace(&mut self, subject: &Subject, bodies: Bodies) -> Result<()> {
        self.round += 1;
        let number = if bodies == Bodies::New { 16 + self.round } else { self.round % 2 };
        self.body[self.at..self.at + 4].copy_from_slice(&padded(number));
        let before = thread_time()?;
        subject.module.replace_function(subject.function, &self.body)?;
        self.times.push(thread_time()?.saturating_sub(before));
        Ok(())
    }
}

/// A number below 2^27 as a constant that always has the same length.
fn padded(number: u32) -> [u8; 4] {
    [0, 7, 14, 21].map(|shift| {
        let more = if shift < 21 { 0x80 } else { 0 };
        (number >> shift) as u8 & 0x7f | more
    })
}

/// Processor time of this thread.
fn thread_time() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system fills the structure.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    ensure!(result == 0, "no clock of threads");
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// What a program loses whose hot function is replaced 1,000 times a second. Times without replacements, with
/// replacements in a module that no guest runs, and with those in question take turns in one run: the second
/// is what compiling beside the guest costs, whatever becomes of the code.
fn throughput(turns: usize) -> Result<()> {
    println!(
        "| hot function replaced 1,000 times a second | throughput lost | lost if another module's is | \
         processor time of one replacement |"
    );
    println!("|---|---|---|---|");
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
    for bodies in [Bodies::InTurn, Bodies::New] {
        let mut replacer = Replacer::new(&subject)?;
        let (mut losses, mut beside) = (Vec::new(), Vec::new());
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
                        replacer.replace(replacing, bodies)?;
                    }
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                *speed = (rounds.load(Ordering::Relaxed) - before) as f64
                    / started.elapsed().as_secs_f64();
            }
            let lost = |speed| 100.0 * (1.0 - speed / speeds[0]);
            beside.push(lost(speeds[1]));
            losses.push(lost(speeds[2]));
        }
        let median = |mut losses: Vec<f64>| {
            losses.sort_by(f64::total_cmp);
            losses[turns / 2]
        };
        println!(
            "| {} | {:.1} % | {:.1} % | {:.1} us |",
            bodies.name(),
            median(losses),
            median(beside),
            percentile(&sorted(replacer.times.into_iter()), 0.5),
        );
    }
    done.store(true, Ordering::Relaxed);
    guest.join().expect("the guest's thread")?;
    Ok(())
}

/// Only replacements, of code that is hot and not running: for a profiler.
fn replacements(count: usize) -> Result<()> {
    let subject = Subject::new("other")?;
    let mut store = Store::new(&subject.engine, ());
    let instance = Instance::new(&mut store, &subject.module, &[])?;
    instance.get_typed_func::<i32, i64>(&mut store, "spin")?.call(&mut store, 20_000)?;
    for bodies in [Bodies::InTurn, Bodies::New] {
        let mut replacer = Replacer::new(&subject)?;
        for _ in 0..count {
            replacer.replace(&subject, bodies)?;
        }
        let times = sorted(replacer.times.into_iter());
        println!("{}: {:.1} us of processor time", bodies.name(), percentile(&times, 0.5));
    }
    Ok(())
}
