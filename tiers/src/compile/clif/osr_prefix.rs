//! How much of a body an OSR entry can skip.
//!
//! Nothing before the outermost loop around the entered loop or handler can be reached from it. Where the operand
//! stack is empty at that outermost loop, which compilers from C-like languages see to, translation
//! starts right there. (Where it is not, the types of the operands are not known without
//! translating what pushed them.)

use crate::body::never_goes_on;
use crate::module_env::ModuleEnv;
use wasmparser::{
    BlockType, ContType, FrameKind, FuncType, ModuleArity, Operator, OperatorsReader, RefType,
    SubType, TryTable,
};

/// The part of a body before the outermost loop around an OSR entry.
pub(super) struct SkippedPrefix {
    /// The point of that outermost loop.
    pub(super) end: u32,
    /// Types and points of the blocks that are open there, outermost first.
    pub(super) open: Vec<(BlockType, u32)>,
}

/// A block that is open.
struct OpenBlock {
    ty: BlockType,
    is_loop: bool,
    point: u32,
    /// Operands below its parameters.
    height: usize,
    params: usize,
    results: usize,
}

/// What an OSR entry at the loop at `point` can skip; `None` if nothing.
pub(super) fn skipped_prefix(
    env: &ModuleEnv,
    mut operators: OperatorsReader<'_>,
    point: u32,
) -> wasmparser::Result<Option<SkippedPrefix>> {
    let mut open: Vec<OpenBlock> = Vec::new();
    let mut height = 0;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        // Code that cannot be reached may pop more than there is.
        let base = open.last().map_or(0, |block| block.height);
        let below = |height: usize, popped: usize| height.saturating_sub(popped).max(base);
        match operator {
            Operator::TryTable { ref try_table }
                if point
                    .checked_sub(offset as u32 + 1)
                    .is_some_and(|n| (n as usize) < try_table.catches.len()) =>
            {
                return Ok(prefix_of(&open));
            }
            Operator::Catch { .. } | Operator::CatchAll if offset as u32 == point => {
                return Ok(prefix_of(&open));
            }
            Operator::Block { blockty }
            | Operator::Loop { blockty }
            | Operator::If { blockty }
            | Operator::Try { blockty }
            | Operator::TryTable { try_table: TryTable { ty: blockty, .. } } => {
                let (params, results) = block_arity(env, blockty);
                height = below(height, usize::from(matches!(operator, Operator::If { .. })));
                open.push(OpenBlock {
                    ty: blockty,
                    is_loop: matches!(operator, Operator::Loop { .. }),
                    point: offset as u32,
                    height: below(height, params),
                    params,
                    results,
                });
                if offset as u32 == point {
                    return Ok(prefix_of(&open));
                }
            }
            Operator::Else => height = open.last().map_or(0, |block| block.height + block.params),
            Operator::Catch { tag_index } => {
                let values = env.tag_params(tag_index).len();
                height = open.last().map_or(0, |block| block.height) + values;
            }
            Operator::CatchAll => height = open.last().map_or(0, |block| block.height),
            Operator::End | Operator::Delegate { .. } => {
                height = open.pop().map_or(0, |block| block.height + block.results)
            }
            Operator::Call { function_index } => {
                let ty = env.func_type(function_index);
                height = below(height, ty.params.len()) + ty.results.len();
            }
            Operator::CallIndirect { type_index, .. } => {
                let ty = &env.types[type_index as usize];
                height = below(height, ty.params.len() + 1) + ty.results.len();
            }
            Operator::CallRef { type_index } => {
                let ty = &env.types[type_index as usize];
                height = below(height, ty.params.len() + 1) + ty.results.len();
            }
            Operator::BrIf { .. } | Operator::BrOnNonNull { .. } => height = below(height, 1),
            Operator::BrOnNull { .. } | Operator::RefAsNonNull => height = below(height, 1) + 1,
            ref operator if never_goes_on(operator) => height = base,
            _ => match operator.operator_arity(&NoModule) {
                Some((popped, pushed)) => {
                    height = below(height, popped as usize) + pushed as usize;
                }
                None => return Ok(None),
            },
        }
    }
    Ok(None)
}

/// The prefix, given the blocks that are open at the entered loop, itself included.
fn prefix_of(open: &[OpenBlock]) -> Option<SkippedPrefix> {
    let outermost = open.iter().position(|block| block.is_loop)?;
    let start = &open[outermost];
    (start.height + start.params == 0).then(|| SkippedPrefix {
        end: start.point,
        open: open[..outermost].iter().map(|block| (block.ty, block.point)).collect(),
    })
}

fn block_arity(env: &ModuleEnv, ty: BlockType) -> (usize, usize) {
    match ty {
        BlockType::Empty => (0, 0),
        BlockType::Type(_) => (0, 1),
        BlockType::FuncType(index) => {
            let ty = &env.types[index as usize];
            (ty.params.len(), ty.results.len())
        }
    }
}

/// For operators whose arity does not depend on the module.
struct NoModule;

impl ModuleArity for NoModule {
    fn sub_type_at(&self, _: u32) -> Option<&SubType> {
        None
    }
    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }
    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }
    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }
    fn control_stack_height(&self) -> u32 {
        0
    }
    fn label_block(&self, _: u32) -> Option<(BlockType, FrameKind)> {
        None
    }
}
