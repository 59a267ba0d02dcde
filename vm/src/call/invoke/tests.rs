use crate::every_tier::every_tier;
use crate::*;
use midair_watchdog::Watchdog;

fn instance(config: &Config, text: &str) -> (Store<()>, Instance) {
    let engine = Engine::new(config).unwrap();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, text).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

fn trap(store: &mut Store<()>, instance: Instance, name: &str) -> Option<Trap> {
    let func = instance.get_typed_func::<(), ()>(&mut *store, name).unwrap();
    let error = func.call(store, ()).err()?;
    Some(*error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("no trap: {error:?}")))
}

const TRAPS: &str = r#"(module
    (memory 1)
    (table 2 funcref)
    (elem (i32.const 0) $other)
    (type $void (func))
    (func $other (param i32))
    (func (export "unreachable") unreachable)
    (func (export "memory") (drop (i32.load (i32.const 65533))))
    (func (export "table") (call_indirect (type $void) (i32.const 2)))
    (func (export "null") (call_indirect (type $void) (i32.const 1)))
    (func (export "signature") (call_indirect (type $void) (i32.const 0)))
    (func (export "overflow") (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
    (func (export "zero") (drop (i32.div_s (i32.const 1) (i32.const 0))))
    (func (export "conversion") (drop (i32.trunc_f32_s (f32.const nan))))
    (func $stack (export "stack") (call $stack))
    (func (export "fine")))"#;

#[test]
fn every_trap_has_its_reason_and_the_store_goes_on() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let (mut store, instance) = instance(config, TRAPS);
        for (name, expected) in [
            ("unreachable", Trap::UnreachableCodeReached),
            ("memory", Trap::MemoryOutOfBounds),
            ("table", Trap::TableOutOfBounds),
            ("null", Trap::IndirectCallToNull),
            ("signature", Trap::BadSignature),
            ("overflow", Trap::IntegerOverflow),
            ("zero", Trap::IntegerDivisionByZero),
            ("conversion", Trap::BadConversionToInteger),
            ("stack", Trap::StackOverflow),
        ] {
            assert_eq!(trap(&mut store, instance, name), Some(expected), "{name}");
            assert_eq!(trap(&mut store, instance, "fine"), None);
        }
    });
}

#[test]
fn a_backtrace_names_functions_and_offsets() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let text = r#"(module $program
        (func $_ZN4main5inner17h0123456789abcdefE unreachable)
        (func $middle (call 0))
        (func (export "run") (nop) (call $middle)))"#;
        let (mut store, instance) = instance(config, text);
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        let error = run.call(&mut store, ()).unwrap_err();
        let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
        let offsets: Vec<_> = backtrace.frames().iter().map(|f| f.func_offset()).collect();
        // Behind the empty list of locals, and the `nop`.
        assert_eq!(offsets, [1, 1, 2]);
        let binary = wat::parse_str(text).unwrap();
        let opcodes: Vec<_> =
            backtrace.frames().iter().map(|f| binary[f.module_offset().unwrap()]).collect();
        assert_eq!(opcodes, [0x00, 0x10, 0x10]);
        let text = backtrace.to_string();
        assert!(text.starts_with("error while executing at wasm backtrace:\n     0: "), "{text}");
        assert!(text.contains("program!main::inner\n"), "{text}");
        assert!(text.contains("program!middle\n"), "{text}");
        assert!(text.ends_with("program!<wasm function 2>"), "{text}");
        assert_eq!(error.root_cause().to_string(), "wasm trap: unreachable");
    });
}

#[test]
fn a_deep_backtrace_is_cut() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let (mut store, instance) = instance(config, TRAPS);
        let stack = instance.get_typed_func::<(), ()>(&mut store, "stack").unwrap();
        let error = stack.call(&mut store, ()).unwrap_err();
        let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
        let (kept, omitted) = (backtrace.frames().len(), backtrace.omitted());
        assert!(kept == 100 || omitted == 0, "{kept} frames and {omitted} more");
        assert!(kept > 10 && backtrace.frames().iter().all(|f| f.func_name() == Some("stack")));
    });
}

#[test]
fn fuel_runs_out_and_can_be_filled_up() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let (mut store, instance) = instance(
            config.consume_fuel(true),
            r#"(module (func (export "loop") (loop (br 0))) (func (export "fine")))"#,
        );
        assert_eq!(store.get_fuel().unwrap(), 0);
        store.set_fuel(1000).unwrap();
        assert_eq!(trap(&mut store, instance, "loop"), Some(Trap::OutOfFuel));
        store.set_fuel(1000).unwrap();
        assert_eq!(trap(&mut store, instance, "fine"), None);
        assert!(store.get_fuel().unwrap() <= 1000);
        assert!(Store::new(&Engine::default(), ()).set_fuel(1).is_err());
    });
}

#[test]
fn an_interruption_stops_the_next_call_once() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let (mut store, instance) = instance(
            config,
            r#"(module (func (export "loop") (loop (br 0))) (func (export "fine")))"#,
        );
        let handle = store.interrupt_handle();
        handle.interrupt();
        assert_eq!(trap(&mut store, instance, "fine"), Some(Trap::Interrupt));
        assert_eq!(trap(&mut store, instance, "fine"), None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                handle.interrupt();
            });
            assert_eq!(trap(&mut store, instance, "loop"), Some(Trap::Interrupt));
        });
        drop(store);
        handle.interrupt();
    });
}

#[test]
fn an_interruption_stops_what_is_to_be_filled() {
    let _watchdog = Watchdog::start();
    let nulls = "(ref.null func) ".repeat(600);
    let text = |operator: &str, len: u32| {
        format!(
            r#"(module
                (import "host" "interrupt" (func $interrupt))
                (memory 1) (table $table 1000 funcref)
                (data $data "{}") (elem $elements funcref {nulls})
                (global $done (export "done") (mut i32) (i32.const 0))
                (func (export "f")
                    (call $interrupt)
                    ({operator} {len}))
                    (global.set $done (i32.const 1)))
                (func (export "fine")))"#,
            "x".repeat(5000)
        )
    };
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        for (operator, len) in [
            ("memory.fill (i32.const 0) (i32.const 1) (i32.const", 4096),
            ("memory.copy (i32.const 0) (i32.const 1) (i32.const", 4096),
            ("memory.init $data (i32.const 0) (i32.const 0) (i32.const", 4096),
            ("table.fill $table (i32.const 0) (ref.null func) (i32.const", 512),
            ("table.copy (i32.const 0) (i32.const 1) (i32.const", 512),
            ("table.init $elements (i32.const 0) (i32.const 0) (i32.const", 512),
        ] {
            for (len, expected) in [(len, Some(Trap::Interrupt)), (len - 1, None)] {
                let module = Module::new(&engine, text(operator, len)).unwrap();
                let mut linker = Linker::new(&engine);
                linker
                    .func_wrap("host", "interrupt", |caller: Caller<'_, ()>| {
                        caller.interrupt_handle().interrupt();
                    })
                    .unwrap();
                let mut store = Store::new(&engine, ());
                let instance = linker.instantiate(&mut store, &module).unwrap();
                assert_eq!(trap(&mut store, instance, "f"), expected, "{operator} {len}");
                let done = instance.get_global(&mut store, "done").unwrap();
                assert_eq!(done.get(&mut store).unwrap_i32(), i32::from(expected.is_none()));
                // It is taken once; what was too short for it left it.
                let left = expected.is_none().then_some(Trap::Interrupt);
                assert_eq!(trap(&mut store, instance, "fine"), left, "{operator} {len}");
                assert_eq!(trap(&mut store, instance, "fine"), None);
            }
        }
    });
}

#[test]
fn a_start_function_runs_and_its_trap_comes_out() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let mut store = Store::new(&engine, ());
        let module = Module::new(
            &engine,
            r#"(module
            (global $g (export "g") (mut i32) (i32.const 1))
            (func $start (global.set $g (i32.const 2)))
            (start $start))"#,
        )
        .unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let global = instance.get_global(&mut store, "g").unwrap();
        assert_eq!(global.get(&mut store).i32(), Some(2));
        let module = Module::new(&engine, "(module (func $s unreachable) (start $s))").unwrap();
        let error = Instance::new(&mut store, &module, &[]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
    });
}

#[test]
fn a_small_stack_overflows_early() {
    let _watchdog = Watchdog::start();
    every_tier(|config| {
        let (mut store, instance) = instance(config.max_wasm_stack(16 << 10), TRAPS);
        assert_eq!(trap(&mut store, instance, "stack"), Some(Trap::StackOverflow));
        assert!(Engine::new(config.max_wasm_stack(1)).is_err());
    });
}
