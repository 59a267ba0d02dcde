//! Where fuel is charged, and how much: one plan for all tiers, so that they agree to the unit.
//!
//! A *segment* is a run of operators that either all execute or, but for a trap, none. Segments
//! start at the first operator of the function and behind every `loop`, `if`, `else`, `catch`, `catch_all`,
//! `delegate`, `end` and conditional branch. (An exception leaves a segment in the middle as a trap does.) The whole
//! cost of a segment is charged before its first operator executes. Calls do not
//! end a segment: a frame that changes tiers at a call has paid for what follows it.
//!
//! Filling, copying and initialising costs its length beside, which is charged before it begins, and whether or not
//! it is in bounds. Growing does not: the sum of what grows is bounded.

use crate::body::{FunctionBody, never_goes_on};
use wasmparser::{BinaryReaderError, Operator};

/// The charges of one body, in the order of their points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuelPlan {
    charges: Vec<(u32, u32)>,
}

impl FuelPlan {
    /// Reads the body and places its charges. The body need not be valid, only well-formed.
    pub fn new(body: &FunctionBody) -> Result<FuelPlan, BinaryReaderError> {
        let mut reader = body.reader().get_operators_reader()?;
        let mut planner = Planner::default();
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            planner.operator(offset as u32, &operator);
        }
        planner.close();
        Ok(FuelPlan { charges: planner.charges })
    }

    /// The charges as `(point, cost)`, sorted by point; no cost is zero.
    pub fn charges(&self) -> &[(u32, u32)] {
        &self.charges
    }

    /// What is charged before the operator at `point` executes; 0 if nothing is.
    pub fn cost_at(&self, point: u32) -> u32 {
        match self.charges.binary_search_by_key(&point, |&(p, _)| p) {
            Ok(i) => self.charges[i].1,
            Err(_) => 0,
        }
    }
}

/// What is filled, copied or initialised at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Bytes of memories: 64 of them cost a unit, and less costs nothing.
    Bytes,
    /// Elements of tables: each costs a unit.
    Elements,
}

impl Bulk {
    /// By how many bits a length is shifted to the right, which gives its cost.
    pub fn shift(self) -> u32 {
        match self {
            Bulk::Bytes => 6,
            Bulk::Elements => 0,
        }
    }
}

#[derive(Default)]
struct Planner {
    charges: Vec<(u32, u32)>,
    /// First operator of the open segment.
    start: Option<u32>,
    cost: u32,
    /// The code here cannot be reached; how many blocks were opened since.
    unreachable: Option<u32>,
}

impl Planner {
    fn close(&mut self) {
        if let Some(start) = self.start.take()
            && self.cost > 0
        {
            self.charges.push((start, self.cost));
        }
        self.cost = 0;
    }

    fn operator(&mut self, point: u32, operator: &Operator<'_>) {
        if let Some(depth) = &mut self.unreachable {
            match operator {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => *depth += 1,
                Operator::Else
                | Operator::Catch { .. }
                | Operator::CatchAll
                | Operator::Delegate { .. }
                | Operator::End
                    if *depth == 0 =>
                {
                    self.unreachable = None;
                }
                Operator::End | Operator::Delegate { .. } => *depth -= 1,
                _ => {}
            }
            return;
        }
        self.start.get_or_insert(point);
        self.cost += match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::End
            | Operator::Else
            | Operator::Try { .. }
            | Operator::TryTable { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::Nop
            | Operator::Drop => 0,
            _ => 1,
        };
        match operator {
            Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::End
            | Operator::BrIf { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. } => self.close(),
            operator if never_goes_on(operator) => {
                self.close();
                self.unreachable = Some(0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn plan(code: &[u8]) -> Vec<(u32, u32)> {
        let body = FunctionBody::new(Arc::new(code.to_vec()), 0, code.len(), 0, 0);
        FuelPlan::new(&body).unwrap().charges().to_vec()
    }

    #[test]
    fn straight_line_code_is_charged_once_at_its_start() {
        // i32.const 1; i32.const 2; i32.add; drop; end
        assert_eq!(plan(&[0, 0x41, 1, 0x41, 2, 0x6a, 0x1a, 0x0b]), [(1, 3)]);
    }

    #[test]
    fn segments_end_behind_control_operators() {
        // loop; i32.const 1; br_if 0; i32.const 2; drop; end; end
        let code = [0, 0x03, 0x40, 0x41, 1, 0x0d, 0, 0x41, 2, 0x1a, 0x0b, 0x0b];
        assert_eq!(plan(&code), [(3, 2), (7, 1)]);
    }

    #[test]
    fn unreachable_code_is_free() {
        // block; br 0; i32.const 1; block; end; drop; end; i32.const 1; drop; end
        let code =
            [0, 0x02, 0x40, 0x0c, 0, 0x41, 1, 0x02, 0x40, 0x0b, 0x1a, 0x0b, 0x41, 1, 0x1a, 0x0b];
        assert_eq!(plan(&code), [(1, 1), (12, 1)]);
    }
}
