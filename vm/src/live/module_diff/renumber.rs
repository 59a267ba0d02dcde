//! Code written anew in the index spaces of another module.
//!
//! Everything is encoded afresh, indices in their shortest form and neighbouring locals of one type grouped,
//! so that bodies from different toolchains compare equal if they do the same.

use crate::module::provenance::{IndexMaps, UNMAPPED};
use std::fmt;
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{Encode, Function};
use wasmparser::{BinaryReader, FunctionBody, OperatorsReader};

/// An index that has no counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unmapped {
    /// What it is an index of.
    pub(crate) what: &'static str,
    pub(crate) index: u32,
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.index)
    }
}

fn lookup(map: &[u32], index: u32, what: &'static str) -> Result<u32, Error<Unmapped>> {
    match map.get(index as usize) {
        Some(&to) if to != UNMAPPED => Ok(to),
        _ => Err(Error::UserError(Unmapped { what, index })),
    }
}

/// Applies [`IndexMaps`].
struct Renumber<'a>(&'a IndexMaps);

impl Reencode for Renumber<'_> {
    type Error = Unmapped;

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.types, index, "type")
    }

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.functions, index, "function")
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.tables, index, "table")
    }

    fn memory_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.memories, index, "memory")
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.globals, index, "global")
    }

    fn data_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.data, index, "data segment")
    }

    fn element_index(&mut self, index: u32) -> Result<u32, Error<Unmapped>> {
        lookup(&self.0.elements, index, "element segment")
    }
}

/// Encodes a body anew: local declarations, operators, end.
pub(super) fn reencode_body<R: Reencode>(
    reencoder: &mut R,
    body: &[u8],
) -> Result<Vec<u8>, Error<R::Error>> {
    let body = FunctionBody::new(BinaryReader::new(body, 0));
    let mut locals: Vec<(u32, wasm_encoder::ValType)> = Vec::new();
    for group in body.get_locals_reader()? {
        let (count, ty) = group?;
        let ty = reencoder.val_type(ty)?;
        match locals.last_mut() {
            _ if count == 0 => {}
            Some((before, last)) if *last == ty && before.checked_add(count).is_some() => {
                *before += count;
            }
            _ => locals.push((count, ty)),
        }
    }
    let mut function = Function::new(locals);
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        function.instruction(&reencoder.parse_instruction(&mut operators)?);
    }
    Ok(function.into_raw_body())
}

/// Encodes a constant expression, given with its end, anew.
pub(super) fn reencode_expression<R: Reencode>(
    reencoder: &mut R,
    expression: &[u8],
) -> Result<Vec<u8>, Error<R::Error>> {
    let mut operators = OperatorsReader::new(BinaryReader::new(expression, 0));
    let mut bytes = Vec::new();
    while !operators.eof() {
        reencoder.parse_instruction(&mut operators)?.encode(&mut bytes);
    }
    Ok(bytes)
}

/// A body in the index spaces that `maps` leads to.
pub(crate) fn renumber_body(maps: &IndexMaps, body: &[u8]) -> Result<Vec<u8>, Error<Unmapped>> {
    reencode_body(&mut Renumber(maps), body)
}

/// A constant expression, given with its end, in the index spaces that `maps` leads to.
pub(crate) fn renumber_expression(
    maps: &IndexMaps,
    expression: &[u8],
) -> Result<Vec<u8>, Error<Unmapped>> {
    reencode_expression(&mut Renumber(maps), expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> IndexMaps {
        IndexMaps { functions: vec![2, UNMAPPED, 0], ..IndexMaps::default() }
    }

    #[test]
    fn indices_are_mapped_and_shortened() {
        // (local i32) (local i32), call 2 in five bytes, end
        let body = [2, 1, 0x7f, 1, 0x7f, 0x10, 0x82, 0x80, 0x80, 0x80, 0x00, 0x0b];
        assert_eq!(renumber_body(&maps(), &body).unwrap(), [1, 2, 0x7f, 0x10, 0, 0x0b]);
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for index in [1, 7] {
            match renumber_body(&maps(), &[0, 0x10, index, 0x0b]) {
                Err(Error::UserError(unmapped)) => {
                    assert_eq!(unmapped.to_string(), format!("function {index}"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn expressions_keep_their_end() {
        assert_eq!(renumber_expression(&maps(), &[0xd2, 0, 0x0b]).unwrap(), [0xd2, 2, 0x0b]);
    }
}
