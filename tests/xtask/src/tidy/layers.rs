//! Imports point down only: `vm` on `tiers` on `osr`, and `osr` knows no wasm.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Finding, Source, rust_text};
use crate::{process, project};

/// A package of the workspace and the names of what it depends on, in any way.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    pub dependencies: Vec<String>,
}

/// Which of our own crates each layer may depend on. Tests and the command line may use all.
const MAY_USE: [(&str, &[&str]); 3] = [
    ("midair-osr", &[]),
    ("midair-tiers", &["midair-osr"]),
    ("midair", &["midair-osr", "midair-tiers"]),
];

/// How the names of crates begin that are about wasm or its system interface.
const ABOUT_WASM: [&str; 5] = ["wasm", "wasi", "wat", "wast", "wiggle"];

/// The workspace as cargo sees it.
pub fn packages() -> Result<Vec<Package>> {
    let mut cargo = Command::new(project::cargo());
    cargo
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(project::root());
    let metadata: Value =
        serde_json::from_slice(&process::run_tool(&mut cargo, "asking cargo for the workspace")?)?;
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|entry| Some(entry["name"].as_str()?.to_string())).collect()
    };
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    Ok(packages
        .iter()
        .map(|package| Package {
            name: package["name"].as_str().unwrap_or_default().to_string(),
            dependencies: names(&package["dependencies"]),
        })
        .collect())
}

/// Dependencies that point up, or from `osr` at wasm.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency == "midair" || dependency.starts_with("midair-");
            // Of the tests alone, and beside the layers: it knows none of them.
            let ours = ours && dependency != "midair-watchdog";
            if ours && !may_use.contains(&dependency.as_str()) {
                findings.push(Finding::new(
                    "Cargo.toml",
                    0,
                    format!(
                        "{} must not depend on {dependency}: imports point down only",
                        package.name
                    ),
                ));
            }
            if package.name == "midair-osr"
                && ABOUT_WASM.iter().any(|start| dependency.starts_with(start))
            {
                findings.push(Finding::new(
                    "osr/Cargo.toml",
                    0,
                    format!("midair-osr must not depend on {dependency}: it knows no wasm"),
                ));
            }
        }
    }
    findings
}

/// Names in the code of `osr` that speak of wasm. Comments may say what the crate is used for.
pub fn check_words(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("osr/") {
        return Vec::new();
    }
    let code = rust_text::without_comments_and_strings(&source.text);
    let about_wasm = |line: &str| line.to_ascii_lowercase().contains("wasm");
    code.lines()
        .enumerate()
        .filter(|(_, line)| about_wasm(line))
        .map(|(index, _)| {
            Finding::new(
                &source.path,
                index + 1,
                "a name in osr/ speaks of wasm, which osr/ does not know",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn broken(name: &str, dependencies: &[&str]) -> usize {
        let dependencies = dependencies.iter().map(ToString::to_string).collect();
        check(&[Package { name: name.to_string(), dependencies }]).len()
    }

    #[test]
    fn downwards_is_fine() {
        assert_eq!(broken("midair", &["midair-tiers", "midair-osr", "wasi-common"]), 0);
        assert_eq!(broken("midair-tiers", &["midair-osr", "wasmparser"]), 0);
        assert_eq!(broken("midair-osr", &["libc", "cranelift-codegen"]), 0);
        assert_eq!(broken("midair-tests", &["midair", "midair-tiers"]), 0);
    }

    #[test]
    fn upwards_and_sideways_are_found() {
        assert_eq!(broken("midair-osr", &["midair-tiers"]), 1);
        assert_eq!(broken("midair-tiers", &["midair"]), 1);
        assert_eq!(broken("midair", &["midair-cli"]), 1);
    }

    #[test]
    fn wasm_below_is_found() {
        assert_eq!(broken("midair-osr", &["wasmparser", "wat"]), 2);
        assert_eq!(check_words(&source("osr/src/a.rs", "struct WasmFrame;\n")).len(), 1);
        assert_eq!(check_words(&source("osr/src/a.rs", "// wasm\nlet s = \"wasm\";\n")).len(), 0);
        assert_eq!(check_words(&source("tiers/src/a.rs", "struct WasmFrame;\n")).len(), 0);
    }
}
