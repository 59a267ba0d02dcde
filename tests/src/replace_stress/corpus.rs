//! Real programs: those of the manifest that `cargo xtask corpus` writes.

use crate::differential::Interlude;
use anyhow::{Context, Result};
use cap_std::time::{Duration, Instant, SystemTime};
use midair::wasi::{Dir, I32Exit, WasiCtx, ambient_authority};
use midair::{Linker, Module, Store, Trap, WasmBacktrace};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use wasi_common::clocks::{WasiClocks, WasiMonotonicClock, WasiSystemClock};
use wasi_common::pipe::{ReadPipe, WritePipe};
use wasi_common::random::Deterministic;

#[derive(Deserialize)]
struct Manifest {
    programs: Vec<Program>,
}

/// A program with its arguments and surroundings, as the manifest says; files are named relative to the
/// manifest's directory.
#[derive(Clone, Debug, Deserialize)]
pub struct Program {
    /// What it is called.
    pub name: String,
    wasm: PathBuf,
    argv0: String,
    args: BTreeMap<String, Vec<String>>,
    env: BTreeMap<String, String>,
    dirs: Vec<Preopen>,
    stdin: Option<PathBuf>,
    outputs: Vec<String>,
    needs: Vec<String>,
    /// The manifest's directory.
    #[serde(skip)]
    corpus: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Preopen {
    host: PathBuf,
    guest: String,
    fresh: bool,
}

/// Everything that a run shows to the outside.
#[derive(Debug)]
pub struct Outcome {
    /// The functions that were on the stack when it was stopped.
    pub on_stack: Vec<u32>,
    end: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    files: BTreeMap<String, Option<Vec<u8>>>,
}

/// The programs of a corpus that can be run.
pub fn programs(corpus: &Path) -> Result<Vec<Program>> {
    let path = corpus.join("manifest.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = serde_json::from_str(&text)?;
    let mut programs = manifest.programs;
    // Threads of a guest are not started here.
    programs.retain(|program| program.needs.iter().all(|need| need.ends_with("exceptions")));
    for program in &mut programs {
        program.corpus = corpus.to_owned();
    }
    Ok(programs)
}

/// What the system calls of a program work on.
struct Host {
    wasi: WasiCtx,
    interlude: Interlude,
}

impl Program {
    /// The module's file.
    pub fn module(&self) -> PathBuf {
        self.corpus.join(&self.wasm)
    }

    /// Runs it to its end in `room`, a directory that is emptied for it, or stops it before. `size`
    /// chooses its arguments.
    pub fn run(
        &self,
        module: &Module,
        size: &str,
        room: &Path,
        interlude: &Interlude,
        stop_after: Option<std::time::Duration>,
    ) -> Result<Outcome> {
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let dirs = self.directories(room)?;
        let wasi = self.wasi(size, &dirs, &stdout, &stderr)?;
        let mut linker = Linker::new(module.engine());
        midair::wasi::add_to_linker(&mut linker, |host: &mut Host| {
            (host.interlude)();
            &mut host.wasi
        })?;
        let host = Host { wasi, interlude: interlude.clone() };
        let mut store = Store::new(module.engine(), host);
        let instance = linker.instantiate(&mut store, module)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        let called = match stop_after {
            None => start.call(&mut store, ()),
            Some(time) => {
                let handle = store.interrupt_handle();
                let (done, wait) = std::sync::mpsc::channel::<()>();
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        // The sender goes when the program has ended.
                        if wait.recv_timeout(time).is_err() {
                            handle.interrupt();
                        }
                    });
                    let called = start.call(&mut store, ());
                    drop(done);
                    called
                })
            }
        };
        let mut on_stack = Vec::new();
        let end = match called {
            Ok(()) => "exit 0".to_owned(),
            Err(error) => {
                if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
                    on_stack.extend(backtrace.frames().iter().map(|frame| frame.func_index()));
                }
                match (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>()) {
                    (Some(exit), _) => format!("exit {}", exit.0),
                    (None, Some(trap)) => format!("trap: {}", trap.message()),
                    (None, None) => format!("error: {error:#}"),
                }
            }
        };
        drop(store);
        let mut files = BTreeMap::new();
        for guest in &self.outputs {
            let host = dirs.iter().find_map(|(host, at)| {
                Path::new(guest).strip_prefix(at).ok().map(|rest| host.join(rest))
            });
            files.insert(guest.clone(), host.and_then(|host| fs::read(host).ok()));
        }
        let (stdout, stderr) = (take(&stdout), take(&stderr));
        Ok(Outcome { end, stdout, stderr, files, on_stack })
    }

    /// The host directories by guest path; those that the program writes to are copies in `room`.
    fn directories(&self, room: &Path) -> Result<Vec<(PathBuf, String)>> {
        let mut dirs = Vec::new();
        for (index, preopen) in self.dirs.iter().enumerate() {
            let given = self.corpus.join(&preopen.host);
            let host = if preopen.fresh { room.join(index.to_string()) } else { given.clone() };
            if preopen.fresh {
                if host.exists() {
                    fs::remove_dir_all(&host)?;
                }
                fs::create_dir_all(&host)?;
                for entry in fs::read_dir(&given)? {
                    let entry = entry?;
                    fs::copy(entry.path(), host.join(entry.file_name()))?;
                }
            }
            dirs.push((host, preopen.guest.clone()));
        }
        Ok(dirs)
    }

    fn wasi(
        &self,
        size: &str,
        dirs: &[(PathBuf, String)],
        stdout: &Arc<RwLock<Vec<u8>>>,
        stderr: &Arc<RwLock<Vec<u8>>>,
    ) -> Result<WasiCtx> {
        // Time stands still and chance is always the same, so that all runs are.
        let clocks = WasiClocks::new().with_system(StoppedClock).with_monotonic(StoppedClock);
        let random = Box::new(Deterministic::new((0..=255).collect()));
        let sched = wasi_common::sync::sched_ctx();
        let table = wasi_common::table::Table::new();
        let mut wasi = wasi_common::WasiCtx::new(random, clocks, sched, table);
        wasi.push_arg(&self.argv0)?;
        for argument in self.args.get(size).with_context(|| format!("no size {size}"))? {
            wasi.push_arg(argument)?;
        }
        for (key, value) in &self.env {
            wasi.push_env(key, value)?;
        }
        if let Some(file) = &self.stdin {
            wasi.set_stdin(Box::new(ReadPipe::from(fs::read(self.corpus.join(file))?)));
        }
        wasi.set_stdout(Box::new(WritePipe::from_shared(stdout.clone())));
        wasi.set_stderr(Box::new(WritePipe::from_shared(stderr.clone())));
        for (host, guest) in dirs {
            let dir = Dir::open_ambient_dir(host, ambient_authority())
                .with_context(|| host.display().to_string())?;
            let dir = wasi_common::sync::dir::Dir::from_cap_std(dir);
            wasi.push_preopened_dir(Box::new(dir), guest)?;
        }
        Ok(wasi.into())
    }
}

fn take(bytes: &RwLock<Vec<u8>>) -> Vec<u8> {
    std::mem::take(&mut bytes.write().unwrap_or_else(std::sync::PoisonError::into_inner))
}

impl Outcome {
    /// What first differs from `expected`, in words.
    pub fn difference(&self, expected: &Outcome) -> Option<String> {
        if self.end != expected.end {
            let said = String::from_utf8_lossy(&self.stderr).into_owned();
            return Some(format!("{} instead of {}\n{said}", self.end, expected.end));
        }
        for (what, actual, expected) in
            [("stdout", &self.stdout, &expected.stdout), ("stderr", &self.stderr, &expected.stderr)]
        {
            if let Some(difference) = first_difference(actual, expected) {
                return Some(format!("{what} {difference}"));
            }
        }
        for (name, expected) in &expected.files {
            match (self.files.get(name).and_then(Option::as_ref), expected) {
                (None, None) => {}
                (Some(actual), Some(expected)) => {
                    if let Some(difference) = first_difference(actual, expected) {
                        return Some(format!("{name} {difference}"));
                    }
                }
                (actual, _) => {
                    let is = if actual.is_some() { "there" } else { "missing" };
                    return Some(format!("{name} is {is}"));
                }
            }
        }
        None
    }
}

fn first_difference(actual: &[u8], expected: &[u8]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let at = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(60)..bytes.len().min(at + 60)];
        String::from_utf8_lossy(piece).into_owned()
    };
    Some(format!("differs at byte {at}: {:?} instead of {:?}", show(actual), show(expected)))
}

/// It is always the same moment.
struct StoppedClock;

impl WasiSystemClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self, _precision: Duration) -> SystemTime {
        let second = std::time::Duration::from_secs(1_700_000_000);
        SystemTime::from_std(std::time::UNIX_EPOCH + second)
    }
}

impl WasiMonotonicClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self, _precision: Duration) -> Instant {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Instant::from_std(*START.get_or_init(std::time::Instant::now))
    }
}
