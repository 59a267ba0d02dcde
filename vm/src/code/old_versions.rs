//! Which old versions still have frames, and forgetting the others.
//!
//! A version that has been replaced is kept by whatever may still lead to it: frames of machine code that
//! wait for their transfer (through their code object), and maps of other versions. Nothing tells of frames
//! of the interpreter but the frames themselves. So these are looked for, on all stacks, when the old
//! versions have become twice as many as there were after the last time.
//!
//! A guest stands still while its stack is looked at. So only so many frames are looked at as there are old
//! versions, times a constant; if there are more, the stack may be in any version. The next time there are
//! twice as many versions, and it is worth looking twice as deep. So a stack of any depth is looked through
//! in the end, and seldom if it is deep.
//!
//! Loops that finish in an old version may have been compiled for it. That code is no reason to keep the
//! version, but it is retired as any other before it is freed: frames may be in it, which then keep the
//! version, and a guest may be about to enter it.

use super::module_code::ModuleCode;
use super::retire;
use super::retire::Retiring;
use midair_osr::{Handshake, Operation, StackContext};
use midair_tiers::StoreContext;
use midair_tiers::interp::{Activation, LoweredCode};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Fewer old versions than this are not worth a look.
const FEW: usize = 16;
/// Most frames of the interpreter that are looked at on one stack, for each old version that there is.
const FRAMES_PER_VERSION: usize = 256;

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
struct InUse {
    module: Arc<ModuleCode>,
    /// Most frames that are looked at on one stack.
    most: usize,
    /// Addresses of lowered code.
    code: Mutex<HashSet<usize>>,
    /// Some stack has too many frames to tell.
    unknown: AtomicBool,
}

impl Operation<StackContext> for InUse {
    unsafe fn perform(&self, stack: *mut StackContext) {
        let module = Arc::as_ptr(&self.module);
        // SAFETY: stacks are the first fields of store contexts; the store stands still.
        let innermost = unsafe { Activation::innermost(stack.cast::<StoreContext>()) };
        let activations = std::iter::successors(innermost, |activation| activation.outer());
        // SAFETY: the contexts of activations are alive.
        let concerned = activations.filter(|activation| unsafe {
            (*activation.context()).code.cast_const().cast() == module
        });
        let mut frames = concerned.flat_map(Activation::frames).map(|frame| frame.code() as usize);
        let mut found = HashSet::new();
        let mut last = 0;
        for code in frames.by_ref().take(self.most) {
            // Frames of a recursion come one after the other.
            if code != last {
                found.insert(code);
                last = code;
            }
        }
        if frames.next().is_some() {
            self.unknown.store(true, Ordering::Relaxed);
        }
        self.code.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    }

    fn paused(&self, time: Duration) {
        self.module.system.counters.paused(time);
    }
}

impl ModuleCode {
    /// Forgets old versions that no frame is in, if there are many. The caller holds
    /// [`ModuleCode::begin_replacement`], and is no guest at a poll.
    pub(crate) fn forget_old_versions(self: &Arc<Self>) {
        let limit = &self.old_versions.limit;
        let count = self.old_versions.count();
        if count < limit.load(Ordering::Relaxed) {
            return;
        }
        let in_use = Arc::new(InUse {
            module: self.clone(),
            most: count.saturating_mul(FRAMES_PER_VERSION),
            code: Mutex::default(),
            unknown: AtomicBool::new(false),
        });
        Handshake::begin(self.stores(), in_use.clone()).wait();
        if !in_use.unknown.load(Ordering::Relaxed) {
            let code = in_use.code.lock().unwrap_or_else(PoisonError::into_inner);
            let is_in_use = |lowered: *const LoweredCode| code.contains(&(lowered as usize));
            // Where frames must not be redirected, code keeps its version.
            let objects = match self.config.forbids_redirection() {
                true => Vec::new(),
                false => self.take_code_of_older(&is_in_use),
            };
            // SAFETY: nothing leads to code of old versions but their tables, from which it has been taken.
            let retiring = unsafe { retire(&self.system, objects, self.stores()) };
            let _ = retiring.map(Retiring::wait);
            // Frames that were in that code keep their version from here on, as do those that the
            // interpreter has gone on with since.
            self.forget_older(&is_in_use);
        }
        limit.store((2 * self.old_versions.count()).max(FEW), Ordering::Relaxed);
    }
}
