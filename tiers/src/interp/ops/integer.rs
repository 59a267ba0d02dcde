//! Integer arithmetic: `op dst, lhs, rhs` with a slot (`_ss`) or a 32-bit immediate (`_si`) on the
//! right.

use crate::interp::machine::handlers;
use crate::trap::TrapCode;

macro_rules! binary {
    ($($ty:ty: $ss:ident, $si:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $ss(m) {
                let ($a, $b) = (m.get::<$ty>(10), m.get::<$ty>(12));
                m.set(8, $result);
                m.next(14)
            }
            fn $si(m) {
                let ($a, $b) = (m.get::<$ty>(10), immediate::<$ty>(m.operand(12)));
                m.set(8, $result);
                m.next(16)
            }
        )*}
    };
}

macro_rules! division {
    ($($ty:ty: $ss:ident, $si:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $ss(m) {
                let ($a, $b) = (m.get::<$ty>(10), m.get::<$ty>(12));
                if $b == 0 {
                    return m.trap(TrapCode::IntegerDivisionByZero);
                }
                match $result {
                    Some(result) => {
                        m.set::<$ty>(8, result);
                        m.next(14)
                    }
                    None => m.trap(TrapCode::IntegerOverflow),
                }
            }
            fn $si(m) {
                let ($a, $b) = (m.get::<$ty>(10), immediate::<$ty>(m.operand(12)));
                if $b == 0 {
                    return m.trap(TrapCode::IntegerDivisionByZero);
                }
                match $result {
                    Some(result) => {
                        m.set::<$ty>(8, result);
                        m.next(16)
                    }
                    None => m.trap(TrapCode::IntegerOverflow),
                }
            }
        )*}
    };
}

macro_rules! unary {
    ($($ty:ty: $name:ident, |$a:ident| $result:expr;)*) => {
        handlers! {$(
            fn $name(m) {
                let $a = m.get::<$ty>(10);
                m.set(8, $result);
                m.next(12)
            }
        )*}
    };
}

// Parts of sums and products with 128 bits.
handlers! {
    fn i64_add_carries(m) {
        let (_, carries) = m.get::<u64>(10).overflowing_add(m.get(12));
        m.set(8, u32::from(carries));
        m.next(14)
    }
    fn i64_add3(m) {
        m.set(8, m.get::<u64>(10).wrapping_add(m.get(12)).wrapping_add(m.get(14)));
        m.next(16)
    }
    fn i64_sub3(m) {
        m.set(8, m.get::<u64>(10).wrapping_sub(m.get(12)).wrapping_sub(m.get(14)));
        m.next(16)
    }
    fn i64_mul_high_s(m) {
        let product = i128::from(m.get::<i64>(10)) * i128::from(m.get::<i64>(12));
        m.set(8, (product >> 64) as i64);
        m.next(14)
    }
    fn i64_mul_high_u(m) {
        let product = u128::from(m.get::<u64>(10)) * u128::from(m.get::<u64>(12));
        m.set(8, (product >> 64) as u64);
        m.next(14)
    }
}

#[inline(always)]
fn immediate<T: crate::interp::machine::SlotValue>(bits: i32) -> T {
    T::from_immediate(bits)
}

binary! {
    u32: i32_add_ss, i32_add_si, |a, b| a.wrapping_add(b);
    u32: i32_sub_ss, i32_sub_si, |a, b| a.wrapping_sub(b);
    u32: i32_mul_ss, i32_mul_si, |a, b| a.wrapping_mul(b);
    u32: i32_and_ss, i32_and_si, |a, b| a & b;
    u32: i32_or_ss, i32_or_si, |a, b| a | b;
    u32: i32_xor_ss, i32_xor_si, |a, b| a ^ b;
    u32: i32_shl_ss, i32_shl_si, |a, b| a.wrapping_shl(b);
    i32: i32_shr_s_ss, i32_shr_s_si, |a, b| a.wrapping_shr(b as u32);
    u32: i32_shr_u_ss, i32_shr_u_si, |a, b| a.wrapping_shr(b);
    u32: i32_rotl_ss, i32_rotl_si, |a, b| a.rotate_left(b & 31);
    u32: i32_rotr_ss, i32_rotr_si, |a, b| a.rotate_right(b & 31);
    u64: i64_add_ss, i64_add_si, |a, b| a.wrapping_add(b);
    u64: i64_sub_ss, i64_sub_si, |a, b| a.wrapping_sub(b);
    u64: i64_mul_ss, i64_mul_si, |a, b| a.wrapping_mul(b);
    u64: i64_and_ss, i64_and_si, |a, b| a & b;
    u64: i64_or_ss, i64_or_si, |a, b| a | b;
    u64: i64_xor_ss, i64_xor_si, |a, b| a ^ b;
    u64: i64_shl_ss, i64_shl_si, |a, b| a.wrapping_shl(b as u32);
    i64: i64_shr_s_ss, i64_shr_s_si, |a, b| a.wrapping_shr(b as u32);
    u64: i64_shr_u_ss, i64_shr_u_si, |a, b| a.wrapping_shr(b as u32);
    u64: i64_rotl_ss, i64_rotl_si, |a, b| a.rotate_left(b as u32 & 63);
    u64: i64_rotr_ss, i64_rotr_si, |a, b| a.rotate_right(b as u32 & 63);
}

division! {
    i32: i32_div_s_ss, i32_div_s_si, |a, b| a.checked_div(b);
    u32: i32_div_u_ss, i32_div_u_si, |a, b| a.checked_div(b);
    i32: i32_rem_s_ss, i32_rem_s_si, |a, b| Some(a.wrapping_rem(b));
    u32: i32_rem_u_ss, i32_rem_u_si, |a, b| a.checked_rem(b);
    i64: i64_div_s_ss, i64_div_s_si, |a, b| a.checked_div(b);
    u64: i64_div_u_ss, i64_div_u_si, |a, b| a.checked_div(b);
    i64: i64_rem_s_ss, i64_rem_s_si, |a, b| Some(a.wrapping_rem(b));
    u64: i64_rem_u_ss, i64_rem_u_si, |a, b| a.checked_rem(b);
}

unary! {
    u32: i32_clz, |a| a.leading_zeros();
    u32: i32_ctz, |a| a.trailing_zeros();
    u32: i32_popcnt, |a| a.count_ones();
    i32: i32_extend8_s, |a| i32::from(a as i8);
    i32: i32_extend16_s, |a| i32::from(a as i16);
    u64: i64_clz, |a| u64::from(a.leading_zeros());
    u64: i64_ctz, |a| u64::from(a.trailing_zeros());
    u64: i64_popcnt, |a| u64::from(a.count_ones());
    i64: i64_extend8_s, |a| i64::from(a as i8);
    i64: i64_extend16_s, |a| i64::from(a as i16);
    i32: i64_extend32_s, |a| i64::from(a);
    u32: i32_wrap_i64, |a| a;
}
