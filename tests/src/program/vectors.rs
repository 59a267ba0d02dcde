//! Operators on vectors.

use super::body::Body;
use wasm_encoder::{Instruction, MemArg, ValType};

impl Body<'_, '_> {
    /// An operator on two vectors or more.
    pub(super) fn binary_vector(&mut self) {
        use Instruction::*;
        self.expression(ValType::V128);
        self.expression(ValType::V128);
        match self.choices.below(8) {
            0 => {
                let operator =
                    self.choices.of(&[F32x4Add, F32x4Sub, F32x4Mul, F32x4Div, F32x4Min, F32x4Max]);
                self.emit(operator);
                self.canonicalize_lanes(true);
            }
            1 => {
                let operator =
                    self.choices.of(&[F64x2Add, F64x2Sub, F64x2Mul, F64x2Div, F64x2Min, F64x2Max]);
                self.emit(operator);
                self.canonicalize_lanes(false);
            }
            2 => {
                let operator = self.choices.of(&[
                    I8x16Eq, I16x8LtS, I32x4GtU, I64x2GeS, F32x4Ne, F64x2Le, I8x16GeU, I32x4LeS,
                    F32x4Gt, F64x2Ge, I64x2Ne, I16x8GtU, F32x4PMin, F32x4PMax, F64x2PMin,
                    F64x2PMax,
                ]);
                self.emit(operator);
            }
            3 => {
                self.expression(ValType::V128);
                let operator = self.choices.of(&[
                    V128Bitselect,
                    I8x16RelaxedLaneselect,
                    I64x2RelaxedLaneselect,
                ]);
                // Bit by bit is one of the ways that are allowed only if the lanes of the mask are.
                if !matches!(operator, V128Bitselect) {
                    self.emit(I64Const(0));
                    self.emit(I64x2Splat);
                    self.emit(match operator {
                        I8x16RelaxedLaneselect => I8x16LtS,
                        _ => I64x2LtS,
                    });
                }
                self.emit(operator);
            }
            4 => {
                let mut lanes = [0; 16];
                lanes.iter_mut().for_each(|lane| *lane = self.choices.below(32) as u8);
                self.emit(I8x16Shuffle(lanes));
            }
            _ => {
                let operator = self.choices.of(&[
                    I8x16Add,
                    I8x16AddSatS,
                    I8x16SubSatU,
                    I8x16MinS,
                    I8x16MaxU,
                    I8x16AvgrU,
                    I16x8Add,
                    I16x8Mul,
                    I16x8SubSatS,
                    I16x8AddSatU,
                    I16x8Q15MulrSatS,
                    I16x8MinU,
                    I32x4Add,
                    I32x4Sub,
                    I32x4Mul,
                    I32x4MaxS,
                    I32x4DotI16x8S,
                    I64x2Add,
                    I64x2Sub,
                    I64x2Mul,
                    V128And,
                    V128AndNot,
                    V128Or,
                    V128Xor,
                    I8x16Swizzle,
                    I8x16NarrowI16x8S,
                    I8x16NarrowI16x8U,
                    I16x8NarrowI32x4S,
                    I16x8NarrowI32x4U,
                    I16x8ExtMulLowI8x16S,
                    I32x4ExtMulHighI16x8U,
                    I64x2ExtMulLowI32x4S,
                    I64x2ExtMulHighI32x4U,
                ]);
                self.emit(operator);
            }
        }
    }

    /// An operator on one vector.
    pub(super) fn unary_vector(&mut self) {
        use Instruction::*;
        self.expression(ValType::V128);
        match self.choices.below(6) {
            0 => {
                let operator = self.choices.of(&[
                    F32x4Sqrt,
                    F32x4Ceil,
                    F32x4Floor,
                    F32x4Trunc,
                    F32x4Nearest,
                    F32x4DemoteF64x2Zero,
                ]);
                self.emit(operator);
                self.canonicalize_lanes(true);
            }
            1 => {
                let operator = self.choices.of(&[
                    F64x2Sqrt,
                    F64x2Ceil,
                    F64x2Floor,
                    F64x2Trunc,
                    F64x2Nearest,
                    F64x2PromoteLowF32x4,
                ]);
                self.emit(operator);
                self.canonicalize_lanes(false);
            }
            2 => {
                self.expression(ValType::I32);
                let operator = self.choices.of(&[
                    I8x16Shl, I8x16ShrS, I8x16ShrU, I16x8Shl, I16x8ShrS, I16x8ShrU, I32x4Shl,
                    I32x4ShrS, I32x4ShrU, I64x2Shl, I64x2ShrS, I64x2ShrU,
                ]);
                self.emit(operator);
            }
            _ => {
                let operator = self.choices.of(&[
                    V128Not,
                    I8x16Abs,
                    I8x16Neg,
                    I8x16Popcnt,
                    I16x8Abs,
                    I16x8Neg,
                    I32x4Abs,
                    I32x4Neg,
                    I64x2Abs,
                    I64x2Neg,
                    F32x4Abs,
                    F32x4Neg,
                    F64x2Abs,
                    F64x2Neg,
                    I16x8ExtendLowI8x16S,
                    I16x8ExtendHighI8x16U,
                    I32x4ExtendLowI16x8U,
                    I32x4ExtendHighI16x8S,
                    I64x2ExtendLowI32x4S,
                    I64x2ExtendHighI32x4U,
                    I16x8ExtAddPairwiseI8x16S,
                    I16x8ExtAddPairwiseI8x16U,
                    I32x4ExtAddPairwiseI16x8S,
                    I32x4ExtAddPairwiseI16x8U,
                    I32x4TruncSatF32x4S,
                    I32x4TruncSatF32x4U,
                    I32x4TruncSatF64x2SZero,
                    I32x4TruncSatF64x2UZero,
                    F32x4ConvertI32x4S,
                    F32x4ConvertI32x4U,
                    F64x2ConvertLowI32x4S,
                    F64x2ConvertLowI32x4U,
                ]);
                self.emit(operator);
            }
        }
    }

    /// A value of this type that comes from lanes, or lanes that come from scalars.
    pub(super) fn lane_conversion(&mut self, ty: ValType) {
        use Instruction::*;
        if ty != ValType::V128 {
            self.expression(ValType::V128);
            let (two, four) = (self.choices.below(2) as u8, self.choices.below(4) as u8);
            let many = self.choices.below(8) as u8;
            let operator = match ty {
                ValType::I32 => self.choices.of(&[
                    I8x16ExtractLaneS(2 * many),
                    I8x16ExtractLaneU(2 * many + 1),
                    I16x8ExtractLaneS(many),
                    I16x8ExtractLaneU(many),
                    I32x4ExtractLane(four),
                    V128AnyTrue,
                    I8x16AllTrue,
                    I16x8AllTrue,
                    I32x4AllTrue,
                    I64x2AllTrue,
                    I8x16Bitmask,
                    I16x8Bitmask,
                    I32x4Bitmask,
                    I64x2Bitmask,
                ]),
                ValType::I64 => I64x2ExtractLane(two),
                ValType::F32 => F32x4ExtractLane(four),
                _ => F64x2ExtractLane(two),
            };
            self.emit(operator);
            return self.canonicalize(ty);
        }
        let from = self.choices.of(&super::TYPES[..4]);
        let replaces = self.choices.one_in(2);
        if replaces {
            self.expression(ValType::V128);
        }
        self.expression(from);
        let (two, four) = (self.choices.below(2) as u8, self.choices.below(4) as u8);
        let many = self.choices.below(8) as u8;
        let operator = match (from, replaces) {
            (ValType::I32, true) => self.choices.of(&[
                I8x16ReplaceLane(many + 8),
                I16x8ReplaceLane(many),
                I32x4ReplaceLane(four),
            ]),
            (ValType::I32, false) => self.choices.of(&[I8x16Splat, I16x8Splat, I32x4Splat]),
            (ValType::I64, true) => I64x2ReplaceLane(two),
            (ValType::I64, false) => I64x2Splat,
            (ValType::F32, true) => F32x4ReplaceLane(four),
            (ValType::F32, false) => F32x4Splat,
            (_, true) => F64x2ReplaceLane(two),
            (_, false) => F64x2Splat,
        };
        self.emit(operator);
    }

    pub(super) fn load_vector(&mut self) {
        use Instruction::*;
        let memory = self.memory();
        self.address(memory);
        let memarg = self.mem_arg(memory);
        if self.choices.one_in(3) {
            self.expression(ValType::V128);
            let lane = self.choices.below(2) as u8;
            let operator = self.choices.of(&[
                V128Load8Lane { memarg, lane: lane + 13 },
                V128Load16Lane { memarg, lane: lane + 5 },
                V128Load32Lane { memarg, lane: lane + 2 },
                V128Load64Lane { memarg, lane },
            ]);
            return self.emit(operator);
        }
        let operator = self.choices.of(&[
            V128Load(memarg),
            V128Load(memarg),
            V128Load8x8S(memarg),
            V128Load8x8U(memarg),
            V128Load16x4S(memarg),
            V128Load16x4U(memarg),
            V128Load32x2S(memarg),
            V128Load32x2U(memarg),
            V128Load8Splat(memarg),
            V128Load16Splat(memarg),
            V128Load32Splat(memarg),
            V128Load64Splat(memarg),
            V128Load32Zero(memarg),
            V128Load64Zero(memarg),
        ]);
        self.emit(operator);
    }

    /// Stores the vector on top of the stack at the address below it.
    pub(super) fn store_vector(&mut self, memarg: MemArg) {
        use Instruction::*;
        let lane = self.choices.below(2) as u8;
        let operator = self.choices.of(&[
            V128Store(memarg),
            V128Store(memarg),
            V128Store8Lane { memarg, lane: lane + 11 },
            V128Store16Lane { memarg, lane: lane + 3 },
            V128Store32Lane { memarg, lane: lane + 1 },
            V128Store64Lane { memarg, lane },
        ]);
        self.emit(operator);
    }

    /// Mixes both halves of a vector in a local into a global.
    pub(super) fn record_vector(&mut self, local: u32) {
        use Instruction::*;
        let global = Self::global(ValType::I64);
        for lane in [0, 1] {
            for instruction in [
                LocalGet(local),
                I64x2ExtractLane(lane),
                GlobalGet(global),
                I64Const(5),
                I64Rotl,
                I64Xor,
                GlobalSet(global),
            ] {
                self.emit(instruction);
            }
        }
    }

    /// Makes all NaNs among the lanes of the vector on top of the stack the canonical one.
    fn canonicalize_lanes(&mut self, are_narrow: bool) {
        use Instruction::*;
        let (equal, nan) = match are_narrow {
            true => (F32x4Eq, 0x7fc00000_7fc00000_7fc00000_7fc00000),
            false => (F64x2Eq, 0x7ff80000_00000000_7ff80000_00000000),
        };
        let local = self.local(ValType::V128);
        for instruction in [
            LocalTee(local),
            V128Const(nan),
            LocalGet(local),
            LocalGet(local),
            equal,
            V128Bitselect,
            // The local must not keep the other NaNs.
            LocalTee(local),
        ] {
            self.emit(instruction);
        }
    }
}
