//! What is said of a function that cannot be run, where bodies are validated at their first call.

use super::module_code::ModuleCode;
use super::version::FunctionVersion;
use crate::config::proposals;
use crate::types::printable::function_name;
use crate::types::trap::Trap;
use anyhow::Error;
use midair_tiers::lower::LowerError;
use wasmparser::{BinaryReader, FuncToValidate, FuncValidatorAllocations};

impl ModuleCode {
    /// How a person is told of a function.
    pub(crate) fn function_label(&self, function: u32) -> String {
        let module = self.module();
        match module.as_ref().and_then(|module| module.function_name(function)) {
            Some(name) => format!("`{}`", function_name(name)),
            None => format!("function {function}"),
        }
    }

    /// Why a body is refused that could not be lowered: what loading the module says if it validates bodies.
    pub(super) fn refusal(&self, version: &FunctionVersion, error: LowerError) -> Error {
        let body = &version.body;
        let check = |features| {
            let validation = FuncToValidate { features, ..self.validation(body.function) };
            let reader = BinaryReader::new(body.bytes(), body.module_offset() as u64);
            let mut validator = validation.into_validator(FuncValidatorAllocations::default());
            validator.validate(&wasmparser::FunctionBody::new(reader))
        };
        match check(self.features()) {
            Err(error) => proposals::explain(error, body.bytes().len(), self.features(), check),
            Ok(()) => Error::new(error),
        }
    }

    /// The trap of a call to a function that cannot be run, for this reason.
    pub(crate) fn cannot_run(&self, function: u32, reason: &Error) -> Error {
        Error::new(Trap::InvalidFunction)
            .context(format!("{} cannot be run: {reason}", self.function_label(function)))
    }
}
