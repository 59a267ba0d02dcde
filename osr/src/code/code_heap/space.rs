//! Which parts of a heap's range are live, quarantined and free. Whoever changes the bytes of the range holds
//! the lock that this lies behind, so that the books agree with the bytes whenever the lock is free.

use super::{CodeHeapStats, RELEASE_UNIT};
use crate::code::code_object::CodeObject;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The books of a heap. Every granule behind the thunks belongs to exactly one of: a live object, the
/// quarantine, a free run.
#[derive(Default)]
pub(super) struct Space {
    /// Free runs by offset.
    pub(super) by_offset: BTreeMap<usize, usize>,
    /// The same by size.
    by_size: BTreeSet<(usize, usize)>,
    /// Freed, but some processor may still hold it decoded: offset and size.
    pub(super) quarantine: Vec<(usize, usize)>,
    /// Objects whose bytes are there, by offset. This is the heap's count of each.
    pub(super) live: BTreeMap<usize, Arc<CodeObject>>,
    pub(super) stats: CodeHeapStats,
    pub(super) next_id: u64,
    /// Number of entry thunks.
    pub(super) thunks: usize,
    /// Which release units may have memory behind them.
    populated: Vec<u64>,
}

impl Space {
    /// The books of `len` bytes, nothing of which is free yet.
    pub(super) fn new(len: usize) -> Space {
        Space { populated: vec![0; len / RELEASE_UNIT / 64 + 1], ..Space::default() }
    }

    /// Adds a free run, merged with its neighbours; returns the offset of the merged run.
    pub(super) fn insert_free(&mut self, mut offset: usize, mut size: usize) -> usize {
        if let Some((&left, &left_size)) = self.by_offset.range(..offset).next_back()
            && left + left_size == offset
        {
            self.remove(left, left_size);
            offset = left;
            size += left_size;
        }
        if let Some(&right_size) = self.by_offset.get(&(offset + size)) {
            self.remove(offset + size, right_size);
            size += right_size;
        }
        self.by_offset.insert(offset, size);
        self.by_size.insert((size, offset));
        offset
    }

    /// Takes so many bytes out of the smallest free run that has them.
    pub(super) fn take_free(&mut self, size: usize) -> Option<usize> {
        let &(run, offset) = self.by_size.range((size, 0)..).next()?;
        self.remove(offset, run);
        if run > size {
            self.by_offset.insert(offset + size, run - size);
            self.by_size.insert((run - size, offset + size));
        }
        Some(offset)
    }

    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }

    /// An object is live from now on, in bytes that were taken for it.
    pub(super) fn insert_live(&mut self, offset: usize, object: Arc<CodeObject>) {
        let size = object.heap_bytes();
        for unit in offset / RELEASE_UNIT..=(offset + size - 1) / RELEASE_UNIT {
            let (word, bit) = (unit / 64, 1u64 << (unit % 64));
            if self.populated[word] & bit == 0 {
                self.populated[word] |= bit;
                self.stats.committed_bytes += RELEASE_UNIT as u64;
            }
        }
        self.stats.published += 1;
        self.stats.live_objects += 1;
        self.stats.live_bytes += size as u64;
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.stats.live_bytes);
        self.live.insert(offset, object);
    }

    /// The object at this offset goes into quarantine. The count is returned, for it must not be dropped
    /// while the lock is held: with the object goes its owner.
    pub(super) fn quarantine_live(&mut self, offset: usize) -> Option<Arc<CodeObject>> {
        let object = self.live.remove(&offset)?;
        let size = object.heap_bytes();
        self.stats.live_objects -= 1;
        self.stats.live_bytes -= size as u64;
        self.stats.freed_bytes += size as u64;
        self.stats.freed += 1;
        self.stats.quarantined_bytes += size as u64;
        self.quarantine.push((offset, size));
        Some(object)
    }

    /// All that is in quarantine becomes free. Returns the offsets of the free runs that grew; some may have
    /// been swallowed by their neighbours since.
    pub(super) fn end_quarantine(&mut self) -> BTreeSet<usize> {
        self.stats.quarantined_bytes = 0;
        let freed = std::mem::take(&mut self.quarantine);
        freed.into_iter().map(|(offset, size)| self.insert_free(offset, size)).collect()
    }

    /// Whether there may be memory behind this offset.
    pub(super) fn is_populated(&self, offset: usize) -> bool {
        let unit = offset / RELEASE_UNIT;
        self.populated[unit / 64] & (1 << (unit % 64)) != 0
    }

    /// The next run of whole release units in `range` that may have memory behind them, as offsets. They count
    /// as given back from now on.
    pub(super) fn take_populated(&mut self, range: Range<usize>) -> Option<Range<usize>> {
        let (first, end) = (range.start.div_ceil(RELEASE_UNIT), range.end / RELEASE_UNIT);
        let start = (first..end).find(|unit| self.is_populated(unit * RELEASE_UNIT))?;
        let mut unit = start;
        while unit < end && self.is_populated(unit * RELEASE_UNIT) {
            self.populated[unit / 64] &= !(1 << (unit % 64));
            unit += 1;
        }
        self.stats.committed_bytes -= ((unit - start) * RELEASE_UNIT) as u64;
        Some(start * RELEASE_UNIT..unit * RELEASE_UNIT)
    }
}
