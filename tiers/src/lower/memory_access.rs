//! Loads and stores: which form of one to use, by what is known of the address and the value.

use super::arithmetic::Width;
use super::operands::Operand;
use super::{Lowerer, Unsupported};
use crate::interp::op::Op;
use wasmparser::{MemArg, MemArgTarget};

/// The instructions of a kind of load. `BITS_…` leave zeroes above what they load; `I32_…` and `I64_…`
/// extend the sign.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// From `base + index` and from `base + (index << shift)`.
    sums: Option<(Op, Op)>,
    slot: Op,
    at: Op,
    other: Op,
    /// In memories with addresses of 64 bits.
    long: Op,
    /// In shared memories.
    shared: Op,
}

impl Load {
    pub(super) const BITS_32: Load = Load {
        sums: Some((Op::load32_sum, Op::load32_scaled)),
        slot: Op::load32,
        at: Op::load32_at,
        other: Op::load32_m,
        long: Op::load32_64,
        shared: Op::load32_shared,
    };
    pub(super) const BITS_64: Load = Load {
        sums: Some((Op::load64_sum, Op::load64_scaled)),
        slot: Op::load64,
        at: Op::load64_at,
        other: Op::load64_m,
        long: Op::load64_64,
        shared: Op::load64_shared,
    };
    pub(super) const I32_8_S: Load = Load {
        sums: None,
        slot: Op::i32_load8_s,
        at: Op::i32_load8_s_at,
        other: Op::i32_load8_s_m,
        long: Op::i32_load8_s_64,
        shared: Op::i32_load8_s_shared,
    };
    pub(super) const BITS_8_U: Load = Load {
        sums: Some((Op::load8_u_sum, Op::load8_u_scaled)),
        slot: Op::load8_u,
        at: Op::load8_u_at,
        other: Op::load8_u_m,
        long: Op::load8_u_64,
        shared: Op::load8_u_shared,
    };
    pub(super) const I32_16_S: Load = Load {
        sums: None,
        slot: Op::i32_load16_s,
        at: Op::i32_load16_s_at,
        other: Op::i32_load16_s_m,
        long: Op::i32_load16_s_64,
        shared: Op::i32_load16_s_shared,
    };
    pub(super) const BITS_16_U: Load = Load {
        sums: Some((Op::load16_u_sum, Op::load16_u_scaled)),
        slot: Op::load16_u,
        at: Op::load16_u_at,
        other: Op::load16_u_m,
        long: Op::load16_u_64,
        shared: Op::load16_u_shared,
    };
    pub(super) const I64_8_S: Load = Load {
        sums: None,
        slot: Op::i64_load8_s,
        at: Op::i64_load8_s_at,
        other: Op::i64_load8_s_m,
        long: Op::i64_load8_s_64,
        shared: Op::i64_load8_s_shared,
    };
    pub(super) const I64_16_S: Load = Load {
        sums: None,
        slot: Op::i64_load16_s,
        at: Op::i64_load16_s_at,
        other: Op::i64_load16_s_m,
        long: Op::i64_load16_s_64,
        shared: Op::i64_load16_s_shared,
    };
    pub(super) const I64_32_S: Load = Load {
        sums: None,
        slot: Op::i64_load32_s,
        at: Op::i64_load32_s_at,
        other: Op::i64_load32_s_m,
        long: Op::i64_load32_s_64,
        shared: Op::i64_load32_s_shared,
    };
}

/// The instructions of a kind of store.
#[derive(Clone, Copy)]
pub(super) struct Store {
    /// To `base + index` and to `base + (index << shift)`.
    sums: (Op, Op),
    slots: Op,
    immediate: Op,
    at: Op,
    other: Op,
    /// In memories with addresses of 64 bits.
    long: Op,
    /// In shared memories.
    shared: Op,
    width: Width,
}

impl Store {
    pub(super) const BITS_32: Store = Store {
        sums: (Op::store32_sum, Op::store32_scaled),
        slots: Op::store32,
        immediate: Op::store32_si,
        at: Op::store32_at,
        other: Op::store32_m,
        long: Op::store32_64,
        shared: Op::store32_shared,
        width: Width::W32,
    };
    pub(super) const BITS_64: Store = Store {
        sums: (Op::store64_sum, Op::store64_scaled),
        slots: Op::store64,
        immediate: Op::store64_si,
        at: Op::store64_at,
        other: Op::store64_m,
        long: Op::store64_64,
        shared: Op::store64_shared,
        width: Width::W64,
    };
    pub(super) const BITS_8: Store = Store {
        sums: (Op::store8_sum, Op::store8_scaled),
        slots: Op::store8,
        immediate: Op::store8_si,
        at: Op::store8_at,
        other: Op::store8_m,
        long: Op::store8_64,
        shared: Op::store8_shared,
        width: Width::W32,
    };
    pub(super) const BITS_16: Store = Store {
        sums: (Op::store16_sum, Op::store16_scaled),
        slots: Op::store16,
        immediate: Op::store16_si,
        at: Op::store16_at,
        other: Op::store16_m,
        long: Op::store16_64,
        shared: Op::store16_shared,
        width: Width::W32,
    };
}

impl Lowerer<'_> {
    pub(super) fn load(&mut self, load: Load, memarg: MemArg) -> Result<(), Unsupported> {
        let memory = memory_operand(memarg)?;
        let (address, temp) = self.pop();
        let ty = self.env.memories[memory as usize];
        if ty.is_64 || ty.shared {
            let slot = self.slot_of(address, temp);
            let dst = self.push_temp();
            let code =
                self.code.op(if ty.shared { load.shared } else { load.long }).slot(dst).slot(slot);
            code.quad(memarg.offset).uint(memory);
            return Ok(());
        }
        let offset = memarg.offset as u32;
        if memory == 0
            && let Some(at) = constant_address(address, offset)
        {
            let dst = self.push_temp();
            self.code.op(load.at).slot(dst).uint(at);
            return Ok(());
        }
        if memory == 0
            && let Some((sum, scaled)) = load.sums
            && let Some(at) = self.take_sum(address, temp)
        {
            self.load_sum(&at, offset, sum, scaled);
            return Ok(());
        }
        let slot = self.slot_of(address, temp);
        let dst = self.push_temp();
        if memory == 0 {
            self.code.op(load.slot).slot(dst).slot(slot).uint(offset);
        } else {
            let code = self.code.op(load.other).slot(dst).slot(slot);
            code.uint(offset).uint(memory);
        }
        Ok(())
    }

    pub(super) fn store(&mut self, store: Store, memarg: MemArg) -> Result<(), Unsupported> {
        let memory = memory_operand(memarg)?;
        let (value, value_temp) = self.pop();
        let (address, temp) = self.pop();
        let ty = self.env.memories[memory as usize];
        if ty.is_64 || ty.shared {
            let address = self.slot_of(address, temp);
            let value = self.slot_of(value, value_temp);
            let code = self
                .code
                .op(if ty.shared { store.shared } else { store.long })
                .slot(address)
                .slot(value);
            code.quad(memarg.offset).uint(memory);
            return Ok(());
        }
        let offset = memarg.offset as u32;
        if memory != 0 {
            let address = self.slot_of(address, temp);
            let value = self.slot_of(value, value_temp);
            let code = self.code.op(store.other).slot(address).slot(value);
            code.uint(offset).uint(memory);
            return Ok(());
        }
        if let Some(at) = constant_address(address, offset) {
            let value = self.slot_of(value, value_temp);
            self.code.op(store.at).slot(value).uint(at);
            return Ok(());
        }
        // The address was computed last if the value needed no computing.
        if let Operand::Local(local) = value
            && let Some(at) = self.take_sum(address, temp)
        {
            let (sum, scaled) = store.sums;
            let value = self.local_slot(local);
            self.store_sum(&at, value, offset, sum, scaled);
            return Ok(());
        }
        let address = self.slot_of(address, temp);
        if let Operand::Const(bits) = value
            && let Some(imm) = store.width.immediate(bits)
        {
            let code = self.code.op(store.immediate).slot(address);
            code.imm(imm).uint(offset);
            return Ok(());
        }
        let value = self.slot_of(value, value_temp);
        self.code.op(store.slots).slot(address).slot(value).uint(offset);
        Ok(())
    }
}

/// The memory of an access. Offsets into memories with addresses of 32 bits have been validated to have as many.
pub(super) fn memory_operand(memarg: MemArg) -> Result<u32, Unsupported> {
    match memarg.target {
        MemArgTarget::Memory(memory) => Ok(memory),
        _ => Err(Unsupported),
    }
}

/// The effective address, if it is known and has 32 bits.
fn constant_address(operand: Operand, offset: u32) -> Option<u32> {
    match operand {
        Operand::Const(bits) => (bits as u32).checked_add(offset),
        _ => None,
    }
}
