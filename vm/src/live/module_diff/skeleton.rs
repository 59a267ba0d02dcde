//! Bodies without the indices in them: what is left is the same however a toolchain numbers things.

use super::renumber::{Unmapped, reencode_body, reencode_expression};
use crate::module::provenance::IndexMaps;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use wasm_encoder::reencode::{Error, Reencode};

/// Something that code refers to by an index that a toolchain may choose anew at each build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reference {
    Function(u32),
    Global(u32),
    Data(u32),
    Elements(u32),
}

/// A body or a constant expression, without the indices in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skeleton {
    /// Of the code with a zero in the place of each reference, and of which references are the same.
    /// 128 bits: two bodies that differ are never taken for equal, for all that chance can do.
    pub(super) hash: u128,
    /// The references, in the order of the code.
    pub(super) references: Box<[Reference]>,
}

/// Puts zeros in the place of references and collects these. Types, tables and memories are few, and known
/// before functions are matched: they are mapped at once.
struct Collector<'a> {
    maps: &'a IndexMaps,
    spaces: Spaces,
    references: Vec<Reference>,
}

/// Sizes of the index spaces that code refers to. Bodies of the running module may not have been validated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spaces {
    pub(super) functions: usize,
    pub(super) globals: usize,
    pub(super) data: usize,
    pub(super) elements: usize,
}

impl Collector<'_> {
    fn take(
        &mut self,
        index: u32,
        size: usize,
        reference: Reference,
        what: &'static str,
    ) -> Result<u32, Error<Unmapped>> {
        if index as usize >= size {
            return Err(Error::UserError(Unmapped { what, index }));
        }
        self.references.push(reference);
        Ok(0)
    }
}

fn mapped(map: &[u32], index: u32, what: &'static str) -> Result<u32, Error<Unmapped>> {
    map.get(index as usize).copied().ok_or(Error::UserError(Unmapped { what, index }))
}

impl Reencode for Collector<'_> {
    type Error = Unmapped;

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        mapped(&self.maps.types, index, "type")
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        mapped(&self.maps.tables, index, "table")
    }

    fn memory_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        mapped(&self.maps.memories, index, "memory")
    }

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        self.take(index, self.spaces.functions, Reference::Function(index), "function")
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        self.take(index, self.spaces.globals, Reference::Global(index), "global")
    }

    fn data_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        self.take(index, self.spaces.data, Reference::Data(index), "data segment")
    }

    fn element_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        self.take(index, self.spaces.elements, Reference::Elements(index), "element segment")
    }
}

fn hash128(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        bytes.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

impl Skeleton {
    /// Of a body. `maps` leads to the running module's types, tables and memories.
    pub(super) fn of_body(
        maps: &IndexMaps,
        spaces: Spaces,
        body: &[u8],
    ) -> Result<Skeleton, Error<Unmapped>> {
        Skeleton::collect(maps, spaces, |collector| reencode_body(collector, body))
    }

    /// Of a constant expression with its end.
    pub(super) fn of_expression(
        maps: &IndexMaps,
        spaces: Spaces,
        expression: &[u8],
    ) -> Result<Skeleton, Error<Unmapped>> {
        Skeleton::collect(maps, spaces, |collector| reencode_expression(collector, expression))
    }

    fn collect<'a>(
        maps: &'a IndexMaps,
        spaces: Spaces,
        encode: impl FnOnce(&mut Collector<'a>) -> Result<Vec<u8>, Error<Unmapped>>,
    ) -> Result<Skeleton, Error<Unmapped>> {
        let mut collector = Collector { maps, spaces, references: Vec::new() };
        let mut bytes = encode(&mut collector)?;
        let mut first = HashMap::new();
        for reference in &collector.references {
            if matches!(reference, Reference::Function(_) | Reference::Global(_)) {
                let next = first.len() as u32;
                let number = *first.entry(*reference).or_insert(next);
                bytes.extend(number.to_le_bytes());
            }
        }
        let hash = hash128(&bytes);
        Ok(Skeleton { hash, references: collector.references.into() })
    }

    /// Whether `other`, with its references mapped, is this one.
    pub(super) fn is(&self, other: &Skeleton, maps: &IndexMaps) -> bool {
        let map = |reference: &Reference| match *reference {
            Reference::Function(i) => Reference::Function(maps.functions[i as usize]),
            Reference::Global(i) => Reference::Global(maps.globals[i as usize]),
            Reference::Data(i) => Reference::Data(maps.data[i as usize]),
            Reference::Elements(i) => Reference::Elements(maps.elements[i as usize]),
        };
        self.hash == other.hash
            && self.references.iter().copied().eq(other.references.iter().map(map))
    }
}
