//! Large modules: an edit takes time in proportion to the module.

use super::Running;
use std::fmt::Write as _;

/// What a module with so many items looks like, before and after an edit.
type Edit = fn(count: usize, after: bool) -> String;

/// Processor time of this thread, in seconds: whatever else the machine does.
fn thread_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The least time of some attempts at finding out what an edit changes.
fn time(edit: Edit, count: usize) -> f64 {
    let running = Running::new(edit(count, false));
    let new = running.load(edit(count, true));
    let attempt = |_| {
        let begin = thread_time();
        running.diff_to(&new).unwrap();
        thread_time() - begin
    };
    (0..5).map(attempt).fold(f64::INFINITY, f64::min)
}

fn module(count: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::from("(module");
    for i in 0..count {
        write!(text, "\n{}", item(i)).unwrap();
    }
    text + ")"
}

/// All named functions get another type.
fn retyped(count: usize, after: bool) -> String {
    let param = if after { "(param i32)" } else { "" };
    module(count, |i| format!("(func $f{i} {param} (result i32) (i32.const {i}))"))
}

/// All functions have no names, are all alike, and get another type but for every other one.
fn unnamed(count: usize, after: bool) -> String {
    module(count, |i| {
        let param = if after && i % 2 == 0 { "(param i32)" } else { "" };
        format!("(func {param} (result i32) (i32.const 1))")
    })
}

/// All functions are only known by their exports.
fn exported(count: usize, after: bool) -> String {
    let param = if after { "(param i32)" } else { "" };
    module(count, |i| format!(r#"(func (export "f{i}") {param} (result i32) (i32.const {i}))"#))
}

/// One of many named functions that call each other has another constant.
fn one_constant(count: usize, after: bool) -> String {
    module(count, |i| {
        let constant = if after && i == count / 2 { 0 } else { i };
        let callee = (i * 7 + 1) % count;
        format!("(func $f{i} (result i32) (i32.add (i32.const {constant}) (call $f{callee})))")
    })
}

/// As [`one_constant`], without names.
fn one_constant_unnamed(count: usize, after: bool) -> String {
    module(count, |i| {
        let constant = if after && i == count / 2 { 0 } else { i };
        let callee = (i * 7 + 1) % count;
        format!("(func (result i32) (i32.add (i32.const {constant}) (call {callee})))")
    })
}

/// Imports in the opposite order.
fn imports(count: usize, after: bool) -> String {
    module(count, |i| {
        let i = if after { count - 1 - i } else { i };
        format!(r#"(import "m" "f{i}" (func (param i32)))"#)
    })
}

/// Passive and active segments, all of which move.
fn segments(count: usize, after: bool) -> String {
    let moved = usize::from(after) * 4;
    module(count, |i| {
        let memory = if i == 0 { "(memory 32)" } else { "" };
        format!(r#"{memory} (data "{i}") (data (i32.const {}) "{i}")"#, 16 * i + moved)
    })
}

const EDITS: [(&str, Edit); 6] = [
    ("retyped", retyped),
    ("unnamed", unnamed),
    ("exported", exported),
    ("one constant", one_constant),
    ("one constant, unnamed", one_constant_unnamed),
    ("imports", imports),
];

#[test]
fn edits_take_time_in_proportion_to_the_module() {
    for (name, edit) in EDITS {
        let (small, large) = (time(edit, 2_000), time(edit, 16_000));
        // 8 times as much, and 64 times if something is quadratic.
        let ratio = large / small;
        assert!(ratio < 24.0, "{name}: {small} s, then {large} s");
    }
}

#[test]
fn refusals_take_time_in_proportion_to_the_module() {
    let time = |count| {
        let running = Running::new(segments(count, false));
        let new = running.load(segments(count, true));
        let attempt = |_| {
            let begin = thread_time();
            running.diff_to(&new).unwrap_err();
            thread_time() - begin
        };
        (0..5).map(attempt).fold(f64::INFINITY, f64::min)
    };
    let (small, large) = (time(2_000), time(16_000));
    assert!(large / small < 24.0, "{small} s, then {large} s");
}

/// What stands in `docs/benchmarks.md`.
#[test]
#[ignore = "a measurement"]
fn edits_of_50000_functions() {
    for (name, edit) in EDITS {
        println!("{name}: {:.3} s", time(edit, 50_000));
    }
}
