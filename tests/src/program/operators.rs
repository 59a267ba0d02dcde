//! Operators without control: arithmetic, comparisons, conversions, and access to memory.

use super::body::Body;
use super::{MEMORIES, TYPES};
use wasm_encoder::{Instruction, MemArg, MemArgTarget, ValType};

impl Body<'_, '_> {
    pub(super) fn binary(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 {
            return self.binary_vector();
        }
        // Comparisons give i32, whatever they compare.
        if ty == ValType::I32 && self.choices.one_in(4) {
            let of = self.choices.of(&TYPES[..4]);
            self.expression(of);
            self.expression(of);
            let operator = match of {
                ValType::I32 => self.choices.of(&[I32Eq, I32LtS, I32LtU, I32GeS, I32GtU, I32Ne]),
                ValType::I64 => self.choices.of(&[I64Eq, I64LtS, I64LtU, I64GeS, I64GtU, I64Ne]),
                ValType::F32 => self.choices.of(&[F32Eq, F32Lt, F32Ge, F32Ne, F32Gt, F32Le]),
                _ => self.choices.of(&[F64Eq, F64Lt, F64Ge, F64Ne, F64Gt, F64Le]),
            };
            return self.emit(operator);
        }
        if ty == ValType::I64 && self.choices.one_in(6) {
            return self.wide();
        }
        self.expression(ty);
        self.expression(ty);
        match ty {
            ValType::I32 => {
                let operator = self.choices.of(&[
                    I32Add, I32Sub, I32Mul, I32And, I32Or, I32Xor, I32Shl, I32ShrS, I32ShrU,
                    I32Rotl, I32Rotr, I32DivU, I32RemS, I32DivS, I32RemU,
                ]);
                if matches!(operator, I32DivU | I32RemS | I32DivS | I32RemU)
                    && !self.choices.one_in(30)
                {
                    self.emit(I32Const(0x7f));
                    self.emit(I32And);
                    self.emit(I32Const(1));
                    self.emit(I32Or);
                }
                self.emit(operator);
            }
            ValType::I64 => {
                let operator = self.choices.of(&[
                    I64Add, I64Sub, I64Mul, I64And, I64Or, I64Xor, I64Shl, I64ShrS, I64ShrU,
                    I64Rotl, I64Rotr, I64DivU, I64RemS, I64DivS, I64RemU,
                ]);
                if matches!(operator, I64DivU | I64RemS | I64DivS | I64RemU)
                    && !self.choices.one_in(30)
                {
                    self.emit(I64Const(0x7f));
                    self.emit(I64And);
                    self.emit(I64Const(1));
                    self.emit(I64Or);
                }
                self.emit(operator);
            }
            ValType::F32 => {
                let operator =
                    self.choices.of(&[F32Add, F32Sub, F32Mul, F32Div, F32Min, F32Max, F32Copysign]);
                self.emit(operator);
                self.canonicalize(ty);
            }
            _ => {
                let operator =
                    self.choices.of(&[F64Add, F64Sub, F64Mul, F64Div, F64Min, F64Max, F64Copysign]);
                self.emit(operator);
                self.canonicalize(ty);
            }
        }
    }

    /// One half of a result of 128 bits.
    fn wide(&mut self) {
        use Instruction::*;
        let (operands, operator) =
            self.choices.of(&[(4, I64Add128), (4, I64Sub128), (2, I64MulWideS), (2, I64MulWideU)]);
        for _ in 0..operands {
            self.expression(ValType::I64);
        }
        self.emit(operator);
        let local = self.local(ValType::I64);
        self.emit(LocalSet(local));
        if self.choices.one_in(2) {
            self.emit(Drop);
            self.emit(LocalGet(local));
        }
    }

    pub(super) fn unary(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::I32 && self.choices.one_in(5) {
            let memory = self.memory();
            if self.choices.one_in(6) {
                let delta = self.choices.below(2) as i32;
                self.emit(I32Const(delta));
                self.extend(memory);
                self.emit(MemoryGrow(memory));
            } else {
                self.emit(MemorySize(memory));
            }
            if MEMORIES[memory as usize].0 {
                self.emit(I32WrapI64);
            }
            return;
        }
        if ty == ValType::V128 {
            return self.unary_vector();
        }
        self.expression(ty);
        let operator = match ty {
            ValType::I32 => {
                self.choices.of(&[I32Clz, I32Ctz, I32Popcnt, I32Eqz, I32Extend8S, I32Extend16S])
            }
            ValType::I64 => self.choices.of(&[
                I64Clz,
                I64Ctz,
                I64Popcnt,
                I64Extend8S,
                I64Extend16S,
                I64Extend32S,
            ]),
            ValType::F32 => {
                self.choices.of(&[F32Abs, F32Neg, F32Sqrt, F32Ceil, F32Floor, F32Trunc, F32Nearest])
            }
            _ => {
                self.choices.of(&[F64Abs, F64Neg, F64Sqrt, F64Ceil, F64Floor, F64Trunc, F64Nearest])
            }
        };
        self.emit(operator);
        self.canonicalize(ty);
    }

    pub(super) fn conversion(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 || self.choices.one_in(3) {
            return self.lane_conversion(ty);
        }
        let (from, operator) = match ty {
            ValType::I32 => self.choices.of(&[
                (ValType::I64, I32WrapI64),
                (ValType::I64, I64Eqz),
                (ValType::F32, I32TruncSatF32S),
                (ValType::F64, I32TruncSatF64U),
                (ValType::F32, I32ReinterpretF32),
            ]),
            ValType::I64 => self.choices.of(&[
                (ValType::I32, I64ExtendI32S),
                (ValType::I32, I64ExtendI32U),
                (ValType::F64, I64TruncSatF64S),
                (ValType::F32, I64TruncSatF32U),
                (ValType::F64, I64ReinterpretF64),
            ]),
            ValType::F32 => self.choices.of(&[
                (ValType::I32, F32ConvertI32S),
                (ValType::I64, F32ConvertI64U),
                (ValType::F64, F32DemoteF64),
                (ValType::I32, F32ReinterpretI32),
            ]),
            _ => self.choices.of(&[
                (ValType::I32, F64ConvertI32U),
                (ValType::I64, F64ConvertI64S),
                (ValType::F32, F64PromoteF32),
                (ValType::I64, F64ReinterpretI64),
            ]),
        };
        self.expression(from);
        self.emit(operator);
        self.canonicalize(ty);
    }

    /// Pushes a value whose last operator but for fixing NaNs narrows a wide one: machine code leaves something
    /// in the upper half of its register.
    pub(super) fn narrowed(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 {
            return self.binary(ty);
        }
        self.expression(ValType::I64);
        self.emit(I64Const(0x9e37_79b9_7f4a_7c15_u64 as i64));
        let operator = self.choices.of(&[I64Mul, I64Xor, I64Add]);
        self.emit(operator);
        match ty {
            ValType::I32 => self.emit(I32WrapI64),
            ValType::I64 => {}
            ValType::F32 => {
                self.emit(I32WrapI64);
                self.emit(F32ReinterpretI32);
            }
            _ => self.emit(F64ReinterpretI64),
        }
        self.canonicalize(ty);
    }

    /// Pushes something into which all bits of the slot of a narrow value go, which mostly has crossed from one
    /// function to another just before.
    pub(super) fn widened(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 {
            return self.call_for(ty);
        }
        let from = self.choices.of(&[ValType::I32, ValType::F32]);
        match self.choices.below(4) {
            0 => {
                let global = Self::global(from);
                self.emit(GlobalGet(global));
            }
            1 => {
                let local = self.local(from);
                self.emit(LocalGet(local));
            }
            _ => self.call_for(from),
        }
        if from == ValType::F32 {
            self.emit(I32ReinterpretF32);
        }
        match ty {
            ValType::I64 => {
                let operator = self.choices.of(&[I64ExtendI32U, I64ExtendI32U, I64ExtendI32S]);
                self.emit(operator);
            }
            ValType::I32 => {
                self.emit(I64ExtendI32U);
                self.emit(I64Const(1 << 32));
                let operator = self.choices.of(&[I64LtU, I64GeS, I64GtU]);
                self.emit(operator);
            }
            ValType::F32 => self.emit(F32ConvertI32U),
            _ => {
                self.emit(I64ExtendI32U);
                self.emit(F64ConvertI64U);
            }
        }
    }

    /// Mixes all bits of the slot of a local, if it is narrow, or of both slots of a vector, into a global, where they are seen in the end.
    pub(super) fn record(&mut self, local: u32, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 {
            return self.record_vector(local);
        }
        if !matches!(ty, ValType::I32 | ValType::F32) {
            return;
        }
        let global = Self::global(ValType::I64);
        self.emit(LocalGet(local));
        if ty == ValType::F32 {
            self.emit(I32ReinterpretF32);
        }
        let mix =
            [I64ExtendI32U, GlobalGet(global), I64Const(5), I64Rotl, I64Xor, GlobalSet(global)];
        for instruction in mix {
            self.emit(instruction);
        }
    }

    /// Makes any NaN on top of the stack the canonical one: which one an operator gives is not
    /// specified.
    pub(super) fn canonicalize(&mut self, ty: ValType) {
        use Instruction::*;
        let (ne, nan) = match ty {
            ValType::F32 => (F32Ne, F32Const(f32::from_bits(0x7fc0_0000).into())),
            ValType::F64 => (F64Ne, F64Const(f64::from_bits(0x7ff8_0000_0000_0000).into())),
            _ => return,
        };
        let local = self.local(ty);
        self.emit(LocalSet(local));
        self.emit(nan);
        for instruction in [LocalGet(local), LocalGet(local), LocalGet(local), ne, Select] {
            self.emit(instruction);
        }
        // The local must not keep the other NaN.
        self.emit(LocalTee(local));
    }

    /// Some memory, mostly the first.
    pub(super) fn memory(&mut self) -> u32 {
        self.choices.below(2 * MEMORIES.len() as u32).saturating_sub(MEMORIES.len() as u32)
    }

    /// Makes what is on top of the stack an address, or a length, for this memory.
    fn extend(&mut self, memory: u32) {
        if MEMORIES[memory as usize].0 {
            self.emit(Instruction::I64ExtendI32U);
        }
    }

    /// Clears these bits of an address in this memory.
    pub(super) fn align(&mut self, memory: u32, mask: i64) {
        if MEMORIES[memory as usize].0 {
            self.emit(Instruction::I64Const(!mask));
            self.emit(Instruction::I64And);
        } else {
            self.emit(Instruction::I32Const(!mask as i32));
            self.emit(Instruction::I32And);
        }
    }

    /// Pushes an address that is mostly within a memory.
    pub(super) fn address(&mut self, memory: u32) {
        if MEMORIES[memory as usize].0 && self.choices.one_in(40) {
            return self.expression(ValType::I64);
        }
        if self.choices.one_in(3) {
            self.expression(ValType::I64);
            self.emit(Instruction::Call(self.address));
        } else {
            self.expression(ValType::I32);
            if !self.choices.one_in(40) {
                self.emit(Instruction::I32Const(0x3ff));
                self.emit(Instruction::I32And);
            }
        }
        self.extend(memory);
    }

    pub(super) fn mem_arg(&mut self, memory: u32) -> MemArg {
        let mut offset = u64::from(self.choices.below(300));
        if MEMORIES[memory as usize].0 && self.choices.one_in(60) {
            offset = u64::MAX - offset;
        }
        MemArg { offset, align: 0, target: MemArgTarget::Memory(memory), ordering: None }
    }

    pub(super) fn load(&mut self, ty: ValType) {
        use Instruction::*;
        if ty == ValType::V128 {
            return self.load_vector();
        }
        let memory = self.memory();
        self.address(memory);
        let at = self.mem_arg(memory);
        let operator = match ty {
            ValType::I32 => self.choices.of(&[I32Load(at), I32Load8S(at), I32Load16U(at)]),
            ValType::I64 => self.choices.of(&[I64Load(at), I64Load8U(at), I64Load32S(at)]),
            ValType::F32 => F32Load(at),
            _ => F64Load(at),
        };
        self.emit(operator);
        self.canonicalize(ty);
    }

    pub(super) fn store(&mut self, ty: ValType) {
        use Instruction::*;
        let memory = self.memory();
        self.address(memory);
        self.expression(ty);
        let at = self.mem_arg(memory);
        if ty == ValType::V128 {
            return self.store_vector(at);
        }
        let operator = match ty {
            ValType::I32 => self.choices.of(&[I32Store(at), I32Store8(at), I32Store16(at)]),
            ValType::I64 => self.choices.of(&[I64Store(at), I64Store32(at), I64Store8(at)]),
            ValType::F32 => F32Store(at),
            _ => F64Store(at),
        };
        self.emit(operator);
    }

    pub(super) fn bulk(&mut self) {
        let (dst_mem, src_mem) = (self.memory(), self.memory());
        self.address(dst_mem);
        let copy = self.choices.one_in(2);
        if copy {
            self.address(src_mem);
        } else {
            self.expression(ValType::I32);
        }
        self.expression(ValType::I32);
        self.emit(Instruction::I32Const(0xff));
        self.emit(Instruction::I32And);
        // The length of a copy is as long as the shorter addresses.
        if !copy || MEMORIES[src_mem as usize].0 {
            self.extend(dst_mem);
        }
        self.emit(if copy {
            Instruction::MemoryCopy { src_mem, dst_mem }
        } else {
            Instruction::MemoryFill(dst_mem)
        });
    }
}
