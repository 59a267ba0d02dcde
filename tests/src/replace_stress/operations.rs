//! What the replacer does to a running program.

use super::body_edits::{Additions, Edited};
use super::journal::Journal;
use super::target::{Bodies, Target};
use crate::mutation::Random;
use anyhow::{Context, Result};
use midair::{Applied, FrameMap, OptLevel, Policy, RecompileOptions};
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often what was done.
#[derive(Debug, Default)]
pub struct Counts {
    recompiled: AtomicU64,
    pub(super) modules: AtomicU64,
    pub(super) modules_otherwise: AtomicU64,
    pub(super) modules_refused: AtomicU64,
    again: AtomicU64,
    migrated: AtomicU64,
    finished: AtomicU64,
    undone: AtomicU64,
    planned: AtomicU64,
    mapped: AtomicU64,
    functions: AtomicU64,
}

impl Counts {
    /// By name.
    pub fn numbers(&self) -> [(&'static str, u64); 11] {
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("functions recompiled", number(&self.recompiled)),
            ("whole modules updated", number(&self.modules)),
            ("whole modules matched otherwise", number(&self.modules_otherwise)),
            ("whole modules refused for where data lies", number(&self.modules_refused)),
            ("updates with the same bodies", number(&self.again)),
            ("updates with other bodies, migrating", number(&self.migrated)),
            ("updates with other bodies, finishing", number(&self.finished)),
            ("updates undone", number(&self.undone)),
            ("updates planned first", number(&self.planned)),
            ("frame maps given", number(&self.mapped)),
            ("function bodies replaced", number(&self.functions)),
        ]
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An update that can be undone.
pub struct Undo {
    applied: Applied,
    /// The bodies before, where frames' places in them are known.
    before: BTreeMap<u32, Edited>,
}

/// Does random things to a target, none of which may change what the program does. Notes them in the
/// journal.
pub struct Operator<'a> {
    /// What it is done to.
    pub target: &'a Target,
    /// Where it is noted.
    pub journal: &'a Journal,
    /// Who does it.
    pub who: &'a str,
    /// What is counted.
    pub counts: &'a Counts,
}

impl Operator<'_> {
    /// Does something.
    pub fn act(&self, mut bodies: MutexGuard<'_, Bodies>, random: &mut Random) -> Result<()> {
        match random.below(20) {
            0..=3 => self.again(&mut bodies, random),
            4..=6 => self.edit(&mut bodies, random, Policy::Finish),
            7 => self.undo(&mut bodies),
            8..=11 => self.recompile(&bodies, random),
            12 if self.target.program.is_small() => self.whole_module(&mut bodies, random),
            _ => self.edit(&mut bodies, random, Policy::Migrate),
        }
    }

    /// Random functions; mostly one.
    pub(super) fn functions(&self, bodies: &Bodies, random: &mut Random) -> Vec<u32> {
        let count = match random.below(8) {
            0 => 1 + random.below(24),
            1 => 1 + random.below(4),
            _ => 1,
        };
        let mut functions: Vec<u32> =
            (0..count).map(|_| self.target.choose(bodies, random)).collect();
        functions.sort_unstable();
        functions.dedup();
        functions
    }

    /// The same bodies once more.
    fn again(&self, bodies: &mut Bodies, random: &mut Random) -> Result<()> {
        let mut new = BTreeMap::new();
        for function in self.functions(bodies, random) {
            new.insert(function, self.target.current(bodies, function)?);
        }
        count(&self.counts.again);
        let policy = if bodies.unsure { Policy::Finish } else { Policy::Migrate };
        self.update(bodies, random, new, policy, "again")
    }

    /// Other bodies that do the same.
    fn edit(&self, bodies: &mut Bodies, random: &mut Random, policy: Policy) -> Result<()> {
        // Additions are such that frames find their places by themselves, or not.
        let additions = Additions { safepoints: random.below(2) == 0, nothing: bodies.nothing };
        let policy = if bodies.unsure { Policy::Finish } else { policy };
        let mut new = BTreeMap::new();
        for function in self.functions(bodies, random) {
            new.insert(function, self.target.edited(bodies, function, random, additions)?);
        }
        let what = match policy {
            Policy::Finish => {
                count(&self.counts.finished);
                "edit, finish"
            }
            _ => {
                count(&self.counts.migrated);
                "edit, migrate"
            }
        };
        self.update(bodies, random, new, policy, what)
    }

    fn update(
        &self,
        bodies: &mut Bodies,
        random: &mut Random,
        new: BTreeMap<u32, Edited>,
        policy: Policy,
        what: &str,
    ) -> Result<()> {
        let functions: Vec<u32> = new.keys().copied().collect();
        let program = &self.target.program.name;
        let number = self.journal.begin(format!("{}: {program} {what} {functions:?}", self.who));
        let refused = |what: &str| format!("{program} {what} {functions:?} was refused");
        let mut before = BTreeMap::new();
        let mut update = self.target.module.update();
        for (&function, body) in &new {
            let old = self.target.current(bodies, function)?;
            update = update.body(function, body.bytes.clone()).policy(function, policy);
            let told = old.safepoints_differ || body.safepoints_differ || random.below(4) == 0;
            if told && policy == Policy::Migrate {
                count(&self.counts.mapped);
                update = update.frame_map(function, map(&old, body));
            }
            before.insert(function, old);
        }
        let mut outcome = String::new();
        if random.below(20) == 0 {
            count(&self.counts.planned);
            update.plan().with_context(|| refused(&format!("planning {what}")))?;
            outcome += "planned, ";
        }
        // All bodies are valid, and their maps are right.
        let applied = update.apply().with_context(|| refused(what))?;
        outcome += &self.applied(bodies, &applied);
        for (function, body) in new {
            bodies.replaced(function, body);
        }
        bodies.undo = Some(Undo { applied, before });
        self.journal.end(number, outcome);
        Ok(())
    }

    /// Takes in what an update has done.
    pub(super) fn applied(&self, bodies: &mut Bodies, applied: &Applied) -> String {
        let frames = applied.frames_redirected;
        self.counts.functions.fetch_add(applied.functions.len() as u64, Ordering::Relaxed);
        if let ([one], true) = (&applied.functions[..], frames > 0) {
            bodies.found(one.function);
        }
        let versions: Vec<u32> = applied.functions.iter().map(|f| f.version).collect();
        format!("versions {versions:?}, {frames} frames, {} bytes freed", applied.freed_bytes)
    }

    /// The same body, compiled anew by some compiler.
    fn recompile(&self, bodies: &Bodies, random: &mut Random) -> Result<()> {
        let function = self.target.choose(bodies, random);
        let options = match random.below(4) {
            0 | 1 => RecompileOptions::unoptimized(),
            2 => RecompileOptions::optimized().opt_level(OptLevel::SpeedAndSize),
            _ => RecompileOptions::optimized(),
        };
        let what = format!("{} recompile {function} {options}", self.target.program.name);
        let number = self.journal.begin(format!("{}: {what}", self.who));
        let done = self.target.module.recompile(function, &options);
        let done = done.with_context(|| format!("{what} was refused"))?;
        count(&self.counts.recompiled);
        let outcome =
            format!("{} frames, {} OSR entries", done.frames_redirected, done.osr_entries);
        self.journal.end(number, outcome);
        Ok(())
    }

    /// Undoes the last update of this target.
    fn undo(&self, bodies: &mut Bodies) -> Result<()> {
        let Some(Undo { applied, before }) = bodies.undo.take() else { return Ok(()) };
        count(&self.counts.undone);
        let functions: Vec<u32> = before.keys().copied().collect();
        let what = format!("{} undo {functions:?}", self.target.program.name);
        let number = self.journal.begin(format!("{}: {what}", self.who));
        let undone = applied.undo().with_context(|| format!("{what} was refused"))?;
        let outcome = self.applied(bodies, &undone);
        for (function, body) in before {
            bodies.replaced(function, body);
        }
        self.journal.end(number, outcome);
        Ok(())
    }
}

/// Where frames of a body are in another one made from the same original.
fn map(old: &Edited, new: &Edited) -> FrameMap {
    let map = FrameMap::new().exclusive().point(0, 0);
    old.points.iter().zip(&new.points).fold(map, |map, (&old, &new)| map.point(old, new))
}
