//! A tuner on another thread recompiles the hot function of a running program with every choice of options,
//! measures each for a moment, and keeps the best.
//!
//! The program knows nothing of it: it calls `kernel` over and over, and tells the host now and then how many
//! calls it has made. Each recompilation publishes new machine code for `kernel` while it runs; the frame that
//! is in the old code moves into the new one in the middle of its loop, and the old code is poisoned and freed
//! before `recompile` returns.
//!
//! It proves that the program's result is what it would have been without the tuner, and that not a byte is
//! left of any code that was tried and rejected: the program fails otherwise.
//!
//! Run it with `cargo run --release --example autotuner`.

use anyhow::{Context, Result, ensure};
use midair::{
    Config, Engine, Event, Linker, Module, OptLevel, RecompileOptions, RegisterAllocation, Store,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `kernel(seed)` mixes a table in memory with the seed. Its loop has more live values than a single pass of
/// register allocation can keep in registers, and loads that an optimiser can merge.
const PROGRAM: &str = r#"(module $program
    (import "host" "tick" (func $tick (param i64) (result i32)))
    (memory 1)
    (func $kernel (export "kernel") (param $a i64) (result i64)
        (local $b i64) (local $c i64) (local $d i64) (local $e i64) (local $i i32)
        (local.set $b (i64.const 0x9e3779b97f4a7c15))
        (local.set $c (i64.const 0x2545f4914f6cdd1d))
        (loop $next
            (local.set $d (i64.xor (i64.load offset=16 (local.get $i)) (i64.load offset=16 (local.get $i))))
            (local.set $e (i64.add (i64.load offset=16 (local.get $i)) (local.get $d)))
            (local.set $a (i64.add (i64.mul (local.get $a) (local.get $b)) (local.get $e)))
            (local.set $b (i64.xor (i64.rotl (local.get $b) (i64.const 7)) (local.get $a)))
            (local.set $c (i64.add (i64.mul (local.get $c) (i64.const 8)) (i64.shr_u (local.get $b) (i64.const 3))))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 1024))))
        (i64.add (local.get $a) (local.get $c)))
    (func (export "run") (result i64 i64)
        (local $calls i64) (local $sum i64)
        (loop $fill
            (i64.store offset=16 (i32.wrap_i64 (local.get $calls)) (i64.mul (local.get $calls) (i64.const 77)))
            (local.set $calls (i64.add (local.get $calls) (i64.const 8)))
            (br_if $fill (i64.lt_u (local.get $calls) (i64.const 1024))))
        (local.set $calls (i64.const 0))
        (loop $next
            (local.set $sum (i64.add (local.get $sum) (call $kernel (local.get $calls))))
            (local.set $calls (i64.add (local.get $calls) (i64.const 1)))
            (br_if $next (i64.ne (i64.and (local.get $calls) (i64.const 63)) (i64.const 0)))
            (br_if $next (call $tick (local.get $calls))))
        (local.get $calls)
        (local.get $sum)))"#;

/// The same as the guest's `kernel`.
fn kernel(seed: u64) -> u64 {
    let (mut a, mut b, mut c) = (seed, 0x9e37_79b9_7f4a_7c15u64, 0x2545_f491_4f6c_dd1du64);
    for i in (0..1024u64).step_by(8) {
        a = a.wrapping_mul(b).wrapping_add(i * 77);
        b = b.rotate_left(7) ^ a;
        c = c.wrapping_mul(8).wrapping_add(b >> 3);
    }
    a.wrapping_add(c)
}

/// What the guest and the tuner share.
#[derive(Default)]
struct Shared {
    /// Calls of `kernel` so far.
    calls: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Calls a second, measured for so long.
    fn measure(&self, time: Duration) -> f64 {
        let (calls, started) = (self.calls.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(time);
        let calls = self.calls.load(Ordering::Relaxed) - calls;
        calls as f64 / started.elapsed().as_secs_f64()
    }
}

fn variants() -> Vec<RecompileOptions> {
    let mut variants = vec![RecompileOptions::unoptimized()];
    for level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        for algorithm in [RegisterAllocation::SinglePass, RegisterAllocation::Backtracking] {
            let options = RecompileOptions::optimized().opt_level(level);
            variants.push(options.register_allocation(algorithm));
        }
    }
    variants.push(RecompileOptions::optimized().alias_analysis(false));
    variants
}

/// Tries everything; returns the best.
fn tune(engine: &Engine, module: &Module, shared: &Shared) -> Result<RecompileOptions> {
    let function = module.function_index("kernel").context("the program exports `kernel`")?;
    // Until the program has begun.
    while shared.calls.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "{:<46} {:>6} {:>11} {:>10} {:>6} {:>7} {:>12}",
        "options", "bytes", "compiled in", "pause", "moved", "freed", "calls/s"
    );
    let as_it_was = shared.measure(Duration::from_millis(100));
    println!("{:<46} {:>66.0}", "(as the engine's own policy has it)", as_it_was);
    let mut best: Option<(f64, RecompileOptions)> = None;
    let try_out = |options: RecompileOptions, name: &str| -> Result<f64> {
        let report = module.recompile(function, &options)?;
        ensure!(report.freed_bytes == report.bytes_before, "old code is left: {report:?}");
        std::thread::sleep(Duration::from_millis(10));
        let speed = shared.measure(Duration::from_millis(100));
        println!(
            "{:<46} {:>6} {:>11.1?} {:>10.1?} {:>6} {:>7} {speed:>12.0}",
            format!("{name}{options}"),
            report.bytes,
            report.compile_time,
            report.longest_pause,
            report.frames_redirected,
            report.freed_bytes,
        );
        let live = engine.code_ledger();
        let of_kernel = live.code.iter().filter(|entry| entry.function == function);
        // Not baseline code: frames that have left a variant may go on in that.
        let mut settings = of_kernel.filter_map(|entry| entry.settings);
        ensure!(
            settings.all(|settings| settings.to_string() == options.to_string()),
            "code of a rejected variant is live:\n{live}"
        );
        Ok(speed)
    };
    for options in variants() {
        let speed = try_out(options, "")?;
        if best.is_none_or(|(fastest, _)| speed > fastest) {
            best = Some((speed, options));
        }
    }
    let (_, options) = best.context("there are variants")?;
    try_out(options, "kept: ")?;
    Ok(options)
}

fn main() -> Result<()> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, PROGRAM)?;
    let shared = Arc::new(Shared::default());
    let events = engine.events();
    let kept = {
        let (engine, module, counted) = (&engine, &module, shared.clone());
        std::thread::scope(|scope| -> Result<RecompileOptions> {
            let guest = scope.spawn(move || -> Result<(u64, u64)> {
                let mut store = Store::new(engine, ());
                let mut linker = Linker::new(engine);
                linker.func_wrap("host", "tick", move |calls: u64| {
                    counted.calls.store(calls, Ordering::Relaxed);
                    i32::from(!counted.stop.load(Ordering::Relaxed))
                })?;
                let instance = linker.instantiate(&mut store, module)?;
                let run = instance.get_typed_func::<(), (u64, u64)>(&mut store, "run")?;
                run.call(&mut store, ())
            });
            let best = tune(engine, module, &shared);
            shared.stop.store(true, Ordering::Relaxed);
            let (calls, sum) = guest.join().expect("the guest's thread does not panic")?;
            let best = best?;
            let expected = (0..calls).fold(0u64, |sum, seed| sum.wrapping_add(kernel(seed)));
            println!("result: {sum:#x} after {calls} calls; expected {expected:#x}");
            ensure!(sum == expected, "the result is wrong");
            Ok(best)
        })?
    };
    let mut rejected = 0;
    for event in events {
        if let Event::Freed { address, bytes, .. } = event {
            ensure!(engine.is_code_free(address, bytes), "a byte is left at {address:#x}");
            rejected += bytes;
        }
    }
    println!("kept {kept}; {rejected} bytes of rejected code were freed while the program ran:");
    println!("{}", engine.code_ledger());
    Ok(())
}
