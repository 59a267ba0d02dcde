//! What an update would do.

use super::census::{FrameCount, suspended_frames};
use super::definitions::Definition;
use super::module_diff::summary::ModuleSummary;
use super::policy::Policy;
use super::prepare::{Prepared, PreparedBody};
use super::refusal::Refusal;
use crate::code::continuation::{Continuation, Migration};
use crate::code::exits::Exits;
use crate::code::stats::SuspendedIn;
use crate::code::version::FunctionVersion;
use crate::config::Tier;
use crate::module::Module;
use crate::types::printable::function_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What an update would do: see [`Update::plan`](super::update::Update::plan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The functions whose bodies change.
    pub functions: Vec<PlannedFunction>,
    /// Suspended frames of these functions, those of one store at one point together.
    pub frames: Vec<PlannedFrames>,
    /// What a [new module](super::update::Update::module) would change, if there is one.
    pub summary: Option<ModuleSummary>,
    /// What would be [defined](super::update::Update::add_function) function by function.
    pub definitions: Vec<Definition>,
}

/// What an update would do to one function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedFunction {
    /// Index of the function.
    pub function: u32,
    /// Its name in the name section.
    pub name: Option<String>,
    /// Number of the version that it would get.
    pub version: u32,
    /// What its suspended frames would do.
    pub policy: Policy,
    /// Bytes of its body now.
    pub old_bytes: usize,
    /// Bytes of the new body.
    pub new_bytes: usize,
    /// Offset of the first byte in which the bodies differ; `None` if they are equal.
    pub first_difference: Option<usize>,
    /// Points of the old body whose frames would go on in the new one, with where.
    pub mapped: Vec<(u32, u32)>,
    /// Why frames at other points would stay in the old body, until they come to one of those.
    pub refusals: Vec<Refusal>,
}

/// Suspended frames of a function whose body would change, or has changed: those of one store at one point that
/// are run by the same tier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedFrames {
    /// Number of the store in this process, by the time at which they were made.
    pub store: u64,
    /// Index of the function.
    pub function: u32,
    /// Number of the version whose body they are in.
    pub version: u32,
    /// Offset in that body.
    pub point: u32,
    /// What they are in the middle of.
    pub suspended: SuspendedIn,
    /// What runs them: [`Tier::Interp`] or [`Tier::Optimized`]. Baseline code runs on frames of the interpreter.
    pub tier: Tier,
    /// Whether they are frames of machine code.
    pub compiled: bool,
    /// How many they are.
    pub count: usize,
    /// What they do.
    pub outcome: PlannedOutcome,
}

/// What suspended frames do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlannedOutcome {
    /// They go on in the new body.
    Migrate {
        /// Offset in the new body.
        point: u32,
    },
    /// They stay in the body that they are in until they come to a point that has a counterpart in a newer
    /// one: a loop, or a call that returns. If they never do, they finish in it.
    Stay {
        /// Why the point where they are has none.
        why: Option<Refusal>,
    },
    /// They finish in the body that they are in, or in one that an earlier update sent them to: no point that
    /// they can come to has a counterpart.
    Finish {
        /// Why, if that is not what the policy says.
        why: Option<Refusal>,
    },
    /// They trap.
    Trap,
}

impl fmt::Display for PlannedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlannedOutcome::Migrate { point } => write!(f, "go on at offset {point:#x}"),
            PlannedOutcome::Stay { why } => {
                f.write_str("stay in the old body until a point that has a counterpart")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            PlannedOutcome::Finish { why: None } => f.write_str("finish in the old body"),
            PlannedOutcome::Finish { why: Some(why) } => {
                write!(f, "finish in the old body: {why}")
            }
            PlannedOutcome::Trap => f.write_str("trap"),
        }
    }
}

impl Plan {
    pub(super) fn new(
        module: &Module,
        prepared: &Prepared,
        summary: Option<ModuleSummary>,
        definitions: Vec<Definition>,
    ) -> Plan {
        let bodies = &prepared.bodies;
        let frames =
            suspended_frames(&module.state.code, bodies.iter().map(PreparedBody::function));
        Plan {
            functions: bodies.iter().map(|body| planned(module, body)).collect(),
            frames: planned_frames(bodies, frames),
            summary,
            definitions,
        }
    }
}

/// What these frames do when these bodies become current.
pub(super) fn planned_frames(
    bodies: &[PreparedBody],
    frames: Vec<FrameCount>,
) -> Vec<PlannedFrames> {
    let by_function: HashMap<u32, &PreparedBody> =
        bodies.iter().map(|body| (body.function(), body)).collect();
    let planned = |found: FrameCount| {
        let function = found.version.body.function;
        let body = by_function.get(&function)?;
        // Frames that have been made since are not concerned.
        (!Arc::ptr_eq(&found.version, &body.succession.new)).then(|| PlannedFrames {
            store: found.store,
            function,
            version: found.version.body.version,
            point: found.point,
            suspended: found.suspended,
            tier: found.tier,
            compiled: found.tier != Tier::Interp,
            count: found.count,
            outcome: outcome(body, &found),
        })
    };
    frames.into_iter().filter_map(planned).collect()
}

/// What frames would do.
fn outcome(body: &PreparedBody, found: &FrameCount) -> PlannedOutcome {
    let older =
        body.succession.older.iter().find(|(version, _)| Arc::ptr_eq(version, &found.version));
    let migration = older.map_or(&body.succession.migration, |(_, migration)| migration);
    match migration.at(found.point) {
        Continuation::Trap => PlannedOutcome::Trap,
        Continuation::Move { version, point, .. }
            if Arc::ptr_eq(&version, &body.succession.new) =>
        {
            PlannedOutcome::Migrate { point }
        }
        // An earlier update sends them to the body that is the current one now.
        Continuation::Move { version, point, .. }
            if Arc::ptr_eq(&version, &body.succession.old) =>
        {
            staying(body, &version, &body.succession.migration, point)
        }
        Continuation::Move { .. } => PlannedOutcome::Finish { why: None },
        Continuation::Stay => staying(body, &found.version, migration, found.point),
    }
}

/// What frames would do that go on at this point of a version and stay in it there.
fn staying(
    body: &PreparedBody,
    version: &Arc<FunctionVersion>,
    migration: &Migration,
    point: u32,
) -> PlannedOutcome {
    let is_current = Arc::ptr_eq(version, &body.succession.old);
    let concerns = |why: &&Refusal| why.point().is_none_or(|at| at == point);
    let why = body.refusals.iter().find(concerns).filter(|_| is_current).cloned();
    match Exits::of(&version.body, migration) {
        Some(exits) if exits.may_follow(point) => PlannedOutcome::Stay { why },
        _ => PlannedOutcome::Finish { why },
    }
}

fn planned(module: &Module, body: &PreparedBody) -> PlannedFunction {
    let (old, new) = (body.succession.old.body.bytes(), body.succession.new.body.bytes());
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let mut mapped = match &body.succession.migration {
        Migration::Points(points) => points.iter().map(|(old, to)| (old, to.point)).collect(),
        Migration::Stay | Migration::Trap => Vec::new(),
    };
    mapped.sort_unstable();
    PlannedFunction {
        function: body.function(),
        name: module.state.function_name(body.function()).map(str::to_owned),
        version: body.succession.new.body.version,
        policy: body.policy,
        old_bytes: old.len(),
        new_bytes: new.len(),
        first_difference: (old != new).then_some(same),
        mapped,
        refusals: body.refusals.clone(),
    }
}

impl PlannedFunction {
    /// Its name, or what stands for it.
    fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("`{}`", function_name(name)),
            None => format!("function {}", self.function),
        }
    }
}

impl fmt::Display for PlannedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.label())?;
        match self.first_difference {
            Some(at) => write!(
                f,
                "{} bytes instead of {}, different from offset {at:#x} on",
                self.new_bytes, self.old_bytes
            )?,
            None => f.write_str("the same body")?,
        }
        match self.policy {
            Policy::Finish => f.write_str("; suspended frames finish in the old body"),
            Policy::Trap => f.write_str("; suspended frames trap"),
            Policy::Migrate => {
                let points = match self.mapped.len() {
                    1 => "1 point".to_owned(),
                    n => format!("{n} points"),
                };
                write!(f, "; frames at {points} go on in the new body")?;
                for refusal in &self.refusals {
                    write!(f, "\n    refused: {refusal}")?;
                }
                Ok(())
            }
        }
    }
}

/// A line for each definition and each function, with what is refused; then a line for each group of suspended frames.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(summary) = &self.summary {
            writeln!(f, "{summary}")?;
            for note in &summary.notes {
                writeln!(f, "    note: {note}")?;
            }
        }
        if self.functions.is_empty() && self.definitions.is_empty() {
            return f.write_str("nothing changes");
        }
        let definitions = self.definitions.iter().map(|definition| definition as &dyn fmt::Display);
        let functions = self.functions.iter().map(|function| function as &dyn fmt::Display);
        for (i, line) in definitions.chain(functions).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{line}")?;
        }
        for frames in &self.frames {
            let function = self.functions.iter().find(|f| f.function == frames.function);
            let name = function.map_or_else(String::new, PlannedFunction::label);
            let (kind, s) = (
                if frames.compiled { "compiled" } else { "interpreted" },
                if frames.count == 1 { "" } else { "s" },
            );
            write!(
                f,
                "\nstore {}: {} {kind} frame{s} of {name} (version {}) at offset {:#x}: {}",
                frames.store, frames.count, frames.version, frames.point, frames.outcome
            )?;
        }
        Ok(())
    }
}
