//! Tags, which exceptions are told apart by.

use super::opaque::{StoreId, StoreOpaque};
use super::{AsContext, AsContextMut};
use crate::module::ModuleState;
use crate::types::TagType;
use crate::types::printable::function_name;
use crate::types::signatures::Signature;
use anyhow::Result;
use midair_tiers::{TagDef, TypeId};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

/// A tag as its store keeps it.
#[repr(C)]
pub(crate) struct TagEntity {
    /// What exceptions and handlers refer to.
    pub(crate) def: TagDef,
    pub(crate) ty: TagType,
    /// What keeps the number in `def` meaning what it does.
    _signature: Arc<Signature>,
    /// The module that defines it, and its index there.
    defined_by: Option<(Weak<ModuleState>, u32)>,
}

impl TagEntity {
    /// What a person is told of the tag.
    pub(crate) fn label(&self) -> String {
        let Some((module, index)) = &self.defined_by else { return "a tag of the host".to_owned() };
        let module = module.upgrade();
        match module.as_ref().and_then(|module| module.tag_name(*index)) {
            Some(name) => format!("tag {}", function_name(name)),
            None => format!("tag {index}"),
        }
    }
}

/// A handle to a tag. Two handles are equal if they are to the same one.
///
/// ```
/// use midair::{Engine, Store, Tag, TagType, ValType};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let tag = Tag::new(&mut store, TagType::new([ValType::I32]))?;
/// assert_eq!(tag.ty(&store).params(), [ValType::I32]);
/// assert_ne!(tag, Tag::new(&mut store, TagType::new([ValType::I32]))?);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    store: StoreId,
    entity: NonNull<TagEntity>,
}

// SAFETY: the pointer is only followed after the handle has been checked against a store that is
// borrowed, which is what makes the access sound on any thread.
unsafe impl Send for Tag {}
// SAFETY: as for `Send`.
unsafe impl Sync for Tag {}

impl Tag {
    /// A new tag. Fails if its type names a type that the engine does not know.
    pub fn new(mut store: impl AsContextMut, ty: TagType) -> Result<Tag> {
        let mut store = store.as_context_mut();
        let store = store.opaque_mut();
        let signature = store.engine().intern(ty.as_func())?;
        let entity = store.new_tag(ty, signature, None);
        Ok(Tag::from_raw(store, entity))
    }

    /// The handle of a tag of `store`.
    pub(crate) fn from_raw(store: &StoreOpaque, entity: NonNull<TagEntity>) -> Tag {
        Tag { store: store.id(), entity }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store
    }

    /// # Panics
    /// If the tag belongs to another store.
    #[track_caller]
    pub(crate) fn raw(&self, store: &StoreOpaque) -> NonNull<TagEntity> {
        self.store.check(store);
        self.entity
    }

    /// Its type, among all types of the engine.
    pub(crate) fn type_id(&self, store: &StoreOpaque) -> TypeId {
        // SAFETY: the tag belongs to this store, which is borrowed.
        TypeId::from_number(unsafe { self.raw(store).as_ref() }.def.signature)
    }

    pub(crate) fn ty_in(&self, store: &StoreOpaque) -> TagType {
        // SAFETY: the tag belongs to this store, which is borrowed.
        unsafe { self.raw(store).as_ref() }.ty.clone()
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TagType {
        self.ty_in(store.as_context().opaque())
    }
}

impl StoreOpaque {
    /// Makes a tag, which a module may define under an index.
    pub(crate) fn new_tag(
        &mut self,
        ty: TagType,
        signature: Arc<Signature>,
        defined_by: Option<(Weak<ModuleState>, u32)>,
    ) -> NonNull<TagEntity> {
        let def = TagDef { signature: signature.number };
        self.tags.alloc(TagEntity { def, ty, _signature: signature, defined_by })
    }
}
