//! Statistics as text and as JSON.

use crate::command_line::{RunOptions, StatsOutput};
use crate::ending::End;
use crate::failure::CANNOT_RUN;
use crate::output;
use crate::timeline::{self, Format};
use crate::wall_time::{Loading, WallTime};
use anyhow::Context as _;
use midair::stats::{CompilationStats, TierStats};
use midair::{Engine, LedgerSummary, Result, Stats, Sum};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Where the statistics of a run go, in what form.
pub struct Outputs {
    /// What a timeline calls the program.
    program: String,
    outputs: Vec<(StatsOutput, Option<File>)>,
}

impl Outputs {
    /// Opens the files that are wanted. It is better to know now that they cannot be written. What they hold stays until
    /// the run has ended.
    pub fn open(options: &RunOptions) -> Result<Outputs> {
        let open = |output: &StatsOutput| {
            let file = match output {
                StatsOutput::Text | StatsOutput::Json(None) => None,
                StatsOutput::Json(Some(file)) | StatsOutput::Timeline(_, file) => {
                    let opened =
                        File::options().write(true).create(true).truncate(false).open(file);
                    Some(opened.with_context(|| cannot_write(output, file))?)
                }
            };
            Ok((output.clone(), file))
        };
        let program = options.file();
        let program = program.file_name().unwrap_or(program.as_os_str());
        Ok(Outputs {
            program: midair::PrintableName(&program.to_string_lossy()).to_string(),
            outputs: options.stats.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// Whether one of them is a timeline.
    pub fn have_timeline(&self) -> bool {
        self.outputs.iter().any(|(output, _)| matches!(output, StatsOutput::Timeline(..)))
    }

    /// Writes the statistics. Fails with the end that the process has to take for it.
    pub fn write(&self, engine: &Engine, loading: &Loading) -> std::result::Result<(), End> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        let stats = engine.stats();
        let wall = WallTime::until_now(&stats, loading);
        let timeline = self.have_timeline().then(|| engine.timeline()).flatten();
        let run =
            timeline.map(|timeline| timeline::Run::new(self.program.clone(), &timeline, &wall));
        let ledger = engine.code_ledger().summary();
        let mut result = Ok(());
        for (output, file) in &self.outputs {
            let written = match (output, file) {
                (StatsOutput::Text, _) => output::tell(&text(&stats, &ledger, &wall)),
                (StatsOutput::Json(None), _) => {
                    output::tell(&format!("{:#}\n", json(&stats, &ledger, &wall)))
                }
                (StatsOutput::Json(Some(path)), Some(file)) => {
                    let text = format!("{:#}\n", json(&stats, &ledger, &wall));
                    into_file(output, path, file, |mut file| file.write_all(text.as_bytes()))
                }
                (StatsOutput::Timeline(format, path), Some(file)) => {
                    let run = run.as_ref().expect("made if there is a timeline to write");
                    into_file(output, path, file, |file| timeline::write(run, *format, file))
                }
                (StatsOutput::Json(Some(_)) | StatsOutput::Timeline(..), None) => {
                    unreachable!("their files have been opened")
                }
            };
            result = result.and(written);
        }
        result
    }
}

fn cannot_write(output: &StatsOutput, file: &Path) -> String {
    let what = match output {
        StatsOutput::Timeline(Format::Svg | Format::Trace, _) => "timeline",
        StatsOutput::Text | StatsOutput::Json(_) => "statistics",
    };
    format!("cannot write the {what} to `{}`", file.display())
}

/// Writes a file in place of what it held.
fn into_file(
    output: &StatsOutput,
    path: &Path,
    file: &File,
    write: impl FnOnce(&File) -> std::io::Result<()>,
) -> std::result::Result<(), End> {
    // What is no file in a file system has no length.
    let _ = file.set_len(0);
    write(file).map_err(|error| {
        let what = cannot_write(output, path);
        let _ = output::tell(&format!("error: {what}: {error}\n"));
        End::Status(CANNOT_RUN)
    })
}

/// For people.
fn text(stats: &Stats, ledger: &LedgerSummary, wall: &WallTime) -> String {
    let mut out = String::from("--- midair statistics ---\n");
    // Writing to a string cannot fail.
    let _ = write_wall_time(&mut out, wall)
        .and_then(|()| write_text(&mut out, stats))
        .and_then(|()| writeln!(out, "ledger        {ledger}"));
    out
}

fn write_wall_time(out: &mut String, wall: &WallTime) -> std::fmt::Result {
    writeln!(out, "wall time                        {:>12}      share", time(wall.total))?;
    let total = wall.total.as_secs_f64();
    for (_, name, spent) in wall.rows().into_iter().filter(|(_, _, spent)| !spent.is_zero()) {
        let share = 100.0 * spent.as_secs_f64() / total;
        writeln!(out, "  {name:<30} {:>12} {share:>9.1}%", time(spent))?;
    }
    if !wall.others.is_empty() {
        let all = wall.others.iter().map(|thread| thread.wall_time() - thread.outside).sum();
        writeln!(
            out,
            "  (of the first thread; {} others have run guests for {} in all)",
            wall.others.len(),
            time(all)
        )?;
    }
    Ok(())
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
fn json(stats: &Stats, ledger: &LedgerSummary, wall: &WallTime) -> Value {
    json!({
        "wall_time": wall_time_json(wall),
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

fn wall_time_json(wall: &WallTime) -> Value {
    let mut json = Map::new();
    json.insert("total".to_owned(), json!(wall.total.as_secs_f64()));
    for (name, _, spent) in wall.rows() {
        json.insert(name.to_owned(), json!(spent.as_secs_f64()));
    }
    Value::Object(json)
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

    fn wall() -> WallTime {
        WallTime {
            total: Duration::from_millis(200),
            starting: Duration::from_millis(10),
            ..WallTime::default()
        }
    }

    #[test]
    fn text_shows_shares_sums_and_units() {
        let text = text(&example(), &LedgerSummary::default(), &wall());
        assert!(text.contains("25.0%") && text.contains("75.0%"), "{text}");
        assert!(text.contains("osr entries   5 (2 hot loops"), "{text}");
        assert!(text.contains("0 linked, 0 unlinked, 4 exchanged"), "{text}");
        assert!(text.contains("7 redirected"), "{text}");
        assert!(text.contains("ledger        0 modules; 0 B linked (0)"), "{text}");
        assert!(text.contains("3072.0 KiB peak"), "{text}");
        assert!(text.contains("200.00 ms      share"), "{text}");
        assert!(text.contains("starting") && text.contains("5.0%"), "{text}");
        assert!(!text.contains("waiting in memories"), "{text}");
        assert!(text.contains("sampled 24 times, every 5.00 ms"), "{text}");
    }

    #[test]
    fn json_has_the_same() {
        let json = json(&example(), &LedgerSummary::default(), &wall());
        assert_eq!(json["tiers"]["interpreter"]["calls"], 12);
        assert_eq!(json["tiers"]["optimized"]["time"], 0.09);
        assert_eq!(json["tiers"]["host"]["samples"], 0);
        assert_eq!(json["sample_interval"], 0.005);
        assert_eq!(json["osr_entries"]["total"], 5);
        assert_eq!(json["mixed_tiers"]["exchanged"], 4);
        assert_eq!(json["code_bytes"]["peak"], 3 << 20);
        assert_eq!(json["ledger"]["linked"]["count"], 0);
        assert_eq!(json["wall_time"]["total"], 0.2);
        assert_eq!(json["wall_time"]["starting"], 0.01);
    }
}
