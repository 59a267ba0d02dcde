//! Functions that are defined one by one: added, given another type, freed; and what still refers to them.

use anyhow::Result;
use midair::{
    Caller, Config, Definition, Engine, Func, FuncType, Instance, Linker, Module, Policy,
    Reference, StillReferred, Store, Tier, Trap, Update, Val, ValType,
};
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

fn ty(params: usize) -> FuncType {
    FuncType::new(vec![ValType::I32; params], [ValType::I32])
}

/// The body of the function that `text` exports as `name`. `text` is a module with the same indices.
fn body(engine: &Engine, text: &str, name: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body(name).unwrap()
}

type Edit = Box<dyn FnOnce(&Module) -> Result<()> + Send>;

/// A program whose import `host.edit` applies an edit, if there is one.
struct Program {
    module: Module,
    store: Store<()>,
    instance: Instance,
    linker: Linker<()>,
    edit: Arc<Mutex<Option<Edit>>>,
}

impl Program {
    fn new(tier: Tier, text: &str) -> Program {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let edit: Arc<Mutex<Option<Edit>>> = Arc::default();
        let mut linker = Linker::new(&engine);
        let (target, waiting) = (module.clone(), edit.clone());
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                let edit = waiting.lock().unwrap().take();
                edit.map_or(Ok(()), |edit| edit(&target))
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Program { module, store, instance, linker, edit }
    }

    fn engine(&self) -> &Engine {
        self.module.engine()
    }

    fn call(&mut self, name: &str, argument: i32) -> Result<i32> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name)?;
        function.call(&mut self.store, argument)
    }

    /// Of an instance in a store of its own that is made now.
    fn call_in_new_instance(&self, name: &str, argument: i32) -> Result<i32> {
        let mut store = Store::new(self.engine(), ());
        let instance = self.linker.instantiate(&mut store, &self.module)?;
        instance.get_typed_func::<i32, i32>(&mut store, name)?.call(&mut store, argument)
    }
}

/// Everything that can refer to `$f`, function 1, does. `parts` are what changes with its type: its own
/// parameters, a call of it, and the type of indirect calls. What is added comes last.
fn referring([call, indirect]: [&str; 2], target: &str, added: &str) -> String {
    format!(
        r#"(module
            (type $one (func (param i32) (result i32)))
            (type $none (func))
            (import "host" "edit" (func $edit (type $none)))
            (table $t (export "t") 4 funcref)
            (table $u 4 funcref)
            (global $g (export "g") (mut funcref) (ref.func $f))
            (elem (table $t) (i32.const 1) func $f)
            (elem $passive func $f $main)
            (func $f (export "f") (type $one) (call $edit) (i32.add (local.get 0) (i32.const 1)))
            (func $main (export "main") (type $one)
                (i32.mul (i32.const 10) {call}))
            (func $table (export "through_table") (type $one)
                (call_indirect $t {indirect} (i32.const 1)))
            (func $global (export "through_global") (type $one)
                (table.set $u (i32.const 0) (global.get $g))
                (call_indirect $u {indirect} (i32.const 0)))
            (func $segment (export "through_segment") (type $one)
                (table.init $u $passive (i32.const 2) (i32.const 0) (i32.const 2))
                (call_indirect $u {indirect} (i32.const 2)))
            (func $taken (export "taken") (type $one)
                (table.set $u (i32.const 1) (ref.func {target}))
                (call_indirect $u {indirect} (i32.const 1)))
            {added})"#
    )
}

const BEFORE: [&str; 2] = ["(call $f (local.get 0))", "(type $one) (local.get 0)"];
const AFTER: [&str; 2] =
    ["(call $new (local.get 0) (i32.const 5))", "(type $two) (local.get 0) (i32.const 5)"];
/// Function 7.
const NEW: &str = r#"(type $two (func (param i32 i32) (result i32)))
    (func $new (export "new") (type $two) (call $edit) (i32.add (local.get 0) (local.get 1)))"#;
const CALLERS: [&str; 5] = ["main", "through_table", "through_global", "through_segment", "taken"];

/// What gives `f` two parameters and changes all callers.
fn retype(module: &Module) -> (Update, u32) {
    let engine = module.engine();
    let text = referring(AFTER, "$new", NEW);
    let mut update = module.update();
    let new = update.retype(1, &ty(2));
    assert_eq!(new, 7);
    update = update.body(new, body(engine, &text, "new"));
    for caller in CALLERS {
        let function = module.function_index(caller).unwrap();
        update = update.body(function, body(engine, &text, caller));
    }
    (update, new)
}

#[test]
fn a_function_gets_another_type_and_everything_that_refers_to_it_changes_with_it() {
    for tier in TIERS {
        let mut program = Program::new(tier, &referring(BEFORE, "$f", ""));
        let mut later = Program::new(tier, &referring(BEFORE, "$f", ""));
        for caller in &CALLERS[1..] {
            assert_eq!(program.call(caller, 1).unwrap(), 2, "{tier:?} {caller}");
        }
        assert_eq!(program.call("main", 1).unwrap(), 20);
        // While `main` waits for the old one, whose result it gets.
        let applied = Arc::new(Mutex::new(None));
        let result = applied.clone();
        *program.edit.lock().unwrap() = Some(Box::new(move |module| {
            let (update, new) = retype(module);
            let applied = update.move_references(1, new).apply()?;
            *result.lock().unwrap() = Some(applied);
            Ok(())
        }));
        assert_eq!(program.call("main", 1).unwrap(), 20);
        for caller in &CALLERS[1..] {
            assert_eq!(program.call(caller, 1).unwrap(), 6, "{tier:?} {caller}");
            assert_eq!(program.call_in_new_instance(caller, 1).unwrap(), 6, "{tier:?} {caller}");
        }
        assert_eq!(program.call("main", 1).unwrap(), 60);
        assert_eq!(program.module.get_export("f").unwrap().func(), Some(&ty(2)));
        let error = program.module.update().module(referring(BEFORE, "$f", "")).unwrap();
        let error = error.apply().unwrap_err().to_string();
        assert!(error.contains("set one by one"), "{error}");

        // And back, while `main` waits for the new one.
        let applied = applied.lock().unwrap().take().unwrap();
        *program.edit.lock().unwrap() = Some(Box::new(move |_| applied.undo().map(drop)));
        assert_eq!(program.call("main", 1).unwrap(), 60);
        for caller in CALLERS {
            let expected = if caller == "main" { 20 } else { 2 };
            assert_eq!(program.call(caller, 1).unwrap(), expected, "{tier:?} {caller}");
            assert_eq!(program.call_in_new_instance(caller, 1).unwrap(), expected);
        }
        assert_eq!(program.module.get_export("f").unwrap().func(), Some(&ty(1)));
        assert_eq!(later.call("main", 1).unwrap(), 20, "another module");
    }
}

/// What is left, in words, without the numbers of stores.
fn left(update: &Update) -> Vec<String> {
    let error = update.apply().unwrap_err();
    assert_eq!(update.plan().unwrap_err().to_string(), error.to_string());
    let left: &StillReferred = error.downcast_ref().unwrap_or_else(|| panic!("{error:#}"));
    let [(_, references)] = &left.functions[..] else { panic!("{error}") };
    let text = |reference: &Reference| {
        let text = reference.to_string();
        text.split(" now, in store").next().unwrap().to_owned()
    };
    references.iter().map(text).collect()
}

#[test]
fn what_still_refers_to_a_function_of_another_type_is_named() {
    for tier in [Tier::Interp, Tier::Optimized] {
        let mut program = Program::new(tier, &referring(BEFORE, "$f", ""));
        for caller in CALLERS {
            program.call(caller, 1).unwrap();
        }
        let mut update = program.module.update();
        let new = update.retype(1, &ty(2));
        let update =
            update.body(new, body(program.engine(), &referring(AFTER, "$new", NEW), "new"));
        assert_eq!(
            left(&update),
            [
                "`main` (function 2) calls it at offset 0x5",
                "`taken` (function 6) takes a reference to it at offset 0x3",
                "export `f` is this function",
                "entry 1 of table 0 is this function in new instances",
                "element 0 of element segment 1 is this function",
                "global 0 begins with a reference to it",
                "entry 1 of table 0 is this function",
                "entry 0 of table 1 is this function",
                "entry 1 of table 1 is this function",
                "entry 2 of table 1 is this function",
                "global 0 holds a reference to it",
            ]
        );
        // One by one, all but what only moving can change.
        let (update, new) = retype(&program.module);
        let update = update.table_entry(0, 1, Some(new)).export("f", new);
        assert_eq!(
            left(&update),
            [
                "element 0 of element segment 1 is this function",
                "global 0 begins with a reference to it",
                "entry 0 of table 1 is this function",
                "entry 1 of table 1 is this function",
                "entry 2 of table 1 is this function",
                "global 0 holds a reference to it",
            ]
        );
        let error = update.apply().unwrap_err().to_string();
        assert!(error.starts_with("`f` (function 1) is still referred to: element 0"), "{error}");
        // Nothing has happened, and the same update with the rest goes through.
        for caller in &CALLERS[1..] {
            assert_eq!(program.call(caller, 1).unwrap(), 2);
        }
        let update = update.move_references(1, new);
        let plan = update.plan().unwrap();
        assert!(plan.definitions.iter().any(|d| matches!(d, Definition::Retyped { .. })));
        let lines = plan.to_string();
        for line in [
            "`f` (function 7) takes the place of `f` (function 1), and is of type (i32, i32) -> (i32)\n",
            "references to `f` (function 1) become references to `f` (function 7)\n",
            "export `f` is `f` (function 7)\n",
            "entry 1 of table 0 is `f` (function 7)\n",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
        update.apply().unwrap();
        assert_eq!(program.call("through_table", 1).unwrap(), 6);
    }
}

#[test]
fn references_of_other_instances_are_named() {
    let engine = engine(Tier::Interp);
    let module = Module::new(
        &engine,
        r#"(module (func $f (export "f") (param i32) (result i32) (local.get 0))
            (func $g (export "g") (param i32) (result i32) (local.get 0)))"#,
    )
    .unwrap();
    let other = Module::new(
        &engine,
        r#"(module (import "m" "f" (func (param i32) (result i32)))
            (import "m" "h" (func $h (param i32) (result i32)))
            (table 2 funcref) (elem (i32.const 1) $h))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_func(&mut store, "f").unwrap();
    Instance::new(&mut store, &other, &[f.into(), f.into()]).unwrap();
    let update = module.update().free(0).export("f", 1);
    let found = left(&update);
    assert_eq!(found[0], "entry 1 of table 0 is this function");
    assert!(found[1].ends_with("imports it as `m` `f`"), "{found:?}");
    assert!(found[2].ends_with("imports it as `m` `h`"), "{found:?}");
    assert_eq!(found.len(), 3);
}

/// `f(n)`: `n` plus this; by this function if there is one.
fn plus(constant: u8, function: Option<u8>) -> Vec<u8> {
    let call: &[u8] = &function.map_or(vec![], |function| vec![0x10, function]);
    [&[0, 0x20, 0][..], call, &[0x41, constant, 0x6a, 0x0b]].concat()
}

#[test]
fn functions_are_defined_called_and_freed_one_by_one() {
    for tier in TIERS {
        let mut program = Program::new(
            tier,
            r#"(module (import "host" "edit" (func)) (table 1 funcref)
                (func (export "run") (param i32) (result i32)
                    (call_indirect (param i32) (result i32) (local.get 0) (i32.const 3))))"#,
        );
        // Two that refer to one another, in a table and as an export.
        let mut update = program.module.update();
        let a = update.add_function(Some("a"), &ty(1));
        let b = update.add_function(None, &ty(1));
        assert_eq!((a, b), (2, 3));
        assert!(
            update.apply().unwrap_err().to_string().contains("`a` (function 2) is added without")
        );
        let update = update
            .body(a, plus(1, Some(b as u8)))
            .body(b, plus(20, None))
            .table_entry(0, 3, Some(a))
            .export("b", b);
        let plan = update.plan().unwrap();
        assert_eq!(
            plan.to_string(),
            "`a` (function 2) is added, of type (i32) -> (i32)\n\
             function 3 is added, of type (i32) -> (i32)\n\
             export `b` is function 3\n\
             entry 3 of table 0 is `a` (function 2)"
        );
        assert!(program.call("run", 0).is_err());
        update.apply().unwrap();
        assert!(update.apply().unwrap_err().to_string().contains("begin it anew"));
        assert_eq!(program.call("run", 0).unwrap(), 21, "{tier:?}");
        assert_eq!(program.call("b", 0).unwrap(), 20);
        let handle = program.instance.get_func_by_index(&mut program.store, a).unwrap();
        assert!(program.instance.get_func_by_index(&mut program.store, 9).is_none());
        // Redefined.
        program.module.update().body(b, plus(40, None)).apply().unwrap();
        assert_eq!(program.call("run", 0).unwrap(), 41);

        // Freed.
        let module = program.module.clone();
        assert_eq!(
            left(&module.update().free(b)),
            ["`a` (function 2) calls it at offset 0x3", "export `b` is this function"]
        );
        let update = module.update().free(a).free(b).export("b", 1);
        assert_eq!(left(&update).len(), 2, "in new instances, and now");
        let live = program.engine().code_stats().live;
        update.clone().table_entry(0, 3, None).apply().unwrap();
        let freed = program.engine().code_stats();
        assert_eq!(freed.retired, 0);
        assert_eq!(freed.live < live, matches!(tier, Tier::Optimized | Tier::Baseline));
        let error = program.call("run", 0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::IndirectCallToNull));
        // Who still has a handle gets a trap.
        let call = |handle: Func, store: &mut Store<()>| {
            let mut results = [Val::I32(0)];
            handle.call(store, &[Val::I32(1)], &mut results).map(|()| results[0].unwrap_i32())
        };
        let error = call(handle, &mut program.store).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
        // The index can be defined again.
        module.update().body(a, plus(5, None)).apply().unwrap();
        assert_eq!(call(handle, &mut program.store).unwrap(), 6);
    }
}

#[test]
fn frames_of_a_freed_function_finish_or_trap() {
    for tier in TIERS {
        for policy in [None, Some(Policy::Trap)] {
            let mut program = Program::new(
                tier,
                r#"(module (import "host" "edit" (func $edit))
                    (func (export "f") (param i32) (result i32)
                        (call $edit) (i32.add (local.get 0) (i32.const 1)))
                    (func (export "g") (param i32) (result i32) (local.get 0)))"#,
            );
            *program.edit.lock().unwrap() = Some(Box::new(move |module| {
                let update = module.update().free(1).export("f", 2);
                policy.iter().fold(update, |update, policy| update.policy(1, *policy)).apply()?;
                Ok(())
            }));
            let result = program.call("f", 1);
            match policy {
                None => assert_eq!(result.unwrap(), 2, "{tier:?}"),
                Some(_) => {
                    assert_eq!(result.unwrap_err().downcast_ref(), Some(&Trap::FunctionReplaced));
                }
            }
            assert_eq!(program.call("f", 1).unwrap(), 1);
        }
    }
}

/// A thousand functions, each called and freed, in the place of a few.
#[test]
fn indices_of_freed_functions_are_used_again_and_again() {
    let mut config = Config::new();
    config.tier(Tier::Optimized).background_compilation(false).spare_functions(4);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, "(module)").unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut update = module.update();
    let functions = [(); 4].map(|()| update.add_function(None, &ty(1)));
    let define = |update: Update, round: u8| {
        functions.iter().fold(update, |update, f| update.body(*f, plus(round, None)))
    };
    define(update, 0).apply().unwrap();
    for round in 0..60 {
        for function in functions {
            let handle = instance.get_func_by_index(&mut store, function).unwrap();
            let handle = handle.typed::<i32, i32>(&store).unwrap();
            assert_eq!(handle.call(&mut store, 1).unwrap(), i32::from(round) + 1);
        }
        functions.iter().fold(module.update(), |update, f| update.free(*f)).apply().unwrap();
        define(module.update(), round + 1).apply().unwrap();
    }
    let code = engine.code_stats();
    assert!(code.live < 4 << 10 && code.retired == 0, "{code:?}");
    let mut update = module.update();
    let fifth = update.add_function(None, &ty(1));
    let error = update.body(fifth, plus(0, None)).apply().unwrap_err().to_string();
    assert!(error.contains("Config::spare_functions"), "{error}");
}

#[test]
fn what_is_said_twice_or_of_nothing_is_refused() {
    let engine = engine(Tier::Interp);
    let module = Module::new(&engine, "(module (func) (func))").unwrap();
    let refused = |update: Update, why: &str| {
        let error = update.apply().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(module.update().free(9), "there is no function 9");
    let importing = Module::new(&engine, r#"(module (import "m" "f" (func)))"#).unwrap();
    refused(importing.update().free(0), "function 0 is imported");
    refused(module.update().free(0).body(0, [0, 0x0b]), "function 0 gets a body and is freed");
    refused(module.update().move_references(0, 1).move_references(0, 1), "moved twice");
    refused(module.update().move_references(0, 1).move_references(1, 0), "is what another");
    refused(module.update().table_entry(0, 0, None), "table 0 does not exist");
    let mut update = module.update();
    for _ in 0..2 {
        let new = update.retype(0, &ty(1));
        update = update.body(new, plus(0, None));
    }
    refused(update, "function 0 gets another type twice");
    // Others have added something since.
    let begin = || {
        let mut update = module.update();
        let function = update.add_function(None, &ty(1));
        update.body(function, plus(0, None))
    };
    let (first, second) = (begin(), begin());
    first.apply().unwrap();
    refused(second, "begin it anew");
}

/// Toolchains and REPLs write down the same type many times.
#[test]
fn indirect_calls_of_equal_types_under_different_indices_correspond() {
    let text = |call: &str, add: i32| {
        format!(
            r#"(module (import "host" "edit" (func $edit))
                (type $a (func (result i32))) (type $b (func (param i64))) (type $c (func (result i32)))
                (table 1 funcref) (elem (i32.const 0) $g)
                (func $g (type $a) (call $edit) (i32.const 1))
                (func (export "f") (param i32) (result i32)
                    (i32.add (call_indirect (type {call}) (i32.const 0)) (i32.const {add}))))"#
        )
    };
    for tier in TIERS {
        let mut program = Program::new(tier, &text("$a", 10));
        let new = text("$c", 20);
        let text = new.clone();
        *program.edit.lock().unwrap() = Some(Box::new(move |module| {
            let f = module.function_index("f").unwrap();
            let applied = module.update().body(f, body(module.engine(), &text, "f")).apply()?;
            assert_eq!(applied.functions[0].refusals, []);
            Ok(())
        }));
        assert_eq!(program.call("f", 0).unwrap(), 21, "{tier:?}");
    }
}
