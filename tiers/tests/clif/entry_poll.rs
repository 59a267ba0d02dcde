//! Polls at function entries.

use crate::module::TestModule;
use midair_osr::SiteKind;
use midair_tiers::{CodegenSettings, CompileOptions, Compiler, EntryPoint, FunctionBody};

/// A function that calls nothing and does not loop needs no poll: whoever calls it comes to one soon. But a new body
/// of it must not run before the thread has been served what belongs to that body.
#[test]
fn a_new_body_polls_at_its_entry_however_small_it_is() {
    let text = "(module (memory 1) (func (result i32) (i32.load (i32.const 0))))";
    let TestModule { env, mut bodies } = TestModule::from_wat(text);
    let compiler = Compiler::with_verifier(true).expect("a supported processor");
    let mut polls = |version: u32, settings: CodegenSettings| {
        bodies[0].version = version;
        let options = CompileOptions::new(settings);
        let compiled = compiler.machine_code(&env, &bodies[0], EntryPoint::Function, &options);
        let sites = compiled.expect("a body that compiles").sites;
        let at_entry = sites.values().filter(|site| site.point == FunctionBody::ENTRY);
        at_entry.filter(|site| site.kind == SiteKind::Poll).count()
    };
    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
        assert_eq!(polls(0, settings), 0);
        assert_eq!(polls(1, settings), 1);
        assert_eq!(polls(7, settings), 1);
    }
}
