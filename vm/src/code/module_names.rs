//! What code knows of the module that it is the code of: how people call it.

use std::any::Any;

/// The module of some code.
pub(crate) trait ModuleNames: Any + Send + Sync {
    fn name(&self) -> Option<&str>;

    fn function_name(&self, function: u32) -> Option<&str>;
}
