//! Where frames lie among all frames of a stack.

use std::cmp::Ordering;

/// A place among the frames of a stack. Ordered from the innermost outwards.
///
/// The frames of one [`StackContext`](crate::StackContext) may lie on several native stacks: a callout is free to
/// switch to another one and to call managed code there. Addresses say what is further out only among frames
/// that were entered by one and the same call from Rust; and of two such calls the later one is further in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Position {
    /// How many calls from Rust into managed code were under way, this one among them.
    pub(crate) entries: usize,
    pub(crate) address: usize,
}

impl Ord for Position {
    fn cmp(&self, other: &Position) -> Ordering {
        other.entries.cmp(&self.entries).then(self.address.cmp(&other.address))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
