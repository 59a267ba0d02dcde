//! Errors as the user sees them, and the exit statuses that go with them.

use midair::wasi::I32Exit;
use midair::{Error, Trap, WasmBacktrace};
use std::fmt::Write;

/// The guest trapped: what a shell shows for a program that was aborted.
pub const TRAPPED: i32 = 134;
/// There is nothing to run, or it cannot be run.
pub const CANNOT_RUN: i32 = 1;

/// How a run that ended in this error is reported: the message, if there is one, and the status.
pub fn describe(error: &Error) -> (Option<String>, i32) {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (None, exit_status(exit.0));
    }
    let status = match error.downcast_ref::<Trap>() {
        Some(_) => TRAPPED,
        None => CANNOT_RUN,
    };
    (Some(message(error)), status)
}

/// The status for a guest that exits with `status`: its lowest 8 bits, which is all that the system passes on. But
/// failure never becomes success: if they are zero and `status` is not, it is 255.
fn exit_status(status: i32) -> i32 {
    match status & 0xff {
        0 if status != 0 => 255,
        passed_on => passed_on,
    }
}

/// The error's causes on one line, and the backtrace below if there is one.
fn message(error: &Error) -> String {
    let mut text = format!("error: {}", causes(error));
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let _ = write!(text, "\n{backtrace}");
    }
    text
}

/// The error's causes on one line, without the backtrace.
pub fn causes(error: &Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.retain(|cause| Some(cause) != backtrace.as_ref());
    // Some errors repeat the one that they wrap.
    causes.dedup();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_on_one_line() {
        let error = Error::msg("no such file").context("cannot load `a`");
        assert_eq!(describe(&error), (Some("error: cannot load `a`: no such file".to_owned()), 1));
    }

    #[test]
    fn exits_that_are_not_success_do_not_look_like_it() {
        for (exit, status) in [(0, 0), (1, 1), (255, 255), (256, 255), (257, 1), (-1, 255)] {
            assert_eq!(describe(&I32Exit(exit).into()).1, status);
        }
        assert_eq!(describe(&I32Exit(i32::MIN).into()).1, 255);
    }

    #[test]
    fn exits_are_silent_and_traps_are_aborts() {
        assert_eq!(describe(&I32Exit(42).into()), (None, 42));
        let (message, status) = describe(&Error::from(Trap::UnreachableCodeReached));
        assert_eq!(message.unwrap(), "error: wasm trap: unreachable");
        assert_eq!(status, TRAPPED);
    }
}
