//! What happened when: a record of everything that an engine does with code, and of what its guests' threads were doing.
//!
//! Events tell an embedder what happens while it happens; a timeline is for looking at a whole run afterwards. It knows
//! more of each thing than an event does: when it began and ended, and on which thread; and it has what is no event because
//! it happens to frames and not to code.

use super::accounts::SampleKind;
use super::events::Event;
use super::sampling::monotonic_time;
use super::system::CodeSystem;
use crate::config::Tier;
use crate::types::printable;
use midair_tiers::compile::EntryPoint;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A function of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FunctionId {
    /// The [number](crate::Module::number) of its module.
    pub module: u64,
    /// Its index there.
    pub function: u32,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Record {
    /// When it began, counted from the beginning of the timeline.
    pub at: Duration,
    /// How long it took; zero for what has no duration.
    pub time: Duration,
    /// The system's number of the thread that it happened on.
    pub thread: u32,
    /// What it was.
    pub what: What,
}

/// What can happen.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// A function was made ready for its first call, which means that it was validated and lowered, unless all that was
    /// done before. Where a compiled tier is forced, it was compiled too, of which there is a record of its own.
    #[non_exhaustive]
    Lowered {
        /// The function.
        function: FunctionId,
    },
    /// Machine code was made of a function, and calls go to it from the end of this record on.
    #[non_exhaustive]
    Compiled {
        /// The function.
        function: FunctionId,
        /// Number of its version.
        version: u32,
        /// Which compiler made the code.
        tier: Tier,
        /// `None`: for calls of the function; otherwise an OSR entry at the loop at this offset in its body.
        osr_entry: Option<u32>,
        /// Bytes of machine code.
        bytes: usize,
        /// It was not compiled, but published from a copy.
        cached: bool,
    },
    /// A compiler did not make code of a function.
    #[non_exhaustive]
    CompilationFailed {
        /// The function.
        function: FunctionId,
        /// Number of its version.
        version: u32,
    },
    /// Code was unlinked.
    #[non_exhaustive]
    Retired {
        /// The function.
        function: FunctionId,
        /// Number of its version.
        version: u32,
        /// Bytes of machine code.
        bytes: usize,
    },
    /// Retired code was freed.
    #[non_exhaustive]
    Freed {
        /// Bytes of machine code.
        bytes: usize,
    },
    /// A function got a new body.
    #[non_exhaustive]
    Replaced {
        /// The function.
        function: FunctionId,
        /// Number of its new version.
        version: u32,
    },
    /// A frame of the interpreter went on in machine code.
    #[non_exhaustive]
    OsrEntry {
        /// The frame's function.
        function: FunctionId,
        /// Where in its body.
        point: u32,
    },
    /// A frame of machine code went on in the interpreter.
    #[non_exhaustive]
    OsrExit {
        /// The frame's function.
        function: FunctionId,
        /// Where in its body.
        point: u32,
    },
    /// A guest stood still for a replacement.
    Paused,
}

impl What {
    /// The function that it happened to.
    pub fn function(&self) -> Option<FunctionId> {
        match *self {
            What::Lowered { function }
            | What::Compiled { function, .. }
            | What::CompilationFailed { function, .. }
            | What::Retired { function, .. }
            | What::Replaced { function, .. }
            | What::OsrEntry { function, .. }
            | What::OsrExit { function, .. } => Some(function),
            What::Freed { .. } | What::Paused => None,
        }
    }

    pub(crate) fn lowered(module: u64, function: u32) -> What {
        What::Lowered { function: FunctionId { module, function } }
    }

    pub(crate) fn osr_entry(module: u64, function: u32, point: u32) -> What {
        What::OsrEntry { function: FunctionId { module, function }, point }
    }

    pub(crate) fn osr_exit(module: u64, function: u32, point: u32) -> What {
        What::OsrExit { function: FunctionId { module, function }, point }
    }

    /// A copy of code has been published while the code itself stays until it is retired.
    pub(crate) fn copied(
        module: u64,
        function: u32,
        version: u32,
        tier: Tier,
        entry: EntryPoint,
        bytes: usize,
    ) -> What {
        let osr_entry = match entry {
            EntryPoint::Function => None,
            EntryPoint::Loop(point) => Some(point),
        };
        let function = FunctionId { module, function };
        What::Compiled { function, version, tier, osr_entry, bytes, cached: true }
    }

    /// What an event tells, and how long it took.
    fn of_event(event: &Event) -> (Duration, What) {
        let id = |module: &super::events::ModuleLabel, function: u32| FunctionId {
            module: module.number(),
            function,
        };
        match *event {
            Event::Compiled {
                ref module,
                function,
                version,
                tier,
                osr_entry,
                bytes,
                time,
                cached,
            } => {
                let function = id(module, function);
                (time, What::Compiled { function, version, tier, osr_entry, bytes, cached })
            }
            Event::CompilationFailed { ref module, function, version, .. } => {
                let function = id(module, function);
                (Duration::ZERO, What::CompilationFailed { function, version })
            }
            Event::Retired { ref module, function, version, bytes, .. } => {
                let function = id(module, function);
                (Duration::ZERO, What::Retired { function, version, bytes })
            }
            Event::Freed { bytes, .. } => (Duration::ZERO, What::Freed { bytes }),
            Event::Replaced { ref module, function, version, .. } => {
                (Duration::ZERO, What::Replaced { function: id(module, function), version })
            }
        }
    }
}

/// What a thread that runs guests was found to be doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Interpreting, or work of the runtime.
    Interpreting,
    /// Running code of the baseline tier.
    RunningBaseline,
    /// Running code of the optimising tier.
    RunningOptimized,
    /// Running a host function.
    InHost,
    /// Lowering or compiling what its guest waits for.
    Compiling,
}

/// A moment at which a thread was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// When it was, counted from the beginning of the timeline.
    pub at: Duration,
    /// The system's number of the thread.
    pub thread: u32,
    /// What it was doing.
    pub doing: Doing,
    /// The processor time that it had used since it was last looked at.
    pub time: Duration,
}

/// A thread that something happened on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TimelineThread {
    /// The system's number of the thread.
    pub thread: u32,
    /// Its name.
    pub name: Option<String>,
    /// Whether it has run guests.
    pub runs_guests: bool,
}

/// What happened in an engine: see [`Engine::timeline`](crate::Engine::timeline).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeline {
    /// When it began.
    pub started: Instant,
    /// From then until this snapshot.
    pub length: Duration,
    /// What happened, in the order in which it ended.
    pub records: Vec<Record>,
    /// Records that there was no room for: the last ones.
    pub records_dropped: u64,
    /// What threads that run guests were doing, in order of time. Empty unless
    /// [`Config::sample_tiers`](crate::Config::sample_tiers) is on.
    pub samples: Vec<Sample>,
    /// Samples that there was no room for: the last ones.
    pub samples_dropped: u64,
    /// All threads that occur, those that run guests first.
    pub threads: Vec<TimelineThread>,
    names: HashMap<FunctionId, String>,
}

impl Timeline {
    /// The name of a function that occurs, as it can be printed, if its module has one for it and is still there.
    pub fn function_name(&self, function: FunctionId) -> Option<&str> {
        self.names.get(&function).map(String::as_str)
    }
}

/// The system's number of this thread.
pub(crate) fn this_thread() -> u32 {
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            // SAFETY: a plain system call.
            number.set(unsafe { libc::gettid() } as u32);
        }
        number.get()
    })
}

/// How many records are kept: 64 MiB.
const MOST_RECORDS: usize = 1 << 20;

/// How many samples are kept: 64 MiB, of which the system gives only what is used. With four milliseconds between two
/// samples they last for hours of a processor.
const MOST_SAMPLES: usize = 1 << 22;

/// Writes a timeline.
#[derive(Debug)]
pub(crate) struct Recorder {
    started: Instant,
    /// The same moment on the clock that signal handlers may ask.
    zero: u64,
    records: Mutex<Records>,
    samples: Box<[SampleCell]>,
    /// How many samples there were, with those that there was no room for.
    sampled: AtomicUsize,
}

#[derive(Debug, Default)]
struct Records {
    list: Vec<Record>,
    dropped: u64,
    threads: HashMap<u32, Option<String>>,
}

/// A sample as the signal handler writes it.
#[derive(Debug)]
struct SampleCell {
    /// Nanoseconds since the beginning, plus one; 0 until the sample is written.
    at: AtomicU64,
    /// From the lowest bit: 3 of the kind, 22 of the thread, 39 of the nanoseconds.
    packed: AtomicU64,
}

const KIND_BITS: u32 = 3;
/// The system numbers no more threads.
const THREAD_BITS: u32 = 22;
const TIME_BITS: u32 = 64 - KIND_BITS - THREAD_BITS;

impl Recorder {
    pub(crate) fn new() -> Recorder {
        // SAFETY: zeros are integers.
        let samples = unsafe { Box::new_zeroed_slice(MOST_SAMPLES).assume_init() };
        Recorder {
            started: Instant::now(),
            zero: monotonic_time(),
            records: Mutex::default(),
            samples,
            sampled: AtomicUsize::new(0),
        }
    }

    /// Something has just happened on this thread, and took so long.
    pub(crate) fn record(&self, time: Duration, what: What) {
        let thread = this_thread();
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.list.len() >= MOST_RECORDS {
            records.dropped += 1;
            return;
        }
        records
            .threads
            .entry(thread)
            .or_insert_with(|| std::thread::current().name().map(str::to_owned));
        // With the lock held, so that the list is in order.
        let at = self.started.elapsed().saturating_sub(time);
        records.list.push(Record { at, time, thread, what });
    }

    pub(crate) fn event(&self, event: &Event) {
        let (time, what) = What::of_event(event);
        self.record(time, what);
    }

    /// A sample has been taken. Only the signal handler calls it.
    pub(crate) fn sample(&self, thread: u32, kind: SampleKind, nanoseconds: u64) {
        let number = self.sampled.fetch_add(1, Ordering::Relaxed);
        let Some(cell) = self.samples.get(number) else { return };
        let time = nanoseconds.min((1 << TIME_BITS) - 1);
        let packed = time << (KIND_BITS + THREAD_BITS)
            | u64::from(thread & ((1 << THREAD_BITS) - 1)) << KIND_BITS
            | kind as u64;
        cell.packed.store(packed, Ordering::Relaxed);
        let at = monotonic_time().saturating_sub(self.zero) + 1;
        cell.at.store(at, Ordering::Release);
    }

    fn samples(&self) -> (Vec<Sample>, u64) {
        let taken = self.sampled.load(Ordering::Relaxed);
        let kept = &self.samples[..taken.min(MOST_SAMPLES)];
        // One that is being written is left out.
        let written = kept.iter().filter_map(|cell| {
            let at = cell.at.load(Ordering::Acquire).checked_sub(1)?;
            let packed = cell.packed.load(Ordering::Relaxed);
            let kind = SampleKind::ALL[(packed & ((1 << KIND_BITS) - 1)) as usize];
            Some(Sample {
                at: Duration::from_nanos(at),
                thread: (packed >> KIND_BITS & ((1 << THREAD_BITS) - 1)) as u32,
                doing: match kind {
                    SampleKind::Interpreter => Doing::Interpreting,
                    SampleKind::Baseline => Doing::RunningBaseline,
                    SampleKind::Optimized => Doing::RunningOptimized,
                    SampleKind::Host => Doing::InHost,
                    SampleKind::Compiling => Doing::Compiling,
                },
                time: Duration::from_nanos(packed >> (KIND_BITS + THREAD_BITS)),
            })
        });
        let mut samples: Vec<Sample> = written.collect();
        samples.sort_by_key(|sample| sample.at);
        (samples, taken.saturating_sub(MOST_SAMPLES) as u64)
    }
}

impl CodeSystem {
    /// Begins the timeline, if that has not been done.
    pub(crate) fn record_timeline(&self) {
        let recorder = self.counters.recorder.get_or_init(|| Arc::new(Recorder::new()));
        self.events.record_in(recorder);
    }

    /// The timeline until now, if there is one.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        let recorder = self.counters.recorder.get()?;
        let (samples, samples_dropped) = recorder.samples();
        let records = recorder.records.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, records_dropped) = (records.list.clone(), records.dropped);
        let mut names = records.threads.clone();
        drop(records);
        let mut threads = Vec::new();
        for guest in self.counters.accounts.stats() {
            names.remove(&guest.thread);
            let (thread, name) = (guest.thread, guest.name);
            threads.push(TimelineThread { thread, name, runs_guests: true });
        }
        let mut others: Vec<_> = names.into_iter().collect();
        others.sort_unstable();
        for (thread, name) in others {
            threads.push(TimelineThread { thread, name, runs_guests: false });
        }
        Some(Timeline {
            started: recorder.started,
            length: recorder.started.elapsed(),
            names: self.function_names(&list),
            records: list,
            records_dropped,
            samples,
            samples_dropped,
            threads,
        })
    }

    fn function_names(&self, records: &[Record]) -> HashMap<FunctionId, String> {
        let modules: HashMap<u64, _> =
            self.modules().into_iter().filter_map(|code| Some((code.id, code.module()?))).collect();
        let mut names = HashMap::new();
        for id in records.iter().filter_map(|record| record.what.function()) {
            let name = modules.get(&id.module).and_then(|module| module.function_name(id.function));
            if let Some(name) = name {
                names.entry(id).or_insert_with(|| printable::function_name(name));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests;
