//! Kinds of faults that engines are known for, looked for in every tier and while frames change theirs.

use midair::{Config, StressSpec, Tier};
use midair_cli::wast;
use midair_watchdog::Watchdog;

const SCHEDULES: [(Tier, &str); 10] = [
    (Tier::Interp, ""),
    (Tier::Baseline, ""),
    (Tier::Optimized, ""),
    (Tier::Auto, ""),
    (Tier::Baseline, "osr:1,retire:1"),
    (Tier::Baseline, "mixed:2"),
    (Tier::Optimized, "osr:1,retire:1"),
    (Tier::Auto, "mixed:1"),
    (Tier::Auto, "mixed:2,osr:3,retire:2,seed:1"),
    (Tier::Interp, "far:7"),
];

fn run_with(mut config: Config, stress: &str, what: &str, script: &str) {
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>().expect("a schedule"));
    }
    let report = wast::run_script(&config, what, script);
    for failure in report.failures.iter().take(20) {
        println!("{failure}");
    }
    assert!(
        report.passed > 0 && report.failures.is_empty() && report.skipped == 0,
        "{what}: {report}"
    );
}

/// Runs a script in everything that functions may run in.
fn run(script: &str) {
    for (tier, stress) in SCHEDULES {
        let mut config = wast::config();
        config.tier(tier);
        run_with(config, stress, &format!("{tier:?} {stress}"), script);
    }
}

#[test]
fn pushed_values_do_not_follow_their_locals() {
    let _watchdog = Watchdog::start();
    run(include_str!("pushed_values.wast"));
}

/// Ways to call a function, and ways in which it can come back.
const WAYS: [(&str, &str); 16] = [
    ("call", "(call $grow (local.get 0))"),
    ("own function", "(call $own (local.get 0))"),
    ("tail call of its own", "(call $tail (local.get 0))"),
    ("tail calls in a row", "(call $tails (local.get 0))"),
    ("tail call of theirs", "(call $grow_tail (local.get 0))"),
    ("table", "(call_indirect $f (type $t) (local.get 0) (i32.const 0))"),
    ("tail call by a table", "(call $table_tail (local.get 0))"),
    ("reference", "(call_ref $t (local.get 0) (ref.func $grow))"),
    ("tail call by a reference", "(call $ref_tail (local.get 0))"),
    (
        "exception",
        "(block $h (result i32)
            (try_table (result i32) (catch $e $h) (call $throws (local.get 0)) (i32.const 0)))",
    ),
    (
        "exception of its own",
        "(block $h (result i32)
            (try_table (result i32) (catch $e $h) (call $own_throws (local.get 0)) (i32.const 0)))",
    ),
    (
        "any exception",
        "(block $h (try_table (catch_all $h) (call $own_throws (local.get 0))) (unreachable))
            (local.get 0)",
    ),
    (
        "exception of a tail call, whose own handlers are gone",
        "(block $h (result i32) (try_table (result i32) (catch $e $h) (call $gone (local.get 0))))",
    ),
    (
        "thrown again",
        "(block $o (result i32)
            (try_table (catch $e $o)
                (block $h (result exnref)
                    (try_table (catch_all_ref $h) (call $own_throws (local.get 0)))
                    unreachable)
                throw_ref)
            unreachable)",
    ),
    ("legacy", "try (result i32) (call $throws (local.get 0)) (i32.const 0) catch $e end"),
    (
        "rethrown",
        "try (result i32)
            try (call $own_throws (local.get 0)) catch_all rethrow 0 end (i32.const 0)
        catch $e end",
    ),
];

/// An instance whose function grows its memories and its table, and writes to what is new and to globals; another one
/// that shares all of it, and has it in other places; and what the second one sees when a call came back.
fn script(ty: &str, shared: &str, is_first: bool) -> String {
    let address = |text: &str| match ty {
        "i64" => format!("(i64.extend_i32_u {text})"),
        _ => text.to_owned(),
    };
    let pages = match ty {
        "i64" => "(i32.wrap_i64 (memory.size $m))",
        _ => "(memory.size $m)",
    };
    let last = address(&format!("(i32.sub (i32.mul {pages} (i32.const 65536)) (i32.const 4))"));
    let memory = format!("{ty} 1 90 {shared}");
    let memories = [
        format!(r#"(import "a" "m" (memory $m {memory}))"#),
        r#"(import "a" "n" (memory $n 1 90))"#.to_owned(),
    ];
    let memories = if is_first { memories.concat() } else { memories[1].clone() + &memories[0] };
    let one = if ty == "i64" { "(i64.const 1)" } else { "(i32.const 1)" };
    let zero = address("(i32.const 0)");
    let end = "(i32.sub (i32.mul (memory.size $n) (i32.const 65536)) (i32.const 1))";
    let mut text = format!(
        r#"(module $a
            (memory $m (export "m") {memory}) (memory $n (export "n") 1 90)
            (table (export "t") 1 400 funcref) (elem declare func $last)
            (global $g (export "g") (mut i32) (i32.const 0))
            (global $v (export "v") (mut v128) (v128.const i64x2 0 0))
            (tag $e (export "e") (param i32))
            (func $last (result i32) (i32.const 77))
            (func $grow (export "grow") (param i32) (result i32)
                (drop (memory.grow $m {one})) (drop (memory.grow $n (i32.const 1)))
                (drop (table.grow (ref.func $last) (i32.const 1)))
                (global.set $g (i32.add (local.get 0) (i32.const 2)))
                (global.set $v (i64x2.splat (i64.extend_i32_u (local.get 0))))
                (i32.store $m {last} (i32.add (local.get 0) (i32.const 1000)))
                (i32.store8 $n {end} (i32.const 200))
                (local.get 0))
            (func (export "grow_tail") (param i32) (result i32) (return_call $grow (local.get 0)))
            (func (export "throws") (param i32) (throw $e (call $grow (local.get 0)))))
        (register "a" $a)
        (module
            {memories}
            (type $t (func (param i32) (result i32)))
            (import "a" "t" (table $t 1 400 funcref))
            (import "a" "g" (global $g (mut i32))) (import "a" "v" (global $v (mut v128)))
            (import "a" "e" (tag $e (param i32)))
            (import "a" "grow" (func $grow (type $t)))
            (import "a" "grow_tail" (func $grow_tail (type $t)))
            (import "a" "throws" (func $throws (param i32)))
            (table $f 1 funcref) (elem (table $f) (i32.const 0) func $grow)
            (func $own (type $t) (call $grow (local.get 0)))
            (func $tail (type $t) (return_call $grow (local.get 0)))
            (func $tails (type $t) (local f64 i64) (return_call $tail (local.get 0)))
            (func $table_tail (type $t)
                (return_call_indirect $f (type $t) (local.get 0) (i32.const 0)))
            (func $ref_tail (type $t) (return_call_ref $t (local.get 0) (ref.func $grow)))
            (func $own_throws (param i32) (call $throws (local.get 0)))
            (func $gone (type $t)
                (block $h (result i32)
                    (try_table (result i32) (catch $e $h) (return_call $gone_too (local.get 0))))
                (i32.add (i32.const 5)))
            (func $gone_too (type $t)
                (block $h (result i32)
                    (try_table (result i32) (catch $e $h) (return_call $not_gone (local.get 0))))
                (i32.add (i32.const 7)))
            (func $not_gone (type $t) (call $throws (local.get 0)) (i32.const 3))"#
    );
    for (name, way) in WAYS {
        // All of it is read before, and the call is in a loop too.
        text += &format!(
            r#"(func (export "{name}") (param i32) (result i32 i32 i32 i32 i32 i64) (local i32 i32)
                (drop (i32.load $m {zero})) (drop (i32.load8_u $n (i32.const 0)))
                (if (i32.or (global.get $g) (i64x2.all_true (global.get $v)))
                    (then (if (i32.eqz (table.size $t)) (then unreachable))))
                (loop $l
                    (local.set 1 (i32.add (i32.load $m {last}) {way}))
                    (br_if $l (i32.lt_u
                        (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 2))))
                (local.get 1) (i32.load $m {last}) (i32.load8_u $n {end})
                (call_indirect $t (result i32) (i32.sub (table.size $t) (i32.const 1)))
                (global.get $g) (i64x2.extract_lane 1 (global.get $v)))"#
        );
    }
    text += ")";
    for (k, (name, _)) in (1..).zip(WAYS) {
        // The second time around, what the first call has written is read before the call.
        text += &format!(
            r#"(assert_return (invoke "{name}" (i32.const {k})) (i32.const {}) (i32.const {})
                (i32.const 200) (i32.const 77) (i32.const {}) (i64.const {k}))"#,
            2 * k + 1000,
            k + 1000,
            k + 2
        );
    }
    text
}

#[test]
fn what_a_callee_changes_is_seen_however_it_comes_back() {
    let _watchdog = Watchdog::start();
    for (ty, shared, is_first) in [
        ("i32", "", true),
        ("i32", "", false),
        ("i32", "shared", true),
        ("i64", "", true),
        ("i64", "shared", false),
    ] {
        run(&script(ty, shared, is_first));
    }
}
