//! Observation of a module that runs on wasmi, an interpreter that others wrote.

use super::{CALLS, FUNCTIONS, Host, Kind, Observation, Outcome, Signature, Stop, Value};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{
    AsContextMut, Config, Engine, Error, Extern, ExternType, Func, Global, Instance, Linker,
    Memory, Module, Nullable, Ref, Store, Table, TrapCode, Val, ValType,
};

/// Runs a module.
pub fn observe(wasm: &[u8]) -> Result<Vec<Observation>, Error> {
    let mut config = Config::default();
    config.set_max_recursion_depth(100_000).set_max_stack_height(16 << 20).wasm_multi_memory(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, wasm)?;
    let mut functions: Vec<Signature> = module
        .exports()
        .filter_map(|export| match export.ty() {
            ExternType::Func(ty) => {
                let parameters = ty.params().iter().map(|&ty| kind(ty)).collect();
                Some((export.name().to_owned(), parameters))
            }
            _ => None,
        })
        .collect();
    functions.sort();
    (0..functions.len().min(FUNCTIONS))
        .map(|called| {
            let mut store = Store::new(&engine, Host::new());
            observe_function(&mut store, &module, &functions, called)
        })
        .collect()
}

fn observe_function(
    store: &mut Store<Host<Func>>,
    module: &Module,
    functions: &[Signature],
    called: usize,
) -> Result<Observation, Error> {
    let mut observation = Observation {
        function: functions[called].0.clone(),
        outcomes: Vec::new(),
        memories: Vec::new(),
        globals: Vec::new(),
        tables: Vec::new(),
        fuel: None,
    };
    let linker = linker(store, module)?;
    let instance = match linker.instantiate_and_start(&mut *store, module) {
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
                let function = instance.get_func(&*store, name).expect("an exported function");
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
        match instance.get_export(&*store, &name) {
            Some(Extern::Memory(memory)) => {
                let bytes = memory.data(&*store);
                let digest = super::digest(bytes.iter().copied());
                observation.memories.push((name, bytes.len(), digest));
            }
            Some(Extern::Global(global)) => {
                let value = value(&global.get(&*store));
                observation.globals.push((name, value));
            }
            Some(Extern::Table(table)) => {
                let size = table.size(&*store);
                let nulls: Vec<u8> = (0..size)
                    .map(|index| {
                        let element = table.get(&*store, index);
                        u8::from(element.is_some_and(|element| element.is_null()))
                    })
                    .collect();
                observation.tables.push((name, size, super::digest(nulls)));
            }
            _ => {}
        }
    }
}

/// Defines all that the module imports.
fn linker(store: &mut Store<Host<Func>>, module: &Module) -> Result<Linker<Host<Func>>, Error> {
    let mut linker: Linker<Host<Func>> = Linker::new(module.engine());
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let item: Extern = match import.ty().clone() {
            ExternType::Func(ty) => {
                let kinds: Vec<Kind> = ty.results().iter().map(|&ty| kind(ty)).collect();
                linker.func_new(from, name, ty, move |mut caller, parameters, results| {
                    let arguments: Vec<Value> = parameters.iter().map(value).collect();
                    if let Some(callback) = caller.data_mut().call(&arguments) {
                        let outcome =
                            call_function(&mut caller, callback.function, &callback.arguments);
                        let failed = outcome.is_err();
                        caller.data_mut().called_back(outcome);
                        if failed && callback.pass_on {
                            return Err(Error::new("passed on"));
                        }
                    }
                    for (result, answer) in results.iter_mut().zip(caller.data().answer(&kinds)) {
                        *result = val(answer);
                    }
                    Ok(())
                })?;
                continue;
            }
            ExternType::Global(ty) => {
                let init = val(super::arguments(&[kind(ty.content())], 1)[0]);
                Global::new(&mut *store, init, ty.mutability()).into()
            }
            ExternType::Table(ty) => {
                Table::new(&mut *store, ty, Ref::default_for_ty(ty.element()))?.into()
            }
            ExternType::Memory(ty) => Memory::new(&mut *store, ty)?.into(),
        };
        linker.define(from, name, item)?;
    }
    Ok(linker)
}

fn call_function(mut store: impl AsContextMut, function: Func, arguments: &[Value]) -> Outcome {
    let arguments: Vec<Val> = arguments.iter().copied().map(val).collect();
    let mut results: Vec<Val> =
        function.ty(&store).results().iter().map(|&ty| Val::default_for_ty(ty)).collect();
    match function.call(&mut store, &arguments, &mut results) {
        Ok(()) => Ok(results.iter().map(value).collect()),
        Err(error) => Err(stop(&error)),
    }
}

/// The reason in Midair's words.
fn stop(error: &Error) -> Stop {
    if let ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) =
        error.kind()
    {
        return Stop::Trap(midair::Trap::TableOutOfBounds.message());
    }
    let Some(code) = error.as_trap_code() else {
        return Stop::Host;
    };
    Stop::Trap(match code {
        TrapCode::UnreachableCodeReached => midair::Trap::UnreachableCodeReached.message(),
        TrapCode::MemoryOutOfBounds => midair::Trap::MemoryOutOfBounds.message(),
        TrapCode::TableOutOfBounds => midair::Trap::TableOutOfBounds.message(),
        TrapCode::IndirectCallToNull => midair::Trap::IndirectCallToNull.message(),
        TrapCode::IntegerDivisionByZero => midair::Trap::IntegerDivisionByZero.message(),
        TrapCode::IntegerOverflow => midair::Trap::IntegerOverflow.message(),
        TrapCode::BadConversionToInteger => midair::Trap::BadConversionToInteger.message(),
        TrapCode::BadSignature => midair::Trap::BadSignature.message(),
        _ => return Stop::Resources,
    })
}

fn kind(ty: ValType) -> Kind {
    match ty {
        ValType::I32 => Kind::I32,
        ValType::I64 => Kind::I64,
        ValType::F32 => Kind::F32,
        ValType::F64 => Kind::F64,
        ValType::FuncRef => Kind::Func,
        ValType::ExternRef => Kind::Extern,
        ValType::V128 => unreachable!("the modules have no vectors"),
    }
}

fn val(value: Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(wasmi::F32::from_bits(bits)),
        Value::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
        Value::Null(Kind::Extern) => Val::ExternRef(Nullable::Null),
        Value::Null(_) => Val::FuncRef(Nullable::Null),
        Value::Func | Value::Extern => unreachable!("the host makes no references"),
    }
}

fn value(val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::FuncRef(Nullable::Null) => Value::Null(Kind::Func),
        Val::FuncRef(Nullable::Val(_)) => Value::Func,
        Val::ExternRef(Nullable::Null) => Value::Null(Kind::Extern),
        _ => Value::Extern,
    }
}
