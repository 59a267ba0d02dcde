//! Values of scripts: arguments, expected results, and how both are shown.

use crate::float;
use midair::{Error, ExternRef, Val};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// What a `ref.extern N` of a script refers to.
struct HostValue(u32);

/// The values of arguments.
pub fn arguments(arguments: &[WastArg<'_>]) -> Result<Vec<Val>, Error> {
    arguments.iter().map(argument).collect()
}

fn argument(argument: &WastArg<'_>) -> Result<Val, Error> {
    let WastArg::Core(argument) = argument else {
        anyhow::bail!("component values are not supported");
    };
    Ok(match argument {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefNull(HeapType::Abstract { ty, .. }) => match ty {
            AbstractHeapType::Func | AbstractHeapType::NoFunc => Val::FuncRef(None),
            AbstractHeapType::Extern | AbstractHeapType::NoExtern => Val::ExternRef(None),
            AbstractHeapType::Exn | AbstractHeapType::NoExn => Val::ExnRef(None),
            other => anyhow::bail!("null references of type {other:?} are not supported"),
        },
        WastArgCore::RefExtern(value) => Val::from(ExternRef::new(HostValue(*value))),
        other => anyhow::bail!("arguments such as {other:?} are not supported"),
    })
}

/// Whether results are as expected; if not, says what differs.
pub fn check(results: &[Val], expected: &[WastRet<'_>]) -> Result<(), Error> {
    let matches = results.len() == expected.len()
        && results.iter().zip(expected).all(|(value, expected)| match expected {
            WastRet::Core(expected) => is_match(value, expected),
            _ => false,
        });
    anyhow::ensure!(
        matches,
        "expected {}, got {}",
        list(expected.iter().map(show_expected)),
        show(results)
    );
    Ok(())
}

fn is_match(value: &Val, expected: &WastRetCore<'_>) -> bool {
    match (value, expected) {
        (_, WastRetCore::Either(choices)) => choices.iter().any(|choice| is_match(value, choice)),
        (Val::I32(value), WastRetCore::I32(expected)) => value == expected,
        (Val::I64(value), WastRetCore::I64(expected)) => value == expected,
        (Val::F32(bits), WastRetCore::F32(pattern)) => is_f32(*bits, pattern),
        (Val::F64(bits), WastRetCore::F64(pattern)) => is_f64(*bits, pattern),
        (Val::V128(bits), WastRetCore::V128(pattern)) => is_vector(*bits, pattern),
        (Val::FuncRef(None), WastRetCore::RefNull(ty)) => {
            is_type(ty, [AbstractHeapType::Func, AbstractHeapType::NoFunc])
                // Of the types that modules define only those of functions are known.
                || matches!(ty, Some(HeapType::Concrete(_)))
        }
        (Val::ExternRef(None), WastRetCore::RefNull(ty)) => {
            is_type(ty, [AbstractHeapType::Extern, AbstractHeapType::NoExtern])
        }
        (Val::ExnRef(None), WastRetCore::RefNull(ty)) => {
            is_type(ty, [AbstractHeapType::Exn, AbstractHeapType::NoExn])
        }
        // A script cannot say which function: it only knows that there is one.
        (Val::FuncRef(Some(_)), WastRetCore::RefFunc(_)) => true,
        (Val::ExternRef(Some(value)), WastRetCore::RefExtern(expected)) => match expected {
            Some(expected) => host_value(value) == Some(*expected),
            None => true,
        },
        _ => false,
    }
}

fn is_f32(bits: u32, pattern: &NanPattern<F32>) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(F32 { bits: expected }) => bits == *expected,
    }
}

fn is_f64(bits: u64, pattern: &NanPattern<F64>) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(F64 { bits: expected }) => bits == *expected,
    }
}

fn is_vector(bits: u128, pattern: &V128Pattern) -> bool {
    let mut lanes = bits;
    let mut next = |width: u32| {
        let lane = lanes as u64 & (u64::MAX >> (64 - width));
        lanes >>= width;
        lane
    };
    match pattern {
        V128Pattern::I8x16(lanes) => lanes.iter().all(|&lane| next(8) == u64::from(lane as u8)),
        V128Pattern::I16x8(lanes) => lanes.iter().all(|&lane| next(16) == u64::from(lane as u16)),
        V128Pattern::I32x4(lanes) => lanes.iter().all(|&lane| next(32) == u64::from(lane as u32)),
        V128Pattern::I64x2(lanes) => lanes.iter().all(|&lane| next(64) == lane as u64),
        V128Pattern::F32x4(lanes) => lanes.iter().all(|lane| is_f32(next(32) as u32, lane)),
        V128Pattern::F64x2(lanes) => lanes.iter().all(|lane| is_f64(next(64), lane)),
    }
}

/// Whether the type of an expected null, if it has one, is one of these.
fn is_type(ty: &Option<HeapType<'_>>, possible: [AbstractHeapType; 2]) -> bool {
    match ty {
        None => true,
        Some(HeapType::Abstract { ty, .. }) => possible.contains(ty),
        Some(_) => false,
    }
}

fn host_value(value: &ExternRef) -> Option<u32> {
    let HostValue(number) = value.data().downcast_ref()?;
    Some(*number)
}

/// Results, as a script would write them.
pub fn show(values: &[Val]) -> String {
    list(values.iter().map(|value| match value {
        Val::I32(value) => format!("(i32.const {value})"),
        Val::I64(value) => format!("(i64.const {value})"),
        Val::F32(bits) => show_f32(*bits),
        Val::F64(bits) => show_f64(*bits),
        Val::V128(bits) => show_vector(*bits),
        Val::FuncRef(None) => "(ref.null func)".to_owned(),
        Val::FuncRef(Some(_)) => "(ref.func)".to_owned(),
        Val::ExternRef(None) => "(ref.null extern)".to_owned(),
        Val::ExnRef(None) => "(ref.null exn)".to_owned(),
        Val::ExnRef(Some(_)) => "(ref.exn)".to_owned(),
        Val::ExternRef(Some(value)) => match host_value(value) {
            Some(number) => format!("(ref.extern {number})"),
            None => "(ref.extern)".to_owned(),
        },
        other => format!("{other:?}"),
    }))
}

fn show_expected(expected: &WastRet<'_>) -> String {
    let WastRet::Core(expected) = expected else {
        return format!("{expected:?}");
    };
    show_core(expected)
}

fn show_core(expected: &WastRetCore<'_>) -> String {
    match expected {
        WastRetCore::I32(value) => format!("(i32.const {value})"),
        WastRetCore::I64(value) => format!("(i64.const {value})"),
        WastRetCore::F32(NanPattern::Value(value)) => show_f32(value.bits),
        WastRetCore::F64(NanPattern::Value(value)) => show_f64(value.bits),
        WastRetCore::F32(NanPattern::CanonicalNan) => "(f32.const nan:canonical)".to_owned(),
        WastRetCore::F64(NanPattern::CanonicalNan) => "(f64.const nan:canonical)".to_owned(),
        WastRetCore::F32(NanPattern::ArithmeticNan) => "(f32.const nan:arithmetic)".to_owned(),
        WastRetCore::F64(NanPattern::ArithmeticNan) => "(f64.const nan:arithmetic)".to_owned(),
        WastRetCore::RefExtern(Some(number)) => format!("(ref.extern {number})"),
        WastRetCore::V128(pattern) => show_vector_pattern(pattern),
        WastRetCore::Either(choices) => {
            let choices = choices.iter().map(|choice| show_core(choice));
            format!("(either {})", list(choices))
        }
        other => format!("({other:?})"),
    }
}

/// Vectors are shown as words.
fn show_vector(bits: u128) -> String {
    let word = |lane: u32| format!("{:#010x}", (bits >> (32 * lane)) as u32);
    format!("(v128.const i32x4 {})", list((0..4).map(word)))
}

fn show_vector_pattern(pattern: &V128Pattern) -> String {
    fn integers<T: std::fmt::LowerHex>(lanes: &[T]) -> String {
        list(lanes.iter().map(|lane| format!("{lane:#x}")))
    }
    fn floats<T>(lanes: &[NanPattern<T>], show: impl Fn(&T) -> String) -> String {
        list(lanes.iter().map(|lane| match lane {
            NanPattern::CanonicalNan => "nan:canonical".to_owned(),
            NanPattern::ArithmeticNan => "nan:arithmetic".to_owned(),
            NanPattern::Value(value) => show(value),
        }))
    }
    let (shape, lanes) = match pattern {
        V128Pattern::I8x16(lanes) => ("i8x16", integers(lanes)),
        V128Pattern::I16x8(lanes) => ("i16x8", integers(lanes)),
        V128Pattern::I32x4(lanes) => ("i32x4", integers(lanes)),
        V128Pattern::I64x2(lanes) => ("i64x2", integers(lanes)),
        V128Pattern::F32x4(lanes) => ("f32x4", floats(lanes, |f| format!("{:#010x}", f.bits))),
        V128Pattern::F64x2(lanes) => ("f64x2", floats(lanes, |f| format!("{:#018x}", f.bits))),
    };
    format!("(v128.const {shape} {lanes})")
}

/// Floats are shown with their bits: two that differ may be printed alike.
fn show_f32(bits: u32) -> String {
    format!("(f32.const {} = {bits:#010x})", float::show_f32(bits))
}

fn show_f64(bits: u64) -> String {
    format!("(f64.const {} = {bits:#018x})", float::show_f64(bits))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(" ") }
}
