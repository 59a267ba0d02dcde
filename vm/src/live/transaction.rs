//! An update happens: prepared, published, old code retired, report made.

use super::applied::{Applied, AppliedFunction};
use super::changes::Changes;
use super::plan::Plan;
use super::prepare::{Prepared, PreparedBody};
use crate::Result;
use crate::code::{Event, Reach, retire};
use crate::module::Module;
use crate::store::StoreOpaque;
use midair_tiers::compile::EntryPoint;
use std::time::Instant;

/// What an update would do.
pub(crate) fn plan(module: &Module, changes: Changes) -> Result<Plan> {
    let code = &module.state.code;
    let _updating = code.begin_replacement();
    let prepared = Prepared::new(code, changes, false)?;
    Plan::new(module, &prepared)
}

/// Applies an update. `undone`: the one that it undoes.
pub(crate) fn apply(
    module: &Module,
    changes: Changes,
    undone: Option<&Applied>,
    here: Option<&mut StoreOpaque>,
) -> Result<Applied> {
    let code = &module.state.code;
    let _updating = code.begin_replacement();
    if let Some(undone) = undone {
        undone.check_current()?;
    }
    let started = Instant::now();
    let prepared = Prepared::new(code, changes, true)?;
    let preparation = started.elapsed();

    // From here on nothing fails.
    let published = Instant::now();
    let objects = code.publish(&prepared.bodies)?;
    let (bodies, events) = prepared.into_parts();
    for event in events {
        code.system.events.send(|| event);
    }
    let mine = here.as_ref().map(|store| store.interrupt.clone());
    let here = here.map(|store| {
        store.transitions.redirected_selectively();
        store.stack()
    });
    let stack = mine.as_ref().zip(here).map(|(mine, stack)| {
        // SAFETY: the store is borrowed for as long as this function runs.
        (mine, unsafe { &mut *stack }, Reach::Whole)
    });
    // SAFETY: the old code was unlinked by `publish`; the embedder calls from outside the guest or from a
    // host function, so this thread is in a callout or has no frames.
    let retired = unsafe { retire(&code.system, objects, stack, &code.stores()) };
    let time_to_freed = published.elapsed();
    code.system.counters.paused(time_to_freed);

    for body in &bodies {
        if body.hot {
            code.request(&body.new, EntryPoint::Function, 1);
        }
        code.system.events.send(|| Event::Replaced {
            function: body.function(),
            version: body.new.body.version,
            frames: retired.redirected,
        });
    }
    let report = |body: &PreparedBody| AppliedFunction {
        function: body.function(),
        version: body.new.body.version,
        policy: body.policy,
        points_mapped: body.points_mapped,
        refusals: body.refusals.clone(),
        compiled_bytes: body.compiled_bytes,
    };
    Ok(Applied {
        functions: bodies.iter().map(report).collect(),
        frames_redirected: retired.redirected,
        freed_bytes: retired.freed_bytes,
        waiting_bytes: retired.waiting_bytes,
        longest_pause: time_to_freed,
        time_to_freed,
        preparation,
        module: module.clone(),
        previous: bodies.iter().map(|body| body.old.body.bytes().to_vec()).collect(),
    })
}
