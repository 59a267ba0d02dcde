//! Frame maps: for one call or poll site of one code object, where each value of the canonical
//! frame lies while the frame is suspended there.

/// How a value is represented in a canonical frame.
///
/// Every kind but `V128` takes one 64-bit slot; `V128` takes two, low half first. A value narrower
/// than its slot has *undefined* upper bits in machine locations; capturing normalises them to 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ValueKind {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float, as its bits.
    F32,
    /// 64-bit float, as its bits.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference: 64 bits that a collector may have to update.
    Ref,
}

impl ValueKind {
    /// Number of 64-bit slots.
    pub const fn slots(self) -> usize {
        match self {
            ValueKind::V128 => 2,
            _ => 1,
        }
    }

    /// The bits of a slot that carry the value.
    pub const fn mask(self) -> u64 {
        match self {
            ValueKind::I32 | ValueKind::F32 => 0xffff_ffff,
            _ => u64::MAX,
        }
    }
}

/// Where a value lies while its frame is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// Not live: nothing reads it again. Captured as zero.
    Dead,
    /// Known at compile time (low half for `V128`; the high half is then zero).
    Const(u64),
    /// General register, by hardware number.
    Gpr(u8),
    /// Vector register, by hardware number.
    Xmm(u8),
    /// Bytes above the stack pointer at the site, that is the stack pointer's value right after
    /// the call returned.
    Sp(u32),
}

/// A value of the canonical frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameValue {
    /// Representation.
    pub kind: ValueKind,
    /// Location at the site.
    pub location: Location,
}

/// What a site is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteKind {
    /// An ordinary call: on return its results are in the return registers or the result buffer.
    Call,
    /// A poll in a cold block: it returns nothing and preserves every register.
    Poll,
}

/// The frame map of one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameMap {
    /// Call or poll.
    pub kind: SiteKind,
    /// The language's name for the place, e.g. a bytecode offset.
    pub point: u32,
    /// Where the context pointer lies.
    pub context: Location,
    /// The frame's values in the order that the language gave them.
    pub values: Box<[FrameValue]>,
}
