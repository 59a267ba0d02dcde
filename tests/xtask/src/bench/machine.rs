//! Where and with what a measurement was made.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{process, project};

/// Processor, cores, memory, kernel, load and the versions measured, as lines of a list. To be
/// asked before anything is measured: the load afterwards is our own.
pub fn describe(wasmtime: &Path) -> Result<Vec<String>> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(String::from);
        line.and_then(|line| line.split_once(':').map(|(_, value)| value.trim().to_string()))
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Other work on the machine makes every wall time worse, the parallel compilers' most.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_string();
    let says = |command: &mut Command| {
        process::run_tool(command, "asking for a version")
            .map(|out| String::from_utf8_lossy(&out).trim().to_string())
    };
    let commit = says(
        Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(project::root()),
    );
    let date = says(Command::new("date").args(["-u", "+%Y-%m-%d"]));
    Ok(vec![
        format!(
            "{}, {cores} cores, {}, Linux {}, load average {load} at the start",
            field("/proc/cpuinfo", "model name"),
            field("/proc/meminfo", "MemTotal"),
            kernel.trim()
        ),
        format!("midair at commit {}, {}", commit.unwrap_or_default(), date.unwrap_or_default()),
        says(Command::new(wasmtime).arg("--version"))?,
        "wasmi 2.0.0 with lazy translation, built with link-time optimisation".to_string(),
    ])
}
