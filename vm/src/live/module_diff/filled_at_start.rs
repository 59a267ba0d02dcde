//! Passive data segments with which a module fills its memory when it starts.
//!
//! Programs with threads cannot have active segments, for each thread's instance would fill the shared memory anew. Linkers
//! give them a start function instead, which only the first of them goes through: there is a `memory.init` for each
//! segment, with constant operands. So its data is where active segments would put it.

use crate::module::ModuleState;
use wasmparser::Operator;

/// A passive segment, and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filled {
    pub(super) segment: u32,
    pub(super) memory: u32,
    pub(super) address: u64,
    /// Bytes, from the segment's beginning on.
    pub(super) len: usize,
}

/// The segments with which the start function that the module was loaded with fills memories, in its order. Nothing is
/// known of those that are copied otherwise.
pub(super) fn filled_at_start(module: &ModuleState) -> Vec<Filled> {
    let defined = |start: &u32| *start >= module.env.imported_functions;
    let Some(start) = module.start.filter(defined) else { return Vec::new() };
    let body = module.code.loaded_body(start);
    let Ok(mut operators) = body.reader().get_operators_reader() else { return Vec::new() };
    let mut filled: Vec<Filled> = Vec::new();
    // The constants right before an operator: address, place in the segment, length.
    let mut constants = [None; 3];
    while let Ok(operator) = operators.read() {
        let constant = match operator {
            Operator::I32Const { value } => Some(u64::from(value as u32)),
            Operator::I64Const { value } => Some(value as u64),
            Operator::MemoryInit { data_index, mem } => {
                if let [Some(address), Some(0), Some(len)] = constants
                    && let Some(segment) = module.data.get(data_index as usize)
                    && len <= segment.bytes.len() as u64
                    && segment.active.is_none()
                    && filled.iter().all(|known| known.segment != data_index)
                {
                    let len = len as usize;
                    filled.push(Filled { segment: data_index, memory: mem, address, len });
                }
                None
            }
            _ => None,
        };
        constants = match constant {
            Some(_) => [constants[1], constants[2], constant],
            None => [None; 3],
        };
    }
    filled
}
