//! The bytecode of one version of one function.

use std::sync::Arc;
use wasmparser::Operator;

/// Bytes that many functions share: a mapped file or a buffer.
pub trait ByteSource: Send + Sync {
    /// All bytes.
    fn bytes(&self) -> &[u8];
}

impl ByteSource for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// One immutable version of a function: invariant 2 of the design.
///
/// A *point* of a body is an offset in bytes from the start of the body (the vector of local
/// declarations, right after the body's size): the offset of a call, of a `loop`, or
/// [`FunctionBody::ENTRY`].
#[derive(Clone)]
pub struct FunctionBody {
    source: Arc<dyn ByteSource>,
    start: usize,
    len: usize,
    /// Function index in the module's index space (imports first).
    pub function: u32,
    /// Number of this version: 0 as loaded, counted up by each replacement.
    pub version: u32,
}

impl FunctionBody {
    /// The point of the function's entry. No operator lies there.
    pub const ENTRY: u32 = 0;

    /// The body at `start..start + len` of `source`.
    ///
    /// # Panics
    /// If the range lies outside `source`.
    pub fn new(
        source: Arc<dyn ByteSource>,
        start: usize,
        len: usize,
        function: u32,
        version: u32,
    ) -> FunctionBody {
        assert!(start.checked_add(len).is_some_and(|end| end <= source.bytes().len()));
        FunctionBody { source, start, len, function, version }
    }

    /// The body's bytes: local declarations, then operators.
    pub fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.start..self.start + self.len]
    }

    /// Offset of the body in its module's bytes; `module_offset() + point` is what a person is shown.
    pub fn module_offset(&self) -> usize {
        self.start
    }

    /// A parser over the body whose offsets are points.
    pub fn reader(&self) -> wasmparser::FunctionBody<'_> {
        wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(self.bytes(), 0))
    }
}

impl std::fmt::Debug for FunctionBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "func[{}] version {} ({} bytes)", self.function, self.version, self.len)
    }
}

/// Whether control never goes on to the operator behind this one: it branches, leaves the function, or traps.
pub(crate) fn never_goes_on(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Br { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. }
            | Operator::Unreachable
    )
}
