//! Fuel is charged to the unit as the plan says (`tiers/src/fuel.rs`), whichever tier runs, and wherever frames change
//! from one to another: no place is paid for twice, and none is for nothing.

use midair::{Config, Engine, Linker, Module, RecompileOptions, Store, StressSpec, Tier, Trap};

/// A program that exports `f`, what it costs when it is called with 5, and whether it traps.
struct Case {
    what: &'static str,
    functions: &'static str,
    /// Operators that are executed, but for `block`, `loop`, `else`, `end`, `nop` and `drop`.
    cost: u64,
    traps: bool,
}

const fn case(what: &'static str, functions: &'static str, cost: u64) -> Case {
    Case { what, functions, cost, traps: false }
}

const CASES: &[Case] = &[
    case("straight line", "(func (export \"f\") (param i32) (drop (i32.add (local.get 0) (i32.const 1))))", 3),
    case(
        "a loop",
        "(func (export \"f\") (param i32)
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        // local.get, const, sub, tee, br_if.
        5 * 5,
    ),
    case(
        "a loop with calls in it and behind it",
        "(func $g (export \"g\") (call $edit))
         (func (export \"f\") (param i32)
            (call $g)
            (loop
                (call $g)
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (call $g)
                (br_if 0 (local.get 0)))
            (call $g)
            (drop (i32.eqz (local.get 0))))",
        // Twelve calls of g, of a unit; each time round call, get, const, sub, set, call, get, br_if.
        12 + 1 + 5 * 8 + 1 + 2,
    ),
    case(
        "both ways of a condition",
        "(func (export \"f\") (param i32) (local i32)
            (loop
                (if (i32.and (local.get 0) (i32.const 1))
                    (then (call $edit) (local.set 1 (i32.add (local.get 1) (i32.const 1))))
                    (else (local.set 1 (i32.const 7)) (call $edit)))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        // get, const, and, if; 5 then three times, 3 else twice; get, const, sub, tee, br_if.
        5 * 4 + 3 * 5 + 2 * 3 + 5 * 5,
    ),
    case(
        "recursion",
        "(func $f (export \"f\") (param i32)
            (call $edit)
            (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))
            (call $edit))",
        // Six frames of call, get, if and the last call; five calls of 4.
        6 * 3 + 5 * 4 + 6,
    ),
    case(
        "an indirect call with operands below it",
        "(type $t (func (param i32) (result i32)))
         (table funcref (elem $g))
         (func $g (export \"g\") (param i32) (result i32) (call $edit) (i32.add (local.get 0) (i32.const 1)))
         (func (export \"f\") (param i32)
            (drop (i32.mul (local.get 0)
                (call_indirect (type $t) (local.get 0) (i32.const 0)))))",
        5 + 4,
    ),
    case(
        "a table of branches",
        "(func (export \"f\") (param i32) (local i32)
            (loop $next
                (block $two (block $one
                    (br_table $one $two $one (i32.and (local.get 0) (i32.const 3))))
                    (local.set 1 (i32.const 1))
                    (br $two))
                (call $edit)
                (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        // get, const, and, br_table; const, set, br unless the low bits are 1 (5 and 1); call and five more.
        5 * 4 + 3 * 3 + 5 * 6,
    ),
    case(
        "a return out of two loops",
        "(func (export \"f\") (param i32)
            (loop $outer
                (loop $inner
                    (call $edit)
                    (if (i32.eqz (local.get 0)) (then (return)))
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_if $inner (i32.and (local.get 0) (i32.const 1))))
                (br $outer)))",
        // Six times call, get, eqz, if; return once; five times get, const, sub, set, get, const, and, br_if;
        // the outer loop goes on when 4, 2 and 0 are reached.
        6 * 4 + 1 + 5 * 8 + 3,
    ),
    case(
        "bulk operations, by their lengths",
        "(memory 1)
         (table 200 funcref)
         (data $data \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\")
         (elem $elements funcref (ref.null func) (ref.null func) (ref.null func))
         (func (export \"f\") (param i32)
            (memory.fill (i32.const 0) (i32.const 7) (i32.const 1000))
            (memory.copy (i32.const 100) (i32.const 0) (i32.mul (local.get 0) (i32.const 100)))
            (call $edit)
            (memory.fill (i32.const 0) (i32.const 7) (i32.const 63))
            (memory.init $data (i32.const 0) (i32.const 0) (i32.const 64))
            (table.fill (i32.const 0) (ref.null func) (i32.const 100))
            (table.copy (i32.const 10) (i32.const 0) (i32.const 20))
            (table.init $elements (i32.const 0) (i32.const 0) (i32.const 3)))",
        // Of 1000, 500, 63 and 64 bytes, and of 100, 20 and 3 elements.
        (4 + 15) + (6 + 7) + 1 + 4 + (4 + 1) + (4 + 100) + (4 + 20) + (4 + 3),
    ),
    case(
        "bulk operations in a loop",
        "(memory 1)
         (func (export \"f\") (param i32)
            (loop
                (memory.fill (i32.const 0) (i32.const 1) (i32.mul (local.get 0) (i32.const 64)))
                (call $edit)
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        // Each time round 6, call, and 5; 64 bytes for each that is left.
        5 * 12 + 5 + 4 + 3 + 2 + 1,
    ),
    Case {
        what: "a trap behind a call, in a segment that is paid for",
        functions: "(func $g (export \"g\") (param i32) (result i32) (call $edit) (local.get 0))
         (func (export \"f\") (param i32)
            (drop (i32.div_u (call $g (local.get 0)) (i32.const 0)))
            (call $edit))",
        // What follows the trap has been paid for: get, call, const, div, call; and g.
        cost: 5 + 2,
        traps: true,
    },
];

const FUEL: u64 = 1_000_000;

/// Whether, and how, the functions that are suspended are given other code at each call of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edit {
    Nothing,
    Recompile,
    Update,
}

fn check(case: &Case, configure: impl Fn(&mut Config), edit: Edit, how: &str) {
    let mut config = Config::new();
    config.consume_fuel(true).background_compilation(false);
    configure(&mut config);
    let engine = Engine::new(&config).unwrap();
    let text = format!("(module (import \"host\" \"edit\" (func $edit)) {})", case.functions);
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::new(&engine);
    let target = module.clone();
    linker
        .func_wrap("host", "edit", move || -> midair::Result<()> {
            for name in ["f", "g"] {
                let Some(function) = target.function_index(name) else { continue };
                match edit {
                    Edit::Nothing => {}
                    Edit::Recompile => {
                        target.recompile(function, &RecompileOptions::optimized())?;
                    }
                    Edit::Update => {
                        // Another body: a `nop` costs nothing.
                        let mut body = target.function_body(name).expect("it is defined");
                        body.insert(body.len() - 1, 0x01);
                        target.update().body(function, body).apply()?;
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
    for round in 0..12 {
        store.set_fuel(FUEL).unwrap();
        let result = f.call(&mut store, 5);
        let used = FUEL - store.get_fuel().unwrap();
        assert_eq!(used, case.cost, "{}, {how}, {edit:?}, call {round}", case.what);
        match result {
            Ok(()) => assert!(!case.traps),
            Err(error) => {
                assert!(case.traps, "{error:#}");
                assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
            }
        }
        // One unit less, and it stops before the segment that it could not pay for.
        store.set_fuel(case.cost - 1).unwrap();
        let error = f.call(&mut store, 5).unwrap_err();
        let stopped = error.downcast_ref() == Some(&Trap::OutOfFuel);
        assert!(stopped, "{}, {how}, {edit:?}: {error:#}", case.what);
    }
}

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

#[test]
fn each_tier_charges_what_the_plan_says() {
    for case in CASES {
        for tier in TIERS {
            for edit in [Edit::Nothing, Edit::Recompile, Edit::Update] {
                let how = format!("{tier:?}");
                check(case, |config| _ = config.tier(tier).optimized_threshold(7), edit, &how);
            }
        }
    }
}

#[test]
fn transitions_are_free_of_charge() {
    for case in CASES {
        for tier in TIERS {
            for schedule in [
                "osr:1",
                "osr:2",
                "osr:3",
                "retire:1",
                "osr:1,retire:1",
                "osr:3,retire:2",
                "mixed:1",
            ] {
                let stress: StressSpec = schedule.parse().unwrap();
                let how = format!("{tier:?} {schedule}");
                let configure = |config: &mut Config| {
                    _ = config.tier(tier).stress(stress).optimized_threshold(3);
                };
                check(case, configure, Edit::Nothing, &how);
            }
        }
    }
}

/// What cannot be paid for is not begun, wherever its operands lie.
#[test]
fn what_is_filled_is_paid_for_before() {
    for tier in TIERS {
        let mut config = Config::new();
        config.consume_fuel(true).tier(tier);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(
            &engine,
            "(module (memory (export \"m\") 1)
               (func (export \"f\") (param i32)
                 (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))",
        )
        .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        // The length is unsigned.
        for (fuel, len, trap, left) in [
            (1027, 65536, Some(Trap::OutOfFuel), 1023),
            (1028, 65536, None, 0),
            (1 << 20, -1, Some(Trap::OutOfFuel), (1 << 20) - 4),
            (
                1 << 30,
                -1,
                Some(Trap::MemoryOutOfBounds),
                (1 << 30) - 4 - (u64::from(u32::MAX) >> 6),
            ),
        ] {
            memory.write(&mut store, 0, &[1]).unwrap();
            store.set_fuel(fuel).unwrap();
            let result = f.call(&mut store, len).map_err(|error| *error.downcast_ref().unwrap());
            assert_eq!(result.err(), trap, "{tier:?}: {fuel} units, {len} bytes");
            assert_eq!(store.get_fuel().unwrap(), left, "{tier:?}: {fuel} units, {len} bytes");
            let mut byte = [0];
            memory.read(&store, 0, &mut byte).unwrap();
            assert_eq!(byte, [if trap.is_none() { 7 } else { 1 }]);
        }
    }
}
