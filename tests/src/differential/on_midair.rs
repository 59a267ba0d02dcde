//! Observation of a module that runs on Midair.

use super::{
    CALLS, FUNCTIONS, Host, Interlude, Kind, Observation, Outcome, Signature, Stop, Value,
};
use midair::{
    AsContextMut, Config, Engine, Extern, ExternType, Func, Global, Instance, Linker, Memory,
    Module, Store, Table, Trap, Val, ValType,
};

/// Fuel of each instance, where fuel is consumed.
const FUEL: u64 = 1_000_000;

/// Runs a module; `config` says in which tier and under which stress.
pub fn observe(config: &Config, wasm: &[u8]) -> midair::Result<Vec<Observation>> {
    let engine = Engine::new(config)?;
    observe_module(&Module::from_binary(&engine, wasm)?, None)
}

/// Runs a module that has been loaded. `interlude` is called in each host call.
pub fn observe_module(
    module: &Module,
    interlude: Option<Interlude>,
) -> midair::Result<Vec<Observation>> {
    let mut functions: Vec<Signature> = module
        .exports()
        .filter_map(|export| {
            let parameters = export.ty().func()?.params.iter().map(|&ty| kind(ty)).collect();
            Some((export.name().to_owned(), parameters))
        })
        .collect();
    functions.sort();
    (0..functions.len().min(FUNCTIONS))
        .map(|called| {
            let mut store = Store::new(module.engine(), Host::new());
            store.data_mut().interlude = interlude.clone();
            // Fails where no fuel is consumed.
            let _ = store.set_fuel(FUEL);
            observe_function(&mut store, module, &functions, called)
        })
        .collect()
}

fn observe_function(
    store: &mut Store<Host<Func>>,
    module: &Module,
    functions: &[Signature],
    called: usize,
) -> midair::Result<Observation> {
    let mut observation = Observation {
        function: functions[called].0.clone(),
        outcomes: Vec::new(),
        memories: Vec::new(),
        globals: Vec::new(),
        tables: Vec::new(),
        fuel: None,
    };
    let linker = linker(store, module)?;
    let instance = match linker.instantiate(&mut *store, module) {
        Ok(instance) => Some(instance),
        Err(error) => {
            store.data_mut().outcomes.push(Err(stop(&error)));
            None
        }
    };
    if let Some(instance) = instance {
        let handles: Vec<(Func, Vec<Kind>)> = functions
            .iter()
            .map(|(name, parameters)| {
                let function = instance.get_func(&mut *store, name).expect("an exported function");
                (function, parameters.clone())
            })
            .collect();
        let (function, parameters) = handles[called].clone();
        store.data_mut().functions = handles;
        for call in 0..CALLS {
            let arguments = super::arguments(&parameters, call);
            let outcome = call_function(&mut *store, function, &arguments);
            store.data_mut().outcomes.push(outcome);
        }
        observe_state(store, module, instance, &mut observation);
    }
    observation.sort();
    observation.outcomes = std::mem::take(&mut store.data_mut().outcomes);
    observation.fuel = store.get_fuel().ok();
    Ok(observation)
}

fn observe_state(
    store: &mut Store<Host<Func>>,
    module: &Module,
    instance: Instance,
    observation: &mut Observation,
) {
    for export in module.exports() {
        let name = export.name().to_owned();
        match instance.get_export(&mut *store, &name) {
            Some(Extern::Memory(memory)) => {
                let bytes = memory.data(&*store);
                let digest = super::digest(bytes.iter().copied());
                observation.memories.push((name, bytes.len(), digest));
            }
            Some(Extern::Global(global)) => {
                let value = value(&global.get(&mut *store));
                observation.globals.push((name, value));
            }
            Some(Extern::Table(table)) => {
                let size = table.size(&*store);
                let nulls: Vec<u8> = (0..size)
                    .map(|index| {
                        let element = table.get(&mut *store, index);
                        u8::from(matches!(element, Some(Val::FuncRef(None) | Val::ExternRef(None))))
                    })
                    .collect();
                observation.tables.push((name, size, super::digest(nulls)));
            }
            _ => {}
        }
    }
}

/// Defines all that the module imports.
fn linker(store: &mut Store<Host<Func>>, module: &Module) -> midair::Result<Linker<Host<Func>>> {
    let mut linker: Linker<Host<Func>> = Linker::new(module.engine());
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let item: Extern = match import.ty().clone() {
            ExternType::Func(ty) => {
                let kinds: Vec<Kind> = ty.results.iter().map(|&ty| kind(ty)).collect();
                linker.func_new(from, name, ty, move |mut caller, parameters, results| {
                    let arguments: Vec<Value> = parameters.iter().map(value).collect();
                    if let Some(callback) = caller.data_mut().call(&arguments) {
                        let outcome =
                            call_function(&mut caller, callback.function, &callback.arguments);
                        let failed = outcome.is_err();
                        caller.data_mut().called_back(outcome);
                        anyhow::ensure!(!(failed && callback.pass_on), "passed on");
                    }
                    for (result, answer) in results.iter_mut().zip(caller.data().answer(&kinds)) {
                        *result = val(answer);
                    }
                    Ok(())
                })?;
                continue;
            }
            ExternType::Global(ty) => {
                let init = val(super::arguments(&[kind(ty.content)], 1)[0]);
                Global::new(&mut *store, ty, init)?.into()
            }
            ExternType::Table(ty) => {
                let init = val(Value::Null(kind(ty.element)));
                Table::new(&mut *store, ty, init)?.into()
            }
            ExternType::Memory(ty) => Memory::new(&mut *store, ty)?.into(),
            _ => unreachable!("the modules import nothing else"),
        };
        linker.define(&mut *store, from, name, item)?;
    }
    Ok(linker)
}

fn call_function(mut store: impl AsContextMut, function: Func, arguments: &[Value]) -> Outcome {
    let arguments: Vec<Val> = arguments.iter().copied().map(val).collect();
    let mut results = vec![Val::I32(0); function.ty(&store).results.len()];
    match function.call(&mut store, &arguments, &mut results) {
        Ok(()) => Ok(results.iter().map(value).collect()),
        Err(error) => Err(stop(&error)),
    }
}

fn stop(error: &midair::Error) -> Stop {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow | Trap::OutOfFuel) => Stop::Resources,
        Some(trap) => Stop::Trap(trap.message()),
        None => Stop::Host,
    }
}

fn kind(ty: ValType) -> Kind {
    match ty {
        ValType::I32 => Kind::I32,
        ValType::I64 => Kind::I64,
        ValType::F32 => Kind::F32,
        ValType::F64 => Kind::F64,
        ValType::FuncRef => Kind::Func,
        ValType::ExternRef => Kind::Extern,
        _ => unreachable!("the modules have no vectors"),
    }
}

fn val(value: Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(bits),
        Value::F64(bits) => Val::F64(bits),
        Value::Null(Kind::Extern) => Val::ExternRef(None),
        Value::Null(_) => Val::FuncRef(None),
        Value::Func | Value::Extern => unreachable!("the host makes no references"),
    }
}

fn value(val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::FuncRef(None) => Value::Null(Kind::Func),
        Val::FuncRef(Some(_)) => Value::Func,
        Val::ExternRef(None) => Value::Null(Kind::Extern),
        _ => Value::Extern,
    }
}
