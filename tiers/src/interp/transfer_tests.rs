//! Frames leave the interpreter and come back in canonical form, at every safepoint of a run.

use super::harness::Instance;
use super::{Activation, CanonicalFrame, Exit, Position, epoch, resume};
use crate::context::SafepointAction;
use crate::trap::TrapCode;
use midair_osr::SiteKind;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// A frame that was captured.
struct Captured {
    function: u32,
    point: u32,
    kind: SiteKind,
    values: Vec<u64>,
}

/// All frames of the innermost activation, innermost first.
fn capture(instance: *const crate::context::StoreContext) -> Vec<Captured> {
    // SAFETY: called at a safepoint, where the interpreter has left its handlers.
    let activation = unsafe { Activation::innermost(instance) }.unwrap();
    let frames = activation.frames().map(|frame| Captured {
        // SAFETY: code stays alive while the instance does.
        function: unsafe { (*frame.code()).body().function },
        point: frame.point(),
        kind: match frame.position() {
            Position::Call => SiteKind::Call,
            _ => SiteKind::Poll,
        },
        values: frame.capture().unwrap(),
    });
    frames.collect()
}

/// Runs the export `f`, stops at the `n`th safepoint, and goes on with each frame by itself.
/// `None` if there are not so many safepoints.
fn run_with_transfer(wat: &str, args: &[u64], n: usize) -> Option<Vec<u64>> {
    let mut instance = Instance::new(wat);
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let captured = Rc::new(RefCell::new(Vec::new()));
    let store = &raw const *instance.store;
    let sink = captured.clone();
    let mut seen = 0;
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        seen += 1;
        if seen != n {
            return SafepointAction::Continue;
        }
        *sink.borrow_mut() = capture(store);
        SafepointAction::Trap(TrapCode::Interrupt)
    }));
    match instance.call("f", args) {
        Ok(_) => return None,
        Err(code) => assert_eq!(code, TrapCode::Interrupt),
    }
    instance.store.stack.poll_flag.store(0, Ordering::Relaxed);
    instance.on_safepoint = None;
    let mut results: Vec<u64> = Vec::new();
    for mut frame in captured.take() {
        if frame.kind == SiteKind::Call {
            frame.values.append(&mut results);
        }
        let (context, base) = (instance.context(), instance.base());
        let code: *const super::LoweredCode = instance.code(frame.function);
        let canonical =
            CanonicalFrame { kind: frame.kind, point: frame.point, values: &frame.values };
        // SAFETY: the code lives as long as the instance; the frame is one of its body.
        let exit = unsafe { resume(context, &*code, canonical, base, epoch(context)) };
        assert_eq!(exit, Exit::Returned);
        results = instance.results(frame.function);
    }
    Some(results)
}

fn check(wat: &str, args: &[u64]) {
    let expected = Instance::new(wat).call("f", args).unwrap();
    let mut n = 1;
    while let Some(results) = run_with_transfer(wat, args, n) {
        assert_eq!(results, expected, "stopped at safepoint {n}");
        n += 1;
    }
    assert!(n > 3, "the program has safepoints");
}

#[test]
fn recursion() {
    check(
        r#"(func $fib (export "f") (param i32) (result i32)
             (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
               (then (local.get 0))
               (else (i32.add
                 (call $fib (i32.sub (local.get 0) (i32.const 1)))
                 (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"#,
        &[7],
    );
}

#[test]
fn operands_that_are_locals_or_constants_below_a_call() {
    check(
        r#"(func $g (param i32) (result i32 i32) (local i32)
             (loop $l
               (local.set 1 (i32.add (local.get 1) (local.get 0)))
               (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
             local.get 1
             i32.const 4)
           (func (export "f") (param i32 i64) (result i32) (local i32)
             i32.const 1000
             local.get 0
             i64.const -5
             (i32.mul (local.get 0) (i32.const 3))
             local.get 1
             local.get 0
             call $g
             i32.mul
             local.set 2
             i32.wrap_i64
             i32.add
             local.get 2
             i32.add
             local.set 2
             i32.wrap_i64
             i32.add
             i32.add
             (i32.add (local.get 2)))"#,
        &[5, 77],
    );
}

#[test]
fn nested_loops_with_operands_below() {
    check(
        r#"(memory 1)
           (func $store (param i32) (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1))))
           (func (export "f") (param $n i32) (result i32 i64 f64) (local $i i32) (local $j i32)
             i32.const 5
             local.get $n
             f64.const 1.5
             (loop $outer (param f64) (result f64)
               (local.set $j (i32.const 0))
               (loop $inner (param f64) (result f64)
                 f64.const 2
                 local.get $i
                 call $store
                 f64.mul
                 (br_if $inner (i32.lt_u
                   (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
               (br_if $outer (i32.lt_u
                 (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
             (local.set $i (i32.trunc_sat_f64_s))
             i32.add
             i64.const 3
             (f64.convert_i32_s (i32.add (local.get $i) (i32.load (i32.const 1)))))"#,
        &[3],
    );
}

#[test]
fn operands_need_not_equal_the_locals_they_were_read_from() {
    let mut instance = Instance::new(
        r#"(func $g (result i32) (i32.const 5))
           (func (param i32) (result i32)
             local.get 0
             call $g
             call $g
             i32.add
             i32.add
             local.get 0
             i32.add)"#,
    );
    let (context, base) = (instance.context(), instance.base());
    let code: *const super::LoweredCode = instance.code(1);
    // Behind the first call, with another operand than the local and with the same.
    for (local, operand) in [(1000, 100), (1000, 1000)] {
        let frame = [local, operand, 5];
        let frame = CanonicalFrame { kind: SiteKind::Call, point: 3, values: &frame };
        // SAFETY: the code lives as long as the instance; the frame is one of its body.
        let exit = unsafe { resume(context, &*code, frame, base, epoch(context)) };
        assert_eq!(exit, Exit::Returned);
        assert_eq!(instance.results(1), [local + operand + 10]);
    }
}

#[test]
fn indirect_calls_and_branch_tables() {
    check(
        r#"(type $t (func (param i32) (result i32)))
           (table funcref (elem $a $b $c))
           (func $a (type $t) (i32.add (local.get 0) (i32.const 1)))
           (func $b (type $t) (i32.mul (call $a (local.get 0)) (i32.const 2)))
           (func $c (type $t) (i32.sub (call_indirect (type $t) (local.get 0) (i32.const 1))
                                       (local.get 0)))
           (func (export "f") (param $n i32) (result i32) (local $h i32)
             (loop $l
               (block $two (block $one (block $zero
                 (br_table $zero $one $two (i32.rem_u (local.get $n) (i32.const 3))))
                 (local.set $h (i32.add (local.get $h) (call $c (local.get $n)))))
                 (local.set $h (i32.add (local.get $h) (call $b (local.get $h)))))
               (local.set $h (call_indirect (type $t) (local.get $h)
                 (i32.rem_u (local.get $n) (i32.const 3))))
               (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
             (local.get $h))"#,
        &[6],
    );
}
