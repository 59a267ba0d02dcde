//! Errors have kinds, by which a program tells them apart, whatever their texts are.

use midair::{
    Config, Engine, Error, ErrorKind, Failure, Func, Instance, Linker, Memory, MemoryType, Module,
    OptLevel, RecompileOptions, Result, StillReferred, Store, StoreLimits, Table, TableType, Tier,
    Trap, UnlinkedImports, Val, ValType,
};

#[track_caller]
fn is<T>(result: Result<T>, kind: ErrorKind) -> Error {
    let Err(error) = result else { panic!("no error: {kind:?} was expected") };
    assert_eq!(ErrorKind::of(&error), kind, "{error:#}");
    error
}

#[test]
fn modules_that_cannot_be_loaded() {
    let engine = Engine::default();
    is(Module::new(&engine, "(module"), ErrorKind::Invalid);
    is(Module::new(&engine, "(module (func (result i32)))"), ErrorKind::Invalid);
    is(Module::new(&engine, b"\0asm\x01\0\0\0\x0a\x01"), ErrorKind::Invalid);
    is(Module::validate(&engine, "(module (func (result i32)))"), ErrorKind::Invalid);
    let structs = "(module (type (struct)))";
    let error = is(Module::new(&engine, structs), ErrorKind::Unsupported);
    assert_eq!(error.downcast_ref::<Failure>().unwrap().kind(), ErrorKind::Unsupported);
    is(Module::validate(&engine, structs), ErrorKind::Unsupported);
    let error = is(Module::from_file(&engine, "/there/is/no.wasm"), ErrorKind::System);
    let system = error.downcast_ref::<std::io::Error>().expect("the system's error is in it");
    assert_eq!(system.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("no.wasm"), "{error}");
    is(Engine::new(Config::new().max_wasm_stack(1)), ErrorKind::Misuse);
    is("fast".parse::<Tier>(), ErrorKind::Misuse);
}

#[test]
fn what_does_not_fit_together() {
    let engine = Engine::default();
    let module = Module::new(&engine, r#"(module (import "a" "b" (memory 1)))"#).unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let error = is(linker.instantiate(&mut store, &module), ErrorKind::Link);
    assert!(error.downcast_ref::<UnlinkedImports>().is_some());
    is(Instance::new(&mut store, &module, &[]), ErrorKind::Link);
    linker.func_wrap("a", "b", || {}).unwrap();
    is(linker.instantiate(&mut store, &module), ErrorKind::Link);
    is(linker.func_wrap("a", "b", || {}).map(drop), ErrorKind::Link);
    is(linker.alias("a", "c", "a", "d").map(drop), ErrorKind::Link);
    let elsewhere = Func::wrap(&mut Store::new(&engine, ()), || {});
    is(linker.define(&store, "a", "e", elsewhere).map(drop), ErrorKind::Link);
    let mut other = Store::new(&Engine::default(), ());
    is(Instance::new(&mut other, &module, &[]), ErrorKind::Link);
}

#[test]
fn limits_and_wrong_uses() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimits::new().memory_bytes(1 << 16).table_elements(1));
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    is(memory.grow(&mut store, 1), ErrorKind::Limit);
    is(Memory::new(&mut store, MemoryType::new(1, None)), ErrorKind::Limit);
    is(Memory::new(&mut store, MemoryType::new(1 << 17, None)), ErrorKind::Limit);
    let ty = |minimum| TableType::new(ValType::FUNCREF, minimum, None);
    let table = Table::new(&mut store, ty(1), Val::null_func_ref()).unwrap();
    is(table.grow(&mut store, 1, Val::null_func_ref()), ErrorKind::Limit);
    is(Table::new(&mut store, ty(1), Val::null_func_ref()), ErrorKind::Limit);
    is(table.set(&mut store, 1, Val::null_func_ref()), ErrorKind::Misuse);
    is(table.set(&mut store, 0, Val::I32(0)), ErrorKind::Misuse);
    let f = Func::wrap(&mut store, |x: i32| x);
    is(f.call(&mut store, &[], &mut [Val::I32(0)]), ErrorKind::Misuse);
    is(f.call(&mut store, &[Val::I64(0)], &mut [Val::I32(0)]), ErrorKind::Misuse);
    is(f.typed::<i64, i32>(&store), ErrorKind::Misuse);
    is(memory.read(&store, 1 << 20, &mut [0]).map_err(Error::from), ErrorKind::Misuse);
    is(store.set_fuel(1), ErrorKind::Misuse);
}

#[test]
fn what_guests_and_host_functions_do() {
    let engine = Engine::default();
    let text = r#"(module (import "host" "f" (func $f)) (func (export "trap") unreachable)
        (func (export "host") (call $f)))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "f", || -> Result<()> { Err(Error::msg("mine")) }).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let trap = instance.get_typed_func::<(), ()>(&mut store, "trap").unwrap();
    let error = is(trap.call(&mut store, ()), ErrorKind::Trap);
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
    let host = instance.get_typed_func::<(), ()>(&mut store, "host").unwrap();
    is(host.call(&mut store, ()), ErrorKind::Other);
    is(instance.get_typed_func::<(), ()>(&mut store, "none"), ErrorKind::Misuse);
    is(instance.get_typed_func::<i32, ()>(&mut store, "host"), ErrorKind::Misuse);
}

#[test]
fn updates_that_are_refused() {
    let engine = Engine::default();
    let text = r#"(module (memory (export "m") 1) (func $f (export "f") (result i32) i32.const 1)
        (func (export "g") (result i32) call $f))"#;
    let module = Module::new(&engine, text).unwrap();
    is(module.replace_function(0, &[0, 0x0b]), ErrorKind::Invalid);
    is(module.replace_function(7, &[0, 0x41, 0, 0x0b]), ErrorKind::UpdateRefused);
    let error = is(module.update().free(0).apply(), ErrorKind::UpdateRefused);
    assert!(error.downcast_ref::<StillReferred>().is_some());
    is(module.update().module("(module").map(drop), ErrorKind::Invalid);
    let options = RecompileOptions::optimized().opt_level(OptLevel::None);
    is(module.recompile(7, &options), ErrorKind::UpdateRefused);
    is(module.recompile(0, &options.version(3)), ErrorKind::UpdateRefused);
}

#[test]
fn code_space_that_is_used_up() {
    // Functions that are compiled stay where they are, so that the next ones do not fit.
    let engine = Engine::new(Config::new().tier(Tier::Interp).code_space(1)).unwrap();
    let body: String = (0..8000)
        .map(|i| format!("(global.set 0 (i64.mul (global.get 0) (i64.const {})))", i * 2 + 3))
        .collect();
    let text = format!("(module (global (mut i64) (i64.const 1)) (func {body}))");
    let module = Module::new(&engine, text).unwrap();
    is(module.recompile(0, &RecompileOptions::unoptimized()), ErrorKind::CodeSpace);
}
