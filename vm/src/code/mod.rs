//! The code of a module's functions: what each function is run by, and when that changes.

pub(crate) mod callout;

use crate::Result;
use crate::engine::Engine;
use crate::module::Bodies;
use midair_tiers::body::ByteSource;
use midair_tiers::{FunctionBody, FunctionState, ModuleEnv};
use std::sync::Arc;
use wasmparser::{Error as ParseError, FuncValidatorAllocations, WasmFeatures};

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
        })
    }

    /// What calls go through, by defined function.
    pub(crate) fn functions(&self) -> &[FunctionState] {
        &self.functions
    }

    /// The bytecode of a function.
    pub(crate) fn body(&self, function: u32) -> FunctionBody {
        let (start, len) = self.bodies.ranges[self.defined(function)];
        FunctionBody::new(self.source.clone(), start as usize, len as usize, function, 0)
    }

    fn defined(&self, function: u32) -> usize {
        (function - self.env.imported_functions) as usize
    }

    /// Validates a function's body.
    fn validate(&self, function: u32) -> Result<(), ParseError> {
        let body = self.body(function);
        let resources = self.bodies.resources.as_ref().expect("a module with bodies");
        crate::module::validate_body(
            body.bytes(),
            body.module_offset() as u64,
            resources,
            (function, self.env.functions[function as usize]),
            self.features,
            &mut FuncValidatorAllocations::default(),
        )
    }
}
