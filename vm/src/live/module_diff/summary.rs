//! What bringing a running module up to a new one changes, for people.

use crate::types::printable::function_name;
use std::fmt;

/// A function, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionLabel {
    /// Index in the running module.
    pub index: u32,
    /// From the name section, else an export's.
    pub name: Option<String>,
}

impl fmt::Display for FunctionLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(&function_name(name)),
            None => write!(f, "function {}", self.index),
        }
    }
}

/// What bringing a running module up to a new one changes.
///
/// Its [`Display`](fmt::Display) form is one line; [`notes`](ModuleSummary::notes) are what a user may not
/// expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleSummary {
    /// Functions that get a new body.
    pub changed: Vec<FunctionLabel>,
    /// Functions that are added.
    pub added: Vec<FunctionLabel>,
    /// Functions that are added in the place of one of the same name and another type.
    pub retyped: Vec<FunctionLabel>,
    /// Functions that the new module does not have. They stay, for frames and references may need them.
    pub vanished: Vec<FunctionLabel>,
    /// How many functions are the same.
    pub unchanged: usize,
    /// How many types are added.
    pub types: usize,
    /// How many globals are added.
    pub globals: usize,
    /// How many globals that cannot be set have another value: for new bodies, not for old ones.
    pub constants: usize,
    /// How many tables become larger, unless they have grown already.
    pub tables_grown: usize,
    /// How many memories become larger, unless they have grown already.
    pub memories_grown: usize,
    /// How many table entries are set.
    pub table_entries: usize,
    /// How many exports are added or point elsewhere.
    pub exports: usize,
    /// How many bytes of memory are written because data segments differ.
    pub data_bytes: usize,
    /// What of the new module is not applied, in sentences.
    pub notes: Vec<String>,
}

impl ModuleSummary {
    /// Whether nothing is changed or added.
    pub fn is_empty(&self) -> bool {
        let counts = [
            self.types,
            self.globals,
            self.constants,
            self.tables_grown,
            self.memories_grown,
            self.table_entries,
            self.exports,
            self.data_bytes,
        ];
        self.changed.is_empty()
            && self.added.is_empty()
            && self.retyped.is_empty()
            && self.vanished.is_empty()
            && counts.iter().all(|count| *count == 0)
    }
}

/// Names that are spelt out in one line.
const NAMED: usize = 4;

impl fmt::Display for ModuleSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut functions = |labels: &[FunctionLabel], what: &str| {
            if labels.is_empty() {
                return;
            }
            let mut names: Vec<String> =
                labels.iter().take(NAMED).map(ToString::to_string).collect();
            if labels.len() > NAMED {
                names.push("…".to_owned());
            }
            let plural = if labels.len() == 1 { "" } else { "s" };
            parts.push(format!("{} function{plural} {what} ({})", labels.len(), names.join(", ")));
        };
        functions(&self.changed, "changed");
        functions(&self.added, "added");
        functions(&self.retyped, "of another type");
        functions(&self.vanished, "no longer used");
        let mut count = |count: usize, one: &str, many: &str| {
            if count > 0 {
                parts.push(format!("{count} {}", if count == 1 { one } else { many }));
            }
        };
        count(self.types, "type added", "types added");
        count(self.globals, "global added", "globals added");
        count(self.constants, "constant changed", "constants changed");
        count(self.tables_grown, "table made larger", "tables made larger");
        count(self.memories_grown, "memory made larger", "memories made larger");
        count(self.table_entries, "table entry set", "table entries set");
        count(self.exports, "export changed", "exports changed");
        count(self.data_bytes, "byte of data written", "bytes of data written");
        if parts.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_line() {
        let labels = |count: u32| -> Vec<_> {
            (0..count)
                .map(|index| FunctionLabel {
                    index,
                    name: (index != 1).then(|| format!("f{index}")),
                })
                .collect()
        };
        let mut summary = ModuleSummary::default();
        assert_eq!(summary.to_string(), "nothing changed");
        summary.changed = labels(6);
        summary.added = labels(1);
        summary.globals = 2;
        assert_eq!(
            summary.to_string(),
            "6 functions changed (f0, function 1, f2, f3, …), 1 function added (f0), 2 globals added"
        );
    }
}
