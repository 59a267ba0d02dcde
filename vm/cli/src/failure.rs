//! Errors as the user sees them, and the exit statuses that go with them.

use crate::ending::End;
use crate::output;
use midair::wasi::I32Exit;
use midair::{Error, Exception, Printable, Trap, WasmBacktrace};
use std::fmt::Write;
use wasmparser::Error as ParseError;

/// The guest trapped, or threw an exception that nothing caught: what a shell shows for a program that was aborted.
pub const TRAPPED: i32 = 134;
/// There is nothing to run, or it cannot be run; or what there is to print cannot be written.
pub const CANNOT_RUN: i32 = 1;
/// The program has called a function that cannot be run: what a shell shows for a file that is no program.
pub const CANNOT_RUN_FUNCTION: i32 = 126;

/// Prints the error with which a run ended; returns how the process is to end.
pub fn report(error: &Error) -> End {
    let (message, status) = describe(error);
    if let Some(message) = message {
        // The status says it too, whether or not anybody reads the message.
        let _ = output::tell(&(message + "\n"));
    }
    End::Status(status)
}

/// How a run that ended in this error is reported: the message, if there is one, and the status.
fn describe(error: &Error) -> (Option<String>, i32) {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (None, exit_status(exit.0));
    }
    match error.downcast_ref::<Trap>() {
        // Nothing that the program did is to blame: it is told as when loading it finds that out.
        Some(Trap::InvalidFunction) => {
            (Some(format!("error: {}", causes(error))), CANNOT_RUN_FUNCTION)
        }
        Some(_) => (Some(message(error)), TRAPPED),
        None if error.is::<Exception>() => (Some(message(error)), TRAPPED),
        None => (Some(message(error)), CANNOT_RUN),
    }
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
    // What the parser has to say is one line, but for the names that it quotes.
    let text = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<ParseError>()
    {
        Some(error) => Printable(&error.to_string()).to_string(),
        None => cause.to_string(),
    };
    let mut causes: Vec<String> = error.chain().map(text).collect();
    causes.retain(|cause| Some(cause) != backtrace.as_ref());
    if error.downcast_ref() == Some(&Trap::InvalidFunction) && causes.len() > 1 {
        // What stands above the trap says more.
        causes.retain(|cause| *cause != Trap::InvalidFunction.to_string());
    }
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

    #[test]
    fn functions_that_cannot_be_run_are_no_traps() {
        let error = Error::from(Trap::InvalidFunction).context("`f` cannot be run: no such thing");
        let message = "error: `f` cannot be run: no such thing".to_owned();
        assert_eq!(describe(&error), (Some(message), CANNOT_RUN_FUNCTION));
    }
}
