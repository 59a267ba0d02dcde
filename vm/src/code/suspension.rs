//! How the frames of a body are suspended at its points.

use super::module_code::ModuleCode;
use super::stats::SuspendedIn;
use midair_osr::CallShape;
use midair_tiers::FunctionBody;
use midair_tiers::abi::wait_shape;
use midair_tiers::atomics::Atomic;
use wasmparser::Operator;

/// What is called at a point.
pub(crate) enum Callee {
    /// A function of this type index; which one, unless it is called through a table or a reference.
    Function { ty: usize, function: Option<u32> },
    /// The runtime, to wait.
    Wait,
}

impl Callee {
    /// How the frame is suspended that has called this.
    pub(crate) fn suspension(&self, module: &ModuleCode, body: &FunctionBody) -> SuspendedIn {
        match *self {
            Callee::Wait => SuspendedIn::Wait,
            Callee::Function { function: Some(function), .. }
                if function < module.env.imported_functions =>
            {
                SuspendedIn::HostCall
            }
            Callee::Function { function: Some(function), .. } if function == body.function => {
                SuspendedIn::OwnCall
            }
            Callee::Function { .. } => SuspendedIn::Call,
        }
    }

    /// How its results are returned.
    pub(crate) fn shape<'a>(&self, module: &'a ModuleCode) -> &'a CallShape {
        match *self {
            Callee::Function { ty, .. } => &module.env.shapes[ty],
            Callee::Wait => wait_shape(),
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
        Ok(operator) if Atomic::is_wait(&operator) => Some(Callee::Wait),
        Ok(Operator::Call { function_index }) => Some(Callee::Function {
            ty: module.env.functions[function_index as usize] as usize,
            function: Some(function_index),
        }),
        Ok(Operator::CallIndirect { type_index, .. } | Operator::CallRef { type_index }) => {
            Some(Callee::Function { ty: type_index as usize, function: None })
        }
        _ => None,
    }
}
