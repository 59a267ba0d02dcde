//! Which locals are live at the safepoints of a body.
//!
//! A local is live at a point if some path of the bytecode from there reads it before it writes it.
//! Frame states name live locals only: keeping others alive costs registers and spills, and blocks
//! rematerialisation.
//!
//! This is the classic backward dataflow over basic blocks. One forward pass over the operators
//! builds the control-flow graph and, for every block, the sequence of what matters in it (reads,
//! writes, safepoints); sets are solved to a fixed point; one more pass through the blocks that
//! contain safepoints records the set at each.
//!
//! What an exception may lead to counts as following what throws it: a call inside a `try` ends its block, from which
//! an edge leads to the *dispatch* of the `try`, an empty block with an edge to each of its handlers and, unless one of
//! them catches everything, to the dispatch further out.

use crate::body::FunctionBody;
use crate::caught::CaughtLocals;
use smallvec::SmallVec;
use std::collections::HashMap;
use wasmparser::{Catch, Operator, OperatorsReader};

/// Bits of one word of a set.
const BITS: usize = u64::BITS as usize;

/// The live locals at one point: bit `i` of word `i / 64` says whether local `i` is live.
#[derive(Clone, Copy, Debug)]
pub struct LocalSet<'a> {
    words: &'a [u64],
}

impl<'a> LocalSet<'a> {
    /// Whether the local is in the set.
    pub fn contains(self, local: u32) -> bool {
        let local = local as usize;
        self.words.get(local / BITS).is_some_and(|word| word >> (local % BITS) & 1 != 0)
    }

    /// The locals in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            std::iter::successors((word != 0).then_some(word), |rest| {
                let rest = rest & (rest - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |rest| (index * BITS) as u32 + rest.trailing_zeros())
        })
    }
}

/// Why a body cannot be analysed.
#[derive(Clone, Debug)]
pub enum LivenessError {
    /// The sets would take too much memory.
    TooLarge,
    /// The body does not parse.
    Parse(wasmparser::BinaryReaderError),
}

impl From<wasmparser::BinaryReaderError> for LivenessError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        LivenessError::Parse(error)
    }
}

/// Most words of all sets of one kind: 64 MiB.
const MAX_WORDS: usize = 8 << 20;

/// Liveness of the locals of one body at its entry, after its calls, and at its loop headers and handlers.
#[derive(Debug)]
pub struct Liveness {
    words_per_set: usize,
    words: Vec<u64>,
    /// Point to index of its set.
    safepoints: HashMap<u32, u32>,
    blocks: u32,
    calls: u32,
    loops: u32,
    runtime_calls: bool,
    tail_calls: bool,
    fan_out: u64,
}

impl Liveness {
    /// Analyses a body whose locals number `locals`: parameters, declared and hidden ones.
    pub fn new(body: &FunctionBody, locals: u32) -> Result<Liveness, LivenessError> {
        let caught = CaughtLocals::of(body)?;
        Self::of_operators(body.reader().get_operators_reader()?, locals, &caught)
    }

    fn of_operators(
        operators: OperatorsReader<'_>,
        locals: u32,
        caught: &CaughtLocals,
    ) -> Result<Liveness, LivenessError> {
        let graph = Graph::new(operators, caught, locals)?;
        let words_per_set = (locals as usize).div_ceil(BITS);
        let safepoints = graph.calls as usize + graph.loops as usize + graph.handlers as usize + 1;
        let sets = graph.blocks.len().max(safepoints);
        if sets.saturating_mul(words_per_set) > MAX_WORDS {
            return Err(LivenessError::TooLarge);
        }
        let live_out = graph.solve(words_per_set);
        let mut liveness = Liveness {
            words_per_set,
            words: Vec::new(),
            safepoints: HashMap::with_capacity(safepoints),
            blocks: graph.blocks.len() as u32,
            calls: graph.calls,
            loops: graph.loops,
            runtime_calls: graph.runtime_calls,
            tail_calls: graph.tail_calls,
            fan_out: graph.fan_out,
        };
        let mut live = vec![0; words_per_set];
        for (index, block) in graph.blocks.iter().enumerate() {
            if !block.has_safepoint {
                continue;
            }
            live.copy_from_slice(set(&live_out, words_per_set, index));
            for event in graph.events(block).iter().rev() {
                match *event {
                    Event::Read(local) => insert(&mut live, local),
                    Event::Write(local) => remove(&mut live, local),
                    Event::Safepoint(point) => liveness.record(point, &live),
                }
            }
        }
        Ok(liveness)
    }

    fn record(&mut self, point: u32, live: &[u64]) {
        let index = self.safepoints.len() as u32;
        self.words.extend_from_slice(live);
        self.safepoints.insert(point, index);
    }

    /// The locals that are live at a safepoint: at the entry before the first operator, at a call
    /// after it returned or an exception came out of it, at a loop's header, at a handler. `None` if the point is none of these, or unreachable.
    pub fn at(&self, point: u32) -> Option<LocalSet<'_>> {
        let index = *self.safepoints.get(&point)? as usize;
        Some(LocalSet { words: set(&self.words, self.words_per_set, index) })
    }

    /// Number of basic blocks.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Number of reachable calls, and of what throws.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Number of reachable loops.
    pub fn loops(&self) -> u32 {
        self.loops
    }

    /// Whether an operator is carried out by the runtime.
    pub fn runtime_calls(&self) -> bool {
        self.runtime_calls
    }

    /// Whether there are reachable tail calls.
    pub fn tail_calls(&self) -> bool {
        self.tail_calls
    }

    /// Sum over the reachable `br_table`s of the square of how many labels each leads to.
    pub fn fan_out(&self) -> u64 {
        self.fan_out
    }
}

fn set(words: &[u64], words_per_set: usize, index: usize) -> &[u64] {
    &words[index * words_per_set..][..words_per_set]
}

fn insert(words: &mut [u64], local: u32) {
    words[local as usize / BITS] |= 1 << (local as usize % BITS);
}

fn remove(words: &mut [u64], local: u32) {
    words[local as usize / BITS] &= !(1 << (local as usize % BITS));
}

/// What matters in a basic block, in program order.
#[derive(Clone, Copy, Debug)]
enum Event {
    Read(u32),
    Write(u32),
    /// The set *here* is wanted: for a call the event comes after its arguments' reads.
    Safepoint(u32),
}

type BlockId = u32;

#[derive(Debug, Default)]
struct BasicBlock {
    first_event: u32,
    end_event: u32,
    successors: SmallVec<[BlockId; 2]>,
    has_predecessor: bool,
    has_safepoint: bool,
}

/// A structured control instruction that is open.
struct Construct {
    /// Where a branch to it goes.
    label: BlockId,
    /// The false arm of an `if` whose `else` has not come yet.
    false_arm: Option<BlockId>,
    is_loop: bool,
    /// Where exceptions go that what lies directly in it throws.
    dispatch: Option<BlockId>,
    /// The dispatch of a `try` or `try_table`.
    own_dispatch: Option<BlockId>,
    /// The hidden local of a legacy `try`.
    caught: Option<u32>,
    /// Whether a handler catches everything.
    catches_all: bool,
    /// The clauses of a `try_table`: point, the block that it begins with, the label that it branches to.
    clauses: SmallVec<[(u32, BlockId, BlockId); 2]>,
}

/// The control-flow graph of the reachable code.
struct Graph {
    blocks: Vec<BasicBlock>,
    events: Vec<Event>,
    /// Blocks in the order in which their code lies in the body.
    placed: Vec<BlockId>,
    calls: u32,
    loops: u32,
    handlers: u32,
    runtime_calls: bool,
    tail_calls: bool,
    fan_out: u64,
}

/// Builds a [`Graph`].
struct GraphBuilder<'a> {
    caught: &'a CaughtLocals,
    /// The first hidden local.
    first_caught: u32,
    graph: Graph,
    /// The block that is being filled; `None` in unreachable code.
    current: Option<BlockId>,
    constructs: Vec<Construct>,
}

impl Graph {
    fn new(
        mut operators: OperatorsReader<'_>,
        caught: &CaughtLocals,
        locals: u32,
    ) -> Result<Graph, wasmparser::BinaryReaderError> {
        let mut builder = GraphBuilder {
            caught,
            first_caught: locals.saturating_sub(caught.count() as u32),
            graph: Graph {
                blocks: Vec::new(),
                events: Vec::new(),
                placed: Vec::new(),
                calls: 0,
                loops: 0,
                handlers: 0,
                runtime_calls: false,
                tail_calls: false,
                fan_out: 0,
            },
            current: None,
            constructs: Vec::new(),
        };
        let entry = builder.create_block();
        builder.place(Some(entry));
        builder.safepoint(FunctionBody::ENTRY);
        let exit = builder.create_block();
        builder.open(exit, None, false);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            builder.operator(&operator, offset as u32);
        }
        builder.place(None);
        Ok(builder.graph)
    }

    fn events(&self, block: &BasicBlock) -> &[Event] {
        &self.events[block.first_event as usize..block.end_event as usize]
    }

    /// The sets at the blocks' ends.
    fn solve(&self, words_per_set: usize) -> Vec<u64> {
        let total = self.blocks.len() * words_per_set;
        // live_in = used | (live_out - defined)
        let (mut live_in, mut defined) = (vec![0u64; total], vec![0u64; total]);
        for (index, block) in self.blocks.iter().enumerate() {
            let start = index * words_per_set;
            let used = &mut live_in[start..][..words_per_set];
            let defined = &mut defined[start..][..words_per_set];
            for event in self.events(block).iter().rev() {
                match *event {
                    Event::Read(local) => insert(used, local),
                    Event::Write(local) => {
                        remove(used, local);
                        insert(defined, local);
                    }
                    Event::Safepoint(_) => {}
                }
            }
        }
        let mut predecessors: Vec<SmallVec<[BlockId; 2]>> =
            vec![SmallVec::new(); self.blocks.len()];
        for &id in &self.placed {
            for &successor in &self.blocks[id as usize].successors {
                predecessors[successor as usize].push(id);
            }
        }
        let mut live_out = vec![0u64; total];
        // Sweeps in reverse program order, over the blocks of which a successor changed: all of an
        // acyclic body's sets are final after the first.
        let mut dirty = vec![true; self.blocks.len()];
        let mut again = true;
        while again {
            again = false;
            for &id in self.placed.iter().rev() {
                let index = id as usize;
                if !std::mem::take(&mut dirty[index]) {
                    continue;
                }
                let start = index * words_per_set;
                for &successor in &self.blocks[index].successors {
                    let from = successor as usize * words_per_set;
                    for word in 0..words_per_set {
                        live_out[start + word] |= live_in[from + word];
                    }
                }
                let mut changed = false;
                for at in start..start + words_per_set {
                    let new = live_in[at] | (live_out[at] & !defined[at]);
                    changed |= new != live_in[at];
                    live_in[at] = new;
                }
                if changed {
                    for &predecessor in &predecessors[index] {
                        dirty[predecessor as usize] = true;
                        again = true;
                    }
                }
            }
        }
        live_out
    }
}

impl GraphBuilder<'_> {
    /// Opens a structured control instruction.
    fn open(&mut self, label: BlockId, false_arm: Option<BlockId>, is_loop: bool) {
        let dispatch = self.dispatch();
        self.constructs.push(Construct {
            label,
            false_arm,
            is_loop,
            dispatch,
            own_dispatch: None,
            caught: None,
            catches_all: false,
            clauses: SmallVec::new(),
        });
    }

    /// Where exceptions go that are thrown here.
    fn dispatch(&self) -> Option<BlockId> {
        self.constructs.last().and_then(|construct| construct.dispatch)
    }

    /// Opens a `try` or `try_table`.
    fn open_try(&mut self) {
        let label = self.create_block();
        self.open(label, None, false);
        if self.current.is_none() {
            return;
        }
        let dispatch = self.create_block();
        if let Some(construct) = self.constructs.last_mut() {
            construct.dispatch = Some(dispatch);
            construct.own_dispatch = Some(dispatch);
        }
    }

    /// Lets an exception go on from a dispatch to a handler, or to a dispatch further out.
    fn dispatch_to(&mut self, dispatch: BlockId, to: BlockId) {
        let is_used = self.graph.blocks[dispatch as usize].has_predecessor;
        self.graph.blocks[to as usize].has_predecessor |= is_used;
        self.graph.blocks[dispatch as usize].successors.push(to);
    }

    /// The body of a `try` or `try_table` has ended, with all its handlers: what they do not catch goes `outwards`.
    fn close_dispatch(&mut self, dispatch: Option<BlockId>, outwards: Option<BlockId>) {
        let Some(dispatch) = dispatch else { return };
        if let Some(outwards) = outwards {
            self.dispatch_to(dispatch, outwards);
        }
        let block = &mut self.graph.blocks[dispatch as usize];
        block.successors.sort_unstable();
        block.successors.dedup();
        self.graph.placed.push(dispatch);
    }

    /// The handlers of a `try_table` that has ended.
    fn place_clauses(&mut self, construct: &Construct) {
        let Some(dispatch) = construct.own_dispatch else { return };
        for &(point, handler, label) in &construct.clauses {
            self.dispatch_to(dispatch, handler);
            self.place_if_reachable(Some(handler));
            self.handler(point);
            self.edge(label);
        }
        self.place(None);
    }

    /// A handler begins.
    fn handler(&mut self, point: u32) {
        if self.current.is_some() {
            self.graph.handlers += 1;
        }
        self.safepoint(point);
    }

    /// The dispatch around the innermost construct.
    fn outer_dispatch(&self) -> Option<BlockId> {
        let outer = self.constructs.len().checked_sub(2)?;
        self.constructs[outer].dispatch
    }

    /// What may throw lies here; whether it only throws.
    fn throws(&mut self, point: u32, always: bool) {
        if self.current.is_none() {
            return;
        }
        self.graph.calls += 1;
        self.safepoint(point);
        let dispatch = self.dispatch();
        if let Some(dispatch) = dispatch {
            self.edge(dispatch);
        }
        if always {
            self.place(None);
        } else if dispatch.is_some() {
            let next = self.create_block();
            self.edge(next);
            self.place(Some(next));
        }
    }

    /// A legacy `catch` or `catch_all` begins.
    fn catch(&mut self, catches_all: bool, point: u32) {
        let outwards = self.outer_dispatch();
        let Some(construct) = self.constructs.last_mut() else { return };
        construct.dispatch = outwards;
        construct.catches_all |= catches_all;
        let (label, dispatch, caught) = (construct.label, construct.own_dispatch, construct.caught);
        self.edge(label);
        let Some(dispatch) = dispatch else { return self.place(None) };
        let handler = self.create_block();
        self.dispatch_to(dispatch, handler);
        self.place_if_reachable(Some(handler));
        self.handler(point);
        if let Some(local) = caught {
            self.event(Event::Write(local));
        }
    }

    fn create_block(&mut self) -> BlockId {
        self.graph.blocks.push(BasicBlock::default());
        self.graph.blocks.len() as BlockId - 1
    }

    /// Ends the current block and goes on with the code of `next`.
    fn place(&mut self, next: Option<BlockId>) {
        let events = self.graph.events.len() as u32;
        if let Some(current) = self.current {
            self.graph.blocks[current as usize].end_event = events;
        }
        if let Some(next) = next {
            let block = &mut self.graph.blocks[next as usize];
            block.first_event = events;
            block.end_event = events;
            self.graph.placed.push(next);
        }
        self.current = next;
    }

    fn edge(&mut self, to: BlockId) {
        let Some(from) = self.current else { return };
        self.graph.blocks[to as usize].has_predecessor = true;
        self.graph.blocks[from as usize].successors.push(to);
    }

    /// Leaves one edge to each block that the current one branches to: a table may have very many entries for one
    /// target, and very many targets.
    fn merge_edges(&mut self) {
        let Some(from) = self.current else { return };
        let successors = &mut self.graph.blocks[from as usize].successors;
        successors.sort_unstable();
        successors.dedup();
    }

    fn event(&mut self, event: Event) {
        if self.current.is_some() {
            self.graph.events.push(event);
        }
    }

    fn safepoint(&mut self, point: u32) {
        if let Some(current) = self.current {
            self.graph.events.push(Event::Safepoint(point));
            self.graph.blocks[current as usize].has_safepoint = true;
        }
    }

    fn label(&self, depth: u32) -> BlockId {
        self.constructs[self.constructs.len() - 1 - depth as usize].label
    }

    /// Ends the current block with edges to `targets` and, if the branch is conditional, to a new
    /// block.
    fn branch(&mut self, targets: impl Iterator<Item = u32>, conditional: bool) {
        if self.current.is_none() {
            return;
        }
        for depth in targets {
            self.edge(self.label(depth));
        }
        self.merge_edges();
        if let (Some(from), false) = (self.current, conditional) {
            let labels = self.graph.blocks[from as usize].successors.len() as u64;
            self.graph.fan_out += labels * labels;
        }
        let next = conditional.then(|| {
            let next = self.create_block();
            self.edge(next);
            next
        });
        self.place(next);
    }

    fn operator(&mut self, operator: &Operator<'_>, point: u32) {
        match *operator {
            Operator::LocalGet { local_index } => self.event(Event::Read(local_index)),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.event(Event::Write(local_index))
            }
            // Nothing is thrown out of a wait; all else is as at calls.
            Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::MemoryAtomicWait32 { .. }
            | Operator::MemoryAtomicWait64 { .. } => self.throws(point, false),
            Operator::Throw { .. } | Operator::ThrowRef => self.throws(point, true),
            Operator::Rethrow { relative_depth } => {
                let named = self.constructs.len() - 1 - relative_depth as usize;
                if let Some(local) = self.constructs[named].caught {
                    self.event(Event::Read(local));
                }
                self.throws(point, true);
            }
            Operator::TryTable { ref try_table } => {
                let labels = try_table.catches.iter().map(|catch| match *catch {
                    Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label } => self.label(label),
                });
                let labels: SmallVec<[BlockId; 4]> = labels.collect();
                let clauses = labels.into_iter().zip(point + 1..);
                let clauses = clauses.map(|(label, at)| (at, self.create_block(), label)).collect();
                let all = |catch: &Catch| matches!(catch, Catch::All { .. } | Catch::AllRef { .. });
                let catches_all = try_table.catches.iter().any(all);
                self.open_try();
                let Some(construct) = self.constructs.last_mut() else { return };
                construct.catches_all = catches_all;
                construct.clauses = clauses;
            }
            Operator::Try { .. } => {
                self.open_try();
                let caught = self.caught.of_try(point).map(|n| self.first_caught + n as u32);
                if let Some(construct) = self.constructs.last_mut() {
                    construct.caught = caught;
                }
            }
            Operator::Catch { .. } => self.catch(false, point),
            Operator::CatchAll => self.catch(true, point),
            Operator::Delegate { relative_depth } => {
                let to = self.constructs.len().checked_sub(2 + relative_depth as usize);
                let to = to.and_then(|to| self.constructs[to].dispatch);
                let Some(construct) = self.constructs.pop() else { return };
                self.close_dispatch(construct.own_dispatch, to);
                self.edge(construct.label);
                self.place_if_reachable(Some(construct.label));
            }
            Operator::Block { .. } => {
                let label = self.create_block();
                self.open(label, None, false);
            }
            Operator::Loop { .. } => {
                let label = self.create_block();
                if self.current.is_some() {
                    self.graph.loops += 1;
                    self.edge(label);
                    self.place(Some(label));
                    self.safepoint(point);
                }
                self.open(label, None, true);
            }
            Operator::If { .. } => {
                let label = self.create_block();
                let false_arm = self.create_block();
                self.edge(false_arm);
                if self.current.is_some() {
                    let true_arm = self.create_block();
                    self.edge(true_arm);
                    self.place(Some(true_arm));
                }
                self.open(label, Some(false_arm), false);
            }
            Operator::Else => {
                let Some(construct) = self.constructs.last_mut() else {
                    return;
                };
                let (label, false_arm) = (construct.label, construct.false_arm.take());
                self.edge(label);
                self.place_if_reachable(false_arm);
            }
            Operator::End => {
                let Some(construct) = self.constructs.pop() else {
                    return;
                };
                if construct.is_loop {
                    return;
                }
                self.edge(construct.label);
                let outwards = self.dispatch().filter(|_| !construct.catches_all);
                self.place_clauses(&construct);
                self.close_dispatch(construct.own_dispatch, outwards);
                if construct.false_arm.is_some() {
                    self.place_if_reachable(construct.false_arm);
                    self.edge(construct.label);
                }
                self.place_if_reachable(Some(construct.label));
            }
            Operator::Br { relative_depth } => self.branch(std::iter::once(relative_depth), false),
            Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth } => {
                self.branch(std::iter::once(relative_depth), true);
            }
            Operator::BrTable { ref targets } => {
                // A body that is not valid was refused before; a target that does not parse has none.
                let all = targets.targets().filter_map(Result::ok);
                self.branch(all.chain(std::iter::once(targets.default())), false);
            }
            Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.graph.tail_calls |= self.current.is_some();
                self.place(None);
            }
            Operator::Return | Operator::Unreachable => self.place(None),
            Operator::MemoryGrow { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::DataDrop { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::MemoryAtomicNotify { .. }
            | Operator::RefFunc { .. } => self.graph.runtime_calls = true,
            _ => {}
        }
    }

    fn place_if_reachable(&mut self, block: Option<BlockId>) {
        self.place(block.filter(|&block| self.graph.blocks[block as usize].has_predecessor));
    }
}

#[cfg(test)]
mod tests;
