use super::*;
use crate::every_tier::every_tier;
use crate::live::changes::{AddedFunction, AddedGlobal, AtLeast, ChangedBody, ChangedData};
use crate::live::transaction;
use crate::module::patches::Patches;
use crate::store::AsContextMut;
use crate::*;
use midair_watchdog::Watchdog;
use std::sync::Mutex;
use std::time::Duration;

/// The module that runs. `grown` adds to it without renumbering anything.
const RUNNING: &str = r#"
    (type $unary (func (param i32) (result i32)))
    (type $nullary (func))
    (type $size (func (result i32)))
    (import "host" "grow" (func $grow))
    (import "host" "base" (global $base i32))
    (table $table (export "table") 1 20 funcref)
    (global $first (mut i32) (i32.const 5))
    (elem (i32.const 0) $twice)
    (func $twice (export "twice") (type $unary) (i32.mul (local.get 0) (i32.const 2)))
    (func $run (export "run") (type $unary)
        (call $grow)
        (call_indirect (type $unary) (local.get 0) (i32.const 7)))
    (func (export "wait") (type $unary)
        (loop $again
            (br_if $again (ref.is_null (table.get $table (i32.const 0)))))
        (call_indirect (type $unary) (local.get 0) (i32.const 7)))
    (func (export "size") (result i32) (table.size $table))
    (func (export "enlarge") (param i32) (result i32)
        (table.grow $table (ref.null func) (local.get 0)))
"#;

/// Functions 6 and 7, a type, and globals 2 and 3.
const ADDITIONS: &str = r#"
    (type $wide (func (param i64 i32) (result i32 i64)))
    (global $count (mut i32) (i32.add (global.get $base) (i32.const 30)))
    (global $reference funcref (ref.func $added))
    (func $added (export "added") (type $unary)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.add (local.get 0) (global.get $count)))
    (func $second (export "second") (type $wide)
        (call_indirect (type $unary) (local.get 1) (i32.const 0))
        (i64.extend_i32_u (call $added (i32.wrap_i64 (local.get 0)))))
    (func $fails (export "fails") unreachable)
"#;

fn wat(parts: &[&str]) -> String {
    format!("(module {})", parts.concat())
}

/// What leads from a module to one that has the same index spaces with additions, but for table entries.
fn additions(running: &Module, grown: &str) -> Changes {
    let grown = Module::new(running.engine(), grown).unwrap().state;
    let (old, env) = (&running.state.env, &grown.env);
    let functions = (old.functions.len()..env.functions.len()).map(|index| AddedFunction {
        ty: env.functions[index],
        body: grown.code.current(index as u32).body.bytes().to_vec(),
        name: grown.function_name(index as u32).map(str::to_owned),
    });
    let globals = (old.globals.len()..env.globals.len()).map(|index| AddedGlobal {
        ty: env.globals[index],
        init: grown.globals[index - env.imported_globals as usize].bytes(&*grown.source).to_vec(),
    });
    let exports = grown.exports.list().iter();
    let changed = exports.filter(|export| {
        running.state.export(&export.name).is_none_or(|old| old.item() != export.item())
    });
    Changes {
        types: grown.held_signatures()[old.types.len()..].to_vec(),
        functions: functions.collect(),
        globals: globals.collect(),
        exports: changed.map(|export| (export.name.clone(), export.item())).collect(),
        ..Changes::default()
    }
}

fn entry(offset: u32, function: u32) -> ChangedElements {
    ChangedElements { table: 0, offset, functions: vec![Some(function)] }
}

/// What the tests add to `RUNNING`.
fn all(running: &Module) -> Changes {
    let mut changes = additions(running, &wat(&[RUNNING, ADDITIONS]));
    changes.elements.push(entry(7, ADDED));
    changes
}

fn body_of(engine: &Engine, text: &str, name: &str) -> Vec<u8> {
    Module::new(engine, text).unwrap().function_body(name).unwrap()
}

const RUN: u32 = 2;
const ADDED: u32 = 6;

fn apply(module: &Module, changes: &Changes) -> Result<()> {
    transaction::apply(module, || Ok(changes.clone()), None, false).map(drop)
}

/// A linker whose `grow` calls this.
fn linker(store: &mut Store<()>, grow: impl Fn() + Send + Sync + 'static) -> Linker<()> {
    let mut linker = Linker::new(store.engine());
    linker.func_wrap("host", "grow", grow).unwrap();
    let base = Global::new(&mut *store, GlobalType::new(ValType::I32, false), Val::I32(10));
    linker.define(&mut *store, "host", "base", base.unwrap()).unwrap();
    linker
}

fn instantiate(module: &Module) -> (Store<()>, Instance) {
    let mut store = Store::new(module.engine(), ());
    let linker = linker(&mut store, || ());
    let instance = linker.instantiate(&mut store, module).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, argument: i32) -> Result<i32> {
    instance.get_typed_func::<i32, i32>(&mut *store, name)?.call(store, argument)
}

fn size(store: &mut Store<()>, instance: Instance) -> u64 {
    instance.get_table(&mut *store, "table").unwrap().size(store)
}

#[test]
fn a_suspended_function_finds_what_was_added_meanwhile() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
        let mut store = Store::new(&engine, ());
        let (grown, done) = (module.clone(), Mutex::new(false));
        let linker = linker(&mut store, move || {
            if !std::mem::replace(&mut *done.lock().unwrap(), true) {
                apply(&grown, &all(&grown)).unwrap();
            }
        });
        let instance = linker.instantiate(&mut store, &module).unwrap();
        // By index of the table, from the frame that was suspended; then by exports.
        assert_eq!(call(&mut store, instance, "run", 1).unwrap(), 1 + 41);
        assert_eq!(call(&mut store, instance, "added", 1).unwrap(), 1 + 42);
        let second = instance.get_typed_func::<(i64, i32), (i32, i64)>(&mut store, "second");
        assert_eq!(second.unwrap().call(&mut store, (2, 3)).unwrap(), (6, 2 + 43));
        assert_eq!(module.function_index("added"), Some(ADDED));
        // A function that was there refers to it.
        let referring = r#"
            (table.set $table (i32.const 0) (ref.func $added))
            (drop (call_indirect (type $unary) (local.get 0) (i32.const 0)))
            (table.set $table (i32.const 0) (global.get $reference))
            (i32.add (global.get $count)
                (call_indirect (type $unary) (call $added (local.get 0)) (i32.const 0)))"#;
        let text = wat(&[RUNNING, ADDITIONS]).replace(
            "(call_indirect (type $unary) (local.get 0) (i32.const 7)))\n    (func (export \"wait\")",
            &format!("{referring})\n    (func (export \"wait\")"),
        );
        module.update().body(RUN, body_of(&engine, &text, "run")).apply().unwrap();
        assert_eq!(call(&mut store, instance, "run", 0).unwrap(), 44 + 45 + 46);
    });
}

#[test]
fn a_running_loop_of_another_thread_sees_new_entries() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
        let (mut store, instance) = instantiate(&module);
        let table = instance.get_table(&mut store, "table").unwrap();
        table.set(&mut store, 0, Val::null_func_ref()).unwrap();
        let mut changes = all(&module);
        changes.elements.push(entry(0, 1));
        let thread = std::thread::spawn(move || call(&mut store, instance, "wait", 1).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(2));
        apply(&module, &changes).unwrap();
        assert_eq!(thread.join().unwrap(), 1 + 41);
    });
}

#[test]
fn instances_of_other_stores_and_later_ones_have_it_too() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let (mut idle, instance) = instantiate(&module);
    apply(&module, &all(&module)).unwrap();
    assert_eq!(call(&mut idle, instance, "run", 1).unwrap(), 1 + 41);
    let (mut later, instance) = instantiate(&module);
    assert_eq!(size(&mut later, instance), 8);
    assert_eq!(call(&mut later, instance, "run", 1).unwrap(), 1 + 41);
    assert_eq!(call(&mut later, instance, "added", 1).unwrap(), 1 + 42);
    assert_eq!(instance.exports(&mut later).len(), 9);
}

#[test]
fn modules_grow_again_and_exports_point_elsewhere() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let (mut store, instance) = instantiate(&module);
    apply(&module, &all(&module)).unwrap();
    let third = r#"
        (global $more (mut i32) (i32.const 7))
        (func $third (type $unary) (i32.add (call $added (local.get 0)) (global.get $more)))"#;
    let mut changes = additions(&module, &wat(&[RUNNING, ADDITIONS, third]));
    changes.exports.push(("added".into(), Item::Func(9)));
    changes.elements.push(ChangedElements { table: 0, offset: 0, functions: vec![None, Some(9)] });
    let old = instance.get_func(&mut store, "added").unwrap();
    apply(&module, &changes).unwrap();
    assert_eq!(call(&mut store, instance, "added", 1).unwrap(), 1 + 41 + 7);
    let old = old.typed::<i32, i32>(&store).unwrap();
    assert_eq!(old.call(&mut store, 1).unwrap(), 1 + 42);
    let table = instance.get_table(&mut store, "table").unwrap();
    assert!(table.get(&mut store, 0).unwrap().func_ref().unwrap().is_none());
    assert_eq!(size(&mut store, instance), 8);
    assert!(module.get_export("second").is_some());
}

#[test]
fn a_backtrace_names_added_functions() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let (mut store, instance) = instantiate(&module);
    apply(&module, &all(&module)).unwrap();
    let fails = instance.get_typed_func::<(), ()>(&mut store, "fails").unwrap();
    let error = fails.call(&mut store, ()).unwrap_err();
    assert!(format!("{error:?}").contains("fails"), "{error:?}");
}

#[test]
fn without_room_the_refusal_names_the_setting() {
    let _watchdog = Watchdog::start();
    let engine = Engine::new(Config::new().spare_functions(2)).unwrap();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let error = apply(&module, &all(&module)).unwrap_err().to_string();
    assert!(error.contains("adds 3 functions, and the module has room for 2"), "{error}");
    assert!(error.contains("Config::spare_functions"), "{error}");
    let mut changes = all(&module);
    changes.functions.pop();
    changes.exports.pop();
    apply(&module, &changes).unwrap();
}

/// Lists that grow while a module is loaded have more room than was asked for; others have not.
#[test]
fn room_is_that_of_the_list_with_the_least() {
    let _watchdog = Watchdog::start();
    for count in 1..10 {
        let engine = Engine::new(Config::new().spare_functions(2)).unwrap();
        let ty = "(type (func (param f32)))".repeat(count);
        let global = "(global i32 (i32.const 0))".repeat(count);
        let function = "(func (type 0))".repeat(count);
        let module = Module::new(&engine, format!("(module {ty} {global} {function})")).unwrap();
        let env = module.state.env.clone();
        let one_of_each = [
            Changes {
                types: vec![module.state.held_signatures()[0].clone()],
                ..Changes::default()
            },
            Changes {
                functions: vec![AddedFunction { ty: 0, body: vec![0, 0x0b], name: None }],
                ..Changes::default()
            },
            Changes {
                globals: vec![AddedGlobal { ty: env.globals[0], init: vec![0x41, 0, 0x0b] }],
                ..Changes::default()
            },
        ];
        for changes in one_of_each {
            let mut added = 0;
            let error = loop {
                match apply(&module, &changes) {
                    Ok(()) => added += 1,
                    Err(error) => break error.to_string(),
                }
            };
            assert!(added >= 2, "{added}: {error}");
            assert!(error.contains("the module has room for 0"), "{error}");
        }
    }
}

#[test]
fn a_new_body_refers_to_a_function_that_the_module_did_not_declare() {
    let _watchdog = Watchdog::start();
    let text = |declaration: &str, body: &str| {
        format!(
            r#"(module {declaration}
                (func $five (result i32) (i32.const 5))
                (func (export "f") (result funcref) {body}))"#
        )
    };
    let new = text("(elem declare func $five)", "(ref.func $five)");
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, text("", "(ref.null func)")).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_func(&mut store, "f").unwrap();
        let mut result = [Val::null_func_ref()];
        f.call(&mut store, &[], &mut result).unwrap();
        let update = module.update().body(1, body_of(&engine, &new, "f"));
        update.plan().unwrap();
        update.apply().unwrap();
        f.call(&mut store, &[], &mut result).unwrap();
        let five = result[0].func_ref().unwrap().expect("a function");
        assert_eq!(five.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 5);
    });
}

/// Each of these changes must be refused with this reason, and leave no trace.
#[test]
fn a_refused_growth_leaves_everything_as_it_was() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let (mut store, instance) = instantiate(&module);
    store.set_limits(StoreLimits::new().table_elements(9));
    let refused = |reason: &str, change: &dyn Fn(&mut Changes)| {
        let mut changes = all(&module);
        change(&mut changes);
        let error = format!("{:#}", apply(&module, &changes).unwrap_err());
        assert!(error.contains(reason), "{error}");
    };
    refused("`added` is not valid", &|changes| changes.functions[0].body = vec![0, 0x0b]);
    refused("additions to the module are not valid", &|changes| {
        changes.globals[0].init = vec![0x42, 0, 0x0b];
    });
    refused("is of type 9", &|changes| changes.functions[0].ty = 9);
    refused("`x` is of something", &|changes| changes.exports.push(("x".into(), Item::Func(99))));
    refused("table 1 does not exist", &|changes| changes.elements[0].table = 1);
    refused("function 99, which", &|changes| changes.elements.push(entry(0, 99)));
    refused("cannot grow to 10 elements", &|changes| changes.elements.push(entry(9, 1)));
    refused("cannot grow to 21 elements", &|changes| changes.elements.push(entry(20, 1)));
    refused("cannot have 4294967296", &|changes| changes.elements.push(entry(u32::MAX, 1)));
    // Prepared, and dropped.
    drop(Growth::prepare(&module.state, &all(&module)).unwrap());

    assert_eq!((module.exports().len(), module.get_export("added")), (6, None));
    assert_eq!(size(&mut store, instance), 1);
    // Nothing counts against the limit but the one element.
    assert_eq!(call(&mut store, instance, "enlarge", 9).unwrap(), -1);
    assert_eq!(call(&mut store, instance, "enlarge", 8).unwrap(), 1);
    // The next one gets the same indices, and the table is large enough now.
    apply(&module, &all(&module)).unwrap();
    assert_eq!(call(&mut store, instance, "run", 1).unwrap(), 1 + 41);
    assert_eq!(size(&mut store, instance), 9);
}

#[test]
fn modules_without_functions_or_segments_grow() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let empty = Module::new(&engine, "(module)").unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &empty, &[]).unwrap();
    let grown = r#"(module (func $f (export "f") (param i32) (result i32)
        (drop (ref.func $f)) (local.get 0)))"#;
    apply(&empty, &additions(&empty, grown)).unwrap();
    assert_eq!(call(&mut store, instance, "f", 7).unwrap(), 7);
}

#[test]
fn lazily_validated_modules_validate_what_is_added_at_once() {
    let _watchdog = Watchdog::start();
    let engine = Engine::new(Config::new().lazy_validation(true)).unwrap();
    let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
    let (mut store, instance) = instantiate(&module);
    let mut changes = all(&module);
    changes.functions[0].body = vec![0, 0x0b];
    assert!(apply(&module, &changes).is_err());
    apply(&module, &all(&module)).unwrap();
    assert_eq!(call(&mut store, instance, "run", 1).unwrap(), 1 + 41);
    // A body that had not been called before the module grew.
    assert_eq!(call(&mut store, instance, "twice", 4).unwrap(), 8);
}

#[test]
fn a_suspended_body_is_replaced_by_one_that_uses_what_the_same_update_adds() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, wat(&[RUNNING])).unwrap();
        let mut store = Store::new(&engine, ());
        let text = wat(&[RUNNING, ADDITIONS]).replace(
            "(call $grow)\n        (call_indirect",
            "(call $grow)\n (local.set 0 (call $added (local.get 0))) (global.set $count (local.get 0))\n
            (call_indirect",
        );
        let (grown, done, text) = (module.clone(), Mutex::new(false), text);
        let linker = linker(&mut store, move || {
            if !std::mem::replace(&mut *done.lock().unwrap(), true) {
                let mut changes = all(&grown);
                changes.bodies.push(ChangedBody {
                    function: RUN,
                    body: body_of(grown.engine(), &text, "run"),
                    policy: Policy::Migrate,
                    map: None,
                    origin: None,
                });
                apply(&grown, &changes).unwrap();
            }
        });
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let once = 1 + 41;
        assert_eq!(call(&mut store, instance, "run", 1).unwrap(), once + (once + 1));
    });
}

/// `spin` calls the function in the table for ever, which is of one type or of another.
fn spinning(two: bool) -> String {
    let callee =
        if two { "(type $two) (local.get 0) (i32.const 1)" } else { "(type $one) (local.get 0)" };
    format!(
        r#"(module
            (type $one (func (param i32) (result i32)))
            (type $two (func (param i32 i32) (result i32)))
            (type $spin (func))
            (table 1 funcref)
            (elem (i32.const 0) $f)
            (func $f (type $one) (i32.add (local.get 0) (i32.const 1)))
            (func (export "spin") (type $spin) (local i32)
                (loop $again
                    (local.set 0 (call_indirect {callee} (i32.const 0)))
                    (br $again)))
            {})"#,
        if two { "(func $g (type $two) (i32.add (local.get 0) (local.get 1)))" } else { "" }
    )
}

/// The point of the first operator that `is_it` answers for.
fn point(body: &[u8], is_it: impl Fn(&wasmparser::Operator<'_>) -> bool) -> u32 {
    let reader = wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(body, 0));
    let mut operators = reader.get_operators_reader().unwrap();
    loop {
        let (operator, offset) = operators.read_with_offset().unwrap();
        if is_it(&operator) {
            return offset as u32;
        }
    }
}

/// The table entry, and all code that calls through it, change at the same moment: a caller never meets a
/// function of the other type.
#[test]
fn signatures_change_under_a_running_caller() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, spinning(false)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
        let interrupt = store.interrupt_handle();
        let thread = std::thread::spawn(move || spin.call(&mut store, ()).unwrap_err());
        let bodies = [false, true].map(|two| body_of(&engine, &spinning(two), "spin"));
        let is_call = |operator: &wasmparser::Operator<'_>| {
            matches!(operator, wasmparser::Operator::CallIndirect { .. })
        };
        let calls = [0, 1].map(|i| point(&bodies[i], is_call));
        let spin = module.function_index("spin").unwrap();
        // The guest shall be running by then.
        std::thread::sleep(Duration::from_millis(3));
        for round in 0..40 {
            let mut changes =
                if round == 0 { additions(&module, &spinning(true)) } else { Changes::default() };
            let (old, new) = (round % 2, (round + 1) % 2);
            changes.elements.push(entry(0, [0, 2][new]));
            changes.bodies.push(ChangedBody {
                function: spin,
                body: bodies[new].clone(),
                policy: Policy::Migrate,
                map: Some(FrameMap::new().point(calls[old], calls[new])),
                origin: None,
            });
            apply(&module, &changes).unwrap();
        }
        interrupt.interrupt();
        let error = thread.join().unwrap();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt), "{error:?}");
    });
}

#[test]
fn ten_thousand_edits_of_the_same_data_are_kept_once() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, "(module (memory (export \"memory\") 1))").unwrap();
    let mut store = Store::new(&engine, ());
    // It never comes to a safepoint, so that all that is written waits.
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let edit = |i: u64| {
        let data = [(0, i * 7), (4 + i % 4, i), (40, !i)];
        let data = data.map(|(address, value)| ChangedData {
            memory: 0,
            address,
            bytes: value.to_le_bytes().to_vec(),
        });
        apply(&module, &Changes { data: data.into(), ..Changes::default() }).unwrap();
    };
    for i in 0..10_000 {
        edit(i);
    }
    let kept = |data: &Patches| -> Vec<(u64, usize)> {
        data.pieces().map(|(address, bytes)| (address, bytes.len())).collect()
    };
    let places = [(0, 15), (40, 8)];
    assert_eq!(kept(&module.state.added.memories()[&0].data), places);
    let contents = store.as_context_mut().opaque_mut().contents.clone();
    assert_eq!(contents.lock().pending_data().map(kept).collect::<Vec<_>>(), [places]);

    let written = |store: &mut Store<()>, instance: Instance| {
        // SAFETY: this is the store's thread, and nothing is borrowed.
        unsafe { store.as_context_mut().opaque_mut().contents.change_memories() };
        let memory = instance.get_memory(&mut *store, "memory").unwrap();
        memory.data(&*store)[..48].to_vec()
    };
    let memory = written(&mut store, instance);
    assert_eq!(memory[..4], (9_999u64 * 7).to_le_bytes()[..4]);
    assert_eq!(memory[7..15], 9_999u64.to_le_bytes());
    let mut later = Store::new(&engine, ());
    let instance = Instance::new(&mut later, &module, &[]).unwrap();
    assert_eq!(written(&mut later, instance), memory);
}

#[test]
fn a_memory_that_cannot_grow_anywhere_grows_nowhere() {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let module = Module::new(&engine, "(module (memory (export \"memory\") 1 4))").unwrap();
    let instance = |limit: u64| {
        let mut store = Store::new(&engine, ());
        store.set_limits(StoreLimits::new().memory_bytes(limit << 16));
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        (store, instance)
    };
    let (mut large, mut small) = (instance(4), instance(2));
    let changes =
        |size| Changes { memory_sizes: vec![AtLeast { index: 0, size }], ..Changes::default() };
    let error = apply(&module, &changes(3)).unwrap_err();
    assert_eq!(error.to_string(), "memory 0 of an instance cannot grow to 3 pages");
    let pages = |(store, instance): &mut (Store<()>, Instance)| {
        // SAFETY: this is the store's thread, and nothing is borrowed.
        unsafe { store.as_context_mut().opaque_mut().contents.change_memories() };
        instance.get_memory(&mut *store, "memory").unwrap().size(&*store)
    };
    assert_eq!((pages(&mut large), pages(&mut small)), (1, 1));
    // What was counted for it has been given back.
    let memory = large.1.get_memory(&mut large.0, "memory").unwrap();
    memory.grow(&mut large.0, 3).unwrap();
    apply(&module, &changes(2)).unwrap();
    assert_eq!((pages(&mut large), pages(&mut small)), (4, 2));
    // Beyond the limit, but it is as large already.
    small.0.set_limits(StoreLimits::new().memory_bytes(1));
    apply(&module, &changes(2)).unwrap();
    assert_eq!(pages(&mut instance(2)), 2);
}
