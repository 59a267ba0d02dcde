//! Which proposals are accepted, and which one to blame when a module is not.

use crate::config::Config;
use crate::types::error::{ErrorKind, Failure};
use crate::types::printable::Printable;
use wasmparser::{Error as ParseError, WasmFeatures};

/// What an engine accepts: WebAssembly 2.0, and what its configuration adds or takes away.
pub(crate) fn accepted(config: &Config) -> WasmFeatures {
    let mut features = WasmFeatures::WASM2;
    features.set(WasmFeatures::SIMD, config.simd);
    features.set(WasmFeatures::RELAXED_SIMD, config.simd && config.relaxed_simd);
    features.set(WasmFeatures::EXTENDED_CONST, config.extended_const);
    features.set(WasmFeatures::MULTI_MEMORY, config.multi_memory);
    features.set(WasmFeatures::FUNCTION_REFERENCES, config.function_references);
    features.set(WasmFeatures::MEMORY64, config.memory64);
    features.set(WasmFeatures::CUSTOM_PAGE_SIZES, config.custom_page_sizes);
    features.set(WasmFeatures::WIDE_ARITHMETIC, config.wide_arithmetic);
    features.set(WasmFeatures::EXCEPTIONS, config.exceptions);
    features.set(WasmFeatures::LEGACY_EXCEPTIONS, config.exceptions);
    features.set(WasmFeatures::TAIL_CALL, config.tail_call);
    features.set(WasmFeatures::THREADS, config.threads);
    features
}

/// What the validator is told to accept in everything of a module but its bodies, of which it accepts `features`.
///
/// Groups of types, and types with subtypes, belong to the proposal of garbage collection, of which only types of functions
/// are known here. So it is let pass, and who loads a module refuses the rest of it.
pub(crate) fn of_modules(mut features: WasmFeatures) -> WasmFeatures {
    features.set(WasmFeatures::GC, features.contains(WasmFeatures::FUNCTION_REFERENCES));
    features
}

/// The error for a module that uses this.
pub(crate) fn unsupported(what: &str) -> anyhow::Error {
    Failure::new(ErrorKind::Unsupported, format!("{what} is not supported yet")).into()
}

/// Proposals that this version does not know, those that others build on first.
const UNSUPPORTED: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::SIMD, "SIMD"),
    (WasmFeatures::TAIL_CALL, "tail calls"),
    (WasmFeatures::EXCEPTIONS, "exception handling"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception handling"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::FUNCTION_REFERENCES, "function references"),
    (WasmFeatures::GC, "garbage collection"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
    (WasmFeatures::EXTENDED_CONST, "extended constant expressions"),
    (WasmFeatures::MULTI_MEMORY, "multi-memory"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::COMPACT_IMPORTS, "compact imports"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPONENT_MODEL, "the component model"),
];

/// A module larger than this is not validated again and again to find out what it uses.
const SEARCH_LIMIT: usize = 8 << 20;

/// The error for a module or a body of `size` bytes that is not accepted. `check` validates it with other
/// features.
///
/// If unknown proposals are the reason, the error names them; otherwise it is `error` itself.
pub(crate) fn explain(
    error: ParseError,
    size: usize,
    accepted: WasmFeatures,
    check: impl Fn(WasmFeatures) -> Result<(), ParseError>,
) -> anyhow::Error {
    if size > SEARCH_LIMIT {
        return error.into();
    }
    let all = UNSUPPORTED.iter().fold(accepted, |all, (feature, _)| all.union(*feature));
    if check(all).is_err() {
        return error.into();
    }
    // Leave out one proposal after the other, those that build on others first: what cannot be left
    // out is used.
    let mut needed = all;
    let mut names = Vec::new();
    for (feature, name) in UNSUPPORTED.iter().rev() {
        if accepted.contains(*feature) {
            continue;
        }
        let without = needed.difference(feature.difference(accepted));
        if check(without).is_ok() {
            needed = without;
        } else {
            names.push(*name);
        }
    }
    names.reverse();
    let Some((last, first)) = names.split_last() else { return error.into() };
    let (list, verb) = if first.is_empty() {
        (last.to_string(), "is")
    } else {
        (format!("{} and {last}", first.join(", ")), "are")
    };
    Failure::new(
        ErrorKind::Unsupported,
        format!("{list} {verb} not supported yet: {}", Printable(&error.to_string())),
    )
    .into()
}
