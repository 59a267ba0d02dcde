//! Whether static variables lie, and types are laid out, as the running program has them: what debug information says of
//! both modules, by the names of the source.
//!
//! Code alone does not tell two variables of one type apart that have changed places, nor two fields.

use super::Diff;
use super::addresses::explained;
use super::initial_data::DataPolicy;
use super::refusal::ModuleRefusal;
use crate::live::source_names::Origin;

/// Variables and types that are told of one by one.
const MOST_TOLD: usize = 8;

impl Diff<'_> {
    /// Whether both modules say by names what lies where, as far as functions look for it that have changed.
    pub(super) fn is_named(&self) -> bool {
        self.changes.bodies.iter().all(|changed| {
            let old = Origin::of_present(&self.live.loaded, changed.function);
            old.is_some_and(|old| old.is_described())
                && changed.origin.as_ref().is_some_and(Origin::is_described)
        })
    }

    pub(super) fn compare_source_layout(&mut self, policy: DataPolicy) {
        if self.changes.bodies.is_empty() {
            return;
        }
        let (Some(old), Some(new)) = (self.old.source_layout(), self.new.source_layout()) else {
            return;
        };
        let types = old.changed_types(new).into_iter();
        let types = types.map(|(name, difference)| ModuleRefusal::TypeChanged { name, difference });
        let statics = old.changed_statics(new).into_iter();
        let statics = statics
            .map(|(variable, difference)| ModuleRefusal::StaticChanged { variable, difference });
        let reasons = explained(types.chain(statics).collect(), MOST_TOLD);
        if policy == DataPolicy::Keep {
            self.summary.notes.extend(reasons.iter().map(ToString::to_string));
        } else {
            self.refusals.extend(reasons);
        }
    }
}
