//! Programs with threads on the command line: `midair run` and `midair watch`.

use midair_watchdog::Watchdog;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn file(name: &str, content: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threads");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A program whose first thread reads its input when it has started another one, which does this.
fn program(thread: &str) -> String {
    format!(
        r#"(module
            (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (func $fails (drop (i32.atomic.load (i32.const 2))))
            (func (export "wasi_thread_start") (param i32 i32) {thread})
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
                (drop (call $spawn (i32.const 0)))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

/// Another thread ends the program, though the first one is in a call that does not return.
#[test]
fn a_thread_ends_the_process_while_another_reads() {
    let _watchdog = Watchdog::start();
    for (name, thread, status, message) in [
        ("exit.wat", "(call $exit (i32.const 5))", 5, ""),
        ("trap.wat", "(call $fails)", 134, "unaligned atomic"),
    ] {
        let path = file(name, &program(thread));
        for tier in ["interp", "baseline", "optimized", "auto"] {
            let mut child = Command::new(env!("CARGO_BIN_EXE_midair"))
                .args([&format!("--tier={tier}"), "--stats"])
                .arg(&path)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // It is open all the time, and nothing comes.
            let input = child.stdin.take();
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(status), "{told}");
            assert!(told.contains(message) && !told.contains("panicked"), "{told}");
            assert!(message.is_empty() || told.contains("fails"), "{told}");
            drop(input);
        }
    }
}

/// When the first thread returns, the others are over.
#[test]
fn the_process_ends_when_the_first_thread_does() {
    let _watchdog = Watchdog::start();
    let path = file("return.wat", &program("(loop $again (br $again))"));
    let mut run = Command::new(env!("CARGO_BIN_EXE_midair"));
    let output = run.arg(path).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn memory_is_limited_for_all_threads() {
    let _watchdog = Watchdog::start();
    let path = file("limit.wat", &program(""));
    for (limit, status) in [("64K", 0), ("63K", 1)] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_midair"));
        let run = run.arg(format!("--max-memory={limit}")).arg(&path).stdin(Stdio::null());
        let output = run.output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(status),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Three threads count, each by a function that is edited while two of them wait and one runs; then each prints a line.
const COUNTING: &str = r#"(module
    (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (data $texts "old\nnew\n")
    (func $fill
        (if (i32.atomic.rmw.cmpxchg (i32.const 16) (i32.const 0) (i32.const 1)) (then return))
        (memory.init $texts (i32.const 256) (i32.const 0) (i32.const 8)))
    (start $fill)
    (func $text (result i32) (i32.const 256))
    (func $print (param $at i32)
        (i32.store (local.get $at) (call $text))
        (i32.store offset=4 (local.get $at) (i32.const 4))
        (drop (call $write (i32.const 1) (local.get $at) (i32.const 1)
            (i32.add (local.get $at) (i32.const 8)))))
    (func $run (param $at i32)
        (call $print (local.get $at))
        (loop $again
            (if (i32.gt_u (local.get $at) (i32.const 1024))
                (then (drop (memory.atomic.wait32 (i32.const 32) (i32.const 0) (i64.const 1000000)))))
            (br_if $again (i32.eq (call $text) (i32.const 256))))
        (call $print (local.get $at))
        (drop (i32.atomic.rmw.add (i32.const 48) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 48) (i32.const 1))))
    (func (export "wasi_thread_start") (param i32) (param $at i32) (call $run (local.get $at)))
    (func (export "_start") (local $seen i32)
        (drop (call $spawn (i32.const 1024)))
        (drop (call $spawn (i32.const 1088)))
        (call $run (i32.const 1152))
        (loop $again
            (local.set $seen (i32.atomic.load (i32.const 48)))
            (if (i32.ne (local.get $seen) (i32.const 3))
                (then
                    (drop (memory.atomic.wait32 (i32.const 48) (local.get $seen) (i64.const -1)))
                    (br $again))))
        (call $exit (i32.const 3))))"#;

#[test]
fn an_edit_reaches_all_threads() {
    let _watchdog = Watchdog::start();
    for tier in ["interp", "optimized", "auto"] {
        let path = file(&format!("counting-{tier}.wat"), COUNTING);
        let mut child = Command::new(env!("CARGO_BIN_EXE_midair"))
            .args(["watch", "--data=apply", &format!("--tier={tier}")])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            assert_eq!(lines.next().unwrap().unwrap(), "old");
        }
        // The text is edited where it lies, and the function that says where.
        let edited = COUNTING
            .replace("old\\nnew\\n", "old\\nedit")
            .replace("(result i32) (i32.const 256)", "(result i32) (i32.const 260)");
        std::fs::write(&path, edited).unwrap();
        let mut shown = String::new();
        for line in lines {
            shown += &line.unwrap();
        }
        assert_eq!(shown, "editeditedit");
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{told}");
    }
}
