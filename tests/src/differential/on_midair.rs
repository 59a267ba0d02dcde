//! Observation of a module that runs on Midair.

use super::{Contents, Host, Interlude, Kind, Observation, Outcome, Runner, Stop, Value};
use midair::{
    AsContextMut, Config, Engine, Error, Exception, Extern, ExternType, Func, Global, Instance,
    Linker, Memory, Module, SharedMemory, Store, Table, Tag, Tier, Trap, Val, ValType,
};
use std::any::Any;

/// Fuel of each instance, where fuel is consumed.
const FUEL: u64 = 1_000_000;

/// Runs a module; `config` says in which tier and under which stress.
pub fn observe(config: &Config, wasm: &[u8]) -> midair::Result<Vec<Observation>> {
    let engine = Engine::new(config)?;
    let observed = observe_module(&Module::from_binary(&engine, wasm)?, None, None)?;
    // What mixed tiers ask of Cranelift may be refused; baseline code is there for every function.
    if config.get_tier() == Tier::Auto && config.get_stress().mixed.is_none() {
        assert_eq!(
            engine.stats().baseline_compilation.failed,
            0,
            "functions without baseline code"
        );
    }
    Ok(observed)
}

/// Runs a module that has been loaded. `interlude` is called in each host call. `shared` is what the module's instances
/// import as a shared memory; otherwise each has one of its own.
pub fn observe_module(
    module: &Module,
    interlude: Option<Interlude>,
    shared: Option<&SharedMemory>,
) -> midair::Result<Vec<Observation>> {
    let functions = module
        .exports()
        .filter_map(|export| {
            let parameters = export.ty().func()?.params.iter().map(|&ty| kind(ty)).collect();
            Some((export.name().to_owned(), parameters))
        })
        .collect();
    let exports: Vec<String> = module.exports().map(|export| export.name().to_owned()).collect();
    super::observe_each(functions, &exports, || {
        let mut store = Store::new(module.engine(), Host::new());
        store.data_mut().interlude = interlude.clone();
        // Fails where no fuel is consumed.
        let _ = store.set_fuel(FUEL);
        OnMidair { store, module, shared, instance: None }
    })
}

struct OnMidair<'m> {
    store: Store<Host<Func>>,
    module: &'m Module,
    shared: Option<&'m SharedMemory>,
    instance: Option<Instance>,
}

impl Runner for OnMidair<'_> {
    type Function = Func;
    type Error = midair::Error;

    fn instantiate(&mut self) -> midair::Result<Result<(), Stop>> {
        let linker = linker(&mut self.store, self.module, self.shared)?;
        Ok(match linker.instantiate(&mut self.store, self.module) {
            Ok(instance) => {
                self.instance = Some(instance);
                Ok(())
            }
            Err(error) => Err(stop(&error)),
        })
    }

    fn function(&mut self, name: &str) -> Func {
        let instance = self.instance.expect("instantiated");
        instance.get_func(&mut self.store, name).expect("an exported function")
    }

    fn call(&mut self, function: Func, arguments: &[Value]) -> Outcome {
        call_function(&mut self.store, function, arguments)
    }

    fn contents(&mut self, name: &str) -> Contents {
        let store = &mut self.store;
        match self.instance.expect("instantiated").get_export(&mut *store, name) {
            Some(Extern::Memory(memory)) => {
                let bytes = memory.data(&*store);
                let digest = super::digest(bytes.iter().copied());
                Contents::Memory { bytes: bytes.len(), digest }
            }
            Some(Extern::SharedMemory(memory)) => {
                let mut bytes = vec![0; memory.data_size()];
                memory.read(0, &mut bytes).expect("all of it is there");
                let digest = super::digest(bytes.iter().copied());
                Contents::Memory { bytes: bytes.len(), digest }
            }
            Some(Extern::Global(global)) => Contents::Global(value(&global.get(&mut *store))),
            Some(Extern::Table(table)) => {
                let elements = (0..table.size(&*store)).map(|index| table.get(&mut *store, index));
                let is_null = |element| {
                    matches!(
                        element,
                        Some(Val::FuncRef(None) | Val::ExternRef(None) | Val::ExnRef(None))
                    )
                };
                Contents::Table(elements.map(is_null).collect())
            }
            _ => Contents::Function,
        }
    }

    fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok()
    }

    fn host(&mut self) -> &mut Host<Func> {
        self.store.data_mut()
    }
}

/// Defines all that the module imports.
fn linker(
    store: &mut Store<Host<Func>>,
    module: &Module,
    shared: Option<&SharedMemory>,
) -> midair::Result<Linker<Host<Func>>> {
    let mut linker: Linker<Host<Func>> = Linker::new(module.engine());
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let item: Extern = match import.ty().clone() {
            ExternType::Func(ty) => {
                let kinds: Vec<Kind> = ty.results.iter().map(|&ty| kind(ty)).collect();
                linker.func_new(from, name, ty, move |mut caller, parameters, results| {
                    let arguments: Vec<Value> = parameters.iter().map(value).collect();
                    let answers = super::host_call(
                        &mut caller,
                        |caller| caller.data_mut(),
                        |caller, function, arguments| call_function(caller, function, arguments),
                        &arguments,
                        &kinds,
                    );
                    let Some(answers) = answers else {
                        // An exception passes through; what else it was, is an error of the host.
                        let thrown = caller.data_mut().thrown.take();
                        let thrown = thrown.and_then(|error| error.downcast::<Error>().ok());
                        return Err(thrown.map_or_else(|| Error::msg("passed on"), |error| *error));
                    };
                    for (result, answer) in results.iter_mut().zip(answers) {
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
            ExternType::Memory(ty) if ty.shared => match shared {
                Some(shared) => shared.clone().into(),
                None => SharedMemory::new(store.engine(), ty)?.into(),
            },
            ExternType::Memory(ty) => Memory::new(&mut *store, ty)?.into(),
            ExternType::Tag(ty) => Tag::new(&mut *store, ty)?.into(),
            _ => unreachable!("the modules import nothing else"),
        };
        linker.define(&mut *store, from, name, item)?;
    }
    Ok(linker)
}

fn call_function(
    mut store: impl AsContextMut<Data = Host<Func>>,
    function: Func,
    arguments: &[Value],
) -> Outcome {
    let arguments: Vec<Val> = arguments.iter().copied().map(val).collect();
    let mut results = vec![Val::I32(0); function.ty(&store).results.len()];
    match function.call(&mut store, &arguments, &mut results) {
        Ok(()) => Ok(results.iter().map(value).collect()),
        Err(error) => {
            let stop = stop(&error);
            let thrown =
                error.is::<Exception>().then(|| Box::new(error) as Box<dyn Any + Send + Sync>);
            store.as_context_mut().data_mut().thrown = thrown;
            Err(stop)
        }
    }
}

fn stop(error: &midair::Error) -> Stop {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow | Trap::OutOfFuel) => Stop::Resources,
        Some(trap) => Stop::Trap(trap.message()),
        None => match error.downcast_ref::<Exception>() {
            Some(exception) => Stop::Exception(exception.to_string()),
            None => Stop::Host,
        },
    }
}

fn kind(ty: ValType) -> Kind {
    match ty {
        ValType::I32 => Kind::I32,
        ValType::I64 => Kind::I64,
        ValType::F32 => Kind::F32,
        ValType::F64 => Kind::F64,
        ValType::V128 => Kind::V128,
        ValType::FUNCREF => Kind::Func,
        ValType::EXTERNREF => Kind::Extern,
        ty if ty.is_exn_ref() => Kind::Exn,
        _ => unreachable!("the modules have no other types"),
    }
}

fn val(value: Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(bits),
        Value::F64(bits) => Val::F64(bits),
        Value::V128(bits) => Val::V128(bits),
        Value::Null(Kind::Extern) => Val::ExternRef(None),
        Value::Null(Kind::Exn) => Val::ExnRef(None),
        Value::Null(_) => Val::FuncRef(None),
        Value::Func | Value::Extern | Value::Exn => unreachable!("the host makes no references"),
    }
}

fn value(val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(bits) => Value::V128(*bits),
        Val::FuncRef(None) => Value::Null(Kind::Func),
        Val::FuncRef(Some(_)) => Value::Func,
        Val::ExternRef(None) => Value::Null(Kind::Extern),
        Val::ExnRef(None) => Value::Null(Kind::Exn),
        Val::ExnRef(Some(_)) => Value::Exn,
        _ => Value::Extern,
    }
}
