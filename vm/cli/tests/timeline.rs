//! What `--stats` says of a run's time: where it went, and what happened when.

use serde_json::Value;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A directory for one test's files.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline").join(test);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn file(test: &str, name: &str, content: &str) -> PathBuf {
    let path = directory(test).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Calls a function at many depths, and loops for a while.
const PROGRAM: &str = r#"(module $program
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello\n")
    (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
                (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func $main (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 6))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $fib (i32.const 20))))
    (func $trap (export "trap") (drop (call $fib (i32.const 15))) unreachable)
    (func $forever (export "forever") (loop (br 0))))"#;

/// Runs until a second has passed on its own clock, and asks for the time a hundred times or so.
const A_SECOND: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    (func $now (result i64)
        (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 0)))
        (i64.load (i32.const 0)))
    (func $work (param $n i32) (result i32)
        (local $sum i32)
        (loop $again
            (local.set $sum (i32.mul (i32.xor (local.get $sum) (local.get $n)) (i32.const 31)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum))
    (func (export "_start")
        (local $until i64)
        (local.set $until (i64.add (call $now) (i64.const 1000000000)))
        (loop $again
            (drop (call $work (i32.const 3000000)))
            (br_if $again (i64.lt_u (call $now) (local.get $until))))))"#;

fn midair(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midair"));
    command.args(arguments);
    command
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Ends a process that does not end by itself.
fn end_of(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    process.wait().unwrap()
}

#[test]
fn statistics_say_where_the_wall_time_went() {
    let program = file("wall", "second.wat", A_SECOND);
    for tier in ["auto", "interp", "optimized"] {
        let stats = directory("wall").join(format!("{tier}.json"));
        let option = format!("--stats=json:{}", stats.display());
        let tier_option = format!("--tier={tier}");
        let begun = Instant::now();
        let status = midair(&[&option, &tier_option, program.to_str().unwrap()]).status().unwrap();
        let measured = begun.elapsed().as_secs_f64();
        assert!(status.success());
        let stats = json(&stats);
        let wall = stats["wall_time"].as_object().unwrap();
        let of = |name: &str| wall[name].as_f64().unwrap();
        let total = of("total");
        assert!((1.0..=measured).contains(&total), "{total} of {measured}");
        let parts: f64 = wall
            .iter()
            .filter(|(name, _)| *name != "total")
            .map(|(_, n)| n.as_f64().unwrap())
            .sum();
        assert!((parts - total).abs() <= 0.05 * total, "{parts} of {total}: {wall:?}");
        // A part of the time is known by what it is not, which has to be little: samples are 4 ms apart at least.
        let unknown = of("unsampled") + of("rest");
        assert!(unknown <= 0.05 * total + 0.02, "{unknown} of {total}: {wall:?}");
        let main = match tier {
            "interp" => "interpreter",
            _ => "optimized",
        };
        let running = of(main) + of("processor_waits") + of("unsampled");
        assert!(running >= 0.8 * total, "{tier}: {wall:?}");
    }
}

#[test]
fn timelines_have_what_the_counters_count() {
    let program = file("count", "program.wat", PROGRAM);
    let at = |name: &str| directory("count").join(name);
    let option = |what: &str, name: &str| format!("--stats={what}:{}", at(name).display());
    // What was there before is longer.
    std::fs::write(at("trace.json"), "x".repeat(1 << 20)).unwrap();
    let output = midair(&[
        "--stats",
        &option("json", "stats.json"),
        &option("timeline", "trace.json"),
        &option("timeline", "picture.svg"),
        "--tier=optimized",
        program.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"hello\n"[..]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("wall time") && said.contains("optimizing, waited for"), "{said}");

    let (stats, trace) = (json(&at("stats.json")), json(&at("trace.json")));
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |category: &str| {
        events.iter().filter(|event| event["ph"] == "X" && event["cat"] == category).count()
    };
    assert_eq!(of("lower"), 2);
    assert_eq!(stats["compilations"]["optimized"]["count"], of("optimize"));
    assert_eq!(stats["compilations"]["baseline"]["count"], of("baseline"));
    assert!(events.iter().any(|event| event["name"] == "fib"));
    assert!(stats["wall_time"]["optimizing"].as_f64().unwrap() > 0.0);
    let picture = std::fs::read_to_string(at("picture.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains("program.wat") && picture.contains("<title>fib\n"), "{picture}");
}

#[test]
fn timelines_are_written_however_the_program_ends() {
    let program = file("ends", "program.wat", PROGRAM);
    let program = program.to_str().unwrap();
    let target = directory("ends").join("picture.svg");
    let option = format!("--stats=timeline:{}", target.display());
    let written = || {
        let picture = std::fs::read_to_string(&target).unwrap();
        std::fs::remove_file(&target).unwrap();
        picture.ends_with("</svg>\n")
    };
    let trapped = midair(&[&option, "--invoke=trap", program]).output().unwrap();
    assert_eq!(trapped.status.code(), Some(134));
    assert!(written());

    let mut process = midair(&[&option, "--invoke=forever", program]);
    let mut process = process.stderr(Stdio::piped()).spawn().unwrap();
    // Until it is handled, the signal ends the process at once, and then nothing has been written.
    let id = process.id() as libc::pid_t;
    let handled = || {
        std::fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|status| {
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            caught.is_some_and(|mask| mask & (1 << (libc::SIGTERM - 1)) != 0)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !handled() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: a plain system call; the process has not been waited for.
    unsafe { libc::kill(id, libc::SIGTERM) };
    assert_eq!(end_of(&mut process).signal(), Some(libc::SIGTERM));
    assert!(written());

    let timed_out = midair(&[&option, "--timeout=50ms", "--invoke=forever", program]).output();
    assert_eq!(timed_out.unwrap().status.code(), Some(134));
    assert!(written());

    let broken = file("ends", "broken.wat", "(module (func");
    let refused = midair(&[&option, broken.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(written());
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_before_the_program_starts() {
    let program = file("unwritable", "program.wat", PROGRAM);
    for what in ["timeline:/does/not/exist/a.svg", "json:/does/not/exist/a.json", "timeline:/dev"] {
        let option = format!("--stats={what}");
        let mut process = midair(&[&option, program.to_str().unwrap()]);
        let mut process = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = end_of(&mut process);
        let (mut stdout, mut said) = (String::new(), String::new());
        process.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(stdout, "", "{what}");
        let (code, text) = match what {
            "timeline:/dev" => (2, "FILE.svg"),
            "json:/does/not/exist/a.json" => (1, "cannot write the statistics to `/does/not"),
            _ => (1, "cannot write the timeline to `/does/not/exist/a.svg`: No such file"),
        };
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(said.contains(text), "{said}");
    }
}
