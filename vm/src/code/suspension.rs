//! How the frames of a body are suspended at its points.

use super::module_code::ModuleCode;
use super::stats::SuspendedIn;
use midair_tiers::FunctionBody;
use wasmparser::Operator;

/// What is called at a point.
pub(crate) struct Callee {
    /// Type index.
    pub(crate) ty: usize,
    /// The function, unless it is called through a table.
    function: Option<u32>,
}

impl Callee {
    /// How the frame is suspended that has called this.
    pub(crate) fn suspension(&self, module: &ModuleCode, body: &FunctionBody) -> SuspendedIn {
        match self.function {
            Some(function) if function < module.env.imported_functions => SuspendedIn::HostCall,
            Some(function) if function == body.function => SuspendedIn::OwnCall,
            _ => SuspendedIn::Call,
        }
    }
}

/// How a frame of this body is suspended at this point.
pub(crate) fn suspended_in(module: &ModuleCode, body: &FunctionBody, point: u32) -> SuspendedIn {
    let callee = if point == FunctionBody::ENTRY { None } else { callee(module, body, point) };
    callee.map_or(SuspendedIn::Poll, |callee| callee.suspension(module, body))
}

/// What is called at this point of a body, if it is a call.
pub(crate) fn callee(module: &ModuleCode, body: &FunctionBody, point: u32) -> Option<Callee> {
    let bytes = &body.bytes()[point as usize..];
    let mut reader =
        wasmparser::OperatorsReader::new(wasmparser::BinaryReader::new(bytes, point.into()));
    match reader.read() {
        Ok(Operator::Call { function_index }) => Some(Callee {
            ty: module.env.functions[function_index as usize] as usize,
            function: Some(function_index),
        }),
        Ok(Operator::CallIndirect { type_index, .. } | Operator::CallRef { type_index }) => {
            Some(Callee { ty: type_index as usize, function: None })
        }
        _ => None,
    }
}
