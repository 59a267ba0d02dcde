//! The operand stack during lowering: operands are not computed into place until they have to be.

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    /// In its own temporary.
    Temp,
    /// Equal to this slot of the locals, which has not been set since.
    Local(u32),
    /// A constant: the bits of its slot.
    Const(u64),
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    operand: Operand,
    /// If this entry is in the list of a local: which local, and the next entry of the list.
    listed: Option<(u32, u32)>,
}

/// The operands, bottom first. Entry `i` belongs to temporary `i`. A vector is two entries, the low half
/// below the high one.
///
/// Entries that are equal to a local's slot are in a list of that slot, from the top down, so that
/// setting it finds them without a search.
pub(super) struct OperandStack {
    entries: Vec<Entry>,
    lists: Vec<u32>,
    /// The entries that are the low halves of vectors, ascending.
    vectors: Vec<u32>,
    has_had_vectors: bool,
    /// All entries below are in their temporaries.
    settled: usize,
    max_height: usize,
}

impl OperandStack {
    /// No operands. `locals` are the slots of the locals.
    pub(super) fn new(locals: usize) -> OperandStack {
        OperandStack {
            entries: Vec::new(),
            lists: vec![NONE; locals],
            vectors: Vec::new(),
            has_had_vectors: false,
            settled: 0,
            max_height: 0,
        }
    }

    pub(super) fn height(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn max_height(&self) -> usize {
        self.max_height
    }

    /// Pushes an operand and answers its temporary.
    pub(super) fn push(&mut self, operand: Operand) -> usize {
        let index = self.entries.len();
        let listed = if let Operand::Local(local) = operand {
            let next = std::mem::replace(&mut self.lists[local as usize], index as u32);
            Some((local, next))
        } else {
            None
        };
        self.entries.push(Entry { operand, listed });
        self.max_height = self.max_height.max(index + 1);
        index
    }

    /// Pushes the halves of a vector and answers the first temporary.
    pub(super) fn push_vector(&mut self, low: Operand, high: Operand) -> usize {
        let index = self.push(low);
        self.vectors.push(index as u32);
        self.has_had_vectors = true;
        self.push(high);
        index
    }

    /// Whether an operand is a vector, or was one.
    pub(super) fn has_had_vectors(&self) -> bool {
        self.has_had_vectors
    }

    /// Whether the topmost two operands are a vector.
    pub(super) fn is_top_vector(&self) -> bool {
        self.vectors.last().is_some_and(|&low| low as usize + 2 == self.entries.len())
    }

    /// Pops the top operand; its temporary is the new height.
    pub(super) fn pop(&mut self) -> Operand {
        let entry = self.entries.pop();
        let Entry { operand, listed } = entry.expect("a valid body does not underflow its stack");
        if let Some((local, next)) = listed {
            self.lists[local as usize] = next;
        }
        let height = self.entries.len();
        self.settled = self.settled.min(height);
        if self.vectors.last().is_some_and(|&low| low as usize >= height) {
            self.vectors.pop();
        }
        operand
    }

    /// Which entries from `height` on are the low halves of vectors.
    pub(super) fn vectors_from(&self, height: usize) -> Vec<u32> {
        let first = self.vectors.partition_point(|&low| (low as usize) < height);
        self.vectors[first..].to_vec()
    }

    /// Pushes temporaries up to `height`; these entries are the low halves of vectors.
    pub(super) fn push_temps_up_to(&mut self, height: usize, vectors: &[u32]) {
        while self.height() < height {
            if vectors.binary_search(&(self.height() as u32)).is_ok() {
                self.push_vector(Operand::Temp, Operand::Temp);
            } else {
                self.push(Operand::Temp);
            }
        }
    }

    pub(super) fn get(&self, index: usize) -> Operand {
        self.entries[index].operand
    }

    /// The operand is in its temporary from now on.
    pub(super) fn settle(&mut self, index: usize) {
        self.entries[index].operand = Operand::Temp;
    }

    /// Whether an operand is equal to this local.
    pub(super) fn is_pending(&self, local: u32) -> bool {
        self.lists[local as usize] != NONE
    }

    /// Takes the operands that are equal to `local` out of its list, one by one: each is in its
    /// temporary from now on.
    pub(super) fn take_pending(&mut self, local: u32) -> Option<usize> {
        loop {
            let index = self.lists[local as usize];
            if index == NONE {
                return None;
            }
            let entry = &mut self.entries[index as usize];
            let (_, next) = entry.listed.take().expect("listed entries know their list");
            self.lists[local as usize] = next;
            if entry.operand == Operand::Local(local) {
                entry.operand = Operand::Temp;
                return Some(index as usize);
            }
        }
    }

    /// All operands below are in their temporaries.
    pub(super) fn first_unsettled(&self) -> usize {
        self.settled
    }

    /// The operands below `height` that may not be in their temporaries; the caller settles them.
    pub(super) fn unsettled(&mut self, height: usize) -> std::ops::Range<usize> {
        let range = self.settled..height;
        self.settled = self.settled.max(height);
        range
    }

    /// Drops operands down to `height`.
    pub(super) fn truncate(&mut self, height: usize) {
        while self.entries.len() > height {
            self.pop();
        }
    }
}
