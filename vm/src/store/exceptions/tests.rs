use super::FIRST_COLLECTION;
use crate::every_tier::every_tier;
use crate::*;

/// Throws `$n` exceptions and catches each by reference, keeping the last few in a list of exceptions that carry each
/// other, the last one in a local, and none by value.
const PROGRAM: &str = r#"(module
    (tag $e (param i32 exnref))
    (import "host" "count" (func $count))
    (func $throw (param i32 exnref) (throw $e (local.get 0) (local.get 1)))
    (func (export "by_ref") (param $n i32) (result i32) (local $list exnref) (local $sum i32)
        (loop $l
            (block $caught (result i32 exnref exnref)
                (try_table (catch_ref $e $caught) (call $throw (local.get $n) (local.get $list)))
                (unreachable))
            (local.set $list)
            (drop)
            (local.set $sum (i32.add (local.get $sum)))
            (if (i32.eqz (i32.and (local.get $n) (i32.const 15)))
                (then (local.set $list (ref.null exn))))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (call $count)
        (local.get $sum))
    (func (export "by_value") (param $n i32) (result i32) (local $sum i32)
        (loop $l
            (block $caught (result i32 exnref)
                (try_table (catch $e $caught) (call $throw (local.get $n) (ref.null exn)))
                (unreachable))
            (drop)
            (local.set $sum (i32.add (local.get $sum)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (call $count)
        (local.get $sum))
    (func (export "legacy") (param $n i32) (result i32) (local $sum i32)
        loop
            try
                local.get $n
                ref.null exn
                call $throw
            catch $e
                drop
                local.get $sum
                i32.add
                local.set $sum
            end
            try
                try
                    local.get $n
                    ref.null exn
                    throw $e
                catch_all
                    rethrow 0
                end
            catch_all
            end
            local.get $n
            i32.const 1
            i32.sub
            local.tee $n
            br_if 0
        end
        call $count
        local.get $sum))"#;

#[test]
fn a_store_keeps_the_exceptions_that_somebody_refers_to() {
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, PROGRAM).unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("host", "count", |mut caller: Caller<'_, usize>| {
                let store = caller.as_context_mut();
                let count = store.opaque().exception_count();
                let mut store = store;
                *store.data_mut() = count;
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let rounds = 3 * FIRST_COLLECTION as i32;
        for (name, most) in
            [("by_value", 0), ("by_ref", FIRST_COLLECTION), ("legacy", FIRST_COLLECTION)]
        {
            let run = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
            let sum = run.call(&mut store, rounds).unwrap();
            assert_eq!(sum, rounds * (rounds + 1) / 2, "{name}");
            assert!(*store.data() <= most, "{name}: {} exceptions", store.data());
        }
    });
}

#[test]
fn the_host_holds_what_it_refers_to() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (tag $e (param i32))
            (func (export "catch") (param i32) (result exnref)
                (block $caught (result i32 exnref)
                    (try_table (catch_ref $e $caught) (throw $e (local.get 0)))
                    (unreachable))
                (return)))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let catch = instance.get_func(&mut store, "catch").unwrap();
    let mut held = Vec::new();
    for n in 0..2 * FIRST_COLLECTION as i32 {
        let mut result = [Val::I32(0)];
        catch.call(&mut store, &[Val::I32(n)], &mut result).unwrap();
        if n % 100 == 0 {
            held.push((n, result[0].clone()));
        }
    }
    assert!(store.as_context().opaque().exception_count() <= FIRST_COLLECTION + held.len());
    for (n, value) in held {
        let exception = value.exn_ref().unwrap().unwrap().exception(&store);
        assert_eq!(exception.values()[0].unwrap_i32(), n);
    }
}
