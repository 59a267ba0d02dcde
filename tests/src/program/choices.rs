//! The choices that random bytes stand for.

use super::{Signature, TYPES};
use arbitrary::Unstructured;

/// Random choices; when the bytes are used up, always the first and simplest.
pub(super) struct Choices<'a>(pub(super) Unstructured<'a>);

impl Choices<'_> {
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    pub(super) fn number(&mut self) -> i64 {
        match self.below(4) {
            0 => i64::from(self.below(10)),
            1 => i64::from(self.0.arbitrary::<i8>().unwrap_or(0)),
            2 => self.0.arbitrary().unwrap_or(0),
            _ => i64::MIN >> self.below(64),
        }
    }

    pub(super) fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u32) as usize].clone()
    }

    pub(super) fn signature(&mut self, most: u32) -> Signature {
        let mut list = |most| {
            let count = self.below(most);
            (0..count).map(|_| self.of(&TYPES)).collect()
        };
        Signature { params: list(most + 1), results: list(most) }
    }
}
