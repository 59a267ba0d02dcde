//! What an engine counts: tiers, compilations, transitions, code memory, pauses.

pub use midair_osr::CodeHeapStats;
use std::fmt;
use std::time::Duration;

/// A snapshot of an engine's counters, from the engine's creation on.
///
/// They are cheap to keep, so they are always kept, but for calls and times of tiers, which are all zero
/// unless [`Config::sample_tiers`](crate::Config::sample_tiers) is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Functions run by the interpreter; its time includes all of the runtime, such as transitions and growing memories,
    /// but not lowering, and not compilations that the guest waits for.
    pub interpreter: TierStats,
    /// Functions run by code of the baseline tier.
    pub baseline: TierStats,
    /// Functions run by code of the optimising tier.
    pub optimized: TierStats,
    /// Host functions that guests have called.
    pub host: TierStats,
    /// Functions lowered for the interpreter.
    pub lowering: CompilationStats,
    /// Functions compiled by the baseline tier.
    pub baseline_compilation: CompilationStats,
    /// Functions compiled by the optimising tier.
    pub optimized_compilation: CompilationStats,
    /// Entry points compiled so that a suspended or looping frame can go on in machine code.
    pub osr_compilation: CompilationStats,
    /// Copies of replaced machine code: see [`Config::code_cache`](crate::Config::code_cache).
    pub code_cache: CodeCacheStats,
    /// Frames that went from the interpreter into machine code in the middle of a function.
    pub osr_entries: OsrEntries,
    /// Frames that went from machine code into the interpreter in the middle of a function.
    pub osr_exits: OsrExits,
    /// Exceptions of guests.
    pub exceptions: ExceptionStats,
    /// Waits of guests in shared memories: those that did not find what they expected are counted as well.
    pub waits: u64,
    /// What a stress schedule of [mixed tiers](crate::StressSpec::mixed) has done.
    pub mixed: MixedTierStats,
    /// Suspended frames of retired code and of replaced functions.
    pub frames: FrameStats,
    /// Code memory.
    pub code: CodeBytes,
    /// Times for which a guest thread stood still for a replacement.
    pub pauses: PauseStats,
    /// Where the time of each thread went that has run guests, in the order in which they first did. Kept only where
    /// [`Config::sample_tiers`](crate::Config::sample_tiers) is on, and for the first 4096 threads.
    pub threads: Vec<ThreadStats>,
}

/// Calls and time of one tier. Kept only where
/// [`Config::sample_tiers`](crate::Config::sample_tiers) is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Calls of functions whose bodies began in this tier. Every one is counted. A store adds its guests'
    /// calls when its outermost call of a guest ends.
    pub calls: u64,
    /// Processor time spent in this tier, callees in other tiers not included. Sampled: each sample
    /// stands for the processor time that its thread has used since the sample before.
    pub time: Duration,
    /// Number of samples that [`TierStats::time`] is made of.
    pub samples: u64,
}

/// Where the time of one thread went, from the first guest that it ran until now, or until it ended.
///
/// Wall time is measured: what a thread does is always exactly one of these. Processor time is sampled, as that of
/// [`TierStats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// The system's number of the thread.
    pub thread: u32,
    /// Its name.
    pub name: Option<String>,
    /// Wall time during which no guest was on its stack.
    pub outside: Duration,
    /// Wall time of guests' own code, in whatever tier, transitions and pauses included.
    pub guest: Duration,
    /// Wall time of host functions that guests have called.
    pub host: Duration,
    /// Wall time of waits in shared memories.
    pub memory_waits: Duration,
    /// Wall time of lowering functions when they were first called.
    pub lowering: Duration,
    /// Wall time of making baseline code of functions.
    pub baseline_compilation: Duration,
    /// Wall time of making code of the optimising tier, OSR entries included: only what was not left to compiler threads.
    pub optimized_compilation: Duration,
    /// Processor time.
    pub sampled: SampledTime,
}

impl ThreadStats {
    /// All wall time.
    pub fn wall_time(&self) -> Duration {
        self.outside
            + self.guest
            + self.host
            + self.memory_waits
            + self.lowering
            + self.baseline_compilation
            + self.optimized_compilation
    }
}

/// Processor time of a thread by what samples have found it to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampledTime {
    /// The interpreter, and the runtime.
    pub interpreter: Duration,
    /// Code of the baseline tier.
    pub baseline: Duration,
    /// Code of the optimising tier.
    pub optimized: Duration,
    /// Host functions.
    pub host: Duration,
    /// Lowering and compiling.
    pub compiling: Duration,
}

/// Compilations by one compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompilationStats {
    /// Functions compiled.
    pub count: u64,
    /// Functions that could not be compiled and stay in the tier below.
    pub failed: u64,
    /// Time of the compiling threads.
    pub time: Duration,
    /// Bytes of bytecode taken in.
    pub bytecode_bytes: u64,
    /// Bytes of code made.
    pub code_bytes: u64,
}

/// Copies of replaced machine code, for when the same is asked for again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeCacheStats {
    /// Code that was published from a copy instead of being compiled. It is not counted as compiled.
    pub hits: u64,
    /// Compilations of which there was no copy.
    pub misses: u64,
    /// Copies that are kept now.
    pub entries: u64,
    /// Bytes of memory that they take.
    pub bytes: u64,
}

/// Entries into machine code in the middle of a function, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OsrEntries {
    /// A loop became hot.
    pub hot_loop: u64,
    /// A frame whose old code was retired went on in new code when it was returned to.
    pub return_to_retired: u64,
    /// A stress schedule asked for it.
    pub stress: u64,
}

impl Stats {
    /// Processor time between two samples of [`TierStats::time`], on average: how fine it is. Zero if there
    /// are no samples.
    pub fn sample_interval(&self) -> Duration {
        let tiers = [&self.interpreter, &self.baseline, &self.optimized, &self.host];
        let time: Duration = tiers.iter().map(|tier| tier.time).sum();
        let samples: u64 = tiers.iter().map(|tier| tier.samples).sum();
        Duration::from_nanos((time.as_nanos() as u64).checked_div(samples).unwrap_or(0))
    }
}

impl OsrEntries {
    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.hot_loop + self.return_to_retired + self.stress
    }
}

/// Exits from machine code in the middle of a function, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OsrExits {
    /// The running code was retired, seen at a safepoint of its own.
    pub running_retired: u64,
    /// A frame whose old code was retired went on in the interpreter when it was returned to.
    pub return_to_retired: u64,
    /// A stress schedule asked for it.
    pub stress: u64,
}

/// Exceptions that guests and host functions have thrown, and frames that have handled them. What is thrown again
/// counts again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExceptionStats {
    /// Exceptions thrown.
    pub thrown: u64,
    /// Frames of the interpreter that have handled one.
    pub handled_in_interpreter: u64,
    /// Frames of machine code that have gone on in machine code at a handler.
    pub handled_in_code: u64,
    /// Frames of machine code that have gone on in the interpreter at a handler.
    pub code_to_interpreter: u64,
    /// Of frames of machine code that have handled one, those that have done it in another version of their function,
    /// which had been replaced.
    pub in_other_version: u64,
    /// Of these frames, those whose code had been retired while they waited.
    pub in_redirected: u64,
    /// Frames whose code had been retired while they waited, and that an exception has gone through.
    pub through_redirected: u64,
    /// Exceptions that a call from the host has ended with.
    pub uncaught: u64,
}

impl OsrExits {
    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.running_retired + self.return_to_retired + self.stress
    }
}

/// What a stress schedule of [mixed tiers](crate::StressSpec::mixed) has done. All zero without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MixedTierStats {
    /// Functions that went from the interpreter to machine code between two calls.
    pub linked: u64,
    /// Functions that went from machine code to the interpreter between two calls.
    pub unlinked: u64,
    /// Functions that went from optimised code to code that is not optimised, or the reverse, between two calls.
    pub exchanged: u64,
    /// How often a guest was in machine code at a safepoint, and had been in the interpreter at the one before:
    /// a call, a return, or a frame that moved.
    pub interpreter_to_code: u64,
    /// The reverse.
    pub code_to_interpreter: u64,
}

/// Suspended frames of retired code and of replaced functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameStats {
    /// Frames whose return address was redirected.
    pub redirected: u64,
    /// Redirected frames that were returned to and moved.
    pub moved: u64,
    /// Redirected frames that were unwound by a trap before they were returned to.
    pub dropped: u64,
    /// Frames that were moved, by kind.
    pub kinds: FrameKinds,
}

/// Frames that were moved because their code was retired, their function replaced, or a stress schedule
/// wanted it, by kind. They are counted when they go on; each is counted under several of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameKinds {
    /// Innermost frames, which were running and left at a poll.
    pub at_poll: u64,
    /// Frames that were suspended in a call.
    pub at_call: u64,
    /// Of those, the ones that were suspended in a direct call of their own function.
    pub recursive: u64,
    /// Of those, the ones that were suspended in a call of an imported function, so that host frames lay
    /// above them.
    pub below_host: u64,
    /// Frames that were suspended in a `memory.atomic.wait`.
    pub at_wait: u64,
    /// Frames that went on in another version of their function.
    pub into_other_version: u64,
    /// Frames with vectors among their locals or operands.
    pub with_vectors: u64,
    /// Frames of functions that end in tail calls: links of chains. Of machine code only those are known whose function has
    /// been interpreted too.
    pub with_tail_calls: u64,
    /// Of functions that handle exceptions.
    pub with_handlers: u64,
    /// Of modules with a memory that several threads may share.
    pub with_shared_memory: u64,
    /// Frames that did not go on but trapped, because the policy of their function said so; they are counted
    /// nowhere else here.
    pub trapped: u64,
    /// The tiers that the frames came from.
    pub from: FramesByTier,
    /// The tiers that they went on in.
    pub to: FramesByTier,
}

/// Where a frame is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum SuspendedIn {
    /// In nothing: it runs, and has stopped at a poll (the function's entry or a loop).
    Poll,
    /// In a call of another function, or through a table.
    Call,
    /// In a direct call of its own function.
    OwnCall,
    /// In a call of an imported function, so that host frames may lie above it.
    HostCall,
    /// In a `memory.atomic.wait`.
    Wait,
}

impl fmt::Display for SuspendedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SuspendedIn::Poll => "running",
            SuspendedIn::Call => "in a call",
            SuspendedIn::OwnCall => "in a call of itself",
            SuspendedIn::HostCall => "in a call of the host",
            SuspendedIn::Wait => "in a wait",
        })
    }
}

/// Numbers of frames by tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FramesByTier {
    /// The interpreter, whose frames baseline code runs on.
    pub interpreter: u64,
    /// Machine code of the optimising compiler.
    pub optimized: u64,
}

/// Bytes of machine code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeBytes {
    /// In use now.
    pub live: u64,
    /// Retired and not yet freed.
    pub retired: u64,
    /// Freed since the engine's creation.
    pub freed: u64,
    /// Most bytes that were live and retired together at any time.
    pub peak: u64,
}

/// Times for which a guest thread stood still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PauseStats {
    /// Number of pauses.
    pub count: u64,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}
