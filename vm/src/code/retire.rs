//! Retiring code: from unlinked code to freed bytes, across all stores that may run it.
//!
//! A retirement is an operation of the handshake: on every stack that may hold frames of the code, these
//! are redirected. When that has been done everywhere, the bytes are freed by the thread that waits for it.

use super::events::Event;
use super::system::CodeSystem;
use super::version::CodeOwner;
use midair_osr::{
    Choice, CodeObject, Handshake, HandshakeProgress, Mutator, Operation, StackContext,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Unlinked code on its way out, as what is done to each stack.
pub(crate) struct Retirement {
    system: Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    ids: HashSet<u64>,
    /// A stack that is known to hold no frames of the code outside the first redirected one.
    innermost_only: Option<StackAddress>,
    /// What else changes for the store, at the same moment.
    also: Option<Arc<dyn Operation<StackContext>>>,
    redirected: AtomicUsize,
    longest_pause: AtomicU64,
    /// Stores that the code was retired for, and how far that is.
    stores: usize,
    progress: OnceLock<HandshakeProgress<StackContext>>,
}

#[derive(PartialEq)]
struct StackAddress(*const StackContext);

// SAFETY: it is only compared.
unsafe impl Send for StackAddress {}
// SAFETY: as above.
unsafe impl Sync for StackAddress {}

impl Operation<StackContext> for Retirement {
    unsafe fn perform(&self, stack: *mut StackContext) {
        if let Some(also) = &self.also {
            // SAFETY: as the caller vouches.
            unsafe { also.perform(stack) };
        }
        let innermost_only = self.innermost_only == Some(StackAddress(stack));
        // SAFETY: the stack stands still and is not used by anything else; what is polled is not part of
        // what is borrowed. Every site in guest code has a frame map.
        let redirected = unsafe {
            let table = &mut (*stack).redirected;
            table.set_selective(!innermost_only);
            let stop = innermost_only && !table.is_selective();
            (*stack).redirect_frames(|frame| {
                if frame.redirected && stop {
                    Choice::Stop
                } else if self.ids.contains(&frame.object().id) {
                    Choice::Redirect
                } else {
                    Choice::Skip
                }
            })
        };
        self.redirected.fetch_add(redirected, Ordering::Relaxed);
        self.system.counters.frames_redirected.add(redirected as u64);
    }

    fn paused(&self, time: Duration) {
        self.longest_pause.fetch_max(time.as_nanos() as u64, Ordering::Relaxed);
        self.system.counters.paused(time);
    }

    fn complete(&self) {
        for object in &self.objects {
            // SAFETY: the code was unlinked, and every stack that could hold frames has redirected them.
            unsafe { self.system.heap.free(object) };
            self.system.counters.retired_bytes_freed.add(heap_bytes(object));
            let (address, bytes) = (object.start() as usize, object.len());
            self.system.events.send(|| Event::Freed { address, bytes });
        }
    }
}

/// Bytes that an object takes in the heap.
fn heap_bytes(object: &CodeObject) -> u64 {
    object.heap_bytes() as u64
}

/// The retirements of an engine that wait for stores, for its ledger.
#[derive(Default)]
pub(crate) struct Retirements(Mutex<Vec<Weak<Retirement>>>);

impl Retirements {
    fn add(&self, retirement: &Arc<Retirement>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|retirement| retirement.strong_count() > 0);
        list.push(Arc::downgrade(retirement));
    }

    /// How many stores the retirement of this object waits for; `None` if it is not being retired.
    pub(crate) fn waiting(&self, object: &CodeObject) -> Option<usize> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut retirements = list.iter().filter_map(Weak::upgrade);
        let retirement = retirements.find(|retirement| retirement.ids.contains(&object.id))?;
        let progress = retirement.progress.get();
        Some(progress.map_or(retirement.stores, HandshakeProgress::waiting))
    }
}

/// What a retirement did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retired {
    /// Frames that were redirected.
    pub(crate) redirected: usize,
    /// Bytes of machine code that were freed.
    pub(crate) freed_bytes: usize,
    /// The longest time that a guest stood still for it, or was kept from coming back from the host.
    pub(crate) longest_pause: Duration,
    /// From the beginning until the bytes were freed.
    pub(crate) time_to_freed: Duration,
}

/// A retirement that has begun. Dropping it waits, as [`Retiring::wait`] does.
#[must_use]
pub(crate) struct Retiring {
    retirement: Arc<Retirement>,
    handshake: Handshake<StackContext>,
    begun: Instant,
}

/// Begins to retire code objects, and to perform `also` on each store at the same moment at which it is rid of
/// the code: no guest runs old code after it, or new code before. Stacks of stores that do not run guest code have been served when this
/// returns; to free the code the others have to be waited for.
///
/// # Safety
/// Nothing may lead into the code any more but return addresses: it has been unlinked (with sequentially
/// consistent stores), and no entry address is held by a thread across a safepoint. `stores` are all stores
/// that have instances of the code's module, each at least once.
pub(crate) unsafe fn retire(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    stores: Vec<Arc<Mutator>>,
    also: Option<Arc<dyn Operation<StackContext>>>,
) -> Option<Retiring> {
    // SAFETY: as the caller vouches.
    unsafe { begin(system, objects, stores, None, also) }
}

/// Begins to retire all code that has frames on one stack inside the first one that is redirected.
///
/// # Safety
/// As for [`retire`]; no other code may be among the objects.
pub(crate) unsafe fn retire_innermost(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    stores: Vec<Arc<Mutator>>,
    stack: *const StackContext,
) -> Option<Retiring> {
    // SAFETY: as the caller vouches.
    unsafe { begin(system, objects, stores, Some(StackAddress(stack)), None) }
}

/// # Safety
/// As for [`retire`].
unsafe fn begin(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    mut stores: Vec<Arc<Mutator>>,
    innermost_only: Option<StackAddress>,
    also: Option<Arc<dyn Operation<StackContext>>>,
) -> Option<Retiring> {
    let begun = Instant::now();
    let objects: Vec<_> = objects.into_iter().filter(|object| object.retire()).collect();
    if objects.is_empty() && also.is_none() {
        return None;
    }
    for object in &objects {
        system.counters.retired_bytes.add(heap_bytes(object));
        let version = &CodeOwner::of(object).version;
        system.events.send(|| Event::Retired {
            function: version.body.function,
            version: version.body.version,
            address: object.start() as usize,
            bytes: object.len(),
        });
    }
    stores.sort_unstable_by_key(Arc::as_ptr);
    stores.dedup_by(|a, b| Arc::ptr_eq(a, b));
    let retirement = Arc::new(Retirement {
        system: system.clone(),
        ids: objects.iter().map(|object| object.id).collect(),
        objects,
        innermost_only,
        also,
        redirected: AtomicUsize::new(0),
        longest_pause: AtomicU64::new(0),
        stores: stores.len(),
        progress: OnceLock::new(),
    });
    system.retirements.add(&retirement);
    let handshake = Handshake::begin(&stores, retirement.clone());
    // Set once, here.
    let _ = retirement.progress.set(handshake.progress());
    Some(Retiring { retirement, handshake, begun })
}

impl Retiring {
    /// Waits until the code has been freed.
    ///
    /// Must not be called from guest code (at a poll or in a runtime call), only outside it or in a host
    /// function: two guests would wait for each other.
    pub(crate) fn wait(self) -> Retired {
        let Retiring { retirement, handshake, begun } = self;
        handshake.wait();
        Retired {
            redirected: retirement.redirected.load(Ordering::Relaxed),
            freed_bytes: retirement.objects.iter().map(|object| object.len()).sum(),
            longest_pause: Duration::from_nanos(retirement.longest_pause.load(Ordering::Relaxed)),
            time_to_freed: begun.elapsed(),
        }
    }

    /// Does not wait: whoever is served last frees the code.
    pub(crate) fn detach(self) {
        self.handshake.detach();
    }
}
