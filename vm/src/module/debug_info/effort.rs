//! How much may be read of what a module says of its source.
//!
//! Entries refer to each other, so that a few of them can describe what is very large: a struct of two structs, each of
//! which is of two more, or a long name that all share. What is made of debug information is counted, and has to be in
//! proportion to its size.

use super::Bytes;
use gimli::{Reader as _, UnitRef};
use std::cell::Cell;

/// Entries and bytes of text that each byte of debug information may come to, those that any module may have, and the
/// most that one may.
const EACH: usize = 64;
const ANY: usize = 1 << 20;
const MOST: usize = 256 << 20;

/// Why something is not read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Malformed,
    /// It is out of proportion.
    TooMuch,
}

impl From<gimli::Error> for Unreadable {
    fn from(_: gimli::Error) -> Unreadable {
        Unreadable::Malformed
    }
}

pub(super) type Result<T> = std::result::Result<T, Unreadable>;

/// Entries and bytes of text that may still be looked at and made.
pub(super) struct Effort(Cell<usize>);

impl Effort {
    /// For so many bytes of debug information.
    pub(super) fn new(bytes: usize) -> Effort {
        Effort(Cell::new(bytes.saturating_mul(EACH).saturating_add(ANY).min(MOST)))
    }

    pub(super) fn take(&self, count: usize) -> Result<()> {
        let left = self.0.get().checked_sub(count);
        self.0.set(left.unwrap_or(0));
        left.map(drop).ok_or(Unreadable::TooMuch)
    }
}

/// A unit, and what may still be read of it and others.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) unit: UnitRef<'a, Bytes>,
    pub(super) effort: &'a Effort,
}

impl<'a> std::ops::Deref for Reading<'a> {
    type Target = UnitRef<'a, Bytes>;

    fn deref(&self) -> &UnitRef<'a, Bytes> {
        &self.unit
    }
}

impl Reading<'_> {
    /// A string that an attribute refers to.
    pub(super) fn text(&self, value: gimli::AttributeValue<Bytes>) -> Result<String> {
        let text = self.unit.attr_string(value)?;
        self.effort.take(text.len())?;
        Ok(text.to_string_lossy()?.into_owned())
    }
}
