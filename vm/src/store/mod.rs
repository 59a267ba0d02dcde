//! Stores: what instances live in.
//!
//! ```text
//!   opaque            a store without the embedder's data: all that runtime calls see of it
//!   contents, limits  what other threads may change, under a lock; how large it may become, and who is asked
//!   backtrace         backtraces, as errors carry them
//!   transitions       what a store remembers of transitions between the tiers
//!   running           a store while its guest runs: its stack, its frames, and what it polls for
//!   guest_stack       the memory that guest code works on besides the native stack
//!   native_stack      where on which native stack a thread is
//!   interrupt         stopping the guest from another thread
//!   instance_context  what machine code and interpreter see of an instance
//!   of_context        from there back to instance, store and code
//!   instance, host_function   instances and host functions, as their store keeps them
//!   func, memory, table, global, tag   what instances own, and handles to it
//!   exceptions        exceptions that guests have thrown, and handles to them
//!   external, value   whatever can be imported; values of any type
//!   shared_memory, waiters   memories that several threads use at once, and who waits in one
//!   caller            what a host function knows of who called it
//!   arena             objects that stay where they are as long as their store
//!   reservation       address space that becomes memory step by step
//! ```

pub(crate) mod arena;
pub(crate) mod backtrace;
pub(crate) mod caller;
pub(crate) mod contents;
pub(crate) mod exceptions;
pub(crate) mod external;
pub(crate) mod func;
pub(crate) mod global;
pub(crate) mod guest_stack;
pub(crate) mod host_function;
pub(crate) mod instance;
pub(crate) mod instance_context;
pub(crate) mod interrupt;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod native_stack;
pub(crate) mod of_context;
pub(crate) mod opaque;
pub(crate) mod reservation;
pub(crate) mod running;
pub(crate) mod shared_memory;
pub(crate) mod table;
pub(crate) mod tag;
pub(crate) mod transitions;
pub(crate) mod value;
pub(crate) mod waiters;

use crate::engine::Engine;
use anyhow::Result;
use interrupt::InterruptHandle;
use limits::{Question, ResourceLimiter, StoreLimits};
use midair_tiers::StoreContext;
use opaque::StoreOpaque;
use std::ptr::NonNull;

/// A store with the embedder's data. The opaque part comes first, so that code that does not know `T`
/// can work on it through the same pointer.
#[repr(C)]
pub(crate) struct StoreState<T> {
    opaque: StoreOpaque,
    data: T,
}

impl<T> StoreState<T> {
    /// Frees a store, but for the embedder's data.
    ///
    /// In a process that was forked from the store's the rest is left as it is: a thread that does not exist there may
    /// have been in the midst of changing it.
    ///
    /// # Safety
    /// The store has been made by [`Store::new`], and nobody uses it any more.
    unsafe fn free(this: NonNull<StoreState<T>>) -> T {
        let this = this.as_ptr();
        // SAFETY: as the caller vouches, the state is alive and came from a box.
        unsafe {
            if (*this).opaque.process.is_current() {
                Box::from_raw(this).data
            } else {
                (&raw mut (*this).data).read()
            }
        }
    }
}

/// Owns instances, and all that belongs to them, and a value of the embedder.
///
/// Handles such as [`Func`](crate::Func) and [`Memory`](crate::Memory) refer into one store; used with
/// another one they panic. Everything is freed when the store is dropped.
///
/// ```
/// use midair::{Engine, Store};
///
/// let mut store = Store::new(&Engine::default(), 1);
/// *store.data_mut() += 1;
/// assert_eq!(*store.data(), 2);
/// ```
pub struct Store<T: 'static> {
    // Not a `Box`: the runtime keeps pointers into it.
    state: NonNull<StoreState<T>>,
}

// SAFETY: the store owns all that it points to, and nothing of it depends on the thread it was made
// on; while guest code runs, the store is borrowed mutably.
unsafe impl<T: Send> Send for Store<T> {}
// SAFETY: a shared store only gives out shared access to its data and to plain values.
unsafe impl<T: Sync> Sync for Store<T> {}

impl<T: 'static> Store<T> {
    /// An empty store, whose guest runs on this context.
    pub(crate) fn on(engine: &Engine, data: T, runtime: Box<StoreContext>) -> Store<T> {
        let opaque = StoreOpaque::new(engine, runtime);
        let state = Box::into_raw(Box::new(StoreState { opaque, data }));
        // SAFETY: the state has just been allocated, and stays where it is until it is dropped.
        unsafe { StoreOpaque::attach(&raw mut (*state).opaque) };
        Store {
            // SAFETY: boxes are not null.
            state: unsafe { NonNull::new_unchecked(state) },
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.opaque().engine()
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        // SAFETY: the state is valid as long as the store, and borrowed as the store is.
        unsafe { &(*self.state.as_ptr()).data }
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: as in `data`.
        unsafe { &mut (*self.state.as_ptr()).data }
    }

    /// Drops the store and returns the embedder's data.
    pub fn into_data(self) -> T {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped.
        unsafe { StoreState::free(this.state) }
    }

    /// Sets the fuel that guest code may still use.
    ///
    /// Fails unless the engine is configured to
    /// [consume fuel](crate::Config::consume_fuel).
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.as_context_mut().set_fuel(fuel)
    }

    /// The fuel that is left.
    pub fn get_fuel(&self) -> Result<u64> {
        self.opaque().fuel()
    }

    /// A handle to stop the guest from another thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.opaque().interrupt_handle()
    }

    /// Sets limits for memories and tables. They hold for what grows or is made from now on.
    pub fn set_limits(&mut self, limits: StoreLimits) {
        self.opaque().contents.lock().set_limits(limits);
    }

    /// Sets who is asked before a memory or table is made or grows from now on. The limiter is part of the store's data,
    /// or can be found from there. It is asked besides the [limits](Store::set_limits), which hold whatever it says.
    pub fn limiter(
        &mut self,
        mut limiter: impl (FnMut(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        let ask = move |store: NonNull<StoreOpaque>, question: Question| {
            let state: *mut StoreState<T> = store.cast().as_ptr();
            // SAFETY: this is kept by a store of `T`, which asks while nothing uses its data: no host function of its
            // guest runs.
            question.put_to(limiter(unsafe { &mut (*state).data }))
        };
        self.as_context_mut().opaque_mut().limiter = Some(Box::new(ask));
    }

    fn opaque(&self) -> &StoreOpaque {
        // SAFETY: as in `data`.
        unsafe { &(*self.state.as_ptr()).opaque }
    }
}

impl<T: 'static> Drop for Store<T> {
    fn drop(&mut self) {
        // SAFETY: the store is not used any more.
        drop(unsafe { StoreState::free(self.state) });
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("data", self.data()).finish_non_exhaustive()
    }
}

/// Shared access to a store.
///
/// (Wasmtime's `StoreContext`; here that is the name of what machine code sees of a store.)
pub struct StoreContextRef<'a, T: 'static> {
    state: &'a StoreState<T>,
}

impl<T> Clone for StoreContextRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for StoreContextRef<'_, T> {}

impl<'a, T: 'static> StoreContextRef<'a, T> {
    /// The embedder's data.
    pub fn data(&self) -> &'a T {
        &self.state.data
    }

    /// The engine.
    pub fn engine(&self) -> &'a Engine {
        self.state.opaque.engine()
    }

    /// The fuel that is left: see [`Store::get_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.state.opaque.fuel()
    }

    pub(crate) fn opaque(&self) -> &'a StoreOpaque {
        &self.state.opaque
    }
}

/// Exclusive access to a store.
pub struct StoreContextMut<'a, T: 'static> {
    // A pointer, for guest code that is called through it works on the store by its own pointers.
    state: NonNull<StoreState<T>>,
    borrow: std::marker::PhantomData<&'a mut StoreState<T>>,
}

// SAFETY: it stands for a mutable reference to the store.
unsafe impl<T: Send> Send for StoreContextMut<'_, T> {}

impl<'a, T: 'static> StoreContextMut<'a, T> {
    /// The store behind a host function's context.
    ///
    /// # Safety
    /// `store` must be the opaque part of a `Store<T>`, and nothing else may use that store during
    /// `'a`.
    pub(crate) unsafe fn from_opaque(store: NonNull<StoreOpaque>) -> StoreContextMut<'a, T> {
        StoreContextMut { state: store.cast(), borrow: std::marker::PhantomData }
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        // SAFETY: `self` stands for a mutable borrow of the state.
        unsafe { &(*self.state.as_ptr()).data }
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: as in `data`.
        unsafe { &mut (*self.state.as_ptr()).data }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.opaque().engine()
    }

    /// The fuel that is left: see [`Store::get_fuel`].
    pub fn get_fuel(&self) -> Result<u64> {
        self.opaque().fuel()
    }

    /// Sets the fuel: see [`Store::set_fuel`].
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.opaque_mut().set_fuel(fuel)
    }

    /// A handle to stop the guest from another thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.opaque().interrupt_handle()
    }

    pub(crate) fn opaque(&self) -> &StoreOpaque {
        // SAFETY: as in `data`.
        unsafe { &(*self.state.as_ptr()).opaque }
    }

    /// The same access, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut { state: self.state, borrow: std::marker::PhantomData }
    }

    pub(crate) fn opaque_mut(&mut self) -> &mut StoreOpaque {
        // SAFETY: as in `data`.
        unsafe { &mut (*self.state.as_ptr()).opaque }
    }

    /// The store, for as long as it is borrowed.
    pub(crate) fn into_opaque(self) -> &'a mut StoreOpaque {
        // SAFETY: `self` stands for a mutable borrow of the state for `'a`, and is gone now.
        unsafe { &mut (*self.state.as_ptr()).opaque }
    }

    /// The embedder's data, for as long as the store is borrowed.
    pub(crate) fn into_data_mut(self) -> &'a mut T {
        // SAFETY: `self` stands for a mutable borrow of the state for `'a`, and is gone now.
        unsafe { &mut (*self.state.as_ptr()).data }
    }

    /// The store as guest code works on it.
    pub(crate) fn opaque_ptr(&mut self) -> NonNull<StoreOpaque> {
        self.state.cast()
    }
}

/// Something that gives shared access to a store.
pub trait AsContext {
    /// The embedder's data.
    type Data: 'static;

    /// The access.
    fn as_context(&self) -> StoreContextRef<'_, Self::Data>;
}

/// Something that gives exclusive access to a store.
pub trait AsContextMut: AsContext {
    /// The access.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContextRef<'_, T> {
        StoreContextRef {
            // SAFETY: the state is valid as long as the store, and borrowed as the store is.
            state: unsafe { self.state.as_ref() },
        }
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut { state: self.state, borrow: std::marker::PhantomData }
    }
}

impl<T: 'static> AsContext for StoreContextRef<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContextRef<'_, T> {
        *self
    }
}

impl<T: 'static> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContextRef<'_, T> {
        StoreContextRef {
            // SAFETY: as in `StoreContextMut::data`.
            state: unsafe { self.state.as_ref() },
        }
    }
}

impl<T: 'static> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut { state: self.state, borrow: std::marker::PhantomData }
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContextRef<'_, C::Data> {
        C::as_context(*self)
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContextRef<'_, C::Data> {
        C::as_context(*self)
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        C::as_context_mut(*self)
    }
}

impl<'a, C: AsContext> From<&'a C> for StoreContextRef<'a, C::Data> {
    fn from(store: &'a C) -> Self {
        store.as_context()
    }
}

impl<'a, C: AsContext> From<&'a mut C> for StoreContextRef<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        C::as_context(store)
    }
}

impl<'a, C: AsContextMut> From<&'a mut C> for StoreContextMut<'a, C::Data> {
    fn from(store: &'a mut C) -> Self {
        store.as_context_mut()
    }
}
