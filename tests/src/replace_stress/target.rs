//! A program that is run and replaced.

use super::body_edits::{Additions, Body, Edited};
use super::corpus;
use super::functions::{Functions, rewrite};
use super::generated::{self, Generated};
use super::operations::Undo;
use crate::differential::Interlude;
use crate::mutation::Random;
use anyhow::{Context, Result};
use midair::{Config, Engine, Event, Module, SharedMemory, StressSpec, Tier};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Functions whose bodies are longer are left alone: comparing two of them takes too long.
const LONGEST_BODY: usize = 30_000;

/// Original bodies that are kept cut into operators.
const MOST_ORIGINALS: usize = 300;

/// How often a real program is stopped to see what is on its stack, and how long that may take.
const SAMPLES: usize = 40;
const SAMPLING: Duration = Duration::from_secs(3);

/// Bytes of the modules of which whole new versions are made.
const SMALL_MODULE: usize = 3 << 20;

/// A program and what it does when nothing disturbs it.
pub struct Program {
    /// What the command line calls it.
    pub name: String,
    kind: Kind,
    functions: Functions,
    /// Functions that run often.
    hot: Vec<u32>,
    /// Functions that were on the stack when it was stopped at random moments.
    on_stacks: Vec<u32>,
}

enum Kind {
    Generated(Generated),
    Real {
        program: Box<corpus::Program>,
        size: String,
        expected: Box<corpus::Outcome>,
        wasm: memmap2::Mmap,
    },
}

impl Program {
    /// A generated program.
    pub fn generated(seed: u64) -> Result<Program> {
        let generated = Generated::new(seed)?;
        let functions = Functions::new(&generated.wasm)?;
        let hot = functions.defined().collect();
        let name = format!("generated:{}", generated.seed);
        let kind = Kind::Generated(generated);
        Ok(Program { name, kind, functions, hot, on_stacks: Vec::new() })
    }

    /// A real program, which is run once undisturbed to see what it does. It may write to `room`.
    pub fn real(program: &corpus::Program, size: &str, room: &Path) -> Result<Program> {
        let path = program.module();
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        // SAFETY: the corpus does not change while it is used.
        let wasm = unsafe { memmap2::Mmap::map(&file) }?;
        let functions = Functions::new(&wasm)?;
        let mut config = Config::new();
        config.optimized_threshold(2_000).lazy_validation(true).max_wasm_stack(8 << 20);
        let engine = Engine::new(&config)?;
        let events = engine.events();
        let module = Module::from_file(&engine, &path)?;
        let nothing: Interlude = Arc::new(|| {});
        let start = Instant::now();
        let expected = program.run(&module, size, room, &nothing, None)?;
        let took = start.elapsed();
        // Stop it at some moments to see what is on its stack.
        let mut on_stacks = BTreeSet::new();
        let mut random = Random::new(took.as_nanos() as u64);
        let start = Instant::now();
        for _ in 0..SAMPLES {
            if start.elapsed() < SAMPLING {
                let moment = took.mul_f64(random.below(1_000) as f64 / 1_000.0);
                let stopped = program.run(&module, size, room, &nothing, Some(moment))?;
                on_stacks.extend(stopped.on_stack);
            }
        }
        let hot: BTreeSet<u32> = events
            .filter_map(|event| match event {
                Event::Compiled { function, .. } => Some(function),
                _ => None,
            })
            .collect();
        let name = program.name.clone();
        let (program, expected) = (Box::new(program.clone()), Box::new(expected));
        let kind = Kind::Real { program, size: size.to_owned(), expected, wasm };
        Ok(Program {
            name,
            kind,
            functions,
            hot: hot.into_iter().collect(),
            on_stacks: on_stacks.into_iter().collect(),
        })
    }

    /// The module's bytes.
    pub fn wasm(&self) -> &[u8] {
        match &self.kind {
            Kind::Generated(generated) => &generated.wasm,
            Kind::Real { wasm, .. } => wasm,
        }
    }

    /// Whether whole modules are made of it, and all of it may be compiled in advance.
    pub fn is_small(&self) -> bool {
        self.wasm().len() < SMALL_MODULE
    }

    /// Loads it.
    pub fn load(&self, engine: &Engine) -> Result<Module> {
        match &self.kind {
            Kind::Generated(generated) => Module::from_binary(engine, &generated.wasm),
            Kind::Real { program, .. } => Module::from_file(engine, program.module()),
        }
    }

    /// Runs it once; says what differed from the undisturbed run. `crew` is the memory that its threads share, if they do.
    pub fn run(
        &self,
        module: &Module,
        crew: Option<&SharedMemory>,
        room: &Path,
        interlude: &Interlude,
    ) -> Result<Option<String>> {
        match &self.kind {
            Kind::Generated(generated) => generated.run(module, crew, interlude),
            Kind::Real { program, size, expected, .. } => {
                Ok(program.run(module, size, room, interlude, None)?.difference(expected))
            }
        }
    }

    /// The index of a function that is added behind those that the module defines; none if there is no
    /// type for a function that does nothing.
    pub fn added_function(&self) -> Option<u32> {
        self.functions.type_of_nothing().map(|_| self.functions.defined().end)
    }

    /// A random function that can be replaced. `found` are functions that were on a stack lately.
    fn choose(&self, random: &mut Random, found: &[u32]) -> u32 {
        let defined = self.functions.defined();
        for _ in 0..50 {
            let list: &[u32] = match random.below(10) {
                0 | 1 => found,
                2..=4 => &self.on_stacks,
                5..=7 => &self.hot,
                _ => &[],
            };
            let function = match list.len() {
                0 => defined.start + random.below(defined.len()) as u32,
                len => list[random.below(len)],
            };
            if self.functions.body_len(function) <= LONGEST_BODY {
                return function;
            }
        }
        defined.start
    }
}

/// A program in the engine of one round.
pub struct Target {
    /// What it is.
    pub program: Arc<Program>,
    /// What all threads run.
    pub module: Module,
    /// The memory that they share, if they do, and how many runs have added to it.
    crew: Option<SharedMemory>,
    runs: AtomicU64,
    bodies: Mutex<Bodies>,
}

/// What is known of the functions' bodies.
#[derive(Default)]
pub struct Bodies {
    originals: HashMap<u32, Arc<Body>>,
    /// The current bodies of those that have been replaced.
    current: HashMap<u32, Edited>,
    /// Functions whose frames have been found on stacks.
    on_stacks: Vec<u32>,
    /// The last update.
    pub undo: Option<Undo>,
    /// An added function that does nothing.
    pub nothing: Option<u32>,
    /// Whether functions may have other bodies than is thought here, which do the same.
    pub unsure: bool,
}

impl Target {
    /// Loads a program.
    pub fn new(engine: &Engine, program: &Arc<Program>) -> Result<Target> {
        let module = program.load(engine)?;
        let crew = match &program.kind {
            Kind::Generated(_) => generated::crew_memory(&module)?,
            Kind::Real { .. } => None,
        };
        let (program, runs) = (program.clone(), AtomicU64::new(0));
        Ok(Target { program, module, crew, runs, bodies: Mutex::default() })
    }

    /// Runs it once; says what differed from the undisturbed run.
    pub fn run(&self, room: &Path, interlude: &Interlude) -> Result<Option<String>> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.program.run(&self.module, self.crew.as_ref(), room, interlude)
    }

    /// When all runs have ended: compares what threads have done together. Returns how many cells that was.
    pub fn check_crew(&self) -> Result<u64> {
        match (&self.program.kind, &self.crew) {
            (Kind::Generated(generated), Some(crew)) => {
                generated.check_crew(crew, self.runs.load(Ordering::Relaxed))
            }
            _ => Ok(0),
        }
    }

    /// What is known of the bodies. The lock is held during a replacement, so that it is known what is
    /// replaced by what.
    pub fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, if nobody else has it.
    pub fn try_bodies(&self) -> Option<MutexGuard<'_, Bodies>> {
        self.bodies.try_lock().ok()
    }

    /// A random function, rather one that is hot or on a stack.
    pub fn choose(&self, bodies: &Bodies, random: &mut Random) -> u32 {
        self.program.choose(random, &bodies.on_stacks)
    }

    /// The original body of a function.
    fn original(&self, bodies: &mut Bodies, function: u32) -> Result<Arc<Body>> {
        if let Some(body) = bodies.originals.get(&function) {
            return Ok(body.clone());
        }
        if bodies.originals.len() == MOST_ORIGINALS {
            bodies.originals.clear();
        }
        let body = Arc::new(self.program.functions.body(self.program.wasm(), function)?);
        bodies.originals.insert(function, body.clone());
        Ok(body)
    }

    /// The current body of a function.
    pub fn current(&self, bodies: &mut Bodies, function: u32) -> Result<Edited> {
        match bodies.current.get(&function) {
            Some(body) => Ok(body.clone()),
            None => Ok(self.original(bodies, function)?.unchanged()),
        }
    }

    /// A random body that does the same as the function's.
    pub fn edited(
        &self,
        bodies: &mut Bodies,
        function: u32,
        random: &mut Random,
        additions: Additions,
    ) -> Result<Edited> {
        Ok(self.original(bodies, function)?.edit(random, additions))
    }
}

impl Target {
    /// The whole module with these bodies, and otherwise the current ones; with a function more that does
    /// nothing.
    pub fn with_bodies(&self, bodies: &Bodies, new: &BTreeMap<u32, Edited>) -> Result<Vec<u8>> {
        let mut nothing = wasm_encoder::Function::new([]);
        nothing.instruction(&wasm_encoder::Instruction::End);
        let added = self.program.functions.type_of_nothing().map(|ty| (ty, &nothing));
        let wasm = self.program.wasm();
        rewrite(wasm, added, |function| {
            let body = new.get(&function).or_else(|| bodies.current.get(&function));
            match body {
                Some(body) => body.bytes.clone(),
                None => self.program.functions.bytes(wasm, function).to_vec(),
            }
        })
    }
}

impl Bodies {
    /// A function has a new body.
    pub fn replaced(&mut self, function: u32, body: Edited) {
        self.current.insert(function, body);
    }

    /// Frames of a function have been found on a stack.
    pub fn found(&mut self, function: u32) {
        const KEPT: usize = 64;
        if self.on_stacks.contains(&function) {
            return;
        }
        if self.on_stacks.len() == KEPT {
            self.on_stacks.remove(0);
        }
        self.on_stacks.push(function);
    }
}

/// A random configuration for a round with these programs.
pub fn configuration(random: &mut Random, programs: &[Arc<Program>]) -> Config {
    let small = programs.iter().all(|program| program.is_small());
    let tiers = [Tier::Auto, Tier::Auto, Tier::Optimized, Tier::Baseline, Tier::Interp];
    let tier = tiers[random.below(if small { tiers.len() } else { 2 })];
    // A large program would do little but wait for compilers.
    let thresholds: &[u32] = if small { &[5, 50, 500, 5_000] } else { &[500, 5_000] };
    let mut config = Config::new();
    config
        .tier(tier)
        .max_wasm_stack(super::generated::STACK)
        .optimized_threshold(thresholds[random.below(thresholds.len())])
        .background_compilation(!small || random.below(4) != 0)
        .compiler_threads(1 + random.below(2))
        .lazy_validation(!small);
    // Half of the rounds in mixed tiers. That every safepoint is taken then costs large programs a lot.
    if random.below(if small { 2 } else { 4 }) == 0 {
        let mut stress = StressSpec::default();
        let every = if small { 1 + random.below(30) } else { 1_000 };
        (stress.mixed, stress.seed) = (Some(every as u64), random.word());
        config.stress(stress);
    }
    config
}
