//! Observation of a module that runs on wasmi, an interpreter that others wrote.

use super::{Contents, Host, Kind, Observation, Outcome, Runner, Stop, Value};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{
    AsContextMut, Config, Engine, Error, Extern, ExternType, Func, Global, Instance, Linker,
    Memory, Module, Nullable, Ref, Store, Table, TrapCode, Val, ValType,
};

/// Runs a module.
pub fn observe(wasm: &[u8]) -> Result<Vec<Observation>, Error> {
    let mut config = Config::default();
    config.set_max_recursion_depth(100_000).set_max_stack_height(16 << 20).wasm_multi_memory(true);
    config.wasm_simd(true).wasm_relaxed_simd(true);
    config.wasm_memory64(true).wasm_custom_page_sizes(true).wasm_wide_arithmetic(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, wasm)?;
    let functions = module
        .exports()
        .filter_map(|export| match export.ty() {
            ExternType::Func(ty) => {
                let parameters = ty.params().iter().map(|&ty| kind(ty)).collect();
                Some((export.name().to_owned(), parameters))
            }
            _ => None,
        })
        .collect();
    let exports: Vec<String> = module.exports().map(|export| export.name().to_owned()).collect();
    super::observe_each(functions, &exports, || OnWasmi {
        store: Store::new(&engine, Host::new()),
        module: &module,
        instance: None,
    })
}

struct OnWasmi<'m> {
    store: Store<Host<Func>>,
    module: &'m Module,
    instance: Option<Instance>,
}

impl Runner for OnWasmi<'_> {
    type Function = Func;
    type Error = Error;

    fn instantiate(&mut self) -> Result<Result<(), Stop>, Error> {
        let linker = linker(&mut self.store, self.module)?;
        Ok(match linker.instantiate_and_start(&mut self.store, self.module) {
            Ok(instance) => {
                self.instance = Some(instance);
                Ok(())
            }
            Err(error) => Err(stop(&error)),
        })
    }

    fn function(&mut self, name: &str) -> Func {
        let instance = self.instance.expect("instantiated");
        instance.get_func(&self.store, name).expect("an exported function")
    }

    fn call(&mut self, function: Func, arguments: &[Value]) -> Outcome {
        call_function(&mut self.store, function, arguments)
    }

    fn contents(&mut self, name: &str) -> Contents {
        let store = &self.store;
        match self.instance.expect("instantiated").get_export(store, name) {
            Some(Extern::Memory(memory)) => {
                let bytes = memory.data(store);
                let digest = super::digest(bytes.iter().copied());
                Contents::Memory { bytes: bytes.len(), digest }
            }
            Some(Extern::Global(global)) => Contents::Global(value(&global.get(store))),
            Some(Extern::Table(table)) => {
                let elements = (0..table.size(store)).map(|index| table.get(store, index));
                let is_null = |element: Option<Ref>| element.is_some_and(|it| it.is_null());
                Contents::Table(elements.map(is_null).collect())
            }
            _ => Contents::Function,
        }
    }

    fn fuel(&self) -> Option<u64> {
        None
    }

    fn host(&mut self) -> &mut Host<Func> {
        self.store.data_mut()
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
                    let answers = super::host_call(
                        &mut caller,
                        |caller| caller.data_mut(),
                        |caller, function, arguments| call_function(caller, function, arguments),
                        &arguments,
                        &kinds,
                    );
                    let answers = answers.ok_or_else(|| Error::new("passed on"))?;
                    for (result, answer) in results.iter_mut().zip(answers) {
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
        ValType::V128 => Kind::V128,
    }
}

fn val(value: Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(wasmi::F32::from_bits(bits)),
        Value::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
        Value::V128(bits) => Val::V128(wasmi::V128::from(bits)),
        Value::Null(Kind::Extern) => Val::ExternRef(Nullable::Null),
        Value::Null(_) => Val::FuncRef(Nullable::Null),
        Value::Func | Value::Extern | Value::Exn => unreachable!("the host makes no references"),
    }
}

fn value(val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(Nullable::Null) => Value::Null(Kind::Func),
        Val::FuncRef(Nullable::Val(_)) => Value::Func,
        Val::ExternRef(Nullable::Null) => Value::Null(Kind::Extern),
        _ => Value::Extern,
    }
}
