//! Vectors as arrays of lanes.

use crate::interp::machine::Machine;

/// A vector as an array of its lanes, the lowest first.
///
/// # Safety
/// Only for arrays of 16 bytes of which all bits are values.
pub(super) unsafe trait Lanes: Copy {}

macro_rules! lanes {
    ($($ty:ty)*) => {$(
        // SAFETY: 16 bytes of numbers.
        unsafe impl Lanes for [$ty; 16 / size_of::<$ty>()] {}
    )*};
}

lanes! { i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 }

impl Machine {
    /// The vector in the two slots of which the operand at byte `at` names the first.
    ///
    /// # Safety
    /// As for [`Machine::slot`], with the slot behind it one of the frame too.
    #[inline(always)]
    pub(super) unsafe fn vector<T: Lanes>(self, at: usize) -> T {
        // SAFETY: the caller's contract. Slots are aligned to half a vector.
        unsafe { self.slot(at).cast::<T>().read_unaligned() }
    }

    /// Writes the two slots of which the operand at byte `at` names the first.
    ///
    /// # Safety
    /// As for [`Machine::vector`].
    #[inline(always)]
    pub(super) unsafe fn set_vector<T: Lanes>(self, at: usize, value: T) {
        // SAFETY: the caller's contract.
        unsafe { self.slot(at).cast::<T>().write_unaligned(value) }
    }

    /// Where a lane is of the vector in the two slots of which the operand at byte `at` names the first.
    ///
    /// # Safety
    /// As for [`Machine::vector`]; there must be such a lane.
    #[inline(always)]
    pub(super) unsafe fn lane<T>(self, at: usize, lane: u32) -> *mut T {
        // SAFETY: the caller's contract; little-endian, so the lowest lane comes first.
        unsafe { self.slot(at).cast::<T>().add(lane as usize) }
    }
}

/// The results of `f` for each lane.
#[inline(always)]
pub(super) fn map<A: Copy, B, const N: usize>(a: [A; N], f: impl Fn(A) -> B) -> [B; N] {
    std::array::from_fn(|i| f(a[i]))
}

/// The results of `f` for each pair of lanes.
#[inline(always)]
pub(super) fn zip<A: Copy, B, const N: usize>(
    a: [A; N],
    b: [A; N],
    f: impl Fn(A, A) -> B,
) -> [B; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// The results of `f` for the lanes of three vectors.
#[inline(always)]
pub(super) fn zip3<A: Copy, const N: usize>(
    a: [A; N],
    b: [A; N],
    c: [A; N],
    f: impl Fn(A, A, A) -> A,
) -> [A; N] {
    std::array::from_fn(|i| f(a[i], b[i], c[i]))
}

/// A lane of ones or of zeroes.
#[inline(always)]
pub(super) fn mask<T: Mask>(condition: bool) -> T {
    if condition { T::ONES } else { T::default() }
}

/// Lanes that say yes or no.
pub(super) trait Mask: Copy + Default + PartialOrd {
    /// All bits are one.
    const ONES: Self;
}

macro_rules! masks {
    ($($ty:ty)*) => {$(
        impl Mask for $ty {
            const ONES: $ty = !0;
        }
    )*};
}

masks! { i8 u8 i16 u16 i32 u32 i64 u64 }

/// 1 if no lane is zero, and 0 otherwise.
#[inline(always)]
pub(super) fn all_true<T: Mask, const N: usize>(a: [T; N]) -> u32 {
    let mut all = true;
    for lane in a {
        all &= lane != T::default();
    }
    all.into()
}

/// The highest bits of all lanes, those of the lowest lane first.
#[inline(always)]
pub(super) fn bitmask<T: Mask, const N: usize>(a: [T; N]) -> u32 {
    let mut bits = 0;
    for (i, lane) in a.into_iter().enumerate() {
        bits |= u32::from(lane < T::default()) << i;
    }
    bits
}
