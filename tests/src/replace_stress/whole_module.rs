//! New versions of whole modules.

use super::body_edits::Additions;
use super::operations::{Operator, count};
use super::target::Bodies;
use crate::mutation::Random;
use anyhow::{Context, Result};
use midair::{ModuleRefusal, ModuleRefused, Policy};
use std::collections::BTreeMap;

impl Operator<'_> {
    /// A new version of the whole module, in which some bodies are others, and which has a function more.
    pub(super) fn whole_module(&self, bodies: &mut Bodies, random: &mut Random) -> Result<()> {
        let mut new = BTreeMap::new();
        for function in self.functions(bodies, random) {
            let additions = Additions { safepoints: false, nothing: None };
            new.insert(function, self.target.edited(bodies, function, random, additions)?);
        }
        let functions: Vec<u32> = new.keys().copied().collect();
        let what = format!("{} whole module {functions:?}", self.target.program.name);
        let number = self.journal.begin(format!("{}: {what}", self.who));
        let wasm = self.target.with_bodies(bodies, &new)?;
        let mut update =
            self.target.module.update().module(&wasm).context("a module that is valid")?;
        for (&function, body) in &new {
            let old = self.target.current(bodies, function)?;
            if bodies.unsure || old.safepoints_differ || body.safepoints_differ {
                update = update.policy(function, Policy::Finish);
            }
        }
        let applied = match update.apply() {
            Err(error) if may_have_moved(&error) => {
                count(&self.counts.modules_refused);
                self.journal.end(number, format!("refused: {error}"));
                return Ok(());
            }
            applied => applied.with_context(|| format!("{what} was refused"))?,
        };
        count(&self.counts.modules);
        let summary = applied.summary.clone().unwrap_or_default();
        let added = summary.added.first().map(|label| label.index);
        let expected = self.target.program.added_function();
        let as_expected = summary.changed.iter().all(|label| new.contains_key(&label.index))
            && summary.added.len() <= 1
            && added.is_none_or(|added| Some(added) == expected);
        if !as_expected {
            // Some functions stand for others, which is right, but not known here.
            count(&self.counts.modules_otherwise);
            bodies.unsure = true;
        }
        if added.is_some() && added == expected {
            bodies.nothing = added;
        }
        bodies.undo = None;
        let outcome = format!("{summary}; {}", self.applied(bodies, &applied));
        // The others are what they were.
        for label in &summary.changed {
            if let Some(body) = new.get(&label.index) {
                bodies.replaced(label.index, body.regrouped()?);
            }
        }
        self.journal.end(number, outcome);
        Ok(())
    }
}

/// Whether a module is refused only because it looks for data elsewhere. Random edits do not care where data
/// lies; real ones that change an address are refused.
pub(super) fn may_have_moved(error: &anyhow::Error) -> bool {
    use ModuleRefusal as R;
    error.downcast_ref::<ModuleRefused>().is_some_and(|refused| {
        refused.reasons.iter().all(|reason| {
            matches!(
                reason,
                R::AddressMoved { .. }
                    | R::ConstantsMoved { .. }
                    | R::FieldMoved { .. }
                    | R::ElementsMoved { .. }
                    | R::AccessChanged { .. }
                    | R::StructGrew { .. }
                    | R::MoreMoved { .. }
            )
        })
    })
}
