//! Which old versions still have frames, and forgetting the others.
//!
//! A version that has been replaced is kept by whatever may still lead to it: frames of machine code that
//! wait for their transfer (through their code object), and maps of other versions. Nothing tells of frames
//! of the interpreter but the frames themselves. So these are looked for, on all stacks, when the old
//! versions have become twice as many as there were after the last time.

use crate::code::ModuleCode;
use midair_osr::{Handshake, Operation, StackContext};
use midair_tiers::StoreContext;
use midair_tiers::interp::{Activation, LoweredCode};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Fewer old versions than this are not worth a look.
const FEW: usize = 16;
/// Most frames of the interpreter that are looked at on one stack: its guest stands still meanwhile.
const MOST_FRAMES: usize = 4096;

/// When to look for old versions that can be forgotten.
pub(crate) struct OldVersions {
    /// How many old versions there are.
    count: AtomicUsize,
    /// How many old versions there have to be.
    limit: AtomicUsize,
}

impl Default for OldVersions {
    fn default() -> OldVersions {
        OldVersions { count: AtomicUsize::new(0), limit: AtomicUsize::new(FEW) }
    }
}

impl OldVersions {
    /// So many versions have been replaced.
    pub(crate) fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    /// There are so many.
    pub(crate) fn set_count(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Collects the lowered code that frames of the interpreter run.
#[derive(Default)]
struct InUse {
    /// Addresses of lowered code.
    code: Mutex<HashSet<usize>>,
    /// Some stack has too many frames to tell.
    unknown: AtomicBool,
}

impl Operation<StackContext> for InUse {
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: stacks are the first fields of store contexts; the store stands still.
        let innermost = unsafe { Activation::innermost(stack.cast::<StoreContext>()) };
        let activations = std::iter::successors(innermost, |activation| activation.outer());
        let mut frames =
            activations.flat_map(Activation::frames).map(|frame| frame.code() as usize);
        let found: HashSet<usize> = frames.by_ref().take(MOST_FRAMES).collect();
        if frames.next().is_some() {
            self.unknown.store(true, Ordering::Relaxed);
        }
        self.code.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    }
}

impl ModuleCode {
    /// Forgets old versions that no frame is in, if there are many. The caller holds
    /// [`ModuleCode::begin_replacement`], and is no guest at a poll.
    pub(crate) fn forget_old_versions(&self) {
        let limit = &self.old_versions.limit;
        if self.old_versions.count() < limit.load(Ordering::Relaxed) {
            return;
        }
        let in_use = Arc::new(InUse::default());
        Handshake::begin(&self.stores(), in_use.clone()).wait();
        if !in_use.unknown.load(Ordering::Relaxed) {
            let code = in_use.code.lock().unwrap_or_else(PoisonError::into_inner);
            let is_in_use = |lowered: *const LoweredCode| code.contains(&(lowered as usize));
            for object in self.forget_older(is_in_use) {
                // SAFETY: code of a version without frames, which is not current, cannot run again.
                unsafe { self.system.heap.free(&object) };
            }
        }
        limit.store((2 * self.old_versions.count()).max(FEW), Ordering::Relaxed);
    }
}
