//! `cargo xtask`: what the project does with itself, besides building and testing.
//!
//! Each subcommand is one module. They share [`project`] (where things stand), [`process`]
//! (running a child with a limit and measuring it) and [`engine`] (how each engine is called).

mod bench;
mod check;
mod corpus;
mod costs;
mod edits;
mod engine;
mod process;
mod project;
mod stress;
mod tidy;
mod wasi_suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Midair repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch and build the real programs into target/corpus; with --check, run and compare them.
    Corpus(corpus::CorpusArgs),
    /// Measure Midair beside wasmtime and wasmi and write docs/benchmarks.md.
    Bench(bench::BenchArgs),
    /// Measure modules that have very much of one thing, in each tier and in wasmtime.
    Costs(costs::CostsArgs),
    /// Run what takes too long for every change: random and damaged modules, for some minutes.
    Stress(stress::StressArgs),
    /// Edit programs that clang and rustc build, while they run, and look for state that is lost.
    Edits(edits::EditsArgs),
    /// Run the public test suite of WASI, in every tier and under stress.
    WasiSuite(wasi_suite::WasiSuiteArgs),
    /// Check the rules of the repository that no compiler checks.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Corpus(args) => corpus::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Costs(args) => costs::run(&args),
        Task::Stress(args) => stress::run(&args),
        Task::Edits(args) => edits::run(&args),
        Task::WasiSuite(args) => wasi_suite::run(&args),
        Task::Tidy => tidy::run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
