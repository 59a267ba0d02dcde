//! The operand stack of a translation.

use crate::types::ValType;
use cranelift_codegen::ir::{Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use std::collections::HashMap;

/// The CLIF type of a value type.
pub(super) fn clif_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 | ValType::FuncRef | ValType::ExternRef => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
    }
}

/// A stack of typed SSA values.
///
/// The lowest entries can be *shared*: they live in variables, one for each depth and type. In an OSR
/// entry the values that lie below the entered loop have two origins, the code before the loop and
/// the OSR buffer, so that uses of them anywhere after the loop's start may need a block parameter.
/// Variables let the SSA builder find out.
pub(super) struct OperandStack {
    entries: Vec<(Value, ValType)>,
    shared: usize,
    variables: HashMap<(usize, ValType), Variable>,
}

impl OperandStack {
    /// An empty stack whose `shared` lowest entries live in variables.
    pub(super) fn new(shared: usize) -> OperandStack {
        OperandStack { entries: Vec::new(), shared, variables: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn shared(&self) -> usize {
        self.shared
    }

    pub(super) fn type_at(&self, depth: usize) -> ValType {
        self.entries[depth].1
    }

    pub(super) fn push(&mut self, builder: &mut FunctionBuilder<'_>, value: Value, ty: ValType) {
        let depth = self.entries.len();
        if depth < self.shared {
            let variable = self.variable(builder, depth, ty);
            builder.def_var(variable, value);
        }
        self.entries.push((value, ty));
    }

    /// Gives a shared entry another value in the current block.
    pub(super) fn redefine(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        depth: usize,
        value: Value,
    ) {
        debug_assert!(depth < self.shared);
        let variable = self.variable(builder, depth, self.entries[depth].1);
        builder.def_var(variable, value);
    }

    pub(super) fn pop(&mut self, builder: &mut FunctionBuilder<'_>) -> (Value, ValType) {
        let top = self.get(builder, self.entries.len() - 1);
        self.entries.pop();
        top
    }

    /// The entry at this depth, 0 being the lowest.
    pub(super) fn get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        depth: usize,
    ) -> (Value, ValType) {
        let (value, ty) = self.entries[depth];
        if depth >= self.shared {
            return (value, ty);
        }
        let variable = self.variable(builder, depth, ty);
        (builder.use_var(variable), ty)
    }

    pub(super) fn truncate(&mut self, height: usize) {
        self.entries.truncate(height);
    }

    fn variable(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        depth: usize,
        ty: ValType,
    ) -> Variable {
        *self.variables.entry((depth, ty)).or_insert_with(|| builder.declare_var(clif_type(ty)))
    }
}
