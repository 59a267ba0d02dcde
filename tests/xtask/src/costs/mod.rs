//! `cargo xtask costs`: what valid modules cost that have very much of one thing, in each tier and in wasmtime.
//!
//! Each is run at its full size and at a quarter of it: what is linear takes four times as long at most. [`shapes`]
//! makes the modules.

mod shapes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::bench::machine;
use crate::check;
use crate::corpus::tools;
use crate::process::{self, End};
use crate::project;
use shapes::{SHAPES, Shape};

#[derive(Args, Debug)]
pub struct CostsArgs {
    /// Only the shapes whose name contains this; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Seconds that one run may take.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Measure this binary and do not build one.
    #[arg(long)]
    midair: Option<PathBuf>,
}

/// What a module is run by.
struct Engine {
    name: &'static str,
    binary: PathBuf,
    arguments: &'static [&'static str],
}

/// Prints the table; true if every run came to its end in time.
pub fn run(args: &CostsArgs) -> Result<bool> {
    let midair = match &args.midair {
        Some(binary) => binary.clone(),
        None => check::build_midair()?,
    };
    let wasmtime = tools::wasmtime()?;
    for line in machine::describe(&wasmtime)? {
        println!("- {line}");
    }
    let midair = |name, tier| Engine { name, binary: midair.clone(), arguments: tier };
    let engines = [
        midair("midair interp", &["run", "--tier=interp"]),
        midair("midair baseline", &["run", "--tier=baseline"]),
        midair("midair optimized", &["run", "--tier=optimized"]),
        Engine { name: "wasmtime", binary: wasmtime, arguments: &["run", "-C", "cache=n"] },
    ];
    println!("\nSeconds from start to exit, of these processor time, and peak resident memory.");
    let names: Vec<&str> = engines.iter().map(|engine| engine.name).collect();
    println!("\n| | number | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    let place = project::target().join("costs");
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    let mut all_ended = true;
    let wanted = |shape: &Shape| {
        args.only.is_empty() || args.only.iter().any(|part| shape.name.contains(&**part))
    };
    for shape in SHAPES.iter().filter(|shape| wanted(shape)) {
        for size in [shape.size / 4, shape.size] {
            let file = place.join("module.wasm");
            fs::write(&file, (shape.module)(size)).with_context(|| file.display().to_string())?;
            let mut row = Vec::new();
            for engine in &engines {
                let (figure, ended) = measure(engine, &file, Duration::from_secs(args.limit))?;
                all_ended &= ended;
                row.push(figure);
            }
            println!("| {} | {size} | {} |", shape.name, row.join(" | "));
        }
    }
    Ok(all_ended)
}

/// Seconds, of them processor time, and peak memory of one run, and whether it ended as it should.
fn measure(engine: &Engine, module: &Path, limit: Duration) -> Result<(String, bool)> {
    let mut command = Command::new(&engine.binary);
    command.args(engine.arguments).args(["--invoke", "main"]).arg(module).arg("1");
    let finished = process::run_limited(&mut command, None, limit)?;
    Ok(match finished.end {
        End::Exit(0) => {
            let (wall, processor) = (finished.wall.as_secs_f64(), finished.processor.as_secs_f64());
            let memory = finished.peak_memory >> 20;
            (format!("{wall:.2} s ({processor:.2} s), {memory} MiB"), true)
        }
        End::TimedOut => (format!("over {} s", limit.as_secs()), false),
        end => (end.to_string(), false),
    })
}
