//! Calling an exported function with arguments from the command line.

use crate::{float, vector};
use midair::{Error, Func, PrintableName, Store, Val, ValType};

/// Calls `function` with arguments parsed by its parameters' types; returns a line for each result.
pub fn invoke<T>(
    store: &mut Store<T>,
    name: &str,
    function: Func,
    arguments: &[String],
) -> Result<Vec<String>, Error> {
    let ty = function.ty(&*store);
    let parameters = parse_arguments(name, &ty.params, arguments)?;
    let mut results = vec![Val::I32(0); ty.results.len()];
    function.call(&mut *store, &parameters, &mut results)?;
    Ok(results.iter().map(show).collect())
}

fn parse_arguments(name: &str, types: &[ValType], texts: &[String]) -> Result<Vec<Val>, Error> {
    if types.len() != texts.len() {
        let list: Vec<String> = types.iter().map(ToString::to_string).collect();
        anyhow::bail!(
            "function `{}` takes {} ({}), not {}",
            PrintableName(name),
            match types.len() {
                1 => "1 argument".to_owned(),
                n => format!("{n} arguments"),
            },
            list.join(", "),
            texts.len()
        );
    }
    types
        .iter()
        .zip(texts)
        .map(|(&ty, text)| {
            parse(ty, text).ok_or_else(|| Error::msg(format!("argument `{text}` is no {ty}")))
        })
        .collect()
}

/// A value of this type. Integers may be signed or unsigned, decimal or hexadecimal; floats are those of the text
/// format; vectors have a shape and lanes, as `i32x4:1,2,3,4`, or are one integer.
fn parse(ty: ValType, text: &str) -> Option<Val> {
    Some(match ty {
        ValType::I32 => {
            let value = parse_integer(text)?;
            Val::I32(
                i32::try_from(value)
                    .ok()
                    .or_else(|| u32::try_from(value).ok().map(|v| v as i32))?,
            )
        }
        ValType::I64 => {
            let value = parse_integer(text)?;
            Val::I64(
                i64::try_from(value)
                    .ok()
                    .or_else(|| u64::try_from(value).ok().map(|v| v as i64))?,
            )
        }
        ValType::F32 => Val::F32(float::parse_f32(text)?),
        ValType::F64 => Val::F64(float::parse_f64(text)?),
        ValType::V128 => Val::V128(vector::parse(text)?),
        ValType::Ref(_) if text == "null" => Val::default_for_ty(ty)?,
        _ => return None,
    })
}

fn parse_integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = match digits.strip_prefix("0x") {
        // `from_str_radix` would take a sign after the prefix.
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            i128::from_str_radix(hex, 16).ok()?
        }
        Some(_) => return None,
        None => digits.parse().ok()?,
    };
    Some(sign * value)
}

/// A result as it is printed.
fn show(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => float::show_f32(*bits),
        Val::F64(bits) => float::show_f64(*bits),
        Val::V128(bits) => vector::show(*bits),
        Val::FuncRef(None) | Val::ExternRef(None) | Val::ExnRef(None) => "null".to_owned(),
        Val::FuncRef(Some(_)) => "funcref".to_owned(),
        Val::ExternRef(Some(_)) => "externref".to_owned(),
        Val::ExnRef(Some(_)) => "exnref".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midair::{HeapType, RefType};

    fn shown(ty: ValType, text: &str) -> Option<String> {
        parse(ty, text).map(|value| show(&value))
    }

    #[test]
    fn arguments_are_parsed_by_type() {
        assert_eq!(shown(ValType::I32, "-5").as_deref(), Some("-5"));
        assert_eq!(shown(ValType::I32, "4294967295").as_deref(), Some("-1"));
        assert_eq!(shown(ValType::I32, "0xff").as_deref(), Some("255"));
        assert_eq!(shown(ValType::I32, "-0x80000000").as_deref(), Some("-2147483648"));
        assert_eq!(shown(ValType::I64, "18446744073709551615").as_deref(), Some("-1"));
        assert_eq!(shown(ValType::F32, "1.5").as_deref(), Some("1.5"));
        assert_eq!(shown(ValType::F64, "-inf").as_deref(), Some("-inf"));
        assert_eq!(shown(ValType::F64, "0x1p-1074").as_deref(), Some("5e-324"));
        assert_eq!(shown(ValType::F32, "nan:0x200000").as_deref(), Some("nan:0x200000"));
        assert_eq!(shown(ValType::FUNCREF, "null").as_deref(), Some("null"));
        let no_func = RefType::new(true, HeapType::NoFunc);
        assert_eq!(shown(no_func.into(), "null").as_deref(), Some("null"));
        assert_eq!(shown(RefType::FUNCREF.as_non_null().into(), "null"), None);
        for wrong in ["", "-", "+1", "1.5", "4294967296", "-2147483649", "0x", "0x-1", "--1", "x"] {
            assert_eq!(shown(ValType::I32, wrong), None, "{wrong}");
        }
        assert_eq!(shown(ValType::EXTERNREF, "1"), None);
    }

    #[test]
    fn the_number_of_arguments_must_match() {
        let error = parse_arguments("f", &[ValType::I32, ValType::F64], &[]).unwrap_err();
        assert_eq!(error.to_string(), "function `f` takes 2 arguments (i32, f64), not 0");
    }
}
