//! Running contenders by turns and keeping what they took.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::check::configuration::Configuration;
use crate::check::evidence;
use crate::check::outcome::Outcome;
use crate::check::reference::Reference;
use crate::corpus::manifest::{Kind, Program, Size};
use crate::engine::{Engine, Room};
use crate::project;

/// An engine under the name that the report gives it.
#[derive(Debug)]
pub struct Contender {
    pub name: String,
    pub engine: Engine,
}

/// When to stop.
#[derive(Debug)]
pub struct Limits {
    pub rounds: usize,
    /// No further round is started once a contest has taken this long.
    pub budget: Duration,
    /// What a single run may take.
    pub run: Duration,
}

/// One program run by several engines, by turns.
#[derive(Debug, Serialize)]
pub struct Contest {
    pub program: String,
    pub size: String,
    pub entries: Vec<Entry>,
}

/// One engine's runs.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub contender: String,
    /// Wall time of each run, in seconds.
    pub seconds: Vec<f64>,
    /// Processor time of each run, in seconds; for a second look, the report does not use it.
    pub processor: Vec<f64>,
    /// Peak resident memory of each run, in bytes.
    pub memory: Vec<f64>,
    /// Why there are no further figures: the run was wrong, or did not end.
    pub trouble: Option<String>,
}

impl Contest {
    /// The runs of one contender, if all of them were right.
    pub fn entry(&self, contender: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.contender == contender && entry.trouble.is_none())
    }

    /// Median time of one contender as a multiple of another's.
    pub fn time_ratio(&self, contender: &str, base: &str) -> Option<f64> {
        Some(median(&self.entry(contender)?.seconds)? / median(&self.entry(base)?.seconds)?)
    }

    /// Median peak memory of one contender as a multiple of another's.
    pub fn memory_ratio(&self, contender: &str, base: &str) -> Option<f64> {
        Some(median(&self.entry(contender)?.memory)? / median(&self.entry(base)?.memory)?)
    }
}

/// Runs `program` with every contender in turn, round after round, so that whatever else
/// happens on the machine meets all of them. Every run's output is compared with the
/// reference's: a fast wrong answer is no measurement. Before that, each configuration of Midair
/// has to show that it is what its name says: nor is a fast answer from another tier.
pub fn contest(
    program: &Program,
    size: Size,
    contenders: &[Contender],
    reference: &Reference,
    limits: &Limits,
) -> Result<Contest> {
    let expected = reference.outcome(program, size)?;
    let blank = |contender: &Contender| Entry {
        contender: contender.name.clone(),
        seconds: Vec::new(),
        processor: Vec::new(),
        memory: Vec::new(),
        trouble: None,
    };
    let mut entries: Vec<Entry> = contenders.iter().map(blank).collect();
    for (contender, entry) in contenders.iter().zip(&mut entries) {
        entry.trouble = lacks_evidence(program, size, contender, limits.run)
            .unwrap_or_else(|error| Some(format!("{error:#}")));
    }
    let start = Instant::now();
    for round in 0..limits.rounds {
        if round > 0 && start.elapsed() > limits.budget {
            break;
        }
        for (contender, entry) in contenders.iter().zip(&mut entries) {
            if entry.trouble.is_none() {
                run_once(program, size, contender, &expected, limits.run, entry);
            }
        }
    }
    for entry in &entries {
        let figures = match (&entry.trouble, median(&entry.seconds)) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(time)) => format!("{time:.3} s, median of {}", entry.seconds.len()),
            (None, None) => "not run".to_string(),
        };
        eprintln!("{:<16} {:<6} {:<22} {figures}", program.name, size.name(), entry.contender);
    }
    Ok(Contest { program: program.name.clone(), size: size.name().to_string(), entries })
}

/// What an unmeasured run of Midair lacks to show that it really is in its tier. Other engines have
/// one way to run only. Statistics are not asked for when times are measured, so this takes a run of
/// its own.
fn lacks_evidence(
    program: &Program,
    size: Size,
    contender: &Contender,
    limit: Duration,
) -> Result<Option<String>> {
    let Engine::Midair { binary, tier, stress, .. } = &contender.engine else {
        return Ok(None);
    };
    let file = project::corpus().join("bench-stats.json");
    let engine = Engine::Midair {
        binary: binary.clone(),
        tier: tier.clone(),
        stress: stress.clone(),
        stats: Some(file.clone()),
    };
    // What another run has left is no evidence for this one.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let room = Room::prepare(program, &project::corpus().join("bench-run"))?;
    engine.run(program, size, &room, limit)?;
    room.clear()?;
    let configuration = Configuration { tier: tier.clone(), stress: stress.clone() };
    let stats = evidence::statistics(&file)?;
    let hot = program.kind == Kind::Kernel && matches!(size, Size::Full | Size::Steady);
    let lacking = evidence::lacking(&stats, &configuration);
    Ok(lacking.or_else(|| hot.then(|| evidence::lacking_when_hot(&stats, &configuration))?))
}

fn run_once(
    program: &Program,
    size: Size,
    contender: &Contender,
    expected: &Outcome,
    limit: Duration,
    entry: &mut Entry,
) {
    let outcome = || -> Result<Option<String>> {
        let room = Room::prepare(program, &project::corpus().join("bench-run"))?;
        let finished = contender.engine.run(program, size, &room, limit)?;
        entry.seconds.push(finished.wall.as_secs_f64());
        entry.processor.push(finished.processor.as_secs_f64());
        entry.memory.push(finished.peak_memory as f64);
        let difference = Outcome::of(program, &room, finished)?.difference(expected, program);
        room.clear()?;
        Ok(difference)
    }();
    entry.trouble = outcome.unwrap_or_else(|error| Some(format!("{error:#}")));
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The geometric mean: the fair mean of ratios.
pub fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (logs / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        assert!((geometric_mean(&[4.0, 0.25]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn a_contender_in_trouble_has_no_ratio() {
        let entry = |name: &str, seconds: f64, trouble: Option<&str>| Entry {
            contender: name.to_string(),
            seconds: vec![seconds],
            processor: vec![seconds],
            memory: vec![1.0],
            trouble: trouble.map(String::from),
        };
        let contest = Contest {
            program: "p".to_string(),
            size: "full".to_string(),
            entries: vec![
                entry("a", 1.0, None),
                entry("b", 2.0, None),
                entry("c", 0.1, Some("wrong")),
            ],
        };
        assert_eq!(contest.time_ratio("a", "b"), Some(0.5));
        assert_eq!(contest.time_ratio("c", "b"), None);
    }
}
