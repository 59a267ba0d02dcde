//! Retiring code: from unlinked code to freed bytes, across all stores that may run it.
//!
//! A retirement is an operation of the handshake: on every stack that may hold frames of the code, these
//! are redirected. When that has been done everywhere, the bytes are freed: by the thread that waits for it, or
//! by the last guest if that thread sleeps.

use super::events::{Event, ModuleLabel};
use super::system::CodeSystem;
use super::version::CodeOwner;
use anyhow::Result;
use midair_osr::handshake::{self, Stack};
use midair_osr::{
    Choice, CodeObject, Handshake, HandshakeProgress, Mutator, Operation, Position, RedirectTable,
    StackContext, Stepwise, WalkedFrame,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Unlinked code on its way out, as what is done to each stack.
pub(crate) struct Retirement {
    system: Arc<CodeSystem>,
    /// Set before the retirement is performed anywhere, unless there is nothing to be done.
    code: OnceLock<RetiredCode>,
    /// The innermost frame record of a stack that is known to hold no frames of the code outside the first
    /// redirected one.
    innermost_only: Option<Position>,
    /// What else changes for the store, at the same moment.
    also: Vec<Arc<dyn Operation<StackContext>>>,
    redirected: AtomicUsize,
    longest_pause: AtomicU64,
    /// Stores that the code was retired for, and how far that is.
    stores: usize,
    progress: OnceLock<HandshakeProgress<StackContext>>,
    /// When the code had been freed.
    freed: OnceLock<Instant>,
}

/// How many objects a guest frees at its safepoint, if the thread that would do it sleeps.
const BRIEFLY_FREED_OBJECTS: usize = 4;
/// How many bytes they may have together.
const BRIEFLY_FREED_BYTES: usize = 32 << 10;

/// What is retired.
struct RetiredCode {
    objects: Vec<Arc<CodeObject>>,
    /// What events call the objects' modules; empty if nobody listened. Who completes a retirement may be a
    /// guest at its safepoint, which is no place to parse names, or to drop a module.
    labels: Vec<ModuleLabel>,
    ids: Ids,
}

/// Numbers of code objects. Asked for each frame of a stack; mostly it is one.
struct Ids(Vec<u64>);

impl Ids {
    fn new(objects: &[Arc<CodeObject>]) -> Ids {
        let mut ids: Vec<u64> = objects.iter().map(|object| object.id).collect();
        ids.sort_unstable();
        Ids(ids)
    }

    fn contains(&self, id: u64) -> bool {
        if self.0.len() <= 4 { self.0.contains(&id) } else { self.0.binary_search(&id).is_ok() }
    }
}

impl Retirement {
    fn new(
        system: &Arc<CodeSystem>,
        stores: &[Arc<Mutator>],
        innermost_only: Option<Position>,
        also: Vec<Arc<dyn Operation<StackContext>>>,
    ) -> Arc<Retirement> {
        let retirement = Arc::new(Retirement {
            system: system.clone(),
            code: OnceLock::new(),
            innermost_only,
            also,
            redirected: AtomicUsize::new(0),
            longest_pause: AtomicU64::new(0),
            stores: stores.len(),
            progress: OnceLock::new(),
            freed: OnceLock::new(),
        });
        system.retirements.add(&retirement);
        retirement
    }

    /// Says what is retired, and announces it. All of it has been marked as retired by this thread.
    fn set_code(&self, objects: Vec<Arc<CodeObject>>) {
        for object in &objects {
            self.system.counters.retired_bytes.add(heap_bytes(object));
            let owner = CodeOwner::of(object);
            let version = &owner.version;
            self.system.events.send(|| Event::Retired {
                module: owner.module_label(),
                function: version.body.function,
                version: version.body.version,
                address: object.start() as usize,
                bytes: object.len(),
            });
        }
        let labels = match self.system.events.any() {
            true => objects.iter().map(|object| CodeOwner::of(object).module_label()).collect(),
            false => Vec::new(),
        };
        let ids = Ids::new(&objects);
        // Set once, by the thread that retires.
        let _ = self.code.set(RetiredCode { objects, labels, ids });
    }

    fn objects(&self) -> &[Arc<CodeObject>] {
        self.code.get().map_or(&[], |code| &code.objects)
    }

    fn contains(&self, id: u64) -> bool {
        self.code.get().is_some_and(|code| code.ids.contains(id))
    }
}

impl Operation<StackContext> for Retirement {
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: the stack stands still.
        unsafe {
            self.stop(stack);
            if let Some(innermost) = StackContext::innermost(stack) {
                self.step(StackContext::records(stack), innermost, usize::MAX);
            }
        }
    }

    fn paused(&self, time: Duration) {
        self.longest_pause.fetch_max(time.as_nanos() as u64, Ordering::Relaxed);
        self.system.counters.paused(time);
    }

    fn complete(&self) {
        let labels = self.code.get().map_or(&[][..], |code| &code.labels);
        for (n, object) in self.objects().iter().enumerate() {
            // SAFETY: the code was unlinked, and every stack that could hold frames has redirected them.
            unsafe { self.system.heap.free_into_quarantine(object) };
            self.system.counters.retired_bytes_freed.add(heap_bytes(object));
            let (address, bytes) = (object.start() as usize, object.len());
            self.system.events.send(|| {
                let unnamed = || ModuleLabel::unnamed(CodeOwner::of(object).module_number);
                let module = labels.get(n).cloned().unwrap_or_else(unnamed);
                Event::Freed { module, address, bytes }
            });
        }
        // Set once, by the thread that completes it.
        let _ = self.freed.set(Instant::now());
    }

    fn is_left_to_mutators(&self) -> Option<bool> {
        self.system.guests_redirect_frames
    }

    fn completes_briefly(&self) -> bool {
        let objects = self.objects();
        self.system.guests_redirect_frames != Some(false)
            && self.system.heap.is_idle()
            && objects.len() <= BRIEFLY_FREED_OBJECTS
            && objects.iter().map(|object| object.heap_bytes()).sum::<usize>()
                <= BRIEFLY_FREED_BYTES
    }
}

impl Stepwise<StackContext> for Retirement {
    unsafe fn stop(&self, stack: *mut StackContext) {
        // Without code the change that this belongs to has not happened.
        if self.code.get().is_some() {
            for also in &self.also {
                // SAFETY: as the caller vouches.
                unsafe { also.perform(stack) };
            }
        }
    }

    unsafe fn step(
        &self,
        table: &mut RedirectTable,
        from: Position,
        most: usize,
    ) -> Option<Position> {
        // Stores only had to stop for what else changes.
        if self.objects().is_empty() {
            return None;
        }
        let innermost_only = self.innermost_only == Some(from);
        table.set_selective(!innermost_only);
        let stop = innermost_only && !table.is_selective();
        let choose = |frame: &WalkedFrame| {
            if frame.redirected && stop {
                Choice::Stop
            } else if self.contains(frame.object().id) {
                Choice::Redirect
            } else {
                Choice::Skip
            }
        };
        // SAFETY: the frames stand still; every site in guest code has a frame map.
        let (redirected, next) = unsafe { table.redirect(from, most, choose) };
        self.redirected.fetch_add(redirected, Ordering::Relaxed);
        self.system.counters.frames_redirected.add(redirected as u64);
        next
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
        let retirement = retirements.find(|retirement| retirement.contains(object.id))?;
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

/// Begins to retire code objects. To free the code the stores that run it have to be waited for.
///
/// # Safety
/// Nothing may lead into the code any more but return addresses: it has been unlinked (with stores that release, of which
/// the handshake tells all threads), and no entry address is held by a thread across a safepoint. `stores` are all stores
/// that have instances of the code's module, each once.
pub(crate) unsafe fn retire(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    stores: Vec<Arc<Mutator>>,
) -> Option<Retiring> {
    let begun = Instant::now();
    let objects = not_yet_retired(objects)?;
    let retirement = Retirement::new(system, &stores, None, Vec::new());
    retirement.set_code(objects);
    let handshake = Handshake::begin_stepwise(stores, retirement.clone());
    // Set once, here or below.
    let _ = retirement.progress.set(handshake.progress());
    Some(Retiring { retirement, handshake, begun })
}

/// Runs `publish`, which unlinks code, retires what it returns, and performs `also` on each store at the moment
/// at which it is rid of that code. Guests that come to a safepoint meanwhile wait for `publish`. A guest that
/// has come to a safepoint runs the old code and has not been changed, or the new code and has been. If
/// `publish` fails, nothing is done.
///
/// # Safety
/// As for [`retire`], when `publish` has returned: no store must get its first instance of the module during the
/// call. `publish` must not wait for guests.
pub(crate) unsafe fn retire_around(
    system: &Arc<CodeSystem>,
    stores: Vec<Arc<Mutator>>,
    also: Vec<Arc<dyn Operation<StackContext>>>,
    publish: impl FnOnce() -> Result<Vec<Arc<CodeObject>>>,
) -> Result<Retiring> {
    let begun = Instant::now();
    let retirement = Retirement::new(system, &stores, None, also);
    let mut published = Ok(());
    let handshake = Handshake::begin_around(stores, retirement.clone(), || {
        published =
            publish().map(|old| retirement.set_code(not_yet_retired(old).unwrap_or_default()));
    });
    let _ = retirement.progress.set(handshake.progress());
    published.map(|()| Retiring { retirement, handshake, begun })
}

/// Retires code without waiting: the store that is served last frees it. With `innermost`, that is all code that has frames
/// on the stack whose innermost frame record it is, inside the first frame that is redirected.
///
/// # Safety
/// As for [`retire`]; no other code may be among the objects. Stores of several modules may be listed several times.
pub(crate) unsafe fn request(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    stores: Vec<Arc<Mutator>>,
    innermost: Option<Position>,
) {
    let Some(objects) = not_yet_retired(objects) else { return };
    let stores = each_once(stores);
    let retirement = Retirement::new(system, &stores, innermost, Vec::new());
    retirement.set_code(objects);
    let progress = handshake::request(&stores, retirement.clone());
    let _ = retirement.progress.set(progress);
}

/// The objects that nobody else retires; `None` if there are none.
fn not_yet_retired(objects: Vec<Arc<CodeObject>>) -> Option<Vec<Arc<CodeObject>>> {
    let objects: Vec<_> = objects.into_iter().filter(|object| object.retire()).collect();
    (!objects.is_empty()).then_some(objects)
}

/// Stores of several modules, each once.
fn each_once(mut stores: Vec<Arc<Mutator>>) -> Vec<Arc<Mutator>> {
    stores.sort_unstable_by_key(Arc::as_ptr);
    stores.dedup_by(|a, b| Arc::ptr_eq(a, b));
    stores
}

impl Retiring {
    /// Waits until the code has been freed.
    ///
    /// Must not be called from guest code (at a poll or in a runtime call), only outside it or in a host
    /// function: two guests would wait for each other.
    pub(crate) fn wait(self) -> Retired {
        let Retiring { retirement, handshake, begun } = self;
        // While the guests come to their safepoints.
        for object in retirement.objects() {
            // SAFETY: the code was retired by this thread, and is not freed before that begins to wait.
            unsafe { retirement.system.cache.keep(object) };
        }
        handshake.wait();
        retirement.system.heap.empty_full_quarantine();
        Retired {
            redirected: retirement.redirected.load(Ordering::Relaxed),
            freed_bytes: retirement.objects().iter().map(|object| object.len()).sum(),
            longest_pause: Duration::from_nanos(retirement.longest_pause.load(Ordering::Relaxed)),
            time_to_freed: retirement
                .freed
                .get()
                .map_or(Duration::ZERO, |freed| freed.duration_since(begun)),
        }
    }
}
