//! What the source calls variables and places: in messages, and as evidence of which variable of a new body one of the
//! old body is.

use anyhow::{Context, Result};
use midair::{Caller, Config, Engine, Linker, Module, Refusal, Store};
use std::collections::HashSet;

/// A program that asks its host whether to go on, and shows it two values.
fn program(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "host" "go_on" (func $go_on (param i32 i32) (result i32)))
            (func (export "f") {body}))"#
    );
    text.into_bytes()
}

/// What a program shows its host.
type Shown = Vec<(i32, i32)>;

struct Host {
    module: Module,
    /// The edits, which are made one in a call from the third one on.
    edits: Vec<Vec<u8>>,
    shown: Shown,
    refusals: Vec<Refusal>,
}

/// Runs a program for six rounds with these edits. What it shows, and why frames were refused.
fn run(old: impl AsRef<[u8]>, edits: &[Vec<u8>]) -> Result<(Shown, Vec<Refusal>)> {
    let engine = Engine::new(&Config::new())?;
    let module = Module::new(&engine, old)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "go_on",
        |mut caller: Caller<'_, Host>, a: i32, b: i32| -> Result<i32> {
            let host = caller.data_mut();
            host.shown.push((a, b));
            if host.shown.len() >= 3 && !host.edits.is_empty() {
                let edit = host.edits.remove(0);
                let applied = host.module.update().module(edit)?.apply()?;
                host.refusals.extend(applied.functions.into_iter().flat_map(|f| f.refusals));
            }
            Ok(i32::from(host.shown.len() < 6))
        },
    )?;
    let host =
        Host { module: module.clone(), edits: edits.to_vec(), shown: vec![], refusals: vec![] };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").context("f")?;
    let mut results = vec![midair::Val::I32(0); f.ty(&store).results.len()];
    let arguments = vec![midair::Val::I32(0); f.ty(&store).params.len()];
    f.call(&mut store, &arguments, &mut results)?;
    let Host { shown, refusals, .. } = store.into_data();
    Ok((shown, refusals))
}

/// Two counters whose steps are edited so that nothing of them is computed as before, in locals of these names.
fn counters(locals: &str, steps: [&str; 2]) -> Vec<u8> {
    program(&format!(
        "{locals} (local.set $a (i32.const 7)) (local.set $b (i32.const 7)) \
         (loop $again \
            (local.set $a {}) (local.set $b {}) \
            (br_if $again (call $go_on (local.get $a) (local.get $b))))",
        steps[0], steps[1]
    ))
}

const OLD: [&str; 2] =
    ["(i32.add (local.get $a) (i32.const 1))", "(i32.mul (local.get $b) (i32.const 2))"];
const NEW: [&str; 2] =
    ["(i32.xor (local.get $a) (i32.const 1024))", "(i32.sub (local.get $b) (i32.const 1))"];

#[test]
fn variables_of_the_same_names_are_the_same() -> Result<()> {
    let old = counters("(local $a i32) (local $b i32)", OLD);
    // The locals are renumbered, and the variables are computed otherwise.
    let new = counters("(local $new i64) (local $b i32) (local $a i32)", NEW);
    let (shown, refusals) = run(old, &[new])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(8, 14), (9, 28), (10, 56), (1034, 55), (10, 54), (1034, 53)]);
    Ok(())
}

#[test]
fn bodies_that_updates_have_encoded_anew_have_the_names_of_their_module() -> Result<()> {
    let old = counters("(local $a i32) (local $b i32)", OLD);
    let new = counters("(local $b i32) (local $a i32)", NEW);
    let again = counters("(local $other f64) (local $a i32) (local $b i32)", OLD);
    let (shown, refusals) = run(old, &[new, again])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(8, 14), (9, 28), (10, 56), (1034, 55), (1035, 110), (1036, 220)]);
    Ok(())
}

#[test]
fn bodies_whose_functions_are_renumbered_have_the_names_of_their_module() -> Result<()> {
    let old = counters("(local $a i32) (local $b i32)", OLD);
    let behind_another = |text: Vec<u8>| -> Result<Vec<u8>> {
        let function = r#"(func (export "f")"#;
        let added = r#"(func (export "g") (result i32) (i32.const 1))"#;
        Ok(String::from_utf8(text)?.replace(function, &format!("{added} {function}")).into_bytes())
    };
    let new = behind_another(counters("(local $b i32) (local $a i32)", NEW))?;
    let again = behind_another(counters("(local $other f64) (local $a i32) (local $b i32)", OLD))?;
    let (shown, refusals) = run(old, &[new, again])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(8, 14), (9, 28), (10, 56), (1034, 55), (1035, 110), (1036, 220)]);
    Ok(())
}

/// Where the old body has names, one that it has not is of a new variable.
#[test]
fn a_counter_with_a_name_is_new_only_where_the_others_had_names() -> Result<()> {
    let old = |i: &str, go: &str| {
        program(&format!(
            "(local {i} i32) (local {go} i32) (loop $again \
             (local.set {go} (call $go_on (local.get {i}) (i32.mul (local.get {i}) (i32.const 10)))) \
             (local.set {i} (i32.add (local.get {i}) (i32.const 1))) \
             (br_if $again (local.get {go})))"
        ))
    };
    let new = program(
        "(local $i i32) (local $go i32) (local $tens i32) (loop $again \
         (local.set $go (call $go_on (local.get $i) (local.get $tens))) \
         (local.set $i (i32.add (local.get $i) (i32.const 1))) \
         (local.set $tens (i32.add (local.get $tens) (i32.const 10))) \
         (br_if $again (local.get $go)))",
    );
    let (stayed, _) = run(old("$x0", "$x1"), &[])?;
    let (shown, refusals) = run(old("$x0", "$x1"), std::slice::from_ref(&new))?;
    assert_eq!(shown, stayed);
    assert!(!refusals.is_empty());
    let (shown, refusals) = run(old("$i", "$go"), &[new])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(0, 0), (1, 10), (2, 20), (3, 10), (4, 20), (5, 30)]);
    Ok(())
}

/// What a compiler counts may be another variable, although it is begun, counted and used alike.
#[test]
fn a_counter_of_a_compiled_module_is_not_known_by_how_it_is_counted() -> Result<()> {
    let source = |first: i32, step: &str| {
        program(&format!(
            "(local $x0 i32) (local $x1 i32) (local $x2 i32) \
             (local.set $x1 (call $go_on (i32.const 3) (i32.const 0))) \
             (local.set $x0 (call $go_on (i32.const {first}) (i32.const 0))) \
             (loop $again (local.set $x2 (call $go_on (local.get $x0) (local.get $x1))) \
             (local.set $x0 (i32.add (local.get $x0) {step})) \
             (br_if $again (local.get $x2)))"
        ))
    };
    let (one, five, made_before) = ("(i32.const 1)", "(i32.const 5)", "(local.get $x1)");
    for (old, new) in [(one, five), (made_before, made_before)] {
        let (stayed, _) = run(source(70, old), &[])?;
        let (shown, refusals) = run(source(70, old), &[source(90, new)])?;
        assert_eq!(shown, stayed);
        assert!(!refusals.is_empty());
    }
    Ok(())
}

/// What was counted and is summed up now may be another variable, and the other way round.
#[test]
fn a_counter_is_not_the_same_as_a_sum() -> Result<()> {
    let source = |step: &str| {
        let text = program(&format!(
            "(local $x0 i32) (local $x1 i32) (loop $again \
             (local.set $x1 (call $go_on (local.get $x0) (i32.const 0))) \
             (local.set $x0 (i32.add (local.get $x0) {step})) \
             (br_if $again (local.get $x1)))"
        ));
        let text = String::from_utf8(text).expect("it is text");
        text.replace("(func (export", "(global $g (mut i32) (i32.const 5)) (func (export").into()
    };
    let (summed, counted) = ("(global.get $g)", "(i32.const 7)");
    let (shown, refusals) = run(source(summed), &[source(summed)])?;
    assert_eq!(refusals, []);
    assert_eq!(shown.len(), 6);
    for (old, new) in [(summed, counted), (counted, summed)] {
        let (stayed, _) = run(source(old), &[])?;
        let (shown, refusals) = run(source(old), &[source(new)])?;
        assert_eq!(shown, stayed);
        assert!(!refusals.is_empty());
    }
    Ok(())
}

#[test]
fn a_sum_of_another_variable_is_no_counter() -> Result<()> {
    let source = |factor: i32| {
        program(&format!(
            "(local $x0 i32) (local $x1 i32) (local $x2 i32) (loop $again \
             (local.set $x2 (call $go_on (local.get $x0) (local.get $x1))) \
             (local.set $x0 (i32.add (local.get $x0) (i32.const 1))) \
             (local.set $x1 (i32.add (local.get $x1) \
                 (i32.mul (local.get $x0) (i32.const {factor})))) \
             (br_if $again (local.get $x2)))"
        ))
    };
    let (shown, refusals) = run(source(1), &[source(100)])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(0, 0), (1, 1), (2, 3), (3, 303), (4, 703), (5, 1203)]);
    Ok(())
}

/// What is read before something is written is not what is read behind it.
#[test]
fn a_value_that_is_read_earlier_is_another_value() -> Result<()> {
    let source = |body: [&str; 2]| {
        let body = format!(
            "(local $x0 i32) (loop $again {} {} (drop (call $go_on (i32.const 0) (i32.const 0))) \
             (br_if $again (call $go_on (local.get $x0) (i32.const 1))))",
            body[0], body[1]
        );
        let text = String::from_utf8(program(&body)).expect("it is text");
        let text =
            text.replace("(func (export", "(global $g (mut i32) (i32.const 5)) (func (export");
        text.into_bytes()
    };
    let read = "(local.set $x0 (global.get $g))";
    let write = "(global.set $g (i32.add (global.get $g) (i32.const 1)))";
    let (_, refusals) = run(source([read, write]), &[source([read, write])])?;
    assert_eq!(refusals, []);
    let (_, refusals) = run(source([read, write]), &[source([write, read])])?;
    let told = refusals.iter().map(Refusal::to_string).collect::<Vec<_>>();
    assert!(matches!(&told[..], [why] if why.contains("local 0")), "{told:?}");
    Ok(())
}

/// Names that tools make of numbers, and names of variables of other types, are evidence of nothing.
#[test]
fn numbers_for_names_and_names_of_other_types_prove_nothing() -> Result<()> {
    let old = counters("(local $a i32) (local $b i32)", OLD);
    let (stayed, _) = run(&old, &[])?;
    let numbered = |text: Vec<u8>, a: &str, b: &str| -> Result<Vec<u8>> {
        let text = String::from_utf8(text)?;
        Ok(text.replace("$a", a).replace("$b", b).into_bytes())
    };
    for (a, b) in [("$0", "$1"), ("$local0", "$local1"), ("$x0", "$y1")] {
        let old = numbered(old.clone(), a, b)?;
        let new = numbered(counters("(local $a i32) (local $b i32)", NEW), a, b)?;
        let (shown, refusals) = run(old, &[new])?;
        assert_eq!(shown, stayed, "{a} {b}");
        assert!(!refusals.is_empty(), "{a} {b}");
    }
    let wider = program(
        "(local $a i64) (local $b i32) (local.set $a (i64.const 7)) (local.set $b (i32.const 7)) \
         (loop $again (local.set $a (i64.xor (local.get $a) (i64.const 1024))) \
         (local.set $b (i32.mul (local.get $b) (i32.const 2))) \
         (br_if $again (call $go_on (i32.wrap_i64 (local.get $a)) (local.get $b))))",
    );
    let (shown, refusals) = run(&old, &[wider])?;
    assert_eq!(shown, stayed);
    let refusals: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    assert!(refusals.iter().all(|why| why.contains("variable `a`, local 0 (i64)")), "{refusals:?}");
    assert!(!refusals.is_empty());
    Ok(())
}

/// C programs with debug information. Each lies beside its source, which says how it was made.
fn compiled(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/debug_info");
    std::fs::read(format!("{folder}/{name}.wasm")).expect("it is there")
}

/// Runs one of these programs, which an edit makes another one; why its frame stays in the old body.
fn refusals(old: &str, new: &str) -> Result<Vec<String>> {
    let old = compiled(old);
    let (stayed, _) = run(&old, &[])?;
    let (shown, refusals) = run(&old, &[compiled(new)])?;
    assert_eq!(shown, stayed);
    Ok(refusals.iter().map(Refusal::to_string).collect())
}

#[test]
fn a_refusal_names_the_line_and_the_variable_of_a_compiled_program() -> Result<()> {
    let told = |local, at, line| {
        format!(
            "variable `first`, local {local} (i32) of the new body at offset {at} cannot be filled by a frame that \
             is suspended at offset {at} (without_first.c:{line}): the old body does not keep the variable that it is"
        )
    };
    let (the_loop, the_call) = (told(0, "0x7", 8), told(0, "0x18", 7));
    assert_eq!(refusals("without_first", "with_first")?, [the_loop, the_call]);
    Ok(())
}

#[test]
fn a_refusal_names_variables_that_changed_places_in_memory() -> Result<()> {
    let told =
        "the frame of `f` in memory is laid out anew: variable `pears` is at its byte 12, was at 8";
    assert_eq!(refusals("apples_first", "pears_first")?, [told]);
    Ok(())
}

/// Debug information comes from anywhere.
#[test]
fn malformed_debug_information_only_makes_messages_worse() -> Result<()> {
    let engine = Engine::new(&Config::new())?;
    for (old, new) in [("without_first", "with_first"), ("apples_first", "pears_first")] {
        let (old, new) = (compiled(old), compiled(new));
        // The custom sections come last.
        let first = b".debug_";
        let start = new.windows(first.len()).position(|window| window == first);
        let start = start.context("no debug information")?;
        let mut told = HashSet::new();
        for at in start..new.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut damaged = new.clone();
                damaged[at] ^= change;
                // The sections' own names and sizes are a part of the module.
                let Ok(update) = Module::new(&engine, &old)?.update().module(&damaged) else {
                    continue;
                };
                let plan = update.plan()?;
                let refusals = plan.functions.iter().flat_map(|function| &function.refusals);
                told.extend(refusals.map(Refusal::to_string));
            }
        }
        assert!(told.len() > 1, "{told:?}");
    }
    Ok(())
}

#[test]
fn a_variable_that_is_set_to_something_else_before_its_loop_keeps_its_value() -> Result<()> {
    let body = |first: i32, step: &str| {
        program(&format!(
            "(local $a i32) (local $b i32) (local.set $a (i32.const {first})) \
             (loop $again (local.set $b {step}) \
             (br_if $again (call $go_on (local.get $a) (local.get $b))))"
        ))
    };
    let old = body(7, "(i32.add (local.get $b) (i32.const 1))");
    // It was a constant, and is another one.
    let (shown, refusals) = run(&old, &[body(8, "(i32.add (local.get $b) (i32.const 2))")])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(7, 1), (7, 2), (7, 3), (7, 5), (7, 7), (7, 9)]);
    // It was a counter, and is not counted any more.
    let old = counters("(local $a i32) (local $b i32)", OLD);
    let (shown, refusals) =
        run(&old, &[counters("(local $a i32) (local $b i32)", [OLD[0], "(local.get $b)"])])?;
    assert_eq!(refusals, []);
    assert_eq!(shown, [(8, 14), (9, 28), (10, 56), (11, 56), (12, 56), (13, 56)]);
    Ok(())
}
