//! How each engine is called to run a program of the corpus, and the directories it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::corpus::manifest::{Program, Size};
use crate::corpus::stamp::{Stamp, replace_directory};
use crate::process::{self, Finished};
use crate::project;

/// An engine with its settings.
#[derive(Clone, Debug)]
pub enum Engine {
    Midair {
        binary: PathBuf,
        tier: String,
        stress: Option<String>,
        /// Where to write the run's statistics; not asked for when times are measured.
        stats: Option<PathBuf>,
    },
    /// Compiles the module on every run, as a first run does.
    Wasmtime {
        binary: PathBuf,
    },
    /// Runs code that was compiled beforehand, so that only execution is left.
    WasmtimePrecompiled {
        binary: PathBuf,
    },
    Wasmi {
        binary: PathBuf,
    },
    /// A program of this machine that was built from the same sources; it is given no directories.
    Native {
        binary: PathBuf,
    },
}

/// What wasmtime does not run without being told to.
const PROPOSALS: [&str; 2] = ["-W", "exceptions=y"];

/// The directories of one run: those that the program may write to are copies of its own.
#[derive(Debug)]
pub struct Room {
    fresh: PathBuf,
    /// Host directory and guest path.
    pub dirs: Vec<(PathBuf, String)>,
}

impl Room {
    /// Sets up the directories of `program` below `at`, which is emptied first.
    pub fn prepare(program: &Program, at: &Path) -> Result<Room> {
        replace_directory(at)?;
        let mut dirs = Vec::new();
        for (index, preopen) in program.dirs.iter().enumerate() {
            let given = project::corpus().join(&preopen.host);
            let host = if preopen.fresh { at.join(index.to_string()) } else { given.clone() };
            if preopen.fresh {
                copy_files(&given, &host)?;
            }
            dirs.push((host, preopen.guest.clone()));
        }
        Ok(Room { fresh: at.to_path_buf(), dirs })
    }

    /// Removes what the run has written.
    pub fn clear(self) -> Result<()> {
        fs::remove_dir_all(&self.fresh).with_context(|| self.fresh.display().to_string())
    }
}

impl Engine {
    /// Runs `program` at `size` in `room` to its end.
    pub fn run(
        &self,
        program: &Program,
        size: Size,
        room: &Room,
        limit: Duration,
    ) -> Result<Finished> {
        let mut command = self.command(program, room)?;
        command.args(program.args.at(size));
        let stdin = program.stdin.as_ref().map(|file| project::corpus().join(file));
        process::run_limited(&mut command, stdin.as_deref(), limit)
    }

    /// The command up to and including the module; the guest's arguments follow.
    fn command(&self, program: &Program, room: &Room) -> Result<Command> {
        let mut module = program.module();
        let mut command = match self {
            Engine::Midair { binary, tier, stress, stats } => {
                let mut command = Command::new(binary);
                command.arg("run").arg(format!("--tier={tier}"));
                if let Some(stress) = stress {
                    command.arg(format!("--stress={stress}"));
                }
                if let Some(file) = stats {
                    command.arg(format!("--stats=json:{}", file.display()));
                }
                command
            }
            Engine::Wasmtime { binary } => {
                let mut command = Command::new(binary);
                command.args(["run", "-C", "cache=n"]).args(PROPOSALS);
                command
            }
            Engine::WasmtimePrecompiled { binary } => {
                module = precompiled(binary, program)?;
                let mut command = Command::new(binary);
                command.args(["run", "--allow-precompiled"]).args(PROPOSALS);
                command
            }
            Engine::Wasmi { binary } => Command::new(binary),
            Engine::Native { binary } => return Ok(Command::new(binary)),
        };
        command.arg("--argv0").arg(&program.argv0);
        for (host, guest) in &room.dirs {
            command.arg("--dir").arg(format!("{}::{guest}", host.display()));
        }
        for (key, value) in &program.env {
            command.arg("--env").arg(format!("{key}={value}"));
        }
        command.arg(module);
        Ok(command)
    }
}

/// The module as wasmtime compiled it, made once for each module and version of wasmtime.
fn precompiled(wasmtime: &Path, program: &Program) -> Result<PathBuf> {
    let stem = program.wasm.file_stem().unwrap_or_default();
    let output = project::corpus().join("precompiled").join(stem).with_extension("cwasm");
    let metadata = fs::metadata(wasmtime).with_context(|| wasmtime.display().to_string())?;
    let stamp = Stamp::beside(
        &output,
        &format!(
            "{} by a wasmtime of {} bytes with {}",
            program.sha256,
            metadata.len(),
            PROPOSALS[1]
        ),
    );
    if !stamp.is_current() {
        fs::create_dir_all(output.parent().expect("has a parent"))?;
        let mut command = Command::new(wasmtime);
        command.arg("compile").args(PROPOSALS).arg("-o").arg(&output).arg(program.module());
        process::run_tool(
            &mut command,
            &format!("compiling {} with wasmtime", program.wasm.display()),
        )?;
        stamp.set()?;
    }
    Ok(output)
}

pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
