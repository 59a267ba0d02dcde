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
use midair_tiers::types::FuncType;
use std::fmt;

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
                if ty.page_size_log2 != MemoryType::PAGE_SIZE_LOG2 {
                    write!(f, " (pagesize {})", ty.page_size())?;
                }
                Ok(())
            }
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
