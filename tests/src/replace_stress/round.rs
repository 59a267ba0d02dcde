//! A round: one engine, one or two programs, several threads that run them, one that replaces.

use super::journal::Journal;
use super::memory::WithinRound;
use super::operations::{Counts, Operator};
use super::target::{Program, Target, configuration};
use crate::differential::Interlude;
use crate::mutation::Random;
use anyhow::{Context, Result, anyhow};
use midair::{Engine, Stats};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Native stack of a guest's thread beyond what the guest may use.
const HOST_STACK: usize = 16 << 20;

/// An operation that takes longer hangs. Compilers on a busy machine may take seconds.
const LONGEST_OPERATION: Duration = Duration::from_secs(60);

/// A run of a program that takes longer hangs.
const LONGEST_RUN: Duration = Duration::from_secs(420);

/// What a round is made of.
pub struct Round {
    /// Where all its randomness comes from.
    pub seed: u64,
    /// Its programs.
    pub programs: Vec<Arc<Program>>,
    /// Number of guest threads.
    pub threads: usize,
    /// For how long new runs are begun.
    pub time: Duration,
    /// Where programs may write.
    pub room: PathBuf,
}

/// What a round has done.
pub struct Done {
    /// Counters of its engine.
    pub stats: Stats,
    /// Runs of programs that were compared.
    pub runs: u64,
    /// Operations.
    pub operations: u64,
    /// What the operations were.
    pub counts: Arc<Counts>,
    /// Cells that threads have added to together, and that were compared.
    pub shared_cells: u64,
}

/// What the threads of a round share.
struct Shared<'a> {
    journal: Arc<Journal>,
    targets: &'a [Arc<Target>],
    stop: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
    runs: AtomicU64,
    operations: Arc<AtomicU64>,
    counts: Arc<Counts>,
    /// When each guest thread began its run, in milliseconds since the round's start.
    since: Vec<AtomicU64>,
    guests: AtomicU64,
    start: Instant,
}

impl Shared<'_> {
    fn fail(&self, error: anyhow::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Round {
    /// Runs it. `observe` is called several times a second.
    pub fn run(&self, journal: &Arc<Journal>, mut observe: impl FnMut(&Stats)) -> Result<Done> {
        let mut random = Random::new(self.seed);
        let config = configuration(&mut random, &self.programs);
        let engine = Engine::new(&config)?;
        let names: Vec<&str> = self.programs.iter().map(|program| &*program.name).collect();
        let text = format!("round of {} in tier {:?}", names.join(" and "), config.get_tier());
        journal.begin_round(text, engine.events());
        let targets = self
            .programs
            .iter()
            .map(|program| Ok(Arc::new(Target::new(&engine, program)?)))
            .collect::<Result<Vec<_>>>()?;
        let shared = Shared {
            journal: journal.clone(),
            targets: &targets,
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
            runs: AtomicU64::new(0),
            operations: Arc::default(),
            counts: Arc::default(),
            since: (0..self.threads).map(|_| AtomicU64::new(0)).collect(),
            guests: AtomicU64::new(self.threads as u64),
            start: Instant::now(),
        };
        let mut memory = WithinRound::default();
        std::thread::scope(|scope| -> Result<()> {
            for index in 0..self.threads {
                let seed = random.word();
                let shared = &shared;
                std::thread::Builder::new()
                    .name(format!("guest-{index}"))
                    .stack_size(super::generated::STACK + HOST_STACK)
                    .spawn_scoped(scope, move || {
                        if let Err(error) = self.guest(shared, index, seed) {
                            shared.fail(error);
                        }
                        shared.guests.fetch_sub(1, Ordering::Relaxed);
                    })?;
            }
            let seed = random.word();
            let replacing = &shared;
            std::thread::Builder::new().name("replacer".to_owned()).spawn_scoped(
                scope,
                move || {
                    if let Err(error) = replacer(replacing, seed) {
                        replacing.fail(error.context("the replacer"));
                    }
                },
            )?;
            while shared.guests.load(Ordering::Relaxed) > 0 {
                std::thread::sleep(Duration::from_millis(50));
                journal.collect_events();
                memory.sample();
                observe(&engine.stats());
                self.watch(&shared);
            }
            shared.stop.store(true, Ordering::Relaxed);
            Ok(())
        })?;
        if let Some(error) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        memory.check()?;
        let mut shared_cells = 0;
        for target in &targets {
            shared_cells += target.check_crew().with_context(|| target.program.name.clone())?;
        }
        journal.end_round();
        let done = Done {
            stats: engine.stats(),
            runs: shared.runs.into_inner(),
            operations: shared.operations.load(Ordering::Relaxed),
            counts: shared.counts,
            shared_cells,
        };
        drop(targets);
        Ok(done)
    }

    /// Ends the process, by a signal that is reported, if something hangs.
    fn watch(&self, shared: &Shared<'_>) {
        let hangs = |what: String| {
            println!("FAILED: {what}");
            std::process::abort();
        };
        if let Some((time, text)) = shared.journal.oldest_open()
            && time > LONGEST_OPERATION
        {
            hangs(format!("an operation does not end: {text}"));
        }
        for (index, since) in shared.since.iter().enumerate() {
            let since = Duration::from_millis(since.load(Ordering::Relaxed));
            if shared.start.elapsed().saturating_sub(since) > LONGEST_RUN {
                hangs(format!("the program of thread {index} does not end"));
            }
        }
    }

    /// Runs a program over and over.
    fn guest(&self, shared: &Shared<'_>, index: usize, seed: u64) -> Result<()> {
        let target = shared.targets[index % shared.targets.len()].clone();
        let room = self.room.join(index.to_string());
        let interlude = interlude(shared, &target, index, seed);
        while !shared.stop.load(Ordering::Relaxed) && shared.start.elapsed() < self.time {
            let now = shared.start.elapsed().as_millis() as u64;
            shared.since[index].store(now, Ordering::Relaxed);
            let difference =
                target.run(&room, &interlude).with_context(|| target.program.name.clone())?;
            if let Some(difference) = difference {
                return Err(anyhow!("{} differs: {difference}", target.program.name));
            }
            shared.runs.fetch_add(1, Ordering::Relaxed);
        }
        shared.since[index].store(u64::MAX / 2, Ordering::Relaxed);
        Ok(())
    }
}

/// What happens in host calls of a guest: mostly nothing; now and then a pause, in which others replace
/// functions that wait for the host; or a replacement by the guest itself.
fn interlude(shared: &Shared<'_>, target: &Arc<Target>, index: usize, seed: u64) -> Interlude {
    let (journal, target) = (shared.journal.clone(), target.clone());
    let random = Mutex::new(Random::new(seed));
    let (operations, counts) = (shared.operations.clone(), shared.counts.clone());
    Arc::new(move || {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        match random.below(200) {
            0 => std::thread::sleep(Duration::from_micros(random.below(2_000) as u64)),
            1..=10 => std::thread::yield_now(),
            11 | 12 => {
                // Somebody else may be waiting for this guest.
                if let Some(bodies) = target.try_bodies() {
                    let who = format!("guest {index}");
                    let operator =
                        Operator { target: &target, journal: &journal, who: &who, counts: &counts };
                    let done = operator.act(bodies, &mut random);
                    operations.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = done {
                        // The guest cannot be told in a way that differs from its own failures.
                        println!("FAILED: {who}: {error:#}");
                        std::process::abort();
                    }
                }
            }
            _ => {}
        }
    })
}

/// Replaces random functions at random times, until all guests are done.
fn replacer(shared: &Shared<'_>, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    // In some rounds as fast as it can, in others with pauses.
    let pause = [0, 100, 2_000, 20_000][random.below(4)];
    while !shared.stop.load(Ordering::Relaxed) {
        let target = &shared.targets[random.below(shared.targets.len())];
        let (journal, counts) = (&*shared.journal, &*shared.counts);
        let operator = Operator { target, journal, who: "replacer", counts };
        operator.act(target.bodies(), &mut random)?;
        shared.operations.fetch_add(1, Ordering::Relaxed);
        if pause > 0 {
            std::thread::sleep(Duration::from_micros(random.below(pause) as u64));
        }
    }
    Ok(())
}
