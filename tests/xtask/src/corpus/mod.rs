//! `cargo xtask corpus`: real programs, fetched and built into `target/corpus`.
//!
//! [`packages`] fetches, [`compile`] compiles, [`programs`], [`prebuilt`] and [`proposals`] say what the corpus
//! consists of, [`features`] looks at what each module needs, and [`manifest`] records it all.

mod compile;
pub mod features;
pub mod manifest;
mod packages;
mod prebuilt;
mod programs;
mod proposals;
pub mod stamp;
pub mod tools;

use anyhow::Result;
use clap::Args;

use crate::check;
use manifest::Manifest;

#[derive(Args, Debug)]
pub struct CorpusArgs {
    /// Run every program in every tier and compare it with the reference engine.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    options: check::CheckArgs,
}

/// Builds what is missing, and checks if that was asked for.
pub fn run(args: &CorpusArgs) -> Result<bool> {
    let manifest = build()?;
    if args.check {
        return check::run(&args.options, &manifest);
    }
    for program in &manifest.programs {
        let needs =
            if program.needs.is_empty() { "2.0".to_string() } else { program.needs.join(", ") };
        println!("{:<16} {:<32} {needs}", program.name, program.wasm.display());
    }
    println!("{} programs, see {}", manifest.programs.len(), Manifest::path().display());
    Ok(true)
}

/// Fetches and builds whatever is not there yet and writes the manifest.
pub fn build() -> Result<Manifest> {
    let manifest = programs::build_all()?;
    manifest.save()?;
    Ok(manifest)
}
