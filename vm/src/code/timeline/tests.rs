use super::*;
use crate::config::Config;
use crate::engine::Engine;
use crate::link::instance::Instance;
use crate::module::Module;
use crate::store::Store;

/// `spin` calls `step` so many times.
const MODULE: &str = r#"(module
    (global $steps (mut i64) (i64.const 0))
    (func $step (param $n i32)
        (global.set $steps (i64.add (global.get $steps) (i64.const 1)))
        (loop $again
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func $spin (export "spin") (param $n i32)
        (loop $again
            (call $step (i32.const 100))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Runs the module; returns its engine, with a timeline, and a store that keeps the module.
fn run(config: &Config) -> (Engine, Store<()>) {
    let engine = Engine::new(config).unwrap();
    engine.record_timeline();
    let module = Module::new(&engine, MODULE).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let spin = instance.get_typed_func::<i32, ()>(&mut store, "spin").unwrap();
    spin.call(&mut store, 10_000).unwrap();
    (engine, store)
}

fn count(timeline: &Timeline, is_it: impl Fn(&What) -> bool) -> u64 {
    timeline.records.iter().filter(|record| is_it(&record.what)).count() as u64
}

#[test]
fn records_are_as_many_as_the_counters_say() {
    for background in [false, true] {
        let mut config = Config::new();
        config.background_compilation(background).optimized_threshold(500);
        let (engine, _store) = run(&config);
        let (timeline, stats) = (engine.timeline().unwrap(), engine.stats());
        let compiled = |tier, osr: bool| {
            count(&timeline, |what| {
                matches!(what, What::Compiled { tier: t, osr_entry, cached: false, .. }
                    if *t == tier && osr_entry.is_some() == osr)
            })
        };
        let lowered = count(&timeline, |what| matches!(what, What::Lowered { .. }));
        assert_eq!(lowered, stats.lowering.count);
        assert_eq!(compiled(Tier::Baseline, false), stats.baseline_compilation.count);
        // Code that is compiled in the background may have come between the two snapshots.
        if !background {
            assert_eq!(compiled(Tier::Optimized, false), stats.optimized_compilation.count);
            assert_eq!(compiled(Tier::Optimized, true), stats.osr_compilation.count);
            assert!(stats.optimized_compilation.count > 0);
        }
        let entries = count(&timeline, |what| matches!(what, What::OsrEntry { .. }));
        assert_eq!(entries, stats.osr_entries.total());
        assert_eq!(timeline.records_dropped, 0);
        for record in &timeline.records {
            assert!(record.at + record.time <= timeline.length, "{record:?}");
            assert!(timeline.threads.iter().any(|thread| thread.thread == record.thread));
            let name = timeline.function_name(record.what.function().unwrap());
            assert!(["step", "spin"].contains(&name.unwrap()), "{record:?}");
        }
    }
}

#[test]
fn transitions_are_recorded_as_they_are_counted() {
    let mut config = Config::new();
    config.background_compilation(false).optimized_threshold(500);
    config.stress("osr:3,retire:50".parse().unwrap());
    let (engine, _store) = run(&config);
    let (timeline, stats) = (engine.timeline().unwrap(), engine.stats());
    let exits = count(&timeline, |what| matches!(what, What::OsrExit { .. }));
    let entries = count(&timeline, |what| matches!(what, What::OsrEntry { .. }));
    let pauses = count(&timeline, |what| matches!(what, What::Paused));
    assert_eq!(exits, stats.osr_exits.total());
    assert_eq!(entries, stats.osr_entries.total());
    assert_eq!(pauses, stats.pauses.count);
    assert!(exits > 0 && entries > 0 && pauses > 0);
    // What was published and not freed is what lies in the heap.
    let bytes = |record: &Record| match record.what {
        What::Compiled { bytes, .. } => bytes as i64,
        What::Freed { bytes } => -(bytes as i64),
        _ => 0,
    };
    let sum: i64 = timeline.records.iter().map(bytes).sum();
    let ledger = engine.code_ledger();
    let live: usize = ledger.code.iter().map(|entry| entry.bytes).sum();
    assert_eq!(sum, live as i64);
}

#[test]
fn there_is_no_timeline_unless_it_is_asked_for() {
    assert!(Engine::default().timeline().is_none());
}

#[test]
fn samples_are_packed_without_loss() {
    let recorder = Recorder::new();
    recorder.sample(4_194_303, SampleKind::Compiling, 4_000_123);
    recorder.sample(1, SampleKind::Interpreter, u64::MAX);
    let (samples, dropped) = recorder.samples();
    assert_eq!((samples.len(), dropped), (2, 0));
    assert_eq!(samples[0].thread, 4_194_303);
    assert_eq!(samples[0].doing, Doing::Compiling);
    assert_eq!(samples[0].time, Duration::from_nanos(4_000_123));
    assert_eq!(samples[1].thread, 1);
    assert_eq!(samples[1].time, Duration::from_nanos((1 << 39) - 1));
}
