//! The safepoints of a body, as the validator sees them: what two bodies are aligned by.

use crate::Result;
use midair_tiers::{FunctionBody, ModuleEnv, ValType};
use wasmparser::{FuncToValidate, FuncValidatorAllocations, Operator, ValidatorResources};

/// Where a frame can be suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum SafepointKind {
    /// The function's start.
    Entry,
    /// A loop header.
    Loop,
    /// A call of this function.
    Call(u32),
    /// A call through a table, of a function of this type.
    CallIndirect(u32),
}

/// A safepoint of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Safepoint {
    /// Offset in the body.
    pub(crate) point: u32,
    pub(crate) kind: SafepointKind,
    /// Number of blocks around it.
    pub(crate) depth: u32,
    /// Types on the operand stack; after a call, without its results.
    pub(crate) operands: Vec<ValType>,
}

impl Safepoint {
    /// Whether a frame suspended at `self` can go on at `other`: they do the same, are nested alike, and
    /// have the same operands.
    pub(crate) fn matches(&self, other: &Safepoint) -> bool {
        self.kind == other.kind && self.depth == other.depth && self.operands == other.operands
    }
}

/// A body's locals and safepoints.
#[derive(Clone, Debug)]
pub(crate) struct Safepoints {
    /// Types of all locals, parameters first.
    pub(crate) locals: Vec<ValType>,
    /// Reachable safepoints in the order of their points.
    pub(crate) points: Vec<Safepoint>,
}

impl Safepoints {
    /// Validates a body and lists its safepoints. Errors are the validator's.
    pub(crate) fn new(
        env: &ModuleEnv,
        body: &FunctionBody,
        validate: FuncToValidate<ValidatorResources>,
    ) -> Result<Safepoints> {
        let mut validator = validate.into_validator(FuncValidatorAllocations::default());
        let reader = body.reader();
        let mut bytes = reader.get_binary_reader();
        validator.read_locals(&mut bytes)?;
        let mut locals = Vec::new();
        for local in 0..validator.len_locals() {
            locals.extend(validator.get_local_type(local).and_then(ValType::from_wasm));
        }
        let entry =
            Safepoint { point: 0, kind: SafepointKind::Entry, depth: 1, operands: Vec::new() };
        let mut points = vec![entry];
        let mut operators = wasmparser::OperatorsReader::new(bytes);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let reachable = !validator.get_control_frame(0).is_some_and(|frame| frame.unreachable);
            // A call's frame is described without its arguments.
            let call = match operator {
                Operator::Call { function_index } => {
                    let ty = env.functions.get(function_index as usize).copied();
                    ty.map(|ty| (SafepointKind::Call(function_index), ty, 0))
                }
                Operator::CallIndirect { type_index, .. } => {
                    Some((SafepointKind::CallIndirect(type_index), type_index, 1))
                }
                _ => None,
            };
            let height = validator.operand_stack_height() as usize;
            let below = call.and_then(|(kind, ty, extra)| {
                let arguments = env.types.get(ty as usize)?.params.len() + extra;
                Some((kind, operands(&validator, height, height.checked_sub(arguments)?)))
            });
            validator.op(offset as _, &operator)?;
            let depth = validator.control_stack_height();
            let point = offset as u32;
            if !reachable {
                continue;
            }
            if let Some((kind, operands)) = below {
                points.push(Safepoint { point, kind, depth, operands });
            } else if matches!(operator, Operator::Loop { .. }) {
                let height = validator.operand_stack_height() as usize;
                let operands = operands(&validator, height, height);
                points.push(Safepoint { point, kind: SafepointKind::Loop, depth, operands });
            }
        }
        Ok(Safepoints { locals, points })
    }
}

/// Types of the lowest `count` of `height` operands. Reachable code has known types only.
fn operands(
    validator: &wasmparser::FuncValidator<ValidatorResources>,
    height: usize,
    count: usize,
) -> Vec<ValType> {
    (0..count)
        .filter_map(|i| validator.get_operand_type(height - 1 - i).flatten())
        .filter_map(ValType::from_wasm)
        .collect()
}
