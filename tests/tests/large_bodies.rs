//! Bodies with as many locals and operands as valid modules can have: they do the same as small ones, in every
//! tier and wherever their frames move.
//!
//! Each body comes in several sizes: its locals spread over more or fewer declared ones, and its work done on top
//! of operands that cancel out in the end. The smallest runs on wasmi, which is the oracle.

use midair::{Caller, Config, Engine, Linker, Module, Policy, Store, StressSpec, Tier, Trap, Val};
use midair_tests::differential::{difference, observe_midair, observe_wasmi};
use std::fmt::Write;

/// How large a body is made.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Declared locals, over which those in use are spread.
    locals: usize,
    /// Operands below everything that is computed: a multiple of 6.
    operands: usize,
}

const SMALL: Size = Size { locals: 8, operands: 0 };
/// As many locals as validation allows; as many operands as a body of a megabyte has; both; and what can be
/// compiled of both.
const LARGE: [Size; 4] = [
    Size { locals: 49_999, operands: 0 },
    Size { locals: 8, operands: 300_000 },
    Size { locals: 40_000, operands: 60_000 },
    COMPILED,
];
const COMPILED: Size = Size { locals: 35_000, operands: 1_200 };

impl Size {
    /// Index of the `n`th of 8 locals in use, of which parameter 0 is none.
    fn local(self, n: usize) -> usize {
        1 + n * (self.locals - 1) / 7
    }

    /// Pushes operands of all sorts, each twice.
    fn push_operands(self, out: &mut String) {
        for i in 0..self.operands {
            let n = i % (self.operands / 2);
            match n % 3 {
                0 => writeln!(out, "(i64.const {n})"),
                1 => writeln!(out, "(i64.extend_i32_s (local.get 0))"),
                _ => writeln!(out, "(local.get {})", self.local(n % 8)),
            }
            .unwrap();
        }
    }

    /// The module; `extra` comes into the loop's body.
    fn module(self, extra: &str) -> String {
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| self.local(n));
        let mut operands = String::new();
        self.push_operands(&mut operands);
        let fold = "i64.xor\n".repeat(self.operands);
        format!(
            r#"(module
    (import "host" "touch" (func $touch (param i64) (result i64)))
    (type $binary (func (param i64 i64) (result i64)))
    (memory (export "memory") 1 2)
    (table (export "table") 3 funcref)
    (elem (i32.const 0) func $mix $less)
    (global $g (export "g") (mut i64) (i64.const 5))
    (func $mix (type $binary)
        (i64.add (i64.rotl (local.get 0) (i64.const 13)) (i64.mul (local.get 1) (i64.const 31))))
    (func $less (type $binary)
        (i64.sub (local.get 0) (local.get 1)))
    (func $two (param i64) (result i64 i64)
        (i64.sub (i64.const 0) (local.get 0)) (local.get 0))
    (func $f (export "f") (param i32) (result i64 f64 i32) (local {locals})
        (local.set 0 (i32.and (local.get 0) (i32.const 15)))
        (local.set {a} (i64.const 3))
        (local.set {h} (i64.const 0x123456789abcdef))
        {operands}
        (loop $l
            (local.set {a} (call $mix (local.get {a}) (i64.extend_i32_u (local.get 0))))
            (local.set {b} (i64.add (local.get {b})
                (call_indirect (type $binary) (local.get {a}) (local.get {c})
                    (i32.wrap_i64 (i64.and (local.get {a}) (i64.const 1))))))
            (i64.store offset=64
                (i32.and (i32.wrap_i64 (local.get {a})) (i32.const 0xff8)) (local.get {b}))
            (i32.store8 (i32.add (local.get 0) (i32.const 80)) (i32.const 7))
            (local.set {c} (i64.xor (local.get {c})
                (i64.load offset=72 (i32.shl (local.get 0) (i32.const 3)))))
            (block $three (block $two (block $one
                (br_table $one $two $three (i32.and (local.get 0) (i32.const 3))))
                (local.set {d} (i64.add (local.get {d}) (i64.const 1)))
                (br $three))
                (local.set {d} (i64.shr_s (local.get {h}) (local.get {d}))))
            (call $two (local.get {d}))
            (local.set {e} (i64.add (local.get {h})))
            (local.set {f} (i64.sub (local.get {e})))
            (local.set {g} (select (local.get {a}) (local.get {b})
                (i64.lt_u (local.get {c}) (local.get {d}))))
            (if (i64.lt_s (local.get {g}) (local.get {f}))
                (then (local.set {h} (i64.add (local.get {h}) (local.get {g}))))
                (else (global.set $g (local.get {f}))))
            (local.set {f} (call $touch (local.get {f})))
            (if (i32.eq (local.get 0) (i32.const 9))
                (then (local.set {f} (i64.div_s (local.get {f}) (i64.const 0)))))
            (if (i32.eq (local.get 0) (i32.const 12))
                (then (i64.store (i32.const -1) (local.get {f}))))
            {extra}
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $l (i32.gt_s (local.get 0) (i32.const 0))))
        (local.get {h})
        {fold}
        (f64.convert_i64_s (i64.xor (local.get {f}) (local.get {g})))
        (i32.wrap_i64 (local.get {b})))
    (func (export "trapping") (param i32) (result i64)
        (local i64)
        (loop $l
            (call $f (i32.or (local.get 0) (i32.const 8)))
            (drop) (drop)
            (local.set 1 (i64.add (local.get 1)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $l (i32.and (local.get 0) (i32.const 3))))
        (local.get 1)))"#,
            locals = "i64 ".repeat(self.locals),
        )
    }
}

fn config(tier: Tier, stress: &str) -> Config {
    let mut config = Config::new();
    config.tier(tier).max_wasm_stack(24 << 20).background_compilation(false).optimized_threshold(5);
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>().unwrap());
    }
    config
}

/// On a thread with enough stack for the guests.
fn with_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(test);
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs all sizes and compares them with the smallest on wasmi.
fn check(ways: &'static [(Tier, &'static str)]) {
    with_stack(move || {
        let small = wat::parse_str(SMALL.module("")).unwrap();
        let expected = observe_wasmi(&small).unwrap();
        let conclusive = |observed: &[midair_tests::differential::Observation]| {
            assert!(observed.iter().all(|one| !one.is_inconclusive()), "out of stack");
        };
        conclusive(&expected);
        for size in [SMALL].into_iter().chain(LARGE) {
            let wasm = wat::parse_str(size.module("")).unwrap();
            for &(tier, stress) in ways {
                let actual = observe_midair(&config(tier, stress), &wasm).unwrap();
                conclusive(&actual);
                if let Some(text) = difference(&expected, &actual, false) {
                    panic!("{size:?} in {tier:?} under `{stress}`: {text}");
                }
            }
        }
    });
}

#[test]
fn large_bodies_are_interpreted() {
    check(&[(Tier::Interp, ""), (Tier::Interp, "osr:1,retire:1")]);
}

#[test]
fn large_bodies_run_where_code_is_compiled() {
    check(&[(Tier::Baseline, ""), (Tier::Optimized, ""), (Tier::Auto, "")]);
}

#[test]
fn frames_of_large_bodies_move_between_the_tiers() {
    check(&[(Tier::Auto, "osr:1,retire:1"), (Tier::Optimized, "osr:2,retire:3")]);
}

#[test]
fn large_bodies_run_in_mixed_tiers() {
    check(&[(Tier::Auto, "mixed:1,seed:1"), (Tier::Auto, "osr:1,retire:1,mixed:2,seed:2")]);
}

/// What the host does while a large frame is suspended.
struct Host {
    module: Module,
    /// The body that it gets.
    text: String,
    seen: Vec<Vec<Val>>,
}

/// A frame is listed with all of its values, and goes on in another body.
#[test]
fn frames_of_large_bodies_are_listed_and_replaced() {
    let size = COMPILED;
    let (last, edit) = (size.local(7), "(call $touch (i64.const -1)) (drop)");
    let text = move |step: i32| {
        let step = format!("(local.set {last} (i64.add (local.get {last}) (i64.const {step})))");
        size.module(&(edit.to_owned() + &step))
    };
    let run = move |tier: Tier, stress: &str, replaced: bool| {
        let engine = Engine::new(&config(tier, stress)).unwrap();
        let module = Module::new(&engine, text(1)).unwrap();
        let mut linker = Linker::new(&engine);
        let touch = |mut caller: Caller<'_, Host>, n: i64| -> midair::Result<i64> {
            if n != -1 {
                return Ok(n ^ 5);
            }
            let frames = caller.frames();
            let locals = frames[0].locals().iter().cloned();
            let locals = locals.map(|value| value.unwrap_or(Val::I64(0)));
            let values = locals.chain(frames[0].operands().iter().cloned()).collect();
            caller.data_mut().seen.push(values);
            let text = std::mem::take(&mut caller.data_mut().text);
            if !text.is_empty() {
                let module = caller.data().module.clone();
                let function = module.function_index("f").unwrap();
                let body = Module::new(module.engine(), text)?.function_body("f").unwrap();
                module.update().body(function, body).policy(function, Policy::Migrate).apply()?;
            }
            Ok(0)
        };
        linker.func_wrap("host", "touch", touch).unwrap();
        let text = if replaced { text(1000) } else { String::new() };
        let host = Host { module: module.clone(), text, seen: Vec::new() };
        let mut store = Store::new(&engine, host);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, (i64, f64, i32)>(&mut store, "f").unwrap();
        let result = f.call(&mut store, 5).unwrap();
        (result, std::mem::take(&mut store.data_mut().seen))
    };
    with_stack(move || {
        for replaced in [false, true] {
            let (expected, frames) = run(Tier::Interp, "", replaced);
            assert_eq!(frames.len(), 5);
            assert!(frames.iter().all(|values| values.len() == 1 + size.locals + size.operands));
            for (tier, stress) in [
                (Tier::Auto, ""),
                (Tier::Optimized, ""),
                (Tier::Auto, "osr:1,retire:1"),
                (Tier::Auto, "mixed:1"),
            ] {
                let (result, listed) = run(tier, stress, replaced);
                assert_eq!(result, expected, "{tier:?} {stress} {replaced}");
                // Operands are the same everywhere; locals as far as they are live.
                for (a, b) in frames.iter().zip(&listed) {
                    let same = |i: usize| format!("{:?}", a[i]) == format!("{:?}", b[i]);
                    assert!((1 + size.locals..a.len()).all(same), "{tier:?} {stress}");
                    assert!([0, last].into_iter().all(same), "{tier:?} {stress}");
                }
            }
        }
    });
}

/// What traps says where, as in small bodies.
#[test]
fn a_trap_in_a_large_body_has_its_place() {
    with_stack(|| {
        let text = |size: Size| {
            let pushes = "(local.get 0)".repeat(size.operands);
            let drops = "drop ".repeat(size.operands);
            let last = size.locals;
            format!(
                "(module (func (export \"f\") (param i32) (local {}) {pushes}
                    (local.set {last} (local.get 0))
                    (drop (i32.div_u (i32.const 1) (local.get {last}))) {drops}))",
                "i32 ".repeat(size.locals)
            )
        };
        for size in [SMALL].into_iter().chain(LARGE) {
            let wasm = wat::parse_str(text(size)).unwrap();
            // The end of the body: a division, a drop for it, all other drops, and the end.
            let division = wasm.len() - 1 - size.operands - 1 - 1;
            assert_eq!(wasm[division], 0x6e, "i32.div_u");
            for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized] {
                let engine = Engine::new(&config(tier, "")).unwrap();
                let module = Module::new(&engine, &wasm).unwrap();
                let mut store = Store::new(&engine, ());
                let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
                let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
                f.call(&mut store, 1).unwrap();
                let error = f.call(&mut store, 0).unwrap_err();
                assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero), "{error:#}");
                let backtrace = error.downcast_ref::<midair::WasmBacktrace>();
                let frame = &backtrace.expect("a backtrace").frames()[0];
                assert_eq!(frame.module_offset(), Some(division), "{size:?} in {tier:?}");
            }
        }
    });
}

/// A frame that does not fit the stack overflows it, whatever its size.
#[test]
fn a_frame_that_is_too_large_for_the_stack_overflows_it() {
    let results = "i64 ".repeat(1000);
    let calls = "(call $many) ".repeat(5000);
    let texts = [
        format!("(module (func (export \"f\") (local {})))", "i64 ".repeat(50_000)),
        // The operands alone are 40 MB.
        format!(
            "(module (func $many (result {results}) (unreachable))
                (func (export \"f\") {calls} (unreachable)))"
        ),
    ];
    for (text, stack) in texts.iter().zip([64 << 10, 1 << 20]) {
        for tier in [Tier::Interp, Tier::Auto] {
            for lazy in [false, true] {
                let mut config = Config::new();
                config.tier(tier).max_wasm_stack(stack).lazy_validation(lazy);
                let engine = Engine::new(&config).unwrap();
                let module = Module::new(&engine, text).unwrap();
                let mut store = Store::new(&engine, ());
                let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
                let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
                for _ in 0..3 {
                    let error = f.call(&mut store, ()).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow), "{error:#}");
                }
            }
        }
    }
}

/// Tables of branches to so many blocks, at each of which the operands that they take along lie elsewhere.
fn tables_of_results(blocks: usize, tables: usize) -> String {
    let results = "i64 ".repeat(RESULTS);
    let labels: String = (1..=blocks).map(|n| format!("{n} ")).collect();
    let operands: String =
        (1..=RESULTS).map(|n| format!("(i64.mul (local.get $x) (i64.const {n}))")).collect();
    // Goes on with the next table but for one number.
    let tables: String = (0..tables)
        .map(|n| {
            format!(
                "(block (br_if 0 (i32.ne (local.get $table) (i32.const {n})))
                    {operands} (br_table {labels} (local.get $n)))\n"
            )
        })
        .collect();
    let fold = "i64.sub ".repeat(RESULTS);
    let (begin, end) = (
        format!("(i64.const 5) (block $b (result {results})\n").repeat(blocks),
        format!(") {fold} (local.set $x) {operands}\n").repeat(blocks),
    );
    format!(
        "(module (func (export \"f\") (param $table i32) (param $n i32) (param $x i64) (result i64)
            {begin} {tables} {operands} {end} {}))",
        "i64.xor ".repeat(RESULTS - 1)
    )
}

const RESULTS: usize = 16;

#[test]
fn code_for_tables_with_many_operands_stays_in_proportion() {
    let text = tables_of_results(100, 100);
    let mut interpreted = Config::new();
    interpreted.tier(Tier::Interp);
    let mut baseline = Config::new();
    baseline.tier(Tier::Baseline);
    let mut compiled = Config::new();
    compiled.tier(Tier::Optimized);
    let [expected, interpreted, baseline] = [compiled, interpreted, baseline].map(|config| {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, &text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<(i32, i32, i64), i64>(&mut store, "f").unwrap();
        let results = [(0, 0), (7, 3), (99, 98), (50, 99), (50, -1), (100, 0)]
            .map(|(table, n)| f.call(&mut store, (table, n, 1_234_567)).unwrap());
        let (lowered, bytecode) = {
            let lowering = engine.stats().lowering;
            (lowering.code_bytes, lowering.bytecode_bytes)
        };
        assert!(lowered < 40 * bytecode.max(1), "{bytecode} bytes become {lowered}");
        results
    });
    assert_eq!(interpreted, expected);
    assert_eq!(baseline, expected);
}

/// Tables of branches that lead back to so many loops. At the headers of the loops other values are in registers than at the
/// tables.
fn tables_of_loops(loops: usize, tables: usize) -> String {
    let sums = |locals: std::ops::Range<usize>| -> String {
        locals
            .map(|n| {
                format!(
                    "(local.set $i{n} (i32.add (i32.mul (local.get $i{n}) (i32.const 3)) (local.get $n)))
                     (local.set $f{n} (f64.add (local.get $f{n}) (f64.const {n})))\n"
                )
            })
            .collect()
    };
    let locals: String =
        (0..40).map(|n| format!("(local $i{n} i32) (local $f{n} f64)\n")).collect();
    let labels: String = (1..=loops).map(|n| format!("{n} ")).collect();
    let table = format!("(block (br_table {labels} 0 (local.get $n)))\n");
    let all: String = (0..40).map(|n| format!("(local.get $i{n}) i32.xor\n")).collect();
    let all_floats: String = (0..40).map(|n| format!("(local.get $f{n}) f64.add\n")).collect();
    format!(
        "(module (func (export \"f\") (param $n i32) (result i32 f64) {locals}
            {} {}
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            {} {} {}
            (i32.const 0) {all} (f64.const 0) {all_floats}))",
        sums(0..20),
        "(loop ".repeat(loops),
        sums(20..40),
        table.repeat(tables),
        ")".repeat(loops),
    )
}

#[test]
fn code_for_many_branches_to_loops_stays_in_proportion() {
    let text = tables_of_loops(100, 500);
    let mut interpreted = Config::new();
    interpreted.tier(Tier::Interp);
    let mut baseline = Config::new();
    baseline.tier(Tier::Baseline);
    let [expected, found] = [interpreted, baseline].map(|config| {
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, &text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, (i32, f64)>(&mut store, "f").unwrap();
        let results = [0, 1, 7, 60, 100, 101].map(|n| f.call(&mut store, n).unwrap());
        let code = engine.stats().baseline_compilation;
        assert!(code.code_bytes < 10 * code.bytecode_bytes.max(1), "{code:?}");
        results
    });
    assert_eq!(found, expected);
}
