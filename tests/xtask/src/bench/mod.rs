//! `cargo xtask bench`: Midair beside wasmtime and wasmi, as whole processes. `cargo xtask bench osr`
//! is another spelling of `cargo bench -p midair-tests --bench osr`.
//!
//! [`measure`] runs the contests, [`floors`] says what has to hold, [`report`] writes it down,
//! [`machine`] says where it was measured.

mod floors;
pub mod machine;
mod measure;
mod report;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::check::{self, reference::Reference};
use crate::corpus::manifest::{Kind, Manifest, Program, Size};
use crate::corpus::tools;
use crate::engine::Engine;
use crate::{process, project};
use measure::{Contender, Contest, Limits};

#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Measure this instead of whole programs.
    #[arg(value_enum)]
    what: Option<What>,
    /// Small inputs and few rounds, to see that it works; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Rounds of each contest [default: 5, with --quick 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds after which a contest starts no further round [default: 60, with --quick 15].
    #[arg(long)]
    budget: Option<u64>,
    /// Seconds that one run may take.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Only the programs whose name begins so; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Measure this binary and do not build one.
    #[arg(long)]
    midair: Option<PathBuf>,
    /// Where the generated section goes.
    #[arg(long, default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// What is measured within one process.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The costs of transitions and replacements; prints the table.
    Osr,
}

/// Measures, prints the report and writes it; true, whatever the figures are: a floor that does
/// not hold is a finding, not a failure of the measurement.
pub fn run(args: &BenchArgs) -> Result<bool> {
    if let Some(What::Osr) = args.what {
        return transitions(args.quick);
    }
    let manifest = corpus_in_a_child()?;
    let midair = match &args.midair {
        Some(binary) => binary.clone(),
        None => check::build_midair()?,
    };
    let (wasmtime, wasmi) = (tools::wasmtime()?, tools::wasmi()?);
    let machine = machine::describe(&wasmtime)?;
    let reference = Reference::new(wasmtime.clone());
    let limits = Limits {
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 5 }),
        budget: Duration::from_secs(args.budget.unwrap_or(if args.quick { 15 } else { 60 })),
        run: Duration::from_secs(args.limit),
    };
    let in_tier = |tier: &str| Contender {
        name: format!("midair {tier}"),
        engine: Engine::Midair {
            binary: midair.clone(),
            tier: tier.to_string(),
            stress: None,
            stats: None,
        },
    };
    let whole = vec![
        in_tier("auto"),
        in_tier("interp"),
        in_tier("optimized"),
        Contender {
            name: "wasmtime".to_string(),
            engine: Engine::Wasmtime { binary: wasmtime.clone() },
        },
        Contender { name: "wasmi".to_string(), engine: Engine::Wasmi { binary: wasmi } },
    ];
    let steady = vec![
        in_tier("optimized"),
        in_tier("auto"),
        Contender {
            name: "wasmtime precompiled".to_string(),
            engine: Engine::WasmtimePrecompiled { binary: wasmtime.clone() },
        },
    ];
    let (whole_size, steady_size) =
        if args.quick { (Size::Quick, Size::Full) } else { (Size::Full, Size::Steady) };
    let chosen = |program: &&Program| {
        program.needs.is_empty()
            && (args.only.is_empty()
                || args.only.iter().any(|start| program.name.starts_with(start)))
    };
    let mut contests = Contests { whole: Vec::new(), steady: Vec::new() };
    for program in manifest.programs.iter().filter(chosen) {
        contests.whole.push(measure::contest(program, whole_size, &whole, &reference, &limits)?);
    }
    for program in
        manifest.programs.iter().filter(chosen).filter(|program| program.kind == Kind::Kernel)
    {
        contests.steady.push(measure::contest(program, steady_size, &steady, &reference, &limits)?);
    }

    let raw = project::corpus().join("bench.json");
    fs::write(&raw, serde_json::to_string_pretty(&contests)?)
        .with_context(|| raw.display().to_string())?;
    let text = report::section(&contests, &machine, &command_line());
    println!("{text}");
    report::write(&project::root().join(&args.output), &text)?;
    Ok(true)
}

/// Runs the benchmark of transitions; true if it came to its end.
fn transitions(quick: bool) -> Result<bool> {
    let mut cargo = Command::new(project::cargo());
    cargo.args(["bench", "--package", "midair-tests", "--bench", "osr"]);
    if quick {
        cargo.args(["--", "--quick"]);
    }
    let status = cargo.current_dir(project::root()).status().context("starting cargo")?;
    Ok(status.success())
}

/// Everything that was measured.
#[derive(serde::Serialize)]
struct Contests {
    /// Whole runs from a module that nobody has compiled before.
    whole: Vec<Contest>,
    /// Runs so long that start-up and compilation do not show.
    steady: Vec<Contest>,
}

/// Brings the corpus up to date in another process. A child's peak memory is counted from what
/// its parent held, and validating the large modules takes hundreds of megabytes.
fn corpus_in_a_child() -> Result<Manifest> {
    let mut corpus = Command::new(env::current_exe().context("finding this binary")?);
    process::run_tool(corpus.arg("corpus"), "building the corpus")?;
    Manifest::load()
}

fn command_line() -> String {
    let rest: Vec<String> = env::args().skip(1).collect();
    format!("cargo xtask {}", rest.join(" "))
}
