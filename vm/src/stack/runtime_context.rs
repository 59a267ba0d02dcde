//! What a new store is given, so that its guest can be called: who handles its polls, its traps, and frames that
//! leave their machine code.

use super::raise::on_trap;
use super::transition;
use crate::engine::Engine;
use crate::store::Store;
use midair_osr::StackContext;
use midair_tiers::StoreContext;

/// A runtime context that no guest code runs on.
fn new_runtime_context() -> StoreContext {
    let mut stack = StackContext::new(transition::on_poll, on_trap);
    stack.transfer = Some(Box::new(transition::Transfer));
    StoreContext {
        stack,
        fuel: 0,
        calls: [0; 3],
        value_top: std::ptr::null_mut(),
        value_limit: std::ptr::null_mut(),
        activation: std::ptr::null_mut(),
        trap: 0,
        owner: std::ptr::null_mut(),
        exception: std::ptr::null_mut(),
    }
}

impl<T: 'static> Store<T> {
    /// An empty store.
    pub fn new(engine: &Engine, data: T) -> Store<T> {
        Store::on(engine, data, Box::new(new_runtime_context()))
    }
}
