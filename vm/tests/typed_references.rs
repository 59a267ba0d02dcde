//! References that say which functions they refer to: types that are equal across modules, calls through them in every
//! tier, and what updates of running programs do with them.

use anyhow::Result;
use midair::{
    Caller, Config, Engine, ErrorKind, Extern, Func, FuncType, Global, GlobalType, HeapType,
    Instance, Linker, Module, RefType, Store, Table, TableType, Tier, Trap, Val, ValType,
};
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

/// The body of the function that `text` exports as `name`.
fn body(engine: &Engine, text: &str, name: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body(name).unwrap()
}

/// Whether a module that exports `f` of the last of these types can be imported as one of the last of those.
fn links(defined: &str, imported: &str) -> bool {
    let engine = Engine::default();
    let exporter = format!("(module {defined} (func (export \"f\") (type $f) unreachable))");
    let importer = format!("(module {imported} (import \"m\" \"f\" (func (type $f))))");
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "m", &Module::new(&engine, exporter).unwrap()).unwrap();
    let importer = Module::new(&engine, importer).unwrap();
    match linker.instantiate(&mut store, &importer) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(ErrorKind::of(&error), ErrorKind::Link, "{error:#}");
            false
        }
    }
}

#[test]
fn types_of_different_modules_are_equal_if_their_groups_are() {
    let pair = "(rec (type $f (func (param (ref null $g)))) (type $g (func (result (ref $f)))))";
    let elsewhere = format!("(type (func (param f64))) (type $x (func)) {pair}");
    assert!(links(pair, &elsewhere) && links(&elsewhere, pair));
    let itself = "(type $f (func (param (ref null $f))))";
    assert!(links(itself, itself));
    // What looks alike when it is unrolled is another type, and so is one of a group by itself.
    let unrolled = "(type $g (func (param (ref null $g)))) (type $f (func (param (ref null $g))))";
    assert!(!links(itself, unrolled) && !links(unrolled, itself));
    let in_a_group = "(rec (type $f (func)) (type $g (func)))";
    assert!(!links("(type $f (func))", in_a_group) && !links(in_a_group, "(type $f (func))"));
}

#[test]
fn functions_can_be_imported_as_functions_of_a_supertype() {
    let two = "(type $top (sub (func (result funcref))))
        (type $f (sub $top (func (result (ref func)))))";
    let one = "(type $f (sub (func (result funcref))))";
    assert!(links(two, two) && links(one, one));
    assert!(links(two, one) && !links(one, two));
    // Looking like a subtype is not enough.
    assert!(!links("(type $f (func (result (ref func))))", "(type $f (func (result funcref)))"));
}

#[test]
fn globals_and_tables_are_imported_by_the_types_of_what_they_hold() {
    let engine = Engine::default();
    let exporter = Module::new(
        &engine,
        r#"(module
            (type $t (func)) (func $f (type $t)) (elem declare func $f)
            (global (export "constant") (ref $t) (ref.func $f))
            (global (export "variable") (mut (ref null $t)) (ref.func $f))
            (table (export "table") 3 (ref $t) (ref.func $f)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "m", &exporter).unwrap();
    let mut links = |import: &str| {
        let text = format!(
            "(module (type $t (func)) (type $u (func (param i32))) (import \"m\" {import}))"
        );
        linker.instantiate(&mut store, &Module::new(&engine, text).unwrap()).is_ok()
    };
    for (import, expected) in [
        (r#""constant" (global (ref $t))"#, true),
        (r#""constant" (global (ref null $t))"#, true),
        (r#""constant" (global (ref func))"#, true),
        (r#""constant" (global funcref)"#, true),
        (r#""constant" (global (ref $u))"#, false),
        (r#""constant" (global externref)"#, false),
        (r#""variable" (global (mut (ref null $t)))"#, true),
        (r#""variable" (global (mut funcref))"#, false),
        (r#""variable" (global (mut (ref $t)))"#, false),
        (r#""table" (table 1 (ref $t))"#, true),
        (r#""table" (table 1 (ref null $t))"#, false),
        (r#""table" (table 1 funcref)"#, false),
    ] {
        assert_eq!(links(import), expected, "{import}");
    }
}

/// Calls of references: to functions of the instance, of another one, of the host, and null.
const CALLS: &str = r#"(module
    (type $op (func (param i32 i64) (result i32)))
    (import "host" "op" (func $host (type $op)))
    (import "other" "op" (func $other (type $op)))
    (elem declare func $own $host $other)
    (table $t (export "t") 4 (ref null $op))
    (func $own (type $op) (i32.sub (local.get 0) (i32.wrap_i64 (local.get 1))))
    (func (export "fill")
        (table.set $t (i32.const 0) (ref.func $own))
        (table.set $t (i32.const 1) (ref.func $other))
        (table.set $t (i32.const 2) (ref.func $host)))
    (func (export "call") (param $which i32) (param $times i32) (result i32)
        (local $f (ref null $op)) (local $sum i32)
        (local.set $f (table.get $t (local.get $which)))
        (loop $again
            (local.set $sum (i32.add (local.get $sum)
                (call_ref $op (local.get $times) (i64.const -3000000001) (local.get $f))))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
        (local.get $sum))
    (func (export "or_default") (param $which i32) (result i32)
        (block $null (result i32)
            (i32.const -7)
            (br_on_null $null (table.get $t (local.get $which)))
            (drop) (drop)
            (call_ref $op (i32.const 1) (i64.const 2)
                (block $found (result (ref $op))
                    (br_on_non_null $found (table.get $t (local.get $which)))
                    (unreachable)))))
    (func (export "surely") (param $which i32) (result i32)
        (ref.is_null (ref.as_non_null (table.get $t (local.get $which))))))"#;

#[test]
fn references_call_what_they_refer_to() {
    for (tier, stress) in
        TIERS.into_iter().flat_map(|tier| ["", "osr:1,retire:1", "mixed:1"].map(|s| (tier, s)))
    {
        if tier != Tier::Auto && stress.starts_with("mixed") {
            continue;
        }
        let mut config = Config::new();
        config.tier(tier).background_compilation(false);
        if !stress.is_empty() {
            config.stress(stress.parse().unwrap());
        }
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "op", |a: i32, b: i64| a ^ b as i32).unwrap();
        let other = r#"(module (func (export "op") (param i32 i64) (result i32)
            (i32.mul (local.get 0) (i32.wrap_i64 (local.get 1)))))"#;
        linker.module(&mut store, "other", &Module::new(&engine, other).unwrap()).unwrap();
        let module = Module::new(&engine, CALLS).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let fill = instance.get_typed_func::<(), ()>(&mut store, "fill").unwrap();
        let call = instance.get_typed_func::<(i32, i32), i32>(&mut store, "call").unwrap();
        let or_default = instance.get_typed_func::<i32, i32>(&mut store, "or_default").unwrap();
        let surely = instance.get_typed_func::<i32, i32>(&mut store, "surely").unwrap();
        assert_eq!(or_default.call(&mut store, 0).unwrap(), -7);
        fill.call(&mut store, ()).unwrap();
        let b = -3_000_000_001_i64 as i32;
        let ops: [fn(i32, i32) -> i32; 3] = [i32::wrapping_sub, i32::wrapping_mul, |a, b| a ^ b];
        for (which, op) in (0..).zip(ops) {
            let sum = (1..=200).fold(0_i32, |sum, a| sum.wrapping_add(op(a, b)));
            assert_eq!(call.call(&mut store, (which, 200)).unwrap(), sum, "{tier:?} {stress}");
            assert_eq!(or_default.call(&mut store, which).unwrap(), op(1, 2), "{tier:?} {stress}");
            assert_eq!(surely.call(&mut store, which).unwrap(), 0);
        }
        assert_eq!(or_default.call(&mut store, 3).unwrap(), -7);
        for error in [call.call(&mut store, (3, 1)), surely.call(&mut store, 3)] {
            let error = error.unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::NullReference), "{tier:?} {error:#}");
        }
    }
}

#[test]
fn calls_through_tables_take_functions_of_subtypes() {
    let text = r#"(module
        (type $top (sub (func (result i32))))
        (type $sub (sub $top (func (result i32))))
        (type $apart (func (result i32)))
        (table funcref (elem $a $b $c))
        (func $a (type $top) (i32.const 1))
        (func $b (type $sub) (i32.const 2))
        (func $c (type $apart) (i32.const 3))
        (func (export "top") (param i32) (result i32) (call_indirect (type $top) (local.get 0)))
        (func (export "sub") (param i32) (result i32) (call_indirect (type $sub) (local.get 0))))"#;
    for tier in TIERS {
        let engine = engine(tier);
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, text).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let mut call = |name: &str, index: i32| {
            let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
            let result = function.call(&mut store, index);
            result.map_err(|error| *error.downcast_ref::<Trap>().unwrap())
        };
        assert_eq!([call("top", 0), call("top", 1)], [Ok(1), Ok(2)], "{tier:?}");
        assert_eq!(call("top", 2), Err(Trap::BadSignature), "{tier:?}");
        assert_eq!(call("sub", 1), Ok(2), "{tier:?}");
        assert_eq!(call("sub", 0), Err(Trap::BadSignature), "{tier:?}");
    }
}

#[test]
fn the_host_gives_and_takes_only_what_types_say() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let text = r#"(module
        (type $t (func (param i32) (result i32)))
        (func (export "f") (type $t) (i32.add (local.get 0) (i32.const 1)))
        (func (export "g"))
        (func (export "take") (param (ref $t)) (result i32) (call_ref $t (i32.const 4) (local.get 0)))
        (func (export "any") (param (ref func)))
        (global (export "global") (mut (ref null $t)) (ref.null $t))
        (table (export "table") 1 (ref null $t)))"#;
    let instance = Instance::new(&mut store, &Module::new(&engine, text).unwrap(), &[]).unwrap();
    let mut func = |name: &str| instance.get_func(&mut store, name).unwrap();
    let [f, g, take, any] = ["f", "g", "take", "any"].map(&mut func);
    let mut call = |function: Func, value: Val, count: usize| -> Result<Option<i32>> {
        let mut results = vec![Val::I32(0); count];
        function.call(&mut store, &[value], &mut results)?;
        Ok(results.first().and_then(Val::i32))
    };
    assert_eq!(call(take, f.into(), 1).unwrap(), Some(5));
    for wrong in [Val::from(g), Val::null_func_ref(), Val::null_extern_ref(), Val::I32(1)] {
        let error = call(take, wrong.clone(), 1).unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::Misuse, "{wrong:?}");
    }
    call(any, g.into(), 0).unwrap();
    assert!(call(any, Val::null_func_ref(), 0).is_err());

    // A type of the module's, by which the host makes things of its own.
    let ty = take.ty(&store);
    let [ValType::Ref(reference)] = *ty.params else { panic!("{ty}") };
    assert!(!reference.is_nullable());
    let HeapType::Concrete(_) = reference.heap_type() else { panic!("{ty}") };
    let nullable = ValType::Ref(RefType::new(true, reference.heap_type()));
    assert!(engine.is_subtype(reference.into(), nullable));
    assert!(engine.is_subtype(nullable, ValType::FUNCREF));
    assert!(!engine.is_subtype(ValType::FUNCREF, nullable));

    let host = FuncType::new([reference.into()], [nullable]);
    let same = Func::new(&mut store, host.clone(), |_, params, results| {
        results[0] = params[0].clone();
        Ok(())
    });
    let wrong = Func::new(&mut store, host, move |_, _, results| {
        results[0] = Val::from(g);
        Ok(())
    });
    // Types of Rust are as general as they are.
    assert!(
        take.typed::<Func, i32>(&store).is_err()
            && take.typed::<Option<Func>, i32>(&store).is_err()
    );
    assert!(any.typed::<Option<Func>, ()>(&store).is_err());
    any.typed::<Func, ()>(&store).unwrap().call(&mut store, g).unwrap();
    let give = Func::wrap(&mut store, move || -> Func { f });
    assert!(give.typed::<(), Func>(&store).unwrap().call(&mut store, ()).is_ok());
    assert!(
        give.typed::<(), Option<Func>>(&store).unwrap().call(&mut store, ()).unwrap().is_some()
    );
    let mut results = [Val::I32(0)];
    same.call(&mut store, &[f.into()], &mut results).unwrap();
    assert!(matches!(results[0], Val::FuncRef(Some(_))));
    let error = wrong.call(&mut store, &[f.into()], &mut results).unwrap_err();
    assert!(format!("{error:#}").contains("host function returned funcref"), "{error:#}");

    let ty = GlobalType::new(nullable, true);
    let own = Global::new(&mut store, ty, Val::null_func_ref()).unwrap();
    let Some(Extern::Global(theirs)) = instance.get_export(&mut store, "global") else { panic!() };
    for global in [own, theirs] {
        global.set(&mut store, f.into()).unwrap();
        assert!(global.set(&mut store, g.into()).is_err());
    }
    let table = TableType::new(reference.into(), 2, None);
    assert!(Table::new(&mut store, table, Val::null_func_ref()).is_err());
    let own = Table::new(&mut store, table, f.into()).unwrap();
    assert!(own.grow(&mut store, 1, Val::null_func_ref()).is_err());
    assert_eq!(own.grow(&mut store, 1, f.into()).unwrap(), 2);
    let theirs = instance.get_table(&mut store, "table").unwrap();
    theirs.set(&mut store, 0, f.into()).unwrap();
    assert!(theirs.set(&mut store, 0, g.into()).is_err());
}

#[test]
fn a_type_that_nobody_holds_names_nothing() {
    let engine = Engine::default();
    let text =
        "(module (type $t (func (param f32 f64 f32))) (func (export \"f\") (param (ref $t))))";
    let module = Module::new(&engine, text).unwrap();
    let Some(ty) = module.get_export("f").and_then(|ty| ty.func().cloned()) else { panic!() };
    drop(module);
    // Until there are so many others that the engine looks for what it can forget.
    for n in 0..3000_u32 {
        let bits = (0..12).map(|i| if n >> i & 1 == 1 { ValType::I64 } else { ValType::F32 });
        let mut store = Store::new(&engine, ());
        Func::new(&mut store, FuncType::new(bits, []), |_, _, _| Ok(()));
    }
    let mut store = Store::new(&engine, ());
    let global = GlobalType::new(RefType::new(true, heap(&ty)).into(), false);
    let error = Global::new(&mut store, global, Val::null_func_ref()).unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::Misuse, "{error:#}");
}

fn heap(ty: &FuncType) -> HeapType {
    match ty.params[0] {
        ValType::Ref(ty) => ty.heap_type(),
        ty => panic!("{ty}"),
    }
}

/// A program whose function `f` calls a reference to `$step`, which calls the host; that applies an edit.
struct Program {
    store: Store<()>,
    instance: Instance,
    module: Module,
    edit: Arc<Mutex<Option<String>>>,
}

impl Program {
    fn new(tier: Tier, text: &str) -> Program {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let edit: Arc<Mutex<Option<String>>> = Arc::default();
        let mut linker = Linker::new(&engine);
        let (edited, waiting) = (module.clone(), edit.clone());
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                if let Some(source) = waiting.lock().unwrap().take() {
                    edited.update().module(source)?.apply()?;
                }
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Program { store, instance, module, edit }
    }

    fn call(&mut self, name: &str, argument: i32) -> Result<i32> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name)?;
        function.call(&mut self.store, argument)
    }
}

/// `factor`: what `f` multiplies by after the call of a reference. `step`: what `$step` adds.
fn stepping(factor: i32, step: i32) -> String {
    format!(
        r#"(module
            (type $t (func (param i32) (result i32)))
            (import "host" "edit" (func $edit))
            (global $g (mut (ref $t)) (ref.func $step))
            (func $step (export "step") (type $t)
                (call $edit) (i32.add (local.get 0) (i32.const {step})))
            (func (export "f") (param i32) (result i32) (local $r (ref $t))
                (local.set $r (global.get $g))
                (i32.mul (i32.const {factor}) (i32.add
                    (call_ref $t (local.get 0) (local.get $r))
                    (call_ref $t (local.get 0) (local.get $r))))))"#
    )
}

#[test]
fn frames_that_wait_for_a_reference_go_on_in_new_bodies_which_references_call() {
    for tier in TIERS {
        let mut program = Program::new(tier, &stepping(10, 1));
        assert_eq!(program.call("f", 5).unwrap(), 120, "{tier:?}");
        // All frames go on in new bodies: `$step` behind its call of the host, `f` behind that of the reference.
        *program.edit.lock().unwrap() = Some(stepping(100, 3));
        assert_eq!(program.call("f", 5).unwrap(), 1600, "{tier:?}");
        assert_eq!(program.call("f", 5).unwrap(), 1600, "{tier:?}");
    }
}

#[test]
fn updates_bring_groups_of_types_and_typed_tables() {
    let before = r#"(module (import "host" "edit" (func $edit))
        (type $t (func (param i32) (result i32)))
        (table $table 2 (ref null $t)) (elem (table $table) (i32.const 0) (ref null $t) (ref.func $f))
        (func $f (export "f") (type $t) (call $edit) (i32.add (local.get 0) (i32.const 1))))"#;
    let after = r#"(module (import "host" "edit" (func $edit))
        (rec (type $a (func (param (ref null $b)) (result i32))) (type $b (func (param (ref $a)))))
        (type $sub (sub (func (result i32))))
        (type $t (func (param i32) (result i32)))
        (table $table 3 (ref null $t))
        (elem (table $table) (i32.const 0) (ref null $t) (ref.func $f) (ref.func $f))
        (func $three (type $sub) (i32.const 3))
        (func $of_a (type $a) (i32.eqz (ref.is_null (local.get 0))))
        (func $of_b (type $b) (drop (call_ref $a (ref.func $of_b) (local.get 0))))
        (elem declare func $of_a $of_b $three)
        (func $f (export "f") (type $t) (call $edit)
            (call_ref $b (ref.func $of_a) (ref.func $of_b))
            (i32.mul (local.get 0) (call_ref $sub (ref.func $three))))
        (func (export "through") (type $t)
            (call_ref $t (local.get 0) (table.get $table (i32.const 1)))))"#;
    for tier in TIERS {
        let mut program = Program::new(tier, before);
        assert_eq!(program.call("f", 5).unwrap(), 6, "{tier:?}");
        *program.edit.lock().unwrap() = Some(after.to_owned());
        // It goes on behind the call in its new body.
        assert_eq!(program.call("f", 5).unwrap(), 15, "{tier:?}");
        assert_eq!(program.call("through", 7).unwrap(), 21, "{tier:?}");
        // And back again.
        *program.edit.lock().unwrap() = Some(before.to_owned());
        assert_eq!(program.call("f", 5).unwrap(), 6, "{tier:?}");
    }
}

#[test]
fn references_of_one_type_do_not_become_references_to_functions_of_another() {
    let text = r#"(module
        (type $one (func (param i32) (result i32)))
        (table $any (export "any") 1 funcref) (elem (table $any) (i32.const 0) func $f)
        (table $typed (export "typed") 1 (ref null $one))
        (elem (table $typed) (i32.const 0) (ref null $one) (ref.func $f))
        (global $typed (ref $one) (ref.func $f))
        (func $f (type $one) (i32.add (local.get 0) (i32.const 1)))
        (func (export "global") (type $one) (call_ref $one (local.get 0) (global.get $typed)))
        (func (export "table") (type $one)
            (call_ref $one (local.get 0) (table.get $typed (i32.const 0))))
        (func (export "any") (type $one) (call_indirect $any (type $one) (local.get 0) (i32.const 0))))"#;
    let text = text.replacen("(table $any (export \"any\")", "(table $any", 1);
    let text = text.replacen("(table $typed (export \"typed\")", "(table $typed", 1);
    for tier in TIERS {
        let mut program = Program::new(tier, &text);
        let two = FuncType::new([ValType::I32, ValType::I32], [ValType::I32]);
        let mut update = program.module.update();
        let new = update.add_function(Some("two"), &two);
        // local.get 0, local.get 1, i32.mul, end
        let update = update.body(new, [0, 0x20, 0, 0x20, 1, 0x6c, 0x0b]).move_references(0, new);
        update.apply().unwrap();
        // Places of any type have taken the new one; those that say which keep what they have.
        let error = program.call("any", 5).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::BadSignature), "{tier:?}");
        for name in ["global", "table"] {
            assert_eq!(program.call(name, 5).unwrap(), 6, "{tier:?}");
        }
        // So it is for new instances.
        let mut store = Store::new(program.module.engine(), ());
        let instance = Instance::new(&mut store, &program.module, &[]).unwrap();
        for (name, expected) in [("global", Some(6)), ("table", Some(6)), ("any", None)] {
            let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
            assert_eq!(function.call(&mut store, 5).ok(), expected, "{tier:?} {name}");
        }
        // They are in the way of freeing the function.
        let error = program.module.update().free(0).apply().unwrap_err().to_string();
        for place in [
            "global 0 begins with a reference to it",
            "global 0 holds a reference to it now",
            "entry 0 of table 1 is this function in new instances",
            "entry 0 of table 1 is this function now",
        ] {
            assert!(error.contains(place), "{error}");
        }
        assert!(!error.contains("of table 0"), "{error}");
        // A second function of the type takes their places, and from there the new one does not either.
        let mut other = program.module.update();
        let of_type =
            other.add_function(Some("other"), &FuncType::new([ValType::I32], [ValType::I32]));
        // local.get 0, i32.const 100, i32.add, end
        let other = other.body(of_type, [0, 0x20, 0, 0x41, 0xe4, 0, 0x6a, 0x0b]);
        other.move_references(0, of_type).apply().unwrap();
        assert_eq!(program.call("table", 5).unwrap(), 105, "{tier:?}");
        program.module.update().move_references(of_type, new).apply().unwrap();
        for table in [program.call("table", 5), program.call("global", 5)] {
            assert_eq!(table.unwrap(), 105, "{tier:?}");
        }
        let mut store = Store::new(program.module.engine(), ());
        let instance = Instance::new(&mut store, &program.module, &[]).unwrap();
        for name in ["global", "table"] {
            let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
            assert_eq!(function.call(&mut store, 5).unwrap(), 105, "{tier:?} {name}");
        }
    }
}

#[test]
fn a_table_that_would_begin_otherwise_is_not_brought_up_to_that() {
    let text = |init: &str| {
        format!(
            r#"(module (type $t (func (result i32)))
                (table $t 3 (ref $t) (ref.func {init})) (elem (table $t) (i32.const 1) (ref $t) (ref.func $g))
                (func $f (export "f") (type $t) (i32.const 1))
                (func $g (export "g") (type $t) (i32.const 2)))"#
        )
    };
    let module = Module::new(&Engine::default(), text("$f")).unwrap();
    let same = text("$f").replace("i32.const 2)", "i32.const 3)");
    module.update().module(same).unwrap().apply().unwrap();
    let error = module.update().module(text("$g")).unwrap().apply().unwrap_err().to_string();
    assert!(error.contains("the elements of table 0 begin as something else"), "{error}");
}

#[test]
fn entries_of_typed_tables_are_set_to_functions_of_the_type_only() {
    let text = r#"(module
        (type $t (func (param i32) (result i32)))
        (table $t 1 (ref $t) (ref.func $f))
        (func $f (type $t) (local.get 0))
        (func $g (type $t) (i32.const 9))
        (func $other)
        (func (export "call") (type $t) (call_ref $t (local.get 0) (table.get $t (i32.const 0)))))"#;
    let mut program = Program::new(Tier::Auto, text);
    let module = program.module.clone();
    assert_eq!(program.call("call", 5).unwrap(), 5);
    assert!(module.update().table_entry(0, 0, Some(2)).apply().is_err());
    assert!(module.update().table_entry(0, 0, None).apply().is_err());
    assert!(module.update().table_entry(0, 1, Some(1)).apply().is_err(), "it would have to grow");
    module.update().table_entry(0, 0, Some(1)).apply().unwrap();
    assert_eq!(program.call("call", 5).unwrap(), 9);
    let new = body(module.engine(), &text.replace("i32.const 9", "i32.const 8"), "call");
    assert_eq!(new, module.function_body("call").unwrap());
}
