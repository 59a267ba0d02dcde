//! Generated programs: what they do is compared down to their memories.

use crate::differential::{self, Interlude, Observation};
use crate::mutation::Random;
use crate::program::{Limits, crew, program_with_limits};
use anyhow::Result;
use midair::{Config, Engine, ExternType, Module, SharedMemory, Tier};
use std::time::{Duration, Instant};

/// Bytes of stack for guests: recursions must not overflow it, whatever their frames' sizes.
pub const STACK: usize = 64 << 20;

/// How many times as large as the interpreter's frames those of code that is not optimised may be, in a body that has been
/// edited.
const LARGEST_FRAME: usize = 16;

/// What an undisturbed run in the interpreter may take.
const MOST: Duration = Duration::from_millis(150);

/// A random program and what it does.
#[derive(Debug)]
pub struct Generated {
    /// Its seed.
    pub seed: u64,
    /// In binary format.
    pub wasm: Vec<u8>,
    expected: Vec<Observation>,
    /// What a run adds to each cell of the memory that it shares with others, if it does.
    added: Option<Vec<u64>>,
}

/// The memory that a module shares with others.
pub fn crew_memory(module: &Module) -> Result<Option<SharedMemory>> {
    let ty = module.imports().find_map(|import| match import.ty() {
        ExternType::Memory(ty) if ty.shared => Some(*ty),
        _ => None,
    });
    ty.map(|ty| SharedMemory::new(module.engine(), ty)).transpose()
}

/// What has been added to its cells.
fn sums(memory: &SharedMemory) -> Result<Vec<u64>> {
    let mut bytes = vec![0; memory.data_size()];
    memory.read(0, &mut bytes)?;
    Ok(crew::sums(&bytes))
}

impl Generated {
    /// The program of this seed, or of one after it if that one is of no use: it does too little, runs too
    /// long, or depends on the size of the stack.
    pub fn new(first: u64) -> Result<Generated> {
        let mut config = Config::new();
        config.tier(Tier::Interp).max_wasm_stack(STACK / LARGEST_FRAME);
        let engine = Engine::new(&config)?;
        for seed in first.. {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> =
                (0..1_000 + random.below(4_000)).map(|_| random.word() as u8).collect();
            // Many calls, or long loops.
            let limits = [(300, 12), (3_000, 12), (20_000, 250), (200_000, 4_000)];
            let (budget, iterations) = limits[random.below(limits.len())];
            let (exceptions, tail_calls) = (random.below(3) != 0, true);
            let (atomics, crew) = (random.below(2) == 0, random.below(3) != 0);
            let references = true;
            let limits =
                Limits { budget, iterations, references, exceptions, tail_calls, atomics, crew };
            let wasm = program_with_limits(&bytes, &limits);
            let module = Module::from_binary(&engine, &wasm)?;
            let memory = crew_memory(&module)?;
            let start = Instant::now();
            let expected = differential::observe_module(&module, None, memory.as_ref())?;
            let useful = start.elapsed() < MOST
                && start.elapsed() > MOST / 300
                && !expected.iter().any(Observation::is_inconclusive);
            if useful {
                let added = memory.as_ref().map(sums).transpose()?;
                return Ok(Generated { seed, wasm, expected, added });
            }
        }
        unreachable!("there are enough seeds")
    }

    /// Runs it once; says what differed from the undisturbed run.
    pub fn run(
        &self,
        module: &Module,
        crew: Option<&SharedMemory>,
        interlude: &Interlude,
    ) -> Result<Option<String>> {
        let actual = differential::observe_module(module, Some(interlude.clone()), crew)?;
        if actual.iter().any(Observation::is_inconclusive) {
            return Ok(Some("it ran out of stack".to_owned()));
        }
        Ok(differential::difference(&self.expected, &actual, false))
    }

    /// Whether a memory that so many runs have shared holds what they should have added; returns how many cells were
    /// compared.
    pub fn check_crew(&self, memory: &SharedMemory, runs: u64) -> Result<u64> {
        let Some(added) = &self.added else { return Ok(0) };
        let (expected, found) = (crew::multiplied(added, runs), sums(memory)?);
        let differing = expected.iter().zip(&found).position(|(expected, found)| expected != found);
        if let Some(cell) = differing {
            anyhow::bail!(
                "{runs} runs have made cell {cell} {:#x} instead of {:#x}",
                found[cell],
                expected[cell]
            );
        }
        Ok(added.iter().filter(|&&added| added != 0).count() as u64)
    }
}
