//! Which slots locals are in. A vector has two, so that behind it a local's number is not its slot's.

use crate::types::ValType;

/// The slots of a body's locals, counted from the first.
#[derive(Default)]
pub(super) struct LocalSlots {
    count: usize,
    /// The first slot of each local. Empty if none is a vector.
    first: Vec<u32>,
}

impl LocalSlots {
    /// Appends so many locals of a type.
    pub(super) fn push(&mut self, count: usize, ty: ValType) {
        let slots = ty.kind().slots();
        if slots > 1 && self.first.is_empty() {
            self.first.extend(0..self.count as u32);
        }
        if slots > 1 || !self.first.is_empty() {
            let firsts = (0..count).map(|i| (self.count + i * slots) as u32);
            self.first.extend(firsts);
        }
        // Validation allows 50,000.
        self.count = self.count.saturating_add(count.saturating_mul(slots));
    }

    /// How many slots there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether a local is a vector.
    pub(super) fn has_vectors(&self) -> bool {
        !self.first.is_empty()
    }

    /// The first slot of a local.
    pub(super) fn first(&self, local: u32) -> u32 {
        self.first.get(local as usize).copied().unwrap_or(local)
    }

    /// Whether a local is a vector.
    pub(super) fn is_vector(&self, local: u32) -> bool {
        let local = local as usize;
        let Some(&first) = self.first.get(local) else { return false };
        let end = self.first.get(local + 1).map_or(self.count, |&next| next as usize);
        end - first as usize > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_vectors_a_local_is_in_the_slot_of_its_number() {
        let mut slots = LocalSlots::default();
        slots.push(2, ValType::I32);
        slots.push(3, ValType::F64);
        assert_eq!(slots.count(), 5);
        assert!(slots.first.is_empty());
        assert_eq!((slots.first(4), slots.is_vector(4)), (4, false));
    }

    #[test]
    fn locals_behind_vectors_move_up() {
        let mut slots = LocalSlots::default();
        slots.push(2, ValType::I32);
        slots.push(2, ValType::V128);
        slots.push(1, ValType::I64);
        slots.push(1, ValType::V128);
        assert_eq!((0..6).map(|local| slots.first(local)).collect::<Vec<_>>(), [0, 1, 2, 4, 6, 7]);
        assert_eq!(
            (0..6).map(|local| slots.is_vector(local)).collect::<Vec<_>>(),
            [false, false, true, true, false, true]
        );
        assert_eq!(slots.count(), 9);
    }
}
