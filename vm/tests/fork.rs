//! What becomes of engines after `fork`: the parent goes on, and the child can use nothing that has to do with the
//! parent's code, without harm to that code.

use midair::{
    Caller, Config, Engine, Func, Global, GlobalType, Instance, Linker, Memory, MemoryType, Module,
    OtherProcess, RecompileOptions, ResourceLimiter, Result, Store, Table, TableType, Tier, Val,
    ValType,
};
use midair_watchdog::Watchdog;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Held by each test. A child has a copy of every lock, and those that threads of another test hold at that moment
/// stay held in it: that of the standard library's backtraces, for one, which every error takes where
/// `RUST_BACKTRACE` is set.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds after which a child that hangs is ended by a signal.
const PATIENCE: u32 = 60;

/// Forks. In the child the answer is where to say what went wrong.
fn fork() -> Option<File> {
    let mut ends = [0; 2];
    // SAFETY: plain system calls with valid arguments. The child only does what the tests are about, and ends.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0, "fork failed");
        if child == 0 {
            libc::alarm(PATIENCE);
            libc::close(ends[0]);
            return Some(File::from_raw_fd(ends[1]));
        }
        libc::close(ends[1]);
        let mut said = String::new();
        File::from_raw_fd(ends[0]).read_to_string(&mut said).unwrap();
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        let ended = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        assert!(ended && said.is_empty(), "the child has ended with status {status:#x}: {said}");
    }
    None
}

/// Ends the child when `work` has ended.
fn end_child(mut to_parent: File, work: impl FnOnce()) -> ! {
    let result = catch_unwind(AssertUnwindSafe(work));
    let said = result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without text".to_owned())
    });
    let status = i32::from(said.is_err());
    if let Err(text) = said {
        let _ = to_parent.write_all(text.as_bytes());
    }
    // SAFETY: nothing of the child is needed any more.
    unsafe { libc::_exit(status) }
}

/// Runs `work` in a child.
fn in_child(work: impl FnOnce()) {
    if let Some(to_parent) = fork() {
        end_child(to_parent, work);
    }
}

#[track_caller]
fn refused<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => panic!("{what} has worked in the child"),
        Err(error) => {
            let is_it = error.downcast_ref::<OtherProcess>() == Some(&OtherProcess::default());
            assert!(is_it, "{what}: {error:#}");
            assert!(error.root_cause().to_string().contains("make an engine of its own"));
        }
    }
}

#[track_caller]
fn panics<T>(what: &str, work: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(work)).err().expect(what);
    let text = panic.downcast_ref::<String>().expect("a panic with a text");
    assert!(text.contains("forked from"), "{what}: {text}");
}

fn engine(tier: Tier) -> Engine {
    let background = tier == Tier::Auto;
    Engine::new(Config::new().tier(tier).optimized_threshold(20).background_compilation(background))
        .unwrap()
}

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

/// `run(n)` is `n * add`, by as many calls.
fn program(add: i64) -> String {
    format!(
        r#"(module
            (import "host" "tick" (func $tick))
            (memory (export "memory") 1)
            (table (export "table") 1 funcref)
            (global (export "global") (mut i32) (i32.const 7))
            (func $step (export "step") (param i64) (result i64) (i64.add (local.get 0) (i64.const {add})))
            (func (export "run") (param $n i32) (result i64) (local $sum i64)
                (loop $next
                    (local.set $sum (call $step (local.get $sum)))
                    (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (call $tick)
                (local.get $sum)))"#
    )
}

fn body(engine: &Engine, add: i64) -> Vec<u8> {
    Module::new(engine, program(add)).unwrap().function_body("step").unwrap()
}

fn linker(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "tick", || {}).unwrap();
    linker
}

fn run(store: &mut Store<()>, instance: Instance, n: i32) -> Result<i64> {
    instance.get_typed_func::<i32, i64>(&mut *store, "run")?.call(store, n)
}

/// Everything that a program can do with an engine that it has inherited.
fn use_what_is_inherited(
    engine: &Engine,
    module: &Module,
    linker: &Linker<()>,
    store: &mut Store<()>,
    instance: Instance,
) {
    let run_func = instance.get_func(&mut *store, "run").expect("exports can be looked up");
    refused("a call", run_func.call(&mut *store, &[Val::I32(3)], &mut [Val::I64(0)]));
    refused("a typed function", run_func.typed::<i32, i64>(&*store));
    refused("a module", Module::new(engine, "(module)"));
    refused("an instance", linker.instantiate(&mut *store, module));
    let step = module.function_index("step").unwrap();
    refused("an update", module.replace_function(step, &[0, 0x20, 0, 0x0b]));
    refused("a plan", module.update().body(step, [0, 0x20, 0, 0x0b]).plan());
    refused("a recompilation", module.recompile(step, &RecompileOptions::unoptimized()));
    refused("a memory", Memory::new(&mut *store, MemoryType::new(1, None)));
    let ty = TableType::new(ValType::FUNCREF, 1, None);
    refused("a table", Table::new(&mut *store, ty, Val::null_func_ref()));
    let memory = instance.get_memory(&mut *store, "memory").unwrap();
    refused("growing a memory", memory.grow(&mut *store, 1));
    let table = instance.get_table(&mut *store, "table").unwrap();
    refused("growing a table", table.grow(&mut *store, 1, Val::null_func_ref()));
    refused("setting an element", table.set(&mut *store, 0, Val::null_func_ref()));

    // What has no error to return says it by a panic.
    std::panic::set_hook(Box::new(|_| ()));
    panics("events", || engine.events());
    panics("the ledger", || engine.code_ledger());
    panics("statistics", || engine.stats());
    panics("a host function", || Func::wrap(&mut *store, || {}));
    panics("an element", || table.get(&mut *store, 0));
    let _ = std::panic::take_hook();

    // What is in the store can be read.
    memory.write(&mut *store, 8, &[1, 2]).unwrap();
    assert_eq!(memory.data(&*store)[8..10], [1, 2]);
    let global = instance.get_global(&mut *store, "global").unwrap();
    assert_eq!(global.get(&mut *store).i32(), Some(7));
    Global::new(&mut *store, GlobalType::new(ValType::I32, true), Val::I32(1)).unwrap();
    store.interrupt_handle().interrupt();
    engine.trim_code_memory();
}

/// An engine that is made in a child works.
fn use_a_new_engine(tier: Tier) {
    let engine = engine(tier);
    let module = Module::new(&engine, program(2)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker(&engine).instantiate(&mut store, &module).unwrap();
    assert_eq!(run(&mut store, instance, 5000).unwrap(), 10_000);
    let step = module.function_index("step").unwrap();
    module.replace_function(step, &body(&engine, 3)).unwrap();
    assert_eq!(run(&mut store, instance, 5000).unwrap(), 15_000);
    let events = engine.events();
    module.recompile(step, &RecompileOptions::optimized()).unwrap();
    drop((store, module, engine));
    while events.next_timeout(std::time::Duration::from_secs(1)).is_some() {}
}

#[test]
fn a_child_is_refused_whatever_has_to_do_with_its_parents_code_and_can_make_its_own() {
    let _alone = alone();
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, program(1)).unwrap();
        let mut store = Store::new(&engine, ());
        let linker = linker(&engine);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let events = engine.events();
        assert_eq!(run(&mut store, instance, 5000).unwrap(), 5000);
        if let Some(to_parent) = fork() {
            end_child(to_parent, || {
                use_what_is_inherited(&engine, &module, &linker, &mut store, instance);
                use_a_new_engine(tier);
                drop((store, linker, events, module, engine));
                use_a_new_engine(tier);
            });
        }
        // The parent goes on with the code that it had, replaces it and frees it.
        assert_eq!(run(&mut store, instance, 5000).unwrap(), 5000);
        let step = module.function_index("step").unwrap();
        let replaced = module.replace_function(step, &body(&engine, 2)).unwrap();
        assert_eq!(replaced.freed_bytes > 0, tier != Tier::Interp, "{tier:?}");
        assert_eq!(run(&mut store, instance, 5000).unwrap(), 10_000);
        engine.trim_code_memory();
        assert_eq!(run(&mut store, instance, 5000).unwrap(), 10_000);
        drop((store, linker, events, module));
        assert_eq!(engine.code_stats().live, 0);
    }
}

#[test]
fn a_grandchild_is_refused_what_belongs_to_its_parent_and_its_grandparent() {
    let _alone = alone();
    let _watchdog = Watchdog::start();
    let grandparents = engine(Tier::Baseline);
    in_child(|| {
        let parents = engine(Tier::Baseline);
        in_child(|| {
            refused("its grandparent's", Module::new(&grandparents, "(module)"));
            refused("its parent's", Module::new(&parents, "(module)"));
            use_a_new_engine(Tier::Baseline);
        });
        refused("its parent's", Module::new(&grandparents, "(module)"));
        Module::new(&parents, "(module)").unwrap();
    });
    Module::new(&grandparents, "(module)").unwrap();
}

/// `f(n)` calls itself, through the host where `n` is odd, and adds up the numbers to `n`; at the bottom the host forks.
const RECURSION: &str = r#"(module
    (import "host" "again" (func $again (param i32) (result i64)))
    (import "host" "fork" (func $fork))
    (func $f (export "f") (param $n i32) (result i64)
        (if (i32.eqz (local.get $n)) (then (call $fork) (return (i64.const 0))))
        (i64.add
            (if (result i64) (i32.and (local.get $n) (i32.const 1))
                (then (call $again (i32.sub (local.get $n) (i32.const 1))))
                (else (call $f (i32.sub (local.get $n) (i32.const 1)))))
            (i64.extend_i32_u (local.get $n)))))"#;

#[derive(Default)]
struct Forks {
    wanted: bool,
    in_child: Option<File>,
    /// How many host functions have seen the call that they made fail in the child.
    seen: u32,
    /// Whether they go on as if it had not failed.
    hide: bool,
}

#[test]
fn a_host_function_that_forks_returns_to_its_guest_in_the_parent_and_unwinds_it_in_the_child() {
    let _alone = alone();
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        for hide in [false, true] {
            let engine = engine(tier);
            let module = Module::new(&engine, RECURSION).unwrap();
            let mut linker = Linker::new(&engine);
            linker
                .func_wrap("host", "fork", |mut caller: Caller<'_, Forks>| {
                    if std::mem::take(&mut caller.data_mut().wanted) {
                        caller.data_mut().in_child = fork();
                    }
                })
                .unwrap();
            linker.func_wrap("host", "again", again).unwrap();
            let mut store = Store::new(&engine, Forks { hide, ..Forks::default() });
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
            // Until it is hot.
            for _ in 0..30 {
                assert_eq!(f.call(&mut store, 9).unwrap(), 45);
            }
            store.data_mut().wanted = true;
            let result = f.call(&mut store, 9);
            if let Some(to_parent) = store.data_mut().in_child.take() {
                end_child(to_parent, || {
                    refused("the guest's call", result);
                    assert_eq!(store.data().seen, 5);
                    refused("another call", f.call(&mut store, 9));
                    let data = store.into_data();
                    assert_eq!(data.seen, 5, "the embedder's data is there");
                    drop((module, engine, linker));
                    use_a_new_engine(tier);
                });
            }
            assert_eq!(result.unwrap(), 45, "{tier:?}");
            assert_eq!(store.data().seen, 0);
            let index = module.function_index("f").unwrap();
            let same = module.function_body("f").unwrap();
            module.replace_function(index, &same).unwrap();
            assert_eq!(f.call(&mut store, 9).unwrap(), 45);
        }
    }
}

fn again(mut caller: Caller<'_, Forks>, n: i32) -> Result<i64> {
    let f = caller.get_export("f").unwrap().into_func().unwrap();
    let mut results = [Val::I64(0)];
    let result = f.call(&mut caller, &[Val::I32(n)], &mut results);
    if let Err(error) = result {
        assert!(error.downcast_ref::<OtherProcess>().is_some(), "{error:#}");
        caller.data_mut().seen += 1;
        // Calls that are made then are refused, whoever makes them.
        refused("a call", f.call(&mut caller, &[Val::I32(n)], &mut results));
        if !caller.data().hide {
            return Err(error);
        }
    }
    Ok(results[0].unwrap_i64())
}

#[test]
fn children_of_a_process_whose_threads_are_in_the_midst_of_everything_do_not_hang() {
    let _alone = alone();
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Auto);
    let module = Module::new(&engine, program(1)).unwrap();
    let bodies = [body(&engine, 1), body(&engine, 2)];
    let step = module.function_index("step").unwrap();
    let (stop, calls, updates) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut store = Store::new(&engine, ());
    let linker = linker(&engine);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let (engine, module, linker) = (&engine, &module, &linker);
    thread::scope(|scope| {
        // Two guests, one that updates, one that asks and makes and drops.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut store = Store::new(engine, ());
                let instance = linker.instantiate(&mut store, module).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let sum = run(&mut store, instance, 1000).unwrap();
                    assert!((1000..=2000).contains(&sum), "{sum}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let n = updates.fetch_add(1, Ordering::Relaxed);
                module.replace_function(step, &bodies[n as usize % 2]).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop((engine.stats(), engine.code_ledger(), engine.events()));
                drop(Module::new(engine, program(3)).unwrap());
                engine.trim_code_memory();
            }
        });
        let result = catch_unwind(AssertUnwindSafe(|| {
            for n in 0..12 {
                // Something has happened since the last one.
                let before = (calls.load(Ordering::Relaxed), updates.load(Ordering::Relaxed));
                while calls.load(Ordering::Relaxed) == before.0
                    || updates.load(Ordering::Relaxed) == before.1
                {
                    thread::yield_now();
                }
                if let Some(to_parent) = fork() {
                    end_child(to_parent, || {
                        use_what_is_inherited(engine, module, linker, &mut store, instance);
                        if n % 4 == 0 {
                            use_a_new_engine(Tier::Auto);
                        }
                        // As if this were the last use of each of them.
                        // SAFETY: none is used after this.
                        unsafe {
                            drop(std::ptr::read(&raw const store));
                            drop(std::ptr::read(linker));
                            drop(std::ptr::read(module));
                            drop(std::ptr::read(engine));
                        }
                    });
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    module.replace_function(step, &bodies[0]).unwrap();
    assert_eq!(run(&mut store, instance, 1000).unwrap(), 1000);
}

/// Answers what it is told to, after it has forked.
#[derive(Default)]
struct ForkingLimiter {
    to_parent: Option<File>,
}

impl ResourceLimiter for ForkingLimiter {
    fn memory_growing(&mut self, current: usize, _: usize, _: Option<usize>) -> Result<bool> {
        if current > 0 {
            self.to_parent = fork();
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_limiter_that_forks_unwinds_its_guest_in_the_child() {
    let _alone = alone();
    let _watchdog = Watchdog::start();
    let text = r#"(module (memory 1)
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ForkingLimiter::default());
        store.limiter(|limiter| limiter);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let grow = instance.get_typed_func::<(), i32>(&mut store, "grow").unwrap();
        let result = grow.call(&mut store, ());
        if let Some(to_parent) = store.data_mut().to_parent.take() {
            end_child(to_parent, || refused("growing", result));
        }
        assert_eq!(result.unwrap(), 1, "{tier:?}");
    }
}
