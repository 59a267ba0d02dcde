//! `target/corpus/manifest.json`: what was built and how each program is run.
//!
//! The manifest is for other tools too (scripts, tests, people), so it names files relative to
//! its own directory and spells every size out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::project;

/// The whole corpus.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub programs: Vec<Program>,
}

/// One program with its arguments and surroundings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub kind: Kind,
    /// The module, relative to the corpus directory.
    pub wasm: PathBuf,
    /// SHA-256 of the module, in hex.
    pub sha256: String,
    /// What the guest sees as `argv[0]`; multi-call binaries choose what to be by it.
    pub argv0: String,
    pub args: Sizes,
    pub env: BTreeMap<String, String>,
    pub dirs: Vec<Preopen>,
    /// A file to read as standard input, relative to the corpus directory.
    pub stdin: Option<PathBuf>,
    /// Guest paths of the files that the program writes, all under a fresh directory.
    pub outputs: Vec<String>,
    pub normalise: Normalise,
    /// Proposals that the module needs beyond WebAssembly 2.0 and relaxed SIMD.
    pub needs: Vec<String>,
    /// What the reference engine is given in its place if it cannot run this module: another build of the same
    /// sources, a module or a program of this machine, relative to the corpus directory.
    pub twin: Option<PathBuf>,
}

/// Whether a program was written to measure with, or to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Program,
    Kernel,
}

/// Arguments by amount of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// Little enough for runs that recompile at every few safepoints.
    pub stress: Vec<String>,
    /// Under a second or so in an interpreter.
    pub quick: Vec<String>,
    /// Seconds in an interpreter, well under a minute.
    pub full: Vec<String>,
    /// Seconds in optimised machine code, so that neither start-up nor compilation shows.
    pub steady: Vec<String>,
}

/// Which of [`Sizes`] to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    Stress,
    Quick,
    Full,
    Steady,
}

impl Size {
    /// The spelling on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Size::Stress => "stress",
            Size::Quick => "quick",
            Size::Full => "full",
            Size::Steady => "steady",
        }
    }
}

impl Sizes {
    /// The arguments of one size.
    pub fn at(&self, size: Size) -> &[String] {
        match size {
            Size::Stress => &self.stress,
            Size::Quick => &self.quick,
            Size::Full => &self.full,
            Size::Steady => &self.steady,
        }
    }
}

/// A directory that the guest finds open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Preopen {
    /// Relative to the corpus directory.
    pub host: PathBuf,
    pub guest: String,
    /// Copied before each run, because the program writes there.
    pub fresh: bool,
}

/// What is taken out of standard output, on both sides, before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Nothing: the bytes as they are.
    Exact,
    /// A time in seconds at the end of a line.
    Timings,
}

impl Manifest {
    /// Where the manifest lies.
    pub fn path() -> PathBuf {
        project::corpus().join("manifest.json")
    }

    /// Reads the manifest that an earlier `cargo xtask corpus` wrote.
    pub fn load() -> Result<Manifest> {
        let path = Self::path();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: run `cargo xtask corpus` first", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{}: run `cargo xtask corpus` again", path.display()))
    }

    /// Writes the manifest.
    pub fn save(&self) -> Result<()> {
        let path = Self::path();
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| path.display().to_string())
    }
}

impl Program {
    /// The module's absolute path.
    pub fn module(&self) -> PathBuf {
        project::corpus().join(&self.wasm)
    }

    /// The host file behind a guest path, given where each guest directory lies for this run.
    pub fn host_path(guest: &str, dirs: &[(PathBuf, String)]) -> Option<PathBuf> {
        dirs.iter().find_map(|(host, at)| {
            Path::new(guest).strip_prefix(at).ok().map(|rest| host.join(rest))
        })
    }
}
