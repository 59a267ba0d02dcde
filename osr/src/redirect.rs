//! Redirection: the only module that writes return addresses.
//!
//! ```text
//!           callee's frame                         callee's frame
//!   slot:   return address into F        ->        landing stub
//!           F's frame (machine code retired)       F's frame, until the callee returns
//! ```
//!
//! The original address is kept in the stack's [`RedirectTable`], together with the code object, whose
//! tables outlive its bytes. From then on no register, no stack slot and no table refers to the bytes.

use crate::code_object::CodeObject;
use crate::context::StackContext;
use crate::stubs;
use crate::walk::WalkedFrame;
use std::sync::Arc;

/// One redirected return address.
#[derive(Debug)]
pub(crate) struct Redirected {
    /// Frame pointer of the frame that is returned into.
    fp: usize,
    /// What the slot held.
    pub(crate) return_address: usize,
    /// The code object that the address lies in.
    pub(crate) object: Arc<CodeObject>,
}

/// Redirected return addresses of one stack, outermost first: frame pointers fall towards the end, so the
/// frame that is returned into next is the last one.
#[derive(Debug, Default)]
pub struct RedirectTable {
    entries: Vec<Redirected>,
    /// Frames that were unwound before they were returned to, since somebody last asked.
    dropped: u64,
    /// See [`RedirectTable::is_selective`].
    selective: bool,
}

impl RedirectTable {
    /// How many frames wait for their transfer.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says whether frames are about to be redirected selectively, or all of them up to the first one that
    /// is redirected.
    pub fn set_selective(&mut self, selective: bool) {
        self.selective = selective || self.is_selective();
    }

    /// Whether some frames outside a redirected one may not be redirected. If not, frames have only ever
    /// been redirected from the innermost outwards to the end of the stack, or the first redirected one.
    pub fn is_selective(&self) -> bool {
        self.selective && !self.entries.is_empty()
    }

    /// The original address and code object of a redirected frame.
    pub(crate) fn get(&self, fp: usize) -> Option<&Redirected> {
        let i = self.entries.binary_search_by(|e| fp.cmp(&e.fp)).ok()?;
        Some(&self.entries[i])
    }

    /// Removes the entry of the frame that is returned into, and entries of frames that vanished.
    pub(crate) fn take(&mut self, fp: usize) -> Redirected {
        self.forget_below(fp);
        let entry = self.entries.pop().expect("every redirected frame has an entry");
        assert_eq!(entry.fp, fp, "a landing in a frame that was not redirected");
        entry
    }

    /// Forgets frames that were unwound: all below the address.
    pub(crate) fn forget_below(&mut self, address: usize) {
        while self.entries.last().is_some_and(|e| e.fp < address) {
            self.entries.pop();
            self.dropped += 1;
        }
    }

    /// How many redirected frames were unwound, since this was last called, before they were returned to.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Adds entries, which are given innermost first and are none of ours yet.
    fn merge(&mut self, added: Vec<Redirected>) {
        let Some(outermost) = added.last().map(|e| e.fp) else { return };
        // Only the inner part, from the outermost added frame on, has to be merged.
        let at = self.entries.partition_point(|e| e.fp > outermost);
        let inner = self.entries.split_off(at);
        self.entries.reserve(inner.len() + added.len());
        let mut inner = inner.into_iter().peekable();
        for entry in added.into_iter().rev() {
            while let Some(older) = inner.next_if(|older| older.fp > entry.fp) {
                self.entries.push(older);
            }
            self.entries.push(entry);
        }
        self.entries.extend(inner);
    }
}

/// Why frames cannot be redirected on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShadowStackActive;

impl std::fmt::Display for ShadowStackActive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "this thread runs with a hardware shadow stack, which forbids rewriting return addresses: \
             compiled frames cannot be replaced while they are suspended",
        )
    }
}

impl std::error::Error for ShadowStackActive {}

/// Whether the processor checks return addresses of this process against a shadow stack.
pub fn shadow_stack_active() -> bool {
    static ACTIVE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ACTIVE.get_or_init(|| {
        std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
            status
                .lines()
                .any(|line| line.starts_with("x86_Thread_features:") && line.contains("shstk"))
        })
    })
}

/// The one place that writes a return address.
///
/// # Safety
/// `slot` must hold a return address into a managed frame for which the redirect table of its stack gets
/// an entry, and the thread that owns the stack must be this one, or stopped.
unsafe fn write_return_address(slot: *mut usize) {
    // SAFETY: the caller vouches for the slot.
    unsafe { *slot = stubs::landing_address() };
}

/// What [`StackContext::redirect_frames`] does about a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Redirect it, unless that has been done.
    Redirect,
    /// Leave it.
    Skip,
    /// Leave it, and all frames outside it.
    Stop,
}

impl StackContext {
    /// Redirects every suspended frame that `choose` chooses and that is not redirected yet: when it is
    /// returned to, it is captured and transferred instead. Frames are asked for from the innermost
    /// outwards. Returns how many were redirected.
    ///
    /// # Safety
    /// The thread that owns this stack is in Rust code reached through a callout or a poll (or has no
    /// managed frames), and is this thread or stopped. Every selected frame must be at a site with a frame
    /// map, which holds for all calls that managed code makes except runtime calls.
    pub unsafe fn redirect_frames(
        &mut self,
        mut choose: impl FnMut(&WalkedFrame) -> Choice,
    ) -> usize {
        let mut added = Vec::new();
        // SAFETY: as the caller vouches.
        for frame in unsafe { self.walk() } {
            match choose(&frame) {
                Choice::Stop => break,
                Choice::Redirect if !frame.redirected => {}
                Choice::Redirect | Choice::Skip => continue,
            }
            added.push(Redirected {
                fp: frame.fp,
                return_address: frame.pc,
                object: frame.object_arc(),
            });
            // SAFETY: the walk found a managed return address there, and the entry is added below,
            // before anything can return.
            unsafe { write_return_address(frame.return_slot) };
        }
        let count = added.len();
        self.redirected.merge(added);
        count
    }

    /// Redirects the innermost managed frame alone: the one that made the poll or callout. Returns
    /// whether there was one to redirect.
    ///
    /// # Safety
    /// As for [`StackContext::redirect_frames`].
    pub unsafe fn redirect_innermost(&mut self) -> bool {
        // SAFETY: as the caller vouches.
        let Some(frame) = (unsafe { self.walk() }).next() else { return false };
        if frame.redirected {
            return false;
        }
        let entry =
            Redirected { fp: frame.fp, return_address: frame.pc, object: frame.object_arc() };
        // SAFETY: as in `redirect_frames`.
        unsafe { write_return_address(frame.return_slot) };
        self.redirected.forget_below(entry.fp);
        self.redirected.entries.push(entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(fp: usize) -> Redirected {
        Redirected { fp, return_address: fp + 1, object: CodeObject::for_tests() }
    }

    proptest! {
        #[test]
        fn entries_stay_sorted_and_are_taken_innermost_first(
            first in proptest::collection::btree_set(1usize..200, 0..40),
            second in proptest::collection::btree_set(1usize..200, 0..40),
        ) {
            let second: std::collections::BTreeSet<_> = second.difference(&first).copied().collect();
            let mut table = RedirectTable::default();
            // Innermost first: lowest frame pointer first.
            table.merge(first.iter().map(|&fp| entry(fp)).collect());
            table.merge(second.iter().map(|&fp| entry(fp)).collect());
            let all: Vec<usize> = first.union(&second).copied().collect();
            for &fp in &all {
                prop_assert_eq!(table.get(fp).map(|e| e.return_address), Some(fp + 1));
            }
            for &fp in &all {
                prop_assert_eq!(table.take(fp).return_address, fp + 1);
            }
            prop_assert!(table.is_empty());
        }

        #[test]
        fn unwound_frames_are_forgotten(fps in proptest::collection::btree_set(1usize..200, 0..40), cut in 0usize..200) {
            let mut table = RedirectTable::default();
            table.merge(fps.iter().map(|&fp| entry(fp)).collect());
            table.forget_below(cut);
            prop_assert_eq!(table.len(), fps.iter().filter(|&&fp| fp >= cut).count());
        }
    }
}
