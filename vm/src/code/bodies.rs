//! The bodies that the functions of a module are loaded with.

use wasmparser::ValidatorResources;

/// Where the bodies of the defined functions lie, and what is needed to validate them.
#[derive(Default)]
pub(crate) struct Bodies {
    /// Start and length of each.
    pub(crate) ranges: Vec<(u32, u32)>,
    /// Bytes of all.
    pub(crate) total: u64,
    /// Present if there are any.
    pub(crate) resources: Option<ValidatorResources>,
}
