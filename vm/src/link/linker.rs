//! Linking by name.

use super::instance::{ImportValue, Instance, instantiate};
use crate::call::func::dynamic_definition;
use crate::call::into_func::IntoFunc;
use crate::engine::Engine;
use crate::module::Module;
use crate::store::caller::Caller;
use crate::store::external::Extern;
use crate::store::func::Func;
use crate::store::host_function::HostDefinition;
use crate::store::opaque::StoreOpaque;
use crate::store::shared_memory::SharedMemory;
use crate::store::value::Val;
use crate::store::{AsContext, AsContextMut};
use crate::types::ExternType;
use crate::types::error::{ErrorKind, Failure};
use crate::types::printable::PrintableName;
use anyhow::Result;
use midair_tiers::types::FuncType;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Definitions by name, with which imports of modules are satisfied.
///
/// Host functions that are defined by [`Linker::func_wrap`] and [`Linker::func_new`] belong to no store:
/// a linker with only such definitions can serve many stores. Others, such as those of
/// [`Linker::instance`], can be used with their own store only.
///
/// ```
/// use midair::{Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("math", "square", |x: f64| x * x)?;
///
/// let library = Module::new(
///     &engine,
///     r#"(module
///         (import "math" "square" (func $square (param f64) (result f64)))
///         (func (export "norm") (param f64 f64) (result f64)
///             (f64.sqrt (f64.add
///                 (call $square (local.get 0)) (call $square (local.get 1))))))"#,
/// )?;
/// let program = Module::new(
///     &engine,
///     r#"(module
///         (import "library" "norm" (func $norm (param f64 f64) (result f64)))
///         (func (export "run") (result f64)
///             (call $norm (f64.const 3) (f64.const 4))))"#,
/// )?;
///
/// let mut store = Store::new(&engine, ());
/// let library = linker.instantiate(&mut store, &library)?;
/// linker.instance(&mut store, "library", library)?;
/// let program = linker.instantiate(&mut store, &program)?;
/// let run = program.get_typed_func::<(), f64>(&mut store, "run")?;
/// assert_eq!(run.call(&mut store, ())?, 5.0);
/// # Ok::<(), midair::Error>(())
/// ```
pub struct Linker<T: 'static> {
    engine: Engine,
    /// By module name, then by name.
    definitions: HashMap<Arc<str>, HashMap<Arc<str>, ImportValue>>,
    allow_shadowing: bool,
    data: PhantomData<fn(T)>,
}

impl<T: 'static> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker {
            engine: self.engine.clone(),
            definitions: self.definitions.clone(),
            allow_shadowing: self.allow_shadowing,
            data: PhantomData,
        }
    }
}

impl<T: 'static> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.definitions.keys().collect();
        f.debug_struct("Linker").field("modules", &modules).finish_non_exhaustive()
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without definitions.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker {
            engine: engine.clone(),
            definitions: HashMap::new(),
            allow_shadowing: false,
            data: PhantomData,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a name may be defined again. Default: no.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.allow_shadowing = allow;
        self
    }

    fn insert(&mut self, module: &str, name: &str, value: ImportValue) -> Result<&mut Self> {
        if !self.definitions.contains_key(module) {
            self.definitions.insert(module.into(), HashMap::new());
        }
        let names = self.definitions.get_mut(module).expect("inserted above if it was missing");
        match names.entry(name.into()) {
            Entry::Occupied(mut entry) => {
                if !self.allow_shadowing {
                    return Err(link_failure(format!(
                        "import of `{}` `{}` defined twice",
                        PrintableName(module),
                        PrintableName(name)
                    )));
                }
                entry.insert(value);
            }
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
        }
        Ok(self)
    }

    fn find(&self, module: &str, name: &str) -> Option<&ImportValue> {
        self.definitions.get(module)?.get(name)
    }

    fn insert_host(
        &mut self,
        module: &str,
        name: &str,
        definition: HostDefinition,
    ) -> Result<&mut Self> {
        self.insert(module, name, ImportValue::Host(Arc::new(definition)))
    }

    /// Defines a host function from a Rust closure: see [`IntoFunc`].
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        code: impl IntoFunc<T, Params, Results>,
    ) -> Result<&mut Self> {
        self.insert_host(module, name, code.into_definition())
    }

    /// Defines a host function whose type is only known when the program runs: see [`Func::new`].
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        code: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        self.insert_host(module, name, dynamic_definition(ty, code))
    }

    /// Defines something that belongs to a store.
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        let item = item.into();
        if !item.belongs_to(store.as_context().opaque()) {
            return Err(link_failure(format!(
                "`{}` `{}` belongs to another store",
                PrintableName(module),
                PrintableName(name)
            )));
        }
        self.insert(module, name, ImportValue::Extern(item))
    }

    /// Defines a shared memory, which belongs to no store.
    pub fn define_shared_memory(
        &mut self,
        module: &str,
        name: &str,
        memory: SharedMemory,
    ) -> Result<&mut Self> {
        self.insert(module, name, ImportValue::Extern(Extern::SharedMemory(memory)))
    }

    /// Defines all exports of an instance.
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        let mut store = store.as_context_mut();
        let exports: Vec<_> = instance
            .exports(&mut store)
            .map(|export| (export.name().to_string(), export.into_extern()))
            .collect();
        for (name, item) in exports {
            self.insert(module, &name, ImportValue::Extern(item))?;
        }
        Ok(self)
    }

    /// Instantiates a module and defines all exports of the instance.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        name: &str,
        module: &Module,
    ) -> Result<&mut Self> {
        let instance = self.instantiate(&mut store, module)?;
        self.instance(store, name, instance)
    }

    /// Defines a name as another one that is defined already.
    pub fn alias(
        &mut self,
        module: &str,
        name: &str,
        as_module: &str,
        as_name: &str,
    ) -> Result<&mut Self> {
        let Some(value) = self.find(module, name) else {
            return Err(link_failure(format!(
                "no definition of `{}` `{}`",
                PrintableName(module),
                PrintableName(name)
            )));
        };
        let value = value.clone();
        self.insert(as_module, as_name, value)
    }

    /// Defines all names of a module under another module name.
    pub fn alias_module(&mut self, module: &str, as_module: &str) -> Result<&mut Self> {
        let Some(names) = self.definitions.get(module) else {
            return Err(link_failure(format!(
                "no definitions of module `{}`",
                PrintableName(module)
            )));
        };
        for (name, value) in names.clone() {
            self.insert(as_module, &name, value)?;
        }
        Ok(self)
    }

    /// What a name is defined as. A host function is bound to the store by this.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: &str,
    ) -> Option<Extern> {
        match self.find(module, name)? {
            ImportValue::Extern(item) => Some(item.clone()),
            ImportValue::Host(definition) => {
                let mut store = store.as_context_mut();
                let store: &mut StoreOpaque = store.opaque_mut();
                let func_ref = store.new_host_function(definition.clone(), None).ok()?;
                Some(Extern::Func(Func::from_raw(store, func_ref)))
            }
        }
    }

    /// Defines every import of `module` that is a function and has no definition yet as a function that
    /// fails when it is called.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<()> {
        for import in module.imports() {
            if self.find(import.module(), import.name()).is_some() {
                continue;
            }
            if let ExternType::Func(ty) = import.ty() {
                let message = format!(
                    "unknown import `{}` `{}` was called",
                    PrintableName(import.module()),
                    PrintableName(import.name())
                );
                self.func_new(import.module(), import.name(), ty.clone(), move |_, _, _| {
                    Err(link_failure(message.clone()))
                })?;
            }
        }
        Ok(())
    }

    /// Links a module by the names of its imports, and runs its start function.
    ///
    /// Fails with [`UnlinkedImports`], which lists all of them, if imports are not defined.
    pub fn instantiate(
        &self,
        store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        self.instantiate_pre(module)?.instantiate(store)
    }

    /// Looks the imports of a module up, so that many instances can be made without doing that for each. Definitions
    /// that the linker gets later are not seen.
    ///
    /// Fails with [`UnlinkedImports`], which lists all of them, if imports are not defined.
    pub fn instantiate_pre(&self, module: &Module) -> Result<InstancePre<T>> {
        let mut unknown = Vec::new();
        let mut imports = Vec::with_capacity(module.imports().len());
        for import in &module.state.imports {
            match self.find(&import.module, &import.name) {
                Some(value) => imports.push(value.clone()),
                None => unknown.push(UnlinkedImport {
                    module: import.module.to_string(),
                    name: import.name.to_string(),
                    ty: module.state.item_type(import.item),
                }),
            }
        }
        if !unknown.is_empty() {
            return Err(UnlinkedImports { imports: unknown }.into());
        }
        Ok(InstancePre { module: module.clone(), imports: imports.into(), data: PhantomData })
    }
}

fn link_failure(text: String) -> anyhow::Error {
    Failure::new(ErrorKind::Link, text).into()
}

/// A module with what its imports are linked to: see [`Linker::instantiate_pre`]. If none of that belongs to a store,
/// instances can be made in any store of the engine, and from several threads at once.
///
/// ```
/// use midair::{Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (import "host" "next" (func $next (param i32) (result i32)))
///         (func (export "run") (result i32) (call $next (i32.const 1))))"#,
/// )?;
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "next", |x: i32| x + 1)?;
/// let linked = linker.instantiate_pre(&module)?;
/// for _ in 0..3 {
///     let mut store = Store::new(&engine, ());
///     let instance = linked.instantiate(&mut store)?;
///     assert_eq!(instance.get_typed_func::<(), i32>(&mut store, "run")?.call(&mut store, ())?, 2);
/// }
/// # Ok::<(), midair::Error>(())
/// ```
pub struct InstancePre<T: 'static> {
    module: Module,
    imports: Arc<[ImportValue]>,
    data: PhantomData<fn(T)>,
}

impl<T: 'static> InstancePre<T> {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Makes an instance, and runs its start function. Fails as [`Linker::instantiate`] does if a definition does not
    /// have the type of its import, or belongs to another store.
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let mut store = store.as_context_mut();
        // SAFETY: the store is borrowed mutably.
        unsafe { instantiate(store.opaque_ptr(), &self.module, &self.imports) }
    }
}

impl<T: 'static> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        InstancePre {
            module: self.module.clone(),
            imports: self.imports.clone(),
            data: PhantomData,
        }
    }
}

impl<T: 'static> fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancePre").field("imports", &self.imports.len()).finish_non_exhaustive()
    }
}

/// An import that a linker has no definition for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlinkedImport {
    module: String,
    name: String,
    ty: ExternType,
}

impl UnlinkedImport {
    /// Name of the module that it is imported from.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Name within that module.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type that it must have.
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

impl fmt::Display for UnlinkedImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` `{}`: {}", PrintableName(&self.module), PrintableName(&self.name), self.ty)
    }
}

/// The error of a module whose imports are not all defined.
///
/// ```
/// use midair::{Engine, Linker, Module, Store, UnlinkedImports};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module (import "a" "f" (func (param i32))) (import "b" "m" (memory 1)))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let error = Linker::new(&engine).instantiate(&mut store, &module).unwrap_err();
/// let unlinked = error.downcast_ref::<UnlinkedImports>().unwrap();
/// assert_eq!(unlinked.imports().len(), 2);
/// assert_eq!(
///     unlinked.to_string(),
///     "2 unknown imports:\n  `a` `f`: func (i32) -> ()\n  `b` `m`: memory 1"
/// );
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlinkedImports {
    imports: Vec<UnlinkedImport>,
}

impl UnlinkedImports {
    /// All of them, in the order of the module.
    pub fn imports(&self) -> &[UnlinkedImport] {
        &self.imports
    }
}

impl fmt::Display for UnlinkedImports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [import] = &*self.imports {
            return write!(f, "unknown import {import}");
        }
        write!(f, "{} unknown imports:", self.imports.len())?;
        for import in &self.imports {
            write!(f, "\n  {import}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnlinkedImports {}

#[cfg(test)]
mod tests;
