//! What an update reports of frames, and what it had planned.

use anyhow::Result;
use midair::stats::{FrameKinds, SuspendedIn};
use midair::{
    Applied, Config, Engine, Linker, Module, PlannedFrames, PlannedOutcome, Policy, Store, Tier,
    Trap, Update,
};
use midair_watchdog::Watchdog;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const TIERS: [Tier; 3] = [Tier::Interp, Tier::Baseline, Tier::Optimized];
const DEPTH: usize = 5;

/// `top` calls `down`, which calls itself, and at the bottom the host; `spin` runs in a loop until `go` is 0.
fn text(add: i32, go: i32) -> String {
    format!(
        r#"(module
            (import "host" "stop" (func $stop))
            (func $down (export "down") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call $stop) (i32.const 0))
                    (else (i32.add
                        (call $down (i32.sub (local.get 0) (i32.const 1))) (i32.const {add})))))
            (func (export "top") (param i32) (result i32)
                (i32.add (call $down (local.get 0)) (i32.const {add}000)))
            (func (export "spin") (param i32) (result i32)
                (call $stop)
                (loop $again (br_if $again (i32.const {go})))
                (local.get 0)))"#
    )
}

/// A thread that has called an export and stands still in the host.
struct Guest {
    thread: JoinHandle<Result<i32>>,
    go_on: Sender<()>,
}

impl Guest {
    fn stopped(module: &Module, export: &'static str, argument: i32) -> Guest {
        let module = module.clone();
        let (stopped, has_stopped) = channel();
        let (go_on, may_go_on): (_, Receiver<()>) = channel();
        let thread = std::thread::spawn(move || {
            let mut linker = Linker::new(module.engine());
            let both = Arc::new(Mutex::new((stopped, may_go_on)));
            linker.func_wrap("host", "stop", move || -> Result<()> {
                let both = both.lock().unwrap();
                both.0.send(())?;
                // If the other end is gone the test has failed already.
                let _ = both.1.recv();
                Ok(())
            })?;
            let mut store = Store::new(module.engine(), ());
            let instance = linker.instantiate(&mut store, &module)?;
            instance.get_typed_func::<i32, i32>(&mut store, export)?.call(&mut store, argument)
        });
        has_stopped.recv().unwrap();
        Guest { thread, go_on }
    }

    fn finish(self) -> Result<i32> {
        self.go_on.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn program(tier: Tier) -> Module {
    let engine = Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap();
    Module::new(&engine, text(1, 1)).unwrap()
}

/// All functions get new bodies.
fn update(module: &Module) -> Update {
    let edited = Module::new(module.engine(), text(2, 0)).unwrap();
    ["down", "top", "spin"].iter().fold(module.update().count_frames(true), |update, name| {
        update.body(module.function_index(name).unwrap(), edited.function_body(name).unwrap())
    })
}

fn kinds(module: &Module, applied: &Applied, name: &str) -> FrameKinds {
    applied.function(module.function_index(name).unwrap()).unwrap().frames_moved()
}

/// How many frames of a function there are in the list that are suspended so.
fn count(frames: &[PlannedFrames], function: u32, suspended: SuspendedIn) -> usize {
    let wanted = frames.iter().filter(|f| f.function == function && f.suspended == suspended);
    wanted.map(|frames| frames.count).sum()
}

#[test]
fn what_happens_to_frames_of_stopped_guests_is_what_was_planned() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        for policy in [Policy::Migrate, Policy::Finish, Policy::Trap] {
            let module = program(tier);
            let (down, top) =
                (module.function_index("down").unwrap(), module.function_index("top").unwrap());
            let guests = [(); 2].map(|()| Guest::stopped(&module, "top", DEPTH as i32));
            let update = update(&module).policy(down, policy);
            let plan = update.plan().unwrap();
            let applied = update.apply().unwrap();
            let frames = applied.frames.as_deref().unwrap();
            assert_eq!(frames, plan.frames, "{tier:?} {policy:?}");
            assert_eq!(count(frames, down, SuspendedIn::OwnCall), 2 * DEPTH);
            assert_eq!(count(frames, down, SuspendedIn::HostCall), 2);
            assert_eq!(count(frames, top, SuspendedIn::Call), 2);
            assert_eq!(frames.iter().map(|f| f.count).sum::<usize>(), 2 * (DEPTH + 2));
            assert!(
                frames.iter().all(|f| f.compiled == (tier == Tier::Optimized) && f.version == 0)
            );
            let mut stores: Vec<u64> = frames.iter().map(|f| f.store).collect();
            stores.dedup();
            assert_eq!(stores.len(), 2, "those of a store stand together");
            for frames in frames.iter().filter(|f| f.function == down) {
                assert!(match policy {
                    Policy::Migrate => matches!(frames.outcome, PlannedOutcome::Migrate { .. }),
                    Policy::Finish => frames.outcome == PlannedOutcome::Finish { why: None },
                    _ => frames.outcome == PlannedOutcome::Trap,
                });
            }
            let redirected = if tier == Tier::Optimized { 2 * (DEPTH + 2) } else { 0 };
            assert_eq!(applied.frames_redirected, redirected);
            assert_eq!(kinds(&module, &applied, "down"), FrameKinds::default(), "none has moved");

            for guest in guests {
                let result = guest.finish();
                match policy {
                    Policy::Migrate => assert_eq!(result.unwrap(), 2000 + 2 * DEPTH as i32),
                    Policy::Finish => assert_eq!(result.unwrap(), 2000 + DEPTH as i32),
                    _ => assert_eq!(
                        result.unwrap_err().downcast_ref::<Trap>(),
                        Some(&Trap::FunctionReplaced)
                    ),
                }
            }
            let (down, top) = (kinds(&module, &applied, "down"), kinds(&module, &applied, "top"));
            // What finishes in the interpreter where it is does not move.
            let moved = match policy {
                Policy::Migrate => 2 * (DEPTH + 1) as u64,
                Policy::Finish if tier == Tier::Optimized => 2 * (DEPTH + 1) as u64,
                _ => 0,
            };
            let is_there = u64::from(moved > 0);
            assert_eq!((down.at_call, down.at_poll), (moved, 0), "{tier:?} {policy:?}");
            assert_eq!(down.recursive, 2 * DEPTH as u64 * is_there);
            assert_eq!(down.below_host, 2 * is_there);
            let into_other = if policy == Policy::Migrate { moved } else { 0 };
            assert_eq!(down.into_other_version, into_other);
            // The first frame that traps unwinds the others.
            assert_eq!(down.trapped, if policy == Policy::Trap { 2 } else { 0 });
            assert_eq!(down.to.interpreter, moved);
            let from = match tier {
                Tier::Optimized => down.from.optimized,
                _ => down.from.interpreter,
            };
            assert_eq!(from, moved);
            let tops = if policy == Policy::Trap { 0 } else { 2 };
            assert_eq!((top.at_call, top.into_other_version, top.recursive), (tops, tops, 0));
        }
    }
}

#[test]
fn a_running_loop_is_counted_where_it_stops() {
    let _watchdog = Watchdog::start();
    for tier in TIERS {
        let module = program(tier);
        let guest = Guest::stopped(&module, "spin", 7);
        // From here on it runs until the update ends its loop.
        guest.go_on.send(()).unwrap();
        let spin = module.function_index("spin").unwrap();
        let running = loop {
            let plan = update(&module).plan().unwrap();
            if count(&plan.frames, spin, SuspendedIn::Poll) > 0 {
                break plan;
            }
            std::thread::yield_now();
        };
        let applied = update(&module).apply().unwrap();
        assert_eq!(applied.frames.as_deref().unwrap(), running.frames, "{tier:?}");
        assert_eq!(running.frames.len(), 1);
        assert_eq!(guest.thread.join().unwrap().unwrap(), 7);
        let moved = kinds(&module, &applied, "spin");
        assert_eq!((moved.at_poll, moved.at_call, moved.into_other_version), (1, 0, 1));
        let to = moved.to.interpreter + moved.to.optimized;
        assert_eq!((to, moved.trapped), (1, 0), "{tier:?}");
    }
}

#[test]
fn frames_are_listed_only_when_asked_for() {
    let _watchdog = Watchdog::start();
    let module = program(Tier::Optimized);
    let guest = Guest::stopped(&module, "top", 2);
    let applied = update(&module).count_frames(false).apply().unwrap();
    assert!(applied.frames.is_none());
    assert_eq!(applied.frames_redirected, 4);
    assert_eq!(guest.finish().unwrap(), 2004);
    assert_eq!(kinds(&module, &applied, "down").at_call, 3);
}
