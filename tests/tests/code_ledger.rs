//! The ledger of code: every live byte is in it, with who keeps it; and nothing is left when nobody does.

use anyhow::Result;
use midair::{
    Caller, CodeEntry, CodeLedger, CodeState, Config, Engine, Instance, Linker, Module, Pin, Store,
    Tier,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn compiled() -> Engine {
    Engine::new(Config::new().tier(Tier::Optimized).background_compilation(false)).unwrap()
}

/// The sums agree with the heap's counters, to the byte.
fn check(ledger: &CodeLedger) {
    let heap = &ledger.heap;
    assert_eq!(ledger.live_bytes(), heap.live_bytes);
    assert_eq!(ledger.code.len() as u64, heap.live_objects);
    let quarantined: u64 = ledger.quarantined.iter().map(|q| q.1 as u64).sum();
    assert_eq!(quarantined, heap.quarantined_bytes);
    let whole = ledger.thunk_area_bytes + ledger.live_bytes() + quarantined + ledger.free_bytes;
    assert_eq!(whole, ledger.reserved_bytes);
    let summary = ledger.summary();
    let states = [summary.linked, summary.osr_entries, summary.unlinked];
    assert_eq!(states.iter().map(|sum| sum.bytes).sum::<u64>(), heap.live_bytes);
    for entry in &ledger.code {
        assert!(entry.bytes <= entry.heap_bytes && entry.heap_bytes < entry.bytes + 64);
    }
}

#[test]
fn each_entry_says_whose_it_is() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let text = r#"(module $m
        (func $one (export "one") (result i32) (i32.const 1))
        (func $two (export "two") (result i32) (i32.add (call $one) (i32.const 1))))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    assert!(engine.code_ledger().code.is_empty());
    let two = instance.get_typed_func::<(), i32>(&mut store, "two").unwrap();
    assert_eq!(two.call(&mut store, ()).unwrap(), 2);

    let ledger = engine.code_ledger();
    check(&ledger);
    let mut names: Vec<_> = ledger.code.iter().map(|e| e.function_name.clone().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    for entry in &ledger.code {
        assert_eq!(entry.module_name.as_deref(), Some("m"));
        assert_eq!((entry.state, entry.pin), (CodeState::Linked, Pin::CurrentVersion));
        assert_eq!((entry.entry, entry.tier), (CodeEntry::Function, Tier::Optimized));
    }
    assert!(ledger.thunk_bytes > 0);
    let table = ledger.to_string();
    assert!(table.contains("m!one") && table.contains("current version"), "{table}");
}

#[test]
fn dropping_a_module_returns_its_code_and_nobody_elses() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let text = |n: i32| format!(r#"(module (func (export "f") (result i32) (i32.const {n})))"#);
    let mut live: Vec<(i32, Store<()>, Instance)> = Vec::new();
    for n in 0..50 {
        let module = Module::new(&engine, text(n)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        live.push((n, store, instance));
    }
    while !live.is_empty() {
        for (n, store, instance) in &mut live {
            let f = instance.get_typed_func::<(), i32>(&mut *store, "f").unwrap();
            assert_eq!(f.call(store, ()).unwrap(), *n);
        }
        let ledger = engine.code_ledger();
        check(&ledger);
        assert_eq!((ledger.code.len(), ledger.modules), (live.len(), live.len()));
        // Every other one, so that holes come about.
        let mut keep = true;
        live.retain(|_| {
            keep = !keep;
            keep
        });
    }
    let ledger = engine.code_ledger();
    check(&ledger);
    assert_eq!((ledger.code.len(), ledger.modules), (0, 0));
    engine.trim_code_memory();
    let ledger = engine.code_ledger();
    assert_eq!(ledger.heap.committed_bytes, 0);
    assert!(ledger.quarantined.is_empty());
}

#[test]
fn sums_are_exact_while_threads_compile_replace_and_drop() {
    let _watchdog = Watchdog::start();
    let engine = &compiled();
    let text = |n: i32| {
        format!(
            r#"(module (func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))
                (func (export "f") (param i32) (result i32) (local i32)
                    (loop
                        (local.set 1 (call $g (local.get 1)))
                        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                    (local.get 1)))"#
        )
    };
    let text = &text;
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..4)
            .map(|n| {
                scope.spawn(move || {
                    for _ in 0..60 {
                        let module = Module::new(engine, text(n)).unwrap();
                        let body =
                            Module::new(engine, text(n)).unwrap().function_body("f").unwrap();
                        let mut store = Store::new(engine, ());
                        let instance = Instance::new(&mut store, &module, &[]).unwrap();
                        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                        assert_eq!(f.call(&mut store, 100).unwrap(), 100 * n);
                        let function = module.function_index("f").unwrap();
                        module.replace_function(function, &body).unwrap();
                        assert_eq!(f.call(&mut store, 200).unwrap(), 200 * n);
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(move || {
            let mut looks = 0;
            while !done.load(Ordering::Acquire) {
                check(&engine.code_ledger());
                looks += 1;
            }
            looks
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(watcher.join().unwrap() > 10);
    });
    let ledger = engine.code_ledger();
    check(&ledger);
    assert!(ledger.code.is_empty() && ledger.modules == 0, "{ledger}");
}

#[test]
fn dropping_an_engine_gives_back_memory_mappings_and_files() {
    let _watchdog = Watchdog::start();
    let usage = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let virtual_pages: usize = statm.split(' ').next().unwrap().parse().unwrap();
        (maps, files, resident, virtual_pages)
    };
    let cycle = |code: bool| {
        let engine = compiled();
        if !code {
            return;
        }
        let text = r#"(module (func (export "f") (result i32) (i32.const 7)))"#;
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), 7);
    };
    // Other tests of this process have mappings of their own, which come and go: so this one runs alone.
    if std::env::var_os("MIDAIR_ENGINES").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dropping_an_engine_gives_back_memory_mappings_and_files"])
            .env("MIDAIR_ENGINES", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    for _ in 0..200 {
        cycle(true);
    }
    let (maps, files, resident, virtual_pages) = usage();
    for i in 0..10_000 {
        cycle(i % 10 == 0);
    }
    let after = usage();
    assert!(after.0 <= maps + 4, "{maps} mappings before, {} after", after.0);
    assert_eq!(after.1, files, "files");
    assert!(after.2 <= resident + 256, "{resident} pages before, {} after", after.2);
    assert!(
        after.3 <= virtual_pages + (16 << 8),
        "{virtual_pages} pages before, {} after",
        after.3
    );
}

/// A function replaces itself in every call.
#[test]
fn old_versions_are_listed_as_long_as_they_are_kept() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    let text = |n: i32| {
        format!(
            r#"(module (import "host" "replace" (func $replace))
                (func (export "f") (result i32) (call $replace) (i32.const {n})))"#
        )
    };
    let module = Module::new(&engine, text(1)).unwrap();
    let body = Module::new(&engine, text(2)).unwrap().function_body("f").unwrap();
    let mut linker = Linker::new(&engine);
    let edited = module.clone();
    linker
        .func_wrap("host", "replace", move |caller: Caller<'_, ()>| -> Result<()> {
            let function = edited.function_index("f").unwrap();
            edited.replace_function(function, &body)?;
            check(&caller.engine().code_ledger());
            Ok(())
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
    let mut seen = 0;
    for _ in 0..200 {
        assert_eq!(f.call(&mut store, ()).unwrap(), 2);
        let ledger = engine.code_ledger();
        check(&ledger);
        // They are forgotten in batches.
        assert!(ledger.versions.len() <= 64, "{ledger}");
        assert!(ledger.versions.iter().all(|kept| kept.function == 1 && kept.code_objects == 0));
        seen = seen.max(ledger.versions.len());
    }
    assert!(seen > 0);
}

/// While a guest computes without a safepoint, the code that another thread retires waits for it.
#[test]
fn retired_code_is_pinned_by_its_retirement() {
    let _watchdog = Watchdog::start();
    let engine = compiled();
    // One `memory.fill` of 256 MiB takes a while, and has no safepoint in it.
    let text = r#"(module (import "host" "go" (func $go)) (memory (export "m") 4096)
        (func (export "f") (call $go) (memory.fill (i32.const 0) (i32.const 1) (i32.const 268435456))))"#;
    let module = Module::new(&engine, text).unwrap();
    let (started, go) = channel();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "go", move || started.send(()).unwrap()).unwrap();
    let function = module.function_index("f").unwrap();
    let body = module.function_body("f").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
            f.call(&mut store, ()).unwrap();
        });
        go.recv().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let replacer = scope.spawn(|| {
            module.replace_function(function, &body).unwrap();
        });
        // What is seen depends on the threads; the sums hold at every moment, and the pins make sense.
        let until = Instant::now() + Duration::from_secs(20);
        while !replacer.is_finished() && Instant::now() < until {
            let ledger = engine.code_ledger();
            check(&ledger);
            for entry in &ledger.code {
                if let Pin::Retirement { stores } = entry.pin {
                    assert_eq!(entry.state, CodeState::Unlinked);
                    assert!(stores <= 2, "{ledger}");
                }
            }
        }
        replacer.join().unwrap();
    });
    check(&engine.code_ledger());
}
