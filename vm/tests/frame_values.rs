//! Which values of a suspended frame go on in a new body: each is that of the same variable, or the frame stays.

use anyhow::{Context, Result};
use midair::{Caller, Config, Engine, Linker, Module, Store};

/// What a program reports, two values a call. The update is made in the third call.
type Log = Vec<(i32, i32)>;

fn program(body: &str) -> String {
    format!(
        r#"(module
            (import "host" "log" (func $log (param i32 i32)))
            (import "host" "tick" (func $tick (param i32)))
            (func (export "f") {body}))"#
    )
}

struct Host {
    module: Module,
    body: Option<Vec<u8>>,
    log: Log,
    told: Vec<String>,
}

/// Runs `old`, and makes it `new` in the third call of `log`.
fn run(old: &str, new: Option<&str>) -> Result<(Log, Vec<String>)> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, program(old))?;
    let body = match new {
        Some(new) => {
            let edited = Module::new(&engine, program(new))?;
            Some(edited.function_body("f").context("f")?.to_vec())
        }
        None => None,
    };
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "log",
        |mut caller: Caller<'_, Host>, a: i32, b: i32| -> Result<()> {
            let host = caller.data_mut();
            host.log.push((a, b));
            if host.log.len() == 3
                && let Some(body) = host.body.take()
            {
                let index = host.module.function_index("f").context("f")?;
                let report = host.module.replace_function(index, &body)?;
                host.told = report.refusals.iter().map(ToString::to_string).collect();
            }
            Ok(())
        },
    )?;
    linker.func_wrap("host", "tick", |mut caller: Caller<'_, Host>, a: i32| -> Result<()> {
        caller.data_mut().log.push((-1, a));
        Ok(())
    })?;
    let host = Host { module: module.clone(), body, log: Vec::new(), told: Vec::new() };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&mut store, "f")?.call(&mut store, ())?;
    let host = store.into_data();
    Ok((host.log, host.told))
}

/// The frame either stays in its old body, or goes on as `right` says.
fn never_wrong(old: &str, new: &str, right: &[(i32, i32)]) -> Result<()> {
    let (stayed, _) = run(old, None)?;
    let (log, told) = run(old, Some(new))?;
    anyhow::ensure!(
        log == stayed || log == right,
        "wrong state:\n  log   {log:?}\n  right {right:?}\n  stays {stayed:?}\n  told {told:?}"
    );
    println!("{}", if log == right { "applied" } else { "stayed" });
    Ok(())
}

fn two_counters(step: &str) -> String {
    format!(
        "(local $i i32) (local $j i32) (loop $l (call $log (local.get $i) (local.get $j)) \
         (local.set $j (i32.add (local.get $j) (i32.const {step}))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
    )
}

#[test]
fn a_counter_that_was_equal_to_another_goes_on_when_its_step_is_changed() -> Result<()> {
    never_wrong(&two_counters("1"), &two_counters("2"), &[(0, 0), (1, 1), (2, 2), (3, 4), (4, 6)])
}

#[test]
fn a_counter_that_becomes_wider_does_not_begin_anew() -> Result<()> {
    let old = "(local $i i32) (local $n i32) (loop $l (call $log (local.get $i) (local.get $n)) \
         (local.set $n (i32.add (local.get $n) (i32.const 3))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    let new = "(local $i i32) (local $n i64) (loop $l (call $log (local.get $i) (i32.wrap_i64 (local.get $n))) \
         (local.set $n (i64.add (local.get $n) (i64.const 3))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    never_wrong(old, new, &[(0, 0), (1, 3), (2, 6), (3, 9), (4, 12)])
}

#[test]
fn a_variable_that_the_old_frame_does_not_keep_does_not_begin_anew() -> Result<()> {
    let body = |read: &str| {
        format!(
            "(local $i i32) (local $last i32) (loop $l (call $log (local.get $i) (i32.const 0)) {read} \
             (local.set $last (i32.mul (local.get $i) (i32.const 3))) \
             (drop (i32.add (local.get $last) (i32.const 1))) \
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
        )
    };
    let right = [(0, 0), (1, 0), (2, 0), (-1, 3), (3, 0), (-1, 6), (4, 0), (-1, 9)];
    never_wrong(&body(""), &body("(call $tick (local.get $last))"), &right)
}

#[test]
fn a_variable_keeps_its_value_when_its_initial_value_is_changed() -> Result<()> {
    let body = |n: u32| {
        format!(
            "(local $i i32) (local $n i32) (local.set $n (i32.const {n})) \
             (loop $l (call $log (local.get $i) (local.get $n)) \
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
        )
    };
    never_wrong(&body(7), &body(8), &[(0, 7), (1, 7), (2, 7), (3, 7), (4, 7)])
}

#[test]
fn a_new_counter_begins_at_its_start_though_another_is_computed_alike() -> Result<()> {
    let old = "(local $i i32) (loop $l (call $log (local.get $i) (i32.const 0)) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    let new = "(local $i i32) (local $n i32) (loop $l (call $log (local.get $i) (local.get $n)) \
         (local.set $n (i32.add (local.get $n) (i32.const 1))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    never_wrong(old, new, &[(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)])
}

#[test]
fn a_variable_is_added_to_a_running_loop_and_the_locals_are_renumbered() -> Result<()> {
    let old = "(local $i i32) (local $s i32) (loop $l (call $log (local.get $i) (local.get $s)) \
         (local.set $s (i32.add (local.get $s) (local.get $i))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    let new = "(local $n i32) (local $s i32) (local $i i32) (loop $l (call $log (local.get $i) (local.get $s)) \
         (local.set $s (i32.add (local.get $s) (local.get $i))) \
         (call $tick (local.tee $n (i32.add (local.get $n) (i32.const 7)))) \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))";
    let right = [(0, 0), (1, 0), (2, 1), (-1, 7), (3, 3), (-1, 14), (4, 6), (-1, 21)];
    never_wrong(old, new, &right)
}

/// Each of these values is made of the one before it, twice: there are 2^31 ways down to the variable, whose initial
/// value is edited.
#[test]
fn values_that_are_made_of_shared_ones_are_compared_in_no_time() -> Result<()> {
    let body = |first: u32| {
        let doubled = "(local.set $s (i32.add (local.get $s) (local.get $s)))".repeat(31);
        format!(
            "(local $i i32) (local $s i32) (local.set $s (i32.const {first})) \
             (loop $l (call $log (local.get $i) (local.get $s)) {doubled} \
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
        )
    };
    let started = std::time::Instant::now();
    run(&body(1), Some(&body(2)))?;
    anyhow::ensure!(started.elapsed() < std::time::Duration::from_secs(5), "it took too long");
    Ok(())
}

/// A loop of five rounds, which logs, with what it does before it counts.
fn five_rounds(locals: &str, before: &str, logged: &str, round: &str) -> String {
    format!(
        "(local $i i32) {locals} {before} (loop $l (call $log (local.get $i) {logged}) {round} \
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
    )
}

#[test]
fn a_new_variable_that_gathers_begins_in_a_loop_that_counts() -> Result<()> {
    let old = five_rounds("", "", "(i32.const 0)", "");
    let step = "(local.set $n (i32.add (local.get $n) (local.get $i)))";
    let new = five_rounds("(local $n i32)", "", "(local.get $n)", step);
    let (log, told) = run(&old, Some(&new))?;
    anyhow::ensure!(log == [(0, 0), (1, 0), (2, 0), (3, 2), (4, 5)], "{log:?} {told:?}");
    Ok(())
}

/// What the last round has computed is not there any more, or never was.
#[test]
fn a_new_variable_that_each_round_computes_anew_does_not_begin_anew() -> Result<()> {
    let old = five_rounds("", "", "(i32.const 0)", "");
    let step = "(call $tick (local.get $n)) (local.set $n (i32.mul (local.get $i) (i32.const 3)))";
    let new = five_rounds("(local $n i32)", "", "(i32.const 0)", step);
    let right = [(0, 0), (1, 0), (2, 0), (-1, 3), (3, 0), (-1, 6), (4, 0), (-1, 9)];
    never_wrong(&old, &new, &right)
}

#[test]
fn a_variable_that_was_stepped_before_the_call_does_not_begin_anew() -> Result<()> {
    let locals = "(local $n i32)";
    let body = |first: u32, logged: &str, step: &str| {
        format!(
            "(local $i i32) {locals} (local.set $n (i32.const {first})) (loop $l {step} \
             (call $log (local.get $i) {logged}) \
             (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))"
        )
    };
    let old = body(1, "(i32.const 0)", "(local.set $n (i32.mul (local.get $n) (i32.const 3)))");
    let new = body(5, "(local.get $n)", "");
    never_wrong(&old, &new, &[(0, 0), (1, 0), (2, 0), (3, 27), (4, 27)])
}

#[test]
fn a_variable_that_is_set_only_sometimes_now_does_not_begin_anew() -> Result<()> {
    let body = |set: &str| {
        five_rounds(
            "(local $n i32)",
            "",
            "(i32.const 0)",
            &format!("{set} (call $tick (local.get $n))"),
        )
    };
    let set = "(local.set $n (i32.const 7))";
    let old = body(set);
    let new = body(&format!("(if (i32.eq (local.get $i) (i32.const 9)) (then {set}))"));
    let right =
        [(0, 0), (-1, 7), (1, 0), (-1, 7), (2, 0), (-1, 7), (3, 0), (-1, 7), (4, 0), (-1, 7)];
    // Both bodies show the same, if the variable is what it was.
    let (log, _) = run(&old, Some(&new))?;
    anyhow::ensure!(log == right, "{log:?}");
    Ok(())
}

/// One variable begins and goes on as the only one did before, and another one is used as that one was.
#[test]
fn a_variable_does_not_begin_anew_because_another_one_is_computed_as_it_was() -> Result<()> {
    let double = |n: &str| format!("(local.set {n} (i32.add (local.get {n}) (local.get {n})))");
    let one = |n: &str| format!("(local.set {n} (i32.const 1))");
    let old = five_rounds("(local $n i32)", &one("$n"), "(local.get $n)", &double("$n"));
    let sometimes = format!("(if (i32.eq (local.get $i) (i32.const 9)) (then {}))", double("$n"));
    let new = five_rounds(
        "(local $twin i32) (local $n i32)",
        &format!("{} {}", one("$twin"), one("$n")),
        "(local.get $n)",
        &format!("{} {sometimes}", double("$twin")),
    );
    never_wrong(&old, &new, &[(0, 1), (1, 2), (2, 4), (3, 4), (4, 4)])
}

#[test]
fn a_frame_does_not_go_on_behind_another_call_with_which_its_own_has_changed_places() -> Result<()>
{
    let body = |calls: [u32; 4]| {
        let calls = calls.map(|n| format!("(call $log (i32.const {n}) (i32.const {n}))"));
        calls.join(" ")
    };
    never_wrong(&body([0, 0, 1, 2]), &body([0, 0, 2, 1]), &[(0, 0), (0, 0), (1, 1)])
}

/// Which calls correspond tells which of their results do, whoever says it.
#[test]
fn calls_that_the_embedder_says_to_correspond_have_returned_the_same() -> Result<()> {
    let body = |call: &str| {
        format!(
            r#"(module
                (import "host" "log" (func $log (param i32 i32)))
                (import "host" "get" (func $get (param i32) (result i32)))
                (func (export "f") (local $i i32) (local $n i32) {call}
                    (loop $l (call $log (local.get $i) (local.get $n))
                        (br_if $l (i32.lt_u
                            (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))))"#
        )
    };
    let call = "(local.set $n (call $get (i32.const 7)))";
    let (old, new) = (body(call), body(&format!("(block {call})")));
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, old)?;
    let f = module.function_index("f").context("f")?;
    let new = Module::new(&engine, new)?.function_body("f").context("f")?.to_vec();
    let calls = |body: &[u8]| -> Result<Vec<u32>> {
        let reader = wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(body, 0));
        let operators = reader.get_operators_reader()?.into_iter_with_offsets();
        let operators = operators.collect::<Result<Vec<_>, _>>()?;
        let calls = operators.into_iter().filter_map(|(operator, at)| {
            matches!(operator, wasmparser::Operator::Call { .. }).then_some(at as u32)
        });
        Ok(calls.collect())
    };
    let old = calls(&module.function_body("f").context("f")?)?;
    let points = (old, calls(&new)?);
    let update = module.update().body(f, new);
    let log = |plan: midair::Plan| plan.functions[0].mapped.contains(&(points.0[1], points.1[1]));
    assert!(!log(update.plan()?));
    let map = midair::FrameMap::new().point(points.0[0], points.1[0]);
    assert!(log(update.frame_map(f, map).plan()?));
    Ok(())
}
