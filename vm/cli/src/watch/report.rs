//! What the user is told of an edit.

use crate::{failure, output};
use midair::{Applied, ModuleRefused, PlannedFrames, PlannedOutcome, Printable, Result};
use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// Prints what became of an edit to standard error: a line, and more below it if there is something that
/// the user may not expect.
pub fn edit(edit: &Result<Applied>) {
    print(&match edit {
        Ok(applied) => describe(applied),
        Err(error) => refused(error),
    });
}

/// Prints that there is no version of the file any more.
pub fn missing(file: &Path, error: &Error) {
    let file = file.display().to_string();
    let what = match error.kind() {
        ErrorKind::NotFound => format!("{} is gone", Printable(&file)),
        _ => format!("cannot read {}: {error}", Printable(&file)),
    };
    print(&format!("midair: {what}; the program goes on as it was\n"));
}

/// Prints that the file is there again, as it was.
pub fn back(file: &Path) {
    let file = file.display().to_string();
    print(&format!("midair: {} is back, nothing changed\n", Printable(&file)));
}

fn print(lines: &str) {
    // The program goes on, whether or not anybody reads this.
    let _ = output::tell(lines);
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn describe(applied: &Applied) -> String {
    let Some(summary) = &applied.summary else { return format!("midair: {applied}\n") };
    if summary.is_empty() {
        return format!("midair: {summary}\n") + &below(&summary.notes);
    }
    let line = format!(
        "midair: {summary}; {} moved, {}, {}\n",
        count(applied.frames_to_move().unwrap_or(0), "frame"),
        pause(applied.longest_pause),
        freed(applied.freed_bytes),
    );
    let names: HashMap<u32, String> =
        summary.changed.iter().map(|label| (label.index, label.to_string())).collect();
    let mut notes = summary.notes.clone();
    for frames in applied.frames.iter().flatten() {
        let name = names.get(&frames.function).cloned();
        let name = name.unwrap_or_else(|| format!("function {}", frames.function));
        match &frames.outcome {
            PlannedOutcome::Migrate { .. } => {}
            outcome => {
                notes.push(format!("{} of {name}: {outcome}", count(frames.count, "frame")));
            }
        }
    }
    let stays = |frames: &PlannedFrames| !matches!(frames.outcome, PlannedOutcome::Migrate { .. });
    if summary.changed.len() > 1 && applied.frames.iter().flatten().any(stays) {
        notes.push("what stays in an old body calls the new bodies of other functions".to_owned());
    }
    line + &below(&notes)
}

/// A program that was in the host all the time has not stood still.
fn pause(longest: Duration) -> String {
    if longest.is_zero() { "no pause".to_owned() } else { format!("longest pause {longest:.1?}") }
}

/// What has not been compiled has no code.
fn freed(bytes: usize) -> String {
    match bytes {
        0 => "no code to free".to_owned(),
        _ => format!("{} of code freed", count(bytes, "byte")),
    }
}

fn refused(error: &midair::Error) -> String {
    const LINE: &str = "midair: not applied, the program goes on as it was\n";
    if let Some(refused) = error.downcast_ref::<ModuleRefused>() {
        let mut reasons: Vec<String> = refused.reasons.iter().map(ToString::to_string).collect();
        if refused.reasons.iter().any(|reason| reason.is_moved_data()) {
            reasons.push(
                "where data has moved, only a new start brings the program up to it".to_owned(),
            );
        } else if refused.reasons.iter().any(|reason| reason.is_about_data()) {
            reasons.push(
                "`--data=keep` leaves memory as it is; `--data=apply` writes what differs into it"
                    .to_owned(),
            );
        }
        return LINE.to_owned() + &below(&reasons);
    }
    LINE.to_owned() + &below(&[failure::causes(error)])
}

fn below(notes: &[String]) -> String {
    let lines = notes.iter().flat_map(|note| note.lines());
    lines.map(|line| format!("midair:   {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_has_no_figure() {
        assert_eq!(pause(Duration::ZERO), "no pause");
        assert_eq!(pause(Duration::from_nanos(1500)), "longest pause 1.5µs");
        assert_eq!(freed(0), "no code to free");
        assert_eq!(freed(1), "1 byte of code freed");
    }
}
