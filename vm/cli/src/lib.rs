//! The `midair` command: runs programs, also ones that are being edited, and spec scripts.
//!
//! It is a library too, so that tests can run spec scripts in their own process: see [`wast`].

#![deny(missing_docs)]

mod command_line;
mod deadline;
mod failure;
mod invoke;
mod quantity;
mod run;
mod stats;
pub mod wast;
mod watch;

use command_line::Command;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command with these arguments, the first of which is the command's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command_line::parse(arguments) {
        Command::Run(options) => run::run(options),
        Command::Watch(options) => watch::watch(options),
        Command::Wast(options) => wast::command(&options),
    }
}
