//! The timeline as a picture.

use super::labels::{count, escaped, shortened, ticks, time};
use super::panels;
use super::run::{MarkKind, Run, SpanKind};
use std::fmt::Write;

/// Pixels from left to right.
const WIDTH: f64 = 1200.0;
/// Where the scale of time begins and ends.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 1140.0;
const MARGIN: f64 = 20.0;

/// How things look. The colours can be told apart by people who see fewer of them.
const STYLE: &str = "
text{font-family:'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;font-size:11px;fill:#333}
.title{font-size:17px;font-weight:bold;fill:#111}
.sub{fill:#555}
.small{font-size:9px;fill:#777}
.head{font-weight:bold;fill:#222}
.in{font-size:9px;fill:#fff}
.dark{fill:#333}
.end{text-anchor:end}
.mid{text-anchor:middle}
.grid{stroke:#e4e4e4;stroke-width:1}
.line{stroke:#bbb;stroke-width:1}
.back{fill:#f7f7f7}
.none{fill:#fff;fill-opacity:0}
.interpreter{fill:#e69f00}
.baseline{fill:#4fa8dc}
.optimized{fill:#00936a}
.host{fill:#a6a6a6}
.lowering{fill:#cc79a7}
.osr{fill:#7cc9a9}
.starting{fill:#d0d4da}
.loading{fill:#9aa5b4}
.instantiating{fill:#bcc5d0}
.pause{fill:#d5332a}
.failed{fill:#d5332a}
.replaced{fill:#6a3d9a}
.entry{fill:#00563e}
.exit{fill:#b35806}
.code{fill:#8a7fb8;fill-opacity:.35;stroke:#5e529a;stroke-width:1.2}
.curve{fill:none;stroke-width:1.6}
.curve.interpreter{stroke:#e69f00}
.curve.baseline{stroke:#4fa8dc}
.curve.optimized{stroke:#00936a}
text.interpreter{fill:#a87400}
text.baseline{fill:#2c7fb0}
text.optimized{fill:#00734f}
";

/// What is drawn, from top to bottom.
pub struct Canvas {
    out: String,
    /// The whole of the time.
    length: f64,
    /// Where the next part begins.
    pub y: f64,
}

impl Canvas {
    /// Where a moment is.
    pub fn x(&self, moment: f64) -> f64 {
        LEFT + (moment / self.length).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// Where the scale of time begins.
    pub fn left(&self) -> f64 {
        LEFT
    }

    /// Where it ends.
    pub fn right(&self) -> f64 {
        RIGHT
    }

    /// A rectangle, with what is said of it if a title is given.
    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str, title: &str) {
        let _ = write!(
            self.out,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="{class}""#
        );
        self.end("rect", title);
    }

    /// An outline in SVG's own notation.
    pub fn path(&mut self, outline: &str, class: &str, title: &str) {
        let _ = write!(self.out, r#"<path d="{outline}" class="{class}""#);
        self.end("path", title);
    }

    fn end(&mut self, element: &str, title: &str) {
        let _ = match title {
            "" => writeln!(self.out, "/>"),
            title => writeln!(self.out, "><title>{}</title></{element}>", escaped(title)),
        };
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.out,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        );
    }

    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(self.out, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#);
    }

    /// The heading of a panel.
    pub fn heading(&mut self, text: &str) {
        self.text(MARGIN, self.y + 11.0, "head", text);
    }

    /// What a row is called.
    pub fn label(&mut self, y: f64, text: &str) {
        self.text(MARGIN, y, "", &shortened(text, 15));
    }

    /// What a part of a row is called.
    pub fn sublabel(&mut self, y: f64, text: &str) {
        self.text(LEFT - 8.0, y, "small end", text);
    }
}

/// The whole picture.
pub fn picture(run: &Run) -> String {
    let mut canvas = Canvas { out: String::new(), length: run.length.max(1e-9), y: 0.0 };
    header(&mut canvas, run);
    legend(&mut canvas, run);
    let top = canvas.y;
    // Behind everything else, but it has to be known how far down it goes.
    let head = std::mem::take(&mut canvas.out);
    panels::guest_time(&mut canvas, run);
    panels::guest_threads(&mut canvas, run);
    panels::other_threads(&mut canvas, run);
    panels::functions(&mut canvas, run);
    panels::code_bytes(&mut canvas, run);
    let bottom = canvas.y;
    let body = std::mem::take(&mut canvas.out);
    scale_of_time(&mut canvas, top, bottom);
    let scale = canvas.out;
    let height = bottom + 34.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {WIDTH} {height:.0}\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n{head}{scale}{body}</svg>\n",
        escaped(&format!("{}: timeline by Midair", run.program)),
    )
}

fn header(canvas: &mut Canvas, run: &Run) {
    let title = format!("{}: {}", shortened(&run.program, 80), time(run.length));
    canvas.text(MARGIN, 32.0, "title", &title);
    let [lowered, baseline, optimized] = run.functions.each_ref().map(Vec::len);
    let mut parts = vec![
        count(lowered, "function lowered", "functions lowered"),
        format!("{} with baseline code", count(baseline, "", "").trim_end()),
        format!("{} optimized", count(optimized, "", "").trim_end()),
    ];
    for (kind, one, many) in [
        (MarkKind::OsrEntry, "OSR entry", "OSR entries"),
        (MarkKind::OsrExit, "OSR exit", "OSR exits"),
        (MarkKind::Replaced, "replacement", "replacements"),
    ] {
        let number = run.count_marks(kind);
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    let pauses = run.spans.iter().filter(|span| span.kind == SpanKind::Pause);
    let longest = pauses.map(|span| span.end - span.start).fold(0.0, f64::max);
    if longest > 0.0 {
        let pauses = count(run.count(SpanKind::Pause), "pause", "pauses");
        parts.push(format!("{pauses}, the longest {}", time(longest)));
    }
    if run.dropped > 0 {
        parts.push(format!(
            "the last {} are missing",
            count(run.dropped as usize, "record", "records")
        ));
    }
    canvas.text(MARGIN, 52.0, "sub", &parts.join(" \u{b7} "));
    canvas.y = 64.0;
}

/// Says what the colours and signs mean of those that occur.
fn legend(canvas: &mut Canvas, run: &Run) {
    let has = |kind| run.spans.iter().any(|span| span.kind == kind);
    let marks = |kind| run.marks.iter().any(|mark| mark.kind == kind);
    let items = [
        (true, "interpreter", "interpreter, runtime"),
        (true, "baseline", "baseline code: running, being made"),
        (true, "optimized", "optimized code: running, being made"),
        (has(SpanKind::OsrCode), "osr", "code for OSR entries being made"),
        (true, "host", "host calls"),
        (true, "lowering", "lowering, and compiling that is waited for"),
        (has(SpanKind::Pause), "pause", "pause"),
        (marks(MarkKind::OsrEntry), "entry", "OSR entry"),
        (marks(MarkKind::OsrExit), "exit", "OSR exit"),
        (marks(MarkKind::Replaced), "replaced", "function replaced"),
        (marks(MarkKind::Failed), "failed", "not compiled"),
    ];
    let (mut x, mut y) = (MARGIN, canvas.y + 10.0);
    for (_, class, text) in items.into_iter().filter(|(occurs, _, _)| *occurs) {
        let width = 16.0 + 6.1 * text.chars().count() as f64 + 16.0;
        if x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + 18.0);
        }
        match panels::sign(class, x + 5.0, y - 4.0) {
            Some(outline) => canvas.path(&outline, class, ""),
            None => canvas.rect(x, y - 9.0, 10.0, 10.0, class, ""),
        }
        canvas.text(x + 16.0, y, "", text);
        x += width;
    }
    canvas.y = y + 18.0;
}

fn scale_of_time(canvas: &mut Canvas, top: f64, bottom: f64) {
    let all = ticks(canvas.length, 10.0);
    let step = all.get(1).copied().unwrap_or(canvas.length);
    let (unit, factor) = match canvas.length {
        l if l >= 1.0 => ("s", 1.0),
        l if l >= 1e-3 => ("ms", 1e3),
        _ => ("µs", 1e6),
    };
    let decimals = (-(step * factor).log10().floor()).clamp(0.0, 9.0) as usize;
    for at in all {
        let x = canvas.x(at);
        canvas.line((x, top), (x, bottom), "grid");
        let text = format!("{:.decimals$}", at * factor);
        canvas.text(x, bottom + 15.0, "mid", &text);
    }
    canvas.line((LEFT, bottom), (RIGHT, bottom), "line");
    canvas.text(RIGHT + 14.0, bottom + 15.0, "", unit);
}
