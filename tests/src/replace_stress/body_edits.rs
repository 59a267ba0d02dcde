//! Random edits of a function's body that do not change what it does.
//!
//! Every edit starts from the original body, so that two edited bodies correspond exactly: operator by
//! operator of the original. [`Edited::points`] says where each safepoint of the original has gone.

use super::reachability::Reachability;
use crate::mutation::Random;
use anyhow::{Context, Result};
use std::borrow::Cow;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Catch, Encode, Instruction, ValType};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// What an operator is to the edits.
#[derive(Clone, Debug)]
enum Class {
    /// Pushes a value and does nothing else.
    Push,
    I32Const(i32),
    I64Const(i64),
    /// Takes two integers whose order does not matter.
    Commutative,
    /// Opens a block that takes no operands, so that another block fits around it.
    Open(BlockType),
    /// Opens another block.
    OpenOther,
    /// Opens a `try_table` with these clauses, and with a block type like the two above.
    TryTable(Option<BlockType>, BlockType, Vec<Catch>),
    End,
    /// Ends a `try`, and names another block.
    Delegate(u32),
    Rethrow(u32),
    Branch(u32),
    BranchIf(u32),
    BranchOnNull(u32),
    BranchOnNonNull(u32),
    BranchTable(Vec<u32>, u32),
    Other,
}

#[derive(Clone, Debug)]
struct Op {
    /// Offset in the body.
    at: usize,
    /// Offset in [`Body::code`].
    code: usize,
    class: Class,
    safepoint: bool,
    /// Whether it opens a block that has handlers.
    guards: bool,
    /// Whether anything leads to it.
    reached: bool,
}

/// A body, cut into operators.
#[derive(Debug)]
pub struct Body {
    /// As it is in the module.
    bytes: Vec<u8>,
    /// Its operators, with every number in as few bytes as possible: whoever encodes an edited body anew
    /// changes nothing.
    code: Vec<u8>,
    /// Number of locals, parameters included.
    locals: u32,
    /// Declarations of locals.
    groups: Vec<(u32, ValType)>,
    ops: Vec<Op>,
}

/// What may be added to a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Additions {
    /// Loops, calls and blocks around safepoints. Frames at those safepoints then find their place only by
    /// a map that says so.
    pub safepoints: bool,
    /// A function without parameters and results that does nothing.
    pub nothing: Option<u32>,
}

/// A body that does the same as the one that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// In binary format: local declarations, operators, end.
    pub bytes: Vec<u8>,
    /// Offset of each safepoint of the original that anything leads to, in its order; the entry is not among
    /// them.
    pub points: Vec<u32>,
    /// Whether safepoints were added, or blocks around some.
    pub safepoints_differ: bool,
}

impl Body {
    /// Cuts a body. `parameters` is the number of the function's parameters.
    pub fn new(bytes: &[u8], parameters: u32) -> Result<Body> {
        let body = FunctionBody::new(BinaryReader::new(bytes, 0));
        let mut locals = parameters;
        let mut reader = body.get_locals_reader()?;
        let mut groups = Vec::new();
        for _ in 0..reader.get_count() {
            let (count, ty) = reader.read()?;
            locals = locals.checked_add(count).context("too many locals")?;
            groups.push((count, RoundtripReencoder.val_type(ty)?));
        }
        let (mut ops, mut code) = (Vec::new(), Vec::new());
        let mut reachability = Reachability::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            let safepoint = matches!(
                operator,
                Operator::Loop { .. }
                    | Operator::Call { .. }
                    | Operator::CallIndirect { .. }
                    | Operator::CallRef { .. }
                    | Operator::MemoryAtomicWait32 { .. }
                    | Operator::MemoryAtomicWait64 { .. }
            );
            let guards = matches!(operator, Operator::Try { .. } | Operator::TryTable { .. });
            let class = class(&operator)?;
            let reached = reachability.next(&operator);
            ops.push(Op { at: at as usize, code: code.len(), class, safepoint, guards, reached });
            RoundtripReencoder.instruction(operator)?.encode(&mut code);
        }
        Ok(Body { bytes: bytes.to_vec(), code, locals, groups, ops })
    }

    /// The body as it is.
    pub fn unchanged(&self) -> Edited {
        let points = self.ops.iter().filter(|op| op.safepoint && op.reached);
        let points = points.map(|op| op.at as u32).collect();
        Edited { bytes: self.bytes.clone(), points, safepoints_differ: false }
    }

    /// A random body that does the same.
    pub fn edit(&self, random: &mut Random, additions: Additions) -> Edited {
        let mut edit = Edit {
            body: self,
            out: Vec::new(),
            points: Vec::new(),
            labels: Vec::new(),
            counter: self.locals,
            unused: self.locals + 1,
            additions,
            differ: false,
        };
        // About this many operators have something added before them.
        let places = 1 + random.below(12);
        let mut index = 0;
        while index < self.ops.len() {
            if random.below(self.ops.len()) < places {
                edit.insert(random);
            }
            index += edit.copy(index, random, places);
        }
        let Edit { out: code, points, differ, .. } = edit;
        // Two more groups: a counter of loops, and locals that nothing reads.
        let mut groups = self.groups.clone();
        groups.extend([(1, ValType::I32), (1 + random.below(3) as u32, ValType::I64)]);
        let mut bytes = encode_groups(&groups);
        let points = points.into_iter().map(|at| (at + bytes.len()) as u32).collect();
        bytes.extend(code);
        Edited { bytes, points, safepoints_differ: differ }
    }

    /// The code of an operator.
    fn bytes_of(&self, index: usize) -> &[u8] {
        let end = self.ops.get(index + 1).map_or(self.code.len(), |op| op.code);
        &self.code[self.ops[index].code..end]
    }

    /// Index of the end of the block that is opened at `index`.
    fn end_of(&self, index: usize) -> Option<usize> {
        let mut depth = 0;
        for (at, op) in self.ops.iter().enumerate().skip(index) {
            match op.class {
                Class::Open(_) | Class::OpenOther | Class::TryTable(..) => depth += 1,
                Class::End | Class::Delegate(_) => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

impl Edited {
    /// An edited body as it is in the program when it has come there in a new version of the whole module:
    /// neighbouring locals of one type are in one group. (Everything else is encoded in as few bytes as
    /// possible already.)
    pub fn regrouped(&self) -> Result<Edited> {
        let body = FunctionBody::new(BinaryReader::new(&self.bytes, 0));
        let code = body.get_operators_reader()?.original_position() as usize;
        let mut groups: Vec<(u32, ValType)> = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let ty = RoundtripReencoder.val_type(ty)?;
            match groups.last_mut() {
                _ if count == 0 => {}
                Some((before, last)) if *last == ty => *before += count,
                _ => groups.push((count, ty)),
            }
        }
        let mut bytes = encode_groups(&groups);
        let points = self.points.iter().map(|&at| at - code as u32 + bytes.len() as u32).collect();
        bytes.extend_from_slice(&self.bytes[code..]);
        Ok(Edited { bytes, points, safepoints_differ: self.safepoints_differ })
    }
}

/// Declarations of locals, in binary format.
fn encode_groups(groups: &[(u32, ValType)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    groups.len().encode(&mut bytes);
    for (count, ty) in groups {
        count.encode(&mut bytes);
        ty.encode(&mut bytes);
    }
    bytes
}

fn class(operator: &Operator<'_>) -> Result<Class> {
    use Operator as O;
    // The type of a block that fits around one of this type, if there is one.
    let around = |ty: wasmparser::BlockType| match ty {
        wasmparser::BlockType::Empty => Some(BlockType::Empty),
        wasmparser::BlockType::Type(ty) => match ty {
            wasmparser::ValType::I32 => Some(BlockType::Result(ValType::I32)),
            wasmparser::ValType::I64 => Some(BlockType::Result(ValType::I64)),
            wasmparser::ValType::F32 => Some(BlockType::Result(ValType::F32)),
            wasmparser::ValType::F64 => Some(BlockType::Result(ValType::F64)),
            wasmparser::ValType::V128 => Some(BlockType::Result(ValType::V128)),
            _ => None,
        },
        wasmparser::BlockType::FuncType(_) => None,
    };
    let open = |ty| around(ty).map_or(Class::OpenOther, Class::Open);
    Ok(match operator {
        O::I32Const { value } => Class::I32Const(*value),
        O::I64Const { value } => Class::I64Const(*value),
        O::F32Const { .. } | O::F64Const { .. } | O::LocalGet { .. } | O::GlobalGet { .. } => {
            Class::Push
        }
        O::I32Add | O::I32Mul | O::I32And | O::I32Or | O::I32Xor | O::I32Eq | O::I32Ne => {
            Class::Commutative
        }
        O::I64Add | O::I64Mul | O::I64And | O::I64Or | O::I64Xor | O::I64Eq | O::I64Ne => {
            Class::Commutative
        }
        O::Block { blockty } | O::Loop { blockty } | O::Try { blockty } => open(*blockty),
        O::TryTable { try_table } => {
            let catches = try_table.catches.iter().map(|&catch| match catch {
                wasmparser::Catch::One { tag, label } => Catch::One { tag, label },
                wasmparser::Catch::OneRef { tag, label } => Catch::OneRef { tag, label },
                wasmparser::Catch::All { label } => Catch::All { label },
                wasmparser::Catch::AllRef { label } => Catch::AllRef { label },
            });
            let ty = RoundtripReencoder.block_type(try_table.ty)?;
            Class::TryTable(around(try_table.ty), ty, catches.collect())
        }
        O::Delegate { relative_depth } => Class::Delegate(*relative_depth),
        O::Rethrow { relative_depth } => Class::Rethrow(*relative_depth),
        O::If { .. } => Class::OpenOther,
        O::End => Class::End,
        O::Br { relative_depth } => Class::Branch(*relative_depth),
        O::BrIf { relative_depth } => Class::BranchIf(*relative_depth),
        O::BrOnNull { relative_depth } => Class::BranchOnNull(*relative_depth),
        O::BrOnNonNull { relative_depth } => Class::BranchOnNonNull(*relative_depth),
        O::BrTable { targets } => {
            Class::BranchTable(targets.targets().collect::<Result<_, _>>()?, targets.default())
        }
        _ => Class::Other,
    })
}

/// An open block of the original.
struct Label {
    /// Whether a block was put around it.
    wrapped: bool,
    /// Whether it has handlers.
    guards: bool,
}

struct Edit<'a> {
    body: &'a Body,
    out: Vec<u8>,
    points: Vec<usize>,
    labels: Vec<Label>,
    /// An added local of type `i32`, for loops.
    counter: u32,
    /// An added local of type `i64` that nothing reads.
    unused: u32,
    additions: Additions,
    differ: bool,
}

impl Edit<'_> {
    fn emit(&mut self, instructions: &[Instruction<'_>]) {
        for instruction in instructions {
            instruction.encode(&mut self.out);
        }
    }

    /// Adds something that does nothing.
    fn insert(&mut self, random: &mut Random) {
        let number = random.word();
        let kinds = if self.additions.safepoints { 10 } else { 6 };
        match random.below(kinds) {
            0 | 1 => self.emit(&[Instruction::Nop]),
            2 => self.emit(&[Instruction::I32Const(number as i32), Instruction::Drop]),
            3 => self
                .emit(&[Instruction::I64Const(number as i64), Instruction::LocalSet(self.unused)]),
            4 => self.emit(&[Instruction::Block(BlockType::Empty), Instruction::End]),
            5 => self.emit(&[
                Instruction::I32Const(number as i32 & 1),
                Instruction::If(BlockType::Empty),
                Instruction::Nop,
                Instruction::End,
            ]),
            6 | 7 => {
                self.differ = true;
                self.emit(&[
                    Instruction::Loop(BlockType::Empty),
                    Instruction::Nop,
                    Instruction::End,
                ]);
            }
            8 => {
                self.differ = true;
                self.emit(&[
                    Instruction::I32Const(1 + (number % 3) as i32),
                    Instruction::LocalSet(self.counter),
                    Instruction::Loop(BlockType::Empty),
                    Instruction::LocalGet(self.counter),
                    Instruction::I32Const(1),
                    Instruction::I32Sub,
                    Instruction::LocalTee(self.counter),
                    Instruction::BrIf(0),
                    Instruction::End,
                ]);
            }
            _ => match self.additions.nothing {
                // What may throw makes handlers need values that frames of a body without it do not keep.
                Some(function) if !self.labels.iter().any(|label| label.guards) => {
                    self.differ = true;
                    self.emit(&[Instruction::Call(function)]);
                }
                _ => self.emit(&[Instruction::Nop]),
            },
        }
    }

    /// Copies the operator at `index`, perhaps in other words; returns how many it has copied.
    fn copy(&mut self, index: usize, random: &mut Random, places: usize) -> usize {
        let body = self.body;
        let op = &body.ops[index];
        // Where there is something to choose, choose it now and then.
        let chosen = random.below(body.ops.len().min(40)) < places;
        let pushes = |at: usize| {
            body.ops.get(at).is_some_and(|op| {
                matches!(op.class, Class::Push | Class::I32Const(_) | Class::I64Const(_))
            })
        };
        let commutes = body.ops.get(index + 2).is_some_and(|op| {
            matches!(op.class, Class::Commutative) && pushes(index) && pushes(index + 1)
        });
        if chosen && commutes {
            for at in [index + 1, index, index + 2] {
                self.out.extend_from_slice(body.bytes_of(at));
            }
            return 3;
        }
        match &op.class {
            Class::I32Const(value) if chosen => {
                let part = random.word() as i32;
                self.emit(&[
                    Instruction::I32Const(value.wrapping_sub(part)),
                    Instruction::I32Const(part),
                    Instruction::I32Add,
                ]);
                return 1;
            }
            Class::I64Const(value) if chosen => {
                let mask = random.word() as i64;
                self.emit(&[
                    Instruction::I64Const(value ^ mask),
                    Instruction::I64Const(mask),
                    Instruction::I64Xor,
                ]);
                return 1;
            }
            Class::Open(ty) => {
                let wrapped = chosen && self.may_wrap(index);
                if wrapped {
                    self.emit(&[Instruction::Block(*ty)]);
                }
                self.labels.push(Label { wrapped, guards: op.guards });
            }
            Class::OpenOther => self.labels.push(Label { wrapped: false, guards: op.guards }),
            Class::TryTable(around, ty, catches) => {
                let wrapped = chosen && around.is_some() && self.may_wrap(index);
                if let (Some(around), true) = (around, wrapped) {
                    self.emit(&[Instruction::Block(*around)]);
                }
                // Clauses count from outside the block that they belong to.
                let depth = |label: u32| self.depth(label) + u32::from(wrapped);
                let catches = catches.iter().map(|catch| match *catch {
                    Catch::One { tag, label } => Catch::One { tag, label: depth(label) },
                    Catch::OneRef { tag, label } => Catch::OneRef { tag, label: depth(label) },
                    Catch::All { label } => Catch::All { label: depth(label) },
                    Catch::AllRef { label } => Catch::AllRef { label: depth(label) },
                });
                let catches: Vec<Catch> = catches.collect();
                self.emit(&[Instruction::TryTable(*ty, Cow::Owned(catches))]);
                self.labels.push(Label { wrapped, guards: op.guards });
                return 1;
            }
            Class::Delegate(depth) => {
                let wrapped = self.labels.pop().is_some_and(|label| label.wrapped);
                let depth = self.depth(*depth) + u32::from(wrapped);
                self.emit(&[Instruction::Delegate(depth)]);
                if wrapped {
                    self.emit(&[Instruction::End]);
                }
                return 1;
            }
            Class::Rethrow(depth) => {
                let depth = self.depth(*depth);
                self.emit(&[Instruction::Rethrow(depth)]);
                return 1;
            }
            Class::End => {
                self.out.extend_from_slice(body.bytes_of(index));
                if self.labels.pop().is_some_and(|label| label.wrapped) {
                    self.emit(&[Instruction::End]);
                }
                return 1;
            }
            Class::Branch(depth) => {
                let depth = self.depth(*depth);
                self.emit(&[Instruction::Br(depth)]);
                return 1;
            }
            Class::BranchIf(depth) => {
                let depth = self.depth(*depth);
                self.emit(&[Instruction::BrIf(depth)]);
                return 1;
            }
            Class::BranchOnNull(depth) => {
                let depth = self.depth(*depth);
                self.emit(&[Instruction::BrOnNull(depth)]);
                return 1;
            }
            Class::BranchOnNonNull(depth) => {
                let depth = self.depth(*depth);
                self.emit(&[Instruction::BrOnNonNull(depth)]);
                return 1;
            }
            Class::BranchTable(targets, default) => {
                let targets: Vec<u32> = targets.iter().map(|depth| self.depth(*depth)).collect();
                let default = self.depth(*default);
                self.emit(&[Instruction::BrTable(targets.into(), default)]);
                return 1;
            }
            _ => {}
        }
        if op.safepoint && op.reached {
            self.points.push(self.out.len());
        }
        self.out.extend_from_slice(body.bytes_of(index));
        1
    }

    /// Whether the block that is opened at `index` may get another one around it.
    fn may_wrap(&mut self, index: usize) -> bool {
        let Some(end) = self.body.end_of(index) else { return false };
        let safepoints = self.body.ops[index..end].iter().any(|op| op.safepoint);
        let may = self.additions.safepoints || !safepoints;
        self.differ |= may && safepoints;
        may
    }

    /// The depth of a branch, with the added blocks that it leaves.
    fn depth(&self, depth: u32) -> u32 {
        let left = self.labels.iter().rev().take(depth as usize);
        depth + left.filter(|label| label.wrapped).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::{difference, observe_midair};
    use crate::program::{program, program_with_exceptions};
    use crate::replace_stress::functions::Functions;
    use crate::replace_stress::whole_module::may_have_moved;
    use midair::{Config, Engine, Module, Tier};
    use std::collections::BTreeMap;

    /// A program; every other one has exceptions.
    fn some_program(seed: u64, bytes: &[u8]) -> Vec<u8> {
        if seed % 4 < 2 { program(bytes) } else { program_with_exceptions(bytes) }
    }

    /// The module with other bodies.
    fn with_bodies(wasm: &[u8], bodies: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
        crate::replace_stress::functions::rewrite(wasm, None, bodies).unwrap()
    }

    #[test]
    fn edited_programs_are_valid_and_do_the_same() {
        let mut config = Config::new();
        config.tier(Tier::Interp).max_wasm_stack(4 << 20);
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..2_000).map(|_| random.word() as u8).collect();
            let wasm = some_program(seed, &bytes);
            let functions = Functions::new(&wasm).unwrap();
            let additions = Additions { safepoints: seed % 2 == 0, nothing: None };
            let random = std::cell::RefCell::new(random);
            let edited = with_bodies(&wasm, |function| {
                let body = functions.body(&wasm, function).unwrap();
                body.edit(&mut random.borrow_mut(), additions).bytes
            });
            if let Err(error) = crate::program::validate(&edited) {
                panic!("seed {seed}: {error}");
            }
            let expected = observe_midair(&config, &wasm).unwrap();
            let actual = observe_midair(&config, &edited).unwrap();
            if let Some(difference) = difference(&expected, &actual, false) {
                panic!("seed {seed}: {difference}");
            }
        }
    }

    #[test]
    fn edited_bodies_are_in_the_program_as_they_are_thought_to_be() {
        let engine = Engine::default();
        let mut changed = 0;
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..2_000).map(|_| random.word() as u8).collect();
            let wasm = some_program(seed, &bytes);
            let functions = Functions::new(&wasm).unwrap();
            let edited: BTreeMap<u32, Edited> = functions
                .defined()
                .map(|function| {
                    let body = functions.body(&wasm, function).unwrap();
                    (function, body.edit(&mut random, Additions::default()))
                })
                .collect();
            let module = Module::new(&engine, &wasm).unwrap();
            let after = with_bodies(&wasm, |function| edited[&function].bytes.clone());
            let applied = match module.update().module(&after).unwrap().apply() {
                Err(error) if may_have_moved(&error) => continue,
                applied => applied.unwrap(),
            };
            for export in module.exports() {
                let Some(function) = module.function_index(export.name()) else { continue };
                if applied.function(function).is_some() {
                    let body = edited[&function].regrouped().unwrap();
                    assert_eq!(module.function_body(export.name()), Some(body.bytes), "{seed}");
                    changed += 1;
                }
            }
        }
        assert!(changed > 0);
    }

    #[test]
    fn points_lead_to_the_same_operators() {
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..2_000).map(|_| random.word() as u8).collect();
            let wasm = some_program(seed, &bytes);
            let functions = Functions::new(&wasm).unwrap();
            for function in functions.defined() {
                let body = functions.body(&wasm, function).unwrap();
                let additions = Additions { safepoints: true, nothing: None };
                let (old, new) = (body.unchanged(), body.edit(&mut random, additions));
                let new = if seed % 2 == 0 { new } else { new.regrouped().unwrap() };
                assert_eq!(old.points.len(), new.points.len());
                for (old_point, new_point) in old.points.iter().zip(&new.points) {
                    let operator = |bytes: &[u8], at: u32| {
                        let at = at as usize;
                        let mut reader = wasmparser::OperatorsReader::new(BinaryReader::new(
                            &bytes[at..],
                            at as _,
                        ));
                        format!("{:?}", reader.read().unwrap())
                    };
                    assert_eq!(operator(&old.bytes, *old_point), operator(&new.bytes, *new_point));
                }
            }
        }
    }
}
