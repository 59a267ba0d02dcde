//! Slots of values: a vector has two.

use midair_tiers::types::ValType;

/// The slots of a vector.
pub(crate) fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}

/// The vector in two slots.
pub(crate) fn vector([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Slots of values one behind the other, of which each is read or written as a whole.
pub(crate) struct SlotCursor<S>(pub(crate) S);

impl<S> SlotCursor<S> {
    /// The slots of the next value, of this type; the second is 0 unless it is a vector.
    pub(crate) fn next<'a>(&mut self, ty: ValType) -> [u64; 2]
    where
        S: Iterator<Item = &'a u64>,
    {
        let mut slot = || self.0.next().copied().expect("there are slots for each value");
        let low = slot();
        [low, if ty.kind().slots() > 1 { slot() } else { 0 }]
    }

    /// Writes the slots of the next value, of this type.
    pub(crate) fn put<'a>(&mut self, [low, high]: [u64; 2], ty: ValType)
    where
        S: Iterator<Item = &'a mut u64>,
    {
        let mut put = |bits| *self.0.next().expect("there are slots for each value") = bits;
        put(low);
        if ty.kind().slots() > 1 {
            put(high);
        }
    }
}
