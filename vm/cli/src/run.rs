//! `midair run`: runs one program.

use crate::command_line::{Directory, RunOptions, Variable};
use crate::deadline::Deadline;
use crate::ending::{End, Ending};
use crate::entry::{Entry, text};
use crate::failure::{CANNOT_RUN, report};
use crate::stats::Outputs;
use crate::{invoke, output, signals};
use anyhow::Context;
use midair::wasi::threads::Threads;
use midair::wasi::{Dir, WasiCtx, WasiCtxBuilder, ambient_authority};
use midair::{Config, Engine, Linker, Module, PrintableName, Result, Store, StoreLimits};
use std::sync::Arc;

/// Native stack for the host, below what the guest may use.
const HOST_STACK: usize = 4 << 20;

/// How many threads the program may start.
const MAX_THREADS: usize = 1024;

/// Status for an error in Midair itself: that of a Rust program that panics.
const PANICKED: i32 = 101;

/// Runs the program, and ends the process as it ends.
pub fn run(options: RunOptions) -> End {
    in_guest_thread(options.max_stack, move || {
        run_guest(&options, |_| {}, |engine| Module::from_file(engine, options.file()), || {})
    })
}

/// Calls `guest` on a thread with room for `max_stack` bytes of guest frames, and ends the process as it says.
/// Returns only if it could not.
pub fn in_guest_thread(max_stack: u64, guest: impl FnOnce() -> End + Send + 'static) -> End {
    Engine::prepare_process();
    let stack = usize::try_from(max_stack).unwrap_or(usize::MAX).saturating_add(HOST_STACK);
    // The guest has a thread of its own for the sake of the stack's size.
    let guest =
        std::thread::Builder::new().name("guest".to_owned()).stack_size(stack).spawn(move || {
            let end = guest();
            // At once, rather than by returning: nobody has to wait for the threads that compile,
            // and the system is faster at freeing memory.
            end.now()
        });
    match guest {
        Ok(guest) => match guest.join() {
            Ok(never) => never,
            Err(_panic) => End::Status(PANICKED),
        },
        Err(error) => {
            let what = format!("cannot start a thread with a stack of {stack} bytes");
            let _ = output::tell(&format!("error: {what}: {error}\n"));
            End::Status(CANNOT_RUN)
        }
    }
}

/// Runs the program, prints what there is to say, and returns how the process is to end. `configure` has the last
/// word on the engine's configuration; `load` loads the program. If a thread that the program has started ends it, the
/// process ends there and then, after `before_end`.
pub fn run_guest(
    options: &RunOptions,
    configure: impl FnOnce(&mut Config),
    load: impl FnOnce(&Engine) -> Result<Module>,
    before_end: impl Fn() + Send + Sync + 'static,
) -> End {
    let engine = match engine(options, configure) {
        Ok(engine) => engine,
        Err(error) => return report(&error),
    };
    let outputs = match Outputs::open(options) {
        Ok(outputs) => outputs,
        Err(error) => return report(&error),
    };
    if outputs.have_timeline() {
        engine.record_timeline();
    }
    let ending = Arc::new(Ending::new(&engine, outputs));
    if !options.stats.is_empty()
        && let Err(error) = signals::end_with_statistics(&ending)
    {
        return report(&midair::Error::from(error).context("cannot handle signals"));
    }
    let end_by_thread = {
        let ending = ending.clone();
        move |error| -> Option<midair::Error> {
            ending.begin();
            let end = ending.finish(report(&error));
            before_end();
            end.now()
        }
    };
    let loaded = ending.loading.measure(|| load(&engine));
    let result =
        loaded.and_then(|module| run_program(options, &engine, &module, &ending, end_by_thread));
    ending.begin();
    let end = match result {
        Ok(lines) => match output::print(&lines) {
            Ok(()) => End::Status(0),
            Err(unwritten) => unwritten,
        },
        Err(error) => report(&error),
    };
    ending.finish(end)
}

fn engine(options: &RunOptions, configure: impl FnOnce(&mut Config)) -> Result<Engine> {
    let mut config = Config::new();
    options.tiering.configure(&mut config);
    config
        .consume_fuel(options.fuel.is_some())
        .max_wasm_stack(usize::try_from(options.max_stack)?)
        .sample_tiers(!options.stats.is_empty())
        .lazy_validation(options.lazy_validation());
    configure(&mut config);
    Engine::new(&config)
}

/// Returns the lines to print.
fn run_program(
    options: &RunOptions,
    engine: &Engine,
    module: &Module,
    ending: &Arc<Ending>,
    end_by_thread: impl Fn(midair::Error) -> Option<midair::Error> + Send + Sync + 'static,
) -> Result<String> {
    let entry = Entry::of(options, module)?;
    let mut linker = Linker::new(engine);
    midair::wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
    let threads = link(options, linker, module)?;
    threads.on_failure(end_by_thread);
    let mut store = Store::new(engine, wasi(options, &entry.program_arguments)?);
    if let Some(fuel) = options.fuel {
        store.set_fuel(fuel)?;
    }
    if let Some(bytes) = options.max_memory {
        store.set_limits(StoreLimits::new().memory_bytes(bytes));
    }

    let deadline = match options.timeout {
        Some(time) => Some(Deadline::start(time, store.interrupt_handle(), ending.clone())?),
        None => None,
    };
    let result = call(&threads, &mut store, &entry);
    // Dropping a store takes time, and the process is about to end: with it, all threads that there still are.
    std::mem::forget((store, threads));
    let lines = match deadline {
        Some(deadline) => result.map_err(|error| deadline.explain(error))?,
        None => result?,
    };
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// Links the program, and the threads that it may start.
fn link(
    options: &RunOptions,
    linker: Linker<WasiCtx>,
    module: &Module,
) -> Result<Threads<WasiCtx>> {
    let most = options.max_memory.unwrap_or(u64::MAX);
    let threads = Threads::with_limits(linker, module, WasiCtx::clone, MAX_THREADS, most)?;
    if let Some(bytes) = options.max_memory {
        threads
            .prepare_stores(move |store| store.set_limits(StoreLimits::new().memory_bytes(bytes)));
    }
    Ok(threads)
}

/// Instantiates the program and calls its entry; returns the lines to print.
fn call(
    threads: &Threads<WasiCtx>,
    store: &mut Store<WasiCtx>,
    entry: &Entry,
) -> Result<Vec<String>> {
    let instance = threads.instantiate(store)?;
    if entry.initialize
        && let Some(initialize) = instance.get_func(&mut *store, "_initialize")
    {
        initialize.call(&mut *store, &[], &mut [])?;
    }
    let function = instance
        .get_func(&mut *store, &entry.name)
        .with_context(|| format!("there is no function `{}`", PrintableName(&entry.name)))?;
    invoke::invoke(store, &entry.name, function, &entry.arguments)
}

/// What the program gets to see of the system.
fn wasi(options: &RunOptions, arguments: &[String]) -> Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stdio();

    let name = match &options.argv0 {
        Some(name) => name.clone(),
        None => text(options.file().file_name().unwrap_or_default(), "the program's name")?,
    };
    wasi.arg(&name)?;
    wasi.args(arguments)?;
    for Variable { name, value } in &options.variables {
        match value {
            Some(value) => {
                wasi.env(name, value)?;
            }
            None => {
                if let Some(value) = std::env::var_os(name) {
                    wasi.env(name, &text(&value, "an environment variable")?)?;
                }
            }
        }
    }
    for Directory { host, guest } in &options.directories {
        let directory = Dir::open_ambient_dir(host, ambient_authority())
            .with_context(|| format!("cannot open directory `{}`", host.display()))?;
        wasi.preopened_dir(directory, guest)?;
    }
    Ok(wasi.build())
}
