//! Of which kind an error is, whatever it is made of.

use super::linker::UnlinkedImports;
use crate::live::module_diff::refusal::ModuleRefused;
use crate::live::references::StillReferred;
use crate::store::exceptions::Exception;
use crate::store::memory::MemoryAccessError;
use crate::types::error::{ErrorKind, Failure};
use crate::types::trap::Trap;
use anyhow::Error;
use midair_osr::{CodeHeapError, OtherProcess, ShadowStackActive};
use midair_tiers::compile::CompileError;
use midair_tiers::lower::LowerError;

impl ErrorKind {
    /// What kind of thing has gone wrong, for an error that something of this crate has returned. Texts may change;
    /// kinds do not, but a version may say [`Other`](ErrorKind::Other) of what a later one has a name for.
    ///
    /// ```
    /// use midair::{Engine, ErrorKind, Instance, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let kind = |text: &str| Module::new(&engine, text).map_err(|error| ErrorKind::of(&error));
    /// assert_eq!(kind("(module").unwrap_err(), ErrorKind::Invalid);
    /// assert_eq!(kind("(module (func (result i32)))").unwrap_err(), ErrorKind::Invalid);
    ///
    /// let module = Module::new(&engine, r#"(module (import "a" "b" (memory 1)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let error = Linker::new(&engine).instantiate(&mut store, &module).unwrap_err();
    /// assert_eq!(ErrorKind::of(&error), ErrorKind::Link);
    ///
    /// let module = Module::new(&engine, r#"(module (func (export "f") unreachable))"#)?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    /// assert_eq!(ErrorKind::of(&f.call(&mut store, ()).unwrap_err()), ErrorKind::Trap);
    /// assert_eq!(ErrorKind::of(&midair::Error::msg("mine")), ErrorKind::Other);
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn of(error: &Error) -> ErrorKind {
        // First what it was given as a context, which is not in the chain under its own type.
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.kind();
        }
        if error.is::<Trap>() {
            return ErrorKind::Trap;
        }
        if error.is::<Exception>() {
            return ErrorKind::Exception;
        }
        error.chain().find_map(known).unwrap_or(ErrorKind::Other)
    }
}

/// The kind of an error of a type that says it.
fn known(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.kind());
    }
    if let Some(error) = error.downcast_ref::<CodeHeapError>() {
        return Some(match error {
            CodeHeapError::OutOfCodeSpace { .. } => ErrorKind::CodeSpace,
            CodeHeapError::System(..) => ErrorKind::System,
            CodeHeapError::TooMany(_) => ErrorKind::Limit,
            CodeHeapError::OtherProcess(_) => ErrorKind::OtherProcess,
            _ => ErrorKind::Other,
        });
    }
    if let Some(error) = error.downcast_ref::<CompileError>() {
        return Some(match error {
            CompileError::TooLarge(_) => ErrorKind::Limit,
            CompileError::Unsupported(_) => ErrorKind::Unsupported,
            CompileError::NoSuchLoop(_) => ErrorKind::UpdateRefused,
            CompileError::Parse(_) => ErrorKind::Invalid,
            _ => ErrorKind::Other,
        });
    }
    let is_of: [(bool, ErrorKind); 9] = [
        (error.is::<Trap>(), ErrorKind::Trap),
        (error.is::<OtherProcess>(), ErrorKind::OtherProcess),
        (error.is::<UnlinkedImports>(), ErrorKind::Link),
        (error.is::<ModuleRefused>() || error.is::<StillReferred>(), ErrorKind::UpdateRefused),
        (error.is::<ShadowStackActive>(), ErrorKind::Unsupported),
        (error.is::<MemoryAccessError>(), ErrorKind::Misuse),
        (error.is::<wasmparser::Error>(), ErrorKind::Invalid),
        (error.is::<wat::Error>(), ErrorKind::Invalid),
        (error.is::<LowerError>(), ErrorKind::Invalid),
    ];
    is_of.into_iter().find_map(|(is, kind)| is.then_some(kind))
}
