//! WASI threads: programs that start threads of their own.
//!
//! A program with threads imports `wasi` `thread-spawn` and a shared memory, and exports `wasi_thread_start`; toolchains for
//! WASI call the target `wasm32-wasip1-threads`. Each thread is one of the host, with a store and an instance of its own.
//! [`Threads`] makes them, and ends all when one of them ends the program: by a trap, by `proc_exit`, or because it
//! was the first one and has returned.
//!
//! ```
//! use midair::wasi::threads::Threads;
//! use midair::{Engine, Linker, Module, Store};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! let engine = Engine::default();
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "env" "memory" (memory 1 1 shared))
//!         (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
//!         (import "host" "see" (func $see (param i32)))
//!         (func (export "wasi_thread_start") (param $thread i32) (param $argument i32)
//!             (call $see (local.get $argument))
//!             (i32.atomic.store (i32.const 0) (i32.const 1))
//!             (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
//!         (func (export "_start")
//!             (drop (call $spawn (i32.const 42)))
//!             (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))"#,
//! )?;
//! // What the store of each thread has: here what they all share.
//! let seen = Arc::new(AtomicU32::new(0));
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "see", |caller: midair::Caller<'_, Arc<AtomicU32>>, what: u32| {
//!     caller.data().store(what, Ordering::SeqCst);
//! })?;
//! let threads = Threads::new(linker, &module, |data: &Arc<AtomicU32>| data.clone())?;
//! let mut store = Store::new(&engine, seen.clone());
//! let result = threads.instantiate(&mut store).and_then(|instance| {
//!     instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
//! });
//! threads.end(result)?;
//! assert_eq!(seen.load(Ordering::SeqCst), 42);
//! # Ok::<(), midair::Error>(())
//! ```

use crate::engine::Engine;
use crate::link::instance::Instance;
use crate::link::linker::{InstancePre, Linker};
use crate::module::Module;
use crate::store::Store;
use crate::store::caller::Caller;
use crate::store::interrupt::InterruptHandle;
use crate::store::shared_memory::SharedMemory;
use crate::types::ExternType;
use crate::types::error::{ErrorKind, Failure};
use anyhow::{Error, Result};
use midair_tiers::module_env::MemoryType;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Where programs import `thread-spawn` from.
const MODULE: &str = "wasi";
const SPAWN: &str = "thread-spawn";
/// What a new thread calls.
const START: &str = "wasi_thread_start";

/// Threads have numbers from 1 to this.
const MAX_NUMBER: i32 = 0x1fff_ffff;
/// What `thread-spawn` answers if there is no thread. Any negative number says so.
const NO_THREAD: i32 = -1;

/// How many threads a program may have at one time besides its first, unless something else is said.
const MAX_THREADS: usize = 1024;

/// Native stack of a thread for the host, below what its guest may use.
const HOST_STACK: usize = 2 << 20;

/// The threads of one program: see the [module](self).
pub struct Threads<T: 'static> {
    program: Arc<Program<T>>,
}

/// Makes the data of a new thread's store from that of the thread that starts it.
type NewData<T> = Box<dyn Fn(&T) -> T + Send + Sync>;
/// What is done to the store of each thread before it has an instance.
type Prepare<T> = Box<dyn Fn(&mut Store<T>) + Send + Sync>;
/// What is told how the program has failed.
type OnFailure = Box<dyn Fn(Error) -> Option<Error> + Send + Sync>;

struct Program<T: 'static> {
    engine: Engine,
    /// Set once the linker has everything, `thread-spawn` included.
    linked: OnceLock<InstancePre<T>>,
    new_data: NewData<T>,
    prepare: OnceLock<Prepare<T>>,
    on_failure: OnceLock<OnFailure>,
    max_threads: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last number that was given.
    last: i32,
    /// The threads that run; 0 is the first.
    running: BTreeMap<i32, InterruptHandle>,
    joins: Vec<JoinHandle<()>>,
    /// How the program has failed first.
    failure: Option<Error>,
    /// No thread is started any more, and all have been interrupted.
    over: bool,
}

impl<T: Send + 'static> Threads<T> {
    /// Links a program. `linker` has all that its module imports but `thread-spawn` and shared memories, which are made here.
    /// None of it may belong to a store. `new_data` makes what the store of a new thread has, from what that of its parent
    /// has.
    ///
    /// Modules that start no threads are linked as usual.
    pub fn new(
        linker: Linker<T>,
        module: &Module,
        new_data: impl Fn(&T) -> T + Send + Sync + 'static,
    ) -> Result<Threads<T>> {
        Threads::with_limits(linker, module, new_data, MAX_THREADS, u64::MAX)
    }

    /// The same with limits: how many threads there may be at one time besides the first, and how many bytes a shared memory
    /// that is made here may have at most.
    ///
    /// Fails also if a memory has more from the beginning.
    pub fn with_limits(
        mut linker: Linker<T>,
        module: &Module,
        new_data: impl Fn(&T) -> T + Send + Sync + 'static,
        max_threads: usize,
        max_memory: u64,
    ) -> Result<Threads<T>> {
        let engine = linker.engine().clone();
        let program = Arc::new(Program {
            engine: engine.clone(),
            linked: OnceLock::new(),
            new_data: Box::new(new_data),
            prepare: OnceLock::new(),
            on_failure: OnceLock::new(),
            max_threads,
            state: Mutex::default(),
        });
        for import in module.imports() {
            match import.ty() {
                ExternType::Memory(ty) if ty.shared => {
                    let memory = SharedMemory::new(&engine, limited(*ty, max_memory)?)?;
                    linker.define_shared_memory(import.module(), import.name(), memory)?;
                }
                ExternType::Func(_) if (import.module(), import.name()) == (MODULE, SPAWN) => {
                    // Not to be kept alive by itself.
                    let spawning = Arc::downgrade(&program);
                    let spawn = move |caller: Caller<'_, T>, argument: i32| match spawning.upgrade()
                    {
                        Some(program) => program.spawn(caller, argument),
                        None => NO_THREAD,
                    };
                    linker.func_wrap(MODULE, SPAWN, spawn)?;
                }
                _ => {}
            }
        }
        let linked = linker.instantiate_pre(module)?;
        let _ = program.linked.set(linked);
        Ok(Threads { program })
    }

    /// Has something done to the store of each thread that is started from now on, before it has an instance: limits are
    /// set there. Says whether nothing else had been set before.
    pub fn prepare_stores(&self, prepare: impl Fn(&mut Store<T>) + Send + Sync + 'static) -> bool {
        self.program.prepare.set(Box::new(prepare)).is_ok()
    }

    /// Has it told at once if a thread other than the first fails, on that thread and before the others are stopped; only
    /// the first failure is. An error that is given back is what [`end`](Threads::end) fails with. For programs that end
    /// their process then, for a thread may be in a call of the host that nothing ends. Says whether nothing else had
    /// been set before.
    pub fn on_failure(
        &self,
        tell: impl Fn(Error) -> Option<Error> + Send + Sync + 'static,
    ) -> bool {
        self.program.on_failure.set(Box::new(tell)).is_ok()
    }

    /// Makes the instance of the program's first thread, in its store.
    pub fn instantiate(&self, store: &mut Store<T>) -> Result<Instance> {
        {
            let mut state = self.program.state();
            state.running.insert(0, store.interrupt_handle());
            if state.over {
                let text = "the program has ended";
                return Err(Failure::new(ErrorKind::Misuse, text).into());
            }
        }
        self.program.linked().instantiate(store)
    }

    /// How many threads run, the first not counted.
    pub fn running(&self) -> usize {
        self.program.state().running.keys().filter(|number| **number != 0).count()
    }

    /// Ends the program when its first thread has ended with `result`: interrupts all others, and waits for them. One that is
    /// in a call of the host is waited for until that call returns.
    ///
    /// The answer is how the program has ended: with the error of the thread that failed first, or with `result`.
    pub fn end<R>(self, result: Result<R>) -> Result<R> {
        let joins = {
            let mut state = self.program.state();
            state.running.remove(&0);
            state.stop();
            std::mem::take(&mut state.joins)
        };
        for thread in joins {
            // It has caught its panics.
            let _ = thread.join();
        }
        match self.program.state().failure.take() {
            Some(failure) => Err(failure),
            None => result,
        }
    }
}

/// Threads that are still there are interrupted, and not waited for.
impl<T: 'static> Drop for Threads<T> {
    fn drop(&mut self) {
        self.program.state().stop();
    }
}

/// A memory's type that allows for no more than so many bytes.
fn limited(mut ty: MemoryType, max_memory: u64) -> Result<MemoryType> {
    let most = max_memory >> ty.page_size_log2;
    if ty.minimum > most {
        let text = format!("a shared memory of {} pages exceeds the limit", ty.minimum);
        return Err(Failure::new(ErrorKind::Limit, text).into());
    }
    ty.maximum = ty.maximum.map(|maximum| maximum.min(most));
    Ok(ty)
}

impl State {
    /// No thread is started any more, and all that run are to end.
    fn stop(&mut self) {
        self.over = true;
        self.running.values().for_each(InterruptHandle::interrupt);
    }

    /// A number that no running thread has.
    fn next_number(&mut self) -> i32 {
        loop {
            self.last = if self.last == MAX_NUMBER { 1 } else { self.last + 1 };
            if !self.running.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl<T: 'static> Program<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        // What panics under the lock has changed nothing before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn linked(&self) -> &InstancePre<T> {
        self.linked.get().expect("it is set before anybody has the program")
    }
}

impl<T: Send + 'static> Program<T> {
    /// `thread-spawn`: the number of the new thread, or a negative one if there is none.
    fn spawn(self: &Arc<Self>, mut caller: Caller<'_, T>, argument: i32) -> i32 {
        let exported = self.linked().module().exports();
        let has_start = { exported }.any(|export| export.name() == START);
        if !has_start {
            return NO_THREAD;
        }
        let mut store = Store::new(&self.engine, (self.new_data)(caller.data()));
        // What the parent has left is divided, so that there is no more than there was.
        if let Ok(fuel) = caller.get_fuel() {
            let half = fuel / 2;
            let divided = store.set_fuel(half).and_then(|()| caller.set_fuel(fuel - half));
            if divided.is_err() {
                return NO_THREAD;
            }
        }
        if let Some(prepare) = self.prepare.get() {
            prepare(&mut store);
        }
        let mut state = self.state();
        if state.over || state.running.len() > self.max_threads {
            return NO_THREAD;
        }
        let number = state.next_number();
        state.running.insert(number, store.interrupt_handle());
        let program = self.clone();
        let thread = std::thread::Builder::new()
            .name(format!("guest {number}"))
            .stack_size(self.engine.config().max_wasm_stack.saturating_add(HOST_STACK))
            .spawn(move || program.run(store, number, argument));
        let Ok(thread) = thread else {
            state.running.remove(&number);
            return NO_THREAD;
        };
        state.joins.retain(|thread| !thread.is_finished());
        state.joins.push(thread);
        number
    }

    /// A thread, from its beginning to its end.
    fn run(&self, mut store: Store<T>, number: i32, argument: i32) {
        let run = AssertUnwindSafe(|| -> Result<()> {
            let instance = self.linked().instantiate(&mut store)?;
            let start = instance.get_typed_func::<(i32, i32), ()>(&mut store, START)?;
            start.call(&mut store, (number, argument))
        });
        let result = catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let text =
                format!("a thread of the guest has panicked: {}", text.unwrap_or("(no text)"));
            Err(Failure::new(ErrorKind::Other, text).into())
        });
        let mut failed = None;
        {
            let mut state = self.state();
            state.running.remove(&number);
            if let Err(error) = result
                && !std::mem::replace(&mut state.over, true)
            {
                failed = Some(error);
            }
        }
        // The first thread to end the program tells so. Those that are stopped for that end with errors too.
        if let Some(error) = failed {
            let error = match self.on_failure.get() {
                Some(tell) => tell(error),
                None => Some(error),
            };
            let mut state = self.state();
            state.failure = error;
            state.stop();
        }
    }
}

impl<T: 'static> std::fmt::Debug for Threads<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let running = self.program.state().running.len();
        f.debug_struct("Threads").field("running", &running).finish_non_exhaustive()
    }
}
