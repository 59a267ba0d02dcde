//! The functions of a module: where their bodies lie, and modules with other bodies.

use super::body_edits::Body;
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::ops::Range;
use wasm_encoder::{CodeSection, Encode, Function, Module, RawSection, SectionId};
use wasmparser::{Parser, Payload};

/// The functions that a module defines.
#[derive(Debug)]
pub struct Functions {
    imported: u32,
    /// Number of parameters of each defined function, and range of its body in the module.
    defined: Vec<(u32, Range<usize>)>,
    /// Type without parameters and results.
    nothing: Option<u32>,
}

impl Functions {
    /// Finds the functions of a binary module.
    pub fn new(wasm: &[u8]) -> Result<Functions> {
        let (mut imported, mut parameters, mut types) = (0, Vec::new(), Vec::new());
        let mut nothing = None;
        let mut defined = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        if ty.params().is_empty() && ty.results().is_empty() {
                            nothing = Some(types.len() as u32);
                        }
                        types.push(ty.params().len() as u32);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        if matches!(import?.ty, wasmparser::TypeRef::Func(_)) {
                            imported += 1;
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        let count = types.get(ty? as usize).context("a function without a type")?;
                        parameters.push(*count);
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let count =
                        parameters.get(defined.len()).context("a body without a function")?;
                    let range = body.range();
                    defined.push((*count, range.start as usize..range.end as usize));
                }
                _ => {}
            }
        }
        Ok(Functions { imported, defined, nothing })
    }

    /// Indices of the defined functions.
    pub fn defined(&self) -> Range<u32> {
        self.imported..self.imported + self.defined.len() as u32
    }

    /// Index of the type without parameters and results, if there is one.
    pub fn type_of_nothing(&self) -> Option<u32> {
        self.nothing
    }

    /// Length of a defined function's body.
    pub fn body_len(&self, function: u32) -> usize {
        self.defined[(function - self.imported) as usize].1.len()
    }

    /// The bytes of a defined function's body.
    pub fn bytes<'a>(&self, wasm: &'a [u8], function: u32) -> &'a [u8] {
        &wasm[self.defined[(function - self.imported) as usize].1.clone()]
    }

    /// The body of a defined function of the module that this was made from.
    pub fn body(&self, wasm: &[u8], function: u32) -> Result<Body> {
        let (parameters, range) = &self.defined[(function - self.imported) as usize];
        Body::new(&wasm[range.clone()], *parameters)
    }
}

/// The module with the bodies that `bodies` gives for the functions that it defines, and, if `added` says
/// so, with another function of this type and body.
pub fn rewrite(
    wasm: &[u8],
    added: Option<(u32, &Function)>,
    bodies: impl Fn(u32) -> Vec<u8>,
) -> Result<Vec<u8>> {
    let functions = Functions::new(wasm)?;
    let mut module = Module::new();
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::CodeSectionStart { .. } => {
                for function in functions.defined() {
                    code.raw(&bodies(function));
                }
                if let Some((_, body)) = added {
                    code.function(body);
                }
                module.section(&code);
            }
            Payload::FunctionSection(section) if added.is_some() => {
                let mut list = Vec::new();
                for ty in section.clone() {
                    list.push(ty?);
                }
                list.extend(added.map(|(ty, _)| ty));
                let mut data = Vec::new();
                list.as_slice().encode(&mut data);
                let data = Cow::from(data);
                module.section(&RawSection { id: SectionId::Function as u8, data: &data });
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &wasm[range.start as usize..range.end as usize];
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(module.finish())
}
