//! Statistics as text and as JSON.

use crate::command_line::StatsOutput;
use crate::ending::End;
use crate::failure::CANNOT_RUN;
use crate::output;
use midair::stats::{CompilationStats, TierStats};
use midair::{LedgerSummary, Stats, Sum};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// Writes the statistics where the user wants them. Fails with the end that the process has to take for it.
pub fn write(stats: &Stats, ledger: &LedgerSummary, target: &StatsOutput) -> Result<(), End> {
    let file = match target {
        StatsOutput::Text => return output::tell(&text(stats, ledger)),
        StatsOutput::Json(None) => return output::tell(&format!("{:#}\n", json(stats, ledger))),
        StatsOutput::Json(Some(file)) => file,
    };
    std::fs::write(file, format!("{:#}\n", json(stats, ledger))).map_err(|error| {
        let file = file.display();
        let _ = output::tell(&format!("error: cannot write the statistics to `{file}`: {error}\n"));
        End::Status(CANNOT_RUN)
    })
}

/// For people.
fn text(stats: &Stats, ledger: &LedgerSummary) -> String {
    let mut out = String::from("--- midair statistics ---\n");
    // Writing to a string cannot fail.
    let _ = write_text(&mut out, stats).and_then(|()| writeln!(out, "ledger        {ledger}"));
    out
}

fn write_text(out: &mut String, stats: &Stats) -> std::fmt::Result {
    writeln!(out, "tier                  calls         time      share")?;
    let tiers = [
        ("interpreter", &stats.interpreter),
        ("baseline", &stats.baseline),
        ("optimized", &stats.optimized),
        ("host", &stats.host),
    ];
    let whole: f64 = tiers.iter().map(|(_, tier)| tier.time.as_secs_f64()).sum();
    for (name, tier) in tiers {
        let share = if whole > 0.0 { 100.0 * tier.time.as_secs_f64() / whole } else { 0.0 };
        writeln!(out, "  {name:<12} {:>12} {:>12} {share:>9.1}%", tier.calls, time(tier.time))?;
    }
    let samples: u64 = tiers.iter().map(|(_, tier)| tier.samples).sum();
    writeln!(
        out,
        "  (calls are counted; times are processor time, sampled {samples} times, every {})",
        time(stats.sample_interval())
    )?;

    writeln!(
        out,
        "compiler              functions     failed         time     bytecode         code"
    )?;
    for (name, compilation) in [
        ("lowering", &stats.lowering),
        ("baseline", &stats.baseline_compilation),
        ("optimizing", &stats.optimized_compilation),
        ("osr entries", &stats.osr_compilation),
    ] {
        writeln!(
            out,
            "  {name:<12} {:>16} {:>10} {:>12} {:>12} {:>12}",
            compilation.count,
            compilation.failed,
            time(compilation.time),
            bytes(compilation.bytecode_bytes),
            bytes(compilation.code_bytes)
        )?;
    }
    let cache = &stats.code_cache;
    writeln!(
        out,
        "code cache    {} hits, {} misses, {} copies of {}",
        cache.hits,
        cache.misses,
        cache.entries,
        bytes(cache.bytes)
    )?;

    let entries = &stats.osr_entries;
    writeln!(
        out,
        "osr entries   {} ({} hot loops, {} returns to retired code, {} stress)",
        entries.total(),
        entries.hot_loop,
        entries.return_to_retired,
        entries.stress
    )?;
    let exits = &stats.osr_exits;
    writeln!(
        out,
        "osr exits     {} ({} retired while running, {} returns to retired code, {} stress)",
        exits.total(),
        exits.running_retired,
        exits.return_to_retired,
        exits.stress
    )?;
    let exceptions = &stats.exceptions;
    if exceptions.thrown > 0 {
        writeln!(
            out,
            "exceptions    {} thrown; handled {} in the interpreter, {} in code, {} out of code in the interpreter; \
             {} uncaught",
            exceptions.thrown,
            exceptions.handled_in_interpreter,
            exceptions.handled_in_code,
            exceptions.code_to_interpreter,
            exceptions.uncaught
        )?;
    }
    if stats.waits > 0 {
        writeln!(out, "waits         {} in shared memories", stats.waits)?;
    }
    let mixed = &stats.mixed;
    writeln!(
        out,
        "mixed tiers   {} linked, {} unlinked, {} exchanged; {} changes to machine code, {} to the interpreter",
        mixed.linked,
        mixed.unlinked,
        mixed.exchanged,
        mixed.interpreter_to_code,
        mixed.code_to_interpreter
    )?;
    let frames = &stats.frames;
    writeln!(
        out,
        "frames        {} redirected, {} moved, {} dropped",
        frames.redirected, frames.moved, frames.dropped
    )?;
    let kinds = &frames.kinds;
    writeln!(
        out,
        "  moved       {} at polls, {} in calls ({} of themselves, {} of the host), \
         {} in waits, {} into another version, {} with vectors, {} with tail calls, {} with handlers, \
         {} with shared memories",
        kinds.at_poll,
        kinds.at_call,
        kinds.recursive,
        kinds.below_host,
        kinds.at_wait,
        kinds.into_other_version,
        kinds.with_vectors,
        kinds.with_tail_calls,
        kinds.with_handlers,
        kinds.with_shared_memory
    )?;
    let code = &stats.code;
    writeln!(
        out,
        "code          {} live, {} retired, {} freed, {} peak",
        bytes(code.live),
        bytes(code.retired),
        bytes(code.freed),
        bytes(code.peak)
    )?;
    let pauses = &stats.pauses;
    writeln!(
        out,
        "pauses        {}, {} in all, the longest {}",
        pauses.count,
        time(pauses.total),
        time(pauses.longest)
    )
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.1} us", seconds * 1e6)
    }
}

fn bytes(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..0x2800 => format!("{bytes} B"),
        0x2800..0xa0_0000 => format!("{:.1} KiB", number / 1024.0),
        _ => format!("{:.1} MiB", number / (1024.0 * 1024.0)),
    }
}

/// For programs. Times are in seconds, sizes in bytes.
fn json(stats: &Stats, ledger: &LedgerSummary) -> Value {
    json!({
        "tiers": {
            "interpreter": tier_json(&stats.interpreter),
            "baseline": tier_json(&stats.baseline),
            "optimized": tier_json(&stats.optimized),
            "host": tier_json(&stats.host),
        },
        "sample_interval": stats.sample_interval().as_secs_f64(),
        "compilations": {
            "lowering": compilation_json(&stats.lowering),
            "baseline": compilation_json(&stats.baseline_compilation),
            "optimized": compilation_json(&stats.optimized_compilation),
            "osr_entries": compilation_json(&stats.osr_compilation),
        },
        "code_cache": {
            "hits": stats.code_cache.hits,
            "misses": stats.code_cache.misses,
            "entries": stats.code_cache.entries,
            "bytes": stats.code_cache.bytes,
        },
        "osr_entries": {
            "total": stats.osr_entries.total(),
            "hot_loop": stats.osr_entries.hot_loop,
            "return_to_retired": stats.osr_entries.return_to_retired,
            "stress": stats.osr_entries.stress,
        },
        "osr_exits": {
            "total": stats.osr_exits.total(),
            "running_retired": stats.osr_exits.running_retired,
            "return_to_retired": stats.osr_exits.return_to_retired,
            "stress": stats.osr_exits.stress,
        },
        "exceptions": {
            "thrown": stats.exceptions.thrown,
            "handled_in_interpreter": stats.exceptions.handled_in_interpreter,
            "handled_in_code": stats.exceptions.handled_in_code,
            "code_to_interpreter": stats.exceptions.code_to_interpreter,
            "in_other_version": stats.exceptions.in_other_version,
            "in_redirected": stats.exceptions.in_redirected,
            "through_redirected": stats.exceptions.through_redirected,
            "uncaught": stats.exceptions.uncaught,
        },
        "waits": stats.waits,
        "mixed_tiers": {
            "linked": stats.mixed.linked,
            "unlinked": stats.mixed.unlinked,
            "exchanged": stats.mixed.exchanged,
            "interpreter_to_code": stats.mixed.interpreter_to_code,
            "code_to_interpreter": stats.mixed.code_to_interpreter,
        },
        "frames": {
            "redirected": stats.frames.redirected,
            "moved": stats.frames.moved,
            "dropped": stats.frames.dropped,
        },
        "code_bytes": {
            "live": stats.code.live,
            "retired": stats.code.retired,
            "freed": stats.code.freed,
            "peak": stats.code.peak,
        },
        "ledger": {
            "modules": ledger.modules,
            "linked": sum_json(&ledger.linked),
            "osr_entries": sum_json(&ledger.osr_entries),
            "unlinked": sum_json(&ledger.unlinked),
            "old_versions": sum_json(&ledger.old_versions),
            "quarantined": sum_json(&ledger.quarantined),
            "thunk_bytes": ledger.thunk_bytes,
            "committed_bytes": ledger.committed_bytes,
            "released_bytes": ledger.released_bytes,
        },
        "pauses": {
            "count": stats.pauses.count,
            "total": stats.pauses.total.as_secs_f64(),
            "longest": stats.pauses.longest.as_secs_f64(),
        },
    })
}

fn sum_json(sum: &Sum) -> Value {
    json!({ "count": sum.count, "bytes": sum.bytes })
}

fn tier_json(tier: &TierStats) -> Value {
    json!({
        "calls": tier.calls,
        "time": tier.time.as_secs_f64(),
        "samples": tier.samples,
    })
}

fn compilation_json(compilation: &CompilationStats) -> Value {
    json!({
        "count": compilation.count,
        "failed": compilation.failed,
        "time": compilation.time.as_secs_f64(),
        "bytecode_bytes": compilation.bytecode_bytes,
        "code_bytes": compilation.code_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Stats {
        let mut stats = Stats::default();
        stats.interpreter.calls = 12;
        stats.interpreter.time = Duration::from_millis(30);
        stats.interpreter.samples = 6;
        stats.optimized.time = Duration::from_millis(90);
        stats.optimized.samples = 18;
        stats.osr_entries.hot_loop = 2;
        stats.osr_entries.stress = 3;
        stats.mixed.exchanged = 4;
        stats.frames.redirected = 7;
        stats.code.peak = 3 << 20;
        stats
    }

    #[test]
    fn text_shows_shares_sums_and_units() {
        let text = text(&example(), &LedgerSummary::default());
        assert!(text.contains("25.0%") && text.contains("75.0%"), "{text}");
        assert!(text.contains("osr entries   5 (2 hot loops"), "{text}");
        assert!(text.contains("0 linked, 0 unlinked, 4 exchanged"), "{text}");
        assert!(text.contains("7 redirected"), "{text}");
        assert!(text.contains("ledger        0 modules; 0 B linked (0)"), "{text}");
        assert!(text.contains("3072.0 KiB peak"), "{text}");
        assert!(text.contains("sampled 24 times, every 5.00 ms"), "{text}");
    }

    #[test]
    fn json_has_the_same() {
        let json = json(&example(), &LedgerSummary::default());
        assert_eq!(json["tiers"]["interpreter"]["calls"], 12);
        assert_eq!(json["tiers"]["optimized"]["time"], 0.09);
        assert_eq!(json["tiers"]["host"]["samples"], 0);
        assert_eq!(json["sample_interval"], 0.005);
        assert_eq!(json["osr_entries"]["total"], 5);
        assert_eq!(json["mixed_tiers"]["exchanged"], 4);
        assert_eq!(json["code_bytes"]["peak"], 3 << 20);
        assert_eq!(json["ledger"]["linked"]["count"], 0);
    }
}
