//! Types as the validator of a body tells them.

use midair_tiers::{ModuleEnv, TypeId, ValType};
use std::collections::HashMap;
use wasmparser::types::CoreTypeId;
use wasmparser::{FuncValidator, UnpackedIndex, ValidatorResources, WasmModuleResources};

/// Translates the types of one body. The validator names defined types by numbers of its own.
#[derive(Default)]
pub(crate) struct BodyTypes {
    known: HashMap<CoreTypeId, TypeId>,
}

impl BodyTypes {
    /// The type; `None` for types of proposals that are not built yet.
    pub(crate) fn val_type(
        &mut self,
        env: &ModuleEnv,
        validator: &FuncValidator<ValidatorResources>,
        ty: wasmparser::ValType,
    ) -> Option<ValType> {
        ValType::from_wasm(ty, |index| match index {
            UnpackedIndex::Id(id) => self.type_id(env, validator.resources(), id),
            _ => env.type_id(index),
        })
    }

    fn type_id(
        &mut self,
        env: &ModuleEnv,
        resources: &ValidatorResources,
        id: CoreTypeId,
    ) -> Option<TypeId> {
        if let Some(known) = self.known.get(&id) {
            return Some(*known);
        }
        // The validator keeps equal types once: so an index has this number if it leads to the same place.
        let wanted = resources.sub_type_at_id(id);
        let mut indices = 0..env.type_ids.len() as u32;
        let index = indices.find(|index| {
            resources.sub_type_at(*index).is_some_and(|ty| std::ptr::eq(ty, wanted))
        })?;
        let found = env.type_ids[index as usize];
        self.known.insert(id, found);
        Some(found)
    }
}
