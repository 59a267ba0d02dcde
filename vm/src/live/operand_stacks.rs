//! The types of the operand stacks at the safepoints of a body.
//!
//! Stacks share the operands that lie under both since the one was, so that all of a body's stacks together
//! grow with the body and no faster: a stack is its top operand, which knows the stack below.

use midair_tiers::ValType;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

/// Types on an operand stack. Two are equal if they hold the same types, of whichever bodies they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct OperandStack {
    height: u32,
    /// Index of the top operand; of no meaning for an empty stack, and the same for all that are empty.
    top: Top,
    /// A hash of the types, which stands for them in comparisons: one of two stacks that go on side by side
    /// through two bodies would cost their height each time. The keys are the process's secret, so that no
    /// body can be made to collide.
    fingerprint: u128,
}

/// An operand's index in its body; it does not take part in comparisons.
#[derive(Clone, Copy, Debug)]
struct Top(u32);

impl PartialEq for Top {
    fn eq(&self, _: &Top) -> bool {
        true
    }
}

impl Eq for Top {}

impl Hash for Top {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl OperandStack {
    /// Nothing.
    pub(crate) const EMPTY: OperandStack = OperandStack { height: 0, top: Top(0), fingerprint: 0 };

    /// Number of operands.
    pub(crate) fn len(self) -> usize {
        self.height as usize
    }
}

/// An operand, with those below it.
#[derive(Clone, Copy, Debug)]
struct Operand {
    ty: ValType,
    below: OperandStack,
}

/// The operands that stacks of a body are made of.
#[derive(Clone, Default, Debug)]
pub(crate) struct OperandStacks {
    operands: Vec<Operand>,
}

impl OperandStacks {
    /// The stack with another operand on it.
    fn push(&mut self, below: OperandStack, ty: ValType) -> OperandStack {
        static KEYS: LazyLock<[RandomState; 2]> =
            LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        let half = |key: &RandomState| u128::from(key.hash_one((below.fingerprint, ty)));
        let top = Top(self.operands.len() as u32);
        self.operands.push(Operand { ty, below });
        let fingerprint = half(&KEYS[0]) << 64 | half(&KEYS[1]);
        OperandStack { height: below.height + 1, top, fingerprint }
    }

    /// The types of a stack of this body, the lowest first.
    pub(crate) fn types(&self, stack: OperandStack) -> Vec<ValType> {
        let mut types = Vec::with_capacity(stack.len());
        let mut rest = stack;
        while rest.height > 0 {
            let operand = self.operands[rest.top.0 as usize];
            types.push(operand.ty);
            rest = operand.below;
        }
        types.reverse();
        types
    }

    /// Number of operands that all stacks together are made of.
    #[cfg(test)]
    pub(crate) fn operands(&self) -> usize {
        self.operands.len()
    }
}

/// Follows the operand stack through a body.
#[derive(Default)]
pub(crate) struct OperandStackBuilder {
    stacks: OperandStacks,
    /// `known[n]`: the stack of the lowest `n + 1` operands. They have not been popped since.
    known: Vec<OperandStack>,
}

impl OperandStackBuilder {
    /// Everything above `height` may have been popped.
    pub(crate) fn popped_to(&mut self, height: usize) {
        self.known.truncate(height);
    }

    /// The stack of the lowest `height` operands; `ty` tells the type of each.
    pub(crate) fn stack(
        &mut self,
        height: usize,
        mut ty: impl FnMut(usize) -> ValType,
    ) -> OperandStack {
        for index in self.known.len()..height {
            let below = self.known.last().copied().unwrap_or(OperandStack::EMPTY);
            self.known.push(self.stacks.push(below, ty(index)));
        }
        height.checked_sub(1).map_or(OperandStack::EMPTY, |top| self.known[top])
    }

    pub(crate) fn finish(self) -> OperandStacks {
        self.stacks
    }
}
