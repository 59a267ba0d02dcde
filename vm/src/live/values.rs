//! What the values of a body are made of: a graph in static single assignment form, by which variables of two bodies
//! are told to be the same whatever locals they are in.
//!
//! Every value has one definition: a parameter, a constant, an operator over other values, the result of a call, or a
//! place where control flow meets. Locals and the operand stack only say where values are: at each safepoint
//! the graph tells which value each live local and each operand is.
//!
//! ```text
//!   (loop $l                                    n = Phi(0, n')      the loop's header
//!     (local.set $n (i32.add (local.get $n)     n' = Op(i32.add, n, 1)
//!                            (i32.const 1)))
//!     (call $f (local.get $n))                  here: $n is n'
//!     (br $l))
//! ```
//!
//! An exception is a value too: what comes out of a call besides its results, or what is thrown. It flows along the edges
//! that lead to handlers, and what a handler is given is computed from it.
//!
//! Operators that read what others write (memory, tables, globals) have an [`Kind::Effect`] among their inputs: what has
//! been written since the last safepoint. So two of them are the same value only if nothing came between.

mod assigned;
mod exceptions;

use super::body_types::BodyTypes;
use super::canonical;
use super::effects::{Access, access, commutes};
use super::safepoints::Safepoints;
use crate::types::slots::halves;
use assigned::assigned_in_loops;
use exceptions::Handlers;
use midair_tiers::atomics::WAIT_OPERANDS;
use midair_tiers::caught::CaughtLocals;
use midair_tiers::liveness::Liveness;
use midair_tiers::{FunctionBody, ModuleEnv, ValType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::LazyLock;
use wasmparser::{BlockType, FuncValidator, FuncValidatorAllocations, Operator};
use wasmparser::{FuncToValidate, ValidatorResources};

/// Number of a value in its graph.
pub(crate) type Id = u32;

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Kind {
    /// A parameter of the function.
    Param(u32),
    /// A constant, by its slots, of which the second is 0 unless it is a vector: also a local that has not been set.
    Const([u64; 2]),
    /// What an operator computes from its inputs: a hash of its bytes, which of its results it is, and whether its
    /// first two inputs may change places. The hash has a key that is the process's secret, so that no body can be made
    /// to collide.
    Op { hash: u64, result: u32, commutes: bool },
    /// What the call at this safepoint (an index) has returned as this result.
    Call { safepoint: u32, result: u32 },
    /// So many operators that write something have come since this safepoint (an index).
    Effect { safepoint: u32, writes: u32 },
    /// A variable of the loop with this header (a safepoint's index). Its inputs are what it is on entry, and what it is
    /// each time that the loop goes on.
    Phi { header: u32 },
    /// Control flow meets: for each way in, the value, and what decided to go that way.
    Join,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    /// `None` for effects.
    pub(crate) ty: Option<ValType>,
    pub(crate) inputs: Inputs,
}

/// What a value is made of.
pub(crate) type Inputs = SmallVec<[Id; 4]>;

/// Where values are at a safepoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameValues {
    /// Live locals, in ascending order, with their values.
    pub(crate) locals: Vec<(u32, Id)>,
    /// The operands; after a call without its results.
    pub(crate) operands: Vec<Id>,
}

/// The values of a body.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) values: Vec<Value>,
    /// By safepoint, in the order of [`Safepoints::points`].
    pub(crate) frames: Vec<FrameValues>,
    users: Users,
}

/// Who uses the values of a body.
#[derive(Debug, Default)]
struct Users {
    /// By value, where its users begin in `all`; one more for the end.
    starts: Vec<u32>,
    /// Who uses it, and as which input.
    all: Vec<(Id, u32)>,
}

/// Values that a graph may have, and values that these may be made of. Together they take some hundred megabytes.
const MOST_VALUES: usize = 1 << 20;
const MOST_INPUTS: usize = 4 << 20;
/// Numbers of values that may be copied or compared to make a graph: some ten milliseconds, besides the values.
const MOST_STEPS: usize = 16 << 20;

/// Operators on the way from a counter to its next value: compilers' counters have one or two.
const MOST_STEPS_OF_COUNTER: u32 = 4;

/// Where control flow comes into the end of a block, or goes on with a loop.
struct Edge {
    locals: Rc<[Id]>,
    values: Rc<[Id]>,
    /// What decided to go this way, if anything did.
    condition: Option<Id>,
}

/// An open block.
struct Block {
    kind: BlockKind,
    /// Height of the operand stack below its parameters.
    height: usize,
    /// Number of values that a branch to it takes along, and that there are behind it.
    branch: usize,
    results: usize,
    /// Nothing leads into it, so that nothing is known there.
    dead: bool,
    edges: Vec<Edge>,
    handlers: Option<Handlers>,
}

enum BlockKind {
    Block,
    /// Locals with phis, and then the phis of its parameters.
    Loop {
        phis: Vec<(Option<u32>, Id)>,
    },
    /// What an `if` without `else`, or its `else`, begins with.
    If {
        condition: Id,
        locals: Vec<Id>,
        values: Vec<Id>,
    },
}

/// In place of a result: the exception that comes out of a call.
const EXCEPTION: u32 = u32::MAX - 1;

/// The graph is too large.
struct TooLarge;

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Values {
    /// The values of a body, which is valid; `None` if it is too large.
    pub(crate) fn new(
        env: &ModuleEnv,
        body: &FunctionBody,
        validate: FuncToValidate<ValidatorResources>,
        safepoints: &Safepoints,
        liveness: &Liveness,
    ) -> Option<Values> {
        let caught = CaughtLocals::of(body).ok()?;
        let first_caught = safepoints.locals.len() - caught.count();
        let assigned = assigned_in_loops(body, &caught, first_caught as u32)?;
        let mut builder = Builder {
            env,
            safepoints,
            liveness,
            graph: Values {
                frames: vec![FrameValues::default(); safepoints.points.len()],
                ..Values::default()
            },
            known: FxHashMap::default(),
            locals: Vec::new(),
            stack: Vec::new(),
            blocks: Vec::new(),
            effect: (0, 0),
            reachable: true,
            steps: 0,
            inputs: 0,
            assigned,
            loops: 0,
            types: BodyTypes::default(),
            caught,
            first_caught: first_caught as u32,
        };
        builder.run(body, validate).ok()?;
        let mut graph = builder.graph;
        graph.users = Users::of(&graph.values);
        Some(graph)
    }

    /// Whether a variable of a loop depends on nothing but how many times the loop has gone round, and on what was there
    /// before it.
    pub(crate) fn is_counter(&self, id: Id) -> bool {
        let Value { kind: Kind::Phi { .. }, inputs, .. } = &self.values[id as usize] else {
            return false;
        };
        inputs[1..].iter().all(|&next| self.counts(next, id, MOST_STEPS_OF_COUNTER))
    }

    fn counts(&self, id: Id, counter: Id, depth: u32) -> bool {
        let value = &self.values[id as usize];
        match value.kind {
            _ if id == counter => true,
            Kind::Const(_) => true,
            // Of the same loop: it is another variable.
            Kind::Phi { .. } if value.kind == self.values[counter as usize].kind => false,
            // Made before the loop.
            _ if id < counter => true,
            Kind::Op { .. } => {
                depth > 0
                    && value.inputs.iter().all(|&input| self.counts(input, counter, depth - 1))
            }
            _ => false,
        }
    }

    /// The values that are made of this one, and as which input.
    pub(crate) fn users(&self, id: Id) -> &[(Id, u32)] {
        let at = |id: usize| self.users.starts[id] as usize;
        &self.users.all[at(id as usize)..at(id as usize + 1)]
    }
}

impl Users {
    fn of(values: &[Value]) -> Users {
        let inputs = || values.iter().flat_map(|value| &value.inputs);
        let mut starts = vec![0; values.len() + 1];
        for &input in inputs() {
            starts[input as usize + 1] += 1;
        }
        for i in 0..values.len() {
            starts[i + 1] += starts[i];
        }
        let mut all = vec![(0, 0); inputs().count()];
        let mut next = starts.clone();
        for (id, value) in (0..).zip(values) {
            for (i, &input) in (0..).zip(&value.inputs) {
                let place = &mut next[input as usize];
                all[*place as usize] = (id, i);
                *place += 1;
            }
        }
        Users { starts, all }
    }
}

struct Builder<'a> {
    env: &'a ModuleEnv,
    safepoints: &'a Safepoints,
    liveness: &'a Liveness,
    graph: Values,
    /// Values that are the same whenever they are computed from the same, by a hash of what they are. Its key is the
    /// process's secret. One of two with the same hash is not there, and is made anew each time.
    known: FxHashMap<u64, Id>,
    locals: Vec<Id>,
    stack: Vec<Id>,
    blocks: Vec<Block>,
    /// The last safepoint, and how much has been written since.
    effect: (u32, u32),
    /// Whether anything leads to the present operator.
    reachable: bool,
    steps: usize,
    /// Inputs of all values.
    inputs: usize,
    /// See [`assigned_in_loops`], and how many loops have begun.
    assigned: Vec<Vec<u32>>,
    loops: usize,
    types: BodyTypes,
    caught: CaughtLocals,
    first_caught: u32,
}

/// Types of a block's parameters and results.
fn block_type(env: &ModuleEnv, ty: BlockType) -> (Vec<ValType>, Vec<ValType>) {
    match ty {
        BlockType::Empty => (Vec::new(), Vec::new()),
        BlockType::Type(ty) => (Vec::new(), env.val_type(ty).into_iter().collect()),
        BlockType::FuncType(index) => env
            .types
            .get(index as usize)
            .map_or_else(Default::default, |ty| (ty.params.to_vec(), ty.results.to_vec())),
    }
}

impl Builder<'_> {
    fn run(
        &mut self,
        body: &FunctionBody,
        validate: FuncToValidate<ValidatorResources>,
    ) -> Result<(), TooLarge> {
        let invalid = |_| TooLarge;
        let mut validator = validate.into_validator(FuncValidatorAllocations::default());
        let mut bytes = body.reader().get_binary_reader();
        validator.read_locals(&mut bytes).map_err(invalid)?;
        let ty = self.env.func_type(body.function).clone();
        for (i, &ty) in self.safepoints.locals.iter().enumerate() {
            let kind =
                if i < self.params(body) { Kind::Param(i as u32) } else { Kind::Const([0; 2]) };
            let local = self.value(kind, Some(ty), Inputs::new())?;
            self.locals.push(local);
        }
        self.record(0, 0)?;
        self.blocks.push(Block {
            kind: BlockKind::Block,
            height: 0,
            branch: ty.results.len(),
            results: ty.results.len(),
            dead: false,
            edges: Vec::new(),
            handlers: None,
        });
        let mut buffer = Vec::new();
        let mut operators = wasmparser::OperatorsReader::new(bytes);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
            let end = operators.original_position() as usize;
            let arity = operator.operator_arity(&validator);
            validator.op(offset as _, &operator).map_err(invalid)?;
            let bytes = &body.bytes()[offset as usize..end];
            let bytes = canonical::shortest(&operator, bytes, &mut buffer);
            self.operator(&operator, offset as u32, bytes, arity, &validator)?;
        }
        Ok(())
    }

    fn params(&self, body: &FunctionBody) -> usize {
        self.env.func_type(body.function).params.len()
    }

    fn step(&mut self, count: usize) -> Result<(), TooLarge> {
        self.steps += count + 1;
        if self.steps > MOST_STEPS { Err(TooLarge) } else { Ok(()) }
    }

    /// Counts so many more inputs.
    fn more_inputs(&mut self, count: usize) -> Result<(), TooLarge> {
        self.inputs += count;
        if self.inputs > MOST_INPUTS { Err(TooLarge) } else { Ok(()) }
    }

    fn value(&mut self, kind: Kind, ty: Option<ValType>, inputs: Inputs) -> Result<Id, TooLarge> {
        self.step(inputs.len())?;
        let id = self.graph.values.len() as Id;
        // Each variable of a loop is one of its own.
        if !matches!(kind, Kind::Phi { .. }) {
            let hash = KEY.hash_one((kind, ty, &inputs[..]));
            if let Some(&known) = self.known.get(&hash) {
                let value = &self.graph.values[known as usize];
                if (value.kind, value.ty, &value.inputs) == (kind, ty, &inputs) {
                    return Ok(known);
                }
            } else {
                self.known.insert(hash, id);
            }
        }
        self.more_inputs(inputs.len())?;
        self.graph.values.push(Value { kind, ty, inputs });
        if self.graph.values.len() > MOST_VALUES { Err(TooLarge) } else { Ok(id) }
    }

    fn effect(&mut self) -> Result<Id, TooLarge> {
        let (safepoint, writes) = self.effect;
        self.value(Kind::Effect { safepoint, writes }, None, Inputs::new())
    }

    fn pop(&mut self) -> Id {
        self.stack.pop().expect("a valid body")
    }

    fn pop_many(&mut self, count: usize) -> Inputs {
        let at = self.stack.len() - count;
        self.stack.drain(at..).collect()
    }

    /// The index of the safepoint at a point, if there is one.
    fn safepoint(&self, point: u32) -> Option<u32> {
        let points = &self.safepoints.points;
        points.binary_search_by_key(&point, |safepoint| safepoint.point).ok().map(|i| i as u32)
    }

    /// Notes where values are at a safepoint, with so many operands that do not count on top.
    fn record(&mut self, index: u32, above: usize) -> Result<(), TooLarge> {
        let point = self.safepoints.points[index as usize].point;
        let live = self.liveness.at(point);
        let locals = live.iter().flat_map(|live| live.iter());
        let locals: Vec<_> = locals.map(|local| (local, self.locals[local as usize])).collect();
        let operands = self.stack[..self.stack.len() - above].to_vec();
        self.step(locals.len() + operands.len())?;
        self.graph.frames[index as usize] = FrameValues { locals, operands };
        self.effect = (index, 0);
        Ok(())
    }

    /// Control goes to one of these blocks.
    fn branch(&mut self, depths: &[u32], condition: Option<Id>) -> Result<(), TooLarge> {
        self.step(self.locals.len() + depths.len())?;
        let locals: Rc<[Id]> = self.locals.as_slice().into();
        let mut values: Rc<[Id]> = Rc::default();
        for depth in depths {
            let at = self.blocks.len() - 1 - *depth as usize;
            let count = self.blocks[at].branch;
            // Most often none; of a table each time as many.
            if values.len() != count {
                self.step(count)?;
                values = self.stack[self.stack.len() - count..].into();
            }
            let edge = Edge { locals: locals.clone(), values: values.clone(), condition };
            self.blocks[at].edges.push(edge);
        }
        Ok(())
    }

    fn enter(&mut self, kind: BlockKind, params: usize, branch: usize, results: usize) {
        let height = self.stack.len() - params;
        let (edges, handlers) = (Vec::new(), None);
        self.blocks.push(Block { kind, height, branch, results, dead: false, edges, handlers });
    }

    /// Makes the variables of a loop, which begins.
    fn enter_loop(&mut self, ty: BlockType, point: u32) -> Result<(), TooLarge> {
        let (params, results) = block_type(self.env, ty);
        let header = self.safepoint(point).ok_or(TooLarge)?;
        let mut phis = Vec::new();
        let assigned = std::mem::take(&mut self.assigned[self.loops]);
        for &local in &assigned {
            let ty = self.safepoints.locals[local as usize];
            let before = self.locals[local as usize];
            let phi = self.value(Kind::Phi { header }, Some(ty), Inputs::from_elem(before, 1))?;
            self.locals[local as usize] = phi;
            phis.push((Some(local), phi));
        }
        let below = self.stack.len() - params.len();
        for (i, &ty) in params.iter().enumerate() {
            let before = self.stack[below + i];
            let phi = self.value(Kind::Phi { header }, Some(ty), Inputs::from_elem(before, 1))?;
            self.stack[below + i] = phi;
            phis.push((None, phi));
        }
        self.enter(BlockKind::Loop { phis }, params.len(), params.len(), results.len());
        self.record(header, 0)
    }

    /// A block ends: what comes out of it is what its edges agree on.
    fn end(&mut self) -> Result<(), TooLarge> {
        let Some(mut block) = self.blocks.pop() else { return Ok(()) };
        if block.dead {
            return Ok(());
        }
        let mut edges = std::mem::take(&mut block.edges);
        if let BlockKind::Loop { phis } = &block.kind {
            for edge in edges.drain(..) {
                self.step(phis.len())?;
                self.more_inputs(phis.len())?;
                let mut params = edge.values.iter();
                for &(local, phi) in phis {
                    let next = match local {
                        Some(local) => edge.locals[local as usize],
                        None => *params.next().expect("a value for each parameter"),
                    };
                    self.graph.values[phi as usize].inputs.push(next);
                }
            }
        }
        if self.reachable {
            let values = self.pop_many(block.results);
            let condition = match &block.kind {
                BlockKind::If { condition, .. } => Some(*condition),
                _ => None,
            };
            self.step(self.locals.len())?;
            let locals = self.locals.as_slice().into();
            edges.push(Edge { locals, values: values.as_slice().into(), condition });
        }
        if let Some(handlers) = block.handlers.take() {
            self.stack.truncate(block.height);
            self.end_handlers(handlers)?;
        }
        if let BlockKind::If { condition, locals, values } = block.kind {
            // Without an `else` its parameters are its results.
            let (locals, values) = (locals.into(), values.into());
            edges.push(Edge { locals, values, condition: Some(condition) });
        }
        self.meet(block.height, edges)
    }

    /// Goes on where these edges meet.
    fn meet(&mut self, height: usize, edges: Vec<Edge>) -> Result<(), TooLarge> {
        self.stack.truncate(height);
        self.reachable = !edges.is_empty();
        let Some(first) = edges.first() else { return Ok(()) };
        let (locals, results) = (first.locals.len(), first.values.len());
        self.step(edges.len() * (locals + results))?;
        let mut met = Vec::with_capacity(locals + results);
        for i in 0..locals + results {
            let of = |edge: &Edge| match i.checked_sub(locals) {
                None => edge.locals[i],
                Some(result) => edge.values[result],
            };
            let one = of(&edges[0]);
            if edges.iter().all(|edge| of(edge) == one) {
                met.push(one);
                continue;
            }
            let ty = self.graph.values[one as usize].ty;
            let inputs = edges.iter().flat_map(|edge| [Some(of(edge)), edge.condition]).flatten();
            let join = self.value(Kind::Join, ty, inputs.collect())?;
            met.push(join);
        }
        self.stack.extend(met.split_off(locals));
        self.locals = met;
        Ok(())
    }

    fn operator(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
        bytes: &[u8],
        arity: Option<(u32, u32)>,
        validator: &FuncValidator<ValidatorResources>,
    ) -> Result<(), TooLarge> {
        self.step(0)?;
        if !self.reachable {
            return self.unreachable(operator);
        }
        match *operator {
            Operator::Nop => {}
            Operator::Drop => drop(self.pop()),
            Operator::LocalGet { local_index } => {
                self.stack.push(self.locals[local_index as usize])
            }
            Operator::LocalSet { local_index } => self.locals[local_index as usize] = self.pop(),
            Operator::LocalTee { local_index } => {
                self.locals[local_index as usize] = *self.stack.last().expect("a valid body");
            }
            Operator::I32Const { value } => {
                self.constant(ValType::I32, u64::from(value as u32))?;
            }
            Operator::I64Const { value } => self.constant(ValType::I64, value as u64)?,
            Operator::F32Const { value } => self.constant(ValType::F32, value.bits().into())?,
            Operator::F64Const { value } => self.constant(ValType::F64, value.bits())?,
            Operator::V128Const { value } => {
                let slots = halves(u128::from_le_bytes(*value.bytes()));
                self.constant_of_slots(ValType::V128, slots)?;
            }
            Operator::Block { blockty } => {
                let (params, results) = block_type(self.env, blockty);
                self.enter(BlockKind::Block, params.len(), results.len(), results.len());
            }
            Operator::If { blockty } => {
                let condition = self.pop();
                let (params, results) = block_type(self.env, blockty);
                let values = self.stack[self.stack.len() - params.len()..].to_vec();
                self.step(self.locals.len() + values.len())?;
                let kind = BlockKind::If { condition, locals: self.locals.clone(), values };
                self.enter(kind, params.len(), results.len(), results.len());
            }
            Operator::Loop { blockty } => {
                self.enter_loop(blockty, point)?;
                self.loops += 1;
            }
            Operator::Else => self.otherwise()?,
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => {
                self.branch(&[relative_depth], None)?;
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                self.branch(&[relative_depth], Some(condition))?;
            }
            Operator::BrOnNull { relative_depth } => {
                let reference = self.pop();
                let kind = Kind::Op { hash: KEY.hash_one("is null"), result: 0, commutes: false };
                let is_null =
                    self.value(kind, Some(ValType::I32), Inputs::from_elem(reference, 1))?;
                self.branch(&[relative_depth], Some(is_null))?;
                self.stack.push(reference);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let reference = self.stack.last().copied().ok_or(TooLarge)?;
                self.branch(&[relative_depth], Some(reference))?;
                self.pop();
            }
            Operator::BrTable { ref targets } => {
                let selector = self.pop();
                let mut depths: Vec<u32> =
                    targets.targets().flatten().chain([targets.default()]).collect();
                self.step(depths.len())?;
                depths.sort_unstable();
                depths.dedup();
                self.branch(&depths, Some(selector))?;
                self.reachable = false;
            }
            Operator::TryTable { .. }
            | Operator::Try { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. } => self.exceptional(operator, point, bytes)?,
            Operator::Return | Operator::Unreachable => self.reachable = false,
            Operator::ReturnCall { function_index } => {
                let params = self.env.func_type(function_index).params.len();
                self.tail_call(params, bytes)?;
            }
            Operator::ReturnCallIndirect { type_index, .. }
            | Operator::ReturnCallRef { type_index } => {
                let params = self.env.types[type_index as usize].params.len();
                self.tail_call(params + 1, bytes)?;
            }
            Operator::Call { function_index } => {
                let ty = self.env.func_type(function_index).clone();
                self.call(point, ty.params.len(), &ty.results)?;
            }
            Operator::CallIndirect { type_index, .. } | Operator::CallRef { type_index } => {
                let ty = self.env.types[type_index as usize].clone();
                self.call(point, ty.params.len() + 1, &ty.results)?;
            }
            Operator::MemoryAtomicWait32 { .. } | Operator::MemoryAtomicWait64 { .. } => {
                self.call(point, WAIT_OPERANDS, &[ValType::I32])?;
            }
            _ => {
                let (params, results) = arity.ok_or(TooLarge)?;
                self.computed(operator, bytes, params as usize, results as usize, validator)?;
            }
        }
        Ok(())
    }

    fn constant(&mut self, ty: ValType, bits: u64) -> Result<(), TooLarge> {
        self.constant_of_slots(ty, [bits, 0])
    }

    fn constant_of_slots(&mut self, ty: ValType, slots: [u64; 2]) -> Result<(), TooLarge> {
        let value = self.value(Kind::Const(slots), Some(ty), Inputs::new())?;
        self.stack.push(value);
        Ok(())
    }

    fn call(&mut self, point: u32, arguments: usize, results: &[ValType]) -> Result<(), TooLarge> {
        let safepoint = self.safepoint(point).ok_or(TooLarge)?;
        self.record(safepoint, arguments)?;
        let inputs = self.pop_many(arguments);
        let throws = Kind::Call { safepoint, result: EXCEPTION };
        if self.blocks.iter().any(|block| block.handlers.is_some()) {
            self.step(self.blocks.len())?;
            let exception = self.value(throws, Some(ValType::EXNREF), inputs.clone())?;
            self.thrown(exception)?;
        }
        for (result, &ty) in (0..).zip(results) {
            let value = self.value(Kind::Call { safepoint, result }, Some(ty), inputs.clone())?;
            self.stack.push(value);
        }
        if results.is_empty() {
            // Nobody uses it; but its arguments have been used.
            self.value(Kind::Call { safepoint, result: u32::MAX }, None, inputs)?;
        }
        Ok(())
    }

    /// Nobody uses what it returns; but its arguments have been used.
    fn tail_call(&mut self, arguments: usize, bytes: &[u8]) -> Result<(), TooLarge> {
        let inputs = self.pop_many(arguments);
        let hash = KEY.hash_one(bytes);
        self.value(Kind::Op { hash, result: u32::MAX, commutes: false }, None, inputs)?;
        self.reachable = false;
        Ok(())
    }

    fn computed(
        &mut self,
        operator: &Operator<'_>,
        bytes: &[u8],
        params: usize,
        results: usize,
        validator: &FuncValidator<ValidatorResources>,
    ) -> Result<(), TooLarge> {
        let mut inputs = self.pop_many(params);
        let access = access(operator);
        if access != Access::Pure {
            let effect = self.effect()?;
            inputs.push(effect);
        }
        if access == Access::Write {
            self.effect.1 += 1;
        }
        let (hash, commutes) = (KEY.hash_one(bytes), commutes(operator));
        for result in 0..results as u32 {
            let depth = results - 1 - result as usize;
            let ty = validator.get_operand_type(depth).flatten();
            let ty = ty.and_then(|ty| self.types.val_type(self.env, validator, ty));
            let kind = Kind::Op { hash, result, commutes };
            let value = self.value(kind, ty, inputs.clone())?;
            self.stack.push(value);
        }
        if results == 0 {
            let kind = Kind::Op { hash, result: u32::MAX, commutes };
            self.value(kind, None, inputs)?;
        }
        Ok(())
    }

    /// An `else`: the first half ends, the second one begins as the first did.
    fn otherwise(&mut self) -> Result<(), TooLarge> {
        let at = self.blocks.len() - 1;
        if self.blocks[at].dead {
            return Ok(());
        }
        let kind = std::mem::replace(&mut self.blocks[at].kind, BlockKind::Block);
        let BlockKind::If { condition, locals, values } = kind else { return Err(TooLarge) };
        if self.reachable {
            let results = self.blocks[at].results;
            let brought = self.pop_many(results);
            let (locals, values) = (self.locals.as_slice().into(), brought.as_slice().into());
            let edge = Edge { locals, values, condition: Some(condition) };
            self.blocks[at].edges.push(edge);
        }
        self.stack.truncate(self.blocks[at].height);
        self.stack.extend(values);
        self.locals = locals;
        self.reachable = true;
        self.step(self.locals.len())
    }

    /// An operator that nothing leads to.
    fn unreachable(&mut self, operator: &Operator<'_>) -> Result<(), TooLarge> {
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => {
                self.loops += usize::from(matches!(operator, Operator::Loop { .. }));
                let (kind, edges) = (BlockKind::Block, Vec::new());
                let (height, dead, handlers) = (self.stack.len(), true, None);
                self.blocks.push(Block {
                    kind,
                    height,
                    branch: 0,
                    results: 0,
                    dead,
                    edges,
                    handlers,
                });
            }
            Operator::Else => self.otherwise()?,
            Operator::Catch { tag_index } => self.catch(Some(*tag_index))?,
            Operator::CatchAll => self.catch(None)?,
            Operator::Delegate { relative_depth } => self.delegate(*relative_depth)?,
            Operator::End => self.end()?,
            _ => {}
        }
        Ok(())
    }
}
