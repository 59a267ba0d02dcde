//! Where the guest was when it trapped.

use super::code_frames;
use super::guest_frames::{GuestFrame, GuestFrames};
use crate::link::instance::InstanceEntity;
use crate::module::Module;
use crate::store::opaque::StoreOpaque;
use midair_tiers::FunctionBody;
use midair_tiers::interp::{Activation, InterpFrame};
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

    fn push(&mut self, frame: impl FnOnce() -> Option<FrameInfo>) {
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
        write!(f, " - {}!", self.module.name().unwrap_or("<unknown>"))?;
        match self.func_name() {
            Some(name) => write!(f, "{:#}", rustc_demangle::demangle(name)),
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

/// Records the guest's frames with the store, for the error that will be made when they are gone.
///
/// `trapped` is program counter and frame pointer of machine code that trapped; otherwise the innermost
/// frame is one of the interpreter that has saved its state, or machine code that has left for Rust.
pub(crate) fn capture(store: &mut StoreOpaque, trapped: Option<(usize, usize)>) {
    let runtime = store.runtime();
    let mut backtrace = WasmBacktrace::default();
    // SAFETY: this thread runs the store, and its guest waits: activations and machine frames stand
    // still.
    unsafe {
        let stack = &mut (*runtime).stack;
        let top = trapped.map(|(pc, _)| (stack.entries, code_frames::trapped_frame(pc)));
        let walk = match trapped {
            Some((_, fp)) => stack.walk_callers(fp),
            None => stack.walk(),
        };
        let walked = walk.map(|frame| (frame.entries, code_frames::frame_info(&frame)));
        let machine = top.into_iter().chain(walked);
        for frame in GuestFrames::new(machine, Activation::innermost(runtime)) {
            backtrace.push(|| match frame {
                GuestFrame::Machine(info) => info,
                GuestFrame::Interpreted(frame) => Some(interpreted(&frame)),
            });
        }
    }
    store.backtrace = Some(backtrace);
}

/// What a person is told of a frame of the interpreter.
///
/// # Safety
/// The frame's store must be alive.
pub(crate) unsafe fn interpreted(frame: &InterpFrame<'_>) -> FrameInfo {
    // SAFETY: the frame's context is that of an instance of the store; its code is alive.
    unsafe {
        let instance = (*frame.context()).owner.cast::<InstanceEntity>();
        let module = (*instance).module.clone();
        FrameInfo::new(Module { state: module }, (*frame.code()).body(), frame.point())
    }
}
