//! Operators on vectors.
//!
//! Cranelift's vectors have lanes, WebAssembly's have not: a value keeps the type that its operator gave it, and
//! is cast where another one is wanted. In locals, block parameters, arguments and results it is an `I8X16`:
//! see [`Translator::canonical`].
//!
//! Of what relaxed operators leave open, this is the deterministic profile: see `interp/ops/vector.rs`.

use super::operand_stack::clif_type;
use super::translator::{TranslateError, Translator};
use crate::types::ValType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use wasmparser::{MemArg, Operator};

/// Pops one vector with lanes of this type, applies a method of the instruction builder, pushes the result.
macro_rules! unary {
    ($self:ident, $ty:ident, $method:ident) => {{
        let value = $self.pop_vector(types::$ty);
        let value = $self.builder.ins().$method(value);
        $self.push_vector(value);
    }};
}

/// The same for two vectors.
macro_rules! binary {
    ($self:ident, $ty:ident, $method:ident) => {{
        let (first, second) = $self.pop_vectors(types::$ty);
        let value = $self.builder.ins().$method(first, second);
        $self.push_vector(value);
    }};
}

/// The same for a vector and the number of bits to shift its lanes by.
macro_rules! shift {
    ($self:ident, $ty:ident, $method:ident) => {{
        let amount = $self.pop();
        let value = $self.pop_vector(types::$ty);
        let value = $self.builder.ins().$method(value, amount);
        $self.push_vector(value);
    }};
}

/// The same for the product of halves that are widened.
macro_rules! extended_product {
    ($self:ident, $ty:ident, $widen:ident) => {{
        let (first, second) = $self.pop_vectors(types::$ty);
        let first = $self.builder.ins().$widen(first);
        let second = $self.builder.ins().$widen(second);
        let value = $self.builder.ins().imul(first, second);
        $self.push_vector(value);
    }};
}

/// The same for sums of neighbours that are widened.
macro_rules! extended_sums {
    ($self:ident, $ty:ident, $low:ident, $high:ident) => {{
        let value = $self.pop_vector(types::$ty);
        let low = $self.builder.ins().$low(value);
        let high = $self.builder.ins().$high(value);
        let value = $self.builder.ins().iadd_pairwise(low, high);
        $self.push_vector(value);
    }};
}

impl Translator<'_, '_> {
    /// Translates the operator if it is one on vectors; returns whether it is.
    pub(super) fn translate_vector(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, TranslateError> {
        self.check_processor()?;
        Ok(self.translate_integer_vector(operator)
            || self.translate_vector_comparison(operator)
            || self.translate_float_vector(operator)
            || self.translate_lane_width(operator)
            || self.translate_lanes(operator)
            || self.translate_vector_memory(operator)?)
    }

    fn has_processor_feature(&self, name: &str) -> bool {
        let mut flags = self.source.isa.isa_flags().into_iter();
        flags.any(|flag| flag.name == name && flag.as_bool() == Some(true))
    }

    /// Without these instructions Cranelift would call library functions, which compiled code has no way to name.
    fn check_processor(&mut self) -> Result<(), TranslateError> {
        if !self.has_vector_instructions {
            for (feature, name) in [("has_ssse3", "SSSE3"), ("has_sse41", "SSE4.1")] {
                if !self.has_processor_feature(feature) {
                    let what = format!("vectors on a processor without {name}");
                    return Err(TranslateError::Unsupported(what));
                }
            }
            self.has_vector_instructions = true;
        }
        Ok(())
    }

    /// Pushes a vector, whatever its lanes are.
    fn push_vector(&mut self, value: Value) {
        self.push(value, ValType::V128);
    }

    /// Pops a vector as one with lanes of this type.
    fn pop_vector(&mut self, ty: Type) -> Value {
        let value = self.pop();
        self.cast(value, ty)
    }

    /// Pops the second vector, then the first.
    fn pop_vectors(&mut self, ty: Type) -> (Value, Value) {
        let second = self.pop_vector(ty);
        (self.pop_vector(ty), second)
    }

    fn cast(&mut self, value: Value, ty: Type) -> Value {
        if self.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, value)
    }

    /// A value of this type as it is in locals, block parameters, arguments and results.
    pub(super) fn canonical(&mut self, value: Value, ty: ValType) -> Value {
        match ty {
            ValType::V128 => self.cast(value, clif_type(ty)),
            _ => value,
        }
    }

    fn translate_integer_vector(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::I8x16Add => binary!(self, I8X16, iadd),
            Operator::I16x8Add => binary!(self, I16X8, iadd),
            Operator::I32x4Add => binary!(self, I32X4, iadd),
            Operator::I64x2Add => binary!(self, I64X2, iadd),
            Operator::I8x16Sub => binary!(self, I8X16, isub),
            Operator::I16x8Sub => binary!(self, I16X8, isub),
            Operator::I32x4Sub => binary!(self, I32X4, isub),
            Operator::I64x2Sub => binary!(self, I64X2, isub),
            Operator::I16x8Mul => binary!(self, I16X8, imul),
            Operator::I32x4Mul => binary!(self, I32X4, imul),
            Operator::I64x2Mul => binary!(self, I64X2, imul),
            Operator::I8x16AddSatS => binary!(self, I8X16, sadd_sat),
            Operator::I16x8AddSatS => binary!(self, I16X8, sadd_sat),
            Operator::I8x16AddSatU => binary!(self, I8X16, uadd_sat),
            Operator::I16x8AddSatU => binary!(self, I16X8, uadd_sat),
            Operator::I8x16SubSatS => binary!(self, I8X16, ssub_sat),
            Operator::I16x8SubSatS => binary!(self, I16X8, ssub_sat),
            Operator::I8x16SubSatU => binary!(self, I8X16, usub_sat),
            Operator::I16x8SubSatU => binary!(self, I16X8, usub_sat),
            Operator::I8x16MinS => binary!(self, I8X16, smin),
            Operator::I16x8MinS => binary!(self, I16X8, smin),
            Operator::I32x4MinS => binary!(self, I32X4, smin),
            Operator::I8x16MinU => binary!(self, I8X16, umin),
            Operator::I16x8MinU => binary!(self, I16X8, umin),
            Operator::I32x4MinU => binary!(self, I32X4, umin),
            Operator::I8x16MaxS => binary!(self, I8X16, smax),
            Operator::I16x8MaxS => binary!(self, I16X8, smax),
            Operator::I32x4MaxS => binary!(self, I32X4, smax),
            Operator::I8x16MaxU => binary!(self, I8X16, umax),
            Operator::I16x8MaxU => binary!(self, I16X8, umax),
            Operator::I32x4MaxU => binary!(self, I32X4, umax),
            Operator::I8x16AvgrU => binary!(self, I8X16, avg_round),
            Operator::I16x8AvgrU => binary!(self, I16X8, avg_round),
            Operator::I8x16Abs => unary!(self, I8X16, iabs),
            Operator::I16x8Abs => unary!(self, I16X8, iabs),
            Operator::I32x4Abs => unary!(self, I32X4, iabs),
            Operator::I64x2Abs => unary!(self, I64X2, iabs),
            Operator::I8x16Neg => unary!(self, I8X16, ineg),
            Operator::I16x8Neg => unary!(self, I16X8, ineg),
            Operator::I32x4Neg => unary!(self, I32X4, ineg),
            Operator::I64x2Neg => unary!(self, I64X2, ineg),
            Operator::I8x16Popcnt => unary!(self, I8X16, popcnt),
            Operator::I8x16Shl => shift!(self, I8X16, ishl),
            Operator::I16x8Shl => shift!(self, I16X8, ishl),
            Operator::I32x4Shl => shift!(self, I32X4, ishl),
            Operator::I64x2Shl => shift!(self, I64X2, ishl),
            Operator::I8x16ShrS => shift!(self, I8X16, sshr),
            Operator::I16x8ShrS => shift!(self, I16X8, sshr),
            Operator::I32x4ShrS => shift!(self, I32X4, sshr),
            Operator::I64x2ShrS => shift!(self, I64X2, sshr),
            Operator::I8x16ShrU => shift!(self, I8X16, ushr),
            Operator::I16x8ShrU => shift!(self, I16X8, ushr),
            Operator::I32x4ShrU => shift!(self, I32X4, ushr),
            Operator::I64x2ShrU => shift!(self, I64X2, ushr),
            Operator::V128And => binary!(self, I8X16, band),
            Operator::V128AndNot => binary!(self, I8X16, band_not),
            Operator::V128Or => binary!(self, I8X16, bor),
            Operator::V128Xor => binary!(self, I8X16, bxor),
            Operator::V128Not => unary!(self, I8X16, bnot),
            Operator::V128Bitselect
            | Operator::I8x16RelaxedLaneselect
            | Operator::I16x8RelaxedLaneselect
            | Operator::I32x4RelaxedLaneselect
            | Operator::I64x2RelaxedLaneselect => {
                let mask = self.pop_vector(types::I8X16);
                let (ones, zeroes) = self.pop_vectors(types::I8X16);
                let value = self.builder.ins().bitselect(mask, ones, zeroes);
                self.push_vector(value);
            }
            Operator::I16x8Q15MulrSatS | Operator::I16x8RelaxedQ15mulrS => {
                binary!(self, I16X8, sqmul_round_sat)
            }
            Operator::I32x4DotI16x8S => {
                let (first, second) = self.pop_vectors(types::I16X8);
                let value = self.dot(first, second);
                self.push_vector(value);
            }
            Operator::I16x8RelaxedDotI8x16I7x16S => {
                let (first, second) = self.pop_vectors(types::I8X16);
                let value = self.saturating_dot(first, second);
                self.push_vector(value);
            }
            Operator::I32x4RelaxedDotI8x16I7x16AddS => {
                let addend = self.pop_vector(types::I32X4);
                let (first, second) = self.pop_vectors(types::I8X16);
                let sums = self.saturating_dot(first, second);
                let low = self.builder.ins().swiden_low(sums);
                let high = self.builder.ins().swiden_high(sums);
                let sums = self.builder.ins().iadd_pairwise(low, high);
                let value = self.builder.ins().iadd(sums, addend);
                self.push_vector(value);
            }
            _ => return false,
        }
        true
    }

    /// Products of the lanes in twice the width, low half and high half.
    fn products(&mut self, first: Value, second: Value) -> (Value, Value) {
        let [a, b] = [first, second].map(|value| self.builder.ins().swiden_low(value));
        let low = self.builder.ins().imul(a, b);
        let [a, b] = [first, second].map(|value| self.builder.ins().swiden_high(value));
        (low, self.builder.ins().imul(a, b))
    }

    /// Sums of the products of neighbours, wrapping.
    fn dot(&mut self, first: Value, second: Value) -> Value {
        let (low, high) = self.products(first, second);
        self.builder.ins().iadd_pairwise(low, high)
    }

    /// The same for bytes, saturating. Only -128 times -128, twice, is too large, by one; and no other sum is what that
    /// wraps to.
    fn saturating_dot(&mut self, first: Value, second: Value) -> Value {
        let sums = self.dot(first, second);
        let least = self.vector_constant(types::I16X8, i16::MIN.to_le_bytes().repeat(8));
        let wrapped = self.builder.ins().icmp(IntCC::Equal, sums, least);
        // -1 where it has wrapped.
        self.builder.ins().iadd(sums, wrapped)
    }

    fn translate_vector_comparison(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::I8x16Eq => self.compare_integers(types::I8X16, IntCC::Equal),
            Operator::I16x8Eq => self.compare_integers(types::I16X8, IntCC::Equal),
            Operator::I32x4Eq => self.compare_integers(types::I32X4, IntCC::Equal),
            Operator::I64x2Eq => self.compare_integers(types::I64X2, IntCC::Equal),
            Operator::I8x16Ne => self.compare_integers(types::I8X16, IntCC::NotEqual),
            Operator::I16x8Ne => self.compare_integers(types::I16X8, IntCC::NotEqual),
            Operator::I32x4Ne => self.compare_integers(types::I32X4, IntCC::NotEqual),
            Operator::I64x2Ne => self.compare_integers(types::I64X2, IntCC::NotEqual),
            Operator::I8x16LtS => self.compare_integers(types::I8X16, IntCC::SignedLessThan),
            Operator::I16x8LtS => self.compare_integers(types::I16X8, IntCC::SignedLessThan),
            Operator::I32x4LtS => self.compare_integers(types::I32X4, IntCC::SignedLessThan),
            Operator::I64x2LtS => self.compare_integers(types::I64X2, IntCC::SignedLessThan),
            Operator::I8x16LtU => self.compare_integers(types::I8X16, IntCC::UnsignedLessThan),
            Operator::I16x8LtU => self.compare_integers(types::I16X8, IntCC::UnsignedLessThan),
            Operator::I32x4LtU => self.compare_integers(types::I32X4, IntCC::UnsignedLessThan),
            Operator::I8x16GtS => self.compare_integers(types::I8X16, IntCC::SignedGreaterThan),
            Operator::I16x8GtS => self.compare_integers(types::I16X8, IntCC::SignedGreaterThan),
            Operator::I32x4GtS => self.compare_integers(types::I32X4, IntCC::SignedGreaterThan),
            Operator::I64x2GtS => self.compare_integers(types::I64X2, IntCC::SignedGreaterThan),
            Operator::I8x16GtU => self.compare_integers(types::I8X16, IntCC::UnsignedGreaterThan),
            Operator::I16x8GtU => self.compare_integers(types::I16X8, IntCC::UnsignedGreaterThan),
            Operator::I32x4GtU => self.compare_integers(types::I32X4, IntCC::UnsignedGreaterThan),
            Operator::I8x16LeS => self.compare_integers(types::I8X16, IntCC::SignedLessThanOrEqual),
            Operator::I16x8LeS => self.compare_integers(types::I16X8, IntCC::SignedLessThanOrEqual),
            Operator::I32x4LeS => self.compare_integers(types::I32X4, IntCC::SignedLessThanOrEqual),
            Operator::I64x2LeS => self.compare_integers(types::I64X2, IntCC::SignedLessThanOrEqual),
            Operator::I8x16LeU => {
                self.compare_integers(types::I8X16, IntCC::UnsignedLessThanOrEqual)
            }
            Operator::I16x8LeU => {
                self.compare_integers(types::I16X8, IntCC::UnsignedLessThanOrEqual)
            }
            Operator::I32x4LeU => {
                self.compare_integers(types::I32X4, IntCC::UnsignedLessThanOrEqual)
            }
            Operator::I8x16GeS => {
                self.compare_integers(types::I8X16, IntCC::SignedGreaterThanOrEqual)
            }
            Operator::I16x8GeS => {
                self.compare_integers(types::I16X8, IntCC::SignedGreaterThanOrEqual)
            }
            Operator::I32x4GeS => {
                self.compare_integers(types::I32X4, IntCC::SignedGreaterThanOrEqual)
            }
            Operator::I64x2GeS => {
                self.compare_integers(types::I64X2, IntCC::SignedGreaterThanOrEqual)
            }
            Operator::I8x16GeU => {
                self.compare_integers(types::I8X16, IntCC::UnsignedGreaterThanOrEqual)
            }
            Operator::I16x8GeU => {
                self.compare_integers(types::I16X8, IntCC::UnsignedGreaterThanOrEqual)
            }
            Operator::I32x4GeU => {
                self.compare_integers(types::I32X4, IntCC::UnsignedGreaterThanOrEqual)
            }
            Operator::F32x4Eq => self.compare_floats(types::F32X4, FloatCC::Equal),
            Operator::F64x2Eq => self.compare_floats(types::F64X2, FloatCC::Equal),
            Operator::F32x4Ne => self.compare_floats(types::F32X4, FloatCC::NotEqual),
            Operator::F64x2Ne => self.compare_floats(types::F64X2, FloatCC::NotEqual),
            Operator::F32x4Lt => self.compare_floats(types::F32X4, FloatCC::LessThan),
            Operator::F64x2Lt => self.compare_floats(types::F64X2, FloatCC::LessThan),
            Operator::F32x4Gt => self.compare_floats(types::F32X4, FloatCC::GreaterThan),
            Operator::F64x2Gt => self.compare_floats(types::F64X2, FloatCC::GreaterThan),
            Operator::F32x4Le => self.compare_floats(types::F32X4, FloatCC::LessThanOrEqual),
            Operator::F64x2Le => self.compare_floats(types::F64X2, FloatCC::LessThanOrEqual),
            Operator::F32x4Ge => self.compare_floats(types::F32X4, FloatCC::GreaterThanOrEqual),
            Operator::F64x2Ge => self.compare_floats(types::F64X2, FloatCC::GreaterThanOrEqual),
            Operator::V128AnyTrue => {
                let value = self.pop_vector(types::I8X16);
                let any = self.builder.ins().vany_true(value);
                self.push_bool(any);
            }
            Operator::I8x16AllTrue => self.all_true(types::I8X16),
            Operator::I16x8AllTrue => self.all_true(types::I16X8),
            Operator::I32x4AllTrue => self.all_true(types::I32X4),
            Operator::I64x2AllTrue => self.all_true(types::I64X2),
            Operator::I8x16Bitmask => self.bitmask(types::I8X16),
            Operator::I16x8Bitmask => self.bitmask(types::I16X8),
            Operator::I32x4Bitmask => self.bitmask(types::I32X4),
            Operator::I64x2Bitmask => self.bitmask(types::I64X2),
            _ => return false,
        }
        true
    }

    fn compare_integers(&mut self, ty: Type, condition: IntCC) {
        let (first, second) = self.pop_vectors(ty);
        let value = self.builder.ins().icmp(condition, first, second);
        self.push_vector(value);
    }

    fn compare_floats(&mut self, ty: Type, condition: FloatCC) {
        let (first, second) = self.pop_vectors(ty);
        let value = self.builder.ins().fcmp(condition, first, second);
        self.push_vector(value);
    }

    fn all_true(&mut self, ty: Type) {
        let value = self.pop_vector(ty);
        let all = self.builder.ins().vall_true(value);
        self.push_bool(all);
    }

    fn bitmask(&mut self, ty: Type) {
        let value = self.pop_vector(ty);
        let bits = self.builder.ins().vhigh_bits(types::I32, value);
        self.push(bits, ValType::I32);
    }

    fn translate_float_vector(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::F32x4Add => binary!(self, F32X4, fadd),
            Operator::F64x2Add => binary!(self, F64X2, fadd),
            Operator::F32x4Sub => binary!(self, F32X4, fsub),
            Operator::F64x2Sub => binary!(self, F64X2, fsub),
            Operator::F32x4Mul => binary!(self, F32X4, fmul),
            Operator::F64x2Mul => binary!(self, F64X2, fmul),
            Operator::F32x4Div => binary!(self, F32X4, fdiv),
            Operator::F64x2Div => binary!(self, F64X2, fdiv),
            Operator::F32x4Min | Operator::F32x4RelaxedMin => binary!(self, F32X4, fmin),
            Operator::F64x2Min | Operator::F64x2RelaxedMin => binary!(self, F64X2, fmin),
            Operator::F32x4Max | Operator::F32x4RelaxedMax => binary!(self, F32X4, fmax),
            Operator::F64x2Max | Operator::F64x2RelaxedMax => binary!(self, F64X2, fmax),
            Operator::F32x4PMin => self.pseudo_extremum(types::F32X4, |a, b| (b, a)),
            Operator::F32x4PMax => self.pseudo_extremum(types::F32X4, |a, b| (a, b)),
            Operator::F64x2PMin => self.pseudo_extremum(types::F64X2, |a, b| (b, a)),
            Operator::F64x2PMax => self.pseudo_extremum(types::F64X2, |a, b| (a, b)),
            Operator::F32x4Abs => unary!(self, F32X4, fabs),
            Operator::F64x2Abs => unary!(self, F64X2, fabs),
            Operator::F32x4Neg => unary!(self, F32X4, fneg),
            Operator::F64x2Neg => unary!(self, F64X2, fneg),
            Operator::F32x4Sqrt => unary!(self, F32X4, sqrt),
            Operator::F64x2Sqrt => unary!(self, F64X2, sqrt),
            Operator::F32x4Ceil => unary!(self, F32X4, ceil),
            Operator::F64x2Ceil => unary!(self, F64X2, ceil),
            Operator::F32x4Floor => unary!(self, F32X4, floor),
            Operator::F64x2Floor => unary!(self, F64X2, floor),
            Operator::F32x4Trunc => unary!(self, F32X4, trunc),
            Operator::F64x2Trunc => unary!(self, F64X2, trunc),
            Operator::F32x4Nearest => unary!(self, F32X4, nearest),
            Operator::F64x2Nearest => unary!(self, F64X2, nearest),
            Operator::F32x4RelaxedMadd => self.multiply_add(types::F32X4, false),
            Operator::F32x4RelaxedNmadd => self.multiply_add(types::F32X4, true),
            Operator::F64x2RelaxedMadd => self.multiply_add(types::F64X2, false),
            Operator::F64x2RelaxedNmadd => self.multiply_add(types::F64X2, true),
            Operator::F32x4ConvertI32x4S => self.convert(types::I32X4, |translator, value| {
                translator.builder.ins().fcvt_from_sint(types::F32X4, value)
            }),
            Operator::F32x4ConvertI32x4U => self.convert(types::I32X4, |translator, value| {
                translator.builder.ins().fcvt_from_uint(types::F32X4, value)
            }),
            Operator::F64x2ConvertLowI32x4S => self.convert(types::I32X4, |translator, value| {
                let wide = translator.builder.ins().swiden_low(value);
                translator.builder.ins().fcvt_from_sint(types::F64X2, wide)
            }),
            Operator::F64x2ConvertLowI32x4U => self.convert(types::I32X4, |translator, value| {
                let wide = translator.builder.ins().uwiden_low(value);
                translator.builder.ins().fcvt_from_uint(types::F64X2, wide)
            }),
            Operator::F64x2PromoteLowF32x4 => unary!(self, F32X4, fvpromote_low),
            Operator::F32x4DemoteF64x2Zero => unary!(self, F64X2, fvdemote),
            Operator::I32x4TruncSatF32x4S | Operator::I32x4RelaxedTruncF32x4S => self
                .convert(types::F32X4, |translator, value| {
                    translator.builder.ins().fcvt_to_sint_sat(types::I32X4, value)
                }),
            Operator::I32x4TruncSatF32x4U | Operator::I32x4RelaxedTruncF32x4U => self
                .convert(types::F32X4, |translator, value| {
                    translator.builder.ins().fcvt_to_uint_sat(types::I32X4, value)
                }),
            // Cranelift knows these pairs of instructions, and neither of them alone.
            Operator::I32x4TruncSatF64x2SZero | Operator::I32x4RelaxedTruncF64x2SZero => self
                .convert(types::F64X2, |translator, value| {
                    let wide = translator.builder.ins().fcvt_to_sint_sat(types::I64X2, value);
                    let zero = translator.vector_constant(types::I64X2, [0; 16]);
                    translator.builder.ins().snarrow(wide, zero)
                }),
            Operator::I32x4TruncSatF64x2UZero | Operator::I32x4RelaxedTruncF64x2UZero => self
                .convert(types::F64X2, |translator, value| {
                    let wide = translator.builder.ins().fcvt_to_uint_sat(types::I64X2, value);
                    let zero = translator.vector_constant(types::I64X2, [0; 16]);
                    translator.builder.ins().uunarrow(wide, zero)
                }),
            _ => return false,
        }
        true
    }

    fn convert(&mut self, from: Type, convert: impl FnOnce(&mut Self, Value) -> Value) {
        let value = self.pop_vector(from);
        let value = convert(self, value);
        self.push_vector(value);
    }

    /// The second vector's lanes where the one of two that `order` puts first is less than the other, and
    /// else the first's.
    fn pseudo_extremum(&mut self, ty: Type, order: impl Fn(Value, Value) -> (Value, Value)) {
        let (first, second) = self.pop_vectors(ty);
        let (less, than) = order(first, second);
        let mask = self.builder.ins().fcmp(FloatCC::LessThan, less, than);
        let mask = self.cast(mask, ty);
        let value = self.builder.ins().bitselect(mask, second, first);
        self.push_vector(value);
    }

    fn multiply_add(&mut self, ty: Type, negated: bool) {
        let addend = self.pop_vector(ty);
        let (mut first, second) = self.pop_vectors(ty);
        if negated {
            first = self.builder.ins().fneg(first);
        }
        let product = self.builder.ins().fmul(first, second);
        let value = self.builder.ins().fadd(product, addend);
        self.push_vector(value);
    }

    /// Operators whose result has wider or narrower lanes.
    fn translate_lane_width(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::I16x8ExtendLowI8x16S => unary!(self, I8X16, swiden_low),
            Operator::I16x8ExtendHighI8x16S => unary!(self, I8X16, swiden_high),
            Operator::I16x8ExtendLowI8x16U => unary!(self, I8X16, uwiden_low),
            Operator::I16x8ExtendHighI8x16U => unary!(self, I8X16, uwiden_high),
            Operator::I32x4ExtendLowI16x8S => unary!(self, I16X8, swiden_low),
            Operator::I32x4ExtendHighI16x8S => unary!(self, I16X8, swiden_high),
            Operator::I32x4ExtendLowI16x8U => unary!(self, I16X8, uwiden_low),
            Operator::I32x4ExtendHighI16x8U => unary!(self, I16X8, uwiden_high),
            Operator::I64x2ExtendLowI32x4S => unary!(self, I32X4, swiden_low),
            Operator::I64x2ExtendHighI32x4S => unary!(self, I32X4, swiden_high),
            Operator::I64x2ExtendLowI32x4U => unary!(self, I32X4, uwiden_low),
            Operator::I64x2ExtendHighI32x4U => unary!(self, I32X4, uwiden_high),
            Operator::I16x8ExtMulLowI8x16S => extended_product!(self, I8X16, swiden_low),
            Operator::I16x8ExtMulHighI8x16S => extended_product!(self, I8X16, swiden_high),
            Operator::I16x8ExtMulLowI8x16U => extended_product!(self, I8X16, uwiden_low),
            Operator::I16x8ExtMulHighI8x16U => extended_product!(self, I8X16, uwiden_high),
            Operator::I32x4ExtMulLowI16x8S => extended_product!(self, I16X8, swiden_low),
            Operator::I32x4ExtMulHighI16x8S => extended_product!(self, I16X8, swiden_high),
            Operator::I32x4ExtMulLowI16x8U => extended_product!(self, I16X8, uwiden_low),
            Operator::I32x4ExtMulHighI16x8U => extended_product!(self, I16X8, uwiden_high),
            Operator::I64x2ExtMulLowI32x4S => extended_product!(self, I32X4, swiden_low),
            Operator::I64x2ExtMulHighI32x4S => extended_product!(self, I32X4, swiden_high),
            Operator::I64x2ExtMulLowI32x4U => extended_product!(self, I32X4, uwiden_low),
            Operator::I64x2ExtMulHighI32x4U => extended_product!(self, I32X4, uwiden_high),
            Operator::I16x8ExtAddPairwiseI8x16S => {
                extended_sums!(self, I8X16, swiden_low, swiden_high)
            }
            Operator::I16x8ExtAddPairwiseI8x16U => {
                extended_sums!(self, I8X16, uwiden_low, uwiden_high)
            }
            Operator::I32x4ExtAddPairwiseI16x8S => {
                extended_sums!(self, I16X8, swiden_low, swiden_high)
            }
            Operator::I32x4ExtAddPairwiseI16x8U => {
                extended_sums!(self, I16X8, uwiden_low, uwiden_high)
            }
            Operator::I8x16NarrowI16x8S => binary!(self, I16X8, snarrow),
            Operator::I8x16NarrowI16x8U => binary!(self, I16X8, unarrow),
            Operator::I16x8NarrowI32x4S => binary!(self, I32X4, snarrow),
            Operator::I16x8NarrowI32x4U => binary!(self, I32X4, unarrow),
            _ => return false,
        }
        true
    }

    /// Constants, shuffles, and operators that move lanes to and from scalars.
    fn translate_lanes(&mut self, operator: &Operator<'_>) -> bool {
        match *operator {
            Operator::V128Const { value } => {
                let value = self.vector_constant(types::I8X16, *value.bytes());
                self.push_vector(value);
            }
            Operator::I8x16Shuffle { lanes } => {
                let (first, second) = self.pop_vectors(types::I8X16);
                let lanes = self.builder.func.dfg.immediates.push(lanes.to_vec().into());
                let value = self.builder.ins().shuffle(first, second, lanes);
                self.push_vector(value);
            }
            Operator::I8x16Swizzle | Operator::I8x16RelaxedSwizzle => {
                binary!(self, I8X16, swizzle)
            }
            Operator::I8x16Splat => self.splat(types::I8X16),
            Operator::I16x8Splat => self.splat(types::I16X8),
            Operator::I32x4Splat => self.splat(types::I32X4),
            Operator::I64x2Splat => self.splat(types::I64X2),
            Operator::F32x4Splat => self.splat(types::F32X4),
            Operator::F64x2Splat => self.splat(types::F64X2),
            Operator::I8x16ExtractLaneS { lane } => self.extract_narrow(types::I8X16, lane, true),
            Operator::I8x16ExtractLaneU { lane } => self.extract_narrow(types::I8X16, lane, false),
            Operator::I16x8ExtractLaneS { lane } => self.extract_narrow(types::I16X8, lane, true),
            Operator::I16x8ExtractLaneU { lane } => self.extract_narrow(types::I16X8, lane, false),
            Operator::I32x4ExtractLane { lane } => self.extract(types::I32X4, lane, ValType::I32),
            Operator::I64x2ExtractLane { lane } => self.extract(types::I64X2, lane, ValType::I64),
            Operator::F32x4ExtractLane { lane } => self.extract(types::F32X4, lane, ValType::F32),
            Operator::F64x2ExtractLane { lane } => self.extract(types::F64X2, lane, ValType::F64),
            Operator::I8x16ReplaceLane { lane } => self.replace(types::I8X16, lane),
            Operator::I16x8ReplaceLane { lane } => self.replace(types::I16X8, lane),
            Operator::I32x4ReplaceLane { lane } => self.replace(types::I32X4, lane),
            Operator::I64x2ReplaceLane { lane } => self.replace(types::I64X2, lane),
            Operator::F32x4ReplaceLane { lane } => self.replace(types::F32X4, lane),
            Operator::F64x2ReplaceLane { lane } => self.replace(types::F64X2, lane),
            _ => return false,
        }
        true
    }

    /// A constant vector, lowest byte first.
    fn vector_constant(&mut self, ty: Type, bytes: impl Into<Vec<u8>>) -> Value {
        let constant = self.builder.func.dfg.constants.insert(bytes.into().into());
        self.builder.ins().vconst(ty, constant)
    }

    /// Pops a scalar as a lane of vectors of this type.
    fn pop_lane(&mut self, ty: Type) -> Value {
        let value = self.pop();
        match ty.lane_type() {
            lane @ (types::I8 | types::I16) => self.builder.ins().ireduce(lane, value),
            _ => value,
        }
    }

    fn splat(&mut self, ty: Type) {
        let lane = self.pop_lane(ty);
        let value = self.builder.ins().splat(ty, lane);
        self.push_vector(value);
    }

    fn extract(&mut self, from: Type, lane: u8, ty: ValType) {
        let vector = self.pop_vector(from);
        let value = self.builder.ins().extractlane(vector, lane);
        self.push(value, ty);
    }

    fn extract_narrow(&mut self, from: Type, lane: u8, signed: bool) {
        let vector = self.pop_vector(from);
        let value = self.builder.ins().extractlane(vector, lane);
        let value = match signed {
            true => self.builder.ins().sextend(types::I32, value),
            false => self.builder.ins().uextend(types::I32, value),
        };
        self.push(value, ValType::I32);
    }

    fn replace(&mut self, ty: Type, lane: u8) {
        let value = self.pop_lane(ty);
        let vector = self.pop_vector(ty);
        let value = self.builder.ins().insertlane(vector, value, lane);
        self.push_vector(value);
    }

    fn translate_vector_memory(&mut self, operator: &Operator<'_>) -> Result<bool, TranslateError> {
        match *operator {
            Operator::V128Load { memarg } => self.load_vector(memarg, types::I8X16)?,
            Operator::V128Store { memarg } => {
                let value = self.pop();
                self.heap_store_value(memarg, value)?;
            }
            Operator::V128Load8x8S { .. }
            | Operator::V128Load8x8U { .. }
            | Operator::V128Load16x4S { .. }
            | Operator::V128Load16x4U { .. }
            | Operator::V128Load32x2S { .. }
            | Operator::V128Load32x2U { .. } => self.load_extended(operator)?,
            Operator::V128Load8Splat { memarg } => self.load_splat(memarg, types::I8X16)?,
            Operator::V128Load16Splat { memarg } => self.load_splat(memarg, types::I16X8)?,
            Operator::V128Load32Splat { memarg } => self.load_splat(memarg, types::I32X4)?,
            Operator::V128Load64Splat { memarg } => self.load_splat(memarg, types::I64X2)?,
            Operator::V128Load32Zero { memarg } => self.load_zero(memarg, types::I32X4)?,
            Operator::V128Load64Zero { memarg } => self.load_zero(memarg, types::I64X2)?,
            Operator::V128Load8Lane { memarg, lane } => {
                self.load_lane(memarg, types::I8X16, lane)?
            }
            Operator::V128Load16Lane { memarg, lane } => {
                self.load_lane(memarg, types::I16X8, lane)?
            }
            Operator::V128Load32Lane { memarg, lane } => {
                self.load_lane(memarg, types::I32X4, lane)?
            }
            Operator::V128Load64Lane { memarg, lane } => {
                self.load_lane(memarg, types::I64X2, lane)?
            }
            Operator::V128Store8Lane { memarg, lane } => {
                self.store_lane(memarg, types::I8X16, lane)?
            }
            Operator::V128Store16Lane { memarg, lane } => {
                self.store_lane(memarg, types::I16X8, lane)?
            }
            Operator::V128Store32Lane { memarg, lane } => {
                self.store_lane(memarg, types::I32X4, lane)?
            }
            Operator::V128Store64Lane { memarg, lane } => {
                self.store_lane(memarg, types::I64X2, lane)?
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load_vector(&mut self, memarg: MemArg, ty: Type) -> Result<(), TranslateError> {
        let value = self.heap_load_value(memarg, ty)?;
        self.push_vector(value);
        Ok(())
    }

    fn load_extended(&mut self, operator: &Operator<'_>) -> Result<(), TranslateError> {
        let (Operator::V128Load8x8S { memarg }
        | Operator::V128Load8x8U { memarg }
        | Operator::V128Load16x4S { memarg }
        | Operator::V128Load16x4U { memarg }
        | Operator::V128Load32x2S { memarg }
        | Operator::V128Load32x2U { memarg }) = *operator
        else {
            unreachable!("only these extend")
        };
        let (address, offset) = self.heap_address(memarg, 8)?;
        let flags = self.heap_flags();
        let ins = self.builder.ins();
        let value = match operator {
            Operator::V128Load8x8S { .. } => ins.sload8x8(flags, address, offset),
            Operator::V128Load8x8U { .. } => ins.uload8x8(flags, address, offset),
            Operator::V128Load16x4S { .. } => ins.sload16x4(flags, address, offset),
            Operator::V128Load16x4U { .. } => ins.uload16x4(flags, address, offset),
            Operator::V128Load32x2S { .. } => ins.sload32x2(flags, address, offset),
            _ => ins.uload32x2(flags, address, offset),
        };
        self.push_vector(value);
        Ok(())
    }

    fn load_splat(&mut self, memarg: MemArg, ty: Type) -> Result<(), TranslateError> {
        let lane = self.heap_load_value(memarg, ty.lane_type())?;
        let value = self.builder.ins().splat(ty, lane);
        self.push_vector(value);
        Ok(())
    }

    fn load_zero(&mut self, memarg: MemArg, ty: Type) -> Result<(), TranslateError> {
        let lane = self.heap_load_value(memarg, ty.lane_type())?;
        let value = self.builder.ins().scalar_to_vector(ty, lane);
        self.push_vector(value);
        Ok(())
    }

    fn load_lane(&mut self, memarg: MemArg, ty: Type, lane: u8) -> Result<(), TranslateError> {
        let vector = self.pop_vector(ty);
        let value = self.heap_load_value(memarg, ty.lane_type())?;
        let value = self.builder.ins().insertlane(vector, value, lane);
        self.push_vector(value);
        Ok(())
    }

    fn store_lane(&mut self, memarg: MemArg, ty: Type, lane: u8) -> Result<(), TranslateError> {
        let vector = self.pop_vector(ty);
        let value = self.builder.ins().extractlane(vector, lane);
        self.heap_store_value(memarg, value)
    }
}
