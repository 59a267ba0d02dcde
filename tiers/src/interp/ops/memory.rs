//! Loads and stores, and the operators on whole memories.
//!
//! An address is a 32-bit index in a slot plus a 32-bit offset, both zero-extended: the sum cannot
//! wrap. Memory 0 is in the machine registers; the forms `_m` are for any other memory. The forms `_64` are for memories
//! with addresses of 64 bits, where the sum is checked, and `_shared` for those that other threads may use at the same time,
//! with addresses of either kind: above those of 32 bits there are zeroes.
//!
//! The operators on whole memories take 64 bits of each operand: above those of 32 bits there are zeroes.

use crate::context::{Builtins, GROW_TRAPS, MemoryDef};
use crate::interp::machine::{Machine, handlers};
use crate::shared_bytes::SharedBytes as _;
use crate::trap::TrapCode;

macro_rules! loads {
    ($($raw:ty => $value:ty: $slot:ident, $at:ident, $other:ident, $long:ident, $shared:ident;)*) => {
        handlers! {$(
            fn $slot(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(12) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set(8, <$value>::from(value));
                m.next(16)
            }
            fn $at(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.operand::<u32>(10) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set(8, <$value>::from(value));
                m.next(14)
            }
            fn $other(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(12) as usize;
                let memory = other_memory(m, m.operand(16));
                if address + SIZE > (*memory).len() {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = (*memory).base.add(address).cast::<$raw>().read_unaligned();
                m.set(8, <$value>::from(value));
                m.next(20)
            }
            fn $long(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                m.set(8, <$value>::from(at.read_unaligned()));
                m.next(24)
            }
            fn $shared(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                m.set(8, <$value>::from(<$raw>::load(at)));
                m.next(24)
            }
        )*}
    };
}

macro_rules! stores {
    ($($raw:ty: $ss:ident, $si:ident, $at:ident, $other:ident, $long:ident, $shared:ident;)*) => {
        handlers! {$(
            fn $ss(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(8) as usize + m.operand::<u32>(12) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.get::<u64>(10) as $raw;
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(16)
            }
            fn $si(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(8) as usize + m.operand::<u32>(14) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.operand::<i32>(10) as $raw;
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(18)
            }
            fn $at(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.operand::<u32>(10) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.get::<u64>(8) as $raw;
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(14)
            }
            fn $other(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(8) as usize + m.operand::<u32>(12) as usize;
                let memory = other_memory(m, m.operand(16));
                if address + SIZE > (*memory).len() {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.get::<u64>(10) as $raw;
                (*memory).base.add(address).cast::<$raw>().write_unaligned(value);
                m.next(20)
            }
            fn $long(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(8), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                at.write_unaligned(m.get::<u64>(10) as $raw);
                m.next(24)
            }
            fn $shared(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(8), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                <$raw>::store(at, m.get::<u64>(10) as $raw);
                m.next(24)
            }
        )*}
    };
}

loads! {
    u8 => u32: load8_u, load8_u_at, load8_u_m, load8_u_64, load8_u_shared;
    u16 => u32: load16_u, load16_u_at, load16_u_m, load16_u_64, load16_u_shared;
    u32 => u32: load32, load32_at, load32_m, load32_64, load32_shared;
    u64 => u64: load64, load64_at, load64_m, load64_64, load64_shared;
    i8 => i32: i32_load8_s, i32_load8_s_at, i32_load8_s_m, i32_load8_s_64, i32_load8_s_shared;
    i16 => i32: i32_load16_s, i32_load16_s_at, i32_load16_s_m, i32_load16_s_64, i32_load16_s_shared;
    i8 => i64: i64_load8_s, i64_load8_s_at, i64_load8_s_m, i64_load8_s_64, i64_load8_s_shared;
    i16 => i64: i64_load16_s, i64_load16_s_at, i64_load16_s_m, i64_load16_s_64, i64_load16_s_shared;
    i32 => i64: i64_load32_s, i64_load32_s_at, i64_load32_s_m, i64_load32_s_64, i64_load32_s_shared;
}

stores! {
    u8: store8, store8_si, store8_at, store8_m, store8_64, store8_shared;
    u16: store16, store16_si, store16_at, store16_m, store16_64, store16_shared;
    u32: store32, store32_si, store32_at, store32_m, store32_64, store32_shared;
    u64: store64, store64_si, store64_at, store64_m, store64_64, store64_shared;
}

handlers! {
    fn memory_size(m) {
        let memory = other_memory(m, m.operand(10));
        m.set(8, ((*memory).len() >> 16) as u32);
        m.next(14)
    }
    /// Of a memory with addresses of 64 bits, or with pages of another size.
    fn memory_size_of(m) {
        let memory = other_memory(m, m.operand(10));
        m.set(8, ((*memory).len() >> m.operand::<u32>(14)) as u64);
        m.next(18)
    }
    fn memory_grow(m) {
        let delta = m.get::<u64>(10);
        let old = (builtins(m).memory_grow)(m.cx, m.operand(12), delta);
        if old == GROW_TRAPS {
            return m.trap(TrapCode::HostError);
        }
        m.set(8, old);
        m.reload_memory();
        m.next(16)
    }
    fn memory_fill(m) {
        let (dst, value, len) = three(m);
        let status = (builtins(m).memory_fill)(m.cx, m.operand(14), dst, value as u32, len);
        m.next_or_raise(status, 18)
    }
    fn memory_copy(m) {
        let (dst, src, len) = three(m);
        let (to, from) = (m.operand(14), m.operand(18));
        let status = (builtins(m).memory_copy)(m.cx, to, from, dst, src, len);
        m.next_or_raise(status, 22)
    }
    fn memory_init(m) {
        let (dst, src, len) = three(m);
        let (memory, segment) = (m.operand(14), m.operand(18));
        let status = (builtins(m).memory_init)(m.cx, memory, segment, dst, src, len);
        m.next_or_raise(status, 22)
    }
    fn data_drop(m) {
        (builtins(m).data_drop)(m.cx, m.operand(8));
        m.next(12)
    }
}

/// The definition of a memory by its index.
///
/// # Safety
/// The registers must be those of a running activation, and `index` a memory of its module, which
/// validation sees to.
#[inline(always)]
pub(super) unsafe fn other_memory(m: Machine, index: u32) -> *const MemoryDef {
    // SAFETY: validated code names only memories of its module.
    unsafe { *(*m.cx).memories.add(index as usize) }
}

/// The runtime calls of the instance.
///
/// # Safety
/// The registers must be those of a running activation, whose instance outlives the reference.
#[inline(always)]
pub(super) unsafe fn builtins<'a>(m: Machine) -> &'a Builtins {
    // SAFETY: an instance's table of runtime calls lives as long as the instance.
    unsafe { &*(*m.cx).builtins }
}

/// Three leading operands.
///
/// # Safety
/// The instruction must have three slot operands at its beginning, and the slots must hold what the
/// operators take.
#[inline(always)]
unsafe fn three(m: Machine) -> (u64, u64, u64) {
    // SAFETY: for instructions with three leading slot operands only.
    unsafe { (m.get(8), m.get(10), m.get(12)) }
}

/// Where `index` plus `offset` leads in a memory, if all of a value lies there.
///
/// # Safety
/// `memory` must be alive.
#[inline(always)]
pub(super) unsafe fn long_address<T>(
    index: u64,
    offset: u64,
    memory: *const MemoryDef,
) -> Option<*mut T> {
    // SAFETY: as the caller vouches.
    unsafe {
        let start = index.checked_add(offset)?;
        let end = start.checked_add(size_of::<T>() as u64)?;
        (end <= (*memory).len() as u64).then(|| (*memory).base.add(start as usize).cast())
    }
}
