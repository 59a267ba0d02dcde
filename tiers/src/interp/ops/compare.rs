//! Comparisons, as values and fused with a branch.
//!
//! Of two slots only `eq ne lt le` exist: the others swap their operands. With an immediate on the
//! right all ten exist. Float comparisons also come negated, for branches: with NaN, not less is
//! not the same as greater or equal.

use crate::interp::machine::handlers;

macro_rules! compare_slots {
    ($($ty:ty: $value:ident, $branch:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $value(m) {
                let ($a, $b) = (m.get::<$ty>(10), m.get::<$ty>(12));
                m.set(8, u32::from($result));
                m.next(14)
            }
            fn $branch(m) {
                let ($a, $b) = (m.get::<$ty>(8), m.get::<$ty>(10));
                if $result { m.branch(12) } else { m.next(16) }
            }
        )*}
    };
}

macro_rules! compare_immediate {
    ($($ty:ty: $value:ident, $branch:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $value(m) {
                let ($a, $b) = (m.get::<$ty>(10), m.operand::<i32>(12) as $ty);
                m.set(8, u32::from($result));
                m.next(16)
            }
            fn $branch(m) {
                let ($a, $b) = (m.get::<$ty>(8), m.operand::<i32>(10) as $ty);
                if $result { m.branch(14) } else { m.next(18) }
            }
        )*}
    };
}

macro_rules! branch_slots {
    ($($ty:ty: $branch:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $branch(m) {
                let ($a, $b) = (m.get::<$ty>(8), m.get::<$ty>(10));
                if $result { m.branch(12) } else { m.next(16) }
            }
        )*}
    };
}

macro_rules! branch_immediate {
    ($($ty:ty: $branch:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $branch(m) {
                let ($a, $b) = (m.get::<$ty>(8), m.operand::<i32>(10) as $ty);
                if $result { m.branch(14) } else { m.next(18) }
            }
        )*}
    };
}

compare_slots! {
    u32: i32_eq_ss, br_if_i32_eq_ss, |a, b| a == b;
    u32: i32_ne_ss, br_if_i32_ne_ss, |a, b| a != b;
    i32: i32_lt_s_ss, br_if_i32_lt_s_ss, |a, b| a < b;
    u32: i32_lt_u_ss, br_if_i32_lt_u_ss, |a, b| a < b;
    i32: i32_le_s_ss, br_if_i32_le_s_ss, |a, b| a <= b;
    u32: i32_le_u_ss, br_if_i32_le_u_ss, |a, b| a <= b;
    u64: i64_eq_ss, br_if_i64_eq_ss, |a, b| a == b;
    u64: i64_ne_ss, br_if_i64_ne_ss, |a, b| a != b;
    i64: i64_lt_s_ss, br_if_i64_lt_s_ss, |a, b| a < b;
    u64: i64_lt_u_ss, br_if_i64_lt_u_ss, |a, b| a < b;
    i64: i64_le_s_ss, br_if_i64_le_s_ss, |a, b| a <= b;
    u64: i64_le_u_ss, br_if_i64_le_u_ss, |a, b| a <= b;
    f32: f32_eq_ss, br_if_f32_eq_ss, |a, b| a == b;
    f32: f32_ne_ss, br_if_f32_ne_ss, |a, b| a != b;
    f32: f32_lt_ss, br_if_f32_lt_ss, |a, b| a < b;
    f32: f32_le_ss, br_if_f32_le_ss, |a, b| a <= b;
    f64: f64_eq_ss, br_if_f64_eq_ss, |a, b| a == b;
    f64: f64_ne_ss, br_if_f64_ne_ss, |a, b| a != b;
    f64: f64_lt_ss, br_if_f64_lt_ss, |a, b| a < b;
    f64: f64_le_ss, br_if_f64_le_ss, |a, b| a <= b;
}

compare_immediate! {
    i32: i32_eq_si, br_if_i32_eq_si, |a, b| a == b;
    i32: i32_ne_si, br_if_i32_ne_si, |a, b| a != b;
    i32: i32_lt_s_si, br_if_i32_lt_s_si, |a, b| a < b;
    u32: i32_lt_u_si, br_if_i32_lt_u_si, |a, b| a < b;
    i32: i32_gt_s_si, br_if_i32_gt_s_si, |a, b| a > b;
    u32: i32_gt_u_si, br_if_i32_gt_u_si, |a, b| a > b;
    i32: i32_le_s_si, br_if_i32_le_s_si, |a, b| a <= b;
    u32: i32_le_u_si, br_if_i32_le_u_si, |a, b| a <= b;
    i32: i32_ge_s_si, br_if_i32_ge_s_si, |a, b| a >= b;
    u32: i32_ge_u_si, br_if_i32_ge_u_si, |a, b| a >= b;
    i64: i64_eq_si, br_if_i64_eq_si, |a, b| a == b;
    i64: i64_ne_si, br_if_i64_ne_si, |a, b| a != b;
    i64: i64_lt_s_si, br_if_i64_lt_s_si, |a, b| a < b;
    u64: i64_lt_u_si, br_if_i64_lt_u_si, |a, b| a < b;
    i64: i64_gt_s_si, br_if_i64_gt_s_si, |a, b| a > b;
    u64: i64_gt_u_si, br_if_i64_gt_u_si, |a, b| a > b;
    i64: i64_le_s_si, br_if_i64_le_s_si, |a, b| a <= b;
    u64: i64_le_u_si, br_if_i64_le_u_si, |a, b| a <= b;
    i64: i64_ge_s_si, br_if_i64_ge_s_si, |a, b| a >= b;
    u64: i64_ge_u_si, br_if_i64_ge_u_si, |a, b| a >= b;
}

branch_slots! {
    u32: br_if_i32_and_ss, |a, b| a & b != 0;
    u32: br_if_i32_nand_ss, |a, b| a & b == 0;
    f32: br_if_f32_nlt_ss, |a, b| !less(a, b);
    f32: br_if_f32_nle_ss, |a, b| !less_or_equal(a, b);
    f64: br_if_f64_nlt_ss, |a, b| !less(a, b);
    f64: br_if_f64_nle_ss, |a, b| !less_or_equal(a, b);
}

branch_immediate! {
    i32: br_if_i32_and_si, |a, b| a & b != 0;
    i32: br_if_i32_nand_si, |a, b| a & b == 0;
}

handlers! {
    fn br_if_nez(m) {
        if m.get::<u32>(8) != 0 { m.branch(10) } else { m.next(14) }
    }
    fn br_if_eqz(m) {
        if m.get::<u32>(8) == 0 { m.branch(10) } else { m.next(14) }
    }
}

// Functions, so that their negation reads as what it is: true also for NaN.
#[inline(always)]
fn less<T: PartialOrd>(a: T, b: T) -> bool {
    a < b
}

#[inline(always)]
fn less_or_equal<T: PartialOrd>(a: T, b: T) -> bool {
    a <= b
}
