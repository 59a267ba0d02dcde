//! Loads and stores of memory 0, where addresses have 32 bits.

use super::assembler::{Alu, Cond, Float, Load, Mem, Width};
use super::floats::takes_floats;
use super::instruction::Instruction;
use super::registers::{IP, MEMORY, MEMORY_LEN, SCRATCH};
use super::translator::Translator;
use crate::trap::TrapCode;
use Float::{F32, F64};
use Width::W64;

/// The address of a memory access: index and offset, or a sum of two slots, the second scaled.
pub(super) enum Address {
    At(u32),
    Slot { index: i32, offset: u32 },
    Sum { base: i32, index: i32, shift: u32, offset: u32 },
}

/// What is stored.
pub(super) enum Stored {
    Slot(i32),
    Imm(i32),
}

pub(super) fn sum_of_load(i: Instruction<'_>) -> Address {
    Address::Sum { base: i.slot(10), index: i.slot(12), shift: 0, offset: i.uint(14) }
}

pub(super) fn scaled_of_load(i: Instruction<'_>) -> Address {
    let shift = i.uint(14) & 31;
    Address::Sum { base: i.slot(10), index: i.slot(12), shift, offset: i.uint(18) }
}

pub(super) fn sum_of_store(i: Instruction<'_>) -> Address {
    Address::Sum { base: i.slot(8), index: i.slot(10), shift: 0, offset: i.uint(14) }
}

pub(super) fn scaled_of_store(i: Instruction<'_>) -> Address {
    let shift = i.uint(14) & 31;
    Address::Sum { base: i.slot(8), index: i.slot(10), shift, offset: i.uint(18) }
}

impl Translator<'_> {
    /// Computes the end of an access into the scratch register, checks it, and answers where it begins.
    pub(super) fn address(&mut self, i: Instruction<'_>, address: &Address, size: u8) -> Mem {
        let (base, offset) = match *address {
            Address::At(at) => {
                self.asm.mov_imm(SCRATCH, u64::from(at) + u64::from(size));
                (None, 0)
            }
            Address::Slot { index, offset } => {
                (Some(self.registers.read(&mut self.asm, index)), offset)
            }
            Address::Sum { base, index, shift, offset } => {
                let base = self.registers.read(&mut self.asm, base);
                let index = self.registers.read(&mut self.asm, index);
                self.scaled_sum(SCRATCH, base, index, shift);
                (Some(SCRATCH), offset)
            }
        };
        if let Some(base) = base {
            let end = u64::from(offset) + u64::from(size);
            if let Ok(end) = i32::try_from(end) {
                self.asm.lea(W64, SCRATCH, Mem::at(base, end));
            } else {
                self.asm.mov_imm(IP, end);
                self.asm.lea(W64, SCRATCH, Mem::indexed(base, IP, 0, 0));
            }
        }
        self.asm.alu(Alu::Cmp, W64, SCRATCH, MEMORY_LEN);
        self.trap_if(Cond::Above, i, TrapCode::MemoryOutOfBounds);
        Mem::indexed(MEMORY, SCRATCH, 0, -i32::from(size))
    }

    pub(super) fn load_slot(&mut self, i: Instruction<'_>, load: Load) {
        let address = Address::Slot { index: i.slot(10), offset: i.uint(12) };
        self.load(i, load, address);
    }

    pub(super) fn load(&mut self, i: Instruction<'_>, load: Load, address: Address) {
        let size = match load {
            Load::U8 | Load::S8 | Load::S8To32 => 1,
            Load::U16 | Load::S16 | Load::S16To32 => 2,
            Load::U32 | Load::S32 => 4,
            Load::U64 => 8,
        };
        let from = self.address(i, &address, size);
        self.have_read(i);
        let dst = i.slot(8);
        let is_float = matches!(load, Load::U32 | Load::U64) && Self::is_read_as_float(i, dst);
        if is_float {
            let ty = if load == Load::U32 { F32 } else { F64 };
            let dst = self.registers.define_float(&mut self.asm, dst);
            self.asm.load_float(ty, dst, from);
        } else {
            let dst = self.registers.define(&mut self.asm, dst);
            self.asm.load(load, dst, from);
        }
    }

    /// Whether the next instruction takes what this one puts into `slot` for a float.
    pub(super) fn is_read_as_float(i: Instruction<'_>, slot: i32) -> bool {
        let Some(next) = i.next() else { return false };
        takes_floats(next.op) && next.sources().any(|source| source == slot)
    }

    pub(super) fn store_slot(&mut self, i: Instruction<'_>, size: u8) {
        let address = Address::Slot { index: i.slot(8), offset: i.uint(12) };
        self.store(i, size, address, Stored::Slot(i.slot(10)));
    }

    pub(super) fn store_slot_imm(&mut self, i: Instruction<'_>, size: u8) {
        let address = Address::Slot { index: i.slot(8), offset: i.uint(14) };
        self.store(i, size, address, Stored::Imm(i.int(10)));
    }

    pub(super) fn store(&mut self, i: Instruction<'_>, size: u8, address: Address, stored: Stored) {
        match stored {
            Stored::Imm(imm) => {
                let to = self.address(i, &address, size);
                self.have_read(i);
                self.asm.store_imm(size, to, imm);
            }
            Stored::Slot(slot) => {
                if size >= 4
                    && let Some(value) = self.registers.held_float(slot)
                {
                    let to = self.address(i, &address, size);
                    self.have_read(i);
                    self.asm.store_float(if size == 4 { F32 } else { F64 }, to, value);
                    return;
                }
                let value = self.registers.read(&mut self.asm, slot);
                let to = self.address(i, &address, size);
                self.have_read(i);
                self.asm.store(size, to, value);
            }
        }
    }
}
