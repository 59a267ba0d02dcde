//! An interpreter that dispatches by tail calls, in C (`dispatch.c`), gives what another engine gives: in every tier and
//! schedule, and while its handlers are recompiled and replaced under their frames.

use anyhow::{Context, Result};
use midair::{Caller, Config, Engine, Linker, Module, RecompileOptions, Store, StressSpec, Tier};
use midair_watchdog::Watchdog;

const WASM: &[u8] = include_bytes!("dispatch.wasm");
/// The handlers' frames would not fit any more than a few dozen times.
const STACK: usize = 64 << 10;
/// What wasmtime gives for so many rounds.
const EXPECTED: [(i32, i64); 2] = [(40, -1953253623925133479), (2000, -7410575690871556751)];

/// What the host does when a handler calls it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Meanwhile {
    Nothing,
    /// Compiles one of the functions anew.
    Recompile,
    /// Gives it a body that says the same.
    Replace,
}

struct Host {
    module: Module,
    calls: u32,
    meanwhile: Meanwhile,
}

/// The guest's functions, behind the imported one.
fn functions() -> Result<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(WASM) {
        if let wasmparser::Payload::CodeSectionEntry(body) = payload? {
            // With an operator more, so that it is another body.
            let mut bytes = body.as_bytes().to_vec();
            bytes.insert(bytes.len() - 1, 0x01);
            bodies.push(bytes);
        }
    }
    Ok(bodies)
}

fn show(mut caller: Caller<'_, Host>, value: i64) -> Result<i64> {
    let host = caller.data_mut();
    host.calls += 1;
    let bodies = functions()?;
    let function = 1 + host.calls % bodies.len() as u32;
    match host.meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Recompile => {
            let options = match host.calls % 2 {
                0 => RecompileOptions::unoptimized(),
                _ => RecompileOptions::optimized(),
            };
            host.module.recompile(function, &options)?;
        }
        Meanwhile::Replace => {
            let body = &bodies[function as usize - 1];
            let applied = host.module.update().body(function, body.clone()).apply()?;
            if host.calls.is_multiple_of(2) {
                applied.undo()?;
            }
        }
    }
    Ok(value.wrapping_mul(31) ^ (value as u64 >> 7) as i64)
}

#[test]
fn an_interpreter_that_dispatches_by_tail_calls_gives_what_it_should() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (tier, stress, rounds) in [
        (Tier::Interp, "", 2000),
        (Tier::Interp, "far:7", 2000),
        (Tier::Baseline, "", 2000),
        (Tier::Optimized, "", 2000),
        (Tier::Auto, "", 2000),
        (Tier::Auto, "mixed:7", 2000),
        (Tier::Optimized, "osr:7,retire:5", 40),
        (Tier::Auto, "osr:7,retire:5", 40),
        (Tier::Auto, "osr:1,retire:1", 40),
        (Tier::Auto, "mixed:3,osr:7,retire:5", 40),
    ] {
        for meanwhile in [Meanwhile::Nothing, Meanwhile::Recompile, Meanwhile::Replace] {
            let what = || format!("{tier:?} {stress}, {meanwhile:?}");
            let mut config = Config::new();
            config.tier(tier).max_wasm_stack(STACK).background_compilation(false);
            config.optimized_threshold(500);
            if !stress.is_empty() {
                config.stress(stress.parse::<StressSpec>()?);
            }
            let engine = Engine::new(&config)?;
            let module = Module::new(&engine, WASM)?;
            let mut store =
                Store::new(&engine, Host { module: module.clone(), calls: 0, meanwhile });
            let mut linker = Linker::new(&engine);
            linker.func_wrap("host", "show", show)?;
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_typed_func::<i32, i64>(&mut store, "run")?;
            let rounds = if meanwhile == Meanwhile::Nothing { rounds } else { 40 };
            let found = run.call(&mut store, rounds).with_context(what)?;
            let expected = EXPECTED.iter().find(|(n, _)| *n == rounds).context("known")?.1;
            anyhow::ensure!(found == expected, "{}: {found}", what());
            let stats = engine.stats();
            if meanwhile == Meanwhile::Recompile && tier != Tier::Interp {
                anyhow::ensure!(stats.frames.moved > 0, "{}: nothing moved", what());
            }
        }
    }
    Ok(())
}
