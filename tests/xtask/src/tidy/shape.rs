//! The shape of the repository: how large a file may be, what a module may be called, and what
//! stands at the top.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Finding, Source, rust_text};

/// A file that is longer holds more than one idea.
const MOST_LINES: usize = 800;

/// Files of these kinds are written by hand and read by people.
const CODE: [&str; 7] = [".rs", ".c", ".h", ".py", ".lua", ".sh", ".js"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "helper", "inner", "common", "misc", "stuff"];

/// The folders at the top, hidden ones aside.
const TOP: [&str; 6] = ["docs", "examples", "osr", "tests", "tiers", "vm"];

/// Too long a file, or a module with an empty name.
pub fn check_file(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if CODE.iter().any(|end| source.path.ends_with(end)) && lines > MOST_LINES {
        findings.push(Finding::new(
            &source.path,
            0,
            format!("{lines} lines; at most {MOST_LINES}, one idea a file"),
        ));
    }
    if !source.is_rust() {
        return findings;
    }
    let path = Path::new(&source.path);
    let folders = path
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .map(|part| part.to_string_lossy().into_owned());
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    for name in folders.chain(stem) {
        if EMPTY_NAMES.contains(&name.as_str()) {
            findings.push(Finding::new(
                &source.path,
                0,
                format!("the name {name} says nothing about what is inside"),
            ));
        }
    }
    let code = rust_text::without_comments_and_strings(&source.text);
    for (index, line) in code.lines().enumerate() {
        if let Some(name) = inline_module(line)
            && EMPTY_NAMES.contains(&name)
        {
            findings.push(Finding::new(
                &source.path,
                index + 1,
                format!("the module name {name} says nothing about what is inside"),
            ));
        }
    }
    findings
}

/// Folders at the top that the house does not have.
pub fn check_top_level(sources: &[Source]) -> Vec<Finding> {
    let folders: BTreeSet<&str> =
        sources.iter().filter_map(|source| Some(source.path.split_once('/')?.0)).collect();
    folders
        .into_iter()
        .filter(|folder| !folder.starts_with('.') && !TOP.contains(folder))
        .map(|folder| {
            Finding::new(
                folder,
                0,
                format!("a folder at the top that is none of {}", TOP.join(", ")),
            )
        })
        .collect()
}

/// The name of a module with its body in the same file.
fn inline_module(line: &str) -> Option<&str> {
    let at = line.find("mod ")?;
    let before = line[..at].trim();
    if !(before.is_empty() || before.starts_with("pub")) {
        return None;
    }
    let (name, rest) =
        line[at + "mod ".len()..].trim().split_once(|c: char| !c.is_alphanumeric() && c != '_')?;
    rest.contains('{').then_some(name).or(rest.trim().is_empty().then_some(name))
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let text = "line\n".repeat(MOST_LINES);
        assert_eq!(check_file(&source("vm/src/a.rs", &text)).len(), 0);
        assert_eq!(check_file(&source("vm/src/a.rs", &(text.clone() + "line\n"))).len(), 1);
        assert_eq!(check_file(&source("Cargo.lock", &(text + "line\n"))).len(), 0);
    }

    #[test]
    fn an_empty_name_is_found_as_file_folder_and_module() {
        assert_eq!(check_file(&source("vm/src/utils.rs", "")).len(), 1);
        assert_eq!(check_file(&source("vm/src/common/heap.rs", "")).len(), 1);
        assert_eq!(check_file(&source("vm/src/heap.rs", "pub(crate) mod inner {\n}\n")).len(), 1);
        assert_eq!(
            check_file(&source(
                "vm/src/heap.rs",
                "mod blocks {\n}\n// mod inner {\nlet inner = 1;\n"
            ))
            .len(),
            0
        );
    }

    #[test]
    fn a_new_folder_at_the_top_is_found() {
        let sources = [source("vm/src/lib.rs", ""), source(".ci/run", ""), source("README.md", "")];
        assert_eq!(check_top_level(&sources).len(), 0);
        assert_eq!(check_top_level(&[source("lib/a.rs", "")]).len(), 1);
    }
}
