//! Floats as text: in the text format of WebAssembly, which can say each value exactly.

use std::ops::RangeInclusive;
use wast::parser::{Parse, ParseBuffer, parse};
use wast::token::{F32, F64};

/// Numbers beyond these are shown with an exponent.
const WITHOUT_EXPONENT: RangeInclusive<f64> = 1e-5..=1e16;

/// The shortest text that [`parse_f32`] makes the same bits of.
pub fn show_f32(bits: u32) -> String {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        return show_nan(value.is_sign_negative(), u64::from(bits & 0x7f_ffff), 0x40_0000);
    }
    match has_exponent(f64::from(value)) {
        true => format!("{value:e}"),
        false => value.to_string(),
    }
}

/// The shortest text that [`parse_f64`] makes the same bits of.
pub fn show_f64(bits: u64) -> String {
    let value = f64::from_bits(bits);
    if value.is_nan() {
        let payload = bits & 0xf_ffff_ffff_ffff;
        return show_nan(value.is_sign_negative(), payload, 0x8_0000_0000_0000);
    }
    match has_exponent(value) {
        true => format!("{value:e}"),
        false => value.to_string(),
    }
}

fn has_exponent(value: f64) -> bool {
    value.is_finite() && value != 0.0 && !WITHOUT_EXPONENT.contains(&value.abs())
}

fn show_nan(negative: bool, payload: u64, canonical: u64) -> String {
    let sign = if negative { "-" } else { "" };
    match payload == canonical {
        true => format!("{sign}nan"),
        false => format!("{sign}nan:{payload:#x}"),
    }
}

/// The bits of a float, such as `1.5`, `-1e300`, `0x1.8p3`, `inf` or `nan:0x200000`.
pub fn parse_f32(text: &str) -> Option<u32> {
    let token: Option<F32> = token(text);
    token.map(|float| float.bits).or_else(|| text.parse().ok().map(f32::to_bits))
}

/// The bits of a float, as [`parse_f32`].
pub fn parse_f64(text: &str) -> Option<u64> {
    let token: Option<F64> = token(text);
    token.map(|float| float.bits).or_else(|| text.parse().ok().map(f64::to_bits))
}

/// A text that is one token, with nothing around it.
fn token<T: for<'a> Parse<'a>>(text: &str) -> Option<T> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.:_".contains(c);
    if !text.chars().all(is_part) {
        return None;
    }
    parse(&ParseBuffer::new(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_exact() {
        for (value, shown) in [
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e16, "10000000000000000"),
            (1.0000000000000002e16, "1.0000000000000002e16"),
            (0.00001, "0.00001"),
            (9.999e-6, "9.999e-6"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::from_bits(1), "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::from_bits(0x7ff8_0000_0000_0000), "nan"),
            (f64::from_bits(0xfff8_0000_0000_0000), "-nan"),
            (f64::from_bits(0x7ff0_0000_0000_0001), "nan:0x1"),
            (f64::from_bits(0xffff_ffff_ffff_ffff), "-nan:0xfffffffffffff"),
        ] {
            assert_eq!(show_f64(value.to_bits()), shown);
        }
        for (value, shown) in [
            (16777216.0, "16777216"),
            (f32::MAX, "3.4028235e38"),
            (f32::from_bits(1), "1e-45"),
            (f32::from_bits(0x7fc0_0000), "nan"),
            (f32::from_bits(0xffa0_0000), "-nan:0x200000"),
        ] {
            assert_eq!(show_f32(value.to_bits()), shown);
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same_bits() {
        // A sequence that visits every exponent, and NaNs of both kinds and signs.
        let mut bits = 0x0123_4567_89ab_cdef_u64;
        for round in 0..100_000_u64 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round | 1);
            let f64_bits = if round % 8 == 0 { bits | 0x7ff0_0000_0000_0000 } else { bits };
            assert_eq!(parse_f64(&show_f64(f64_bits)), Some(f64_bits), "{f64_bits:#x}");
            let f32_bits = (f64_bits >> 32) as u32;
            let f32_bits = if round % 8 == 0 { f32_bits | 0x7f80_0000 } else { f32_bits };
            assert_eq!(parse_f32(&show_f32(f32_bits)), Some(f32_bits), "{f32_bits:#x}");
        }
    }

    #[test]
    fn floats_are_read_as_the_text_format_has_them() {
        for (text, bits) in [
            ("0x1.8p3", 12_f64.to_bits()),
            ("-0x1p-1074", 0x8000_0000_0000_0001),
            ("+1.5", 1.5_f64.to_bits()),
            ("1_000", 1000_f64.to_bits()),
            ("7", 7_f64.to_bits()),
            ("0x10", 16_f64.to_bits()),
            ("1.e3", 1000_f64.to_bits()),
            (".5", 0.5_f64.to_bits()),
            ("inf", f64::INFINITY.to_bits()),
            ("-nan", 0xfff8_0000_0000_0000),
            ("NaN", 0x7ff8_0000_0000_0000),
            ("nan:0x7", 0x7ff0_0000_0000_0007),
        ] {
            assert_eq!(parse_f64(text), Some(bits), "{text}");
        }
        assert_eq!(parse_f32("nan:0x200000"), Some(0x7fa0_0000));
        for wrong in [
            "",
            "x",
            "nan:0x0",
            "nan:canonical",
            "nan:0x10000000000000",
            "1 2",
            "1;;2",
            "--1",
            "(1)",
        ] {
            assert_eq!(parse_f64(wrong), None, "{wrong}");
        }
        assert_eq!(parse_f32("nan:0x800000"), None);
    }
}
