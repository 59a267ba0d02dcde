//! Tail calls take no stack, whatever their functions run in, and are calls like any others for those who replace,
//! interrupt, charge and describe them.

use anyhow::{Context, Result};
use midair::{
    Caller, Config, Engine, Func, Instance, Linker, Module, RecompileOptions, Store, StressSpec,
    Tier, Trap, WasmBacktrace,
};
use midair_watchdog::Watchdog;

/// Links that no stack of [`STACK`] bytes would have frames for.
const LINKS: i64 = 20_000;
const STACK: usize = 64 << 10;

/// Everything that functions may run in.
const CONFIGURATIONS: [(Tier, &str); 10] = [
    (Tier::Interp, ""),
    (Tier::Baseline, ""),
    (Tier::Optimized, ""),
    (Tier::Auto, ""),
    (Tier::Baseline, "osr:3,retire:7"),
    (Tier::Baseline, "mixed:20,osr:7,retire:5"),
    (Tier::Optimized, "osr:1,retire:1"),
    (Tier::Auto, "osr:3,retire:7"),
    (Tier::Auto, "mixed:1"),
    (Tier::Auto, "mixed:20,osr:7,retire:5"),
];

fn in_each(mut test: impl FnMut(&Engine) -> Result<()>) -> Result<()> {
    for (tier, stress) in CONFIGURATIONS {
        let mut config = Config::new();
        config.tier(tier).max_wasm_stack(STACK).background_compilation(false);
        if !stress.is_empty() {
            config.stress(stress.parse::<StressSpec>()?);
        }
        let engine = Engine::new(&config)?;
        test(&engine).with_context(|| format!("{tier:?} {stress}"))?;
        let stats = engine.stats();
        let compiled = [&stats.baseline_compilation, &stats.optimized_compilation];
        anyhow::ensure!(compiled.iter().all(|tier| tier.failed == 0), "{tier:?} {stress}: refused");
        let some = compiled.iter().any(|tier| tier.count > 0);
        let wanted = matches!(tier, Tier::Baseline | Tier::Optimized) && stress.is_empty();
        anyhow::ensure!(some || !wanted, "{tier:?} {stress}: nothing was compiled");
    }
    Ok(())
}

fn call(store: &mut Store<()>, instance: &Instance, name: &str, argument: i64) -> Result<i64> {
    instance.get_typed_func::<i64, i64>(&mut *store, name)?.call(store, argument)
}

/// Two functions that call each other in their last step: with other locals, operands below the arguments, as many
/// arguments as wanted, directly and through a table, and one of them calls a third one that can be compiled.
fn two(arguments: usize) -> String {
    let params = "i64 ".repeat(arguments);
    let rest: String = (1..arguments).map(|i| format!("(local.get {i})")).collect();
    let more: String =
        (1..arguments).map(|i| format!("(i64.add (local.get {i}) (i64.const {i}))")).collect();
    let sum: String = (1..arguments)
        .fold("(i64.const 0)".to_owned(), |sum, i| format!("(i64.add {sum} (local.get {i}))"));
    let zeros = "(i64.const 0)".repeat(arguments - 1);
    format!(
        r#"(module
            (type $t (func (param {params}) (result i64)))
            (table funcref (elem $even $odd))
            (func $compiled (param i64) (result i64) (i64.sub (local.get 0) (i64.const 1)))
            (func $even (param {params}) (result i64)
                (if (i64.eqz (local.get 0)) (then (return {sum})))
                (i64.const 1) (i32.const 2)
                (return_call $odd (call $compiled (local.get 0)) {more}))
            (func $odd (param {params}) (result i64) (local f64 i32 i64 i64)
                (if (i64.eqz (local.get 0)) (then (return (i64.const -1))))
                (return_call_indirect (type $t)
                    (i64.sub (local.get 0) (i64.const 1)) {rest} (i32.wrap_i64 (local.get {}))))
            (func (export "run") (param i64) (result i64) (call $even (local.get 0) {zeros}))
            (func (export "at_once") (param i64) (result i64)
                (return_call $even (local.get 0) {zeros})))"#,
        arguments + 2
    )
}

#[test]
fn a_chain_within_an_instance_takes_no_stack() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        for arguments in [2, 5, 6, 12] {
            let module = Module::new(engine, two(arguments))?;
            let mut store = Store::new(engine, ());
            let instance = Linker::new(engine).instantiate(&mut store, &module)?;
            let steps: i64 = (1..arguments as i64).sum();
            for name in ["run", "at_once"] {
                let sum = call(&mut store, &instance, name, LINKS)?;
                anyhow::ensure!(sum == steps * LINKS / 2, "{arguments}: {sum}");
            }
        }
        Ok(())
    })
}

#[test]
fn vectors_and_references_are_passed_on() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (type $t (func (param i64 v128 f32 (ref null $t) v128) (result i64)))
        (elem declare func $b)
        (func $a (type $t) (local v128)
            (if (i64.eqz (local.get 0)) (then (return (i64x2.extract_lane 1 (local.get 4)))))
            (return_call_ref $t (i64.sub (local.get 0) (i64.const 1))
                (local.get 4) (f32.const 1) (local.get 3) (local.get 1) (local.get 3)))
        (func $b (type $t)
            (if (i64.eqz (local.get 0)) (then (return (i64x2.extract_lane 1 (local.get 1)))))
            (return_call $a (i64.sub (local.get 0) (i64.const 1))
                (local.get 4) (f32.const 1) (local.get 3)
                (i64x2.add (local.get 1) (v128.const i64x2 1 2))))
        (func (export "run") (param i64) (result i64)
            (call $a (local.get 0) (v128.const i64x2 0 5) (f32.const 0) (ref.func $b)
                (v128.const i64x2 0 7))))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module)?;
        let found = call(&mut store, &instance, "run", LINKS)?;
        anyhow::ensure!(found == 7 + LINKS, "{found}");
        Ok(())
    })
}

/// A link of a chain that leads through instances: with so many arguments, the last of them what remains to be done.
fn link(arguments: usize, next: usize) -> String {
    let params = "i64 ".repeat(arguments);
    let next_params = "i64 ".repeat(next);
    let last = arguments - 1;
    let values: String = (0..next - 1).map(|i| format!("(i64.const {i})")).collect();
    format!(
        r#"(module
            (import "next" "f" (func $next (param {next_params}) (result i64)))
            (func (export "f") (param {params}) (result i64)
                (if (i64.eqz (local.get {last})) (then (return (i64.const {arguments}))))
                {values} (i64.sub (local.get {last}) (i64.const 1)) (return_call $next))
            (func (export "begin") (param i64) (result i64)
                {} (local.get 0) (call 1)))"#,
        "(i64.const 0)".repeat(arguments - 1)
    )
}

/// A ring of instances of these numbers of arguments: each calls the next one, and the last the first. What the first
/// imports is a host function that is told of the ring's end.
fn ring(engine: &Engine, store: &mut Store<()>, arguments: &[usize]) -> Result<Instance> {
    // The way back is through a table of the first one.
    let (first, second) = (arguments[0], arguments.get(1).copied().unwrap_or(arguments[0]));
    let params = |count: usize| "i64 ".repeat(count);
    let values = |count: usize| (1..count).map(|i| format!("(i64.const {i})")).collect::<String>();
    let last = first - 1;
    let text = format!(
        r#"(module
            (type $own (func (param {0}) (result i64)))
            (type $next (func (param {1}) (result i64)))
            (table (export "t") 1 funcref)
            (func $f (export "f") (type $own)
                (if (i64.eqz (local.get {last})) (then (return (i64.const {first}))))
                {2} (i64.sub (local.get {last}) (i64.const 1))
                (return_call_indirect (type $next) (i32.const 0)))
            (func (export "begin") (param i64) (result i64) {3} (local.get 0) (call $f)))"#,
        params(first),
        params(second),
        values(second),
        values(first),
    );
    let begin = Linker::new(engine).instantiate(&mut *store, &Module::new(engine, text)?)?;
    let mut next = begin.get_func(&mut *store, "f").context("f")?;
    for i in (1..arguments.len()).rev() {
        let after = arguments.get(i + 1).copied().unwrap_or(first);
        let mut linker = Linker::new(engine);
        linker.define(&mut *store, "next", "f", next)?;
        let module = Module::new(engine, link(arguments[i], after))?;
        let instance = linker.instantiate(&mut *store, &module)?;
        next = instance.get_func(&mut *store, "f").context("f")?;
    }
    let table = begin.get_table(&mut *store, "t").context("t")?;
    table.set(&mut *store, 0, midair::Val::FuncRef(Some(next)))?;
    Ok(begin)
}

#[test]
fn a_chain_through_instances_takes_no_stack() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        for arguments in [&[2, 3][..], &[1, 6, 8], &[12, 2], &[6, 12, 7, 20, 5]] {
            let mut store = Store::new(engine, ());
            let first = ring(engine, &mut store, arguments)?;
            for links in [0, 1, LINKS, LINKS + 1] {
                let found = call(&mut store, &first, "begin", links)?;
                let at = arguments[links as usize % arguments.len()];
                anyhow::ensure!(found == at as i64, "{arguments:?}, {links}: {found}");
            }
        }
        Ok(())
    })
}

#[test]
fn host_functions_can_be_called_in_the_last_step() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (import "host" "f" (func $host (param i64 i64 i64 i64 i64 i64 i64) (result i64)))
        (func $last (param i64) (result i64)
            (return_call $host (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
                (i64.const 5) (i64.const 6)))
        (func $sum (param i64 i64) (result i64)
            (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
            (return_call $sum (i64.sub (local.get 0) (i64.const 1))
                (i64.add (local.get 1) (call $last (local.get 0)))))
        (func (export "f") (param i64) (result i64) (return_call $last (local.get 0)))
        (func (export "sum") (param i64) (result i64) (call $sum (local.get 0) (i64.const 0))))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        let host = |a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64| -> i64 {
            a * (b + 2 * c + 3 * d + 4 * e + 5 * f + 6 * g)
        };
        linker.func_wrap("host", "f", host)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let factor = 1 + 4 + 9 + 16 + 25 + 36;
        anyhow::ensure!(call(&mut store, &instance, "f", 5)? == 5 * factor);
        let sum = call(&mut store, &instance, "sum", LINKS)?;
        anyhow::ensure!(sum == LINKS * (LINKS + 1) / 2 * factor, "{sum}");
        Ok(())
    })
}

/// Host and guest in turn: what the host calls makes a chain of its own, in the midst of another one.
#[test]
fn all_bits_of_an_index_into_a_large_table_count() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (type $t (func (param i64) (result i64)))
        (table $t i64 3 funcref)
        (elem (table $t) (i64.const 0) func $f $f)
        (func $f (type $t) (i64.mul (local.get 0) (i64.const 3)))
        (func (export "run") (type $t)
            (return_call_indirect $t (type $t) (local.get 0) (local.get 0))))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
        for (index, trap) in [
            (2, Trap::IndirectCallToNull),
            (3, Trap::TableOutOfBounds),
            (1 << 32, Trap::TableOutOfBounds),
            ((1 << 32) + 1, Trap::TableOutOfBounds),
            (i64::MIN, Trap::TableOutOfBounds),
            (-1, Trap::TableOutOfBounds),
        ] {
            let found = run.call(&mut store, index).unwrap_err();
            anyhow::ensure!(found.downcast_ref::<Trap>() == Some(&trap), "{index:#x}: {found:?}");
            anyhow::ensure!(run.call(&mut store, 1)? == 3);
        }
        Ok(())
    })
}

#[test]
fn chains_can_be_nested() -> Result<()> {
    let _watchdog = Watchdog::start();
    in_each(|engine| {
        let mut store = Store::new(engine, ());
        let inner = ring(engine, &mut store, &[6, 12, 7])?;
        let inner = inner.get_typed_func::<i64, i64>(&mut store, "begin")?;
        let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>, links: i64| {
            inner.call(&mut caller, links)
        });
        let mut linker = Linker::new(engine);
        linker.define(&mut store, "host", "f", host)?;
        let text = r#"(module
            (import "host" "f" (func $host (param i64) (result i64)))
            (func $f (param i64 i64) (result i64)
                (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
                (return_call $f (i64.sub (local.get 0) (i64.const 1))
                    (i64.add (local.get 1) (call $host (local.get 0)))))
            (func (export "f") (param i64) (result i64) (call $f (local.get 0) (i64.const 0))))"#;
        let instance = linker.instantiate(&mut store, &Module::new(engine, text)?)?;
        // A third each of 1, 2 and 3 links more than a whole number of rounds.
        anyhow::ensure!(call(&mut store, &instance, "f", 300)? == 100 * (6 + 12 + 7));
        Ok(())
    })
}

struct Edits {
    module: Module,
    /// What `b` becomes, and how much of the chain is left then.
    bodies: Vec<(i64, Vec<u8>)>,
}

/// A link is replaced while the chain that it belongs to goes on, by the host that the chain calls; and once more, while those
/// who wait for the end of the chain have not heard of the first time.
#[test]
fn a_link_can_be_replaced_in_the_middle_of_a_chain() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = |step: i64| {
        format!(
            r#"(module
            (import "host" "edit" (func $edit (param i64)))
            (func $a (param i64 i64) (result i64)
                (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
                (call $edit (local.get 0))
                (return_call $b (i64.sub (local.get 0) (i64.const 1)) (local.get 1)))
            (func $b (export "b") (param i64 i64) (result i64) (local i64)
                (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
                (call $edit (local.get 0))
                (return_call $a (i64.sub (local.get 0) (i64.const 1))
                    (i64.add (local.get 1) (i64.const {step}))))
            (func $outer (param i64) (result i64)
                (i64.add (i64.const 7) (call $a (local.get 0) (i64.const 0))))
            (func (export "run") (param i64) (result i64) (call $outer (local.get 0))))"#
        )
    };
    // While its frame is there, and while that of the other one is.
    for [first, second] in [[1001, 501], [1000, 500]] {
        in_each(|engine| {
            let module = Module::new(engine, text(1))?;
            let body = |step: i64| -> Result<Vec<u8>> {
                Module::new(engine, text(step))?.function_body("b").context("b")
            };
            let bodies = vec![(second, body(1)?), (first, body(1000)?)];
            let mut store = Store::new(engine, Edits { module: module.clone(), bodies });
            let mut linker = Linker::new(engine);
            linker.func_wrap(
                "host",
                "edit",
                move |mut caller: Caller<'_, Edits>, left: i64| -> Result<()> {
                    let Edits { module, bodies } = caller.data_mut();
                    if let Some((_, body)) = bodies.pop_if(|(at, _)| *at == left) {
                        let b = module.function_index("b").context("b")?;
                        module.replace_function(b, &body)?;
                    }
                    Ok(())
                },
            )?;
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
            // Of the 1,000 links that `b` is, 250 are made while it is another one.
            let found = run.call(&mut store, 2000)?;
            anyhow::ensure!(found == 7 + 750 + 250 * 1000, "{first}: {found}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Frames that wait for the end of a chain go on in their new bodies, although the link that has heard of these is gone.
#[test]
fn frames_outside_a_chain_go_on_in_their_new_bodies() -> Result<()> {
    let _watchdog = Watchdog::start();
    let text = |last: &str, add: i64| {
        format!(
            r#"(module
            (import "host" "edit" (func $edit (param i64)))
            (type $t (func (param i64) (result i64)))
            (table 1 funcref)
            (elem (i32.const 0) $third)
            (func $outermost (export "run") (type $t)
                (i64.add (call $outer (local.get 0)) (i64.const {add})))
            (func $outer (export "outer") (type $t)
                (i64.mul (call $first (local.get 0)) (i64.const {add})))
            (func $first (type $t)
                (call $edit (local.get 0))
                (return_call $second (local.get 0)))
            (func $second (type $t) (local i64 i64 i64) {last})
            (func $third (type $t) (call $plus (local.get 0)))
            (func $plus (type $t) (i64.add (local.get 0) (i64.const 2))))"#
        )
    };
    for last in [
        "(return_call $third (local.get 0))",
        "(return_call_indirect (type $t) (local.get 0) (i32.const 0))",
        "(return_call_ref $t (local.get 0) (ref.func $third))",
        "(local.get 0)",
    ] {
        in_each(|engine| {
            let module = Module::new(engine, text(last, 1))?;
            let edited = Module::new(engine, text(last, 10))?;
            let bodies: Vec<_> = ["run", "outer"]
                .map(|name| {
                    (module.function_index(name).unwrap(), edited.function_body(name).unwrap())
                })
                .into();
            let mut store = Store::new(engine, module.clone());
            let mut linker = Linker::new(engine);
            let edit = move |caller: Caller<'_, Module>, edits: i64| -> Result<()> {
                for (function, body) in bodies.iter().filter(|_| edits == 5) {
                    caller.data().replace_function(*function, body)?;
                }
                Ok(())
            };
            linker.func_wrap("host", "edit", edit)?;
            let instance = linker.instantiate(&mut store, &module)?;
            let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
            let more = if last.contains("call") { 2 } else { 0 };
            for _ in 0..3 {
                anyhow::ensure!(run.call(&mut store, 4)? == 5 + more);
            }
            for _ in 0..2 {
                let found = run.call(&mut store, 5)?;
                anyhow::ensure!(found == (5 + more) * 10 + 10, "{last}: {found}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_endless_chain_can_be_interrupted_and_runs_out_of_fuel() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (func $a (param i64) (return_call $b (local.get 0)))
        (func $b (param i64) (return_call $a (local.get 0)))
        (func (export "run") (return_call $a (i64.const 0))))"#;
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        let engine = Engine::new(Config::new().tier(tier).consume_fuel(true))?;
        let module = Module::new(&engine, TEXT)?;
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000_003)?;
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel), "{tier:?}");
        assert_eq!(store.get_fuel()?, 1, "{tier:?}: two units a link");

        let engine = Engine::new(Config::new().tier(tier))?;
        let module = Module::new(&engine, TEXT)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let handle = store.interrupt_handle();
        let interrupter = std::thread::spawn(move || handle.interrupt());
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{tier:?}");
        interrupter.join().expect("it has interrupted");
    }
    Ok(())
}

#[test]
fn a_backtrace_has_the_frames_that_are_there() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (func $inner (unreachable))
        (func $gone (return_call $inner))
        (func $outer (call $gone) (nop))
        (func (export "run") (return_call $outer)))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let error = run.call(&mut store, ()).unwrap_err();
        let backtrace = error.downcast_ref::<WasmBacktrace>().context("a backtrace")?;
        let names: Vec<_> = backtrace.frames().iter().map(|frame| frame.func_name()).collect();
        anyhow::ensure!(names == [Some("inner"), Some("outer")], "{names:?}");
        Ok(())
    })
}

/// A recursion in which every call goes by way of a frame that only keeps arguments: `f` calls `g`, which calls `h` in its
/// last step, which has more of them.
const RECURSION: &str = r#"(module
    (import "host" "f" (func $host (param i64)))
    (func $f (export "run") (param $n i64) (result i64) (local $a i64) (local $b f64)
        (local.set $a (i64.mul (local.get $n) (i64.const 3)))
        (local.set $b (f64.convert_i64_s (local.get $n)))
        (if (i64.eqz (local.get $n)) (then
            (call $host (i64.const 7))
            (return (i64.add (i64.const 1) (local.get $n)))))
        (i64.add (i64.add (local.get $a) (i64.trunc_f64_s (local.get $b)))
            (i64.add (call $g (local.get $n)) (local.get $n))))
    (func $g (param $n i64) (result i64)
        (return_call $h (local.get $n) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
            (i64.const 5) (f32.const 0.5) (v128.const i64x2 6 7) (i64.const 8)))
    (func $h (param i64 i64 i64 i64 i64 i64 f32 v128 i64) (result i64)
        (i64.add (i64.add (local.get 5) (local.get 8))
            (i64.sub (call $f (i64.sub (local.get 0) (i64.const 1))) (local.get 4)))
        (if (param i64) (result i64) (i64.eqz (local.get 0))
            (then (drop) (return_call $f (i64.const 0)))
            (else)))
)"#;

#[test]
fn frames_outside_those_that_only_keep_arguments_are_walked_read_and_moved() -> Result<()> {
    let _watchdog = Watchdog::start();
    const DEPTH: i64 = 20;
    in_each(|engine| {
        let module = Module::new(engine, RECURSION)?;
        let mut store = Store::new(engine, module.clone());
        let mut linker = Linker::new(engine);
        let names = ["f", "h"];
        let host = move |caller: Caller<'_, Module>, _: i64| -> Result<()> {
            // Under the name of each function, outermost last: the recursion, and what each frame counts from.
            let frames = caller.frames();
            anyhow::ensure!(frames.len() as i64 == 2 * DEPTH + 1, "{} frames", frames.len());
            for (i, frame) in frames.iter().enumerate() {
                let name = names[i % 2];
                anyhow::ensure!(frame.func_name() == Some(name), "{i}: {:?}", frame.func_name());
                let n = frame.locals()[0].as_ref().context("the parameter is kept")?;
                anyhow::ensure!(n.unwrap_i64() == i.div_ceil(2) as i64, "{i} {name}: {n:?}");
            }
            let module = caller.data();
            // The imported function is number 0.
            for function in [1, 3] {
                for options in [RecompileOptions::unoptimized(), RecompileOptions::optimized()] {
                    module.recompile(function, &options)?;
                }
            }
            Ok(())
        };
        linker.func_wrap("host", "f", host)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
        let expected = 1 + (1..=DEPTH).map(|n| 5 * n + 5 + 8 - 4).sum::<i64>();
        for _ in 0..2 {
            let found = run.call(&mut store, DEPTH)?;
            anyhow::ensure!(found == expected, "{found}, {expected}");
        }
        // Without an end it runs out of stack, as any recursion does.
        let error = run.call(&mut store, 1 << 40).unwrap_err();
        anyhow::ensure!(error.downcast_ref() == Some(&Trap::StackOverflow), "{error:#}");
        Ok(())
    })
}

/// What is recompiled by the host while a chain calls it in every link.
#[test]
fn links_can_be_recompiled_in_the_middle_of_a_chain() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (import "host" "f" (func $host (param i64)))
        (func $a (param i64 i64 i64 i64 i64 i64 i64) (result i64)
            (call $host (local.get 0))
            (if (i64.eqz (local.get 0)) (then (return (i64.add (local.get 5) (local.get 6)))))
            (return_call $b (i64.sub (local.get 0) (i64.const 1))
                (i64.add (local.get 5) (i64.const 1)) (local.get 6)))
        (func $b (param i64 i64 i64) (result i64)
            (call $host (local.get 0))
            (if (i64.eqz (local.get 0)) (then (return (i64.add (local.get 1) (local.get 2)))))
            (return_call $a (i64.sub (local.get 0) (i64.const 1)) (i64.const 1) (i64.const 2)
                (i64.const 3) (i64.const 4) (local.get 1) (i64.add (local.get 2) (i64.const 1000))))
        (func $run (export "run") (param i64) (result i64)
            (i64.add (local.get 0) (call $b (local.get 0) (i64.const 0) (i64.const 0)))))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, module.clone());
        let mut linker = Linker::new(engine);
        let host = |caller: Caller<'_, Module>, left: i64| -> Result<()> {
            let options = match left % 3 {
                0 => RecompileOptions::unoptimized(),
                _ => RecompileOptions::optimized(),
            };
            let function = 1 + (left / 3 % 3) as u32;
            caller.data().recompile(function, &options)?;
            Ok(())
        };
        linker.func_wrap("host", "f", host)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
        for links in [400, 401] {
            let found = run.call(&mut store, links)?;
            let expected = links + links / 2 + (links + 1) / 2 * 1000;
            anyhow::ensure!(found == expected, "{links}: {found}, {expected}");
        }
        anyhow::ensure!(engine.stats().frames.redirected > 0, "no frame was redirected");
        Ok(())
    })
}

#[test]
fn a_chain_that_becomes_hot_goes_on_in_machine_code() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    config.tier(Tier::Auto).max_wasm_stack(STACK).background_compilation(false);
    config.sample_tiers(true);
    for arguments in [2, 12] {
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, two(arguments))?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        for name in ["run", "at_once"] {
            call(&mut store, &instance, name, 100 * LINKS)?;
        }
        let (interpreter, optimized) = (engine.stats().interpreter, engine.stats().optimized);
        anyhow::ensure!(
            interpreter.calls < 100_000 && optimized.calls as i64 > 190 * LINKS,
            "{arguments}: {interpreter:?}, {optimized:?}"
        );
    }
    Ok(())
}

#[test]
fn handlers_around_a_tail_call_are_gone_with_their_frame() -> Result<()> {
    let _watchdog = Watchdog::start();
    const TEXT: &str = r#"(module
        (tag $e)
        (func $throws (param i64 i64 i64 i64 i64 i64 i64) (result i64) (throw $e))
        (func $gone (param i64) (result i64)
            (block
                (try_table (catch_all 0)
                    (return_call $throws (local.get 0) (local.get 0) (local.get 0) (local.get 0)
                        (local.get 0) (local.get 0) (local.get 0))))
            (i64.const -1))
        (func (export "run") (param i64) (result i64) (local i64)
            (loop
                (block
                    (try_table (catch_all 0)
                        (drop (call $gone (local.get 0)))
                        (return (i64.const -2))))
                (local.set 1 (i64.add (local.get 1) (i64.const 3)))
                (br_if 0 (i32.wrap_i64
                    (local.tee 0 (i64.sub (local.get 0) (i64.const 1))))))
            (local.get 1)))"#;
    in_each(|engine| {
        let module = Module::new(engine, TEXT)?;
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module)?;
        let found = call(&mut store, &instance, "run", 100)?;
        anyhow::ensure!(found == 300, "{found}");
        Ok(())
    })
}

#[test]
fn a_thousand_million_links_take_no_stack() -> Result<()> {
    let _watchdog = Watchdog::start();
    let engine = Engine::new(Config::new().tier(Tier::Optimized).max_wasm_stack(STACK))?;
    let module = Module::new(&engine, two(2))?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let sum = call(&mut store, &instance, "at_once", 1_000_000_000)?;
    anyhow::ensure!(sum == 500_000_000, "{sum}");
    Ok(())
}
