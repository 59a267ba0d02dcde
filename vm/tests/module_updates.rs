//! Running modules that are brought up to new ones.

use anyhow::Result;
use midair::{
    Caller, Config, DataPolicy, Engine, Instance, Linker, Module, ModuleRefused, Policy, Store,
    Tier,
};
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

/// A module that runs, and edits that its host function `host.edit` applies, one at each call.
struct Program {
    store: Store<()>,
    instance: Instance,
    module: Module,
    edits: Arc<Mutex<Vec<String>>>,
}

impl Program {
    fn new(tier: Tier, source: &str) -> Program {
        let engine = engine(tier);
        let module = Module::new(&engine, source).unwrap();
        let edits = Arc::new(Mutex::new(Vec::<String>::new()));
        let mut linker = Linker::new(&engine);
        let (edited, waiting) = (module.clone(), edits.clone());
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                if let Some(source) = waiting.lock().unwrap().pop() {
                    edited.update().module(source)?.apply()?;
                }
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Program { store, instance, module, edits }
    }

    fn call(&mut self, name: &str, argument: i32) -> i32 {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name).unwrap();
        function.call(&mut self.store, argument).unwrap()
    }

    fn edit(&self, source: &str) -> String {
        let applied = self.module.update().module(source).unwrap().apply().unwrap();
        applied.summary.unwrap().to_string()
    }
}

const EDIT: &str = r#"(import "host" "edit" (func $edit))"#;

#[test]
fn state_is_kept_and_everything_can_be_added() {
    for tier in TIERS {
        let mut program = Program::new(
            tier,
            &format!(
                r#"(module {EDIT} (memory 1) (table 1 funcref) (elem (i32.const 0) $step)
                    (type $step (func (result i32)))
                    (global $count (mut i32) (i32.const 0))
                    (func $step (type $step) (i32.const 1))
                    (func (export "next") (param i32) (result i32)
                        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 0)))
                        (global.set $count
                            (i32.add (global.get $count) (call_indirect (type $step) (i32.const 0))))
                        (i32.add (global.get $count) (i32.load (i32.const 8)))))"#
            ),
        );
        assert_eq!(program.call("next", 10), 11);
        assert_eq!(program.call("next", 10), 22);
        let new = format!(
            r#"(module {EDIT}
                (func $twice (param i64) (result i64) (i64.mul (local.get 0) (i64.const 2)))
                (memory 1) (table 2 funcref) (elem (i32.const 0) $step $other)
                (type $step (func (result i32)))
                (global $factor i64 (i64.const 50))
                (global $count (mut i32) (i32.const 0))
                (func $other (type $step) (i32.wrap_i64 (call $twice (global.get $factor))))
                (func $step (type $step) (i32.const 1))
                (func (export "next") (param i32) (result i32)
                    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 0)))
                    (global.set $count
                        (i32.add (global.get $count) (call_indirect (type $step) (i32.const 1))))
                    (i32.add (global.get $count) (i32.load (i32.const 8))))
                (func (export "step_of") (param i32) (result i32)
                    (call_indirect (type $step) (local.get 0))))"#
        );
        assert_eq!(
            program.edit(&new),
            "1 function changed (next), 3 functions added (twice, other, step_of), 1 type added, 1 global added, 1 table made larger, \
             1 table entry set, 1 export changed"
        );
        assert_eq!(program.call("next", 10), 2 + 100 + 30, "{tier:?}");
        assert_eq!(program.call("step_of", 0), 1);
        assert_eq!(program.call("step_of", 1), 100);
        assert_eq!(program.edit(&new), "nothing changed");
    }
}

/// `run` calls `work` for ever, and `work` the host.
fn looping(work: &str, call: &str, step: i32) -> String {
    format!(
        r#"(module {EDIT} (global $sum (mut i32) (i32.const 0))
            {work}
            (func $run (export "run") (param $n i32) (result i32)
                (loop $again
                    (global.set $sum (i32.add (global.get $sum) {call}))
                    (global.set $sum (i32.add (global.get $sum) (i32.const {step})))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (global.get $sum)))"#
    )
}

#[test]
fn a_frame_behind_a_call_of_a_function_that_gets_another_type_goes_on() {
    let one = looping("(func $work (result i32) (call $edit) (i32.const 1))", "(call $work)", 0);
    let two = looping(
        "(func $work (param i32) (result i32) (call $edit) (local.get 0))",
        "(call $work (i32.const 10))",
        1000,
    );
    for tier in TIERS {
        let mut program = Program::new(tier, &one);
        // The first call edits the program, and returns 1 to the new body of its caller.
        program.edits.lock().unwrap().push(two.clone());
        assert_eq!(program.call("run", 3), (1 + 1000) + 2 * (10 + 1000), "{tier:?}");
        // And back, while the new one is suspended.
        program.edits.lock().unwrap().push(one.clone());
        assert_eq!(program.call("run", 3), 3021 + (10 + 2), "{tier:?}");
        assert_eq!(program.edit(&one), "nothing changed");
    }
}

#[test]
fn ten_edits_in_a_row_under_a_running_loop() {
    let source = |k: i32| {
        looping(
            &format!(
                "(func $work (result i32) (call $edit) (call $added)) (func $added (result i32) (i32.const {k}))"
            ),
            "(call $work)",
            0,
        )
    };
    let first = looping("(func $work (result i32) (call $edit) (i32.const 0))", "(call $work)", 0);
    for tier in TIERS {
        let mut program = Program::new(tier, &first);
        *program.edits.lock().unwrap() = (1..=10).rev().map(source).collect();
        // Each call of `work` sees the edit that it has made: its frame goes on in the new body.
        assert_eq!(program.call("run", 10), (1..=10).sum(), "{tier:?}");
        assert_eq!(program.edit(&source(10)), "nothing changed");
    }
}

#[test]
fn undoing_brings_everything_back() {
    let one = r#"(module (table 1 funcref) (elem (i32.const 0) $f)
        (func $f (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "g") (param i32) (result i32)
            (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))"#;
    let two = r#"(module (table 1 funcref) (elem (i32.const 0) $h)
        (func $h (export "f") (param i32) (result i32) (call $k (local.get 0)))
        (func $k (param i32) (result i32) (i32.mul (local.get 0) (i32.const 100)))
        (func (export "g") (param i32) (result i32)
            (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))"#;
    for tier in TIERS {
        let mut program = Program::new(tier, one);
        let applied = program.module.update().module(two).unwrap().apply().unwrap();
        assert_eq!((program.call("f", 7), program.call("g", 7)), (700, 700), "{tier:?}");
        applied.undo().unwrap();
        assert_eq!((program.call("f", 7), program.call("g", 7)), (8, 8), "{tier:?}");
        assert_eq!(program.edit(one), "nothing changed");
        program.edit(two);
        assert_eq!((program.call("f", 7), program.call("g", 7)), (700, 700), "{tier:?}");
    }
}

#[test]
fn refused_modules_leave_the_program_as_it_was() {
    let source = |data: &str, k: i32| {
        format!(
            r#"(module (memory 1) (data (i32.const 16) "{data}")
                (func (export "get") (param i32) (result i32)
                    (i32.add (i32.load8_u (local.get 0)) (i32.const {k}))))"#
        )
    };
    for tier in TIERS {
        let mut program = Program::new(tier, &source("a", 0));
        let update = program.module.update();
        assert!(update.clone().module("(module").is_err());
        assert!(update.clone().module("(module (func (result i32)))").is_err());
        let update = update.module(source("b", 1000)).unwrap();
        let error = update.apply().unwrap_err();
        let refused = error.downcast_ref::<ModuleRefused>().unwrap();
        assert_eq!(refused.reasons.len(), 1);
        assert!(refused.reasons[0].is_about_data());
        assert_eq!(
            error.to_string(),
            "the running module cannot be brought up to the new one: data segment 0 differs from \
             byte 0 (at 0x10) on, which was 0x61 and is 0x62"
        );
        assert_eq!(update.plan().unwrap_err().to_string(), error.to_string());
        assert_eq!(program.call("get", 16), i32::from(b'a'));

        update.clone().data(DataPolicy::Keep).apply().unwrap();
        assert_eq!(program.call("get", 16), 1000 + i32::from(b'a'));
        let applied = program
            .module
            .update()
            .module(source("c", 2000))
            .unwrap()
            .data(DataPolicy::Apply)
            .apply()
            .unwrap();
        assert_eq!(program.call("get", 16), 2000 + i32::from(b'c'));
        let mut store = Store::new(program.module.engine(), ());
        let later = Instance::new(&mut store, &program.module, &[]).unwrap();
        let get = later.get_typed_func::<i32, i32>(&mut store, "get").unwrap();
        assert_eq!(get.call(&mut store, 16).unwrap(), 2000 + i32::from(b'c'));
        applied.undo().unwrap();
        assert_eq!(program.call("get", 16), 1000 + i32::from(b'b'));
    }
}

#[test]
fn data_is_written_under_a_suspended_guest() {
    let source = |data: i32| {
        format!(
            r#"(module {EDIT} (memory 1) (data (i32.const 16) "\{data:02x}")
                (func $read (result i32) (i32.load8_u (i32.const 16)))
                (func (export "run") (param i32) (result i32) (call $edit) (call $read)))"#
        )
    };
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, source(1)).unwrap();
        let mut linker = Linker::new(&engine);
        let (edited, new) = (module.clone(), source(2));
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                edited.update().module(&new)?.data(DataPolicy::Apply).apply()?;
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, 0).unwrap(), 2, "{tier:?}");
    }
}

#[test]
fn the_policy_of_all_functions_can_be_set() {
    let source = |k: i32| {
        format!(
            r#"(module {EDIT} (func (export "run") (param i32) (result i32) (call $edit) (i32.const {k})))"#
        )
    };
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, source(1)).unwrap();
        let mut linker = Linker::new(&engine);
        let (edited, new) = (module.clone(), source(2));
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                let update = edited.update().module(&new)?.default_policy(Policy::Finish);
                update.apply()?;
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, 0).unwrap(), 1, "{tier:?}");
        assert_eq!(run.call(&mut store, 0).unwrap(), 2, "{tier:?}");
    }
}

/// Counts calls, if it has the counter.
fn counting(with: bool, step: i32) -> String {
    let (global, body) = if with {
        (
            "(global $count (mut i32) (i32.const 0))",
            format!(
                "(global.set $count (i32.add (global.get $count) (i32.const {step}))) (global.get $count)"
            ),
        )
    } else {
        ("", "(i32.const -1)".to_owned())
    };
    format!(r#"(module {global} (func $next (export "next") (param i32) (result i32) {body}))"#)
}

#[test]
fn a_global_that_comes_back_has_the_value_that_it_had() {
    for tier in TIERS {
        let mut program = Program::new(tier, &counting(true, 1));
        assert_eq!(program.call("next", 0), 1);
        program.edit(&counting(false, 1));
        assert_eq!(program.call("next", 0), -1);
        program.edit(&counting(true, 10));
        assert_eq!(program.call("next", 0), 11, "{tier:?}");

        let without = program.module.update().module(counting(false, 1)).unwrap().apply().unwrap();
        assert_eq!(program.call("next", 0), -1);
        without.undo().unwrap();
        assert_eq!(program.call("next", 0), 21, "{tier:?}");
    }
}

#[test]
fn what_an_undone_edit_added_is_found_again() {
    for tier in TIERS {
        let mut program = Program::new(tier, &counting(false, 1));
        let applied = program.module.update().module(counting(true, 1)).unwrap().apply().unwrap();
        assert_eq!(program.call("next", 0), 1);
        let undone = applied.undo().unwrap();
        assert_eq!(program.call("next", 0), -1);
        undone.undo().unwrap();
        assert_eq!(program.call("next", 0), 2, "{tier:?}");
        undone.undo().unwrap_err();
        program.edit(&counting(false, 1));
        program.edit(&counting(true, 1));
        assert_eq!(program.call("next", 0), 3, "{tier:?}");
    }
}

fn two_functions(f: i32, g: i32) -> String {
    format!(
        r#"(module (func $f (export "f") (param i32) (result i32) (i32.const {f}))
            (func $g (export "g") (param i32) (result i32) (i32.const {g})))"#
    )
}

#[test]
fn undoing_leaves_what_other_updates_have_changed() {
    for tier in TIERS {
        let mut program = Program::new(tier, &two_functions(1, 1));
        let module = program.module.clone();
        let body = |source: &str, name: &str| {
            Module::new(module.engine(), source).unwrap().function_body(name).unwrap()
        };
        let g = module.function_index("g").unwrap();
        let applied = module.update().module(two_functions(2, 1)).unwrap().apply().unwrap();
        module.replace_function(g, &body(&two_functions(0, 3), "g")).unwrap();
        let undone = applied.undo().unwrap();
        assert_eq!((program.call("f", 0), program.call("g", 0)), (1, 3), "{tier:?}");
        assert_eq!(undone.summary.unwrap().to_string(), "1 function changed (f)");
    }
}

#[test]
fn updates_are_undone_in_their_order_only() {
    let mut program = Program::new(Tier::Auto, &two_functions(1, 1));
    let edit = |f, g| program.module.update().module(two_functions(f, g)).unwrap().apply().unwrap();
    let (first, second) = (edit(2, 1), edit(2, 2));
    assert_eq!(
        first.undo().unwrap_err().to_string(),
        "the program has been brought up to another module since, so that this update cannot be undone"
    );
    second.undo().unwrap();
    first.undo().unwrap();
    assert_eq!((program.call("f", 0), program.call("g", 0)), (1, 1));
    assert_eq!(program.edit(&two_functions(1, 1)), "nothing changed");
}

#[test]
fn a_larger_table_keeps_what_the_program_has_put_into_it() {
    let source = |minimum: u32| {
        format!(
            r#"(module (type $f (func (param i32) (result i32))) (table $t {minimum} funcref)
                (elem declare func $twice)
                (func $twice (type $f) (i32.mul (local.get 0) (i32.const 2)))
                (func (export "fill") (type $f)
                    (drop (table.grow $t (ref.func $twice) (local.get 0))) (table.size $t))
                (func (export "size") (type $f) (table.size $t))
                (func (export "call") (type $f) (call_indirect (type $f) (i32.const 21) (local.get 0))))"#
        )
    };
    for tier in TIERS {
        let mut program = Program::new(tier, &source(1));
        assert_eq!(program.call("fill", 3), 4);
        assert_eq!(program.edit(&source(4)), "1 table made larger");
        assert_eq!(program.call("call", 3), 42, "{tier:?}");
        assert_eq!(program.edit(&source(6)), "1 table made larger");
        assert_eq!((program.call("size", 0), program.call("call", 3)), (6, 42), "{tier:?}");
        let mut store = Store::new(program.module.engine(), ());
        let later = Instance::new(&mut store, &program.module, &[]).unwrap();
        let size = later.get_typed_func::<i32, i32>(&mut store, "size").unwrap();
        assert_eq!(size.call(&mut store, 0).unwrap(), 6);
    }
}

/// A memory that is written at its end, and grown, beneath a call of the host.
fn with_memory(limits: &str, data: &str) -> String {
    format!(
        r#"(module {EDIT} (memory (export "memory") {limits}) (data (i32.const 16) "{data}")
            (func (export "size") (param i32) (result i32) (memory.size))
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
            (func $last (result i32) (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))
            (func (export "run") (param i32) (result i32)
                (i32.store8 (i32.const 65535) (i32.const 7))
                (call $edit)
                (i32.store8 (i32.const 65536) (local.get 0))
                (i32.add (i32.load8_u (i32.const 65536)) (i32.load8_u (i32.const 65535)))))"#
    )
}

#[test]
fn a_memory_with_a_larger_minimum_grows_under_the_program() {
    for tier in TIERS {
        let mut program = Program::new(tier, &with_memory("1", "a"));
        program.edits.lock().unwrap().push(with_memory("2", "a"));
        assert_eq!(program.call("run", 10), 17, "{tier:?}");
        assert_eq!(program.call("size", 0), 2);
        assert_eq!(program.edit(&with_memory("2", "a")), "nothing changed");
        // It is as large already.
        assert_eq!(program.call("grow", 3), 2);
        assert_eq!(program.edit(&with_memory("4", "a")), "1 memory made larger");
        assert_eq!(program.call("size", 0), 5);
        // A smaller one is fine.
        assert_eq!(program.edit(&with_memory("1", "a")), "nothing changed");
        assert_eq!(program.call("size", 0), 5);
        let mut store = Store::new(program.module.engine(), ());
        let mut linker = Linker::new(program.module.engine());
        linker.func_wrap("host", "edit", || ()).unwrap();
        let later = linker.instantiate(&mut store, &program.module).unwrap();
        assert_eq!(later.get_memory(&mut store, "memory").unwrap().size(&store), 4);
    }
}

#[test]
fn a_memory_that_cannot_grow_refuses_the_whole_update() {
    for tier in TIERS {
        let mut program = Program::new(tier, &with_memory("1", "a"));
        program.store.set_limits(midair::StoreLimits::new().memory_bytes(2 << 16));
        let module = program.module.clone();
        let update = |limits: &str| {
            module.update().module(with_memory(limits, "b")).unwrap().data(DataPolicy::Apply)
        };
        let error = update("3").apply().unwrap_err();
        assert_eq!(error.to_string(), "memory 0 of an instance cannot grow to 3 pages");
        assert_eq!(program.call("load", 16), i32::from(b'a'));
        update("1").apply().unwrap();
        assert_eq!(program.call("load", 16), i32::from(b'b'));
        assert_eq!(program.call("size", 0), 1, "{tier:?}");
    }
}

#[test]
fn frames_of_all_tiers_are_counted_when_they_are_replaced() {
    let source = |k: i32| {
        format!(
            r#"(module {EDIT}
                (func $deep (export "run") (param i32) (result i32)
                    (if (result i32) (local.get 0)
                        (then (i32.add (i32.const {k}) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
                        (else (call $edit) (i32.const 0)))))"#
        )
    };
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, source(1)).unwrap();
        let mut linker = Linker::new(&engine);
        let (edited, new, counted) = (module.clone(), source(100), Arc::new(Mutex::new(None)));
        let found = counted.clone();
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
                let applied = edited.update().module(&new)?.count_frames(true).apply()?;
                *found.lock().unwrap() = applied.frames_to_move();
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        // The constant is an operand of the suspended frames: part of the text, and no state of theirs.
        assert_eq!(run.call(&mut store, 5).unwrap(), 500, "{tier:?}");
        assert_eq!(*counted.lock().unwrap(), Some(6), "{tier:?}");
    }
}

#[test]
fn a_call_that_has_another_result_is_not_said_to_be_missing() {
    let text = |result: &str, wrap: &str| {
        format!(
            "(module (func $g (result {result}) ({result}.const 1)) \
             (func (export \"f\") (result i32) ({wrap} (call $g))))"
        )
    };
    let engine = Engine::new(&Config::new()).unwrap();
    let module = Module::new(&engine, text("i32", "i32.eqz")).unwrap();
    let update = module.update().module(text("i64", "i32.wrap_i64")).unwrap();
    let plan = update.plan().unwrap();
    let told: Vec<String> =
        plan.functions.iter().flat_map(|f| &f.refusals).map(ToString::to_string).collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.ends_with(": there that function is of another type"), "{told}");
}
