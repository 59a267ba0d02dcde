//! Retiring code: from unlinked code to freed bytes, across all stores that may run it.
//!
//! The thread that retires redirects the frames of its own store at once. A store whose guest runs on
//! another thread gets a ticket and does it for itself at its next safepoint; one that runs no guest has
//! no frames. Whoever serves the last ticket frees the bytes.

use super::events::Event;
use super::system::CodeSystem;
use super::version::CodeOwner;
use crate::interrupt::InterruptState;
use midair_osr::{Choice, CodeObject, StackContext};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// How far a stack is searched for frames of retired code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// To its end.
    Whole,
    /// To the first frame that has been redirected: for a stack whose frames are only ever redirected
    /// all together, so that all outside that one have been redirected too.
    FirstRedirected,
}

/// Unlinked code that waits for the stores that may have frames in it.
pub(crate) struct Ticket {
    system: Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    ids: HashSet<u64>,
    waiting: AtomicUsize,
}

impl Ticket {
    /// Redirects the frames of one stack, and frees the code if that was the last.
    ///
    /// # Safety
    /// The stack must be in Rust code reached through a callout or poll, or have no managed frames; and be
    /// this thread's. The ticket must have been counted for this stack.
    pub(crate) unsafe fn serve(&self, stack: &mut StackContext, reach: Reach) -> usize {
        // SAFETY: as the caller vouches; every site in guest code has a frame map.
        let redirected = unsafe {
            stack.redirect_frames(|frame| {
                if frame.redirected && reach == Reach::FirstRedirected {
                    Choice::Stop
                } else if self.ids.contains(&frame.object().id) {
                    Choice::Redirect
                } else {
                    Choice::Skip
                }
            })
        };
        self.system.counters.frames_redirected.add(redirected as u64);
        self.acknowledge();
        redirected
    }

    /// A stack without frames in the code acknowledges.
    pub(crate) fn acknowledge(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        for object in &self.objects {
            // SAFETY: the code was unlinked, and every stack that could hold frames has redirected them.
            unsafe { self.system.heap.free(object) };
            self.system.counters.retired_bytes_freed.add(heap_bytes(object));
            let (address, bytes) = (object.start() as usize, object.len());
            self.system.events.send(|| Event::Freed { address, bytes });
        }
    }
}

/// Bytes that an object takes in the heap.
fn heap_bytes(object: &CodeObject) -> u64 {
    object.len().next_multiple_of(64) as u64
}

/// What a retirement did at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retired {
    /// Frames of the caller's stack that were redirected.
    pub(crate) redirected: usize,
    /// Bytes of machine code that were freed before this returned.
    pub(crate) freed_bytes: usize,
    /// Bytes that wait for other threads.
    pub(crate) waiting_bytes: usize,
}

/// Retires code objects.
///
/// # Safety
/// Nothing may lead into the code any more but return addresses: it has been unlinked (with sequentially
/// consistent stores), and no entry address is held by a thread across a safepoint. `here` is the store of
/// this thread, in Rust code reached through a callout or poll or without managed frames; `stores` are all
/// stores that have instances of the code's module.
pub(crate) unsafe fn retire(
    system: &Arc<CodeSystem>,
    objects: Vec<Arc<CodeObject>>,
    here: Option<(&Arc<InterruptState>, &mut StackContext, Reach)>,
    stores: &[Arc<InterruptState>],
) -> Retired {
    let objects: Vec<_> = objects.into_iter().filter(|object| object.retire()).collect();
    if objects.is_empty() {
        return Retired::default();
    }
    let bytes: usize = objects.iter().map(|object| object.len()).sum();
    for object in &objects {
        system.counters.retired_bytes.add(heap_bytes(object));
        let version = &CodeOwner::of(object).version;
        system.events.send(|| Event::Retired {
            function: version.body.function,
            version: version.body.version,
            address: object.start() as usize,
            bytes: object.len(),
        });
    }
    let ids = objects.iter().map(|object| object.id).collect();
    // One count for this call itself, so that the last one is not served too early.
    let ticket =
        Arc::new(Ticket { system: system.clone(), objects, ids, waiting: AtomicUsize::new(1) });
    // A store that starts to run a guest says so before it loads an entry: either we see that it runs, or
    // it sees that the code is unlinked.
    fence(Ordering::SeqCst);
    for store in stores {
        if here.as_ref().is_some_and(|(mine, ..)| Arc::ptr_eq(mine, store)) {
            continue;
        }
        ticket.waiting.fetch_add(1, Ordering::AcqRel);
        if !store.hand_over(&ticket) {
            ticket.acknowledge();
        }
    }
    let mut retired = Retired::default();
    match here {
        // SAFETY: as the caller vouches.
        Some((_, stack, reach)) => retired.redirected = unsafe { ticket.serve(stack, reach) },
        None => ticket.acknowledge(),
    }
    if ticket.waiting.load(Ordering::Acquire) == 0 {
        retired.freed_bytes = bytes;
    } else {
        retired.waiting_bytes = bytes;
    }
    retired
}
