//! A file that is edited.
//!
//! Editors write files in many ways: in place, in pieces, or as a new file that takes the old one's name. So
//! it is the directory that is watched; the file is read when it has not changed for a moment; and a version
//! that makes no sense gets a little longer, for it may not be complete.

use midair::Result;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is looked at if nothing is heard of it: not every file system tells.
const LOOK: Duration = Duration::from_millis(500);
/// How long a file must not have changed to be read.
const SETTLED: Duration = Duration::from_millis(25);
/// How long a file that makes no sense may stay as it is, or be missing, until that is said.
const PATIENCE: Duration = Duration::from_millis(250);
/// When a file that never settles is read all the same.
const LONGEST: Duration = Duration::from_secs(2);

/// A file, and the version of it that was last seen.
pub struct WatchedFile {
    path: PathBuf,
    contents: Vec<u8>,
    stamp: Option<Stamp>,
    /// It changed after it was read: what there is now has to be looked at, whatever its stamp says.
    outdated: bool,
    /// It cannot be read, and that has been told.
    missing: bool,
    /// Something has happened to the file.
    events: Receiver<()>,
    /// Kept for as long as events are wanted.
    _watcher: Option<RecommendedWatcher>,
}

/// What has become of a file.
pub enum News<T> {
    /// It has another version than the last one; and what was made of that.
    Version(Result<T>),
    /// It cannot be read.
    Missing(std::io::Error),
    /// It can be read again, and has the same version as before.
    Back,
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        path.metadata().ok().map(|metadata: Metadata| Stamp {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }
}

impl WatchedFile {
    /// Reads a file, and watches it from now on.
    pub fn new(path: &Path) -> Result<WatchedFile> {
        let (sender, events) = channel();
        let name = path.file_name().map(ToOwned::to_owned);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, name.as_deref())) {
                // Whoever is interested is gone if this fails.
                let _ = sender.send(());
            }
        });
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        // Without it, the file is still looked at from time to time.
        let watcher = watcher.ok().and_then(|mut watcher| {
            let directory = directory.unwrap_or(Path::new("."));
            watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        });
        let stamp = Stamp::of(path);
        let contents = std::fs::read(path)?;
        Ok(WatchedFile {
            path: path.to_owned(),
            contents,
            stamp,
            outdated: false,
            missing: false,
            events,
            _watcher: watcher,
        })
    }

    /// The version that was last seen.
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Waits until there is something to tell: a version that differs from the last one, with what `check` makes of
    /// it; or that there is none.
    pub fn next<T>(&mut self, check: impl Fn(&[u8]) -> Result<T>) -> News<T> {
        loop {
            self.wait_for_change();
            self.wait_until_settled(SETTLED);
            let contents = match self.read() {
                Ok(contents) => contents,
                Err(_) if self.missing => continue,
                Err(_) => {
                    // While it is being replaced, there may be none.
                    self.wait_until_settled(PATIENCE);
                    match self.read() {
                        Ok(contents) => contents,
                        Err(error) => {
                            self.missing = true;
                            return News::Missing(error);
                        }
                    }
                }
            };
            let back = std::mem::take(&mut self.missing);
            if contents == self.contents {
                if back {
                    return News::Back;
                }
                continue;
            }
            let checked = check(&contents);
            if checked.is_err() {
                self.wait_until_settled(PATIENCE);
                if self.read().map_or(true, |now| now != contents) {
                    // It was not complete. What there is now is looked at like any other version.
                    self.outdated = true;
                    continue;
                }
            }
            self.contents = contents;
            return News::Version(checked);
        }
    }

    /// The file's contents.
    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.stamp = Stamp::of(&self.path);
        std::fs::read(&self.path)
    }

    /// Waits until the file looks different, or something is said to have happened to it: its time may be too
    /// coarse to show that.
    fn wait_for_change(&mut self) {
        if std::mem::take(&mut self.outdated) {
            return;
        }
        while Stamp::of(&self.path) == self.stamp {
            if self.wait(LOOK) {
                return;
            }
        }
    }

    fn wait_until_settled(&self, time: Duration) {
        let started = Instant::now();
        let mut stamp = Stamp::of(&self.path);
        let mut since = Instant::now();
        while since.elapsed() < time && started.elapsed() < LONGEST.max(time) {
            let happened = self.wait(time);
            let now = Stamp::of(&self.path);
            if happened || now != stamp {
                (stamp, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until something happens, but not longer than this; whether something did.
    fn wait(&self, time: Duration) -> bool {
        match self.events.recv_timeout(time) {
            Ok(()) => {
                while self.events.try_recv().is_ok() {}
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(time);
                false
            }
        }
    }
}

/// Whether an event can mean that the file of this name has other contents. That it is read, as we do, cannot.
fn concerns(event: &Event, name: Option<&OsStr>) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    let is_read = matches!(event.kind, EventKind::Access(kind) if kind != written);
    let is_other = |path: &PathBuf| path.file_name() != name;
    !is_read && (event.paths.is_empty() || !event.paths.iter().all(is_other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn watched(name: &str, contents: &str) -> (PathBuf, WatchedFile) {
        let directory = std::env::temp_dir().join(format!("midair-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("file");
        fs::write(&path, contents).unwrap();
        let file = WatchedFile::new(&path).unwrap();
        (path, file)
    }

    fn text(contents: &[u8]) -> Result<String> {
        let text = std::str::from_utf8(contents)?;
        anyhow::ensure!(text.ends_with('.'), "incomplete: {text}");
        Ok(text.to_owned())
    }

    /// The next version. There is one all the time, or soon again.
    fn version<T>(file: &mut WatchedFile, check: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        match file.next(check) {
            News::Version(version) => version,
            News::Missing(error) => panic!("it is missing: {error}"),
            News::Back => panic!("it was never away"),
        }
    }

    #[test]
    fn each_version_is_seen_however_it_is_written() {
        let (path, mut file) = watched("versions", "one.");
        assert_eq!(file.contents(), b"one.");
        fs::write(&path, "two.").unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "two.");
        let other = path.with_extension("new");
        fs::write(&other, "three.").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "three.");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "three.").unwrap();
        fs::write(&path, "four.").unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "four.");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn edits_that_do_not_show_in_time_or_size_are_seen() {
        let (path, mut file) = watched("coarse", "one.");
        let time = path.metadata().unwrap().modified().unwrap();
        fs::write(&path, "two.").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "two.");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_may_be_missing_for_a_while() {
        let (path, mut file) = watched("missing", "one.");
        let (sender, asked) = channel();
        let checking = |contents: &[u8]| {
            sender.send(contents.to_vec()).unwrap();
            text(contents)
        };
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                // Away, and back as something that is not complete, and away again while that is waited for.
                fs::remove_file(&path).unwrap();
                fs::write(&path, "t").unwrap();
                asked.recv().unwrap();
                fs::remove_file(&path).unwrap();
                fs::write(&path, "two.").unwrap();
                asked
            })
        };
        assert_eq!(version(&mut file, checking).unwrap(), "two.");
        drop(writer.join().unwrap());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_stays_away_is_told_of_once_and_seen_when_it_is_back() {
        let (path, mut file) = watched("away", "one.");
        for (back, versions) in [("one.", 0), ("two.", 1), ("two.", 0)] {
            fs::remove_file(&path).unwrap();
            let News::Missing(error) = file.next(text) else {
                panic!("it is told that it is missing")
            };
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            let writer = {
                let path = path.clone();
                std::thread::spawn(move || {
                    // Other files come and go: that is nothing new.
                    let other = path.with_extension("other");
                    fs::write(&other, "x").unwrap();
                    fs::remove_file(&other).unwrap();
                    std::thread::sleep(2 * PATIENCE);
                    fs::write(&path, back).unwrap();
                })
            };
            match file.next(text) {
                News::Version(version) => {
                    assert_eq!((version.unwrap().as_str(), versions), (back, 1))
                }
                News::Back => assert_eq!(versions, 0),
                News::Missing(_) => panic!("that has been told"),
            }
            writer.join().unwrap();
        }
        // Also with the directory that it is in, which is what is watched.
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(file.next(text), News::Missing(_)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "three.").unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "three.");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_makes_no_sense_and_is_taken_back_is_not_told() {
        let (path, mut file) = watched("taken-back", "one.");
        let (sender, asked) = channel();
        let checking = |contents: &[u8]| {
            sender.send(()).unwrap();
            text(contents)
        };
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                fs::write(&path, "broken").unwrap();
                asked.recv().unwrap();
                fs::write(&path, "one.").unwrap();
                // Long enough to be looked at, or not: it is the version that there was.
                fs::write(&path, "two.").unwrap();
                asked
            })
        };
        assert_eq!(version(&mut file, checking).unwrap(), "two.");
        drop(writer.join().unwrap());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_version_that_is_being_written_is_waited_for() {
        let (path, mut file) = watched("incomplete", "one.");
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                for text in ["", "t", "tw", "two."] {
                    fs::write(&path, text).unwrap();
                    std::thread::sleep(Duration::from_millis(60));
                }
            })
        };
        assert_eq!(version(&mut file, text).unwrap(), "two.");
        writer.join().unwrap();
        fs::write(&path, "three").unwrap();
        assert_eq!(version(&mut file, text).unwrap_err().to_string(), "incomplete: three");
        fs::write(&path, "two.").unwrap();
        assert_eq!(version(&mut file, text).unwrap(), "two.");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
