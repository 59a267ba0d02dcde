//! From Cranelift's compiled code to a code description.

use crate::code_object::CodeDescription;
use crate::frame_map::{SiteKind, ValueKind};
use cranelift_codegen::CompiledCode;
use std::collections::HashMap;

/// Where a value of a site's canonical frame comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteValue {
    /// Not live.
    Dead,
    /// Constant bits.
    Const(u64),
    /// At a call site the `n`th `ExceptionTableItem::Context` of the `try_call`, at a poll site the
    /// `n`th argument of the poll call. Number 0 is the context pointer in both.
    Item(u16),
}

/// A safepoint of the code that was compiled, as its translator described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteDescription {
    /// Call or poll.
    pub kind: SiteKind,
    /// The language's name for the place.
    pub point: u32,
    /// The frame's values, in order.
    pub values: Vec<(ValueKind, SiteValue)>,
}

/// Safepoints by the `SourceLoc` bits that the call instruction carries. No other call at the same
/// source location may have an exception table or be a poll.
pub type Sites = HashMap<u32, SiteDescription>;

/// Why compiled code cannot be described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeError(pub String);

/// Builds the description of a compiled function: bytes, frame maps, trap sites, source locations and
/// clobbered registers. Fails if the code has relocations (managed code reaches everything through its
/// context), if a site has no call, or if the frame is larger than `max_frame` bytes.
pub fn describe(
    code: &CompiledCode,
    sites: &Sites,
    max_frame: u32,
) -> Result<CodeDescription, DescribeError> {
    let _ = (code, sites, max_frame);
    todo!()
}
