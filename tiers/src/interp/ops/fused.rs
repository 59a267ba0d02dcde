//! Address arithmetic that is one instruction: scaled sums, fields of a word, and accesses to
//! `base + index` and `base + (index << shift)`. Sums wrap at 32 bits as the operators they stand
//! for do; the access's own offset is added without wrapping.

use crate::interp::machine::handlers;
use crate::trap::TrapCode;

handlers! {
    fn i32_shl_add(m) {
        let (base, index) = (m.get::<u32>(10), m.get::<u32>(12));
        m.set(8, base.wrapping_add(index.wrapping_shl(m.operand(14))));
        m.next(18)
    }
    fn i32_mul_add(m) {
        let (base, index) = (m.get::<u32>(10), m.get::<u32>(12));
        m.set(8, base.wrapping_add(index.wrapping_mul(m.operand(14))));
        m.next(18)
    }
    fn i32_shr_u_and(m) {
        let word = m.get::<u32>(10).wrapping_shr(m.operand(12));
        m.set(8, word & m.operand::<u32>(16));
        m.next(20)
    }
}

macro_rules! loads {
    ($($raw:ty: $sum:ident, $scaled:ident;)*) => {
        handlers! {$(
            fn $sum(m) {
                const SIZE: usize = size_of::<$raw>();
                let sum = m.get::<u32>(10).wrapping_add(m.get::<u32>(12));
                let address = sum as usize + m.operand::<u32>(14) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set(8, u64::from(value));
                m.next(18)
            }
            fn $scaled(m) {
                const SIZE: usize = size_of::<$raw>();
                let scaled = m.get::<u32>(12).wrapping_shl(m.operand(14));
                let sum = m.get::<u32>(10).wrapping_add(scaled);
                let address = sum as usize + m.operand::<u32>(18) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set(8, u64::from(value));
                m.next(22)
            }
        )*}
    };
}

macro_rules! stores {
    ($($raw:ty: $sum:ident, $scaled:ident;)*) => {
        handlers! {$(
            fn $sum(m) {
                const SIZE: usize = size_of::<$raw>();
                let sum = m.get::<u32>(8).wrapping_add(m.get::<u32>(10));
                let address = sum as usize + m.operand::<u32>(14) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.get::<u64>(12) as $raw;
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(18)
            }
            fn $scaled(m) {
                const SIZE: usize = size_of::<$raw>();
                let scaled = m.get::<u32>(10).wrapping_shl(m.operand(14));
                let sum = m.get::<u32>(8).wrapping_add(scaled);
                let address = sum as usize + m.operand::<u32>(18) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.get::<u64>(12) as $raw;
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(22)
            }
        )*}
    };
}

loads! {
    u8: load8_u_sum, load8_u_scaled;
    u16: load16_u_sum, load16_u_scaled;
    u32: load32_sum, load32_scaled;
    u64: load64_sum, load64_scaled;
}

stores! {
    u8: store8_sum, store8_scaled;
    u16: store16_sum, store16_scaled;
    u32: store32_sum, store32_scaled;
    u64: store64_sum, store64_scaled;
}
