//! What an update did.

use super::definitions::{Definition, Definitions};
use super::frame_map::FrameMap;
use super::module_diff::summary::ModuleSummary;
use super::plan::{PlannedFrames, PlannedOutcome};
use super::policy::Policy;
use super::refusal::Refusal;
use crate::code::counters::MovedFrames;
use crate::code::stats::FrameKinds;
use crate::module::Module;
use crate::module::provenance::{IndexMaps, Provenance};
use anyhow::Result;
use midair_tiers::FunctionBody;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What an update did: see [`Update::apply`](super::update::Update::apply).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// The functions that have new bodies.
    pub functions: Vec<AppliedFunction>,
    /// Suspended frames of old machine code, on all threads, whose return addresses were redirected: they
    /// move when they are returned to. Frames of the interpreter are not looked for; they move as well.
    pub frames_redirected: usize,
    /// The frames that were suspended in old bodies at the moment at which their stores got the new ones, as
    /// a [plan](super::plan::Plan::frames) lists them; `None` unless
    /// [`count_frames`](super::update::Update::count_frames) was asked for.
    pub frames: Option<Vec<PlannedFrames>>,
    /// Bytes of old machine code that were poisoned and freed.
    pub freed_bytes: usize,
    /// How long the guest that stood still longest did so.
    pub longest_pause: Duration,
    /// From the moment at which the new bodies were current until the old machine code was gone.
    pub time_to_freed: Duration,
    /// How long it took to prepare the update, compilation included. Guests ran on meanwhile.
    pub preparation: Duration,
    /// What a [new module](super::update::Update::module) has changed, if there was one.
    pub summary: Option<ModuleSummary>,
    /// What was [defined](super::update::Update::add_function) function by function.
    pub definitions: Vec<Definition>,
    pub(super) module: Module,
    /// If there was a new module.
    pub(super) sources: Option<Sources>,
    /// What undoes the definitions.
    pub(super) inverse: Definitions,
    /// The bodies that were current before, and those that became so, in the order of `functions`.
    pub(super) bodies: Vec<(FunctionBody, FunctionBody)>,
    /// The maps that were given, in the same order.
    pub(super) maps: Vec<Option<FrameMap>>,
}

/// An update brought the program up to another module.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// Where it was before; `None`: at the loaded one.
    pub(super) before: Option<Provenance>,
    /// Where the module's items went: no other update has the same allocation.
    pub(super) after: Arc<IndexMaps>,
}

/// What an update did to one function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppliedFunction {
    /// Index of the function.
    pub function: u32,
    /// Number of its new version.
    pub version: u32,
    /// What its suspended frames do.
    pub policy: Policy,
    /// Points of the old body whose frames go on in the new one.
    pub points_mapped: usize,
    /// Why frames at other points stay in the old body, until they come to one of those.
    pub refusals: Vec<Refusal>,
    /// Bytes of machine code that were made of the new body before it became current.
    pub compiled_bytes: usize,
    pub(super) moved: Arc<MovedFrames>,
}

impl AppliedFunction {
    /// The frames of the body that was replaced which have gone on so far, by kind: each does so when it is
    /// returned to or at its next safepoint, which may be long after the update.
    ///
    /// They are those that moved because of this update or later ones: into another body, or out of the old
    /// one's machine code that was freed, to finish. Frames of the interpreter that finish in the body that
    /// they are in do not move and are not counted, nor are frames that are unwound before they are returned
    /// to.
    pub fn frames_moved(&self) -> FrameKinds {
        self.moved.stats()
    }
}

impl Applied {
    /// What was done to this function; `None` if its body has not changed.
    pub fn function(&self, function: u32) -> Option<&AppliedFunction> {
        self.functions.iter().find(|applied| applied.function == function)
    }

    /// How many suspended frames go on in new bodies, each when it is returned to or at its next safepoint;
    /// `None` if [frames were not counted](super::update::Update::count_frames).
    pub fn frames_to_move(&self) -> Option<usize> {
        let moves = |f: &&PlannedFrames| matches!(f.outcome, PlannedOutcome::Migrate { .. });
        let frames = self.frames.as_ref()?.iter();
        Some(frames.filter(moves).map(|frames| frames.count).sum())
    }

    /// Gives all functions that were changed the bodies back that they had before.
    ///
    /// What was defined function by function is undone too: exports that existed point again to what they
    /// pointed to, references are moved back, and table entries are again what the module and earlier updates
    /// had set them to, or null. What was added stays, unused.
    ///
    /// If the update brought the program up to a new module, it is brought back to the one before: also
    /// table entries, exports and data are again what that says. What was added stays, unused. What other
    /// updates have changed since stays too.
    ///
    /// That is an update like any other, with the same policies, and with the inverse of the frame maps
    /// that were given. Frames that finish in the bodies that were
    /// replaced are then frames of current code again. Fails, without changing anything, if one of the
    /// functions has got another body since, or the program has been brought up to another module and not back.
    pub fn undo(&self) -> Result<Applied> {
        let mut update = self.module.update();
        if let Some(Sources { before, .. }) = &self.sources {
            let before = match before {
                Some(provenance) => provenance.clone(),
                // As it was loaded: what runs has other exports and bodies by now.
                None => Provenance::of_loaded(
                    &Module::from_binary(self.module.engine(), self.module.state.bytes())?.state,
                ),
            };
            let data = self.summary.as_ref().is_some_and(|summary| summary.data_bytes > 0);
            update = update.back_to(before, data);
        }
        update = update.defining(self.inverse.clone());
        let before = self.bodies.iter().zip(&self.maps);
        for (applied, ((body, _), map)) in self.functions.iter().zip(before) {
            update = update.body(applied.function, body.bytes());
            if let Some(map) = map {
                update = update.frame_map(applied.function, map.inverse());
            }
            // Frames of the bodies that are undone shall trap only if that is asked for.
            if applied.policy == Policy::Finish {
                update = update.policy(applied.function, Policy::Finish);
            }
        }
        if self.frames.is_some() {
            update = update.count_frames(true);
        }
        update.apply_as(Some(self))
    }

    /// Fails if something that the update changed has been changed since, and is not as the update left it.
    pub(super) fn check_current(&self) -> Result<()> {
        let module = &self.module.state;
        if let Some(Sources { after, .. }) = &self.sources {
            let provenance = module.added.provenance();
            anyhow::ensure!(
                provenance.as_ref().is_some_and(|now| Arc::ptr_eq(&now.maps, after)),
                "the program has been brought up to another module since, so that this update cannot be undone"
            );
        }
        let code = &module.code;
        for (applied, (_, after)) in self.functions.iter().zip(&self.bodies) {
            anyhow::ensure!(
                code.current(applied.function).body.bytes() == after.bytes(),
                "{} has been changed again since, so that this update cannot be undone",
                code.function_label(applied.function)
            );
        }
        Ok(())
    }
}

/// What a replacement did: see [`Module::replace_function`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replacement {
    /// Number of the new version.
    pub version: u32,
    /// Suspended frames of the old machine code whose return addresses were redirected.
    pub frames_redirected: usize,
    /// Safepoints of the old body whose frames go on in the new one.
    pub points_mapped: usize,
    /// Why frames at other safepoints stay in the old body, until they come to one of those.
    pub refusals: Vec<Refusal>,
    /// Bytes of old machine code that were poisoned and freed before the call returned: all of it.
    pub freed_bytes: usize,
    /// How long the guest that stood still longest did so.
    pub pause: Duration,
    /// From the moment at which the new body was current until the old machine code was gone.
    pub time_to_freed: Duration,
}

impl Replacement {
    /// What an update of one function did.
    pub(crate) fn new(mut applied: Applied) -> Replacement {
        let function = applied.functions.pop().expect("one function was updated");
        Replacement {
            version: function.version,
            frames_redirected: applied.frames_redirected,
            points_mapped: function.points_mapped,
            refusals: function.refusals,
            freed_bytes: applied.freed_bytes,
            pause: applied.longest_pause,
            time_to_freed: applied.time_to_freed,
        }
    }
}

/// One line.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        write!(
            f,
            "{} changed, {} redirected, ",
            count(self.functions.len(), "function"),
            count(self.frames_redirected, "frame"),
        )?;
        if self.longest_pause.is_zero() {
            f.write_str("no guest paused, ")?;
        } else {
            write!(f, "longest pause {:.1?}, ", self.longest_pause)?;
        }
        if self.freed_bytes == 0 {
            return f.write_str("no code to free");
        }
        let freed = count(self.freed_bytes, "byte");
        write!(f, "{freed} of code freed after {:.1?}", self.time_to_freed)
    }
}
