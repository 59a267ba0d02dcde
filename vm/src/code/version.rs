//! Versions of functions, and the code objects that belong to them.

use super::baseline::LinkedBaseline;
use super::continuation::{Continuation, Migration};
use super::counters::{Departure, MovedFrames};
use super::events::ModuleLabel;
use super::exits::Exits;
use super::module_code::ModuleCode;
use crate::config::Tier;
use midair_osr::CodeObject;
use midair_tiers::compile::{CompileOptions, EntryPoint};
use midair_tiers::interp::LoweredCode;
use midair_tiers::{FunctionBody, ModuleEnv};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// After so many exceptions a handler is worth code that is entered there.
const HOT_HANDLER: u32 = 16;

/// One immutable body of a function, and what has been made of it.
pub(crate) struct FunctionVersion {
    pub(crate) body: FunctionBody,
    /// Lowered code. Kept as long as the version: frames of the interpreter point into it.
    lowered: OnceLock<Arc<LoweredCode>>,
    code: Mutex<VersionCode>,
    /// Where frames go on that are suspended in this version. It changes when this version is replaced,
    /// and when one is that its frames would go to.
    migration: Mutex<Migration>,
    /// Whether `migration` may be anything but [`Migration::Stay`]: asked without a lock.
    migrates: AtomicBool,
    /// Counts its frames that have gone on since it was replaced.
    moved: OnceLock<Arc<MovedFrames>>,
    /// See [`FunctionVersion::exits`].
    exits: OnceLock<Option<Exits>>,
    /// Exceptions that frames of machine code have handled.
    handled: AtomicU32,
}

/// Machine code of a version.
#[derive(Default)]
pub(crate) struct VersionCode {
    /// Code that is entered at the function's start.
    pub(crate) function: Option<Arc<CodeObject>>,
    /// Other code that is entered there, which nothing leads to at present: see [`super::mixed`].
    pub(crate) shelved: Vec<Arc<CodeObject>>,
    /// OSR entries by their loop's point.
    pub(crate) loops: Vec<(u32, Arc<CodeObject>)>,
    /// Code on the interpreter's frames.
    pub(crate) baseline: Option<LinkedBaseline>,
    /// It could not be made, and never will be.
    pub(crate) no_baseline: bool,
    /// Entry points that compilers work on.
    pub(crate) requested: Vec<EntryPoint>,
    /// Entry points that could not be compiled, and never will be.
    pub(crate) refused: Vec<EntryPoint>,
    /// How the version is compiled, if an embedder has said so: see [`crate::Module::recompile`].
    pub(crate) options: Option<CompileOptions>,
}

impl FunctionVersion {
    pub(crate) fn new(body: FunctionBody) -> FunctionVersion {
        FunctionVersion {
            body,
            lowered: OnceLock::new(),
            code: Mutex::default(),
            migration: Mutex::default(),
            migrates: AtomicBool::new(false),
            moved: OnceLock::new(),
            exits: OnceLock::new(),
            handled: AtomicU32::new(0),
        }
    }

    /// This version is being replaced: what its frames do is counted here from now on.
    pub(super) fn count_frames(&self, moved: &Arc<MovedFrames>) {
        // A version is replaced once.
        let _ = self.moved.set(moved.clone());
    }

    /// A frame of this version goes on in the tier `to`, in `next`.
    pub(crate) fn frame_moved(
        &self,
        module: &ModuleCode,
        departure: Departure,
        to: Tier,
        next: &FunctionVersion,
    ) {
        let other = !std::ptr::eq(self, next);
        module.system.counters.moved.moved(departure, to, other);
        if let Some(moved) = self.moved.get() {
            moved.moved(departure, to, other);
        }
    }

    /// A frame of this version traps instead of going on.
    pub(crate) fn frame_trapped(&self, module: &ModuleCode) {
        module.system.counters.moved.trapped();
        if let Some(moved) = self.moved.get() {
            moved.trapped();
        }
    }

    pub(crate) fn lowered(&self) -> Option<&Arc<LoweredCode>> {
        self.lowered.get()
    }

    /// Sets the lowered code, if nobody else has meanwhile; returns what is set.
    pub(crate) fn set_lowered(&self, code: LoweredCode) -> &Arc<LoweredCode> {
        self.lowered.get_or_init(|| Arc::new(code))
    }

    /// Whether `in_use` says so of the lowered code, if there is any.
    pub(crate) fn is_lowered_in_use(&self, in_use: impl Fn(*const LoweredCode) -> bool) -> bool {
        self.lowered().is_some_and(|code| in_use(Arc::as_ptr(code)))
    }

    pub(crate) fn code(&self) -> MutexGuard<'_, VersionCode> {
        // Every change of the tables is a single statement.
        self.code.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn migration_slot(&self) -> MutexGuard<'_, Migration> {
        // It is written by a single assignment.
        self.migration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a frame of this version does that is suspended at this point.
    pub(crate) fn continuation(&self, point: u32) -> Continuation {
        self.migration_slot().at(point)
    }

    /// Where the frames of this version go on.
    pub(crate) fn migration(&self) -> Migration {
        self.migration_slot().clone()
    }

    /// Where frames that stay in this version leave it later; `None` if nowhere, or if it is current.
    ///
    /// It is always the same: once a version has been replaced, an update leaves it its points, or lets no
    /// frame stay at any.
    pub(crate) fn exits(&self) -> Option<&Exits> {
        if let Some(exits) = self.exits.get() {
            return exits.as_ref();
        }
        match self.migration() {
            migration @ Migration::Points(_) => {
                self.exits.get_or_init(|| Exits::of(&self.body, &migration)).as_ref()
            }
            Migration::Stay | Migration::Trap => None,
        }
    }

    /// The lowered code that frames run which go on in this version.
    pub(crate) fn code_of_frames<'a>(
        &'a self,
        env: &ModuleEnv,
        lowered: &'a Arc<LoweredCode>,
    ) -> &'a LoweredCode {
        match self.exits() {
            Some(exits) => lowered.with_exits(env, exits.points()),
            None => lowered,
        }
    }

    /// Whether machine code with this entry is of use although the version has been replaced: for a loop
    /// whose frames finish in it. Machine code has no exits, so there must be none to come to.
    pub(crate) fn finishes_from(&self, entry: EntryPoint) -> bool {
        let EntryPoint::Loop(point) = entry else { return false };
        matches!(self.continuation(point), Continuation::Stay)
            && self.exits().is_none_or(|exits| !exits.may_follow(point))
    }

    /// Whether exceptions go through each of its frames: none has a handler, and none goes on in another version that
    /// may have some.
    pub(crate) fn never_handles(&self) -> bool {
        !self.migrates.load(Ordering::Acquire)
            && self.lowered().is_some_and(|lowered| !lowered.has_handlers())
    }

    /// A frame of machine code goes on at a handler: whether that happens often.
    pub(crate) fn is_handler_hot(&self) -> bool {
        self.handled.fetch_add(1, Ordering::Relaxed) >= HOT_HANDLER
    }

    /// Sets where the frames of this version go on.
    pub(crate) fn set_migration(&self, migration: Migration) {
        let mut slot = self.migration_slot();
        self.migrates.store(!matches!(migration, Migration::Stay), Ordering::Release);
        let old = std::mem::replace(&mut *slot, migration);
        drop(slot);
        // It may hold the last reference to another version: not to be dropped under the lock.
        drop(old);
    }
}

impl VersionCode {
    /// How entry points are compiled.
    pub(crate) fn options(&self) -> CompileOptions {
        self.options.unwrap_or_default()
    }

    /// Whether the embedder wants entry points compiled otherwise than so.
    pub(crate) fn is_outdated(&self, options: &CompileOptions) -> bool {
        self.options.is_some_and(|wanted| wanted != *options)
    }

    /// Number of code objects.
    pub(crate) fn len(&self) -> usize {
        self.frames_of_their_own() + usize::from(self.baseline.is_some())
    }

    /// Number of code objects with frames of their own.
    fn frames_of_their_own(&self) -> usize {
        self.loops.len() + self.shelved.len() + usize::from(self.function.is_some())
    }

    /// The code object for an entry point.
    pub(crate) fn object(&self, entry: EntryPoint) -> Option<&Arc<CodeObject>> {
        match entry {
            EntryPoint::Function => self.function.as_ref(),
            EntryPoint::Loop(point) => {
                self.loops.iter().find(|(at, _)| *at == point).map(|(_, object)| object)
            }
        }
    }

    /// Puts code of the function's start on the shelf, if there is code that was compiled otherwise in its place,
    /// and none that was compiled like it. Returns whether it did.
    pub(super) fn shelve_beside(&mut self, object: &Arc<CodeObject>) -> bool {
        let owner = CodeOwner::of(object);
        let Some(function) = &self.function else { return false };
        let other = |held: &Arc<CodeObject>| CodeOwner::of(held).options != owner.options;
        let wanted = owner.entry == EntryPoint::Function
            && other(function)
            && self.shelved.iter().all(other);
        if wanted {
            self.shelved.push(object.clone());
        }
        wanted
    }

    /// Whether a code object is here, whether anything leads to it or not.
    pub(crate) fn holds(&self, object: &Arc<CodeObject>) -> bool {
        let loops = self.loops.iter().map(|(_, object)| object);
        let baseline = self.baseline.as_ref().map(|baseline| &baseline.object);
        let mut all = self.function.iter().chain(&self.shelved).chain(loops).chain(baseline);
        all.any(|held| Arc::ptr_eq(held, object))
    }

    pub(crate) fn insert(&mut self, entry: EntryPoint, object: Arc<CodeObject>) {
        match entry {
            EntryPoint::Function => self.function = Some(object),
            EntryPoint::Loop(point) => self.loops.push((point, object)),
        }
    }

    /// Takes a code object out. Returns whether it was there.
    pub(crate) fn remove(&mut self, object: &Arc<CodeObject>) -> bool {
        let is_it = |other: &Arc<CodeObject>| Arc::ptr_eq(other, object);
        let others = self.loops.len() + self.shelved.len();
        self.loops.retain(|(_, other)| !is_it(other));
        self.shelved.retain(|other| !is_it(other));
        self.function.take_if(|other| is_it(other)).is_some()
            || self.loops.len() + self.shelved.len() < others
    }

    /// Whether there are code objects with frames of their own.
    pub(crate) fn has_objects(&self) -> bool {
        self.frames_of_their_own() > 0
    }

    /// Takes all code objects out, and baseline code out of use, but for what other baseline code calls.
    pub(crate) fn take_all_objects(&mut self) -> Vec<Arc<CodeObject>> {
        let baseline = self.baseline.take().map(LinkedBaseline::unlink);
        self.take_objects().into_iter().chain(baseline).collect()
    }

    /// Takes all code objects out that have frames of their own.
    pub(crate) fn take_objects(&mut self) -> Vec<Arc<CodeObject>> {
        let loops = self.loops.drain(..).map(|(_, object)| object);
        self.function.take().into_iter().chain(self.shelved.drain(..)).chain(loops).collect()
    }
}

/// What a code object's `owner` is.
pub(crate) struct CodeOwner {
    pub(crate) module: Weak<ModuleCode>,
    /// The module's number, also when it is gone.
    pub(crate) module_number: u64,
    pub(crate) version: Arc<FunctionVersion>,
    pub(crate) entry: EntryPoint,
    /// How the optimising compiler made it; `None` if it is baseline code.
    pub(crate) options: Option<CompileOptions>,
}

impl CodeOwner {
    /// The tier that it belongs to.
    pub(crate) fn tier(&self) -> Tier {
        match self.options {
            Some(_) => Tier::Optimized,
            None => Tier::Baseline,
        }
    }

    /// What events call the module.
    pub(crate) fn module_label(&self) -> ModuleLabel {
        match self.module.upgrade() {
            Some(module) => module.label(),
            None => ModuleLabel::unnamed(self.module_number),
        }
    }

    /// The owner of an object that this crate has published.
    pub(crate) fn of(object: &CodeObject) -> &CodeOwner {
        object.owner.downcast_ref().expect("every code object in an engine's heap has a CodeOwner")
    }
}
