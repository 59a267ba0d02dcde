//! `cargo xtask wasi-suite`: the public test suite of WASI, in every way in which Midair can run.
//!
//! The suite is <https://github.com/WebAssembly/wasi-testsuite>; the branch `prod/testsuite-base` has its programs
//! compiled. A program may have a file beside it that says what it gets to see, and what it shall do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::check::build_midair;
use crate::check::configuration::Configuration;
use crate::engine::copy_files;
use crate::process::{self, End, Finished};
use crate::project;

#[derive(Args, Debug)]
pub struct WasiSuiteArgs {
    /// A checkout of the branch `prod/testsuite-base` of the suite.
    suite: PathBuf,
    /// Tiers to run in, separated by commas [default: all four].
    #[arg(long, value_delimiter = ',')]
    tier: Vec<String>,
    /// Run under this stress specification only [default: without, and then once in the auto
    /// tier under osr:7,retire:5 and once under mixed:50].
    #[arg(long)]
    stress: Option<String>,
    /// Run this binary and do not build one.
    #[arg(long)]
    midair: Option<PathBuf>,
}

/// What one program may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a program gets to see, and what it shall do: the suite's own words.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// The directory to show, beside the program.
    root: Option<PathBuf>,
    exit_code: i32,
    stdout: Option<String>,
}

impl Specification {
    fn of(program: &Path) -> Result<Specification> {
        let file = program.with_extension("json");
        if !file.exists() {
            return Ok(Specification::default());
        }
        let text = fs::read_to_string(&file)?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    }

    /// What is not as it shall be.
    fn difference(&self, run: &Finished) -> Option<String> {
        if run.end != End::Exit(self.exit_code) {
            let said = String::from_utf8_lossy(&run.stderr);
            return Some(format!("{} instead of exit {}\n{said}", run.end, self.exit_code));
        }
        let stdout = String::from_utf8_lossy(&run.stdout);
        let expected = self.stdout.as_ref().filter(|expected| stdout != **expected)?;
        Some(format!("printed {stdout:?} instead of {expected:?}"))
    }
}

/// Runs the suite; true if nothing failed.
pub fn run(args: &WasiSuiteArgs) -> Result<bool> {
    let midair = match &args.midair {
        Some(binary) => binary.clone(),
        None => build_midair()?,
    };
    let programs = programs(&args.suite)?;
    let mut all_passed = true;
    for configuration in Configuration::all(&args.tier, args.stress.as_deref()) {
        let mut failed = 0;
        for program in &programs {
            let wrong = run_one(program, &configuration, &midair)
                .unwrap_or_else(|error| Some(format!("{error:#}")));
            if let Some(wrong) = wrong {
                failed += 1;
                println!("FAILED  {} ({configuration}): {wrong}", program.display());
            }
        }
        println!("{configuration}: {} passed, {failed} failed", programs.len() - failed);
        all_passed &= failed == 0;
    }
    Ok(all_passed)
}

/// The programs for WASI preview 1, of all languages.
fn programs(suite: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    let languages = suite.join("tests");
    for language in
        fs::read_dir(&languages).with_context(|| format!("reading {}", languages.display()))?
    {
        let directory = language?.path().join("testsuite/wasm32-wasip1");
        if directory.is_dir() {
            for file in fs::read_dir(directory)? {
                programs.push(file?.path());
            }
        }
    }
    programs.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    programs.sort();
    if programs.is_empty() {
        bail!("no compiled programs in {}: is it the right branch?", languages.display());
    }
    Ok(programs)
}

/// Runs one program; what went wrong, if anything did.
fn run_one(program: &Path, configuration: &Configuration, midair: &Path) -> Result<Option<String>> {
    let specification = Specification::of(program)?;
    let mut command = Command::new(midair);
    command.arg("run").arg(format!("--tier={}", configuration.tier));
    if let Some(stress) = &configuration.stress {
        command.arg(format!("--stress={stress}"));
    }
    for (name, value) in &specification.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    if let Some(root) = &specification.root {
        // A copy: programs leave files behind.
        let copy = project::target().join("wasi-suite");
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        copy_files(&program.with_file_name(root), &copy)?;
        command.arg("--dir").arg(format!("{}::/", copy.display()));
    }
    command.arg(program).args(&specification.args);
    let run = process::run_limited(&mut command, None, LIMIT)?;
    Ok(specification.difference(&run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_output_are_compared() {
        let run = |script: &str| {
            process::run_limited(Command::new("sh").args(["-c", script]), None, LIMIT).unwrap()
        };
        let specification: Specification =
            serde_json::from_str(r#"{ "exit_code": 3, "stdout": "a", "args": [] }"#).unwrap();
        assert_eq!(specification.difference(&run("printf a; exit 3")), None);
        assert!(specification.difference(&run("printf b; exit 3")).is_some());
        assert!(specification.difference(&run("printf a")).is_some());
        assert_eq!(Specification::default().difference(&run("printf a")), None);
    }
}
