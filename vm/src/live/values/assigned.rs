//! Which locals loops assign: those that have a variable at their headers.

use super::MOST_STEPS;
use midair_tiers::FunctionBody;
use midair_tiers::caught::CaughtLocals;
use wasmparser::Operator;

/// The locals that each loop assigns, in the order of the loops; `None` if there are too many.
pub(super) fn assigned_in_loops(
    body: &FunctionBody,
    caught: &CaughtLocals,
    first_caught: u32,
) -> Option<Vec<Vec<u32>>> {
    let mut reader = body.reader().get_operators_reader().ok()?;
    let mut found: Vec<Vec<u32>> = Vec::new();
    // Of each open block, the loop that it is.
    let mut open: Vec<Option<usize>> = vec![None];
    // The same for the hidden local that a `try` has.
    let mut hidden: Vec<Option<u32>> = vec![None];
    let mut steps = 0;
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset().ok()?;
        match operator {
            Operator::Loop { .. } => {
                open.push(Some(found.len()));
                hidden.push(None);
                found.push(Vec::new());
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push(None);
                hidden.push(None);
            }
            Operator::Try { .. } => {
                open.push(None);
                hidden.push(caught.of_try(offset as u32).map(|n| first_caught + n as u32));
            }
            Operator::Catch { .. } | Operator::CatchAll => {
                if let Some(local) = hidden.last().copied().flatten()
                    && let Some(innermost) = open.iter().rev().copied().flatten().next()
                {
                    found[innermost].push(local);
                }
            }
            Operator::End | Operator::Delegate { .. } => {
                hidden.pop();
                let Some(Some(ended)) = open.pop() else { continue };
                found[ended].sort_unstable();
                found[ended].dedup();
                if let Some(outer) = open.iter().rev().copied().flatten().next() {
                    let inner = found[ended].clone();
                    steps += inner.len();
                    found[outer].extend(inner);
                }
            }
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                if let Some(innermost) = open.iter().rev().copied().flatten().next() {
                    found[innermost].push(local_index);
                }
            }
            _ => {}
        }
        steps += 1;
        if steps > MOST_STEPS {
            return None;
        }
    }
    Some(found)
}
