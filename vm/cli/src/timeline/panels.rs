//! The parts of the picture, from top to bottom.

use super::labels::{bytes, count, shortened, ticks, time};
use super::pixels::{Extent, Group, grouped};
use super::run::{Mark, MarkKind, Run, Sample, Span, SpanKind};
use super::svg::Canvas;
use midair::timeline::Doing;
use std::fmt::Write;

/// Space between two panels.
const GAP: f64 = 16.0;
/// Height of a row, with the space below it.
const ROW: f64 = 13.0;
/// How many threads of a sort have rows of their own.
const MOST_ROWS: usize = 16;
/// How many functions are named of those that are drawn as one.
const MOST_NAMES: usize = 4;
/// How wide the narrowest things are drawn.
const NARROWEST: f64 = 1.5;

/// What guests' threads do, from the bottom of the stack up.
const DOING: [(Doing, &str, &str); 5] = [
    (Doing::RunningOptimized, "optimized", "optimized code"),
    (Doing::RunningBaseline, "baseline", "baseline code"),
    (Doing::Interpreting, "interpreter", "interpreter, runtime"),
    (Doing::Compiling, "lowering", "lowering and compiling"),
    (Doing::InHost, "host", "host calls"),
];

/// Processor time by what was done with it, as [`DOING`] has it, in so many parts of the whole time; as a share of each
/// part.
fn shares<'s>(
    samples: impl Iterator<Item = &'s Sample>,
    length: f64,
    parts: usize,
) -> Vec<[f64; DOING.len()]> {
    let mut shares = vec![[0.0; DOING.len()]; parts];
    let part = length / parts as f64;
    for sample in samples {
        let row = DOING.iter().position(|(doing, _, _)| *doing == sample.doing).unwrap_or(0);
        let (from, to) = ((sample.at - sample.time).max(0.0), sample.at.min(length));
        let first = (from / part) as usize;
        for (n, shares) in shares.iter_mut().enumerate().skip(first) {
            let (begin, end) = (n as f64 * part, (n + 1) as f64 * part);
            if begin >= to {
                break;
            }
            shares[row] += (to.min(end) - from.max(begin)).max(0.0) / part;
        }
    }
    shares
}

/// Where guests spend their time.
pub fn guest_time(canvas: &mut Canvas, run: &Run) {
    if run.samples.is_empty() {
        return;
    }
    let height = 96.0;
    canvas.heading("Guest time");
    // Samples are milliseconds apart.
    let parts = ((run.length / 0.01) as usize).clamp(1, 198);
    let shares = shares(run.samples.iter(), run.length, parts);
    let most = shares.iter().map(|share| share.iter().sum::<f64>()).fold(0.0, f64::max);
    // Samples are not exact: a little more than one processor is one.
    let processors = (most - 0.35).ceil().max(1.0);
    let (top, bottom) = (canvas.y, canvas.y + height);
    canvas.rect(canvas.left(), top, canvas.right() - canvas.left(), height, "back", "");
    let part = run.length / parts as f64;
    let mut below = vec![0.0; parts];
    for (row, (_, class, _)) in DOING.iter().enumerate() {
        if shares.iter().all(|share| share[row] == 0.0) {
            continue;
        }
        let y = |share: f64| bottom - height * (share / processors).min(1.0);
        let (mut upper, mut lower) = (String::new(), Vec::new());
        for (n, share) in shares.iter().enumerate() {
            let (left, right) = (canvas.x(n as f64 * part), canvas.x((n + 1) as f64 * part));
            let (from, to) = (y(below[n]), y(below[n] + share[row]));
            let sign = if n == 0 { 'M' } else { 'L' };
            let _ = write!(upper, "{sign}{left:.1} {to:.1}H{right:.1}");
            lower.push((left, right, from));
            below[n] += share[row];
        }
        for (left, right, y) in lower.into_iter().rev() {
            let _ = write!(upper, "L{right:.1} {y:.1}H{left:.1}");
        }
        canvas.path(&(upper + "Z"), class, "");
    }
    for (n, share) in shares.iter().enumerate() {
        let (begin, end) = (n as f64 * part, (n + 1) as f64 * part);
        let mut title = format!("{} to {}", time(begin), time(end));
        for ((_, _, name), share) in DOING.iter().zip(share).filter(|(_, share)| **share > 0.005) {
            let _ = write!(title, "\n{name}: {:.0} %", 100.0 * share);
        }
        let (left, right) = (canvas.x(begin), canvas.x(end));
        canvas.rect(left, top, right - left, height, "none", &title);
    }
    let most =
        if processors > 1.0 { format!("{processors} processors") } else { "100 %".to_owned() };
    canvas.sublabel(top + 8.0, &most);
    canvas.sublabel(bottom, "0");
    canvas.y = bottom + GAP;
}

/// Threads that run guests: what they run, what they make, and what happens to their frames.
pub fn guest_threads(canvas: &mut Canvas, run: &Run) {
    let guests: Vec<usize> =
        (0..run.threads.len()).filter(|&thread| run.threads[thread].runs_guests).collect();
    if guests.is_empty() {
        return;
    }
    canvas.heading(if guests.len() == 1 { "Guest" } else { "Guest threads" });
    canvas.y += 18.0;
    for &thread in guests.iter().take(MOST_ROWS) {
        guest_thread(canvas, run, thread);
    }
    more_rows(canvas, guests.len());
    canvas.y += GAP - 6.0;
}

fn more_rows(canvas: &mut Canvas, rows: usize) {
    if let Some(more @ 1..) = rows.checked_sub(MOST_ROWS) {
        let text = format!("and {}", count(more, "more thread", "more threads"));
        canvas.text(canvas.left(), canvas.y + 9.0, "sub", &text);
        canvas.y += 14.0;
    }
}

fn guest_thread(canvas: &mut Canvas, run: &Run, thread: usize) {
    canvas.label(canvas.y + 10.0, &run.threads[thread].name);
    row(canvas, "runs");
    spans(canvas, run, thread, &PHASES, ROW - 2.0);
    tiers(canvas, run, thread, canvas.y);
    canvas.y += ROW;
    for (name, kinds) in [("lowers", &LOWERING[..]), ("compiles", &COMPILING[..])] {
        if has_spans(run, thread, kinds) {
            row(canvas, name);
            spans(canvas, run, thread, kinds, ROW - 2.0);
            canvas.y += ROW;
        }
    }
    let has_marks = run.marks.iter().any(|mark| mark.thread == thread && is_drawn(mark));
    if has_marks || has_spans(run, thread, &PAUSES) {
        row(canvas, "transitions");
        spans(canvas, run, thread, &PAUSES, ROW - 2.0);
        marks(canvas, run, thread, canvas.y + 5.5);
        canvas.y += ROW;
    }
    canvas.y += 6.0;
}

fn has_spans(run: &Run, thread: usize, kinds: &[SpanKind]) -> bool {
    run.spans.iter().any(|span| span.thread == thread && kinds.contains(&span.kind))
}

/// What is behind one aspect of a thread that runs guests.
fn row(canvas: &mut Canvas, name: &str) {
    let (y, width) = (canvas.y, canvas.right() - canvas.left());
    canvas.sublabel(y + 8.5, name);
    canvas.rect(canvas.left(), y, width, ROW - 2.0, "back", "");
}

/// What a thread was found to be doing most, pixel by pixel.
fn tiers(canvas: &mut Canvas, run: &Run, thread: usize, y: f64) {
    let columns = (canvas.right() - canvas.left()) as usize;
    let samples = run.samples.iter().filter(|sample| sample.thread == thread);
    let shares = shares(samples, run.length, columns);
    // What it does mostly; nothing, if it hardly uses a processor.
    let main = |share: &[f64; DOING.len()]| {
        let most = (0..DOING.len()).max_by(|&a, &b| share[a].total_cmp(&share[b]))?;
        (share[most] > 0.2).then_some(most)
    };
    let column = run.length / columns as f64;
    let mut from = 0;
    while from < columns {
        let doing = main(&shares[from]);
        let mut to = from + 1;
        while to < columns && main(&shares[to]) == doing {
            to += 1;
        }
        if let Some(doing) = doing {
            let (begin, end) = (from as f64 * column, to as f64 * column);
            let (left, right) = (canvas.x(begin), canvas.x(end));
            let (_, class, name) = DOING[doing];
            let title = format!("{name}\n{} to {}", time(begin), time(end));
            canvas.rect(left, y, right - left, 11.0, class, &title);
        }
        from = to;
    }
}

/// The other threads: those that compile, and whoever updates the program.
pub fn other_threads(canvas: &mut Canvas, run: &Run) {
    let threads: Vec<usize> =
        (0..run.threads.len()).filter(|&thread| !run.threads[thread].runs_guests).collect();
    if threads.is_empty() {
        return;
    }
    canvas.heading("Other threads");
    canvas.y += 18.0;
    for &thread in threads.iter().take(MOST_ROWS) {
        let y = canvas.y;
        canvas.label(y + 10.0, &run.threads[thread].name);
        canvas.rect(canvas.left(), y, canvas.right() - canvas.left(), 13.0, "back", "");
        for kinds in [&LOWERING[..], &COMPILING, &PAUSES] {
            spans(canvas, run, thread, kinds, 13.0);
        }
        marks(canvas, run, thread, y + 6.5);
        canvas.y = y + 17.0;
    }
    more_rows(canvas, threads.len());
    canvas.y += GAP - 4.0;
}

/// The class, the label inside, and what it is called, for one and for many.
fn span_look(kind: SpanKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        SpanKind::Starting => ("starting", "starting", "starting"),
        SpanKind::Loading => ("loading", "loading", "loading"),
        SpanKind::Instantiating => ("instantiating", "linking, instantiating", "instantiating"),
        SpanKind::Lowering => ("lowering", "lowering", "made ready for the first call"),
        SpanKind::Baseline => ("baseline", "", "baseline code"),
        SpanKind::Optimizing => ("optimized", "", "optimized code"),
        SpanKind::OsrCode => ("osr", "", "code for an OSR entry"),
        SpanKind::Pause => ("pause", "", "pause"),
    }
}

const PHASES: [SpanKind; 3] = [SpanKind::Starting, SpanKind::Loading, SpanKind::Instantiating];
const LOWERING: [SpanKind; 1] = [SpanKind::Lowering];
const COMPILING: [SpanKind; 3] = [SpanKind::Optimizing, SpanKind::OsrCode, SpanKind::Baseline];
const PAUSES: [SpanKind; 1] = [SpanKind::Pause];

/// Draws spans of these kinds where the next row is, later kinds over earlier ones.
fn spans(canvas: &mut Canvas, run: &Run, thread: usize, kinds: &[SpanKind], height: f64) {
    let y = canvas.y;
    for &kind in kinds {
        let spans: Vec<&Span> =
            run.spans.iter().filter(|span| span.kind == kind && span.thread == thread).collect();
        let extents =
            spans.iter().map(|span| Extent { from: canvas.x(span.start), to: canvas.x(span.end) });
        for Group { extent, members } in grouped(extents.collect::<Vec<_>>(), NARROWEST) {
            let members: Vec<&Span> = members.into_iter().map(|n| spans[n]).collect();
            let (class, label, _) = span_look(kind);
            let width = extent.to - extent.from;
            // A hair's breadth between neighbours.
            let drawn = if width > 4.0 { width - 0.6 } else { width };
            canvas.rect(extent.from, y, drawn, height, class, &describe_spans(run, &members));
            let label = match members[0].function {
                Some(function) => run.function(function),
                None => label.to_owned(),
            };
            let characters = ((width - 6.0) / 5.7) as usize;
            if width > 40.0 && kind != SpanKind::Pause {
                let dark = !matches!(kind, SpanKind::Optimizing | SpanKind::Loading);
                let class = if dark { "in dark" } else { "in" };
                let (x, base) = (extent.from + 3.0, y + height / 2.0 + 3.2);
                canvas.text(x, base, class, &shortened(&label, characters));
            }
        }
    }
}

/// What is said of spans of one kind that are drawn as one.
fn describe_spans(run: &Run, spans: &[&Span]) -> String {
    let (_, _, name) = span_look(spans[0].kind);
    let all: f64 = spans.iter().map(|span| span.end - span.start).sum();
    let size: u64 = spans.iter().map(|span| span.bytes).sum();
    let mut text = match spans {
        [span] => match span.function {
            Some(function) => format!("{}\n{name}", run.function(function)),
            None => name.to_owned(),
        },
        spans => format!("{}: {name}", count(spans.len(), "time", "times")),
    };
    if size > 0 {
        let _ = write!(text, ", {}", bytes(size));
    }
    if let [span] = spans
        && span.version > 0
    {
        let _ = write!(text, ", version {}", span.version);
    }
    let _ = write!(text, "\n{}, at {}", time(all), time(spans[0].start));
    if spans.len() > 1 {
        write_names(&mut text, run, spans.iter().map(|span| span.function), spans.len());
    }
    text
}

fn write_names(
    text: &mut String,
    run: &Run,
    functions: impl Iterator<Item = Option<midair::timeline::FunctionId>>,
    number: usize,
) {
    for function in functions.flatten().take(MOST_NAMES) {
        let _ = write!(text, "\n{}", run.function(function));
    }
    if number > MOST_NAMES {
        let _ = write!(text, "\nand {} more", number - MOST_NAMES);
    }
}

/// The outline of the sign for marks of this class, around a place.
pub fn sign(class: &str, x: f64, y: f64) -> Option<String> {
    Some(match class {
        "entry" => format!("M{:.1} {:.1}l4.5 8h-9Z", x, y - 4.0),
        "exit" => format!("M{:.1} {:.1}l4.5 -8h-9Z", x, y + 4.0),
        "replaced" => format!("M{:.1} {:.1}l4.5 5l-4.5 5l-4.5 -5Z", x, y - 5.0),
        "failed" => format!(
            "M{:.1} {:.1}l2.5 2.5l2.5 -2.5l1.5 1.5l-2.5 2.5l2.5 2.5l-1.5 1.5l-2.5 -2.5l-2.5 2.5l-1.5 -1.5l2.5 \
             -2.5l-2.5 -2.5Z",
            x - 2.5,
            y - 4.0
        ),
        _ => return None,
    })
}

/// Marks that are drawn, and how. Retired and freed code is seen in the curve of bytes.
const MARKS: [(MarkKind, &str, &str); 4] = [
    (MarkKind::OsrEntry, "entry", "OSR entry"),
    (MarkKind::OsrExit, "exit", "OSR exit"),
    (MarkKind::Failed, "failed", "not compiled"),
    (MarkKind::Replaced, "replaced", "function replaced"),
];

fn is_drawn(mark: &Mark) -> bool {
    MARKS.iter().any(|(kind, _, _)| *kind == mark.kind)
}

fn marks(canvas: &mut Canvas, run: &Run, thread: usize, y: f64) {
    for (kind, class, name) in MARKS {
        let marks: Vec<&Mark> =
            run.marks.iter().filter(|mark| mark.kind == kind && mark.thread == thread).collect();
        let extents = marks.iter().map(|mark| canvas.x(mark.at));
        let extents: Vec<_> = extents.map(|x| Extent { from: x, to: x }).collect();
        // Signs are wider than what stands for a moment; they may overlap a little.
        for Group { extent, members } in grouped(extents, 3.0) {
            let first = marks[members[0]];
            let x = match members.len() {
                1 => canvas.x(first.at),
                _ => (extent.from + extent.to) / 2.0,
            };
            let mut title = match members.len() {
                1 => format!("{name}, at {}", time(first.at)),
                n => format!("{n} times: {name}, at {}", time(first.at)),
            };
            let functions = members.iter().map(|&n| marks[n].function);
            write_names(&mut title, run, functions, members.len());
            canvas.path(&sign(class, x, y).unwrap_or_default(), class, &title);
        }
    }
}

/// How many functions have come to each tier, on a logarithmic scale.
pub fn functions(canvas: &mut Canvas, run: &Run) {
    let most = run.functions.iter().filter_map(|curve| curve.last()).map(|last| last.1).max();
    let Some(most) = most else { return };
    let height = 84.0;
    canvas.heading("Functions");
    let (top, bottom) = (canvas.y, canvas.y + height);
    canvas.rect(canvas.left(), top, canvas.right() - canvas.left(), height, "back", "");
    let scale = (1.0 + most as f64).log10();
    let y = |number: f64| bottom - height * (1.0 + number).log10() / scale;
    let mut power = 1;
    while power <= most {
        canvas.sublabel(y(power as f64) + 3.0, &count(power as usize, "", ""));
        let y = y(power as f64);
        canvas.line((canvas.left(), y), (canvas.right(), y), "grid");
        power = power.saturating_mul(10);
    }
    let names = ["lowered", "with baseline code", "optimized"];
    let classes = ["interpreter", "baseline", "optimized"];
    let mut ends = Vec::new();
    for ((curve, name), class) in run.functions.iter().zip(names).zip(classes) {
        let Some(&(_, last)) = curve.last() else { continue };
        let points = curve.iter().map(|&(at, number)| (at, y(number as f64)));
        let outline = steps(canvas, points, bottom);
        let title = format!("{} {name}", count(last as usize, "function", "functions"));
        canvas.path(&outline, &format!("curve {class}"), &title);
        ends.push((y(last as f64), class, count(last as usize, "", "")));
    }
    // Numbers at the ends of curves that come together are moved apart.
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut before = top - 12.0;
    for (y, class, number) in ends {
        let y = y.max(before + 12.0);
        canvas.text(canvas.right() + 6.0, y + 4.0, class, number.trim_end());
        before = y;
    }
    canvas.y = bottom + GAP;
}

/// A curve that goes from one value to the next in steps, up to the end of time; not finer than pixels.
fn steps(canvas: &Canvas, points: impl Iterator<Item = (f64, f64)>, bottom: f64) -> String {
    let mut outline = String::new();
    let mut last: Option<(f64, f64)> = None;
    for (at, y) in points {
        let x = canvas.x(at);
        match &mut last {
            Some((place, value)) if x - *place < 0.5 => *value = y,
            Some((place, value)) => {
                let _ = write!(outline, "H{place:.1}V{value:.1}");
                (*place, *value) = (x, y);
            }
            None => {
                let _ = write!(outline, "M{x:.1} {bottom:.1}");
                last = Some((x, y));
            }
        }
    }
    if let Some((x, y)) = last {
        let _ = write!(outline, "H{x:.1}V{y:.1}H{:.1}", canvas.right());
    }
    outline
}

/// Machine code that there was.
pub fn code_bytes(canvas: &mut Canvas, run: &Run) {
    let Some(most) = run.code_bytes.iter().map(|(_, bytes)| *bytes).max().filter(|&most| most > 0)
    else {
        return;
    };
    let height = 70.0;
    canvas.heading("Machine code");
    let (top, bottom) = (canvas.y, canvas.y + height);
    canvas.rect(canvas.left(), top, canvas.right() - canvas.left(), height, "back", "");
    let unit = if most >= 2 << 20 { (1 << 20) as f64 } else { 1024.0 };
    let y = |bytes: f64| bottom - height * bytes / most as f64;
    for tick in ticks(most as f64 / unit, 3.0) {
        let name = if unit > 1024.0 { "MiB" } else { "KiB" };
        let text = if tick == 0.0 { "0".to_owned() } else { format!("{tick} {name}") };
        let y = y(tick * unit);
        canvas.sublabel(y + 3.0, &text);
        canvas.line((canvas.left(), y), (canvas.right(), y), "grid");
    }
    let points = run.code_bytes.iter().map(|&(at, bytes)| (at, y(bytes as f64)));
    let outline = steps(canvas, points, bottom);
    let title = format!("machine code published and not freed; at most {}", bytes(most));
    canvas.path(&format!("{outline}V{bottom:.1}Z"), "code", &title);
    if let Some(&(_, last)) = run.code_bytes.last() {
        let y = y(last as f64).clamp(top + 4.0, bottom - 4.0);
        canvas.text(canvas.right() + 6.0, y + 4.0, "", &bytes(last));
    }
    canvas.y = bottom + 4.0;
}
