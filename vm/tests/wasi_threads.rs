//! Programs that start threads: how they begin, what they share, and how the program ends, in every tier.

use anyhow::{Context, Result};
use midair::wasi::threads::Threads;
use midair::wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WritePipe, add_to_linker};
use midair::{Config, Engine, Linker, Module, Store, StressSpec, Tier, Trap, WasmBacktrace};
use midair_watchdog::Watchdog;

const CONFIGURATIONS: [(Tier, &str); 6] = [
    (Tier::Interp, ""),
    (Tier::Baseline, ""),
    (Tier::Optimized, ""),
    (Tier::Auto, "osr:1,retire:1"),
    (Tier::Auto, "mixed:1"),
    (Tier::Auto, ""),
];

fn in_each(mut test: impl FnMut(&Engine) -> Result<()>) -> Result<()> {
    for (tier, stress) in CONFIGURATIONS {
        let mut config = Config::new();
        config.tier(tier).background_compilation(false).optimized_threshold(10);
        if !stress.is_empty() {
            config.stress(stress.parse::<StressSpec>()?);
        }
        test(&Engine::new(&config)?).with_context(|| format!("{tier:?} {stress}"))?;
    }
    Ok(())
}

/// What every program has. `$wait` waits until the word at 0 is this, or for ever.
const COMMON: &str = r#"
    (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
    (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_rights"
        (func $rights (param i32 i64 i64) (result i32)))
    (func $add (param $at i32) (param $what i32)
        (drop (i32.atomic.rmw.add (local.get $at) (local.get $what)))
        (drop (memory.atomic.notify (local.get $at) (i32.const -1))))
    (func $wait (param $at i32) (param $for i32) (local $seen i32)
        (loop $again
            (local.set $seen (i32.atomic.load (local.get $at)))
            (if (i32.eq (local.get $seen) (local.get $for)) (then return))
            (drop (memory.atomic.wait32 (local.get $at) (local.get $seen) (i64.const -1)))
            (br $again)))"#;

fn program(engine: &Engine, text: &str) -> Result<(Module, Linker<WasiCtx>)> {
    let module = Module::new(engine, format!("(module {COMMON} {text})"))?;
    let mut linker = Linker::new(engine);
    add_to_linker(&mut linker, |wasi: &mut WasiCtx| wasi)?;
    Ok((module, linker))
}

/// Runs a program to its end.
fn run(engine: &Engine, text: &str) -> Result<()> {
    let (module, linker) = program(engine, text)?;
    let threads = Threads::new(linker, &module, WasiCtx::clone)?;
    let mut store = Store::new(engine, WasiCtxBuilder::new().build());
    start(threads, &mut store)
}

fn start(threads: Threads<WasiCtx>, store: &mut Store<WasiCtx>) -> Result<()> {
    let result = threads.instantiate(store).and_then(|instance| {
        instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(&mut *store, ())
    });
    threads.end(result)
}

fn exit_status(result: Result<()>) -> Option<i32> {
    result.err()?.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

fn trap(result: &Result<()>) -> Option<Trap> {
    result.as_ref().err()?.downcast_ref().copied()
}

#[test]
fn threads_get_their_number_and_argument_and_share_what_is_in_memory_only() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let result = run(
            engine,
            r#"(global $own (mut i32) (i32.const 0)) (table $t 1 1 funcref) (elem declare func $add)
            (func (export "wasi_thread_start") (param $number i32) (param $argument i32)
                ;; Globals and tables are a thread's own.
                (if (global.get $own) (then unreachable))
                (global.set $own (local.get $number))
                (if (i32.eqz (ref.is_null (table.get $t (i32.const 0)))) (then unreachable))
                (table.set $t (i32.const 0) (ref.func $add))
                (i32.store (i32.add (i32.const 64) (i32.mul (local.get $argument) (i32.const 4)))
                    (local.get $number))
                (call $add (i32.const 0) (i32.const 1)))
            (func (export "_start") (local $i i32) (local $number i32)
                (loop $again
                    (local.set $number (call $spawn (local.get $i)))
                    (if (i32.le_s (local.get $number) (i32.const 0)) (then unreachable))
                    (i32.store offset=128 (i32.mul (local.get $i) (i32.const 4)) (local.get $number))
                    (br_if $again (i32.lt_u
                        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
                (call $wait (i32.const 0) (i32.const 5))
                (loop $check
                    (local.set $i (i32.sub (local.get $i) (i32.const 1)))
                    (if (i32.ne (i32.load offset=128 (i32.mul (local.get $i) (i32.const 4)))
                            (i32.load offset=64 (i32.mul (local.get $i) (i32.const 4))))
                        (then unreachable))
                    (br_if $check (local.get $i)))
                (if (i32.eq (i32.load (i32.const 64)) (i32.load (i32.const 68))) (then unreachable))
                (if (global.get $own) (then unreachable))
                (call $exit (i32.const 7)))"#,
        );
        assert_eq!(exit_status(result), Some(7));
        Ok(())
    })
}

/// Where the others are when a thread ends the program.
const BUSY: [(&str, &str); 3] = [
    ("in a loop", "(loop $again (br $again))"),
    ("waiting", "(drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))"),
    (
        "in a loop of waits",
        "(loop $again (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const 1000)))
            (br $again))",
    ),
];

#[test]
fn the_first_thread_ends_all() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (place, busy) in BUSY {
        for (how, end) in
            [("exit", "(call $exit (i32.const 9))"), ("trap", "unreachable"), ("return", "")]
        {
            in_each(|engine| {
                let text = format!(
                    r#"(func (export "wasi_thread_start") (param i32 i32)
                        (call $add (i32.const 0) (i32.const 1)) {busy})
                    (func (export "_start")
                        (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 0)))
                        (call $wait (i32.const 0) (i32.const 2)) {end})"#
                );
                let result = run(engine, &text);
                match how {
                    "exit" => assert_eq!(exit_status(result), Some(9), "{place}"),
                    "trap" => {
                        assert_eq!(trap(&result), Some(Trap::UnreachableCodeReached), "{place}")
                    }
                    _ => result?,
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn another_thread_ends_all() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (place, busy) in BUSY {
        for (how, end) in [("exit", "(call $exit (i32.const 0))"), ("trap", "(call $deep)")] {
            in_each(|engine| {
                let text = format!(
                    r#"(func $deep (drop (i32.div_u (i32.const 1) (i32.const 0))))
                    (func $start (export "wasi_thread_start") (param i32) (param $argument i32)
                        (call $add (i32.const 0) (i32.const 1))
                        (call $wait (i32.const 0) (i32.const 3))
                        (if (local.get $argument) (then {end}))
                        {busy})
                    (func (export "_start")
                        (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 1)))
                        (call $add (i32.const 0) (i32.const 1)) {busy})"#
                );
                let result = run(engine, &text);
                if how == "exit" {
                    assert_eq!(exit_status(result), Some(0), "{place}");
                    return Ok(());
                }
                assert_eq!(trap(&result), Some(Trap::IntegerDivisionByZero), "{place}");
                let error = result.unwrap_err();
                let backtrace = error.downcast_ref::<WasmBacktrace>().context("it has one")?;
                let names: Vec<_> =
                    backtrace.frames().iter().filter_map(|frame| frame.func_name()).collect();
                assert_eq!(names, ["deep", "start"]);
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn threads_are_refused_where_there_are_too_many_or_no_start() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let spawn_three = r#"(func (export "_start")
            (if (i32.le_s (call $spawn (i32.const 0)) (i32.const 0)) (then (call $exit (i32.const 1))))
            (if (i32.le_s (call $spawn (i32.const 0)) (i32.const 0)) (then (call $exit (i32.const 2))))
            (if (i32.le_s (call $spawn (i32.const 0)) (i32.const 0)) (then (call $exit (i32.const 3)))))"#;
        assert_eq!(exit_status(run(engine, spawn_three)), Some(1));
        let text = format!(
            r#"{spawn_three} (func (export "wasi_thread_start") (param i32 i32)
                (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))"#
        );
        run(engine, &text)?;
        let (module, linker) = program(engine, &text)?;
        let threads = Threads::with_limits(linker.clone(), &module, WasiCtx::clone, 2, 1 << 20)?;
        let mut store = Store::new(engine, WasiCtxBuilder::new().build());
        assert_eq!(exit_status(start(threads, &mut store)), Some(3));
        // A memory within limits, and one that is not.
        let grows = r#"(func (export "_start")
            (call $exit (i32.add (memory.grow (i32.const 1)) (memory.grow (i32.const 1)))))"#;
        let (module, linker) = program(engine, grows)?;
        let threads =
            Threads::with_limits(linker.clone(), &module, WasiCtx::clone, 2, (2 << 16) + 1)?;
        let mut store = Store::new(engine, WasiCtxBuilder::new().build());
        assert_eq!(exit_status(start(threads, &mut store)), Some(0));
        assert!(Threads::with_limits(linker, &module, WasiCtx::clone, 2, 1 << 15).is_err());
        Ok(())
    })
}

/// A thread has half of the fuel that its parent has left, so that a program has no more than it was given.
#[test]
fn fuel_is_divided() -> Result<()> {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Interp, Tier::Optimized] {
        let engine = Engine::new(Config::new().tier(tier).consume_fuel(true))?;
        let text = r#"
            (func $start (export "wasi_thread_start") (param i32 i32)
                (drop (call $spawn (i32.const 0)))
                (loop $again (br $again)))
            (func (export "_start") (call $start (i32.const 0) (i32.const 0)))"#;
        let (module, linker) = program(&engine, text)?;
        let threads = Threads::new(linker, &module, WasiCtx::clone)?;
        let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
        store.set_fuel(100_000)?;
        assert_eq!(trap(&start(threads, &mut store)), Some(Trap::OutOfFuel));
    }
    Ok(())
}

/// System calls work on a shared memory, from several threads at once, and descriptors are the program's.
#[test]
fn threads_call_wasi() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let text = r#"
            ;; 32: where the text is, and how long; 48: how much has been written.
            (data (i32.const 1024) "0123456789abcdef")
            (func (export "wasi_thread_start") (param i32) (param $argument i32) (local $i i32)
                (loop $again
                    (if (call $write (i32.const 1) (i32.const 32) (i32.const 1)
                            (i32.add (i32.const 512) (i32.mul (local.get $argument) (i32.const 4))))
                        (then unreachable))
                    (if (call $random (i32.add (i32.const 4096) (local.get $argument)) (i32.const 1))
                        (then unreachable))
                    (br_if $again (i32.lt_u
                        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
                ;; Its parent cannot write either, from now on.
                (call $add (i32.const 0) (i32.const 1))
                (if (local.get $argument) (then (call $wait (i32.const 0) (i32.const 2))
                    (drop (call $rights (i32.const 1) (i64.const 0) (i64.const 0)))
                    (call $add (i32.const 0) (i32.const 1)))))
            (func (export "_start")
                (i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 16))
                (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 1)))
                (call $wait (i32.const 0) (i32.const 3))
                (call $exit (call $write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 48))))"#;
        let (module, linker) = program(engine, text)?;
        let output = WritePipe::new_in_memory();
        let wasi = WasiCtxBuilder::new().stdout(Box::new(output.clone())).build();
        let threads = Threads::new(linker, &module, WasiCtx::clone)?;
        let mut store = Store::new(engine, wasi);
        const NOT_CAPABLE: i32 = 76;
        assert_eq!(exit_status(start(threads, &mut store)), Some(NOT_CAPABLE));
        drop(store);
        let written = output.try_into_inner().ok().context("nobody has it")?.into_inner();
        assert_eq!(written, b"0123456789abcdef".repeat(20));
        Ok(())
    })
}

/// Threads that start when a function has been replaced run the new body, those that ran before go on in it, and what an
/// update writes into the memory is written once.
#[test]
fn an_update_reaches_all_threads() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = |step: u32, data: &str| {
        format!(
            r#"(data $data "{data}")
            ;; As toolchains do it: the first instance fills the memory.
            (func $fill
                (if (i32.atomic.rmw.cmpxchg (i32.const 16) (i32.const 0) (i32.const 1)) (then return))
                (memory.init $data (i32.const 256) (i32.const 0) (i32.const 4)))
            (start $fill)
            (func $step (export "step") (result i32) (i32.const {step}))
            (func (export "wasi_thread_start") (param i32 i32)
                ;; What the word at 256 is made of it, it stays.
                (i32.atomic.store8 (i32.const 256) (i32.const 65))
                (call $add (i32.const 0) (i32.const 1))
                (loop $again
                    (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const 100000)))
                    (br_if $again (i32.ne (call $step) (i32.const 2))))
                (call $add (i32.const 4) (call $step)))
            (func (export "_start")
                (drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 0)))
                (call $wait (i32.const 0) (i32.const 2))
                (call $wait (i32.const 4) (i32.const 4))
                (drop (call $spawn (i32.const 0)))
                (call $wait (i32.const 4) (i32.const 6))
                (call $exit (i32.load (i32.const 256))))"#
        )
    };
    in_each(|engine| {
        let (module, linker) = program(engine, &text(1, "a\\00\\00\\00"))?;
        let update = module
            .update()
            .module(wat::parse_str(format!("(module {COMMON} {})", text(2, "a\\01\\00\\00")))?)?;
        let update = update.data(midair::DataPolicy::Apply);
        let threads = Threads::new(linker, &module, WasiCtx::clone)?;
        let mut store = Store::new(engine, WasiCtxBuilder::new().build());
        let instance = threads.instantiate(&mut store)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        let handle = store.interrupt_handle();
        let result = std::thread::scope(|scope| -> Result<Result<()>> {
            let running = scope.spawn(move || run.call(&mut store, ()));
            while threads.running() < 2 {
                std::thread::yield_now();
            }
            let applied = update.apply();
            if applied.is_err() {
                handle.interrupt();
            }
            let result = running.join().expect("no panic");
            applied.map(|_| result)
        })?;
        assert_eq!(exit_status(threads.end(result)), Some(0x0141));
        Ok(())
    })
}
