//! Which loops have OSR entries.

use crate::module::{TestModule, loops};
use midair_tiers::{CodegenSettings, CompileError, CompileOptions, Compiler, EntryPoint};

/// The function's result is then nowhere: what comes behind a `return` may leave fewer operands than are needed.
#[test]
fn a_loop_that_nothing_leads_to_has_no_entry() {
    let bodies = [
        "i32.const 1 return loop nop end",
        "unreachable loop loop nop end end",
        "block (result i32) i32.const 1 br 0 loop nop end end",
    ];
    for body in bodies {
        let module = TestModule::from_wat(&format!("(module (func (result i32) {body}))"));
        let compiler = Compiler::with_verifier(false).expect("a supported processor");
        for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
            let options = CompileOptions::new(settings);
            for point in loops(&module.bodies[0]) {
                let entry = EntryPoint::Loop(point);
                let compiled =
                    compiler.machine_code(&module.env, &module.bodies[0], entry, &options);
                let refused = matches!(compiled, Err(CompileError::NoSuchLoop(at)) if at == point);
                assert!(refused, "{body}, {point:#x}, {settings}");
            }
        }
    }
}
