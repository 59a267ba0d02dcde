//! The requester's side of the handshake.

use super::request::Request;
use super::{Mutator, Operation, Stack, Stepwise};
use crate::sync::{Ordering, heavy_fence};
use std::sync::{Arc, Weak};

/// Requests an operation of all these mutators, each of which must be listed once, and does not wait: the
/// last one that is served completes it, which may have happened when this returns.
pub fn request<S: Stack>(
    mutators: &[Arc<Mutator<S>>],
    operation: Arc<dyn Operation<S>>,
) -> HandshakeProgress<S> {
    // With a heavy fence at once, for nobody waits who could make it up.
    let request = Request::publish(operation, None, mutators, true);
    request.deliver(mutators);
    request.acknowledge();
    HandshakeProgress { request: Arc::downgrade(&request), requesters: 0 }
}

/// How far a handshake has come, for somebody who only watches.
pub struct HandshakeProgress<S: Stack> {
    request: Weak<Request<S>>,
    /// 1 if somebody waits.
    requesters: usize,
}

impl<S: Stack> HandshakeProgress<S> {
    /// Mutators whose stacks have not been gone through to the end. 0 when the handshake is over.
    pub fn waiting(&self) -> usize {
        let waiting = self.request.upgrade().map_or(0, |request| request.waiting());
        waiting.saturating_sub(self.requesters)
    }
}

/// An operation that has been requested. When this is dropped the thread waits for its end.
#[must_use]
pub struct Handshake<S: Stack> {
    request: Option<Arc<Request<S>>>,
    /// Whom the requester waits for, and through whose frames it has to go if the operation is stepwise.
    mutators: Vec<Arc<Mutator<S>>>,
}

impl<S: Stack> Handshake<S> {
    /// Requests an operation of all these mutators, each of which must be listed once. Stacks that are seen not
    /// to run managed code have been served when this returns.
    pub fn begin(mutators: Vec<Arc<Mutator<S>>>, operation: Arc<dyn Operation<S>>) -> Handshake<S> {
        let request = Request::new(operation, None, &mutators);
        Handshake { request: Some(request), mutators }
    }

    /// The same for an operation that only goes through the innermost frames of a stack while its mutator
    /// stands still. Whoever waits goes through the others, or the mutator at its polls.
    pub fn begin_stepwise(
        mutators: Vec<Arc<Mutator<S>>>,
        operation: Arc<dyn Stepwise<S>>,
    ) -> Handshake<S> {
        let request = Request::new(operation.clone(), Some(operation), &mutators);
        Handshake { request: Some(request), mutators }
    }

    /// The same, around a `change` of what all mutators share: no mutator performs the operation before the
    /// change, and each performs it before its first poll after the change has ended. So a mutator that
    /// polls sees either neither of the two or both.
    ///
    /// Mutators that poll or come back meanwhile wait for `change`, which must not wait for them. If it panics,
    /// the operation is performed all the same, so that nobody waits for ever.
    pub fn begin_around(
        mutators: Vec<Arc<Mutator<S>>>,
        operation: Arc<dyn Stepwise<S>>,
        change: impl FnOnce(),
    ) -> Handshake<S> {
        let request = Request::publish(operation.clone(), Some(operation), &mutators, false);
        // Who comes back from the host must not run into the midst of the change.
        heavy_fence();
        let handshake = Handshake { request: Some(request.clone()), mutators };
        // Whoever runs polls from now on, so that it does not get far after the change.
        for mutator in &handshake.mutators {
            mutator.arm();
        }
        // Dropped before the handshake, which waits for what this delivers.
        let delivery = DeliverOnDrop { request: &request, mutators: &handshake.mutators };
        change();
        drop(delivery);
        handshake
    }

    /// What somebody else can watch it by.
    pub fn progress(&self) -> HandshakeProgress<S> {
        let request = self.request.as_ref().map(Arc::downgrade).unwrap_or_default();
        HandshakeProgress { request, requesters: 1 }
    }

    /// Waits until it has been done to all stacks, and completes the operation, unless a mutator has done so:
    /// see [`Operation::completes_briefly`].
    ///
    /// Must not be called by a thread that a mutator in state `Managed` belongs to.
    pub fn wait(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let Some(request) = self.request.take() else { return };
        request.wait(&self.mutators);
        request.acknowledge();
    }
}

/// Opens and delivers a request, also when the change that it waits for panics.
struct DeliverOnDrop<'a, S: Stack> {
    request: &'a Arc<Request<S>>,
    mutators: &'a [Arc<Mutator<S>>],
}

impl<S: Stack> Drop for DeliverOnDrop<'_, S> {
    fn drop(&mut self) {
        self.request.open();
        self.request.delivered.store(true, Ordering::Relaxed);
        for mutator in self.mutators {
            mutator.deliver(self.request);
        }
    }
}

impl<S: Stack> Drop for Handshake<S> {
    fn drop(&mut self) {
        self.finish();
    }
}
