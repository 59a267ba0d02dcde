//! `midair watch`: a program is edited while it runs.

use midair_watchdog::Watchdog;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Prints a counter over and over, with a short sleep in between.
const COUNTER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 300) "data")
    (global $count (mut i32) (i32.const 0))
    (func $step (result i32) (i32.const 1))
    (func $show (local $at i32) (local $rest i32)
        (local.set $at (i32.const 264))
        (local.set $rest (global.get $count))
        (i32.store8 (local.get $at) (i32.const 10))
        (loop $digits
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (i32.store8 (local.get $at)
                (i32.add (i32.const 48) (i32.rem_u (local.get $rest) (i32.const 10))))
            (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
            (br_if $digits (i32.gt_u (local.get $at) (i32.const 256))))
        (i32.store (i32.const 0) (i32.const 256))
        (i32.store (i32.const 4) (i32.const 9))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $sleep
        (i32.store (i32.const 32) (i32.const 1))
        (i64.store (i32.const 40) (i64.const 5000000))
        (drop (call $poll_oneoff (i32.const 16) (i32.const 64) (i32.const 1) (i32.const 8))))
    (func $main (export "_start")
        (loop $again
            (global.set $count (i32.add (global.get $count) (call $step)))
            (call $show)
            (call $sleep)
            (br $again))
        (call $proc_exit (i32.const 7))))"#;

/// A program that is being watched, and what it prints.
struct Watched {
    file: PathBuf,
    source: String,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    last: Option<u32>,
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Watched {
    fn new(name: &str, options: &[&str]) -> Watched {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("counter.wat");
        std::fs::write(&file, COUNTER).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_midair"))
            .arg("watch")
            .args(options)
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let source = COUNTER.to_owned();
        Watched { file, source, child, stdout, stderr, last: None }
    }

    /// The next number that the program prints. It has gone on from the one before.
    #[track_caller]
    fn number(&mut self) -> u32 {
        let line = self.stdout.recv_timeout(PATIENCE).expect("the program goes on");
        let number = line.parse().unwrap();
        assert!(self.last.is_none_or(|last| last < number), "{:?}, then {number}", self.last);
        self.last = Some(number);
        number
    }

    /// Waits until the program counts in steps of this.
    #[track_caller]
    fn counts_by(&mut self, step: u32) {
        let started = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 3 {
            let before = self.last.unwrap_or(0);
            let found = self.number() - before;
            in_a_row = if found == step { in_a_row + 1 } else { 0 };
            assert!(started.elapsed() < PATIENCE, "it counts by {found}, not {step}");
        }
    }

    /// Saves an edit of the file, as editors do: under another name, then renamed; or in place.
    fn save(&self, source: &str, in_place: bool) {
        if in_place {
            return std::fs::write(&self.file, source).unwrap();
        }
        let other = self.file.with_extension("wat~");
        std::fs::write(&other, source).unwrap();
        std::fs::rename(&other, &self.file).unwrap();
    }

    fn edited(&self, edits: &[(&str, &str)]) -> String {
        let mut source = self.source.clone();
        for (from, to) in edits {
            assert!(source.contains(from), "{from}");
            source = source.replace(from, to);
        }
        source
    }

    /// Edits the program; what it is told of that.
    #[track_caller]
    fn edit(&mut self, edits: &[(&str, &str)]) -> String {
        self.source = self.edited(edits);
        self.save(&self.source, edits.len().is_multiple_of(2));
        self.stderr.recv_timeout(PATIENCE).expect("an edit is reported")
    }

    /// Edits the program in a way that is refused, and back; why it was refused.
    #[track_caller]
    fn refused(&mut self, edits: &[(&str, &str)]) -> String {
        self.save(&self.edited(edits), false);
        let line = self.stderr.recv_timeout(PATIENCE).expect("an edit is reported");
        assert_eq!(line, "midair: not applied, the program goes on as it was");
        let mut reasons = self.stderr.recv_timeout(PATIENCE).expect("a reason is given");
        self.save(&self.source, false);
        loop {
            let line = self.stderr.recv_timeout(PATIENCE).expect("an edit is reported");
            if line == "midair: nothing changed" {
                return reasons;
            }
            reasons += "\n";
            reasons += &line;
        }
    }

    #[track_caller]
    fn exits(mut self, status: i32) {
        while let Ok(line) = self.stdout.recv_timeout(PATIENCE) {
            line.parse::<u32>().unwrap();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(status));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It has ended unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the line says after the changes: figures only of what there was.
#[track_caller]
fn told_of_what_happened(line: &str, compiled: bool) {
    let (_, what) = line.split_once("; ").expect("the changes come first");
    let parts: Vec<&str> = what.split(", ").collect();
    let [frames, pause, code] = parts[..] else { panic!("{line}") };
    assert!(frames.ends_with(" moved"), "{line}");
    let paused = pause.strip_prefix("longest pause ");
    assert!(paused.is_some_and(|pause| !pause.starts_with("0.0")) || pause == "no pause", "{line}");
    assert!(code.ends_with(" of code freed") || !compiled && code == "no code to free", "{line}");
}

#[track_caller]
fn starts_with(line: &str, start: &str) {
    assert!(line.starts_with(start), "{line}");
}

/// A series of edits, some of which are refused.
fn series_of_edits(name: &str, options: &[&str]) {
    let mut program = Watched::new(name, options);
    program.counts_by(1);

    let line =
        program.edit(&[("(i32.const 1))\n    (func $show", "(i32.const 10))\n    (func $show")]);
    starts_with(&line, "midair: 1 function changed (step); ");
    told_of_what_happened(&line, name == "optimized");
    program.counts_by(10);

    let reason = program.refused(&[("(func $step", "(func $step (")]);
    assert!(reason.contains("counter.wat:"), "{reason}");
    program.counts_by(10);

    let line = program.edit(&[
        ("(i32.const 10))\n    (func $show", "(i32.wrap_i64 (call $bonus (i64.const 2))))\n    (func $show"),
        ("    (func $sleep", "    (global $more i64 (i64.const 50))\n    (func $bonus (param i64) (result i64) (i64.mul (local.get 0) (global.get $more)))\n    (func $sleep"),
    ]);
    starts_with(
        &line,
        "midair: 1 function changed (step), 1 function added (bonus), 1 type added, 1 global added; ",
    );
    program.counts_by(100);

    let reason =
        program.refused(&[("(memory (", "(import \"env\" \"random\" (func $random)) (memory (")]);
    starts_with(&reason, "midair:   import `env` `random` (func () -> ()) is new");
    let reason = program.refused(&[("(i32.const 300) \"data\"", "(i32.const 308) \"data\"")]);
    starts_with(
        &reason,
        "midair:   data segment 0 moved from 0x12c to 0x134\nmidair:   where data has moved, only a new start",
    );
    assert!(!reason.contains("--data"), "{reason}");
    let reason = program.refused(&[("(i32.const 300) \"data\"", "(i32.const 300) \"text\"")]);
    assert!(reason.contains("\nmidair:   `--data=keep`"), "{reason}");
    program.counts_by(100);

    let line = program.edit(&[
        (
            "(func $step (result i32) (i32.wrap_i64 (call $bonus (i64.const 2))))",
            "(func $step (param i32) (result i32) (local.get 0))",
        ),
        ("(call $step)", "(call $step (i32.const 3))"),
    ]);
    starts_with(&line, "midair: 1 function changed (main), 1 function of another type (step), ");
    assert!(line.contains("; 1 frame moved, "), "{line}");
    program.counts_by(3);

    // The loop itself, which has been running since the beginning.
    let line = program.edit(&[(
        "(call $step (i32.const 3))",
        "(i32.mul (call $step (i32.const 3)) (i32.const 7))",
    )]);
    starts_with(&line, "midair: 1 function changed (main); 1 frame moved, ");
    program.counts_by(21);
    let line = program.edit(&[("(br $again)", "(br_if $again (i32.const 0))")]);
    starts_with(&line, "midair: 1 function changed (main); 1 frame moved, ");
    program.exits(7);
}

#[test]
fn a_series_of_edits_in_the_interpreter() {
    let _watchdog = Watchdog::start();
    series_of_edits("interp", &["--tier=interp"]);
}

#[test]
fn a_series_of_edits_in_machine_code() {
    let _watchdog = Watchdog::start();
    series_of_edits("optimized", &["--tier=optimized"]);
}

#[test]
fn a_series_of_edits_in_the_automatic_tier() {
    let _watchdog = Watchdog::start();
    series_of_edits("auto", &[]);
}

#[test]
fn data_can_be_applied_and_frames_can_finish() {
    let _watchdog = Watchdog::start();
    let mut program = Watched::new("options", &["--data=apply", "--policy=finish"]);
    program.counts_by(1);
    let line = program.edit(&[("(call $step)", "(i32.load8_u (i32.const 300))")]);
    starts_with(&line, "midair: 1 function changed (main); 0 frames moved, ");
    let line = program.stderr.recv_timeout(PATIENCE).unwrap();
    assert_eq!(line, "midair:   1 frame of main: finish in the old body");
    program.counts_by(1);
    let line = program.edit(&[("\"data\"", "\"gata\"")]);
    starts_with(&line, "midair: 1 byte of data written; ");
    program.counts_by(1);
}

#[test]
fn files_may_be_broken_missing_and_replaced() {
    let _watchdog = Watchdog::start();
    let mut program = Watched::new("files", &[]);
    program.counts_by(1);
    // Away for a while: the program goes on.
    std::fs::remove_file(&program.file).unwrap();
    let line = program.stderr.recv_timeout(PATIENCE).expect("a file that is gone is reported");
    assert!(line.ends_with(" is gone; the program goes on as it was"), "{line}");
    program.counts_by(1);
    let half = COUNTER.len() / 2;
    std::fs::write(&program.file, &COUNTER[..half]).unwrap();
    let line = program.stderr.recv_timeout(PATIENCE).expect("a broken file is reported");
    assert_eq!(line, "midair: not applied, the program goes on as it was");
    program.counts_by(1);
    // The rest of what the parser has to say, up to the next edit.
    let two = COUNTER.replace("(i32.const 1))\n    (func $show", "(i32.const 2))\n    (func $show");
    program.save(&two, false);
    while !program
        .stderr
        .recv_timeout(PATIENCE)
        .expect("an edit is reported")
        .starts_with("midair: 1 function changed (step); ")
    {}
    program.counts_by(2);
    // In pieces.
    let three =
        COUNTER.replace("(i32.const 1))\n    (func $show", "(i32.const 3))\n    (func $show");
    let (begin, end) = three.split_at(half);
    std::fs::write(&program.file, begin).unwrap();
    let mut file = std::fs::File::options().append(true).open(&program.file).unwrap();
    file.write_all(end.as_bytes()).unwrap();
    drop(file);
    while !program
        .stderr
        .recv_timeout(PATIENCE)
        .expect("an edit is reported")
        .starts_with("midair: 1 function changed (step); ")
    {}
    program.counts_by(3);
}

#[test]
fn what_cannot_run_is_not_watched() {
    let _watchdog = Watchdog::start();
    let output = Command::new(env!("CARGO_BIN_EXE_midair"))
        .args(["watch", "/no/such/file.wat"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: failed to load `/no/such/file.wat`"), "{stderr}");
}
