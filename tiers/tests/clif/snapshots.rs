use crate::module::TestModule;
use midair_tiers::*;
#[test]
fn look() {
    let module =
        TestModule::from_wat(&std::fs::read_to_string(std::env::var("WAT").unwrap()).unwrap());
    let compiler = Compiler::with_verifier(true).unwrap();
    for body in &module.bodies {
        for tier in [CompiledTier::Baseline, CompiledTier::Optimized] {
            let mut options = CompileOptions::new(tier);
            options.dump_clif = true;
            let c =
                compiler.machine_code(&module.env, body, EntryPoint::Function, &options).unwrap();
            let l = c.listing.unwrap();
            println!(
                "=== {tier:?}\n{}\n{}",
                if tier == CompiledTier::Baseline { &l.clif } else { "" },
                l.assembly
            );
        }
    }
}
