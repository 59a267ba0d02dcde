//! Why a running module cannot be brought up to a new one.

use crate::types::printable::PrintableName;
use std::fmt;

/// Why a running module cannot be brought up to a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleRefusal {
    /// The new module imports something that the running one does not, and which nobody has linked.
    ImportAdded {
        /// Name of the imported module.
        module: String,
        /// Name of the import.
        name: String,
        /// Its type.
        ty: String,
        /// The type of the import of this name that the running module has.
        before: Option<String>,
    },
    /// A memory, table or tag is added.
    ItemAdded {
        /// `memory`, `table` or `tag`, and its number or name in the new module.
        item: String,
    },
    /// A memory or table begins with more than the running one can have: its limit is that which it was made
    /// with, or that of all tables or memories.
    ItemGrew {
        /// `memory` or `table`, and its number in the new module.
        item: String,
        /// Pages or elements that it can have at most.
        limit: u64,
        /// Pages or elements that the new module asks for.
        new: u64,
    },
    /// An active segment does not fit into its table or memory.
    SegmentOutside {
        /// Which segment.
        segment: String,
        /// Where it ends: elements or bytes.
        end: u64,
        /// `memory` or `table`, and its number in the new module.
        item: String,
        /// What that begins with: elements or bytes.
        size: u64,
    },
    /// A table has elements of another type.
    TableType {
        /// Number of the table in the new module.
        table: u32,
        /// Type of its elements.
        old: String,
        /// Type of its elements in the new module.
        new: String,
    },
    /// A memory has addresses or pages of another size.
    MemoryType {
        /// Number of the memory in the new module.
        memory: u32,
        /// Its type.
        old: String,
        /// Its type in the new module.
        new: String,
    },
    /// The elements of a table begin as something else, where no segment sets them.
    TableInit {
        /// Number of the table in the new module.
        table: u32,
    },
    /// A global has another type, or can be set and could not, or the other way round.
    GlobalType {
        /// Name or number of the global in the new module.
        global: String,
        /// Its type.
        old: String,
        /// Its type in the new module.
        new: String,
    },
    /// A tag carries values of other types.
    TagType {
        /// Name or number of the tag in the new module.
        tag: String,
        /// Types of what it carries.
        old: String,
        /// Types in the new module.
        new: String,
    },
    /// A tag is gone.
    TagRemoved {
        /// Name or number of the tag.
        tag: String,
    },
    /// There is another tag in the place of one.
    TagReplaced {
        /// Its number.
        index: u32,
        /// Name or number of the tag in the running program.
        old: String,
        /// Name or number of the tag in the new module.
        new: String,
    },
    /// A data segment has other contents where it was, is new or is gone.
    DataChanged {
        /// Which segment.
        segment: String,
        /// How.
        difference: String,
    },
    /// A function looks for static data elsewhere than it did. That it is other data that it looks for cannot be told
    /// from data that has moved.
    AddressMoved {
        /// A function that does; unknown if one that is no longer there used the old place.
        function: Option<String>,
        /// The address in the running program.
        old: u64,
        /// The address in the new module.
        new: u64,
    },
    /// A function looks for constants elsewhere than it did, where constants differ as well: what holds the address of
    /// one may find another there once they are written.
    ConstantsMoved {
        /// A function that does.
        function: String,
        /// The address in the running program.
        old: u64,
        /// The address in the new module.
        new: u64,
    },
    /// A function looks for fields elsewhere in what its pointers lead to.
    FieldMoved {
        /// A function that does.
        function: Option<String>,
        /// Distance from the pointer in the running program.
        old: u64,
        /// Distance in the new module.
        new: u64,
    },
    /// Elements have another size: an index is multiplied by another number, or a pointer steps by another one.
    ElementsMoved {
        /// The function that counts by it.
        function: String,
        /// Bytes from one to the next in the running program.
        old: i64,
        /// Bytes in the new module.
        new: i64,
    },
    /// A function takes what lies somewhere for a number of another kind or size.
    AccessChanged {
        /// A function that does.
        function: String,
        /// An address, or a field's distance from the pointer to it.
        at: String,
        /// What it is in the running program.
        old: String,
        /// What the new module takes it for.
        new: String,
    },
    /// A function refers to a field that no changed function referred to, where something has become larger: what the
    /// program has allocated may have no room for it.
    StructGrew {
        /// A function that does.
        function: String,
        /// Distance of the field from the pointer.
        field: u64,
        /// What has become larger.
        evidence: String,
    },
    /// A static variable lies elsewhere or holds something else, as the debug information of both modules says.
    StaticChanged {
        /// Its name in the source.
        variable: String,
        /// How.
        difference: String,
    },
    /// A type of the source is laid out otherwise, as the debug information of both modules says.
    TypeChanged {
        /// Its name.
        name: String,
        /// How.
        difference: String,
    },
    /// More of the like.
    MoreMoved {
        /// How many places.
        count: usize,
    },
    /// A data segment lies elsewhere, or may hold the address of something that does.
    DataMoved {
        /// Which segment.
        segment: String,
        /// How.
        difference: String,
    },
    /// The compiler has laid out the memory anew: a global that says so begins with another value.
    LayoutMoved {
        /// Name of the global.
        global: String,
        /// Its first value.
        old: u64,
        /// Its first value in the new module.
        new: u64,
    },
    /// An entry of a table has another function, and one of the two is found in another entry: pointers to functions that
    /// the running program holds would lead to others.
    FunctionPointersMoved {
        /// Number of the table.
        table: u32,
        /// Which entry.
        entry: u64,
        /// The function that it has in the running program.
        old: String,
        /// The function that it has in the new module.
        new: String,
    },
    /// Elements of a table whose place or value depends on imports differ.
    ImportedElements {
        /// Number of the table.
        table: u32,
    },
    /// A changed function refers to something that cannot be added to a running module.
    NotAvailable {
        /// The function.
        function: String,
        /// What it refers to.
        item: String,
    },
}

impl ModuleRefusal {
    /// Whether it is about what memory begins with, which a [`DataPolicy`](super::initial_data::DataPolicy) can override.
    pub fn is_about_data(&self) -> bool {
        matches!(self, ModuleRefusal::DataChanged { .. }) || self.is_moved_data()
    }

    /// Whether data lies elsewhere than the running program has it, or may do so. Only a new start brings a program
    /// up to such a module.
    pub fn is_moved_data(&self) -> bool {
        matches!(
            self,
            ModuleRefusal::DataMoved { .. }
                | ModuleRefusal::LayoutMoved { .. }
                | ModuleRefusal::AddressMoved { .. }
                | ModuleRefusal::ConstantsMoved { .. }
                | ModuleRefusal::FieldMoved { .. }
                | ModuleRefusal::ElementsMoved { .. }
                | ModuleRefusal::AccessChanged { .. }
                | ModuleRefusal::StructGrew { .. }
                | ModuleRefusal::FunctionPointersMoved { .. }
                | ModuleRefusal::StaticChanged { .. }
                | ModuleRefusal::TypeChanged { .. }
                | ModuleRefusal::MoreMoved { .. }
        )
    }
}

fn somebody(function: &Option<String>) -> &str {
    function.as_deref().unwrap_or("new code")
}

impl fmt::Display for ModuleRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleRefusal::ImportAdded { module, name, ty, before: None } => write!(
                f,
                "import `{}` `{}` ({ty}) is new, and a running program cannot be linked anew",
                PrintableName(module),
                PrintableName(name)
            ),
            ModuleRefusal::ImportAdded { module, name, ty, before: Some(before) } => write!(
                f,
                "import `{}` `{}` is of type {ty} instead of {before}, and a running program cannot be linked anew",
                PrintableName(module),
                PrintableName(name)
            ),
            ModuleRefusal::ItemAdded { item } => {
                write!(f, "{item} is new, and cannot be added to a running program")
            }
            ModuleRefusal::ItemGrew { item, limit, new } => write!(
                f,
                "{item} begins with a size of {new}, and the running one can have {limit} at most"
            ),
            ModuleRefusal::SegmentOutside { segment, end, item, size } => write!(
                f,
                "{segment} ends at {end:#x}, and {item} begins with a size of {size:#x}: no instance of this \
                 module could be made"
            ),
            ModuleRefusal::TableType { table, old, new } => {
                write!(f, "table {table} is of {new} instead of {old}")
            }
            ModuleRefusal::MemoryType { memory, old, new } => {
                write!(f, "memory {memory} is of type `{new}` instead of `{old}`")
            }
            ModuleRefusal::TableInit { table } => {
                write!(f, "the elements of table {table} begin as something else")
            }
            ModuleRefusal::GlobalType { global, old, new } => {
                write!(f, "{global} is of type {new} instead of {old}")
            }
            ModuleRefusal::TagType { tag, old, new } => {
                write!(f, "{tag} carries {new} instead of {old}")
            }
            ModuleRefusal::TagRemoved { tag } => {
                write!(f, "{tag} is gone, and exceptions of a running program may have it")
            }
            ModuleRefusal::TagReplaced { index, old, new } => {
                write!(f, "tag number {index} is {new} instead of {old}")
            }
            ModuleRefusal::DataMoved { segment, difference }
            | ModuleRefusal::DataChanged { segment, difference } => {
                write!(f, "{segment} {difference}")
            }
            ModuleRefusal::AddressMoved { function, old, new } => {
                write!(f, "static data may have moved: {} ", somebody(function))?;
                write!(
                    f,
                    "refers to address {new:#x}, where the running program refers to {old:#x}"
                )
            }
            ModuleRefusal::ConstantsMoved { function, old, new } => {
                write!(
                    f,
                    "constants may have moved: {function} refers to one at {new:#x}, where the "
                )?;
                write!(f, "running program refers to {old:#x}")
            }
            ModuleRefusal::FieldMoved { function, old, new } => {
                write!(f, "a field may have moved: {} looks for it ", somebody(function))?;
                write!(f, "{new} bytes behind a pointer instead of {old}")
            }
            ModuleRefusal::ElementsMoved { function, old, new } => write!(
                f,
                "elements may have another size: {function} finds the next one {new} bytes further on instead \
                 of {old}"
            ),
            ModuleRefusal::AccessChanged { function, at, old, new } => {
                write!(f, "a variable may have another type: {function} takes what is {at} for ")?;
                write!(f, "{new} instead of {old}")
            }
            ModuleRefusal::StructGrew { function, field, evidence } => write!(
                f,
                "a struct may have grown: {function} refers to a new field, {field} bytes behind a pointer, \
                 and {evidence}"
            ),
            ModuleRefusal::StaticChanged { variable, difference } => {
                write!(f, "static variable `{}` {difference}", PrintableName(variable))
            }
            ModuleRefusal::TypeChanged { name, difference } => {
                write!(f, "type `{}` is laid out otherwise: {difference}", PrintableName(name))
            }
            ModuleRefusal::MoreMoved { count: 1 } => f.write_str("1 more place may have moved"),
            ModuleRefusal::MoreMoved { count } => write!(f, "{count} more places may have moved"),
            ModuleRefusal::LayoutMoved { global, old, new } => write!(
                f,
                "the memory's layout moved: `{}` begins with {new:#x} instead of {old:#x}",
                PrintableName(global)
            ),
            ModuleRefusal::FunctionPointersMoved { table, entry, old, new } => write!(
                f,
                "pointers to functions have moved: entry {entry} of table {table} is {new}, and the running program \
                 has {old} there"
            ),
            ModuleRefusal::ImportedElements { table } => {
                write!(f, "elements of table {table} that depend on imports differ")
            }
            ModuleRefusal::NotAvailable { function, item } => write!(
                f,
                "{function} refers to {item}, which is new or changed and cannot be added to a running \
                 program"
            ),
        }
    }
}

/// A running module cannot be brought up to a new one, for these reasons. The running one is untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleRefused {
    /// All reasons that were found; at least one.
    pub reasons: Vec<ModuleRefusal>,
}

impl fmt::Display for ModuleRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the running module cannot be brought up to the new one")?;
        for (i, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if i == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ModuleRefused {}
