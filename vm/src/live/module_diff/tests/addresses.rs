//! Static data that lies elsewhere in the new module.

use super::Running;
use crate::live::module_diff::initial_data::DataPolicy;
use crate::live::module_diff::refusal::ModuleRefusal;
use crate::module::debug_info::tests as debug_info;
use proptest::prelude::*;
use wasmparser::{Parser, Payload};

/// As clang writes it: zeroed data has no segment, and nothing but code tells where it is.
fn counters(count: u32, table: u32, step: i32) -> String {
    format!(
        r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66576))
            (func $count (result i32)
                (i32.store offset={count} (i32.const 0)
                    (i32.add (i32.load offset={count} (i32.const 0)) (i32.const {step})))
                (i32.load offset={count} (i32.const 0)))
            (func $at (param i32) (result i32)
                (i32.load offset={table} (i32.shl (local.get 0) (i32.const 2))))
            (func $sum (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
            (func (export "run") (result i32) (call $sum (i32.const {table}) (call $count))))"#
    )
}

#[test]
fn zeroed_data_that_moved_is_refused_though_no_segment_tells() {
    let running = Running::new(counters(1024, 1028, 1));
    assert_eq!(
        running.refusals(&counters(1024, 1032, 1)),
        [
            "static data may have moved: at refers to address 0x408, where the running program refers to 0x404",
        ]
    );
    for policy in [DataPolicy::Refuse, DataPolicy::Apply] {
        assert!(running.diff_with(counters(1032, 1036, 1), policy).is_err());
    }
    let kept = running.diff_with(counters(1024, 1032, 1), DataPolicy::Keep).unwrap();
    assert_eq!(kept.summary().notes.len(), 1);
    assert_eq!(
        running.diff(counters(1024, 1028, 2)).unwrap().summary().to_string(),
        "1 function changed (count)"
    );
}

#[test]
fn data_that_changed_places_is_refused() {
    let running = Running::new(counters(1024, 1028, 1));
    assert!(running.diff(counters(1028, 1024, 1)).is_err());
}

#[test]
fn a_stack_pointer_without_a_name_that_moved_is_a_moved_layout() {
    let source = |stack: i32| {
        format!(
            r#"(module (memory 2) (global (mut i32) (i32.const {stack}))
                (func (export "run") (result i32) (local i32)
                    (global.set 0 (local.tee 0 (i32.sub (global.get 0) (i32.const 16))))
                    (i32.store offset=12 (local.get 0) (i32.const 1))
                    (i32.load offset=12 (local.get 0))
                    (global.set 0 (i32.add (local.get 0) (i32.const 16)))))"#
        )
    };
    let running = Running::new(source(66560));
    for policy in [DataPolicy::Refuse, DataPolicy::Apply] {
        let refused = running.diff_with(source(66576), policy).unwrap_err();
        assert_eq!(
            refused.reasons[0].to_string(),
            "the memory's layout moved: `__stack_pointer` begins with 0x10410 instead of 0x10400"
        );
    }
}

/// `get` reads `one`, and `other` is known from another function.
fn two_variables(get: u32, known: &str) -> String {
    format!(
        r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66576))
            (func $get (result i32) (i32.load offset={get} (i32.const 0)))
            (func (export "run") (result i32)
                {known} (call $get)))"#
    )
}

#[test]
fn another_variable_is_another_variable_if_others_refer_to_both() {
    let known = "(i32.store offset=1024 (i32.const 0) (i32.const 1))
        (i32.store offset=1028 (i32.const 0) (i32.const 2))";
    let running = Running::new(two_variables(1024, known));
    let diff = running.diff(two_variables(1028, known)).unwrap();
    assert_eq!(diff.summary().to_string(), "1 function changed (get)");
    // Nothing else refers to them: the one variable may have moved.
    let running = Running::new(two_variables(1024, ""));
    assert!(running.diff(two_variables(1028, "")).is_err());
}

#[test]
fn names_tell_edits_from_moves_only_if_all_that_changed_is_described() {
    let source = |[one, other]: [u32; 2], number: u32, described: &[usize]| {
        let text = format!(
            r#"(module (memory 2)
                (func (export "f")
                    (drop (i32.load offset=1024 (i32.const 0)))
                    (drop (i32.load offset=1028 (i32.const 0)))
                    (i32.store offset={one} (i32.const 0) (i32.const 1))
                    (i32.store offset={other} (i32.const 0) (i32.const 1)))
                (func (export "g") (result i32) (i32.const {number})))"#
        );
        let wasm = wat::parse_str(text).unwrap();
        let (mut code, mut bodies) = (0, Vec::new());
        for payload in Parser::new(0).parse_all(&wasm) {
            match payload.unwrap() {
                Payload::CodeSectionStart { unchecked_range, .. } => code = unchecked_range.start,
                Payload::CodeSectionEntry(body) => bodies.push((body.range().start - code) as u32),
                _ => {}
            }
        }
        let bodies: Vec<u32> = described.iter().map(|&i| bodies[i]).collect();
        debug_info::described(wasm, &debug_info::functions(&bodies), &[])
    };
    let (here, there) = ([1024, 1028], [1028, 1024]);
    let edited = |old: &[usize], new: &[usize]| {
        Running::new(source(here, 1, old)).diff(source(there, 2, new)).is_ok()
    };
    assert!(edited(&[0, 1], &[0, 1]));
    for (old, new) in [(&[0][..], &[0, 1][..]), (&[0, 1], &[0]), (&[1], &[1]), (&[], &[])] {
        assert!(!edited(old, new), "{old:?} {new:?}");
    }
}

#[test]
fn a_variable_that_is_added_behind_all_others_is_no_move() {
    let running = Running::new(two_variables(1024, ""));
    let added = "(i32.store offset=1028 (i32.const 0) (i32.const 1))";
    let diff = running.diff(two_variables(1024, added)).unwrap();
    assert_eq!(diff.summary().to_string(), "1 function changed (run)");
}

#[test]
fn a_number_in_the_range_of_addresses_is_a_number_where_it_is_counted_with() {
    let source = |limit: i32| {
        two_variables(1024, &format!("(drop (i32.lt_s (call $get) (i32.const {limit})))"))
    };
    let running = Running::new(source(1024));
    assert!(running.diff(source(1028)).is_ok());
}

#[test]
fn the_end_of_all_data_is_an_address() {
    let source = |end: i32| {
        format!(
            r#"(module (memory 1) (data (i32.const 1024) "abcdefgh")
                (func $up_to (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1024)))
                (func (export "run") (result i32) (call $up_to (i32.const {end}))))"#
        )
    };
    let running = Running::new(source(1032));
    assert_eq!(
        running.refusals(&source(1028)),
        [
            "static data may have moved: run refers to address 0x404, where the running program refers to 0x408",
        ]
    );
    // What is behind it is none.
    assert!(Running::new(source(1033)).diff(source(1034)).is_ok());
}

#[test]
fn elements_of_another_size_are_refused_where_the_first_one_stays() {
    let source = |size: &str| {
        format!(
            r#"(module (memory 2)
                (func (export "run") (param i32) (result i32)
                    (i32.load offset=1028 (i32.add (i32.const 0) ({size})))))"#
        )
    };
    let running = Running::new(source("i32.shl (local.get 0) (i32.const 3)"));
    assert_eq!(
        running.refusals(&source("i32.mul (local.get 0) (i32.const 12)")),
        ["elements may have another size: run finds the next one 12 bytes further on instead of 8"]
    );
    assert!(running.diff(source("i32.mul (local.get 0) (i32.const 8)")).is_ok());
}

#[test]
fn fields_that_moved_are_refused() {
    let source = |field: u32, bias: i32| {
        format!(
            r#"(module (memory 2)
                (func (export "run") (param i32)
                    (i32.store offset={field} (local.get 0)
                        (i32.add (i32.load offset={field} (local.get 0)) (i32.const {bias})))))"#
        )
    };
    let running = Running::new(source(4, 1));
    assert_eq!(
        running.refusals(&source(8, 1)),
        ["a field may have moved: run looks for it 8 bytes behind a pointer instead of 4"]
    );
    assert!(running.diff(source(4, 2)).is_ok());
}

#[test]
fn a_parameter_that_is_set_besides_is_not_known_by_what_it_is_set_to() {
    let source = |field: u32| {
        format!(
            r#"(module (memory 2)
                (func (export "run") (param i32)
                    (if (i32.eqz (local.get 0)) (then (local.set 0 (i32.const 2048))))
                    (drop (i32.load offset={field} (local.get 0)))
                    (drop (i32.load offset={field} (local.get 0)))))"#
        )
    };
    let running = Running::new(source(4));
    assert_eq!(
        running.refusals(&source(8)),
        ["a field may have moved: run looks for it 8 bytes behind a pointer instead of 4"]
    );
}

/// `first` and `second` are how `run` loads, from what its parameter points to.
fn loads(first: &str, second: &str) -> String {
    format!(
        r#"(module (memory 2)
            (func (export "run") (param i32)
                (drop ({first} (local.get 0))) (drop ({second} (local.get 0)))))"#
    )
}

#[test]
fn one_operator_may_refer_to_another_field_and_two_may_not() {
    let running = Running::new(loads("i32.load offset=4", "i32.load offset=4"));
    assert!(running.diff(loads("i32.load offset=4", "i32.load offset=8")).is_ok());
    assert!(running.diff(loads("i32.load offset=8", "i32.load offset=8")).is_err());
    // Nor may one, if operators besides have come that refer to the same field.
    let more = "(drop (i32.load offset=8 (local.get 0))) (drop ";
    let edited = loads("i32.load offset=4", "i32.load offset=8").replacen("(drop ", more, 1);
    assert!(running.diff(edited).is_err());
}

#[test]
fn variables_that_have_another_type_are_refused() {
    let fields = Running::new(loads("i32.load offset=4", "i32.load offset=4"));
    assert_eq!(
        fields.refusals(&loads("i64.load offset=4", "i64.load offset=4")),
        [
            "a variable may have another type: run takes what is 4 bytes behind a pointer for an integer of 8 bytes \
          instead of an integer of 4 bytes"
        ]
    );
    let statics =
        |ty: &str| two_variables(1024, &format!("(drop ({ty}.load offset=1028 (i32.const 0)))"));
    let running = Running::new(statics("i32"));
    assert_eq!(
        running.refusals(&statics("f32")),
        [
            "a variable may have another type: run takes what is at 0x404 for a float of 4 bytes instead of an \
          integer of 4 bytes"
        ]
    );
    for policy in [DataPolicy::Refuse, DataPolicy::Apply] {
        assert!(running.diff_with(statics("f32"), policy).is_err());
    }
}

#[test]
fn two_variables_that_are_stored_at_once_may_be_stored_one_by_one() {
    let source = |store: &str| {
        two_variables(1024, &format!("{store} (drop (i32.load offset=1028 (i32.const 0)))"))
    };
    let both = "(i64.store offset=1024 (i32.const 0) (i64.const 0))";
    let each = "(i32.store offset=1024 (i32.const 0) (i32.const 0))
        (i32.store offset=1028 (i32.const 0) (i32.const 7))";
    assert!(Running::new(source(both)).diff(source(each)).is_ok());
}

#[test]
fn a_pointer_that_steps_further_has_larger_elements() {
    let source = |step: i32, added: i32| {
        format!(
            r#"(module (memory 2)
                (func (export "run") (param i32) (result i32) (local $sum i32)
                    (loop $again
                        (local.set $sum (i32.add (i32.load (local.get 0))
                            (i32.add (local.get $sum) (i32.const {added}))))
                        (br_if $again (i32.lt_u
                            (local.tee 0 (i32.add (local.get 0) (i32.const {step})))
                            (i32.const 2000))))
                    (local.get $sum)))"#
        )
    };
    let running = Running::new(source(8, 1));
    assert_eq!(
        running.refusals(&source(12, 1)),
        ["elements may have another size: run finds the next one 12 bytes further on instead of 8"]
    );
    assert!(running.diff(source(8, 2)).is_ok());
    // A sum that is no pointer may be counted by anything, and so may what is counted byte by byte.
    assert!(Running::new(source(1, 8)).diff(source(2, 12)).is_ok());
}

#[test]
fn a_pointer_in_the_frame_in_memory_steps_as_one_in_a_local() {
    let source = |step: i32| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66560))
                (func (export "run") (local $frame i32) (local $p i32) (local $by i32)
                    (local.set $frame (i32.sub (global.get 0) (i32.const 16)))
                    (local.set $p (i32.load offset=12 (local.get $frame)))
                    (drop (i32.load offset=4 (local.get $p)))
                    (local.set $by (i32.const {step}))
                    (i32.store offset=12 (local.get $frame)
                        (i32.add (i32.load offset=12 (local.get $frame)) (local.get $by)))))"#
        )
    };
    assert!(Running::new(source(8)).diff(source(12)).is_err());
}

/// `make` allocates something, and `use` refers to a field of it.
fn allocates(size: i32, field: &str) -> String {
    format!(
        r#"(module (memory 2)
            (func $allocate (param i32) (result i32) (local.get 0))
            (func $make (export "make") (result i32) (call $allocate (i32.const {size})))
            (func $use (export "use") (param i32) (i32.store offset=4 (local.get 0) (i32.const 1))
                {field}))"#
    )
}

#[test]
fn a_struct_that_grew_is_refused_where_a_size_and_a_new_field_tell() {
    let third = "(i32.store offset=8 (local.get 0) (i32.const 1))";
    let grown = "a struct may have grown: use refers to a new field, 8 bytes behind a pointer, and";
    let running = Running::new(allocates(8, ""));
    assert_eq!(
        running.refusals(&allocates(12, third)),
        [format!("{grown} what was 8, as a size may be, is 12")]
    );
    // Of several at once.
    let running = Running::new(allocates(24, ""));
    assert_eq!(
        running.refusals(&allocates(36, third)),
        [format!("{grown} what was 24, as a size may be, is 36")]
    );
    // Either by itself is another number, and another field.
    assert!(running.diff(allocates(36, "")).is_ok());
    assert!(running.diff(allocates(24, third)).is_ok());
    // What was large enough already.
    assert!(running.diff(allocates(25, third)).is_ok());
}

#[test]
fn a_struct_in_a_frame_that_grew_is_refused_where_others_refer_to_a_new_field() {
    let source = |size: u32, field: &str| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66560))
                (func $use (param i32) (i32.store offset=4 (local.get 0) (i32.const 1)) {field})
                (func (export "run") (local $frame i32)
                    (global.set 0 (local.tee $frame (i32.sub (global.get 0) (i32.const {size}))))
                    (call $use (local.get $frame))
                    (global.set 0 (i32.add (local.get $frame) (i32.const {size})))))"#
        )
    };
    let running = Running::new(source(16, ""));
    let refused =
        running.refusals(&source(32, "(i32.store offset=16 (local.get 0) (i32.const 1))"));
    assert_eq!(
        refused,
        [
            "a struct may have grown: use refers to a new field, 16 bytes behind a pointer, and the frame of run in \
          memory is of 32 bytes instead of 16"
        ]
    );
    assert!(running.diff(source(32, "")).is_ok());
}

#[test]
fn functions_that_are_new_refer_to_fields_through_their_parameters() {
    let source = |functions: &str| {
        format!(
            r#"(module (memory 2)
                (func (export "run") (result i32)
                    (i32.load offset=1024 (i32.const 0))) {functions})"#
        )
    };
    let running = Running::new(source(""));
    // The second one sets its parameter once: it is not always the address that is set.
    let added = r#"(func (export "added") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (local.set 0 (i32.const 1024))))
        (i32.load offset=8 (local.get 0)))"#;
    assert!(running.diff(source(added)).is_ok());
}

#[test]
fn a_function_of_another_type_still_has_to_look_for_data_where_it_was() {
    let source = |parameter: &str, at: u32| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66576))
                (func $get (param {parameter}) (result i32) (i32.load offset={at} (i32.const 0)))
                (func (export "run") (result i32) (call $get ({parameter}.const 0))))"#
        )
    };
    let running = Running::new(source("i32", 1024));
    assert!(running.diff(source("i64", 1024)).is_ok());
    assert_eq!(
        running.refusals(&source("i64", 1028)),
        [
            "static data may have moved: get refers to address 0x404, where the running program refers to 0x400"
        ]
    );
}

#[test]
fn constants_that_moved_can_be_applied_and_variables_not() {
    let source = |name: &str, text: &str, at: u32| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66592))
                (data $.rodata (i32.const 1024) "{text}") (data {name} (i32.const {at}) "xyz")
                (func (export "run") (result i32) (i32.load8_u offset={at} (i32.const 0))))"#
        )
    };
    let constants = Running::new(source("$.rodata.str", "abcd", 1028));
    let diff = constants.diff_with(source("$.rodata.str", "abcdef", 1030), DataPolicy::Apply);
    let diff = diff.unwrap();
    assert_eq!(diff.summary().to_string(), "1 function changed (run), 5 bytes of data written");
    let note = "constants may have moved: run refers to one at 0x406, where the running program refers to 0x404";
    assert_eq!(diff.summary().notes, [note]);
    let variables = Running::new(source("$.data", "abcd", 1028));
    let refused = variables.diff_with(source("$.data", "abcdef", 1030), DataPolicy::Apply);
    assert!(refused.unwrap_err().reasons.iter().any(|reason| reason.is_moved_data()));
    assert!(variables.diff_with(source("$.data", "abXd", 1028), DataPolicy::Apply).is_ok());
}

#[test]
fn a_word_that_may_be_an_address_has_moved_and_another_number_has_changed() {
    let source = |word: &str| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66592))
                (data $.data (i32.const 1024) "{word}\00\00") (data $.bss (i32.const 1028) "xyzw")
                (func (export "run") (result i32) (i32.load offset=1024 (i32.const 0))))"#
        )
    };
    let running = Running::new(source("\\00\\04"));
    let about = |word: &str| {
        let refused = running.diff(source(word)).unwrap_err();
        refused.reasons.iter().map(ModuleRefusal::is_moved_data).collect::<Vec<_>>()
    };
    assert_eq!(about("\\04\\04"), [true], "from 0x400 to 0x404");
    assert_eq!(about("\\07\\00"), [false], "from 0x400 to 7");
}

#[test]
fn constants_that_are_looked_for_elsewhere_are_told_where_constants_differ() {
    let source = |text: &str, at: u32| {
        format!(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66592))
                (data $.rodata (i32.const 1024) "{text}")
                (func (export "run") (result i32) (i32.load8_u offset={at} (i32.const 0))))"#
        )
    };
    let running = Running::new(source("abcd", 1026));
    let refused = running.refusals(&source("abXYcd", 1028));
    assert!(
        refused.iter().any(|reason| reason.starts_with("constants may have moved: run refers")),
        "{refused:#?}"
    );
}

/// How a function refers to a variable.
#[derive(Clone, Copy, Debug)]
enum Access {
    Offset,
    Address,
    Indexed,
    Pointer,
}

#[derive(Clone, Debug)]
struct Layouts {
    /// Words at which the variables lie, before and after.
    old: Vec<u32>,
    new: Vec<u32>,
    /// What each function refers to.
    functions: Vec<Vec<(usize, Access)>>,
    /// A constant in each function that the edit changes, or not.
    changed: Vec<bool>,
}

fn text(
    places: &[u32],
    functions: &[Vec<(usize, Access)>],
    constant: impl Fn(usize) -> u32,
) -> String {
    let mut text = "(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 66688))
        (func $take (param i32))"
        .to_owned();
    for (i, accesses) in functions.iter().enumerate() {
        text += &format!("(func $f{i} (param i32) (result i32)");
        for (variable, access) in accesses {
            let at = 1024 + 4 * places[*variable];
            text += &match access {
                Access::Offset => format!("(drop (i32.load offset={at} (i32.const 0)))"),
                Access::Address => format!("(i32.store (i32.const {at}) (local.get 0))"),
                Access::Indexed => format!("(drop (i32.load8_u offset={at} (local.get 0)))"),
                Access::Pointer => format!("(call $take (i32.const {at}))"),
            };
        }
        text += &format!("(i32.const {}))", constant(i));
    }
    text + ")"
}

fn layouts() -> impl Strategy<Value = Layouts> {
    let access = prop_oneof![
        Just(Access::Offset),
        Just(Access::Address),
        Just(Access::Indexed),
        Just(Access::Pointer),
    ];
    (1..5usize, 1..4usize).prop_flat_map(move |(variables, functions)| {
        let words = || Just((0..8u32).collect::<Vec<_>>()).prop_shuffle();
        let accesses = prop::collection::vec((0..variables, access.clone()), 0..6);
        let functions = prop::collection::vec(accesses, functions..=functions);
        (words(), words(), any::<bool>(), 0..4u32, functions).prop_flat_map(
            move |(old, other, moved, by, functions)| {
                let old = old[..variables].to_vec();
                // All as it was, all behind one place further on, or anything.
                let shifted = old.iter().map(|word| if *word >= 3 { word + by } else { *word });
                let new = if moved { other[..variables].to_vec() } else { shifted.collect() };
                let count = functions.len();
                (Just((old, new, functions)), prop::collection::vec(any::<bool>(), count)).prop_map(
                    |((old, new, functions), changed)| Layouts { old, new, functions, changed },
                )
            },
        )
    })
}

proptest! {
    #[test]
    fn a_layout_is_refused_exactly_if_something_that_code_refers_to_moved(layouts in layouts()) {
        let Layouts { old, new, functions, changed } = layouts;
        let running = Running::new(text(&old, &functions, |_| 7));
        let edited = text(&new, &functions, |i| if changed[i] { 8 } else { 7 });
        let moved = functions.iter().flatten().any(|(variable, _)| old[*variable] != new[*variable]);
        let diff = running.diff(&edited);
        prop_assert_eq!(diff.is_err(), moved, "{:?}", diff.map(drop).map_err(|e| e.to_string()));
    }
}
