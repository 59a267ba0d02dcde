//! `midair watch`: runs a program, and brings it up to each new version of its file.
//!
//! The program runs as `midair run` would run it. A thread of its own looks at the file. The program ends
//! the process, as always; the other thread only ever changes it.

mod file;
mod report;

use crate::command_line::WatchOptions;
use crate::ending::End;
use crate::run;
use anyhow::Context;
use file::{News, WatchedFile};
use midair::{Engine, Module, Result};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many functions edits can add; each takes address space, and memory when it is used.
const SPARE_FUNCTIONS: usize = 10_000;

/// How long the end of the program waits for the report of an edit that is being applied. One that has brought about
/// that end has been applied; an edit that is still being compiled has done nothing yet, and is not waited for.
const LAST_REPORT: Duration = Duration::from_secs(1);

/// Runs the program, and ends the process as it ends.
pub fn watch(options: WatchOptions) -> End {
    let options = Arc::new(options);
    run::in_guest_thread(options.run.max_stack, move || {
        let edit = Arc::new(EditUnderWay::default());
        let end = run::run_guest(
            &options.run,
            |config| {
                config.spare_functions(SPARE_FUNCTIONS);
            },
            |engine| start(&options, engine, &edit),
            {
                let edit = edit.clone();
                move || edit.wait_until_reported(LAST_REPORT)
            },
        );
        edit.wait_until_reported(LAST_REPORT);
        end
    })
}

/// Whether an edit is being applied that has not been reported.
#[derive(Default)]
struct EditUnderWay {
    is_under_way: Mutex<bool>,
    reported: Condvar,
}

impl EditUnderWay {
    /// Applies an edit and reports what became of it.
    fn apply_and_report(&self, apply: impl FnOnce()) {
        self.set(true);
        apply();
        self.set(false);
    }

    fn set(&self, is_under_way: bool) {
        *self.is_under_way.lock().unwrap_or_else(PoisonError::into_inner) = is_under_way;
        self.reported.notify_all();
    }

    /// Waits until no edit is under way, but not longer than this.
    fn wait_until_reported(&self, time: Duration) {
        let edit = self.is_under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.reported.wait_timeout_while(edit, time, |is_under_way| *is_under_way);
    }
}

/// Loads the program, and begins to watch its file.
fn start(options: &Arc<WatchOptions>, engine: &Engine, edit: &Arc<EditUnderWay>) -> Result<Module> {
    let path = options.run.file();
    let failed = || format!("failed to load `{}`", path.display());
    // From before the file is read, so that no version is missed. It is read, not mapped into memory: it is
    // going to change.
    let mut file = WatchedFile::new(&path).with_context(failed)?;
    let module = Module::from_binary(engine, &binary(&path, file.contents()).with_context(failed)?)
        .with_context(failed)?;
    let (options, watched, edit) = (options.clone(), module.clone(), edit.clone());
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            let prepare = |contents: &[u8]| {
                let update = watched.update().module(binary(file_name(&path), contents)?)?;
                let update = update.data(options.data()).default_policy(options.policy());
                Ok(update.count_frames(true))
            };
            loop {
                match file.next(prepare) {
                    News::Version(update) => edit.apply_and_report(|| {
                        report::edit(&update.and_then(|update| update.apply()));
                    }),
                    News::Missing(error) => report::missing(file_name(&path), &error),
                    News::Back => report::back(file_name(&path)),
                }
            }
        })
        .context("cannot start a thread to watch the file")?;
    Ok(module)
}

fn file_name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// The binary format of a module in either format.
fn binary(path: &Path, contents: &[u8]) -> Result<Vec<u8>> {
    Ok(wat::Parser::new().parse_bytes(Some(path), contents)?.into_owned())
}
