//! The engine: what all modules and stores share.

use crate::code::events::{EVENTS_KEPT, Events};
use crate::code::ledger::CodeLedger;
use crate::code::stats::{CodeBytes, Stats};
use crate::code::system::CodeSystem;
use crate::code::timeline::Timeline;
use crate::config::Config;
use crate::types::error::{ErrorKind, Failure, OfKind as _};
use crate::types::signatures::{Signature, Signatures, UnknownType, defined};
use midair_osr::{CodeHeap, OtherProcess, Process};
use midair_tiers::{FuncType, TypeId, ValType};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct EngineState {
    config: Config,
    code: Arc<CodeSystem>,
    signatures: Mutex<Signatures>,
}

/// What is shared by modules and stores: configuration, code memory, compilers.
///
/// An engine is cheap to clone and can be used from many threads.
///
/// # After `fork`
///
/// An engine, its modules and its stores belong to the process that made the engine. The parent of a fork goes on as if
/// there had been none. In the child what loads, instantiates, calls or updates something fails with [`OtherProcess`],
/// and what has no error to return panics with the same text; a guest that was suspended in a host function that forked
/// is unwound with that error when the host function returns. What is in a store can still be read: its data, its
/// exports, globals and the bytes of memories. Everything can be dropped, which frees nothing that the parent uses. A
/// new engine that the child makes is as good as any.
#[derive(Clone)]
pub struct Engine {
    state: Arc<EngineState>,
}

impl Default for Engine {
    /// # Panics
    /// If the address range for machine code cannot be reserved.
    fn default() -> Engine {
        Engine::new(&Config::default()).expect("an engine with the default configuration")
    }
}

impl Engine {
    /// An engine of this configuration.
    pub fn new(config: &Config) -> anyhow::Result<Engine> {
        Engine::with_config(config).of_kind(ErrorKind::Misuse)
    }

    fn with_config(config: &Config) -> anyhow::Result<Engine> {
        anyhow::ensure!(
            config.max_wasm_stack >= 16 << 10,
            "a stack of {} bytes is too small: at least 16 KiB are needed",
            config.max_wasm_stack
        );
        Ok(Engine {
            state: Arc::new(EngineState {
                config: config.clone(),
                code: Arc::new(CodeSystem::new(config)?),
                signatures: Mutex::default(),
            }),
        })
    }

    /// Prepares the process for engines, which the first engine and the first store do otherwise. Worth calling
    /// by programs that are started often: before they have a second thread it takes microseconds, and later
    /// about 10 milliseconds for each of both.
    pub fn prepare_process() {
        midair_osr::prepare_process();
    }

    /// The process that made the engine.
    pub(crate) fn process(&self) -> Process {
        self.state.code.heap.process()
    }

    /// Fails in a process that was forked from the engine's.
    pub(crate) fn check_process(&self) -> Result<(), OtherProcess> {
        self.process().check()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// Code memory, compilers, counters.
    pub(crate) fn code(&self) -> &Arc<CodeSystem> {
        &self.state.code
    }

    /// A subscription to what happens to the engine's code from now on. At most 16,384 events wait to be taken:
    /// see [`Engine::events_bounded`].
    pub fn events(&self) -> Events {
        self.events_bounded(EVENTS_KEPT)
    }

    /// The same with another bound: if so many events wait to be taken, each new one takes the place of the
    /// oldest, which is [counted](Events::dropped). No guest, compiler or update ever waits for a subscriber.
    pub fn events_bounded(&self, most: usize) -> Events {
        self.process().assert_current();
        self.state.code.events.subscribe(most)
    }

    /// Begins a timeline of what happens in the engine: see [`Engine::timeline`]. It holds a million records, for as long as
    /// the engine exists; what happens when it is full is counted.
    pub fn record_timeline(&self) {
        self.process().assert_current();
        self.state.code.record_timeline();
    }

    /// What has happened since [`Engine::record_timeline`] was called, or `None` if it was not.
    ///
    /// ```
    /// use midair::timeline::What;
    /// use midair::{Engine, Instance, Module, Store};
    ///
    /// # fn main() -> midair::Result<()> {
    /// let engine = Engine::default();
    /// engine.record_timeline();
    /// let module = Module::new(&engine, r#"(module (func $answer (export "answer") (result i32) (i32.const 42)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// instance.get_typed_func::<(), i32>(&mut store, "answer")?.call(&mut store, ())?;
    ///
    /// let timeline = engine.timeline().unwrap();
    /// let What::Lowered { function, .. } = timeline.records[0].what else { panic!() };
    /// assert_eq!(timeline.function_name(function), Some("answer"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeline(&self) -> Option<Timeline> {
        self.process().assert_current();
        self.state.code.timeline()
    }

    /// All counters.
    pub fn stats(&self) -> Stats {
        self.process().assert_current();
        let code = &self.state.code;
        Stats { code_cache: code.cache.stats(), ..code.counters.stats(code.heap.stats()) }
    }

    /// The counters of code memory.
    pub fn code_stats(&self) -> CodeBytes {
        self.stats().code
    }

    /// Says of every byte of machine code whose it is and what keeps it.
    pub fn code_ledger(&self) -> CodeLedger {
        self.process().assert_current();
        self.state.code.ledger()
    }

    /// Gives all memory of freed machine code back to the system. Without it some MiB are kept for code that
    /// is still to come.
    pub fn trim_code_memory(&self) {
        self.state.code.heap.collect();
    }

    /// Whether no machine code lies in these bytes of code memory: all of them are poison, or the
    /// memory has been given back to the system.
    pub fn is_code_free(&self, address: usize, bytes: usize) -> bool {
        self.state.code.heap.is_free(address, bytes)
    }

    /// Memory for machine code.
    pub(crate) fn code_heap(&self) -> &CodeHeap {
        &self.state.code.heap
    }

    /// Whether two values are the same engine.
    pub fn same(a: &Engine, b: &Engine) -> bool {
        Arc::ptr_eq(&a.state, &b.state)
    }

    /// Its types.
    pub(crate) fn signatures(&self) -> &Mutex<Signatures> {
        self.process().assert_current();
        &self.state.signatures
    }

    fn locked_signatures(&self) -> MutexGuard<'_, Signatures> {
        // A panic cannot leave a number that means two types: it is listed last.
        self.signatures().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signature of a function type. Its number is good for as long as the signature is held. Fails if the type
    /// refers to one that the engine does not know.
    pub(crate) fn intern(&self, ty: &FuncType) -> anyhow::Result<Arc<Signature>> {
        self.locked_signatures().intern(ty).map_err(|UnknownType| unknown_type())
    }

    /// What keeps the defined type that this type refers to, if it does. Fails if the engine does not know it.
    pub(crate) fn hold(&self, ty: ValType) -> anyhow::Result<Option<Arc<Signature>>> {
        let Some(id) = defined(ty) else { return Ok(None) };
        let signature = self.locked_signatures().named(id);
        signature.map(Some).ok_or_else(unknown_type)
    }

    /// What a module has to define, in this order, to have the type of a signature, but for what is `known`.
    pub(crate) fn types_needed(
        &self,
        signature: &Signature,
        known: impl Fn(TypeId) -> bool,
    ) -> Vec<Arc<Signature>> {
        self.locked_signatures().needed(signature, known)
    }

    /// Whether every value of type `a` is of type `b` too, both being types of this engine.
    pub fn is_subtype(&self, a: ValType, b: ValType) -> bool {
        a.matches(b, |a, b| self.locked_signatures().is_subtype(a, b))
    }

    /// Whether functions of one type are of the other one too.
    pub(crate) fn is_func_subtype(&self, a: TypeId, b: TypeId) -> bool {
        a == b || self.locked_signatures().is_subtype(a, b)
    }

    /// The signature of this number, which somebody holds.
    pub(crate) fn signature(&self, number: u32) -> Arc<Signature> {
        self.locked_signatures().get(number)
    }
}

fn unknown_type() -> anyhow::Error {
    let text = "a type of references names a type that the engine does not know, or not any more";
    Failure::new(ErrorKind::Misuse, text).into()
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.state.config).finish_non_exhaustive()
    }
}
