//! The operators of threads. All are sequentially consistent.
//!
//! An address is checked for alignment first, then for the memory's end. As everywhere in the interpreter there are zeroes
//! above indices of 32 bits, so that the sum of index and offset is the same computation for all memories.

use super::memory::{builtins, long_address, other_memory};
use crate::context::{MemoryDef, OUTSIDE, StoreContext, Wait};
use crate::interp::Position;
use crate::interp::catch_up::{self, go_on};
use crate::interp::machine::{Machine, handlers};
use crate::lowered::frame;
use crate::trap::TrapCode;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Where a value lies that is accessed atomically.
///
/// # Safety
/// `memory` must be alive.
#[inline(always)]
unsafe fn place<'a, T>(
    index: u64,
    offset: u64,
    memory: *const MemoryDef,
) -> Result<&'a T, TrapCode> {
    if !index.wrapping_add(offset).is_multiple_of(size_of::<T>() as u64) {
        return Err(TrapCode::UnalignedAtomic);
    }
    // SAFETY: as the caller vouches. Memories begin at a page, so that the place is aligned; `T` is atomic, and all bits
    // mean a value.
    unsafe { long_address(index, offset, memory).map(|at| &*at).ok_or(TrapCode::MemoryOutOfBounds) }
}

macro_rules! accesses {
    ($($raw:ty, $atomic:ty: $load:ident, $store:ident, $cmpxchg:ident;)*) => {
        handlers! {$(
            fn $load(m) {
                match place::<$atomic>(m.get(10), m.operand(12), other_memory(m, m.operand(20))) {
                    Ok(place) => m.set(8, u64::from(place.load(Ordering::SeqCst))),
                    Err(trap) => return m.raise(trap as u32),
                }
                m.next(24)
            }
            fn $store(m) {
                match place::<$atomic>(m.get(8), m.operand(12), other_memory(m, m.operand(20))) {
                    Ok(place) => place.store(m.get::<u64>(10) as $raw, Ordering::SeqCst),
                    Err(trap) => return m.raise(trap as u32),
                }
                m.next(24)
            }
            fn $cmpxchg(m) {
                let (expected, new) = (m.get::<u64>(12) as $raw, m.get::<u64>(14) as $raw);
                let old = match place::<$atomic>(m.get(10), m.operand(16), other_memory(m, m.operand(24))) {
                    Ok(place) => place.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst),
                    Err(trap) => return m.raise(trap as u32),
                };
                m.set(8, u64::from(old.unwrap_or_else(|found| found)));
                m.next(28)
            }
        )*}
    };
}

macro_rules! modifications {
    ($($method:ident { $($raw:ty, $atomic:ty, $name:ident;)* })*) => {
        handlers! {$($(
            fn $name(m) {
                match place::<$atomic>(m.get(10), m.operand(14), other_memory(m, m.operand(22))) {
                    Ok(place) => {
                        let old = place.$method(m.get::<u64>(12) as $raw, Ordering::SeqCst);
                        m.set(8, u64::from(old));
                    }
                    Err(trap) => return m.raise(trap as u32),
                }
                m.next(26)
            }
        )*)*}
    };
}

accesses! {
    u8, AtomicU8: atomic_load8, atomic_store8, atomic_cmpxchg8;
    u16, AtomicU16: atomic_load16, atomic_store16, atomic_cmpxchg16;
    u32, AtomicU32: atomic_load32, atomic_store32, atomic_cmpxchg32;
    u64, AtomicU64: atomic_load64, atomic_store64, atomic_cmpxchg64;
}

modifications! {
    fetch_add {
        u8, AtomicU8, atomic_add8; u16, AtomicU16, atomic_add16;
        u32, AtomicU32, atomic_add32; u64, AtomicU64, atomic_add64;
    }
    fetch_sub {
        u8, AtomicU8, atomic_sub8; u16, AtomicU16, atomic_sub16;
        u32, AtomicU32, atomic_sub32; u64, AtomicU64, atomic_sub64;
    }
    fetch_and {
        u8, AtomicU8, atomic_and8; u16, AtomicU16, atomic_and16;
        u32, AtomicU32, atomic_and32; u64, AtomicU64, atomic_and64;
    }
    fetch_or {
        u8, AtomicU8, atomic_or8; u16, AtomicU16, atomic_or16;
        u32, AtomicU32, atomic_or32; u64, AtomicU64, atomic_or64;
    }
    fetch_xor {
        u8, AtomicU8, atomic_xor8; u16, AtomicU16, atomic_xor16;
        u32, AtomicU32, atomic_xor32; u64, AtomicU64, atomic_xor64;
    }
    swap {
        u8, AtomicU8, atomic_xchg8; u16, AtomicU16, atomic_xchg16;
        u32, AtomicU32, atomic_xchg32; u64, AtomicU64, atomic_xchg64;
    }
}

handlers! {
    fn atomic_fence(m) {
        fence(Ordering::SeqCst);
        m.next(8)
    }
    fn notify(m) {
        let at = m.get::<u64>(10).wrapping_add(m.operand::<u64>(14));
        if !at.is_multiple_of(size_of::<u32>() as u64) {
            return m.trap(TrapCode::UnalignedAtomic);
        }
        if at < m.operand::<u64>(14) {
            return m.trap(TrapCode::MemoryOutOfBounds);
        }
        let woken = (builtins(m).notify)(m.cx, m.operand(22), at, m.get(12));
        if woken == OUTSIDE {
            return m.trap(TrapCode::MemoryOutOfBounds);
        }
        m.set(8, woken);
        m.next(26)
    }
    fn wait32(m) {
        let operands = m.slot(20);
        m.ip = m.ip.add(22);
        go_on!(m, wait(m, 22, operands, false))
    }
    fn wait32_far(m) {
        let operands = m.far_slot(20);
        m.ip = m.ip.add(24);
        go_on!(m, wait(m, 24, operands, false))
    }
    fn wait64(m) {
        let operands = m.slot(20);
        m.ip = m.ip.add(22);
        go_on!(m, wait(m, 22, operands, true))
    }
    fn wait64_far(m) {
        let operands = m.far_slot(20);
        m.ip = m.ip.add(24);
        go_on!(m, wait(m, 24, operands, true))
    }
}

/// Waits, as an instruction of `size` bytes says behind which `m.ip` stands. If the answer is true, the result has taken
/// the place of the first operand, and the activation says where the top frame goes on; else a trap is on its way.
///
/// # Safety
/// The registers must be those of a running activation, and `operands` the instruction's, at the top of the top frame.
#[inline(never)]
unsafe fn wait(m: Machine, size: usize, operands: *mut u64, is_64: bool) -> bool {
    // SAFETY: the caller's contract. What is called meanwhile uses the value stack above the top frame.
    unsafe {
        let raise = |code: u32| {
            m.raise_at(Position::Call, code);
            false
        };
        let instruction = Machine { ip: m.ip.sub(size), ..m };
        let (memory, offset) = (instruction.operand::<u32>(8), instruction.operand::<u64>(12));
        let (index, expected) = (operands.read(), operands.add(1).read());
        let at = index.wrapping_add(offset);
        if !at.is_multiple_of(if is_64 { 8 } else { 4 }) {
            return raise(TrapCode::UnalignedAtomic as u32);
        }
        if at < offset {
            return raise(TrapCode::MemoryOutOfBounds as u32);
        }
        let timeout = operands.add(2).read().cast_signed();
        let wait = Wait { memory, at, is_64, expected, timeout };
        m.save(Position::Call);
        let st: *mut StoreContext = m.st;
        let top = (*st).value_top;
        (*st).value_top = m.fp.add((*frame::code(m.fp)).slots_above as usize);
        let answer = (builtins(m).wait)(m.cx, &wait);
        (*st).value_top = top;
        let trap = (answer >> 32) as u32;
        if trap != 0 {
            return raise(trap);
        }
        operands.write(answer);
        // Otherwise the activation still says what was saved above.
        !catch_up::is_due(m) || catch_up::catch_up(m, Position::Call)
    }
}
