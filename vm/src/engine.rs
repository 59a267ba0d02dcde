//! The engine: what all modules and stores share.

use crate::code::{CodeSystem, Events};
use crate::config::Config;
use crate::stats::{CodeBytes, Stats};
use midair_osr::{CallShape, CodeHeap};
use midair_tiers::FuncType;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A function type as the engine knows it.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) ty: FuncType,
    pub(crate) shape: CallShape,
    /// 64-bit slots that a call needs: parameters or results, whichever is more.
    pub(crate) slots: usize,
}

/// Identities of function types: equal types have equal numbers in the whole engine.
#[derive(Default)]
struct Signatures {
    numbers: HashMap<FuncType, u32>,
    signatures: Vec<Arc<Signature>>,
}

struct EngineState {
    config: Config,
    code: Arc<CodeSystem>,
    signatures: Mutex<Signatures>,
}

/// What is shared by modules and stores: configuration, code memory, compilers.
///
/// An engine is cheap to clone and can be used from many threads.
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
    pub fn new(config: &Config) -> crate::Result<Engine> {
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

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// Code memory, compilers, counters.
    pub(crate) fn code(&self) -> &Arc<CodeSystem> {
        &self.state.code
    }

    /// A subscription to what happens to the engine's code from now on.
    pub fn events(&self) -> Events {
        self.state.code.events.subscribe()
    }

    /// All counters.
    pub fn stats(&self) -> Stats {
        self.state.code.counters.stats(self.state.code.heap.stats())
    }

    /// The counters of code memory.
    pub fn code_stats(&self) -> CodeBytes {
        self.stats().code
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

    fn signatures(&self) -> MutexGuard<'_, Signatures> {
        // A panic cannot leave the map half changed, for the number is inserted last.
        self.state.signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a function type.
    pub(crate) fn intern(&self, ty: &FuncType) -> u32 {
        let mut table = self.signatures();
        if let Some(number) = table.numbers.get(ty) {
            return *number;
        }
        let number = u32::try_from(table.signatures.len()).expect("fewer than 2^32 signatures");
        let slots = |types: &[midair_tiers::ValType]| -> usize {
            types.iter().map(|ty| ty.kind().slots()).sum()
        };
        table.signatures.push(Arc::new(Signature {
            ty: ty.clone(),
            shape: midair_tiers::abi::call_shape(ty),
            slots: slots(&ty.params).max(slots(&ty.results)),
        }));
        table.numbers.insert(ty.clone(), number);
        number
    }

    /// The function type of this number.
    pub(crate) fn signature(&self, number: u32) -> Arc<Signature> {
        self.signatures().signatures[number as usize].clone()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.state.config).finish_non_exhaustive()
    }
}
