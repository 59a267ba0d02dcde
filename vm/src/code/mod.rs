//! The code of a module's functions: what each function is run by, and when that changes.

pub(crate) mod callout;
pub(crate) mod runtime_calls;

use crate::Result;
use crate::backtrace::FrameInfo;
use crate::engine::Engine;
use crate::module::{Bodies, Module, ModuleState};
use midair_osr::CodeRegistry;
use midair_osr::walk::WalkedFrame;
use midair_tiers::body::ByteSource;
use midair_tiers::interp::LoweredCode;
use midair_tiers::lower::{LowerError, lower};
use midair_tiers::{FunctionBody, FunctionState, ModuleEnv};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use wasmparser::{FuncToValidate, WasmFeatures};

/// The functions that a module defines, shared by all its instances.
pub(crate) struct ModuleCode {
    source: Arc<dyn ByteSource>,
    env: Arc<ModuleEnv>,
    bodies: Bodies,
    features: WasmFeatures,
    /// Whether bodies are validated when they are lowered.
    lazy_validation: bool,
    /// What calls go through, by defined function.
    functions: Box<[FunctionState]>,
    /// Owns the lowered code that `functions` point to, by function index.
    lowered: Mutex<HashMap<u32, Arc<LoweredCode>>>,
    /// The module, for backtraces.
    module: OnceLock<Weak<ModuleState>>,
}

impl ModuleCode {
    /// The code of a module that has just been parsed: nothing is lowered or compiled.
    pub(crate) fn new(
        engine: &Engine,
        source: Arc<dyn ByteSource>,
        env: Arc<ModuleEnv>,
        bodies: Bodies,
        features: WasmFeatures,
    ) -> Result<ModuleCode> {
        let imported = env.imported_functions;
        let countdown = i32::try_from(engine.config().baseline_threshold).unwrap_or(i32::MAX);
        let functions = (0..bodies.ranges.len() as u32)
            .map(|defined| {
                let thunk = engine.entry_thunk(imported + defined)?;
                Ok(FunctionState::new(thunk.cast_mut(), countdown))
            })
            .collect::<Result<Box<[_]>>>()?;
        Ok(ModuleCode {
            source,
            env,
            bodies,
            features,
            lazy_validation: engine.config().lazy_validation,
            functions,
            lowered: Mutex::default(),
            module: OnceLock::new(),
        })
    }

    /// Tells which module this is the code of.
    pub(crate) fn set_module(&self, module: &Arc<ModuleState>) {
        // Set once, when the module has just been made.
        let _ = self.module.set(Arc::downgrade(module));
    }

    /// The module that this is the code of, while it exists.
    pub(crate) fn module(&self) -> Option<Arc<ModuleState>> {
        self.module.get()?.upgrade()
    }

    /// What calls go through, by defined function.
    pub(crate) fn functions(&self) -> &[FunctionState] {
        &self.functions
    }

    /// What calls of a function go through.
    pub(crate) fn state(&self, function: u32) -> &FunctionState {
        &self.functions[self.defined(function)]
    }

    fn defined(&self, function: u32) -> usize {
        (function - self.env.imported_functions) as usize
    }

    /// The bytecode of a function.
    pub(crate) fn body(&self, function: u32) -> FunctionBody {
        let (start, len) = self.bodies.ranges[self.defined(function)];
        FunctionBody::new(self.source.clone(), start as usize, len as usize, function, 0)
    }

    fn lowered(&self) -> MutexGuard<'_, HashMap<u32, Arc<LoweredCode>>> {
        // Inserting is all that is done under the lock.
        self.lowered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a function ready to be interpreted.
    pub(crate) fn prepare(&self, function: u32) -> Result<(), LowerError> {
        let state = self.state(function);
        if !state.lowered.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let body = self.body(function);
        let validate = self.lazy_validation.then(|| FuncToValidate {
            resources: self.bodies.resources.clone().expect("a module with bodies"),
            index: function,
            ty: self.env.functions[function as usize],
            features: self.features,
        });
        let code = Arc::new(lower(&self.env, &body, validate)?);
        // Another thread may have been faster; its code is as good, and may be in use.
        let mut lowered = self.lowered();
        let code = lowered.entry(function).or_insert(code);
        state.lowered.store(Arc::as_ptr(code).cast_mut().cast(), Ordering::Release);
        Ok(())
    }
}

/// What a code object is the code of: [`midair_osr::CodeObject::owner`] of every object.
pub(crate) struct CodeOwner {
    /// The code's module.
    pub(crate) code: Weak<ModuleCode>,
    /// The version of the function.
    pub(crate) body: FunctionBody,
}

/// What a person is told of a suspended frame of machine code.
pub(crate) fn frame_info(frame: &WalkedFrame) -> Option<FrameInfo> {
    // A return address stands behind its call.
    object_info(frame.object(), frame.pc - 1)
}

/// What a person is told of the frame of machine code that trapped at `pc`.
///
/// # Safety
/// `pc` must be the program counter of a frame that is alive.
pub(crate) unsafe fn trapped_frame(pc: usize) -> Option<FrameInfo> {
    // SAFETY: as the caller vouches.
    unsafe { CodeRegistry::with(pc, |object| object_info(object, pc)) }?
}

fn object_info(object: &midair_osr::CodeObject, pc: usize) -> Option<FrameInfo> {
    let owner = object.owner.downcast_ref::<CodeOwner>()?;
    let state = owner.code.upgrade()?.module()?;
    Some(FrameInfo::new(Module { state }, &owner.body, object.point(pc)?))
}
