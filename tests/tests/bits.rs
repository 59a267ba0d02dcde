//! The bits of every value survive every way of a frame: registers and slots of all types, wherever a value waits
//! while its frame is moved. NaNs keep their payloads and stay signalling; what is narrower than a register is
//! widened by the program itself, which shows what its upper half was.

use midair::{
    Config, Engine, Instance, Linker, Module, OptLevel, RecompileOptions, Store, StressSpec, Tier,
    Val,
};
use std::sync::{Arc, Mutex};

const TYPES: [&str; 5] = ["i32", "i64", "f32", "f64", "v128"];

/// Bytes between the places that a program writes.
const STRIDE: usize = 16;

/// Quiet and signalling NaNs of both widths, of either sign, infinities, zeroes, denormals, and integers with
/// something in the upper half.
const PATTERNS: [u64; 14] = [
    0,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
    0x7ff0_0000_0000_0001,
    0xfff4_0000_dead_beef,
    0x7ff8_0000_0000_0123,
    0x7ff0_0000_0000_0000,
    0x0000_0000_0000_0001,
    0xdead_beef_7f80_0001,
    0xdead_beef_ffa0_1234,
    0xdead_beef_7fc0_0042,
    0xdead_beef_8000_0000,
    0x0123_4567_ff80_0000,
    0x5555_5555_0000_0001,
];

/// Where values are when they are looked at: what [`program`] writes behind each other.
const PLACES: [&str; 24] = [
    "a local that lives across the call",
    "an operand below the call",
    "the call's only result",
    "result 0 of 5",
    "result 1 of 5",
    "result 2 of 5",
    "result 3 of 5",
    "result 4 of 5",
    "a global",
    "what the host gave back",
    "a result of an indirect call",
    "argument 10 of a call",
    "a local of a loop",
    "a result that was narrowed just before",
    "one of five results that were narrowed just before",
    "a result of a call of a reference",
    "argument 10 of a tail call that has no room for it",
    "an argument on the stack of a link that passes it on",
    "a value that was narrowed for a tail call just before",
    "the second of two results that come by way of a link",
    "what an exception carries",
    "an operand below a handler",
    "a local that a handler reads",
    "what an exception carries that is thrown again",
];

/// A program for one type. `f` loads a value from address 0, has it in all those places while every function on
/// the stack is edited, and stores it from there, widened to 64 bits if it is narrower, at 64 and behind.
fn program(ty: &str) -> String {
    let widen = match ty {
        "i32" => "(i64.extend_i32_u (local.get 1))",
        "f32" => "(i64.extend_i32_u (i32.reinterpret_f32 (local.get 1)))",
        "i64" | "v128" => "(local.get 1)",
        _ => "(i64.reinterpret_f64 (local.get 1))",
    };
    let store = if ty == "v128" { "v128.store" } else { "i64.store" };
    let zero =
        if ty == "v128" { "v128.const i64x2 0 0".to_owned() } else { format!("{ty}.const 0") };
    // Narrow values come out of registers that have something in their upper halves.
    let value = match ty {
        "i32" => "(i32.wrap_i64 (i64.load (i32.const 0)))".to_owned(),
        "f32" => "(f32.reinterpret_i32 (i32.wrap_i64 (i64.load (i32.const 0))))".to_owned(),
        _ => format!("({ty}.load (i32.const 0))"),
    };
    let narrow = match ty {
        "i32" => "(i32.wrap_i64 (local.get 0))",
        "f32" => "(f32.reinterpret_i32 (i32.wrap_i64 (local.get 0)))",
        "i64" => "(local.get 0)",
        "v128" => "(i64x2.replace_lane 1 (i64x2.splat (local.get 0)) (i64.load (i32.const 8)))",
        _ => "(f64.reinterpret_i64 (local.get 0))",
    };
    let narrow5 = narrow.repeat(5);
    let ten = value.repeat(10);
    let zeros = format!("({zero})").repeat(9);
    let own_ten = "(local.get 0)".repeat(10);
    let swapped = "(local.get 9)".repeat(10);
    let many = "(local.get 0)".repeat(5);
    let put = |place: usize, value: &str| format!("(call $put (i32.const {place}) {value})\n");
    let caught = format!(
        "(block $h (result {ty}) (try_table (catch $e $h) (call $throw {value})) (unreachable))"
    );
    let caught_again = format!(
        "try (result {ty})
            try (result {ty}) (call $throw {value}) unreachable catch $e drop call $edit rethrow 0 end
        catch $e end"
    );
    let places: String = [
        put(0, "(local.get $a)"),
        put(1, "(local.get $b)"),
        put(2, "(local.get $c)"),
        format!("(call $many {value})\n"),
        (3..8).rev().map(|i| format!("(local.set $b) {}", put(i, "(local.get $b)"))).collect(),
        format!("(global.set $g {value}) (call $edit)"),
        put(8, "(global.get $g)"),
        put(9, &format!("(call $host {value})")),
        put(10, &format!("(call_indirect (type $pass) {value} (i32.const 0))")),
        put(11, &format!("(call $tenth {ten})")),
        put(12, &format!("(call $loop {value})")),
        put(13, "(call $narrow (i64.load (i32.const 0)))"),
        // The buffer for results has other values in it first.
        "(call $fill) drop drop drop drop drop (call $narrow5 (i64.load (i32.const 0)))".to_owned(),
        format!("drop drop (local.set $b) drop drop {}", put(14, "(local.get $b)")),
        put(15, &format!("(call_ref $pass {value} (ref.func $pass))")),
        put(16, &format!("(call $link {value})")),
        put(17, &format!("(call $swap {zeros} {value})")),
        put(18, "(call $narrow_link (i64.load (i32.const 0)))"),
        format!("(call $two {zeros} {value}) (local.set $b) drop {}", put(19, "(local.get $b)")),
        format!("{value} (local.set $c {value}) {caught} (local.set $b)"),
        put(20, "(local.get $b)"),
        format!("(local.set $b) {}", put(21, "(local.get $b)")),
        put(22, "(local.get $c)"),
        format!("{caught_again} (local.set $b)"),
        put(23, "(local.get $b)"),
    ]
    .concat();
    format!(
        r#"(module
            (import "host" "edit" (func $edit))
            (import "host" "host" (func $host (param {ty}) (result {ty})))
            (memory (export "m") 1)
            (table funcref (elem $pass))
            (global $g (mut {ty}) ({zero}))
            (global $never (mut i32) (i32.const 0))
            (type $pass (func (param {ty}) (result {ty})))
            (tag $e (param {ty}))
            (func $put (export "put") (param i32) (param {ty})
                ({store} offset=64 (i32.shl (local.get 0) (i32.const 4)) {widen}))
            (func $pass (export "pass") (type $pass) (call $edit) (local.get 0))
            (func $throw (export "throw") (param {ty}) (call $edit) (throw $e (local.get 0)))
            (func $many (export "many") (param {ty}) (result {ty} {ty} {ty} {ty} {ty})
                (call $edit) {many})
            (func $tenth (export "tenth")
                (param {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty}) (result {ty})
                (call $edit) (local.get 9))
            (func $swap (export "swap")
                (param {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty}) (result {ty})
                (call $edit) (return_call $tenth {swapped}))
            (func $link (export "link") (param {ty}) (result {ty}) (return_call $tenth {own_ten}))
            (func $narrow_link (export "narrow_link") (param i64) (result {ty})
                (return_call $pass {narrow}))
            (func $pair (export "pair") (param {ty}) (result {ty} {ty}) ({zero}) (local.get 0))
            (func $two (export "two")
                (param {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty} {ty}) (result {ty} {ty})
                (if (global.get $never) (then (return ({zero}) (local.get 9))))
                (return_call $pair (local.get 9)))
            (func $loop (export "loop") (param {ty}) (result {ty}) (local {ty} i32)
                (loop $again
                    (local.set 1 (local.get 0))
                    (call $edit)
                    (local.set 0 (local.get 1))
                    (br_if $again
                        (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 3))))
                (local.get 0))
            (func $narrow (export "narrow") (param i64) (result {ty}) {narrow})
            (func $narrow5 (export "narrow5") (param i64) (result {ty} {ty} {ty} {ty} {ty}) {narrow5})
            (func $fill (export "fill") (result i64 i64 i64 i64 i64)
                (i64.const -1) (i64.const -2) (i64.const -3) (i64.const -4) (i64.const -5))
            (func (export "f") (local $a {ty}) (local $b {ty}) (local $c {ty})
                (local.set $a {value})
                {value}
                (local.set $c (call $pass {value}))
                (local.set $b)
                {places}))"#
    )
}

/// What the host does at each of its calls to the functions that are suspended.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Nothing,
    /// Compiles them anew, each time otherwise.
    Recompile,
    /// Gives them bodies that say the same.
    Update,
}

/// Functions of the programs; the first are suspended when the host is called.
const FUNCTIONS: [&str; 15] = [
    "pass",
    "throw",
    "many",
    "tenth",
    "loop",
    "f",
    "swap",
    "put",
    "narrow",
    "narrow5",
    "fill",
    "link",
    "narrow_link",
    "pair",
    "two",
];
const SUSPENDED: usize = 7;

/// Runs the programs of all types with all patterns; those of [`FUNCTIONS`] whose bits are set in `compiled` are
/// compiled beforehand.
fn check(configure: impl Fn(&mut Config), edit: Edit, compiled: u32) {
    for ty in TYPES {
        let mut config = Config::new();
        config.background_compilation(false).optimized_threshold(2);
        configure(&mut config);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, program(ty)).unwrap();
        let edited: Vec<_> = FUNCTIONS[..SUSPENDED]
            .iter()
            .map(|name| {
                // With an operator more, so that it is another body.
                let mut body = module.function_body(name).unwrap().to_vec();
                body.insert(body.len() - 1, 0x01);
                (module.function_index(name).unwrap(), body)
            })
            .collect();
        for (i, name) in FUNCTIONS.iter().enumerate() {
            if compiled & 1 << i != 0 {
                let function = module.function_index(name).unwrap();
                module.recompile(function, &RecompileOptions::optimized()).unwrap();
            }
        }
        let rounds = Arc::new(Mutex::new(0usize));
        let mut linker = Linker::new(&engine);
        let target = module.clone();
        linker
            .func_wrap("host", "edit", move || -> midair::Result<()> {
                let mut round = rounds.lock().unwrap();
                *round += 1;
                match edit {
                    Edit::Nothing => {}
                    Edit::Recompile => {
                        let options = match *round % 3 {
                            0 => RecompileOptions::unoptimized(),
                            1 => RecompileOptions::optimized(),
                            _ => RecompileOptions::optimized().opt_level(OptLevel::None),
                        };
                        for (function, _) in &edited {
                            target.recompile(*function, &options)?;
                        }
                    }
                    Edit::Update => {
                        let update = edited.iter().fold(target.update(), |update, (f, body)| {
                            update.body(*f, body.clone())
                        });
                        let applied = update.apply()?;
                        if round.is_multiple_of(2) {
                            applied.undo()?;
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
        match ty {
            "i32" => linker.func_wrap("host", "host", |x: i32| x).unwrap(),
            "i64" => linker.func_wrap("host", "host", |x: i64| x).unwrap(),
            "f32" => linker.func_wrap("host", "host", |x: f32| x).unwrap(),
            "v128" => linker.func_wrap("host", "host", |x: u128| x).unwrap(),
            _ => linker.func_wrap("host", "host", |x: f64| x).unwrap(),
        };
        let mut store = Store::new(&engine, ());
        let instance: Instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let (bytes, width) = match ty {
            "i32" | "f32" => (8, u128::from(u32::MAX)),
            "v128" => (16, u128::MAX),
            _ => (8, u128::from(u64::MAX)),
        };
        for round in 0..2 {
            for (i, &low) in PATTERNS.iter().enumerate() {
                // Of vectors each half is another pattern.
                let high = PATTERNS[(i + 5) % PATTERNS.len()];
                let pattern = u128::from(high) << 64 | u128::from(low);
                memory.data_mut(&mut store)[..16].copy_from_slice(&pattern.to_le_bytes());
                memory.data_mut(&mut store)[64..64 + STRIDE * PLACES.len()].fill(0xa5);
                f.call(&mut store, ()).unwrap();
                let found = memory.data(&store)[64..].chunks(STRIDE).zip(PLACES);
                for (found, place) in found {
                    let mut padded = [0; 16];
                    padded[..bytes].copy_from_slice(&found[..bytes]);
                    let found = u128::from_le_bytes(padded);
                    assert_eq!(
                        found,
                        pattern & width,
                        "{ty} {pattern:#x}, {place}, {edit:?}, round {round}: {found:#x}"
                    );
                }
            }
        }
    }
}

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

#[test]
fn values_keep_their_bits_while_their_frames_get_other_code() {
    for tier in TIERS {
        for edit in [Edit::Nothing, Edit::Recompile, Edit::Update] {
            check(|config| _ = config.tier(tier), edit, 0);
        }
    }
}

#[test]
fn values_keep_their_bits_at_forced_transitions() {
    for tier in TIERS {
        for stress in ["osr:1", "retire:1", "osr:2,retire:3", "mixed:1", "retire:5,mixed:2"] {
            let stress: StressSpec = stress.parse().unwrap();
            check(|config| _ = config.tier(tier).stress(stress), Edit::Nothing, 0);
        }
        for stress in ["osr:3", "mixed:1", "retire:1", "osr:3,mixed:2"] {
            let stress: StressSpec = stress.parse().unwrap();
            check(|config| _ = config.tier(tier).stress(stress), Edit::Update, 0);
        }
    }
}

/// Each caller and each callee in the interpreter and in machine code, in every combination.
#[test]
fn values_keep_their_bits_between_functions_in_different_tiers() {
    // Not all of the combinations of functions that do not call each other.
    for compiled in (0..1 << FUNCTIONS.len()).filter(|compiled| compiled % 457 < 2) {
        check(|config| _ = config.optimized_threshold(u32::MAX), Edit::Nothing, compiled);
    }
}

/// Operators of 128 bits read what was computed for them more than once.
#[test]
fn operands_of_wide_operators_are_kept_until_they_are_read_again() {
    let text = r#"(module
        (func (export "f") (param $a i64) (param $b i64) (result i64 i64 i64 i64 i64 i64)
            (i64.sub128
                (i64.add (local.get $a) (i64.const 1)) (i64.mul (local.get $a) (i64.const 3))
                (i64.add (local.get $b) (i64.const 2)) (i64.mul (local.get $b) (i64.const 5)))
            (i64.add128
                (i64.add (local.get $a) (i64.const 1)) (i64.mul (local.get $a) (i64.const 3))
                (i64.add (local.get $b) (i64.const 2)) (i64.mul (local.get $b) (i64.const 5)))
            (i64.mul_wide_u (i64.add (local.get $a) (i64.const 1)) (i64.sub (local.get $b) (i64.const 3)))))"#;
    type Results = (i64, i64, i64, i64, i64, i64);
    let halves = |n: u128| (n as i64, (n >> 64) as i64);
    let wide = |low: i64, high: i64| u128::from(high as u64) << 64 | u128::from(low as u64);
    for tier in [Tier::Interp, Tier::Baseline] {
        let engine = Engine::new(Config::new().tier(tier)).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<(i64, i64), Results>(&mut store, "f").unwrap();
        for (a, b) in [(7, 3), (3, 7), (-1, 1), (i64::MIN, i64::MAX), (0, -3)] {
            let left = wide(a.wrapping_add(1), a.wrapping_mul(3));
            let right = wide(b.wrapping_add(2), b.wrapping_mul(5));
            let product =
                u128::from(a.wrapping_add(1) as u64) * u128::from(b.wrapping_sub(3) as u64);
            let (difference, sum) = (left.wrapping_sub(right), left.wrapping_add(right));
            let [d, s, p] = [difference, sum, product].map(halves);
            for _ in 0..2 {
                let found = f.call(&mut store, (a, b)).unwrap();
                assert_eq!(found, (d.0, d.1, s.0, s.1, p.0, p.1), "{a} {b}");
            }
        }
    }
}

/// Baseline code leaves conversions of what does not fit to the interpreter, which finds all values in their slots, however
/// many are in registers.
#[test]
fn conversions_of_what_does_not_fit_leave_other_values_as_they_are() {
    let conversions = ["i32", "i64"].into_iter().flat_map(|to| {
        ["f32_s", "f32_u", "f64_s", "f64_u"].map(|from| (to, format!("trunc_sat_{from}")))
    });
    for (to, operator) in conversions {
        let from = &operator[10..13];
        for locals in 0..12 {
            let set = |n| format!("(local.set {n} (i64.mul (local.get 1) (i64.const {n})))\n");
            let results = |n| format!("(local.get {n})");
            let text = format!(
                "(module (func (export \"f\") (param {from} i64) (result {to} {})
                    (local {}) (local {to})
                    {} (local.set {} ({to}.{operator} ({from}.mul (local.get 0) ({from}.const 2))))
                    (local.get {}) {}))",
                "i64 ".repeat(locals),
                "i64 ".repeat(locals),
                (2..locals + 2).map(set).collect::<String>(),
                locals + 2,
                locals + 2,
                (2..locals + 2).map(results).collect::<String>(),
            );
            let [expected, found] = [Tier::Interp, Tier::Baseline].map(|tier| {
                let engine = Engine::new(Config::new().tier(tier)).unwrap();
                let module = Module::new(&engine, &text).unwrap();
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let f = instance.get_func(&mut store, "f").unwrap();
                let numbers = [1.0, 1e30, -1e30, f64::NAN, 2e9, 1e19];
                numbers.map(|number| {
                    let number = match from {
                        "f32" => Val::F32((number as f32).to_bits()),
                        _ => Val::F64(number.to_bits()),
                    };
                    let mut results = vec![Val::I32(0); locals + 1];
                    f.call(&mut store, &[number, Val::I64(0x1_0000_0001)], &mut results).unwrap();
                    format!("{results:?}")
                })
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
