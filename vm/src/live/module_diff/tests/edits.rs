//! One edit after another.

use super::Running;
use crate::live::changes::AtLeast;
use crate::live::module_diff::initial_data::DataPolicy;
use crate::module::Item;

const NOTHING: &str = "nothing changed";

#[test]
fn a_changed_constant_is_a_changed_body() {
    let source = |k: i32| {
        format!(
            r#"(module (func $a (result i32) (i32.const {k})) (func $b (result i32) (call $a))
                (func (export "run") (result i32) (call $b)))"#
        )
    };
    let mut running = Running::new(source(1));
    assert_eq!(running.edit(source(1)), NOTHING);
    assert_eq!(running.edit(source(2)), "1 function changed (a)");
    assert_eq!(running.edit(source(2)), NOTHING);
    assert_eq!(running.edit(source(1)), "1 function changed (a)");
    assert_eq!(running.live.functions.len(), 3);
}

#[test]
fn a_function_that_is_inserted_renumbers_nothing() {
    let source = |first: &str, last: &str| {
        format!(
            r#"(module {first} (func $a (result i32) (i32.const 1)) (func $b (result i32) (call $a))
                (func (export "run") (result i32) (call $b)) {last})"#
        )
    };
    let mut running = Running::new(source("", ""));
    let new = r#"(func $new (param i64))"#;
    let diff = running.diff(source(new, "")).unwrap();
    assert_eq!(diff.functions.len(), 1);
    assert_eq!(diff.functions[0].ty, 1);
    assert_eq!(running.apply(diff), "1 function added (new), 1 type added");
    // It is found again wherever it goes, and also after it has been away.
    assert_eq!(running.edit(source("", new)), NOTHING);
    assert_eq!(running.edit(source("", "")), "1 function no longer used (new)");
    assert_eq!(running.edit(source("", "")), NOTHING);
    assert_eq!(running.edit(source(new, "")), NOTHING);
    assert_eq!(running.live.functions.len(), 4);
}

#[test]
fn ten_edits_add_a_function_once() {
    let source = |k: i32| {
        format!(
            r#"(module (func $added (param i32) (result i32) (i32.add (local.get 0) (i32.const {k})))
                (func (export "run") (result i32) (call $added (i32.const 1))))"#
        )
    };
    let mut running = Running::new(r#"(module (func (export "run") (result i32) (i32.const 0)))"#);
    assert_eq!(
        running.edit(source(0)),
        "1 function changed (run), 1 function added (added), 1 type added"
    );
    for k in 1..10 {
        assert_eq!(running.edit(source(k)), "1 function changed (added)");
    }
    assert_eq!(running.live.functions.len(), 2);
}

#[test]
fn a_function_of_another_type_is_added_with_all_that_refers_to_it() {
    let one = r#"(module (table 2 funcref) (elem (i32.const 0) $f $g)
        (func $f (export "f") (result i32) (i32.const 1)) (func $g)
        (func $main (export "run") (result i32) (call $f)))"#;
    let two = r#"(module (table 2 funcref) (elem (i32.const 0) $f $g)
        (func $f (export "f") (param i32) (result i32) (local.get 0)) (func $g)
        (func $main (export "run") (result i32) (call $f (i32.const 2))))"#;
    let mut running = Running::new(one);
    let diff = running.diff(two).unwrap();
    assert_eq!(diff.retyped, [(0, 3)]);
    assert_eq!(diff.elements.len(), 1);
    assert_eq!(diff.elements[0].offset, 0);
    assert_eq!(diff.elements[0].functions, [Some(3)]);
    assert_eq!(diff.exports, [("f".into(), Item::Func(3))]);
    assert_eq!(diff.bodies[0].body, [0, 0x41, 2, 0x10, 3, 0x0b]);
    assert_eq!(
        running.apply(diff),
        "1 function changed (main), 1 function of another type (f), 1 type added, \
         1 table entry set, 1 export changed"
    );
    assert_eq!(running.edit(two), NOTHING);
    // Back again: to the function that is still there.
    let diff = running.diff(one).unwrap();
    assert!(diff.functions.is_empty());
    assert_eq!(diff.elements[0].functions, [Some(0)]);
    running.apply(diff);
    assert_eq!(running.edit(one), NOTHING);
    let diff = running.diff(two).unwrap();
    assert!(diff.functions.is_empty());
}

#[test]
fn unnamed_functions_are_known_by_what_they_do_and_where_they_lie() {
    let source = |first: &str, k: i32| {
        format!(
            r#"(module {first} (func (result i32) (i32.const 1)) (func (result i32) (i32.const {k}))
                (func (result i32) (i32.const 3)))"#
        )
    };
    let mut running = Running::new(source("", 2));
    assert_eq!(running.edit(source("", 20)), "1 function changed (function 1)");
    let diff = running.diff(source("(func (result i32) (i32.const 0))", 20)).unwrap();
    assert!(diff.bodies.is_empty());
    assert_eq!(running.apply(diff), "1 function added (function 3)");
}

#[test]
fn callees_of_equal_bodies_are_equal() {
    let source = |order: &str, a: i32, b: i32| {
        let a = format!("(func $a (result i32) (i32.const {a}))");
        let b = format!("(func $b (result i32) (i32.const {b}))");
        let both = if order == "ab" { a + &b } else { b + &a };
        let text = format!(
            r#"(module {both} (func (export "run") (result i32) (i32.sub (call $a) (call $b))))"#
        );
        // Without names.
        let mut module = wasm_encoder::Module::new();
        for payload in wasmparser::Parser::new(0).parse_all(&wat::parse_str(&text).unwrap()) {
            let payload = payload.unwrap();
            if let Some((id, range)) = payload.as_section()
                && id != 0
            {
                let binary = wat::parse_str(&text).unwrap();
                let data = &binary[range.start as usize..range.end as usize];
                module.section(&wasm_encoder::RawSection { id, data });
            }
        }
        module.finish()
    };
    let running = Running::new(source("ab", 1, 2));
    running.assert_unchanged(source("ba", 1, 2));
    // Both change, and change places: the caller tells which is which.
    let diff = running.diff(source("ba", 10, 20)).unwrap();
    let bodies: Vec<_> = diff.bodies.iter().map(|b| (b.function, b.body.clone())).collect();
    assert_eq!(bodies, [(1, vec![0, 0x41, 20, 0x0b]), (0, vec![0, 0x41, 10, 0x0b])]);
}

#[test]
fn renaming_a_function_is_no_change() {
    let source = |name: &str| format!("(module (func ${name} (nop)) (func $other (call ${name})))");
    let mut running = Running::new(source("a"));
    assert_eq!(running.edit(source("b")), NOTHING);
    assert_eq!(running.edit(source("a")), NOTHING);
}

#[test]
fn a_function_is_not_taken_for_one_of_another_name_and_body() {
    let running = Running::new("(module (func $a (nop)) (func $b (unreachable)))");
    let diff = running.diff("(module (func $c (nop) (nop)) (func $b (unreachable)))").unwrap();
    assert_eq!(diff.summary().to_string(), "1 function added (c), 1 function no longer used (a)");
}

#[test]
fn an_export_may_point_elsewhere() {
    let source = |exported: &str| {
        format!(
            r#"(module (func $a (result i32) (i32.const 1)) (func $b (result i32) (i32.const 2))
                (export "run" (func ${exported})))"#
        )
    };
    let running = Running::new(source("a"));
    let diff = running.diff(source("b")).unwrap();
    assert_eq!(diff.exports, [("run".into(), Item::Func(1))]);
    assert!(diff.bodies.is_empty());
}

#[test]
fn globals_keep_their_values() {
    let source = |more: &str, a: i32| {
        format!(
            r#"(module {more} (global $a (mut i32) (i32.const {a})) (global (mut i32) (i32.const 7))
                (func (export "run") (result i32) (i32.add (global.get $a) (global.get 1))))"#
        )
    };
    let mut running = Running::new(source("", 1));
    let diff = running.diff(source("", 2)).unwrap();
    assert_eq!(diff.summary().notes, ["global `a` keeps its value; only its first value changed"]);
    assert_eq!(diff.summary().to_string(), NOTHING);

    let diff = running.diff(source("(global $new i64 (i64.const 5))", 1)).unwrap();
    assert_eq!(diff.globals.len(), 1);
    assert_eq!(diff.globals[0].init, [0x42, 5, 0x0b]);
    // `global.get 1` now means `$a`.
    assert_eq!(running.apply(diff), "1 function changed (run), 1 global added");
    assert_eq!(running.edit(source("(global $new i64 (i64.const 5))", 1)), NOTHING);
}

#[test]
fn a_global_of_another_type_is_refused() {
    let running = Running::new("(module (global $a (mut i32) (i32.const 1)))");
    assert_eq!(
        running.refusals("(module (global $a (mut i64) (i64.const 1)))"),
        ["global `a` is of type global (mut i64) instead of global (mut i32)"]
    );
    assert_eq!(
        running.refusals("(module (global $a i32 (i32.const 1)))"),
        ["global `a` is of type global i32 instead of global (mut i32)"]
    );
}

#[test]
fn imports_cannot_be_added_but_may_go() {
    let source = |imports: &str| format!("(module {imports} (func $f))");
    let a = r#"(import "m" "a" (func $a))"#;
    let b = r#"(import "m" "b" (func $b (param i32)))"#;
    let mut running = Running::new(source(&format!("{a} {b}")));
    assert_eq!(running.edit(source(&format!("{b} {a}"))), NOTHING);
    assert_eq!(running.edit(source(b)), NOTHING);
    assert_eq!(running.edit(source(a)), NOTHING);
    assert_eq!(
        running.refusals(&source(r#"(import "m" "b" (func (param i64))) (import "m" "c" (func))"#)),
        [
            "import `m` `b` is of type func (i64) -> () instead of func (i32) -> (), and a running \
             program cannot be linked anew",
            "import `m` `c` (func () -> ()) is new, and a running program cannot be linked anew",
        ]
    );
}

#[test]
fn memories_and_tables_must_be_there() {
    let running = Running::new("(module (memory 1 2) (table 1 9 funcref))");
    assert_eq!(
        running.refusals("(module (memory 3 3) (memory 1) (table 1 externref))"),
        [
            "memory 0 (in pages) begins with a size of 3, and the running one can have 2 at most",
            "memory 1 is new, and cannot be added to a running program",
            "table 0 is of externref instead of funcref",
        ]
    );
    assert_eq!(
        running.refusals("(module (memory 1 2) (table 10 funcref))"),
        ["table 0 begins with a size of 10, and the running one can have 9 at most"]
    );
}

#[test]
fn memories_and_tables_get_larger_but_not_smaller() {
    let mut running = Running::new("(module (memory 1 3) (table 1 funcref))");
    let larger = "(module (memory 2 4) (table 3 8 funcref))";
    let diff = running.diff(larger).unwrap();
    assert_eq!(diff.memory_sizes, [AtLeast { index: 0, size: 2 }]);
    assert_eq!(diff.table_sizes, [AtLeast { index: 0, size: 3 }]);
    assert!(diff.elements.is_empty() && !diff.only_bodies());
    assert_eq!(
        diff.summary().notes,
        [
            "memory 0 keeps the limit that it was made with: 3 pages, not 4 pages",
            "table 0 keeps the limit that it was made with: none, not 8 elements",
        ]
    );
    assert_eq!(running.apply(diff), "1 table made larger, 1 memory made larger");
    running.assert_unchanged(larger);
    assert!(running.diff(larger).unwrap().summary().notes.is_empty());
    running.assert_unchanged("(module (memory 0 3) (table 0 funcref))");
}

#[test]
fn tables_and_memories_are_known_by_name() {
    let source = |items: &str| {
        format!(
            r#"(module {items}
                (func (export "run") (result i32) (i32.add (table.size $b) (memory.size $n))))"#
        )
    };
    let all = "(table $a 1 funcref) (table $b 1 funcref) (memory $m 1) (memory $n 1)";
    let mut running = Running::new(source(all));
    running.assert_unchanged(source(
        "(table $b 1 funcref) (table $a 1 funcref) (memory $n 1) (memory $m 1)",
    ));
    // Alone, and then with the other one again.
    assert_eq!(running.edit(source("(table $b 1 funcref) (memory $n 1)")), NOTHING);
    assert_eq!(running.edit(source(all)), NOTHING);
    // Renamed.
    assert_eq!(running.edit(source(&all.replace("$a", "$c").replace("$m", "$o"))), NOTHING);
}

#[test]
fn moved_data_is_refused_unless_told_otherwise() {
    let source = |at: i32, text: &str| {
        format!(
            r#"(module (memory 1) (data (i32.const {at}) "{text}")
                (func (export "run") (result i32) (i32.load8_u (i32.const {at}))))"#
        )
    };
    let running = Running::new(source(16, "abc"));
    let new = source(17, "abcd");
    let reasons = running.refusals(&new);
    let moved = "data segment 0 moved from 0x10 to 0x11, grew from 3 to 4 bytes";
    let looked_for = "static data may have moved: run refers to address 0x11, where the running program refers to 0x10";
    assert_eq!(reasons, [moved, looked_for]);
    let kept = running.diff_with(&new, DataPolicy::Keep).unwrap();
    assert!(kept.data.is_empty());
    assert_eq!(
        kept.summary().notes,
        [format!("memory stays as it is: {moved}"), looked_for.to_owned()]
    );
    assert!(running.diff_with(&new, DataPolicy::Apply).is_err());
    let new = source(16, "Xbcd");
    let reasons = running.refusals(&new);
    let difference =
        "grew from 3 to 4 bytes, differs from byte 0 (at 0x10) on, which was 0x61 and is 0x58";
    assert_eq!(reasons, [format!("data segment 0 {difference}")]);
    let applied = running.diff_with(&new, DataPolicy::Apply).unwrap();
    let written: Vec<u8> = applied.data.iter().flat_map(|patch| patch.bytes.clone()).collect();
    assert_eq!((applied.data[0].address, &written[..]), (16, &b"Xd"[..]));
    assert_eq!(applied.summary().to_string(), "2 bytes of data written");
}

#[test]
fn data_is_compared_with_what_the_last_edit_left() {
    let source = |text: &str| format!(r#"(module (memory 1) (data (i32.const 0) "{text}"))"#);
    let mut running = Running::new(source("abc"));
    let diff = running.diff_with(source("abd"), DataPolicy::Apply).unwrap();
    running.apply(diff);
    assert_eq!(running.edit(source("abd")), NOTHING);
    assert_eq!(running.refusals(&source("abc")).len(), 1);
}

#[test]
fn a_moved_stack_is_a_moved_layout() {
    let source = |stack: i32| {
        format!("(module (memory 2) (global $__stack_pointer (mut i32) (i32.const {stack})))")
    };
    let running = Running::new(source(65536));
    assert_eq!(
        running.refusals(&source(65552)),
        ["the memory's layout moved: `__stack_pointer` begins with 0x10010 instead of 0x10000"]
    );
    let diff = running.diff_with(source(65552), DataPolicy::Keep).unwrap();
    assert_eq!(diff.summary().notes.len(), 1);
}

#[test]
fn segments_that_code_refers_to_must_be_there() {
    let source = |text: &str| {
        format!(
            r#"(module (memory 1) (table 4 funcref) (data $d "{text}") (elem $e func $f $f)
                (func $f)
                (func $run (export "run")
                    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))
                    (table.init $e (i32.const 0) (i32.const 0) (i32.const 2))))"#
        )
    };
    let running = Running::new(source("abc"));
    running.assert_unchanged(source("abc"));
    assert_eq!(
        running.refusals(&source("abd")),
        ["run refers to data segment 0, which is new or changed and cannot be added to a running \
          program"]
    );
    let elements = source("abc").replace("func $f $f)", "func $f $run)");
    assert_eq!(
        running.refusals(&elements),
        [
            "run refers to element segment 0, which is new or changed and cannot be added to a running \
          program"
        ]
    );
}

#[test]
fn the_start_function_is_not_run_again() {
    let source = |k: i32| {
        format!(
            "(module (global $g (mut i32) (i32.const 0)) (func $s (global.set $g (i32.const {k})))
                (start $s))"
        )
    };
    let mut running = Running::new(source(1));
    assert_eq!(running.edit(source(1)), NOTHING);
    let diff = running.diff(source(2)).unwrap();
    assert_eq!(diff.summary().notes, ["the start function is not run again"]);
    running.apply(diff);
    assert!(running.diff(source(2)).unwrap().summary().notes.is_empty());
}

#[test]
fn table_entries_follow_their_functions() {
    let source = |order: &str| {
        format!(
            r#"(module (table 3 funcref) (elem (i32.const 0) {order}) (func $a (nop))
                (func $b (nop) (nop)) (func $c))"#
        )
    };
    let mut running = Running::new(source("$a $b $c"));
    // The program may hold one of them as a number.
    let refused = running.diff(source("$a $c $b")).unwrap_err();
    let why = "pointers to functions have moved: entry 1 of table 0 is c, and the running program has b there";
    assert_eq!(refused.reasons[0].to_string(), why);
    let diff = running.diff_with(source("$a $c $b"), DataPolicy::Apply).unwrap();
    assert_eq!(diff.elements.len(), 1);
    assert_eq!(diff.elements[0].offset, 1);
    assert_eq!(diff.elements[0].functions, [Some(2), Some(1)]);
    assert_eq!(running.apply(diff), "2 table entries set");
    assert_eq!(running.edit(source("$a $c $b")), NOTHING);
    let back = running.diff_with(source("$a $b $c"), DataPolicy::Apply).unwrap();
    assert_eq!(running.apply(back), "2 table entries set");
    // One that was elsewhere takes the place of one that is not any more.
    let refused = Running::new(source("$a $b")).diff(source("$b $c")).unwrap_err();
    let why = "pointers to functions have moved: entry 0 of table 0 is b, and the running program has a there";
    assert_eq!(refused.reasons[0].to_string(), why);
    // A function that was not in it takes the place of one that is not any more.
    let mut running = Running::new(source("$a $b"));
    assert_eq!(running.edit(source("$a $c")), "1 table entry set");
}

#[test]
fn elements_at_imported_places_cannot_change() {
    let source = |order: &str| {
        format!(
            r#"(module (import "m" "base" (global $base i32)) (table 3 funcref)
                (elem (global.get $base) {order}) (func $a (nop)) (func $b (nop) (nop)))"#
        )
    };
    let mut running = Running::new(source("$a $b"));
    assert_eq!(running.edit(source("$a $b")), NOTHING);
    assert_eq!(
        running.refusals(&source("$b $a")),
        ["elements of table 0 that depend on imports differ"]
    );
}

#[test]
fn a_global_that_comes_back_is_the_one_that_went() {
    for name in ["$a", ""] {
        let source = |global: &str, init: i32| {
            let global = global.replace("{}", name);
            format!(
                r#"(module (global $other (mut i64) (i64.const {init})) {global}
                    (func (export "run") (result i64) (global.get $other)))"#
            )
        };
        let global = "(global {} (mut i32) (i32.const 1))";
        let mut running = Running::new(source(global, 5));
        assert_eq!(running.edit(source("", 5)), NOTHING);
        // Another edit in between.
        assert_eq!(running.edit(source("", 6)), NOTHING);
        let diff = running.diff(source(global, 6)).unwrap();
        assert!(diff.globals.is_empty());
        assert_eq!(diff.summary().notes.len(), 1);
        assert!(diff.summary().notes[0].ends_with(" is back, with the value that it had"));
        assert_eq!(running.apply(diff), NOTHING);
        assert_eq!(running.live.globals.len(), 2);
    }
}

#[test]
fn a_global_without_a_name_is_not_taken_for_an_older_one_with_one() {
    let mut running = Running::new("(module (global $a (mut i32) (i32.const 0)))");
    running.edit("(module)");
    assert_eq!(running.edit("(module (global (mut i32) (i32.const 0)))"), "1 global added");
    assert_eq!(
        running
            .edit("(module (global (mut i32) (i32.const 0)) (global $b (mut i32) (i32.const 0)))"),
        "1 global added"
    );
}

#[test]
fn a_function_without_a_name_that_comes_back_is_the_one_that_went() {
    let source = |function: &str| {
        format!(r#"(module (func (result i32) (i32.const 1)) {function} (export "run" (func 0)))"#)
    };
    let function = "(func (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3)))";
    let mut running = Running::new(source(function));
    assert_eq!(running.edit(source("")), "1 function no longer used (function 1)");
    assert_eq!(running.edit(source(function)), NOTHING);
    assert_eq!(running.live.functions.len(), 2);
}

#[test]
fn passive_segments_come_back() {
    let source = |segments: &str, code: &str| {
        format!(
            r#"(module (memory 1) (table 4 funcref) {segments} (func $f)
                (func (export "run") {code}))"#
        )
    };
    let init = "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))
        (table.init $e (i32.const 0) (i32.const 0) (i32.const 2))";
    let full = source(r#"(data $d "abc") (elem $e func $f $f)"#, init);
    let mut running = Running::new(&full);
    assert_eq!(running.edit(source("", "")), "1 function changed (run)");
    assert_eq!(running.edit(&full), "1 function changed (run)");
    running.assert_unchanged(&full);
}

#[test]
fn a_constant_with_another_value_is_another_global() {
    let source = |value: i32| {
        format!(
            r#"(module (global $speed (export "speed") i32 (i32.const {value}))
                (global $work funcref (ref.func $run))
                (func $run (export "run") (result i32)
                    (drop (global.get $work)) (global.get $speed)))"#
        )
    };
    let mut running = Running::new(source(5));
    let diff = running.diff(source(6)).unwrap();
    assert_eq!(diff.globals.len(), 1);
    assert_eq!(diff.exports, [("speed".into(), Item::Global(2))]);
    assert!(diff.summary().notes.is_empty());
    assert_eq!(
        running.apply(diff),
        "1 function changed (run), 1 constant changed, 1 export changed"
    );
    running.assert_unchanged(source(6));
    // Back and forth, without new globals.
    for value in [5, 6, 5] {
        assert_eq!(
            running.edit(source(value)),
            "1 function changed (run), 1 constant changed, 1 export changed"
        );
        running.assert_unchanged(source(value));
    }
    assert_eq!(running.live.globals.len(), 3);
}

#[test]
fn only_a_global_that_can_be_set_has_a_value_to_lose() {
    let mut running = Running::new("(module (global $a i32 (i32.const 1)))");
    assert_eq!(running.edit("(module (global $a (mut i64) (i64.const 1)))"), "1 global added");
    let reasons = running.refusals("(module (global $a i64 (i64.const 1)))");
    assert_eq!(reasons, ["global `a` is of type global i64 instead of global (mut i64)"]);
}

#[test]
fn a_module_that_could_not_be_instantiated_is_refused() {
    let source = |at: i32| {
        format!(
            r#"(module (table 2 funcref) (memory 1) (elem (i32.const {at}) $f) (func $f)
                (data (i32.const {}) "ab"))"#,
            at * 65_534
        )
    };
    let running = Running::new(source(1));
    assert_eq!(
        running.refusals(&source(2)),
        [
            "element segment 0 ends at 0x3, and table 0 begins with a size of 0x2: no instance of this module \
             could be made",
            "data segment 0 ends at 0x1fffe, and memory 0 begins with a size of 0x10000: no instance of this \
             module could be made",
        ]
    );
}
