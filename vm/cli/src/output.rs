//! All that Midair itself writes to the standard streams. (What the guest writes goes through WASI.)
//!
//! A reader that has gone away, as in `midair … | head -1`, ends the process in the way in which it ends other
//! programs: by a signal, and without a word. What cannot be written for another reason, such as a full disk, is an
//! error. And no text, whatever it quotes, brings a character to the terminal that the terminal would obey.

#![expect(clippy::disallowed_methods, reason = "the only place that writes to standard streams")]

use crate::ending::End;
use crate::failure::CANNOT_RUN;
use midair::Printable;
use signal_hook::consts::SIGPIPE;
use std::fmt::Write as _;
use std::io::{Error, ErrorKind, Write, stderr, stdout};

/// Writes a text to standard output. Fails with the end that the process then has to take.
pub fn print(text: &str) -> Result<(), End> {
    let mut output = stdout().lock();
    let written = output.write_all(legible(text).as_bytes()).and_then(|()| output.flush());
    written.map_err(|error| unwritten(&error))
}

/// Writes a text to standard error, in one piece: the guest and other threads write there too. Fails with the end
/// that the process has to take if the text was all that there was to say.
pub fn tell(text: &str) -> Result<(), End> {
    stderr().lock().write_all(legible(text).as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => End::Signal(SIGPIPE),
        _ => End::Status(CANNOT_RUN),
    })
}

/// Writes what the parser of the command line has to say: help, or what is wrong. It knows which terminals have
/// colours.
pub fn print_usage(usage: &clap::Error) -> End {
    let written = usage.print().and_then(|()| stdout().flush());
    match written {
        Ok(()) => End::Status(usage.exit_code()),
        Err(error) => unwritten(&error),
    }
}

/// How the process ends that cannot write to its standard output.
fn unwritten(error: &Error) -> End {
    if error.kind() == ErrorKind::BrokenPipe {
        return End::Signal(SIGPIPE);
    }
    // If that cannot be written either, the status says it.
    let _ = tell(&format!("error: cannot write to standard output: {error}\n"));
    End::Status(CANNOT_RUN)
}

/// The text with everything escaped that a terminal does not just show, except for the ends of lines and tabulators.
fn legible(text: &str) -> String {
    let mut legible = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let shown = part.trim_end_matches(['\n', '\t']);
        // Writing to a string cannot fail.
        let _ = write!(legible, "{}{}", Printable(shown), &part[shown.len()..]);
    }
    legible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_what_a_terminal_obeys_does_not() {
        assert_eq!(legible("a\tb\n\n  `é` \u{1f980}\n"), "a\tb\n\n  `é` \u{1f980}\n");
        assert_eq!(
            legible("a\u{1b}]0;b\u{7}\r\n\u{9b}c\u{202e}"),
            "a\\u{1b}]0;b\\u{7}\\r\n\\u{9b}c\\u{202e}"
        );
    }
}
