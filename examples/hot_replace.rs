//! A function is replaced while it is suspended a thousand times.
//!
//! `descend(n)` calls itself `n` times, every tenth time by way of a host function, so that its frames lie
//! on the stack in many segments with frames of the host in between. At the bottom the host replaces
//! `descend` by another body. Before any of the thousand frames is returned to, the old machine code is
//! poisoned and freed. Then the frames return, one after the other, into the *new* body: what they add on
//! the way out proves it.
//!
//! Run it with `cargo run --release --example hot_replace`.

use anyhow::{Context, Result, ensure};
use midair::{Caller, Config, Engine, Event, Linker, Module, Store, Tier};
use std::time::Instant;

const DEPTH: i32 = 1_000;

/// The program. `$step` is what each frame adds when it is returned to.
fn program(step: &str) -> String {
    format!(
        r#"(module
            (import "host" "bottom" (func $bottom))
            (import "host" "again" (func $again (param i32) (result i64)))
            (func $descend (export "descend") (param $n i32) (result i64)
                (local $below i64)
                (if (i32.eqz (local.get $n))
                    (then
                        (call $bottom)
                        (return (i64.const 0))))
                (if (result i64) (i32.rem_u (local.get $n) (i32.const 10))
                    (then (call $descend (i32.sub (local.get $n) (i32.const 1))))
                    (else (call $again (i32.sub (local.get $n) (i32.const 1)))))
                (local.set $below)
                (i64.add
                    (local.get $below)
                    (i64.mul (i64.const {step}) (i64.extend_i32_u (local.get $n))))))"#
    )
}

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().tier(Tier::Optimized).max_wasm_stack(4 << 20))?;
    let module = Module::new(&engine, program("1"))?;
    // The new body comes out of a whole new module, as a compiler would make it.
    let edited = Module::new(&engine, program("1000000"))?;
    let body =
        edited.function_body("descend").context("the edited module exports `descend`")?.to_vec();

    let events = engine.events();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "again", |mut caller: Caller<'_, ()>, n: i32| -> Result<i64> {
        let descend =
            caller.get_export("descend").and_then(|e| e.into_func()).context("descend")?;
        descend.typed::<i32, i64>(&caller)?.call(&mut caller, n)
    })?;
    let replaced = module.clone();
    linker.func_wrap("host", "bottom", move |caller: Caller<'_, ()>| -> Result<()> {
        let live = engine_line("before", &caller);
        let function = replaced.function_index("descend").context("descend")?;
        let started = Instant::now();
        let report = replaced.replace_function(function, &body)?;
        let took = started.elapsed();
        println!("{live}");
        println!("{}", engine_line("after", &caller));
        println!(
            "replaced: {} frames redirected, {} bytes of machine code freed; \
             pause {:?}, all in all {took:?}",
            report.frames_redirected, report.freed_bytes, report.pause,
        );
        for refusal in &report.refusals {
            println!("  refused: {refusal}");
        }
        ensure!(report.frames_redirected == DEPTH as usize + 1, "every frame is redirected");
        ensure!(report.freed_bytes > 0, "the old code is gone");
        Ok(())
    })?;

    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let descend = instance.get_typed_func::<i32, i64>(&mut store, "descend")?;
    let result = descend.call(&mut store, DEPTH)?;

    let (mut published, mut freed) = (0, Vec::new());
    for event in events {
        match event {
            Event::Compiled { bytes, osr_entry: None, .. } => published += bytes,
            Event::Freed { address, bytes, .. } => {
                println!(
                    "freed:    {bytes} bytes at {address:#x}, poisoned before any frame returned"
                );
                freed.push((address, bytes));
            }
            _ => {}
        }
    }
    ensure!(published > 0 && !freed.is_empty(), "machine code was published and freed");
    for (address, bytes) in freed {
        ensure!(
            engine.is_code_free(address, bytes),
            "a live byte is left of the old code at {address:#x}"
        );
    }

    // The frame at the very bottom has called `bottom` and adds nothing in either version; every other
    // one was suspended in the old body and goes on in the new one.
    let sum = i64::from(DEPTH) * i64::from(DEPTH + 1) / 2;
    println!("result:   {result} = 1000000 * {sum}: every frame went on in the new body");
    ensure!(result == 1_000_000 * sum, "some frame went on in the old body");

    let stats = engine.stats();
    ensure!(stats.frames.moved >= DEPTH as u64, "frames are moved when they are returned to");
    println!("moved:    {} frames", stats.frames.moved);
    Ok(())
}

fn engine_line(when: &str, caller: &Caller<'_, ()>) -> String {
    let code = caller.engine().code_stats();
    format!(
        "{when:>6}:  code bytes live {}, retired {}, freed {}, peak {}",
        code.live, code.retired, code.freed, code.peak
    )
}
