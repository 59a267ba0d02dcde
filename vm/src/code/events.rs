//! Events: what an engine tells embedders who ask.

use crate::config::Tier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Something that happened to the code of an engine. Functions are named by their index in their module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Machine code of a function has been published.
    Compiled {
        /// Function index.
        function: u32,
        /// Number of the function's version.
        version: u32,
        /// Which compiler made it.
        tier: Tier,
        /// `None`: for calls of the function; otherwise an OSR entry at the loop at this offset in the
        /// function's body.
        osr_entry: Option<u32>,
        /// Bytes of machine code.
        bytes: usize,
        /// Time that the compilation took.
        time: Duration,
        /// It was not compiled now: the engine had kept a copy of the same code, see
        /// [`Config::code_cache`](crate::Config::code_cache).
        cached: bool,
    },
    /// A function stays in the interpreter.
    CompilationFailed {
        /// Function index.
        function: u32,
        /// Number of the function's version.
        version: u32,
        /// Why.
        reason: String,
    },
    /// Code has been unlinked; frames that were suspended in it have been redirected.
    Retired {
        /// Function index.
        function: u32,
        /// Number of the function's version.
        version: u32,
        /// Address of the code.
        address: usize,
        /// Bytes of machine code.
        bytes: usize,
    },
    /// Retired code has been poisoned. No byte of it is left.
    Freed {
        /// Address that the code had.
        address: usize,
        /// Bytes of machine code.
        bytes: usize,
    },
    /// A function has a new body.
    Replaced {
        /// Function index.
        function: u32,
        /// Number of the new version.
        version: u32,
        /// Frames of the old body that will go on in the new one.
        frames: usize,
    },
}

/// The receiving end of a subscription: see [`crate::Engine::events`].
///
/// Events that nobody takes pile up; drop the subscription when it is no longer wanted.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    /// The next event, if one has happened.
    pub fn try_next(&self) -> Option<Event> {
        self.0.try_recv().ok()
    }

    /// Waits for the next event, until `timeout` is over or the engine is gone.
    pub fn next_timeout(&self, timeout: Duration) -> Option<Event> {
        self.0.recv_timeout(timeout).ok()
    }
}

/// All events so far.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.try_next()
    }
}

/// Subscribers of an engine.
#[derive(Debug, Default)]
pub(crate) struct EventHub {
    /// Whether there are any: events are made only then.
    any: AtomicBool,
    subscribers: Mutex<Vec<Sender<Event>>>,
}

impl EventHub {
    pub(crate) fn subscribe(&self) -> Events {
        let (sender, receiver) = channel();
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.any.store(true, Ordering::Release);
        Events(receiver)
    }

    /// Hands an event to all subscribers.
    pub(crate) fn send(&self, event: impl FnOnce() -> Event) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let event = event();
        subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
        self.any.store(!subscribers.is_empty(), Ordering::Release);
    }
}
