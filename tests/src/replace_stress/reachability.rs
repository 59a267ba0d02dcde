//! Which operators of a body anything leads to.
//!
//! That is less than validation takes for reachable: for that, the end of every block is, and so is what a
//! block holds that lies behind a branch. It is found here without the VM, whose own view of it is thereby
//! tested.

use wasmparser::Operator;

/// What an open block is closed by.
enum End {
    /// Of a `loop`: branches to it do not lead here.
    Loop,
    /// Of an `if` that has had no `else` yet.
    If {
        /// Whether anything leads to the `if`.
        reached: bool,
    },
    /// Of a `try`, or of one of its handlers.
    Try {
        /// Whether anything leads to the `try`.
        reached: bool,
    },
    /// Of anything else.
    Other,
}

struct Block {
    end: End,
    /// Whether something leads to its end that is not the operator before it.
    leads_on: bool,
}

/// Goes through the operators of a valid body in their order.
pub struct Reachability {
    now: bool,
    blocks: Vec<Block>,
}

impl Reachability {
    /// Before the first operator.
    pub fn new() -> Reachability {
        Reachability { now: true, blocks: vec![Block { end: End::Other, leads_on: false }] }
    }

    /// Whether anything leads to the next operator, which is this one.
    pub fn next(&mut self, operator: &Operator<'_>) -> bool {
        let reached = self.now;
        match operator {
            Operator::Block { .. } => self.open(End::Other),
            Operator::Loop { .. } => self.open(End::Loop),
            Operator::If { .. } => self.open(End::If { reached }),
            Operator::Else => {
                if let Some(block) = self.blocks.last_mut()
                    && let End::If { reached: condition } = block.end
                {
                    block.leads_on |= reached;
                    block.end = End::Other;
                    self.now = condition;
                }
            }
            Operator::Try { .. } => self.open(End::Try { reached }),
            // Whatever the body is, it may throw.
            Operator::TryTable { try_table } => {
                for catch in &try_table.catches {
                    let (wasmparser::Catch::One { label, .. }
                    | wasmparser::Catch::OneRef { label, .. }
                    | wasmparser::Catch::All { label }
                    | wasmparser::Catch::AllRef { label }) = *catch;
                    self.branch(label);
                }
                self.open(End::Other);
            }
            Operator::Catch { .. } | Operator::CatchAll => {
                if let Some(block) = self.blocks.last_mut()
                    && let End::Try { reached: body } = block.end
                {
                    block.leads_on |= reached;
                    self.now = body;
                    return body;
                }
            }
            Operator::End | Operator::Delegate { .. } => {
                if let Some(Block { end, leads_on }) = self.blocks.pop() {
                    self.now |= leads_on || matches!(end, End::If { reached: true });
                }
            }
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth);
                self.now = false;
            }
            Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth } => self.branch(*relative_depth),
            Operator::BrTable { targets } => {
                for depth in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(depth);
                }
                self.now = false;
            }
            Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. }
            | Operator::Unreachable => self.now = false,
            _ => {}
        }
        reached
    }

    fn open(&mut self, end: End) {
        self.blocks.push(Block { end, leads_on: false });
    }

    fn branch(&mut self, depth: u32) {
        if let Some(block) = self.blocks.iter_mut().nth_back(depth as usize) {
            block.leads_on |= self.now && !matches!(block.end, End::Loop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{Parser, Payload};

    const NONE: [i32; 0] = [];

    /// The constants that are reached in a function with this body.
    fn reached(body: &str) -> Vec<i32> {
        let text = format!("(module (tag) (func (param i32) {body}))");
        let wasm = wat::parse_str(text).unwrap();
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(&wasm) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                let mut reachability = Reachability::new();
                let mut operators = body.get_operators_reader().unwrap();
                while !operators.eof() {
                    let operator = operators.read().unwrap();
                    let reached = reachability.next(&operator);
                    found.extend(match operator {
                        Operator::I32Const { value } if reached => Some(value),
                        _ => None,
                    });
                }
            }
        }
        found
    }

    #[test]
    fn behind_a_branch_the_rest_of_its_block_is_not_reached() {
        let body = "block br 0 i32.const 1 drop block i32.const 2 drop end i32.const 3 drop end
            i32.const 4 drop";
        assert_eq!(reached(body), [4]);
        assert_eq!(reached("i32.const 1 drop return i32.const 2 drop"), [1]);
        assert_eq!(reached("block unreachable end i32.const 1 drop"), NONE);
        assert_eq!(reached("block local.get 0 br_if 0 unreachable end i32.const 1 drop"), [1]);
        assert_eq!(
            reached(
                "block block local.get 0 br_table 1 1 end i32.const 1 drop end i32.const 2 drop"
            ),
            [2]
        );
    }

    #[test]
    fn a_branch_that_is_not_reached_leads_nowhere() {
        assert_eq!(reached("block return br 0 end i32.const 1 drop"), NONE);
        assert_eq!(reached("block return local.get 0 br_if 0 end i32.const 1 drop"), NONE);
    }

    #[test]
    fn the_end_of_a_loop_is_reached_only_from_before_it() {
        assert_eq!(reached("loop i32.const 1 drop br 0 end i32.const 2 drop"), [1]);
        assert_eq!(reached("loop local.get 0 br_if 0 end i32.const 1 drop"), [1]);
    }

    #[test]
    fn both_arms_of_an_if_are_reached_from_it() {
        assert_eq!(reached("local.get 0 if return end i32.const 1 drop"), [1]);
        let arms = "local.get 0 if return i32.const 1 drop else i32.const 2 drop end";
        assert_eq!(reached(&format!("{arms} i32.const 3 drop")), [2, 3]);
        let arms = "local.get 0 if i32.const 1 drop else return end i32.const 2 drop";
        assert_eq!(reached(arms), [1, 2]);
        let arms = "local.get 0 if return else return end i32.const 1 drop";
        assert_eq!(reached(arms), NONE);
        assert_eq!(reached("return local.get 0 if i32.const 1 drop end i32.const 2 drop"), NONE);
    }

    #[test]
    fn handlers_are_reached_from_where_their_block_begins() {
        let clause = "block try_table (catch 0 0) return end i32.const 1 drop end";
        assert_eq!(reached(&format!("{clause} i32.const 2 drop")), [2]);
        assert_eq!(reached(&format!("return {clause} i32.const 2 drop")), NONE);
        let handlers = "try throw 0 i32.const 1 drop catch 0 i32.const 2 drop rethrow 0
            i32.const 3 drop catch_all i32.const 4 drop end i32.const 5 drop";
        assert_eq!(reached(handlers), [2, 4, 5]);
        assert_eq!(reached(&format!("return {handlers}")), NONE);
        assert_eq!(reached("try return catch 0 return end i32.const 1 drop"), NONE);
        assert_eq!(reached("try nop catch 0 return end i32.const 1 drop"), [1]);
        let delegates = "try try return delegate 0 i32.const 1 drop catch_all end";
        assert_eq!(reached(&format!("{delegates} i32.const 2 drop")), [2]);
        assert_eq!(reached("ref.null exn throw_ref i32.const 1 drop"), NONE);
    }
}
