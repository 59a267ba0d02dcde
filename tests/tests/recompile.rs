//! The same body, compiled otherwise, while it runs.

use midair::{
    Config, Engine, Event, Instance, Linker, Module, OptLevel, Policy, RecompileOptions,
    RegisterAllocation, Store, StressSpec, Tier,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).optimized_threshold(100)).unwrap()
}

/// All options that there are.
fn variants() -> Vec<RecompileOptions> {
    let mut variants = vec![RecompileOptions::unoptimized()];
    for level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        for algorithm in [RegisterAllocation::SinglePass, RegisterAllocation::Backtracking] {
            for alias_analysis in [true, false] {
                let options = RecompileOptions::optimized().opt_level(level);
                let options = options.register_allocation(algorithm).alias_analysis(alias_analysis);
                variants.push(options);
            }
        }
    }
    variants
}

/// `f(n)` is the sum of `i * i` for all `i` below `n`, modulo 2^32.
const SQUARES: &str = r#"(module (func $f (export "f") (param i32) (result i32) (local i32)
    (loop $next
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (local.set 1 (i32.add (local.get 1) (i32.mul (local.get 0) (local.get 0))))
        (br_if $next (local.get 0)))
    (local.get 1)))"#;

fn squares(n: i32) -> i32 {
    (0..n).fold(0i32, |sum, i| sum.wrapping_add(i.wrapping_mul(i)))
}

#[test]
fn a_function_is_right_with_all_options_and_only_the_last_code_is_live() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        let engine = engine(tier);
        let module = Module::new(&engine, SQUARES).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        let function = module.function_index("f").unwrap();
        let mut before = 0;
        for options in variants() {
            let report = module.recompile(function, &options).unwrap();
            assert_eq!(f.call(&mut store, 1000).unwrap(), squares(1000), "{options}");
            assert_eq!(report.bytes_before, before);
            assert_eq!(report.freed_bytes, before);
            assert!(report.bytes > 0 && report.compile_time > Duration::ZERO);
            before = report.bytes;
            let ledger = engine.code_ledger();
            let settings = ledger.code.iter().filter_map(|entry| entry.settings);
            let settings: Vec<_> = settings.map(|settings| settings.to_string()).collect();
            assert_eq!(settings, [options.to_string()], "{ledger}");
        }
    }
}

#[test]
fn what_cannot_be_recompiled_is_refused() {
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Optimized);
    let text = r#"(module (import "host" "g" (func)) (func (export "f")))"#;
    let module = Module::new(&engine, text).unwrap();
    let options = RecompileOptions::optimized();
    for function in [0, 2, u32::MAX] {
        let error = module.recompile(function, &options).unwrap_err();
        assert!(error.to_string().contains("not defined"), "{error}");
    }
    let error = module.recompile(1, &options.version(3)).unwrap_err();
    assert!(error.to_string().contains("no version 3"), "{error}");
    assert!(engine.code_ledger().code.is_empty());
}

/// The second compilation is that of the function, and the third one that of its loop, in which it is.
#[test]
fn a_recompilation_whose_compiler_panics_leaves_the_code_as_it_was() {
    let _watchdog = Watchdog::start();
    for number in [2, 3] {
        let mut config = Config::new();
        let stress: StressSpec = format!("panic:{number}").parse().unwrap();
        config.tier(Tier::Optimized).background_compilation(false).stress(stress);
        let engine = Engine::new(&config).unwrap();
        let text = r#"(module (import "host" "edit" (func $edit))
            (func (export "f") (param i32) (result i32) (local i32)
                (loop $next
                    (local.set 1 (i32.add (local.get 1) (local.get 0)))
                    (call $edit)
                    (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1)))"#;
        let module = Module::new(&engine, text).unwrap();
        let outcomes: Arc<Mutex<Vec<Result<usize, String>>>> = Arc::default();
        let (edited, results) = (module.clone(), outcomes.clone());
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("host", "edit", move || {
                let code = || edited.engine().code_ledger().code.into_iter().map(|c| c.address);
                let before: Vec<usize> = code().collect();
                let done = edited.recompile(1, &RecompileOptions::unoptimized());
                assert_eq!(done.is_err(), code().eq(before));
                let done = done.map(|done| done.osr_entries).map_err(|e| format!("{e:#}"));
                results.lock().unwrap().push(done);
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, 2).unwrap(), 3);
        let outcomes = outcomes.lock().unwrap();
        let [Err(error), Ok(1)] = &outcomes[..] else { panic!("{number}: {outcomes:?}") };
        assert!(error.ends_with("the compiler panicked"), "{error}");
    }
}

/// The guest spins in `f` until the host stops it; meanwhile the loop is recompiled again and again.
#[test]
fn a_running_loop_moves_to_each_new_code() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Optimized, Tier::Auto] {
        let engine = engine(tier);
        let text = r#"(module (memory (export "m") 1)
            (func (export "f") (result i64) (local $n i64)
                (loop $next
                    (local.set $n (i64.add (local.get $n) (i64.const 1)))
                    (i64.store (i32.const 8) (local.get $n))
                    (br_if $next (i32.eqz (i32.load (i32.const 0)))))
                (local.get $n)))"#;
        let module = Module::new(&engine, text).unwrap();
        let function = module.function_index("f").unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let base = memory.data_ptr(&store);
        // SAFETY: the store, which owns the memory, lives until the guest has returned. Memories are aligned.
        let (stop, count) =
            unsafe { (AtomicU32::from_ptr(base.cast()), AtomicU64::from_ptr(base.add(8).cast())) };
        let f = instance.get_typed_func::<(), i64>(&mut store, "f").unwrap();
        let events = engine.events();
        std::thread::scope(|scope| {
            let guest = scope.spawn(|| f.call(&mut store, ()).unwrap());
            while count.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            // Until it has been in its code when that was retired: at first it may be in the interpreter.
            let (mut moved, mut round) = (0, 0);
            while moved == 0 || round < 10 {
                for options in variants() {
                    let report = module.recompile(function, &options).unwrap();
                    moved += report.frames_redirected;
                    assert_eq!(report.freed_bytes, report.bytes_before, "round {round}, {options}");
                }
                round += 1;
            }
            // It goes on in machine code, not in the interpreter: its loop has been entered.
            while engine.stats().osr_entries.total() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.store(1, Ordering::Relaxed);
            assert_eq!(guest.join().unwrap() as u64, count.load(Ordering::Relaxed));
        });
        let live: Vec<_> = engine.code_ledger().code.iter().map(|entry| entry.version).collect();
        // Of the function, of its loop, and on the interpreter's frames.
        assert!(!live.is_empty() && live.len() <= 3, "{live:?}");
        for event in events {
            if let Event::Freed { address, bytes, .. } = event {
                assert!(engine.is_code_free(address, bytes));
            }
        }
    }
}

/// A guest spins in version 0 of `f`, which was replaced and whose frames finish. It is recompiled by its number, in
/// every way that there is, and moves to each new code. When it has ended, nothing is left of the version.
#[test]
fn an_old_version_that_runs_is_recompiled_and_then_forgotten() {
    let _watchdog = Watchdog::start();
    let text = |f: &str, g: i32| {
        format!(
            r#"(module (memory (export "m") 1)
                (func $f (export "f") (result i64) (local $n i64) {f})
                (func $g (export "g") (result i32) (i32.const {g})))"#
        )
    };
    let spin = r#"(loop $next
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (i64.store (i32.const 8) (local.get $n))
            (br_if $next (i32.eqz (i32.load (i32.const 0)))))
        (local.get $n)"#;
    for tier in [Tier::Baseline, Tier::Optimized, Tier::Auto] {
        let engine = engine(tier);
        let module = Module::new(&engine, text(spin, 0)).unwrap();
        let [f, g] = ["f", "g"].map(|name| module.function_index(name).unwrap());
        let body = |text: &str, name: &str| {
            Module::new(&engine, text).unwrap().function_body(name).unwrap()
        };
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let base = memory.data_ptr(&store);
        // SAFETY: the store, which owns the memory, lives until the guest has returned. Memories are aligned.
        let (stop, count) =
            unsafe { (AtomicU32::from_ptr(base.cast()), AtomicU64::from_ptr(base.add(8).cast())) };
        let guest = instance.get_typed_func::<(), i64>(&mut store, "f").unwrap();
        std::thread::scope(|scope| {
            let guest = scope.spawn(|| guest.call(&mut store, ()).unwrap());
            // Its loop has been entered so often.
            let entered = || engine.stats().osr_entries.total();
            let wait_for = |happened: &dyn Fn() -> bool| {
                while !happened() {
                    std::thread::yield_now();
                }
            };
            wait_for(&|| count.load(Ordering::Relaxed) > 0);
            let edited = body(&text("(i64.const -1)", 0), "f");
            module.update().body(f, edited).policy(f, Policy::Finish).apply().unwrap();
            let mut bytes = None;
            for options in variants() {
                let before = entered();
                let report = module.recompile(f, &options.version(0)).unwrap();
                assert_eq!((report.version, report.osr_entries), (0, 1), "{options}");
                assert_eq!(report.freed_bytes, report.bytes_before, "{options}");
                if let Some(bytes) = bytes.replace(report.bytes) {
                    assert_eq!(report.bytes_before, bytes, "{options}");
                    assert_eq!(report.frames_redirected, 1, "{options}: it ran the code of before");
                }
                wait_for(&|| entered() > before);
            }
            let ledger = engine.code_ledger();
            let old = ledger.code.iter().filter(|entry| (entry.function, entry.version) == (f, 0));
            assert_eq!(old.count(), 1, "{ledger}");
            // The current version does not care.
            let mut other = Store::new(&engine, ());
            let instance = Instance::new(&mut other, &module, &[]).unwrap();
            let current = instance.get_typed_func::<(), i64>(&mut other, "f").unwrap();
            assert_eq!(current.call(&mut other, ()).unwrap(), -1);

            // Another function is replaced so often that old versions are looked for.
            let replace_g = || {
                for round in 0..200 {
                    module.update().body(g, body(&text(spin, round), "g")).apply().unwrap();
                }
            };
            replace_g();
            module.recompile(f, &RecompileOptions::unoptimized().version(0)).expect("it runs");
            stop.store(1, Ordering::Release);
            assert_eq!(guest.join().unwrap(), count.load(Ordering::Relaxed) as i64);
            replace_g();
        });
        let error = module.recompile(f, &RecompileOptions::optimized().version(0)).unwrap_err();
        assert!(error.to_string().contains("no version 0"), "{error}");
        let ledger = engine.code_ledger();
        let old = ledger.code.iter().filter(|entry| (entry.function, entry.version) == (f, 0));
        assert_eq!(old.count(), 0, "{ledger}");
    }
}

/// `f` recurses, recompiles itself at the bottom with other options, and goes on.
#[test]
fn suspended_frames_leave_code_that_is_recompiled_under_them() {
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Optimized);
    let text = r#"(module (import "host" "bottom" (func $bottom))
        (func $f (export "f") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0))
                (then (call $bottom) (i32.const 0))
                (else (i32.add
                    (call $f (i32.sub (local.get 0) (i32.const 1)))
                    (local.get 0))))))"#;
    let module = Module::new(&engine, text).unwrap();
    let function = module.function_index("f").unwrap();
    let mut linker = Linker::<()>::new(&engine);
    let recompiled = module.clone();
    linker
        .func_wrap("host", "bottom", move || -> midair::Result<()> {
            for options in variants() {
                let report = recompiled.recompile(function, &options)?;
                anyhow::ensure!(report.freed_bytes == report.bytes_before, "{report:?}");
            }
            Ok(())
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, 100).unwrap(), 5050);
    assert!(engine.stats().frames.redirected >= 101, "{:?}", engine.stats().frames);
    assert_eq!(f.call(&mut store, 10).unwrap(), 55);
}

/// Many threads recompile one function at once; the guest does not notice.
#[test]
fn recompilations_from_several_threads_leave_one_code() {
    let _watchdog = Watchdog::start();
    let engine = engine(Tier::Auto);
    let module = Module::new(&engine, SQUARES).unwrap();
    let function = module.function_index("f").unwrap();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
            while !done.load(Ordering::Acquire) {
                assert_eq!(f.call(&mut store, 3000).unwrap(), squares(3000));
            }
        });
        let tuners: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for options in variants() {
                        module.recompile(function, &options).unwrap();
                    }
                })
            })
            .collect();
        for tuner in tuners {
            tuner.join().unwrap();
        }
        done.store(true, Ordering::Release);
        guest.join().unwrap();
    });
    let ledger = engine.code_ledger();
    // Of the function, of its loop, and on the interpreter's frames.
    assert!(!ledger.code.is_empty() && ledger.code.len() <= 3, "{ledger}");
}
