//! Updates that fail at any of their steps: the program goes on untouched, and the same update succeeds later.

use anyhow::Result;
use midair::{
    Caller, Config, DataPolicy, Engine, FuncType, Instance, Linker, Module, Store, StressSpec,
    Tier, Update, ValType,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const TIERS: [Tier; 3] = [Tier::Interp, Tier::Baseline, Tier::Optimized];
const EXPORTS: [&str; 4] = ["first", "second", "table", "held"];

/// `first` calls `second`, and this the host, which updates; `table` and `held` call through tables.
fn source(edited: bool) -> String {
    let (add, multiply, data, size) = if edited { (30, 5, "b", 4) } else { (1, 2, "a", 2) };
    let [call, add_type, elements, more] = if edited {
        [
            "(call $helper (local.get 0) (i64.const 4))",
            "(type $wide (func (param i32 i64) (result i32)))",
            "(elem (i32.const 1) $second $second $second)",
            r#"(global $added i32 (i32.const 100))
                (func $helper (export "helper") (type $wide)
                    (i32.add (global.get $added) (i32.wrap_i64 (local.get 1))))"#,
        ]
    } else {
        ["(local.get 0)", "", "(elem (i32.const 1) $second)", ""]
    };
    format!(
        r#"(module
            (type $unary (func (param i32) (result i32))) {add_type}
            (import "host" "edit" (func $edit))
            (memory 1) (data (i32.const 8) "{data}")
            (table $t (export "t") {size} 20 funcref) {elements}
            (global $g (mut funcref) (ref.func $second))
            (func $second (export "second") (type $unary)
                (call $edit) (i32.add (local.get 0) (i32.const {add})))
            (func $first (export "first") (type $unary)
                (i32.add (i32.mul (call $second {call}) (i32.const {multiply}))
                    (i32.load8_u (i32.const 8))))
            (func (export "table") (type $unary)
                (call_indirect (type $unary) (local.get 0) (i32.const 1)))
            (func (export "held") (type $unary)
                (table.set $t (i32.const 0) (global.get $g))
                (call_indirect (type $unary) (local.get 0) (i32.const 0)))
            {more})"#
    )
}

fn body(module: &Module, name: &str) -> Vec<u8> {
    Module::new(
        module.engine(),
        source(true).replace(r#"(call $helper (local.get 0) (i64.const 4))"#, "(local.get 0)"),
    )
    .unwrap()
    .function_body(name)
    .unwrap()
}

/// The updates that are tried: of one function, of several, of the whole module, and one by one.
const UPDATES: [fn(&Module) -> Update; 4] = [
    |module| module.update().body(module.function_index("second").unwrap(), body(module, "second")),
    |module| {
        ["first", "second"].iter().fold(module.update(), |update, name| {
            update.body(module.function_index(name).unwrap(), body(module, name))
        })
    },
    |module| module.update().module(source(true)).unwrap().data(DataPolicy::Apply),
    |module| {
        let mut update = module.update();
        let ty = FuncType::new([ValType::I32; 1], [ValType::I32]);
        let wide = FuncType::new([ValType::F64; 2], [ValType::I64]);
        update.add_function(None, &wide);
        let other = update.retype(module.function_index("second").unwrap(), &ty);
        let second = module.function_index("second").unwrap();
        // i64.const 0, end; local.get 0, i32.const 7, i32.mul, end; local.get 0, call `other`, end
        update
            .body(other - 1, [0, 0x42, 0, 0x0b])
            .body(other, [0, 0x20, 0, 0x41, 7, 0x6c, 0x0b])
            .body(module.function_index("first").unwrap(), [0, 0x20, 0, 0x10, other as u8, 0x0b])
            .move_references(second, other)
            .table_entry(0, 9, Some(other))
            .export("other", other)
    },
];

struct Program {
    module: Module,
    store: Store<()>,
    instance: Instance,
    /// What the host applies when it is called next, and what came of it.
    update: Arc<Mutex<Option<Update>>>,
    outcome: Arc<Mutex<Option<Result<()>>>>,
}

/// What is compared before and after an update that fails.
#[derive(PartialEq, Eq, Debug)]
struct Snapshot {
    code: Vec<(usize, usize, u32)>,
    live_bytes: u64,
    old_versions: usize,
    exports: Vec<String>,
    table: u64,
    /// Index that the next function that is added would get, and the next type.
    next: (u32, u32),
    bodies: Vec<Vec<u8>>,
}

impl Program {
    fn new(tier: Tier, stress: &str) -> Program {
        let mut config = Config::new();
        config
            .tier(tier)
            .background_compilation(false)
            .stress(stress.parse::<StressSpec>().unwrap());
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, source(false)).unwrap();
        let update: Arc<Mutex<Option<Update>>> = Arc::default();
        let outcome: Arc<Mutex<Option<Result<()>>>> = Arc::default();
        let (waiting, result) = (update.clone(), outcome.clone());
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("host", "edit", move |_: Caller<'_, ()>| {
                if let Some(update) = waiting.lock().unwrap().take() {
                    *result.lock().unwrap() = Some(update.apply().map(drop));
                }
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Program { module, store, instance, update, outcome }
    }

    fn call(&mut self, name: &str) -> i32 {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name).unwrap();
        function.call(&mut self.store, 3).unwrap()
    }

    fn answers(&mut self) -> [i32; 4] {
        EXPORTS.map(|name| self.call(name))
    }

    /// Applies an update in the middle of `first`, with the answer of that call.
    fn apply(&mut self, update: &Update) -> (Result<()>, i32) {
        *self.update.lock().unwrap() = Some(update.clone());
        let answer = self.call("first");
        (self.outcome.lock().unwrap().take().unwrap(), answer)
    }

    fn snapshot(&mut self) -> Snapshot {
        let ledger = self.module.engine().code_ledger();
        let mut next = self.module.update();
        let ty = FuncType::new([ValType::F32; 7], []);
        Snapshot {
            code: ledger.code.iter().map(|c| (c.address, c.bytes, c.version)).collect(),
            live_bytes: ledger.live_bytes(),
            old_versions: ledger.versions.len(),
            exports: self.module.exports().map(|export| export.name().to_owned()).collect(),
            table: self.instance.get_table(&mut self.store, "t").unwrap().size(&self.store),
            next: (next.add_function(None, &ty), next.type_index(&ty)),
            bodies: EXPORTS.map(|name| self.module.function_body(name).unwrap()).into(),
        }
    }
}

/// Runs an update that fails at the `number`th step of some kind, and again; `None` if there is no such step.
/// Returns why it failed.
fn fails_once(tier: Tier, key: &str, number: u32, update: fn(&Module) -> Update) -> Option<String> {
    let mut undisturbed = Program::new(tier, "seed:0");
    undisturbed.answers();
    let wanted = update(&undisturbed.module);
    let (result, expected_answer) = undisturbed.apply(&wanted);
    result.unwrap();
    let expected = undisturbed.answers();

    let mut program = Program::new(tier, &format!("{key}:{number}"));
    let before = program.answers();
    let snapshot = program.snapshot();
    let wanted = update(&program.module);
    let (result, answer) = program.apply(&wanted);
    let Err(error) = result else {
        assert_eq!((answer, program.answers()), (expected_answer, expected));
        return None;
    };
    assert_eq!(answer, before[0], "{error:#}");
    assert_eq!(program.snapshot(), snapshot, "{error:#}");
    assert_eq!(program.answers(), before, "{error:#}");
    let (result, answer) = program.apply(&wanted);
    result.unwrap();
    assert_eq!((answer, program.answers()), (expected_answer, expected), "{error:#}");
    Some(format!("{error:#}"))
}

#[test]
fn an_update_that_fails_at_any_step_leaves_the_program_as_it_was() {
    let mut seen = BTreeSet::new();
    for tier in TIERS {
        for update in UPDATES {
            let mut number = 1;
            while let Some(error) = fails_once(tier, "fail", number, update) {
                let step = error.split(['(', ')']).rev().nth(1).unwrap_or_default();
                seen.insert(step.to_owned());
                number += 1;
            }
            assert!(number > 4, "{tier:?}: there are {number} steps");
        }
    }
    let steps = [
        "an added function",
        "code space",
        "compilation",
        "exports and entries",
        "index spaces",
        "lowering",
        "mapping",
        "references",
        "room",
        "room in tables",
        "validation",
    ];
    assert!(seen.iter().eq(steps.iter()), "{seen:?}");
}

/// Each of the compilations that an update asks for, of which the first ones are those of the old program.
#[test]
fn an_update_whose_compiler_panics_leaves_the_program_as_it_was() {
    for update in UPDATES {
        // The program's functions are compiled when they are first called.
        let loaded = EXPORTS.len() as u32;
        let mut number = loaded + 1;
        while let Some(error) = fails_once(Tier::Optimized, "panic", number, update) {
            assert!(error.contains("the compiler panicked"), "{error}");
            number += 1;
        }
        assert!(number > loaded + 1, "something is compiled");
    }
}
