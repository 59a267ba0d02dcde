//! Every `unsafe fn` says under `# Safety` what its caller has to see to. Clippy asks that of
//! public ones only.

use super::{Finding, Source, rust_text};

/// Declarations of unsafe functions without that section. Methods that implement a trait are
/// excepted: the trait's documentation holds.
pub fn check(source: &Source) -> Vec<Finding> {
    let code = rust_text::without_comments_and_strings(&source.text);
    let code: Vec<&str> = code.lines().collect();
    let text: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in code.iter().enumerate() {
        if let Some(name) = declared_unsafe_function(line)
            && !documentation_above(&text, index).contains("# Safety")
            && !implements_a_trait(&code, index)
        {
            findings.push(Finding::new(
                &source.path,
                index + 1,
                format!("unsafe fn {name} has no `# Safety` section"),
            ));
        }
    }
    findings
}

/// The name of the unsafe function that a line of code declares. A function pointer type has
/// none.
fn declared_unsafe_function(line: &str) -> Option<&str> {
    let at = line.find("unsafe ")?;
    let mut rest = line[at + "unsafe ".len()..].trim_start();
    if let Some(after) = rest.strip_prefix("extern") {
        rest = after.trim_start();
        if let Some(abi) = rest.strip_prefix('"') {
            rest = abi[abi.find('"')? + 1..].trim_start();
        }
    }
    let name = rest.strip_prefix("fn ")?.trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

/// The doc comments directly above a line; attributes may stand in between.
fn documentation_above(text: &[&str], index: usize) -> String {
    let mut documentation = String::new();
    let mut at = index;
    while at > 0 {
        at -= 1;
        let line = text[at].trim();
        if line.starts_with("//") {
            documentation += line;
            documentation.push('\n');
        } else if line.ends_with(']') {
            // An attribute, perhaps over several lines.
            while at > 0 && !text[at].trim().starts_with("#[") {
                at -= 1;
            }
        } else {
            break;
        }
    }
    documentation
}

/// Whether the block around a line is `impl Trait for Type`.
fn implements_a_trait(code: &[&str], index: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut depth = indent(code[index]);
    for line in code[..index].iter().rev() {
        let trimmed = line.trim();
        if trimmed.is_empty() || (indent(line) >= depth && depth > 0) {
            continue;
        }
        if depth == 0 {
            return false;
        }
        // The end of a header that is written over several lines.
        if trimmed == "{" || trimmed == "where" {
            depth = indent(line) + 1;
            continue;
        }
        let header = trimmed.trim_start_matches("unsafe ");
        return header.starts_with("impl") && header.contains(" for ");
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn found(text: &str) -> usize {
        check(&source("a.rs", text)).len()
    }

    #[test]
    fn a_function_without_the_section_is_found() {
        assert_eq!(found("unsafe fn a() {}\n"), 1);
        assert_eq!(found("/// Does things.\npub unsafe fn a() {}\n"), 1);
        assert_eq!(
            found("/// Does things.\n#[inline]\npub(crate) const unsafe extern \"C\" fn a() {}\n"),
            1
        );
        assert_eq!(found("impl A {\n    unsafe fn a() {}\n}\n"), 1);
    }

    #[test]
    fn a_function_with_the_section_is_fine() {
        assert_eq!(found("/// # Safety\n/// Mind.\npub unsafe fn a() {}\n"), 0);
        assert_eq!(
            found(
                "/// # Safety\n/// Mind.\n#[cfg(any(\n    unix,\n    test,\n))]\nunsafe extern \"C\" fn a() {}\n"
            ),
            0
        );
    }

    #[test]
    fn the_section_of_another_function_does_not_count() {
        assert_eq!(found("/// # Safety\n/// Mind.\nunsafe fn a() {}\nunsafe fn b() {}\n"), 1);
    }

    #[test]
    fn pointer_types_comments_and_trait_methods_are_not_meant() {
        assert_eq!(
            found(
                "type A = unsafe extern \"C\" fn(u64);\n// unsafe fn a\nlet b = \"unsafe fn a\";\n"
            ),
            0
        );
        assert_eq!(
            found("unsafe impl<T> Alloc for A\nwhere\n    T: B,\n{\n    unsafe fn alloc() {}\n}\n"),
            0
        );
    }
}
