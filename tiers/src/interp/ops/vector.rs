//! Operators on 128-bit vectors, lane by lane. A vector is two slots of a frame, low half first.
//!
//! Relaxed operators are the ones of the deterministic profile, in every tier: products are rounded before they are
//! added, lanes are selected bit by bit, indices that are too large give zero, both factors of a dot
//! product are signed and its sums saturate, and the rest does what its operator does that is not relaxed.

use super::float::Float;
use super::lanes::{Lanes, all_true, bitmask, map, mask, zip, zip3};
use crate::interp::machine::handlers;

macro_rules! unary {
    ($($from:ty => $to:ty: $name:ident, |$a:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let $a: $from = m.vector(10);
                m.set_vector::<$to>(8, $result);
                m.next(12)
            }
        )*}
    };
}

macro_rules! binary {
    ($($from:ty => $to:ty: $name:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let ($a, $b): ($from, $from) = (m.vector(10), m.vector(12));
                m.set_vector::<$to>(8, $result);
                m.next(14)
            }
        )*}
    };
}

macro_rules! ternary {
    ($($ty:ty: $name:ident, |$a:ident, $b:ident, $c:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let ($a, $b, $c): ($ty, $ty, $ty) = (m.vector(10), m.vector(12), m.vector(14));
                m.set_vector::<$ty>(8, $result);
                m.next(16)
            }
        )*}
    };
}

/// Lanes that are all ones where the comparison holds.
macro_rules! compare {
    ($($ty:ty => $mask:ty: $name:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        binary! {$(
            [$ty; 16 / size_of::<$ty>()] => [$mask; 16 / size_of::<$ty>()]:
                $name, |x, y| zip(x, y, |$a: $ty, $b: $ty| -> $mask { mask($result) });
        )*}
    };
}

macro_rules! shift {
    ($($ty:ty: $name:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                // Wrapping shifts take the amount modulo the lane's width.
                let (a, $b): ([$ty; 16 / size_of::<$ty>()], u32) = (m.vector(10), m.get(12));
                m.set_vector(8, map(a, |$a| $result));
                m.next(14)
            }
        )*}
    };
}

macro_rules! test {
    ($($from:ty: $name:ident, |$a:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let $a: $from = m.vector(10);
                m.set::<u32>(8, $result);
                m.next(12)
            }
        )*}
    };
}

macro_rules! splat {
    ($($from:ty => $lane:ty: $name:ident;)*) => {
        handlers! {$(
            fn $name(m) {
                let lane = m.get::<$from>(10) as $lane;
                m.set_vector(8, [lane; 16 / size_of::<$lane>()]);
                m.next(12)
            }
        )*}
    };
}

macro_rules! extract_lane {
    ($($lane:ty => $to:ty: $name:ident;)*) => {
        handlers! {$(
            fn $name(m) {
                let lane = m.lane::<$lane>(10, m.operand(12)).read_unaligned();
                m.set(8, <$to>::from(lane));
                m.next(16)
            }
        )*}
    };
}

macro_rules! replace_lane {
    ($($from:ty => $lane:ty: $name:ident;)*) => {
        handlers! {$(
            fn $name(m) {
                let (vector, lane): ([u64; 2], $from) = (m.vector(10), m.get(12));
                m.set_vector(8, vector);
                m.lane::<$lane>(8, m.operand(14)).write_unaligned(lane as $lane);
                m.next(18)
            }
        )*}
    };
}

handlers! {
    fn v128_copy(m) {
        m.set_vector::<[u64; 2]>(8, m.vector(10));
        m.next(12)
    }
    fn v128_const(m) {
        m.set_vector::<[u64; 2]>(8, m.operand(10));
        m.next(26)
    }
    fn v128_select(m) {
        let (a, b): ([u64; 2], [u64; 2]) = (m.vector(12), m.vector(14));
        m.set_vector(8, if m.get::<u32>(10) != 0 { a } else { b });
        m.next(16)
    }
    fn v128_global_get(m) {
        let cell = *(*m.cx).globals.add(m.operand::<u32>(10) as usize);
        m.set_vector(8, (*cell).0);
        m.next(14)
    }
    fn v128_global_set(m) {
        let cell = *(*m.cx).globals.add(m.operand::<u32>(10) as usize);
        (*cell).0 = m.vector(8);
        m.next(14)
    }
    fn i8x16_shuffle(m) {
        let (a, b): ([u8; 16], [u8; 16]) = (m.vector(10), m.vector(12));
        m.set_vector(8, shuffle(a, b, m.operand(14)));
        m.next(30)
    }
    fn i8x16_swizzle(m) {
        m.set_vector(8, swizzle(m.vector(10), m.vector(12)));
        m.next(14)
    }
    fn i32x4_relaxed_dot_i8x16_i7x16_add_s(m) {
        let (a, b): ([i8; 16], [i8; 16]) = (m.vector(10), m.vector(12));
        m.set_vector(8, dot_add(a, b, m.vector(14)));
        m.next(16)
    }
}

// Not inlined: an array that is indexed by a variable lies in memory, and a handler must have none.

#[inline(never)]
fn shuffle(a: [u8; 16], b: [u8; 16], lanes: [u8; 16]) -> [u8; 16] {
    lanes.map(|lane| if lane < 16 { a[lane as usize] } else { b[(lane & 15) as usize] })
}

#[inline(never)]
fn swizzle(a: [u8; 16], indices: [u8; 16]) -> [u8; 16] {
    indices.map(|index| if index < 16 { a[index as usize] } else { 0 })
}

/// The sums of two products each, of which neighbours are added to `c`.
#[inline(never)]
fn dot_add(a: [i8; 16], b: [i8; 16], c: [i32; 4]) -> [i32; 4] {
    let sum = |i: usize| i32::from(saturating_dot(a, b, i));
    std::array::from_fn(|i| c[i].wrapping_add(sum(2 * i) + sum(2 * i + 1)))
}

/// The sum of the `i`th pair of products.
#[inline(always)]
fn saturating_dot(a: [i8; 16], b: [i8; 16], i: usize) -> i16 {
    let product = |i: usize| i16::from(a[i]) * i16::from(b[i]);
    product(2 * i).saturating_add(product(2 * i + 1))
}

splat! {
    u32 => u8: i8x16_splat;
    u32 => u16: i16x8_splat;
    u32 => u32: i32x4_splat;
    u64 => u64: i64x2_splat;
}

extract_lane! {
    i8 => i32: i8x16_extract_lane_s;
    u8 => u32: i8x16_extract_lane_u;
    i16 => i32: i16x8_extract_lane_s;
    u16 => u32: i16x8_extract_lane_u;
    u32 => u32: i32x4_extract_lane;
    u64 => u64: i64x2_extract_lane;
}

replace_lane! {
    u32 => u8: i8x16_replace_lane;
    u32 => u16: i16x8_replace_lane;
    u32 => u32: i32x4_replace_lane;
    u64 => u64: i64x2_replace_lane;
}

compare! {
    u8 => u8: i8x16_eq, |a, b| a == b;
    u8 => u8: i8x16_ne, |a, b| a != b;
    i8 => i8: i8x16_lt_s, |a, b| a < b;
    u8 => u8: i8x16_lt_u, |a, b| a < b;
    i8 => i8: i8x16_le_s, |a, b| a <= b;
    u8 => u8: i8x16_le_u, |a, b| a <= b;
    u16 => u16: i16x8_eq, |a, b| a == b;
    u16 => u16: i16x8_ne, |a, b| a != b;
    i16 => i16: i16x8_lt_s, |a, b| a < b;
    u16 => u16: i16x8_lt_u, |a, b| a < b;
    i16 => i16: i16x8_le_s, |a, b| a <= b;
    u16 => u16: i16x8_le_u, |a, b| a <= b;
    u32 => u32: i32x4_eq, |a, b| a == b;
    u32 => u32: i32x4_ne, |a, b| a != b;
    i32 => i32: i32x4_lt_s, |a, b| a < b;
    u32 => u32: i32x4_lt_u, |a, b| a < b;
    i32 => i32: i32x4_le_s, |a, b| a <= b;
    u32 => u32: i32x4_le_u, |a, b| a <= b;
    u64 => u64: i64x2_eq, |a, b| a == b;
    u64 => u64: i64x2_ne, |a, b| a != b;
    i64 => i64: i64x2_lt_s, |a, b| a < b;
    i64 => i64: i64x2_le_s, |a, b| a <= b;
    f32 => u32: f32x4_eq, |a, b| a == b;
    f32 => u32: f32x4_ne, |a, b| a != b;
    f32 => u32: f32x4_lt, |a, b| a < b;
    f32 => u32: f32x4_le, |a, b| a <= b;
    f64 => u64: f64x2_eq, |a, b| a == b;
    f64 => u64: f64x2_ne, |a, b| a != b;
    f64 => u64: f64x2_lt, |a, b| a < b;
    f64 => u64: f64x2_le, |a, b| a <= b;
}

unary! {
    [u64; 2] => [u64; 2]: v128_not, |a| map(a, |a: u64| !a);
    [i8; 16] => [i8; 16]: i8x16_abs, |a| map(a, i8::wrapping_abs);
    [i8; 16] => [i8; 16]: i8x16_neg, |a| map(a, i8::wrapping_neg);
    [u8; 16] => [u8; 16]: i8x16_popcnt, |a| map(a, |a: u8| a.count_ones() as u8);
    [i16; 8] => [i16; 8]: i16x8_abs, |a| map(a, i16::wrapping_abs);
    [i16; 8] => [i16; 8]: i16x8_neg, |a| map(a, i16::wrapping_neg);
    [i32; 4] => [i32; 4]: i32x4_abs, |a| map(a, i32::wrapping_abs);
    [i32; 4] => [i32; 4]: i32x4_neg, |a| map(a, i32::wrapping_neg);
    [i64; 2] => [i64; 2]: i64x2_abs, |a| map(a, i64::wrapping_abs);
    [i64; 2] => [i64; 2]: i64x2_neg, |a| map(a, i64::wrapping_neg);
}

binary! {
    [u64; 2] => [u64; 2]: v128_and, |a, b| zip(a, b, |a, b| a & b);
    [u64; 2] => [u64; 2]: v128_andnot, |a, b| zip(a, b, |a, b| a & !b);
    [u64; 2] => [u64; 2]: v128_or, |a, b| zip(a, b, |a, b| a | b);
    [u64; 2] => [u64; 2]: v128_xor, |a, b| zip(a, b, |a, b| a ^ b);
    [u8; 16] => [u8; 16]: i8x16_add, |a, b| zip(a, b, u8::wrapping_add);
    [i8; 16] => [i8; 16]: i8x16_add_sat_s, |a, b| zip(a, b, i8::saturating_add);
    [u8; 16] => [u8; 16]: i8x16_add_sat_u, |a, b| zip(a, b, u8::saturating_add);
    [u8; 16] => [u8; 16]: i8x16_sub, |a, b| zip(a, b, u8::wrapping_sub);
    [i8; 16] => [i8; 16]: i8x16_sub_sat_s, |a, b| zip(a, b, i8::saturating_sub);
    [u8; 16] => [u8; 16]: i8x16_sub_sat_u, |a, b| zip(a, b, u8::saturating_sub);
    [i8; 16] => [i8; 16]: i8x16_min_s, |a, b| zip(a, b, i8::min);
    [u8; 16] => [u8; 16]: i8x16_min_u, |a, b| zip(a, b, u8::min);
    [i8; 16] => [i8; 16]: i8x16_max_s, |a, b| zip(a, b, i8::max);
    [u8; 16] => [u8; 16]: i8x16_max_u, |a, b| zip(a, b, u8::max);
    [u8; 16] => [u8; 16]: i8x16_avgr_u, |a, b| zip(a, b, |a, b| {
        ((u16::from(a) + u16::from(b) + 1) >> 1) as u8
    });
    [u16; 8] => [u16; 8]: i16x8_add, |a, b| zip(a, b, u16::wrapping_add);
    [i16; 8] => [i16; 8]: i16x8_add_sat_s, |a, b| zip(a, b, i16::saturating_add);
    [u16; 8] => [u16; 8]: i16x8_add_sat_u, |a, b| zip(a, b, u16::saturating_add);
    [u16; 8] => [u16; 8]: i16x8_sub, |a, b| zip(a, b, u16::wrapping_sub);
    [i16; 8] => [i16; 8]: i16x8_sub_sat_s, |a, b| zip(a, b, i16::saturating_sub);
    [u16; 8] => [u16; 8]: i16x8_sub_sat_u, |a, b| zip(a, b, u16::saturating_sub);
    [u16; 8] => [u16; 8]: i16x8_mul, |a, b| zip(a, b, u16::wrapping_mul);
    [i16; 8] => [i16; 8]: i16x8_min_s, |a, b| zip(a, b, i16::min);
    [u16; 8] => [u16; 8]: i16x8_min_u, |a, b| zip(a, b, u16::min);
    [i16; 8] => [i16; 8]: i16x8_max_s, |a, b| zip(a, b, i16::max);
    [u16; 8] => [u16; 8]: i16x8_max_u, |a, b| zip(a, b, u16::max);
    [u16; 8] => [u16; 8]: i16x8_avgr_u, |a, b| zip(a, b, |a, b| {
        ((u32::from(a) + u32::from(b) + 1) >> 1) as u16
    });
    [i16; 8] => [i16; 8]: i16x8_q15mulr_sat_s, |a, b| zip(a, b, |a, b| {
        let rounded = (i32::from(a) * i32::from(b) + 0x4000) >> 15;
        // Only -1 times -1 is too large.
        rounded.min(i32::from(i16::MAX)) as i16
    });
    [u32; 4] => [u32; 4]: i32x4_add, |a, b| zip(a, b, u32::wrapping_add);
    [u32; 4] => [u32; 4]: i32x4_sub, |a, b| zip(a, b, u32::wrapping_sub);
    [u32; 4] => [u32; 4]: i32x4_mul, |a, b| zip(a, b, u32::wrapping_mul);
    [i32; 4] => [i32; 4]: i32x4_min_s, |a, b| zip(a, b, i32::min);
    [u32; 4] => [u32; 4]: i32x4_min_u, |a, b| zip(a, b, u32::min);
    [i32; 4] => [i32; 4]: i32x4_max_s, |a, b| zip(a, b, i32::max);
    [u32; 4] => [u32; 4]: i32x4_max_u, |a, b| zip(a, b, u32::max);
    [u64; 2] => [u64; 2]: i64x2_add, |a, b| zip(a, b, u64::wrapping_add);
    [u64; 2] => [u64; 2]: i64x2_sub, |a, b| zip(a, b, u64::wrapping_sub);
    [u64; 2] => [u64; 2]: i64x2_mul, |a, b| zip(a, b, u64::wrapping_mul);
    [f32; 4] => [f32; 4]: f32x4_add, |a, b| zip(a, b, |a, b| a + b);
    [f32; 4] => [f32; 4]: f32x4_sub, |a, b| zip(a, b, |a, b| a - b);
    [f32; 4] => [f32; 4]: f32x4_mul, |a, b| zip(a, b, |a, b| a * b);
    [f32; 4] => [f32; 4]: f32x4_div, |a, b| zip(a, b, |a, b| a / b);
    [f32; 4] => [f32; 4]: f32x4_min, |a, b| zip(a, b, Float::minimum);
    [f32; 4] => [f32; 4]: f32x4_max, |a, b| zip(a, b, Float::maximum);
    [f32; 4] => [f32; 4]: f32x4_pmin, |a, b| zip(a, b, |a, b| if b < a { b } else { a });
    [f32; 4] => [f32; 4]: f32x4_pmax, |a, b| zip(a, b, |a, b| if a < b { b } else { a });
    [f64; 2] => [f64; 2]: f64x2_add, |a, b| zip(a, b, |a, b| a + b);
    [f64; 2] => [f64; 2]: f64x2_sub, |a, b| zip(a, b, |a, b| a - b);
    [f64; 2] => [f64; 2]: f64x2_mul, |a, b| zip(a, b, |a, b| a * b);
    [f64; 2] => [f64; 2]: f64x2_div, |a, b| zip(a, b, |a, b| a / b);
    [f64; 2] => [f64; 2]: f64x2_min, |a, b| zip(a, b, Float::minimum);
    [f64; 2] => [f64; 2]: f64x2_max, |a, b| zip(a, b, Float::maximum);
    [f64; 2] => [f64; 2]: f64x2_pmin, |a, b| zip(a, b, |a, b| if b < a { b } else { a });
    [f64; 2] => [f64; 2]: f64x2_pmax, |a, b| zip(a, b, |a, b| if a < b { b } else { a });
}

// Sign operations work on the bits, and what rounds makes signalling NaNs quiet, as with scalars.
unary! {
    [u32; 4] => [u32; 4]: f32x4_abs, |a| map(a, |a| a & 0x7fff_ffff);
    [u32; 4] => [u32; 4]: f32x4_neg, |a| map(a, |a| a ^ 0x8000_0000);
    [f32; 4] => [f32; 4]: f32x4_ceil, |a| map(a, |a| a.quieted().ceil());
    [f32; 4] => [f32; 4]: f32x4_floor, |a| map(a, |a| a.quieted().floor());
    [f32; 4] => [f32; 4]: f32x4_trunc, |a| map(a, |a| a.quieted().trunc());
    [f32; 4] => [f32; 4]: f32x4_nearest, |a| map(a, |a| a.quieted().round_ties_even());
    [f32; 4] => [f32; 4]: f32x4_sqrt, |a| map(a, f32::sqrt);
    [u64; 2] => [u64; 2]: f64x2_abs, |a| map(a, |a| a & (u64::MAX >> 1));
    [u64; 2] => [u64; 2]: f64x2_neg, |a| map(a, |a| a ^ (1 << 63));
    [f64; 2] => [f64; 2]: f64x2_ceil, |a| map(a, |a| a.quieted().ceil());
    [f64; 2] => [f64; 2]: f64x2_floor, |a| map(a, |a| a.quieted().floor());
    [f64; 2] => [f64; 2]: f64x2_trunc, |a| map(a, |a| a.quieted().trunc());
    [f64; 2] => [f64; 2]: f64x2_nearest, |a| map(a, |a| a.quieted().round_ties_even());
    [f64; 2] => [f64; 2]: f64x2_sqrt, |a| map(a, f64::sqrt);
    // Conversions of floats to integers saturate.
    [f32; 4] => [i32; 4]: i32x4_trunc_sat_f32x4_s, |a| map(a, |a| a as i32);
    [f32; 4] => [u32; 4]: i32x4_trunc_sat_f32x4_u, |a| map(a, |a| a as u32);
    [i32; 4] => [f32; 4]: f32x4_convert_i32x4_s, |a| map(a, |a| a as f32);
    [u32; 4] => [f32; 4]: f32x4_convert_i32x4_u, |a| map(a, |a| a as f32);
    [f64; 2] => [i32; 4]: i32x4_trunc_sat_f64x2_s_zero, |a| [a[0] as i32, a[1] as i32, 0, 0];
    [f64; 2] => [u32; 4]: i32x4_trunc_sat_f64x2_u_zero, |a| [a[0] as u32, a[1] as u32, 0, 0];
    [i32; 4] => [f64; 2]: f64x2_convert_low_i32x4_s, |a| [a[0].into(), a[1].into()];
    [u32; 4] => [f64; 2]: f64x2_convert_low_i32x4_u, |a| [a[0].into(), a[1].into()];
    [f64; 2] => [f32; 4]: f32x4_demote_f64x2_zero, |a| [a[0] as f32, a[1] as f32, 0.0, 0.0];
    [f32; 4] => [f64; 2]: f64x2_promote_low_f32x4, |a| [a[0].into(), a[1].into()];
}

ternary! {
    [u64; 2]: v128_bitselect, |a, b, c| zip3(a, b, c, |a, b, c| a & c | b & !c);
    [f32; 4]: f32x4_relaxed_madd, |a, b, c| zip3(a, b, c, |a, b, c| a * b + c);
    [f32; 4]: f32x4_relaxed_nmadd, |a, b, c| zip3(a, b, c, |a, b, c| -a * b + c);
    [f64; 2]: f64x2_relaxed_madd, |a, b, c| zip3(a, b, c, |a, b, c| a * b + c);
    [f64; 2]: f64x2_relaxed_nmadd, |a, b, c| zip3(a, b, c, |a, b, c| -a * b + c);
}

shift! {
    u8: i8x16_shl, |a, b| a.wrapping_shl(b);
    i8: i8x16_shr_s, |a, b| a.wrapping_shr(b);
    u8: i8x16_shr_u, |a, b| a.wrapping_shr(b);
    u16: i16x8_shl, |a, b| a.wrapping_shl(b);
    i16: i16x8_shr_s, |a, b| a.wrapping_shr(b);
    u16: i16x8_shr_u, |a, b| a.wrapping_shr(b);
    u32: i32x4_shl, |a, b| a.wrapping_shl(b);
    i32: i32x4_shr_s, |a, b| a.wrapping_shr(b);
    u32: i32x4_shr_u, |a, b| a.wrapping_shr(b);
    u64: i64x2_shl, |a, b| a.wrapping_shl(b);
    i64: i64x2_shr_s, |a, b| a.wrapping_shr(b);
    u64: i64x2_shr_u, |a, b| a.wrapping_shr(b);
}

test! {
    [u64; 2]: v128_any_true, |a| u32::from(a[0] | a[1] != 0);
    [u8; 16]: i8x16_all_true, |a| all_true(a);
    [u16; 8]: i16x8_all_true, |a| all_true(a);
    [u32; 4]: i32x4_all_true, |a| all_true(a);
    [u64; 2]: i64x2_all_true, |a| all_true(a);
    [i8; 16]: i8x16_bitmask, |a| bitmask(a);
    [i16; 8]: i16x8_bitmask, |a| bitmask(a);
    [i32; 4]: i32x4_bitmask, |a| bitmask(a);
    [i64; 2]: i64x2_bitmask, |a| bitmask(a);
}

/// Lanes of the lower or the higher half, and what becomes of them when they get twice as wide.
macro_rules! widen {
    ($($from:ty => $to:ty, $lanes:literal: $low:ident, $high:ident;)*) => {
        unary! {$(
            [$from; 2 * $lanes] => [$to; $lanes]: $low, |a| half(a, 0, |a| a.into());
            [$from; 2 * $lanes] => [$to; $lanes]: $high, |a| half(a, $lanes, |a| a.into());
        )*}
    };
}

macro_rules! extended_products {
    ($($from:ty => $to:ty, $lanes:literal: $low:ident, $high:ident;)*) => {
        binary! {$(
            [$from; 2 * $lanes] => [$to; $lanes]: $low,
                |a, b| zip(half(a, 0, <$to>::from), half(b, 0, <$to>::from), <$to>::wrapping_mul);
            [$from; 2 * $lanes] => [$to; $lanes]: $high,
                |a, b| zip(half(a, $lanes, <$to>::from), half(b, $lanes, <$to>::from), <$to>::wrapping_mul);
        )*}
    };
}

/// Narrower lanes, of `a` and then of `b`, with what does not fit saturated.
macro_rules! narrow {
    ($($from:ty => $to:ty, $lanes:literal: $name:ident;)*) => {
        binary! {$(
            [$from; $lanes] => [$to; 2 * $lanes]: $name, |a, b| std::array::from_fn(|i| {
                let lane = if i < $lanes { a[i % $lanes] } else { b[i % $lanes] };
                lane.clamp(<$to>::MIN.into(), <$to>::MAX.into()) as $to
            });
        )*}
    };
}

/// Sums of neighbours.
macro_rules! pairwise {
    ($($from:ty => $to:ty, $lanes:literal: $name:ident;)*) => {
        unary! {$(
            [$from; 2 * $lanes] => [$to; $lanes]: $name,
                |a| std::array::from_fn(|i| <$to>::from(a[2 * i]) + <$to>::from(a[2 * i + 1]));
        )*}
    };
}

/// Sums of the products of neighbours, wrapping.
macro_rules! dot {
    ($($from:ty => $to:ty, $lanes:literal: $name:ident;)*) => {
        binary! {$(
            [$from; 2 * $lanes] => [$to; $lanes]: $name, |a, b| std::array::from_fn(|i| {
                let product = |i: usize| <$to>::from(a[i]) * <$to>::from(b[i]);
                product(2 * i).wrapping_add(product(2 * i + 1))
            });
        )*}
    };
}

widen! {
    i8 => i16, 8: i16x8_extend_low_i8x16_s, i16x8_extend_high_i8x16_s;
    u8 => u16, 8: i16x8_extend_low_i8x16_u, i16x8_extend_high_i8x16_u;
    i16 => i32, 4: i32x4_extend_low_i16x8_s, i32x4_extend_high_i16x8_s;
    u16 => u32, 4: i32x4_extend_low_i16x8_u, i32x4_extend_high_i16x8_u;
    i32 => i64, 2: i64x2_extend_low_i32x4_s, i64x2_extend_high_i32x4_s;
    u32 => u64, 2: i64x2_extend_low_i32x4_u, i64x2_extend_high_i32x4_u;
}

extended_products! {
    i8 => i16, 8: i16x8_extmul_low_i8x16_s, i16x8_extmul_high_i8x16_s;
    u8 => u16, 8: i16x8_extmul_low_i8x16_u, i16x8_extmul_high_i8x16_u;
    i16 => i32, 4: i32x4_extmul_low_i16x8_s, i32x4_extmul_high_i16x8_s;
    u16 => u32, 4: i32x4_extmul_low_i16x8_u, i32x4_extmul_high_i16x8_u;
    i32 => i64, 2: i64x2_extmul_low_i32x4_s, i64x2_extmul_high_i32x4_s;
    u32 => u64, 2: i64x2_extmul_low_i32x4_u, i64x2_extmul_high_i32x4_u;
}

narrow! {
    i16 => i8, 8: i8x16_narrow_i16x8_s;
    i16 => u8, 8: i8x16_narrow_i16x8_u;
    i32 => i16, 4: i16x8_narrow_i32x4_s;
    i32 => u16, 4: i16x8_narrow_i32x4_u;
}

pairwise! {
    i8 => i16, 8: i16x8_extadd_pairwise_i8x16_s;
    u8 => u16, 8: i16x8_extadd_pairwise_i8x16_u;
    i16 => i32, 4: i32x4_extadd_pairwise_i16x8_s;
    u16 => u32, 4: i32x4_extadd_pairwise_i16x8_u;
}

dot! {
    i16 => i32, 4: i32x4_dot_i16x8_s;
}

binary! {
    [i8; 16] => [i16; 8]: i16x8_relaxed_dot_i8x16_i7x16_s,
        |a, b| std::array::from_fn(|i| saturating_dot(a, b, i));
}

/// The lanes from `first` on, as many as the result has.
#[inline(always)]
fn half<A: Copy, B, const M: usize, const N: usize>(
    a: [A; M],
    first: usize,
    f: impl Fn(A) -> B,
) -> [B; N]
where
    [A; M]: Lanes,
{
    std::array::from_fn(|i| f(a[first + i]))
}
