//! What calls between the host and guest code cost: `cargo bench --bench calls`.

use anyhow::Result;
use midair::{Config, Engine, Linker, Module, Store, Tier};
use std::time::Instant;

const TEXT: &str = r#"(module
    (import "host" "f" (func $f (param i32) (result i32)))
    (func (export "g") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "run") (param $n i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call $f (local.get $n))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))"#;

const CALLS: i32 = 5_000_000;

fn main() -> Result<()> {
    println!("| what | median | least |");
    println!("|---|---|---|");
    for tier in [Tier::Optimized, Tier::Interp] {
        let mut config = Config::new();
        config.tier(tier).background_compilation(false);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, TEXT)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "f", |x: i32| x & 1)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g")?;
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
        g.call(&mut store, 1)?;
        run.call(&mut store, 10)?;
        let (mut in_, mut out) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            let started = Instant::now();
            let mut sum = 0;
            for i in 0..CALLS {
                sum = g.call(&mut store, std::hint::black_box(sum ^ i))?;
            }
            std::hint::black_box(sum);
            in_.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
            let started = Instant::now();
            run.call(&mut store, CALLS)?;
            out.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
        for (what, mut times) in [("host calls guest", in_), ("guest calls host", out)] {
            times.sort_by(f64::total_cmp);
            println!("| {what}, {tier:?} | {:.1} ns | {:.1} ns |", times[3], times[0]);
        }
    }
    Ok(())
}
