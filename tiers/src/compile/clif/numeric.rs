//! Operators that only compute.

use super::operand_stack::clif_type;
use super::translator::{TranslateError, Translator};
use crate::types::ValType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::Operator;

/// Pops one operand, applies a method of the instruction builder, pushes the result.
macro_rules! unary {
    ($self:ident, $ty:ident, $method:ident) => {{
        let value = $self.pop();
        let value = $self.builder.ins().$method(value);
        $self.push(value, ValType::$ty);
    }};
}

/// The same for two operands.
macro_rules! binary {
    ($self:ident, $ty:ident, $method:ident) => {{
        let (first, second) = $self.pop2();
        let value = $self.builder.ins().$method(first, second);
        $self.push(value, ValType::$ty);
    }};
}

/// The same for a conversion to a type of the instruction's choice.
macro_rules! convert {
    ($self:ident, $ty:ident, $method:ident) => {{
        let value = $self.pop();
        let value = $self.builder.ins().$method(types::$ty, value);
        $self.push(value, ValType::$ty);
    }};
}

impl Translator<'_, '_> {
    /// A sum or difference of two numbers of 128 bits, each of which is two operands. Values of 128 bits live only
    /// between the operands and the results.
    fn wide_sum(&mut self, sum: impl FnOnce(FuncInstBuilder<'_, '_>, Value, Value) -> Value) {
        let (b_low, b_high) = self.pop2();
        let (a_low, a_high) = self.pop2();
        let a = self.builder.ins().iconcat(a_low, a_high);
        let b = self.builder.ins().iconcat(b_low, b_high);
        let result = sum(self.builder.ins(), a, b);
        self.push_halves(result);
    }

    /// The product, with 128 bits, of two numbers that `extend` gives as many.
    fn wide_product(&mut self, extend: impl Fn(FuncInstBuilder<'_, '_>, Value) -> Value) {
        let (a, b) = self.pop2();
        let a = extend(self.builder.ins(), a);
        let b = extend(self.builder.ins(), b);
        let result = self.builder.ins().imul(a, b);
        self.push_halves(result);
    }

    fn push_halves(&mut self, value: Value) {
        let (low, high) = self.builder.ins().isplit(value);
        self.push(low, ValType::I64);
        self.push(high, ValType::I64);
    }

    /// Translates the operator if it only computes; returns whether it does.
    pub(super) fn translate_numeric(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, TranslateError> {
        match *operator {
            Operator::I32Const { value } => {
                // Cranelift wants the unused upper bits to be zero.
                let value = i64::from(value as u32);
                let value = self.builder.ins().iconst(types::I32, value);
                self.push(value, ValType::I32);
            }
            Operator::I64Const { value } => {
                let value = self.builder.ins().iconst(types::I64, value);
                self.push(value, ValType::I64);
            }
            Operator::I64Add128 => self.wide_sum(|ins, a, b| ins.iadd(a, b)),
            Operator::I64Sub128 => self.wide_sum(|ins, a, b| ins.isub(a, b)),
            Operator::I64MulWideS => {
                self.wide_product(|ins, value| ins.sextend(types::I128, value))
            }
            Operator::I64MulWideU => {
                self.wide_product(|ins, value| ins.uextend(types::I128, value))
            }
            Operator::F32Const { value } => {
                let value = Ieee32::with_bits(value.bits());
                let value = self.builder.ins().f32const(value);
                self.push(value, ValType::F32);
            }
            Operator::F64Const { value } => {
                let value = Ieee64::with_bits(value.bits());
                let value = self.builder.ins().f64const(value);
                self.push(value, ValType::F64);
            }
            Operator::Select | Operator::TypedSelect { .. } => {
                let condition = self.pop();
                let ty = self.stack.type_at(self.stack.len() - 1);
                let operands = self.pop_many(2);
                let value = self.builder.ins().select(condition, operands[0], operands[1]);
                self.push(value, ty);
            }

            Operator::I32Eqz | Operator::I64Eqz => {
                let value = self.pop();
                let is_zero = self.builder.ins().icmp_imm_u(IntCC::Equal, value, 0);
                self.push_bool(is_zero);
            }
            Operator::I32Eq | Operator::I64Eq => self.int_compare(IntCC::Equal),
            Operator::I32Ne | Operator::I64Ne => self.int_compare(IntCC::NotEqual),
            Operator::I32LtS | Operator::I64LtS => self.int_compare(IntCC::SignedLessThan),
            Operator::I32LtU | Operator::I64LtU => self.int_compare(IntCC::UnsignedLessThan),
            Operator::I32GtS | Operator::I64GtS => self.int_compare(IntCC::SignedGreaterThan),
            Operator::I32GtU | Operator::I64GtU => self.int_compare(IntCC::UnsignedGreaterThan),
            Operator::I32LeS | Operator::I64LeS => self.int_compare(IntCC::SignedLessThanOrEqual),
            Operator::I32LeU | Operator::I64LeU => self.int_compare(IntCC::UnsignedLessThanOrEqual),
            Operator::I32GeS | Operator::I64GeS => {
                self.int_compare(IntCC::SignedGreaterThanOrEqual)
            }
            Operator::I32GeU | Operator::I64GeU => {
                self.int_compare(IntCC::UnsignedGreaterThanOrEqual)
            }
            Operator::F32Eq | Operator::F64Eq => self.float_compare(FloatCC::Equal),
            Operator::F32Ne | Operator::F64Ne => self.float_compare(FloatCC::NotEqual),
            Operator::F32Lt | Operator::F64Lt => self.float_compare(FloatCC::LessThan),
            Operator::F32Gt | Operator::F64Gt => self.float_compare(FloatCC::GreaterThan),
            Operator::F32Le | Operator::F64Le => self.float_compare(FloatCC::LessThanOrEqual),
            Operator::F32Ge | Operator::F64Ge => self.float_compare(FloatCC::GreaterThanOrEqual),

            Operator::I32Clz => unary!(self, I32, clz),
            Operator::I32Ctz => unary!(self, I32, ctz),
            Operator::I32Popcnt => unary!(self, I32, popcnt),
            Operator::I32Add => binary!(self, I32, iadd),
            Operator::I32Sub => binary!(self, I32, isub),
            Operator::I32Mul => binary!(self, I32, imul),
            Operator::I32DivS => binary!(self, I32, sdiv),
            Operator::I32DivU => binary!(self, I32, udiv),
            Operator::I32RemS => binary!(self, I32, srem),
            Operator::I32RemU => binary!(self, I32, urem),
            Operator::I32And => binary!(self, I32, band),
            Operator::I32Or => binary!(self, I32, bor),
            Operator::I32Xor => binary!(self, I32, bxor),
            Operator::I32Shl => binary!(self, I32, ishl),
            Operator::I32ShrS => binary!(self, I32, sshr),
            Operator::I32ShrU => binary!(self, I32, ushr),
            Operator::I32Rotl => binary!(self, I32, rotl),
            Operator::I32Rotr => binary!(self, I32, rotr),
            Operator::I64Clz => unary!(self, I64, clz),
            Operator::I64Ctz => unary!(self, I64, ctz),
            Operator::I64Popcnt => unary!(self, I64, popcnt),
            Operator::I64Add => binary!(self, I64, iadd),
            Operator::I64Sub => binary!(self, I64, isub),
            Operator::I64Mul => binary!(self, I64, imul),
            Operator::I64DivS => binary!(self, I64, sdiv),
            Operator::I64DivU => binary!(self, I64, udiv),
            Operator::I64RemS => binary!(self, I64, srem),
            Operator::I64RemU => binary!(self, I64, urem),
            Operator::I64And => binary!(self, I64, band),
            Operator::I64Or => binary!(self, I64, bor),
            Operator::I64Xor => binary!(self, I64, bxor),
            Operator::I64Shl => binary!(self, I64, ishl),
            Operator::I64ShrS => binary!(self, I64, sshr),
            Operator::I64ShrU => binary!(self, I64, ushr),
            Operator::I64Rotl => binary!(self, I64, rotl),
            Operator::I64Rotr => binary!(self, I64, rotr),

            Operator::F32Abs => unary!(self, F32, fabs),
            Operator::F32Neg => unary!(self, F32, fneg),
            Operator::F32Sqrt => unary!(self, F32, sqrt),
            Operator::F32Add => binary!(self, F32, fadd),
            Operator::F32Sub => binary!(self, F32, fsub),
            Operator::F32Mul => binary!(self, F32, fmul),
            Operator::F32Div => binary!(self, F32, fdiv),
            Operator::F32Min => binary!(self, F32, fmin),
            Operator::F32Max => binary!(self, F32, fmax),
            Operator::F32Copysign => binary!(self, F32, fcopysign),
            Operator::F64Abs => unary!(self, F64, fabs),
            Operator::F64Neg => unary!(self, F64, fneg),
            Operator::F64Sqrt => unary!(self, F64, sqrt),
            Operator::F64Add => binary!(self, F64, fadd),
            Operator::F64Sub => binary!(self, F64, fsub),
            Operator::F64Mul => binary!(self, F64, fmul),
            Operator::F64Div => binary!(self, F64, fdiv),
            Operator::F64Min => binary!(self, F64, fmin),
            Operator::F64Max => binary!(self, F64, fmax),
            Operator::F64Copysign => binary!(self, F64, fcopysign),

            Operator::F32Ceil
            | Operator::F32Floor
            | Operator::F32Trunc
            | Operator::F32Nearest
            | Operator::F64Ceil
            | Operator::F64Floor
            | Operator::F64Trunc
            | Operator::F64Nearest => self.translate_rounding(operator)?,

            Operator::I32WrapI64 => convert!(self, I32, ireduce),
            Operator::I64ExtendI32S => convert!(self, I64, sextend),
            Operator::I64ExtendI32U => convert!(self, I64, uextend),
            Operator::I32Extend8S => self.sign_extend(types::I8, ValType::I32),
            Operator::I32Extend16S => self.sign_extend(types::I16, ValType::I32),
            Operator::I64Extend8S => self.sign_extend(types::I8, ValType::I64),
            Operator::I64Extend16S => self.sign_extend(types::I16, ValType::I64),
            Operator::I64Extend32S => self.sign_extend(types::I32, ValType::I64),
            Operator::I32TruncF32S | Operator::I32TruncF64S => convert!(self, I32, fcvt_to_sint),
            Operator::I32TruncF32U | Operator::I32TruncF64U => convert!(self, I32, fcvt_to_uint),
            Operator::I64TruncF32S | Operator::I64TruncF64S => convert!(self, I64, fcvt_to_sint),
            Operator::I64TruncF32U | Operator::I64TruncF64U => convert!(self, I64, fcvt_to_uint),
            Operator::I32TruncSatF32S | Operator::I32TruncSatF64S => {
                convert!(self, I32, fcvt_to_sint_sat)
            }
            Operator::I32TruncSatF32U | Operator::I32TruncSatF64U => {
                convert!(self, I32, fcvt_to_uint_sat)
            }
            Operator::I64TruncSatF32S | Operator::I64TruncSatF64S => {
                convert!(self, I64, fcvt_to_sint_sat)
            }
            Operator::I64TruncSatF32U | Operator::I64TruncSatF64U => {
                convert!(self, I64, fcvt_to_uint_sat)
            }
            Operator::F32ConvertI32S | Operator::F32ConvertI64S => {
                convert!(self, F32, fcvt_from_sint)
            }
            Operator::F32ConvertI32U | Operator::F32ConvertI64U => {
                convert!(self, F32, fcvt_from_uint)
            }
            Operator::F64ConvertI32S | Operator::F64ConvertI64S => {
                convert!(self, F64, fcvt_from_sint)
            }
            Operator::F64ConvertI32U | Operator::F64ConvertI64U => {
                convert!(self, F64, fcvt_from_uint)
            }
            Operator::F32DemoteF64 => convert!(self, F32, fdemote),
            Operator::F64PromoteF32 => convert!(self, F64, fpromote),
            Operator::I32ReinterpretF32 => self.reinterpret(ValType::I32),
            Operator::I64ReinterpretF64 => self.reinterpret(ValType::I64),
            Operator::F32ReinterpretI32 => self.reinterpret(ValType::F32),
            Operator::F64ReinterpretI64 => self.reinterpret(ValType::F64),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Without instructions for it, Cranelift would call a library function, which compiled code has
    /// no way to name.
    fn translate_rounding(&mut self, operator: &Operator<'_>) -> Result<(), TranslateError> {
        let mut flags = self.source.isa.isa_flags().into_iter();
        if !flags.any(|flag| flag.name == "has_sse41" && flag.as_bool() == Some(true)) {
            return Err(TranslateError::Unsupported(format!(
                "{operator:?} on a processor without SSE4.1"
            )));
        }
        match operator {
            Operator::F32Ceil => unary!(self, F32, ceil),
            Operator::F32Floor => unary!(self, F32, floor),
            Operator::F32Trunc => unary!(self, F32, trunc),
            Operator::F32Nearest => unary!(self, F32, nearest),
            Operator::F64Ceil => unary!(self, F64, ceil),
            Operator::F64Floor => unary!(self, F64, floor),
            Operator::F64Trunc => unary!(self, F64, trunc),
            _ => unary!(self, F64, nearest),
        }
        Ok(())
    }

    /// Pushes a comparison's result as an `i32`.
    pub(super) fn push_bool(&mut self, condition: Value) {
        let value = self.builder.ins().uextend(types::I32, condition);
        self.push(value, ValType::I32);
    }

    fn int_compare(&mut self, condition: IntCC) {
        let (first, second) = self.pop2();
        let result = self.builder.ins().icmp(condition, first, second);
        self.push_bool(result);
    }

    fn float_compare(&mut self, condition: FloatCC) {
        let (first, second) = self.pop2();
        let result = self.builder.ins().fcmp(condition, first, second);
        self.push_bool(result);
    }

    fn sign_extend(&mut self, from: Type, ty: ValType) {
        let value = self.pop();
        let narrow = self.builder.ins().ireduce(from, value);
        let value = self.builder.ins().sextend(clif_type(ty), narrow);
        self.push(value, ty);
    }

    fn reinterpret(&mut self, ty: ValType) {
        let value = self.pop();
        let value = self.builder.ins().bitcast(clif_type(ty), MemFlagsData::new(), value);
        self.push(value, ty);
    }
}
