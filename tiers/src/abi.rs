//! How a function type maps to the calling convention of managed code.
//!
//! Managed code is System V: the context pointer in `rdi`, then the parameters. Results are in
//! `rax`, `rdx`, `xmm0`, `xmm1` when at most two of them are integers and at most two are floats;
//! otherwise **all** results are in the buffer at `StackContext::results`, one 64-bit slot each
//! (two for v128), and the machine function returns nothing. Functions that end in tail calls are of this convention too,
//! although Cranelift is told of another: see `compile/clif/tail_calls.rs`.

use crate::types::{FuncType, ValType};
use midair_osr::CallShape;
use std::sync::OnceLock;

/// The shape of calls of functions of this type, for [`midair_osr::call`].
pub fn call_shape(ty: &FuncType) -> CallShape {
    CallShape::new(ty.params.iter().map(|p| p.kind()), ty.results.iter().map(|r| r.kind()))
}

/// The shape of a wait in a memory, as far as its result goes.
pub fn wait_shape() -> &'static CallShape {
    static SHAPE: OnceLock<CallShape> = OnceLock::new();
    SHAPE.get_or_init(|| call_shape(&FuncType::new([], [ValType::I32])))
}

/// How many arguments and results a call of a function of this type passes in memory.
pub fn values_in_memory(ty: &FuncType) -> usize {
    let floats = |class| class == midair_osr::ValueClass::Float;
    let float_count = ty.params.iter().filter(|p| floats(p.kind().class())).count();
    let integer_count = ty.params.len() - float_count;
    // Of six registers for integers, the context has one.
    let arguments = integer_count.saturating_sub(5) + float_count.saturating_sub(8);
    arguments + if results_in_registers(ty) { 0 } else { ty.results.len() }
}

/// Whether the results of functions of this type are returned in registers.
pub fn results_in_registers(ty: &FuncType) -> bool {
    let floats = |class| class == midair_osr::ValueClass::Float;
    let float_count = ty.results.iter().filter(|r| floats(r.kind().class())).count();
    float_count <= 2 && ty.results.len() - float_count <= 2
}
