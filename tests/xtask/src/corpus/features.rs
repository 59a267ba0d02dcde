//! What a module asks of the virtual machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasmparser::{Validator, WasmFeatures};

/// What Midair runs of the proposals, as the validator calls them.
const RUN: [&str; 11] = [
    "custom_page_sizes",
    "exceptions",
    "extended_const",
    "function_references",
    "legacy_exceptions",
    "memory64",
    "multi_memory",
    "relaxed_simd",
    "tail_call",
    "threads",
    "wide_arithmetic",
];

/// The proposals that a module needs beyond WebAssembly 2.0 and relaxed SIMD, by name; empty when
/// the module is within it.
pub fn beyond_the_core(module: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let core = WasmFeatures::WASM2.union(WasmFeatures::RELAXED_SIMD);
    if valid(&bytes, core) {
        return Ok(Vec::new());
    }
    let everything = WasmFeatures::all();
    if !valid(&bytes, everything) {
        return Ok(vec!["nothing helps: the module is invalid".to_string()]);
    }
    let needed = everything
        .difference(core)
        .iter_names()
        .filter(|(_, one)| !valid(&bytes, everything.difference(*one)));
    Ok(needed.map(|(name, _)| name.to_lowercase()).collect())
}

/// Those of the proposals in `needs` that Midair does not run.
pub fn beyond_midair(needs: &[String]) -> Vec<String> {
    let runs = |one: &&String| !RUN.contains(&one.as_str());
    needs.iter().filter(runs).cloned().collect()
}

fn valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
}
