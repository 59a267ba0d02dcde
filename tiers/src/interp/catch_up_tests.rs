//! Frames that are waiting while their functions are replaced go on in the new bodies.

use super::harness::Instance;
use super::{Activation, LoweredCode};
use crate::FunctionBody;
use crate::context::{FrameContinuation, SafepointAction, SuspendedFrame};
use crate::lower::lower;
use crate::trap::TrapCode;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A new body, and which of its points each of the old one's corresponds to.
struct Successor {
    code: Box<LoweredCode>,
    points: Vec<(u32, u32)>,
    /// Slots of the locals, before and now.
    locals: (usize, usize),
}

/// The functions of `new` as successors of those of `instance`; safepoints correspond by their order.
fn successors(instance: &mut Instance, new: &str) -> Vec<Successor> {
    let wasm = wat::parse_str(new).unwrap();
    let bodies = Instance::try_new(&wasm, |_| {}).unwrap().bodies.clone();
    let mut successors = Vec::new();
    for body in bodies {
        let function = body.function;
        let bytes = Arc::new(body.bytes().to_vec());
        let len = bytes.len();
        let body = FunctionBody::new(bytes, 0, len, function, 1);
        let code = Box::new(lower(&instance.env, &body, None).unwrap());
        let env = &raw const *instance.env;
        let old = instance.code(function);
        // SAFETY: nothing changes the environment.
        let env = unsafe { &*env };
        let (before, after) = (&old.sites(env).sites, &code.sites(env).sites);
        assert_eq!(before.len(), after.len());
        let mut points = vec![(FunctionBody::ENTRY, FunctionBody::ENTRY)];
        points.extend(before.iter().zip(after).map(|(a, b)| (a.point, b.point)));
        let locals = (old.local_slots(), code.local_slots());
        successors.push(Successor { code, points, locals });
    }
    successors
}

impl Successor {
    fn take_over(&self, frame: &mut SuspendedFrame) -> FrameContinuation {
        // SAFETY: tests keep all code.
        let version = unsafe { (*frame.code).body().version };
        assert_eq!(version, 0, "a frame that has moved is current");
        let to = self.points.iter().find(|(old, _)| *old == frame.point).unwrap().1;
        let operands = frame.values.split_off(self.locals.0);
        frame.values.resize(self.locals.1, 0);
        frame.values.extend(operands);
        frame.code = &*self.code;
        frame.point = to;
        FrameContinuation::Move
    }
}

/// What happens to the program under test at one of its safepoints.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// At this one.
    At(usize),
    /// The new bodies come at this one; the epoch changes at every one from then on.
    AgainFrom(usize),
}

/// Runs the export `f` of `old`, and replaces all its functions by those of `new`. Answers how many frames
/// moved, and the result. `None` if there are not so many safepoints.
fn run(
    old: &str,
    new: &str,
    args: &[u64],
    when: When,
) -> Option<(usize, Result<Vec<u64>, TrapCode>)> {
    let mut instance = Instance::new(old);
    let successors = Rc::new(successors(&mut instance, new));
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let raw = &raw const *instance;
    let to = successors.clone();
    let mut seen = 0;
    let reached = Rc::new(Cell::new(false));
    let done = reached.clone();
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        seen += 1;
        let (first, again) = match when {
            When::At(n) => (n, false),
            When::AgainFrom(n) => (n, true),
        };
        if seen == first {
            done.set(true);
            for (function, successor) in to.iter().enumerate() {
                // SAFETY: the instance is alive, and its states are shared.
                let state = unsafe { (*raw).state(function as u32) };
                let code = (&raw const *successor.code).cast_mut().cast();
                state.lowered.store(code, Ordering::Release);
            }
        }
        if seen == first || again && seen > first {
            // SAFETY: as above.
            unsafe { (*raw).epoch.fetch_add(1, Ordering::AcqRel) };
        }
        SafepointAction::Continue
    }));
    let moved = Rc::new(Cell::new(0));
    let count = moved.clone();
    instance.on_continuation = Some(Box::new(move |frame| {
        count.set(count.get() + 1);
        // SAFETY: tests keep all code.
        let function = unsafe { (*frame.code).body().function };
        successors[function as usize].take_over(frame)
    }));
    let result = instance.call("f", args);
    reached.get().then(|| (moved.get(), result))
}

/// A program gives the same results when all its functions are replaced by others that do the same, at any
/// safepoint.
fn check(old: &str, new: &str, args: &[u64]) {
    let expected = Instance::new(old).call("f", args);
    assert_eq!(Instance::new(new).call("f", args), expected, "the bodies do the same");
    for when in [When::At, When::AgainFrom] {
        let mut n = 1;
        let mut most = 0;
        while let Some((moved, result)) = run(old, new, args, when(n)) {
            assert_eq!(result, expected, "replaced at safepoint {n}");
            assert!(moved > 0, "the frame that is at the safepoint moves");
            most = most.max(moved);
            n += 1;
        }
        assert!(n > 3, "the program has safepoints");
        assert!(most > 1, "frames were waiting");
    }
}

const FIB: &str = r#"(func $fib (export "f") (param i32) (result i32)
     (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
       (then (local.get 0))
       (else (i32.add
         (call $fib (i32.sub (local.get 0) (i32.const 1)))
         (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"#;

#[test]
fn a_recursion_goes_on_in_the_same_body() {
    check(FIB, FIB, &[6]);
}

#[test]
fn a_recursion_goes_on_in_a_larger_frame() {
    let larger = r#"(func $fib (export "f") (param i32) (result i32) (local i64 i32 i32)
        (local.set 2 (i32.const 3))
        (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
          (then (local.get 0))
          (else (i32.add
            (call $fib (i32.sub (local.get 0) (i32.const 1)))
            (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"#;
    check(FIB, larger, &[6]);
    check(larger, FIB, &[6]);
}

#[test]
fn operands_and_many_results_come_along() {
    let text = |locals: &str| {
        format!(
            r#"(func $g (param i32) (result i32 i64 i32) (local i32)
                 (loop $l
                   (local.set 1 (i32.add (local.get 1) (local.get 0)))
                   (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                 local.get 1
                 i64.const 9
                 i32.const 4)
               (func $h (param i32) (result i32 i64 i32)
                 (call $g (local.get 0))
                 (local.set 0)
                 (i64.add (i64.const 1))
                 (local.get 0))
               (func (export "f") (param i32 i64) (result i32) (local i32 {locals})
                 i32.const 1000
                 local.get 0
                 i64.const -5
                 (i32.mul (local.get 0) (i32.const 3))
                 local.get 1
                 local.get 0
                 call $g
                 local.set 2
                 i32.wrap_i64
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
                 (i32.add (local.get 2)))"#
        )
    };
    check(&text(""), &text("f64 i32"), &[5, 77]);
    check(&text("f64"), &text(""), &[5, 77]);
}

/// The new body takes an operand from a local that has another value in old frames.
#[test]
fn operands_that_no_longer_equal_their_local() {
    let old = r#"(func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "f") (param i32 i32) (result i32)
          (i32.add (i32.mul (local.get 0) (i32.const 7))
            (i32.add (call $g (i32.const 1)) (call $g (local.get 1)))))"#;
    let new = r#"(func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "f") (param i32 i32) (result i32)
          (local.set 0 (i32.mul (local.get 0) (i32.const 7)))
          (i32.add (local.get 0)
            (i32.add (call $g (i32.const 1)) (call $g (local.get 1)))))"#;
    check(old, new, &[3, 40]);
}

#[test]
fn loops_go_on_in_the_new_body() {
    let text = |locals: &str| {
        format!(
            r#"(memory 1)
           (func $store (param i32)
             (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1))))
           (func (export "f") (param $n i32) (result i32 f64) (local $i i32) (local $j i32) {locals}
             i32.const 5
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
                 (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))"#
        )
    };
    check(&text(""), &text("(local i64 i64)"), &[3]);
}

/// Recursion of two functions, `f` and `g`, which end in a trap at the bottom.
const ALTERNATING: &str = r#"(func $f (export "f") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (call $g (i32.sub (local.get 0) (i32.const 1))))
    (func $g (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (call $f (i32.sub (local.get 0) (i32.const 1))))"#;

#[test]
fn backtraces_see_through_the_landing() {
    let mut instance = Instance::new(ALTERNATING);
    assert!(instance.call("f", &[5]).is_err());
    let expected = instance.backtrace.clone();
    assert_eq!(expected.len(), 6);
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let raw = &raw const *instance;
    let frames: Rc<RefCell<Vec<Vec<u32>>>> = Rc::default();
    let sink = frames.clone();
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        // SAFETY: the instance is alive, and at a safepoint.
        unsafe {
            (*raw).epoch.fetch_add(1, Ordering::AcqRel);
            let activation = Activation::innermost(&raw const *(*raw).store).unwrap();
            sink.borrow_mut().push(activation.frames().map(|frame| frame.point()).collect());
        }
        SafepointAction::Continue
    }));
    instance.backtrace.clear();
    assert!(instance.call("f", &[5]).is_err());
    assert_eq!(instance.backtrace, expected);
    // The innermost one is at its entry each time; all others wait at the call.
    let call = expected[1].1;
    for (depth, points) in frames.borrow().iter().enumerate() {
        let mut expected = vec![call; depth + 1];
        expected[0] = FunctionBody::ENTRY;
        assert_eq!(*points, expected);
    }
    assert_eq!(frames.borrow().len(), 6);
}

#[test]
fn frames_that_shall_trap_do_when_they_are_returned_to() {
    let wat = r#"(func $f (export "f") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 7))
            (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let mut instance = Instance::new(wat);
    let other = successors(&mut instance, wat);
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let raw = &raw const *instance;
    let code = (&raw const *other[0].code).cast_mut().cast();
    let mut seen = 0;
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        seen += 1;
        if seen == 6 {
            // SAFETY: the instance is alive.
            unsafe {
                (*raw).state(0).lowered.store(code, Ordering::Release);
                (*raw).epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
        SafepointAction::Continue
    }));
    let mut asked = 0;
    instance.on_continuation = Some(Box::new(move |_| {
        asked += 1;
        match asked {
            4 => FrameContinuation::Trap(TrapCode::Interrupt),
            _ => FrameContinuation::Stay,
        }
    }));
    assert_eq!(instance.call("f", &[5]), Err(TrapCode::Interrupt));
    // The innermost three are gone, and the others are suspended at the call.
    let points: Vec<u32> = instance.backtrace.iter().map(|(_, point)| *point).collect();
    assert_eq!(points.len(), 3);
    assert!(points.iter().all(|point| *point == points[0] && *point > 0), "{points:?}");
}

#[test]
fn a_frame_that_does_not_fit_any_more_overflows_the_stack() {
    let many = "i64 ".repeat(900);
    let text = |locals: &str| {
        format!(
            r#"(func $f (export "f") (param i32) (result i32) (local {locals})
                (if (result i32) (i32.eqz (local.get 0))
                    (then (i32.const 7))
                    (else (i32.add (i32.const 1)
                        (call $f (i32.sub (local.get 0) (i32.const 1)))))))"#
        )
    };
    let (old, new) = (text(""), text(&many));
    let mut instance = Instance::new(&old);
    // The innermost frame has no room for the new locals, those further out have.
    let room = instance.code(0).frame_slots() * 6 + 100;
    drop(instance);
    let mut instance = Instance::new(&old);
    instance.store.value_limit = instance.base().wrapping_add(room);
    let to = successors(&mut instance, &new);
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let raw = &raw const *instance;
    let code = (&raw const *to[0].code).cast_mut().cast();
    let mut seen = 0;
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        seen += 1;
        if seen == 6 {
            // SAFETY: the instance is alive.
            unsafe {
                (*raw).state(0).lowered.store(code, Ordering::Release);
                (*raw).epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
        SafepointAction::Continue
    }));
    instance.on_continuation = Some(Box::new(move |frame| to[0].take_over(frame)));
    assert_eq!(instance.call("f", &[5]), Err(TrapCode::StackOverflow));
    assert_eq!(instance.backtrace.len(), 6);
}

/// Handlers end in jumps, also those that look at frames.
#[test]
fn looking_at_frames_does_not_use_the_native_stack() {
    let mut instance = Instance::new(
        r#"(func $g (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
           (func (export "f") (param i32) (result i32)
             (loop (br_if 0 (local.tee 0 (call $g (local.get 0)))))
             (local.get 0))"#,
    );
    instance.store.stack.poll_flag.store(1, Ordering::Relaxed);
    let raw = &raw const *instance;
    instance.on_safepoint = Some(Box::new(move |_, _, _, _| {
        // SAFETY: the instance is alive.
        unsafe { (*raw).epoch.fetch_add(1, Ordering::AcqRel) };
        SafepointAction::Continue
    }));
    // More than a test's stack has bytes for.
    assert_eq!(instance.call("f", &[500_000]), Ok(vec![0]));
}
