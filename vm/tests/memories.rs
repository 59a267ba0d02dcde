//! Memories and tables of all types: with addresses of 64 bits, with pages of single bytes, and copies between them.

use anyhow::Result;
use midair::{
    Config, Engine, ErrorKind, Instance, Linker, Memory, MemoryType, Module, Store, StoreLimits,
    Table, TableType, Tier, Trap, TypedFunc, Val, ValType,
};

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Optimized, Tier::Baseline, Tier::Auto];

fn engine(tier: Tier) -> Engine {
    Engine::new(Config::new().tier(tier).background_compilation(false)).unwrap()
}

fn trap<T>(result: Result<T>) -> Option<Trap> {
    result.err().and_then(|error| error.downcast_ref().copied())
}

/// An access of each width at every distance from the end, by index and by offset.
#[test]
fn accesses_trap_beyond_the_end_wherever_the_sum_comes_from() {
    let kinds = [("i32.load8_u", 1), ("i64.load16_s", 2), ("f32.load", 4), ("i64.load", 8)];
    for (memory, size) in [
        ("i64 1", 1 << 16),
        ("i64 3000 (pagesize 1)", 3000),
        ("3000 (pagesize 1)", 3000),
        ("1", 1 << 16),
    ] {
        let long = memory.starts_with("i64");
        let index = if long { "i64" } else { "i32" };
        let most = if long { u64::MAX } else { u32::MAX.into() };
        let offsets = [0, 7, size - 3, size, most - 8, most - 1, most];
        let mut functions = String::new();
        for (kind, _) in kinds {
            for offset in offsets {
                functions += &format!(
                    "(func (export \"{kind}{offset}\") (param {index})
                        (drop ({kind} $m offset={offset} (local.get 0))))\n"
                );
            }
        }
        // The memory is not the first in one of them.
        for before in ["", "(memory 2)"] {
            let text = format!("(module {before} (memory $m {memory}) {functions})");
            for tier in TIERS {
                let engine = engine(tier);
                let module = Module::new(&engine, &text).unwrap();
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                for (kind, bytes) in kinds {
                    for offset in offsets {
                        let name = format!("{kind}{offset}");
                        for index in [0, 1, size - 8, size - bytes, size, most - 7, most] {
                            let result = if long {
                                let f: TypedFunc<u64, ()> =
                                    instance.get_typed_func(&mut store, &name).unwrap();
                                f.call(&mut store, index)
                            } else {
                                let f: TypedFunc<u32, ()> =
                                    instance.get_typed_func(&mut store, &name).unwrap();
                                f.call(&mut store, index as u32)
                            };
                            let end = u128::from(index) + u128::from(offset) + u128::from(bytes);
                            let expected = (end > size.into()).then_some(Trap::MemoryOutOfBounds);
                            let what = format!("{tier:?} {memory} {name} at {index}");
                            assert_eq!(trap(result), expected, "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn copies_go_between_memories_of_all_types() {
    let types = ["1", "i64 1", "2000 (pagesize 1)", "i64 2000 (pagesize 1)"];
    for (to, from) in types.iter().flat_map(|to| types.map(|from| (to, from))) {
        let index = |ty: &str| if ty.starts_with("i64") { "i64" } else { "i32" };
        let (at, of) = (index(to), index(from));
        let len = if (at, of) == ("i64", "i64") { "i64" } else { "i32" };
        let text = format!(
            r#"(module (memory $to (export "to") {to}) (memory $from (export "from") {from})
                (data $d "abcdefgh")
                (func (export "run") (param i32 i32 i32) (result i64)
                    (memory.init $from $d ({of}.const 100) (i32.const 0) (i32.const 8))
                    (memory.fill $from ({of}.const 104) (i32.const 0x7a) ({of}.const 2))
                    (memory.copy $to $from ({}) ({}) ({}))
                    (i64.load $to ({at}.const 10))))"#,
            widened(at, 0),
            widened(of, 1),
            widened(len, 2),
        );
        for tier in TIERS {
            let engine = engine(tier);
            let module = Module::new(&engine, &text).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run: TypedFunc<(u32, u32, u32), u64> =
                instance.get_typed_func(&mut store, "run").unwrap();
            let copied = run.call(&mut store, (10, 100, 8)).unwrap();
            assert_eq!(&copied.to_le_bytes(), b"abcdzzgh", "{tier:?} {to} {from}");
            let outside = Some(Trap::MemoryOutOfBounds);
            assert_eq!(trap(run.call(&mut store, (u32::MAX, 100, 8))), outside, "{tier:?} {to}");
            assert_eq!(trap(run.call(&mut store, (10, u32::MAX, 8))), outside, "{tier:?} {from}");
            assert_eq!(trap(run.call(&mut store, (10, 100, u32::MAX))), outside, "{tier:?}");
        }
    }
}

/// A parameter as an address of this type.
fn widened(ty: &str, parameter: u32) -> String {
    match ty {
        "i64" => format!("i64.extend_i32_u (local.get {parameter})"),
        _ => format!("local.get {parameter}"),
    }
}

/// An index of 64 bits into a table is no other one that has the same lower half.
#[test]
fn indices_into_tables_count_with_all_their_bits() {
    let text = r#"(module
        (type $t (func (result i32)))
        (table $t i64 10 funcref)
        (elem (table $t) (i64.const 0) func $f $f $f $f $f $f $f $f $f $f)
        (func $f (type $t) (i32.const 7))
        (func (export "call") (param i64) (result i32)
            (call_indirect $t (type $t) (local.get 0)))
        (func (export "return_call") (param i64) (result i32)
            (return_call_indirect $t (type $t) (local.get 0)))
        (func (export "get") (param i64) (result i32)
            (ref.is_null (table.get $t (local.get 0)))
            (i32.mul (i32.const 3)) (i32.add (i32.const 7)))
        (func (export "set") (param i64) (result i32)
            (table.set $t (local.get 0) (ref.func $f)) (i32.const 7))
        (func (export "fill") (param i64) (result i32)
            (table.fill $t (local.get 0) (ref.func $f) (i64.const 1)) (i32.const 7))
        (func (export "length") (param i64) (result i32)
            (table.fill $t (i64.const 0) (ref.func $f) (local.get 0)) (i32.const 7))
        (func (export "copy") (param i64) (result i32)
            (table.copy $t $t (local.get 0) (i64.const 1) (i64.const 1)) (i32.const 7))
        (func (export "init") (param i64) (result i32)
            (table.init $t $some (local.get 0) (i32.const 0) (i32.const 1)) (i32.const 7))
        (elem $some func $f))"#;
    let outside: Vec<i64> = [32, 33, 47, 61, 63].map(|bit| 1 << bit).into();
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for export in module.exports() {
            let name = export.name();
            let f: TypedFunc<i64, i32> = instance.get_typed_func(&mut store, name).unwrap();
            // Often enough that functions get baseline code.
            for index in 0..10 {
                assert_eq!(f.call(&mut store, index).unwrap(), 7, "{name} {index} {tier:?}");
            }
            for index in outside.iter().flat_map(|high| [*high, high + 3]) {
                let found = trap(f.call(&mut store, index));
                assert_eq!(found, Some(Trap::TableOutOfBounds), "{name} {index:#x} {tier:?}");
            }
        }
    }
}

#[test]
fn sizes_have_the_types_of_addresses_and_what_is_too_large_is_refused() {
    let text = r#"(module
        (memory $m (export "m") i64 1)
        (memory $b (export "b") 100 70000 (pagesize 1))
        (table $t (export "t") i64 2 5 funcref)
        (func (export "size") (result i64) (memory.size $m))
        (func (export "grow") (param i64) (result i64) (memory.grow $m (local.get 0)))
        (func (export "bytes") (param i32) (result i32)
            (drop (memory.grow $b (local.get 0))) (memory.size $b))
        (func (export "table") (param i64) (result i64)
            (drop (table.grow $t (ref.null func) (local.get 0))) (table.size $t))
        (func (export "entry") (param i64) (table.set $t (local.get 0) (ref.null func)))
        (func (export "indirect") (param i64) (call_indirect $t (local.get 0))))"#;
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let grow: TypedFunc<i64, i64> = instance.get_typed_func(&mut store, "grow").unwrap();
        for too_many in [1 << 48, i64::MAX, -1, i64::MIN, 1 << 40] {
            assert_eq!(grow.call(&mut store, too_many).unwrap(), -1, "{tier:?} {too_many:#x}");
        }
        assert_eq!(grow.call(&mut store, 2).unwrap(), 1, "{tier:?}");
        let size: TypedFunc<(), i64> = instance.get_typed_func(&mut store, "size").unwrap();
        assert_eq!(size.call(&mut store, ()).unwrap(), 3, "{tier:?}");
        let bytes: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, "bytes").unwrap();
        for (delta, expected) in
            [(23, 123), (i32::MAX, 123), (-1, 123), (69_877, 70_000), (1, 70_000)]
        {
            assert_eq!(bytes.call(&mut store, delta).unwrap(), expected, "{tier:?} {delta}");
        }
        let table: TypedFunc<i64, i64> = instance.get_typed_func(&mut store, "table").unwrap();
        for (delta, expected) in [(1, 3), (3, 3), (-1, 3), (1 << 32, 3), (2, 5)] {
            assert_eq!(table.call(&mut store, delta).unwrap(), expected, "{tier:?} {delta}");
        }
        for (name, inside) in [("entry", None), ("indirect", Some(Trap::IndirectCallToNull))] {
            let f: TypedFunc<i64, ()> = instance.get_typed_func(&mut store, name).unwrap();
            assert_eq!(trap(f.call(&mut store, 4)), inside, "{tier:?} {name}");
            for beyond in [5, 1 << 32, (1 << 32) + 1, 1 << 61, -1, i64::MIN] {
                let found = trap(f.call(&mut store, beyond));
                assert_eq!(found, Some(Trap::TableOutOfBounds), "{tier:?} {name} {beyond:#x}");
            }
        }
        let memory = instance.get_memory(&mut store, "b").unwrap();
        assert_eq!((memory.page_size(&store), memory.size(&store)), (1, 70_000));
        assert_eq!(memory.data_size(&store), 70_000);
        let ty = memory.ty(&store);
        assert_eq!(ty, MemoryType::new(70_000, Some(70_000)).with_single_bytes());
        let memory = instance.get_memory(&mut store, "m").unwrap();
        assert_eq!(memory.ty(&store), MemoryType::new64(3, None));
        let table = instance.get_table(&mut store, "t").unwrap();
        assert_eq!(table.ty(&store), TableType::new64(ValType::FUNCREF, 5, Some(5)));
    }
}

#[test]
fn lengths_beyond_all_fuel_are_not_paid() {
    let text = r#"(module (memory i64 1) (table $t i64 1 externref)
        (func (export "memory") (param i64)
            (memory.fill (i64.const 0) (i32.const 0) (local.get 0)))
        (func (export "table") (param i64)
            (table.fill $t (i64.const 0) (ref.null extern) (local.get 0))))"#;
    for tier in TIERS {
        let mut config = Config::new();
        config.tier(tier).background_compilation(false).consume_fuel(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 20).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for name in ["memory", "table"] {
            let fill: TypedFunc<i64, ()> = instance.get_typed_func(&mut store, name).unwrap();
            for length in [-1, i64::MIN, i64::MAX, 1 << 40] {
                let found = trap(fill.call(&mut store, length));
                assert_eq!(found, Some(Trap::OutOfFuel), "{tier:?} {name} {length:#x}");
            }
            let before = store.get_fuel().unwrap();
            assert!(before > 1 << 19, "{tier:?} {before}");
            fill.call(&mut store, 1).unwrap();
        }
    }
}

#[test]
fn limits_may_be_as_high_as_validation_allows() {
    let text = r#"(module
        (memory $a i64 1 0x1_0000_0000_0000)
        (memory $b i64 1 0xffff_ffff_ffff_ffff (pagesize 1))
        (memory $c 1 65536)
        (memory $d 1 0xffff_ffff (pagesize 1))
        (memory $e i64 1 0x1_0000_0000_0000 shared)
        (table $t i64 1 0xffff_ffff_ffff_ffff funcref)
        (func (export "grow") (param i64) (result i64) (memory.grow $a (local.get 0)))
        (func (export "grow_shared") (param i64) (result i64) (memory.grow $e (local.get 0))))"#;
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for name in ["grow", "grow_shared"] {
            let grow: TypedFunc<i64, i64> = instance.get_typed_func(&mut store, name).unwrap();
            for too_many in [0xffff_ffff_ffff, 0x1_0000_0000_0000, -1] {
                assert_eq!(grow.call(&mut store, too_many).unwrap(), -1, "{tier:?} {name}");
            }
            assert_eq!(grow.call(&mut store, 1).unwrap(), 1, "{tier:?} {name}");
        }
    }
    let mut store = Store::new(&Engine::default(), ());
    assert!(Memory::new(&mut store, MemoryType::new64(0, Some(1 << 48))).is_ok());
    assert!(Memory::new(&mut store, MemoryType::new64(0, Some((1 << 48) + 1))).is_err());
}

#[test]
fn instances_that_need_more_than_there_is_are_refused() {
    let engine = Engine::default();
    for (memory, kind) in [
        ("(memory i64 0x1_0000_0000_0000)", ErrorKind::Limit),
        ("(memory i64 0xffff_ffff_ffff)", ErrorKind::System),
        ("(memory i64 0xffff_ffff_ffff_ffff (pagesize 1))", ErrorKind::System),
        ("(table i64 0x1_0000_0000 funcref)", ErrorKind::Limit),
    ] {
        let error = Module::new(&engine, format!("(module {memory})"))
            .and_then(|module| Instance::new(&mut Store::new(&engine, ()), &module, &[]));
        let error = error.expect_err(memory);
        let found = ErrorKind::of(&error);
        // What no validator accepts need not be tried.
        assert!(found == kind || found == ErrorKind::Invalid, "{memory}: {found:?} {error:#}");
    }
    let mut store = Store::new(&engine, ());
    assert!(Memory::new(&mut store, MemoryType::new64(1 << 47, None)).is_err());
    assert!(Memory::new(&mut store, MemoryType::new64(1 << 60, None)).is_err());
    assert!(
        Table::new(
            &mut store,
            TableType::new64(ValType::EXTERNREF, 1 << 40, None),
            Val::null_extern_ref()
        )
        .is_err()
    );
    // Limits of the store hold for them too.
    store.set_limits(StoreLimits::new().memory_bytes(1 << 20));
    let memory = Memory::new(&mut store, MemoryType::new64(1, None)).unwrap();
    assert!(memory.grow(&mut store, 100).is_err());
    assert_eq!(memory.grow(&mut store, 10).unwrap(), 1);
}

#[test]
fn memories_and_tables_are_imported_by_their_types() {
    let engine = Engine::default();
    let exporter = Module::new(
        &engine,
        r#"(module
            (memory (export "short") 1 2) (memory (export "long") i64 1 2)
            (memory (export "bytes") 1 2 (pagesize 1))
            (table (export "table") i64 1 2 funcref))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "m", &exporter).unwrap();
    for (import, expected) in [
        (r#""short" (memory 1 2)"#, true),
        (r#""short" (memory i64 1 2)"#, false),
        (r#""short" (memory 1 2 (pagesize 1))"#, false),
        (r#""long" (memory i64 0)"#, true),
        (r#""long" (memory 0)"#, false),
        (r#""bytes" (memory 0 3 (pagesize 1))"#, true),
        (r#""bytes" (memory 0)"#, false),
        (r#""table" (table i64 1 funcref)"#, true),
        (r#""table" (table 1 funcref)"#, false),
    ] {
        let text = format!("(module (import \"m\" {import}))");
        let module = Module::new(&engine, &text).unwrap();
        assert_eq!(linker.instantiate(&mut store, &module).is_ok(), expected, "{import}");
    }
}

/// A program with 64-bit addresses whose data and tables an update changes while it runs.
#[test]
fn programs_with_long_addresses_are_brought_up_to_new_ones() {
    let source = |step: i64, at: i64, text: &str| {
        format!(
            r#"(module (memory (export "m") i64 1) (data (i64.const 1024) "{text}")
                (table $t i64 2 funcref) (elem (table $t) (i64.const 1) func $f)
                (func $f (result i64) (i64.const {step}))
                (func (export "next") (param i64) (result i64)
                    (i64.store (i64.const {at}) (i64.add (i64.load (i64.const {at}))
                        (i64.mul (local.get 0) (call_indirect $t (result i64) (i64.const 1)))))
                    (i64.load (i64.const {at}))))"#
        )
    };
    for tier in TIERS {
        let engine = engine(tier);
        let module = Module::new(&engine, source(1, 2048, "data")).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let next: TypedFunc<i64, i64> = instance.get_typed_func(&mut store, "next").unwrap();
        assert_eq!(next.call(&mut store, 5).unwrap(), 5, "{tier:?}");
        module.update().module(source(10, 2048, "data")).unwrap().apply().unwrap();
        assert_eq!(next.call(&mut store, 5).unwrap(), 55, "{tier:?}");
        // Where it counts is elsewhere: it would begin anew.
        let moved = module.update().module(source(10, 2056, "data")).unwrap().apply();
        assert!(moved.is_err(), "{tier:?}");
        let short = source(10, 2048, "data")
            .replace("(memory (export \"m\") i64 1)", "(memory (export \"m\") 1)");
        let short = short
            .replace("(i64.const 1024)", "(i32.const 1024)")
            .replace("(i64.const 2048)", "(i32.const 2048)");
        let error = module.update().module(short).unwrap().apply().unwrap_err().to_string();
        assert!(error.contains("is of type `memory 1` instead of `memory i64 1`"), "{error}");
        assert_eq!(next.call(&mut store, 1).unwrap(), 65, "{tier:?}");
    }
}
