//! `wasmi-runner [--argv0 NAME] [--dir HOST::GUEST]… [--env K=V]… FILE [ARGS…]`: wasmi 2 with the
//! options that the corpus needs and wasmi's own command line lacks (a guest path for a
//! directory, argv[0]), configured as that command line configures it.

use std::process::ExitCode;

use wasmi::{Config, Engine, Linker, Module, Store};
use wasmi_wasi::{Dir, WasiCtxBuilder, ambient_authority};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            eprintln!("wasmi-runner: {error}");
            ExitCode::from(134)
        }
    }
}

fn run() -> Result<i32, Failure> {
    let mut words = std::env::args().skip(1);
    let mut wasi = WasiCtxBuilder::new();
    let mut argv0 = None;
    let file = loop {
        let word = words.next().ok_or("no file given")?;
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--argv0" => argv0 = Some(value()?),
            "--dir" => {
                let mapping = value()?;
                let (host, guest) = mapping.split_once("::").unwrap_or((&mapping, &mapping));
                wasi.preopened_dir(Dir::open_ambient_dir(host, ambient_authority())?, guest)?;
            }
            "--env" => {
                let pair = value()?;
                let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
                wasi.env(key, value)?;
            }
            _ => break word,
        }
    };
    wasi.inherit_stdio();
    wasi.arg(argv0.as_deref().unwrap_or(&file))?;
    for word in words {
        wasi.arg(&word)?;
    }

    let mut config = Config::default();
    config.compilation_mode(wasmi::CompilationMode::LazyTranslation);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, std::fs::read(&file)?)?;
    let mut store = Store::new(&engine, wasi.build());
    let mut linker = Linker::new(&engine);
    wasmi_wasi::add_to_linker(&mut linker, |ctx| ctx)?;
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&store, "_start")?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(error) => error.i32_exit_status().ok_or_else(|| error.into()),
    }
}
