//! Vectors between host and guest, and in frames that are replaced.

use anyhow::Result;
use midair::{
    Caller, Config, Engine, Frame, FrameMap, Func, FuncType, Global, GlobalType, Instance, Linker,
    Module, Source, Store, StressSpec, Tier, Val, ValType,
};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

const A: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
const B: u128 = 0xf00d_0000_0000_0001_dead_beef_7f80_0001;

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

#[test]
fn typed_functions_take_and_give_vectors() -> Result<()> {
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(
            &engine,
            r#"(module (func (export "swap") (param v128 i32 v128) (result v128 i64 v128)
                (local.get 2) (i64.extend_i32_s (local.get 1)) (local.get 0)))"#,
        )?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let swap =
            instance.get_typed_func::<(u128, i32, u128), (u128, i64, u128)>(&mut store, "swap")?;
        assert_eq!(swap.call(&mut store, (A, -5, B))?, (B, -5, A), "{tier:?}");
        let swap = swap.func();
        let mut results = [Val::V128(0), Val::I64(0), Val::V128(0)];
        let arguments = [Val::from(A), Val::I32(-5), Val::from(B)];
        swap.call(&mut store, &arguments, &mut results)?;
        assert_eq!(results.map(|val| val.v128()), [Some(B), None, Some(A)]);
        let error = swap.call(&mut store, &[Val::I64(1), Val::I32(-5), Val::V128(B)], &mut []);
        assert!(error.is_err());
        assert!(instance.get_typed_func::<(u128, i32, u64), ()>(&mut store, "swap").is_err());
    }
    Ok(())
}

/// Through registers, the stack and the buffer for results.
#[test]
fn host_functions_take_and_give_many_vectors() -> Result<()> {
    let text = r#"(module
        (import "host" "typed" (func $typed
            (param v128 i32 v128 v128 f64 v128 v128 v128 v128 v128 v128 i64 v128)
            (result v128 i32 v128 v128)))
        (import "host" "dynamic" (func $dynamic (param i64 v128 f32) (result f32 v128 i64 v128)))
        (func (export "f") (param v128 v128) (result v128 i32 v128 v128)
            (call $typed (local.get 0) (i32.const 7) (local.get 1) (local.get 0) (f64.const 2.5)
                (local.get 1) (local.get 0) (local.get 1) (local.get 0) (local.get 1) (local.get 0)
                (i64.const -9) (v128.xor (local.get 0) (local.get 1))))
        (func (export "g") (param v128) (result f32 v128 i64 v128)
            (call $dynamic (i64.const 77) (local.get 0) (f32.const 1.5))))"#;
    for tier in TIERS {
        for stress in ["", "osr:1", "retire:1", "mixed:1"] {
            let mut config = Config::new();
            config.tier(tier).background_compilation(false);
            if !stress.is_empty() {
                config.stress(stress.parse::<StressSpec>()?);
            }
            let engine = Engine::new(&config)?;
            let module = Module::new(&engine, text)?;
            let mut linker = Linker::new(&engine);
            #[allow(clippy::too_many_arguments)]
            fn typed(
                a: u128,
                n: i32,
                b: u128,
                c: u128,
                x: f64,
                d: u128,
                e: u128,
                f: u128,
                g: u128,
                h: u128,
                i: u128,
                m: i64,
                j: u128,
            ) -> (u128, i32, u128, u128) {
                assert_eq!([a, c, e, g, i], [A; 5]);
                assert_eq!([b, d, f, h], [B; 4]);
                assert_eq!((n, x, m), (7, 2.5, -9));
                (j, n + 1, b, a)
            }
            linker.func_wrap("host", "typed", typed)?;
            let ty = FuncType::new(
                [ValType::I64, ValType::V128, ValType::F32],
                [ValType::F32, ValType::V128, ValType::I64, ValType::V128],
            );
            linker.func_new("host", "dynamic", ty, |_, params, results| {
                let vector = params[1].unwrap_v128();
                results[0] = params[2].clone();
                results[1] = Val::V128(!vector);
                results[2] = params[0].clone();
                results[3] = Val::V128(vector.rotate_left(8));
                Ok(())
            })?;
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module)?;
            let f = instance
                .get_typed_func::<(u128, u128), (u128, i32, u128, u128)>(&mut store, "f")?;
            let g = instance.get_typed_func::<u128, (f32, u128, i64, u128)>(&mut store, "g")?;
            for _ in 0..3 {
                assert_eq!(f.call(&mut store, (A, B))?, (A ^ B, 8, B, A), "{tier:?} {stress}");
                let expected = (1.5, !A, 77, A.rotate_left(8));
                assert_eq!(g.call(&mut store, A)?, expected, "{tier:?} {stress}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_host_function_must_return_the_vector_that_its_type_says() -> Result<()> {
    let mut store = Store::new(&Engine::default(), ());
    let ty = FuncType::new([], [ValType::V128]);
    let wrong = Func::new(&mut store, ty, |_, _, results| {
        results[0] = Val::I64(1);
        Ok(())
    });
    let error = wrong.call(&mut store, &[], &mut [Val::V128(0)]).unwrap_err();
    assert!(format!("{error:#}").contains("expected v128"), "{error:#}");
    Ok(())
}

#[test]
fn globals_hold_vectors() -> Result<()> {
    let text = r#"(module
        (import "host" "g" (global $imported (mut v128)))
        (import "host" "c" (global $constant v128))
        (global $own (export "own") (mut v128) (v128.const i64x2 1 2))
        (global $copy (export "copy") v128 (global.get $constant))
        (func (export "rotate") (local v128)
            (local.set 0 (global.get $own))
            (global.set $own (global.get $imported))
            (global.set $imported (v128.or (local.get 0) (global.get $copy)))))"#;
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, text)?;
        let mut store = Store::new(&engine, ());
        let ty = GlobalType::new(ValType::V128, true);
        let global = Global::new(&mut store, ty, Val::V128(A))?;
        let constant = GlobalType::new(ValType::V128, false);
        let constant = Global::new(&mut store, constant, Val::V128(B))?;
        assert!(global.set(&mut store, Val::I64(0)).is_err());
        let mut linker = Linker::new(&engine);
        linker.define(&mut store, "host", "g", global)?;
        linker.define(&mut store, "host", "c", constant)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let own = instance.get_global(&mut store, "own").unwrap();
        let copy = instance.get_global(&mut store, "copy").unwrap();
        assert_eq!(copy.get(&mut store).v128(), Some(B));
        assert_eq!(own.get(&mut store).v128(), Some(2 << 64 | 1));
        instance.get_typed_func::<(), ()>(&mut store, "rotate")?.call(&mut store, ())?;
        assert_eq!(own.get(&mut store).v128(), Some(A), "{tier:?}");
        assert_eq!(global.get(&mut store).v128(), Some(B | 2 << 64 | 1), "{tier:?}");
        own.set(&mut store, Val::V128(B))?;
        instance.get_typed_func::<(), ()>(&mut store, "rotate")?.call(&mut store, ())?;
        assert_eq!(own.get(&mut store).v128(), Some(B | 2 << 64 | 1), "{tier:?}");
    }
    Ok(())
}

/// Sums up vectors in a loop and calls the host each time. `extra` are locals before those that matter, `step` is what
/// is added, and `operand` waits below the call.
fn summing(extra: &str, step: &str, operand: &str) -> String {
    format!(
        r#"(module
            (import "host" "look" (func $look))
            (func $f (export "f") (param $n i32) (result v128)
                {extra} (local $sum v128) (local $step v128) (local $i i32)
                (local.set $step {step})
                (loop $l
                    {operand}
                    (call $look)
                    (local.set $sum (i32x4.add (local.get $sum)))
                    (local.set $sum (i64x2.add (local.get $sum) (local.get $step)))
                    (br_if $l (i32.lt_u
                        (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                        (local.get $n))))
                (local.get $sum)))"#
    )
}

struct Host {
    module: Module,
    body: Vec<u8>,
    map: Option<FrameMap>,
    looks: u32,
    migrated: usize,
    frames: Vec<Frame>,
}

fn look(mut caller: Caller<'_, Host>) -> Result<()> {
    let host = caller.data_mut();
    host.looks += 1;
    if host.looks == 3 {
        let f = host.module.function_index("f").unwrap();
        let mut update = host.module.update().body(f, host.body.clone());
        if let Some(map) = host.map.take() {
            update = update.frame_map(f, map);
        }
        host.migrated = update.apply()?.functions[0].points_mapped;
    }
    caller.data_mut().frames = caller.frames();
    Ok(())
}

/// Runs `old`, which becomes `new` in the third call of `look`.
fn replaced(
    config: &mut Config,
    old: &str,
    new: &str,
    map: Option<FrameMap>,
) -> Result<(u128, Host)> {
    let engine = Engine::new(config.background_compilation(false))?;
    let module = Module::new(&engine, old)?;
    let body = Module::new(&engine, new)?.function_body("f").unwrap().to_vec();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "look", look)?;
    let (looks, migrated, frames) = (0, 0, Vec::new());
    let host = Host { module: module.clone(), body, map, looks, migrated, frames };
    let mut store = Store::new(&engine, host);
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<i32, u128>(&mut store, "f")?;
    let result = f.call(&mut store, 6)?;
    Ok((result, store.into_data()))
}

fn lanes(lanes: [u32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |bits, &lane| bits << 32 | u128::from(lane))
}

/// The vector has other slots in the new body.
#[test]
fn frames_with_vectors_go_on_in_bodies_with_other_locals() -> Result<()> {
    let step = "(v128.const i32x4 1 0 10 0)";
    let operand = "(v128.const i32x4 100 200 300 400)";
    let old = summing("", step, operand);
    let new = summing("(local i64 v128 f32)", step, operand);
    let expected = lanes([606, 1200, 1860, 2400]);
    for tier in TIERS {
        for stress in ["", "osr:1", "retire:1", "osr:2,retire:3", "mixed:1"] {
            let mut config = Config::new();
            config.tier(tier);
            if !stress.is_empty() {
                config.stress(stress.parse::<StressSpec>()?);
            }
            let (result, host) = replaced(&mut config, &old, &new, None)?;
            assert_eq!(result, expected, "{tier:?} {stress}");
            assert_eq!(host.migrated, 3, "the entry, the loop and the call");
            let moved = host.module.engine().stats().frames.kinds.with_vectors;
            assert!(moved > 0, "{tier:?} {stress}: no frame with vectors was moved");
            // The last look is in the new body: n, three that are new, sum, step, i.
            let locals = host.frames[0].locals();
            assert_eq!(locals.len(), 7);
            let vector = |i: usize| locals[i].as_ref().and_then(Val::v128);
            assert_eq!(vector(4), Some(lanes([505, 1000, 1550, 2000])), "{tier:?} {stress}");
            assert_eq!(vector(5), Some(lanes([1, 0, 10, 0])), "{tier:?} {stress}");
            let operands: Vec<_> = host.frames[0].operands().iter().map(Val::v128).collect();
            assert_eq!(operands, [Some(lanes([100, 200, 300, 400]))], "{tier:?} {stress}");
        }
    }
    Ok(())
}

/// What the embedder says of each value, a constant vector among it.
#[test]
fn frame_maps_say_where_vectors_come_from() -> Result<()> {
    let step = "(v128.const i32x4 1 0 10 0)";
    let old = summing("", step, "(v128.const i32x4 100 200 300 400)");
    let new = summing("(local v128)", step, "(v128.const i32x4 1 2 3 4)");
    let call = |text: &str| -> Result<u32> {
        let module = Module::new(&Engine::default(), text)?;
        let body = module.function_body("f").unwrap().to_vec();
        let reader = wasmparser::FunctionBody::new(wasmparser::BinaryReader::new(&body, 0));
        for operator in reader.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            if matches!(operator, wasmparser::Operator::Call { .. }) {
                return Ok(offset as u32);
            }
        }
        anyhow::bail!("no call")
    };
    let locals = vec![
        Source::Local(0),
        Source::Const(Val::V128(A)),
        Source::Local(1),
        Source::Const(Val::V128(lanes([0, 1, 0, 0]))),
        Source::Local(3),
    ];
    for tier in TIERS {
        let operands = vec![Source::Operand(0)];
        let map = FrameMap::new().point_with(call(&old)?, call(&new)?, locals.clone(), operands);
        let (result, _) = replaced(Config::new().tier(tier), &old, &new, Some(map))?;
        // Three rounds of the old operand, of which two had the old step, and three of the new one.
        let rounds = |a: u32, b: u32| 3 * a + 3 * b;
        let expected =
            [rounds(100, 1) + 2, rounds(200, 2) + 4, rounds(300, 3) + 20, rounds(400, 4)];
        assert_eq!(result, lanes(expected), "{tier:?}");
        let wrong = vec![Source::Const(Val::I64(1))];
        let map = FrameMap::new().point_with(call(&old)?, call(&new)?, locals.clone(), wrong);
        let error = replaced(Config::new().tier(tier), &old, &new, Some(map)).err().unwrap();
        assert!(format!("{error:#}").contains("it is of type v128"), "{error:#}");
    }
    Ok(())
}
