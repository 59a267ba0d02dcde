use crate::*;

fn engine() -> Engine {
    Engine::new(Config::new().tier(Tier::Interp)).unwrap()
}

fn error(text: &str) -> String {
    Module::new(&engine(), text).unwrap_err().to_string()
}

#[test]
fn unsupported_proposals_are_named() {
    for (text, name) in [
        ("(module (table shared 1 1 (ref null (shared func))))", "shared-everything threads"),
        ("(module (rec (type (func)) (type (array i32))))", "garbage collection"),
        (
            "(module (global externref (extern.convert_any (ref.i31 (i32.const 1)))))",
            "garbage collection",
        ),
        ("(module (func (drop (ref.i31 (i32.const 1)))))", "garbage collection"),
        ("(module (type $t (struct (field i32))))", "garbage collection"),
    ] {
        let error = error(text);
        assert!(error.contains("not supported yet"), "{text}: {error}");
        assert!(error.starts_with(name), "{text}: {error}");
    }
}

#[test]
fn a_component_is_named_whatever_its_size() {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    for size in [8, 9 << 20] {
        component.resize(size, 0);
        let error = Module::new(&engine(), &component).unwrap_err();
        assert_eq!(error.to_string(), "the component model is not supported yet", "{size} bytes");
    }
}

#[test]
fn later_proposals_can_be_turned_off() {
    let memories = "(module (memory 1) (memory 1))";
    let constants = "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))";
    Module::new(&engine(), memories).unwrap();
    Module::new(&engine(), constants).unwrap();
    let references = "(module (type $t (func)) (func (param (ref $t))))";
    Module::new(&engine(), references).unwrap();
    let exceptions = "(module (tag $e) (func (throw $e)))";
    Module::new(&engine(), exceptions).unwrap();
    let mut config = Config::new();
    config.wasm_multi_memory(false).wasm_extended_const(false).wasm_function_references(false);
    config
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    let engine = Engine::new(config.wasm_exceptions(false)).unwrap();
    let error = Module::new(&engine, exceptions).unwrap_err().to_string();
    assert!(error.starts_with("exception handling is not supported yet"), "{error}");
    let error = Module::new(&engine, memories).unwrap_err().to_string();
    assert!(error.starts_with("multi-memory is not supported yet"), "{error}");
    let error = Module::new(&engine, constants).unwrap_err().to_string();
    assert!(error.starts_with("extended constant expressions is not supported yet"), "{error}");
    let error = Module::new(&engine, references).unwrap_err().to_string();
    assert!(error.starts_with("function references is not supported yet"), "{error}");
    for (text, name) in [
        ("(module (func $f (return_call $f)))", "tail calls"),
        ("(module (table i64 1 funcref))", "memory64"),
        ("(module (memory 1 (pagesize 1)))", "custom page sizes"),
        (
            "(module (func (param i64 i64) (result i64 i64)
                (i64.mul_wide_u (local.get 0) (local.get 1))))",
            "wide arithmetic",
        ),
    ] {
        Module::new(&self::engine(), text).unwrap();
        let error = Module::new(&engine, text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is not supported yet")), "{error}");
    }
    let vectors = "(module (func (result v128) (v128.const i64x2 1 2)))";
    let relaxed = "(module (func (param v128) (result v128)
        (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))";
    Module::new(&self::engine(), vectors).unwrap();
    Module::new(&self::engine(), relaxed).unwrap();
    let engine = Engine::new(Config::new().wasm_relaxed_simd(false)).unwrap();
    Module::new(&engine, vectors).unwrap();
    let error = Module::new(&engine, relaxed).unwrap_err().to_string();
    assert!(error.starts_with("relaxed SIMD is not supported yet"), "{error}");
    let engine = Engine::new(Config::new().wasm_simd(false)).unwrap();
    let error = Module::new(&engine, vectors).unwrap_err().to_string();
    assert!(error.starts_with("SIMD is not supported yet"), "{error}");
    let error = Module::new(&engine, relaxed).unwrap_err().to_string();
    assert!(error.starts_with("SIMD and relaxed SIMD are not supported yet"), "{error}");
}

#[test]
fn malformed_modules_are_refused() {
    assert!(error("(module (func (result i32) (i64.const 1)))").contains("type mismatch"));
    assert!(!error("(module").is_empty());
    assert!(Module::new(&engine(), b"\0asm").is_err());
    assert!(Module::new(&engine(), b"\0asm\x01\0\0\0\x01").is_err());
    assert!(Module::new(&engine(), b"\0asm\x0d\0\x01\0").is_err());
    assert!(Module::validate(&engine(), "(module (func (result i32)))").is_err());
    Module::validate(&engine(), "(module (func (result i32) (i32.const 1)))").unwrap();
}

#[test]
fn truncated_modules_are_refused_without_a_panic() {
    let binary = wat::parse_str(
        r#"(module $m
            (import "a" "b" (func (param i32)))
            (memory 1) (table 1 funcref) (global i32 (i32.const 1))
            (elem (i32.const 0) $f) (data (i32.const 0) "hello")
            (func $f (param i32) (result i32) (local i64)
                (block (result i32) (i32.add (local.get 0) (i32.const 5)))))"#,
    )
    .unwrap();
    for lazy in [false, true] {
        let engine = Engine::new(Config::new().lazy_validation(lazy)).unwrap();
        Module::new(&engine, &binary).unwrap();
        // Cut between two sections, what is left may be a module.
        let cut = |len: &usize| Module::from_binary(&engine, &binary[..*len]).is_ok();
        assert!((0..binary.len()).filter(cut).count() < 10);
    }
}

#[test]
fn lazy_validation_traps_at_the_call() {
    let engine = Engine::new(Config::new().tier(Tier::Interp).lazy_validation(true)).unwrap();
    let module = Module::new(
        &engine,
        r#"(module
            (func $bad (export "bad") (result i32) (i64.const 1))
            (func (export "calls") (drop (call $bad)))
            (func (export "good") (result i32) (i32.const 1)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let good = instance.get_typed_func::<(), i32>(&mut store, "good").unwrap();
    assert_eq!(good.call(&mut store, ()).unwrap(), 1);
    let bad = instance.get_typed_func::<(), i32>(&mut store, "bad").unwrap();
    for _ in 0..2 {
        let error = bad.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::InvalidFunction));
        assert!(format!("{error:?}").contains("`bad` cannot be run: type mismatch"), "{error:?}");
    }
    let calls = instance.get_typed_func::<(), ()>(&mut store, "calls").unwrap();
    let error = calls.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::InvalidFunction));
}

#[test]
fn files_in_both_formats_are_loaded() {
    let directory = std::env::temp_dir().join(format!("midair-module-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let text = r#"(module $file (func (export "f") (result i32) (i32.const 1)))"#;
    let (wat, wasm) = (directory.join("m.wat"), directory.join("m.wasm"));
    std::fs::write(&wat, text).unwrap();
    std::fs::write(&wasm, wat::parse_str(text).unwrap()).unwrap();
    for path in [&wat, &wasm] {
        let module = Module::from_file(&engine(), path).unwrap();
        assert_eq!(module.name(), Some("file"));
    }
    let error = Module::from_file(&engine(), directory.join("none.wasm")).unwrap_err();
    assert!(error.to_string().contains("none.wasm"), "{error}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn large_modules_are_validated_on_several_threads() {
    let mut text = String::from("(module\n");
    for i in 0..20_000 {
        let body = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(12);
        text.push_str(&format!("(func (export \"f{i}\") (result i32) {body} (i32.const {i}))\n"));
    }
    text.push(')');
    let binary = wat::parse_str(&text).unwrap();
    let engine = engine();
    let module = Module::new(&engine, &binary).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let last = instance.get_typed_func::<(), i32>(&mut store, "f19999").unwrap();
    assert_eq!(last.call(&mut store, ()).unwrap(), 19_999);

    let bad = text.replacen("(i32.const 7777))\n", "(i64.const 7777))\n", 1);
    let error = Module::new(&engine, &bad).unwrap_err();
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[test]
fn segments_that_do_not_fit_trap_and_leave_what_came_before() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "" "m" (memory 1))
            (data (i32.const 0) "ab") (data (i32.const 65535) "cd") (data (i32.const 4) "ef"))"#,
    )
    .unwrap();
    let error = Instance::new(&mut store, &module, &[memory.into()]).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Trap::MemoryOutOfBounds));
    assert_eq!(memory.data(&store)[..6], *b"ab\0\0\0\0");
}

#[test]
fn constants_can_be_computed_and_imported() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let ty = GlobalType::new(ValType::I32, false);
    let base = Global::new(&mut store, ty, Val::I32(100)).unwrap();
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "base" (global $base i32))
            (global (export "g") i64 (i64.sub (i64.const 3) (i64.mul (i64.const 2) (i64.const 4))))
            (global (export "h") i32 (i32.add (global.get $base) (i32.const -1)))
            (global (export "r") funcref (ref.func $f))
            (func $f (result i32) (i32.const 5)))"#,
    )
    .unwrap();
    let instance = Instance::new(&mut store, &module, &[base.into()]).unwrap();
    let mut get = |name: &str| instance.get_global(&mut store, name).unwrap().get(&mut store);
    assert_eq!(get("g").i64(), Some(-5));
    assert_eq!(get("h").i32(), Some(99));
    let Val::FuncRef(Some(func)) = get("r") else { panic!("no function") };
    assert_eq!(func.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 5);
}
