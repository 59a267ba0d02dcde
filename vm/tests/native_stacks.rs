//! Host functions that go on on another native stack, and call their guest there.

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder, on_stack};
use midair::{
    Caller, Config, Engine, Error, Frame, Instance, Linker, Module, Result, Store, StressSpec,
    Tier, Trap, TypedFunc, WasmBacktrace,
};
use midair_watchdog::Watchdog;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

const STACK: usize = 256 << 10;

/// Engines of all tiers, some of which change at every few safepoints.
fn every_tier(test: impl Fn(Engine)) {
    let stress = ["", "osr:1", "osr:2,retire:3", "retire:1"];
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        for stress in stress {
            let mut config = Config::new();
            config.tier(tier).optimized_threshold(3).background_compilation(false);
            if !stress.is_empty() {
                config.stress(stress.parse::<StressSpec>().unwrap());
            }
            test(Engine::new(config.max_wasm_stack(STACK)).unwrap());
        }
    }
}

/// `f(n)` calls itself to the bottom, through the host where `n` is a multiple of 4, and adds up `n + add`.
fn recursion(add: i64) -> String {
    format!(
        r#"(module
            (import "host" "again" (func $again (param i32) (result i64)))
            (import "host" "bottom" (func $bottom))
            (func $f (export "f") (param $n i32) (result i64)
                (if (i32.eqz (local.get $n)) (then (call $bottom) (return (i64.const 0))))
                (i64.add
                    (if (result i64) (i32.and (local.get $n) (i32.const 3))
                        (then (call $f (i32.sub (local.get $n) (i32.const 1))))
                        (else (call $again (i32.sub (local.get $n) (i32.const 1)))))
                    (i64.add (i64.extend_i32_u (local.get $n)) (i64.const {add}))))
            (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1))))"#
    )
}

fn sum(n: i32, add: i64) -> i64 {
    (1..=i64::from(n)).map(|i| i + add).sum()
}

/// What a store of these tests has.
struct Data {
    /// The stacks for `again`, the one that is used next last.
    stacks: Vec<DefaultStack>,
    bottom: Bottom,
    /// Errors of calls with this argument are caught by `again`.
    caught_at: i32,
    caught: Option<Error>,
}

/// Stacks in the order in which they lie in memory.
fn stacks(count: usize, falling: bool) -> Vec<DefaultStack> {
    let stack = |_| DefaultStack::new(4 * STACK).unwrap();
    let mut stacks: Vec<_> = (0..count).map(stack).collect();
    stacks.sort_by_key(|stack| stack.base());
    if !falling {
        // Taken from the end.
        stacks.reverse();
    }
    stacks
}

fn again(mut caller: Caller<'_, Data>, n: i32) -> Result<i64> {
    let f = caller.get_export("f").unwrap().into_func().unwrap();
    let f = f.typed::<i32, i64>(&caller)?;
    let mut stack = caller.data_mut().stacks.pop().expect("a stack for each level");
    let sum = on_stack(&mut stack, || f.call(&mut caller, n));
    caller.data_mut().stacks.push(stack);
    match sum {
        Err(error) if n == caller.data().caught_at => {
            caller.data_mut().caught = Some(error);
            Ok(1_000_000)
        }
        other => other,
    }
}

type Bottom = Box<dyn FnMut(Caller<'_, Data>) -> Result<()> + Send>;

fn subject(
    engine: &Engine,
    stacks: Vec<DefaultStack>,
    bottom: impl FnOnce(&Module) -> Bottom,
) -> (Store<Data>, Instance, TypedFunc<i32, i64>) {
    let module = Module::new(engine, recursion(1)).unwrap();
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "again", again).unwrap();
    let call_bottom = |mut caller: Caller<'_, Data>| {
        let mut bottom = std::mem::replace(&mut caller.data_mut().bottom, Box::new(|_| Ok(())));
        bottom(caller)
    };
    linker.func_wrap("host", "bottom", call_bottom).unwrap();
    let data = Data { stacks, bottom: bottom(&module), caught_at: -1, caught: None };
    let mut store = Store::new(engine, data);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func(&mut store, "f").unwrap();
    (store, instance, f)
}

/// Gives `f` a body that adds 10 in each frame instead of 1.
fn edit(module: &Module) -> Result<()> {
    let body = Module::new(module.engine(), recursion(10))?.function_body("f").unwrap();
    module.replace_function(module.function_index("f").unwrap(), &body)?;
    Ok(())
}

const DEPTH: i32 = 40;
const LEVELS: usize = 10;

fn arguments(frames: &[Frame]) -> Vec<i32> {
    frames.iter().map(|frame| frame.locals()[0].as_ref().unwrap().unwrap_i32()).collect()
}

#[test]
fn frames_on_many_stacks_are_listed_in_order_and_replaced() {
    let _watchdog = Watchdog::start();
    for falling in [false, true] {
        every_tier(|engine| {
            let bottom = |module: &Module| -> Bottom {
                let module = module.clone();
                Box::new(move |caller| {
                    // The innermost frame's parameter is not read any more.
                    let expected: Vec<i32> = (1..=DEPTH).collect();
                    assert_eq!(arguments(&caller.frames()[1..]), expected);
                    edit(&module)?;
                    assert_eq!(arguments(&caller.frames()[1..]), expected);
                    Ok(())
                })
            };
            let (mut store, _, f) = subject(&engine, stacks(LEVELS, falling), bottom);
            assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 10));
            assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 10));
            assert_eq!(engine.code_stats().retired, 0);
        });
    }
}

#[test]
fn another_thread_replaces_what_is_suspended_on_many_stacks() {
    let _watchdog = Watchdog::start();
    for falling in [false, true] {
        every_tier(|engine| {
            let (to_editor, at_bottom) = mpsc::channel::<mpsc::Sender<()>>();
            let bottom = |module: &Module| -> Bottom {
                let module = module.clone();
                thread::spawn(move || {
                    let done = at_bottom.recv().unwrap();
                    edit(&module).unwrap();
                    done.send(()).unwrap();
                });
                Box::new(move |_| {
                    let (done, edited) = mpsc::channel();
                    to_editor.send(done).unwrap();
                    edited.recv().unwrap();
                    Ok(())
                })
            };
            let (mut store, _, f) = subject(&engine, stacks(LEVELS, falling), bottom);
            assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 10));
        });
    }
}

#[test]
fn a_trap_unwinds_over_many_stacks_whose_frames_are_redirected() {
    let _watchdog = Watchdog::start();
    for (falling, caught_at) in [(false, -1), (true, -1), (false, 19), (true, 19)] {
        every_tier(|engine| {
            let bottom = |module: &Module| -> Bottom {
                let module = module.clone();
                Box::new(move |_| {
                    edit(&module)?;
                    Err(Trap::UnreachableCodeReached.into())
                })
            };
            let (mut store, _, f) = subject(&engine, stacks(LEVELS, falling), bottom);
            store.data_mut().caught_at = caught_at;
            let result = f.call(&mut store, DEPTH);
            let error = if caught_at < 0 {
                result.unwrap_err()
            } else {
                let rest = sum(DEPTH, 10) - sum(caught_at, 10);
                assert_eq!(result.unwrap(), 1_000_000 + rest);
                store.data_mut().caught.take().unwrap()
            };
            assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
            let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
            assert_eq!(backtrace.frames().len(), DEPTH as usize + 1);
            assert_eq!(store.data().stacks.len(), LEVELS);
            assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 10));
        });
    }
}

#[test]
fn a_panic_unwinds_over_many_stacks() {
    let _watchdog = Watchdog::start();
    every_tier(|engine| {
        let bottom =
            |_: &Module| -> Bottom { Box::new(|_| std::panic::resume_unwind(Box::new(7))) };
        let (mut store, _, f) = subject(&engine, stacks(LEVELS, true), bottom);
        let call = catch_unwind(AssertUnwindSafe(|| f.call(&mut store, DEPTH)));
        assert_eq!(call.unwrap_err().downcast_ref::<i32>(), Some(&7));
        store.data_mut().stacks = stacks(LEVELS, true);
        assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 1));
    });
}

#[test]
fn a_host_that_grows_its_stack_holds_a_deep_recursion_of_its_guest() {
    let _watchdog = Watchdog::start();
    every_tier(|engine| {
        let module = Module::new(&engine, recursion(1)).unwrap();
        let edited = module.clone();
        let mut linker = Linker::new(&engine);
        let again = |mut caller: Caller<'_, ()>, n: i32| -> Result<i64> {
            let f = caller.get_export("f").unwrap().into_func().unwrap();
            let f = f.typed::<i32, i64>(&caller)?;
            if n % 32 == 3 {
                return stacker::grow(4 * STACK, || f.call(&mut caller, n));
            }
            f.call(&mut caller, n)
        };
        linker.func_wrap("host", "again", again).unwrap();
        linker.func_wrap("host", "bottom", move || edit(&edited)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
        // The interpreter's own stack does not grow.
        for depth in [100, 1000] {
            assert_eq!(f.call(&mut store, depth).unwrap(), sum(depth, 10));
        }
    });
}

#[test]
fn guests_trap_where_their_stack_ends_on_any_stack() {
    let _watchdog = Watchdog::start();
    for size in [STACK / 2, 4 * STACK] {
        every_tier(|engine| {
            let bottom = |_: &Module| -> Bottom {
                Box::new(move |mut caller| {
                    let deep = caller.get_export("deep").unwrap().into_func().unwrap();
                    let deep = deep.typed::<(), i32>(&caller)?;
                    let mut stack = DefaultStack::new(size).unwrap();
                    let error = on_stack(&mut stack, || deep.call(&mut caller, ())).unwrap_err();
                    assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                    Ok(())
                })
            };
            let (mut store, instance, f) = subject(&engine, stacks(LEVELS, true), bottom);
            assert_eq!(f.call(&mut store, DEPTH).unwrap(), sum(DEPTH, 1));
            // The limit is that of this stack again.
            let deep = instance.get_typed_func::<(), i32>(&mut store, "deep").unwrap();
            let error = deep.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
        });
    }
}

#[test]
fn a_stack_without_room_for_a_guest_is_refused_at_the_call() {
    let _watchdog = Watchdog::start();
    every_tier(|engine| {
        let (mut store, _, f) = subject(&engine, stacks(LEVELS, true), |_| Box::new(|_| Ok(())));
        store.data_mut().stacks = vec![DefaultStack::new(32 << 10).unwrap()];
        let error = f.call(&mut store, 4).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
    });
}

/// The host's part of a guest that runs in a coroutine of its own: `bottom` lets the others go on.
struct Scheduled(*const Yielder<(), ()>);

// SAFETY: the store is used by the coroutine alone whose yielder this is.
unsafe impl Send for Scheduled {}

/// Guests of several stores take turns on one thread, each on its own native stack: they neither begin nor end in the
/// order of calls.
#[test]
fn guests_of_several_stores_take_turns_on_one_thread() {
    let _watchdog = Watchdog::start();
    every_tier(|engine| {
        let module = Module::new(&engine, recursion(1)).unwrap();
        let mut linker = Linker::new(&engine);
        let pause = |caller: Caller<'_, Scheduled>| {
            // SAFETY: the coroutine's yielder lives as long as its function runs, which waits for the guest.
            unsafe { (*caller.data().0).suspend(()) };
        };
        linker.func_wrap("host", "bottom", pause).unwrap();
        let again = |mut caller: Caller<'_, Scheduled>, n: i32| -> Result<i64> {
            let f = caller.get_export("f").unwrap().into_func().unwrap();
            let sum = f.typed::<i32, i64>(&caller)?.call(&mut caller, n)?;
            // SAFETY: as above.
            unsafe { (*caller.data().0).suspend(()) };
            Ok(sum)
        };
        linker.func_wrap("host", "again", again).unwrap();
        let guest = |depth: i32| {
            let (engine, module, linker) = (engine.clone(), module.clone(), linker.clone());
            Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
                let mut store = Store::new(&engine, Scheduled(yielder));
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
                (depth, f.call(&mut store, depth).unwrap())
            })
        };
        let mut guests: Vec<_> = [3, 24, 8, 17, 12].map(guest).into();
        let mut ended = 0;
        for round in 0.. {
            if round == 1 {
                // All are suspended at the bottom: each returns through a landing.
                edit(&module).unwrap();
            }
            guests.retain_mut(|guest| match guest.resume(()) {
                CoroutineResult::Yield(()) => true,
                CoroutineResult::Return((depth, found)) => {
                    assert_eq!(found, sum(depth, 10), "{depth}");
                    ended += 1;
                    false
                }
            });
            if guests.is_empty() {
                break;
            }
            guests.reverse();
        }
        assert_eq!(ended, 5);
    });
}

/// Replacements at any moment, while a guest goes down and up over stacks.
#[test]
fn replacements_meet_guests_on_many_stacks_at_any_moment() {
    let _watchdog = Watchdog::start();
    for (falling, tier) in [
        (false, Tier::Optimized),
        (true, Tier::Optimized),
        (false, Tier::Auto),
        (true, Tier::Interp),
    ] {
        let mut config = Config::new();
        config.tier(tier).optimized_threshold(5).max_wasm_stack(STACK);
        let engine = Engine::new(&config).unwrap();
        let module = Arc::new(std::sync::OnceLock::new());
        let done = Arc::new(AtomicBool::new(false));
        let editor = {
            let (module, done) = (module.clone(), done.clone());
            thread::spawn(move || {
                let module: &Module = loop {
                    if let Some(module) = module.get() {
                        break module;
                    }
                    thread::yield_now();
                };
                let bodies = [10, 1].map(|add| {
                    let edited = Module::new(module.engine(), recursion(add)).unwrap();
                    edited.function_body("f").unwrap()
                });
                let mut edits = 0;
                while !done.load(Ordering::Relaxed) {
                    let function = module.function_index("f").unwrap();
                    module.replace_function(function, &bodies[edits % 2]).unwrap();
                    edits += 1;
                }
                edits
            })
        };
        let bottom = |loaded: &Module| -> Bottom {
            module.set(loaded.clone()).ok().unwrap();
            Box::new(|_| Ok(()))
        };
        let depth = 4 * DEPTH;
        let levels = 4 * LEVELS;
        let (mut store, _, f) = subject(&engine, stacks(levels, falling), bottom);
        let redirected = || tier == Tier::Interp || engine.stats().frames.redirected > 50;
        let mut calls = 0;
        while calls < 50 || !redirected() {
            calls += 1;
            let found = f.call(&mut store, depth).unwrap();
            assert!((sum(depth, 1)..=sum(depth, 10)).contains(&found), "{found}");
            assert_eq!((found - sum(depth, 1)) % 9, 0, "{found}");
        }
        done.store(true, Ordering::Relaxed);
        assert!(editor.join().unwrap() > 0);
    }
}

/// What safe code cannot do: a host function goes back to the guest on the first stack while a later call into the
/// guest is suspended on another one.
fn switch_away_from_a_suspended_call() {
    let engine = Engine::default();
    let suspended: Arc<std::sync::Mutex<Vec<Kept>>> = Arc::default();
    let module = Module::new(&engine, recursion(1)).unwrap();
    let mut linker = Linker::new(&engine);
    let kept = suspended.clone();
    let again = move |mut caller: Caller<'_, Scheduled>, n: i32| -> i64 {
        let f = caller.get_export("f").unwrap().into_func().unwrap();
        let f = f.typed::<i32, i64>(&caller).unwrap();
        let borrowed = &raw mut caller as usize;
        let mut coroutine = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: wrong on purpose: the borrow ends with the host function.
            let caller = unsafe { &mut *(borrowed as *mut Caller<'_, Scheduled>) };
            caller.data_mut().0 = yielder;
            f.call(caller, n).unwrap()
        });
        let _ = coroutine.resume(());
        kept.lock().unwrap().push(Kept(coroutine));
        0
    };
    linker.func_wrap("host", "again", again).unwrap();
    let pause = |caller: Caller<'_, Scheduled>| {
        // SAFETY: the coroutine's function waits for the guest.
        unsafe { (*caller.data().0).suspend(()) };
    };
    linker.func_wrap("host", "bottom", pause).unwrap();
    let mut store = Store::new(&engine, Scheduled(std::ptr::null()));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i64>(&mut store, "f").unwrap();
    let _ = f.call(&mut store, 4);
}

struct Kept(#[expect(dead_code)] Coroutine<(), (), i64>);

// SAFETY: it stays on one thread.
unsafe impl Send for Kept {}

#[test]
fn going_on_outside_a_suspended_call_ends_the_process_with_a_word() {
    const CHILD: &str = "MIDAIR_TEST_SWITCH_AWAY";
    let _watchdog = Watchdog::start();
    if std::env::var_os(CHILD).is_some() {
        switch_away_from_a_suspended_call();
        std::process::exit(0);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("going_on_outside_a_suspended_call_ends_the_process_with_a_word")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("a later call into the same guest is suspended"), "{said}");
}
