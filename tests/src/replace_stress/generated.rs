//! Generated programs: what they do is compared down to their memories.

use crate::differential::{self, Interlude, Observation};
use crate::mutation::Random;
use crate::program::{Limits, program_with_limits};
use anyhow::Result;
use midair::{Config, Module, Tier};
use std::time::{Duration, Instant};

/// Bytes of stack for guests: recursions must not overflow it, whatever their frames' sizes.
pub const STACK: usize = 64 << 20;

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
}

impl Generated {
    /// The program of this seed, or of one after it if that one is of no use: it does too little, runs too
    /// long, or depends on the size of the stack.
    pub fn new(first: u64) -> Result<Generated> {
        let mut config = Config::new();
        config.tier(Tier::Interp).max_wasm_stack(STACK);
        for seed in first.. {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> =
                (0..1_000 + random.below(4_000)).map(|_| random.word() as u8).collect();
            // Many calls, or long loops.
            let limits = [(300, 12), (3_000, 12), (20_000, 250), (200_000, 4_000)];
            let (budget, iterations) = limits[random.below(limits.len())];
            let (exceptions, tail_calls) = (random.below(3) != 0, true);
            let atomics = random.below(2) == 0;
            let references = true;
            let limits = Limits { budget, iterations, references, exceptions, tail_calls, atomics };
            let wasm = program_with_limits(&bytes, &limits);
            let start = Instant::now();
            let expected = differential::observe_midair(&config, &wasm)?;
            let useful = start.elapsed() < MOST
                && start.elapsed() > MOST / 300
                && !expected.iter().any(Observation::is_inconclusive);
            if useful {
                return Ok(Generated { seed, wasm, expected });
            }
        }
        unreachable!("there are enough seeds")
    }

    /// Runs it once; says what differed from the undisturbed run.
    pub fn run(&self, module: &Module, interlude: &Interlude) -> Result<Option<String>> {
        let actual = differential::observe_module(module, Some(interlude.clone()))?;
        if actual.iter().any(Observation::is_inconclusive) {
            return Ok(Some("it ran out of stack".to_owned()));
        }
        Ok(differential::difference(&self.expected, &actual, false))
    }
}
