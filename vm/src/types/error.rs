//! Errors that a program can tell apart.

use anyhow::Error;
use std::fmt;

/// What kind of thing has gone wrong: see [`ErrorKind::of`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest trapped: the error has a [`Trap`](crate::Trap), and mostly a
    /// [`WasmBacktrace`](crate::WasmBacktrace).
    Trap,
    /// An exception that nothing has caught: the error has an [`Exception`](crate::Exception).
    Exception,
    /// What was given is no valid module, or no valid body of a function.
    Invalid,
    /// It is valid, but uses what this version, its configuration or this machine does not support.
    Unsupported,
    /// An import is not defined, or not with the type that the module asks for; a name is defined twice; two things
    /// belong to different stores or engines. If imports are missing, the error has an
    /// [`UnlinkedImports`](crate::UnlinkedImports).
    Link,
    /// A memory, a table, a module or something else would be larger than its type, the [limits](crate::StoreLimits) of
    /// the store or those of the implementation allow.
    Limit,
    /// A running program cannot be changed like this; it is as it was before. The error may have a
    /// [`ModuleRefused`](crate::ModuleRefused) or a [`StillReferred`](crate::StillReferred) with the reasons.
    UpdateRefused,
    /// There is no room for more machine code: see [`Config::code_space`](crate::Config::code_space).
    CodeSpace,
    /// The system refused memory, a file or something else.
    System,
    /// The engine belongs to the process that this one was forked from: see [`OtherProcess`](crate::OtherProcess).
    OtherProcess,
    /// The embedder has called something with values that do not fit: arguments of another type, an index that does not
    /// exist, a configuration that makes no sense.
    Misuse,
    /// Something else: mostly the error of a host function, which a program finds by
    /// [`downcast_ref`](crate::Error::downcast_ref).
    Other,
}

/// An error that has nothing to tell but its kind and a text.
///
/// ```
/// use midair::{Engine, ErrorKind, Failure, Module};
///
/// let engine = Engine::default();
/// let error = Module::new(&engine, "(module (type (struct)))").unwrap_err();
/// assert_eq!(ErrorKind::of(&error), ErrorKind::Unsupported);
/// assert_eq!(error.downcast_ref::<Failure>().unwrap().kind(), ErrorKind::Unsupported);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    kind: ErrorKind,
    text: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Failure {
        Failure { kind, text: text.into() }
    }

    /// What kind of thing has gone wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Gives errors that are nothing but a text a kind.
pub(crate) trait OfKind<T> {
    /// An error that is only a text becomes a [`Failure`] of this kind; all others stay as they are.
    fn of_kind(self, kind: ErrorKind) -> anyhow::Result<T>;
}

impl<T> OfKind<T> for anyhow::Result<T> {
    fn of_kind(self, kind: ErrorKind) -> anyhow::Result<T> {
        self.map_err(|error| if is_text(&error) { failure(kind, &error) } else { error })
    }
}

fn failure(kind: ErrorKind, error: &Error) -> Error {
    Failure::new(kind, error.to_string()).into()
}

/// Whether an error is nothing but a text.
fn is_text(error: &Error) -> bool {
    (error.is::<String>() || error.is::<&'static str>()) && error.chain().len() == 1
}
