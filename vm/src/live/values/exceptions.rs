//! Exceptions in the graph: where they come from, and what handlers are given.

use super::{Block, BlockKind, Builder, Edge, Id, Inputs, KEY, Kind, TooLarge, block_type};
use midair_tiers::ValType;
use std::hash::BuildHasher as _;
use wasmparser::{BlockType, Catch, Operator};

/// The handlers of a `try` or `try_table`.
pub(super) struct Handlers {
    /// Whether this is still its body.
    pub(super) active: bool,
    /// Where exceptions come out of its body; each brings itself along.
    edges: Vec<Edge>,
    /// Of a `try_table`: tag, whether the exception comes by reference, and the label's depth outside.
    clauses: Vec<(Option<u32>, bool, u32)>,
    catches_all: bool,
    /// The hidden local of a `try`.
    pub(super) caught: Option<u32>,
}

impl Builder<'_> {
    /// An operator that is about exceptions, and can be reached.
    pub(super) fn exceptional(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
        bytes: &[u8],
    ) -> Result<(), TooLarge> {
        match *operator {
            Operator::TryTable { ref try_table } => {
                self.step(try_table.catches.len())?;
                let clauses = try_table.catches.iter().map(|catch| match *catch {
                    Catch::One { tag, label } => (Some(tag), false, label),
                    Catch::OneRef { tag, label } => (Some(tag), true, label),
                    Catch::All { label } => (None, false, label),
                    Catch::AllRef { label } => (None, true, label),
                });
                self.enter_try(try_table.ty, clauses.collect(), None);
            }
            Operator::Try { blockty } => {
                let caught = self.caught.of_try(point).map(|n| self.first_caught + n as u32);
                self.enter_try(blockty, Vec::new(), caught);
            }
            Operator::Catch { tag_index } => self.catch(Some(tag_index))?,
            Operator::CatchAll => self.catch(None)?,
            Operator::Delegate { relative_depth } => self.delegate(relative_depth)?,
            Operator::Throw { tag_index } => {
                let inputs = self.pop_many(self.env.tag_params(tag_index).len());
                let kind = Kind::Op { hash: KEY.hash_one(bytes), result: 0, commutes: false };
                let exception = self.value(kind, Some(ValType::EXNREF), inputs)?;
                self.thrown(exception)?;
                self.reachable = false;
            }
            Operator::ThrowRef => {
                let exception = self.pop();
                self.thrown(exception)?;
                self.reachable = false;
            }
            Operator::Rethrow { relative_depth } => {
                let at = self.blocks.len() - 1 - relative_depth as usize;
                let caught = self.blocks[at].handlers.as_ref().and_then(|try_| try_.caught);
                let exception = self.locals[caught.ok_or(TooLarge)? as usize];
                self.thrown(exception)?;
                self.reachable = false;
            }
            _ => unreachable!("the caller has chosen"),
        }
        Ok(())
    }

    /// Enters a `try` or `try_table`.
    pub(super) fn enter_try(
        &mut self,
        ty: BlockType,
        clauses: Vec<(Option<u32>, bool, u32)>,
        caught: Option<u32>,
    ) {
        let (params, results) = block_type(self.env, ty);
        self.enter(BlockKind::Block, params.len(), results.len(), results.len());
        let catches_all = clauses.iter().any(|(tag, ..)| tag.is_none());
        if let Some(block) = self.blocks.last_mut() {
            let (active, edges) = (true, Vec::new());
            block.handlers = Some(Handlers { active, edges, clauses, catches_all, caught });
        }
    }

    /// An exception comes out of the present operator: it goes to the innermost `try` around it, from this block of
    /// `blocks` outwards.
    pub(super) fn thrown(&mut self, exception: Id) -> Result<(), TooLarge> {
        let is_active = |block: &Block| block.handlers.as_ref().is_some_and(|try_| try_.active);
        self.step(self.blocks.len())?;
        let Some(at) = self.blocks.iter().rposition(is_active) else { return Ok(()) };
        self.step(self.locals.len())?;
        let locals = self.locals.as_slice().into();
        let edge = Edge { locals, values: [exception].into(), condition: None };
        let handlers = self.blocks[at].handlers.as_mut();
        handlers.expect("it has some").edges.push(edge);
        Ok(())
    }

    /// Exceptions that come out of a `try` go on from the block at `at` outwards.
    fn thrown_on(&mut self, edges: Vec<Edge>, at: Option<usize>) -> Result<(), TooLarge> {
        self.step(self.blocks.len() + edges.len())?;
        let is_active = |block: &Block| block.handlers.as_ref().is_some_and(|try_| try_.active);
        let blocks = at.map_or(&mut [][..], |at| &mut self.blocks[..=at]);
        let to = blocks.iter_mut().rev().find(|block| is_active(block));
        if let Some(handlers) = to.and_then(|block| block.handlers.as_mut()) {
            handlers.edges.extend(edges);
        }
        Ok(())
    }

    /// A handler begins, where the exceptions meet that these edges bring: with what it is given on the stack above
    /// `height`. Answers with the exception; `None` if nothing leads here.
    fn begin_handler(
        &mut self,
        height: usize,
        tag: Option<u32>,
        by_ref: bool,
        edges: &[Edge],
    ) -> Result<Option<Id>, TooLarge> {
        self.step(edges.len())?;
        let edges = edges.iter().map(|edge| Edge {
            locals: edge.locals.clone(),
            values: edge.values.clone(),
            condition: edge.condition,
        });
        self.meet(height, edges.collect())?;
        if !self.reachable {
            return Ok(None);
        }
        let exception = self.pop();
        if let Some(tag) = tag {
            let hash = KEY.hash_one(("caught", tag));
            for (result, &ty) in (0..).zip(self.env.tag_params(tag)) {
                let kind = Kind::Op { hash, result, commutes: false };
                let value = self.value(kind, Some(ty), Inputs::from_elem(exception, 1))?;
                self.stack.push(value);
            }
        }
        if by_ref {
            self.stack.push(exception);
        }
        Ok(Some(exception))
    }

    /// A legacy `catch` or `catch_all`: what comes before ends.
    pub(super) fn catch(&mut self, tag: Option<u32>) -> Result<(), TooLarge> {
        let at = self.blocks.len() - 1;
        if self.blocks[at].dead {
            return Ok(());
        }
        if self.reachable {
            let results = self.blocks[at].results;
            let values = self.pop_many(results);
            let (locals, values) = (self.locals.as_slice().into(), values.as_slice().into());
            self.step(self.locals.len())?;
            self.blocks[at].edges.push(Edge { locals, values, condition: None });
        }
        let height = self.blocks[at].height;
        let Some(handlers) = self.blocks[at].handlers.as_mut() else { return Err(TooLarge) };
        handlers.active = false;
        handlers.catches_all |= tag.is_none();
        let caught = handlers.caught;
        let edges = std::mem::take(&mut handlers.edges);
        let exception = self.begin_handler(height, tag, false, &edges)?;
        if let Some(handlers) = &mut self.blocks[at].handlers {
            handlers.edges = edges;
        }
        if let (Some(local), Some(exception)) = (caught, exception) {
            self.locals[local as usize] = exception;
        }
        Ok(())
    }

    /// A `try` ends whose exceptions go to the handlers around this label.
    pub(super) fn delegate(&mut self, depth: u32) -> Result<(), TooLarge> {
        if let Some(block) = self.blocks.last_mut()
            && let Some(mut handlers) = block.handlers.take()
        {
            let at = self.blocks.len().checked_sub(2 + depth as usize);
            self.thrown_on(std::mem::take(&mut handlers.edges), at)?;
        }
        self.end()
    }

    /// A `try` or `try_table` has ended, and is no longer among the blocks: its handlers, but for legacy ones, which are
    /// behind it.
    pub(super) fn end_handlers(&mut self, handlers: Handlers) -> Result<(), TooLarge> {
        let Handlers { edges, clauses, catches_all, .. } = handlers;
        let below = self.stack.clone();
        self.step(below.len())?;
        for (tag, by_ref, depth) in clauses {
            let height = self.blocks[self.blocks.len() - 1 - depth as usize].height;
            if self.begin_handler(height, tag, by_ref, &edges)?.is_some() {
                self.branch(&[depth], None)?;
            }
        }
        self.stack = below;
        let outwards = self.blocks.len().checked_sub(1);
        if catches_all { Ok(()) } else { self.thrown_on(edges, outwards) }
    }
}
