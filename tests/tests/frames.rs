//! Listing suspended frames: the same functions, points, locals and operands in every tier and under every
//! stress schedule. The interpreter without a schedule is the oracle.

use midair::{
    AsContext, Caller, Config, Engine, ExternRef, Frame, Linker, Module, Store, Tier, Trap, Val,
};
use midair_osr::verify_walks::verified;
use std::process::Command;

/// `rec(n)` recurses with locals of all types and operands below its calls, every other level by a reference; every
/// seventh level calls itself through the host. `$dead` is not read after its loop.
const RECURSION: &str = r#"(module
    (import "host" "look" (func $look))
    (import "host" "again" (func $again (param i32 externref) (result i64)))
    (elem declare func $rec)
    (type $rec (func (param i32 externref) (result i64)))
    (func $rec (export "rec") (param $n i32) (param $e externref) (result i64)
        (local $a i64) (local $f f32) (local $d f64) (local $r (ref null $rec)) (local $dead i32)
        (local $v v128)
        (local.set $a (i64.mul (i64.extend_i32_s (local.get $n)) (i64.const 1000000007)))
        (local.set $f (f32.mul (f32.convert_i32_s (local.get $n)) (f32.const 0.5)))
        (local.set $d (f64.mul (f64.convert_i32_s (local.get $n)) (f64.const -0.25)))
        (local.set $v (i64x2.splat (local.get $a)))
        (if (i32.and (local.get $n) (i32.const 1))
            (then (local.set $r (ref.func $rec))))
        (loop $l
            (br_if $l (i32.lt_s
                (local.tee $dead (i32.add (local.get $dead) (i32.const 1)))
                (i32.const 3))))
        (i64.sub (local.get $a) (i64.const 77))
        (f64.neg (local.get $d))
        (local.get $r)
        (i8x16.add (local.get $v) (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15))
        (i32.const 123)
        (if (result i64) (i32.eqz (local.get $n))
            (then (call $look) (i64.const 1))
            (else (if (result i64) (i32.eq (i32.rem_u (local.get $n) (i32.const 7)) (i32.const 3))
                (then (call $again (i32.sub (local.get $n) (i32.const 1)) (local.get $e)))
                (else (if (result i64) (ref.is_null (local.get $r))
                    (then (call $rec (i32.sub (local.get $n) (i32.const 1)) (local.get $e)))
                    (else (call_ref $rec
                        (i32.sub (local.get $n) (i32.const 1)) (local.get $e) (local.get $r))))))))
        (local.set $a (i64.add (local.get $a)))
        (local.set $n (i32.add (local.get $n)))
        (i64x2.extract_lane 1)
        (local.set $a (i64.add (local.get $a)))
        (local.set $a (i64.add (local.get $a) (i64x2.extract_lane 0 (local.get $v))))
        (ref.is_null)
        (local.set $n (i32.add (local.get $n)))
        (local.set $d (f64.add (local.get $d)))
        (local.set $a (i64.add (local.get $a)))
        (local.set $n (i32.add (local.get $n) (ref.is_null (local.get $e))))
        (i64.add
            (local.get $a)
            (i64.add
                (i64.extend_i32_s (local.get $n))
                (i64.trunc_f64_s (f64.add (local.get $d) (f64.promote_f32 (local.get $f))))))))"#;

/// The same, in which each call of `rec` by its name is made by a function that has caught an exception, in a handler
/// that can throw it again.
fn with_handlers() -> String {
    let call = "(then (call $rec (i32.sub (local.get $n) (i32.const 1)) (local.get $e)))";
    assert!(RECURSION.contains(call));
    let text = RECURSION.replace(call, &call.replace("$rec", "$handled"));
    let function = r#"
    (tag $t (param i32 f64))
    (func $handled (param $n i32) (param $e externref) (result i64)
        (local $x exnref) (local $kept i64) (local $d f64)
        (local.set $kept (i64.mul (i64.extend_i32_s (local.get $n)) (i64.const 11)))
        i64.const 5
        (block $caught (result i32 f64 exnref)
            (try_table (catch_ref $t $caught)
                (throw $t (local.get $n) (f64.convert_i32_s (local.get $n))))
            (unreachable))
        local.set $x
        local.set $d
        local.set $n
        try (result i64)
            local.get $x
            throw_ref
        catch $t
            drop
            local.get $e
            call $rec
            (if (f64.lt (local.get $d) (f64.const -1)) (then rethrow 1))
        end
        i64.add
        (i64.add (local.get $kept))
        (i64.add (i64.extend_i32_u (ref.is_null (local.get $x)))))
)"#;
    let end = text.rfind(')').unwrap();
    text[..end].to_owned() + function
}

/// What the host saw, and what it does.
#[derive(Default)]
struct Host {
    seen: Vec<Frame>,
    /// Before it looks: replace `rec` by its own body.
    replace: Option<Module>,
}

fn look(mut caller: Caller<'_, Host>) -> midair::Result<()> {
    if let Some(module) = caller.data_mut().replace.take() {
        let function = module.function_index("rec").unwrap();
        let body = module.function_body("rec").unwrap();
        module.replace_function(function, &body)?;
    }
    let frames = caller.frames();
    let places = caller.as_context().frames_without_values();
    assert_eq!(frames.len(), places.len());
    for (frame, place) in frames.iter().zip(&places) {
        assert_eq!(frame.func_index(), place.func_index());
        assert_eq!(frame.func_offset(), place.func_offset());
        assert_eq!(frame.tier(), place.tier());
        assert!(place.locals().is_empty() && place.operands().is_empty());
    }
    caller.data_mut().seen = frames;
    Ok(())
}

fn again(mut caller: Caller<'_, Host>, n: i32, e: Option<ExternRef>) -> midair::Result<i64> {
    let rec = caller.get_export("rec").unwrap().into_func().unwrap();
    let rec = rec.typed::<(i32, Option<ExternRef>), i64>(&caller)?;
    rec.call(&mut caller, (n, e))
}

/// What `rec(n)` returns and what its frames are while the host looks.
fn run(config: &mut Config, text: &str, n: i32, replace: bool) -> (i64, Vec<Frame>) {
    let engine = Engine::new(config.background_compilation(false)).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "look", look).unwrap();
    linker.func_wrap("host", "again", again).unwrap();
    let host = Host { replace: replace.then(|| module.clone()), ..Host::default() };
    let mut store = Store::new(&engine, host);
    assert!(store.frames().is_empty());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let rec = instance.get_typed_func::<(i32, Option<ExternRef>), i64>(&mut store, "rec").unwrap();
    let result = rec.call(&mut store, (n, Some(ExternRef::new(55i32)))).unwrap();
    assert!(store.frames().is_empty());
    (result, std::mem::take(&mut store.data_mut().seen))
}

fn value(value: &Val) -> String {
    match value {
        Val::FuncRef(func) => format!("funcref {}", func.is_some()),
        Val::ExternRef(value) => {
            format!("externref {:?}", value.as_ref().and_then(|v| v.data().downcast_ref::<i32>()))
        }
        Val::ExnRef(exception) => format!("exnref {}", exception.is_some()),
        other => format!("{other:?}"),
    }
}

/// All of a frame but its tier and its version.
fn told(frame: &Frame) -> String {
    let locals: Vec<_> = frame.locals().iter().map(|v| v.as_ref().map(value)).collect();
    let operands: Vec<_> = frame.operands().iter().map(value).collect();
    let (index, offset) = (frame.func_index(), frame.func_offset());
    format!("{index} {:?} {offset} {locals:?} {operands:?}", frame.func_name())
}

fn interpreted(text: &str, n: i32) -> (i64, Vec<String>) {
    let (result, frames) = run(Config::new().tier(Tier::Interp), text, n, false);
    assert!(frames.iter().all(|frame| frame.tier() == Tier::Interp && !frame.waits_to_move()));
    (result, frames.iter().map(told).collect())
}

#[test]
fn interpreted_frames_hold_what_the_program_computed() {
    let (_, frames) = run(Config::new().tier(Tier::Interp), RECURSION, 9, false);
    assert_eq!(frames.len(), 10);
    for (n, frame) in frames.iter().enumerate() {
        let n = n as i64;
        let locals = frame.locals();
        assert_eq!(locals.len(), 8);
        let operands: Vec<_> = frame.operands().iter().map(value).collect();
        let both = (n * 1_000_000_007) as u64;
        let vector = u128::from(both) << 64 | u128::from(both);
        let mut added = vector.to_le_bytes();
        (0..).zip(&mut added).for_each(|(i, byte)| *byte = byte.wrapping_add(i));
        let numbers = [
            value(&Val::I64(n * 1_000_000_007 - 77)),
            value(&Val::F64((n as f64 * 0.25).to_bits())),
            format!("funcref {}", n % 2 == 1),
            value(&Val::V128(u128::from_le_bytes(added))),
            value(&Val::I32(123)),
        ];
        assert_eq!(operands, numbers, "frame {n}");
        let local = |i: usize| locals[i].as_ref().map(value);
        assert_eq!(local(0), Some(value(&Val::I32(n as i32))));
        assert_eq!(local(1), Some("externref Some(55)".to_owned()));
        assert_eq!(local(2), Some(value(&Val::I64(n * 1_000_000_007))));
        assert_eq!(local(3), Some(value(&Val::F32((n as f32 * 0.5).to_bits()))));
        assert_eq!(local(4), Some(value(&Val::F64((n as f64 * -0.25).to_bits()))));
        assert_eq!(local(7), Some(value(&Val::V128(vector))));
        // Read before the call only.
        assert_eq!((local(5), local(6)), (None, None));
        assert_eq!((frame.version(), frame.func_name()), (0, Some("rec")));
        assert!(frame.module_offset().unwrap() > frame.func_offset());
    }
}

#[test]
fn frames_in_handlers_hold_what_was_caught() {
    let (_, frames) = interpreted(&with_handlers(), 2);
    assert_eq!(frames.len(), 4);
    let (d, kept) = (value(&Val::F64(1f64.to_bits())), value(&Val::I64(11)));
    let below = value(&Val::I64(5));
    assert!(frames[2].starts_with("3 Some(\"handled\")"), "{}", frames[2]);
    // `n` and `e` are not read again.
    let locals = format!("[None, None, Some(\"exnref true\"), Some({kept:?}), Some({d:?})]");
    assert!(frames[2].ends_with(&format!("{locals} [{below:?}]")), "{}", frames[2]);
}

#[test]
fn frames_are_the_same_in_every_tier() {
    for text in [RECURSION, &with_handlers()] {
        for n in [0, 3, 4, 40] {
            let (result, frames) = interpreted(text, n);
            for tier in [Tier::Baseline, Tier::Optimized] {
                let (found, seen) = run(Config::new().tier(tier), text, n, false);
                assert_eq!(found, result);
                // Those that have handled an exception go on in the interpreter.
                let name = |frame: &Frame| frame.func_name().map(str::to_owned);
                let handled = |frame: &Frame| name(frame).as_deref() == Some("handled");
                // Baseline code runs on frames of the interpreter.
                let compiled = |frame: &Frame| frame.tier() == Tier::Optimized;
                let wanted = tier == Tier::Optimized;
                assert!(seen.iter().all(|frame| compiled(frame) == wanted || handled(frame)));
                assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), frames, "{tier:?}");
            }
        }
    }
}

/// The outer frames are interpreted, the inner ones compiled, with host frames among both.
#[test]
fn frames_of_two_tiers_are_listed_in_their_order() {
    for text in [RECURSION, &with_handlers()] {
        let (result, frames) = interpreted(text, 60);
        let mut config = Config::new();
        config.tier(Tier::Auto).optimized_threshold(60);
        let (found, seen) = run(&mut config, text, 60, false);
        assert_eq!(found, result);
        assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), frames);
        let compiled = seen.iter().filter(|frame| frame.tier() == Tier::Optimized).count();
        assert!((10..50).contains(&compiled), "{compiled} of {} are compiled", seen.len());
    }
}

#[test]
fn stress_schedules_do_not_change_what_frames_hold() {
    let mut tiers = std::collections::HashSet::new();
    for text in [RECURSION, &with_handlers()] {
        let (result, frames) = interpreted(text, 45);
        for tier in [Tier::Baseline, Tier::Optimized, Tier::Auto] {
            for stress in [
                "osr:1",
                "osr:2",
                "osr:5",
                "retire:1",
                "retire:3",
                "osr:3,retire:2",
                "mixed:1",
                "mixed:3",
                "osr:4,mixed:2",
                "retire:3,mixed:2",
            ] {
                for seed in 0..3 {
                    let mut config = Config::new();
                    config.tier(tier).stress(format!("{stress},seed:{seed}").parse().unwrap());
                    let (found, seen) = run(&mut config, text, 45, false);
                    assert_eq!(found, result, "{tier:?} {stress}");
                    let seen_as: Vec<_> = seen.iter().map(told).collect();
                    assert_eq!(seen_as, frames, "{tier:?} {stress}");
                    let found = |frame: &Frame| (frame.tier() as u8, frame.waits_to_move());
                    tiers.extend(seen.iter().map(found));
                }
            }
        }
    }
    // Interpreted, compiled, and waiting.
    assert_eq!(tiers.len(), 3, "{tiers:?}");
}

#[test]
fn frames_that_wait_to_move_are_read() {
    for text in [RECURSION, &with_handlers()] {
        let (result, frames) = interpreted(text, 45);
        for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized] {
            let (found, seen) = run(Config::new().tier(tier), text, 45, true);
            assert_eq!(found, result);
            assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), frames, "{tier:?}");
            let waits = |frame: &Frame| frame.waits_to_move() || frame.func_name() != Some("rec");
            assert!(seen.iter().all(|frame| waits(frame) && frame.version() == 0));
        }
    }
}

/// The stub of the host call and the frame that traps afterwards lie at the same address: the walk from the trap is not
/// taken for one from the stub.
#[test]
fn walks_from_a_trap_behind_a_host_call_are_verified() {
    const SWITCH: &str = "MIDAIR_VERIFY_WALKS";
    if std::env::var_os(SWITCH).is_none_or(|value| value != "1") {
        // It is looked at once in a process.
        let this = std::env::current_exe().unwrap();
        let name = "walks_from_a_trap_behind_a_host_call_are_verified";
        let run = Command::new(this).args([name, "--exact"]).env(SWITCH, "1").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    let text = r#"(module (import "host" "look" (func $look))
        (memory 1)
        (func $trap (param i32) (result i32) (i32.load (local.get 0)))
        (func (export "f") (param i32) (result i32)
            (call $look)
            (i32.add (call $trap (local.get 0)) (local.get 0))))"#;
    let engine = Engine::new(Config::new().tier(Tier::Optimized)).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("host", "look", || ()).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    // When it is called first, what it calls is compiled.
    assert_eq!(f.call(&mut store, 8).unwrap(), 8);
    let before = verified();
    let error = f.call(&mut store, -1).unwrap_err();
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::MemoryOutOfBounds));
    assert!(verified().walks > before.walks);
}
