//! Where return addresses are not to be rewritten, none is. Everything here runs in a process in which
//! nothing else rewrites them.

use anyhow::Result;
use midair::{Caller, Config, Engine, Linker, Module, Store, StressSpec, Tier, TypedFunc, Update};
use midair_osr::return_addresses_written;
use midair_watchdog::Watchdog;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `deep` calls itself so often, then calls `host.edit`. `f` and `g` run nowhere.
fn text(f: i32, g: i32) -> String {
    format!(
        r#"(module
            (import "host" "edit" (func $edit))
            (func (export "f") (result i32) (i32.const {f}))
            (func (export "g") (result i32) (i32.const {g}))
            (func $deep (export "deep") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (call $edit) (i32.const 0))
                    (else (i32.add (i32.const 1)
                        (call $deep (i32.sub (local.get 0) (i32.const 1))))))))"#
    )
}

/// The update that gives `f` and `g` new bodies.
fn update(module: &Module, f: i32, g: i32) -> Result<Update> {
    let edited = Module::new(module.engine(), text(f, g))?;
    Ok(["f", "g"].iter().fold(module.update(), |update, name| {
        update.body(module.function_index(name).unwrap(), edited.function_body(name).unwrap())
    }))
}

/// How deep the stack is: more than what is gone through while a guest stands still.
const DEPTH: i32 = 3000;

/// Updates `f` and `g` while compiled frames of `deep` are suspended; returns how often.
fn update_under_deep_stacks(config: &mut Config) -> usize {
    config.tier(Tier::Auto).optimized_threshold(20).background_compilation(false);
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, text(1, 2)).unwrap();
    let edits = Arc::new(AtomicUsize::new(0));
    let mut linker = Linker::new(&engine);
    let (target, count) = (module.clone(), edits.clone());
    linker
        .func_wrap("host", "edit", move |_: Caller<'_, ()>| -> Result<()> {
            let n = count.fetch_add(1, Ordering::Relaxed) as i32;
            let applied = update(&target, n + 10, n + 20)?.apply()?;
            assert_eq!((applied.functions.len(), applied.freed_bytes), (2, 0));
            Ok(())
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let deep: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, "deep").unwrap();
    // The first call compiles it: the frames of the others are machine code.
    for _ in 0..5 {
        assert_eq!(deep.call(&mut store, DEPTH).unwrap(), DEPTH);
    }
    assert!(engine.code_stats().live > 0, "`deep` has been compiled");
    for (name, first) in [("f", 14), ("g", 24)] {
        let f: TypedFunc<(), i32> = instance.get_typed_func(&mut store, name).unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), first, "the last update holds");
    }
    edits.load(Ordering::Relaxed)
}

#[test]
fn an_update_that_retires_no_code_rewrites_no_return_address() {
    let _watchdog = Watchdog::start();
    assert_eq!(update_under_deep_stacks(&mut Config::new()), 5);
    assert_eq!(return_addresses_written(), 0);
}

#[test]
fn no_return_address_is_rewritten_where_there_are_shadow_stacks() {
    let _watchdog = Watchdog::start();
    let mut config = Config::new();
    assert_eq!(update_under_deep_stacks(config.assume_shadow_stack(true)), 5);
    let stress = StressSpec { osr: Some(3), retire: Some(7), ..StressSpec::default() };
    assert_eq!(update_under_deep_stacks(config.stress(stress)), 5);
    assert_eq!(return_addresses_written(), 0);
}
