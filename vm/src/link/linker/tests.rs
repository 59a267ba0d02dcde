use crate::*;

fn engine() -> Engine {
    Engine::new(Config::new().tier(Tier::Interp)).unwrap()
}

fn module(engine: &Engine, text: &str) -> Module {
    Module::new(engine, text).unwrap()
}

/// The error of instantiating a module that imports `import` as `m` `x`, where the linker has `x`.
fn mismatch(define: impl FnOnce(&mut Linker<()>, &mut Store<()>), import: &str) -> String {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    define(&mut linker, &mut store);
    let module = module(&engine, &format!("(module (import \"m\" \"x\" {import}))"));
    match linker.instantiate(&mut store, &module) {
        Ok(_) => "fits".to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_unknown_imports_are_listed_with_their_types() {
    let engine = engine();
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("a", "known", || ()).unwrap();
    let module = module(
        &engine,
        r#"(module
            (import "a" "known" (func))
            (import "a" "f" (func (param i32 i64) (result f32)))
            (import "b" "g" (global (mut i64)))
            (import "b" "t" (table 1 2 externref))
            (import "b" "m" (memory 3)))"#,
    );
    let error = linker.instantiate(Store::new(&engine, ()), &module).unwrap_err();
    let names: Vec<_> = error
        .downcast_ref::<UnlinkedImports>()
        .unwrap()
        .imports()
        .iter()
        .map(|import| format!("{} {} {}", import.module(), import.name(), import.ty()))
        .collect();
    assert_eq!(
        names,
        [
            "a f func (i32, i64) -> (f32)",
            "b g global (mut i64)",
            "b t table 1 2 externref",
            "b m memory 3",
        ]
    );
    for name in ["`a` `f`", "`b` `g`", "`b` `t`", "`b` `m`"] {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn imports_and_exports_are_listed() {
    let module = module(
        &engine(),
        r#"(module
            (import "env" "f" (func $f (param i32)))
            (import "env" "m" (memory 1 2))
            (global (export "g") i32 (i32.const 1))
            (table (export "t") 4 funcref)
            (export "f" (func $f)))"#,
    );
    let imports: Vec<_> =
        module.imports().map(|i| format!("{}.{}: {}", i.module(), i.name(), i.ty())).collect();
    assert_eq!(imports, ["env.f: func (i32) -> ()", "env.m: memory 1 2"]);
    let exports: Vec<_> = module.exports().map(|e| format!("{}: {}", e.name(), e.ty())).collect();
    assert_eq!(exports, ["g: global i32", "t: table 4 funcref", "f: func (i32) -> ()"]);
    assert_eq!(module.get_export("t"), Some(TableType::new(ValType::FUNCREF, 4, None).into()));
    assert_eq!(module.get_export("u"), None);
}

#[test]
fn functions_match_by_type() {
    let define = |linker: &mut Linker<()>, _: &mut Store<()>| {
        linker.func_wrap("m", "x", |_: i32| 0_i64).unwrap();
    };
    assert_eq!(mismatch(define, "(func (param i32) (result i64))"), "fits");
    assert_eq!(
        mismatch(define, "(func (param i32))"),
        "incompatible import type for `m` `x`: expected func (i32) -> (), \
         found func (i32) -> (i64)"
    );
    assert_eq!(
        mismatch(define, "(memory 1)"),
        "incompatible import type for `m` `x`: expected memory 1, found func (i32) -> (i64)"
    );
}

#[test]
fn memories_match_by_limits() {
    let define = |maximum| {
        move |linker: &mut Linker<()>, store: &mut Store<()>| {
            let memory = Memory::new(&mut *store, MemoryType::new(2, maximum)).unwrap();
            linker.define(&*store, "m", "x", memory).unwrap();
        }
    };
    assert_eq!(mismatch(define(Some(4)), "(memory 2 4)"), "fits");
    assert_eq!(mismatch(define(Some(4)), "(memory 1 5)"), "fits");
    assert_eq!(mismatch(define(Some(4)), "(memory 0)"), "fits");
    assert!(mismatch(define(Some(4)), "(memory 3)").contains("found memory 2 4"));
    assert!(mismatch(define(Some(4)), "(memory 2 3)").contains("found memory 2 4"));
    assert!(mismatch(define(None), "(memory 2 3)").contains("found memory 2"));
}

#[test]
fn the_present_size_of_a_memory_counts() {
    let define = |linker: &mut Linker<()>, store: &mut Store<()>| {
        let memory = Memory::new(&mut *store, MemoryType::new(1, None)).unwrap();
        memory.grow(&mut *store, 4).unwrap();
        linker.define(&*store, "m", "x", memory).unwrap();
    };
    assert_eq!(mismatch(define, "(memory 5)"), "fits");
}

#[test]
fn tables_match_by_limits_and_elements() {
    let define = |linker: &mut Linker<()>, store: &mut Store<()>| {
        let ty = TableType::new(ValType::FUNCREF, 2, Some(4));
        let table = Table::new(&mut *store, ty, Val::null_func_ref()).unwrap();
        linker.define(&*store, "m", "x", table).unwrap();
    };
    assert_eq!(mismatch(define, "(table 1 funcref)"), "fits");
    assert!(mismatch(define, "(table 1 externref)").contains("found table 2 4 funcref"));
    assert!(mismatch(define, "(table 3 funcref)").contains("expected table 3 funcref"));
}

#[test]
fn globals_match_by_type_and_mutability() {
    let define = |linker: &mut Linker<()>, store: &mut Store<()>| {
        let ty = GlobalType::new(ValType::I32, true);
        let global = Global::new(&mut *store, ty, Val::I32(1)).unwrap();
        linker.define(&*store, "m", "x", global).unwrap();
    };
    assert_eq!(mismatch(define, "(global (mut i32))"), "fits");
    assert!(mismatch(define, "(global i32)").contains("found global (mut i32)"));
    assert!(mismatch(define, "(global (mut i64))").contains("found global (mut i32)"));
}

#[test]
fn names_are_defined_once_unless_shadowing_is_allowed() {
    let engine = engine();
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("m", "f", || 1).unwrap();
    let error = linker.func_wrap("m", "f", || 2).unwrap_err();
    assert_eq!(error.to_string(), "import of `m` `f` defined twice");
    linker.allow_shadowing(true).func_wrap("m", "f", || 3).unwrap();
    linker.alias("m", "f", "n", "g").unwrap();
    linker.alias_module("n", "o").unwrap();
    assert!(linker.alias("m", "nothing", "n", "g").is_err());

    let mut store = Store::new(&engine, ());
    let func = linker.get(&mut store, "o", "g").unwrap().into_func().unwrap();
    assert_eq!(func.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 3);
    assert!(linker.get(&mut store, "o", "h").is_none());
}

#[test]
fn memories_tables_and_globals_are_shared() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let library = module(
        &engine,
        r#"(module
            (memory (export "m") 1 3)
            (global $g (export "g") (mut i64) (i64.const 5))
            (table (export "t") 2 funcref)
            (func $seven (export "seven") (result i32) (i32.const 7))
            (func (export "load") (result i32) (i32.load8_u (i32.const 100)))
            (func (export "g2") (result i64) (i64.mul (global.get $g) (i64.const 2)))
            (func (export "set") (table.set (i32.const 1) (ref.func $seven))))"#,
    );
    linker.module(&mut store, "lib", &library).unwrap();
    let user = module(
        &engine,
        r#"(module
            (import "lib" "m" (memory 1))
            (import "lib" "g" (global (mut i64)))
            (import "lib" "t" (table 2 funcref))
            (import "lib" "load" (func $load (result i32)))
            (import "lib" "g2" (func $g2 (result i64)))
            (import "lib" "set" (func $set))
            (type $t (func (result i32)))
            (func (export "memory") (result i32)
                (i32.store8 (i32.const 100) (i32.const 42)) (call $load))
            (func (export "global") (result i64)
                (global.set 0 (i64.const 21)) (call $g2))
            (func (export "table") (result i32)
                (call $set) (call_indirect (type $t) (i32.const 1)))
            (func (export "grow") (result i32)
                (drop (memory.grow (i32.const 2))) (memory.size)))"#,
    );
    let user = linker.instantiate(&mut store, &user).unwrap();
    let mut run = |name: &str| {
        let func = user.get_func(&mut store, name).unwrap();
        let mut results = [Val::I32(0)];
        func.call(&mut store, &[], &mut results).unwrap();
        match results[0] {
            Val::I32(value) => i64::from(value),
            Val::I64(value) => value,
            _ => unreachable!(),
        }
    };
    assert_eq!(run("memory"), 42);
    assert_eq!(run("global"), 42);
    assert_eq!(run("table"), 7);
    assert_eq!(run("grow"), 3);
    let memory = linker.get(&mut store, "lib", "m").unwrap().into_memory().unwrap();
    assert_eq!(memory.size(&store), 3);
}

#[test]
fn things_of_other_stores_and_engines_are_refused() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let mut other = Store::new(&engine, ());
    let memory = Memory::new(&mut other, MemoryType::new(1, None)).unwrap();
    let mut linker = Linker::new(&engine);
    assert!(linker.define(&store, "m", "x", memory).is_err());
    linker.define(&other, "m", "x", memory).unwrap();
    let importer = module(&engine, r#"(module (import "m" "x" (memory 1)))"#);
    let error = linker.instantiate(&mut store, &importer).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");

    let foreign = module(&self::engine(), "(module)");
    let error = Instance::new(&mut store, &foreign, &[]).unwrap_err();
    assert!(error.to_string().contains("another engine"), "{error}");
}

#[test]
#[should_panic(expected = "object used with a store that it does not belong to")]
fn a_handle_used_with_another_store_panics() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    memory.size(Store::new(&engine, ()));
}

#[test]
fn unknown_functions_can_be_made_to_fail_when_called() {
    let engine = engine();
    let mut linker = Linker::new(&engine);
    let module =
        module(&engine, r#"(module (import "a" "f" (func $f)) (func (export "run") (call $f)))"#);
    linker.define_unknown_imports_as_traps(&module).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    let error = run.call(&mut store, ()).unwrap_err();
    assert!(format!("{error:?}").contains("unknown import `a` `f`"), "{error:?}");
}

#[test]
fn what_is_linked_once_serves_many_stores_and_does_not_see_later_definitions() {
    fn crosses_threads<T: Send + Sync>(_: &T) {}
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "a" "f" (func $f (result i32)))
            (func (export "run") (result i32) (call $f)))"#,
    )
    .unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    let error = linker.instantiate_pre(&module).unwrap_err();
    assert_eq!(error.downcast_ref::<UnlinkedImports>().unwrap().imports().len(), 1);
    linker.func_wrap("a", "f", || 1).unwrap();
    let linked = linker.instantiate_pre(&module).unwrap();
    crosses_threads(&linked);
    linker.allow_shadowing(true).func_wrap("a", "f", || 2).unwrap();
    for _ in 0..3 {
        let mut store = Store::new(&engine, ());
        let instance = linked.instantiate(&mut store).unwrap();
        let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 1);
    }
}
