//! Code objects and their tables.

/// Everything about a piece of compiled code but its address.
#[derive(Debug, Clone)]
pub struct CodeDescription {
    /// Machine code without relocations.
    pub bytes: Vec<u8>,
}
/// Published code.
#[derive(Debug)]
pub struct CodeObject {}
