//! Types of what modules import and export.
//!
//! ```text
//!   error        kinds of errors
//!   printable    names out of a module, as they can be printed
//!   signatures   identities of types in an engine
//!   slots        slots of values, of which vectors have two
//!   trap         why guest code cannot go on
//! ```

pub(crate) mod error;
pub(crate) mod printable;
pub(crate) mod signatures;
pub(crate) mod slots;
pub(crate) mod trap;

use midair_tiers::module_env::{GlobalType, MemoryType, TableType};
use midair_tiers::types::{FuncType, ValType};
use std::fmt;

/// A tag's type: what its exceptions carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagType {
    /// Without results.
    ty: FuncType,
}

impl TagType {
    /// The type of tags whose exceptions carry values of these types.
    pub fn new(params: impl IntoIterator<Item = ValType>) -> TagType {
        TagType { ty: FuncType::new(params, []) }
    }

    /// Types of what exceptions carry.
    pub fn params(&self) -> &[ValType] {
        &self.ty.params
    }

    /// The function type that the binary format has in its place.
    pub(crate) fn as_func(&self) -> &FuncType {
        &self.ty
    }
}

impl fmt::Display for TagType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tag (")?;
        for (i, ty) in self.params().iter().enumerate() {
            write!(f, "{}{ty}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

/// Type of something that is imported or exported.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A global.
    Global(GlobalType),
    /// A table.
    Table(TableType),
    /// A linear memory.
    Memory(MemoryType),
    /// A tag.
    Tag(TagType),
}

impl ExternType {
    /// The function's type, if it is one.
    pub fn func(&self) -> Option<&FuncType> {
        match self {
            ExternType::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The global's type, if it is one.
    pub fn global(&self) -> Option<&GlobalType> {
        match self {
            ExternType::Global(ty) => Some(ty),
            _ => None,
        }
    }

    /// The table's type, if it is one.
    pub fn table(&self) -> Option<&TableType> {
        match self {
            ExternType::Table(ty) => Some(ty),
            _ => None,
        }
    }

    /// The memory's type, if it is one.
    pub fn memory(&self) -> Option<&MemoryType> {
        match self {
            ExternType::Memory(ty) => Some(ty),
            _ => None,
        }
    }

    /// The tag's type, if it is one.
    pub fn tag(&self) -> Option<&TagType> {
        match self {
            ExternType::Tag(ty) => Some(ty),
            _ => None,
        }
    }
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExternType::Func(ty) => write!(f, "func {ty}"),
            ExternType::Global(ty) if ty.mutable => write!(f, "global (mut {})", ty.content),
            ExternType::Global(ty) => write!(f, "global {}", ty.content),
            ExternType::Table(ty) => {
                write!(f, "table {}{}", if ty.is_64 { "i64 " } else { "" }, ty.minimum)?;
                if let Some(maximum) = ty.maximum {
                    write!(f, " {maximum}")?;
                }
                write!(f, " {}", ty.element)
            }
            ExternType::Memory(ty) => {
                write!(f, "memory {}{}", if ty.is_64 { "i64 " } else { "" }, ty.minimum)?;
                if let Some(maximum) = ty.maximum {
                    write!(f, " {maximum}")?;
                }
                if ty.shared {
                    f.write_str(" shared")?;
                }
                if ty.page_size_log2 != MemoryType::PAGE_SIZE_LOG2 {
                    write!(f, " (pagesize {})", ty.page_size())?;
                }
                Ok(())
            }
            ExternType::Tag(ty) => write!(f, "{ty}"),
        }
    }
}

impl From<FuncType> for ExternType {
    fn from(ty: FuncType) -> ExternType {
        ExternType::Func(ty)
    }
}

impl From<GlobalType> for ExternType {
    fn from(ty: GlobalType) -> ExternType {
        ExternType::Global(ty)
    }
}

impl From<TableType> for ExternType {
    fn from(ty: TableType) -> ExternType {
        ExternType::Table(ty)
    }
}

impl From<MemoryType> for ExternType {
    fn from(ty: MemoryType) -> ExternType {
        ExternType::Memory(ty)
    }
}

impl From<TagType> for ExternType {
    fn from(ty: TagType) -> ExternType {
        ExternType::Tag(ty)
    }
}

/// An import that a module asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportType<'module> {
    module: &'module str,
    name: &'module str,
    ty: ExternType,
}

impl<'module> ImportType<'module> {
    pub(crate) fn new(module: &'module str, name: &'module str, ty: ExternType) -> Self {
        ImportType { module, name, ty }
    }

    /// Name of the module that it is imported from.
    pub fn module(&self) -> &'module str {
        self.module
    }

    /// Name within that module.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// Type that it must have.
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

/// An export of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportType<'module> {
    name: &'module str,
    ty: ExternType,
}

impl<'module> ExportType<'module> {
    pub(crate) fn new(name: &'module str, ty: ExternType) -> Self {
        ExportType { name, ty }
    }

    /// Name of the export.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// Its type.
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}
