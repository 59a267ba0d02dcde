//! Vectors as text: `i32x4:1,2,3,4`, or all bits as one integer.

use crate::float;

/// The bits of a vector; `None` if the text is none.
pub fn parse(text: &str) -> Option<u128> {
    let Some((shape, lanes)) = text.split_once(':') else { return parse_integer(text, 128) };
    let lanes: Vec<&str> = lanes.split(',').collect();
    let lane: fn(&str) -> Option<u128> = match shape {
        "i8x16" => |lane| parse_integer(lane, 8),
        "i16x8" => |lane| parse_integer(lane, 16),
        "i32x4" => |lane| parse_integer(lane, 32),
        "i64x2" => |lane| parse_integer(lane, 64),
        "f32x4" => |lane| Some(float::parse_f32(lane)?.into()),
        "f64x2" => |lane| Some(float::parse_f64(lane)?.into()),
        _ => return None,
    };
    let count: usize = shape.split_once('x')?.1.parse().ok()?;
    if lanes.len() != count {
        return None;
    }
    lanes.iter().rev().try_fold(0, |bits: u128, text| {
        Some(bits.checked_shl(128 / count as u32).unwrap_or(0) | lane(text)?)
    })
}

/// The bits of an integer of so many bits, signed or unsigned, decimal or hexadecimal.
fn parse_integer(text: &str, bits: u32) -> Option<u128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    // `from_str_radix` would take a sign here.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let value = u128::from_str_radix(digits, radix).ok()?;
    let most = u128::MAX >> (128 - bits);
    match negative {
        false => (value <= most).then_some(value),
        true => (value <= most / 2 + 1).then_some(value.wrapping_neg() & most),
    }
}

/// A vector as it is printed: [`parse`] takes it.
pub fn show(bits: u128) -> String {
    let lanes: Vec<String> =
        (0..4).map(|lane| format!("{:#010x}", (bits >> (32 * lane)) as u32)).collect();
    format!("i32x4:{}", lanes.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_parsed_lane_by_lane() {
        assert_eq!(parse("i32x4:1,2,3,-1"), Some(0xffffffff_00000003_00000002_00000001));
        assert_eq!(
            parse("i8x16:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,0xff").map(|v| v >> 112),
            Some(0xff0e)
        );
        assert_eq!(parse("f64x2:1.5,-0"), Some(0x8000000000000000_3ff8000000000000));
        assert_eq!(parse("f32x4:nan:0x200000,inf,1,0").map(|v| v as u32), Some(0x7fa00000));
        assert_eq!(parse("0x100000000000000000000000000000000"), None);
        assert_eq!(parse("-1"), Some(u128::MAX));
        assert_eq!(parse("i16x8:1,2,3,4,5,6,7,-32768").map(|v| v >> 112), Some(0x8000));
        for wrong in
            ["", "i32x4:1,2,3", "i32x4:1,2,3,4294967296", "i16x8:1,2,3,4,5,6,7,-32769", "i33x4:1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_parsed() {
        for bits in [0, 1, u128::MAX, 0x0123456789abcdef_fedcba9876543210] {
            assert_eq!(parse(&show(bits)), Some(bits));
        }
        assert_eq!(show(5), "i32x4:0x00000005,0x00000000,0x00000000,0x00000000");
    }
}
