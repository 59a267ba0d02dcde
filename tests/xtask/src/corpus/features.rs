//! What a module asks of the virtual machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasmparser::{Validator, WasmFeatures};

/// The proposals that a module needs beyond WebAssembly 2.0 and relaxed SIMD, by name; empty when
/// the module is within it.
pub fn beyond_our_set(module: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let ours = WasmFeatures::WASM2.union(WasmFeatures::RELAXED_SIMD);
    if valid(&bytes, ours) {
        return Ok(Vec::new());
    }
    let everything = WasmFeatures::all();
    if !valid(&bytes, everything) {
        return Ok(vec!["nothing helps: the module is invalid".to_string()]);
    }
    let needed = everything
        .difference(ours)
        .iter_names()
        .filter(|(_, one)| !valid(&bytes, everything.difference(*one)));
    Ok(needed.map(|(name, _)| name.to_lowercase()).collect())
}

fn valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
}
