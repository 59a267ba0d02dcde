use crate::every_tier::every_tier;
use crate::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn engine() -> Engine {
    Engine::new(Config::new().tier(Tier::Interp)).unwrap()
}

/// An instance of a module whose imports are defined by `define`, all of module `h`.
fn link<T: 'static>(
    config: &Config,
    data: T,
    text: &str,
    define: impl FnOnce(&mut Linker<T>),
) -> (Store<T>, Instance) {
    let engine = Engine::new(config).unwrap();
    let mut linker = Linker::new(&engine);
    define(&mut linker);
    let mut store = Store::new(&engine, data);
    let module = Module::new(&engine, text).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

#[test]
fn closures_have_the_types_of_their_parameters_and_results() {
    let mut store = Store::new(&engine(), ());
    let mut ty = |func: &dyn Fn(&mut Store<()>) -> Func| func(&mut store).ty(&store).to_string();
    assert_eq!(ty(&|s| Func::wrap(s, || ())), "() -> ()");
    assert_eq!(ty(&|s| Func::wrap(s, |_: u32, _: f32| 1_u64)), "(i32, f32) -> (i64)");
    assert_eq!(
        ty(&|s| Func::wrap(s, |_: Caller<'_, ()>, _: f64| -> Result<(i32, f32)> { Ok((1, 2.0)) })),
        "(f64) -> (i32, f32)"
    );
    assert_eq!(
        ty(&|s| Func::wrap(s, |_: Option<Func>, _: Option<ExternRef>| -> Option<Func> { None })),
        "(funcref, externref) -> (funcref)"
    );
}

#[test]
fn sixteen_arguments_and_many_results_arrive_in_order() {
    every_tier(|config| {
        type Sixteen =
            (i32, i64, f32, f64, i32, i64, f32, f64, i32, i64, f32, f64, i32, i64, f32, f64);
        let (mut store, instance) = link(
            config,
            (),
            r#"(module
            (type $t (func
                (param i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64)
                (result i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64)))
            (import "h" "f" (func $f (type $t)))
            (func (export "run") (type $t)
                (local.get 0) (local.get 1) (local.get 2) (local.get 3)
                (local.get 4) (local.get 5) (local.get 6) (local.get 7)
                (local.get 8) (local.get 9) (local.get 10) (local.get 11)
                (local.get 12) (local.get 13) (local.get 14) (local.get 15)
                (call $f)))"#,
            |linker| {
                #[allow(clippy::too_many_arguments)]
                fn next(
                    a: i32,
                    b: i64,
                    c: f32,
                    d: f64,
                    e: i32,
                    f: i64,
                    g: f32,
                    h: f64,
                    i: i32,
                    j: i64,
                    k: f32,
                    l: f64,
                    m: i32,
                    n: i64,
                    o: f32,
                    p: f64,
                ) -> Sixteen {
                    let (w, x) = (1, 1.0);
                    (
                        a + w,
                        b + 1,
                        c + x,
                        d + 1.0,
                        e + w,
                        f + 1,
                        g + x,
                        h + 1.0,
                        i + w,
                        j + 1,
                        k + x,
                        l + 1.0,
                        m + w,
                        n + 1,
                        o + x,
                        p + 1.0,
                    )
                }
                linker.func_wrap("h", "f", next).unwrap();
            },
        );
        let run = instance.get_typed_func::<Sixteen, Sixteen>(&mut store, "run").unwrap();
        let arguments = (1, 2, 3.0, 4.0, 5, 6, 7.0, 8.0, 9, 10, 11.0, 12.0, 13, 14, 15.0, 16.0);
        let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) =
            run.call(&mut store, arguments).unwrap();
        assert_eq!((a, b, c, d, e, f, g, h), (2, 3, 4.0, 5.0, 6, 7, 8.0, 9.0));
        assert_eq!((i, j, k, l, m, n, o, p), (10, 11, 12.0, 13.0, 14, 15, 16.0, 17.0));
    });
}

#[test]
fn an_error_of_the_host_comes_out_with_the_guests_backtrace() {
    every_tier(|config| {
        #[derive(Debug, PartialEq)]
        struct Exit(i32);
        impl std::fmt::Display for Exit {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "exit with {}", self.0)
            }
        }
        impl std::error::Error for Exit {}

        let (mut store, instance) = link(
            config,
            (),
            r#"(module $program
            (import "h" "exit" (func $exit (param i32)))
            (func $quit (call $exit (i32.const 3)))
            (func (export "run") (call $quit)))"#,
            |linker| {
                linker
                    .func_wrap("h", "exit", |code: i32| -> Result<(), Exit> { Err(Exit(code)) })
                    .unwrap();
            },
        );
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        for _ in 0..2 {
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref::<Exit>(), Some(&Exit(3)));
            let backtrace = error.downcast_ref::<WasmBacktrace>().unwrap();
            let names: Vec<_> = backtrace.frames().iter().map(|f| f.func_name()).collect();
            assert_eq!(names, [Some("quit"), None]);
            assert!(backtrace.to_string().contains("program!quit"), "{backtrace}");
        }
    });
}

#[test]
fn a_panic_of_the_host_passes_through_the_guest() {
    every_tier(|config| {
        let (mut store, instance) = link(
            config,
            0,
            r#"(module
            (import "h" "f" (func $f))
            (func (export "run") (call $f)))"#,
            |linker| {
                linker
                    .func_wrap("h", "f", |mut caller: Caller<'_, i32>| {
                        *caller.data_mut() += 1;
                        if *caller.data() == 1 {
                            panic!("the host is in trouble");
                        }
                    })
                    .unwrap();
            },
        );
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        let payload = catch_unwind(AssertUnwindSafe(|| run.call(&mut store, ()))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the host is in trouble"));
        run.call(&mut store, ()).unwrap();
        assert_eq!(*store.data(), 2);
    });
}

#[test]
fn host_and_guest_call_each_other() {
    every_tier(|config| {
        let (mut store, instance) = link(
            config,
            Vec::new(),
            r#"(module
            (import "h" "down" (func $down (param i32) (result i32)))
            (func (export "step") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (i32.const 0))
                    (else (i32.add (local.get 0)
                        (call $down (i32.sub (local.get 0) (i32.const 1))))))))"#,
            |linker| {
                linker
                    .func_wrap("h", "down", |mut caller: Caller<'_, Vec<i32>>, n: i32| {
                        caller.data_mut().push(n);
                        let step = caller.get_export("step").unwrap().into_func().unwrap();
                        let step = step.typed::<i32, i32>(&caller)?;
                        step.call(&mut caller, n)
                    })
                    .unwrap();
            },
        );
        let step = instance.get_typed_func::<i32, i32>(&mut store, "step").unwrap();
        assert_eq!(step.call(&mut store, 10).unwrap(), 55);
        assert_eq!(*store.data(), (0..10).rev().collect::<Vec<_>>());
    });
}

#[test]
fn recursion_through_the_host_ends_in_a_stack_overflow() {
    every_tier(|config| {
        let (mut store, instance) = link(
            config,
            (),
            r#"(module
            (import "h" "again" (func $again))
            (func (export "run") (call $again)))"#,
            |linker| {
                linker
                    .func_wrap("h", "again", |mut caller: Caller<'_, ()>| {
                        let run = caller.get_export("run").unwrap().into_func().unwrap();
                        run.call(&mut caller, &[], &mut [])
                    })
                    .unwrap();
            },
        );
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        for _ in 0..2 {
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow));
        }
    });
}

#[test]
fn recursion_through_a_second_instance_ends_in_a_stack_overflow() {
    every_tier(|config| {
        let engine = Engine::new(config).unwrap();
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        // Each calls the other through a shared table, so that every call leaves the interpreter.
        let text = |other: u32, own: u32, table: &str| {
            format!(
                r#"(module
                {table}
                (type $t (func))
                (func $f (export "run") (call_indirect (type $t) (i32.const {other})))
                (elem (i32.const {own}) $f))"#
            )
        };
        let first = Module::new(&engine, text(1, 0, r#"(table (export "t") 2 funcref)"#)).unwrap();
        linker.module(&mut store, "a", &first).unwrap();
        let second =
            Module::new(&engine, text(0, 1, r#"(import "a" "t" (table 2 funcref))"#)).unwrap();
        let instance = linker.instantiate(&mut store, &second).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        for _ in 0..2 {
            let error = run.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow));
        }
    });
}

#[test]
fn references_keep_their_identity() {
    every_tier(|config| {
        let (mut store, instance) = link(
            config,
            (),
            r#"(module
            (import "h" "same" (func $same (param externref) (result externref)))
            (table $t (export "t") 1 externref)
            (func (export "pass") (param externref) (result externref)
                (table.set $t (i32.const 0) (call $same (local.get 0)))
                (table.get $t (i32.const 0)))
            (func (export "call") (param funcref) (result funcref) (local.get 0)))"#,
            |linker| {
                linker.func_wrap("h", "same", |value: Option<ExternRef>| value).unwrap();
            },
        );
        type Ref = Option<ExternRef>;
        let pass = instance.get_typed_func::<Ref, Ref>(&mut store, "pass").unwrap();
        let value = ExternRef::new(String::from("text"));
        let back = pass.call(&mut store, Some(value.clone())).unwrap().unwrap();
        assert!(ExternRef::ptr_eq(&value, &back));
        assert!(pass.call(&mut store, None).unwrap().is_none());

        let call = instance.get_func(&mut store, "call").unwrap();
        let call = call.typed::<Option<Func>, Option<Func>>(&store).unwrap();
        let func = Func::wrap(&mut store, |x: i32| x + 1);
        let func = call.call(&mut store, Some(func)).unwrap().unwrap();
        assert_eq!(func.typed::<i32, i32>(&store).unwrap().call(&mut store, 1).unwrap(), 2);
    });
}

#[test]
fn dynamic_functions_are_checked() {
    let mut store = Store::new(&engine(), ());
    let ty = FuncType::new([ValType::I32], [ValType::F32]);
    let wrong = Func::new(&mut store, ty, |_, _, results| {
        results[0] = Val::I64(1);
        Ok(())
    });
    let mut results = [Val::I32(0)];
    let error = wrong.call(&mut store, &[Val::I32(1)], &mut results).unwrap_err();
    assert!(format!("{error:?}").contains("returned i64 as result 0, expected f32"), "{error:?}");
    let error = wrong.call(&mut store, &[Val::I64(1)], &mut results).unwrap_err();
    assert_eq!(error.to_string(), "argument 0 is of type i64, expected i32");
    assert!(wrong.call(&mut store, &[], &mut results).is_err());
    assert!(wrong.call(&mut store, &[Val::I32(1)], &mut []).is_err());
    let error = wrong.typed::<i64, f32>(&store).unwrap_err();
    assert_eq!(error.to_string(), "function has type (i32) -> (f32), expected (i64) -> (f32)");

    let func = Func::wrap(&mut Store::new(&engine(), ()), || ());
    let ty = FuncType::new([ValType::FUNCREF], []);
    let takes = Func::new(&mut store, ty, |_, _, _| Ok(()));
    let error = takes.call(&mut store, &[func.into()], &mut []).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
}
