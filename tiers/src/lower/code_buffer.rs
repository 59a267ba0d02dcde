//! The code that lowering writes: instructions, labels, and the last instruction's second thoughts.

use crate::interp::op::Op;
use smallvec::SmallVec;

/// Code under construction.
pub(super) struct CodeBuffer {
    bytes: Vec<u8>,
    /// The last instruction, if nothing can jump behind it.
    last: Option<Last>,
    /// `(offset, point, op)` of each instruction, if asked for.
    record: Option<Vec<(u32, u32, Op)>>,
    /// Point of the operator that is being lowered.
    point: u32,
    #[cfg(debug_assertions)]
    expected: &'static str,
}

/// The last instruction of the code.
#[derive(Clone, Copy)]
struct Last {
    op: Op,
    start: usize,
}

/// A place in the code that branches lead to.
///
/// Until it is bound, the branch offsets that wait for it form a list: each holds the position of the
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Not bound; the position of the last branch offset that waits for it.
    Waiting(Option<u32>),
    /// Bound to this offset.
    Bound(u32),
}

impl Label {
    pub(super) const NEW: Label = Label::Waiting(None);

    /// Whether a branch leads here.
    pub(super) fn is_used(self) -> bool {
        self != Label::NEW
    }
}

/// An instruction that was taken back.
pub(super) struct TakenBack {
    op: Op,
    bytes: SmallVec<[u8; 32]>,
    point: u32,
}

/// Position of an instruction's first operand.
const OPERANDS: usize = crate::interp::machine::OPERANDS;
/// What ends a list of waiting branch offsets.
const END: i32 = -1;

impl CodeBuffer {
    pub(super) fn new(capacity: usize, record: bool) -> CodeBuffer {
        CodeBuffer {
            bytes: Vec::with_capacity(capacity),
            last: None,
            record: record.then(Vec::new),
            point: 0,
            #[cfg(debug_assertions)]
            expected: "",
        }
    }

    pub(super) fn at_point(&mut self, point: u32) {
        self.point = point;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_recording(&self) -> bool {
        self.record.is_some()
    }

    pub(super) fn finish(self) -> (Vec<u8>, Vec<(u32, u32, Op)>) {
        (self.bytes, self.record.unwrap_or_default())
    }

    /// Starts an instruction; its operands have to follow in the order of its layout.
    pub(super) fn op(&mut self, op: Op) -> &mut Self {
        self.expect_end();
        let start = self.bytes.len();
        self.last = Some(Last { op, start });
        if let Some(record) = &mut self.record {
            record.push((start as u32, self.point, op));
        }
        self.bytes.extend_from_slice(&(op.handler() as usize).to_le_bytes());
        #[cfg(debug_assertions)]
        {
            self.expected = op.layout();
        }
        self
    }

    pub(super) fn slot(&mut self, slot: i16) -> &mut Self {
        self.expect("ds");
        self.bytes.extend_from_slice(&slot.to_le_bytes());
        self
    }

    pub(super) fn imm(&mut self, imm: i32) -> &mut Self {
        self.expect("i");
        self.bytes.extend_from_slice(&imm.to_le_bytes());
        self
    }

    pub(super) fn uint(&mut self, uint: u32) -> &mut Self {
        self.expect("u");
        self.bytes.extend_from_slice(&uint.to_le_bytes());
        self
    }

    pub(super) fn quad(&mut self, quad: u64) -> &mut Self {
        self.expect("q");
        self.bytes.extend_from_slice(&quad.to_le_bytes());
        self
    }

    /// A branch offset to `label`.
    pub(super) fn branch(&mut self, label: &mut Label) -> &mut Self {
        self.expect("b");
        self.branch_entry(label);
        self
    }

    /// A branch offset behind the operands proper, as in a branch table.
    pub(super) fn branch_entry(&mut self, label: &mut Label) {
        let position = self.bytes.len();
        let offset = match label {
            Label::Bound(target) => *target as i32 - position as i32,
            Label::Waiting(head) => {
                let next = head.replace(position as u32);
                next.map_or(END, |position| position as i32)
            }
        };
        self.bytes.extend_from_slice(&offset.to_le_bytes());
    }

    /// Binds `label` here.
    pub(super) fn bind(&mut self, label: &mut Label) {
        self.expect_end();
        let here = self.bytes.len() as u32;
        if let Label::Waiting(head) = *label {
            let mut next = head.map_or(END, |position| position as i32);
            while next != END {
                let position = next as usize;
                let field: &mut [u8] = &mut self.bytes[position..position + 4];
                next = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
                field.copy_from_slice(&(here as i32 - position as i32).to_le_bytes());
            }
        }
        *label = Label::Bound(here);
        self.last = None;
    }

    /// The last instruction, if its result goes to `slot`.
    pub(super) fn last_result(&self, slot: i16) -> Option<Op> {
        let last = self.last?;
        let has_result = last.op.layout().as_bytes().first() == Some(&b'd');
        (has_result && self.slot_at(last.start + OPERANDS) == slot).then_some(last.op)
    }

    /// Lets the last instruction put its result into `slot`.
    pub(super) fn retarget(&mut self, slot: i16) {
        if let Some(last) = self.last.take() {
            let at = last.start + OPERANDS;
            self.bytes[at..at + 2].copy_from_slice(&slot.to_le_bytes());
        }
    }

    /// Takes the last instruction back.
    pub(super) fn take_back(&mut self) -> Option<TakenBack> {
        let last = self.last.take()?;
        let bytes = SmallVec::from_slice(&self.bytes[last.start..]);
        self.bytes.truncate(last.start);
        let mut point = self.point;
        if let Some(record) = &mut self.record {
            point = record.pop().map_or(point, |(_, point, _)| point);
        }
        Some(TakenBack { op: last.op, bytes, point })
    }

    /// Appends an instruction that was taken back.
    pub(super) fn put_back(&mut self, taken: &TakenBack) {
        let start = self.bytes.len();
        self.last = Some(Last { op: taken.op, start });
        if let Some(record) = &mut self.record {
            record.push((start as u32, taken.point, taken.op));
        }
        self.bytes.extend_from_slice(&taken.bytes);
    }

    fn slot_at(&self, at: usize) -> i16 {
        i16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    #[cfg(debug_assertions)]
    fn expect(&mut self, kinds: &str) {
        let mut rest = self.expected.chars();
        let found = rest.next();
        debug_assert!(
            found.is_some_and(|kind| kinds.contains(kind)),
            "operand of kind {kinds} where {found:?} is expected"
        );
        self.expected = rest.as_str();
    }

    #[cfg(debug_assertions)]
    fn expect_end(&mut self) {
        debug_assert_eq!(self.expected, "", "operands are missing");
    }

    #[cfg(not(debug_assertions))]
    fn expect(&mut self, _kinds: &str) {}

    #[cfg(not(debug_assertions))]
    fn expect_end(&mut self) {}
}

impl TakenBack {
    pub(super) fn op(&self) -> Op {
        self.op
    }

    /// The `n`th slot operand of an instruction that starts with slots.
    pub(super) fn slot(&self, n: usize) -> i16 {
        let at = OPERANDS + 2 * n;
        i16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The unsigned immediate behind `slots` slot operands.
    pub(super) fn uint(&self, slots: usize) -> u32 {
        self.imm(slots) as u32
    }

    /// The immediate behind `slots` slot operands.
    pub(super) fn imm(&self, slots: usize) -> i32 {
        let at = OPERANDS + 2 * slots;
        let b = &self.bytes[at..at + 4];
        i32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }
}
