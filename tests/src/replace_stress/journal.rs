//! What was done last, and what has become of which code: for whoever looks for the cause of a failure.

use midair::{Event, Events};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Operations that are kept.
const OPERATIONS: usize = 40;
/// Events about code that are kept.
const EVENTS: usize = 50_000;

struct Entry {
    number: u64,
    at: Duration,
    text: String,
    outcome: Option<String>,
}

struct State {
    begun: u64,
    entries: VecDeque<Entry>,
    /// Of the round that is running.
    events: Option<Events>,
    history: VecDeque<Event>,
}

/// The last operations of all threads, and the last events of the engine.
pub struct Journal {
    start: Instant,
    state: Mutex<State>,
}

impl Journal {
    /// An empty one.
    pub fn new() -> Journal {
        let state =
            State { begun: 0, entries: VecDeque::new(), events: None, history: VecDeque::new() };
        Journal { start: Instant::now(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A round begins on another engine.
    pub fn begin_round(&self, text: String, events: Events) {
        let mut state = self.state();
        state.events = Some(events);
        state.history.clear();
        drop(state);
        let number = self.begin(text);
        self.end(number, String::new());
    }

    /// Its engine is about to go.
    pub fn end_round(&self) {
        self.state().events = None;
    }

    /// An operation begins; the answer is its number.
    pub fn begin(&self, text: String) -> u64 {
        let at = self.start.elapsed();
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        if state.entries.len() == OPERATIONS {
            state.entries.pop_front();
        }
        state.entries.push_back(Entry { number, at, text, outcome: None });
        number
    }

    /// An operation has ended.
    pub fn end(&self, number: u64, outcome: String) {
        let mut state = self.state();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.number == number) {
            entry.outcome = Some(outcome);
        }
    }

    /// The operation that began longest ago of those that have not ended.
    pub fn oldest_open(&self) -> Option<(Duration, String)> {
        let state = self.state();
        let entry = state.entries.iter().find(|entry| entry.outcome.is_none())?;
        Some((self.start.elapsed().saturating_sub(entry.at), entry.text.clone()))
    }

    /// Takes in what the engine has said meanwhile.
    pub fn collect_events(&self) {
        let state = &mut *self.state();
        let events = state.events.iter_mut().flatten();
        for event in events {
            if state.history.len() == EVENTS {
                state.history.pop_front();
            }
            state.history.push_back(event);
        }
    }

    /// The last operations, one a line.
    pub fn operations(&self) -> String {
        let mut text = String::new();
        for Entry { number, at, text: what, outcome } in &self.state().entries {
            let outcome = outcome.as_deref().unwrap_or("(not ended)");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {number:>7} {:>9.4} s  {what}  {outcome}", at.as_secs_f64());
        }
        text
    }

    /// What has happened to the code at an address.
    pub fn history_of(&self, address: usize) -> String {
        self.collect_events();
        let mut text = String::new();
        for event in &self.state().history {
            let (start, bytes) = match event {
                Event::Retired { address, bytes, .. } | Event::Freed { address, bytes, .. } => {
                    (*address, *bytes)
                }
                _ => continue,
            };
            if (start..start + bytes.next_multiple_of(64)).contains(&address) {
                let _ = writeln!(text, "  {event:x?}");
            }
        }
        if text.is_empty() {
            text += "  no code that was retired or freed lay there\n";
        }
        text
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal::new()
    }
}
