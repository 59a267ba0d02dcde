//! Exits of an old body: where frames that an update has left in it go on in a newer one after all.

use super::continuation::Migration;
use midair_tiers::FunctionBody;
use wasmparser::Operator;

/// Points of a replaced body at which frames leave it, and the loops by which they come there again. They do
/// not change as long as there are frames that stay: see [`FunctionVersion::exits`](crate::code::version::FunctionVersion::exits).
#[derive(Debug)]
pub(crate) struct Exits {
    /// Loops and calls, ascending; not empty.
    points: Box<[u32]>,
    /// Points of the outermost loops, each with the offset of its end, ascending.
    loops: Box<[(u32, u32)]>,
}

impl Exits {
    /// The exits of a body whose frames go on as `migration` says; `None` if there are none.
    pub(crate) fn of(body: &FunctionBody, migration: &Migration) -> Option<Exits> {
        let Migration::Points(points) = migration else { return None };
        // Frames that have left the entry do not come back to it.
        let points: Box<[u32]> =
            points.iter().map(|to| to.0).filter(|&point| point != FunctionBody::ENTRY).collect();
        (!points.is_empty()).then(|| Exits { points, loops: outermost_loops(body) })
    }

    /// The points, ascending.
    pub(crate) fn points(&self) -> &[u32] {
        &self.points
    }

    /// Whether a frame that goes on at this point may come to an exit. Control goes forwards, and back only
    /// to the loops that it is in.
    pub(crate) fn may_follow(&self, point: u32) -> bool {
        let before = self.loops.partition_point(|(start, _)| *start <= point);
        let around = self.loops[..before].last().filter(|(_, end)| point < *end);
        let from = around.map_or(point, |(start, _)| *start);
        self.points.last().is_some_and(|&last| last >= from)
    }
}

/// Start and end of the loops that are in no other loop.
fn outermost_loops(body: &FunctionBody) -> Box<[(u32, u32)]> {
    const VALID: &str = "the body has been validated";
    let mut loops = Vec::new();
    let mut depth = 0;
    // The outermost loop that is open, and how many blocks are around it.
    let mut outermost = None;
    let mut operators = body.reader().get_operators_reader().expect(VALID);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().expect(VALID);
        let offset = offset as u32;
        match operator {
            Operator::Loop { .. } => {
                outermost.get_or_insert((depth, offset));
                depth += 1;
            }
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => depth += 1,
            // The last one ends the body.
            Operator::End | Operator::Delegate { .. } if depth > 0 => {
                depth -= 1;
                if let Some((_, start)) = outermost.take_if(|(around, _)| *around == depth) {
                    loops.push((start, offset));
                }
            }
            _ => {}
        }
    }
    loops.into()
}
