//! What modules put into memory when they are instantiated, compared.
//!
//! The bodies of a new module take its own data for granted. The running program's memory was filled from
//! older data, and has been written to since. So a difference is for the user to decide about.

use super::refusal::ModuleRefusal;
use crate::live::changes::ChangedData;
use crate::module::ModuleState;
use crate::types::printable::PrintableName;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

/// What becomes of data segments that differ from those that the running program began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[non_exhaustive]
pub enum DataPolicy {
    /// The update is refused.
    #[default]
    Refuse,
    /// Memory stays as it is, and what says that data may have moved is not looked at. Right where the program has
    /// made its own of the data; code that expects the new data, or data elsewhere, will not find it.
    Keep,
    /// The bytes that differ are written into memory with the update, over whatever the program has made of
    /// them. Right for tables and texts that the program only reads. Refused all the same if data that is written
    /// to has moved.
    Apply,
}

/// Where an active segment begins.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Base {
    /// At the addresses of the pieces.
    Absolute,
    /// At the value of this constant expression, which only an instance knows.
    Expression(Vec<u8>),
}

/// An active segment of a module, in the running module's memories.
pub(super) struct Segment<'a> {
    pub(super) index: u32,
    pub(super) name: Option<&'a str>,
    pub(super) memory: u32,
    pub(super) base: Base,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Segment<'_> {
    fn describe(&self) -> String {
        match self.name {
            Some(name) => format!("data segment {} (`{}`)", self.index, PrintableName(name)),
            None => format!("data segment {}", self.index),
        }
    }

    /// Linkers name the segments of what is constant.
    pub(super) fn is_read_only(&self) -> bool {
        self.name.is_some_and(|name| name.starts_with(".rodata"))
    }

    fn place(&self) -> String {
        match self.base {
            Base::Absolute => format!("{:#x}", self.offset),
            Base::Expression(_) => "an imported address".to_owned(),
        }
    }
}

/// Bytes that a module puts into memory, by memory and base, then by address.
type Image<'a> = HashMap<(u32, Base), BTreeMap<u64, &'a [u8]>>;

fn image<'a>(segments: &[Segment<'a>]) -> Image<'a> {
    let mut image = Image::new();
    for segment in segments.iter().filter(|segment| !segment.bytes.is_empty()) {
        let pieces = image.entry((segment.memory, segment.base.clone())).or_default();
        paint(pieces, segment.offset, segment.bytes);
    }
    image
}

/// Puts bytes over what is there. No two pieces overlap.
fn paint<'a>(pieces: &mut BTreeMap<u64, &'a [u8]>, start: u64, bytes: &'a [u8]) {
    let end = start.saturating_add(bytes.len() as u64);
    let covered: Vec<(u64, &[u8])> = pieces
        .range(..end)
        .rev()
        .take_while(|(at, piece)| at.saturating_add(piece.len() as u64) > start)
        .map(|(at, piece)| (*at, *piece))
        .collect();
    for (at, piece) in covered {
        pieces.remove(&at);
        if at < start {
            pieces.insert(at, &piece[..(start - at) as usize]);
        }
        let piece_end = at.saturating_add(piece.len() as u64);
        if piece_end > end {
            pieces.insert(end, &piece[(end - at) as usize..]);
        }
    }
    pieces.insert(start, bytes);
}

/// Bytes of `new` that `old` does not have at the same place, in pieces.
fn differences<'a>(
    old: Option<&BTreeMap<u64, &'a [u8]>>,
    new: &BTreeMap<u64, &'a [u8]>,
) -> Vec<(u64, &'a [u8])> {
    let mut found = Vec::new();
    for (&start, &bytes) in new {
        // What is left of the piece after the old pieces that lie in it.
        let mut at = start;
        let mut rest = bytes;
        let end = start + bytes.len() as u64;
        let before = old.and_then(|old| old.range(..start).next_back());
        let within = old.into_iter().flat_map(|old| old.range(start..end));
        for (&old_start, &old_bytes) in before.into_iter().chain(within) {
            let old_end = old_start + old_bytes.len() as u64;
            if old_end <= at || old_start >= end {
                continue;
            }
            if old_start > at {
                let (gap, after) = rest.split_at((old_start - at) as usize);
                found.push((at, gap));
                (at, rest) = (old_start, after);
            }
            let common = old_end.min(end) - at;
            let (mine, after) = rest.split_at(common as usize);
            let theirs = &old_bytes[(at - old_start) as usize..];
            runs_that_differ(at, mine, theirs, &mut found);
            (at, rest) = (at + common, after);
        }
        if !rest.is_empty() {
            found.push((at, rest));
        }
    }
    found
}

/// Runs of bytes that differ, of two pieces that begin at one address.
fn runs_that_differ<'a>(start: u64, new: &'a [u8], old: &[u8], found: &mut Vec<(u64, &'a [u8])>) {
    if new == &old[..new.len()] {
        return;
    }
    let mut at = 0;
    while at < new.len() {
        let equal = new[at..].iter().zip(&old[at..]).take_while(|(a, b)| a == b).count();
        at += equal;
        let differ = new[at..].iter().zip(&old[at..]).take_while(|(a, b)| a != b).count();
        if differ > 0 {
            found.push((start + at as u64, &new[at..at + differ]));
        }
        at += differ;
    }
}

/// What differs between the active segments of two modules.
#[derive(Default)]
pub(super) struct DataDifferences {
    /// Bytes that are new or changed, where their place is known.
    pub(super) patches: Vec<ChangedData>,
    /// For people: which segments, and how. Empty if nothing differs.
    pub(super) refusals: Vec<ModuleRefusal>,
    /// Whether all differences are in `patches`.
    pub(super) can_apply: bool,
}

/// At most so many segments are explained one by one.
const EXPLAINED: usize = 4;

/// Compares the active segments of the last source with those of the new one. `addresses`: words in here may be
/// addresses of static data.
pub(super) fn compare(
    old: &[Segment<'_>],
    new: &[Segment<'_>],
    addresses: &Range<u64>,
) -> DataDifferences {
    let (old_image, new_image) = (image(old), image(new));
    let mut found = DataDifferences { can_apply: true, ..DataDifferences::default() };
    let mut keys: Vec<_> = new_image.keys().collect();
    keys.sort_unstable_by_key(|(memory, base)| (*memory, *base != Base::Absolute));
    let mut lost = false;
    for key in keys {
        for (address, bytes) in differences(old_image.get(key), &new_image[key]) {
            if key.1 == Base::Absolute {
                found.patches.push(ChangedData { memory: key.0, address, bytes: bytes.to_vec() });
            } else {
                found.can_apply = false;
            }
        }
    }
    for (key, pieces) in &old_image {
        let empty = BTreeMap::new();
        let new = new_image.get(key).unwrap_or(&empty);
        lost |= !uncovered(pieces, new).is_empty();
    }
    if found.patches.is_empty() && found.can_apply && !lost {
        return found;
    }
    found.can_apply &= !explain(old, new, addresses, &mut found.refusals);
    if found.refusals.is_empty() {
        // The segments are the same, and overlap in another order.
        found.refusals.push(ModuleRefusal::DataChanged {
            segment: "the order of overlapping data segments".to_owned(),
            difference: "differs".to_owned(),
        });
    }
    found
}

/// Whether something of `old` has no counterpart in `new`, be it equal or not.
fn uncovered<'a>(old: &BTreeMap<u64, &'a [u8]>, new: &BTreeMap<u64, &'a [u8]>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for (&start, bytes) in old {
        let end = start + bytes.len() as u64;
        let mut at = start;
        let before = new.range(..=start).next_back();
        for (&from, piece) in before.into_iter().chain(new.range(start + 1..end.max(start + 1))) {
            if from > at {
                found.push((at, from));
            }
            at = at.max(from.saturating_add(piece.len() as u64));
        }
        if at < end {
            found.push((at, end));
        }
    }
    found
}

/// Indices of segments, by what these are recognised by.
type Queues<K> = HashMap<K, VecDeque<usize>>;

/// The next one that has not been matched.
fn next(queue: Option<&mut VecDeque<usize>>, unmatched: &[bool]) -> Option<usize> {
    let queue = queue?;
    while queue.front().is_some_and(|at| !unmatched[*at]) {
        queue.pop_front();
    }
    queue.pop_front()
}

/// The first word of a segment that was one of these addresses and is another one now.
fn changed_address(
    before: &Segment<'_>,
    now: &Segment<'_>,
    addresses: &Range<u64>,
) -> Option<(u64, u64)> {
    let aligned = (now.offset.next_multiple_of(4) - now.offset) as usize;
    let words = |segment: &Segment<'_>| {
        let words = segment.bytes.get(aligned..).unwrap_or_default().as_chunks::<4>().0;
        words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).collect::<Vec<_>>()
    };
    let mut both = words(before).into_iter().zip(words(now));
    both.find(|(a, b)| a != b && addresses.contains(a) && addresses.contains(b))
}

/// Says what differs; returns whether something that is written to lies elsewhere than it did.
fn explain(
    old: &[Segment<'_>],
    new: &[Segment<'_>],
    addresses: &Range<u64>,
    refusals: &mut Vec<ModuleRefusal>,
) -> bool {
    // Segments are recognised by name, then by contents and place, then by their number.
    let (mut by_name, mut by_contents, mut by_number) =
        (Queues::new(), Queues::new(), Queues::new());
    for (at, segment) in old.iter().enumerate() {
        if let Some(name) = segment.name {
            by_name.entry(name).or_default().push_back(at);
        } else {
            by_number.entry(segment.index).or_default().push_back(at);
        }
        by_contents.entry((segment.bytes, segment.offset)).or_default().push_back(at);
    }
    let mut unmatched = vec![true; old.len()];
    let (mut more, mut any_moved, mut moves_variables) = (0, false, false);
    let mut refuse = |segment: String, difference: String, moved: bool| {
        any_moved |= moved;
        if refusals.len() >= EXPLAINED {
            more += 1;
        } else if moved {
            refusals.push(ModuleRefusal::DataMoved { segment, difference });
        } else {
            refusals.push(ModuleRefusal::DataChanged { segment, difference });
        }
    };
    for segment in new {
        let at = segment
            .name
            .and_then(|name| next(by_name.get_mut(name), &unmatched))
            .or_else(|| next(by_contents.get_mut(&(segment.bytes, segment.offset)), &unmatched))
            .or_else(|| next(by_number.get_mut(&segment.index), &unmatched));
        let Some(at) = at else {
            let len = segment.bytes.len();
            // If others had to make room for it, these have moved.
            refuse(
                segment.describe(),
                format!("of {len} bytes at {} is new", segment.place()),
                false,
            );
            continue;
        };
        unmatched[at] = false;
        let before = &old[at];
        let mut parts = Vec::new();
        let moved = (before.memory, &before.base, before.offset)
            != (segment.memory, &segment.base, segment.offset);
        if moved {
            parts.push(format!("moved from {} to {}", before.place(), segment.place()));
        }
        if before.bytes.len() != segment.bytes.len() {
            let (from, to) = (before.bytes.len(), segment.bytes.len());
            let verb = if to > from { "grew" } else { "shrank" };
            parts.push(format!("{verb} from {from} to {to} bytes"));
        }
        let differs = before.bytes.iter().zip(segment.bytes).position(|(a, b)| a != b);
        if let Some(byte) = differs {
            let (a, b) = (before.bytes[byte], segment.bytes[byte]);
            let at = match segment.base {
                Base::Absolute => format!(" (at {:#x})", segment.offset + byte as u64),
                Base::Expression(_) => String::new(),
            };
            parts.push(format!(
                "differs from byte {byte}{at} on, which was {a:#04x} and is {b:#04x}"
            ));
        }
        let mut refers = None;
        if before.base == segment.base && before.offset == segment.offset {
            refers = changed_address(before, segment, addresses);
        }
        if let Some((a, b)) = refers {
            parts.push(format!("may refer to address {b:#x} where it referred to {a:#x}"));
        }
        if !parts.is_empty() {
            let is_constant = before.is_read_only() && segment.is_read_only();
            moves_variables |= moved && !is_constant;
            refuse(segment.describe(), parts.join(", "), moved || refers.is_some());
        }
    }
    let gone = old.iter().zip(unmatched).filter(|(_, unmatched)| *unmatched);
    for (segment, _) in gone.filter(|(segment, _)| !segment.bytes.is_empty()) {
        refuse(segment.describe(), format!("at {} is gone", segment.place()), false);
    }
    if more > 0 {
        let (segment, difference) = (format!("{more} more data segments"), "differ".to_owned());
        refusals.push(match any_moved {
            true => ModuleRefusal::DataMoved { segment, difference },
            false => ModuleRefusal::DataChanged { segment, difference },
        });
    }
    moves_variables
}

/// Bytes of a passive or active segment of a module.
pub(super) fn segment_bytes(module: &ModuleState, index: usize) -> &[u8] {
    let range = &module.data[index].bytes;
    &module.bytes()[range.start as usize..range.end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(index: u32, offset: u64, bytes: &'static [u8]) -> Segment<'static> {
        Segment { index, name: None, memory: 0, base: Base::Absolute, offset, bytes }
    }

    fn explained(old: &[Segment<'_>], new: &[Segment<'_>]) -> Vec<String> {
        compare(old, new, &(0..0)).refusals.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_bytes_in_other_pieces_are_no_difference() {
        let one = [segment(0, 8, b"abcdef")];
        let two = [segment(0, 8, b"abc"), segment(1, 11, b"def"), segment(2, 40, b"")];
        let overlapping = [segment(0, 8, b"xxxxef"), segment(1, 8, b"abcd")];
        for (a, b) in
            [(&one[..], &two[..]), (&two, &one), (&one, &overlapping), (&overlapping, &two)]
        {
            assert_eq!(explained(a, b), [""; 0]);
        }
    }

    #[test]
    fn only_the_bytes_that_differ_are_patched() {
        let old = [segment(0, 8, b"abcdef"), segment(1, 20, b"uvw")];
        let new = [segment(0, 8, b"abXdYZ!"), segment(1, 19, b"tuvw")];
        let patches: Vec<(u64, Vec<u8>)> = compare(&old, &new, &(0..0))
            .patches
            .into_iter()
            .map(|p| (p.address, p.bytes))
            .collect();
        assert_eq!(
            patches,
            [(10, b"X".to_vec()), (12, b"YZ".to_vec()), (14, b"!".to_vec()), (19, b"t".to_vec())]
        );
    }

    #[test]
    fn differences_are_explained_segment_by_segment() {
        let old = [segment(0, 1024, b"abcdef"), segment(1, 2048, b"uvw")];
        let new = [segment(0, 1024, b"abXdef"), segment(1, 2052, b"uvw"), segment(2, 4096, b"new")];
        assert_eq!(
            explained(&old, &new),
            [
                "data segment 0 differs from byte 2 (at 0x402) on, which was 0x63 and is 0x58",
                "data segment 1 moved from 0x800 to 0x804",
                "data segment 2 of 3 bytes at 0x1000 is new",
            ]
        );
        assert_eq!(explained(&old, &old[..1]), ["data segment 1 at 0x800 is gone"]);
        let grown = [segment(0, 1024, b"abcdefg"), segment(1, 2048, b"uvw")];
        assert_eq!(explained(&old, &grown), ["data segment 0 grew from 6 to 7 bytes"]);
    }

    #[test]
    fn named_segments_are_recognised_in_any_order() {
        let named =
            |index, offset, name| Segment { name: Some(name), ..segment(index, offset, b"abc") };
        let old = [named(0, 8, ".rodata"), named(1, 16, ".data")];
        let new = [named(0, 16, ".data"), named(1, 24, ".rodata")];
        assert_eq!(explained(&old, &new), ["data segment 1 (`.rodata`) moved from 0x8 to 0x18"]);
    }

    #[test]
    fn many_differences_are_summed_up() {
        let old: Vec<_> = (0..9).map(|i| segment(i, u64::from(i) * 8, b"abc")).collect();
        let new: Vec<_> = (0..9).map(|i| segment(i, u64::from(i) * 8, b"abd")).collect();
        let explained = explained(&old, &new);
        assert_eq!(explained.len(), EXPLAINED + 1);
        assert_eq!(explained[EXPLAINED], "5 more data segments differ");
    }
}
