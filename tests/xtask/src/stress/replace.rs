//! `cargo xtask stress replace`: programs whose functions are replaced while they run.
//!
//! The work is done by the program `replace-stress` of the package `midair-tests`, so that a crash is
//! told from a failure to build, and this package needs no engine.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Args;

use crate::corpus;
use crate::corpus::manifest::Size;
use crate::process;
use crate::project;

#[derive(Args, Debug)]
pub struct ReplaceArgs {
    /// How long to begin new rounds, building not counted.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Number of guest threads.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Where all randomness comes from [default: another one each time].
    #[arg(long)]
    seed: Option<u64>,
    /// The round to begin with.
    #[arg(long, default_value_t = 0)]
    first_round: u64,
    /// Only programs whose names begin so; `generated` for those that are made at random.
    #[arg(long)]
    program: Option<String>,
    /// The inputs of real programs.
    #[arg(long, value_enum, default_value = "quick")]
    size: Size,
    /// Wait for a debugger after a crash.
    #[arg(long)]
    hold: bool,
}

/// Builds the corpus and the program, and runs it; true if nothing was noticed.
pub fn run(args: &ReplaceArgs) -> Result<bool> {
    let generated = args.program.as_deref().is_some_and(|name| name.starts_with("generated"));
    if !generated {
        corpus::build()?;
    }
    let mut cargo = Command::new(project::cargo());
    cargo.current_dir(project::root()).args(["build", "--release", "--quiet"]);
    cargo.args(["--package", "midair-tests", "--bin", "replace-stress"]);
    process::run_tool(&mut cargo, "building replace-stress")?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    let program = project::target().join("release/replace-stress");
    let mut command = Command::new(&program);
    command
        .env("MIDAIR_VERIFY_WALKS", "1")
        .arg(format!("--seconds={}", (60.0 * args.minutes).round()))
        .arg(format!("--threads={}", args.threads))
        .arg(format!("--seed={seed}"))
        .arg(format!("--first-round={}", args.first_round))
        .arg(format!("--size={}", args.size.name()))
        .arg("--room")
        .arg(project::target().join("tmp/replace-stress"));
    if !generated {
        command.arg("--corpus").arg(project::corpus());
    }
    if let Some(name) = &args.program {
        command.arg(format!("--program={name}"));
    }
    if args.hold {
        command.arg("--hold");
    }
    let status = command.status().with_context(|| program.display().to_string())?;
    if !status.success() {
        println!("replace-stress ended with {status}, seed {seed}");
    }
    Ok(status.success())
}
