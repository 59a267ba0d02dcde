//! Linking: from modules to instances.
//!
//! ```text
//!   instance    modules whose imports are satisfied
//!   linker      finding imports by name
//!   error_kind  of which kind any error is
//! ```

mod error_kind;
pub(crate) mod instance;
pub(crate) mod linker;
