//! What atomic operators do, by one thread: results and traps of each, in every width and in memories of all types, against a
//! model; in every tier, and while frames change theirs.

use anyhow::Result;
use midair::{Config, Engine, Instance, Module, Store, StressSpec, Tier, Trap, TypedFunc};
use midair_watchdog::Watchdog;

const CONFIGURATIONS: [(Tier, &str); 9] = [
    (Tier::Interp, ""),
    (Tier::Baseline, ""),
    (Tier::Optimized, ""),
    (Tier::Auto, ""),
    (Tier::Optimized, "osr:1,retire:1"),
    (Tier::Auto, "osr:1,retire:1"),
    (Tier::Auto, "osr:7,retire:5"),
    (Tier::Auto, "mixed:1"),
    (Tier::Auto, "mixed:20,osr:7,retire:5,far:8"),
];

fn engine(tier: Tier, stress: &str) -> Result<Engine> {
    let mut config = Config::new();
    config.tier(tier).optimized_threshold(20).background_compilation(false);
    if !stress.is_empty() {
        config.stress(stress.parse::<StressSpec>()?);
    }
    Engine::new(&config)
}

/// What each operator does, with its width and what it makes of memory and operand.
type Model = fn(u64, u64) -> u64;

const MODIFICATIONS: [(&str, Model); 6] = [
    ("add", u64::wrapping_add),
    ("sub", u64::wrapping_sub),
    ("and", |a, b| a & b),
    ("or", |a, b| a | b),
    ("xor", |a, b| a ^ b),
    ("xchg", |_, b| b),
];

/// Type, bytes, and how the operators of this width are called.
const WIDTHS: [(&str, u32, &str, &str); 7] = [
    ("i32", 4, "", ""),
    ("i32", 1, "8", "_u"),
    ("i32", 2, "16", "_u"),
    ("i64", 8, "", ""),
    ("i64", 1, "8", "_u"),
    ("i64", 2, "16", "_u"),
    ("i64", 4, "32", "_u"),
];

/// Memories in which atomic operators are used: shared or not, with both kinds of addresses, and with pages of single bytes.
const MEMORIES: [&str; 6] = [
    "(memory 1 1 shared)",
    "(memory 1)",
    "(memory i64 1 1 shared)",
    "(memory i64 1)",
    "(memory 3) (memory $other 1 1 shared)",
    "(memory 65536 65536 shared (pagesize 1))",
];

/// A module with all operators of one width, on values that are passed as 64 bits.
fn operators(memories: &str, width: (&str, u32, &str, &str)) -> String {
    let (ty, _, bits, suffix) = width;
    let index = if memories.contains("i64") { "i64" } else { "i32" };
    let memory = if memories.contains("$other") { "$other" } else { "0" };
    let value = |local: u32| match ty {
        "i32" => format!("(i32.wrap_i64 (local.get {local}))"),
        _ => format!("(local.get {local})"),
    };
    let widened = |expr: String| match ty {
        "i32" => format!("(i64.extend_i32_u {expr})"),
        _ => expr,
    };
    let (a, b) = (value(1), value(2));
    let rmw = if bits.is_empty() { "rmw".to_owned() } else { format!("rmw{bits}") };
    let mut functions = String::new();
    for offset in [0, 24, 3] {
        let mut define = |name: &str, body: String| {
            functions += &format!(
                "(func (export \"{name}{offset}\") (param {index} i64 i64) (result i64) {body})\n"
            );
        };
        let at = format!("{memory} offset={offset} (local.get 0)");
        define("load", widened(format!("({ty}.atomic.load{bits}{suffix} {at})")));
        define("store", format!("({ty}.atomic.store{bits} {at} {a}) (i64.const 0)"));
        for (name, _) in MODIFICATIONS {
            define(name, widened(format!("({ty}.atomic.{rmw}.{name}{suffix} {at} {a})")));
        }
        define("cmpxchg", widened(format!("({ty}.atomic.{rmw}.cmpxchg{suffix} {at} {a} {b})")));
    }
    format!("(module {memories} {functions})")
}

/// Bits that are carried, borrowed, cut off, and extended.
const VALUES: [u64; 8] = [
    0,
    1,
    0x7f,
    0xff,
    0x8000_0000_8000_8080,
    0xffff_ffff_ffff_ffff,
    0x1234_5678_9abc_def0,
    0x0000_0001_0000_0100,
];

#[test]
fn operators_do_what_they_say_in_every_width() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (tier, stress) in CONFIGURATIONS {
        for memories in MEMORIES {
            for width in WIDTHS {
                let what = format!("{tier:?} {stress} {memories} {width:?}");
                let engine = engine(tier, stress)?;
                let module = Module::new(&engine, operators(memories, width))?;
                let mut guest = Guest::new(&engine, &module, memories.contains("i64"))?;
                let mask = u64::MAX >> (64 - 8 * width.1);
                for (i, &a) in VALUES.iter().enumerate() {
                    let b = VALUES[(i + 3) % VALUES.len()];
                    let at = u64::from(width.1) * 5;
                    for (name, model) in MODIFICATIONS {
                        guest.call("store0", at, [b, 0])?;
                        assert_eq!(
                            guest.call(&format!("{name}0"), at, [a, 0])?,
                            b & mask,
                            "{what} {name}"
                        );
                        let now = guest.call("load0", at, [0, 0])?;
                        assert_eq!(now, model(b, a) & mask, "{what} {name} {b:x} {a:x}");
                    }
                    for expected in [a, b, !a] {
                        guest.call("store24", at, [a, 0])?;
                        let old = guest.call("cmpxchg24", at, [expected, b])?;
                        assert_eq!(old, a & mask, "{what} cmpxchg {a:x} {expected:x}");
                        let same = expected & mask == a & mask;
                        let now = guest.call("load24", at, [0, 0])?;
                        assert_eq!(
                            now,
                            if same { b } else { a } & mask,
                            "{what} cmpxchg {a:x} {expected:x}"
                        );
                    }
                    // Neighbours are left alone.
                    assert_eq!(guest.call("load0", at - u64::from(width.1), [0, 0])?, 0, "{what}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn accesses_trap_where_they_are_not_aligned_and_beyond_the_end() -> Result<()> {
    let _watchdog = Watchdog::start();
    let names = ["load", "store", "add", "xchg", "xor", "cmpxchg"];
    for (tier, stress) in CONFIGURATIONS {
        for memories in MEMORIES {
            let long = memories.contains("i64");
            let most = if long { u64::MAX } else { u32::MAX.into() };
            for width in WIDTHS {
                let engine = engine(tier, stress)?;
                let module = Module::new(&engine, operators(memories, width))?;
                let mut guest = Guest::new(&engine, &module, long)?;
                let bytes = u64::from(width.1);
                for offset in [0, 24, 3] {
                    for index in
                        [0, 1, 2, 3, 4, 5, 65528, 65533, 65536 - bytes, 65536, most - 7, most]
                    {
                        let at = index.wrapping_add(offset);
                        let end = u128::from(index) + u128::from(offset) + u128::from(bytes);
                        let expected = if at % bytes != 0 {
                            Some(Trap::UnalignedAtomic)
                        } else {
                            (end > 65536).then_some(Trap::MemoryOutOfBounds)
                        };
                        for name in names {
                            let found = trap(guest.call(&format!("{name}{offset}"), index, [0, 0]));
                            let what = format!(
                                "{tier:?} {stress} {memories} {width:?} {name} {index}+{offset}"
                            );
                            assert_eq!(found, expected, "{what}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn trap<T>(result: Result<T>) -> Option<Trap> {
    result.err().map(|error| *error.downcast_ref().expect("a trap"))
}

/// An instance whose functions take an index of either type.
struct Guest {
    store: Store<()>,
    instance: Instance,
    long: bool,
}

impl Guest {
    fn new(engine: &Engine, module: &Module, long: bool) -> Result<Guest> {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, module, &[])?;
        Ok(Guest { store, instance, long })
    }

    fn call(&mut self, name: &str, index: u64, [a, b]: [u64; 2]) -> Result<u64> {
        let (store, instance) = (&mut self.store, self.instance);
        if self.long {
            let f: TypedFunc<(u64, u64, u64), u64> = instance.get_typed_func(&mut *store, name)?;
            return f.call(store, (index, a, b));
        }
        let f: TypedFunc<(u32, u64, u64), u64> = instance.get_typed_func(&mut *store, name)?;
        f.call(store, (index as u32, a, b))
    }
}
