//! Updates under guests that wait in a shared memory.

use midair::{Config, DataPolicy, Engine, Extern, Instance, Module, Store, Tier};
use midair_watchdog::Watchdog;

/// Whoever waits in a shared memory finds the new data at once when it is woken, with no call and no loop between.
#[test]
fn data_is_written_under_a_guest_that_waits() {
    let _watchdog = Watchdog::start();
    let source = |data: i32| {
        format!(
            r#"(module (memory (export "shared") 1 1 shared)
                (memory $own 1) (data (memory $own) (i32.const 16) "\{data:02x}")
                (func (export "run") (result i32)
                    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
                    (i32.load8_u $own (i32.const 16))))"#
        )
    };
    for tier in [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto] {
        let engine = Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap();
        let module = Module::new(&engine, source(1)).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let Some(Extern::SharedMemory(shared)) = instance.get_export(&mut store, "shared") else {
            panic!("it is a shared memory")
        };
        let guest = std::thread::spawn(move || {
            let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
            run.call(&mut store, ()).unwrap()
        });
        while engine.stats().waits == 0 {
            std::thread::yield_now();
        }
        module.update().module(source(2)).unwrap().data(DataPolicy::Apply).apply().unwrap();
        while shared.atomic_notify(0, 1).unwrap() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(guest.join().unwrap(), 2, "{tier:?}");
    }
}
