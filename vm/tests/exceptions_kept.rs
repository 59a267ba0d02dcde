//! Which exceptions a store keeps, while others are freed.

use midair::{Engine, Instance, Module, Store};

/// What one exception carries of another keeps that alive.
#[test]
fn exceptions_that_exceptions_carry_are_kept() {
    let text = r#"(module
        (tag $e (param i32))
        (tag $outer (param exnref))
        (global $kept (mut exnref) (ref.null exn))
        (func $catch (param $n i32) (result exnref)
            (block $caught (result i32 exnref)
                (try_table (catch_ref $e $caught) (throw $e (local.get $n)))
                (unreachable))
            (return)
            (unreachable))
        (func (export "keep") (param $n i32) (result i32)
            (block $caught (result exnref exnref)
                (try_table (catch_ref $outer $caught)
                    (throw $outer (call $catch (local.get $n))))
                (unreachable))
            (global.set $kept)
            (drop)
            (i32.const 0))
        (func (export "many") (param $n i32) (result i32)
            (loop $again
                (drop (call $catch (local.get $n)))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $n))
        (func (export "value") (param i32) (result i32)
            (block $inner (result i32)
                (try_table (catch $e $inner)
                    (block $carried (result exnref)
                        (try_table (catch $outer $carried) (throw_ref (global.get $kept)))
                        (unreachable))
                    (throw_ref))
                (unreachable))))"#;
    let engine = Engine::default();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut call = |name: &str, argument: i32| {
        let function = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
        function.call(&mut store, argument).unwrap()
    };
    for n in [-31, -32] {
        call("keep", n);
        call("many", 5000);
        assert_eq!(call("value", 0), n);
    }
}
