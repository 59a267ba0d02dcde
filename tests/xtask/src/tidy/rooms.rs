//! The rooms of a crate stand one above the other, and import from those below them only.
//!
//! A room is a folder, or a file that stands alone, of the crate's `src`. What a crate shows to others
//! stands in its `lib.rs`, from which nothing inside it is imported: else every room would depend on all.

use super::{Finding, Source, rust_text};

/// A crate's sources, and its rooms from the lowest up.
struct House {
    sources: &'static str,
    rooms: &'static [&'static str],
}

const HOUSES: [House; 3] = [
    House {
        sources: "osr/src/",
        rooms: &[
            "process",
            "sync",
            "shadow_stack",
            "stub_addresses",
            "code",
            "handshake",
            "stack",
            "transfer",
            "calls",
            "verify_walks",
        ],
    },
    House {
        sources: "tiers/src/",
        rooms: &[
            "types",
            "append_vec",
            "atomics",
            "shared_bytes",
            "trap",
            "module_env",
            "body",
            "caught",
            "liveness",
            "fuel",
            "abi",
            "lowered",
            "context",
            "interp",
            "baseline",
            "lower",
            "compile",
        ],
    },
    House {
        sources: "vm/src/",
        rooms: &[
            "types", "config", "code", "engine", "module", "store", "live", "stack", "call",
            "link", "wasi",
        ],
    },
];

/// Of the tests of a crate alone: they may know all of it.
const TESTS: [&str; 5] = ["tests", "every_tier", "harness", "execution", "spec_suite"];

/// What stands before items and statements that are compiled for tests only.
const FOR_TESTS: [&str; 2] = ["#[cfg(test)]", "#[cfg(feature = \"verify-walks\")]"];

/// Imports from a room above, or from the crate's own face, and rooms that have no place.
pub fn check(source: &Source) -> Vec<Finding> {
    HOUSES
        .iter()
        .filter_map(|house| Some((house, source.path.strip_prefix(house.sources)?)))
        .flat_map(|(house, path)| check_in(house, path, source))
        .collect()
}

fn check_in(house: &House, path: &str, source: &Source) -> Vec<Finding> {
    let modules: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if modules == ["lib"]
        || modules.iter().any(|module| TESTS.contains(module) || module.ends_with("_tests"))
    {
        return Vec::new();
    }
    let floor = |room: &str| house.rooms.iter().position(|known| *known == room);
    let Some(own) = floor(modules[0]) else {
        let what = format!("`{}` has no place among the rooms of {}", modules[0], house.sources);
        return vec![Finding::new(&source.path, 0, what)];
    };
    // The name of a feature is a string.
    let code = rust_text::without_comments(&source.text);
    let code = rust_text::without_comments_and_strings(&without_tests(&code));
    // Another way to say `crate::`.
    let depth = modules.iter().filter(|module| **module != "mod").count();
    let to_the_root = "super::".repeat(depth);
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let by_name = names_behind("crate::", line).chain(names_behind(&to_the_root, line));
        for name in by_name {
            let what = match floor(name) {
                Some(other) if other <= own => continue,
                Some(_) => {
                    format!("`{}` imports from `{name}`, a room above it", house.rooms[own])
                }
                None => {
                    format!("`crate::{name}` is the crate's face: import from where it is defined")
                }
            };
            findings.push(Finding::new(&source.path, index + 1, what));
        }
    }
    findings
}

/// The names that follow a path in a line.
fn names_behind<'l>(path: &'l str, line: &'l str) -> impl Iterator<Item = &'l str> {
    line.match_indices(path).filter_map(move |(at, path)| {
        let within = |c: char| c.is_alphanumeric() || "_$:".contains(c);
        // Of a list in braces nothing is known here, so that it is not to be written that way.
        let name =
            line[at + path.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        (!line[..at].ends_with(within)).then_some(name)
    })
}

/// The code with what is compiled for tests only blanked.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = FOR_TESTS.iter().filter_map(|mark| rest.find(mark)).min() {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        out.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// Where the item at the beginning ends: with its semicolon or its closing brace.
fn item_end(item: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn broken(path: &str, text: &str) -> usize {
        check(&source(path, text)).len()
    }

    #[test]
    fn downwards_and_within_a_room_is_fine() {
        assert_eq!(broken("vm/src/call/func.rs", "use crate::store::func::Func;\n"), 0);
        assert_eq!(broken("vm/src/store/table.rs", "use crate::store::func::Func;\n"), 0);
        assert_eq!(broken("vm/src/engine.rs", "use crate::code::system::CodeSystem;\n"), 0);
        assert_eq!(broken("examples/lower/mod.rs", "use crate::anything::Else;\n"), 0);
    }

    #[test]
    fn upwards_is_found_wherever_it_is_written() {
        assert_eq!(broken("vm/src/store/func.rs", "use crate::call::func::f;\n"), 1);
        assert_eq!(broken("vm/src/store/mod.rs", "fn f() { crate::link::instance::g() }\n"), 1);
        assert_eq!(broken("vm/src/code/a.rs", "fn f(x: &crate::engine::Engine) {}\n"), 1);
        assert_eq!(broken("vm/src/code/a.rs", "use super::super::engine::Engine;\n"), 1);
        assert_eq!(broken("vm/src/live/a/b.rs", "use super::super::stack::frames::f;\n"), 0);
    }

    #[test]
    fn the_face_of_the_crate_is_found() {
        assert_eq!(broken("vm/src/store/func.rs", "use crate::Func;\n"), 1);
        assert_eq!(broken("vm/src/store/func.rs", "use crate::{Func, Store};\n"), 1);
    }

    #[test]
    fn comments_and_tests_may_name_anything() {
        assert_eq!(
            broken("vm/src/store/func.rs", "/// See [`crate::call`], [`crate::Func`].\n"),
            0
        );
        let tests = "#[cfg(test)]\nmod tests {\n use crate::call::f;\n fn g() {}\n}\n";
        assert_eq!(broken("vm/src/store/func.rs", tests), 0);
        assert_eq!(broken("tiers/src/interp/catch_up_tests.rs", "use crate::lower::f;\n"), 0);
        assert_eq!(broken("vm/src/store/func/tests.rs", "use crate::call::f;\n"), 0);
        let check =
            "#[cfg(feature = \"verify-walks\")]\nunsafe {\n crate::verify_walks::verify() }\n";
        assert_eq!(broken("osr/src/stack/walk.rs", check), 0);
        assert_eq!(broken("osr/src/stack/walk.rs", "fn f() { crate::verify_walks::verify() }"), 1);
        let behind = format!("{tests}use crate::call::f;\n");
        assert_eq!(broken("vm/src/store/func.rs", &behind), 1);
    }

    #[test]
    fn a_new_room_needs_a_place() {
        assert_eq!(broken("vm/src/attic/boxes.rs", ""), 1);
        assert_eq!(broken("vm/src/attic.rs", ""), 1);
    }
}
