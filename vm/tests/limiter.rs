//! Limiters: who is asked when memories and tables grow, and what becomes of the answers.

use midair::{
    Config, Engine, Error, ErrorKind, Extern, Instance, Memory, MemoryType, Module,
    ResourceLimiter, Result, Store, StoreLimits, Table, TableType, Tier, Trap, Val, ValType,
    WasmBacktrace,
};
use midair_watchdog::Watchdog;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];
const PAGE: usize = 64 << 10;

/// What a limiter was asked or told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Memory(usize, usize, Option<usize>),
    Table(usize, usize, Option<usize>),
    Failed(String),
}

/// What it is to answer.
enum Answer {
    Grant,
    Deny,
    Fail,
    Panic,
    Do(Box<dyn FnMut() -> Result<bool> + Send>),
}

struct Asking {
    asked: Vec<Asked>,
    answer: Answer,
    fail_on_failure: bool,
}

impl Asking {
    fn answer(&mut self, asked: Asked) -> Result<bool> {
        self.asked.push(asked);
        match &mut self.answer {
            Answer::Grant => Ok(true),
            Answer::Deny => Ok(false),
            Answer::Fail => Err(Error::msg("over the top")),
            Answer::Panic => std::panic::panic_any("panicked"),
            Answer::Do(work) => work(),
        }
    }
}

impl ResourceLimiter for Asking {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.answer(Asked::Memory(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.answer(Asked::Table(current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.asked.push(Asked::Failed(error.to_string()));
        if self.fail_on_failure { Err(error) } else { Ok(()) }
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        self.memory_grow_failed(error)
    }
}

const PROGRAM: &str = r#"(module
    (memory (export "memory") 1 10)
    (table (export "table") 2 100 funcref)
    (func $grow (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "grow") (param i32) (result i32) (call $grow (local.get 0)))
    (func (export "grow_table") (param i32) (result i32)
        (table.grow (ref.null func) (local.get 0)))
    (func (export "step") (result i32) (i32.const 1)))"#;

struct Program {
    module: Module,
    store: Store<Asking>,
    instance: Instance,
}

impl Program {
    fn new(tier: Tier) -> Program {
        let engine = Engine::new(Config::new().tier(tier).optimized_threshold(2)).unwrap();
        let module = Module::new(&engine, PROGRAM).unwrap();
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        Program { module, store, instance }
    }

    fn call(&mut self, name: &str, argument: i32) -> Result<i32> {
        let f = self.instance.get_typed_func::<i32, i32>(&mut self.store, name)?;
        f.call(&mut self.store, argument)
    }

    fn answer(&mut self, answer: Answer) {
        self.store.data_mut().answer = answer;
    }

    fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.store.data_mut().asked)
    }
}

fn store(engine: &Engine) -> Store<Asking> {
    let data = Asking { asked: Vec::new(), answer: Answer::Grant, fail_on_failure: false };
    let mut store = Store::new(engine, data);
    store.limiter(|data| data);
    store
}

#[test]
fn a_limiter_is_asked_for_all_growth_that_types_allow() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        let made = [Asked::Memory(0, PAGE, Some(10 * PAGE)), Asked::Table(0, 2, Some(100))];
        assert_eq!(program.asked(), made);
        assert_eq!(program.call("grow", 2).unwrap(), 1);
        assert_eq!(program.asked(), [Asked::Memory(PAGE, 3 * PAGE, Some(10 * PAGE))]);
        assert_eq!(program.call("grow_table", 3).unwrap(), 2);
        assert_eq!(program.asked(), [Asked::Table(2, 5, Some(100))]);
        assert_eq!(program.call("grow", 0).unwrap(), 3);
        assert_eq!(program.call("grow", 8).unwrap(), -1, "beyond the maximum");
        assert_eq!(program.call("grow_table", -1).unwrap(), -1);
        assert_eq!(program.asked(), []);

        let store = &mut program.store;
        let memory = program.instance.get_memory(&mut *store, "memory").unwrap();
        assert_eq!(memory.grow(&mut *store, 1).unwrap(), 3);
        let own = Memory::new(&mut *store, MemoryType::new(2, None)).unwrap();
        own.grow(&mut *store, 1).unwrap();
        let ty = TableType::new(ValType::EXTERNREF, 1, None);
        Table::new(&mut *store, ty, Val::null_extern_ref()).unwrap();
        let asked = [
            Asked::Memory(3 * PAGE, 4 * PAGE, Some(10 * PAGE)),
            Asked::Memory(0, 2 * PAGE, None),
            Asked::Memory(2 * PAGE, 3 * PAGE, None),
            Asked::Table(0, 1, None),
        ];
        assert_eq!(program.asked(), asked);
    }
}

#[test]
fn what_is_denied_has_not_happened() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        program.answer(Answer::Deny);
        for _ in 0..5 {
            assert_eq!(program.call("grow", 1).unwrap(), -1);
            assert_eq!(program.call("grow_table", 1).unwrap(), -1);
        }
        let store = &mut program.store;
        let memory = program.instance.get_memory(&mut *store, "memory").unwrap();
        let kind = |error: Error| ErrorKind::of(&error);
        assert_eq!(kind(memory.grow(&mut *store, 1).unwrap_err()), ErrorKind::Limit);
        assert_eq!(memory.size(&*store), 1);
        let error = Memory::new(&mut *store, MemoryType::new(1, None)).unwrap_err();
        assert_eq!(kind(error), ErrorKind::Limit);
        let error = Instance::new(&mut *store, &program.module, &[]).unwrap_err();
        assert_eq!(kind(error), ErrorKind::Limit);
        program.answer(Answer::Grant);
        assert_eq!(program.call("grow", 1).unwrap(), 1);
        assert_eq!(program.call("grow_table", 1).unwrap(), 2);
    }
}

#[test]
fn an_error_of_a_limiter_is_a_trap_of_the_guest_at_that_place() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        for name in ["grow", "grow_table", "grow"] {
            program.answer(Answer::Fail);
            let error = program.call(name, 1).unwrap_err();
            assert_eq!(error.root_cause().to_string(), "over the top");
            let frames = error.downcast_ref::<WasmBacktrace>().expect("a backtrace").frames();
            let index = frames.iter().map(|frame| frame.func_index()).collect::<Vec<_>>();
            let expected: &[u32] = if name == "grow" { &[0, 1] } else { &[2] };
            assert_eq!(index, expected, "{tier:?}");
            program.answer(Answer::Grant);
        }
        assert_eq!(program.call("grow", 1).unwrap(), 1, "nothing has grown");
        program.answer(Answer::Fail);
        let store = &mut program.store;
        let error = Memory::new(&mut *store, MemoryType::new(1, None)).unwrap_err();
        assert_eq!(error.to_string(), "over the top");
        let error = Instance::new(&mut *store, &program.module, &[]).unwrap_err();
        assert_eq!(error.to_string(), "over the top");
    }
}

#[test]
fn a_panic_of_a_limiter_goes_on_where_the_guest_was_called() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        program.answer(Answer::Panic);
        for _ in 0..2 {
            let panic = catch_unwind(AssertUnwindSafe(|| program.call("grow", 1))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"panicked"));
        }
        let store = &mut program.store;
        let made = || Memory::new(&mut *store, MemoryType::new(1, None));
        let panic = catch_unwind(AssertUnwindSafe(made)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"panicked"));
        program.asked();
        program.answer(Answer::Grant);
        assert_eq!(program.call("grow", 1).unwrap(), 1);
        assert_eq!(program.asked().len(), 1, "it is still asked");
    }
}

#[test]
fn limits_hold_whatever_the_limiter_says_and_it_is_told() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        program.store.set_limits(StoreLimits::new().memory_bytes(2 << 16).table_elements(3));
        program.asked();
        assert_eq!(program.call("grow", 2).unwrap(), -1);
        assert_eq!(program.call("grow_table", 2).unwrap(), -1);
        let asked = program.asked();
        let failed = |asked: &Asked| matches!(asked, Asked::Failed(text) if text.contains("limit"));
        assert!(failed(&asked[1]) && failed(&asked[3]), "{asked:?}");
        assert_eq!(asked.len(), 4);
        program.store.data_mut().fail_on_failure = true;
        let error = program.call("grow", 2).unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::Limit, "{error:#}");
        assert!(error.downcast_ref::<Trap>().is_none());
        assert_eq!(program.call("grow", 1).unwrap(), 1);
    }
}

#[test]
fn a_limiter_can_use_other_stores_and_change_no_code() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let mut program = Program::new(tier);
        let mut other = Program::new(tier);
        let module = program.module.clone();
        let step = module.function_index("step").unwrap();
        program.answer(Answer::Do(Box::new(move || {
            // A guest of its own, with a limiter of its own.
            assert!(other.call("grow", 1)? > 0 || other.call("grow", 1)? == -1);
            let error = module.replace_function(step, &[0, 0x41, 2, 0x0b]).unwrap_err();
            assert_eq!(ErrorKind::of(&error), ErrorKind::Misuse, "{error:#}");
            let options = midair::RecompileOptions::unoptimized();
            assert_eq!(
                ErrorKind::of(&module.recompile(step, &options).unwrap_err()),
                ErrorKind::Misuse
            );
            // Loading and linking change no code that a guest runs.
            let loaded = Module::new(module.engine(), PROGRAM)?;
            Instance::new(&mut store(module.engine()), &loaded, &[])?;
            Ok(true)
        })));
        for pages in 1..5 {
            assert_eq!(program.call("grow", 1).unwrap(), pages);
        }
        program.answer(Answer::Grant);
        let step = program.module.function_index("step").unwrap();
        program.module.replace_function(step, &[0, 0x41, 2, 0x0b]).unwrap();
    }
}

#[test]
fn an_update_waits_for_a_limiter_and_then_happens() {
    let _watchdog = Watchdog::start();
    static ASKED: AtomicBool = AtomicBool::new(false);
    static UPDATES: AtomicBool = AtomicBool::new(false);
    for tier in TIERS {
        ASKED.store(false, Ordering::SeqCst);
        UPDATES.store(false, Ordering::SeqCst);
        let mut program = Program::new(tier);
        program.answer(Answer::Do(Box::new(|| {
            ASKED.store(true, Ordering::SeqCst);
            while !UPDATES.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(true)
        })));
        let module = program.module.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ASKED.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                UPDATES.store(true, Ordering::SeqCst);
                // As `$grow`, but one page more.
                let body = [0, 0x20, 0, 0x41, 1, 0x6a, 0x40, 0, 0x0b];
                module.replace_function(0, &body).unwrap();
            });
            assert_eq!(program.call("grow", 1).unwrap(), 1);
        });
        program.answer(Answer::Grant);
        program.asked();
        assert_eq!(program.call("grow", 1).unwrap(), 2);
        assert_eq!(program.asked(), [Asked::Memory(2 * PAGE, 4 * PAGE, Some(10 * PAGE))]);
    }
}

#[test]
fn exports_of_memories_are_handles_of_what_was_granted() {
    let _watchdog = Watchdog::start();
    let mut program = Program::new(Tier::Auto);
    let memory = program.instance.get_export(&mut program.store, "memory");
    assert!(matches!(memory, Some(Extern::Memory(memory)) if memory.size(&program.store) == 1));
}
