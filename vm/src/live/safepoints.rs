//! The safepoints of a body, as the validator sees them: what two bodies are aligned by.

use super::body_types::BodyTypes;
use super::canonical;
use super::operand_stacks::{OperandStack, OperandStackBuilder, OperandStacks};
use anyhow::Result;
use midair_tiers::atomics::WAIT_OPERANDS;
use midair_tiers::caught::CaughtLocals;
use midair_tiers::{FunctionBody, ModuleEnv, TypeId, ValType};
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
    /// A call of a reference to a function of this type: as above.
    CallRef(u32),
    /// A wait in a shared memory, for a value of 8 bytes or else of 4.
    Wait(bool),
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
    pub(crate) operands: OperandStack,
    /// The operators around it, as hashes: the three before it, the nearest first, and the three behind it.
    pub(crate) context: [u32; 2 * CONTEXT],
}

/// An operator that is not a call leaves at most so many results, besides the operands that it leaves alone.
const MOST_RESULTS: usize = 2;
/// How many operators on either side of a safepoint tell it from others that are like it.
pub(crate) const CONTEXT: usize = 3;

impl Safepoint {
    /// Whether a frame suspended at `self` can go on at `other`: they do the same, are nested alike, and
    /// have the same operands.
    pub(crate) fn matches(&self, other: &Safepoint) -> bool {
        self.kind == other.kind && self.depth == other.depth && self.operands == other.operands
    }

    /// How many operators right before them are the same, and how many right behind them.
    pub(crate) fn similarity(&self, other: &Safepoint) -> [u32; 2] {
        let same = |half: std::ops::Range<usize>| {
            let pairs = self.context[half.clone()].iter().zip(&other.context[half]);
            pairs.take_while(|(a, b)| a == b).count() as u32
        };
        [same(0..CONTEXT), same(CONTEXT..2 * CONTEXT)]
    }
}

/// A body's locals and safepoints.
#[derive(Clone, Debug)]
pub(crate) struct Safepoints {
    /// Types of all locals, parameters first, hidden ones last.
    pub(crate) locals: Vec<ValType>,
    /// How many of them are hidden.
    pub(crate) hidden: usize,
    /// Reachable safepoints in the order of their points.
    pub(crate) points: Vec<Safepoint>,
    stacks: OperandStacks,
}

impl Safepoints {
    /// Types on the operand stack at one of the safepoints, the lowest first.
    pub(crate) fn operands(&self, safepoint: &Safepoint) -> Vec<ValType> {
        self.stacks.types(safepoint.operands)
    }

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
        let mut types = BodyTypes::default();
        let mut locals = Vec::new();
        for local in 0..validator.len_locals() {
            let ty = validator.get_local_type(local);
            locals.extend(ty.and_then(|ty| types.val_type(env, &validator, ty)));
        }
        let hidden = CaughtLocals::of(body)?.count();
        locals.extend(std::iter::repeat_n(ValType::EXNREF, hidden));
        let context = [0; 2 * CONTEXT];
        let kind = SafepointKind::Entry;
        let mut points =
            vec![Safepoint { point: 0, kind, depth: 1, operands: OperandStack::EMPTY, context }];
        let mut stacks = OperandStackBuilder::default();
        let mut canonical = CanonicalTypes::default();
        // The operator that each of `points` is, and a hash of each operator; the entry is before all.
        let (mut places, mut hashes) = (vec![0], vec![0]);
        let mut buffer = Vec::new();
        let mut operators = wasmparser::OperatorsReader::new(bytes);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let end = operators.original_position() as usize;
            let bytes = &body.bytes()[offset as usize..end];
            hashes.push(match operator {
                // Optimisers number locals anew at each build.
                Operator::LocalGet { .. }
                | Operator::LocalSet { .. }
                | Operator::LocalTee { .. } => hash(&bytes[..1]),
                _ => hash(canonical::shortest(&operator, bytes, &mut buffer)),
            });
            let reachable = !validator.get_control_frame(0).is_some_and(|frame| frame.unreachable);
            // A call's frame is described without its arguments.
            let params = |ty: u32| Some(env.types.get(ty as usize)?.params.len());
            let call = match operator {
                Operator::Call { function_index } => {
                    let ty = env.functions.get(function_index as usize).copied();
                    ty.and_then(|ty| Some((SafepointKind::Call(function_index), params(ty)?)))
                }
                Operator::CallIndirect { type_index, .. } => {
                    let ty = canonical.of(env, type_index);
                    params(ty).map(|params| (SafepointKind::CallIndirect(ty), params + 1))
                }
                Operator::CallRef { type_index } => {
                    let ty = canonical.of(env, type_index);
                    params(ty).map(|params| (SafepointKind::CallRef(ty), params + 1))
                }
                Operator::MemoryAtomicWait32 { .. } => {
                    Some((SafepointKind::Wait(false), WAIT_OPERANDS))
                }
                Operator::MemoryAtomicWait64 { .. } => {
                    Some((SafepointKind::Wait(true), WAIT_OPERANDS))
                }
                _ => None,
            };
            let height = validator.operand_stack_height() as usize;
            let below = call.and_then(|(kind, arguments)| {
                let count = height.checked_sub(arguments)?;
                let operands =
                    stacks.stack(count, |i| operand(env, &mut types, &validator, height, i));
                stacks.popped_to(count);
                Some((kind, operands))
            });
            // An operator that ends a block, or jumps, may pop all of the block's operands.
            let block =
                |validator: &Validator| validator.get_control_frame(0).map_or(0, |f| f.height);
            let floor = block(&validator);
            validator.op(offset as _, &operator)?;
            let after = validator.operand_stack_height() as usize;
            stacks.popped_to(match operator {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => block(&validator),
                Operator::Else
                | Operator::Catch { .. }
                | Operator::CatchAll
                | Operator::Delegate { .. }
                | Operator::End => floor.min(block(&validator)),
                // A call's were popped above. Others have at most this many results.
                _ if call.is_some() => after,
                _ => after.saturating_sub(MOST_RESULTS),
            });
            let depth = validator.control_stack_height();
            let point = offset as u32;
            if !reachable {
                continue;
            }
            if let Some((kind, operands)) = below {
                points.push(Safepoint { point, kind, depth, operands, context });
                places.push(hashes.len() - 1);
            } else if matches!(operator, Operator::Loop { .. }) {
                let operands =
                    stacks.stack(after, |i| operand(env, &mut types, &validator, after, i));
                let kind = SafepointKind::Loop;
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
        Ok(Safepoints { locals, hidden, points, stacks: stacks.finish() })
    }
}

/// Type indices, the same for equal types.
#[derive(Default)]
struct CanonicalTypes {
    /// The first index of each type; empty until somebody asks.
    first: HashMap<TypeId, u32>,
}

impl CanonicalTypes {
    fn of(&mut self, env: &ModuleEnv, ty: u32) -> u32 {
        if self.first.is_empty() {
            for (index, ty) in env.type_ids.iter().enumerate() {
                self.first.entry(*ty).or_insert(index as u32);
            }
        }
        let wanted = env.type_ids.get(ty as usize);
        wanted.and_then(|wanted| self.first.get(wanted)).copied().unwrap_or(ty)
    }
}

/// A short hash of an operator's bytes (FNV).
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

type Validator = wasmparser::FuncValidator<ValidatorResources>;

/// Type of the operand at `index`, from below, of `height`. Reachable code has known types only; of others
/// nobody asks.
fn operand(
    env: &ModuleEnv,
    types: &mut BodyTypes,
    validator: &Validator,
    height: usize,
    index: usize,
) -> ValType {
    let ty = validator.get_operand_type(height - 1 - index).flatten();
    ty.and_then(|ty| types.val_type(env, validator, ty)).unwrap_or(ValType::I32)
}

#[cfg(test)]
mod tests;
