//! A million short-lived functions with very different lifetimes, as a database has them: each query brings
//! expressions that are parsed, compiled, evaluated over some rows and forgotten, while others stay in a cache
//! for a long time.
//!
//! Every expression here is random text, such as `((a + 7) * (b - c)) < 100`. It is parsed, turned into a
//! WebAssembly module, compiled by Cranelift, and evaluated over sixteen rows, whose results are compared with
//! those of a direct evaluation. Nine of ten expressions are dropped at once. The others go into a cache of a
//! thousand places; what was at that place is evaluated once more, for its code has to be as right as on its
//! first day, and dropped. Some places change hands often and some hardly ever, so that the holes in code memory
//! have all sizes and ages.
//!
//! Memory must stay flat: the program fails if the resident memory or the bytes of machine code after all
//! expressions are more than after a tenth of them, or if code is left when the cache is dropped.
//!
//! Run it with `cargo run --release --example expressions -- --count 1000000`.

use anyhow::{Context, Result, ensure};
use midair::{Config, Engine, Instance, Module, Store, Tier, TypedFunc};
use std::fmt;
use std::time::{Duration, Instant};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink,
    TypeSection, ValType,
};

const ROWS: usize = 16;
const COLUMNS: usize = 3;
const CACHE: usize = 1_000;
/// What memory may grow by after the first tenth: the allocators do not fill every gap.
const TOLERANCE: u64 = 4 << 20;

/// An expression over the columns `a`, `b` and `c` of a row.
enum Expr {
    Column(usize),
    Constant(i64),
    Binary(Operator, Box<(Expr, Expr)>),
    /// `if (condition, then, else)`
    If(Box<(Expr, Expr, Expr)>),
}

#[derive(Clone, Copy)]
enum Operator {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Less,
}

const OPERATORS: [(Operator, char); 6] = [
    (Operator::Add, '+'),
    (Operator::Sub, '-'),
    (Operator::Mul, '*'),
    (Operator::And, '&'),
    (Operator::Or, '|'),
    (Operator::Less, '<'),
];

impl Expr {
    fn evaluate(&self, row: &[i64; COLUMNS]) -> i64 {
        match self {
            Expr::Column(column) => row[*column],
            Expr::Constant(value) => *value,
            Expr::Binary(operator, operands) => {
                let (a, b) = (operands.0.evaluate(row), operands.1.evaluate(row));
                match operator {
                    Operator::Add => a.wrapping_add(b),
                    Operator::Sub => a.wrapping_sub(b),
                    Operator::Mul => a.wrapping_mul(b),
                    Operator::And => a & b,
                    Operator::Or => a | b,
                    Operator::Less => i64::from(a < b),
                }
            }
            Expr::If(parts) => {
                let chosen = if parts.0.evaluate(row) != 0 { &parts.1 } else { &parts.2 };
                chosen.evaluate(row)
            }
        }
    }

    /// Appends code that leaves the value on the operand stack.
    fn emit(&self, code: &mut InstructionSink<'_>) {
        match self {
            Expr::Column(column) => {
                code.local_get(*column as u32);
            }
            Expr::Constant(value) => {
                code.i64_const(*value);
            }
            Expr::Binary(operator, operands) => {
                operands.0.emit(code);
                operands.1.emit(code);
                match operator {
                    Operator::Add => code.i64_add(),
                    Operator::Sub => code.i64_sub(),
                    Operator::Mul => code.i64_mul(),
                    Operator::And => code.i64_and(),
                    Operator::Or => code.i64_or(),
                    Operator::Less => code.i64_lt_s().i64_extend_i32_u(),
                };
            }
            Expr::If(parts) => {
                parts.0.emit(code);
                code.i64_eqz().i32_eqz().if_(BlockType::Result(ValType::I64));
                parts.1.emit(code);
                code.else_();
                parts.2.emit(code);
                code.end();
            }
        }
    }

    /// A module that exports it as `f`.
    fn module(&self) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        let mut types = TypeSection::new();
        types.ty().function([ValType::I64; COLUMNS], [ValType::I64]);
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut exports = ExportSection::new();
        exports.export("f", ExportKind::Func, 0);
        let mut code = CodeSection::new();
        let mut function = Function::new([]);
        self.emit(&mut function.instructions());
        function.instructions().end();
        code.function(&function);
        module.section(&types).section(&functions).section(&exports).section(&code);
        module.finish()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Column(column) => write!(f, "{}", char::from(b'a' + *column as u8)),
            Expr::Constant(value) => write!(f, "{value}"),
            Expr::Binary(operator, operands) => {
                let sign = OPERATORS[*operator as usize].1;
                write!(f, "({} {sign} {})", operands.0, operands.1)
            }
            Expr::If(parts) => write!(f, "if({}, {}, {})", parts.0, parts.1, parts.2),
        }
    }
}

/// Parses the text of an expression.
fn parse(text: &str) -> Result<Expr> {
    let mut rest = text;
    let expr = parse_prefix(&mut rest)?;
    ensure!(rest.is_empty(), "unexpected `{rest}`");
    Ok(expr)
}

fn expect(rest: &mut &str, token: &str) -> Result<()> {
    *rest = rest.strip_prefix(token).with_context(|| format!("expected `{token}` at `{rest}`"))?;
    Ok(())
}

fn parse_prefix(rest: &mut &str) -> Result<Expr> {
    if rest.starts_with("if(") {
        expect(rest, "if(")?;
        let condition = parse_prefix(rest)?;
        expect(rest, ", ")?;
        let then = parse_prefix(rest)?;
        expect(rest, ", ")?;
        let otherwise = parse_prefix(rest)?;
        expect(rest, ")")?;
        return Ok(Expr::If(Box::new((condition, then, otherwise))));
    }
    match rest.chars().next().context("unexpected end")? {
        '(' => {
            expect(rest, "(")?;
            let left = parse_prefix(rest)?;
            expect(rest, " ")?;
            let sign = rest.chars().next().context("unexpected end")?;
            let operator = OPERATORS.iter().find(|(_, other)| *other == sign);
            let operator = operator.with_context(|| format!("unknown operator `{sign}`"))?.0;
            *rest = &rest[1..];
            expect(rest, " ")?;
            let right = parse_prefix(rest)?;
            expect(rest, ")")?;
            Ok(Expr::Binary(operator, Box::new((left, right))))
        }
        column @ 'a'..='c' => {
            *rest = &rest[1..];
            Ok(Expr::Column(column as usize - 'a' as usize))
        }
        _ => {
            let digits = |c: char| c == '-' || c.is_ascii_digit();
            let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
            let value = rest[..end].parse().with_context(|| format!("not a number: `{rest}`"))?;
            *rest = &rest[end..];
            Ok(Expr::Constant(value))
        }
    }
}

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn expr(&mut self, depth: u32) -> Expr {
        match self.below(10) {
            _ if depth == 0 => match self.below(3) {
                0 => Expr::Constant(self.below(2000) as i64 - 1000),
                _ => Expr::Column(self.below(COLUMNS as u64) as usize),
            },
            0 => Expr::If(Box::new((self.expr(depth - 1), self.expr(depth - 1), self.expr(0)))),
            _ => {
                let operator = OPERATORS[self.below(OPERATORS.len() as u64) as usize].0;
                let left = self.expr(depth - 1);
                let depth = self.below(u64::from(depth)) as u32;
                let right = self.expr(depth);
                Expr::Binary(operator, Box::new((left, right)))
            }
        }
    }

    /// A place in the cache: the first ones are drawn much more often than the last ones.
    fn place(&mut self) -> usize {
        let u = self.below(1 << 20) as f64 / (1 << 20) as f64;
        (u * u * u * CACHE as f64) as usize
    }
}

/// A compiled expression. It has a store of its own, so that dropping it frees all of it.
struct Compiled {
    source: Expr,
    store: Store<()>,
    function: TypedFunc<(i64, i64, i64), i64>,
}

/// Where the time goes.
#[derive(Default)]
struct Times {
    load: Duration,
    instantiate: Duration,
    first_call: Duration,
    rows: Duration,
    drop: Duration,
}

impl Compiled {
    fn new(engine: &Engine, text: &str, times: &mut Times) -> Result<Compiled> {
        let source = parse(text)?;
        let binary = source.module();
        let started = Instant::now();
        let module = Module::from_binary(engine, &binary)?;
        let loaded = Instant::now();
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let function = instance.get_typed_func(&mut store, "f")?;
        times.load += loaded - started;
        times.instantiate += loaded.elapsed();
        Ok(Compiled { source, store, function })
    }

    fn check(&mut self, row: &[i64; COLUMNS]) -> Result<()> {
        let value = self.function.call(&mut self.store, (row[0], row[1], row[2]))?;
        let expected = self.source.evaluate(row);
        ensure!(value == expected, "{} over {row:?} is {expected}, not {value}", self.source);
        Ok(())
    }

    fn evaluate(&mut self, rows: &[[i64; COLUMNS]], times: &mut Times) -> Result<()> {
        let started = Instant::now();
        // Compiles the function.
        self.check(&rows[0])?;
        let compiled = Instant::now();
        rows[1..].iter().try_for_each(|row| self.check(row))?;
        times.first_call += compiled - started;
        times.rows += compiled.elapsed();
        Ok(())
    }
}

/// Bytes of memory that this process has now.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("resident pages")?.parse()?;
    Ok(pages * 4096)
}

/// Processor time of this process, its children not included.
fn processor_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is a name in brackets; user and system time are the 14th and 15th, in ticks of 10 ms.
    let fields: Vec<&str> =
        stat.rsplit(')').next().context("a process")?.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// What memory looks like after so many expressions.
#[derive(Clone, Copy)]
struct Mark {
    resident: u64,
    code: u64,
}

fn run(tier: Tier, count: u64) -> Result<()> {
    // No expression gets further functions while it runs.
    let engine = Engine::new(Config::new().tier(tier).spare_functions(0))?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut cache: Vec<Option<Compiled>> = (0..CACHE).map(|_| None).collect();
    let rows: Vec<[i64; COLUMNS]> =
        (0..ROWS).map(|_| std::array::from_fn(|_| random.below(4000) as i64 - 2000)).collect();
    let mut times = Times::default();
    let mut marks: Vec<Mark> = Vec::new();
    let (started, processor) = (Instant::now(), processor_time()?);
    println!("{tier:?}: {count} expressions, {ROWS} rows each");
    for i in 1..=count {
        let text = random.expr(5).to_string();
        let mut compiled = Compiled::new(&engine, &text, &mut times)?;
        compiled.evaluate(&rows, &mut times)?;
        let dropping = Instant::now();
        let place = match i as usize - 1 {
            // The cache begins full.
            first if first < CACHE => Some(first),
            _ if random.below(10) == 0 => Some(random.place()),
            _ => None,
        };
        if let Some(place) = place {
            let old = cache[place].replace(compiled);
            if let Some(mut old) = old {
                old.check(&rows[1]).context("an old expression, evaluated for the last time")?;
            }
        }
        times.drop += dropping.elapsed();
        if [count / 10, count / 2, count].contains(&i) {
            let heap = engine.code_ledger().heap;
            let mark = Mark { resident: resident()?, code: heap.committed_bytes };
            println!(
                "  after {i:>8}: resident {:>6.1} MiB; code live {:>4} KiB, committed {:>5} KiB, \
                 published {:>6.1} MiB in all",
                mark.resident as f64 / f64::from(1 << 20),
                heap.live_bytes >> 10,
                mark.code >> 10,
                (heap.live_bytes + heap.freed_bytes) as f64 / f64::from(1 << 20),
            );
            marks.push(mark);
        }
    }
    let (took, processor) = (started.elapsed(), processor_time()? - processor);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "  {:.0} a second; each {:.1} us of processor time, {:.1} us in all: load {:.1}, \
         instantiate {:.1}, first call {:.1}, other rows {:.1}, drop {:.1}",
        count as f64 / took.as_secs_f64(),
        each(processor),
        each(took),
        each(times.load),
        each(times.instantiate),
        each(times.first_call),
        each(times.rows),
        each(times.drop)
    );
    let peak = engine.code_stats().peak;
    let kept = cache.iter().flatten().count();
    cache.iter_mut().flatten().try_for_each(|old| old.check(&rows[2]))?;
    drop(cache);
    engine.trim_code_memory();
    let ledger = engine.code_ledger();
    println!(
        "  peak of code {} KiB; {kept} kept to the end; then {}",
        peak >> 10,
        ledger.summary()
    );
    ensure!(ledger.code.is_empty() && ledger.versions.is_empty(), "left behind:\n{ledger}");
    ensure!(ledger.modules == 0, "{} modules are left", ledger.modules);
    ensure!(ledger.heap.committed_bytes == 0, "code memory was not given back");
    let (first, last) = (marks[0], marks[marks.len() - 1]);
    ensure!(
        last.resident <= first.resident + TOLERANCE && last.code <= first.code + TOLERANCE,
        "memory grows: from {} KiB to {} KiB resident, from {} KiB to {} KiB of code",
        first.resident >> 10,
        last.resident >> 10,
        first.code >> 10,
        last.code >> 10
    );
    Ok(())
}

fn main() -> Result<()> {
    const USAGE: &str = "usage: expressions [--count N] [--tier interp|optimized]";
    let (mut count, mut tiers) = (40_000, vec![Tier::Interp, Tier::Optimized]);
    let mut arguments = std::env::args().skip(1);
    while let (Some(option), value) = (arguments.next(), arguments.next()) {
        let value = value.context(USAGE)?;
        match option.as_str() {
            "--count" => count = value.parse()?,
            "--tier" => tiers = vec![value.parse()?],
            _ => anyhow::bail!(USAGE),
        }
    }
    ensure!(count >= 20_000, "at least 20000 expressions, so that the cache is full after a tenth");
    for tier in tiers {
        run(tier, count)?;
    }
    println!("memory is flat, and not a byte of code is left");
    Ok(())
}
