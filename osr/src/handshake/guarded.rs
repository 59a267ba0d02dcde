//! What the lock of a mutator protects: what has been requested of its stack, and how far that is.

use super::request::Request;
use super::{Stack, Stepwise};
use std::sync::Arc;

/// A stepwise operation that has not come to the end of a stack.
pub(super) struct Task<S: Stack> {
    pub(super) request: Arc<Request<S>>,
    steps: Arc<dyn Stepwise<S>>,
    pub(super) cursor: S::Cursor,
}

impl<S: Stack> Task<S> {
    /// Goes through some frames. Returns whether there may be more.
    ///
    /// # Safety
    /// As for [`Stepwise::step`].
    unsafe fn step(&mut self, records: &mut S::Records, most: usize) -> bool {
        // SAFETY: as the caller vouches.
        match unsafe { self.steps.step(records, self.cursor, most) } {
            Some(next) => {
                self.cursor = next;
                true
            }
            None => false,
        }
    }
}

/// What the lock of a mutator protects.
pub(super) struct Guarded<S: Stack> {
    /// The stack, while there is one.
    pub(super) stack: Option<StackPointer<S>>,
    /// What has been requested and not been performed. If this is not empty,
    /// [`REQUESTED`](super::REQUESTED) is set.
    pub(super) pending: Vec<Arc<Request<S>>>,
    /// Operations that have not come to the end of the stack. If there are any, the stack is divided inside
    /// all their cursors.
    pub(super) tasks: Vec<Task<S>>,
    /// Operations that have come to the end of the stack. Whoever holds the lock takes them out, and
    /// acknowledges them when it has given the lock back.
    pub(super) finished: Vec<Arc<Request<S>>>,
    /// Operations that have become tasks. Likewise their requesters are told when the lock has been given back.
    pub(super) begun: Vec<Arc<Request<S>>>,
    /// Records of the frames outside the barrier, while the stack is divided.
    outer: Option<S::Records>,
}

pub(super) struct StackPointer<S>(pub(super) *mut S);

// SAFETY: the stack is only used as `Stack` and `Operation` say, which is sound from any thread.
unsafe impl<S> Send for StackPointer<S> {}

impl<S: Stack> Guarded<S> {
    pub(super) fn new() -> Guarded<S> {
        Guarded {
            stack: None,
            pending: Vec::new(),
            tasks: Vec::new(),
            finished: Vec::new(),
            begun: Vec::new(),
            outer: None,
        }
    }

    /// Makes managed code poll soon, if there is a stack.
    pub(super) fn arm(&self) {
        if let Some(StackPointer(stack)) = self.stack {
            // SAFETY: the stack is alive while it is attached, and the lock is held.
            unsafe { S::arm(stack) };
        }
    }

    /// Whether there are tasks that are left to the mutator.
    pub(super) fn has_tasks_of_mutator(&self) -> bool {
        self.tasks.iter().any(|task| task.request.left_to_mutators)
    }

    /// Takes the barrier away.
    ///
    /// # Safety
    /// As for [`Stack::unite`].
    pub(super) unsafe fn unite(&mut self, stack: *mut S) {
        if let Some(outer) = self.outer.take() {
            // SAFETY: as the caller vouches.
            unsafe { S::unite(stack, outer) };
        }
    }

    /// Puts the barrier where it has to be, if there are tasks.
    ///
    /// # Safety
    /// As for [`Stack::divide`]; the stack must not be divided.
    pub(super) unsafe fn divide(&mut self, stack: *mut S) {
        while let Some(at) = self.tasks.iter().map(|task| task.cursor).min() {
            // The frame that gets the barrier has to be gone through: only what lies outside is left.
            // SAFETY: the whole stack stands still, and all records are here.
            unsafe { self.step(S::records(stack), 1, |task| task.cursor == at) };
            if !self.tasks.is_empty() {
                // SAFETY: as above. There is a frame at `at`: a task has gone on from there, or would have
                // come to the end.
                self.outer = Some(unsafe { S::divide(stack, at) });
                return;
            }
        }
    }

    /// Goes through some frames for each of these tasks.
    ///
    /// # Safety
    /// As for [`Stepwise::step`].
    pub(super) unsafe fn step(
        &mut self,
        records: &mut S::Records,
        most: usize,
        which: impl Fn(&Task<S>) -> bool,
    ) {
        // SAFETY: as the caller vouches.
        unsafe { step(&mut self.tasks, &mut self.finished, records, most, which) };
    }

    /// The same for frames outside the barrier. Returns whether there may be more.
    ///
    /// # Safety
    /// As for [`Stepwise::step`], for these frames.
    pub(super) unsafe fn step_outer(
        &mut self,
        most: usize,
        which: impl Fn(&Task<S>) -> bool,
    ) -> bool {
        let Some(outer) = &mut self.outer else {
            debug_assert!(self.tasks.is_empty(), "a stack with tasks is divided");
            return false;
        };
        // SAFETY: as the caller vouches; the records are those of the frames outside the barrier.
        unsafe { step(&mut self.tasks, &mut self.finished, outer, most, &which) };
        self.tasks.iter().any(which)
    }

    /// All frames inside `outer` are dropped; `None`: all frames.
    pub(super) fn drop_frames(&mut self, outer: Option<S::Cursor>) {
        match outer {
            Some(outer) => {
                for task in &mut self.tasks {
                    task.cursor = task.cursor.max(outer);
                }
            }
            None => self.finished.extend(self.tasks.drain(..).map(|task| task.request)),
        }
    }

    /// Completes all tasks.
    ///
    /// # Safety
    /// As for [`Stack::divide`].
    pub(super) unsafe fn settle(&mut self, stack: *mut S) {
        // SAFETY: as the caller vouches.
        unsafe {
            self.unite(stack);
            self.step(S::records(stack), usize::MAX, |_| true);
        }
        debug_assert!(self.tasks.is_empty(), "a stack has an end");
    }

    /// Performs everything that is pending and may be performed, with the whole stack standing still.
    ///
    /// # Safety
    /// As for [`Operation::perform`](super::Operation::perform).
    pub(super) unsafe fn perform(&mut self) {
        let (requests, closed): (Vec<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|request| request.is_open());
        self.pending = closed;
        let Some(StackPointer(stack)) = self.stack else {
            self.finished.extend(requests);
            return;
        };
        // SAFETY: as the caller vouches.
        unsafe {
            self.unite(stack);
            for request in requests {
                let Some(steps) = request.steps.clone() else {
                    request.operation.perform(stack);
                    self.finished.push(request);
                    continue;
                };
                steps.stop(stack);
                let Some(cursor) = S::innermost(stack) else {
                    self.finished.push(request);
                    continue;
                };
                let mut task = Task { request: request.clone(), steps, cursor };
                if task.step(S::records(stack), S::AT_STOP) {
                    self.tasks.push(task);
                    self.begun.push(request);
                } else {
                    self.finished.push(request);
                }
            }
            self.divide(stack);
        }
        let Guarded { begun, tasks, .. } = self;
        begun.retain(|request| tasks.iter().any(|task| Arc::ptr_eq(&task.request, request)));
    }
}

/// Goes through some frames for each of these tasks. Those that come to the end go over to the finished ones.
///
/// # Safety
/// As for [`Stepwise::step`].
unsafe fn step<S: Stack>(
    tasks: &mut Vec<Task<S>>,
    finished: &mut Vec<Arc<Request<S>>>,
    records: &mut S::Records,
    most: usize,
    which: impl Fn(&Task<S>) -> bool,
) {
    tasks.retain_mut(|task| {
        // SAFETY: as the caller vouches.
        let stays = !which(task) || unsafe { task.step(records, most) };
        if !stays {
            finished.push(task.request.clone());
        }
        stays
    });
}
