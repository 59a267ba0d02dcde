//! Float arithmetic. Arithmetic has a form for a constant on either side: numeric code is full of
//! them, and a float constant never fits an integer immediate.

use crate::interp::machine::handlers;

macro_rules! arithmetic {
    ($($ty:ty: $ss:ident, $si:ident, $is:ident, $op:tt;)*) => {
        handlers! {$(
            fn $ss(m) {
                let (a, b) = (m.get::<$ty>(10), m.get::<$ty>(12));
                m.set(8, a $op b);
                m.next(14)
            }
            fn $si(m) {
                let (a, b) = (m.get::<$ty>(10), m.operand::<$ty>(12));
                m.set(8, a $op b);
                m.next(20)
            }
            fn $is(m) {
                let (a, b) = (m.operand::<$ty>(12), m.get::<$ty>(10));
                m.set(8, a $op b);
                m.next(20)
            }
        )*}
    };
}

macro_rules! binary {
    ($($ty:ty: $ss:ident, |$a:ident, $b:ident| $result:expr;)*) => {
        handlers! {$(
            fn $ss(m) {
                let ($a, $b) = (m.get::<$ty>(10), m.get::<$ty>(12));
                m.set(8, $result);
                m.next(14)
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

arithmetic! {
    f32: f32_add_ss, f32_add_si, f32_add_is, +;
    f32: f32_sub_ss, f32_sub_si, f32_sub_is, -;
    f32: f32_mul_ss, f32_mul_si, f32_mul_is, *;
    f32: f32_div_ss, f32_div_si, f32_div_is, /;
    f64: f64_add_ss, f64_add_si, f64_add_is, +;
    f64: f64_sub_ss, f64_sub_si, f64_sub_is, -;
    f64: f64_mul_ss, f64_mul_si, f64_mul_is, *;
    f64: f64_div_ss, f64_div_si, f64_div_is, /;
}

binary! {
    f32: f32_min_ss, |a, b| Float::minimum(a, b);
    f32: f32_max_ss, |a, b| Float::maximum(a, b);
    f64: f64_min_ss, |a, b| Float::minimum(a, b);
    f64: f64_max_ss, |a, b| Float::maximum(a, b);
    u32: f32_copysign_ss, |a, b| (a & 0x7fff_ffff) | (b & 0x8000_0000);
    u64: f64_copysign_ss, |a, b| (a & (u64::MAX >> 1)) | (b & (1 << 63));
}

// Sign operations work on the bits: they must keep a NaN's payload.
unary! {
    u32: f32_abs, |a| a & 0x7fff_ffff;
    u32: f32_neg, |a| a ^ 0x8000_0000;
    u64: f64_abs, |a| a & (u64::MAX >> 1);
    u64: f64_neg, |a| a ^ (1 << 63);
    f32: f32_ceil, |a| a.quieted().ceil();
    f32: f32_floor, |a| a.quieted().floor();
    f32: f32_trunc, |a| a.quieted().trunc();
    f32: f32_nearest, |a| a.quieted().round_ties_even();
    f32: f32_sqrt, |a| a.sqrt();
    f64: f64_ceil, |a| a.quieted().ceil();
    f64: f64_floor, |a| a.quieted().floor();
    f64: f64_trunc, |a| a.quieted().trunc();
    f64: f64_nearest, |a| a.quieted().round_ties_even();
    f64: f64_sqrt, |a| a.sqrt();
}

/// What WebAssembly's floats do other than Rust's.
pub(super) trait Float: Copy {
    /// The smaller of two, where -0 is smaller than +0 and a NaN wins.
    fn minimum(self, other: Self) -> Self;
    /// The larger of two, where +0 is larger than -0 and a NaN wins.
    fn maximum(self, other: Self) -> Self;
    /// The same number; a signalling NaN becomes quiet, which library functions do not promise.
    fn quieted(self) -> Self;
}

macro_rules! float {
    ($ty:ty) => {
        impl Float for $ty {
            #[inline(always)]
            fn minimum(self, other: Self) -> Self {
                if self < other {
                    self
                } else if other < self {
                    other
                } else if self == other {
                    // Equal but for the sign of a zero.
                    Self::from_bits(self.to_bits() | other.to_bits())
                } else {
                    self + other
                }
            }

            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                if self > other {
                    self
                } else if other > self {
                    other
                } else if self == other {
                    Self::from_bits(self.to_bits() & other.to_bits())
                } else {
                    self + other
                }
            }

            #[inline(always)]
            fn quieted(self) -> Self {
                if self.is_nan() { self + self } else { self }
            }
        }
    };
}

float!(f32);
float!(f64);
