//! Which return addresses of a stack have been redirected.

use crate::code::code_object::CodeObject;
use crate::stack::position::Position;
use crate::stack::walk::WalkedFrame;
use std::ptr::NonNull;
use std::sync::Arc;

/// One redirected return address.
#[derive(Debug)]
pub(crate) struct Redirected {
    /// The frame that is returned into.
    pub(crate) at: Position,
    /// What the slot held.
    pub(crate) return_address: usize,
    /// The code object that the address lies in.
    object: ObjectOfFrame,
    /// Whether the frame leaves its code when it is returned to. If not, the entry is, or was, a barrier.
    pub(crate) moves: bool,
}

/// How an entry of the table has its code object.
///
/// Counting a reference for each frame would be most of the work where several threads redirect frames of the
/// same code: they would pass the word with the count back and forth. So of the entries that are added together
/// only the outermost of each object counts one. It is the last of them to be removed.
#[derive(Debug)]
enum ObjectOfFrame {
    Counted(Arc<CodeObject>),
    /// An entry further out, in this table or the one that was divided off it, has it counted.
    CountedFurtherOut(NonNull<CodeObject>),
}

// SAFETY: code objects are shared between threads, and the pointer is only used as a reference is.
unsafe impl Send for ObjectOfFrame {}

impl Redirected {
    /// The entry of a frame that has none, by itself.
    pub(crate) fn new(frame: &WalkedFrame, moves: bool) -> Redirected {
        let object = ObjectOfFrame::Counted(frame.object_arc());
        Redirected { at: frame.position(), return_address: frame.pc, object, moves }
    }

    /// The entry of a frame that moves and has none.
    ///
    /// # Safety
    /// [`RedirectTable::add`] is called with it, by way of [`count_objects`], while the frame's code object is
    /// registered.
    pub(crate) unsafe fn uncounted(frame: &WalkedFrame) -> Redirected {
        let object = ObjectOfFrame::CountedFurtherOut(NonNull::from(frame.object()));
        Redirected { at: frame.position(), return_address: frame.pc, object, moves: true }
    }

    /// The code object that the return address lies in.
    pub(crate) fn object(&self) -> &CodeObject {
        match &self.object {
            ObjectOfFrame::Counted(object) => object,
            // SAFETY: entries are removed from the innermost one outwards, so the one further out that has it
            // counted is still there.
            ObjectOfFrame::CountedFurtherOut(object) => unsafe { object.as_ref() },
        }
    }

    /// The same, owned. Called while the entries further out are in their table.
    pub(crate) fn into_object(self) -> Arc<CodeObject> {
        match self.object {
            ObjectOfFrame::Counted(object) => object,
            // SAFETY: as in `object`; code objects live in `Arc`s only.
            ObjectOfFrame::CountedFurtherOut(object) => unsafe {
                CodeObject::counted(object.as_ptr())
            },
        }
    }
}

/// Counts a reference to each object for the outermost of these entries, which are given innermost first.
///
/// # Safety
/// Their code objects must be registered.
pub(crate) unsafe fn count_objects(added: &mut [Redirected]) {
    let mut seen: Vec<NonNull<CodeObject>> = Vec::new();
    for entry in added.iter_mut().rev() {
        if let ObjectOfFrame::CountedFurtherOut(object) = entry.object
            && !seen.contains(&object)
        {
            // Code that calls itself by way of many others: searching would be more work than counting.
            if seen.len() < 16 {
                seen.push(object);
            }
            // SAFETY: registered objects are alive and live in `Arc`s.
            let object = unsafe { CodeObject::counted(object.as_ptr()) };
            entry.object = ObjectOfFrame::Counted(object);
        }
    }
}

/// Redirected return addresses of one stack, or of its part outside a barrier.
///
/// Entries lie in blocks, so that frames in the middle can be added, and the table be divided and united,
/// without touching all of a deep stack's entries.
#[derive(Debug, Default)]
pub struct RedirectTable {
    /// Outermost first, in and between blocks: positions fall towards the end, so that the frame that is
    /// returned into next is the last of all. No block is empty.
    blocks: Vec<Vec<Redirected>>,
    /// An empty block, for the next one: frames that exceptions lead to come and go one by one.
    spare: Vec<Redirected>,
    /// Frames that were unwound before they were returned to, since somebody last asked.
    dropped: u64,
    /// See [`RedirectTable::is_selective`].
    selective: bool,
}

/// Most entries of a block that is added to.
const BLOCK: usize = 512;
/// Fewer entries than this are no block of their own if a neighbour has room.
const FEW: usize = 32;

/// Where a block's outermost entry is.
fn first(block: &[Redirected]) -> Position {
    block[0].at
}

/// Where a block's innermost entry is.
fn last(block: &[Redirected]) -> Position {
    block[block.len() - 1].at
}

impl RedirectTable {
    /// How many frames are redirected.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Whether no frame is redirected.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Says whether frames are about to be redirected selectively, or all of them up to the first one that
    /// is redirected.
    pub fn set_selective(&mut self, selective: bool) {
        self.selective = selective || self.is_selective();
    }

    /// Whether some frames outside a redirected one may not be redirected. If not, frames have only ever
    /// been redirected from the innermost outwards to the end of the stack, or the first redirected one.
    pub fn is_selective(&self) -> bool {
        self.selective && !self.is_empty()
    }

    /// Where the entry of a frame is: its block, and its place there.
    fn find(&self, at: Position) -> Option<(usize, usize)> {
        let block = self.blocks.partition_point(|block| last(block) > at);
        let entries = self.blocks.get(block)?;
        Some((block, entries.binary_search_by(|entry| at.cmp(&entry.at)).ok()?))
    }

    /// The entry of a redirected frame.
    pub(crate) fn get(&self, at: Position) -> Option<&Redirected> {
        let (block, i) = self.find(at)?;
        Some(&self.blocks[block][i])
    }

    /// The entry of a redirected frame of a stack context that all lies on one native stack, where addresses order
    /// all frames.
    #[cfg(feature = "verify-walks")]
    pub(crate) fn get_by_address(&self, fp: usize) -> Option<&Redirected> {
        let block = self.blocks.partition_point(|block| last(block).address > fp);
        let entries = self.blocks.get(block)?;
        let i = entries.binary_search_by(|entry| fp.cmp(&entry.at.address)).ok()?;
        Some(&entries[i])
    }

    /// The entry of a redirected frame.
    pub(crate) fn get_mut(&mut self, at: Position) -> Option<&mut Redirected> {
        let (block, i) = self.find(at)?;
        Some(&mut self.blocks[block][i])
    }

    /// Removes the entry of the frame that is returned into, and entries of frames that vanished.
    pub(crate) fn take(&mut self, at: Position) -> Redirected {
        self.forget_inside(at);
        let entry = self.pop().expect("every redirected frame has an entry");
        assert_eq!(entry.at, at, "a landing in a frame that was not redirected");
        entry
    }

    /// Removes the innermost entry.
    fn pop(&mut self) -> Option<Redirected> {
        let block = self.blocks.last_mut()?;
        let entry = block.pop();
        if block.is_empty()
            && let Some(block) = self.blocks.pop()
        {
            self.spare = block;
        }
        entry
    }

    /// Forgets frames that were unwound: all inside the position.
    pub(crate) fn forget_inside(&mut self, at: Position) {
        while self.blocks.last().is_some_and(|block| last(block) < at) {
            let entry = self.pop().expect("no block is empty");
            self.dropped += u64::from(entry.moves);
        }
    }

    /// How many redirected frames were unwound, since this was last called, before they were returned to.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Adds entries, which are given innermost first and are none of ours yet. Only touches blocks between
    /// the innermost and the outermost of them.
    pub(crate) fn add(&mut self, added: Vec<Redirected>) {
        let (Some(inner), Some(outer)) = (added.first(), added.last()) else { return };
        let (inner, outer) = (inner.at, outer.at);
        let mut start = self.blocks.partition_point(|block| last(block) > outer);
        let mut end = self.blocks.partition_point(|block| first(block) >= inner);
        // Between two blocks many make blocks of their own, and few go into a neighbour.
        let fits = |block: &Vec<Redirected>| block.len() + added.len() <= BLOCK;
        if start == end && added.len() < FEW {
            if self.blocks.get(start).is_some_and(fits) {
                end += 1;
            } else if start > 0 && fits(&self.blocks[start - 1]) {
                start -= 1;
            }
        }
        let mut merged = added;
        merged.reverse();
        if start < end {
            let mut older = self.blocks.splice(start..end, None).flatten().peekable();
            let mut all = Vec::with_capacity(merged.len() + BLOCK);
            for entry in merged {
                while let Some(older) = older.next_if(|older| older.at > entry.at) {
                    all.push(older);
                }
                all.push(entry);
            }
            all.extend(older);
            merged = all;
        }
        let mut blocks = Vec::with_capacity(1 + merged.len() / BLOCK);
        while merged.len() > BLOCK {
            let rest = merged.split_off(BLOCK);
            blocks.push(std::mem::replace(&mut merged, rest));
        }
        blocks.push(merged);
        self.blocks.splice(start..start, blocks);
    }

    /// Adds the entry of a frame that lies inside all others.
    pub(crate) fn add_innermost(&mut self, entry: Redirected) {
        debug_assert!(self.blocks.last().is_none_or(|block| last(block) > entry.at));
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(entry),
            _ => {
                let mut block = std::mem::take(&mut self.spare);
                block.push(entry);
                self.blocks.push(block);
            }
        }
    }

    /// Takes away the entries of all frames outside this one.
    pub(crate) fn split_outside(&mut self, at: Position) -> RedirectTable {
        let first = self.blocks.partition_point(|block| last(block) > at);
        let mut inner = self.blocks.split_off(first);
        if let Some(block) = inner.first_mut() {
            let rest = block.split_off(block.partition_point(|entry| entry.at > at));
            let outer = std::mem::replace(block, rest);
            if !outer.is_empty() {
                self.blocks.push(outer);
            }
        }
        // The block that is divided has an entry that is not outside it: its last one.
        let blocks = std::mem::replace(&mut self.blocks, inner);
        RedirectTable { blocks, selective: self.selective, ..RedirectTable::default() }
    }

    /// Adds the entries of a table that lie outside all of this one.
    pub(crate) fn unite(&mut self, mut outer: RedirectTable) {
        self.selective |= outer.selective;
        if let (Some(last), Some(first)) = (outer.blocks.last_mut(), self.blocks.first_mut())
            && last.len() + first.len() <= BLOCK
        {
            last.append(first);
            self.blocks.remove(0);
        }
        outer.blocks.append(&mut self.blocks);
        self.blocks = outer.blocks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The frame that is the so-manieth from the innermost one, of a stack that lies in pieces: those that are
    /// further in have higher addresses.
    fn at(n: usize) -> Position {
        const PIECE: usize = 700;
        Position { entries: 100 - n / PIECE, address: n % PIECE + 1000 * (100 - n / PIECE) }
    }

    fn entry(n: usize) -> Redirected {
        let object = ObjectOfFrame::Counted(CodeObject::for_tests());
        Redirected { at: at(n), return_address: n + 1, object, moves: true }
    }

    /// Adds frames, innermost first, in portions as operations do.
    fn add(table: &mut RedirectTable, fps: &BTreeSet<usize>, portion: usize) {
        let fps: Vec<usize> = fps.iter().copied().collect();
        for fps in fps.chunks(portion) {
            table.add(fps.iter().map(|&fp| entry(fp)).collect());
        }
    }

    proptest! {
        #[test]
        fn entries_stay_sorted_and_are_taken_innermost_first(
            first in btree_set(1usize..5000, 0..1500),
            second in btree_set(1usize..5000, 0..1500),
            portions in (1usize..600, 1usize..600),
        ) {
            let second: BTreeSet<_> = second.difference(&first).copied().collect();
            let mut table = RedirectTable::default();
            add(&mut table, &first, portions.0);
            add(&mut table, &second, portions.1);
            let all: Vec<usize> = first.union(&second).copied().collect();
            prop_assert_eq!(table.len(), all.len());
            for &fp in &all {
                prop_assert_eq!(table.get(at(fp)).map(|e| e.return_address), Some(fp + 1));
            }
            for &fp in &all {
                prop_assert_eq!(table.take(at(fp)).return_address, fp + 1);
            }
            prop_assert!(table.is_empty());
        }

        #[test]
        fn a_divided_table_is_united_to_what_it_was(
            fps in btree_set(1usize..5000, 1..1500),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..5), 0..20),
        ) {
            let mut table = RedirectTable::default();
            add(&mut table, &fps, 100);
            let mut left: Vec<usize> = fps.into_iter().rev().collect();
            for (cut, taken) in cuts {
                if left.is_empty() {
                    break;
                }
                let fp = left[cut.index(left.len())];
                let outer = table.split_outside(at(fp));
                prop_assert!(outer.get(at(fp)).is_none() && table.get(at(fp)).is_some());
                prop_assert_eq!(outer.len(), left.iter().filter(|&&other| other > fp).count());
                // The inner part is used meanwhile.
                for _ in 0..taken.min(table.len()) {
                    prop_assert_eq!(table.take(at(left.pop().unwrap())).moves, true);
                }
                table.unite(outer);
                prop_assert_eq!(table.len(), left.len());
            }
            while let Some(fp) = left.pop() {
                prop_assert_eq!(table.take(at(fp)).at, at(fp));
            }
        }

        /// A table that was redirected selectively on either side of a barrier stays so as a whole: who takes it for
        /// one without gaps would stop at its first entry.
        #[test]
        fn a_table_is_selective_if_either_part_was(
            fps in btree_set(1usize..5000, 2..100),
            cut in any::<prop::sample::Index>(),
            (before, inner, outer) in any::<(bool, bool, bool)>(),
        ) {
            let mut table = RedirectTable::default();
            add(&mut table, &fps, 10);
            table.set_selective(before);
            let fps: Vec<usize> = fps.into_iter().collect();
            let mut outside = table.split_outside(at(fps[cut.index(fps.len() - 1)]));
            prop_assert!(!outside.is_empty() && !table.is_empty());
            prop_assert_eq!((table.is_selective(), outside.is_selective()), (before, before));
            table.set_selective(inner);
            outside.set_selective(outer);
            table.unite(outside);
            prop_assert_eq!(table.is_selective(), before || inner || outer);
        }

        /// Frames of several objects, returned to in their order, with a barrier in between.
        #[test]
        fn objects_live_until_their_outermost_frame_is_returned_to(
            frames in vec(0usize..24, 1..100),
            barrier in 0usize..100,
        ) {
            let objects: Vec<_> = (0..24).map(|_| CodeObject::for_tests()).collect();
            let uncounted = |(fp, &object): (usize, &usize)| {
                let object = ObjectOfFrame::CountedFurtherOut(NonNull::from(&*objects[object]));
                Redirected { at: at(fp), return_address: fp + 1, object, moves: true }
            };
            let mut added: Vec<_> = frames.iter().enumerate().map(uncounted).collect();
            // SAFETY: the objects are alive, and live in `Arc`s.
            unsafe { count_objects(&mut added) };
            let mut table = RedirectTable::default();
            table.add(added);
            let mut outer = Some(table.split_outside(at(barrier)));
            for (fp, &object) in frames.iter().enumerate() {
                if table.is_empty() {
                    table.unite(outer.take().expect("united once"));
                }
                // Ours, and at least one that the table counts.
                prop_assert!(Arc::strong_count(&objects[object]) > 1, "nobody keeps it");
                let entry = table.take(at(fp));
                prop_assert!(std::ptr::eq(entry.object(), &*objects[object]));
                prop_assert!(Arc::ptr_eq(&entry.into_object(), &objects[object]));
            }
            drop((table, outer));
            prop_assert!(objects.iter().all(|object| Arc::strong_count(object) == 1));
        }

        #[test]
        fn unwound_frames_are_forgotten(fps in btree_set(1usize..2000, 0..40), cut in 0usize..2000) {
            let mut table = RedirectTable::default();
            add(&mut table, &fps, 10);
            table.forget_inside(at(cut));
            prop_assert_eq!(table.len(), fps.iter().filter(|&&fp| fp >= cut).count());
        }
    }
}
