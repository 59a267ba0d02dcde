//! Linking: from modules to instances.
//!
//! ```text
//!   instance  modules whose imports are satisfied
//!   linker    finding imports by name
//! ```

pub(crate) mod instance;
pub(crate) mod linker;
