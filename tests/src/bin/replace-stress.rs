//! Programs that run while their functions are replaced: see `midair_tests::replace_stress`. It is started
//! by `cargo xtask stress replace`.

use clap::Parser;
use midair_tests::replace_stress::{self, Options};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
struct Cli {
    /// How long to begin new rounds.
    #[arg(long)]
    seconds: u64,
    /// Number of guest threads.
    #[arg(long)]
    threads: usize,
    /// Where all randomness comes from.
    #[arg(long)]
    seed: u64,
    /// The round to begin with.
    #[arg(long, default_value_t = 0)]
    first_round: u64,
    /// Only programs whose names begin so.
    #[arg(long)]
    program: Option<String>,
    /// Where `cargo xtask corpus` has put the real programs.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Which arguments real programs get.
    #[arg(long, default_value = "quick")]
    size: String,
    /// Where programs may write.
    #[arg(long)]
    room: PathBuf,
    /// Wait for a debugger after a crash.
    #[arg(long)]
    hold: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        time: Duration::from_secs(cli.seconds),
        threads: cli.threads,
        seed: cli.seed,
        first_round: cli.first_round,
        program: cli.program,
        corpus: cli.corpus,
        size: cli.size,
        room: cli.room,
        hold: cli.hold,
    };
    match replace_stress::run(&options) {
        Ok(()) => {
            println!("no difference");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
