//! What is counted, and what has to have happened.

use midair::Stats;
use std::fmt::Write;
use std::time::Duration;

/// A number by name, and whether a run in which it stays at zero has not tested what it should.
type Kind = (&'static str, bool, fn(&Stats) -> u64);

const KINDS: &[Kind] = &[
    ("frames of machine code moved", true, |s| s.frames.moved),
    ("  running, at a poll", true, |s| s.frames.kinds.at_poll),
    ("  suspended in a call", true, |s| s.frames.kinds.at_call),
    ("  suspended in a call of themselves", true, |s| s.frames.kinds.recursive),
    ("  suspended in a call of the host", true, |s| s.frames.kinds.below_host),
    ("  suspended in a wait", true, |s| s.frames.kinds.at_wait),
    ("  with a memory of several threads", true, |s| s.frames.kinds.with_shared_memory),
    ("  into another version", true, |s| s.frames.kinds.into_other_version),
    ("  with vectors", true, |s| s.frames.kinds.with_vectors),
    ("  with tail calls", true, |s| s.frames.kinds.with_tail_calls),
    ("  with handlers", true, |s| s.frames.kinds.with_handlers),
    ("  from the interpreter", true, |s| s.frames.kinds.from.interpreter),
    ("  from optimized code", true, |s| s.frames.kinds.from.optimized),
    ("  to the interpreter", true, |s| s.frames.kinds.to.interpreter),
    ("  to optimized code", true, |s| s.frames.kinds.to.optimized),
    ("return addresses redirected", true, |s| s.frames.redirected),
    ("redirected frames unwound by a trap", false, |s| s.frames.dropped),
    ("exceptions thrown", true, |s| s.exceptions.thrown),
    ("  handled in the interpreter", true, |s| s.exceptions.handled_in_interpreter),
    ("  handled in machine code", true, |s| s.exceptions.handled_in_code),
    ("  out of code in the interpreter", true, |s| s.exceptions.code_to_interpreter),
    ("  in another version", true, |s| s.exceptions.in_other_version),
    ("  in redirected frames", true, |s| s.exceptions.in_redirected),
    ("  gone through redirected frames", true, |s| s.exceptions.through_redirected),
    ("  left to the host", true, |s| s.exceptions.uncaught),
    ("loops that entered code when hot", true, |s| s.osr_entries.hot_loop),
    ("mixed: machine code linked", true, |s| s.mixed.linked),
    ("mixed: machine code unlinked", true, |s| s.mixed.unlinked),
    ("mixed: code of the other compiler linked", true, |s| s.mixed.exchanged),
    ("mixed: from interpreter to code", true, |s| s.mixed.interpreter_to_code),
    ("mixed: from code to interpreter", true, |s| s.mixed.code_to_interpreter),
    ("functions compiled", true, |s| s.baseline_compilation.count + s.optimized_compilation.count),
    ("OSR entries compiled", true, |s| s.osr_compilation.count),
    ("code bytes freed", true, |s| s.code.freed),
    ("pauses of guests", true, |s| s.pauses.count),
];

/// Counters of many engines together.
#[derive(Clone, Debug)]
pub struct Totals {
    numbers: Vec<u64>,
    longest_pause: Duration,
}

impl Totals {
    /// All zero.
    pub fn new() -> Totals {
        Totals { numbers: vec![0; KINDS.len()], longest_pause: Duration::ZERO }
    }

    /// Adds the counters of an engine.
    pub fn add(&mut self, stats: &Stats) {
        for (number, (_, _, of)) in self.numbers.iter_mut().zip(KINDS) {
            *number += of(stats);
        }
        self.longest_pause = self.longest_pause.max(stats.pauses.longest);
    }

    /// Names of what should have happened and has not.
    pub fn missing(&self) -> Vec<&'static str> {
        let zero = self.numbers.iter().zip(KINDS).filter(|(number, kind)| kind.1 && **number == 0);
        zero.map(|(_, (name, ..))| name.trim()).collect()
    }

    /// A table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (number, (name, ..)) in self.numbers.iter().zip(KINDS) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<38} {number:>14}");
        }
        let _ = writeln!(
            text,
            "  {:<38} {:>14}",
            "longest pause",
            format!("{:.1?}", self.longest_pause)
        );
        text
    }
}

impl Default for Totals {
    fn default() -> Totals {
        Totals::new()
    }
}
