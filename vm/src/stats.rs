//! What an engine counts: tiers, compilations, transitions, code memory, pauses.

use std::time::Duration;

/// A snapshot of an engine's counters, from the engine's creation on.
///
/// All are cheap to keep, so they are always kept; those that would slow the guest down are
/// sampled, and their documentation says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Functions run by the interpreter.
    pub interpreter: TierStats,
    /// Functions run by code of the baseline tier.
    pub baseline: TierStats,
    /// Functions run by code of the optimising tier.
    pub optimized: TierStats,
    /// Functions lowered for the interpreter.
    pub lowering: CompilationStats,
    /// Functions compiled by the baseline tier.
    pub baseline_compilation: CompilationStats,
    /// Functions compiled by the optimising tier.
    pub optimized_compilation: CompilationStats,
    /// Entry points compiled so that a suspended or looping frame can go on in machine code.
    pub osr_compilation: CompilationStats,
    /// Frames that went from the interpreter into machine code in the middle of a function.
    pub osr_entries: OsrEntries,
    /// Frames that went from machine code into the interpreter in the middle of a function.
    pub osr_exits: OsrExits,
    /// Suspended frames of retired code.
    pub frames: FrameStats,
    /// Code memory.
    pub code: CodeBytes,
    /// Times for which a guest thread stood still for a replacement.
    pub pauses: PauseStats,
}

/// Calls and time of one tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Calls of functions that ran in this tier. Sampled: the interpreter counts calls in steps of
    /// its tier-up counter, machine code in its safepoints that were taken.
    pub calls: u64,
    /// Time spent in this tier. Sampled by a timer of [`TierStats::sample_interval`], callees in
    /// other tiers and host functions not included.
    pub time: Duration,
    /// Number of samples that [`TierStats::time`] stands for.
    pub samples: u64,
    /// Time between two samples; zero if time was not sampled.
    pub sample_interval: Duration,
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

impl OsrExits {
    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.running_retired + self.return_to_retired + self.stress
    }
}

/// Suspended frames of retired code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameStats {
    /// Frames whose return address was redirected.
    pub redirected: u64,
    /// Redirected frames that were returned to and moved.
    pub moved: u64,
    /// Redirected frames that were unwound by a trap before they were returned to.
    pub dropped: u64,
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
