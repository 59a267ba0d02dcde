//! What the reference engine does with each program, kept in `target/corpus/expected`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::outcome::Outcome;
use crate::corpus::manifest::{Program, Size};
use crate::corpus::stamp::{Stamp, hash_file, hash_text, replace_directory};
use crate::engine::{Engine, Room};
use crate::process::End;
use crate::project;

/// The reference engine: wasmtime, with modules compiled once beforehand.
#[derive(Debug)]
pub struct Reference {
    engine: Engine,
}

impl Reference {
    /// A reference that runs this wasmtime.
    pub fn new(wasmtime: PathBuf) -> Reference {
        Reference { engine: Engine::WasmtimePrecompiled { binary: wasmtime } }
    }

    /// What runs `program`, or its twin in its place.
    fn for_program(&self, program: &Program) -> Result<(Engine, Program)> {
        let mut instead = program.clone();
        let Some(twin) = program.twin.clone() else {
            return Ok((self.engine.clone(), instead));
        };
        let binary = project::corpus().join(&twin);
        if twin.extension().is_none_or(|extension| extension != "wasm") {
            return Ok((Engine::Native { binary }, instead));
        }
        instead.sha256 = hash_file(&binary)?;
        instead.wasm = twin;
        Ok((self.engine.clone(), instead))
    }

    /// The reference's outcome, from an earlier run if the program and its inputs are the same.
    pub fn outcome(&self, program: &Program, size: Size) -> Result<Outcome> {
        let dir =
            project::corpus().join("expected").join(format!("{}.{}", program.name, size.name()));
        let stamp = Stamp::beside(&dir, &key(program, size)?);
        if !stamp.is_current() {
            replace_directory(&dir)?;
            let room = Room::prepare(program, &dir.join("dirs"))?;
            let (engine, instead) = self.for_program(program)?;
            let finished = engine.run(&instead, size, &room, Duration::from_secs(1800))?;
            let outcome = Outcome::of(program, &room, finished)?;
            if !matches!(outcome.end, End::Exit(0..=3)) {
                bail!(
                    "the reference engine fails on {}: {}: {}",
                    program.name,
                    outcome.end,
                    String::from_utf8_lossy(&outcome.stderr)
                );
            }
            outcome.save(&dir)?;
            for (guest, bytes) in &outcome.files {
                fs::write(dir.join(file_name(guest)), bytes)?;
            }
            room.clear()?;
            stamp.set()?;
        }
        load(program, &dir).with_context(|| format!("reading {}", dir.display()))
    }
}

fn load(program: &Program, dir: &Path) -> Result<Outcome> {
    let end = fs::read_to_string(dir.join("end"))?;
    let status = end.strip_prefix("exit ").context("the reference did not exit")?.parse()?;
    let mut files = BTreeMap::new();
    for guest in &program.outputs {
        let file = dir.join(file_name(guest));
        if file.exists() {
            files.insert(guest.clone(), fs::read(file)?);
        }
    }
    Ok(Outcome {
        end: End::Exit(status),
        stdout: fs::read(dir.join("stdout"))?,
        stderr: fs::read(dir.join("stderr"))?,
        files,
    })
}

fn file_name(guest: &str) -> String {
    format!("file{}", guest.replace('/', "-"))
}

/// Everything that the outcome depends on.
fn key(program: &Program, size: Size) -> Result<String> {
    let mut key = format!(
        "{} {} {:?} {:?}",
        program.sha256,
        program.argv0,
        program.args.at(size),
        program.env
    );
    if let Some(twin) = &program.twin {
        key += &hash_file(&project::corpus().join(twin))?;
    }
    for preopen in &program.dirs {
        let dir = project::corpus().join(&preopen.host);
        key += &format!(" {}", preopen.guest);
        // Directories that a program only reads come whole from a package of a fixed version.
        if preopen.host.starts_with("inputs") {
            let mut files: Vec<_> = fs::read_dir(&dir)?.collect::<std::io::Result<Vec<_>>>()?;
            files.sort_by_key(fs::DirEntry::path);
            for file in files {
                key += &format!(" {}", hash_file(&file.path())?);
            }
        }
    }
    Ok(hash_text(&key))
}
