//! Bytes that other threads may read and write at the same time: those of shared memories.
//!
//! Guests may race, and what they then read is for the memory model of WebAssembly to say: aligned numbers are read and
//! written whole, all else byte by byte. In Rust a race of plain accesses has no meaning at all. So numbers are accessed as
//! atomics, and long stretches by string instructions of the processor, of which the compiler assumes nothing but that
//! they are done. Never is there a reference to such bytes.

use std::arch::asm;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Values that can be read from shared bytes and written to them, without any order between the accesses.
pub trait SharedBytes: Copy {
    /// Reads one: whole, if the address is aligned and it has at most eight bytes.
    ///
    /// # Safety
    /// So many bytes from the address on must be accessible.
    unsafe fn load(at: *const Self) -> Self;

    /// Writes one, in the same way.
    ///
    /// # Safety
    /// As for [`SharedBytes::load`].
    unsafe fn store(at: *mut Self, value: Self);
}

macro_rules! numbers {
    ($($number:ty: $atomic:ty;)*) => {$(
        impl SharedBytes for $number {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> Self {
                if (at as usize).is_multiple_of(size_of::<Self>()) {
                    // SAFETY: as the caller vouches, and it is aligned; other threads access it atomically too.
                    return unsafe { <$atomic>::from_ptr(at.cast_mut().cast()) }.load(Ordering::Relaxed) as Self;
                }
                let mut bytes = [0; size_of::<Self>()];
                for (i, byte) in bytes.iter_mut().enumerate() {
                    // SAFETY: as the caller vouches.
                    *byte = unsafe { AtomicU8::from_ptr(at.cast::<u8>().cast_mut().add(i)) }.load(Ordering::Relaxed);
                }
                Self::from_ne_bytes(bytes)
            }

            #[inline(always)]
            unsafe fn store(at: *mut Self, value: Self) {
                if (at as usize).is_multiple_of(size_of::<Self>()) {
                    // SAFETY: as in `load`.
                    return unsafe { <$atomic>::from_ptr(at.cast()) }.store(value as _, Ordering::Relaxed);
                }
                for (i, byte) in value.to_ne_bytes().into_iter().enumerate() {
                    // SAFETY: as in `load`.
                    unsafe { AtomicU8::from_ptr(at.cast::<u8>().add(i)) }.store(byte, Ordering::Relaxed);
                }
            }
        }
    )*};
}

numbers! {
    u8: AtomicU8; i8: AtomicU8; u16: AtomicU16; i16: AtomicU16;
    u32: AtomicU32; i32: AtomicU32; u64: AtomicU64; i64: AtomicU64;
}

/// Rows are read and written one number after the other.
impl<T: SharedBytes, const N: usize> SharedBytes for [T; N] {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> Self {
        // SAFETY: as the caller vouches.
        std::array::from_fn(|i| unsafe { T::load(at.cast::<T>().add(i)) })
    }

    #[inline(always)]
    unsafe fn store(at: *mut Self, value: Self) {
        for (i, number) in value.into_iter().enumerate() {
            // SAFETY: as the caller vouches.
            unsafe { T::store(at.cast::<T>().add(i), number) };
        }
    }
}

/// Whole vectors are written by halves, the low one first.
impl SharedBytes for u128 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> Self {
        // SAFETY: as the caller vouches.
        let [low, high] = unsafe { <[u64; 2]>::load(at.cast()) };
        u128::from(low) | u128::from(high) << 64
    }

    #[inline(always)]
    unsafe fn store(at: *mut Self, value: Self) {
        // SAFETY: as the caller vouches.
        unsafe { <[u64; 2]>::store(at.cast(), [value as u64, (value >> 64) as u64]) };
    }
}

/// Copies bytes of which other threads may access some meanwhile; the two stretches may overlap.
///
/// # Safety
/// So many bytes must be readable at `from`, and writable at `to`.
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as the caller vouches; the direction flag is as it was afterwards.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= len {
            asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        } else {
            // The end comes first, for `to` is a part of it.
            asm!(
                "std",
                "rep movsb",
                "cld",
                inout("rcx") len => _,
                inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _,
                inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
                options(nostack),
            );
        }
    }
}

/// Fills bytes of which other threads may access some meanwhile.
///
/// # Safety
/// So many bytes must be writable at `to`.
pub unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") len => _, inout("rdi") to => _, in("al") value,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_stretches_are_copied_as_if_at_once() {
        for (from, to) in [(0, 3), (3, 0), (0, 0), (2, 20)] {
            for len in [0, 1, 2, 7, 16] {
                let mut bytes: Vec<u8> = (0..40).collect();
                let mut expected = bytes.clone();
                expected.copy_within(from..from + len, to);
                let base = bytes.as_mut_ptr();
                // SAFETY: both lie in the vector.
                unsafe { copy(base.add(from), base.add(to), len) };
                assert_eq!(bytes, expected, "{len} from {from} to {to}");
            }
        }
    }

    #[test]
    fn filling_stops_at_the_end() {
        let mut bytes = [1u8; 8];
        // SAFETY: these lie in the array.
        unsafe { fill(bytes.as_mut_ptr().add(1), 7, 5) };
        assert_eq!(bytes, [1, 7, 7, 7, 7, 7, 1, 1]);
    }

    #[test]
    fn numbers_are_read_and_written_at_any_address() {
        let mut words = [0u64; 3];
        let base = words.as_mut_ptr().cast::<u8>();
        for at in 0..8 {
            // SAFETY: the array is large enough.
            unsafe {
                SharedBytes::store(base.add(at).cast::<u32>(), 0x8123_4567);
                assert_eq!(u32::load(base.add(at).cast()), 0x8123_4567);
                assert_eq!(i16::load(base.add(at + 2).cast()), i16::from_le_bytes([0x23, 0x81]));
                SharedBytes::store(base.add(at).cast::<u128>(), 5 << 64 | 9);
                assert_eq!(<[u64; 2]>::load(base.add(at).cast()), [9, 5]);
                assert_eq!(<[u8; 8]>::load(base.add(at + 8).cast()), [5, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
    }
}
