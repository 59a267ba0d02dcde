//! Everything that a run shows to the outside, and how two runs differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::corpus::manifest::{Normalise, Program};
use crate::engine::Room;
use crate::process::{End, Finished};

/// Exit, streams and files of a run.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub end: End,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// By guest path; a file that was not written is absent.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Outcome {
    /// Collects what `finished` and the files in its room show.
    pub fn of(program: &Program, room: &Room, finished: Finished) -> Result<Outcome> {
        let mut files = BTreeMap::new();
        for guest in &program.outputs {
            if let Some(host) = Program::host_path(guest, &room.dirs)
                && host.exists()
            {
                files.insert(
                    guest.clone(),
                    fs::read(&host).with_context(|| host.display().to_string())?,
                );
            }
        }
        Ok(Outcome { end: finished.end, stdout: finished.stdout, stderr: finished.stderr, files })
    }

    /// What first differs from `expected`, in words; `None` if nothing does.
    pub fn difference(&self, expected: &Outcome, program: &Program) -> Option<String> {
        if self.end != expected.end {
            let stderr = String::from_utf8_lossy(&self.stderr);
            let said = stderr.lines().next().map_or(String::new(), |line| format!(" ({line})"));
            return Some(format!("{} instead of {}{said}", self.end, expected.end));
        }
        let stdout = (
            normalised(&self.stdout, program.normalise),
            normalised(&expected.stdout, program.normalise),
        );
        if let Some(difference) = first_difference(&stdout.0, &stdout.1) {
            return Some(format!("stdout {difference}"));
        }
        if let Some(difference) = first_difference(&self.stderr, &expected.stderr) {
            return Some(format!("stderr {difference}"));
        }
        for guest in &program.outputs {
            match (self.files.get(guest), expected.files.get(guest)) {
                (Some(actual), Some(wanted)) => {
                    if let Some(difference) = first_difference(actual, wanted) {
                        return Some(format!("{guest} {difference}"));
                    }
                }
                (None, None) => {}
                (None, Some(_)) => return Some(format!("{guest} was not written")),
                (Some(_), None) => return Some(format!("{guest} should not have been written")),
            }
        }
        None
    }

    /// Writes the streams and the exit into `dir`, for a person to look at or for later.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("stdout"), &self.stdout)?;
        fs::write(dir.join("stderr"), &self.stderr)?;
        fs::write(dir.join("end"), self.end.to_string())?;
        Ok(())
    }
}

/// Standard output with what may differ between two right runs taken out.
///
/// This is the only place where anything is. `Timings` drops a time in seconds with three
/// decimals at the end of a line and the blanks before it: speedtest1 prints how long each of
/// its steps took, in a column after dots.
fn normalised(text: &[u8], how: Normalise) -> Vec<u8> {
    match how {
        Normalise::Exact => text.to_vec(),
        Normalise::Timings => {
            text.split(|&byte| byte == b'\n').map(without_time).collect::<Vec<_>>().join(&b'\n')
        }
    }
}

fn without_time(line: &[u8]) -> &[u8] {
    let Some(rest) = line.strip_suffix(b"s") else {
        return line;
    };
    let digits = |text: &[u8]| text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let decimals = digits(rest);
    let Some(rest) = rest[..rest.len() - decimals].strip_suffix(b".") else {
        return line;
    };
    let whole = digits(rest);
    if decimals != 3 || whole == 0 {
        return line;
    }
    rest[..rest.len() - whole].trim_ascii_end()
}

fn first_difference(actual: &[u8], expected: &[u8]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let at = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let start =
            bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let piece = &bytes[start.max(at.saturating_sub(40))..bytes.len().min(at + 40)];
        let line = piece.split(|&byte| byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    };
    Some(format!("differs at byte {at} ({:?} instead of {:?})", show(actual), show(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_at_the_end_of_a_line_are_dropped() {
        let text = b" 100 - 50 INSERTs......    0.073s\nplain 1.5s\n  TOTAL....   12.345s\nhash 0.073s more";
        assert_eq!(
            String::from_utf8(normalised(text, Normalise::Timings)).unwrap(),
            " 100 - 50 INSERTs......\nplain 1.5s\n  TOTAL....\nhash 0.073s more"
        );
        assert_eq!(normalised(text, Normalise::Exact), text);
    }

    #[test]
    fn a_number_that_merely_ends_in_s_stays() {
        for line in ["s", "123s", ".123s", "x.1234s", "1.234 s"] {
            assert_eq!(without_time(line.as_bytes()), line.as_bytes());
        }
    }

    #[test]
    fn the_first_difference_is_shown_with_its_line() {
        assert_eq!(first_difference(b"same", b"same"), None);
        let text = first_difference(b"one\ntwo\nthree", b"one\ntoo\nthree").unwrap();
        assert_eq!(text, "differs at byte 5 (\"two\" instead of \"too\")");
        assert!(first_difference(b"short", b"short and long").is_some());
    }
}
