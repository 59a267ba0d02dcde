//! The code that lowering writes: instructions, labels, and the last instruction's second thoughts.
//!
//! Instructions name slots with 16 bits. Lowering has slot numbers of 32 bits, and they are narrowed
//! here. If one does not fit, the code is of no use ([`CodeBuffer::has_overflowed`]), and the body is lowered
//! again in the *wide form*: there an instruction that reads or writes a *far* slot names a scratch slot
//! instead, and copies before and behind it go between that and the far one. Where instructions work on
//! vectors that takes two scratch slots for each operand; a body is lowered with so many if they are needed.

use crate::interp::op::Op;
use crate::lowered::frame::{HEADER, SCRATCH, VECTOR_SCRATCH};
use smallvec::SmallVec;

/// Code under construction.
pub(super) struct CodeBuffer {
    bytes: Vec<u8>,
    /// The last instruction, if nothing can jump behind it.
    last: Option<Last>,
    reach: Reach,
    /// A slot was too far off for an instruction.
    overflowed: bool,
    wide: Wide,
    /// `(offset, point, op)` of each instruction, if asked for.
    record: Option<Vec<(u32, u32, Op)>>,
    /// Point of the operator that is being lowered.
    point: u32,
    #[cfg(debug_assertions)]
    expected: &'static str,
}

/// Which slots instructions can name, and what becomes of those that they cannot.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// Slots closer to the header than this are near.
    slots: i32,
    /// Scratch slots; 0 except in the wide form.
    scratch: usize,
}

impl Reach {
    /// What 16 bits can name, or less; at least the header and the scratch slots, of which there are some in the
    /// wide form.
    pub(super) fn new(slots: Option<u16>, scratch: usize) -> Reach {
        const MOST: i32 = 1 << 15;
        let slots = slots.map_or(MOST, |slots| i32::from(slots).min(MOST));
        Reach { slots: slots.max((HEADER + scratch.max(SCRATCH)) as i32), scratch }
    }

    pub(super) fn scratch(self) -> usize {
        self.scratch
    }

    fn is_wide(self) -> bool {
        self.scratch > 0
    }

    /// The scratch slot in place of a far operand: of a vector the first of two.
    fn scratch_slot(self, operand: usize) -> i32 {
        let slots = self.scratch / SCRATCH;
        debug_assert!(operand * slots < self.scratch, "an operand without a scratch slot");
        (HEADER + operand * slots) as i32
    }

    fn is_near(self, slot: i32) -> bool {
        (-self.slots..self.slots).contains(&slot)
    }
}

/// Values of a wide instruction's slots.
type Slots = SmallVec<[i32; SCRATCH]>;

/// The instruction that is being written in the wide form.
#[derive(Default)]
struct Wide {
    /// It, while not all slots that it reads and writes are known.
    op: Option<Op>,
    slots: Slots,
    /// Where the far result of the last instruction goes.
    result: Option<FarResult>,
}

/// A result that goes to a far slot.
#[derive(Clone, Copy)]
struct FarResult {
    slot: i32,
    is_vector: bool,
    /// The instruction's point.
    point: u32,
}

/// The last instruction of the code.
#[derive(Clone, Copy)]
struct Last {
    op: Op,
    start: usize,
    /// Where the copies begin that belong to it.
    from: usize,
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
    /// The slots that its operands begin with.
    slots: Slots,
    /// What follows them.
    rest: SmallVec<[u8; 24]>,
    point: u32,
}

/// How many operands an instruction begins with that are slots whose values it reads or writes.
fn leading_slots(op: Op) -> usize {
    op.layout().bytes().take_while(|kind| matches!(kind, b'd' | b's' | b'V' | b'v')).count()
}

/// Whether the slots of an operand are those of a vector.
fn is_vector(op: Op, operand: usize) -> bool {
    matches!(op.layout().as_bytes()[operand], b'V' | b'v')
}

/// Position of an instruction's first operand.
const OPERANDS: usize = crate::interp::machine::OPERANDS;
/// What ends a list of waiting branch offsets.
const END: i32 = -1;

impl CodeBuffer {
    pub(super) fn new(capacity: usize, reach: Reach, record: bool) -> CodeBuffer {
        CodeBuffer {
            bytes: Vec::with_capacity(capacity),
            last: None,
            reach,
            overflowed: false,
            wide: Wide::default(),
            record: record.then(Vec::new),
            point: 0,
            #[cfg(debug_assertions)]
            expected: "",
        }
    }

    pub(super) fn at_point(&mut self, point: u32) {
        self.point = point;
    }

    /// Whether a slot was named that instructions cannot name, or, in the wide form, scratch slots were missing
    /// for vectors.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether instructions name `slot` only by a detour.
    pub(super) fn is_far(&self, slot: i32) -> bool {
        self.reach.is_wide() && !self.reach.is_near(slot)
    }

    /// Offset of the next instruction.
    pub(super) fn len(&self) -> usize {
        debug_assert!(self.wide.result.is_none(), "an instruction is not complete");
        self.bytes.len()
    }

    pub(super) fn is_recording(&self) -> bool {
        self.record.is_some()
    }

    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<(u32, u32, Op)>) {
        self.copy_result();
        (self.bytes, self.record.unwrap_or_default())
    }

    /// Starts an instruction; its operands have to follow in the order of its layout.
    pub(super) fn op(&mut self, op: Op) -> &mut Self {
        self.expect_end();
        #[cfg(debug_assertions)]
        {
            self.expected = op.layout();
        }
        if !self.reach.is_wide() {
            self.start(op, self.bytes.len());
            return self;
        }
        self.copy_result();
        self.wide.slots.clear();
        if leading_slots(op) == 0 {
            self.start(op, self.bytes.len());
        } else {
            self.wide.op = Some(op);
        }
        self
    }

    /// Writes an instruction's handler. The copies that belong to it begin at `from`.
    fn start(&mut self, op: Op, from: usize) {
        let start = self.bytes.len();
        self.last = Some(Last { op, start, from });
        self.write_handler(op, self.point);
    }

    fn write_handler(&mut self, op: Op, point: u32) {
        if let Some(record) = &mut self.record {
            record.push((self.bytes.len() as u32, point, op));
        }
        self.bytes.extend_from_slice(&(op.handler() as usize).to_le_bytes());
    }

    /// A slot whose value is read or written, or where a range of slots begins.
    pub(super) fn slot(&mut self, slot: i32) -> &mut Self {
        self.expect("dsVv");
        if let Some(op) = self.wide.op {
            self.wide.slots.push(slot);
            if self.wide.slots.len() == leading_slots(op) {
                self.wide.op = None;
                self.start_wide(op);
            }
            return self;
        }
        self.overflowed |= !self.reach.is_near(slot);
        self.bytes.extend_from_slice(&(slot as i16).to_le_bytes());
        self
    }

    /// Writes an instruction with its slots, behind copies of the far ones that it reads.
    #[cold]
    fn start_wide(&mut self, op: Op) {
        let from = self.bytes.len();
        let slots = self.wide.slots.clone();
        let has_vectors = (0..slots.len()).any(|operand| is_vector(op, operand));
        if has_vectors && self.reach.scratch < VECTOR_SCRATCH {
            self.overflowed = true;
        }
        let is_result = |operand: usize| matches!(op.layout().as_bytes()[operand], b'd' | b'V');
        for (operand, &slot) in slots.iter().enumerate() {
            if !is_result(operand) && self.is_far(slot) {
                let scratch = self.reach.scratch_slot(operand);
                self.copy_far(scratch, slot, is_vector(op, operand), self.point);
            }
        }
        self.start(op, from);
        for (operand, &slot) in slots.iter().enumerate() {
            let is_far = self.is_far(slot);
            if is_far && is_result(operand) {
                let (is_vector, point) = (is_vector(op, operand), self.point);
                self.wide.result = Some(FarResult { slot, is_vector, point });
            }
            let named = if is_far { self.reach.scratch_slot(operand) } else { slot };
            self.bytes.extend_from_slice(&(named as i16).to_le_bytes());
        }
    }

    fn copy_far(&mut self, to: i32, from: i32, is_vector: bool, point: u32) {
        for half in 0..1 + i32::from(is_vector) {
            self.write_handler(Op::copy_far, point);
            self.bytes.extend_from_slice(&(to + half).to_le_bytes());
            self.bytes.extend_from_slice(&(from + half).to_le_bytes());
        }
    }

    /// Completes the last instruction, if its result goes to a far slot.
    fn copy_result(&mut self) {
        if let Some(FarResult { slot, is_vector, point }) = self.wide.result.take() {
            self.copy_far(slot, self.reach.scratch_slot(0), is_vector, point);
        }
    }

    /// A slot as 32 bits.
    pub(super) fn far_slot(&mut self, slot: i32) -> &mut Self {
        self.expect("DS");
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
        self.copy_result();
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
    pub(super) fn last_result(&self, slot: i32) -> Option<Op> {
        let last = self.last?;
        let has_result = last.op.layout().as_bytes().first() == Some(&b'd');
        (has_result && self.last_slot(&last, 0) == slot).then_some(last.op)
    }

    /// Whether the last instruction's result is a vector that goes to `slot` and the one behind it.
    pub(super) fn last_result_is_vector(&self, slot: i32) -> bool {
        self.last.is_some_and(|last| {
            let has_result = last.op.layout().as_bytes().first() == Some(&b'V');
            has_result && self.last_slot(&last, 0) == slot
        })
    }

    /// The `n`th of the slots that the last instruction begins with.
    fn last_slot(&self, last: &Last, n: usize) -> i32 {
        if self.reach.is_wide() {
            return self.wide.slots[n];
        }
        let at = last.start + OPERANDS + 2 * n;
        i16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]).into()
    }

    /// Lets the last instruction put its result into `slot`.
    pub(super) fn retarget(&mut self, slot: i32) {
        if let Some(last) = self.last.take() {
            let at = last.start + OPERANDS;
            let is_far = self.is_far(slot);
            let named = if is_far { self.reach.scratch_slot(0) } else { slot };
            let (is_vector, point) = (is_vector(last.op, 0), self.point);
            self.wide.result = is_far.then_some(FarResult { slot, is_vector, point });
            self.overflowed |= !self.reach.is_near(named);
            self.bytes[at..at + 2].copy_from_slice(&(named as i16).to_le_bytes());
        }
    }

    /// Takes the last instruction back.
    pub(super) fn take_back(&mut self) -> Option<TakenBack> {
        let last = self.last.take()?;
        let slots =
            (0..leading_slots(last.op)).map(|n| self.last_slot(&last, n)).collect::<Slots>();
        let rest = SmallVec::from_slice(&self.bytes[last.start + OPERANDS + 2 * slots.len()..]);
        self.bytes.truncate(last.from);
        self.wide.result = None;
        let mut point = self.point;
        if let Some(record) = &mut self.record {
            while let Some(&(offset, at, _)) = record.last()
                && offset as usize >= last.from
            {
                point = at;
                record.pop();
            }
        }
        Some(TakenBack { op: last.op, slots, rest, point })
    }

    /// Appends an instruction that was taken back.
    pub(super) fn put_back(&mut self, taken: &TakenBack) {
        let point = std::mem::replace(&mut self.point, taken.point);
        self.op(taken.op);
        for &slot in &taken.slots {
            self.slot(slot);
        }
        self.bytes.extend_from_slice(&taken.rest);
        self.point = point;
        #[cfg(debug_assertions)]
        {
            self.expected = "";
        }
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
    pub(super) fn slot(&self, n: usize) -> i32 {
        self.slots[n]
    }

    /// The first immediate behind the slots.
    pub(super) fn imm(&self) -> i32 {
        i32::from_le_bytes([self.rest[0], self.rest[1], self.rest[2], self.rest[3]])
    }
}
