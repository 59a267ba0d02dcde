//! What the modules of an engine share to make machine code: the code heap, the compilers, the queue of
//! hot functions, counters and events.

use super::cache::CodeCache;
use super::counters::Counters;
use super::events::EventHub;
use super::module_code::ModuleCode;
use super::retire::Retirements;
use super::sampling::Timer;
use super::version::FunctionVersion;
use crate::config::Config;
use crate::config::stress::StressSpec;
use midair_osr::CodeHeap;
use midair_tiers::compile::{CompileOptions, Compiler, EntryPoint};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// Code memory, compilers and counters of one engine.
pub(crate) struct CodeSystem {
    pub(crate) heap: CodeHeap,
    pub(crate) compiler: Compiler,
    pub(crate) counters: Counters,
    pub(crate) events: EventHub,
    pub(crate) retirements: Retirements,
    pub(crate) cache: CodeCache,
    /// See [`Config::guests_redirect_frames`].
    pub(crate) guests_redirect_frames: Option<bool>,
    /// All modules, by their numbers.
    modules: Mutex<Modules>,
    /// Running where the configuration says that tiers are sampled.
    sampling: Option<Timer>,
    queue: Arc<Queue>,
    /// Compilations begun, counted only where a stress schedule asks for it.
    compilations: AtomicU64,
    /// Steps of preparing updates, counted likewise.
    update_steps: AtomicU64,
}

#[derive(Default)]
struct Modules {
    by_number: HashMap<u64, Weak<ModuleCode>>,
    last: u64,
}

/// A wish for machine code.
pub(crate) struct Job {
    pub(crate) module: Weak<ModuleCode>,
    pub(crate) version: Weak<FunctionVersion>,
    pub(crate) entry: EntryPoint,
    /// Higher is sooner: a loop that is running now comes before a function that may be called again.
    pub(crate) priority: u32,
    /// Order of arrival among equals.
    number: u64,
}

impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Job) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Job) -> Ordering {
        self.priority.cmp(&other.priority).then(other.number.cmp(&self.number))
    }
}

#[derive(Default)]
struct QueueState {
    jobs: BinaryHeap<Job>,
    next_number: u64,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// Jobs that wait for a compiler thread. Threads are started when there is work for them.
struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
    max_threads: usize,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when the engine is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl CodeSystem {
    pub(crate) fn new(config: &Config) -> anyhow::Result<CodeSystem> {
        Ok(CodeSystem {
            heap: CodeHeap::new(config.code_space)?,
            compiler: Compiler::new()?,
            counters: Counters::default(),
            events: EventHub::new(),
            retirements: Retirements::default(),
            cache: CodeCache::new(config.code_cache),
            guests_redirect_frames: config.guests_redirect_frames,
            modules: Mutex::default(),
            sampling: config.sample_tiers.then(Timer::start).transpose()?,
            compilations: AtomicU64::new(0),
            update_steps: AtomicU64::new(0),
            queue: Arc::new(Queue {
                state: Mutex::default(),
                wake: Condvar::new(),
                max_threads: config.compiler_threads.max(1),
            }),
        })
    }

    /// A compilation begins.
    ///
    /// # Panics
    /// If it is the one for which the schedule says so.
    pub(crate) fn count_compilation(&self, stress: StressSpec) {
        if let Some(number) = stress.panic {
            let begun = self.compilations.fetch_add(1, atomic::Ordering::Relaxed) + 1;
            assert!(begun != number, "compilation {number} panics, as the stress schedule says");
        }
    }

    /// A step of preparing an update has come to where it may fail. Fails if it is the one for which the
    /// schedule says so.
    pub(crate) fn update_step(&self, stress: StressSpec, what: &str) -> anyhow::Result<()> {
        if let Some(number) = stress.fail {
            let step = self.update_steps.fetch_add(1, atomic::Ordering::Relaxed) + 1;
            anyhow::ensure!(
                step != number,
                "step {number} ({what}) fails, as the stress schedule says"
            );
        }
        Ok(())
    }

    fn module_table(&self) -> MutexGuard<'_, Modules> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a module.
    pub(crate) fn next_module(&self) -> u64 {
        let mut modules = self.module_table();
        modules.last += 1;
        modules.last
    }

    /// Lists a module.
    pub(crate) fn add_module(&self, module: &Arc<ModuleCode>) {
        self.module_table().by_number.insert(module.id, Arc::downgrade(module));
    }

    /// A module is going away.
    pub(crate) fn remove_module(&self, number: u64) {
        self.module_table().by_number.remove(&number);
    }

    /// All modules. The lock is not held any more when they are dropped, for the last one to drop a module
    /// takes it off the list.
    pub(crate) fn modules(&self) -> Vec<Arc<ModuleCode>> {
        self.module_table().by_number.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether tiers are sampled.
    pub(crate) fn is_sampling(&self) -> bool {
        self.sampling.is_some()
    }

    /// Queues a wish. Returns at once.
    pub(crate) fn enqueue(
        &self,
        module: &Arc<ModuleCode>,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
        priority: u32,
    ) {
        let mut state = self.queue.state();
        state.next_number += 1;
        let number = state.next_number;
        state.jobs.push(Job {
            module: Arc::downgrade(module),
            version: Arc::downgrade(version),
            entry,
            priority,
            number,
        });
        if state.idle == 0 && state.threads < self.queue.max_threads {
            let queue = self.queue.clone();
            let thread = std::thread::Builder::new().name("midair-compiler".to_owned());
            // Large functions make deep recursions in the register allocator.
            if thread.stack_size(8 << 20).spawn(move || work(&queue)).is_ok() {
                state.threads += 1;
            }
        }
        drop(state);
        self.queue.wake.notify_one();
    }
}

impl Drop for CodeSystem {
    fn drop(&mut self) {
        // In a process that was forked from the engine's there are no such threads, and one may have held the lock.
        if !self.heap.process().is_current() {
            return;
        }
        // Nobody waits for the threads: one that is compiling finds its module gone and ends.
        let mut state = self.queue.state();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.queue.wake.notify_all();
    }
}

/// A compiler thread.
fn work(queue: &Queue) {
    while let Some(job) = queue.next() {
        let (Some(module), Some(version)) = (job.module.upgrade(), job.version.upgrade()) else {
            continue;
        };
        module.compile_and_install(&version, job.entry, CompileOptions::default());
    }
}
