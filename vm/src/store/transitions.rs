//! What a store remembers of transitions between the tiers.

use crate::code::counters::Departure;
use crate::code::layout::Layout;
use crate::code::mixed;
use crate::code::module_code::ModuleCode;
use crate::code::version::FunctionVersion;
use crate::config::stress::StressSpec;
use midair_osr::SiteKind;
use midair_tiers::{Handler, TrapCode};
use std::sync::Arc;

/// A captured frame on its way into the interpreter.
pub(crate) struct Resumption {
    pub(crate) module: Arc<ModuleCode>,
    /// The version that the frame was of when it was captured.
    pub(crate) origin: Arc<FunctionVersion>,
    pub(crate) departure: Departure,
    /// The one that it goes on in.
    pub(crate) version: Arc<FunctionVersion>,
    pub(crate) kind: SiteKind,
    pub(crate) point: u32,
    /// Canonical slots; after a call with its results.
    pub(crate) values: Vec<u64>,
    /// Whether a stress schedule wants the frame in the interpreter, whatever code there is.
    pub(crate) to_interpreter: bool,
    /// The frame does not go on, but traps.
    pub(crate) trap: Option<TrapCode>,
    /// Something was requested of the store when the frame was captured: see [`Resumption::serve`].
    pub(crate) unserved: bool,
    /// The module's epoch as of which the version was chosen.
    pub(crate) epoch: u64,
}

/// A frame of machine code that is unwound to, because it handles an exception.
pub(crate) struct Caught {
    /// The version that it goes on in.
    pub(crate) version: Arc<FunctionVersion>,
    pub(crate) handler: Handler,
    /// From the frame's slots to those that it has in that version.
    pub(crate) layout: Option<Arc<Layout>>,
    /// Slots of the locals there.
    pub(crate) locals: usize,
    /// The module's epoch as of which the version was chosen.
    pub(crate) epoch: u64,
}

/// The part of a store that transitions need.
#[derive(Default)]
pub(crate) struct TransitionState {
    /// Safepoints so far, counted only under a stress schedule.
    safepoints: u64,
    /// The next poll is that of a safepoint which has just been served: without this, a schedule of
    /// every safepoint would never let the code behind it run.
    skip_next: bool,
    /// The next captured frame shall go on in the interpreter.
    pub(crate) to_interpreter: bool,
    /// Whether the safepoint before was in the interpreter; kept only under a schedule of mixed tiers.
    was_interpreted: Option<bool>,
    /// The frame that `resume_entry` is about to resume. In a box, because the native frame that resumes it
    /// stays as long as the interpreter runs it: guests count on deep recursion.
    pub(crate) resumption: Option<Box<Resumption>>,
    /// What is known of the frame that is captured next, if an exception has led to it.
    pub(crate) caught: Option<Caught>,
}

/// What a stress schedule wants at a safepoint.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    pub(crate) leave_or_enter: bool,
    pub(crate) retire: bool,
    /// Random bits, if a function is to get another tier.
    pub(crate) mix: Option<u64>,
}

impl TransitionState {
    pub(crate) fn step(&mut self, stress: StressSpec) -> Wish {
        if !stress.is_active() {
            return Wish::default();
        }
        if std::mem::take(&mut self.skip_next) {
            return Wish::default();
        }
        self.safepoints += 1;
        if stress.until.is_some_and(|until| self.safepoints > until) {
            return Wish::default();
        }
        // The seed shifts the schedule.
        let n = self.safepoints.wrapping_add(stress.seed);
        let due = |every: Option<u64>| every.is_some_and(|every| n.is_multiple_of(every));
        let mix = stress.mixed.and_then(|every| {
            let bits = mixed::hash(stress.seed, self.safepoints);
            bits.is_multiple_of(every).then_some(bits / every)
        });
        Wish { leave_or_enter: due(stress.osr), retire: due(stress.retire), mix }
    }

    /// Counts changes of the tier from one safepoint to the next.
    pub(crate) fn at_safepoint_of_mixed(&mut self, module: &ModuleCode, interpreted: bool) {
        let counters = &module.system.counters;
        match (self.was_interpreted.replace(interpreted), interpreted) {
            (Some(true), false) => counters.mixed_interpreter_to_code.add(1),
            (Some(false), true) => counters.mixed_code_to_interpreter.add(1),
            _ => {}
        }
    }

    /// Code is entered at a safepoint that has been served already.
    pub(crate) fn entering(&mut self) {
        self.skip_next = true;
    }
}
