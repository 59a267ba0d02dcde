//! Live replacement: a new body for a function, also while it is suspended on a stack.

use super::events::Event;
use super::module_code::ModuleCode;
use super::retire::{self, Retiring};
use super::version::FunctionVersion;
use crate::Result;
use crate::live::{FrameMapping, Refusal, Safepoints};
use crate::store::StoreOpaque;
use anyhow::Context as _;
use midair_osr::handshake::State;
use midair_osr::{Mutator, shadow_stack_active};
use midair_tiers::FunctionBody;
use midair_tiers::compile::EntryPoint;
use midair_tiers::liveness::Liveness;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a replacement did: see [`crate::Module::replace_function`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replacement {
    /// Number of the new version.
    pub version: u32,
    /// Suspended frames of the old machine code, on all stacks, whose return addresses were redirected.
    pub frames_redirected: usize,
    /// Safepoints of the old body whose frames go on in the new one.
    pub points_mapped: usize,
    /// Why frames at other safepoints finish in the old body.
    pub refusals: Vec<Refusal>,
    /// Bytes of old machine code that were poisoned before the call returned: all of it.
    pub freed_bytes: usize,
    /// The longest time that a guest stood still for it, or was kept from coming back from the host.
    pub pause: Duration,
    /// From the moment when the old code was unlinked until its memory was freed.
    pub time_to_freed: Duration,
}

impl ModuleCode {
    /// Gives a function a new body. `body` must be valid in this module.
    pub(crate) fn replace(
        self: &Arc<Self>,
        store: &mut StoreOpaque,
        function: u32,
        body: Vec<u8>,
    ) -> Result<Replacement> {
        anyhow::ensure!(
            function >= self.env.imported_functions
                && (function as usize) < self.env.functions.len(),
            "function {function} is not defined by the module"
        );
        anyhow::ensure!(
            self.compiled_tier().is_none() || !shadow_stack_active(),
            midair_osr::ShadowStackActive
        );
        let _replacing = self.begin_replacement();
        // Everything that can fail comes first: a refused body leaves the old program untouched.
        let old = self.current(function);
        let len = body.len();
        let number = old.body.version + 1;
        let body = FunctionBody::new(Arc::new(body), 0, len, function, number);
        let new_points = Safepoints::new(&self.env, &body, self.validation(function))
            .context("the new body is not valid in this module")?;
        let old_points = Safepoints::new(&self.env, &old.body, self.validation(function))
            .context("the old body is not valid")?;
        let new = Arc::new(FunctionVersion::new(body));
        let lowered = self.lowered(&new)?;
        // The validator takes the end of every block for reachable; the tiers do not.
        let reachable = |point| lowered.has_safepoint(&self.env, point);
        let (mapping, refusals) = map_frames(&old_points, &new_points, &old, &new, reachable)?;
        let points_mapped = mapping.as_ref().map_or(0, FrameMapping::len);

        let was_hot = !self.state(function).native.load(Ordering::Relaxed).is_null();
        let migration =
            mapping.map_or_else(Default::default, |mapping| mapping.into_migration(&new));
        self.make_current(&new, migration);
        // Loops that finish in an older body may have been compiled since that was replaced.
        let objects = self.take_replaced_code(function);
        // SAFETY: the old code was unlinked by `make_current`.
        let retiring = unsafe { retire::retire(&self.system, objects, self.stores()) };
        let retired = retiring.map(Retiring::wait).unwrap_or_default();
        if was_hot {
            self.request(&new, EntryPoint::Function, 1);
        }
        self.forget_unused(store, function);
        self.system.events.send(|| Event::Replaced {
            function,
            version: number,
            frames: retired.redirected,
        });
        Ok(Replacement {
            version: number,
            frames_redirected: retired.redirected,
            points_mapped,
            refusals,
            freed_bytes: retired.freed_bytes,
            pause: retired.longest_pause,
            time_to_freed: retired.time_to_freed,
        })
    }

    /// Forgets old versions that no frame is in, if no other thread can have one.
    fn forget_unused(&self, store: &StoreOpaque, function: u32) {
        let mine = &store.mutator;
        let runs = |other: &Mutator| other.state() != State::Outside;
        if self.stores().iter().any(|other| !Arc::ptr_eq(other, mine) && runs(other)) {
            return;
        }
        let in_use = store.lowered_code_in_use();
        let objects = self.forget_older(function, |version| {
            version.lowered().is_some_and(|code| in_use.contains(&Arc::as_ptr(code)))
        });
        for object in objects {
            // SAFETY: code of a version without frames, which is not current, cannot run again.
            unsafe { self.system.heap.free(&object) };
        }
    }
}

/// Where frames of `old` go on in `new`, and why others do not. `reachable` tells of the points of `new`
/// whether anything leads there.
fn map_frames(
    old_points: &Safepoints,
    new_points: &Safepoints,
    old: &FunctionVersion,
    new: &FunctionVersion,
    reachable: impl Fn(u32) -> bool,
) -> Result<(Option<FrameMapping>, Vec<Refusal>)> {
    let mut mapping = match FrameMapping::align(old_points, new_points) {
        Ok(mapping) => mapping,
        Err(refusal) => return Ok((None, vec![refusal])),
    };
    // Machine code keeps what the old body may read. What the new one reads beyond that is lost.
    let live = |version: &FunctionVersion, points: &Safepoints| {
        Liveness::new(&version.body, points.locals.len() as u32)
            .map_err(|error| anyhow::anyhow!("cannot compare the bodies: {error:?}"))
    };
    let (live_before, live_after) = (live(old, old_points)?, live(new, new_points)?);
    let mut refusals = Vec::new();
    for safepoint in &old_points.points {
        let point = safepoint.point;
        let Some(target) = mapping.point(point) else {
            refusals.push(Refusal::NoCounterpart { point });
            continue;
        };
        if !reachable(target) {
            mapping.refuse(point);
            refusals.push(Refusal::NoCounterpart { point });
            continue;
        }
        let lost = live_after.at(target).and_then(|wanted| {
            wanted.iter().find(|&local| {
                local < mapping.kept_locals()
                    && !live_before.at(point).is_some_and(|kept| kept.contains(local))
            })
        });
        if let Some(local) = lost {
            mapping.refuse(point);
            refusals.push(Refusal::LocalNotKept { point, local });
        }
    }
    Ok((Some(mapping), refusals))
}
