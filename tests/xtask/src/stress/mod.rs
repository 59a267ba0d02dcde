//! `cargo xtask stress`: what takes too long for every change.

mod random;
mod replace;

use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StressArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    random: random::RandomArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Random and damaged modules: what is done if nothing else is asked for.
    Modules(random::RandomArgs),
    /// Real and generated programs whose functions are replaced while they run.
    Replace(replace::ReplaceArgs),
}

/// Runs what was asked for; true if nothing failed.
pub fn run(args: &StressArgs) -> Result<bool> {
    match &args.what {
        None => random::run(&args.random),
        Some(What::Modules(args)) => random::run(args),
        Some(What::Replace(args)) => replace::run(args),
    }
}
