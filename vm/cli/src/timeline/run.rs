//! What a timeline shows of a run. Times are in seconds from the beginning of the process.

use super::labels;
use crate::wall_time::{WallTime, process_began};
use midair::Tier;
use midair::timeline::{Doing, FunctionId, Record, Timeline, What};
use std::collections::{HashMap, HashSet};

/// A run, as it is shown.
pub struct Run {
    /// What the program is called.
    pub program: String,
    /// All of it.
    pub length: f64,
    /// Those that run guests come first.
    pub threads: Vec<Thread>,
    /// What took time, by its beginning.
    pub spans: Vec<Span>,
    /// What happened at a moment, in order.
    pub marks: Vec<Mark>,
    /// What threads were doing, in order.
    pub samples: Vec<Sample>,
    /// Bytes of machine code in use or retired, after each change.
    pub code_bytes: Vec<(f64, u64)>,
    /// How many functions had come to a tier, after each that did: lowered, baseline code, optimized code.
    pub functions: [Vec<(f64, u64)>; 3],
    /// What there was no room for.
    pub dropped: u64,
    names: HashMap<FunctionId, String>,
    several_modules: bool,
}

/// A thread.
pub struct Thread {
    pub id: u32,
    pub name: String,
    pub runs_guests: bool,
}

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Span {
    pub kind: SpanKind,
    pub start: f64,
    pub end: f64,
    /// Which of the threads it happened on.
    pub thread: usize,
    pub function: Option<FunctionId>,
    /// Bytes of machine code.
    pub bytes: u64,
    /// Number of the function's version.
    pub version: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SpanKind {
    /// Up to when the first guest ran.
    Starting,
    Loading,
    Instantiating,
    Lowering,
    Baseline,
    Optimizing,
    /// Code for entering a function in the middle.
    OsrCode,
    Pause,
}

/// Something that happened at a moment.
#[derive(Clone, Debug)]
pub struct Mark {
    pub kind: MarkKind,
    pub at: f64,
    pub thread: usize,
    pub function: Option<FunctionId>,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MarkKind {
    OsrEntry,
    OsrExit,
    Replaced,
    Retired,
    Freed,
    Failed,
    /// Code was published from a copy.
    Copied,
}

/// What a thread did for some time up to a moment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: f64,
    /// Seconds of a processor.
    pub time: f64,
    pub thread: usize,
    pub doing: Doing,
}

impl Run {
    /// A run of these threads, of which nothing else is known.
    pub fn empty(program: String, length: f64, threads: Vec<Thread>) -> Run {
        Run {
            program,
            length,
            threads,
            spans: Vec::new(),
            marks: Vec::new(),
            samples: Vec::new(),
            code_bytes: Vec::new(),
            functions: Default::default(),
            dropped: 0,
            names: HashMap::new(),
            several_modules: false,
        }
    }

    /// What is to be shown of this timeline.
    pub fn new(program: String, timeline: &Timeline, wall: &WallTime) -> Run {
        let length = wall.total.as_secs_f64();
        let offset = timeline.started.saturating_duration_since(process_began()).as_secs_f64();
        let mut run = Run::empty(program, length, Vec::new());
        run.dropped = timeline.records_dropped + timeline.samples_dropped;
        for thread in &timeline.threads {
            run.threads.push(Thread {
                id: thread.thread,
                name: thread.name.clone().unwrap_or_else(|| format!("thread {}", thread.thread)),
                runs_guests: thread.runs_guests,
            });
        }
        let numbers: HashMap<u32, usize> =
            run.threads.iter().enumerate().map(|(n, thread)| (thread.id, n)).collect();
        let thread = |id: u32| numbers.get(&id).copied();
        let first = timeline.records.iter().map(|record| record.at).min();
        run.add_phases(wall, first.map_or(length, |first| offset + first.as_secs_f64()));
        for record in &timeline.records {
            if let Some(thread) = thread(record.thread) {
                run.add(record, offset, thread);
            }
        }
        run.summarize();
        run.samples = timeline
            .samples
            .iter()
            .filter_map(|sample| {
                Some(Sample {
                    at: offset + sample.at.as_secs_f64(),
                    time: sample.time.as_secs_f64(),
                    thread: thread(sample.thread)?,
                    doing: sample.doing,
                })
            })
            .collect();
        let functions: HashSet<FunctionId> =
            timeline.records.iter().filter_map(|record| record.what.function()).collect();
        let modules: HashSet<u64> = functions.iter().map(|function| function.module).collect();
        run.several_modules = modules.len() > 1;
        run.names = functions
            .into_iter()
            .filter_map(|id| Some((id, timeline.function_name(id)?.to_owned())))
            .collect();
        run
    }

    /// Makes of spans and marks, which are in the order of their ends, all that follows from them.
    pub fn summarize(&mut self) {
        self.count_functions();
        self.count_code();
        self.separate_compilations();
        self.spans.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.end.total_cmp(&a.end)));
    }

    /// What came before the first guest did anything at `first`, on the first thread that runs guests.
    fn add_phases(&mut self, wall: &WallTime, first: f64) {
        if self.threads.is_empty() {
            return;
        }
        let mut start = 0.0;
        for (kind, time) in [
            (SpanKind::Starting, wall.starting),
            (SpanKind::Loading, wall.loading),
            (SpanKind::Instantiating, wall.instantiating),
        ] {
            let end = (start + time.as_secs_f64()).min(first.max(start));
            self.spans.push(Span {
                kind,
                start,
                end,
                thread: 0,
                function: None,
                bytes: 0,
                version: 0,
            });
            start = end;
        }
    }

    fn add(&mut self, record: &Record, offset: f64, thread: usize) {
        let start = offset + record.at.as_secs_f64();
        let end = start + record.time.as_secs_f64();
        let function = record.what.function();
        let mut span = |kind, bytes: usize, version| {
            let bytes = bytes as u64;
            self.spans.push(Span { kind, start, end, thread, function, bytes, version });
        };
        let (kind, bytes) = match record.what {
            What::Lowered { .. } => return span(SpanKind::Lowering, 0, 0),
            What::Paused => return span(SpanKind::Pause, 0, 0),
            What::Compiled { tier, osr_entry, bytes, version, cached: false, .. } => {
                let kind = match (osr_entry, tier) {
                    (Some(_), _) => SpanKind::OsrCode,
                    (None, Tier::Baseline) => SpanKind::Baseline,
                    (None, _) => SpanKind::Optimizing,
                };
                return span(kind, bytes, version);
            }
            What::Compiled { bytes, .. } => (MarkKind::Copied, bytes),
            What::CompilationFailed { .. } => (MarkKind::Failed, 0),
            What::Retired { bytes, .. } => (MarkKind::Retired, bytes),
            What::Freed { bytes, .. } => (MarkKind::Freed, bytes),
            What::Replaced { .. } => (MarkKind::Replaced, 0),
            What::OsrEntry { .. } => (MarkKind::OsrEntry, 0),
            What::OsrExit { .. } => (MarkKind::OsrExit, 0),
            _ => return,
        };
        self.marks.push(Mark { kind, at: end, thread, function, bytes: bytes as u64 });
    }

    /// Counts how many functions have come to each tier. The spans are in the order of their ends.
    fn count_functions(&mut self) {
        let mut seen: [HashSet<FunctionId>; 3] = Default::default();
        for span in &self.spans {
            let tier = match span.kind {
                SpanKind::Lowering => 0,
                SpanKind::Baseline => 1,
                SpanKind::Optimizing => 2,
                _ => continue,
            };
            if span.function.is_some_and(|function| seen[tier].insert(function)) {
                self.functions[tier].push((span.end, seen[tier].len() as u64));
            }
        }
    }

    /// Adds up what was published and freed.
    fn count_code(&mut self) {
        let made = self.spans.iter().filter(|span| span.bytes > 0);
        let mut changes: Vec<(f64, i64)> = made.map(|span| (span.end, span.bytes as i64)).collect();
        changes.extend(self.marks.iter().filter_map(|mark| match mark.kind {
            MarkKind::Copied => Some((mark.at, mark.bytes as i64)),
            MarkKind::Freed => Some((mark.at, -(mark.bytes as i64))),
            _ => None,
        }));
        changes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0;
        self.code_bytes = changes
            .into_iter()
            .map(|(at, change)| {
                sum += change;
                (at, u64::try_from(sum).unwrap_or(0))
            })
            .collect();
    }

    /// A thread compiles one thing after the other. But what an update compiles is announced when it is published, all at
    /// once: then each compilation is taken to have ended when the next one began.
    fn separate_compilations(&mut self) {
        let mut next: HashMap<usize, f64> = HashMap::new();
        for span in self.spans.iter_mut().rev() {
            if matches!(span.kind, SpanKind::Baseline | SpanKind::Optimizing | SpanKind::OsrCode) {
                let before = next.entry(span.thread).or_insert(f64::INFINITY);
                let early = (span.end - *before).max(0.0);
                span.start = (span.start - early).max(0.0);
                span.end -= early;
                *before = span.start;
            }
        }
    }

    /// What a function is called.
    pub fn function(&self, id: FunctionId) -> String {
        let name = self.names.get(&id).map(|name| labels::shortened(name, 80));
        let name = name.unwrap_or_else(|| format!("func[{}]", id.function));
        if self.several_modules { format!("#{}!{name}", id.module) } else { name }
    }

    /// How many spans of a kind there are.
    pub fn count(&self, kind: SpanKind) -> usize {
        self.spans.iter().filter(|span| span.kind == kind).count()
    }

    /// How many marks of a kind there are.
    pub fn count_marks(&self, kind: MarkKind) -> usize {
        self.marks.iter().filter(|mark| mark.kind == kind).count()
    }
}
