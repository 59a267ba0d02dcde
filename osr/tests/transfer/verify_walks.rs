//! Other walkers see what we see; and if our tables are wrong, they say so.

use super::*;
use midair_osr::verify_walks::{active, verified};

/// The host calls the guest anew from inside a call, until there are four segments; then it looks.
fn call_again(context: &mut TestContext, at_the_end: fn(&mut TestContext)) {
    if context.polls == 3 {
        return at_the_end(context);
    }
    context.polls += 1;
    let n = 10 + context.polls as u64;
    let mut slots = [n];
    let header = std::ptr::from_mut(context).cast();
    // SAFETY: the code has this shape and expects this context.
    let outcome = unsafe { call_native(context.sum, header, &shape(), slots.as_mut_ptr()) };
    assert_eq!(outcome, NativeOutcome::Returned);
    assert_eq!(slots[0], expected(n, 6, 1000));
}

fn compare(context: &TestContext) -> usize {
    // SAFETY: the thread is in a callout.
    unsafe { (*context.header.stack).compare_walks() }.unwrap()
}

#[test]
fn all_walkers_agree_across_host_frames() {
    let before = verified();
    let (_, result, _) = run(sum(6), 10, |context| {
        call_again(context, |context| assert_eq!(compare(context), 11 + 12 + 13 + 14));
    });
    assert_eq!(result, expected(10, 6, 1000));
    let after = verified();
    assert!(after.native_frames >= before.native_frames + 50);
    assert!(after.register_frames >= before.register_frames + 50);
}

#[test]
fn all_walkers_agree_about_redirected_frames() {
    let (_, result, moved) = run(sum(6), 10, |context| {
        call_again(context, |context| {
            let mut seen = 0;
            // SAFETY: the thread is in a callout.
            unsafe {
                (*context.header.stack).redirect_frames(|_| {
                    seen += 1;
                    if seen % 3 == 0 { Choice::Redirect } else { Choice::Skip }
                });
            }
            assert_eq!(compare(context), 50);
            // SAFETY: as above; afterwards no frame is left in the code.
            unsafe {
                (*context.header.stack).redirect_frames(|_| Choice::Redirect);
                free_all(context);
            }
            assert_eq!(compare(context), 50);
        });
    });
    assert_eq!((result, moved), (expected(10, 6, 1000), 50));
    // Unasked, walks and drops are compared only where that is switched on.
    assert_eq!(verified().drops >= 50, active());
}

/// A program that panics under frames of managed code still unwinds to where it is caught, and a backtrace
/// still passes through the stubs.
#[test]
fn panics_and_backtraces_work_beside_the_verification() {
    let (_, result, _) = run(sum(6), 20, |context| {
        assert_eq!(compare(context), 21);
        let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(5)));
        assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), 5);
        let backtrace = std::backtrace::Backtrace::force_capture().to_string();
        assert!(backtrace.contains("midair_osr_enter"), "{backtrace}");
    });
    assert_eq!(result, expected(20, 6, 1000));
}

#[test]
fn wrong_tables_are_found() {
    let right = sum(6);
    let registers = right.saved_registers.len();
    assert!(registers >= 4, "the code saves {registers} registers");
    let mut swapped = right.clone();
    (swapped.saved_registers[0].1, swapped.saved_registers[1].1) =
        (right.saved_registers[1].1, right.saved_registers[0].1);
    let mut missing = right.clone();
    missing.saved_registers.pop();
    for wrong in [swapped, missing] {
        // The walks of other tests would end the process; so nothing else is done with this stack.
        let (_, result, _) = run(wrong, 20, |context| {
            // SAFETY: the thread is in a callout.
            let compared = unsafe { (*context.header.stack).compare_walks() };
            let told = format!("{:?}", compared.unwrap_err());
            assert!(told.contains("unwinding disagrees with us about frame"), "{told}");
            assert!(told.contains("> "), "{told}");
        });
        assert_eq!(result, expected(20, 6, 1000));
    }
}

/// A stack whose innermost record is not what we take it for.
#[test]
fn a_walk_that_misses_frames_is_found() {
    let (_, result, _) = run(sum(6), 20, |context| {
        // SAFETY: set up by `run`; the thread is in a callout.
        unsafe {
            let stack = context.header.stack;
            let exit_fp = (*stack).exit_fp;
            // The record of the innermost frame itself: the walk begins one frame too far outside.
            (*stack).exit_fp = *(exit_fp as *const usize);
            let compared = (*stack).compare_walks();
            (*stack).exit_fp = exit_fp;
            assert!(format!("{:?}", compared.unwrap_err()).contains("unwinding disagrees"));
        }
    });
    assert_eq!(result, expected(20, 6, 1000));
}
