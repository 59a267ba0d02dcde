//! What a host function knows of its caller.

use super::external::Extern;
use super::instance::InstanceEntity;
use super::interrupt::InterruptHandle;
use super::{AsContext, AsContextMut, StoreContextMut, StoreContextRef};
use crate::engine::Engine;
use anyhow::Result;
use std::ptr::NonNull;

/// The store and the instance that a host function is called from.
///
/// ```
/// use midair::{Caller, Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (import "host" "print" (func $print (param i32 i32)))
///         (memory (export "memory") 1)
///         (data (i32.const 8) "hello")
///         (func (export "run") (call $print (i32.const 8) (i32.const 5))))"#,
/// )?;
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "print", |mut caller: Caller<'_, String>, at: u32, len: u32| {
///     let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
///     let (bytes, printed) = memory.data_and_store_mut(&mut caller);
///     let text = &bytes[at as usize..(at + len) as usize];
///     printed.push_str(std::str::from_utf8(text).unwrap());
/// })?;
/// let mut store = Store::new(&engine, String::new());
/// let instance = linker.instantiate(&mut store, &module)?;
/// instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())?;
/// assert_eq!(store.data(), "hello");
/// # Ok::<(), midair::Error>(())
/// ```
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    instance: Option<NonNull<InstanceEntity>>,
}

impl<'a, T: 'static> Caller<'a, T> {
    pub(crate) fn new(
        store: StoreContextMut<'a, T>,
        instance: Option<NonNull<InstanceEntity>>,
    ) -> Caller<'a, T> {
        Caller { store, instance }
    }

    /// An export of the instance that imported the function. `None` if it has no such export, or if the
    /// function was not imported but called by the host itself.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        let instance = self.instance?;
        // SAFETY: instances live as long as their store, which is borrowed mutably.
        unsafe { InstanceEntity::export(instance, self.store.opaque_mut(), name) }
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// The fuel that is left: see [`Store::get_fuel`](crate::Store::get_fuel).
    pub fn get_fuel(&self) -> Result<u64> {
        self.store.get_fuel()
    }

    /// Sets the fuel: see [`Store::set_fuel`](crate::Store::set_fuel).
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.store.set_fuel(fuel)
    }

    /// A handle to stop the guest from another thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.store.interrupt_handle()
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContextRef<'_, T> {
        self.store.as_context()
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
