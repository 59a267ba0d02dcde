//! Random functions with more locals than there are registers, all of which are computed with, joined and kept over loops: in
//! baseline code and in machine code they give what the interpreter gives.
//!
//! Programs of `random_modules` have a call or a loop every few operators, where all that lies in registers is written to its
//! slot. Here there are hundreds of operators without one.
//!
//! The test runs for about [`SLICE`], or for `MIDAIR_RANDOM_SECONDS`, from the seed `MIDAIR_RANDOM_SEED`.

use midair::{Config, Engine, Instance, Module, Store, Tier};
use midair_tests::mutation::Random;
use midair_watchdog::Watchdog;
use std::time::{Duration, Instant};

/// How long the test runs by default.
const SLICE: Duration = Duration::from_secs(10);

const TYPES: [&str; 4] = ["i32", "i64", "f32", "f64"];

/// Counters of loops, behind all other locals.
const COUNTERS: usize = 5;

/// A function `f` under construction, whose parameters are one of each type.
struct Function {
    random: Random,
    locals: Vec<&'static str>,
    counters: usize,
    text: String,
}

impl Function {
    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.random.below(items.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn local(&mut self, ty: &str) -> usize {
        let first = self.random.below(self.locals.len());
        let all = (first..self.locals.len()).chain(0..first);
        { all }.find(|&n| self.locals[n] == ty).expect("there is a parameter of each type")
    }

    fn constant(&mut self, ty: &str) -> String {
        let number = match ty {
            "i32" | "i64" => {
                let bits = if ty == "i32" { 32 } else { 64 };
                let number = match self.random.below(4) {
                    0 => self.random.word() as i64,
                    1 => self.random.below(400) as i64 - 200,
                    _ => (1_i64 << self.random.below(64)).wrapping_sub(self.random.below(2) as i64),
                };
                (if bits == 32 { i64::from(number as i32) } else { number }).to_string()
            }
            _ => self
                .of(&["0", "-0", "1", "-2.5", "3.7", "2147483648", "1e10", "1.9e19", "-inf"])
                .into(),
        };
        format!("({ty}.const {number})")
    }

    fn expression(&mut self, ty: &'static str, depth: usize) -> String {
        if depth == 0 || self.one_in(4) {
            return match self.one_in(4) {
                true => self.constant(ty),
                false => format!("(local.get {})", self.local(ty)),
            };
        }
        let depth = depth - 1;
        match self.random.below(20) {
            0 => return format!("(local.tee {} {})", self.local(ty), self.expression(ty, depth)),
            1 => {
                let [a, b] = [(); 2].map(|()| self.expression(ty, depth));
                return format!("(select {a} {b} {})", self.condition(depth));
            }
            2 => {
                let [a, b] = [(); 2].map(|()| self.expression(ty, depth));
                let condition = self.condition(depth);
                return format!("(if (result {ty}) {condition} (then {a}) (else {b}))");
            }
            3..=4 => {
                let bytes = if ty.ends_with("64") { 8 } else { 4 };
                let address = self.address(depth);
                let offset = self.random.below(40);
                // What a float is loaded from has no NaN in it: their bits are not the same in all tiers.
                if ty.starts_with('f') {
                    return format!(
                        "({ty}.load (i32.const {}))",
                        3000 + bytes * self.random.below(20)
                    );
                }
                let kind = self.of(&["load", "load8_s", "load8_u", "load16_s", "load16_u"]);
                return format!("({ty}.{kind} offset={offset} {address})");
            }
            _ => {}
        }
        let is_integer = ty.starts_with('i');
        match self.random.below(10) {
            0..=4 if is_integer => {
                let operator = self.of(&[
                    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl",
                    "rotr",
                ]);
                let [a, b] = [(); 2].map(|()| self.expression(ty, depth));
                format!("({ty}.{operator} {a} {b})")
            }
            5 if is_integer => {
                let operator = self.of(&["div_u", "rem_u", "rem_s"]);
                let a = self.expression(ty, depth);
                let b = match self.one_in(2) {
                    true => {
                        format!("({ty}.const {})", self.of(&["1", "-1", "7", "-16", "64", "1000"]))
                    }
                    false => format!("({ty}.or {} ({ty}.const 1))", self.expression(ty, depth)),
                };
                format!("({ty}.{operator} {a} {b})")
            }
            6..=7 if is_integer => {
                let from = self.of(&["f32", "f64"]);
                let sign = self.of(&["s", "u"]);
                format!("({ty}.trunc_sat_{from}_{sign} {})", self.expression(from, depth))
            }
            8 if is_integer => {
                let operator = self.of(&["clz", "ctz", "popcnt", "extend8_s", "extend16_s"]);
                format!("({ty}.{operator} {})", self.expression(ty, depth))
            }
            _ if ty == "i32" => match self.one_in(2) {
                true => self.condition(depth),
                false => format!("(i32.wrap_i64 {})", self.expression("i64", depth)),
            },
            _ if ty == "i64" => {
                let sign = self.of(&["s", "u"]);
                format!("(i64.extend_i32_{sign} {})", self.expression("i32", depth))
            }
            0..=4 => {
                let operator = self.of(&["add", "sub", "mul", "div", "min", "max"]);
                let [a, b] = [(); 2].map(|()| self.expression(ty, depth));
                format!("({ty}.{operator} {a} {b})")
            }
            5 => {
                // A NaN may have any sign.
                let [a, b] = [ty, "i32"].map(|ty| self.expression(ty, depth));
                format!("({ty}.copysign {a} ({ty}.convert_i32_s {b}))")
            }
            6..=7 => {
                let operator =
                    self.of(&["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"]);
                format!("({ty}.{operator} {})", self.expression(ty, depth))
            }
            8 => {
                let (from, sign) = (self.of(&["i32", "i64"]), self.of(&["s", "u"]));
                format!("({ty}.convert_{from}_{sign} {})", self.expression(from, depth))
            }
            _ if ty == "f32" => format!("(f32.demote_f64 {})", self.expression("f64", depth)),
            _ => format!("(f64.promote_f32 {})", self.expression("f32", depth)),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let depth = depth.saturating_sub(1);
        let ty = self.of(&TYPES);
        let operator = match ty.starts_with('i') {
            true => self
                .of(&["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"]),
            false => self.of(&["eq", "ne", "lt", "gt", "le", "ge"]),
        };
        let [a, b] = [(); 2].map(|()| self.expression(ty, depth));
        match self.random.below(8) {
            0 => format!("(i32.and {} (i32.const 5))", self.expression("i32", depth)),
            1 => format!("(i32.eqz {})", self.expression("i32", depth)),
            _ => format!("({ty}.{operator} {a} {b})"),
        }
    }

    /// An address below 2048, in one of the forms that are an instruction of their own.
    fn address(&mut self, depth: usize) -> String {
        let mut part =
            |mask| format!("(i32.and {} (i32.const {mask}))", self.expression("i32", depth));
        let [a, b, c] = [part(1023), part(511), part(31)];
        match self.random.below(4) {
            0 => format!("(i32.const {})", self.random.below(2000)),
            1 => a,
            2 => format!("(i32.add {a} {b})"),
            _ => format!("(i32.add {a} (i32.shl {c} (i32.const {})))", self.random.below(6)),
        }
    }

    fn statements(&mut self, count: usize, depth: usize) {
        for _ in 0..count {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: usize) {
        let some = |function: &mut Function| 1 + function.random.below(5);
        match self.random.below(14) {
            0..=1 => {
                let ty = self.of(&["i32", "i64"]);
                let kind = self.of(&["store", "store8", "store16"]);
                let (address, value) = (self.address(1), self.expression(ty, 2));
                self.text +=
                    &format!("({ty}.{kind} offset={} {address} {value})\n", self.random.below(40));
            }
            2 if depth > 0 => {
                self.text += "(block\n";
                let count = some(self);
                self.statements(count, depth - 1);
                let condition = self.condition(2);
                self.text += &format!("(br_if 0 {condition})\n");
                let count = some(self);
                self.statements(count, depth - 1);
                self.text += ")\n";
            }
            3 if depth > 0 => {
                let condition = self.condition(2);
                self.text += &format!("(if {condition} (then\n");
                let count = some(self);
                self.statements(count, depth - 1);
                self.text += ") (else\n";
                let count = some(self);
                self.statements(count, depth - 1);
                self.text += "))\n";
            }
            4 if depth > 0 && self.counters < COUNTERS => {
                let counter = self.locals.len() + self.counters;
                self.counters += 1;
                let rounds = 1 + self.random.below(5);
                self.text += &format!("(local.set {counter} (i32.const {rounds})) (loop\n");
                let count = some(self);
                self.statements(count, depth - 1);
                self.text += &format!(
                    "(br_if 0 (local.tee {counter} (i32.sub (local.get {counter}) (i32.const 1)))))\n"
                );
            }
            5 if depth > 0 => {
                let index = self.expression("i32", 2);
                self.text += &format!(
                    "(block (block (block (br_table 0 1 2 1 (i32.and {index} (i32.const 7))))\n"
                );
                self.statements(2, depth - 1);
                self.text += ")\n";
                self.statements(2, depth - 1);
                self.text += ")\n";
            }
            _ => {
                let ty = self.of(&TYPES);
                let (local, value) = (self.local(ty), self.expression(ty, 3));
                self.text += &format!("(local.set {local} {value})\n");
            }
        }
    }
}

/// A module whose function `f` gives a digest of all its locals and of what it has written.
fn module(seed: u64) -> String {
    let mut random = Random::new(seed);
    let count = 6 + random.below(20);
    let others = (0..count).map(|_| TYPES[random.below(4)]);
    let locals: Vec<_> = TYPES.into_iter().chain(others).collect();
    let statements = 20 + random.below(60);
    let mut function = Function { random, locals, counters: 0, text: String::new() };
    function.statements(statements, 3);
    let mixed: String = { function.locals.iter().enumerate() }
        .map(|(n, &ty)| {
            let bits = match ty {
                "i32" => format!("(i64.extend_i32_u (local.get {n}))"),
                "i64" => format!("(local.get {n})"),
                "f32" => format!("(i64.extend_i32_u (i32.reinterpret_f32 (local.get {n})))"),
                _ => format!("(i64.reinterpret_f64 (local.get {n}))"),
            };
            // A NaN may have any bits.
            let bits = match ty.starts_with('f') {
                true => format!(
                    "(select {bits} (i64.const 9) ({ty}.eq (local.get {n}) (local.get {n})))"
                ),
                false => bits,
            };
            format!("(call $mix {bits})\n")
        })
        .collect();
    format!(
        r#"(module
            (memory 1)
            (global $digest (mut i64) (i64.const 0))
            (func $mix (param i64)
                (global.set $digest (i64.mul (i64.const 0x9e3779b97f4a7c15)
                    (i64.xor (i64.rotl (global.get $digest) (i64.const 7)) (local.get 0)))))
            (func (export "f") (param i32 i64 f32 f64) (result i64) (local {} {})
                {}
                {mixed}
                (local.set 0 (i32.const 0))
                (loop
                    (call $mix (i64.load (local.get 0)))
                    (br_if 0 (i32.lt_u
                        (local.tee 0 (i32.add (local.get 0) (i32.const 8)))
                        (i32.const 2200))))
                (global.get $digest)))"#,
        function.locals[4..].join(" "),
        "i32 ".repeat(COUNTERS),
        function.text,
    )
}

fn results(config: &Config, text: &str) -> Vec<String> {
    let engine = Engine::new(config).unwrap();
    let module = Module::new(&engine, text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<(i32, i64, f32, f64), i64>(&mut store, "f").unwrap();
    [
        (0, 0, 0.0, 0.0),
        (1, -1, 1.5, -2.5),
        (i32::MIN, i64::MAX, 1e20, 1e300),
        (77, 12_345_678_901, -3e9, 4e9),
        (1000, -7, f32::NAN, f64::NEG_INFINITY),
    ]
    .map(|arguments| match f.call(&mut store, arguments) {
        Ok(digest) => format!("{digest:#x}"),
        Err(error) => error.root_cause().to_string(),
    })
    .into()
}

#[test]
fn functions_with_more_locals_than_registers_are_the_same_in_every_tier() {
    let _watchdog = Watchdog::start();
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let slice = number("MIDAIR_RANDOM_SECONDS").map_or(SLICE, Duration::from_secs);
    let first = number("MIDAIR_RANDOM_SEED").unwrap_or(1) << 32;
    let mut interpreted = Config::new();
    interpreted.tier(Tier::Interp);
    let mut optimized = Config::new();
    optimized.tier(Tier::Optimized);
    let mut baseline = Config::new();
    baseline.tier(Tier::Baseline);
    let mut retired = baseline.clone();
    retired.stress("retire:2,until:40".parse().unwrap());
    let start = Instant::now();
    let mut programs = 0;
    for seed in first.. {
        // What takes longest, the optimising compiler, is not what is looked for.
        let others =
            [("baseline code", &baseline), ("retired", &retired), ("optimized", &optimized)];
        let others = if seed % 8 == 0 { &others[..] } else { &others[..2] };
        let text = module(seed);
        let expected = results(&interpreted, &text);
        for (what, config) in others {
            let found = results(config, &text);
            assert_eq!(found, expected, "interpreter and {what} differ, seed {seed}:\n{text}");
        }
        programs += 1;
        if start.elapsed() > slice {
            break;
        }
    }
    println!("{programs} programs");
    assert!(programs > 10);
}
