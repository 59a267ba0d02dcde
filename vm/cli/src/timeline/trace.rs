//! The timeline as events of Chrome's tracing, which Perfetto reads too: complete events for what took time, instants, and
//! counters.

use super::run::{Mark, MarkKind, Run, Sample, Span, SpanKind};
use midair::timeline::Doing;
use serde_json::{Value, json};
use std::io::{Result, Write};

/// Writes events as they are made: all of them together may be large.
struct Events<W> {
    out: W,
    process: u32,
    first: bool,
}

impl<W: Write> Events<W> {
    /// Writes an event of this process.
    fn event(&mut self, mut event: Value) -> Result<()> {
        event["pid"] = json!(self.process);
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut self.out, &event)?;
        Ok(())
    }

    fn metadata(&mut self, thread: u32, name: &str, arguments: Value) -> Result<()> {
        self.event(json!({ "ph": "M", "tid": thread, "name": name, "args": arguments }))
    }
}

/// Microseconds, in which the format counts.
fn microseconds(seconds: f64) -> f64 {
    // Nanoseconds are all that is known.
    (seconds * 1e9).round() / 1e3
}

/// Writes the trace.
pub fn write(run: &Run, out: impl Write) -> Result<()> {
    let mut events = Events { out, process: std::process::id(), first: true };
    events.out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    events.metadata(0, "process_name", json!({ "name": format!("midair {}", run.program) }))?;
    for (n, thread) in run.threads.iter().enumerate() {
        events.metadata(thread.id, "thread_name", json!({ "name": thread.name }))?;
        events.metadata(thread.id, "thread_sort_index", json!({ "sort_index": n }))?;
    }
    for span in &run.spans {
        events.event(complete(run, span))?;
    }
    for mark in &run.marks {
        events.event(instant(run, mark))?;
    }
    for (at, bytes) in &run.code_bytes {
        events.event(counter("machine code", *at, json!({ "bytes": bytes })))?;
    }
    for (curve, name) in run.functions.iter().zip(["lowered", "with baseline code", "optimized"]) {
        for (at, number) in curve {
            let name = format!("functions {name}");
            events.event(counter(&name, *at, json!({ "functions": number })))?;
        }
    }
    write_samples(run, &mut events)?;
    let other = json!({ "program": run.program, "dropped": run.dropped });
    writeln!(events.out, "\n],\"otherData\":{other}}}")
}

fn counter(name: &str, at: f64, values: Value) -> Value {
    json!({ "ph": "C", "name": name, "ts": microseconds(at), "args": values })
}

fn complete(run: &Run, span: &Span) -> Value {
    let (category, kind) = match span.kind {
        SpanKind::Starting => ("phase", "starting"),
        SpanKind::Loading => ("phase", "loading"),
        SpanKind::Instantiating => ("phase", "linking and instantiating"),
        SpanKind::Lowering => ("lower", "lowering"),
        SpanKind::Baseline => ("baseline", "baseline code"),
        SpanKind::Optimizing => ("optimize", "optimized code"),
        SpanKind::OsrCode => ("osr", "code for an OSR entry"),
        SpanKind::Pause => ("pause", "pause"),
    };
    let (start, end) = (microseconds(span.start), microseconds(span.end));
    let mut event = json!({
        "ph": "X",
        "cat": category,
        "name": kind,
        "ts": start,
        "dur": ((end - start) * 1e3).round() / 1e3,
        "tid": run.threads[span.thread].id,
    });
    if let Some(function) = span.function {
        event["name"] = json!(run.function(function));
        event["args"] = json!({
            "what": kind,
            "module": function.module,
            "function": function.function,
            "version": span.version,
        });
        if span.bytes > 0 {
            event["args"]["bytes"] = json!(span.bytes);
        }
    }
    event
}

fn instant(run: &Run, mark: &Mark) -> Value {
    let (category, kind) = match mark.kind {
        MarkKind::OsrEntry => ("osr", "OSR entry"),
        MarkKind::OsrExit => ("osr", "OSR exit"),
        MarkKind::Replaced => ("replace", "replaced"),
        MarkKind::Retired => ("code", "retired"),
        MarkKind::Freed => ("code", "freed"),
        MarkKind::Failed => ("optimize", "not compiled"),
        MarkKind::Copied => ("code", "published from a copy"),
    };
    let mut event = json!({
        "ph": "i",
        "s": "t",
        "cat": category,
        "name": kind,
        "ts": microseconds(mark.at),
        "tid": run.threads[mark.thread].id,
        "args": {},
    });
    if let Some(function) = mark.function {
        event["name"] = json!(format!("{kind}: {}", run.function(function)));
        event["args"]["function"] = json!(function.function);
        event["args"]["module"] = json!(function.module);
    }
    if mark.bytes > 0 {
        event["args"]["bytes"] = json!(mark.bytes);
    }
    event
}

/// For each thread that runs guests, for how much of a processor it did what, from sample to sample.
fn write_samples(run: &Run, events: &mut Events<impl Write>) -> Result<()> {
    for (n, thread) in run.threads.iter().enumerate() {
        let name = format!("{} runs", thread.name);
        // Several threads may have one name.
        let id = thread.id.to_string();
        let mut before = 0.0f64;
        for sample in run.samples.iter().filter(|sample| sample.thread == n) {
            let start = (sample.at - sample.time).max(before);
            let mut event = counter(&name, start, shares(sample, start));
            event["id"] = json!(id);
            events.event(event)?;
            before = sample.at;
        }
        if before > 0.0 {
            let mut event = counter(&name, before, none());
            event["id"] = json!(id);
            events.event(event)?;
        }
    }
    Ok(())
}

fn none() -> Value {
    json!({ "interpreter": 0, "baseline": 0, "optimized": 0, "host": 0, "compiling": 0 })
}

fn shares(sample: &Sample, start: f64) -> Value {
    let share = (sample.time / (sample.at - start).max(1e-9)).min(1.0);
    let mut shares = none();
    let series = match sample.doing {
        Doing::Interpreting => "interpreter",
        Doing::RunningBaseline => "baseline",
        Doing::RunningOptimized => "optimized",
        Doing::InHost => "host",
        Doing::Compiling => "compiling",
    };
    shares[series] = json!((share * 100.0).round());
    shares
}
