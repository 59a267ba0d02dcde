//! Counters of an engine, from which [`Stats`] are made.

use super::accounts::{Accounts, Activity};
use super::sampling::{self, Samples, TierSamples};
use super::stats::{CompilationStats, FrameKinds, FramesByTier, Stats, SuspendedIn, TierStats};
use super::timeline::{Recorder, What};
use crate::config::Tier;
use midair_osr::CodeHeapStats;
use midair_tiers::StoreContext;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A counter that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn duration(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

/// Work of one compiler.
#[derive(Debug, Default)]
pub(crate) struct CompilerCounters {
    pub(crate) count: Counter,
    pub(crate) failed: Counter,
    pub(crate) nanoseconds: Counter,
    pub(crate) bytecode_bytes: Counter,
    pub(crate) code_bytes: Counter,
}

impl CompilerCounters {
    pub(crate) fn succeeded(&self, time: Duration, bytecode: usize, code: usize) {
        self.count.add(1);
        self.nanoseconds.add(time.as_nanos() as u64);
        self.bytecode_bytes.add(bytecode as u64);
        self.code_bytes.add(code as u64);
    }

    fn stats(&self) -> CompilationStats {
        CompilationStats {
            count: self.count.get(),
            failed: self.failed.get(),
            time: self.nanoseconds.duration(),
            bytecode_bytes: self.bytecode_bytes.get(),
            code_bytes: self.code_bytes.get(),
        }
    }
}

/// The counters of a compiler that makes machine code, and what a guest's thread does when it runs it.
pub(crate) struct CodeCompiler<'a> {
    counters: &'a CompilerCounters,
    activity: Activity,
}

impl CodeCompiler<'_> {
    pub(crate) fn succeeded(&self, time: Duration, bytecode: usize, code: usize) {
        self.counters.succeeded(time, bytecode, code);
        // Where a compiled tier is forced, a function that is called first is compiled there and then.
        sampling::attribute_lowering(self.activity, time);
    }
}

impl Deref for CodeCompiler<'_> {
    type Target = CompilerCounters;

    fn deref(&self) -> &CompilerCounters {
        self.counters
    }
}

/// Frames by tier.
#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    interpreter: Counter,
    optimized: Counter,
}

impl TierCounters {
    /// Counts a frame; in the interpreter unless it runs code of the optimising compiler.
    fn count(&self, tier: Tier) {
        let counter = match tier {
            Tier::Optimized => &self.optimized,
            Tier::Interp | Tier::Baseline | Tier::Auto => &self.interpreter,
        };
        counter.add(1);
    }

    fn stats(&self) -> FramesByTier {
        FramesByTier { interpreter: self.interpreter.get(), optimized: self.optimized.get() }
    }
}

/// Frames that replacement moves, by kind.
#[derive(Debug, Default)]
pub(crate) struct MovedFrames {
    at_poll: Counter,
    at_call: Counter,
    recursive: Counter,
    below_host: Counter,
    at_wait: Counter,
    into_other_version: Counter,
    with_vectors: Counter,
    with_tail_calls: Counter,
    with_handlers: Counter,
    with_shared_memory: Counter,
    trapped: Counter,
    from: TierCounters,
    to: TierCounters,
}

/// A frame's way from where it was suspended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) from: Tier,
    pub(crate) at: SuspendedIn,
    /// Whether its locals or operands are vectors.
    pub(crate) has_vectors: bool,
    /// Whether its body ends in tail calls, so that it may stand in the place of another one.
    pub(crate) has_tail_calls: bool,
    /// Whether its body handles exceptions.
    pub(crate) has_handlers: bool,
    /// Whether its module has a memory that other threads may see.
    pub(crate) has_shared_memory: bool,
}

impl MovedFrames {
    /// A frame goes on in `to`.
    pub(crate) fn moved(&self, departure: Departure, to: Tier, into_other_version: bool) {
        let Departure { from, at, has_vectors, has_tail_calls, has_handlers, has_shared_memory } =
            departure;
        self.from.count(from);
        self.to.count(to);
        match at {
            SuspendedIn::Poll => self.at_poll.add(1),
            SuspendedIn::Call | SuspendedIn::OwnCall | SuspendedIn::HostCall => self.at_call.add(1),
            SuspendedIn::Wait => self.at_wait.add(1),
        }
        if at == SuspendedIn::OwnCall {
            self.recursive.add(1);
        }
        if at == SuspendedIn::HostCall {
            self.below_host.add(1);
        }
        if into_other_version {
            self.into_other_version.add(1);
        }
        if has_vectors {
            self.with_vectors.add(1);
        }
        if has_tail_calls {
            self.with_tail_calls.add(1);
        }
        if has_handlers {
            self.with_handlers.add(1);
        }
        if has_shared_memory {
            self.with_shared_memory.add(1);
        }
    }

    /// A frame does not go on, but traps.
    pub(crate) fn trapped(&self) {
        self.trapped.add(1);
    }

    /// The counts.
    pub(crate) fn stats(&self) -> FrameKinds {
        FrameKinds {
            at_poll: self.at_poll.get(),
            at_call: self.at_call.get(),
            recursive: self.recursive.get(),
            below_host: self.below_host.get(),
            at_wait: self.at_wait.get(),
            into_other_version: self.into_other_version.get(),
            with_vectors: self.with_vectors.get(),
            with_tail_calls: self.with_tail_calls.get(),
            with_handlers: self.with_handlers.get(),
            with_shared_memory: self.with_shared_memory.get(),
            trapped: self.trapped.get(),
            from: self.from.stats(),
            to: self.to.stats(),
        }
    }
}

/// All counters of an engine.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// In the order of `StoreContext::calls`.
    pub(crate) calls: [Counter; 3],
    pub(crate) host_calls: Counter,
    pub(crate) waits: Counter,
    pub(crate) samples: TierSamples,
    pub(crate) accounts: Accounts,
    /// Set where somebody wants to know what happened when.
    pub(crate) recorder: OnceLock<Arc<Recorder>>,
    pub(crate) lowering: CompilerCounters,
    pub(crate) baseline: CompilerCounters,
    pub(crate) optimized: CompilerCounters,
    pub(crate) osr: CompilerCounters,
    pub(crate) osr_entries_hot_loop: Counter,
    pub(crate) osr_entries_return: Counter,
    pub(crate) osr_entries_stress: Counter,
    pub(crate) osr_exits_running: Counter,
    pub(crate) osr_exits_return: Counter,
    pub(crate) osr_exits_stress: Counter,
    pub(crate) mixed_linked: Counter,
    pub(crate) mixed_unlinked: Counter,
    pub(crate) mixed_exchanged: Counter,
    pub(crate) mixed_interpreter_to_code: Counter,
    pub(crate) mixed_code_to_interpreter: Counter,
    pub(crate) exceptions_thrown: Counter,
    pub(crate) exceptions_interpreter: Counter,
    pub(crate) exceptions_code: Counter,
    pub(crate) exceptions_code_to_interpreter: Counter,
    pub(crate) exceptions_in_other_version: Counter,
    pub(crate) exceptions_in_redirected: Counter,
    pub(crate) exceptions_through_redirected: Counter,
    pub(crate) exceptions_uncaught: Counter,
    pub(crate) frames_redirected: Counter,
    pub(crate) frames_moved: Counter,
    pub(crate) frames_dropped: Counter,
    pub(crate) moved: MovedFrames,
    pub(crate) retired_bytes: Counter,
    pub(crate) retired_bytes_freed: Counter,
    pub(crate) pauses: Counter,
    pub(crate) pause_nanoseconds: Counter,
    pub(crate) longest_pause_nanoseconds: Counter,
}

impl Counters {
    /// The counters of a compiler.
    pub(crate) fn compiler(&self, tier: Tier, osr: bool) -> CodeCompiler<'_> {
        let (counters, activity) = match (osr, tier) {
            (true, _) => (&self.osr, Activity::Optimizing),
            (false, Tier::Baseline) => (&self.baseline, Activity::Baseline),
            (false, _) => (&self.optimized, Activity::Optimizing),
        };
        CodeCompiler { counters, activity }
    }

    /// A guest thread stood still for a replacement.
    pub(crate) fn paused(&self, time: Duration) {
        let nanoseconds = time.as_nanos() as u64;
        self.pauses.add(1);
        self.pause_nanoseconds.add(nanoseconds);
        self.longest_pause_nanoseconds.raise_to(nanoseconds);
        self.record(|| (time, What::Paused));
    }

    /// Writes something that has just happened, and how long it took, into the timeline if there is one.
    pub(crate) fn record(&self, what: impl FnOnce() -> (Duration, What)) {
        if let Some(recorder) = self.recorder.get() {
            let (time, what) = what();
            recorder.record(time, what);
        }
    }

    /// Adds the calls that a store has counted, and sets its counts to zero.
    pub(crate) fn take_calls(&self, calls: &mut [u64; 3]) {
        for (counter, calls) in self.calls.iter().zip(calls) {
            counter.add(std::mem::take(calls));
        }
    }

    /// A snapshot. Counters are read one by one, so sums need not agree while guests run.
    pub(crate) fn stats(&self, heap: CodeHeapStats) -> Stats {
        let mut stats = Stats::default();
        let calls = |tier: usize| &self.calls[tier];
        let samples = &self.samples;
        stats.interpreter = tier(calls(StoreContext::INTERPRETER_CALLS), &samples.interpreter);
        stats.baseline = tier(calls(StoreContext::BASELINE_CALLS), &samples.baseline);
        stats.optimized = tier(calls(StoreContext::OPTIMIZED_CALLS), &samples.optimized);
        stats.host = tier(&self.host_calls, &samples.host);
        stats.lowering = self.lowering.stats();
        stats.baseline_compilation = self.baseline.stats();
        stats.optimized_compilation = self.optimized.stats();
        stats.osr_compilation = self.osr.stats();
        stats.osr_entries.hot_loop = self.osr_entries_hot_loop.get();
        stats.osr_entries.return_to_retired = self.osr_entries_return.get();
        stats.osr_entries.stress = self.osr_entries_stress.get();
        stats.osr_exits.running_retired = self.osr_exits_running.get();
        stats.osr_exits.return_to_retired = self.osr_exits_return.get();
        stats.osr_exits.stress = self.osr_exits_stress.get();
        stats.mixed.linked = self.mixed_linked.get();
        stats.mixed.unlinked = self.mixed_unlinked.get();
        stats.mixed.exchanged = self.mixed_exchanged.get();
        stats.mixed.interpreter_to_code = self.mixed_interpreter_to_code.get();
        stats.mixed.code_to_interpreter = self.mixed_code_to_interpreter.get();
        stats.waits = self.waits.get();
        stats.exceptions.thrown = self.exceptions_thrown.get();
        stats.exceptions.handled_in_interpreter = self.exceptions_interpreter.get();
        stats.exceptions.handled_in_code = self.exceptions_code.get();
        stats.exceptions.code_to_interpreter = self.exceptions_code_to_interpreter.get();
        stats.exceptions.in_other_version = self.exceptions_in_other_version.get();
        stats.exceptions.in_redirected = self.exceptions_in_redirected.get();
        stats.exceptions.through_redirected = self.exceptions_through_redirected.get();
        stats.exceptions.uncaught = self.exceptions_uncaught.get();
        stats.frames.redirected = self.frames_redirected.get();
        stats.frames.moved = self.frames_moved.get();
        stats.frames.dropped = self.frames_dropped.get();
        stats.frames.kinds = self.moved.stats();
        let retired = self.retired_bytes.get().saturating_sub(self.retired_bytes_freed.get());
        stats.code.live = heap.live_bytes.saturating_sub(retired);
        stats.code.retired = retired;
        stats.code.freed = heap.freed_bytes;
        stats.code.peak = heap.peak_bytes;
        stats.pauses.count = self.pauses.get();
        stats.pauses.total = self.pause_nanoseconds.duration();
        stats.pauses.longest = self.longest_pause_nanoseconds.duration();
        stats.threads = self.accounts.stats();
        stats
    }
}

fn tier(calls: &Counter, samples: &Samples) -> TierStats {
    TierStats {
        calls: calls.get(),
        time: Duration::from_nanos(samples.nanoseconds.load(Ordering::Relaxed)),
        samples: samples.count.load(Ordering::Relaxed),
    }
}
