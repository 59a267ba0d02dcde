//! `cargo xtask corpus --check`: Midair against the reference engine, byte for byte.
//!
//! [`configuration`] says in which ways Midair is run, [`reference`] gets and keeps what the
//! reference engine did, [`outcome`] is what a run did and how two of them differ, [`evidence`]
//! whether the run really was in that configuration.

pub mod configuration;
pub mod evidence;
pub mod outcome;
pub mod reference;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::corpus::manifest::{Manifest, Program, Size};
use crate::corpus::{features, tools};
use crate::engine::{Engine, Room};
use crate::{process, project};
use configuration::Configuration;
use outcome::Outcome;
use reference::Reference;

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Tiers to run in, separated by commas [default: all four].
    #[arg(long, value_delimiter = ',')]
    tier: Vec<String>,
    /// Run under this stress specification only [default: without, and then once in the auto
    /// tier under osr:7,retire:5 and once under mixed:50].
    #[arg(long)]
    stress: Option<String>,
    /// Only the programs whose name begins so; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Small inputs where full ones are the default, for a quick look.
    #[arg(long)]
    quick: bool,
    /// The inputs to use everywhere [default: full, and stress under --stress].
    #[arg(long, value_enum, conflicts_with = "quick")]
    size: Option<Size>,
    /// Seconds that one run may take.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Check this binary and do not build one.
    #[arg(long)]
    midair: Option<PathBuf>,
}

/// What became of one program in one configuration.
enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs everything that was asked for; true if nothing failed.
pub fn run(args: &CheckArgs, manifest: &Manifest) -> Result<bool> {
    let midair = match &args.midair {
        Some(binary) => binary.clone(),
        None => build_midair()?,
    };
    let chosen: Vec<&Program> = manifest
        .programs
        .iter()
        .filter(|program| {
            args.only.is_empty() || args.only.iter().any(|start| program.name.starts_with(start))
        })
        .collect();
    if chosen.is_empty() {
        bail!("no program of the corpus has a name that begins with {}", args.only.join(" or "));
    }
    let reference = Reference::new(tools::wasmtime()?);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for program in chosen {
        for configuration in Configuration::all(&args.tier, args.stress.as_deref()) {
            let size = args.size.unwrap_or_else(|| configuration.size(args.quick));
            let start = Instant::now();
            let verdict = check(
                program,
                &configuration,
                size,
                &midair,
                &reference,
                Duration::from_secs(args.limit),
            )
            .unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
            let took = start.elapsed().as_secs_f64();
            let line = format!(
                "{:<16} {:<28} {:<6} {took:7.2} s",
                program.name,
                configuration.to_string(),
                size.name()
            );
            match verdict {
                Verdict::Passed => {
                    passed += 1;
                    println!("ok      {line}");
                }
                Verdict::Failed(why) => {
                    failed += 1;
                    println!("FAILED  {line}  {why}");
                }
                Verdict::Skipped(why) => {
                    skipped += 1;
                    println!("skipped {line}  {why}");
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// Builds the command line in release mode and returns the binary.
pub fn build_midair() -> Result<PathBuf> {
    let mut cargo = Command::new(project::cargo());
    cargo
        .args(["build", "--release", "--quiet", "--package", "midair-cli"])
        .current_dir(project::root());
    process::run_tool(&mut cargo, "building midair")?;
    Ok(project::midair())
}

fn check(
    program: &Program,
    configuration: &Configuration,
    size: Size,
    midair: &Path,
    reference: &Reference,
    limit: Duration,
) -> Result<Verdict> {
    let beyond = features::beyond_midair(&program.needs);
    if !beyond.is_empty() {
        return Ok(Verdict::Skipped(format!("needs {}", beyond.join(", "))));
    }
    let expected = reference.outcome(program, size)?;
    let spelled = configuration.to_string().replace([' ', ',', ':'], "-");
    let place = project::corpus().join("actual").join(format!(
        "{}.{}.{spelled}",
        program.name,
        size.name()
    ));
    let room = Room::prepare(program, &place.join("dirs"))?;
    let stats = place.join("stats.json");
    let engine = Engine::Midair {
        binary: midair.to_path_buf(),
        tier: configuration.tier.clone(),
        stress: configuration.stress.clone(),
        stats: Some(stats.clone()),
    };
    let actual = Outcome::of(program, &room, engine.run(program, size, &room, limit)?)?;
    let difference = match actual.difference(&expected, program) {
        Some(difference) => Some(difference),
        None => evidence::lacking(&evidence::statistics(&stats)?, configuration),
    };
    match difference {
        None => {
            room.clear()?;
            fs::remove_dir_all(&place)?;
            Ok(Verdict::Passed)
        }
        Some(difference) => {
            // The directories stay too: they hold the files that the program wrote.
            actual.save(&place)?;
            Ok(Verdict::Failed(format!("{difference}; see {}", place.display())))
        }
    }
}
