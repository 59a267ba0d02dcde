//! Where the oracle's frames go on, as the maps of all updates say together.

use super::oracle::{Code, Counts, MOST_STEPS, Op, Oracle};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::HashMap;

/// The places that a frame is taken over to, one after the other: version and offset.
type Path = Vec<(usize, u32)>;

/// Where frames of each version go on that has been replaced, by offset.
#[derive(Default)]
pub(super) struct Maps(Vec<HashMap<u32, Path>>);

impl Maps {
    /// The version that is not replaced.
    pub(super) fn newest(&self) -> usize {
        self.0.len()
    }

    /// The last version was replaced by the next one of `codes`, with this map.
    pub(super) fn update(&mut self, codes: &[Code], mapped: &[(u32, u32)]) {
        let (old, new) = (self.newest(), self.newest() + 1);
        let next: HashMap<u32, u32> = mapped.iter().copied().collect();
        for (version, map) in self.0.iter_mut().enumerate() {
            if codes[version].body == codes[new].body {
                // An equal body is the same function again.
                let offsets = codes[version].offsets.iter();
                *map = offsets.map(|&offset| (offset, vec![(new, offset)])).collect();
                continue;
            }
            for path in map.values_mut() {
                let &(version, offset) = path.last().expect("no path is empty");
                let to = match codes[version].body == codes[new].body {
                    // It comes back.
                    _ if version == old => next.get(&offset).copied(),
                    true => Some(offset),
                    false => None,
                };
                path.extend(to.map(|to| (new, to)));
            }
        }
        self.0.push(next.into_iter().map(|(offset, to)| (offset, vec![(new, to)])).collect());
    }

    /// Where a frame at this offset goes on, if not where it is.
    pub(super) fn target(&self, version: usize, offset: u32) -> Option<(usize, u32)> {
        self.0.get(version)?.get(&offset)?.last().copied()
    }
}

/// A frame of the oracle that goes from body to body.
pub(super) struct Moving<'a> {
    pub(super) codes: &'a [Code],
    pub(super) maps: &'a Maps,
    pub(super) frame: Oracle,
    pub(super) version: usize,
}

impl Moving<'_> {
    /// Takes the frame over if it need not stay in its body. It is at a loop, or at a call that has returned.
    /// Answers whether it moved.
    pub(super) fn leave(&mut self, offset: u32) -> Result<bool, TestCaseError> {
        let path = self.maps.0.get(self.version).and_then(|map| map.get(&offset));
        let Some(path) = path else { return Ok(false) };
        for &(version, offset) in path {
            let (old, new) = (&self.codes[self.version], &self.codes[version]);
            let at = new.offsets.iter().position(|&at| at == offset);
            let at = at.ok_or_else(|| TestCaseError::fail("a point between two instructions"))?;
            prop_assert_eq!(new.ops[at], old.ops[self.frame.at], "the same call or loop");
            prop_assert_eq!(&new.places[at], &old.places[self.frame.at], "nested alike");
            self.frame.at = at;
            self.frame.locals.resize(new.locals.len(), 0);
            self.version = version;
        }
        Ok(true)
    }

    /// Runs to the end. Answers whether the frame moved; `None` if it takes too long.
    pub(super) fn run(&mut self, mut counts: Counts) -> Result<Option<bool>, TestCaseError> {
        let mut moved = false;
        for _ in 0..MOST_STEPS {
            let code = &self.codes[self.version];
            let Some(op) = code.ops.get(self.frame.at) else { return Ok(Some(moved)) };
            let offset = code.offsets[self.frame.at];
            match op {
                Op::Loop(_) => {
                    moved |= self.leave(offset)?;
                    self.frame.at += 1;
                }
                Op::Call(_) => {
                    let at = self.frame.at;
                    self.frame.step(code, &mut counts, None);
                    self.frame.at = at;
                    moved |= self.leave(offset)?;
                    self.frame.at += 1;
                }
                _ => {
                    self.frame.step(code, &mut counts, None);
                }
            }
        }
        Ok(None)
    }
}
