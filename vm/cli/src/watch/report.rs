//! What the user is told of an edit.

use crate::failure;
use midair::{Applied, ModuleRefused, Plan, PlannedOutcome, Result};

/// An edit that was applied.
pub struct Edit {
    /// What was to become of the frames that were suspended then.
    pub plan: Plan,
    pub applied: Applied,
}

/// Prints what became of an edit to standard error: a line, and more below it if there is something that
/// the user may not expect.
pub fn print(edit: &Result<Edit>) {
    let lines = match edit {
        Ok(edit) => describe(edit),
        Err(error) => refused(error),
    };
    // In one piece, for the program prints too.
    eprint!("{lines}");
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn describe(edit: &Edit) -> String {
    let Edit { plan, applied } = edit;
    let Some(summary) = &applied.summary else { return format!("midair: {applied}\n") };
    if summary.is_empty() {
        return format!("midair: {summary}\n") + &below(&summary.notes);
    }
    let moved = plan.frames.iter().filter(|f| matches!(f.outcome, PlannedOutcome::Migrate { .. }));
    let moved: usize = moved.map(|frames| frames.count).sum();
    let line = format!(
        "midair: {summary}; {} moved, longest pause {:.1?}, {} of code freed\n",
        count(moved, "frame"),
        applied.longest_pause,
        count(applied.freed_bytes, "byte"),
    );
    let mut notes = summary.notes.clone();
    for frames in &plan.frames {
        let function = plan.functions.iter().find(|f| f.function == frames.function);
        let name = function.and_then(|f| f.name.clone());
        let name = name.unwrap_or_else(|| format!("function {}", frames.function));
        match &frames.outcome {
            PlannedOutcome::Migrate { .. } => {}
            outcome => {
                notes.push(format!("{} of {name}: {outcome}", count(frames.count, "frame")));
            }
        }
    }
    line + &below(&notes)
}

fn refused(error: &midair::Error) -> String {
    const LINE: &str = "midair: not applied, the program goes on as it was\n";
    if let Some(refused) = error.downcast_ref::<ModuleRefused>() {
        let mut reasons: Vec<String> = refused.reasons.iter().map(ToString::to_string).collect();
        if refused.reasons.iter().any(|reason| reason.is_about_data()) {
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
