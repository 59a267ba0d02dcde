//! A store while its guest runs: its stack, its frames, and what it polls for.

use super::native_stack::stack_pointer;
use super::opaque::StoreOpaque;
use crate::code::module_code::ModuleCode;
use crate::code::version::FunctionVersion;
use midair_osr::StackContext;
use midair_tiers::interp::Activation;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

/// Native stack that a run of the interpreter takes, from the frame of machine code that it goes on for to the frames
/// of machine code that it calls.
const ROOM_OF_RUN: usize = 4 << 10;

/// Native stack below the guest's limit that runs may take which go on for frames of machine code: so many of them may
/// be nested that each began at the very limit.
const ROOM_TO_MOVE: usize = 32 << 10;

impl StoreOpaque {
    /// The stack that the store's guest runs on.
    pub(crate) fn stack(&self) -> *mut StackContext {
        // SAFETY: the runtime context lives as long as the store; no reference is made.
        unsafe { &raw mut (*self.runtime()).stack }
    }

    /// Sets the words that the guest polls to what they are when nothing is asked for, and raises them
    /// again if something is. Under a stress schedule every poll is taken.
    pub(crate) fn rearm(&self) {
        let stress = self.engine().config().stress.is_active();
        let limit = if stress { usize::MAX } else { self.stack_limit };
        let stack = self.stack();
        // SAFETY: the stack lives as long as the store. Both fields are atomic, for other threads write
        // to them, and the reference to each is made from its place alone.
        unsafe {
            let poll_flag: &AtomicU64 = &(*stack).poll_flag;
            poll_flag.store(u64::from(stress), Ordering::Relaxed);
            let stack_limit: &AtomicUsize = &(*stack).stack_limit;
            stack_limit.store(limit, Ordering::Relaxed);
        }
        // Whoever asks after this sets them; whoever asked before is seen here, or by who looks at a module's
        // epoch after this.
        fence(Ordering::SeqCst);
        if self.interrupt.is_requested()
            || self.mutator.is_requested()
            || self.mutator.can_help()
            || self.contents.is_memory_pending()
        {
            self.mutator.arm();
        }
    }

    /// Sets the native stack aside that a run of the interpreter takes in place of a frame of machine code: moves
    /// the limit down, as long as there is some of [`ROOM_TO_MOVE`] left. Answers what the limit was, which has to
    /// be [set again](StoreOpaque::move_stack_limit) when that run has ended.
    pub(crate) fn lower_stack_limit(&mut self) -> usize {
        let before = self.stack_limit;
        let floor = self.full_stack_limit.saturating_sub(ROOM_TO_MOVE);
        self.move_stack_limit(before.saturating_sub(ROOM_OF_RUN).max(floor));
        before
    }

    /// Sets the limit of the native stack at a moment when the guest may have been asked to poll: it stays so.
    pub(crate) fn move_stack_limit(&mut self, limit: usize) {
        let before = std::mem::replace(&mut self.stack_limit, limit);
        // SAFETY: the stack lives as long as the store; the reference is made to the field alone, which is atomic.
        let polled: &AtomicUsize = unsafe { &(*self.stack()).stack_limit };
        // If it is raised, whoever lowers it again sets the new limit.
        let _ = polled.compare_exchange(before, limit, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the value stack has room for so many slots, and the native stack for another run of the
    /// interpreter: between two of them lie frames of Rust.
    pub(crate) fn has_room(&self, slots: usize) -> bool {
        // SAFETY: the runtime context lives as long as the store.
        let (top, limit) = unsafe { ((*self.runtime()).value_top, (*self.runtime()).value_limit) };
        let room = (limit as usize).saturating_sub(top as usize) / size_of::<u64>();
        stack_pointer() >= self.stack_limit && room >= slots
    }

    fn activations(&self) -> impl Iterator<Item = &Activation> {
        // SAFETY: the store is borrowed, so its guest does not go on meanwhile.
        let innermost = unsafe { Activation::innermost(self.runtime()) };
        std::iter::successors(innermost, |activation| activation.outer())
    }

    /// The version of `function` that the innermost frame of the interpreter runs.
    pub(crate) fn top_version(
        &self,
        module: &ModuleCode,
        function: u32,
    ) -> Option<Arc<FunctionVersion>> {
        let code = self.activations().next()?.frames().next()?.code();
        module.version_of(code, function)
    }
}
