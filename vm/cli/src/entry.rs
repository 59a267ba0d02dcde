//! What of a program is called, and whose the arguments of the command line are.

use crate::command_line::RunOptions;
use anyhow::Context;
use midair::{ExternType, FuncType, Module, PrintableName, Result};
use std::ffi::OsStr;
use std::path::Path;

/// The function that is called.
pub struct Entry {
    /// What it is exported as.
    pub name: String,
    /// Whether the program's `_initialize` comes first.
    pub initialize: bool,
    /// The function's arguments.
    pub arguments: Vec<String>,
    /// What the program gets from WASI, after its name.
    pub program_arguments: Vec<String>,
}

impl Entry {
    /// What `--invoke` names; otherwise `_start`; or if there is none, what is exported under no name at all, as
    /// libraries do that are run like programs.
    pub fn of(options: &RunOptions, module: &Module) -> Result<Entry> {
        let start = || if has_function(module, "_start") { "_start" } else { "" };
        let name = match &options.invoke {
            Some(name) => name,
            None if has_function(module, start()) => start(),
            None => "_start",
        };
        let function =
            function(module, name).ok_or_else(|| missing(module, name, &options.file()))?;
        let all = options
            .arguments()
            .iter()
            .map(|argument| text(argument, "an argument"))
            .collect::<Result<Vec<String>>>()?;
        let taken = all.len().min(function.params.len());
        let (arguments, program_arguments) = match &options.invoke {
            // A `_start` with parameters takes them from the arguments, which are all the program's own too.
            None => (all[..taken].to_vec(), all),
            Some(_) if asks_for_arguments(module) => (all[..taken].to_vec(), all[taken..].to_vec()),
            Some(_) => (all, Vec::new()),
        };
        Ok(Entry {
            name: name.to_owned(),
            initialize: name != "_start",
            arguments,
            program_arguments,
        })
    }
}

fn has_function(module: &Module, name: &str) -> bool {
    function(module, name).is_some()
}

fn function(module: &Module, name: &str) -> Option<FuncType> {
    module.exports().find_map(|export| match export.ty() {
        ExternType::Func(ty) if export.name() == name => Some(ty.clone()),
        _ => None,
    })
}

/// Whether the program can see arguments of its own.
fn asks_for_arguments(module: &Module) -> bool {
    module
        .imports()
        .any(|import| import.module() == "wasi_snapshot_preview1" && import.name() == "args_get")
}

/// Says what could be called when `entry` cannot.
fn missing(module: &Module, entry: &str, file: &Path) -> midair::Error {
    let functions: Vec<String> = module
        .exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(_)))
        .map(|export| format!("`{}`", PrintableName(export.name())))
        .collect();
    let hint = if functions.is_empty() {
        "it exports no functions at all".to_owned()
    } else if functions.len() > 20 {
        format!("it exports {} other functions", functions.len())
    } else if entry == "_start" {
        format!("`--invoke NAME` can call {}", functions.join(", "))
    } else {
        format!("it exports {}", functions.join(", "))
    };
    midair::Error::msg(format!(
        "`{}` exports no function `{}`: {hint}",
        file.display(),
        PrintableName(entry)
    ))
}

/// WASI knows only text in UTF-8.
pub fn text(text: &OsStr, what: &str) -> Result<String> {
    text.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{what} is not UTF-8: {}", text.display()))
}
