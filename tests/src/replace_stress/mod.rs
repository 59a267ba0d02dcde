//! Programs that run while their functions are replaced, and must not notice.
//!
//! ```text
//!   target       a program, its module in one engine, and the current bodies of its functions
//!   generated    programs made from random bytes
//!   corpus       real programs, with arguments and files, by way of WASI
//!   functions    where a module's bodies lie; modules with other bodies
//!   body_edits   random edits of a body that do not change what it does
//!   reachability which operators of a body anything leads to
//!   operations   what is done to a running program
//!   whole_module the same, by a new version of the whole module
//!   round        one engine, its guests, and the thread that replaces
//!   kinds        what is counted, and what has to have happened
//!   journal      the last operations, and the history of code addresses
//!   crash        what is said when a signal kills the process
//!   memory       how much of it there is, and that it does not grow
//! ```
//!
//! Everything random comes from one seed. Threads are not scheduled by it, so that the same seed does the
//! same things at other moments.

mod body_edits;
mod corpus;
mod crash;
mod functions;
mod generated;
mod journal;
mod kinds;
mod memory;
mod operations;
mod reachability;
mod round;
mod target;
mod whole_module;

use crate::mutation::Random;
use anyhow::{Context, Result, ensure};
use journal::Journal;
use kinds::Totals;
use round::Round;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::Program;

/// How long to run what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to begin new rounds.
    pub time: Duration,
    /// Number of guest threads.
    pub threads: usize,
    /// Where all randomness comes from.
    pub seed: u64,
    /// The first round.
    pub first_round: u64,
    /// Only programs whose names begin so; `generated` or `generated:SEED` for those.
    pub program: Option<String>,
    /// Where the real programs are; without it there are only generated ones.
    pub corpus: Option<PathBuf>,
    /// Which arguments the real programs get.
    pub size: String,
    /// Where programs may write.
    pub room: PathBuf,
    /// Whether the process is to wait for a debugger when it crashes.
    pub hold: bool,
}

/// How many times the given time a run may take until all has happened that should.
const LONGEST: u32 = 5;
/// What is said of memories that threads share.
const SHARED: &str = "cells of shared memories compared";
const SHORTEST_ROUND: Duration = Duration::from_secs(1);
/// How often is said how far it is.
const REPORT: Duration = Duration::from_secs(30);

/// Runs rounds until the time is over. Prints what happens; fails if a program has noticed anything, if
/// memory grows, or if something that should happen never did.
pub fn run(options: &Options) -> Result<()> {
    let journal = Arc::new(Journal::new());
    crash::install(journal.clone(), replay(options, 0), options.hold)?;
    let mut campaign = Campaign::new(options, journal)?;
    let start = Instant::now();
    let mut number = options.first_round;
    println!("seed {}, {} guest threads", options.seed, options.threads);
    // On a machine that is busy with other things some kinds of frames need longer to come up.
    let unfinished = |campaign: &Campaign<'_>| {
        options.program.is_none()
            && start.elapsed() < LONGEST * options.time
            && !campaign.missing().is_empty()
    };
    while start.elapsed() < options.time || unfinished(&campaign) {
        let left = options.time.saturating_sub(start.elapsed()).max(SHORTEST_ROUND);
        if let Err(error) = campaign.round(number, left) {
            let last = campaign.journal.operations();
            println!("FAILED: {error:#}\nlast operations:\n{last}{}", replay(options, number));
            anyhow::bail!("round {number} failed");
        }
        number += 1;
    }
    campaign.report(start.elapsed());
    let missing = campaign.missing();
    ensure!(
        missing.is_empty() || options.program.is_some(),
        "never happened in this run: {}",
        missing.join(", ")
    );
    Ok(())
}

/// How to repeat a round.
fn replay(options: &Options, round: u64) -> String {
    let mut text = format!("to repeat: cargo xtask stress replace --seed {}", options.seed);
    text += &format!(" --threads {} --minutes 1", options.threads);
    if round > 0 {
        text += &format!(" --first-round {round}");
    }
    if let Some(program) = &options.program {
        text += &format!(" --program {program}");
    }
    text
}

struct Campaign<'a> {
    options: &'a Options,
    journal: Arc<Journal>,
    real: Vec<corpus::Program>,
    /// Real programs that have been run undisturbed.
    known: HashMap<String, Arc<Program>>,
    totals: Totals,
    memory: memory::AcrossRounds,
    rounds: u64,
    runs: u64,
    operations: u64,
    counts: BTreeMap<&'static str, u64>,
    start: Instant,
    reported: Instant,
}

impl Campaign<'_> {
    fn new(options: &Options, journal: Arc<Journal>) -> Result<Campaign<'_>> {
        let mut real = match &options.corpus {
            Some(corpus) => corpus::programs(corpus)?,
            None => Vec::new(),
        };
        if let Some(start) = &options.program {
            real.retain(|program| program.name.starts_with(start.as_str()));
            ensure!(
                !real.is_empty() || start.starts_with("generated"),
                "there is no program whose name begins with `{start}`"
            );
        }
        std::fs::create_dir_all(&options.room)?;
        Ok(Campaign {
            options,
            journal,
            real,
            known: HashMap::new(),
            totals: Totals::new(),
            memory: memory::AcrossRounds::default(),
            rounds: 0,
            runs: 0,
            operations: 0,
            counts: BTreeMap::new(),
            start: Instant::now(),
            reported: Instant::now(),
        })
    }

    /// Names of what should have happened and has not.
    fn missing(&self) -> Vec<&'static str> {
        let mut missing = self.totals.missing();
        missing.extend(self.counts.get(SHARED).is_none_or(|&cells| cells == 0).then_some(SHARED));
        missing
    }

    /// One round, which is over about when `left` is.
    fn round(&mut self, number: u64, left: Duration) -> Result<()> {
        let mut random =
            Random::new(self.options.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let wanted = self.options.program.as_deref().unwrap_or_default();
        let generated = wanted.starts_with("generated")
            || self.real.is_empty()
            || (wanted.is_empty() && random.below(3) == 0);
        let (programs, time) = if generated {
            let count = 1 + random.below(2);
            let given = wanted.strip_prefix("generated:").map(str::parse).transpose()?;
            let programs = (0..count)
                .map(|_| {
                    let seed = random.word() >> 16;
                    Ok(Arc::new(Program::generated(given.unwrap_or(seed))?))
                })
                .collect::<Result<Vec<_>>>()?;
            (programs, Duration::from_secs(2))
        } else {
            let count = 1 + usize::from(random.below(4) == 0);
            let programs = (0..count)
                .map(|_| self.real_program(random.below(self.real.len())))
                .collect::<Result<Vec<_>>>()?;
            (programs, Duration::from_secs(8))
        };
        let names: Vec<&str> = programs.iter().map(|program| &*program.name).collect();
        let names = names.join(" and ");
        let round = Round {
            seed: random.word(),
            programs: programs.clone(),
            threads: self.options.threads,
            time: time.min(left),
            room: self.options.room.clone(),
        };
        let (journal, begun) = (self.journal.clone(), Instant::now());
        let done = round
            .run(&journal, |stats| {
                if self.reported.elapsed() > REPORT {
                    self.reported = Instant::now();
                    let mut totals = self.totals.clone();
                    totals.add(stats);
                    println!("{:.0?}, running {names}:", self.start.elapsed());
                    print!("{}", totals.table());
                    println!("  {:<38} {:>14}", "resident", memory::text(memory::resident()));
                }
            })
            .with_context(|| format!("{names} in round {number}"))?;
        self.totals.add(&done.stats);
        self.rounds += 1;
        self.runs += done.runs;
        self.operations += done.operations;
        for (name, number) in done.counts.numbers().into_iter().chain([(SHARED, done.shared_cells)])
        {
            *self.counts.entry(name).or_default() += number;
        }
        let resident = self.memory.check()?;
        println!(
            "round {number:>4}  {names:<32} {:>5.1} s  {:>6} runs  {:>7} operations  {:>8} frames \
             moved  {} left",
            begun.elapsed().as_secs_f64(),
            done.runs,
            done.operations,
            done.stats.frames.moved,
            memory::text(resident)
        );
        Ok(())
    }

    fn real_program(&mut self, index: usize) -> Result<Arc<Program>> {
        let program = &self.real[index];
        if let Some(known) = self.known.get(&program.name) {
            return Ok(known.clone());
        }
        let known = Program::real(program, &self.options.size, &self.options.room.join("first"))
            .with_context(|| program.name.clone())?;
        let known = Arc::new(known);
        self.known.insert(program.name.clone(), known.clone());
        Ok(known)
    }

    fn report(&self, time: Duration) {
        println!(
            "{} rounds in {:.0?}: {} runs compared, {} operations",
            self.rounds, time, self.runs, self.operations
        );
        for (name, number) in &self.counts {
            println!("  {name:<38} {number:>14}");
        }
        print!("{}", self.totals.table());
        println!("  {:<38} {:>14}", "resident", memory::text(memory::resident()));
    }
}
