//! Loads and stores of vectors and of their lanes. Addresses and forms are those of scalars, in `memory`.

use super::memory::{long_address, other_memory};
use crate::interp::machine::handlers;
use crate::shared_bytes::SharedBytes as _;
use crate::trap::TrapCode;

/// Loads of `$raw`, of which the vector is made.
macro_rules! loads {
    ($($raw:ty: $slot:ident, $other:ident, $long:ident, $shared:ident, |$value:ident| $vector:expr;)*) => {
        handlers! {$(
            fn $slot(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(12) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let $value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set_vector(8, $vector);
                m.next(16)
            }
            fn $other(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(12) as usize;
                let memory = other_memory(m, m.operand(16));
                if address + SIZE > (*memory).len() {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let $value = (*memory).base.add(address).cast::<$raw>().read_unaligned();
                m.set_vector(8, $vector);
                m.next(20)
            }
            fn $long(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                let $value = at.read_unaligned();
                m.set_vector(8, $vector);
                m.next(24)
            }
            fn $shared(m) {
                let memory = other_memory(m, m.operand(20));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                let $value = <$raw>::load(at);
                m.set_vector(8, $vector);
                m.next(24)
            }
        )*}
    };
}

/// Loads of one lane; the others are those of a vector.
macro_rules! lane_loads {
    ($($raw:ty: $slot:ident, $other:ident, $long:ident, $shared:ident;)*) => {
        handlers! {$(
            fn $slot(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(14) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.mem.add(address).cast::<$raw>().read_unaligned();
                m.set_vector::<[u64; 2]>(8, m.vector(12));
                m.lane::<$raw>(8, m.operand(18)).write_unaligned(value);
                m.next(22)
            }
            fn $other(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(10) as usize + m.operand::<u32>(14) as usize;
                let memory = other_memory(m, m.operand(22));
                if address + SIZE > (*memory).len() {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = (*memory).base.add(address).cast::<$raw>().read_unaligned();
                m.set_vector::<[u64; 2]>(8, m.vector(12));
                m.lane::<$raw>(8, m.operand(18)).write_unaligned(value);
                m.next(26)
            }
            fn $long(m) {
                let memory = other_memory(m, m.operand(26));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(14), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                let value = at.read_unaligned();
                m.set_vector::<[u64; 2]>(8, m.vector(12));
                m.lane::<$raw>(8, m.operand(22)).write_unaligned(value);
                m.next(30)
            }
            fn $shared(m) {
                let memory = other_memory(m, m.operand(26));
                let Some(at) = long_address::<$raw>(m.get(10), m.operand(14), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                let value = <$raw>::load(at);
                m.set_vector::<[u64; 2]>(8, m.vector(12));
                m.lane::<$raw>(8, m.operand(22)).write_unaligned(value);
                m.next(30)
            }
        )*}
    };
}

/// Stores of one lane.
macro_rules! lane_stores {
    ($($raw:ty: $slot:ident, $other:ident, $long:ident, $shared:ident;)*) => {
        handlers! {$(
            fn $slot(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(8) as usize + m.operand::<u32>(12) as usize;
                if address + SIZE > m.mem_len {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.lane::<$raw>(10, m.operand(16)).read_unaligned();
                m.mem.add(address).cast::<$raw>().write_unaligned(value);
                m.next(20)
            }
            fn $other(m) {
                const SIZE: usize = size_of::<$raw>();
                let address = m.get::<u32>(8) as usize + m.operand::<u32>(12) as usize;
                let memory = other_memory(m, m.operand(20));
                if address + SIZE > (*memory).len() {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                }
                let value = m.lane::<$raw>(10, m.operand(16)).read_unaligned();
                (*memory).base.add(address).cast::<$raw>().write_unaligned(value);
                m.next(24)
            }
            fn $long(m) {
                let memory = other_memory(m, m.operand(24));
                let Some(at) = long_address::<$raw>(m.get(8), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                at.write_unaligned(m.lane::<$raw>(10, m.operand(20)).read_unaligned());
                m.next(28)
            }
            fn $shared(m) {
                let memory = other_memory(m, m.operand(24));
                let Some(at) = long_address::<$raw>(m.get(8), m.operand(12), memory) else {
                    return m.trap(TrapCode::MemoryOutOfBounds);
                };
                <$raw>::store(at, m.lane::<$raw>(10, m.operand(20)).read_unaligned());
                m.next(28)
            }
        )*}
    };
}

loads! {
    [u64; 2]: v128_load, v128_load_m, v128_load_64, v128_load_shared, |value| value;
    [i8; 8]: v128_load8x8_s, v128_load8x8_s_m, v128_load8x8_s_64, v128_load8x8_s_shared, |value| value.map(i16::from);
    [u8; 8]: v128_load8x8_u, v128_load8x8_u_m, v128_load8x8_u_64, v128_load8x8_u_shared, |value| value.map(u16::from);
    [i16; 4]: v128_load16x4_s, v128_load16x4_s_m, v128_load16x4_s_64, v128_load16x4_s_shared, |value| value.map(i32::from);
    [u16; 4]: v128_load16x4_u, v128_load16x4_u_m, v128_load16x4_u_64, v128_load16x4_u_shared, |value| value.map(u32::from);
    [i32; 2]: v128_load32x2_s, v128_load32x2_s_m, v128_load32x2_s_64, v128_load32x2_s_shared, |value| value.map(i64::from);
    [u32; 2]: v128_load32x2_u, v128_load32x2_u_m, v128_load32x2_u_64, v128_load32x2_u_shared, |value| value.map(u64::from);
    u8: v128_load8_splat, v128_load8_splat_m, v128_load8_splat_64, v128_load8_splat_shared, |value| [value; 16];
    u16: v128_load16_splat, v128_load16_splat_m, v128_load16_splat_64, v128_load16_splat_shared, |value| [value; 8];
    u32: v128_load32_splat, v128_load32_splat_m, v128_load32_splat_64, v128_load32_splat_shared, |value| [value; 4];
    u64: v128_load64_splat, v128_load64_splat_m, v128_load64_splat_64, v128_load64_splat_shared, |value| [value; 2];
    u32: v128_load32_zero, v128_load32_zero_m, v128_load32_zero_64, v128_load32_zero_shared, |value| [u64::from(value), 0];
    u64: v128_load64_zero, v128_load64_zero_m, v128_load64_zero_64, v128_load64_zero_shared, |value| [value, 0];
}

lane_loads! {
    u8: v128_load8_lane, v128_load8_lane_m, v128_load8_lane_64, v128_load8_lane_shared;
    u16: v128_load16_lane, v128_load16_lane_m, v128_load16_lane_64, v128_load16_lane_shared;
    u32: v128_load32_lane, v128_load32_lane_m, v128_load32_lane_64, v128_load32_lane_shared;
    u64: v128_load64_lane, v128_load64_lane_m, v128_load64_lane_64, v128_load64_lane_shared;
}

lane_stores! {
    u8: v128_store8_lane, v128_store8_lane_m, v128_store8_lane_64, v128_store8_lane_shared;
    u16: v128_store16_lane, v128_store16_lane_m, v128_store16_lane_64, v128_store16_lane_shared;
    u32: v128_store32_lane, v128_store32_lane_m, v128_store32_lane_64, v128_store32_lane_shared;
    u64: v128_store64_lane, v128_store64_lane_m, v128_store64_lane_64, v128_store64_lane_shared;
    u128: v128_store, v128_store_m, v128_store_64, v128_store_shared;
}
