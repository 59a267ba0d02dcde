//! Runs compiled programs, and updates them.

use super::cases::Mode;
use super::compiler::{self, Code, F, module};
use super::interpreter::{MOST_TICKS, Shown, answer};
use super::language::Id;
use anyhow::{Context as _, Result, bail};
use midair::{
    Caller, Config, Engine, ErrorKind, Linker, Module, PlannedOutcome, Policy, Store, StressSpec,
    Tier, Trap, Val,
};

/// No program that ends needs so much.
const FUEL: u64 = 1_000_000;

/// What becomes of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It goes on at this offset of the new body.
    Moved(u32),
    Stayed,
    /// There is no update.
    Refused,
    /// The new body is the old one.
    Same,
}

/// How the new body comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    Body,
    /// With a module that a compiler has made.
    Module,
    /// The same, with the names of locals.
    NamedModule,
}

struct Host {
    module: Module,
    /// The tick to make the update in, and what with.
    update: Option<(usize, Change)>,
    shown: Vec<Shown>,
    outcome: Option<Outcome>,
}

enum Change {
    Body(Vec<u8>),
    Module(Vec<u8>),
}

fn config(mode: Mode) -> Config {
    let mut config = Config::new();
    config.background_compilation(false).consume_fuel(true);
    match mode {
        Mode::Interpreted => config.tier(Tier::Interp),
        Mode::Baseline => config.tier(Tier::Baseline),
        Mode::Optimized => config.tier(Tier::Optimized),
        Mode::Rising => config.tier(Tier::Auto).optimized_threshold(3),
        Mode::Mixed(period, seed) => {
            let mut stress = StressSpec::default();
            (stress.mixed, stress.seed) = (Some(period), seed);
            config.tier(Tier::Auto).stress(stress)
        }
    };
    config
}

/// Makes the update. A frame that does not go on in the new body stays in the old one.
fn make(module: &Module, change: &Change) -> Result<Outcome> {
    let update = match change {
        Change::Body(body) => module.update().body(F, body.clone()),
        Change::Module(module_to_be) => module.update().module(module_to_be)?,
    };
    let plan = match update.plan() {
        Err(error) if ErrorKind::of(&error) == ErrorKind::UpdateRefused => {
            return Ok(Outcome::Refused);
        }
        plan => plan?,
    };
    if plan.functions.iter().all(|function| function.first_difference.is_none()) {
        return Ok(Outcome::Same);
    }
    let [frames] = &plan.frames[..] else { bail!("one frame: {plan}") };
    Ok(match frames.outcome {
        PlannedOutcome::Migrate { point } => {
            update.apply()?;
            Outcome::Moved(point)
        }
        _ => {
            update.default_policy(Policy::Finish).apply()?;
            Outcome::Stayed
        }
    })
}

fn tick(mut caller: Caller<'_, Host>, value: i64, site: i32) -> Result<i32> {
    let host = caller.data_mut();
    host.shown.push(Shown::Tick(site as Id, value));
    let count = host.shown.len();
    if count == MOST_TICKS {
        bail!("that is enough");
    }
    if let Some((tick, change)) = &host.update
        && *tick == count
    {
        host.outcome = Some(make(&host.module, change)?);
    }
    Ok(answer(site as Id, count))
}

/// Runs a program, and has it become another one in a tick. What it shows, and what becomes of its frame.
pub(super) fn run(
    mode: Mode,
    code: &Code,
    arguments: [u64; 2],
    update: Option<(usize, &Code, Delivery)>,
) -> Result<(Vec<Shown>, Option<Outcome>)> {
    let engine = Engine::new(&config(mode))?;
    let named = matches!(update, Some((_, _, Delivery::NamedModule)));
    let module = Module::new(&engine, module(code, named))?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "tick", tick)?;
    let update = update.map(|(tick, code, delivery)| {
        let change = match delivery {
            Delivery::Body => Change::Body(code.body.clone()),
            Delivery::Module | Delivery::NamedModule => {
                Change::Module(compiler::module(code, named))
            }
        };
        (tick, change)
    });
    let host = Host { module: module.clone(), update, shown: Vec::new(), outcome: None };
    let mut store = Store::new(&engine, host);
    store.set_fuel(FUEL)?;
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_func(&mut store, "f").context("an export")?;
    let arguments = [Val::I32(arguments[0] as i32), Val::I64(arguments[1] as i64)];
    let mut results = [Val::I64(0)];
    let ended = f.call(&mut store, &arguments, &mut results);
    let Host { mut shown, outcome, .. } = store.into_data();
    match (ended, &results[0]) {
        (Ok(()), Val::I64(result)) => shown.push(Shown::Result(*result)),
        (Ok(()), _) => bail!("an i64"),
        (Err(_), _) if shown.len() == MOST_TICKS => {}
        (Err(error), _) => match error.downcast_ref::<Trap>() {
            Some(Trap::MemoryOutOfBounds) => shown.push(Shown::Trap),
            Some(Trap::OutOfFuel) => shown.push(Shown::Endless),
            _ => return Err(error),
        },
    }
    Ok((shown, outcome))
}
