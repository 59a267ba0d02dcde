//! Valid modules that have very much of one thing. Each exports `main`, which takes a number and returns it at once.

/// A kind of module, and how large it is at full size.
pub struct Shape {
    pub name: &'static str,
    pub size: usize,
    /// Of this size.
    pub module: fn(usize) -> Vec<u8>,
}

pub const SHAPES: [Shape; 9] = [
    Shape { name: "calls in one function", size: 500_000, module: calls },
    Shape { name: "nested loops", size: 50_000, module: nested_loops },
    Shape { name: "entries of a `br_table`", size: 1_000_000, module: table_entries },
    Shape { name: "targets of a `br_table`", size: 100_000, module: table_targets },
    Shape { name: "operators in a row", size: 250_000, module: operators },
    Shape { name: "types", size: 1_000_000, module: types },
    Shape { name: "elements of a table", size: 10_000_000, module: table },
    Shape { name: "globals", size: 1_000_000, module: globals },
    Shape { name: "functions", size: 100_000, module: functions },
];

const I32: u8 = 0x7f;
const NO_RESULT: u8 = 0x40;
const BLOCK: u8 = 0x02;
const LOOP: u8 = 0x03;
const END: u8 = 0x0b;
const BR_TABLE: u8 = 0x0e;
const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I32_CONST: u8 = 0x41;
const I32_ADD: u8 = 0x6a;

/// The parameter.
const ARGUMENT: [u8; 2] = [LOCAL_GET, 0];

fn calls(n: usize) -> Vec<u8> {
    let body = [&ARGUMENT[..], &[CALL, 1].repeat(n)].concat();
    Parts { bodies: vec![body, ARGUMENT.to_vec()], ..Parts::default() }.module()
}

fn nested_loops(n: usize) -> Vec<u8> {
    let body = [&[LOOP, NO_RESULT].repeat(n)[..], &[END].repeat(n), &ARGUMENT].concat();
    Parts { bodies: vec![body], ..Parts::default() }.module()
}

fn table_entries(n: usize) -> Vec<u8> {
    br_table(n, 1000)
}

fn table_targets(n: usize) -> Vec<u8> {
    br_table(n, n)
}

/// A `br_table` of so many entries that lead to so many blocks.
fn br_table(entries: usize, blocks: usize) -> Vec<u8> {
    let mut body = [BLOCK, NO_RESULT].repeat(blocks);
    body.extend(ARGUMENT);
    body.push(BR_TABLE);
    number(entries, &mut body);
    (0..=entries).for_each(|entry| number(entry % blocks, &mut body));
    body.extend([END].repeat(blocks));
    body.extend(ARGUMENT);
    Parts { bodies: vec![body], ..Parts::default() }.module()
}

/// A chain of additions, each to the result of the one before.
fn operators(n: usize) -> Vec<u8> {
    let body = [&ARGUMENT[..], &[I32_CONST, 1, I32_ADD].repeat(n), &[LOCAL_SET, 0], &ARGUMENT];
    Parts { bodies: vec![body.concat()], ..Parts::default() }.module()
}

/// All of them different.
fn types(n: usize) -> Vec<u8> {
    let more = (1..n).map(|i| {
        let params = (0..10).map(|digit| I32 - (i >> (2 * digit) & 3) as u8);
        [0x60, 10].into_iter().chain(params).chain([0]).collect()
    });
    Parts { types: more.collect(), bodies: vec![ARGUMENT.to_vec()], ..Parts::default() }.module()
}

fn table(n: usize) -> Vec<u8> {
    let mut table = vec![0x70, 0];
    number(n, &mut table);
    Parts { tables: vec![table], bodies: vec![ARGUMENT.to_vec()], ..Parts::default() }.module()
}

fn globals(n: usize) -> Vec<u8> {
    let global = vec![I32, 1, I32_CONST, 0, END];
    Parts { globals: vec![global; n], bodies: vec![ARGUMENT.to_vec()], ..Parts::default() }.module()
}

fn functions(n: usize) -> Vec<u8> {
    let more = (1..n).map(|i| [LOCAL_GET, 0, I32_CONST, (i % 64) as u8, I32_ADD].to_vec());
    let bodies = [ARGUMENT.to_vec()].into_iter().chain(more).collect();
    Parts { bodies, ..Parts::default() }.module()
}

/// What a module is made of: items without what says how many or how long they are.
#[derive(Default)]
struct Parts {
    /// Besides the first one, from `i32` to `i32`.
    types: Vec<Vec<u8>>,
    tables: Vec<Vec<u8>>,
    globals: Vec<Vec<u8>>,
    /// Operators of functions of the first type, without the last `end`.
    bodies: Vec<Vec<u8>>,
}

impl Parts {
    fn module(self) -> Vec<u8> {
        let types = [vec![0x60, 1, I32, 1, I32]].into_iter().chain(self.types);
        let functions = self.bodies.iter().map(|_| vec![0]);
        let export = [&[4][..], b"main", &[0, 0]].concat();
        let code = self.bodies.iter().map(|body| {
            let mut entry = Vec::with_capacity(body.len() + 8);
            number(body.len() + 2, &mut entry);
            entry.push(0);
            entry.extend_from_slice(body);
            entry.push(END);
            entry
        });
        let sections: [(u8, Vec<Vec<u8>>); 6] = [
            (1, types.collect()),
            (3, functions.collect()),
            (4, self.tables),
            (6, self.globals),
            (7, vec![export]),
            (10, code.collect()),
        ];
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for (id, items) in sections {
            if items.is_empty() {
                continue;
            }
            let mut section = Vec::new();
            number(items.len(), &mut section);
            section.extend(items.concat());
            module.push(id);
            number(section.len(), &mut module);
            module.extend(section);
        }
        module
    }
}

/// Writes an unsigned number in LEB128.
fn number(mut value: usize, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_valid_modules() {
        for shape in SHAPES {
            let module = (shape.module)(shape.size / 1000 + 2);
            if let Err(error) = wasmparser::validate(&module) {
                panic!("{}: {error}", shape.name);
            }
        }
    }
}
