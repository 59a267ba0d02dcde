//! Every operator on vectors gives the same in every tier, on random lanes and on those where something happens.

use midair::{Config, Engine, Func, Instance, Module, Store, Tier, Trap, Val, ValType};
use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use std::cell::RefCell;

/// Operators of one vector, and what they do to lanes that are NaN.
const UNARY: &str = "
    v128.not
    i8x16.abs i8x16.neg i8x16.popcnt i16x8.abs i16x8.neg i32x4.abs i32x4.neg i64x2.abs i64x2.neg
    i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u
    i16x8.extend_high_i8x16_u i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s
    i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u i64x2.extend_low_i32x4_s
    i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u
    i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u
    i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u
    i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u
    i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero
    i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u
    i32x4.relaxed_trunc_f64x2_s_zero i32x4.relaxed_trunc_f64x2_u_zero
    f32x4.convert_i32x4_s f32x4.convert_i32x4_u f64x2.convert_low_i32x4_s
    f64x2.convert_low_i32x4_u f32x4.abs f32x4.neg f64x2.abs f64x2.neg";

/// Operators of one vector whose results are floats that may be NaN.
const FLOAT_UNARY: &str = "
    f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest f32x4.sqrt f32x4.demote_f64x2_zero
    f64x2.ceil f64x2.floor f64x2.trunc f64x2.nearest f64x2.sqrt f64x2.promote_low_f32x4";

/// Operators of two vectors.
const BINARY: &str = "
    v128.and v128.andnot v128.or v128.xor
    i8x16.swizzle i8x16.relaxed_swizzle
    i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s i8x16.le_u
    i8x16.ge_s i8x16.ge_u
    i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u i16x8.le_s i16x8.le_u
    i16x8.ge_s i16x8.ge_u
    i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u
    i32x4.ge_s i32x4.ge_u
    i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s
    f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge
    f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge
    f32x4.pmin f32x4.pmax f64x2.pmin f64x2.pmax
    i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u
    i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u
    i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u i8x16.avgr_u
    i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u
    i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u i16x8.avgr_u
    i16x8.q15mulr_sat_s i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s
    i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u
    i16x8.extmul_high_i8x16_u i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s
    i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u i64x2.extmul_low_i32x4_s
    i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u
    i32x4.add i32x4.sub i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u
    i32x4.dot_i16x8_s i64x2.add i64x2.sub i64x2.mul";

/// Operators of two vectors whose results are floats that may be NaN.
const FLOAT_BINARY: &str = "
    f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.relaxed_min
    f32x4.relaxed_max f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max
    f64x2.relaxed_min f64x2.relaxed_max";

/// Operators of three vectors.
const TERNARY: &str = "
    v128.bitselect i8x16.relaxed_laneselect i16x8.relaxed_laneselect i32x4.relaxed_laneselect
    i64x2.relaxed_laneselect i32x4.relaxed_dot_i8x16_i7x16_add_s";

/// Operators of three vectors whose results are floats that may be NaN.
const FLOAT_TERNARY: &str =
    "f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd";

/// Operators of a vector and an integer.
const SHIFT: &str = "
    i8x16.shl i8x16.shr_s i8x16.shr_u i16x8.shl i16x8.shr_s i16x8.shr_u
    i32x4.shl i32x4.shr_s i32x4.shr_u i64x2.shl i64x2.shr_s i64x2.shr_u";

/// Operators of a vector that give an integer.
const TEST: &str = "
    v128.any_true i8x16.all_true i16x8.all_true i32x4.all_true i64x2.all_true
    i8x16.bitmask i16x8.bitmask i32x4.bitmask i64x2.bitmask";

/// Shapes, with the number of their lanes, the type of a scalar, and the suffixes of what extracts a lane.
const SHAPES: [(&str, usize, &str, &[&str]); 6] = [
    ("i8x16", 16, "i32", &["_s", "_u"]),
    ("i16x8", 8, "i32", &["_s", "_u"]),
    ("i32x4", 4, "i32", &[""]),
    ("i64x2", 2, "i64", &[""]),
    ("f32x4", 4, "f32", &[""]),
    ("f64x2", 2, "f64", &[""]),
];

/// An operator in a function of its own, which is exported as what it is.
struct Operator {
    name: String,
    text: String,
}

/// How many of the three vectors, and then whether the integer, an operator takes.
fn function(name: &str, instruction: &str, vectors: usize, result: &str) -> Operator {
    let operands: String = (0..vectors).map(|i| format!("(local.get {i})")).collect();
    let text = format!(
        "(func (export \"{name}\") (param v128 v128 v128 i32) (result {result}) {operands} {instruction})"
    );
    Operator { name: name.to_owned(), text }
}

/// All operators that do not trap. Constants, shuffles and lanes are there with several immediates.
fn operators() -> Vec<Operator> {
    let mut operators = Vec::new();
    for (names, vectors) in [
        (UNARY, 1),
        (FLOAT_UNARY, 1),
        (BINARY, 2),
        (FLOAT_BINARY, 2),
        (TERNARY, 3),
        (FLOAT_TERNARY, 3),
    ] {
        let names = names.split_whitespace();
        operators.extend(names.map(|name| function(name, name, vectors, "v128")));
    }
    for name in SHIFT.split_whitespace() {
        operators.push(function(name, &format!("(local.get 3) {name}"), 1, "v128"));
        // By an amount that is known.
        for amount in [0, 3, 8, 77] {
            let named = format!("{name} {amount}");
            operators.push(function(&named, &format!("i32.const {amount} {name}"), 1, "v128"));
        }
    }
    operators.extend(TEST.split_whitespace().map(|name| function(name, name, 1, "i32")));
    for (shape, lanes, scalar, extracts) in SHAPES {
        let widen = match scalar {
            "i64" => "i64.extend_i32_s",
            "f32" => "f32.reinterpret_i32",
            "f64" => "i64.extend_i32_u (i64.const 0x7ff0000000000000) i64.or f64.reinterpret_i64",
            _ => "",
        };
        let splat = format!("(local.get 3) {widen} {shape}.splat");
        operators.push(function(&format!("{shape}.splat"), &splat, 0, "v128"));
        for lane in 0..lanes {
            for suffix in extracts {
                let extract = format!("{shape}.extract_lane{suffix} {lane}");
                operators.push(function(&extract, &extract, 1, scalar));
            }
            let replace = format!("{shape}.replace_lane {lane}");
            let instruction = format!("(local.get 3) {widen} {replace}");
            operators.push(function(&replace, &instruction, 1, "v128"));
        }
    }
    for lanes in [
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
        "16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31",
        "15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0",
        "0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23",
        "8 9 24 25 10 11 26 27 12 13 28 29 14 15 30 31",
        "4 5 6 7 0 1 2 3 28 29 30 31 20 21 22 23",
        "3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3",
        "31 0 5 17 9 22 14 3 8 30 1 12 19 27 6 11",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    ] {
        let shuffle = format!("i8x16.shuffle {lanes}");
        operators.push(function(&shuffle, &shuffle, 2, "v128"));
    }
    for (name, constant) in [
        ("zero", "0x0 0x0"),
        ("ones", "0xffffffffffffffff 0xffffffffffffffff"),
        ("low", "0x123456789abcdef 0x0"),
        ("high", "0x0 0x123456789abcdef"),
        ("both", "0x7ff0000000000001 0xdeadbeef7f800001"),
    ] {
        let constant = format!("(v128.const i64x2 {constant})");
        operators.push(function(&format!("v128.const {name}"), &constant, 0, "v128"));
        let add = format!("{constant} i16x8.add_sat_s");
        operators.push(function(&format!("i16x8.add_sat_s {name}"), &add, 1, "v128"));
        let select = format!("(local.get 0) {constant} (local.get 3) select");
        operators.push(function(&format!("select {name}"), &select, 0, "v128"));
    }
    operators
}

/// Whether an operator may answer with any NaN.
fn is_float(name: &str) -> bool {
    [FLOAT_UNARY, FLOAT_BINARY, FLOAT_TERNARY]
        .iter()
        .any(|names| names.split_whitespace().any(|other| other == name))
}

/// The value with all NaNs alike, if the operator may answer with any.
fn canonical(name: &str, value: &Val) -> Val {
    let Val::V128(bits) = *value else { return value.clone() };
    let mut lanes = bits.to_le_bytes();
    if is_float(name) && name.starts_with("f32x4") {
        for lane in lanes.chunks_mut(4) {
            if f32::from_le_bytes(lane.try_into().unwrap()).is_nan() {
                lane.fill(0xff);
            }
        }
    } else if is_float(name) {
        for lane in lanes.chunks_mut(8) {
            if f64::from_le_bytes(lane.try_into().unwrap()).is_nan() {
                lane.fill(0xff);
            }
        }
    }
    Val::V128(u128::from_le_bytes(lanes))
}

/// A module in one tier.
struct Instantiated {
    store: Store<()>,
    instance: Instance,
    results: Vec<(Func, ValType)>,
}

fn instantiate(config: &Config, text: &str, names: &[&str]) -> Instantiated {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let results = names
        .iter()
        .map(|name| {
            let func = instance.get_func(&mut store, name).unwrap();
            (func, func.ty(&store).results.first().copied().unwrap_or(ValType::I32))
        })
        .collect();
    Instantiated { store, instance, results }
}

fn tiers() -> Vec<(&'static str, Config)> {
    let with = |tier, stress: Option<&str>| {
        let mut config = Config::new();
        config.tier(tier).background_compilation(false);
        if let Some(stress) = stress {
            config.stress(stress.parse().unwrap());
        }
        config
    };
    vec![
        ("interpreter", with(Tier::Interp, None)),
        ("interpreter, far", with(Tier::Interp, Some("far:7"))),
        ("baseline", with(Tier::Baseline, None)),
        ("optimized", with(Tier::Optimized, None)),
    ]
}

/// Lanes where something happens: limits, what rounds and what does not fit, NaNs of all kinds.
fn vector() -> impl Strategy<Value = u128> {
    let f32s = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        4194304.5,
        8388607.5,
        2147483648.0,
        -2147483648.0,
        -2147483904.0,
        4294967040.0,
        4294967296.0,
        1e-45,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    let f32s = f32s.map(f32::to_bits).into_iter().chain([0x7f80_0001, 0xffc0_1234, 0x7fa0_0000]);
    let f64s = [
        0.0f64,
        -0.0,
        0.5,
        -1.5,
        2.5,
        2147483647.5,
        2147483648.0,
        -2147483648.5,
        -2147483649.0,
        4294967295.5,
        4294967296.0,
        1e300,
        5e-324,
        1e-40,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        3.4028235677973366e38,
    ];
    let f64s = f64s.map(f64::to_bits).into_iter();
    let f64s = f64s.chain([0x7ff0_0000_0000_0001, 0xfff8_0000_0000_0123]);
    // -128 among them, of which dot products are too large.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0u8, 1, 15, 16, 0x7f, 0x80, 0x81, 0xff]),
    ];
    let short =
        prop::sample::select(vec![0u16, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xff7f]);
    let word = prop_oneof![
        prop::sample::select(f32s.collect::<Vec<_>>()),
        prop::sample::select(vec![1u32, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000]),
    ];
    let long = prop_oneof![
        prop::sample::select(f64s.collect::<Vec<_>>()),
        prop::sample::select(vec![1u64, u64::MAX, 1 << 63, (1 << 63) - 1, 0xffff_ffff]),
    ];
    let bits = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().unwrap());
    prop_oneof![
        any::<u128>(),
        prop::collection::vec(byte, 16).prop_map(move |v| bits(&v)),
        prop::collection::vec(short, 8).prop_map(move |v| bits(
            &v.iter().flat_map(|lane| lane.to_le_bytes()).collect::<Vec<_>>()
        )),
        prop::collection::vec(word, 4).prop_map(move |v| bits(
            &v.iter().flat_map(|lane| lane.to_le_bytes()).collect::<Vec<_>>()
        )),
        prop::collection::vec(long, 2).prop_map(move |v| bits(
            &v.iter().flat_map(|lane| lane.to_le_bytes()).collect::<Vec<_>>()
        )),
    ]
}

#[test]
fn every_operator_gives_the_same_in_every_tier() {
    let operators = operators();
    let text: String = operators.iter().map(|operator| operator.text.as_str()).collect();
    let text = format!("(module {text})");
    let names: Vec<&str> = operators.iter().map(|operator| operator.name.as_str()).collect();
    let all: Vec<_> =
        tiers().iter().map(|(tier, config)| (*tier, instantiate(config, &text, &names))).collect();
    let all = RefCell::new(all);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let operands = (vector(), vector(), vector(), any::<i32>());
    runner
        .run(&operands, |(a, b, c, n)| {
            let arguments = [Val::V128(a), Val::V128(b), Val::V128(c), Val::I32(n)];
            for (i, name) in names.iter().enumerate() {
                let mut expected = None;
                for (tier, Instantiated { store, results, .. }) in &mut *all.borrow_mut() {
                    let (func, ty) = results[i];
                    let mut result = [Val::default_for_ty(ty).unwrap()];
                    func.call(store, &arguments, &mut result).unwrap();
                    let found = format!("{:x?}", canonical(name, &result[0]));
                    let expected = expected.get_or_insert_with(|| found.clone());
                    prop_assert_eq!(expected, &found, "{} in {} of {:x?}", name, tier, arguments);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Loads and stores, with the bytes that each needs.
const ACCESSES: [(&str, usize); 22] = [
    ("v128.load", 16),
    ("v128.load8x8_s", 8),
    ("v128.load8x8_u", 8),
    ("v128.load16x4_s", 8),
    ("v128.load16x4_u", 8),
    ("v128.load32x2_s", 8),
    ("v128.load32x2_u", 8),
    ("v128.load8_splat", 1),
    ("v128.load16_splat", 2),
    ("v128.load32_splat", 4),
    ("v128.load64_splat", 8),
    ("v128.load32_zero", 4),
    ("v128.load64_zero", 8),
    ("v128.load8_lane 5", 1),
    ("v128.load16_lane 7", 2),
    ("v128.load32_lane 1", 4),
    ("v128.load64_lane 1", 8),
    ("v128.store", 16),
    ("v128.store8_lane 14", 1),
    ("v128.store16_lane 3", 2),
    ("v128.store32_lane 2", 4),
    ("v128.store64_lane 0", 8),
];

/// At every address around the memory's end, of the first memory, of another one, and of one with 64-bit addresses.
#[test]
fn accesses_are_the_same_in_every_tier_and_trap_beyond_the_end() {
    const PAGE: usize = 1 << 16;
    let mut text = String::from(
        r#"(module (memory (export "m0") 1) (memory (export "m1") 1) (memory (export "m2") i64 1)
            (data (memory 0) (i32.const 0) "\01\82\03\84\05\86\07\88\09\8a\0b\8c\0d\8e\0f\90\11")
            (data (memory 1) (i32.const 0) "\f1\72\f3\74\f5\76\f7\78\f9\7a\fb\7c\fd\7e\ff\60\e1")
            (data (memory 2) (i64.const 0) "\92\13\94\15\96\17\98\19\9a\1b\9c\1d\9e\1f\a0\21\a2")"#,
    );
    let mut names = Vec::new();
    for (access, bytes) in ACCESSES {
        let (operator, lane) = access.split_once(' ').unwrap_or((access, ""));
        let vector = match (access.contains("load"), lane) {
            (true, "") => "",
            _ => "(local.get 1)",
        };
        let result = if access.contains("load") { "(result v128)" } else { "" };
        for memory in 0..3 {
            let address = match memory {
                2 => "(i64.extend_i32_u (local.get 0))",
                _ => "(local.get 0)",
            };
            for offset in [0, 3] {
                let name = format!("{access} {memory} {offset}");
                text += &format!(
                    "(func (export \"{name}\") (param i32 v128) {result}
                        {address} {vector} {operator} {memory} offset={offset} {lane})"
                );
                names.push((name, memory, offset, bytes));
            }
        }
    }
    text.push(')');
    let exports: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
    let mut expected: Option<Vec<String>> = None;
    for (tier, config) in tiers() {
        let Instantiated { mut store, instance, results } = instantiate(&config, &text, &exports);
        let memories =
            ["m0", "m1", "m2"].map(|name| instance.get_memory(&mut store, name).unwrap());
        let mut found = Vec::new();
        for ((name, memory, offset, bytes), (func, ty)) in names.iter().zip(results) {
            let last = PAGE - offset - bytes;
            for address in [0, 1, last - 1, last, last + 1, PAGE, u32::MAX as usize] {
                let vector = Val::V128(0x0f1e2d3c4b5a69788796a5b4c3d2e1f0);
                let arguments = [Val::I32(address as u32 as i32), vector];
                let mut result = match name.contains("load") {
                    true => vec![Val::default_for_ty(ty).unwrap()],
                    false => Vec::new(),
                };
                let outcome = func.call(&mut store, &arguments, &mut result);
                match (&outcome, address <= last) {
                    (Ok(()), true) => {}
                    (Err(error), false) => {
                        let trap = error.downcast_ref::<Trap>();
                        assert_eq!(trap, Some(&Trap::MemoryOutOfBounds), "{name} at {address:#x}");
                    }
                    _ => panic!("{name} at {address:#x} in {tier}: {outcome:?}"),
                }
                let data = memories[*memory].data(&store);
                let around = &data[address.min(PAGE - 24)..][..24];
                found.push(format!("{name} at {address:#x}: {:x?} {around:x?}", result));
            }
        }
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(expected, &found, "{tier}");
    }
}

/// Where the specification leaves a choice, each tier makes the one of the deterministic profile.
#[test]
fn relaxed_operators_are_those_of_the_deterministic_profile() {
    fn lanes<const N: usize>(lanes: [u64; N]) -> u128 {
        let width = 128 / N as u32;
        let mask = u128::MAX >> (128 - width);
        lanes.iter().rev().fold(0, |bits, &lane| (bits << width) | (u128::from(lane) & mask))
    }
    let floats = |values: [f32; 4]| lanes(values.map(|value| u64::from(value.to_bits())));
    let doubles = |values: [f64; 2]| lanes(values.map(f64::to_bits));
    let least = lanes([0x80; 16]);
    // Rounded, its square is `twice`; as it is, it is a little more.
    let (single, double) = (1.0 + f32::EPSILON, 1.0 + f64::EPSILON);
    let (single_twice, double_twice) = (1.0 + 2.0 * f32::EPSILON, 1.0 + 2.0 * f64::EPSILON);
    let nan = f32::NAN;
    let cases: &[(&str, [u128; 3], u128)] = &[
        (
            "f32x4.relaxed_madd",
            [floats([single; 4]), floats([single; 4]), floats([-single_twice; 4])],
            0,
        ),
        (
            "f32x4.relaxed_nmadd",
            [floats([single; 4]), floats([single; 4]), floats([single_twice; 4])],
            0,
        ),
        (
            "f64x2.relaxed_madd",
            [doubles([double; 2]), doubles([double; 2]), doubles([-double_twice; 2])],
            0,
        ),
        (
            "f64x2.relaxed_nmadd",
            [doubles([double; 2]), doubles([double; 2]), doubles([double_twice; 2])],
            0,
        ),
        ("i16x8.relaxed_dot_i8x16_i7x16_s", [least, least, 0], lanes([0x7fff; 8])),
        (
            "i32x4.relaxed_dot_i8x16_i7x16_add_s",
            [least, least, lanes([1, 2, 3, 4])],
            lanes([65535, 65536, 65537, 65538]),
        ),
        (
            "i16x8.relaxed_q15mulr_s",
            [lanes([0x8000; 8]), lanes([0x8000; 8]), 0],
            lanes([0x7fff; 8]),
        ),
        ("i8x16.relaxed_swizzle", [u128::MAX, lanes([16; 16]), 0], 0),
        ("i8x16.relaxed_laneselect", [u128::MAX, 0, lanes([0x5a; 16])], lanes([0x5a; 16])),
        ("i64x2.relaxed_laneselect", [u128::MAX, 0, lanes([0x8001; 8])], lanes([0x8001; 8])),
        ("f32x4.relaxed_min", [floats([0.0; 4]), floats([-0.0; 4]), 0], floats([-0.0; 4])),
        ("f32x4.relaxed_max", [floats([-0.0; 4]), floats([0.0; 4]), 0], 0),
        (
            "i32x4.relaxed_trunc_f32x4_s",
            [floats([nan, 3e9, -3e9, -1.5]), 0, 0],
            lanes([0, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]),
        ),
        (
            "i32x4.relaxed_trunc_f32x4_u",
            [floats([nan, 5e9, -1.0, 3e9]), 0, 0],
            lanes([0, 0xffff_ffff, 0, 3_000_000_000]),
        ),
        (
            "i32x4.relaxed_trunc_f64x2_s_zero",
            [doubles([f64::NAN, 3e9]), 0, 0],
            lanes([0, 0x7fff_ffff, 0, 0]),
        ),
        (
            "i32x4.relaxed_trunc_f64x2_u_zero",
            [doubles([-1.0, 5e9]), 0, 0],
            lanes([0, 0xffff_ffff, 0, 0]),
        ),
    ];
    let operators = operators();
    let text: String = operators.iter().map(|operator| operator.text.as_str()).collect();
    let names: Vec<&str> = cases.iter().map(|case| case.0).collect();
    for (tier, config) in tiers() {
        let Instantiated { mut store, results, .. } =
            instantiate(&config, &format!("(module {text})"), &names);
        for ((name, operands, expected), (func, _)) in cases.iter().zip(results) {
            let [a, b, c] = operands.map(Val::V128);
            let mut result = [Val::V128(0)];
            func.call(&mut store, &[a, b, c, Val::I32(0)], &mut result).unwrap();
            let found = result[0].unwrap_v128();
            assert_eq!(found, *expected, "{name} in {tier}: {found:#x}, not {expected:#x}");
        }
    }
}
