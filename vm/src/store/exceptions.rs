//! Exceptions that guests have thrown.
//!
//! A store owns them. One that is caught by value is freed at once, if nobody has ever caught it by reference. The
//! others are looked for when there are twice as many as there were needed the last time: what no frame, global, table,
//! element segment or handle of the host refers to, directly or by way of another exception, is freed.
//!
//! What counts as a reference is any word in a place that values lie in, so that no types are needed: the places are
//! exact, and a number that happens to be an exception's address does no harm. Exceptions do not move.

use super::backtrace::WasmBacktrace;
use super::opaque::{StoreId, StoreOpaque};
use super::tag::{Tag, TagEntity};
use super::value::Val;
use super::{AsContext, AsContextMut};
use crate::types::error::{ErrorKind, OfKind as _};
use anyhow::Result;
use midair_tiers::types::ValType;
use midair_tiers::{Exception as Head, TrapCode};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// An exception as its store keeps it.
#[repr(C)]
pub(crate) struct ExceptionEntity {
    head: Head,
    /// What it carries, in canonical slots.
    values: SmallVec<[u64; 3]>,
    /// Where it was thrown, if that was recorded.
    pub(crate) backtrace: Option<Box<WasmBacktrace>>,
    /// Where it is in `Exceptions::all`.
    index: usize,
    /// Whether it was ever caught by reference.
    is_shared: bool,
    is_marked: bool,
}

impl ExceptionEntity {
    /// Its tag.
    ///
    /// # Safety
    /// Its store must be alive.
    pub(crate) unsafe fn tag(&self) -> NonNull<TagEntity> {
        // SAFETY: definitions of tags are the heads of their entities, which live as long as the store.
        unsafe { NonNull::new_unchecked(self.head.tag.cast_mut().cast()) }
    }
}

/// Fewer exceptions than this are not looked through.
const FIRST_COLLECTION: usize = 1024;

/// The exceptions of a store.
#[derive(Default)]
pub(crate) struct Exceptions {
    all: Vec<NonNull<ExceptionEntity>>,
    /// Number at which those are looked for that nobody refers to.
    collect_at: usize,
    /// References that the host holds, by address.
    held: Mutex<HashMap<usize, Weak<HeldException>>>,
}

impl Exceptions {
    fn free(&mut self, exception: NonNull<ExceptionEntity>) {
        // SAFETY: it is one of ours, and nobody refers to it.
        let exception = unsafe { Box::from_raw(exception.as_ptr()) };
        self.all.swap_remove(exception.index);
        if let Some(moved) = self.all.get(exception.index) {
            // SAFETY: it is one of ours.
            unsafe { (*moved.as_ptr()).index = exception.index };
        }
    }
}

impl Drop for Exceptions {
    fn drop(&mut self) {
        for exception in self.all.drain(..) {
            // SAFETY: the pointer came from a box, and is forgotten here.
            drop(unsafe { Box::from_raw(exception.as_ptr()) });
        }
    }
}

impl StoreOpaque {
    /// Number of exceptions that the store keeps.
    #[cfg(test)]
    pub(crate) fn exception_count(&self) -> usize {
        self.exceptions.all.len()
    }

    /// Makes an exception, and frees those that nobody refers to if there are many.
    ///
    /// # Safety
    /// The tag must be the store's, and the values those of its type. If a guest of the store runs, the thread is at a
    /// safepoint of it, and frames of the interpreter have been saved.
    pub(crate) unsafe fn new_exception(
        &mut self,
        tag: NonNull<TagEntity>,
        values: &[u64],
    ) -> NonNull<ExceptionEntity> {
        let limit = self.exceptions.collect_at.max(FIRST_COLLECTION);
        if self.exceptions.all.len() >= limit {
            // SAFETY: as the caller vouches.
            unsafe { self.collect_exceptions(values) };
            self.exceptions.collect_at = 2 * self.exceptions.all.len();
        }
        let entity = ExceptionEntity {
            head: Head { tag: tag.as_ptr().cast() },
            values: SmallVec::from_slice(values),
            backtrace: None,
            index: self.exceptions.all.len(),
            is_shared: false,
            is_marked: false,
        };
        let exception = NonNull::from(Box::leak(Box::new(entity)));
        self.exceptions.all.push(exception);
        exception
    }

    /// Frees the exceptions that nobody refers to; `values` are about to be referred to.
    ///
    /// # Safety
    /// As for [`StoreOpaque::new_exception`].
    unsafe fn collect_exceptions(&mut self, values: &[u64]) {
        let addresses: HashMap<u64, NonNull<ExceptionEntity>> =
            self.exceptions.all.iter().map(|e| (e.as_ptr() as u64, *e)).collect();
        let mut pending: Vec<NonNull<ExceptionEntity>> = Vec::new();
        let mut mark = |word: u64| {
            let Some(exception) = addresses.get(&word) else { return };
            // SAFETY: it is one of the store's, which nothing else uses now.
            let entity = unsafe { &mut *exception.as_ptr() };
            if !std::mem::replace(&mut entity.is_marked, true) {
                pending.push(*exception);
            }
        };
        values.iter().copied().for_each(&mut mark);
        // SAFETY: as the caller vouches.
        unsafe { self.each_root(&mut mark) };
        while let Some(exception) = pending.pop() {
            // SAFETY: as above; what an exception carries is not written.
            for word in unsafe { &(*exception.as_ptr()).values } {
                let Some(inner) = addresses.get(word) else { continue };
                // SAFETY: as above. It may be the same one, so that no references are held.
                unsafe {
                    if !std::mem::replace(&mut (*inner.as_ptr()).is_marked, true) {
                        pending.push(*inner);
                    }
                }
            }
        }
        for exception in addresses.into_values() {
            // SAFETY: as above.
            let is_marked = unsafe { std::mem::take(&mut (*exception.as_ptr()).is_marked) };
            if !is_marked {
                self.exceptions.free(exception);
            }
        }
    }

    /// Calls `mark` with each word that may refer to an exception.
    ///
    /// # Safety
    /// As for [`StoreOpaque::new_exception`].
    unsafe fn each_root(&mut self, mark: &mut impl FnMut(u64)) {
        let runtime = self.runtime();
        // SAFETY: as the caller vouches: the guest stands still, and nothing else uses what the store owns.
        unsafe {
            mark((*runtime).exception as u64);
            if let Some(stack) = &self.guest_stack {
                // Frames of the interpreter, and arguments and results on their way in and out.
                let mut slot = stack.values();
                while slot < (*runtime).value_top {
                    mark(slot.read());
                    slot = slot.add(1);
                }
                for frame in (*runtime).stack.read_frames() {
                    let values = frame.state.into_iter().flat_map(|state| state.values);
                    values.flatten().flatten().for_each(&mut *mark);
                }
            }
            for cell in self.globals.iter() {
                mark((*cell.as_ptr()).0[0]);
            }
            for table in self.tables.iter() {
                let table = table.as_ref();
                if table.holds_exceptions() {
                    (0..table.def.len).for_each(|i| mark(table.def.base.add(i).read()));
                }
            }
            for instance in self.instances.iter() {
                instance.as_ref().each_exnref(&mut *mark);
            }
        }
        let held = self.exceptions.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        held.retain(|address, handle| {
            let is_held = handle.strong_count() > 0;
            if is_held {
                mark(*address as u64);
            }
            is_held
        });
    }

    /// The exception that is on its way.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn exception_on_its_way(&self) -> NonNull<ExceptionEntity> {
        // SAFETY: the runtime context lives as long as the store.
        let exception = unsafe { (*self.runtime()).exception };
        NonNull::new(exception.cast()).expect("an exception is on its way")
    }

    /// Lets an exception of the store be on its way.
    pub(crate) fn set_exception_on_its_way(&mut self, exception: NonNull<ExceptionEntity>) {
        self.pending = None;
        // SAFETY: the runtime context lives as long as the store.
        unsafe {
            (*self.runtime()).trap = TrapCode::UncaughtException as u32;
            (*self.runtime()).exception = exception.as_ptr().cast();
        }
    }

    /// Whether an exception is on its way, and not a trap.
    pub(crate) fn is_exception_on_its_way(&self) -> bool {
        // SAFETY: the runtime context lives as long as the store.
        unsafe { (*self.runtime()).trap == TrapCode::UncaughtException as u32 }
    }

    /// The exception that is on its way is caught. Answers with what it carries, in canonical slots, if it is asked for,
    /// and behind that the reference, if it is caught `by_ref`.
    pub(crate) fn catch_exception(&mut self, values: bool, by_ref: bool) -> SmallVec<[u64; 3]> {
        let exception = self.exception_on_its_way();
        // What a host function has said besides.
        self.pending = None;
        // SAFETY: the runtime context lives as long as the store.
        unsafe {
            (*self.runtime()).trap = 0;
            (*self.runtime()).exception = std::ptr::null_mut();
        }
        // SAFETY: it is one of the store's.
        let entity = unsafe { &mut *exception.as_ptr() };
        if by_ref {
            entity.is_shared = true;
            let mut caught = if values { entity.values.clone() } else { SmallVec::new() };
            caught.push(exception.as_ptr() as u64);
            return caught;
        }
        if entity.is_shared {
            return if values { entity.values.clone() } else { SmallVec::new() };
        }
        let caught = if values { std::mem::take(&mut entity.values) } else { SmallVec::new() };
        self.exceptions.free(exception);
        caught
    }

    /// The same for the host, to which it is an error.
    pub(crate) fn catch_exception_as_error(&mut self) -> anyhow::Error {
        let exception = self.exception_on_its_way();
        // SAFETY: it is one of the store's.
        let (tag, backtrace) =
            unsafe { ((*exception.as_ptr()).tag(), (*exception.as_ptr()).backtrace.clone()) };
        self.engine().code().counters.exceptions_uncaught.add(1);
        let slots = self.catch_exception(true, false);
        let error: anyhow::Error = Exception::from_slots(self, tag, &slots).into();
        match backtrace {
            Some(backtrace) => error.context(*backtrace),
            None => error,
        }
    }
}

/// An exception outside a store's guest: what a call fails with that nothing has caught, and what a host function
/// fails with to throw.
///
/// It is found in an error by [`downcast_ref`](crate::Error::downcast_ref), also under a context, and can be thrown
/// again: a host function that returns an error with an exception of its store throws that.
///
/// ```
/// use midair::{Engine, Exception, Linker, Module, Store, Tag, TagType, Val, ValType};
///
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, ());
/// let tag = Tag::new(&mut store, TagType::new([ValType::I32]))?;
/// let mut linker = Linker::new(&engine);
/// linker.define(&mut store, "host", "tag", tag)?;
/// linker.func_wrap("host", "fail", move |mut caller: midair::Caller<'_, ()>| -> midair::Result<()> {
///     Err(Exception::new(&mut caller, &tag, &[Val::I32(42)])?.into())
/// })?;
/// let module = Module::new(&engine, r#"(module
///     (import "host" "tag" (tag $e (param i32)))
///     (import "host" "fail" (func $fail))
///     (func (export "catch") (result i32)
///         (block $caught (result i32)
///             (try_table (catch $e $caught) (call $fail))
///             (i32.const 0)))
///     (func (export "throw") (throw $e (i32.const 7))))"#)?;
/// let instance = linker.instantiate(&mut store, &module)?;
/// let catch = instance.get_typed_func::<(), i32>(&mut store, "catch")?;
/// assert_eq!(catch.call(&mut store, ())?, 42);
///
/// let throw = instance.get_typed_func::<(), ()>(&mut store, "throw")?;
/// let error = throw.call(&mut store, ()).unwrap_err();
/// let exception = error.downcast_ref::<Exception>().unwrap();
/// assert_eq!(exception.tag(), tag);
/// assert_eq!(exception.values()[0].unwrap_i32(), 7);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exception {
    tag: Tag,
    values: Box<[Val]>,
    /// What a person is told of the tag.
    label: Box<str>,
}

impl Exception {
    /// An exception with these values. Fails if they do not have the types of the tag.
    ///
    /// # Panics
    /// If the tag belongs to another store.
    pub fn new(mut store: impl AsContextMut, tag: &Tag, values: &[Val]) -> Result<Exception> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        // SAFETY: the tag belongs to this store, which is borrowed.
        let entity = unsafe { tag.raw(store).as_ref() };
        let check = || {
            let params = entity.ty.params();
            anyhow::ensure!(
                values.len() == params.len(),
                "expected {} values for an exception, got {}",
                params.len(),
                values.len()
            );
            for (i, (value, ty)) in values.iter().zip(params).enumerate() {
                value.check_store(store)?;
                let found = value.ty();
                anyhow::ensure!(
                    value.is_of(*ty, store),
                    "value {i} of an exception is of type {found}, expected {ty}"
                );
            }
            Ok(())
        };
        check().of_kind(ErrorKind::Misuse)?;
        Ok(Exception { tag: *tag, values: values.into(), label: entity.label().into() })
    }

    fn from_slots(store: &StoreOpaque, tag: NonNull<TagEntity>, slots: &[u64]) -> Exception {
        // SAFETY: tags live as long as their store.
        let entity = unsafe { tag.as_ref() };
        let mut slots = slots.iter().copied();
        let mut next = || slots.next().expect("an exception carries values of its tag's types");
        let value = |ty: &ValType| {
            let low = next();
            let high = if ty.kind().slots() > 1 { next() } else { 0 };
            // SAFETY: the slots are those of a value of this type.
            unsafe { Val::from_slots([low, high], *ty, store) }
        };
        Exception {
            tag: Tag::from_raw(store, tag),
            values: entity.ty.params().iter().map(value).collect(),
            label: entity.label().into(),
        }
    }

    /// Its tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// What it carries.
    pub fn values(&self) -> &[Val] {
        &self.values
    }

    /// The exception in the store, to be thrown; `None` if it is of another store.
    ///
    /// # Safety
    /// As for [`StoreOpaque::new_exception`].
    pub(crate) unsafe fn in_store(
        &self,
        store: &mut StoreOpaque,
    ) -> Option<NonNull<ExceptionEntity>> {
        if self.tag.store_id() != store.id() {
            return None;
        }
        let mut slots: SmallVec<[u64; 3]> = SmallVec::new();
        for value in &self.values {
            let count = value.ty().kind().slots();
            slots.extend_from_slice(&value.clone().into_slots(store)[..count]);
        }
        // SAFETY: as the caller vouches; the values were checked when this was made.
        Some(unsafe { store.new_exception(self.tag.raw(store), &slots) })
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uncaught exception: {} (", self.label)?;
        for (i, value) in self.values.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match value {
                Val::I32(value) => write!(f, "{comma}{value}")?,
                Val::I64(value) => write!(f, "{comma}{value}")?,
                Val::F32(bits) => write!(f, "{comma}{}", f32::from_bits(*bits))?,
                Val::F64(bits) => write!(f, "{comma}{}", f64::from_bits(*bits))?,
                Val::V128(bits) => write!(f, "{comma}{bits:#034x}")?,
                other => write!(f, "{comma}{}", other.ty())?,
            }
        }
        f.write_str(")")
    }
}

impl std::error::Error for Exception {}

/// What keeps an exception for the host.
pub(crate) struct HeldException {
    store: StoreId,
    address: usize,
}

/// A reference to an exception that a guest has caught: a value of type `exnref`.
///
/// As long as the host has one, the store keeps the exception.
#[derive(Clone)]
pub struct ExnRef(Arc<HeldException>);

impl ExnRef {
    /// The exception.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn exception(&self, store: impl AsContext) -> Exception {
        let store = store.as_context();
        let store = store.opaque();
        self.0.store.check(store);
        // SAFETY: the store keeps it as long as this handle.
        let entity = unsafe { &*(self.0.address as *const ExceptionEntity) };
        // SAFETY: the store is alive.
        Exception::from_slots(store, unsafe { entity.tag() }, &entity.values)
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.0.store
    }

    pub(crate) fn slot(&self) -> u64 {
        self.0.address as u64
    }

    /// The reference in a slot.
    ///
    /// # Safety
    /// The slot must hold an `exnref` of this store.
    pub(crate) unsafe fn from_slot(slot: u64, store: &StoreOpaque) -> Option<ExnRef> {
        let address = slot as usize;
        if address == 0 {
            return None;
        }
        let mut held = store.exceptions.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = held.get(&address).and_then(Weak::upgrade) {
            return Some(ExnRef(handle));
        }
        let handle = Arc::new(HeldException { store: store.id(), address });
        held.insert(address, Arc::downgrade(&handle));
        Some(ExnRef(handle))
    }
}

impl fmt::Debug for ExnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExnRef({:#x})", self.0.address)
    }
}

#[cfg(test)]
mod tests;
