use super::run::{Mark, MarkKind, Run, Sample, Span, SpanKind, Thread};
use super::{Format, write};
use midair::stats::Stats;
use midair::timeline::{Doing, FunctionId};
use serde_json::Value;

fn text(run: &Run, format: Format) -> String {
    let mut out = Vec::new();
    write(run, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A run of a second with so many functions, each of which comes to all tiers.
fn example(functions: u32) -> Run {
    let thread = |id, name: &str, runs_guests| Thread { id, name: name.to_owned(), runs_guests };
    let threads = vec![thread(7, "guest", true), thread(8, "midair-compiler", false)];
    let mut run = Run::empty("a<b>.wasm".to_owned(), 1.0, threads);
    for n in 0..functions {
        let function = Some(FunctionId { module: 1, function: n });
        let at = 0.1 + 0.8 * f64::from(n) / f64::from(functions);
        let mut span = |kind, thread, start, time: f64, bytes| {
            let end = start + time;
            run.spans.push(Span { kind, start, end, thread, function, bytes, version: 0 });
        };
        span(SpanKind::Lowering, 0, at, 2e-6, 0);
        span(SpanKind::Baseline, 0, at + 4e-6, 3e-6, 100);
        span(SpanKind::Optimizing, 1, at + 1e-5, 0.7 / f64::from(functions), 300);
        let mark = |kind, bytes| Mark { kind, at: at + 0.09, thread: 0, function, bytes };
        run.marks.extend([mark(MarkKind::OsrEntry, 0), mark(MarkKind::Freed, 50)]);
    }
    for n in 0..250 {
        let doing = if n < 100 { Doing::Interpreting } else { Doing::RunningOptimized };
        run.samples.push(Sample { at: f64::from(n) * 0.004, time: 0.004, thread: 0, doing });
    }
    run.summarize();
    run
}

/// Checks that elements are closed in order, and that text and attributes hold what they can. Returns how many elements
/// there are.
fn check_xml(text: &str) -> usize {
    let (mut open, mut elements) = (Vec::new(), 0);
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, after) = rest.split_at(at);
        assert!(!before.contains('>'), "{before}");
        for entity in before.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot"].contains(&name), "{entity}");
        }
        let (tag, after) = after[1..].split_once('>').expect("an end of the tag");
        assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            elements += 1;
            if !tag.ends_with('/') {
                open.push(tag.split([' ', '\n']).next().unwrap());
            }
        }
        rest = after;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    elements
}

#[test]
fn the_picture_is_well_formed_and_not_larger_than_its_pixels() {
    for functions in [0, 1, 10, 20_000] {
        let picture = text(&example(functions), Format::Svg);
        let elements = check_xml(&picture);
        assert!(picture.contains("a&lt;b&gt;.wasm"));
        assert!(elements < 8000, "{elements} elements for {functions} functions");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}

#[test]
fn few_events_are_each_drawn_and_named() {
    let picture = text(&example(10), Format::Svg);
    for n in 0..10 {
        for what in
            ["made ready for the first call", "baseline code, 100 B", "optimized code, 300 B"]
        {
            assert!(picture.contains(&format!("<title>func[{n}]\n{what}")), "{n}: {what}");
        }
    }
    assert_eq!(picture.matches("<title>OSR entry, at ").count(), 10);
    assert!(picture.contains("10 functions lowered"));
}

#[test]
fn many_events_are_counted_together() {
    let picture = text(&example(20_000), Format::Svg);
    let numbers = picture.split("<title>").filter_map(|title| {
        let (number, _) = title.split_once(" times: baseline code")?;
        number.replace(',', "").parse::<u32>().ok()
    });
    assert_eq!(numbers.sum::<u32>(), 20_000);
    assert!(picture.contains("20,000 functions lowered"));
}

#[test]
fn the_trace_has_all_events_in_the_format_that_viewers_read() {
    let run = example(100);
    let trace: Value = serde_json::from_str(&text(&run, Format::Trace)).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!(count("X"), 300);
    assert_eq!(count("i"), 200);
    for event in events {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        match event["ph"].as_str().unwrap() {
            "X" => {
                assert!(event["dur"].as_f64().unwrap() >= 0.0 && event["tid"].is_u64(), "{event}");
                assert!(event["ts"].as_f64().unwrap() >= 0.0, "{event}");
            }
            "i" => assert!(event["ts"].is_f64() && event["s"] == "t", "{event}"),
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_number)),
            "M" => assert!(event["args"].is_object()),
            other => panic!("{other}"),
        }
    }
    let last = events.iter().rfind(|event| event["name"] == "machine code").unwrap();
    assert_eq!(last["args"]["bytes"], 100 * (100 + 300 - 50));
}

#[test]
fn a_run_that_ended_before_anything_happened_has_a_timeline() {
    let engine = midair::Engine::default();
    engine.record_timeline();
    let timeline = engine.timeline().unwrap();
    let wall = crate::wall_time::WallTime::until_now(&Stats::default(), &Default::default());
    let run = Run::new("nothing".to_owned(), &timeline, &wall);
    check_xml(&text(&run, Format::Svg));
    assert!(serde_json::from_str::<Value>(&text(&run, Format::Trace)).is_ok());
}
