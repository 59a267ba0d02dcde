//! Names for people, from the name section.

use std::collections::HashMap;
use wasmparser::{BinaryReader, Name, NameSectionReader};

/// Names of a module and its functions. A malformed section yields the names before the fault.
#[derive(Default)]
pub(super) struct Names {
    module: Option<Box<str>>,
    functions: HashMap<u32, Box<str>>,
}

impl Names {
    /// Parses the contents of a name section.
    pub(super) fn parse(section: &[u8]) -> Names {
        let mut names = Names::default();
        for subsection in NameSectionReader::new(BinaryReader::new(section, 0)) {
            match subsection {
                Ok(Name::Module { name, .. }) => names.module = Some(name.into()),
                Ok(Name::Function(map)) => {
                    for naming in map {
                        let Ok(naming) = naming else { break };
                        names.functions.insert(naming.index, naming.name.into());
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
}
