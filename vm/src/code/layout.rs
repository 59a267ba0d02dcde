//! How the slots of a canonical frame are laid out anew for another body.

use std::sync::Arc;

/// Where a slot of a new frame comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Slot {
    /// Slot of the old canonical frame: its locals, then its operands.
    Old(u32),
    /// These bits.
    Const(u64),
}

/// From the canonical slots of a frame of one body to those of a frame of another.
///
/// A canonical frame is the slots of all locals and then those of the operands. Behind these may lie the
/// results of the call at which the frame was suspended, which stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub(crate) struct Layout {
    /// Slots of all locals of the old frame.
    old_locals: u32,
    /// Slots of the new frame's locals.
    locals: Box<[Slot]>,
    /// `None`: the operands are those of the old frame.
    operands: Option<Operands>,
}

/// Operands that are not those of the old frame.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
struct Operands {
    /// Slots of the old frame's operands.
    old: u32,
    new: Box<[Slot]>,
}

impl Layout {
    /// A frame with these locals, and the operands that it had.
    pub(crate) fn new(old_locals: usize, locals: impl IntoIterator<Item = Slot>) -> Layout {
        Layout {
            old_locals: old_locals as u32,
            locals: locals.into_iter().collect(),
            operands: None,
        }
    }

    /// The same, with other operands; the old frame has `old` slots of them.
    pub(crate) fn with_operands(
        mut self,
        old: usize,
        operands: impl IntoIterator<Item = Slot>,
    ) -> Layout {
        let new = operands.into_iter().collect();
        self.operands = Some(Operands { old: old as u32, new });
        self
    }

    /// Frames of two bodies with the same locals: nothing changes.
    pub(crate) fn identity(locals: usize) -> Layout {
        Layout::new(locals, (0..locals as u32).map(Slot::Old))
    }

    /// Whether frames stay as they are.
    fn is_identity(&self) -> bool {
        let stays = |(i, slot): (usize, &Slot)| *slot == Slot::Old(i as u32);
        self.operands.is_none()
            && self.locals.len() == self.old_locals as usize
            && self.locals.iter().enumerate().all(stays)
    }

    /// The canonical slots of a frame, laid out for the new body.
    pub(crate) fn apply(&self, old: &[u64]) -> Vec<u64> {
        let value = |slot: &Slot| match *slot {
            Slot::Old(slot) => old[slot as usize],
            Slot::Const(bits) => bits,
        };
        let mut values = Vec::with_capacity(self.locals.len() + old.len());
        values.extend(self.locals.iter().map(value));
        match &self.operands {
            None => values.extend_from_slice(&old[self.old_locals as usize..]),
            Some(operands) => {
                values.extend(operands.new.iter().map(value));
                values.extend_from_slice(&old[(self.old_locals + operands.old) as usize..]);
            }
        }
        values
    }

    /// This layout, and then another one.
    pub(crate) fn then(&self, next: &Layout) -> Layout {
        debug_assert_eq!(
            self.locals.len(),
            next.old_locals as usize,
            "a frame of the body between"
        );
        let between = self.locals.len() as u32;
        let value = |slot: &Slot| match *slot {
            Slot::Const(bits) => Slot::Const(bits),
            Slot::Old(slot) if slot < between => self.locals[slot as usize],
            Slot::Old(slot) => match &self.operands {
                None => Slot::Old(self.old_locals + (slot - between)),
                Some(operands) => operands.new[(slot - between) as usize],
            },
        };
        let operands = match (&self.operands, &next.operands) {
            (None, None) => None,
            (Some(first), None) => Some(first.clone()),
            // What the frame between has as many of as the old one has.
            (None, Some(then)) => {
                Some(Operands { old: then.old, new: then.new.iter().map(value).collect() })
            }
            (Some(first), Some(then)) => {
                Some(Operands { old: first.old, new: then.new.iter().map(value).collect() })
            }
        };
        Layout {
            old_locals: self.old_locals,
            locals: next.locals.iter().map(value).collect(),
            operands,
        }
    }
}

/// Composes layouts, each pair once.
#[derive(Default)]
pub(crate) struct Compositions {
    known: std::collections::HashMap<(usize, usize), Arc<Layout>>,
}

impl Compositions {
    /// `first`, and then `next`.
    pub(crate) fn of(&mut self, first: &Arc<Layout>, next: &Arc<Layout>) -> Arc<Layout> {
        if next.is_identity() {
            return first.clone();
        }
        let key = (Arc::as_ptr(first) as usize, Arc::as_ptr(next) as usize);
        self.known.entry(key).or_insert_with(|| Arc::new(first.then(next))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(limit: u32) -> impl Strategy<Value = Slot> {
        prop_oneof![(0..limit).prop_map(Slot::Old), any::<u64>().prop_map(Slot::Const)]
    }

    /// A layout of frames of `locals` and `operands` slots, and the sizes of the frames that it makes.
    fn layout(locals: u32, operands: u32) -> impl Strategy<Value = (Layout, u32, u32)> {
        let slots = || proptest::collection::vec(slot(locals + operands), 0..6);
        (slots(), proptest::option::of(slots())).prop_map(move |(new_locals, new_operands)| {
            let count = new_locals.len() as u32;
            let layout = Layout::new(locals as usize, new_locals);
            match new_operands {
                None => (layout, count, operands),
                Some(new) => {
                    let height = new.len() as u32;
                    (layout.with_operands(operands as usize, new), count, height)
                }
            }
        })
    }

    proptest! {
        #[test]
        fn a_composition_does_what_its_parts_do_one_after_the_other(
            ((first, second), results) in (1u32..5, 1u32..5)
                .prop_flat_map(|(locals, operands)| layout(locals, operands)
                    .prop_filter("slots to refer to", |(_, locals, operands)| locals + operands > 0)
                    .prop_flat_map(move |(first, between, height)| {
                        layout(between, height).prop_map(move |(second, ..)| {
                            ((locals, operands, first.clone()), second)
                        })
                    }))
                .prop_flat_map(|parts| (Just(parts), 0u64..3))
        ) {
            let (locals, operands, first) = first;
            let old: Vec<u64> =
                (0..u64::from(locals + operands) + results).map(|i| 1_000 + i).collect();
            let both = first.then(&second);
            prop_assert_eq!(both.apply(&old), second.apply(&first.apply(&old)));
        }
    }

    #[test]
    fn new_locals_start_at_zero_behind_the_old_ones() {
        let wider = Layout::new(1, [Slot::Old(0), Slot::Const(0)]);
        assert_eq!(wider.apply(&[7, 8]), [7, 0, 8]);
        let narrower = Layout::new(2, [Slot::Old(0)]);
        assert_eq!(narrower.apply(&[7, 1, 8]), [7, 8]);
        assert_eq!(Layout::identity(2).apply(&[7, 1, 8]), [7, 1, 8]);
    }
}
