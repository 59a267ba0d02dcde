//! The `midair` command: runs programs, also ones that are being edited, and spec scripts.
//!
//! It is a library too, so that tests can run spec scripts in their own process: see [`wast`].

#![deny(missing_docs)]
// `output` writes them.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod command_line;
mod deadline;
mod ending;
mod entry;
mod failure;
mod float;
mod invoke;
mod output;
mod quantity;
mod run;
mod signals;
mod stats;
mod timeline;
mod vector;
mod wall_time;
pub mod wast;
mod watch;

use command_line::Command;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command with these arguments, the first of which is the command's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    wall_time::process_began();
    let end = match command_line::parse(arguments) {
        Ok(Command::Run(options)) => run::run(options),
        Ok(Command::Watch(options)) => watch::watch(options),
        Ok(Command::Wast(options)) => wast::command(&options),
        Err(usage) => output::print_usage(&usage),
    };
    end.exit_code()
}
