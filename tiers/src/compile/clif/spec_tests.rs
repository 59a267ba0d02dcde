//! The specification's test suite on compiled code, as far as the test instance can run it: modules
//! that import nothing. (The whole suite runs on the embedding API.)

use super::execution::{CompiledInstance, Stress};
use crate::compile::CodegenSettings;
use crate::interp::harness::Instance;
use crate::interp::spec_suite::{all_match, arguments, same_trap, scripts};
use crate::trap::TrapCode;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke};

struct Totals {
    passed: u32,
    reentered: u32,
    left: u32,
    failures: Vec<String>,
}

fn run(settings: CodegenSettings, stress: Stress) -> Totals {
    let mut totals = Totals { passed: 0, reentered: 0, left: 0, failures: Vec::new() };
    for file in scripts() {
        let Ok(buffer) = file.wast() else { continue };
        let Ok(directives) = buffer.directives() else { continue };
        let mut instance: Option<Box<CompiledInstance>> = None;
        for directive in directives {
            let (line, _) = directive.span().linecol_in(file.raw());
            let ok = match directive {
                WastDirective::Module(module) => {
                    totals.count(instance.take());
                    instance = instantiate(module)
                        .map(|instance| CompiledInstance::new(instance, settings, stress));
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
                } => invoke(&mut instance, &call)
                    .map(|outcome| outcome.is_ok_and(|values| all_match(&values, &results))),
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
        assert!(self.passed > 40_000, "only {} assertions were run", self.passed);
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
    let args = arguments(&invoke.args)?;
    instance.instance.exports.get(invoke.name)?;
    Some(instance.call(invoke.name, &args))
}

#[test]
fn code_that_is_not_optimized_does_what_the_specification_says() {
    run(CodegenSettings::UNOPTIMIZED, Stress::None).check();
}

#[test]
fn optimized_code_does_what_the_specification_says() {
    run(CodegenSettings::OPTIMIZED, Stress::None).check();
}

#[test]
fn the_same_with_frames_that_reenter_compiled_code_at_every_poll() {
    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
        for every in [1, 3] {
            let totals = run(settings, Stress::Reenter(every));
            totals.check();
            assert!(totals.reentered > 500, "only {} frames reentered", totals.reentered);
        }
    }
}

#[test]
fn the_same_with_all_frames_leaving_for_the_interpreter() {
    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
        for every in [1, 5] {
            let totals = run(settings, Stress::LeaveAll(every));
            totals.check();
            assert!(totals.left > 1000, "only {} frames left", totals.left);
        }
    }
}

#[test]
fn values_that_differ_by_a_constant_survive_a_transition() {
    // Around the call and in the loop: a pointer, pointers into what it points to, their difference to
    // a dead one, wrapping 32-bit sums, a copy, and floats that are the same value.
    let wat = r#"(module
      (func $id (param i32) (result i32) (local.get 0))
      (func (export "f") (param $p i32) (param $q i64) (param $x f64) (result i64)
        (local $a i32) (local $b i32) (local $c i64) (local $d i64) (local $y f64) (local $n i32)
        (local.set $y (local.get $x))
        (local.set $a (i32.sub (local.get $p) (i32.const 16)))
        (local.set $b (i32.add (local.get $a) (i32.const -2147483648)))
        (local.set $c (i64.add (i64.const 40) (local.get $q)))
        (local.set $d (i64.add (local.get $c) (i64.const 0x7fffffffffffffff)))
        (local.set $q (local.get $c))
        (local.set $n (i32.const 5))
        (loop $next
          (local.set $n (call $id (i32.sub (local.get $n) (i32.const 1))))
          (br_if $next (local.get $n)))
        (i64.add
          (i64.add
            (i64.extend_i32_u (local.get $b))
            (i64.mul (i64.extend_i32_u (local.get $a)) (i64.const 3)))
          (i64.add
            (i64.add (i64.mul (local.get $c) (i64.const 5)) (i64.mul (local.get $d) (i64.const 7)))
            (i64.add (local.get $q)
              (i64.trunc_f64_s (f64.add (local.get $x) (local.get $y))))))))"#;
    let arguments = [7, u64::MAX - 3, f64::to_bits(2.5)];
    let expected = {
        let a = 7u32.wrapping_sub(16);
        let c = 36u64;
        u64::from(a.wrapping_add(1 << 31))
            .wrapping_add(u64::from(a) * 3)
            .wrapping_add(c * 5)
            .wrapping_add(c.wrapping_add(u64::MAX >> 1).wrapping_mul(7))
            .wrapping_add(c)
            .wrapping_add(5)
    };
    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
        for every in 1..6 {
            for stress in [Stress::None, Stress::Reenter(every), Stress::LeaveAll(every)] {
                let mut compiled = CompiledInstance::new(Instance::new(wat), settings, stress);
                let found = compiled.call("f", &arguments);
                assert_eq!(found, Ok(vec![expected]), "{settings}, {stress:?}");
            }
        }
    }
}
