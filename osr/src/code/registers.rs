//! Machine registers as the stubs save them, and reading a frame's values by them.

use crate::code::frame_map::{FrameMapHead, FrameValue, Location};
use std::mem::offset_of;

/// Hardware number of the stack pointer.
pub(crate) const RSP: usize = 4;
/// Hardware number of the frame pointer.
pub(crate) const RBP: usize = 5;
/// The callee-saved registers besides the frame pointer, by hardware number: rbx, r12 to r15.
pub const CALLEE_SAVED: [u8; 5] = [3, 12, 13, 14, 15];

/// All registers of a frame at a site, general ones by hardware number. The assembly in `stubs` knows this
/// layout.
///
/// While a frame is suspended at a call only the callee-saved registers and the stack and frame pointers
/// mean anything; its map refers to no others.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) gpr: [u64; 16],
    pub(crate) xmm: [[u64; 2]; 16],
}

const _: () = {
    assert!(offset_of!(Registers, xmm) == 128);
    assert!(size_of::<Registers>() == 384);
};

impl Registers {
    /// What lies at a location, in one 64-bit slot or two, with undefined upper bits.
    ///
    /// # Safety
    /// `location` must come from the frame map of the site at which the frame had these registers, and the
    /// frame must still be intact.
    unsafe fn read(&self, location: Location, slots: usize) -> [u64; 2] {
        match location {
            Location::Dead => [0, 0],
            Location::GprPlus(n, addend) => {
                [self.gpr[usize::from(n)].wrapping_add_signed(addend), 0]
            }
            Location::SpPlus(offset, addend) => {
                // SAFETY: the caller's contract.
                let [base, _] = unsafe { self.read(Location::Sp(offset), 1) };
                [base.wrapping_add_signed(addend), 0]
            }
            Location::Const(bits) => [bits, 0],
            Location::ConstVector(halves) => halves,
            Location::Gpr(n) => [self.gpr[usize::from(n)], 0],
            Location::Xmm(n) => self.xmm[usize::from(n)],
            Location::Sp(offset) => {
                let at = (self.gpr[RSP] as usize + offset as usize) as *const u64;
                // SAFETY: the frame map says that the value lies there. Slots of vectors need not be
                // aligned.
                unsafe {
                    let low = at.read_unaligned();
                    [low, if slots > 1 { at.add(1).read_unaligned() } else { 0 }]
                }
            }
        }
    }

    /// A value of the frame: its slots, in canonical form; the second is 0 unless the value has two.
    ///
    /// # Safety
    /// `value` must be one of the frame map of the site at which the frame had these registers, and the
    /// frame must still be intact.
    pub(crate) unsafe fn value(&self, value: &FrameValue) -> [u64; 2] {
        let slots = value.kind.slots();
        // SAFETY: the caller's contract.
        let [low, high] = unsafe { self.read(value.location, slots) };
        [value.kind.canonical(low), if slots > 1 { high } else { 0 }]
    }

    /// The frame's context pointer.
    ///
    /// # Safety
    /// As for [`Registers::value`].
    pub(crate) unsafe fn context(&self, map: &FrameMapHead) -> u64 {
        // SAFETY: the caller's contract.
        unsafe { self.read(map.context, 1)[0] }
    }

    /// Gives back the registers that the prologue of the frame at `fp` saved.
    ///
    /// # Safety
    /// `saved` must be the saved registers of the frame's code object, and the frame be intact.
    pub(crate) unsafe fn restore_saved(&mut self, fp: usize, saved: &[(u8, u32)]) {
        for &(register, below) in saved {
            // SAFETY: the prologue saved the register there.
            self.gpr[usize::from(register)] = unsafe { *((fp - below as usize) as *const u64) };
        }
    }
}
