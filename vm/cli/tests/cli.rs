//! The `midair` binary: exit statuses, messages, options.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory for one test's files.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn file(test: &str, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory(test).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

fn midair<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_midair")).args(arguments))
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        status: status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

impl Run {
    #[track_caller]
    fn expect(&self, status: i32, stdout: &str) -> &Run {
        assert_eq!((self.status, self.stdout.as_str()), (status, stdout), "{}", self.stderr);
        self
    }

    #[track_caller]
    fn says(&self, texts: &[&str]) -> &Run {
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// A program that writes to standard output and exits with 3.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 6))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $proc_exit (i32.const 3))))"#;

/// Functions to be called by name.
const FUNCTIONS: &str = r#"(module
    (memory 1)
    (func $fac (export "fac") (param i64) (result i64)
        (if (result i64) (i64.eqz (local.get 0))
            (then (i64.const 1))
            (else (i64.mul (local.get 0)
                (call $fac (i64.sub (local.get 0) (i64.const 1)))))))
    (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
    (func $inner (param i32 i32) (result i32) (i32.div_u (local.get 0) (local.get 1)))
    (func $outer (export "div") (param i32 i32) (result i32)
        (call $inner (local.get 0) (local.get 1)))
    (func (export "forever") (loop (br 0)))
    (func $deep (export "deep") (call $deep))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "unreachable") unreachable))"#;

fn functions(test: &str) -> String {
    let path = file(test, "functions.wat", FUNCTIONS);
    path.to_str().unwrap().to_owned()
}

#[test]
fn output_and_exit_status_are_the_guests() {
    let hello = file("hello", "hello.wat", HELLO);
    let hello = hello.to_str().unwrap();
    midair(["run", hello]).expect(3, "hello\n");
    midair([hello]).expect(3, "hello\n");
    for tier in ["interp", "baseline", "optimized", "auto"] {
        midair([&format!("--tier={tier}"), hello]).expect(3, "hello\n");
        midair([&format!("--tier={tier}"), "--stress=osr:1,retire:1", hello]).expect(3, "hello\n");
    }
}

#[test]
fn large_exit_statuses_are_passed_through_but_never_as_success() {
    for (exit, status) in [(200, 200), (255, 255), (256, 255), (65536, 255), (-1, 255)] {
        let module = file(
            "large_exit",
            &format!("exit{exit}.wat"),
            format!(
                r#"(module
                    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
                    (memory (export "memory") 1)
                    (func (export "_start") (call $proc_exit (i32.const {exit}))))"#
            ),
        );
        midair([module.to_str().unwrap()]).expect(status, "");
    }
}

/// A program that polls its standard input for reading, or 10 seconds, then reads one byte. It exits with 100 + the
/// number of bytes that it got if the input was ready, and all went well.
const POLL_INPUT: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (func $must (param i32) (if (local.get 0) (then (call $proc_exit (local.get 0)))))
    (func (export "_start")
        ;; A subscription to a clock, and one to descriptor 0.
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 10_000_000_000))
        (i64.store (i32.const 48) (i64.const 77))
        (i32.store8 (i32.const 56) (i32.const 1))
        (call $must (call $poll_oneoff
            (i32.const 0) (i32.const 128) (i32.const 2) (i32.const 256)))
        ;; One event, and it is of the second: no error.
        (call $must (i32.ne (i32.load (i32.const 256)) (i32.const 1)))
        (call $must (i64.ne (i64.load (i32.const 128)) (i64.const 77)))
        (call $must (i32.load16_u (i32.const 136)))
        (i32.store (i32.const 300) (i32.const 320))
        (i32.store (i32.const 304) (i32.const 1))
        (call $must (call $fd_read
            (i32.const 0) (i32.const 300) (i32.const 1) (i32.const 308)))
        (call $proc_exit (i32.add (i32.const 100) (i32.load (i32.const 308))))))"#;

#[test]
fn standard_input_can_be_polled_whatever_it_is() {
    let module = file("poll_input", "poll.wat", POLL_INPUT);
    let something = file("poll_input", "something", "x");
    let run = |redirection: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec \"$0\" \"$1\" {redirection}"));
        shell.arg(env!("CARGO_BIN_EXE_midair")).arg(&module).env("SOMETHING", &something);
        run(&mut shell)
    };
    run("</dev/null").expect(100, "");
    run("<&-").expect(100, "");
    run("</dev/zero").expect(101, "");
    run("<\"$SOMETHING\"").expect(101, "");
}

#[test]
fn the_guest_takes_no_more_input_than_it_asks_for() {
    let module = file("rest_of_input", "poll.wat", POLL_INPUT);
    let input = file("rest_of_input", "input", "abc");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("{ \"$0\" \"$1\"; cat; } <\"$INPUT\"");
    shell.arg(env!("CARGO_BIN_EXE_midair")).arg(&module).env("INPUT", &input);
    run(&mut shell).expect(0, "bc");
}

#[test]
fn invoke_parses_arguments_and_prints_results() {
    let file = functions("invoke");
    midair(["--invoke", "fac", &file, "20"]).expect(0, "2432902008176640000\n");
    midair(["--invoke", "swap", &file, "-7", "1.5"]).expect(0, "1.5\n-7\n");
    midair(["--invoke", "fac", &file]).says(&["takes 1 argument", "i64"]).expect(1, "");
    midair(["--invoke", "fac", &file, "x"]).says(&["`x` is no i64"]).expect(1, "");
    midair(["--invoke", "nothing", &file]).says(&["`nothing`", "`fac`"]).expect(1, "");
    midair([&*file]).says(&["`_start`", "--invoke", "`fac`"]).expect(1, "");
}

/// Prints its first argument after its name, and a line end: by `_start`'s other names, of which one is none.
const LIBRARY: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.const 1)))
  (func $show (export "")
    (if (i32.eqz (global.get $ready)) (then unreachable))
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 16) (i32.const 64)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then return))
    (i32.store (i32.const 8) (i32.load (i32.const 20)))
    (i32.store (i32.const 12) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 4))))
  (func (export "show") (result i32) (call $show) (i32.const 7))
  (func (export "same") (param i32) (result i32) (call $show) (local.get 0)))"#;

#[test]
fn what_is_exported_under_no_name_runs_as_start_does() {
    let library = file("no_name", "library.wat", LIBRARY);
    let library = library.to_str().unwrap();
    midair([library, "xyz"]).expect(0, "x");
    midair([library]).expect(0, "");
    let both = file(
        "no_name",
        "both.wat",
        r#"(module (func (export "") unreachable) (func (export "_start")))"#,
    );
    midair([both.to_str().unwrap()]).expect(0, "");
}

#[test]
fn arguments_that_an_invoked_function_does_not_take_are_the_programs() {
    let library = file("not_taken", "library.wat", LIBRARY);
    let library = library.to_str().unwrap();
    midair(["--invoke", "show", library, "xyz"]).expect(0, "x7\n");
    midair(["--invoke", "same", library, "5", "xyz"]).expect(0, "x5\n");
    midair(["--invoke", "same", library, "5"]).expect(0, "5\n");
    midair(["--invoke", "same", library]).says(&["takes 1 argument"]).expect(1, "");
    // Who asks for no arguments has none.
    let plain = functions("not_taken");
    midair(["--invoke", "fac", &plain, "2", "3"]).says(&["takes 1 argument"]).expect(1, "");
}

#[test]
fn traps_abort_with_a_backtrace() {
    let file = functions("traps");
    for tier in ["interp", "baseline", "optimized", "auto"] {
        let tier = format!("--tier={tier}");
        midair([&tier, "--invoke", "div", &file, "1", "0"])
            .says(&["wasm trap: integer divide by zero", "inner", "outer", "0x"])
            .expect(134, "");
        midair([&tier, "--invoke", "load", &file, "65533"])
            .says(&["out of bounds memory access"])
            .expect(134, "");
        midair([&tier, "--invoke", "load", &file, "-1"])
            .says(&["out of bounds memory access"])
            .expect(134, "");
        midair([&tier, "--invoke", "unreachable", &file]).says(&["unreachable"]).expect(134, "");
        midair([&tier, "--invoke", "deep", &file])
            .says(&["call stack exhausted", "deep"])
            .expect(134, "");
        midair([&tier, "--max-stack=64K", "--invoke", "deep", &file])
            .says(&["call stack exhausted"])
            .expect(134, "");
    }
}

#[test]
fn limits_are_kept() {
    let file = functions("limits");
    for tier in ["interp", "baseline", "optimized", "auto"] {
        let tier = format!("--tier={tier}");
        midair([&tier, "--fuel", "100000", "--invoke", "forever", &file])
            .says(&["all fuel consumed"])
            .expect(134, "");
        midair([&tier, "--timeout", "200ms", "--invoke", "forever", &file])
            .says(&["interrupt"])
            .expect(134, "");
    }
    midair(["--fuel", "1000", "--invoke", "fac", &file, "5"]).expect(0, "120\n");
    midair(["--max-memory", "128K", "--invoke", "grow", &file, "1"]).expect(0, "1\n");
    midair(["--max-memory", "128K", "--invoke", "grow", &file, "2"]).expect(0, "-1\n");
    midair(["--max-memory", "1K", "--invoke", "grow", &file, "0"]).says(&["error: "]).expect(1, "");
}

#[test]
fn a_blocking_host_call_does_not_outlive_the_deadline() {
    let module = file(
        "blocking",
        "read.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (i32.store (i32.const 4) (i32.const 1))
                (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_midair"));
    command.arg("--timeout=100ms").arg(module);
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Held open, so that the guest waits for input that never comes.
    let input = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(134));
    drop(input);
}

#[test]
fn what_cannot_be_run_is_one_clear_error() {
    let test = "bad_files";
    let name = |path: PathBuf| path.to_str().unwrap().to_owned();
    let missing = name(directory(test).join("missing.wasm"));
    midair([&*missing]).says(&["missing.wasm", "No such file"]).expect(1, "");
    let folder = name(directory(test));
    midair([&*folder]).says(&["error: ", "irectory"]).expect(1, "");
    let empty = name(file(test, "empty.wasm", ""));
    midair([&*empty]).says(&["error: ", "empty.wasm"]).expect(1, "");
    let garbage = name(file(test, "garbage.wasm", [0xff, 0xfe, 0, 1, 2, 3, 200, 9]));
    midair([&*garbage]).says(&["error: ", "garbage.wasm"]).expect(1, "");
    let text = name(file(test, "text.wat", "(module (func (bla)))"));
    midair([&*text]).says(&["error: ", "text.wat"]).expect(1, "");
    let truncated = name(file(test, "truncated.wasm", b"\0asm\x01\0\0\0\x01\x20\x01"));
    midair([&*truncated]).says(&["error: ", "truncated.wasm"]).expect(1, "");
    let component = name(file(test, "component.wasm", b"\0asm\x0d\0\x01\0"));
    midair([&*component]).says(&["error: ", "component"]).expect(1, "");
    for run in [&empty, &garbage, &text, &truncated, &component] {
        assert_eq!(midair([&**run]).stderr.matches("error: ").count(), 1);
    }
}

#[test]
fn all_unknown_imports_are_listed() {
    let module = file(
        "imports",
        "imports.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func (param i32 i32 i32 i32) (result i32)))
            (import "env" "first" (func))
            (import "env" "second" (func (param i32)))
            (import "other" "memory" (memory 1))
            (func (export "_start")))"#,
    );
    let run = midair([module.to_str().unwrap()]);
    run.says(&["first", "second", "other", "memory"]).expect(1, "");
    assert!(!run.stderr.contains("fd_write"), "{}", run.stderr);
}

#[test]
fn wrong_usage_is_status_2() {
    let file = functions("usage");
    midair([]).expect(2, "");
    midair(["run"]).says(&["FILE"]).expect(2, "");
    midair(["--frob", &file]).says(&["--frob"]).expect(2, "");
    midair(["--tier=fast", &file]).says(&["interp", "baseline", "optimized", "auto"]).expect(2, "");
    midair(["--stress=gc:1", &file]).says(&["not available yet"]).expect(2, "");
    midair(["--stress=osr", &file]).says(&["osr"]).expect(2, "");
    midair(["--timeout=5", &file]).says(&["unit"]).expect(2, "");
    midair(["--max-memory=lots", &file]).says(&["bytes"]).expect(2, "");
    midair(["--stats=xml", &file]).says(&["json"]).expect(2, "");
    midair(["--dir=/does/not/exist", "--invoke", "fac", &file, "1"])
        .says(&["/does/not/exist"])
        .expect(1, "");
    assert_eq!(midair(["--help"]).status, 0);
    assert_eq!(midair(["run", "--help"]).status, 0);
    assert_eq!(midair(["--version"]).status, 0);
}

/// Prints its arguments or its environment, each ended by a newline.
fn list(get: &str, sizes: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{sizes}"
                (func $sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "{get}" (func $get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start") (local $at i32) (local $end i32)
                (drop (call $sizes (i32.const 0) (i32.const 4)))
                (drop (call $get (i32.const 1024) (i32.const 8192)))
                (local.set $at (i32.const 8192))
                (local.set $end (i32.add (i32.const 8192) (i32.load (i32.const 4))))
                (i32.store (i32.const 16) (i32.const 8192))
                (i32.store (i32.const 20) (i32.load (i32.const 4)))
                (block $done
                    (loop $next
                        (br_if $done (i32.eq (local.get $at) (local.get $end)))
                        (if (i32.eqz (i32.load8_u (local.get $at)))
                            (then (i32.store8 (local.get $at) (i32.const 10))))
                        (local.set $at (i32.add (local.get $at) (i32.const 1)))
                        (br $next)))
                (drop (call $fd_write
                    (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#
    )
}

#[test]
fn arguments_and_environment_reach_the_guest() {
    let arguments = file("arguments", "arguments.wat", list("args_get", "args_sizes_get"));
    let arguments = arguments.to_str().unwrap();
    midair([arguments, "a", "--tier=x", "--", "-h", ""])
        .expect(0, "arguments.wat\na\n--tier=x\n--\n-h\n\n");
    midair(["--argv0", "clang", arguments]).expect(0, "clang\n");

    let variables = file("arguments", "variables.wat", list("environ_get", "environ_sizes_get"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_midair"));
    command.args(["--env", "A=b=c", "--env", "HERE", "--env", "NOWHERE"]).arg(&variables);
    command.env("HERE", "yes").env("SECRET", "x").env_remove("NOWHERE");
    run(&mut command).expect(0, "A=b=c\nHERE=yes\n");
}

/// Copies the file `in` of its first directory to standard output.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
        (func $name (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "in")
    (func (export "_start") (local $error i32)
        (local.set $error (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 2)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200)))
        (if (local.get $error) (then (call $proc_exit (local.get $error))))
        (i32.store (i32.const 0) (i32.const 1000))
        (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $fd_read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $name (i32.const 3) (i32.const 1000) (i32.const 4)))
        (i32.store (i32.const 4) (i32.const 4))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn the_guest_sees_the_directories_it_is_given() {
    let cat = file("directories", "cat.wat", CAT);
    let cat = cat.to_str().unwrap();
    file("directories", "in", "content\n");
    let host = directory("directories");
    let given = format!("{}::/gst", host.to_str().unwrap());
    midair(["--dir", &given, cat]).expect(0, "content\n/gst");
    // Without a directory there is no descriptor 3: EBADF.
    midair([cat]).expect(8, "");
}

#[test]
fn statistics_are_written_where_they_are_asked_for() {
    let file = functions("stats");
    let run = midair(["--stats", "--invoke", "fac", &file, "5"]);
    run.expect(0, "120\n").says(&["interpreter", "osr", "redirected", "code", "sampled"]);

    let json: serde_json::Value = {
        let run = midair(["--stats=json", "--invoke", "fac", &file, "5"]);
        run.expect(0, "120\n");
        serde_json::from_str(&run.stderr).unwrap()
    };
    for key in
        ["tiers", "compilations", "osr_entries", "osr_exits", "frames", "code_bytes", "pauses"]
    {
        assert!(json[key].is_object(), "{key}");
    }
    assert!(json["sample_interval"].is_number());
    for tier in ["interpreter", "baseline", "optimized", "host"] {
        for key in ["calls", "time", "samples"] {
            assert!(json["tiers"][tier][key].is_number(), "{tier}.{key}");
        }
    }
    // `fac` of 5, and of 4, 3, 2, 1, 0.
    assert_eq!(json["tiers"]["interpreter"]["calls"], 1);
    assert_eq!(json["tiers"]["baseline"]["calls"], 5);

    let target = directory("stats").join("stats.json");
    let option = format!("--stats=json:{}", target.display());
    midair([&option, "--invoke", "unreachable", &file]).expect(134, "");
    let text = std::fs::read_to_string(target).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["tiers"].is_object());
}

#[test]
fn scripts_are_summed_up() {
    let good = file(
        "scripts",
        "good.wast",
        r#"(module (func (export "f") (result i32) (i32.const 1)))
           (assert_return (invoke "f") (i32.const 1))"#,
    );
    let bad = file(
        "scripts",
        "bad.wast",
        r#"(module (func (export "f") (result i32) (i32.const 1)))
           (assert_return (invoke "f") (i32.const 2))"#,
    );
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let run = midair(["wast", good]);
    run.expect(
        0,
        &format!("{good}: 2 passed, 0 failed, 0 skipped\n2 passed, 0 failed, 0 skipped\n"),
    );
    let run = midair(["wast", "--tier=interp", "--stress=osr:1", good, bad]);
    assert_eq!(run.status, 1);
    assert!(run.stdout.contains(&format!("{bad}:2: expected (i32.const 2), got (i32.const 1)")));
    assert!(run.stdout.ends_with("\n3 passed, 1 failed, 0 skipped\n"), "{}", run.stdout);
    midair(["wast", "/does/not/exist.wast"]).says(&["/does/not/exist.wast"]).expect(1, "");
}

/// How a command ends whose standard output nobody reads: the signal, and what it says.
fn unread(arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_midair"));
    let output = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    (output.status.signal(), String::from_utf8(output.stderr).unwrap())
}

/// A script of one assertion that fails.
const FAILING_SCRIPT: &str = r#"(module (func (export "f") (result i32) (i32.const 1)))
    (assert_return (invoke "f") (i32.const 2))"#;

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let path = functions("unread");
    let script = file("unread", "failing.wast", FAILING_SCRIPT);
    let commands: [&[&str]; 4] = [
        &["--invoke=fac", &path, "5"],
        &["wast", script.to_str().unwrap()],
        &["--help"],
        &["--version"],
    ];
    for command in commands {
        let (signal, said) = unread(command);
        assert_eq!((signal, said.as_str()), (Some(libc::SIGPIPE), ""), "{command:?}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let path = functions("full");
    let script = file("full", "failing.wast", FAILING_SCRIPT);
    let commands: [&[&str]; 3] =
        [&["--invoke=fac", &path, "5"], &["wast", script.to_str().unwrap()], &["--help"]];
    let full = || File::create("/dev/full").unwrap();
    for command in commands {
        let mut midair = Command::new(env!("CARGO_BIN_EXE_midair"));
        let output = midair.args(command).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{command:?}: {said}");
    }
    // A report that is lost does not change how the program ends.
    let reports: [(&[&str], i32); 2] =
        [(&["--invoke=unreachable", &path], 134), (&["--invoke=div", &path, "1", "0"], 134)];
    for (command, status) in reports {
        let mut midair = Command::new(env!("CARGO_BIN_EXE_midair"));
        let output = midair.args(command).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{command:?}");
    }
    // Statistics that are lost are a failure where there was none.
    let mut midair = Command::new(env!("CARGO_BIN_EXE_midair"));
    let status = midair.args(["--stats", "--invoke=fac", &path, "5"]).stderr(full()).status();
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn names_do_not_command_the_terminal() {
    let module = file(
        "terminal",
        "names.wat",
        r#"(module (func (@name "a\1b]0;owned\07\c2\9b") (export "run\1b[2J") unreachable))"#,
    );
    let module = module.to_str().unwrap();
    let is_plain = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n');
    let trapped = midair(["--invoke=run\u{1b}[2J", module]);
    trapped.says(&["unreachable", "\\u{1b}"]);
    assert!(is_plain(&trapped.stderr), "{:?}", trapped.stderr);
    let twice =
        r#"(module (func (export "a\0aerror: forged")) (func (export "a\0aerror: forged")))"#;
    let twice = file("terminal", "twice.wat", twice);
    let refused = midair([twice.to_str().unwrap()]);
    refused.expect(1, "").says(&["duplicate export"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    let unknown = midair(["--invoke=walk\u{1b}[2J", module]);
    assert!(is_plain(&unknown.stderr), "{:?}", unknown.stderr);
}

#[test]
fn a_time_limit_says_that_it_has_ended_the_program() {
    let path = functions("time_limit");
    let run = midair(["--timeout=50ms", "--invoke=forever", &path]);
    run.expect(134, "").says(&["timed out after 50ms"]);
}

#[test]
fn a_function_that_cannot_be_run_is_told_as_when_loading() {
    let module = file(
        "cannot_run",
        "collected.wat",
        r#"(module (func (export "f") (result i32) (i31.get_s (ref.i31 (i32.const 1)))))"#,
    );
    let module = module.to_str().unwrap();
    for tier in ["interp", "baseline", "optimized", "auto"] {
        let run = midair([&format!("--tier={tier}"), "--invoke=f", module]);
        run.expect(126, "").says(&["cannot be run", "garbage collection"]);
        assert!(!run.stderr.contains("trap") && run.stderr.lines().count() == 1, "{}", run.stderr);
    }
    midair(["--validate=eager", "--invoke=f", module]).expect(1, "").says(&["garbage collection"]);
}

#[test]
fn vectors_are_read_and_written_lane_by_lane() {
    let module = file(
        "vectors",
        "vectors.wat",
        r#"(module (func (export "f") (param v128 v128) (result v128 i32)
            (i32x4.add (local.get 0) (local.get 1)) (i8x16.extract_lane_u 15 (local.get 1))))"#,
    );
    let module = module.to_str().unwrap();
    let printed = "i32x4:0x00000002,0x00000002,0x00000002,0x80000003\n128\n";
    for tier in ["interp", "baseline", "optimized", "auto"] {
        let tier = format!("--tier={tier}");
        let run = midair([&tier, "--invoke=f", module, "i32x4:1,1,1,3", "i32x4:1,1,1,0x80000000"]);
        run.expect(0, printed);
        midair([&tier, "--invoke=f", module, "i32x4:1,2", "0"]).expect(1, "").says(&["is no v128"]);
    }
}

#[test]
fn a_start_function_may_have_results() {
    let module = file(
        "start_results",
        "start.wat",
        r#"(module (func (export "_start") (result i32 f32) (i32.const 7) (f32.const 1e-30)))"#,
    );
    midair([module.to_str().unwrap()]).expect(0, "7\n1e-30\n");
}

#[test]
fn floats_are_read_and_written_exactly() {
    let module = file(
        "floats",
        "floats.wat",
        r#"(module
            (func (export "f32") (param f32) (result f32) (local.get 0))
            (func (export "f64") (param f64) (result f64) (local.get 0)))"#,
    );
    let module = module.to_str().unwrap();
    let cases = [
        ("f64", "1e300", "1e300\n"),
        ("f64", "0x1.8p3", "12\n"),
        ("f64", "nan:0x123", "nan:0x123\n"),
        ("f32", "nan:0x200000", "nan:0x200000\n"),
        ("f32", "-nan", "-nan\n"),
        ("f32", "0.1", "0.1\n"),
        ("f64", "-inf", "-inf\n"),
    ];
    for (function, argument, printed) in cases {
        midair([&format!("--invoke={function}"), module, argument]).expect(0, printed);
        midair([&format!("--invoke={function}"), module, "--", argument]).expect(0, printed);
    }
}

#[test]
fn assertions_behind_a_refused_module_do_not_run_in_the_one_before_it() {
    let script = file(
        "refused",
        "refused.wast",
        r#"(module (func (export "f") (result i32) (i32.const 1)))
        (module (func (export "f") (result i64) (i32.const 1)))
        (assert_return (invoke "f") (i32.const 1))"#,
    );
    let run = midair(["wast", script.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}{}", run.stdout, run.stderr);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("there is no instance") && all.contains("1 passed, 2 failed"), "{all}");
}

/// How a process ends by itself; by SIGKILL if it does not.
fn end_of(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    process.wait().unwrap()
}

#[test]
fn statistics_are_written_when_a_signal_ends_the_program() {
    let path = functions("interrupted");
    let mut midair = Command::new(env!("CARGO_BIN_EXE_midair"))
        .args(["--stats=json", "--invoke=forever", &path])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = midair.id() as libc::pid_t;
    // Until it is handled, the signal ends the process at once, and then nothing has been written.
    let handles_it = || {
        std::fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|status| {
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            caught.is_some_and(|mask| mask & (1 << (libc::SIGINT - 1)) != 0)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !handles_it() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: a plain system call; the process has not been waited for.
    unsafe { libc::kill(id, libc::SIGINT) };
    let status = end_of(&mut midair);
    let mut written = String::new();
    midair.stderr.take().unwrap().read_to_string(&mut written).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{written}");
    assert!(written.trim_start().starts_with('{'), "{written}");
}

#[test]
fn a_fault_that_somebody_sends_ends_the_program() {
    let text = HELLO.replace("(call $proc_exit (i32.const 3))", "(loop (br 0))");
    let module = file("sent", "forever.wat", text);
    for tier in ["interp", "optimized"] {
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
            let mut midair = Command::new(env!("CARGO_BIN_EXE_midair"))
                .arg(format!("--tier={tier}"))
                .arg(&module)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = [0; 6];
            let read = midair.stdout.take().unwrap().read_exact(&mut said);
            // SAFETY: a plain system call; the process has not been waited for.
            unsafe { libc::kill(midair.id() as libc::pid_t, signal) };
            assert_eq!(end_of(&mut midair).signal(), Some(signal), "{tier}");
            read.unwrap();
        }
    }
}

#[test]
fn an_exception_that_nothing_catches_is_told_as_a_trap_is() {
    let text = r#"(module $m
        (tag $disk_full (param i32 f64))
        (func $write (throw $disk_full (i32.const 28) (f64.const 0.5)))
        (func $main (export "_start") (call $write)))"#;
    let path = file("exceptions", "throws.wat", text);
    let path = path.to_str().unwrap();
    midair(["run", path]).expect(134, "").says(&[
        "error: uncaught exception: tag disk_full (28, 0.5)",
        "m!write",
        "m!main",
    ]);
}
