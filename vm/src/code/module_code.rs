//! The code of one module: its functions' versions, and the machine code that is linked for each.
//!
//! All instances of a module share it. What machine code and interpreters read of it are the
//! [`FunctionState`]s, one word at a time; everything else is behind a lock that no guest takes while
//! it runs.

use super::baseline;
use super::bodies::Bodies;
use super::cache::Wanted;
use super::events::Event;
use super::function_entry::FunctionEntry;
use super::ledger::{CodeState, Pin};
use super::mixed::{Mixed, Runner};
use super::module_names::ModuleNames;
use super::old_versions::OldVersions;
use super::system::CodeSystem;
use super::version::{CodeOwner, FunctionVersion, VersionCode};
use crate::config::{Config, Tier};
use anyhow::{Error, Result};
use midair_osr::{CodeDescription, CodeObject, Mutator};
use midair_tiers::body::ByteSource;
use midair_tiers::compile::{CompileError, CompileOptions, EntryPoint};
use midair_tiers::interp::LoweredCode;
use midair_tiers::lower::lower;
use midair_tiers::{AppendVec, FunctionBody, FunctionState, ModuleEnv};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::{Duration, Instant};
use wasmparser::{FuncToValidate, ValidatorResources, WasmFeatures};

/// The code of one module.
pub(crate) struct ModuleCode {
    /// Number of the module in its engine.
    pub(crate) id: u64,
    pub(crate) system: Arc<CodeSystem>,
    pub(crate) config: Config,
    pub(crate) env: Arc<ModuleEnv>,
    source: Arc<dyn ByteSource>,
    bodies: Bodies,
    features: WasmFeatures,
    /// Those of functions that are added come behind the others, which do not move.
    states: AppendVec<FunctionState>,
    table: Mutex<HashMap<u32, FunctionEntry>>,
    /// The functions whose tiers a schedule of mixed tiers chooses.
    pub(super) mixed: Mixed,
    /// What bodies are validated with; `None` if there is no function.
    resources: Mutex<Option<ValidatorResources>>,
    /// Held by who makes an instance (shared), and by who grows the module.
    instantiation: RwLock<()>,
    /// Counted up after replacements: see [`InstanceContext::epoch`](midair_tiers::InstanceContext).
    pub(super) epoch: AtomicU64,
    /// Held during a replacement: a version is replaced once.
    replacing: Mutex<()>,
    /// How many replaced versions there are.
    pub(crate) old_versions: OldVersions,
    /// The stores that have instances of the module.
    stores: Mutex<Stores>,
    module: OnceLock<Weak<dyn ModuleNames>>,
    /// Whether code of the module was ever put into the [`CodeCache`](super::cache::CodeCache).
    copies: AtomicBool,
}

/// Machine code that is not published yet, and where it comes from.
pub(super) struct Output {
    pub(super) description: CodeDescription,
    pub(super) origin: Origin,
}

/// Where machine code comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// How long it took to get it.
    pub(super) time: Duration,
    /// It was made before, and kept.
    pub(super) cached: bool,
}

/// The stores that have instances of a module, some of which may be gone.
#[derive(Default)]
struct Stores {
    /// A store with several instances may be listed several times.
    list: Vec<Weak<Mutator>>,
    /// Length at which those that are gone are taken out.
    sweep_at: usize,
}

impl Stores {
    /// Adds a store, in constant time on average, however many there are.
    fn add(&mut self, store: &Arc<Mutator>) {
        let is_it = |last: &Weak<Mutator>| std::ptr::eq(last.as_ptr(), Arc::as_ptr(store));
        if self.list.last().is_some_and(is_it) {
            return;
        }
        if self.list.len() >= self.sweep_at.max(16) {
            self.list.retain(|store| store.strong_count() > 0);
            self.list.sort_unstable_by_key(Weak::as_ptr);
            self.list.dedup_by(|a, b| a.ptr_eq(b));
            self.sweep_at = 2 * self.list.len();
        }
        self.list.push(Arc::downgrade(store));
    }
}

/// What the countdown of a function that will not move any more is set to.
const NEVER: i32 = i32::MAX;

impl ModuleCode {
    /// The code of a module whose functions have not been called. Nothing is allocated for each function
    /// but its state.
    pub(crate) fn new(
        system: Arc<CodeSystem>,
        config: Config,
        source: Arc<dyn ByteSource>,
        env: Arc<ModuleEnv>,
        mut bodies: Bodies,
        features: WasmFeatures,
    ) -> Result<Arc<ModuleCode>> {
        let first = env.imported_functions;
        let countdown = baseline::first_countdown(&config);
        if let Some(last) = (bodies.ranges.len() as u32).checked_sub(1) {
            system.heap.entry_thunk(first + last)?;
        }
        let mut states = Vec::with_capacity(bodies.ranges.len() + config.spare_functions);
        for i in 0..bodies.ranges.len() as u32 {
            let thunk = system.heap.entry_thunk(first + i)?;
            states.push(FunctionState::new(thunk.cast_mut(), countdown));
        }
        let states = AppendVec::from(states);
        let code = Arc::new(ModuleCode {
            id: system.next_module(),
            system,
            config,
            env,
            source,
            resources: Mutex::new(bodies.resources.take()),
            bodies,
            features,
            states,
            table: Mutex::default(),
            mixed: Mixed::default(),
            instantiation: RwLock::default(),
            epoch: AtomicU64::new(0),
            replacing: Mutex::default(),
            old_versions: OldVersions::default(),
            stores: Mutex::default(),
            module: OnceLock::new(),
            copies: AtomicBool::new(false),
        });
        code.system.add_module(&code);
        Ok(code)
    }

    /// Tells which module this is the code of.
    pub(crate) fn set_module(&self, module: Weak<dyn ModuleNames>) {
        // Set once, when the module has just been made.
        let _ = self.module.set(module);
    }

    /// The module that this is the code of, while it exists.
    pub(crate) fn module(&self) -> Option<Arc<dyn ModuleNames>> {
        self.module.get()?.upgrade()
    }

    /// Copies of this module's code are put into the cache.
    pub(super) fn has_copies(&self) {
        self.copies.store(true, Ordering::Relaxed);
    }

    /// The states that machine code and interpreters work on.
    pub(crate) fn functions(&self) -> &[FunctionState] {
        &self.states
    }

    pub(crate) fn state(&self, function: u32) -> &FunctionState {
        &self.states[(function - self.env.imported_functions) as usize]
    }

    /// A store has an instance of this module from now on.
    pub(crate) fn add_store(&self, store: &Arc<Mutator>) {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).add(store);
    }

    /// The stores that have instances of this module, each once.
    pub(crate) fn stores(&self) -> Vec<Arc<Mutator>> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::with_capacity(stores.list.len());
        let alive = stores.list.iter().filter_map(Weak::upgrade);
        alive.filter(|store| seen.insert(Arc::as_ptr(store))).collect()
    }

    /// # Panics
    /// In a process that was forked from the engine's.
    pub(super) fn table(&self) -> MutexGuard<'_, HashMap<u32, FunctionEntry>> {
        self.system.heap.process().assert_current();
        // Nothing that can panic happens between two changes that belong together.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the guard is dropped nobody else updates the module.
    pub(crate) fn begin_replacement(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entry<'a>(
        &self,
        functions: &'a mut HashMap<u32, FunctionEntry>,
        function: u32,
    ) -> &'a mut FunctionEntry {
        functions.entry(function).or_insert_with(|| FunctionEntry {
            current: Arc::new(FunctionVersion::new(self.loaded_body(function))),
            older: Vec::new(),
        })
    }

    /// How many functions were loaded with the module; others have been added since.
    pub(crate) fn loaded_functions(&self) -> usize {
        self.bodies.ranges.len()
    }

    /// The current body of a function. Unlike [`ModuleCode::current`], makes nothing for functions that
    /// have not been called.
    pub(crate) fn current_body(&self, function: u32) -> FunctionBody {
        match self.table().get(&function) {
            Some(entry) => entry.current.body.clone(),
            None => self.loaded_body(function),
        }
    }

    /// The body that a function was loaded with.
    pub(crate) fn loaded_body(&self, function: u32) -> FunctionBody {
        let (start, len) = self.bodies.ranges[(function - self.env.imported_functions) as usize];
        FunctionBody::new(self.source.clone(), start as usize, len as usize, function, 0)
    }

    /// The current version of a function.
    pub(crate) fn current(&self, function: u32) -> Arc<FunctionVersion> {
        self.entry(&mut self.table(), function).current.clone()
    }

    /// The version of this number, or the current one.
    pub(super) fn version_numbered(
        &self,
        function: u32,
        number: Option<u32>,
    ) -> Result<Arc<FunctionVersion>> {
        let mut functions = self.table();
        let entry = self.entry(&mut functions, function);
        let Some(number) = number else { return Ok(entry.current.clone()) };
        let mut versions = std::iter::once(&entry.current).chain(&entry.older);
        let version = versions.find(|version| version.body.version == number).cloned();
        version.ok_or_else(|| {
            anyhow::anyhow!("function {function} has no version {number} that may have frames")
        })
    }

    /// The replaced versions of all functions, each with the number of references beyond the module's own.
    pub(super) fn kept_versions(&self) -> Vec<(Arc<FunctionVersion>, usize)> {
        let functions = self.table();
        let older = functions.values().flat_map(|entry| &entry.older);
        older.map(|version| (version.clone(), Arc::strong_count(version) - 2)).collect()
    }

    /// What leads to a code object and who keeps it, if it is in the hands of its version.
    pub(super) fn holds(
        &self,
        owner: &CodeOwner,
        object: &Arc<CodeObject>,
    ) -> Option<(CodeState, Pin)> {
        let functions = self.table();
        let entry = functions.get(&owner.version.body.function)?;
        let code = owner.version.code();
        if !code.holds(object) {
            return None;
        }
        let is_baseline =
            code.baseline.as_ref().is_some_and(|baseline| Arc::ptr_eq(&baseline.object, object));
        let current = Arc::ptr_eq(&entry.current, &owner.version);
        let older = || entry.older.iter().any(|version| Arc::ptr_eq(version, &owner.version));
        let pin = match current {
            true => Pin::CurrentVersion,
            false if older() => Pin::OlderVersion,
            // It is compiled before its version is published.
            false => return Some((CodeState::Unlinked, Pin::InTransit)),
        };
        let entry = self.state(owner.version.body.function).entry.load(Ordering::Relaxed);
        let state = match owner.entry {
            EntryPoint::Loop(_) => CodeState::OsrEntry,
            EntryPoint::Function if entry.cast_const() == object.start() => CodeState::Linked,
            EntryPoint::Function if is_baseline => CodeState::Linked,
            EntryPoint::Function => CodeState::Unlinked,
        };
        Some((state, pin))
    }

    /// The version that lowered code belongs to, as long as it may have frames.
    pub(crate) fn version_of(
        &self,
        code: *const LoweredCode,
        function: u32,
    ) -> Option<Arc<FunctionVersion>> {
        let functions = self.table();
        let entry = functions.get(&function)?;
        let is_of = |version: &&Arc<FunctionVersion>| {
            version.lowered().is_some_and(|lowered| Arc::as_ptr(lowered) == code)
        };
        std::iter::once(&entry.current).chain(&entry.older).find(is_of).cloned()
    }

    /// The features that bodies are validated for.
    pub(crate) fn features(&self) -> WasmFeatures {
        self.features
    }

    /// What bodies are validated with.
    pub(crate) fn resources(&self) -> ValidatorResources {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.clone().expect("a module with bodies")
    }

    /// Sets what bodies are validated with, after the module has grown.
    pub(crate) fn set_resources(&self, resources: Option<ValidatorResources>) {
        *self.resources.lock().unwrap_or_else(PoisonError::into_inner) = resources;
    }

    /// Until the guard is dropped the module does not grow.
    pub(crate) fn instantiating(&self) -> RwLockReadGuard<'_, ()> {
        self.instantiation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the guard is dropped no instance is made of the module.
    pub(crate) fn bar_instantiation(&self) -> RwLockWriteGuard<'_, ()> {
        self.instantiation.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`CodeSystem::update_step`].
    pub(crate) fn update_step(&self, what: &str) -> Result<()> {
        self.system.update_step(self.config.stress, what)
    }

    /// Whether no instance of the module can be made now.
    #[cfg(test)]
    pub(crate) fn is_instantiation_barred(&self) -> bool {
        self.instantiation.try_read().is_err()
    }

    /// How many more functions there is room for here.
    pub(crate) fn room_for_functions(&self) -> usize {
        self.states.room()
    }

    /// Adds the next function, with its first version, which has been lowered. There must be room, and an
    /// entry thunk.
    pub(crate) fn add_function(&self, version: &Arc<FunctionVersion>) {
        let function = version.body.function;
        let thunk = self.system.heap.entry_thunk(function).expect("made before");
        let countdown = baseline::first_countdown(&self.config);
        let entry = FunctionEntry { current: version.clone(), older: Vec::new() };
        self.table().insert(function, entry);
        let added = self.states.append(FunctionState::new(thunk.cast_mut(), countdown)).is_ok();
        assert!(added, "there is as much room for states as for functions");
    }

    /// What validates a body as one of this function.
    pub(crate) fn validation(&self, function: u32) -> FuncToValidate<ValidatorResources> {
        FuncToValidate {
            resources: self.resources(),
            index: function,
            ty: self.env.functions[function as usize],
            features: self.features,
        }
    }

    /// The lowered code of a version. Fails if its body is invalid.
    pub(crate) fn lowered<'a>(&self, version: &'a FunctionVersion) -> Result<&'a Arc<LoweredCode>> {
        self.lowered_in(&self.env, version)
    }

    /// The lowered code of a version, in index spaces that those of the module are going to be.
    pub(crate) fn lowered_in<'a>(
        &self,
        env: &ModuleEnv,
        version: &'a FunctionVersion,
    ) -> Result<&'a Arc<LoweredCode>> {
        if let Some(code) = version.lowered() {
            return Ok(code);
        }
        let started = Instant::now();
        let function = version.body.function;
        let valid = !self.config.lazy_validation || version.body.version > 0;
        let validate = (!valid).then(|| self.validation(function));
        let code = lower(env, &version.body, validate).map_err(|error| {
            self.system.counters.lowering.failed.add(1);
            if valid { Error::new(error) } else { self.refusal(version, error) }
        })?;
        let lowering = &self.system.counters.lowering;
        lowering.succeeded(started.elapsed(), version.body.bytes().len(), code.memory_size());
        Ok(version.set_lowered(code))
    }

    /// Makes a function ready for its first call: lowered, or compiled where a compiled tier is forced.
    pub(crate) fn prepare(self: &Arc<Self>, function: u32) -> Result<()> {
        let version = self.current(function);
        // Lowering validates, which compiling relies on.
        if self.config.lazy_validation || self.config.tier != Tier::Optimized {
            self.lowered(&version)?;
        }
        let runner = self.first_runner(function);
        if let Some(Runner::Compiled(options)) = runner
            && self.compile_at_once(&version, EntryPoint::Function, options)
        {
            return Ok(());
        }
        let code = self.lowered(&version)?;
        let mut functions = self.table();
        if Arc::ptr_eq(&self.entry(&mut functions, function).current, &version) {
            let code = Arc::as_ptr(code).cast_mut().cast();
            self.state(function).lowered.store(code, Ordering::Release);
        }
        drop(functions);
        if let Some(Runner::Interpreter | Runner::Baseline) = runner {
            self.set_baseline(&version, runner == Some(Runner::Baseline));
        }
        Ok(())
    }

    /// Whether hot code of this module is compiled by the optimising compiler.
    pub(crate) fn compiles(&self) -> bool {
        matches!(self.config.tier, Tier::Optimized | Tier::Auto)
    }

    /// Compiles an entry point on this thread, unless it is there or refused. Returns whether it is
    /// there.
    pub(crate) fn compile_now(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
    ) -> bool {
        self.compiles() && self.compile_at_once(version, entry, CompileOptions::default())
    }

    /// The same, compiled so unless the embedder has said how.
    fn compile_at_once(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
        options: CompileOptions,
    ) -> bool {
        self.compile_and_install(version, entry, options);
        version.code().object(entry).is_some()
    }

    /// Asks for an entry point to be compiled: in the background, or at once where the configuration says
    /// so. Returns whether there is any hope for it.
    pub(crate) fn request(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
        priority: u32,
    ) -> bool {
        if !self.compiles() {
            return false;
        }
        if entry == EntryPoint::Function && self.is_mixed() {
            // The schedule says when.
            return true;
        }
        let is_coming =
            |code: &VersionCode| code.object(entry).is_some() || code.requested.contains(&entry);
        {
            let code = version.code();
            if code.refused.contains(&entry) {
                return false;
            }
            if is_coming(&code) {
                return true;
            }
        }
        if !self.is_wanted(version, entry) {
            return false;
        }
        if !self.config.background_compilation {
            return self.compile_now(version, entry);
        }
        let mut code = version.code();
        if is_coming(&code) {
            return true;
        }
        code.requested.push(entry);
        drop(code);
        self.system.enqueue(self, version, entry, priority);
        true
    }

    /// Compiles an entry point, so unless the embedder has said how, and publishes it, if anything would lead to
    /// the code. Failures, panics of the compiler included, leave the version in the tier below, and are counted and
    /// announced.
    pub(crate) fn compile_and_install(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
        options: CompileOptions,
    ) {
        let options = {
            let code = version.code();
            if code.object(entry).is_some() || code.refused.contains(&entry) {
                return;
            }
            code.options.unwrap_or(options)
        };
        if entry == EntryPoint::Function && self.unshelve(version, &options) {
            return;
        }
        if !self.is_wanted(version, entry) {
            version.code().requested.retain(|e| *e != entry);
            return;
        }
        let compiled = self.compile(&self.env, version, entry, &options);
        let installed = compiled.and_then(|Output { description, origin }| {
            // It may have become useless while it was compiled, which is nobody's failure.
            let Some(object) = self.install(version, entry, &options, description)? else {
                return Ok(());
            };
            let event = self.compiled(version, entry, Tier::Optimized, object.len(), origin);
            self.system.events.send(|| event);
            Ok(())
        });
        let mut code = version.code();
        code.requested.retain(|e| *e != entry);
        // What the embedder wants compiled otherwise meanwhile is not refused for good.
        if let Err(error) = installed
            && !code.is_outdated(&options)
        {
            code.refused.push(entry);
            drop(code);
            self.refused(version, entry, &error);
        }
    }

    /// Code has been made of a version: counts it, and returns what is to be announced.
    pub(super) fn compiled(
        &self,
        version: &FunctionVersion,
        entry: EntryPoint,
        tier: Tier,
        bytes: usize,
        origin: Origin,
    ) -> Event {
        let osr = entry != EntryPoint::Function;
        let bytecode = version.body.bytes().len();
        if !origin.cached {
            self.system.counters.compiler(tier, osr).succeeded(origin.time, bytecode, bytes);
        }
        Event::Compiled {
            module: self.label(),
            function: version.body.function,
            version: version.body.version,
            tier,
            osr_entry: match entry {
                EntryPoint::Function => None,
                EntryPoint::Loop(point) => Some(point),
            },
            bytes,
            time: origin.time,
            cached: origin.cached,
        }
    }

    pub(super) fn refused(&self, version: &FunctionVersion, entry: EntryPoint, error: &Error) {
        let function = version.body.function;
        if entry == EntryPoint::Function && self.is_current(version) {
            self.state(function).countdown.store(NEVER, Ordering::Relaxed);
        }
        self.announce_failure(version, entry, Tier::Optimized, error);
    }

    /// Counts and announces that code of a version has not been made.
    pub(super) fn announce_failure(
        &self,
        version: &FunctionVersion,
        entry: EntryPoint,
        tier: Tier,
        error: &Error,
    ) {
        self.system.counters.compiler(tier, entry != EntryPoint::Function).failed.add(1);
        self.system.events.send(|| Event::CompilationFailed {
            module: self.label(),
            function: version.body.function,
            version: version.body.version,
            reason: format!("{error:#}"),
        });
    }

    pub(super) fn is_current(&self, version: &FunctionVersion) -> bool {
        let functions = self.table();
        let entry = functions.get(&version.body.function);
        entry.is_some_and(|entry| std::ptr::eq(Arc::as_ptr(&entry.current), version))
    }

    /// Compiles an entry point of a version, in the module's index spaces or what they are going to be; or takes
    /// what was kept when that was done before.
    pub(super) fn compile(
        &self,
        env: &ModuleEnv,
        version: &FunctionVersion,
        entry: EntryPoint,
        options: &CompileOptions,
    ) -> Result<Output> {
        let started = Instant::now();
        let output = |description, cached| {
            let origin = Origin { time: started.elapsed(), cached };
            Output { description, origin }
        };
        let wanted = Wanted { module: self.id, version, entry, options };
        if let Some(description) = self.system.cache.take(&wanted) {
            return Ok(output(description, true));
        }
        let compile = || {
            self.system.count_compilation(self.config.stress);
            self.system.compiler.compile(env, &version.body, entry, options)
        };
        match catch_unwind(AssertUnwindSafe(compile)) {
            Ok(compiled) => Ok(output(compiled?, false)),
            Err(_) => anyhow::bail!("the compiler panicked"),
        }
    }

    /// Whether anything would lead to machine code of a version with this entry: the version is current, or
    /// has loops whose frames finish in it. (Code that others may enter after the old code was gathered for
    /// retirement would not be retired.)
    fn is_wanted(&self, version: &Arc<FunctionVersion>, entry: EntryPoint) -> bool {
        let functions = self.table();
        let known = functions.get(&version.body.function);
        known.is_some_and(|known| known.leads_to(version, entry))
    }

    /// Publishes compiled code and links it, if it is a current function's. Does nothing, and returns `None`,
    /// if nothing would lead to the code, or if it is to be compiled with other options by now. If another
    /// thread has been faster, its code is the answer.
    pub(crate) fn install(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
        options: &CompileOptions,
        description: CodeDescription,
    ) -> Result<Option<Arc<CodeObject>>> {
        let owner = CodeOwner {
            module: Arc::downgrade(self),
            module_number: self.id,
            version: version.clone(),
            entry,
            options: Some(*options),
        };
        let object = self.system.heap.publish(description, Arc::new(owner))?;
        let function = version.body.function;
        let mut functions = self.table();
        let known = self.entry(&mut functions, function);
        let current = Arc::ptr_eq(&known.current, version);
        let wanted = known.leads_to(version, entry);
        let mut code = version.code();
        let present = code.object(entry).cloned();
        let outdated = code.is_outdated(options);
        if self.is_mixed() && current && !outdated && code.shelve_beside(&object) {
            return Ok(Some(object));
        }
        if present.is_some() || !wanted || outdated {
            // SAFETY: nobody knows the address of the code that was published just now.
            unsafe { self.system.heap.free(&object) };
            return Ok(present);
        }
        code.insert(entry, object.clone());
        drop(code);
        if current && entry == EntryPoint::Function {
            self.link(function, &object);
        }
        Ok(Some(object))
    }

    /// Makes all calls of a function go to this code.
    pub(super) fn link(&self, function: u32, code: &CodeObject) {
        let code = code.start().cast_mut();
        let state = self.state(function);
        state.entry.store(code, Ordering::Release);
        state.native.store(code, Ordering::Release);
        state.unlink_baseline();
    }

    /// Makes all calls of a function go to its entry thunk.
    pub(crate) fn unlink(&self, function: u32) {
        let thunk =
            self.system.heap.entry_thunk(function).expect("made when the module was loaded");
        let state = self.state(function);
        state.native.store(std::ptr::null_mut(), Ordering::SeqCst);
        state.entry.store(thunk.cast_mut(), Ordering::SeqCst);
        state.unlink_baseline();
    }

    /// Takes a code object from its version, and unlinks it. Returns whether it was still there; if not,
    /// somebody else has unlinked it.
    pub(crate) fn take_object(&self, version: &FunctionVersion, object: &Arc<CodeObject>) -> bool {
        let function = version.body.function;
        // Code is linked under this lock.
        let _table = self.table();
        let taken = version.code().remove(object);
        let linked = self.state(function).entry.load(Ordering::Relaxed);
        if linked.cast_const() == object.start() {
            self.unlink(function);
            self.relink_baseline(version);
        }
        taken
    }

    /// Versions of a function that have been replaced and may still have frames, oldest first.
    pub(crate) fn older_versions(&self, function: u32) -> Vec<Arc<FunctionVersion>> {
        self.table().get(&function).map_or_else(Vec::new, |entry| entry.older.clone())
    }

    /// All versions of a function that may have frames, oldest first.
    pub(crate) fn versions(&self, function: u32) -> Vec<Arc<FunctionVersion>> {
        let functions = self.table();
        let Some(entry) = functions.get(&function) else { return Vec::new() };
        entry.older.iter().chain([&entry.current]).cloned().collect()
    }

    /// Takes the machine code of replaced versions that nothing leads to but that code, and whose lowered
    /// code no frame is in. It is to be retired.
    pub(crate) fn take_code_of_older(
        &self,
        in_use: &impl Fn(*const LoweredCode) -> bool,
    ) -> Vec<Arc<CodeObject>> {
        let mut objects = Vec::new();
        for version in self.table().values().flat_map(|entry| &entry.older) {
            let mut code = version.code();
            // Each object holds its version.
            if Arc::strong_count(version) == 1 + code.len() && !version.is_lowered_in_use(in_use) {
                objects.extend(code.take_all_objects());
            }
        }
        objects
    }

    /// Forgets replaced versions of all functions that nothing leads to any more, and whose lowered code no
    /// frame is in.
    pub(crate) fn forget_older(&self, in_use: &impl Fn(*const LoweredCode) -> bool) {
        let mut left = 0;
        for entry in self.table().values_mut() {
            // Oldest first: maps lead from older versions to newer ones, and go with them.
            entry.older.retain(|version| {
                // Frames that wait for their transfer hold the version through their code object.
                Arc::strong_count(version) > 1 || version.is_lowered_in_use(in_use)
            });
            left += entry.older.len();
        }
        self.old_versions.set_count(left);
    }
}

impl Drop for ModuleCode {
    fn drop(&mut self) {
        // Elsewhere its code is the parent's, and threads that held locks may be gone.
        if !self.system.heap.process().is_current() {
            return;
        }
        self.system.remove_module(self.id);
        if *self.copies.get_mut() {
            self.system.cache.forget_module(self.id);
        }
        let functions = self.table.get_mut().unwrap_or_else(PoisonError::into_inner);
        for entry in functions.values() {
            for version in std::iter::once(&entry.current).chain(&entry.older) {
                for object in version.code().take_all_objects() {
                    // SAFETY: every instance holds the module, so none is left, and no frame either.
                    unsafe { self.system.heap.free(&object) };
                }
            }
        }
    }
}

/// Whether a body is beyond what is compiled at all, so that nothing has gone wrong.
pub(crate) fn is_limit(error: &Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            CompileError::TooLarge(_) | CompileError::Unsupported(_) | CompileError::NoSuchLoop(_)
        )
    )
}
