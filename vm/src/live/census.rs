//! A census of suspended frames: where they are, counted without touching any.

use crate::code::module_code::ModuleCode;
use crate::code::stats::SuspendedIn;
use crate::code::suspension::suspended_in;
use crate::code::version::{CodeOwner, FunctionVersion};
use crate::config::Tier;
use crate::store::opaque::StoreOpaque;
use midair_osr::{Handshake, Operation, StackContext};
use midair_tiers::StoreContext;
use midair_tiers::interp::Activation;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Suspended frames of one store at one point of one version.
pub(super) struct FrameCount {
    pub(super) store: u64,
    pub(super) version: Arc<FunctionVersion>,
    pub(super) point: u32,
    pub(super) suspended: SuspendedIn,
    /// What runs them: `Interp` or `Optimized`.
    pub(super) tier: Tier,
    pub(super) count: usize,
}

/// Store, function, version, point, and number of the tier.
type Place = (u64, u32, u32, u32, u8);

/// Counts the frames of some functions of a module on each stack: an operation of a handshake.
pub(super) struct Census {
    module: Arc<ModuleCode>,
    functions: HashSet<u32>,
    found: Mutex<BTreeMap<Place, FrameCount>>,
}

impl Census {
    fn count(&self, store: u64, version: Arc<FunctionVersion>, point: u32, tier: Tier) {
        let body = &version.body;
        let place = (store, body.function, body.version, point, tier as u8);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = found.entry(place).or_insert_with(|| {
            let suspended = suspended_in(&self.module, &version.body, point);
            FrameCount { store, version, point, suspended, tier, count: 0 }
        });
        entry.count += 1;
    }
}

impl Operation<StackContext> for Census {
    unsafe fn perform(&self, stack: *mut StackContext) {
        let runtime = stack.cast::<StoreContext>();
        let module = Arc::as_ptr(&self.module);
        // SAFETY: stacks are the first fields of stores' contexts; the store stands still, and nothing else
        // uses it.
        let (store, machine, innermost) = unsafe {
            let store = (*StoreOpaque::from_runtime(runtime).as_ptr()).id().number();
            (store, (*stack).walk(), Activation::innermost(runtime))
        };
        for frame in machine {
            let owner = CodeOwner::of(frame.object());
            let concerned = owner.module.as_ptr() == module
                && self.functions.contains(&owner.version.body.function);
            // Frames at runtime calls are not suspended: they are in the middle of an operation.
            let map = concerned.then(|| frame.object().frame_map(frame.pc)).flatten();
            if let Some(map) = map {
                self.count(store, owner.version.clone(), map.point, owner.tier());
            }
        }
        let activations = std::iter::successors(innermost, |activation| activation.outer());
        for activation in activations {
            // SAFETY: the contexts of activations are alive.
            if unsafe { (*activation.context()).code.cast_const().cast() } != module {
                continue;
            }
            for frame in activation.frames() {
                // SAFETY: frames keep their code alive.
                let function = unsafe { (*frame.code()).body().function };
                if self.functions.contains(&function)
                    && let Some(version) = self.module.version_of(frame.code(), function)
                {
                    self.count(store, version, frame.point(), Tier::Interp);
                }
            }
        }
    }
}

impl Census {
    pub(super) fn new(
        module: &Arc<ModuleCode>,
        functions: impl IntoIterator<Item = u32>,
    ) -> Arc<Census> {
        let functions = functions.into_iter().collect();
        Arc::new(Census { module: module.clone(), functions, found: Mutex::default() })
    }

    /// What has been found so far.
    pub(super) fn take(&self) -> Vec<FrameCount> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *found).into_values().collect()
    }
}

/// Counts the suspended frames of these functions in all stores.
///
/// Must not be called by a guest at a poll.
pub(super) fn suspended_frames(
    module: &Arc<ModuleCode>,
    functions: impl IntoIterator<Item = u32>,
) -> Vec<FrameCount> {
    let census = Census::new(module, functions);
    if !census.functions.is_empty() {
        Handshake::begin(module.stores(), census.clone()).wait();
    }
    census.take()
}
