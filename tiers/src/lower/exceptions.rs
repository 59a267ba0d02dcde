//! Exceptions: what throws them, and where they are handled.
//!
//! Code that does not throw does nothing for its handlers but to jump over them. Which handler an exception goes to is
//! found by the point that it comes out of, in what a recording run learns. A handler begins with its operands in
//! their places, and branches to its label.
//!
//! ```text
//!   try_table body
//!   br end                     if the body's end can be reached
//!   first clause:   branch     to its label
//!   second clause:  branch
//! end:
//! ```

use super::Lowerer;
use super::code_buffer::Label;
use super::control::{Frame, FrameKind};
use crate::interp::op::Op;
use crate::lowered::code::{Handler, TryRegion};
use midair_osr::SiteKind;
use smallvec::SmallVec;
use wasmparser::{BlockType, Catch, TryTable};

/// A clause of a `try_table` that is open.
pub(super) struct Clause {
    tag: Option<u32>,
    by_ref: bool,
    /// Index in `Lowerer::frames` of the frame that it branches to.
    target: usize,
}

/// What a frame knows of exceptions.
#[derive(Default)]
pub(super) struct Exceptions {
    /// The region of what lies directly in the frame.
    region: Option<u32>,
    /// The region that is the frame's own body.
    own: Option<u32>,
    clauses: SmallVec<[Clause; 2]>,
    /// Point of the operator that opened it.
    point: u32,
    /// The hidden local of a legacy `try`.
    caught: Option<u32>,
}

impl Exceptions {
    /// Those of a frame that lies in `outer`.
    pub(super) fn inside(outer: Option<&Frame>) -> Exceptions {
        Exceptions {
            region: outer.and_then(|frame| frame.exceptions.region),
            ..Exceptions::default()
        }
    }
}

impl Lowerer<'_> {
    /// Binds a label that nothing but an exception leads to.
    fn bind_border(&mut self) {
        let mut border = Label::NEW;
        self.code.bind(&mut border);
    }

    /// Opens a `try` or `try_table`, whose body begins.
    fn open_try(&mut self, kind: FrameKind, ty: BlockType, point: u32) {
        // As for a block: handlers find the operands below in their places.
        let (params, _) = self.block_arity(ty);
        self.settle(self.stack.height() - params);
        self.push_frame(kind, ty);
        // No instruction moves over the border of the region.
        self.bind_border();
        let own = self.sites.regions.len() as u32;
        if let Some(frame) = self.frames.last_mut() {
            let outer = frame.exceptions.region.replace(own);
            frame.exceptions.own = Some(own);
            frame.exceptions.point = point;
            self.sites.regions.push(TryRegion {
                start: point,
                end: u32::MAX,
                handlers: SmallVec::new(),
                outer,
                next: outer,
            });
        }
    }

    /// The body of the innermost frame, a `try` or `try_table`, has ended at `point`, unless it did before.
    pub(super) fn close_region(&mut self, point: u32) {
        let Some(frame) = self.frames.last_mut() else { return };
        let Some(own) = frame.exceptions.own else { return };
        let region = &mut self.sites.regions[own as usize];
        if region.end == u32::MAX {
            region.end = point;
            frame.exceptions.region = region.outer;
        }
    }

    pub(super) fn try_table(&mut self, table: &TryTable, point: u32) {
        let clauses = table.catches.iter().map(|catch| {
            let (tag, by_ref, label) = match *catch {
                Catch::One { tag, label } => (Some(tag), false, label),
                Catch::OneRef { tag, label } => (Some(tag), true, label),
                Catch::All { label } => (None, false, label),
                Catch::AllRef { label } => (None, true, label),
            };
            Clause { tag, by_ref, target: self.frame_at(label) }
        });
        let clauses = clauses.collect();
        self.open_try(FrameKind::TryTable, table.ty, point);
        if let Some(frame) = self.frames.last_mut() {
            frame.exceptions.clauses = clauses;
        }
    }

    /// The end of a `try_table`: emits its handlers. Whether the code behind them can be reached by falling into it is
    /// not changed.
    pub(super) fn end_try_table(&mut self, point: u32) {
        self.close_region(point);
        let Some(frame) = self.frames.last_mut() else { return };
        let clauses = std::mem::take(&mut frame.exceptions.clauses);
        if clauses.is_empty() {
            return;
        }
        let (start, height, results) = (frame.exceptions.point, frame.height, frame.results);
        // Labels further out have fewer operands below. Those that are left were settled when the body began.
        let lowest = clauses.iter().map(|clause| self.frames[clause.target].height).min();
        let vectors = self.stack.vectors_from(lowest.unwrap_or(height));
        if self.unreachable.take().is_none() {
            self.move_operands(height, results);
            if let Some(frame) = self.frames.last_mut() {
                self.code.op(Op::br).branch(&mut frame.label);
            }
        }
        for (n, clause) in clauses.into_iter().enumerate() {
            let height = self.frames[clause.target].height;
            let point = start + 1 + n as u32;
            self.code.at_point(point);
            self.begin_handler(clause.tag, clause.by_ref, point, height);
            self.emit_branch(clause.target);
        }
        self.code.at_point(point);
        self.unreachable = Some(0);
        self.stack.truncate(height);
        self.stack.push_temps_up_to(height, &vectors);
    }

    /// Begins a handler, whose operands lie above `height`.
    fn begin_handler(&mut self, tag: Option<u32>, by_ref: bool, point: u32, height: usize) {
        self.bind_border();
        self.stack.truncate(height);
        let env = self.env;
        self.push_temps(tag.map_or(&[], |tag| env.tag_params(tag)));
        if by_ref {
            self.push_temp();
        }
        self.note_site(SiteKind::Poll, point, 0);
        if let Some(own) = self.frames.last().and_then(|frame| frame.exceptions.own) {
            let handler = Handler { tag, by_ref, point, height: height as u32 };
            self.sites.regions[own as usize].handlers.push(handler);
        }
    }

    pub(super) fn try_(&mut self, ty: BlockType, point: u32) {
        self.open_try(FrameKind::Try, ty, point);
        let caught = self.caught.and_then(|caught| caught.of_try(point));
        let caught = caught.map(|n| self.first_caught + n as u32);
        if let Some(frame) = self.frames.last_mut() {
            frame.exceptions.caught = caught;
        }
    }

    /// `catch`, or `catch_all`.
    pub(super) fn catch(&mut self, tag: Option<u32>, point: u32) {
        if self.unreachable.is_some_and(|depth| depth > 0) {
            return;
        }
        let Some(frame) = self.frames.last() else { return };
        let (height, results) = (frame.height, frame.results);
        let reachable = self.unreachable.take().is_none();
        if reachable {
            self.move_operands(height, results);
        }
        self.close_region(point);
        let Some(frame) = self.frames.last_mut() else { return };
        frame.kind = FrameKind::Catch;
        if reachable {
            self.code.op(Op::br).branch(&mut frame.label);
        }
        let caught = frame.exceptions.caught;
        self.begin_handler(tag, caught.is_some(), point, height);
        if let Some(local) = caught {
            self.set_local(local);
        }
    }

    pub(super) fn delegate(&mut self, depth: u32, point: u32) {
        if let Some(depth) = &mut self.unreachable
            && *depth > 0
        {
            *depth -= 1;
            return;
        }
        // Counted from what is around the `try`.
        let to = self.frame_at(depth + 1);
        let next = self.frames[to].exceptions.region;
        if let Some(own) = self.frames.last().and_then(|frame| frame.exceptions.own) {
            self.sites.regions[own as usize].next = next;
        }
        self.end(point);
    }

    pub(super) fn throw(&mut self, tag: u32, point: u32) {
        let env = self.env;
        let params = env.tag_params(tag);
        let values = self.place_arguments(params);
        self.code.op(Op::throw).uint(tag).far_slot(values);
        self.finish_call(params, &[], point);
        self.unreachable = Some(0);
    }

    pub(super) fn throw_ref(&mut self, point: u32) {
        let exception = self.pop_slot();
        self.code.op(Op::throw_ref).slot(exception);
        self.finish_call(&[], &[], point);
        self.unreachable = Some(0);
    }

    pub(super) fn rethrow(&mut self, depth: u32, point: u32) {
        let frame = self.frame_at(depth);
        match self.frames[frame].exceptions.caught {
            Some(local) => {
                self.get_local(local);
                self.throw_ref(point);
            }
            None => {
                // It is not known yet: the body is lowered again.
                self.needs_caught = true;
                self.code.op(Op::unreachable);
                self.unreachable = Some(0);
            }
        }
    }
}
