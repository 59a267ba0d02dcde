//! Debug information that is out of proportion, or says the same of several.

use super::layout::{SourceLayout, Static};
use super::types::{At, Part, TypeLayout};
use super::*;

/// A module with this debug information behind it: the entries of one unit, by [`ABBREVIATIONS`].
pub(crate) fn described(mut wasm: Vec<u8>, entries: &[u8], strings: &[u8]) -> Vec<u8> {
    fn number(mut value: usize, into: &mut Vec<u8>) {
        while value >= 0x80 {
            into.push(value as u8 | 0x80);
            value >>= 7;
        }
        into.push(value as u8);
    }
    let mut unit = Vec::new();
    unit.extend(4u16.to_le_bytes());
    unit.extend(0u32.to_le_bytes());
    unit.push(4);
    unit.extend(entries);
    let mut info = (unit.len() as u32).to_le_bytes().to_vec();
    info.extend(unit);
    let sections: [(&str, &[u8]); 4] = [
        (".debug_line", &[]),
        (".debug_abbrev", ABBREVIATIONS),
        (".debug_info", &info),
        (".debug_str", strings),
    ];
    for (name, data) in sections {
        wasm.push(0);
        number(1 + name.len() + data.len(), &mut wasm);
        wasm.push(name.len() as u8);
        wasm.extend(name.bytes());
        wasm.extend(data);
    }
    wasm
}

/// A unit in which something is said of the functions whose bodies begin at these addresses.
pub(crate) fn functions(first: &[u32]) -> Vec<u8> {
    let mut entries = vec![1];
    for first in first {
        entries.push(9);
        entries.extend(first.to_le_bytes());
    }
    entries.push(0);
    entries
}

/// Kinds of entries by their numbers: tag, whether it has children, attributes and their forms.
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0, 0, // unit
    2, 0x13, 1, 0, 0, // struct
    3, 0x0d, 0, 0x49, 0x13, 0, 0, // member: type
    4, 0x34, 0, 0x03, 0x08, 0x49, 0x13, 0x02, 0x18, 0, 0, // variable: name, type, location
    5, 0x33, 1, 0, 0, // variant part
    6, 0x39, 1, 0x03, 0x0e, 0, 0, // namespace: shared name
    7, 0x13, 1, 0x03, 0x08, 0, 0, // struct: name
    8, 0x24, 0, 0x03, 0x08, 0x0b, 0x0b, 0, 0, // base type: name, size
    9, 0x2e, 0, 0x11, 0x01, 0, 0, // function: first address
    10, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // function: first address, length
    11, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // unit: first address, length
    12, 0x0b, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // block: first address, length
    13, 0x01, 1, 0x49, 0x13, 0, 0, // array: type
    14, 0x21, 0, 0x2f, 0x0b, 0, 0, // dimension: last index
    15, 0x21, 0, 0x37, 0x0b, 0, 0, // dimension: length
    0,
];
/// Where the first entry is, counted from the beginning of its unit.
const FIRST: usize = 11;

fn layout(entries: &[u8], strings: &[u8]) -> Option<SourceLayout> {
    // With a function of two bytes.
    let wasm = wat::parse_str("(module (func))").unwrap();
    DebugInfo::read(&described(wasm, entries, strings)).expect("there is some").layout()
}

#[test]
fn structs_without_names_that_hold_each_other_twice_are_not_written_out() {
    // Each has two fields, which are of the next one.
    let with = |levels: usize| {
        let mut entries = vec![1];
        for level in 0..levels {
            entries.push(2);
            let next = FIRST + 1 + (level + 1) * 12;
            for _ in 0..2 {
                entries.push(3);
                entries.extend((next as u32).to_le_bytes());
            }
            entries.push(0);
        }
        entries.extend(b"\x08int\0\x04");
        entries.extend(b"\x04s\0");
        entries.extend((FIRST as u32 + 1).to_le_bytes());
        entries.extend([5, 3, 0, 4, 0, 0]);
        entries.push(0);
        layout(&entries, &[])
    };
    let few = with(2).expect("it is in proportion");
    let inner = "{(0) Byte(0) int of 4 bytes, (1) Byte(0) int of 4 bytes}";
    let whole = format!("{{(0) Byte(0) {inner}, (1) Byte(0) {inner}}}");
    assert_eq!(few.statics["s"], [Static { address: 1024, ty: whole }]);
    assert!(with(15).is_none());
}

#[test]
fn the_lengths_of_arrays_are_those_of_the_source() {
    let int = FIRST as u32 + 1;
    let mut entries = vec![1];
    entries.extend(b"\x08int\0\x04");
    let array = FIRST as u32 + entries.len() as u32;
    entries.push(13);
    entries.extend(int.to_le_bytes());
    entries.extend([14, 3, 15, 7, 0]);
    entries.extend(b"\x04s\0");
    entries.extend(array.to_le_bytes());
    entries.extend([5, 3, 0, 4, 0, 0]);
    entries.push(0);
    let found = layout(&entries, &[]).expect("it is in proportion");
    let ty = "int of 4 bytes[4][7]".to_owned();
    assert_eq!(found.statics["s"], [Static { address: 1024, ty }]);
}

#[test]
fn variants_in_variants_take_no_stack() {
    let depth = 300_000;
    let mut entries = vec![1];
    entries.extend(b"\x07enum\0");
    entries.extend(std::iter::repeat_n(5, depth));
    entries.extend(std::iter::repeat_n(0, depth + 2));
    let found = layout(&entries, &[]).expect("it is in proportion");
    assert_eq!(found.types["enum"], [TypeLayout::default()]);
}

#[test]
fn long_names_that_many_share_are_not_put_together() {
    let with = |depth: usize| {
        let mut entries = vec![1];
        for _ in 0..depth {
            entries.extend([6, 0, 0, 0, 0]);
        }
        entries.extend(std::iter::repeat_n(0, depth + 1));
        let mut name = vec![b'n'; 100_000];
        name.push(0);
        layout(&entries, &name)
    };
    assert!(with(3).is_some());
    assert!(with(60).is_none());
}

fn field(name: &str, at: At, ty: &str) -> Part {
    Part { name: name.to_owned(), at, ty: ty.to_owned() }
}

#[test]
fn whatever_is_laid_out_otherwise_in_a_type_is_a_difference() {
    let old = TypeLayout {
        size: Some(8),
        parts: vec![field("a", At::Byte(0), "int"), field("b", At::Bits(32, 3), "int")],
    };
    let told = |change: &dyn Fn(&mut TypeLayout)| {
        let mut new = old.clone();
        change(&mut new);
        old.difference(&new)
    };
    assert_eq!(told(&|_| {}), None);
    assert_eq!(told(&|new| new.parts.reverse()), None);
    let told = |change: &dyn Fn(&mut TypeLayout)| told(change).expect("it is another one");
    assert_eq!(told(&|new| new.size = Some(16)), "it is of 16 bytes, was of 8");
    assert_eq!(told(&|new| new.parts[0].at = At::Byte(4)), "`a` is at byte 4, was at 0");
    assert_eq!(told(&|new| new.parts[0].ty = "float".to_owned()), "`a` is float, was int");
    assert_eq!(told(&|new| new.parts[1].at = At::Bits(33, 3)), "`b` has moved");
    assert_eq!(told(&|new| new.parts[1].at = At::Bits(32, 4)), "`b` has moved");
    assert_eq!(told(&|new| new.parts[1].at = At::Byte(4)), "`b` has moved");
    assert_eq!(told(&|new| drop(new.parts.pop())), "it has no `b` any more");
    let another = field("c", At::Byte(6), "short");
    assert_eq!(told(&|new| new.parts.push(another.clone())), "`c` is new in it");
}

#[test]
fn enumerators_may_come_and_go_but_keep_their_values() {
    let with = |parts: &[(&str, i128)]| TypeLayout {
        size: Some(4),
        parts: parts.iter().map(|&(name, value)| field(name, At::Value(value), "")).collect(),
    };
    let old = with(&[("apple", 0), ("pear", 1)]);
    assert_eq!(old.difference(&with(&[("apple", 0), ("pear", 1), ("plum", 2)])), None);
    assert_eq!(old.difference(&with(&[("pear", 1)])), None);
    let told = old.difference(&with(&[("apple", 0), ("plum", 1), ("pear", 2)]));
    assert_eq!(told.as_deref(), Some("`pear` is 2, was 1"));
}

#[test]
fn of_several_types_or_variables_of_one_name_each_has_to_be_there() {
    let of = |sizes: &[u64], places: &[(u64, &str)]| {
        let ty = |&size: &u64| TypeLayout { size: Some(size), parts: Vec::new() };
        let place = |&(address, ty): &(u64, &str)| Static { address, ty: ty.to_owned() };
        let mut layout = SourceLayout::default();
        layout.types.insert("node".to_owned(), sizes.iter().map(ty).collect());
        layout.statics.insert("count".to_owned(), places.iter().map(place).collect());
        layout
    };
    let old = of(&[8, 12], &[(1024, "int"), (1028, "int")]);
    let told = |new: &SourceLayout| (old.changed_types(new), old.changed_statics(new));
    let none = || (Vec::new(), Vec::new());
    assert_eq!(told(&of(&[12, 8, 16], &[(1028, "int"), (1024, "int"), (8, "int")])), none());
    let one = |name: &str, how: &str| vec![(name.to_owned(), how.to_owned())];
    assert_eq!(
        told(&of(&[8, 16], &[(1024, "int"), (1032, "int")])),
        (one("node", "it is of 8 bytes, was of 12"), one("count", "is at 0x408, was at 0x404"))
    );
    assert_eq!(
        told(&of(&[8, 12], &[(1024, "int"), (1028, "float")])),
        (Vec::new(), one("count", "is float, was int"))
    );
}

#[test]
fn a_place_has_a_name_where_it_is_of_one_variable_only() {
    let variable = |name: &str, at, begin, end| Variable {
        name: name.to_owned(),
        at,
        range: gimli::Range { begin, end },
        ty: "int".to_owned(),
    };
    let (local, byte) = (Storage::Local(1), Storage::FrameByte(8));
    let variables = Variables::new(vec![
        variable("a", local, 0, 10),
        variable("b", local, 10, 20),
        variable("c", byte, 0, 10),
        variable("c", byte, 20, 30),
    ]);
    assert_eq!(variables.at(9, local), Some("a"));
    assert_eq!(variables.at(10, local), Some("b"));
    // Nothing is said of that address.
    assert_eq!((variables.at(25, local), variables.at(15, byte)), (None, Some("c")));
    assert_eq!(variables.at(9, Storage::Local(0)), None);
    // In several ranges it is one variable.
    let c = InMemory { name: "c".to_owned(), byte: 8, ty: "int".to_owned() };
    assert_eq!(variables.in_memory(), [c]);
}

#[test]
fn variables_are_where_all_of_them_is_and_as_long_as_their_blocks() {
    let range = |kind: u8, first: u32, length: u32| {
        let mut entry = vec![kind];
        entry.extend(first.to_le_bytes());
        entry.extend(length.to_le_bytes());
        entry
    };
    let int = FIRST as u32 + 9;
    let variable = |name: u8, at: &[u8]| {
        let mut entry = vec![4, name, 0];
        entry.extend(int.to_le_bytes());
        entry.push(at.len() as u8);
        entry.extend(at);
        entry
    };
    // DW_OP_WASM_location, DW_OP_fbreg, DW_OP_piece, DW_OP_stack_value.
    let (local, byte, piece, value) = ([0xed, 0, 1], [0x91, 8], [0x93, 2], [0x9f]);
    let entries = [
        range(11, 0, 100),
        b"\x08int\0\x04".to_vec(),
        range(10, 2, 50),
        variable(b'm', &byte),
        variable(b'p', &[&byte[..], &piece].concat()),
        range(12, 10, 10),
        variable(b'a', &[&local[..], &value].concat()),
        vec![0],
        range(12, 20, 10),
        variable(b'b', &local),
        vec![0; 3],
    ];
    let wasm = wat::parse_str("(module (func))").unwrap();
    let info = DebugInfo::read(&described(wasm, &entries.concat(), &[])).expect("there is some");
    let variables = info.variables(2).expect("the function is described");
    let at = |address| variables.at(address, Storage::Local(1));
    assert_eq!(
        (at(9), at(10), at(19), at(20), at(30)),
        (None, Some("a"), Some("a"), Some("b"), None)
    );
    let m = InMemory { name: "m".to_owned(), byte: 8, ty: "int of 4 bytes".to_owned() };
    assert_eq!(variables.in_memory(), [m]);
    assert!(info.variables(3).is_none());
}
