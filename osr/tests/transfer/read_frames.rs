//! Reading suspended frames in place gives what capturing them gives later.

use super::*;

/// What the frames of `sum(n)` with so many extra values hold, innermost first.
fn expected_values(n: u64, extra: u64) -> Vec<Vec<u64>> {
    let frame =
        |k: u64| (k > 0).then(|| std::iter::once(k).chain((0..extra).map(move |j| k * (j + 3))));
    (0..=n).map(|k| frame(k).into_iter().flatten().collect()).collect()
}

fn values(frame: &SuspendedFrame) -> Vec<u64> {
    let state = frame.state.as_ref().expect("every site of the test language has a frame map");
    state.values.iter().map(|value| value.expect("all values are live")[0]).collect()
}

fn read(context: &TestContext) -> Vec<SuspendedFrame> {
    // SAFETY: the thread is in a callout or a poll.
    unsafe { (*context.header.stack).read_frames() }.collect()
}

#[test]
fn every_value_of_a_suspended_recursion_is_read() {
    // With few values they are in registers that the callee saves, with many on the stack.
    for extra in [0, 1, 4, 12] {
        let (_, result, _) = run(sum(extra), 50, |context| {
            let frames = read(context);
            let extra = values(&frames[1]).len() as u64 - 1;
            let found: Vec<_> = frames.iter().map(values).collect();
            assert_eq!(found, expected_values(50, extra));
            for frame in &frames {
                assert!(!frame.redirected);
                let state = frame.state.as_ref().unwrap();
                assert_eq!(state.context.cast(), std::ptr::from_mut(context));
                assert_eq!(state.kind, SiteKind::Call);
            }
        });
        assert_eq!(result, expected(50, extra as u64, 1000));
    }
}

#[test]
fn redirected_frames_of_freed_code_are_read() {
    let (_, result, moved) = run(sum(5), 30, |context| {
        let mut seen = 0;
        // SAFETY: the thread is in a callout.
        unsafe {
            (*context.header.stack).redirect_frames(|_| {
                seen += 1;
                if seen % 2 == 0 { Choice::Redirect } else { Choice::Skip }
            });
        }
        let frames = read(context);
        assert_eq!(frames.iter().filter(|frame| frame.redirected).count(), 15);
        assert_eq!(frames.iter().map(values).collect::<Vec<_>>(), expected_values(30, 5));
        // SAFETY: the thread is in a callout; afterwards no frame is left in the code.
        unsafe {
            (*context.header.stack).redirect_frames(|_| Choice::Redirect);
            free_all(context);
        }
        let frames = read(context);
        assert!(frames.iter().all(|frame| frame.redirected));
        assert_eq!(frames.iter().map(values).collect::<Vec<_>>(), expected_values(30, 5));
    });
    assert_eq!((result, moved), (expected(30, 5, 1000), 31));
}

/// The host calls the guest anew from inside a call, three times, before it reads all frames.
#[test]
fn frames_outside_host_frames_are_read() {
    fn call_again(context: &mut TestContext) {
        let depth = context.polls as u64;
        if depth == 3 {
            let found: Vec<_> = read(context).iter().map(values).collect();
            let all = [3, 2, 1, 0].into_iter().flat_map(|depth| expected_values(10 + depth, 4));
            assert_eq!(found, all.collect::<Vec<_>>());
            return;
        }
        context.polls += 1;
        let mut slots = [10 + depth + 1];
        // What the host itself keeps in callee-saved registers changes from call to call.
        let header = std::ptr::from_mut(context).cast();
        // SAFETY: the code has this shape and expects this context.
        let outcome = unsafe { call_native(context.sum, header, &shape(), slots.as_mut_ptr()) };
        assert_eq!(outcome, NativeOutcome::Returned);
        assert_eq!(slots[0], expected(10 + depth + 1, 4, 1000));
    }
    let (_, result, _) = run(sum(4), 10, call_again);
    assert_eq!(result, expected(10, 4, 1000));
}

/// At a poll the values lie in argument registers, and the rest in the outgoing area. (What the frame is
/// captured with is checked where the frame goes on.)
#[test]
fn a_frame_at_its_poll_is_read() {
    for carried in [1, 5, 6, 20] {
        let (_, result, _) = run(polling_loop(carried), 10, |_| unreachable!());
        let carried = carried as u64;
        assert_eq!(result, (0..carried).map(|k| 10 + k + 4).sum::<u64>());
    }
}

/// Remembers what the innermost frame holds.
pub(super) fn note_innermost(context: &mut TestContext) {
    context.read = read(context).into_iter().next();
}

/// A frame that was read at its poll is captured as it was read.
pub(super) fn check_noted(context: &mut TestContext, captured: &CapturedFrame) {
    if let Some(read) = context.read.take() {
        assert_eq!(values(&read), captured.values);
        let state = read.state.unwrap();
        assert_eq!((state.kind, state.point), (captured.kind, captured.point));
        assert_eq!(state.context, captured.context);
    }
}
