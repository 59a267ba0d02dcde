//! An update does not wait for a guest that compiles on its own thread.

use midair::{Config, Engine, Event, Linker, Module, Store, Tier};
use midair_watchdog::Watchdog;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// `main` tells the host, and then calls a function that takes very long to compile.
fn program(answer: i32) -> String {
    let mut long = String::new();
    for n in 0..30_000 {
        let (a, b, c) = (n % 7, (n / 7) % 5, n % 4);
        let _ = write!(
            long,
            "(local.set {a} (i32.add (i32.rotl (local.get {b}) (local.get {c})) (i32.mul (local.get {a}) (i32.const {n}))))"
        );
    }
    format!(
        r#"(module
            (import "host" "begins" (func $begins))
            (func $long (param i32) (result i32) (local i32 i32 i32 i32 i32 i32 i32) {long} (local.get 0))
            (func $answer (export "answer") (result i32) (i32.const {answer}))
            (func $main (export "main") (result i32) (local i32)
                (drop (call $answer))
                (call $begins)
                (drop (call $long (i32.const 1)))
                (call $answer)))"#
    )
}

#[test]
fn an_update_does_not_wait_for_a_guest_that_compiles() {
    let _watchdog = Watchdog::start();
    let (engine, module) = {
        let engine = Engine::new(Config::new().tier(Tier::Optimized)).unwrap();
        let module = Module::new(&engine, program(1)).unwrap();
        (engine, module)
    };
    let body = Module::new(&engine, program(2)).unwrap().function_body("answer").unwrap();
    let answer = module.function_index("answer").unwrap();
    let long = answer - 1;
    let (begins, has_begun) = mpsc::channel();
    let guest = {
        let (engine, module) = (engine.clone(), module.clone());
        thread::spawn(move || {
            let mut linker = Linker::new(&engine);
            linker.func_wrap("host", "begins", move || begins.send(()).unwrap()).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            instance.get_typed_func::<(), i32>(&mut store, "main").unwrap().call(&mut store, ())
        })
    };
    has_begun.recv().unwrap();
    let events = engine.events();
    // It compiles by now, for much longer than this.
    thread::sleep(Duration::from_millis(50));
    module.replace_function(answer, &body).unwrap();
    let told: Vec<_> = events.collect();
    let is_long =
        |event: &Event| matches!(event, Event::Compiled { function, .. } if *function == long);
    assert!(!told.iter().any(is_long), "the update waited for the compiler: {told:?}");
    assert!(told.iter().any(|event| matches!(event, Event::Freed { .. })), "{told:?}");
    // What the guest has compiled is good, and what it calls now is new.
    assert_eq!(guest.join().unwrap().unwrap(), 2);
}
