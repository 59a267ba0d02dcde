//! Recompilation: the same body, compiled otherwise, in place of the machine code that is there.

use super::module_code::{ModuleCode, Output, is_limit};
use super::retire;
use super::retire::Retiring;
use super::version::{CodeOwner, FunctionVersion};
use crate::config::Tier;
use anyhow::{Context as _, Result};
use midair_osr::handshake::State;
use midair_osr::{CodeObject, ShadowStackActive};
use midair_tiers::compile::{CompileOptions, EntryPoint};
use midair_tiers::{CodegenSettings, OptLevel, RegisterAllocation};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wasmparser::Operator;

/// How many loops of a function get OSR entries at once while guests run the module. Frames at further ones go on
/// in the interpreter until their entries are compiled.
const LOOPS_AT_ONCE: usize = 8;

/// How a function is to be compiled: see [`Module::recompile`](crate::Module::recompile).
///
/// ```
/// use midair::{OptLevel, RecompileOptions, RegisterAllocation};
///
/// let options = RecompileOptions::optimized()
///     .opt_level(OptLevel::SpeedAndSize)
///     .register_allocation(RegisterAllocation::SinglePass);
/// assert_eq!(options.to_string(), "speed_and_size/single_pass");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecompileOptions {
    compile: CompileOptions,
    version: Option<u32>,
}

impl RecompileOptions {
    /// As the optimising tier compiles.
    pub fn optimized() -> RecompileOptions {
        RecompileOptions { compile: CompileOptions::default(), version: None }
    }

    /// As fast as it compiles: without optimisation.
    pub fn unoptimized() -> RecompileOptions {
        let compile = CompileOptions::new(CodegenSettings::UNOPTIMIZED);
        RecompileOptions { compile, version: None }
    }

    /// How much Cranelift optimises.
    pub fn opt_level(mut self, level: OptLevel) -> RecompileOptions {
        self.compile.settings.opt_level = level;
        self
    }

    /// How values get their registers.
    pub fn register_allocation(mut self, algorithm: RegisterAllocation) -> RecompileOptions {
        self.compile.settings.register_allocation = algorithm;
        self
    }

    /// Whether loads that must give the same value are merged.
    pub fn alias_analysis(mut self, on: bool) -> RecompileOptions {
        self.compile.settings.alias_analysis = on;
        self
    }

    /// The version of the function to recompile, instead of the current one. An older version can only be
    /// entered at its loops, by frames that finish in it.
    pub fn version(mut self, number: u32) -> RecompileOptions {
        self.version = Some(number);
        self
    }
}

impl fmt::Display for RecompileOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compile.settings.fmt(f)
    }
}

/// What a recompilation did: see [`Module::recompile`](crate::Module::recompile).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recompiled {
    /// Number of the version.
    pub version: u32,
    /// Bytes of the version's machine code before, OSR entries included.
    pub bytes_before: usize,
    /// Bytes of the version's machine code now, OSR entries included.
    pub bytes: usize,
    /// OSR entries that were compiled with it.
    pub osr_entries: usize,
    /// Time that the compilations took; nearly none for code that the engine [had
    /// kept](crate::Config::code_cache).
    pub compile_time: Duration,
    /// Frames of the old code that were redirected.
    pub frames_redirected: usize,
    /// Bytes of old machine code that were freed.
    pub freed_bytes: usize,
    /// The longest time that a guest stood still for it.
    pub longest_pause: Duration,
    /// From publishing the new code until the old one was freed.
    pub time_to_freed: Duration,
}

impl ModuleCode {
    /// Compiles a version of a function anew and puts the code in place of what is there.
    pub(crate) fn recompile_with(
        self: &Arc<Self>,
        function: u32,
        options: &RecompileOptions,
    ) -> Result<Recompiled> {
        anyhow::ensure!(
            function >= self.env.imported_functions
                && (function as usize) < self.env.functions.len(),
            "function {function} is not defined by the module"
        );
        self.check_redirection(function)?;
        let version = self.version_numbered(function, options.version)?;
        // Validates; and the frames of the old code need a place to land.
        self.lowered(&version)?;
        let compiled = self.compile_entries(&version, &options.compile)?;
        let compile_time = compiled.iter().map(|(_, output)| output.origin.time).sum();
        let objects = self.publish_entries(&version, &options.compile, compiled)?;
        let (entries, bytes): (usize, usize) =
            objects.iter().fold((0, 0), |(count, bytes), object| {
                let osr = CodeOwner::of(object).entry != EntryPoint::Function;
                (count + usize::from(osr), bytes + object.len())
            });

        let published = Instant::now();
        let old = self.swap_code(&version, options.compile, objects)?;
        let bytes_before = old.iter().map(|object| object.len()).sum();
        // SAFETY: `swap_code` has unlinked the old code with sequentially consistent stores.
        let retiring = unsafe { retire::retire(&self.system, old, self.stores()) };
        let retired = retiring.map(Retiring::wait).unwrap_or_default();
        Ok(Recompiled {
            version: version.body.version,
            bytes_before,
            bytes,
            osr_entries: entries,
            compile_time,
            frames_redirected: retired.redirected,
            freed_bytes: retired.freed_bytes,
            longest_pause: retired.longest_pause,
            time_to_freed: published.elapsed(),
        })
    }

    /// Compiles the function itself, if the version is current, and the loops that frames may be in.
    fn compile_entries(
        &self,
        version: &Arc<FunctionVersion>,
        options: &CompileOptions,
    ) -> Result<Vec<(EntryPoint, Output)>> {
        let mut loops: Vec<u32> = version.code().loops.iter().map(|(point, _)| *point).collect();
        let current = self.is_current(version);
        // A loop that runs goes on in the new code without a detour only if its entry is there.
        if !current || self.stores().iter().any(|store| store.state() != State::Outside) {
            let all = loops_of(version)?;
            loops.extend(all.into_iter().take(LOOPS_AT_ONCE));
        }
        if !current {
            loops.retain(|&point| version.finishes_from(EntryPoint::Loop(point)));
        }
        loops.sort_unstable();
        loops.dedup();
        let function = current.then_some(EntryPoint::Function);
        let mut compiled = Vec::new();
        for entry in function.into_iter().chain(loops.into_iter().map(EntryPoint::Loop)) {
            match self.compile(&self.env, version, entry, options) {
                Ok(output) => compiled.push((entry, output)),
                Err(error) if entry == EntryPoint::Function => {
                    return Err(error.context("the function cannot be compiled with these options"));
                }
                // Nothing leads to it, or it is too large: its frames stay in the interpreter.
                Err(error) if is_limit(&error) => {}
                Err(error) => {
                    return Err(error.context("a loop cannot be compiled with these options"));
                }
            }
        }
        anyhow::ensure!(
            !compiled.is_empty(),
            "version {} of function {} has no loop that can be entered",
            version.body.version,
            version.body.function
        );
        Ok(compiled)
    }

    /// Publishes code that nothing leads to yet: all of it, or nothing.
    fn publish_entries(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        options: &CompileOptions,
        compiled: Vec<(EntryPoint, Output)>,
    ) -> Result<Vec<Arc<CodeObject>>> {
        let mut objects = Vec::with_capacity(compiled.len());
        for (entry, Output { description, origin }) in compiled {
            let owner = CodeOwner {
                module: Arc::downgrade(self),
                module_number: self.id,
                version: version.clone(),
                entry,
                options: Some(*options),
            };
            match self.system.heap.publish(description, Arc::new(owner)) {
                Ok(object) => {
                    let event =
                        self.compiled(version, entry, Tier::Optimized, object.len(), origin);
                    self.system.events.send(|| event);
                    objects.push(object);
                }
                Err(error) => {
                    self.free_unknown(&objects);
                    return Err(error.into());
                }
            }
        }
        Ok(objects)
    }

    /// Frees code that was published just now, and that nobody else knows.
    fn free_unknown(&self, objects: &[Arc<CodeObject>]) {
        for object in objects {
            // SAFETY: nobody knows the address.
            unsafe { self.system.heap.free(object) };
        }
    }

    /// Puts code in place of what a version has, links it, and returns what there was, unlinked. What is
    /// compiled for the version from now on is compiled with the same options.
    fn swap_code(
        &self,
        version: &Arc<FunctionVersion>,
        options: CompileOptions,
        objects: Vec<Arc<CodeObject>>,
    ) -> Result<Vec<Arc<CodeObject>>> {
        let function = version.body.function;
        let forbidden = self.config.forbids_redirection();
        let mut functions = self.table();
        let known = self.entry(&mut functions, function);
        let current = Arc::ptr_eq(&known.current, version);
        if !current && !known.older.iter().any(|older| Arc::ptr_eq(older, version)) {
            drop(functions);
            self.free_unknown(&objects);
            anyhow::bail!("function {function} was replaced, and no frame is left in the version");
        }
        if forbidden && known.has_objects() {
            // It has been compiled meanwhile.
            drop(functions);
            self.free_unknown(&objects);
            anyhow::bail!(ShadowStackActive);
        }
        let mut code = version.code();
        let old = code.take_objects();
        code.options = Some(options);
        code.refused.clear();
        let mut function_code = None;
        let mut unwanted = Vec::new();
        for object in objects {
            let entry = CodeOwner::of(&object).entry;
            if !known.leads_to(version, entry) {
                // It was replaced while it was compiled.
                unwanted.push(object);
                continue;
            }
            if entry == EntryPoint::Function {
                function_code = Some(object.start().cast_mut());
            }
            code.insert(entry, object);
        }
        drop(code);
        if let Some(address) = function_code {
            let state = self.state(function);
            state.native.store(address, Ordering::SeqCst);
            state.entry.store(address, Ordering::SeqCst);
            state.unlink_baseline();
            // Frames that land in the interpreter ask for machine code at their next iteration.
            state.countdown.store(0, Ordering::Relaxed);
        }
        drop(functions);
        self.free_unknown(&unwanted);
        Ok(old)
    }
}

/// Points of all loops of a body.
fn loops_of(version: &FunctionVersion) -> Result<Vec<u32>> {
    let mut loops = Vec::new();
    let mut operators = version.body.reader().get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) =
            operators.read_with_offset().context("a body that was validated")?;
        if matches!(operator, Operator::Loop { .. }) {
            loops.push(offset as u32);
        }
    }
    Ok(loops)
}
