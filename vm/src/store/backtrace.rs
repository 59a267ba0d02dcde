//! Backtraces, as errors carry them.

use crate::module::Module;
use crate::types::printable::{PrintableName, function_name};
use midair_tiers::FunctionBody;
use std::fmt;

/// Most frames that a backtrace keeps.
const MAX_FRAMES: usize = 100;

/// The guest's frames at a trap, innermost first.
///
/// Errors of calls into guest code carry one as context:
///
/// ```
/// use midair::{Engine, Instance, Module, Store, WasmBacktrace};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module $m
///         (func $inner unreachable)
///         (func (export "outer") (call $inner)))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let outer = instance.get_typed_func::<(), ()>(&mut store, "outer")?;
/// let error = outer.call(&mut store, ()).unwrap_err();
/// let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
/// let functions: Vec<_> = backtrace.frames().iter().map(|f| f.func_index()).collect();
/// assert_eq!(functions, [0, 1]);
/// assert_eq!(backtrace.frames()[0].func_name(), Some("inner"));
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WasmBacktrace {
    frames: Vec<FrameInfo>,
    omitted: usize,
}

impl WasmBacktrace {
    /// The frames, innermost first. Of a very deep stack only the innermost ones are kept.
    pub fn frames(&self) -> &[FrameInfo] {
        &self.frames
    }

    /// How many outer frames are not in [`WasmBacktrace::frames`].
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    pub(crate) fn push(&mut self, frame: impl FnOnce() -> Option<FrameInfo>) {
        if self.frames.len() < MAX_FRAMES {
            self.frames.extend(frame());
        } else {
            self.omitted += 1;
        }
    }
}

/// One frame of a [`WasmBacktrace`].
#[derive(Clone)]
pub struct FrameInfo {
    module: Module,
    func_index: u32,
    /// Offset of the body in the module, if it is the one that the function was loaded with.
    body_offset: Option<usize>,
    point: u32,
}

impl FrameInfo {
    /// A frame of `body` at the operator `point`.
    pub(crate) fn new(module: Module, body: &FunctionBody, point: u32) -> FrameInfo {
        FrameInfo {
            module,
            func_index: body.function,
            body_offset: (body.version == 0).then(|| body.module_offset()),
            point,
        }
    }

    /// The function's index in its module.
    pub fn func_index(&self) -> u32 {
        self.func_index
    }

    /// The function's name, if the module's name section has one.
    pub fn func_name(&self) -> Option<&str> {
        self.module.state.function_name(self.func_index)
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Offset of the instruction in the module's bytes. `None` if the function's body was replaced.
    pub fn module_offset(&self) -> Option<usize> {
        Some(self.body_offset? + self.point as usize)
    }

    /// Offset of the instruction in the function's body.
    pub fn func_offset(&self) -> usize {
        self.point as usize
    }
}

impl fmt::Debug for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameInfo")
            .field("func_index", &self.func_index)
            .field("func_name", &self.func_name())
            .field("func_offset", &self.point)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.module_offset() {
            Some(offset) => write!(f, "{offset:#8x}")?,
            None => write!(f, "{:>+#8x}", self.point)?,
        }
        write!(f, " - {}!", PrintableName(self.module.name().unwrap_or("<unknown>")))?;
        match self.func_name() {
            Some(name) => f.write_str(&function_name(name)),
            None => write!(f, "<wasm function {}>", self.func_index),
        }
    }
}

impl fmt::Display for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error while executing at wasm backtrace:")?;
        for (i, frame) in self.frames.iter().enumerate() {
            write!(f, "\n    {i:>2}: {frame}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n    and {} more frames", self.omitted)?;
        }
        Ok(())
    }
}
