//! `cargo xtask stress modules`: the random and damaged modules of `tests/tests`, and the random edits of source
//! programs, for minutes and with other seeds than in every test run.
//!
//! Damaged modules come first, all of them, if the time lets them; the rest of it is divided among
//! the random modules. The tests are the same ones that `cargo test` runs; they read how much to do
//! from the environment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::process::{self, End, Finished};
use crate::project;

#[derive(Args, Debug)]
pub struct RandomArgs {
    /// How long to run, building not counted.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The seed of the random modules [default: another one each time].
    #[arg(long)]
    seed: Option<u64>,
}

/// One test, by the program that it is in.
struct Part {
    program: &'static str,
    test: &'static str,
    amount: Amount,
}

/// How much of a test there is.
enum Amount {
    /// All cases, however long they take.
    All,
    /// As many random cases as fit into an equal share of the time that is left.
    Share,
}

const PARTS: [Part; 6] = [
    Part { program: "bad_input", test: "truncated_modules", amount: Amount::All },
    Part { program: "bad_input", test: "mutated_modules_interpreted", amount: Amount::All },
    Part { program: "bad_input", test: "mutated_modules_compiled", amount: Amount::All },
    Part { program: "random_modules", test: "any_instructions", amount: Amount::Share },
    Part { program: "random_modules", test: "long_running_programs", amount: Amount::Share },
    Part {
        program: "source_edits",
        test: "no_frame_goes_on_with_a_state_that_the_source_does_not_account_for",
        amount: Amount::Share,
    },
];

/// How many mutants there are; other ones than in every test run, for the seed is another.
const MUTANTS: &str = "100000";

/// What a test of random modules may take beyond its share: the batch that it has begun, and making
/// a failing module smaller.
const GRACE: Duration = Duration::from_secs(180);

/// Runs all parts one after the other; true if none failed.
pub fn run(args: &RandomArgs) -> Result<bool> {
    let programs = build()?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let (mut passed, mut failed) = (0, 0);
    for (index, part) in PARTS.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        // Only shares follow a share.
        let share = left / (PARTS.len() - index) as u32;
        let (seconds, limit) = match part.amount {
            Amount::All => (0, left),
            Amount::Share => (share.as_secs(), share + GRACE),
        };
        let program = programs
            .get(part.program)
            .with_context(|| format!("cargo built no test program {}", part.program))?;
        let run = run_part(part, program, seed, seconds, limit)?;
        let line =
            format!("{:<15} {:<28} {:7.1} s", part.program, part.test, run.wall.as_secs_f64());
        let done = summary(&run);
        if let (End::Exit(0), Some(done)) = (run.end, &done) {
            passed += 1;
            println!("ok      {line}  {done}");
        } else {
            failed += 1;
            let why = match run.end {
                End::Exit(0) => "ran nothing".to_string(),
                End::TimedOut => "did not come to its end in the time there was".to_string(),
                end => end.to_string(),
            };
            println!("FAILED  {line}  {why}, seed {seed}");
            print!("{}", String::from_utf8_lossy(&run.stdout));
            print!("{}", String::from_utf8_lossy(&run.stderr));
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// The test programs by name. They are run without cargo in between: to stop them is to stop their
/// process, not one that waits for it.
fn build() -> Result<HashMap<String, PathBuf>> {
    let mut cargo = Command::new(project::cargo());
    cargo.current_dir(project::root()).args(["test", "--release", "--no-run"]);
    cargo.args(["--package", "midair-tests", "--message-format", "json"]);
    for part in &PARTS {
        cargo.args(["--test", part.program]);
    }
    let messages = process::run_tool(&mut cargo, "building the tests")?;
    let mut programs = HashMap::new();
    for line in String::from_utf8(messages)?.lines() {
        let message: Value = serde_json::from_str(line).context("reading cargo's messages")?;
        if let (Some(name), Some(file)) =
            (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            programs.insert(name.to_string(), PathBuf::from(file));
        }
    }
    Ok(programs)
}

fn run_part(
    part: &Part,
    program: &Path,
    seed: u64,
    seconds: u64,
    limit: Duration,
) -> Result<Finished> {
    let mut command = Command::new(program);
    command
        .current_dir(project::root().join("tests"))
        .args([part.test, "--exact", "--nocapture"])
        .env("MIDAIR_MUTANTS", MUTANTS)
        .env("MIDAIR_RANDOM_SECONDS", seconds.to_string())
        .env("MIDAIR_RANDOM_SEED", seed.to_string())
        .env("MIDAIR_VERIFY_WALKS", "1");
    process::run_limited(&mut command, None, limit)
}

/// The line in which a test says how much it has done. A part without one, or with a
/// count of 0, ran nothing.
fn summary(run: &Finished) -> Option<String> {
    let output = String::from_utf8_lossy(&run.stdout);
    // The name of the test stands before what it prints first.
    let line = output.lines().find(|line| line.contains(" modules"))?;
    let done = line.rsplit(" ... ").next()?;
    (!done.starts_with("0 ")).then(|| done.to_string())
}
