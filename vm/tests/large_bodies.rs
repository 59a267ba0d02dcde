//! Updates of functions with large bodies: two bodies are compared in bounded time and room, and what cannot be compared
//! within that is refused as a whole.

use anyhow::Result;
use midair::{Config, Engine, Module, Plan, Policy, Refusal, Tier};
use midair_watchdog::Watchdog;
use std::fmt::Write;
use std::time::Duration;

/// What an update from one text to another would do.
fn plan(before: &str, after: &str) -> Result<Plan> {
    let engine = Engine::new(Config::new().tier(Tier::Interp))?;
    let module = Module::new(&engine, before)?;
    module.update().module(after)?.default_policy(Policy::Migrate).plan()
}

/// `count` operators in a row compute what is added to a variable of a loop.
fn chain(count: usize, constant: i32) -> String {
    let chain = "(i32.const 3) i32.xor ".repeat(count);
    format!(
        r#"(module
            (func $f)
            (func (export "run") (param i32) (local $sum i32)
                (loop $again
                    (call $f)
                    (local.get 0) {chain}
                    (local.get $sum) i32.add
                    (local.set $sum)
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_if $again (local.get $sum)))
                (drop (i32.const {constant}))
                (call $f)))"#
    )
}

#[test]
fn frames_go_on_through_long_chains_of_operators() -> Result<()> {
    let _watchdog = Watchdog::within(Duration::from_secs(120));
    let plan = plan(&chain(20_000, 1), &chain(20_000, 2))?;
    let run = &plan.functions[0];
    assert_eq!((run.refusals.as_slice(), run.mapped.len()), (&[][..], 4));
    Ok(())
}

/// A loop that calls a function so many times, with so many variables that all of the calls keep.
fn many_kept(calls: usize, locals: usize, constant: i32) -> String {
    let mut text = String::from("(module (func $f) (func (export \"run\") (param i32)\n");
    for _ in 0..locals {
        text += "(local i32) ";
    }
    text += "(loop $again\n";
    for local in 1..=locals {
        let _ = writeln!(text, "(local.set {local} (i32.add (local.get {local}) (local.get 0)))");
    }
    text += &"(call $f)".repeat(calls);
    text += "(br_if $again (local.get 0)))\n";
    let _ = write!(text, "(drop (i32.const {constant}))))");
    text
}

#[test]
fn bodies_that_keep_too_many_values_are_refused_as_a_whole() -> Result<()> {
    let _watchdog = Watchdog::within(Duration::from_secs(120));
    let texts = |calls, locals| (many_kept(calls, locals, 1), many_kept(calls, locals, 2));
    let (before, after) = texts(200, 200);
    let small = &plan(&before, &after)?.functions[0];
    assert_eq!((small.refusals.as_slice(), small.mapped.len()), (&[][..], 202));
    // 25 million values of frames.
    let (before, after) = texts(5_000, 5_000);
    let large = &plan(&before, &after)?.functions[0];
    assert_eq!((large.refusals.as_slice(), large.mapped.len()), (&[Refusal::TooLarge][..], 0));
    let message = large.refusals[0].to_string();
    assert!(message.starts_with("the bodies are too large to be compared"), "{message}");
    Ok(())
}

/// As many equal variables of a loop, which nothing tells apart, at as many calls.
fn equal_variables(count: usize, step: i32) -> String {
    let mut text = String::from(
        "(module (func $f) (global (mut i32) (i32.const 0)) (func (export \"run\") (param i32)\n",
    );
    for _ in 0..=count {
        text += "(local i32) ";
    }
    // It is not known beforehand by how much they are stepped: compilers make no such variables up.
    let by = count + 1;
    let _ = writeln!(text, "(loop $again (local.set {by} (global.get 0))");
    for local in 1..=count {
        let _ = writeln!(
            text,
            "(local.set {local} (i32.add (local.get {local})
                (i32.mul (local.get {by}) (i32.const {step})))) (call $f)"
        );
    }
    for local in 1..=count {
        let _ = writeln!(text, "(drop (i32.eqz (local.get {local})))");
    }
    text += "(br_if $again (local.get 0)))))";
    text
}

/// Each of the variables may be each of the other body's, at each of the calls: a billion of such questions, which have to
/// be asked once for all calls, or left.
#[test]
fn equal_variables_are_compared_in_bounded_time() -> Result<()> {
    let _watchdog = Watchdog::within(Duration::from_secs(120));
    let plan = plan(&equal_variables(1000, 1), &equal_variables(1000, 2))?;
    // None is known; but no variable is at the entry.
    let run = &plan.functions[0];
    assert!(run.mapped.iter().all(|&(point, _)| point == 0), "{} mapped", run.mapped.len());
    assert!(!run.refusals.is_empty());
    Ok(())
}
