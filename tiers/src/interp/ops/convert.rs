//! Conversions between number types. (`i64.extend_i32_u` and the reinterpretations need no code:
//! slots hold the same bits before and after.)

use crate::interp::machine::handlers;
use crate::trap::TrapCode;

macro_rules! convert {
    ($($from:ty: $name:ident, |$a:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let $a = m.get::<$from>(10);
                m.set(8, $result);
                m.next(12)
            }
        )*}
    };
}

// `$low` and `$high` are the nearest floats that are *not* in the target's range; where the float
// just below the range is not representable, `$low` is the range's least value itself and the
// comparison `$above` includes it.
macro_rules! truncate {
    ($($from:ty => $to:ty: $name:ident, $low:expr, $above:tt, $high:expr;)*) => {
        handlers! {$(
            #[allow(clippy::manual_range_contains)] // The lower bound may be excluded.
            fn $name(m) {
                let value = m.get::<$from>(10);
                if value $above $low && value < $high {
                    m.set(8, value as $to);
                    return m.next(12);
                }
                if value.is_nan() {
                    m.trap(TrapCode::BadConversionToInteger)
                } else {
                    m.trap(TrapCode::IntegerOverflow)
                }
            }
        )*}
    };
}

convert! {
    i32: f32_convert_i32_s, |a| a as f32;
    u32: f32_convert_i32_u, |a| a as f32;
    i64: f32_convert_i64_s, |a| a as f32;
    u64: f32_convert_i64_u, |a| a as f32;
    f64: f32_demote_f64, |a| a as f32;
    i32: f64_convert_i32_s, |a| f64::from(a);
    u32: f64_convert_i32_u, |a| f64::from(a);
    i64: f64_convert_i64_s, |a| a as f64;
    u64: f64_convert_i64_u, |a| a as f64;
    f32: f64_promote_f32, |a| f64::from(a);
    // Rust's `as` saturates and maps NaN to 0, as these do.
    f32: i32_trunc_sat_f32_s, |a| a as i32;
    f32: i32_trunc_sat_f32_u, |a| a as u32;
    f64: i32_trunc_sat_f64_s, |a| a as i32;
    f64: i32_trunc_sat_f64_u, |a| a as u32;
    f32: i64_trunc_sat_f32_s, |a| a as i64;
    f32: i64_trunc_sat_f32_u, |a| a as u64;
    f64: i64_trunc_sat_f64_s, |a| a as i64;
    f64: i64_trunc_sat_f64_u, |a| a as u64;
}

truncate! {
    f32 => i32: i32_trunc_f32_s, -2147483648.0, >=, 2147483648.0;
    f32 => u32: i32_trunc_f32_u, -1.0, >, 4294967296.0;
    f64 => i32: i32_trunc_f64_s, -2147483649.0, >, 2147483648.0;
    f64 => u32: i32_trunc_f64_u, -1.0, >, 4294967296.0;
    f32 => i64: i64_trunc_f32_s, -9223372036854775808.0, >=, 9223372036854775808.0;
    f32 => u64: i64_trunc_f32_u, -1.0, >, 18446744073709551616.0;
    f64 => i64: i64_trunc_f64_s, -9223372036854775808.0, >=, 9223372036854775808.0;
    f64 => u64: i64_trunc_f64_u, -1.0, >, 18446744073709551616.0;
}
