//! Events: what an engine tells embedders who ask.

use super::module_code::ModuleCode;
use super::timeline::Recorder;
use crate::config::Tier;
use midair_osr::Process;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Which module something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ModuleLabel {
    number: u64,
    name: Option<Arc<str>>,
}

impl ModuleLabel {
    /// A module that is named by its number only.
    pub(super) fn unnamed(number: u64) -> ModuleLabel {
        ModuleLabel { number, name: None }
    }

    /// Its [number](crate::Module::number): modules of an engine are told apart by it, and none gets that of
    /// one that is gone.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its name, if it has a name section that says so. Several modules may have the same one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl ModuleCode {
    /// What events call the module.
    pub(crate) fn label(&self) -> ModuleLabel {
        let name = self.module().and_then(|module| module.name().map(Arc::from));
        ModuleLabel { number: self.id, name }
    }
}

/// Something that happened to the code of an engine. Functions are named by their index in their
/// module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Machine code of a function has been published.
    #[non_exhaustive]
    Compiled {
        /// The module.
        module: ModuleLabel,
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
    #[non_exhaustive]
    CompilationFailed {
        /// The module.
        module: ModuleLabel,
        /// Function index.
        function: u32,
        /// Number of the function's version.
        version: u32,
        /// Why.
        reason: String,
    },
    /// Code has been unlinked; frames that were suspended in it have been redirected.
    #[non_exhaustive]
    Retired {
        /// The module.
        module: ModuleLabel,
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
    #[non_exhaustive]
    Freed {
        /// The module.
        module: ModuleLabel,
        /// Address that the code had.
        address: usize,
        /// Bytes of machine code.
        bytes: usize,
    },
    /// A function has a new body.
    #[non_exhaustive]
    Replaced {
        /// The module.
        module: ModuleLabel,
        /// Function index.
        function: u32,
        /// Number of the new version.
        version: u32,
        /// Frames of the old body that will go on in the new one.
        frames: usize,
    },
}

/// How many events [`Engine::events`](crate::Engine::events) keeps for a subscriber.
pub(crate) const EVENTS_KEPT: usize = 1 << 14;

/// The receiving end of a subscription: see [`crate::Engine::events`].
///
/// Events wait here until they are taken, but only so many: when another one comes, the oldest is dropped, and
/// [counted](Events::dropped).
#[derive(Debug)]
pub struct Events(Arc<Subscription>);

impl Events {
    /// The next event, if one has happened.
    pub fn try_next(&self) -> Option<Event> {
        self.0.waiting().events.pop_front()
    }

    /// Waits for the next event, until `timeout` is over or the engine is gone.
    pub fn next_timeout(&self, timeout: Duration) -> Option<Event> {
        // No deadline that can be told: it is waited without one.
        let deadline = Instant::now().checked_add(timeout);
        let mut waiting = self.0.waiting();
        loop {
            if let Some(event) = waiting.events.pop_front() {
                return Some(event);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if waiting.ended || left == Some(Duration::ZERO) {
                return None;
            }
            let left = left.unwrap_or(Duration::from_secs(3600));
            let woken = self.0.wake.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many events have been dropped since the subscription began, because too many waited to be taken.
    pub fn dropped(&self) -> u64 {
        self.0.waiting().dropped
    }
}

/// All events so far.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.try_next()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.0.process.is_current() {
            return;
        }
        let mut waiting = self.0.waiting();
        waiting.ended = true;
        let events = std::mem::take(&mut waiting.events);
        drop(waiting);
        drop(events);
    }
}

/// What an engine and a subscriber share.
#[derive(Debug)]
struct Subscription {
    process: Process,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    capacity: usize,
}

/// What the lock of a subscription protects.
#[derive(Debug, Default)]
struct Waiting {
    /// Oldest first; not more than the capacity.
    events: VecDeque<Event>,
    dropped: u64,
    /// The engine or the subscriber is gone.
    ended: bool,
}

impl Subscription {
    /// # Panics
    /// In a process that was forked from the engine's.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.process.assert_current();
        // Nothing that can panic happens between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there is somebody to take events.
    fn send(&self, event: Event) -> bool {
        let mut waiting = self.waiting();
        if waiting.ended {
            return false;
        }
        if waiting.events.len() >= self.capacity {
            waiting.events.pop_front();
            waiting.dropped += 1;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.wake.notify_one();
        true
    }
}

/// Subscribers of an engine.
#[derive(Debug)]
pub(crate) struct EventHub {
    process: Process,
    /// Whether there are any: events are made only then.
    any: AtomicBool,
    subscribers: Mutex<Vec<Arc<Subscription>>>,
    /// Writes all events into the timeline, if there is one.
    recorder: OnceLock<Arc<Recorder>>,
}

impl EventHub {
    /// For an engine of this process.
    pub(crate) fn new() -> EventHub {
        EventHub {
            process: Process::current(),
            any: AtomicBool::new(false),
            subscribers: Mutex::default(),
            recorder: OnceLock::new(),
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Arc<Subscription>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription that keeps at most so many events, and at least one.
    pub(crate) fn subscribe(&self, capacity: usize) -> Events {
        let subscription = Arc::new(Subscription {
            process: self.process,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            capacity: capacity.max(1),
        });
        let mut subscribers = self.subscribers();
        subscribers.push(subscription.clone());
        self.any.store(true, Ordering::Release);
        Events(subscription)
    }

    /// Writes all events from now on into a timeline.
    pub(super) fn record_in(&self, recorder: &Arc<Recorder>) {
        // An engine has one timeline.
        let _ = self.recorder.set(recorder.clone());
    }

    /// Whether somebody listens, or will look at the timeline.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire) || self.recorder.get().is_some()
    }

    /// Hands an event to all subscribers.
    pub(crate) fn send(&self, event: impl FnOnce() -> Event) {
        if !self.any() {
            return;
        }
        // Made without the lock: it may take the parsing of names.
        let event = event();
        if let Some(recorder) = self.recorder.get() {
            recorder.event(&event);
        }
        let mut subscribers = self.subscribers();
        subscribers.retain(|subscriber| subscriber.send(event.clone()));
        self.any.store(!subscribers.is_empty(), Ordering::Release);
    }
}

impl Drop for EventHub {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        for subscriber in &*self.subscribers() {
            subscriber.waiting().ended = true;
            subscriber.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freed(address: usize) -> Event {
        Event::Freed { module: ModuleLabel::unnamed(1), address, bytes: 1 }
    }

    #[test]
    fn events_that_nobody_takes_are_dropped_oldest_first_and_counted() {
        let hub = EventHub::new();
        let events = hub.subscribe(3);
        for n in 0..10 {
            hub.send(|| freed(n));
        }
        assert_eq!(events.dropped(), 7);
        assert_eq!(events.try_next(), Some(freed(7)));
        hub.send(|| freed(10));
        assert_eq!(events.dropped(), 7, "there was room again");
        assert_eq!(events.collect::<Vec<_>>(), [freed(8), freed(9), freed(10)]);
    }

    #[test]
    fn who_does_not_listen_any_more_is_forgotten() {
        let hub = EventHub::new();
        let (first, second) = (hub.subscribe(1), hub.subscribe(1));
        drop(first);
        hub.send(|| freed(1));
        assert_eq!(hub.subscribers().len(), 1);
        drop(second);
        hub.send(|| freed(2));
        assert!(!hub.any() && hub.subscribers().is_empty());
        hub.send(|| unreachable!("nobody listens"));
    }
}
