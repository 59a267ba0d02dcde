//! A function is replaced while the function that it has called spins for ever.
//!
//! On one thread `work` calls `spin`, which never returns. From another thread `work` is replaced: its old
//! machine code is poisoned and freed, and `spin` spins on. Nothing waits for the frame of `work` that is
//! suspended in that code. Then `spin` is replaced too, by a body whose loop ends; the running loop enters it
//! at its next poll, returns into the *new* `work`, and the program ends with the result of the new bodies.
//!
//! Run it with `cargo run --release --example never_returns`.

use anyhow::{Context, Result, ensure};
use midair::{Config, Engine, Event, Linker, Module, Store, Tier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The program: what `work` makes of what `spin` returns, and whether the loop in `spin` goes on.
fn program(factor: i32, again: i32) -> String {
    format!(
        r#"(module
            (import "host" "beat" (func $beat))
            (func $spin (export "spin") (param $n i32) (result i32)
                (loop $again
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (if (i32.eqz (i32.and (local.get $n) (i32.const 0xfffff)))
                        (then (call $beat)))
                    (br_if $again (i32.const {again})))
                (i32.const 7))
            (func (export "work") (param $n i32) (result i32)
                (i32.mul (call $spin (local.get $n)) (i32.const {factor}))))"#
    )
}

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().tier(Tier::Optimized))?;
    let module = Module::new(&engine, program(1, 1))?;
    let edited = Module::new(&engine, program(6, 0))?;
    let events = engine.events();

    let beats = Arc::new(AtomicU64::new(0));
    let guest = std::thread::spawn({
        let (module, beats) = (module.clone(), beats.clone());
        move || -> Result<i32> {
            let mut linker = Linker::new(module.engine());
            linker.func_wrap("host", "beat", move || {
                beats.fetch_add(1, Ordering::Relaxed);
            })?;
            let mut store = Store::new(module.engine(), ());
            let instance = linker.instantiate(&mut store, &module)?;
            instance.get_typed_func::<i32, i32>(&mut store, "work")?.call(&mut store, 0)
        }
    });
    let beat = |what: &str| -> Result<()> {
        let (started, before) = (Instant::now(), beats.load(Ordering::Relaxed));
        while beats.load(Ordering::Relaxed) < before + 3 {
            ensure!(started.elapsed() < Duration::from_secs(60), "`spin` does not spin {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("spinning: {} million times round, {what}", beats.load(Ordering::Relaxed));
        Ok(())
    };
    let replace = |name: &str| -> Result<()> {
        let function = module.function_index(name).context("an export")?;
        let body = edited.function_body(name).context("an export")?;
        let update = module.update().body(function, body);
        println!("plan:     {}", update.plan()?.to_string().replace('\n', "\n          "));
        let applied = update.apply()?;
        println!("applied:  {applied}");
        ensure!(applied.freed_bytes > 0, "the old machine code of `{name}` is gone");
        let mut freed = 0;
        while let Some(event) = events.try_next() {
            if let Event::Freed { address, bytes, .. } = event {
                ensure!(engine.is_code_free(address, bytes), "a live byte is left at {address:#x}");
                println!("freed:    {bytes} bytes at {address:#x}: no byte of them is live");
                freed += bytes;
            }
        }
        ensure!(freed == applied.freed_bytes, "every byte that is freed is announced");
        Ok(())
    };

    beat("in the old `spin`, called by the old `work`")?;
    replace("work")?;
    ensure!(!guest.is_finished(), "`spin` has not returned");
    beat("in the old `spin`, and the code of its caller is gone")?;
    replace("spin")?;
    let result = guest.join().expect("the guest does not panic")?;
    println!(
        "result:   {result} = 7 * 6: `spin` ended in its new body and returned into the new `work`"
    );
    ensure!(result == 42, "the old `work` would have returned 7");
    let frames = engine.stats().frames;
    ensure!(frames.moved >= 2, "the frames of `work` and `spin` have moved");
    println!("moved:    {} frames", frames.moved);
    Ok(())
}
