//! Several threads of one shared memory: in which order they see what the others do; waiting; and functions that are replaced
//! while all threads run. In every tier, and while frames change theirs.

use anyhow::{Context, Result};
use midair::{
    Config, Engine, Instance, Linker, MemoryType, Module, SharedMemory, Stats, Store, StressSpec,
    Tier, Trap, TypedFunc,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const CONFIGURATIONS: [(Tier, &str); 9] = [
    (Tier::Interp, ""),
    (Tier::Baseline, ""),
    (Tier::Optimized, ""),
    (Tier::Auto, ""),
    (Tier::Optimized, "osr:1,retire:1"),
    (Tier::Auto, "osr:1,retire:1"),
    (Tier::Auto, "osr:7,retire:5"),
    (Tier::Auto, "mixed:1"),
    (Tier::Auto, "mixed:20,osr:7,retire:5,far:8"),
];

fn in_each(mut test: impl FnMut(&Engine) -> Result<()>) -> Result<()> {
    for (tier, stress) in CONFIGURATIONS {
        test(&engine(tier, stress)?).with_context(|| format!("{tier:?} {stress}"))?;
    }
    Ok(())
}

fn engine(tier: Tier, stress: &str) -> Result<Engine> {
    let mut config = Config::new();
    config.tier(tier).optimized_threshold(20).background_compilation(false);
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>()?);
    }
    Engine::new(&config)
}

/// An instance of a thread's own, with the shared memory.
fn instance(
    engine: &Engine,
    module: &Module,
    memory: &SharedMemory,
) -> Result<(Store<()>, Instance)> {
    let mut store = Store::new(engine, ());
    let mut linker = Linker::new(engine);
    linker.define(&store, "", "memory", memory.clone())?;
    let instance = linker.instantiate(&mut store, module)?;
    Ok((store, instance))
}

const MEMORY: &str = r#"(import "" "memory" (memory 1 4 shared))"#;

fn memory(engine: &Engine) -> Result<SharedMemory> {
    SharedMemory::new(engine, MemoryType::shared(1, 4))
}

/// Calls `name` with the numbers of the threads and with `argument`, all at once; their answers.
fn at_once(
    engine: &Engine,
    module: &Module,
    memory: &SharedMemory,
    threads: u32,
    name: &str,
    argument: u32,
) -> Result<Vec<u32>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn(move || -> Result<u32> {
                    let (mut store, instance) = instance(engine, module, memory)?;
                    let f = instance.get_typed_func::<(u32, u32), u32>(&mut store, name)?;
                    f.call(&mut store, (n, argument))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn trap<T>(result: Result<T>) -> Option<Trap> {
    result.err().map(|error| *error.downcast_ref().expect("a trap"))
}

/// Four threads add, with each width, and by exchanging in loops: nothing is lost.
#[test]
fn sums_of_four_threads_are_whole() -> Result<()> {
    let _watchdog = Watchdog::start();
    const ROUNDS: u32 = 1000;
    let text = format!(
        r#"(module {MEMORY}
            (func (export "run") (param $n i32) (param $rounds i32) (result i32) (local $old i32)
                (loop $again
                    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 3)))
                    (drop (i32.atomic.rmw.sub (i32.const 4) (i32.const 5)))
                    (drop (i64.atomic.rmw.add (i32.const 8) (i64.const 0x1_0000_0001)))
                    (drop (i32.atomic.rmw8.add_u (i32.const 17) (i32.const 1)))
                    (drop (i64.atomic.rmw16.add_u (i32.const 18) (i64.const 1)))
                    (drop (i32.atomic.rmw.xor (i32.const 20) (i32.shl (i32.const 1) (local.get $n))))
                    ;; by compare and exchange
                    (loop $retry
                        (local.set $old (i32.atomic.load (i32.const 24)))
                        (br_if $retry (i32.ne (local.get $old)
                            (i32.atomic.rmw.cmpxchg (i32.const 24) (local.get $old)
                                (i32.add (local.get $old) (i32.const 1))))))
                    ;; under a lock, with accesses that are not atomic
                    (loop $spin
                        (br_if $spin (i32.atomic.rmw.xchg (i32.const 28) (i32.const 1))))
                    (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 7)))
                    (i64.store (i32.const 36) (i64.add (i64.load (i32.const 36)) (i64.const 9)))
                    (i32.atomic.store (i32.const 28) (i32.const 0))
                    (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
                (i32.const 0)))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        at_once(engine, &module, &memory, 4, "run", ROUNDS)?;
        let word = |at| {
            let mut bytes = [0; 8];
            memory.read(at, &mut bytes).expect("in bounds");
            u64::from_le_bytes(bytes)
        };
        let low = |at| word(at) as u32;
        let all = u64::from(4 * ROUNDS);
        assert_eq!(low(0), 4 * ROUNDS * 3);
        assert_eq!(low(4), (4 * ROUNDS * 5).wrapping_neg());
        assert_eq!(word(8), all << 32 | all);
        assert_eq!(word(17) as u8, (4 * ROUNDS) as u8);
        assert_eq!(word(16) as u8, 0);
        assert_eq!(word(18) as u16, (4 * ROUNDS) as u16);
        assert_eq!(low(20), 0);
        assert_eq!(low(24), 4 * ROUNDS);
        assert_eq!(low(32), 4 * ROUNDS * 7);
        assert_eq!(word(36), all * 9);
        Ok(())
    })
}

/// Two threads that meet before each round, by counting. Who is early spins for a while, and then sleeps: the other may
/// have no processor.
const MEET: &str = r#"
    (func $meet (param $round i32) (local $seen i32) (local $spins i32)
        (drop (i32.atomic.rmw.add (i32.const 256) (i32.const 1)))
        (drop (memory.atomic.notify (i32.const 256) (i32.const 1)))
        (loop $until
            (if (i32.ge_u (local.tee $seen (i32.atomic.load (i32.const 256)))
                    (i32.shl (local.get $round) (i32.const 1)))
                (then return))
            (br_if $until (i32.lt_u (local.tee $spins (i32.add (local.get $spins) (i32.const 1)))
                (i32.const 500)))
            (drop (memory.atomic.wait32 (i32.const 256) (local.get $seen) (i64.const -1)))
            (br $until)))"#;

/// Message passing: who sees the flag sees the message, which is written and read without being atomic.
#[test]
fn messages_are_there_when_their_flag_is() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = format!(
        r#"(module {MEMORY}
            (func $until (param $at i32) (param $least i32) (local $seen i32) (local $spins i32)
                (loop $again
                    (if (i32.ge_u (local.tee $seen (i32.atomic.load (local.get $at))) (local.get $least))
                        (then return))
                    (br_if $again (i32.lt_u
                        (local.tee $spins (i32.add (local.get $spins) (i32.const 1))) (i32.const 500)))
                    (drop (memory.atomic.wait32 (local.get $at) (local.get $seen) (i64.const -1)))
                    (br $again)))
            (func (export "run") (param $n i32) (param $rounds i32) (result i32)
                (local $i i32) (local $bad i32)
                (loop $again
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (if (local.get $n)
                        (then
                            (call $until (i32.const 64) (local.get $i))
                            (local.set $bad (i32.add (local.get $bad)
                                (i64.ne (i64.load (i32.const 0)) (i64.extend_i32_u (local.get $i)))))
                            (local.set $bad (i32.add (local.get $bad)
                                (i32.ne (i32.load16_u (i32.const 131))
                                    (i32.and (local.get $i) (i32.const 0xffff)))))
                            (i32.atomic.store (i32.const 192) (local.get $i))
                            (drop (memory.atomic.notify (i32.const 192) (i32.const 1))))
                        (else
                            (i64.store (i32.const 0) (i64.extend_i32_u (local.get $i)))
                            (i32.store16 (i32.const 131) (local.get $i))
                            (i32.atomic.store (i32.const 64) (local.get $i))
                            (drop (memory.atomic.notify (i32.const 64) (i32.const 1)))
                            (call $until (i32.const 192) (local.get $i))))
                    (br_if $again (i32.lt_u (local.get $i) (local.get $rounds))))
                (local.get $bad)))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        assert_eq!(at_once(engine, &module, &memory, 2, "run", 500)?, [0, 0]);
        Ok(())
    })
}

/// Store buffering: of two threads that store and then load what the other has stored, one sees it. With a fence between
/// accesses that are not atomic as well.
#[test]
fn of_two_stores_one_is_seen() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (store, fence, load) in [
        ("i32.atomic.store", "", "i32.atomic.load"),
        ("i32.store", "(atomic.fence)", "i32.load"),
        ("drop (i32.atomic.rmw.xchg", "", "i32.atomic.load"),
    ] {
        let close = if store.starts_with("drop") { ")" } else { "" };
        // Each round has words of its own, which are zero before.
        let text = format!(
            r#"(module {MEMORY} {MEET}
                (func (export "run") (param $n i32) (param $rounds i32) (result i32) (local $i i32)
                    (loop $again
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (call $meet (local.get $i))
                        ({store} (call $word (local.get $i) (local.get $n)) (i32.const 1)){close}
                        {fence}
                        (i32.store offset=16 (call $word (local.get $i) (local.get $n))
                            ({load} (call $word (local.get $i) (i32.xor (local.get $n) (i32.const 1)))))
                        (br_if $again (i32.lt_u (local.get $i) (local.get $rounds))))
                    (i32.const 0))
                (func $word (param i32 i32) (result i32)
                    (i32.add (i32.shl (local.get 0) (i32.const 6))
                        (i32.add (i32.const 1024) (i32.shl (local.get 1) (i32.const 2))))))"#
        );
        in_each(|engine| {
            let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
            const ROUNDS: u32 = 200;
            at_once(engine, &module, &memory, 2, "run", ROUNDS)?;
            for round in 1..=ROUNDS as usize {
                let mut seen = [0; 8];
                memory.read(round * 64 + 1024 + 16, &mut seen)?;
                assert_ne!(
                    seen, [0; 8],
                    "{store} {fence}: neither saw the other's in round {round}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Aligned numbers do not tear, also where they are not accessed atomically.
#[test]
fn aligned_numbers_are_read_and_written_whole() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = format!(
        r#"(module {MEMORY}
            (func (export "run") (param $n i32) (param $rounds i32) (result i32)
                (local $pattern i64) (local $bad i32) (local $seen i64)
                (local.set $pattern (i64.mul (i64.extend_i32_u (local.get $n)) (i64.const 0x0101010101010101)))
                (loop $again
                    (i64.store (i32.const 8) (local.get $pattern))
                    (i32.store (i32.const 20) (i32.wrap_i64 (local.get $pattern)))
                    (i32.store16 (i32.const 26) (i32.wrap_i64 (local.get $pattern)))
                    (local.set $seen (i64.load (i32.const 8)))
                    (local.set $bad (i32.or (local.get $bad)
                        (i64.ne (local.get $seen) (i64.rotl (local.get $seen) (i64.const 8)))))
                    (local.set $seen (i64.load32_u (i32.const 20)))
                    (local.set $bad (i32.or (local.get $bad)
                        (i32.ne (i32.wrap_i64 (local.get $seen))
                            (i32.rotl (i32.wrap_i64 (local.get $seen)) (i32.const 8)))))
                    (local.set $seen (i64.load16_u (i32.const 26)))
                    (local.set $bad (i32.or (local.get $bad)
                        (i64.ne (i64.shr_u (local.get $seen) (i64.const 8))
                            (i64.and (local.get $seen) (i64.const 0xff)))))
                    (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
                (local.get $bad)))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        assert_eq!(at_once(engine, &module, &memory, 3, "run", 2000)?, [0; 3]);
        Ok(())
    })
}

/// A mutex and a barrier, by waiting: as C libraries do it.
#[test]
fn locks_and_barriers_that_wait() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = format!(
        r#"(module {MEMORY}
            (func $lock (local $state i32)
                (if (i32.eqz (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1))) (then return))
                (loop $again
                    (if (i32.atomic.rmw.xchg (i32.const 0) (i32.const 2))
                        (then
                            (drop (memory.atomic.wait32 (i32.const 0) (i32.const 2) (i64.const -1)))
                            (br $again)))))
            (func $unlock
                (if (i32.eq (i32.atomic.rmw.xchg (i32.const 0) (i32.const 0)) (i32.const 2))
                    (then (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))))
            (func $barrier (param $threads i32) (local $round i64)
                (local.set $round (i64.atomic.load (i32.const 8)))
                (if (i32.eq (i32.add (i32.atomic.rmw.add (i32.const 16) (i32.const 1)) (i32.const 1))
                        (local.get $threads))
                    (then
                        (i32.atomic.store (i32.const 16) (i32.const 0))
                        (drop (i64.atomic.rmw.add (i32.const 8) (i64.const 1)))
                        (drop (memory.atomic.notify (i32.const 8) (i32.const -1)))
                        return))
                (loop $again
                    (br_if $again (i32.eqz
                        (memory.atomic.wait64 (i32.const 8) (local.get $round) (i64.const -1))))
                    (br_if $again (i64.eq (i64.atomic.load (i32.const 8)) (local.get $round)))))
            (func (export "run") (param $n i32) (param $rounds i32) (result i32) (local $bad i32)
                (loop $again
                    (call $lock)
                    (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))
                    (call $unlock)
                    (call $barrier (i32.const 4))
                    ;; All have counted, and nobody goes on before all have looked.
                    (local.set $bad (i32.or (local.get $bad)
                        (i32.rem_u (i32.atomic.load (i32.const 32)) (i32.const 4))))
                    (call $barrier (i32.const 4))
                    (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
                (local.get $bad)))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        assert_eq!(at_once(engine, &module, &memory, 4, "run", 100)?, [0; 4]);
        let mut count = [0; 4];
        memory.read(32, &mut count)?;
        assert_eq!(u32::from_le_bytes(count), 400);
        Ok(())
    })
}

/// A thread that waits with operands below the wait's and locals that are read behind it.
const WAITING: &str = r#"
    (func (export "wait32") (param $at i32) (param $expected i32) (param $time i64) (result i32)
        (local $kept i32)
        (local.set $kept (i32.add (local.get $at) (i32.const 1000)))
        (i32.const 7)
        (i32.atomic.store offset=1024 (i32.const 0) (i32.const 1))
        (memory.atomic.wait32 (local.get $at) (local.get $expected) (local.get $time))
        (i32.add (i32.mul (i32.const 10)) (local.get $kept))
        (i32.add))
    (func (export "wait64") (param $at i32) (param $expected i32) (param $time i64) (result i32)
        (memory.atomic.wait64 offset=8 (local.get $at) (i64.extend_i32_u (local.get $expected))
            (local.get $time)))
    (func (export "notify") (param $at i32) (param $count i32) (result i32)
        (memory.atomic.notify (local.get $at) (local.get $count)))"#;

type WaitFunc = TypedFunc<(u32, u32, i64), u32>;

#[test]
fn waits_end_as_they_should_and_trap_where_they_must() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let (module, memory) =
            (Module::new(engine, format!("(module {MEMORY} {WAITING})"))?, memory(engine)?);
        let (mut store, instance) = instance(engine, &module, &memory)?;
        let wait32: WaitFunc = instance.get_typed_func(&mut store, "wait32")?;
        let wait64: WaitFunc = instance.get_typed_func(&mut store, "wait64")?;
        let notify: TypedFunc<(u32, u32), u32> = instance.get_typed_func(&mut store, "notify")?;
        let result = |at: u32, result: u32| at + 1007 + 10 * result;
        // Not what is expected; no time; a little time.
        assert_eq!(wait32.call(&mut store, (8, 1, -1))?, result(8, 1));
        assert_eq!(wait32.call(&mut store, (8, 0, 0))?, result(8, 2));
        assert_eq!(wait32.call(&mut store, (8, 0, 1000))?, result(8, 2));
        memory.write(16, &(1u64 << 32 | 5).to_le_bytes())?;
        assert_eq!(wait64.call(&mut store, (8, 5, -1))?, 1);
        memory.write(16, &5u64.to_le_bytes())?;
        assert_eq!(wait64.call(&mut store, (8, 5, 1000))?, 2);
        assert_eq!(notify.call(&mut store, (8, 1))?, 0);
        for (at, expected) in [(2, Trap::UnalignedAtomic), (65536, Trap::MemoryOutOfBounds)] {
            assert_eq!(trap(wait32.call(&mut store, (at, 0, 0))), Some(expected));
            assert_eq!(trap(notify.call(&mut store, (at, 0))), Some(expected));
        }
        assert_eq!(trap(wait64.call(&mut store, (4, 0, 0))), Some(Trap::UnalignedAtomic));
        assert_eq!(trap(wait64.call(&mut store, (65528, 0, 0))), Some(Trap::MemoryOutOfBounds));
        assert_eq!(
            trap(wait64.call(&mut store, (u32::MAX - 7, 0, 0))),
            Some(Trap::MemoryOutOfBounds)
        );
        // Where nobody else can be, nobody waits, and nobody is woken.
        let alone = Module::new(engine, format!("(module (memory 1) {WAITING})"))?;
        let mut store = Store::new(engine, ());
        let alone = Instance::new(&mut store, &alone, &[])?;
        let wait: WaitFunc = alone.get_typed_func(&mut store, "wait32")?;
        let notify: TypedFunc<(u32, u32), u32> = alone.get_typed_func(&mut store, "notify")?;
        assert_eq!(trap(wait.call(&mut store, (0, 0, 0))), Some(Trap::WaitInUnsharedMemory));
        assert_eq!(trap(wait.call(&mut store, (2, 0, 0))), Some(Trap::UnalignedAtomic));
        assert_eq!(trap(wait.call(&mut store, (65536, 0, 0))), Some(Trap::MemoryOutOfBounds));
        assert_eq!(notify.call(&mut store, (0, 1))?, 0);
        Ok(())
    })
}

/// Runs a guest that waits on a thread of its own; calls `meanwhile` when it is about to wait, or does.
fn while_waiting<R>(
    engine: &Engine,
    module: &Module,
    memory: &SharedMemory,
    name: &str,
    meanwhile: impl FnOnce(midair::InterruptHandle) -> Result<R>,
) -> Result<(Result<u32>, R)> {
    memory.write(1024, &[0; 4])?;
    let (mut store, instance) = instance(engine, module, memory)?;
    let wait: WaitFunc = instance.get_typed_func(&mut store, name)?;
    let handle = store.interrupt_handle();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || wait.call(&mut store, (8, 0, -1)));
        let mut flag = [0; 4];
        while flag == [0; 4] {
            memory.read(1024, &mut flag)?;
            std::thread::yield_now();
        }
        let result = meanwhile(handle)?;
        Ok((waiting.join().expect("no panic"), result))
    })
}

/// Notifies until somebody is woken.
fn notify(memory: &SharedMemory, at: u64) -> Result<()> {
    while memory.atomic_notify(at, 1)? == 0 {
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn who_waits_is_woken_by_the_host_and_by_interruption() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let (module, memory) =
            (Module::new(engine, format!("(module {MEMORY} {WAITING})"))?, memory(engine)?);
        let (result, ()) =
            while_waiting(engine, &module, &memory, "wait32", |_| notify(&memory, 8))?;
        assert_eq!(result?, 1015);
        let (result, ()) = while_waiting(engine, &module, &memory, "wait32", |handle| {
            handle.interrupt();
            Ok(())
        })?;
        assert_eq!(trap(result), Some(Trap::Interrupt));
        // Nobody is left behind.
        assert_eq!(memory.atomic_notify(8, u32::MAX)?, 0);
        Ok(())
    })
}

/// An update does not wait for who waits; its frame goes on in the new body when it is woken, with what it had.
#[test]
fn functions_are_replaced_while_their_frames_wait() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut moved_from = [0; 2];
    for (tier, stress) in CONFIGURATIONS {
        let engine = engine(tier, stress)?;
        let text = format!("(module {MEMORY} {WAITING})");
        let (module, memory) = (Module::new(&engine, &text)?, memory(&engine)?);
        let function = module.function_index("wait32").context("it is exported")?;
        let edited = text.replace(
            "(i32.mul (i32.const 10))",
            "(i32.mul (i32.const 10)) (i32.const 50000) (i32.add)",
        );
        let body = Module::new(&engine, &edited)?.function_body("wait32").context("it has one")?;
        let (result, ()) = while_waiting(&engine, &module, &memory, "wait32", |_| {
            // It may not have come to its wait yet: then its frame moves at a poll of its own, or stays.
            while engine.stats().waits == 0 {
                std::thread::yield_now();
            }
            module.update().body(function, body.clone()).apply()?;
            notify(&memory, 8)
        })?;
        assert_eq!(result?, 51015, "{tier:?} {stress}");
        let kinds = engine.stats().frames.kinds;
        assert_eq!(kinds.at_wait, 1, "{tier:?} {stress}: {kinds:?}");
        for (sum, count) in
            moved_from.iter_mut().zip([kinds.from.interpreter, kinds.from.optimized])
        {
            *sum += count;
        }
    }
    assert!(moved_from.iter().all(|count| *count > 0), "{moved_from:?}");
    Ok(())
}

/// Four threads run, with one memory, while their functions are replaced again and again: by bodies that do the same, and
/// at last by one that ends them. Then nothing has been lost.
#[test]
fn functions_are_replaced_while_four_threads_run() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = |noise: &str, last: u32| {
        format!(
            r#"(module {MEMORY}
                (func $count (export "count") (param i32) (result i32) {noise}
                    (i32.atomic.rmw.add (i32.const 0) (local.get 0)))
                (func $turn (export "turn") (param $n i32) {noise}
                    ;; Wakes who waits, and waits a little for the others.
                    (drop (memory.atomic.notify (i32.const 16) (i32.const 1)))
                    (drop (memory.atomic.wait32 (i32.const 16) (i32.const 0) (i64.const 20000))))
                (func (export "run") (param $n i32) (param i32) (result i32) (local $rounds i32)
                    {noise}
                    (loop $again
                        (drop (call $count (i32.const 1)))
                        (local.set $rounds (i32.add (local.get $rounds) (i32.const 1)))
                        (if (i32.eqz (i32.and (local.get $rounds) (i32.const 15)))
                            (then (call $turn (local.get $n))))
                        (br_if $again (i32.eqz (i32.const {last}))))
                    (local.get $rounds)))"#
        )
    };
    let mut total = Stats::default().frames.kinds;
    let mut transitions = [0; 4];
    for (tier, stress) in CONFIGURATIONS {
        let engine = engine(tier, stress)?;
        let (module, memory) = (Module::new(&engine, text("", 0))?, memory(&engine)?);
        let names = ["count", "turn", "run"];
        let versions = ["", "(drop (i32.const 3))", "(block (br 0))"].map(|noise| {
            let edited = Module::new(&engine, text(noise, 0)).expect("it is valid");
            names.map(|name| edited.function_body(name).expect("it has one"))
        });
        let last = Module::new(&engine, text("", 1))?.function_body("run").context("it has one")?;
        let index = |name| module.function_index(name).expect("it is exported");
        let (sum, counted) = std::thread::scope(|scope| -> Result<(u32, u32)> {
            let running = scope.spawn(|| at_once(&engine, &module, &memory, 4, "run", 0));
            let count = || {
                let mut count = [0; 4];
                memory.read(0, &mut count).map(|()| u32::from_le_bytes(count))
            };
            for round in 1..=40 {
                let bodies = &versions[round % versions.len()];
                for (name, body) in names.iter().zip(bodies) {
                    module.update().body(index(name), body.clone()).apply()?;
                }
                // All go on between updates.
                let before = count()?;
                while count()? == before {
                    std::thread::yield_now();
                }
            }
            module.update().body(index("run"), last).apply()?;
            let sum = running.join().expect("no panic")?.iter().sum();
            Ok((sum, count()?))
        })?;
        assert_eq!(sum, counted, "{tier:?} {stress}");
        let stats = engine.stats();
        let kinds = stats.frames.kinds;
        total.at_poll += kinds.at_poll;
        total.at_call += kinds.at_call;
        total.at_wait += kinds.at_wait;
        total.into_other_version += kinds.into_other_version;
        for (sum, count) in transitions.iter_mut().zip([
            stats.osr_entries.total(),
            stats.osr_exits.total(),
            stats.mixed.interpreter_to_code,
            stats.mixed.code_to_interpreter,
        ]) {
            *sum += count;
        }
    }
    println!("{total:?} {transitions:?}");
    let kinds = [total.at_poll, total.at_call, total.at_wait, total.into_other_version];
    assert!(kinds.iter().chain(&transitions).all(|count| *count > 0), "{total:?} {transitions:?}");
    Ok(())
}

/// A memory grows while others use it: who learns of the new size can use it at once.
#[test]
fn memories_grow_while_others_use_them() -> Result<()> {
    let _watchdog = Watchdog::start();
    for memory_type in ["1 40 shared", "i64 1 40 shared"] {
        let long = memory_type.starts_with("i64");
        let wrap = if long { "(i32.wrap_i64 (memory.size))" } else { "(memory.size)" };
        let index =
            |expr: &str| if long { format!("(i64.extend_i32_u {expr})") } else { expr.to_owned() };
        let one = if long { "(i64.const 1)" } else { "(i32.const 1)" };
        let text = format!(
            r#"(module (import "" "memory" (memory {memory_type}))
                (func (export "run") (param $n i32) (param $most i32) (result i32) (local $size i32)
                    (if (i32.eqz (local.get $n))
                        (then (loop $grow
                            (drop (memory.grow {one}))
                            (br_if $grow (i32.lt_u {wrap} (local.get $most))))))
                    (loop $again
                        (local.set $size {wrap})
                        ;; The last byte that there is, in each way of accessing it.
                        (i32.store8 {last} (i32.const 1))
                        (drop (i32.load8_u {last}))
                        (drop (i32.atomic.rmw8.add_u {last} (i32.const 1)))
                        (memory.fill {last} (i32.const 5) {one})
                        (br_if $again (i32.lt_u (local.get $size) (local.get $most))))
                    (local.get $size)))"#,
            last = index("(i32.sub (i32.shl (local.get $size) (i32.const 16)) (i32.const 1))"),
        );
        in_each(|engine| {
            let module = Module::new(engine, &text)?;
            let mut ty = MemoryType::shared(1, 40);
            ty.is_64 = long;
            let memory = SharedMemory::new(engine, ty)?;
            assert_eq!(at_once(engine, &module, &memory, 4, "run", 40)?, [40; 4]);
            assert_eq!((memory.size(), memory.data_size()), (40, 40 << 16));
            assert!(memory.grow(1).is_err());
            Ok(())
        })?;
    }
    Ok(())
}

/// Interrupts reach threads wherever they are, and end only the one that is meant.
#[test]
fn threads_are_interrupted_one_by_one() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = format!(
        r#"(module {MEMORY}
            (func (export "run")
                (loop $again
                    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
                    (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const 1000)))
                    (br $again))))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        let ended = AtomicU32::new(0);
        std::thread::scope(|scope| -> Result<()> {
            let mut threads = Vec::new();
            for _ in 0..3 {
                let (mut store, instance) = instance(engine, &module, &memory)?;
                let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
                let (handle, ended) = (store.interrupt_handle(), &ended);
                let thread = scope.spawn(move || {
                    let result = run.call(&mut store, ());
                    ended.fetch_add(1, Ordering::SeqCst);
                    trap(result)
                });
                threads.push((handle, thread));
            }
            for (n, (handle, thread)) in (1..).zip(threads) {
                handle.interrupt();
                assert_eq!(thread.join().expect("no panic"), Some(Trap::Interrupt));
                assert_eq!(ended.load(Ordering::SeqCst), n);
            }
            Ok(())
        })
    })
}

/// Values pass through the host while a guest writes: nothing is undefined, and aligned words are whole.
#[test]
fn the_host_reads_and_writes_while_guests_do() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = format!(
        r#"(module {MEMORY}
            (func (export "run") (param i32 i32) (result i32) (local $count i32)
                (loop $again
                    (memory.fill (i32.const 64) (local.get $count) (i32.const 512))
                    (memory.copy (i32.const 100) (i32.const 64) (i32.const 300))
                    (i64.store (i32.const 0) (i64.mul (i64.extend_i32_u (local.get $count))
                        (i64.const 0x1_0000_0001)))
                    (local.set $count (i32.add (local.get $count) (i32.const 1)))
                    (br_if $again (i32.eqz (i32.atomic.load (i32.const 32)))))
                (i32.const 0)))"#
    );
    in_each(|engine| {
        let (module, memory) = (Module::new(engine, &text)?, memory(engine)?);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let running = scope.spawn(|| {
                let result = at_once(engine, &module, &memory, 2, "run", 0);
                over.store(true, Ordering::SeqCst);
                result
            });
            let mut buffer = [0; 512];
            for round in 0..2000u32 {
                memory.read(64, &mut buffer)?;
                memory.write(64, &round.to_le_bytes())?;
                std::hint::black_box(&buffer);
            }
            memory.write(32, &[1])?;
            running.join().expect("no panic")?;
            Ok(())
        })?;
        assert!(memory.read((4 << 16) - 1, &mut [0; 2]).is_err());
        assert!(memory.write(usize::MAX, &[0]).is_err());
        assert_eq!(memory.data().len(), 1 << 16);
        assert!(over.load(Ordering::SeqCst));
        Ok(())
    })
}

/// Imports have to agree on whether the memory is shared, and memories on having a maximum.
#[test]
fn what_is_shared_is_not_taken_for_what_is_not() -> Result<()> {
    let _watchdog = Watchdog::start();
    let engine = Engine::default();
    let shared = Module::new(&engine, format!("(module {MEMORY})"))?;
    let plain = Module::new(&engine, r#"(module (import "" "memory" (memory 1 4)))"#)?;
    let memory = memory(&engine)?;
    assert!(instance(&engine, &shared, &memory).is_ok());
    let error = instance(&engine, &plain, &memory).map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("memory 1 4 shared"), "{error:#}");
    // An engine's memories are its own.
    let other = Engine::default();
    let module = Module::new(&other, format!("(module {MEMORY})"))?;
    assert!(instance(&other, &module, &memory).is_err());
    assert!(SharedMemory::new(&engine, MemoryType::new(1, Some(1))).is_err());
    assert!(SharedMemory::new(&engine, MemoryType::shared(2, 1)).is_err());
    assert!(SharedMemory::new(&engine, MemoryType::shared(1, 1 << 17)).is_err());
    let mut store = Store::new(&engine, ());
    assert!(midair::Memory::new(&mut store, MemoryType::shared(1, 1)).is_err());
    // Defined by an instance, and exported.
    let module = Module::new(&engine, r#"(module (memory (export "m") 1 2 shared))"#)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    assert!(instance.get_memory(&mut store, "m").is_none());
    let memory = instance.get_shared_memory(&mut store, "m").context("it is exported")?;
    assert_eq!(memory.grow(1)?, 1);
    drop(store);
    assert_eq!((memory.size(), memory.ty()), (2, MemoryType::shared(2, 2)));
    // Without the proposal.
    let engine = Engine::new(Config::new().wasm_threads(false))?;
    let error = Module::new(&engine, "(module (memory 1 1 shared))").map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("threads"), "{error:#}");
    Ok(())
}

#[test]
fn hosts_wait_and_notify_too() -> Result<()> {
    let _watchdog = Watchdog::start();
    use midair::WaitResult;
    let engine = Engine::default();
    let memory = memory(&engine)?;
    let little = Some(Duration::from_millis(1));
    assert_eq!(memory.atomic_wait32(8, 1, None)?, WaitResult::Mismatch);
    assert_eq!(memory.atomic_wait64(8, 0, little)?, WaitResult::TimedOut);
    assert_eq!(memory.atomic_wait32(6, 0, None), Err(Trap::UnalignedAtomic));
    assert_eq!(memory.atomic_wait64(65536, 0, None), Err(Trap::MemoryOutOfBounds));
    assert_eq!(memory.atomic_notify(65536, 0), Err(Trap::MemoryOutOfBounds));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| memory.atomic_wait32(8, 0, None));
        notify(&memory, 8)?;
        assert_eq!(waiting.join().expect("no panic")?, WaitResult::Ok);
        Ok(())
    })
}
