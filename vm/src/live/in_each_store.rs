//! Something that an update does to all instances of a module.

use crate::module::ModuleState;
use crate::store::contents::{Contents, LockedContents};
use crate::store::instance::InstanceEntity;
use crate::store::opaque::StoreOpaque;
use midair_osr::{Handshake, Operation, StackContext};
use midair_tiers::StoreContext;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An operation on each store that has instances of a module: `work` is done for each of them, while the
/// store's guest stands still and its contents are locked.
pub(super) struct InEachStore<F> {
    module: Arc<ModuleState>,
    work: F,
}

impl<F> InEachStore<F>
where
    F: Fn(&Arc<Contents>, &mut LockedContents, &InstanceEntity) + Send + Sync + 'static,
{
    pub(super) fn new(module: &Arc<ModuleState>, work: F) -> InEachStore<F> {
        InEachStore { module: module.clone(), work }
    }

    /// Does it now, and waits until it has been done everywhere. Not to be called from guest code.
    pub(super) fn perform_and_wait(self) {
        let stores = self.module.code.stores();
        Handshake::begin(stores, Arc::new(self)).wait();
    }
}

impl<F> Operation<StackContext> for InEachStore<F>
where
    F: Fn(&Arc<Contents>, &mut LockedContents, &InstanceEntity) + Send + Sync + 'static,
{
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: guest stacks are the first fields of the contexts of stores, which are alive while their
        // stacks are attached. Nothing but the pointer to the contents is read of the store, which never
        // changes.
        let contents = unsafe {
            let store = StoreOpaque::from_runtime(stack.cast::<StoreContext>());
            (*store.as_ptr()).contents.clone()
        };
        let mut locked = contents.lock();
        for instance in locked.instances.clone() {
            // SAFETY: instances live as long as their store. Its guest stands still, and its owner does not
            // use instances mutably without the lock.
            let instance = unsafe { instance.as_ref() };
            if Arc::ptr_eq(&instance.module, &self.module) {
                (self.work)(&contents, &mut locked, instance);
            }
        }
    }

    fn paused(&self, time: std::time::Duration) {
        self.module.code.system.counters.paused(time);
    }
}

/// The same, for work that leaves something to be done by the store's own thread: makes its guest come to a
/// safepoint.
pub(super) struct LeftToStore<F>(pub(super) InEachStore<F>);

impl<F> Operation<StackContext> for LeftToStore<F>
where
    F: Fn(&Arc<Contents>, &mut LockedContents, &InstanceEntity) + Send + Sync + 'static,
{
    unsafe fn perform(&self, stack: *mut StackContext) {
        // SAFETY: as the caller vouches.
        unsafe { self.0.perform(stack) };
        // SAFETY: the stack is alive; both fields are atomic, and nothing but they is borrowed.
        unsafe {
            (*stack).poll_flag.store(1, Ordering::Release);
            (*stack).stack_limit.store(usize::MAX, Ordering::Release);
        }
    }
}
