//! The operand stack of a translation.

use crate::types::ValType;
use cranelift_codegen::ir::{Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use std::collections::HashMap;

/// The CLIF type of a value type.
pub(super) fn clif_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 | ValType::Ref(_) => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
    }
}

/// An entry of the stack.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub(super) value: Value,
    pub(super) ty: ValType,
    /// The local that the value was read from or written to, if it was.
    pub(super) local: Option<u32>,
}

/// A stack of typed SSA values.
///
/// The lowest entries can be *shared*: they live in variables, one for each depth and type. In an OSR
/// entry the values that lie below the entered loop have two origins, the code before the loop and
/// the OSR buffer, so that uses of them anywhere after the loop's start may need a block parameter.
/// Variables let the SSA builder find out.
pub(super) struct OperandStack {
    entries: Vec<Operand>,
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
        self.entries[depth].ty
    }

    pub(super) fn push(&mut self, builder: &mut FunctionBuilder<'_>, operand: Operand) {
        let depth = self.entries.len();
        if depth < self.shared {
            let variable = self.variable(builder, depth, operand.ty);
            builder.def_var(variable, operand.value);
        }
        self.entries.push(operand);
    }

    /// Gives a shared entry another value in the current block.
    pub(super) fn redefine(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        depth: usize,
        value: Value,
    ) {
        debug_assert!(depth < self.shared);
        let variable = self.variable(builder, depth, self.entries[depth].ty);
        builder.def_var(variable, value);
    }

    pub(super) fn pop(&mut self, builder: &mut FunctionBuilder<'_>) -> Operand {
        let top = self.get(builder, self.entries.len() - 1);
        self.entries.pop();
        top
    }

    /// The entry at this depth, 0 being the lowest.
    pub(super) fn get(&mut self, builder: &mut FunctionBuilder<'_>, depth: usize) -> Operand {
        let mut operand = self.entries[depth];
        if depth < self.shared {
            let variable = self.variable(builder, depth, operand.ty);
            operand.value = builder.use_var(variable);
        }
        operand
    }

    /// Notes that the topmost operand was written to a local.
    pub(super) fn set_top_local(&mut self, local: u32) {
        if let Some(top) = self.entries.last_mut() {
            top.local = Some(local);
        }
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
