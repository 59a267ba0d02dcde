//! The safepoints of a body, as the validator sees them: what two bodies are aligned by.

use crate::Result;
use midair_tiers::{FunctionBody, ModuleEnv, ValType};
use std::collections::HashMap;
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
    /// A call through a table, of a function of this type: the first index of those of equal types.
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
    /// The operators around it, as hashes: the three before it, the nearest first, and the three behind it.
    pub(crate) context: [u32; 2 * CONTEXT],
}

/// How many operators on either side of a safepoint tell it from others that are like it.
const CONTEXT: usize = 3;

impl Safepoint {
    /// Whether a frame suspended at `self` can go on at `other`: they do the same, are nested alike, and
    /// have the same operands.
    pub(crate) fn matches(&self, other: &Safepoint) -> bool {
        self.kind == other.kind && self.depth == other.depth && self.operands == other.operands
    }

    /// How many of the operators around them are the same.
    pub(crate) fn similarity(&self, other: &Safepoint) -> u32 {
        self.context.iter().zip(&other.context).map(|(a, b)| u32::from(a == b)).sum()
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
    /// Takes calls of a function for calls of another one, if `other` knows one.
    pub(crate) fn take_for_equal(&mut self, other: impl Fn(u32) -> Option<u32>) {
        for safepoint in &mut self.points {
            if let SafepointKind::Call(function) = &mut safepoint.kind
                && let Some(other) = other(*function)
            {
                *function = other;
            }
        }
    }

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
        let context = [0; 2 * CONTEXT];
        let kind = SafepointKind::Entry;
        let mut points = vec![Safepoint { point: 0, kind, depth: 1, operands: vec![], context }];
        let mut canonical = CanonicalTypes::default();
        // The operator that each of `points` is, and a hash of each operator; the entry is before all.
        let (mut places, mut hashes) = (vec![0], vec![0]);
        let mut operators = wasmparser::OperatorsReader::new(bytes);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let end = operators.original_position() as usize;
            hashes.push(hash(&body.bytes()[offset as usize..end]));
            let reachable = !validator.get_control_frame(0).is_some_and(|frame| frame.unreachable);
            // A call's frame is described without its arguments.
            let call = match operator {
                Operator::Call { function_index } => {
                    let ty = env.functions.get(function_index as usize).copied();
                    ty.map(|ty| (SafepointKind::Call(function_index), ty, 0))
                }
                Operator::CallIndirect { type_index, .. } => {
                    let ty = canonical.of(env, type_index);
                    Some((SafepointKind::CallIndirect(ty), ty, 1))
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
                points.push(Safepoint { point, kind, depth, operands, context });
                places.push(hashes.len() - 1);
            } else if matches!(operator, Operator::Loop { .. }) {
                let height = validator.operand_stack_height() as usize;
                let (kind, operands) = (SafepointKind::Loop, operands(&validator, height, height));
                points.push(Safepoint { point, kind, depth, operands, context });
                places.push(hashes.len() - 1);
            }
        }
        for (safepoint, place) in points.iter_mut().zip(places) {
            for i in 0..CONTEXT {
                let before = place.checked_sub(i + 1);
                safepoint.context[i] = before.map_or(0, |at| hashes[at]);
                safepoint.context[CONTEXT + i] = hashes.get(place + i + 1).copied().unwrap_or(0);
            }
        }
        Ok(Safepoints { locals, points })
    }
}

/// Type indices, the same for equal types.
#[derive(Default)]
struct CanonicalTypes(HashMap<u32, u32>);

impl CanonicalTypes {
    fn of(&mut self, env: &ModuleEnv, ty: u32) -> u32 {
        *self.0.entry(ty).or_insert_with(|| {
            let wanted = env.types.get(ty as usize);
            let first = env.types.iter().position(|ty| Some(ty) == wanted);
            first.map_or(ty, |first| first as u32)
        })
    }
}

/// A short hash of an operator's bytes (FNV).
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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
