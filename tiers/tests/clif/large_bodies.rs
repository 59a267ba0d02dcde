//! Bodies of unusual size: compiled in reasonable time, or refused.

use crate::module::TestModule;
use midair_tiers::{CodegenSettings, CompileError, CompileOptions, Compiler, EntryPoint};
use std::time::{Duration, Instant};

/// Far more than these compilations take, far less than a quadratic algorithm would.
const PATIENCE: Duration = Duration::from_secs(60);

fn compile(name: &str, locals: usize, code: &str) -> [Result<usize, CompileError>; 2] {
    let locals = "i32 ".repeat(locals);
    let module = TestModule::from_wat(&format!(
        "(module (func $callee (param i32) (result i32) local.get 0)
           (func (param i32) (result i32) (local {locals}) {code}))"
    ));
    let compiler = Compiler::with_verifier(false).expect("a supported processor");
    [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED].map(|settings| {
        let start = Instant::now();
        let options = CompileOptions::new(settings);
        let result =
            compiler.compile(&module.env, &module.bodies[1], EntryPoint::Function, &options);
        let result = result.map(|description| description.bytes.len());
        let time = start.elapsed();
        eprintln!("{name}, {settings}: {time:?}, {result:?}");
        assert!(time < PATIENCE, "{name} took {time:?}");
        result
    })
}

fn assert_compiles(name: &str, locals: usize, code: &str) {
    for result in compile(name, locals, code) {
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

fn assert_too_large(name: &str, locals: usize, code: &str) {
    for result in compile(name, locals, code) {
        assert!(matches!(result, Err(CompileError::TooLarge(_))), "{name}: {result:?}");
    }
}

#[test]
fn many_blocks() {
    let block = "local.get 0 if local.get 1 local.get 0 i32.add local.set 1 end ";
    let code = |count| format!("{} local.get 1", block.repeat(count));
    assert_compiles("2,000 blocks", 20, &code(2_000));
    // Single-pass register allocation gives each block's parameter a stack slot of its own.
    let [baseline, optimized] = compile("10,000 blocks", 20, &code(10_000));
    assert!(matches!(baseline, Err(CompileError::TooLarge(_))), "{baseline:?}");
    assert!(optimized.is_ok(), "{optimized:?}");
}

#[test]
fn a_table_of_very_many_labels() {
    // Each label's code makes new values, of which all others may be where they come from.
    let code = |labels: usize| {
        let table: String = (0..labels).map(|n| format!("{n} ")).collect();
        let cases: String = (0..labels)
            .map(|n| {
                format!(
                    "end local.get {} i32.const {n} i32.add local.set {} ",
                    1 + n % 9,
                    1 + (n + 1) % 9
                )
            })
            .collect();
        format!("{} local.get 0 br_table {table} 0 {cases} local.get 1", "block ".repeat(labels))
    };
    assert_compiles("1,000 labels", 10, &code(1_000));
    assert_too_large("20,000 labels", 10, &code(20_000));
}

#[test]
fn many_locals() {
    let uses: String = (1..20_000).map(|n| format!("local.get 0 local.set {n} ")).collect();
    assert_compiles("20,000 locals", 20_000, &format!("{uses} local.get 19999"));
}

#[test]
fn many_locals_in_many_blocks() {
    let uses: String =
        (1..20_000).map(|n| format!("local.get 0 if local.get 0 local.set {n} end ")).collect();
    assert_too_large("20,000 locals and blocks", 20_000, &format!("{uses} local.get 19999"));
}

#[test]
fn deep_nesting() {
    let (open, close) = ("block ".repeat(10_000), "local.get 0 br_if 0 end ".repeat(10_000));
    assert_compiles("10,000 nested blocks", 1, &format!("{open} {close} local.get 0"));
    let (open, close) = ("loop ".repeat(1_000), "local.get 0 br_if 0 end ".repeat(1_000));
    assert_compiles("1,000 nested loops", 1, &format!("{open} {close} local.get 0"));
}

#[test]
fn a_large_branch_table() {
    let targets = "0 1 2 0 ".repeat(5_000);
    let code =
        format!("block block block local.get 0 br_table {targets} 0 end end end i32.const 7");
    assert_compiles("a table of 20,000 targets", 1, &code);
}

#[test]
fn many_calls_with_many_live_locals() {
    let set: String =
        (1..300).map(|n| format!("local.get 0 i32.const {n} i32.mul local.set {n} ")).collect();
    let get: String = (1..300).map(|n| format!("local.get {n} i32.add ")).collect();
    let calls = "call $callee ".repeat(2_000);
    let code = format!("{set} local.get 0 {calls} {get}");
    assert_compiles("2,000 calls with 300 live locals", 300, &code);
}

#[test]
fn a_frame_beyond_the_limit() {
    let count = 12_000;
    let set: String = (1..count)
        .map(|n| format!("local.get 0 i32.const {n} i32.mul call $callee local.set {n} "))
        .collect();
    let get: String = (1..count).map(|n| format!("local.get {n} i32.add ")).collect();
    assert_too_large("12,000 live locals", count, &format!("{set} i32.const 0 {get}"));
}

/// Calls that pass their values in memory, where the time of backtracking register allocation grows with the square
/// of their number.
#[test]
fn many_values_that_calls_pass_in_memory() {
    let compile = |values: usize, calls: usize| {
        let types = "i32 ".repeat(values);
        let get = "local.get 0 ".repeat(values);
        let (calls, drop) = ("call $callee ".repeat(calls), "drop ".repeat(values));
        let module = TestModule::from_wat(&format!(
            "(module (func $callee (param {types}) (result {types}) {get})
               (func (param i32) {get} {calls} {drop}))"
        ));
        let compiler = Compiler::with_verifier(false).expect("a supported processor");
        let options = CompileOptions::default();
        let start = Instant::now();
        let result =
            compiler.compile(&module.env, &module.bodies[1], EntryPoint::Function, &options);
        eprintln!("{values} values, {:?}", start.elapsed());
        result
    };
    assert!(compile(1000, 30).is_ok());
    // Ten times as many as any function of a C compiler has.
    assert!(compile(20, 1_500).is_ok());
    // It took a minute.
    let many = compile(1000, 200);
    assert!(matches!(many, Err(CompileError::TooLarge(_))), "{many:?}");
}

/// Values in registers are not counted, however many calls there are.
#[test]
fn many_calls_that_pass_values_in_registers() {
    assert_compiles("7,000 calls", 1, &format!("local.get 0 {}", "call $callee ".repeat(7_000)));
}
