//! Exceptions that legacy catch blocks have caught and `rethrow` names.
//!
//! Such an exception is part of a frame's state, though no local and no operand holds it. So a body has a *hidden
//! local* behind its declared ones for each `try` that a `rethrow` names: `catch` writes it, `rethrow` reads it, and
//! everything else about it is as for other locals. A `try` that no `rethrow` names has none, and what it catches is
//! freed at once.

use crate::body::FunctionBody;
use wasmparser::{BinaryReaderError, Operator};

/// The hidden locals of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaughtLocals {
    /// Points of the `try` operators that have one, ascending.
    tries: Vec<u32>,
}

/// The first bytes of two operators that a body with hidden locals has both of.
const TRY: u8 = 0x06;
const RETHROW: u8 = 0x09;

impl CaughtLocals {
    /// Those of a body. It need not be valid, only well-formed.
    pub fn of(body: &FunctionBody) -> Result<CaughtLocals, BinaryReaderError> {
        let bytes = body.bytes();
        if !bytes.contains(&RETHROW) || !bytes.contains(&TRY) {
            return Ok(CaughtLocals::default());
        }
        // The points of the blocks that are open, of those that are `try`; the function is the outermost.
        let mut open: Vec<Option<u32>> = vec![None];
        let mut tries = Vec::new();
        let mut operators = body.reader().get_operators_reader()?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            match operator {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::TryTable { .. } => open.push(None),
                Operator::Try { .. } => open.push(Some(offset as u32)),
                Operator::End | Operator::Delegate { .. } => {
                    open.pop();
                }
                Operator::Rethrow { relative_depth } => {
                    let named = open.len().checked_sub(1 + relative_depth as usize);
                    tries.extend(named.and_then(|at| open[at]));
                }
                _ => {}
            }
        }
        tries.sort_unstable();
        tries.dedup();
        Ok(CaughtLocals { tries })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tries.len()
    }

    /// Which of them belongs to the `try` at this point, counted from the first hidden one.
    pub fn of_try(&self, point: u32) -> Option<usize> {
        self.tries.binary_search(&point).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_try_has_a_hidden_local_if_a_rethrow_names_it() {
        // try; nop; catch_all; try; nop; catch_all; rethrow 1; end; end; try; nop; catch_all; end; end
        let code = vec![
            0, 0x06, 0x40, 0x01, 0x19, 0x06, 0x40, 0x01, 0x19, 0x09, 1, 0x0b, 0x0b, 0x06, 0x40,
            0x01, 0x19, 0x0b, 0x0b,
        ];
        let len = code.len();
        let caught = CaughtLocals::of(&FunctionBody::new(Arc::new(code), 0, len, 0, 0)).unwrap();
        assert_eq!((caught.count(), caught.of_try(1), caught.of_try(5)), (1, Some(0), None));
    }
}
