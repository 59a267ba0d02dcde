//! An update happens: prepared, published, old code retired, report made.

use super::applied::{Applied, AppliedFunction, Sources};
use super::census::Census;
use super::changes::{ChangedData, Changes};
use super::data;
use super::definitions::Superseded;
use super::plan::{Plan, planned_frames};
use super::prepare::{Prepared, PreparedBody};
use crate::code::events::Event;
use crate::code::retire::{Retiring, retire, retire_around};
use crate::code::standing::check_none_stands;
use crate::module::Module;
use anyhow::Result;
use midair_tiers::compile::EntryPoint;
use std::time::Instant;

/// What an update would do. `changes` is called when nobody else can be updating the module.
pub(crate) fn plan(module: &Module, changes: impl FnOnce() -> Result<Changes>) -> Result<Plan> {
    module.engine().check_process()?;
    check_none_stands()?;
    let code = &module.state.code;
    let _updating = code.begin_replacement();
    let mut changes = changes()?;
    let source = changes.source.take();
    let definitions = std::mem::take(&mut changes.definitions);
    let prepared = Prepared::new(&module.state, changes, false)?;
    Ok(Plan::new(module, &prepared, source.map(|source| source.summary), definitions))
}

/// Applies an update. `changes` is called when nobody else can be updating the module. `undone`: the one that
/// it undoes. `count_frames`: see [`super::update::Update::count_frames`].
pub(crate) fn apply(
    module: &Module,
    changes: impl FnOnce() -> Result<Changes>,
    undone: Option<&Applied>,
    count_frames: bool,
) -> Result<Applied> {
    module.engine().check_process()?;
    check_none_stands()?;
    let code = &module.state.code;
    let _updating = code.begin_replacement();
    if let Some(undone) = undone {
        undone.check_current()?;
    }
    let started = Instant::now();
    let mut changes = changes()?;
    let (source, data) = (changes.source.take(), std::mem::take(&mut changes.data));
    let definitions = std::mem::take(&mut changes.definitions);
    let inverse = std::mem::take(&mut changes.inverse);
    let superseded = Superseded::new(&changes);
    let mut prepared = Prepared::new(&module.state, changes, true)?;
    let preparation = started.elapsed();

    // From here on nothing fails but publishing, and that only if code has been compiled meanwhile; then
    // nothing refers to what has been added.
    let mut added = prepared.commit_growth();
    // Where guests are in the host, data is written before they come back to new code.
    let writing = (!data.is_empty()).then(|| data::writing(&module.state, &data));
    let functions = prepared.bodies.iter().map(PreparedBody::function);
    let census = count_frames.then(|| Census::new(code, functions));
    let counting = census.clone().map(|census| census as _);
    let changing = added.moving().into_iter().chain(added.in_stores()).chain(writing);
    let also: Vec<_> = counting.into_iter().chain(changing).collect();
    let retiring = if also.is_empty() && prepared.bodies.len() <= 1 {
        let objects = code.publish(prepared.bodies.iter().map(|body| &body.succession))?;
        // SAFETY: the old code was unlinked by `publish`.
        unsafe { retire(&code.system, objects, code.stores()) }
    } else {
        // Guests that come to a safepoint wait until all functions have changed. Code that calls through a
        // table expects functions of the new types, and code finds its data in the new places: so new
        // bodies are not run before the store's entries and data have been set, nor old ones after.
        added.bar_instantiation();
        let publish = || {
            #[cfg(test)]
            tests::amid_change();
            code.publish(prepared.bodies.iter().map(|body| &body.succession))
        };
        // SAFETY: as above.
        Some(unsafe { retire_around(&code.system, code.stores(), also, publish)? })
    };
    for ChangedData { memory, address, bytes } in &data {
        let mut memories = module.state.added.memories();
        memories.entry(*memory).or_default().data.write(*address, bytes);
    }
    let (bodies, events) = prepared.into_parts();
    for event in events {
        code.system.events.send(|| event);
    }
    let retired = retiring.map(Retiring::wait).unwrap_or_default();
    added.finish();
    module.state.set_superseded(&superseded);
    if inverse.sets_references() {
        module.state.added.count_set_one_by_one(undone.is_some());
    }

    for body in &bodies {
        if body.hot {
            code.request(&body.succession.new, EntryPoint::Function, 1);
        }
        code.system.events.send(|| Event::Replaced {
            module: code.label(),
            function: body.function(),
            version: body.succession.new.body.version,
            frames: retired.redirected,
        });
    }
    let report = |body: &PreparedBody| AppliedFunction {
        function: body.function(),
        version: body.succession.new.body.version,
        policy: body.policy,
        points_mapped: body.points_mapped,
        refusals: body.refusals.clone(),
        compiled_bytes: body.compiled_bytes,
        moved: body.succession.moved.clone(),
    };
    let (mut summary, mut sources) = (None, None);
    if let Some(source) = source {
        summary = Some(source.summary);
        let after = source.provenance.maps.clone();
        let before = module.state.added.provenance().replace(source.provenance);
        sources = Some(Sources { before, after });
    }
    let applied = Applied {
        summary,
        definitions,
        sources,
        inverse,
        functions: bodies.iter().map(report).collect(),
        frames_redirected: retired.redirected,
        frames: census.map(|census| planned_frames(&bodies, census.take())),
        freed_bytes: retired.freed_bytes,
        longest_pause: retired.longest_pause,
        time_to_freed: retired.time_to_freed,
        preparation,
        module: module.clone(),
        bodies: bodies
            .iter()
            .map(|body| (body.succession.old.body.clone(), body.succession.new.body.clone()))
            .collect(),
        maps: bodies.iter().map(|body| body.map.clone()).collect(),
    };
    // What has been prepared refers to old versions.
    drop(bodies);
    code.forget_old_versions();
    Ok(applied)
}

#[cfg(test)]
mod tests;
