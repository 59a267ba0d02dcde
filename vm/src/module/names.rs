//! Names for people, from the name section.

use std::collections::HashMap;
use wasmparser::{BinaryReader, Name, NameMap, NameSectionReader};

/// Names of a module, and of what is in it. A malformed section yields the names before the fault.
#[derive(Default)]
pub(super) struct Names {
    module: Option<Box<str>>,
    functions: HashMap<u32, Box<str>>,
    tables: HashMap<u32, Box<str>>,
    memories: HashMap<u32, Box<str>>,
    globals: HashMap<u32, Box<str>>,
    data: HashMap<u32, Box<str>>,
    tags: HashMap<u32, Box<str>>,
    /// By function.
    locals: HashMap<u32, HashMap<u32, Box<str>>>,
}

impl Names {
    /// Parses the contents of a name section.
    pub(super) fn parse(section: &[u8]) -> Names {
        let mut names = Names::default();
        for subsection in NameSectionReader::new(BinaryReader::new(section, 0)) {
            match subsection {
                Ok(Name::Module { name, .. }) => names.module = Some(name.into()),
                Ok(Name::Function(map)) => insert(&mut names.functions, map),
                Ok(Name::Table(map)) => insert(&mut names.tables, map),
                Ok(Name::Memory(map)) => insert(&mut names.memories, map),
                Ok(Name::Global(map)) => insert(&mut names.globals, map),
                Ok(Name::Data(map)) => insert(&mut names.data, map),
                Ok(Name::Tag(map)) => insert(&mut names.tags, map),
                Ok(Name::Local(functions)) => {
                    for function in functions {
                        let Ok(function) = function else { break };
                        insert(names.locals.entry(function.index).or_default(), function.names);
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        names
    }

    pub(super) fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    pub(super) fn function(&self, index: u32) -> Option<&str> {
        self.functions.get(&index).map(|name| &**name)
    }

    pub(super) fn local(&self, function: u32, local: u32) -> Option<&str> {
        self.locals.get(&function)?.get(&local).map(|name| &**name)
    }

    pub(super) fn table(&self, index: u32) -> Option<&str> {
        self.tables.get(&index).map(|name| &**name)
    }

    pub(super) fn memory(&self, index: u32) -> Option<&str> {
        self.memories.get(&index).map(|name| &**name)
    }

    pub(super) fn global(&self, index: u32) -> Option<&str> {
        self.globals.get(&index).map(|name| &**name)
    }

    pub(super) fn tag(&self, index: u32) -> Option<&str> {
        self.tags.get(&index).map(|name| &**name)
    }

    pub(super) fn data(&self, index: u32) -> Option<&str> {
        self.data.get(&index).map(|name| &**name)
    }
}

fn insert(names: &mut HashMap<u32, Box<str>>, map: NameMap<'_>) {
    for naming in map {
        let Ok(naming) = naming else { break };
        names.insert(naming.index, naming.name.into());
    }
}
