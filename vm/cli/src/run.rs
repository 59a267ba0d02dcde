//! `midair run`: runs one program.

use crate::command_line::{Directory, RunOptions, Variable};
use crate::deadline::Deadline;
use crate::failure::{self, CANNOT_RUN};
use crate::{invoke, stats};
use anyhow::Context;
use midair::wasi::{Dir, WasiCtx, WasiCtxBuilder, ambient_authority};
use midair::{Config, Engine, ExternType, Linker, Module, Result, Store, StoreLimits};
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Native stack for the host, below what the guest may use.
const HOST_STACK: usize = 4 << 20;

/// Status for an error in Midair itself: that of a Rust program that panics.
const PANICKED: u8 = 101;

/// Runs the program, and ends the process with its status.
pub fn run(options: RunOptions) -> ExitCode {
    in_guest_thread(options.max_stack, move || {
        run_guest(&options, |_| {}, |engine| Module::from_file(engine, options.file()))
    })
}

/// Calls `guest` on a thread with room for `max_stack` bytes of guest frames, and ends the process with the
/// status that it returns.
pub fn in_guest_thread(max_stack: u64, guest: impl FnOnce() -> i32 + Send + 'static) -> ExitCode {
    Engine::prepare_process();
    let stack = usize::try_from(max_stack).unwrap_or(usize::MAX).saturating_add(HOST_STACK);
    // The guest has a thread of its own for the sake of the stack's size.
    let guest =
        std::thread::Builder::new().name("guest".to_owned()).stack_size(stack).spawn(move || {
            let status = guest();
            // At once, rather than by returning: nobody has to wait for the threads that compile,
            // and the system is faster at freeing memory.
            std::process::exit(status)
        });
    match guest {
        Ok(guest) => match guest.join() {
            Ok(never) => never,
            Err(_panic) => ExitCode::from(PANICKED),
        },
        Err(error) => {
            eprintln!("error: cannot start a thread with a stack of {stack} bytes: {error}");
            ExitCode::from(CANNOT_RUN as u8)
        }
    }
}

/// Runs the program, prints what there is to say, and returns the status. `configure` has the last word on
/// the engine's configuration; `load` loads the program.
pub fn run_guest(
    options: &RunOptions,
    configure: impl FnOnce(&mut Config),
    load: impl FnOnce(&Engine) -> Result<Module>,
) -> i32 {
    let engine = match engine(options, configure) {
        Ok(engine) => engine,
        Err(error) => return report(&error),
    };
    let status = match load(&engine).and_then(|module| run_program(options, &engine, &module)) {
        Ok(()) => 0,
        Err(error) => report(&error),
    };
    if let Some(output) = &options.stats
        && let Err(error) = stats::write(&engine.stats(), &engine.code_ledger().summary(), output)
    {
        eprintln!("error: cannot write the statistics: {error}");
        return if status == 0 { CANNOT_RUN } else { status };
    }
    status
}

/// Prints an error; returns the status that stands for it.
fn report(error: &midair::Error) -> i32 {
    let (message, status) = failure::describe(error);
    if let Some(message) = message {
        eprintln!("{message}");
    }
    status
}

fn engine(options: &RunOptions, configure: impl FnOnce(&mut Config)) -> Result<Engine> {
    let mut config = Config::new();
    options.tiering.configure(&mut config);
    config
        .consume_fuel(options.fuel.is_some())
        .max_wasm_stack(usize::try_from(options.max_stack)?)
        .sample_tiers(options.stats.is_some())
        // A large program's start must not wait for functions that it may never call.
        .lazy_validation(true);
    configure(&mut config);
    Engine::new(&config)
}

fn run_program(options: &RunOptions, engine: &Engine, module: &Module) -> Result<()> {
    let file = options.file();
    let entry = options.invoke.as_deref().unwrap_or("_start");
    check_entry(module, entry, &file)?;

    let arguments = options
        .arguments()
        .iter()
        .map(|argument| text(argument, "an argument"))
        .collect::<Result<Vec<String>>>()?;
    let mut linker = Linker::new(engine);
    midair::wasi::add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
    let mut store = Store::new(engine, wasi(options, &file, &arguments)?);
    if let Some(fuel) = options.fuel {
        store.set_fuel(fuel)?;
    }
    if let Some(bytes) = options.max_memory {
        store.set_limits(StoreLimits::new().memory_bytes(bytes));
    }

    let deadline = match options.timeout {
        Some(time) => Some(Deadline::start(time, store.interrupt_handle())?),
        None => None,
    };
    let result = call(options, &linker, &mut store, module, entry, &arguments);
    if let Some(deadline) = deadline {
        deadline.met();
    }
    // Dropping a store takes time, and the process is about to end.
    std::mem::forget(store);

    let mut output = std::io::stdout().lock();
    for line in result? {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

/// Instantiates the program and calls its entry; returns the lines to print.
fn call(
    options: &RunOptions,
    linker: &Linker<WasiCtx>,
    store: &mut Store<WasiCtx>,
    module: &Module,
    entry: &str,
    arguments: &[String],
) -> Result<Vec<String>> {
    let instance = linker.instantiate(&mut *store, module)?;
    if options.invoke.is_some() {
        if let Some(initialize) = instance.get_func(&mut *store, "_initialize") {
            initialize.call(&mut *store, &[], &mut [])?;
        }
        let function = instance
            .get_func(&mut *store, entry)
            .with_context(|| format!("there is no function `{entry}`"))?;
        return invoke::invoke(store, entry, function, arguments);
    }
    let start = instance.get_typed_func::<(), ()>(&mut *store, entry)?;
    start.call(&mut *store, ())?;
    Ok(Vec::new())
}

/// Says what could be called when `entry` cannot.
fn check_entry(module: &Module, entry: &str, file: &Path) -> Result<()> {
    let mut functions = Vec::new();
    for export in module.exports() {
        if matches!(export.ty(), ExternType::Func(_)) {
            if export.name() == entry {
                return Ok(());
            }
            functions.push(format!("`{}`", export.name()));
        }
    }
    let hint = if functions.is_empty() {
        "it exports no functions at all".to_owned()
    } else if functions.len() > 20 {
        format!("it exports {} other functions", functions.len())
    } else if entry == "_start" {
        format!("`--invoke NAME` can call {}", functions.join(", "))
    } else {
        format!("it exports {}", functions.join(", "))
    };
    anyhow::bail!("`{}` exports no function `{entry}`: {hint}", file.display())
}

/// What the program gets to see of the system.
fn wasi(options: &RunOptions, file: &Path, arguments: &[String]) -> Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stdio();

    let name = match &options.argv0 {
        Some(name) => name.clone(),
        None => text(file.file_name().unwrap_or_default(), "the program's name")?,
    };
    wasi.arg(&name)?;
    if options.invoke.is_none() {
        wasi.args(arguments)?;
    }
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

/// WASI knows only text in UTF-8.
fn text(text: &OsStr, what: &str) -> Result<String> {
    text.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{what} is not UTF-8: {}", text.display()))
}
