//! What the replacer does to a running program.

use super::body_edits::{Additions, Edited};
use super::journal::Journal;
use super::target::{Bodies, Target};
use crate::mutation::Random;
use anyhow::Result;
use midair::Store;
use std::collections::BTreeMap;
use std::sync::MutexGuard;

/// Something that is done to some functions of a module, and must change nothing that the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// The same bodies again.
    Again,
    /// Bodies that do the same.
    Edit,
}

/// Does something random to a target, and notes it in the journal. Refusals are not failures.
pub fn random_operation(
    target: &Target,
    bodies: MutexGuard<'_, Bodies>,
    random: &mut Random,
    journal: &Journal,
    who: &str,
) -> Result<()> {
    let operation = match random.below(10) {
        0..=2 => Operation::Again,
        _ => Operation::Edit,
    };
    replace(target, bodies, operation, random, journal, who)
}

fn replace(
    target: &Target,
    mut bodies: MutexGuard<'_, Bodies>,
    operation: Operation,
    random: &mut Random,
    journal: &Journal,
    who: &str,
) -> Result<()> {
    let count = if random.below(4) == 0 { 1 + random.below(12) } else { 1 };
    let mut new: BTreeMap<u32, Edited> = BTreeMap::new();
    for _ in 0..count {
        let function = target.choose(&bodies, random);
        let body = match operation {
            Operation::Again => target.current(&mut bodies, function)?,
            Operation::Edit => {
                target.edited(&mut bodies, function, random, Additions::default())?
            }
        };
        new.insert(function, body);
    }
    let functions: Vec<u32> = new.keys().copied().collect();
    let number =
        journal.begin(format!("{who}: {} {operation:?} {functions:?}", target.program.name));
    let mut store = Store::new(target.module.engine(), ());
    let mut outcome = String::new();
    for (function, body) in new {
        let report = target.module.replace_function(&mut store, function, &body.bytes)?;
        outcome += &format!("[v{} {} frames]", report.version, report.frames_redirected);
        if report.frames_redirected > 0 {
            bodies.found(function);
        }
        bodies.replaced(function, body);
    }
    journal.end(number, outcome);
    Ok(())
}
