//! What updates cost: of very many functions at once, and of one with a very large body: `cargo bench --bench updates`.
//!
//! Each row is an update at a quarter of its size, and at its full size: what is linear takes four times as long at
//! most. Times are of planning and of applying, without loading the new module.

use anyhow::Result;
use midair::{Config, Engine, Instance, Module, Store, Tier};
use std::time::Instant;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, TypeSection,
    ValType,
};

fn main() -> Result<()> {
    println!("| what | size | loading | update |");
    println!("|---|---|---|---|");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |what: &str| wanted.as_ref().is_none_or(|part| what.contains(&**part));
    for (what, full, tier, call) in [
        ("functions, not called", 100_000, Tier::Interp, false),
        ("functions, interpreted", 100_000, Tier::Interp, true),
        ("functions, compiled", 10_000, Tier::Optimized, true),
    ] {
        for functions in [full / 4, full].into_iter().filter(|_| wanted(what)) {
            whole_module(what, functions, tier, call)?;
        }
    }
    let what = "interpreter loop";
    for kibibytes in [32, 128, 512].into_iter().filter(|_| wanted(what)) {
        one_body(what, kibibytes)?;
    }
    Ok(())
}

/// All functions get other constants. `call`: all have been called before.
fn whole_module(what: &str, functions: u32, tier: Tier, call: bool) -> Result<()> {
    let mut config = Config::new();
    config.tier(tier).background_compilation(false);
    let engine = Engine::new(&config)?;
    let start = Instant::now();
    let module = Module::new(&engine, many_functions(functions, 3))?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    if call {
        instance.get_typed_func::<(), ()>(&mut store, "all")?.call(&mut store, ())?;
    }
    let loading = start.elapsed();
    let update = module.update().module(many_functions(functions, 5))?;
    let start = Instant::now();
    let applied = update.apply()?;
    let time = start.elapsed();
    anyhow::ensure!(applied.functions.len() as u32 >= functions);
    println!("| {what} | {functions} | {loading:.2?} | {time:.2?} |");
    Ok(())
}

/// So many functions that each compute something with this constant, and one that calls all of them.
fn many_functions(count: u32, constant: i32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([], []);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for i in 0..count {
        functions.function(0);
        let mut body = Function::new([]);
        body.instructions()
            .local_get(0)
            .i32_const((i % 64) as i32)
            .i32_add()
            .i32_const(constant)
            .i32_mul()
            .end();
        code.function(&body);
    }
    // Not one function, whose size would be measured too.
    let callers = count.div_ceil(1000);
    for caller in 0..callers {
        functions.function(1);
        let mut body = Function::new([]);
        for callee in caller * 1000..count.min((caller + 1) * 1000) {
            body.instructions().i32_const(1).call(callee).drop();
        }
        body.instructions().end();
        code.function(&body);
    }
    functions.function(1);
    let mut all = Function::new([]);
    for caller in 0..callers {
        all.instructions().call(count + caller);
    }
    all.instructions().end();
    code.function(&all);
    let mut exports = ExportSection::new();
    exports.export("all", ExportKind::Func, count + callers);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// A loop around a `br_table` to many pieces of code, with many variables and calls, of which one constant changes.
fn one_body(what: &str, kibibytes: usize) -> Result<()> {
    let engine = Engine::new(Config::new().tier(Tier::Interp))?;
    let start = Instant::now();
    let module = Module::new(&engine, large_body(kibibytes, 7))?;
    let loading = start.elapsed();
    let update = module.update().module(large_body(kibibytes, 8))?;
    let start = Instant::now();
    let applied = update.apply()?;
    let time = start.elapsed();
    let function = &applied.functions[0];
    println!(
        "| {what}: {} points go on, {} refused; {} MiB at most | {kibibytes} KiB | {loading:.2?} | {time:.2?} |",
        function.points_mapped,
        function.refusals.len(),
        peak_memory() >> 20
    );
    if let Some(refusal) = function.refusals.first() {
        eprintln!("{refusal}");
    }
    Ok(())
}

fn large_body(kibibytes: usize, constant: i32) -> Vec<u8> {
    const LOCALS: u32 = 200;
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut functions = FunctionSection::new();
    functions.function(0).function(0);
    let mut body = Function::new([(LOCALS, ValType::I32)]);
    // Each case is some 27 bytes.
    let cases = (kibibytes * 1024 / 31) as u32;
    body.instructions().loop_(BlockType::Empty);
    for _ in 0..cases {
        body.instructions().block(BlockType::Empty);
    }
    body.instructions().local_get(0).br_table(0..cases, 0);
    for case in 0..cases {
        let (a, b, c) = (1 + case % LOCALS, 1 + case * 7 % LOCALS, 1 + case * 13 % LOCALS);
        body.instructions()
            .end()
            .local_get(a)
            .local_get(b)
            .i32_const(if case == cases / 2 { constant } else { 5 })
            .i32_add()
            .i32_xor()
            .call(1)
            .local_set(c)
            .local_get(0)
            .i32_const(1)
            .i32_sub()
            .local_tee(0)
            .br_if(cases - 1 - case);
    }
    body.instructions().end();
    body.instructions().local_get(0);
    for local in 1..=LOCALS {
        body.instructions().local_get(local).i32_add();
    }
    body.instructions().end();
    let mut callee = Function::new([]);
    callee.instructions().local_get(0).end();
    let mut code = CodeSection::new();
    code.function(&body).function(&callee);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// Bytes that this process has had resident at most.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
