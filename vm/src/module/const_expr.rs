//! Constant expressions.

use crate::types::slots::halves;
use midair_tiers::body::ByteSource;
use wasmparser::{BinaryReader, Operator, OperatorsReader, SectionLimited};

/// Where a constant expression lies in its module. It has been validated when the module was loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConstExpr {
    start: u32,
    end: u32,
}

/// What constant expressions refer to.
pub(crate) trait ConstScope {
    /// The slots of a global's value.
    fn global(&mut self, index: u32) -> [u64; 2];

    /// A reference to a function.
    fn ref_func(&mut self, index: u32) -> u64;
}

impl ConstExpr {
    pub(super) fn new(expr: &wasmparser::ConstExpr<'_>) -> ConstExpr {
        let range = expr.get_binary_reader().remaining_range();
        // Modules of 4 GiB and more are refused at load.
        ConstExpr { start: range.start as u32, end: range.end as u32 }
    }

    /// The expression in binary format, with its end.
    pub(crate) fn bytes(self, source: &dyn ByteSource) -> &[u8] {
        &source.bytes()[self.start as usize..self.end as usize]
    }

    /// The slot of its value, which is no vector.
    pub(crate) fn evaluate(self, source: &dyn ByteSource, scope: &mut impl ConstScope) -> u64 {
        self.slots(source, scope)[0]
    }

    /// The slots of its value.
    pub(crate) fn slots(self, source: &dyn ByteSource, scope: &mut impl ConstScope) -> [u64; 2] {
        evaluate(BinaryReader::new(self.bytes(source), u64::from(self.start)), scope)
    }
}

/// The slots of the value of a constant expression that has been validated; the second is 0 unless it is a vector.
pub(crate) fn evaluate(reader: BinaryReader<'_>, scope: &mut impl ConstScope) -> [u64; 2] {
    let mut stack: smallvec::SmallVec<[[u64; 2]; 4]> = smallvec::SmallVec::new();
    let mut operators = OperatorsReader::new(reader);
    while let Ok(operator) = operators.read() {
        let value = match operator {
            Operator::I32Const { value } => u64::from(value as u32),
            Operator::I64Const { value } => value as u64,
            Operator::F32Const { value } => u64::from(value.bits()),
            Operator::F64Const { value } => value.bits(),
            Operator::RefNull { .. } => 0,
            Operator::RefFunc { function_index } => scope.ref_func(function_index),
            Operator::V128Const { value } => {
                stack.push(halves(u128::from_le_bytes(*value.bytes())));
                continue;
            }
            Operator::GlobalGet { global_index } => {
                stack.push(scope.global(global_index));
                continue;
            }
            Operator::End => break,
            binary => {
                let (Some([b, _]), Some([a, _])) = (stack.pop(), stack.pop()) else {
                    unreachable!("validated: the operands are there")
                };
                match binary {
                    Operator::I32Add => u64::from((a as u32).wrapping_add(b as u32)),
                    Operator::I32Sub => u64::from((a as u32).wrapping_sub(b as u32)),
                    Operator::I32Mul => u64::from((a as u32).wrapping_mul(b as u32)),
                    Operator::I64Add => a.wrapping_add(b),
                    Operator::I64Sub => a.wrapping_sub(b),
                    Operator::I64Mul => a.wrapping_mul(b),
                    _ => unreachable!("validated: {binary:?} is not constant"),
                }
            }
        };
        stack.push([value, 0]);
    }
    stack.pop().expect("validated: a constant expression has one value")
}

/// Calls `put` with the slot of each element of a segment.
pub(crate) fn for_each_element(
    bytes: &[u8],
    items: &super::load::ElementItems,
    scope: &mut impl ConstScope,
    mut put: impl FnMut(u64),
) {
    let reader = |range: &std::ops::Range<u32>| {
        BinaryReader::new(&bytes[range.start as usize..range.end as usize], u64::from(range.start))
    };
    let valid = "validated: the segment is well-formed";
    match items {
        super::load::ElementItems::Functions(range) => {
            for function in SectionLimited::<u32>::new(reader(range)).expect(valid) {
                put(scope.ref_func(function.expect(valid)));
            }
        }
        super::load::ElementItems::Expressions(range) => {
            for expr in
                SectionLimited::<wasmparser::ConstExpr<'_>>::new(reader(range)).expect(valid)
            {
                put(evaluate(expr.expect(valid).get_binary_reader(), scope)[0]);
            }
        }
    }
}
