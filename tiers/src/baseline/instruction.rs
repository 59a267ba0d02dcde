//! Reading lowered code.

use crate::interp::op::Op;

/// An instruction of lowered code.
#[derive(Clone, Copy)]
pub(super) struct Instruction<'a> {
    code: &'a [u8],
    pub(super) op: Op,
    /// Offset of its first byte.
    pub(super) at: usize,
}

impl<'a> Instruction<'a> {
    /// The one that begins at this offset.
    #[inline]
    pub(super) fn read(code: &'a [u8], at: usize) -> Instruction<'a> {
        let handler = u64::from_le_bytes(code[at..at + 8].try_into().expect("8 bytes"));
        Instruction { code, op: Op::of_handler(handler), at }
    }

    /// The offset behind it.
    #[inline]
    pub(super) fn end(&self) -> usize {
        let table = if self.op == Op::br_table { self.uint(10) as usize * 4 } else { 0 };
        self.at + self.op.size() + table
    }

    /// The one that stands behind it.
    pub(super) fn next(&self) -> Option<Instruction<'a>> {
        let end = self.end();
        (end < self.code.len()).then(|| Instruction::read(self.code, end))
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.code[self.at..self.end()]
    }

    /// The slot that the operand at this byte of the instruction names with 16 bits.
    #[inline]
    pub(super) fn slot(&self, at: usize) -> i32 {
        let at = self.at + at;
        i16::from_le_bytes(self.code[at..at + 2].try_into().expect("2 bytes")).into()
    }

    /// An immediate, or a slot that is named with 32 bits.
    #[inline]
    pub(super) fn int(&self, at: usize) -> i32 {
        self.uint(at) as i32
    }

    #[inline]
    pub(super) fn uint(&self, at: usize) -> u32 {
        let at = self.at + at;
        u32::from_le_bytes(self.code[at..at + 4].try_into().expect("4 bytes"))
    }

    #[inline]
    pub(super) fn quad(&self, at: usize) -> u64 {
        let at = self.at + at;
        u64::from_le_bytes(self.code[at..at + 8].try_into().expect("8 bytes"))
    }

    /// The offset of the instruction that the branch offset at this byte leads to.
    #[inline]
    pub(super) fn target(&self, at: usize) -> u32 {
        ((self.at + at) as i32 + self.int(at)) as u32
    }

    /// All instructions that it branches to.
    pub(super) fn targets(&self) -> impl Iterator<Item = u32> + 'a {
        let this = *self;
        let size = self.op.size();
        let (first, count) = match self.op {
            Op::br_table => (size, self.uint(10) as usize),
            op if op.layout().as_bytes().last() == Some(&b'b') => (size - 4, 1),
            _ => (size, 0),
        };
        (0..count).map(move |i| this.target(first + i * 4))
    }

    /// The slots whose values it reads, of a vector both. (What it reads ranges of begins elsewhere in its operands.)
    pub(super) fn sources(&self) -> impl Iterator<Item = i32> + 'a {
        self.slots(b's', b'v')
    }

    /// The slots that it writes; see [`Instruction::writes_ranges`].
    pub(super) fn destinations(&self) -> impl Iterator<Item = i32> + 'a {
        self.slots(b'd', b'V')
    }

    /// The leading slots of these kinds.
    fn slots(&self, scalar: u8, vector: u8) -> impl Iterator<Item = i32> + 'a {
        let this = *self;
        let leading = self.op.layout().bytes().take_while(|kind| b"dsVv".contains(kind));
        leading.enumerate().flat_map(move |(operand, kind)| {
            let count = if kind == vector { 2 } else { i32::from(kind == scalar) };
            let slot = this.slot(8 + operand * 2);
            slot..slot + count
        })
    }

    /// Whether it may write other slots than its destinations: it copies a range, or calls something.
    pub(super) fn writes_ranges(&self) -> bool {
        let layout = self.op.layout().as_bytes();
        let behind = layout.iter().skip_while(|kind| b"dsVv".contains(kind));
        layout.iter().any(|kind| b"DS".contains(kind)) || behind.clone().any(|kind| *kind == b's')
    }

    /// Whether control does not go on behind it.
    pub(super) fn is_last(&self) -> bool {
        use Op::*;
        matches!(
            self.op,
            unreachable
                | br
                | br_table
                | return0
                | return1
                | return1_imm
                | return_span
                | throw
                | throw_ref
                | return_call
                | return_call_far
                | return_call_import
                | return_call_import_far
                | return_call_indirect
                | return_call_indirect_far
                | return_call_ref
                | return_call_ref_far
        )
    }
}
