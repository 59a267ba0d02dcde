//! Runs a module and writes down all that can be observed, so that two ways to run it can be
//! compared.
//!
//! Each exported function is called in an instance of its own, a few times in a row. Imported
//! functions answer with numbers made from their arguments, and now and then call back into the
//! guest, so that host frames lie between guest frames.
//!
//! What happens in which order is said here, once; a [`Runner`] does it in one engine.

mod on_midair;
mod on_wasmi;

pub use on_midair::observe as observe_midair;
pub use on_midair::observe_module;
pub use on_wasmi::observe as observe_wasmi;

use crate::mutation::Random;
use std::any::Any;
use std::sync::Arc;

/// How often each function is called.
const CALLS: u64 = 3;

/// How many exported functions are called.
const FUNCTIONS: usize = 12;

/// How deep the host calls back.
const MAX_DEPTH: u32 = 3;

/// How many callbacks there are in one instance.
const MAX_CALLBACKS: u64 = 20;

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A function or null.
    Func,
    /// A host value or null.
    Extern,
    /// An exception or null.
    Exn,
}

/// A value, as far as it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// Bits of a 32-bit float.
    F32(u32),
    /// Bits of a 64-bit float.
    F64(u64),
    /// Bits of a vector.
    V128(u128),
    /// A null reference.
    Null(Kind),
    /// Some function.
    Func,
    /// Some host value.
    Extern,
    /// Some exception.
    Exn,
}

impl Value {
    /// A value for a parameter: small numbers, limits, and anything.
    fn arbitrary(kind: Kind, random: &mut Random) -> Value {
        let bits = match random.below(4) {
            0 => random.word(),
            1 => random.word() % 16,
            2 => (random.word() % 16).wrapping_neg(),
            _ => 1_u64.rotate_right(1 + random.below(3) as u32 * 31),
        };
        let float = (bits as i64 as f64) / 4.0;
        match kind {
            Kind::I32 => Value::I32(bits as i32),
            Kind::I64 => Value::I64(bits as i64),
            Kind::F32 => Value::F32((float as f32).to_bits()),
            Kind::F64 => Value::F64(float.to_bits()),
            // Small numbers as bytes, words and floats, with something else in each half.
            Kind::V128 => {
                let high = if random.below(2) == 0 { float.to_bits() } else { random.word() };
                Value::V128(u128::from(high) << 64 | u128::from(bits))
            }
            Kind::Func | Kind::Extern | Kind::Exn => Value::Null(kind),
        }
    }
}

/// Why a call ended without results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It trapped, for this reason.
    Trap(&'static str),
    /// Nothing caught an exception, which says this of itself.
    Exception(String),
    /// Something was used up that is not the same everywhere: stack or memory.
    Resources,
    /// The host refused to link or to go on.
    Host,
}

/// Results of a call.
pub type Outcome = Result<Vec<Value>, Stop>;

/// An instance after it has been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The function that was called.
    pub function: String,
    /// What instantiation and the calls gave; the calls of the host in between as they ended.
    pub outcomes: Vec<Outcome>,
    /// Exported memories: length, and a digest of the contents.
    pub memories: Vec<(String, usize, u64)>,
    /// Exported globals.
    pub globals: Vec<(String, Value)>,
    /// Exported tables: their lengths, and which elements are null.
    pub tables: Vec<(String, u64, u64)>,
    /// Fuel that was left. Only Midair's own tiers agree on it.
    pub fuel: Option<u64>,
}

impl Observation {
    /// By name: exports have no order that means anything.
    fn sort(&mut self) {
        self.memories.sort_by(|a, b| a.0.cmp(&b.0));
        self.globals.sort_by(|a, b| a.0.cmp(&b.0));
        self.tables.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Whether it depends on how much stack or memory there is.
    pub fn is_inconclusive(&self) -> bool {
        self.outcomes.contains(&Err(Stop::Resources))
    }
}

/// What differs first between two observations of a module, if anything does. `fuel` says whether
/// it counts.
pub fn difference(a: &[Observation], b: &[Observation], fuel: bool) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} functions and {}", a.len(), b.len()));
    }
    for (a, b) in a.iter().zip(b) {
        if a.is_inconclusive() || b.is_inconclusive() {
            continue;
        }
        let same = a.function == b.function
            && a.outcomes == b.outcomes
            && a.memories == b.memories
            && a.globals == b.globals
            && a.tables == b.tables
            && (!fuel || a.fuel == b.fuel);
        if !same {
            return Some(format!("`{}`\n{}", a.function, lines_that_differ(a, b)));
        }
    }
    None
}

/// The lines in which two observations differ when they are printed, side by side.
fn lines_that_differ(a: &Observation, b: &Observation) -> String {
    let items = |observation: &Observation| {
        let mut items: Vec<String> = Vec::new();
        items.extend(observation.outcomes.iter().map(|item| format!("{item:x?}")));
        items.extend(observation.memories.iter().map(|item| format!("memory {item:x?}")));
        items.extend(observation.globals.iter().map(|item| format!("global {item:x?}")));
        items.extend(observation.tables.iter().map(|item| format!("table {item:x?}")));
        items.push(format!("fuel {:?}", observation.fuel));
        items
    };
    let (a, b) = (items(a), items(b));
    let mut text = String::new();
    for index in 0..a.len().max(b.len()) {
        let of = |items: &[String]| items.get(index).cloned().unwrap_or_default();
        let (a, b) = (of(&a), of(&b));
        if a != b {
            text += &format!("  {index}: {a}   |   {b}\n");
        }
    }
    text
}

/// Name and parameters of an exported function.
type Signature = (String, Vec<Kind>);

/// What an export holds after the calls.
enum Contents {
    Memory {
        bytes: usize,
        digest: u64,
    },
    Global(Value),
    /// For each element, whether it is null.
    Table(Vec<bool>),
    Function,
}

/// A store of one engine, in which a module is to be run.
trait Runner {
    /// A handle to a function.
    type Function: Copy;
    /// Why a module cannot even be linked.
    type Error;

    /// Instantiates the module; `Err` inside if it has run and stopped.
    fn instantiate(&mut self) -> Result<Result<(), Stop>, Self::Error>;
    /// An exported function of the instance.
    fn function(&mut self, name: &str) -> Self::Function;
    /// Calls a function.
    fn call(&mut self, function: Self::Function, arguments: &[Value]) -> Outcome;
    /// What the export of this name holds.
    fn contents(&mut self, name: &str) -> Contents;
    /// Fuel that is left.
    fn fuel(&self) -> Option<u64>;
    /// The host's state.
    fn host(&mut self) -> &mut Host<Self::Function>;
}

/// Observes each of the first functions in an instance of its own, which `runner` makes the store for.
fn observe_each<R: Runner>(
    mut functions: Vec<Signature>,
    exports: &[String],
    mut runner: impl FnMut() -> R,
) -> Result<Vec<Observation>, R::Error> {
    functions.sort();
    (0..functions.len().min(FUNCTIONS))
        .map(|called| observe_function(&mut runner(), &functions, called, exports))
        .collect()
}

fn observe_function<R: Runner>(
    runner: &mut R,
    functions: &[Signature],
    called: usize,
    exports: &[String],
) -> Result<Observation, R::Error> {
    let mut observation = Observation {
        function: functions[called].0.clone(),
        outcomes: Vec::new(),
        memories: Vec::new(),
        globals: Vec::new(),
        tables: Vec::new(),
        fuel: None,
    };
    match runner.instantiate()? {
        Err(stop) => runner.host().outcomes.push(Err(stop)),
        Ok(()) => {
            let handles: Vec<(R::Function, Vec<Kind>)> = functions
                .iter()
                .map(|(name, parameters)| (runner.function(name), parameters.clone()))
                .collect();
            let (function, parameters) = handles[called].clone();
            runner.host().functions = handles;
            for call in 0..CALLS {
                let outcome = runner.call(function, &arguments(&parameters, call));
                runner.host().outcomes.push(outcome);
            }
            for name in exports {
                let name = name.clone();
                match runner.contents(&name) {
                    Contents::Memory { bytes, digest } => {
                        observation.memories.push((name, bytes, digest));
                    }
                    Contents::Global(value) => observation.globals.push((name, value)),
                    Contents::Table(nulls) => {
                        let size = nulls.len() as u64;
                        let nulls = digest(nulls.into_iter().map(u8::from));
                        observation.tables.push((name, size, nulls));
                    }
                    Contents::Function => {}
                }
            }
        }
    }
    observation.sort();
    observation.outcomes = std::mem::take(&mut runner.host().outcomes);
    observation.fuel = runner.fuel();
    Ok(observation)
}

/// What an imported function does; `None` if it stops the guest, for a callback has trapped. `C` is what
/// the engine hands to it.
fn host_call<C, F: Copy>(
    caller: &mut C,
    host: for<'c> fn(&'c mut C) -> &'c mut Host<F>,
    call: fn(&mut C, F, &[Value]) -> Outcome,
    arguments: &[Value],
    results: &[Kind],
) -> Option<Vec<Value>> {
    if let Some(callback) = host(caller).call(arguments) {
        let outcome = call(caller, callback.function, &callback.arguments);
        let failed = outcome.is_err();
        host(caller).called_back(outcome);
        if failed && callback.pass_on {
            return None;
        }
    }
    Some(host(caller).answer(results))
}

/// The host's state in one instance; `F` is a handle to a function.
struct Host<F> {
    /// What can be called back, with its parameters: nothing as long as the start function runs.
    functions: Vec<(F, Vec<Kind>)>,
    calls: u64,
    callbacks: u64,
    depth: u32,
    outcomes: Vec<Outcome>,
    /// Called in each host call.
    interlude: Option<Interlude>,
    /// The exception that the last callback ended in, if it did: as the engine has it.
    thrown: Option<Box<dyn Any + Send + Sync>>,
}

/// What a host does besides answering, of which the guest must notice nothing.
pub type Interlude = Arc<dyn Fn() + Send + Sync>;

/// A callback that the host makes.
struct Callback<F> {
    function: F,
    arguments: Vec<Value>,
    /// Whether a trap in it is passed on.
    pass_on: bool,
}

impl<F: Copy> Host<F> {
    fn new() -> Host<F> {
        Host {
            functions: Vec::new(),
            calls: 0,
            callbacks: 0,
            depth: 0,
            outcomes: Vec::new(),
            interlude: None,
            thrown: None,
        }
    }

    /// What to do in the host call that starts now, after which [`Host::answer`] gives its results.
    fn call(&mut self, arguments: &[Value]) -> Option<Callback<F>> {
        self.calls += 1;
        self.outcomes.push(Ok(arguments.to_vec()));
        if let Some(interlude) = &self.interlude {
            interlude();
        }
        let due = self.calls.is_multiple_of(2)
            && self.depth < MAX_DEPTH
            && self.callbacks < MAX_CALLBACKS
            && !self.functions.is_empty();
        if !due {
            return None;
        }
        self.callbacks += 1;
        self.depth += 1;
        let mut random = Random::new(self.calls);
        let (function, kinds) = &self.functions[random.below(self.functions.len())];
        let arguments = kinds.iter().map(|&kind| Value::arbitrary(kind, &mut random)).collect();
        let pass_on = self.callbacks.is_multiple_of(3);
        Some(Callback { function: *function, arguments, pass_on })
    }

    /// A callback has ended.
    fn called_back(&mut self, outcome: Outcome) {
        self.depth -= 1;
        self.outcomes.push(outcome);
    }

    /// The results of a host call.
    fn answer(&self, kinds: &[Kind]) -> Vec<Value> {
        let mut random = Random::new(self.calls ^ 0x5555);
        kinds.iter().map(|&kind| Value::arbitrary(kind, &mut random)).collect()
    }
}

/// The arguments of the `call`th call of a function.
fn arguments(kinds: &[Kind], call: u64) -> Vec<Value> {
    let mut random = Random::new(call);
    kinds.iter().map(|&kind| Value::arbitrary(kind, &mut random)).collect()
}

/// A digest of bytes (FNV-1a).
fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
