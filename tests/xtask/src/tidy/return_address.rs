//! A newcomer finds the code that rewrites a return address within a minute, because nothing
//! else in the project does it: all of it is in `osr`'s `transfer/redirect.rs`.

use super::{Finding, Source, rust_text};

/// The one place.
const HOME: &str = "osr/src/transfer/redirect.rs";

/// The function that does it there.
const MARKER: &str = "write_return_address";

/// Names under which code holds the address of a machine frame's saved frame pointer; the
/// return address lies one word above.
const FRAME_POINTERS: [&str; 3] = ["fp", "rbp", "frame_pointer"];

/// Names under which code holds the address of a return address itself.
const RETURN_SLOTS: [&str; 2] = ["return_slot", "return_address_slot"];

/// Calls of the marker function, and stores one word above a frame pointer, elsewhere.
pub fn check(source: &Source) -> Vec<Finding> {
    if source.path == HOME || source.path.starts_with("tests/xtask/") {
        return Vec::new();
    }
    let code = rust_text::without_comments(&source.text);
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let what = if line.contains(MARKER) {
            format!("{MARKER} is used outside of {HOME}")
        } else if stores_above_a_frame_pointer(line) || assembly_stores_above_rbp(line) {
            format!("this writes what looks like a return address; only {HOME} may")
        } else {
            continue;
        };
        findings.push(Finding::new(&source.path, index + 1, what));
    }
    findings
}

/// `*((fp + 8) as *mut u64) = …`, `fp.add(1).write(…)`, `ptr::write(fp.byte_add(8), …)`,
/// `*frame.return_slot = …`.
fn stores_above_a_frame_pointer(line: &str) -> bool {
    let compact: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    let one_above = FRAME_POINTERS.iter().any(|name| {
        [
            "+8",
            "+WORD",
            ".add(1)",
            ".add(8)",
            ".byte_add(8)",
            ".offset(1)",
            ".wrapping_add(8)",
            ".wrapping_add(1)",
        ]
        .iter()
        .any(|step| follows_word(&compact, name, step))
    });
    let at_slot = RETURN_SLOTS.iter().any(|name| follows_word(&compact, name, ""));
    let assigns = compact.starts_with('*') && has_assignment(&compact);
    let writes = [".write(", ".write_volatile(", ".write_unaligned(", "ptr::write"]
        .iter()
        .any(|call| compact.contains(call));
    (one_above || at_slot) && (assigns || writes)
}

/// Whether `step` directly follows `name` where that is a word of its own.
fn follows_word(text: &str, name: &str, step: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let Some(rest) = text[at + name.len()..].strip_prefix(step) else {
            return false;
        };
        starts && !rest.starts_with(|c: char| c.is_ascii_digit() || c == '_')
    })
}

/// A single `=`, not part of a comparison or an arrow.
fn has_assignment(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        bytes[at] == b'='
            && !matches!(bytes.get(at + 1), Some(b'=' | b'>'))
            && !matches!(before, Some(b'=' | b'!' | b'<' | b'>'))
    })
}

/// `mov [rbp + 8], rax` in a string of assembly.
fn assembly_stores_above_rbp(line: &str) -> bool {
    let compact: String =
        line.to_ascii_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    compact.contains("mov") && compact.contains("[rbp+8],")
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn found(line: &str) -> usize {
        check(&source("osr/src/walk.rs", line)).len()
    }

    #[test]
    fn the_marker_elsewhere_is_found() {
        assert_eq!(found("write_return_address(fp, stub);"), 1);
        assert_eq!(check(&source(HOME, "unsafe fn write_return_address() {}")).len(), 0);
        assert_eq!(found("// see write_return_address"), 0);
    }

    #[test]
    fn raw_stores_are_found() {
        for line in [
            "*((fp + 8) as *mut u64) = stub;",
            "unsafe { (fp + 8 as usize).write(stub) }",
            "frame.fp.add(1).write(stub);",
            "ptr::write(rbp.byte_add(8), stub);",
            "\"mov qword ptr [rbp + 8], rax\",",
            "*frame.return_slot = stub;",
            "frame.return_slot.write(stub);",
        ] {
            assert_eq!(found(line), 1, "{line}");
        }
    }

    #[test]
    fn loads_and_other_stores_are_not() {
        for line in [
            "let address = *((fp + 8) as *const u64);",
            "let address = fp.add(1).read();",
            "assert!(*(fp + 8) == stub);",
            "*(fp + 80) = 1;",
            "let return_slot = (self.record + 8) as *mut usize;",
            "let address = *frame.return_slot;",
            "*(buffp + 8) = 1;",
            "\"mov rax, [rbp + 8]\",",
        ] {
            assert_eq!(found(line), 0, "{line}");
        }
    }
}
