//! What an engine tells those who listen, and what these may do about it.

use midair::{
    Config, Engine, Event, Events, Instance, Linker, Module, RecompileOptions, Store, Tier,
};
use midair_watchdog::Watchdog;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn program(name: &str, answer: i32) -> String {
    format!(r#"(module ${name} (func (export "f") (result i32) (i32.const {answer})))"#)
}

fn engine() -> Engine {
    Engine::new(Config::new().tier(Tier::Optimized)).unwrap()
}

fn module_of(event: &Event) -> (u64, Option<&str>) {
    let (Event::Compiled { module, .. }
    | Event::CompilationFailed { module, .. }
    | Event::Retired { module, .. }
    | Event::Freed { module, .. }
    | Event::Replaced { module, .. }) = event
    else {
        panic!("an event of no module: {event:?}")
    };
    (module.number(), module.name())
}

#[test]
fn events_say_which_module_they_are_about() {
    let _watchdog = Watchdog::start();
    let engine = engine();
    let events = engine.events();
    let modules = ["one", "two"].map(|name| Module::new(&engine, program(name, 1)).unwrap());
    assert_ne!(modules[0].number(), modules[1].number());
    for (module, name) in modules.iter().zip(["one", "two"]) {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, module, &[]).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        f.call(&mut store, ()).unwrap();
        let body = Module::new(&engine, program("edited", 2)).unwrap().function_body("f").unwrap();
        module.replace_function(0, &body).unwrap();
        let told = all(&events);
        let kinds = [
            |event: &Event| matches!(event, Event::Compiled { .. }),
            |event: &Event| matches!(event, Event::Retired { .. }),
            |event: &Event| matches!(event, Event::Freed { .. }),
            |event: &Event| matches!(event, Event::Replaced { .. }),
        ];
        for kind in kinds {
            assert!(told.iter().any(kind), "{told:?}");
        }
        for event in &told {
            assert_eq!(module_of(event), (module.number(), Some(name)), "{event:?}");
        }
    }
}

fn all(events: &Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

#[test]
fn events_that_nobody_takes_do_not_pile_up() {
    let _watchdog = Watchdog::start();
    let engine = engine();
    let (few, many) = (engine.events_bounded(10), engine.events());
    let module = Module::new(&engine, program("m", 0)).unwrap();
    let bodies = [1, 2]
        .map(|n| Module::new(&engine, program("edited", n)).unwrap().function_body("f").unwrap());
    for round in 0..20 {
        module.replace_function(0, &bodies[round % 2]).unwrap();
    }
    let told = all(&many);
    assert_eq!(many.dropped(), 0);
    assert!(told.len() > 10, "{told:?}");
    // The last ones are there, and it is known how many are not.
    assert_eq!(few.dropped(), told.len() as u64 - 10);
    assert_eq!(all(&few), told[told.len() - 10..]);
}

#[test]
fn a_subscriber_that_waits_is_woken_when_its_engine_goes() {
    let _watchdog = Watchdog::start();
    let engine = engine();
    let events = engine.events();
    let waits = thread::spawn(move || events.next_timeout(Duration::MAX));
    drop(engine);
    assert_eq!(waits.join().unwrap(), None);
}

/// Each event makes its subscriber update and recompile what it is about, which are events again.
#[test]
fn a_subscriber_updates_and_recompiles_what_it_is_told_of_while_guests_run() {
    let _watchdog = Watchdog::start();
    let engine = engine();
    let module = Module::new(&engine, program("m", 1)).unwrap();
    let bodies = [1, 2]
        .map(|n| Module::new(&engine, program("edited", n)).unwrap().function_body("f").unwrap());
    let events = engine.events();
    let done = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
                while !done.load(Ordering::Relaxed) {
                    let answer = f.call(&mut store, ()).unwrap();
                    assert!([1, 2].contains(&answer), "{answer}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut handled = 0;
        while handled < 200 || calls.load(Ordering::Relaxed) < 1000 {
            let Some(event) = events.next_timeout(Duration::from_millis(20)) else {
                module.replace_function(0, &bodies[handled % 2]).unwrap();
                continue;
            };
            match event {
                Event::Replaced { .. } => {
                    module.recompile(0, &RecompileOptions::unoptimized()).unwrap();
                }
                Event::Freed { .. } => {
                    module.replace_function(0, &bodies[handled % 2]).unwrap();
                }
                _ => {}
            }
            handled += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(engine.code_stats().retired, 0);
}

/// In the middle of the guest's call, where code that is suspended is replaced and told of at once.
#[test]
fn a_host_function_acts_on_events_about_its_own_caller() {
    let _watchdog = Watchdog::start();
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        let engine = Engine::new(Config::new().tier(tier).optimized_threshold(1)).unwrap();
        let program = |answer: i32| {
            format!(
                r#"(module (import "host" "act" (func $act))
                    (func (export "f") (result i32) (call $act) (i32.const {answer})))"#
            )
        };
        let module = Module::new(&engine, program(1)).unwrap();
        let body = Module::new(&engine, program(2)).unwrap().function_body("f").unwrap();
        let mut linker = Linker::new(&engine);
        let (events, edited) = (std::sync::Mutex::new(engine.events()), module.clone());
        let act = move || -> midair::Result<()> {
            edited.replace_function(1, &body)?;
            let events = events.lock().unwrap();
            let mut rounds = 0;
            while let Some(event) = events.try_next() {
                if let Event::Replaced { function, version, .. } = event {
                    rounds += 1;
                    if rounds < 5 {
                        assert_eq!(function, 1);
                        edited.recompile(1, &RecompileOptions::optimized())?;
                        edited.replace_function(1, &body)?;
                        assert!(version >= 1);
                    }
                }
            }
            assert_eq!(rounds, 5);
            Ok(())
        };
        linker.func_wrap("host", "act", act).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), 2, "{tier:?}");
    }
}

/// The last handle of the engine, its module and the store that runs in it go on the thread that is told of
/// a compilation in the background.
#[test]
fn a_subscriber_drops_the_engine_that_tells_it_something() {
    let _watchdog = Watchdog::start();
    for _ in 0..20 {
        let engine = Engine::new(Config::new().tier(Tier::Auto).optimized_threshold(2)).unwrap();
        let events = engine.events();
        let module = Module::new(&engine, program("m", 7)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        let all = (store, module, engine);
        let subscriber = thread::spawn(move || {
            let (mut store, module, engine) = all;
            loop {
                assert_eq!(f.call(&mut store, ()).unwrap(), 7);
                if let Some(event) = events.next_timeout(Duration::from_millis(1)) {
                    assert_eq!(module_of(&event), (module.number(), Some("m")));
                    drop((store, module, engine));
                    break;
                }
            }
            // What a compiler may still be at is told, or not; then it is over.
            while events.next_timeout(Duration::from_secs(60)).is_some() {}
        });
        subscriber.join().unwrap();
    }
}
