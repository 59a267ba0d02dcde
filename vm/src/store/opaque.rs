//! The part of a store that does not depend on the embedder's data.

use super::arena::Arena;
use super::backtrace::WasmBacktrace;
use super::contents::Contents;
use super::exceptions::Exceptions;
use super::guest_stack::GuestStack;
use super::host_function::HostFunction;
use super::instance::InstanceEntity;
use super::interrupt::{InterruptHandle, InterruptState};
use super::limits::Limiter;
use super::memory::MemoryEntity;
use super::shared_memory::SharedMemory;
use super::table::TableEntity;
use super::tag::TagEntity;
use super::transitions::TransitionState;
use super::value::ExternRef;
use crate::engine::Engine;
use crate::types::error::{ErrorKind, Failure};
use crate::types::signatures::Signature;
use anyhow::{Error, Result};
use midair_osr::{Mutator, Process, StackContext};
use midair_tiers::interp::Activation;
use midair_tiers::{GlobalCell, StoreContext, ValType};
use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identity of a store within the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct StoreId(NonZeroU64);

impl StoreId {
    fn next() -> StoreId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        StoreId(NonZeroU64::new(id).expect("fewer than 2^64 stores"))
    }

    /// How a person is told of the store: stores are numbered in the order in which they are made.
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }

    /// # Panics
    /// If a handle of store `self` is used with `store`.
    #[track_caller]
    pub(crate) fn check(self, store: &StoreOpaque) {
        assert!(self == store.id, "object used with a store that it does not belong to");
    }
}

/// Why a host function, or a limiter, made the guest unwind.
pub(crate) enum PendingExit {
    /// It returned this error.
    Error(Error),
    /// It panicked.
    Panic(Box<dyn Any + Send>),
}

impl PendingExit {
    /// The error, where no guest has to be unwound.
    ///
    /// # Panics
    /// If it was a panic, which goes on here.
    pub(crate) fn into_error(self) -> Error {
        match self {
            PendingExit::Error(error) => error,
            PendingExit::Panic(payload) => std::panic::resume_unwind(payload),
        }
    }
}

/// The part of a store that does not depend on the embedder's data.
pub struct StoreOpaque {
    /// What machine code and interpreter see. In an allocation of its own, because guest code works on
    /// it, and other threads raise its poll flag, while the rest may be borrowed.
    runtime: NonNull<StoreContext>,
    id: StoreId,
    engine: Engine,
    /// The engine's.
    pub(crate) process: Process,
    pub(crate) interrupt: Arc<InterruptState>,
    /// The store's stack, as threads see it that retire code.
    pub(crate) mutator: Arc<Mutator>,
    /// What the outermost call has to hand to the embedder after the guest has been unwound.
    pub(crate) pending: Option<PendingExit>,
    /// Where the trap that is being raised came from.
    pub(crate) backtrace: Option<WasmBacktrace>,
    /// Number of calls from the host into guest code that are on the stack.
    pub(crate) depth: u32,
    /// Numbers of these calls, the innermost one last. No number is given twice.
    pub(crate) calls: Vec<u64>,
    /// The last of these numbers that was given.
    pub(crate) calls_made: u64,
    /// What was there when the innermost of these calls began: how many calls into machine code were under way, and the
    /// innermost activation of the interpreter. Frames further in are the call's.
    pub(crate) call_boundary: (usize, *const Activation),
    /// The thread that made the outermost call: all that are nested in it must be made by it.
    pub(crate) thread: usize,
    /// Where on the present native stack the guest was called first.
    pub(crate) stack_base: usize,
    /// Lowest native stack pointer for guest code on the present native stack; the field that machine
    /// code compares with is raised while an interruption is pending.
    pub(crate) stack_limit: usize,
    /// The same without what has been set aside for frames that have moved: see
    /// [`StoreOpaque::lower_stack_limit`].
    pub(crate) full_stack_limit: usize,
    pub(crate) transitions: TransitionState,
    /// There while a guest runs; a large one also afterwards.
    pub(crate) guest_stack: Option<GuestStack>,
    /// What other threads change.
    pub(crate) contents: Arc<Contents>,
    /// Who decides about growth, if the embedder has said so. Taken out while it is asked.
    pub(crate) limiter: Option<Limiter>,
    /// Whether the engine samples tiers.
    pub(crate) sampling: bool,
    /// Defined types that tables and globals of the host refer to, by number.
    held_types: HashMap<u32, Arc<Signature>>,
    extern_refs: Vec<ExternRef>,
    extern_ref_slots: HashMap<usize, u64>,
    pub(crate) host_functions: Arena<HostFunction>,
    pub(crate) instances: Arena<InstanceEntity>,
    pub(crate) memories: Arena<MemoryEntity>,
    /// Those that its instances have.
    pub(crate) shared_memories: Vec<SharedMemory>,
    pub(crate) tables: Arena<TableEntity>,
    pub(crate) globals: Arena<GlobalCell>,
    pub(crate) tags: Arena<TagEntity>,
    pub(crate) exceptions: Exceptions,
}

impl StoreOpaque {
    pub(super) fn new(engine: &Engine, runtime: Box<StoreContext>) -> StoreOpaque {
        let mutator = runtime.stack.mutator().clone();
        let runtime = NonNull::from(Box::leak(runtime));
        // SAFETY: the context stays where it is until it is dropped with the store; it is only used through
        // pointers to its parts.
        unsafe { StackContext::attach(&raw mut (*runtime.as_ptr()).stack) };
        StoreOpaque {
            runtime,
            id: StoreId::next(),
            engine: engine.clone(),
            process: engine.process(),
            interrupt: Arc::new(InterruptState::new(engine.process(), mutator.clone())),
            mutator,
            calls: Vec::new(),
            calls_made: 0,
            call_boundary: (0, std::ptr::null()),
            thread: 0,
            stack_base: 0,
            stack_limit: 0,
            full_stack_limit: 0,
            pending: None,
            backtrace: None,
            depth: 0,
            transitions: TransitionState::default(),
            guest_stack: None,
            contents: Arc::new(Contents::new(engine.process())),
            limiter: None,
            sampling: engine.code().is_sampling(),
            held_types: HashMap::new(),
            extern_refs: Vec::new(),
            extern_ref_slots: HashMap::new(),
            host_functions: Arena::default(),
            instances: Arena::default(),
            memories: Arena::default(),
            shared_memories: Vec::new(),
            tables: Arena::default(),
            globals: Arena::default(),
            tags: Arena::default(),
            exceptions: Exceptions::default(),
        }
    }

    /// Tells the runtime context where its store is.
    ///
    /// # Safety
    /// The store must stay at this address until it is dropped.
    pub(super) unsafe fn attach(this: *mut StoreOpaque) {
        // SAFETY: the caller owns the store, and the store owns its runtime context.
        unsafe { (*(*this).runtime.as_ptr()).owner = this.cast() };
    }

    /// The store that a runtime context belongs to.
    ///
    /// # Safety
    /// `runtime` must be the context of a store that is alive.
    pub(crate) unsafe fn from_runtime(runtime: *mut StoreContext) -> NonNull<StoreOpaque> {
        // SAFETY: the owner was set when the store was made, to an address that is not null.
        unsafe { NonNull::new_unchecked((*runtime).owner.cast()) }
    }

    /// What machine code and interpreter see of the store.
    pub(crate) fn runtime(&self) -> *mut StoreContext {
        self.runtime.as_ptr()
    }

    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Keeps the defined type that this type refers to, if it does, as long as the store. Fails if the engine does not
    /// know it.
    pub(crate) fn hold_type(&mut self, ty: ValType) -> Result<()> {
        if let Some(signature) = self.engine.hold(ty)? {
            self.held_types.insert(signature.number, signature);
        }
        Ok(())
    }

    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle(self.interrupt.clone())
    }

    fn check_fuel_is_on(&self) -> Result<()> {
        if !self.engine.config().consume_fuel {
            let text = "fuel is not configured in this engine: see `Config::consume_fuel`";
            return Err(Failure::new(ErrorKind::Misuse, text).into());
        }
        Ok(())
    }

    pub(crate) fn fuel(&self) -> Result<u64> {
        self.check_fuel_is_on()?;
        // SAFETY: the runtime context lives as long as the store.
        let fuel = unsafe { (*self.runtime()).fuel };
        Ok(u64::try_from(fuel).unwrap_or(0))
    }

    pub(crate) fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.check_fuel_is_on()?;
        // More than 2^63 operators are never executed.
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX);
        // SAFETY: the runtime context lives as long as the store, which is borrowed mutably.
        unsafe { (*self.runtime()).fuel = fuel };
        Ok(())
    }

    /// Sets the lowest native stack pointer for guest code.
    pub(crate) fn set_stack_limit(&mut self, limit: usize) {
        self.full_stack_limit = limit;
        // Mostly it is that of the last call. If what is polled has been raised since, it stays so.
        if limit != self.stack_limit {
            self.stack_limit = limit;
            self.rearm();
        }
    }

    /// Takes the pending interruption, if there is one, and lets the guest's polls pass again.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        let taken = self.interrupt.take();
        self.rearm();
        taken
    }

    /// The slot of a host reference. Equal references have equal slots.
    pub(crate) fn extern_ref_slot(&mut self, value: Option<ExternRef>) -> u64 {
        let Some(value) = value else { return 0 };
        let key = Arc::as_ptr(&value.0).cast::<()>() as usize;
        *self.extern_ref_slots.entry(key).or_insert_with(|| {
            // The value is kept, so its address stays its identity.
            self.extern_refs.push(value);
            self.extern_refs.len() as u64
        })
    }

    /// The host reference in a slot.
    pub(crate) fn extern_ref_from_slot(&self, slot: u64) -> Option<ExternRef> {
        let index = slot.checked_sub(1)?;
        self.extern_refs.get(index as usize).cloned()
    }
}

impl Drop for StoreOpaque {
    fn drop(&mut self) {
        // SAFETY: the context came from a box; instances and host functions, which point to it, are
        // freed together with it and do not touch it when they are dropped. Other threads are told before
        // it goes, by `StackContext::drop`.
        drop(unsafe { Box::from_raw(self.runtime.as_ptr()) });
    }
}
