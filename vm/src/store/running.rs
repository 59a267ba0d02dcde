//! A store while its guest runs: its stack, its frames, and what it polls for.

use super::StoreOpaque;
use crate::code::{FunctionVersion, ModuleCode};
use midair_osr::StackContext;
use midair_tiers::interp::Activation;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

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
