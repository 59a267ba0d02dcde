//! `docs/ARCHITECTURE.md` holds the code map. A map that names what is not there, or leaves out
//! what is, is worse than none.

use std::collections::BTreeSet;

use super::{Finding, Source};

const MAP: &str = "docs/ARCHITECTURE.md";

/// Names in the map that lead nowhere, and top-level folders with code that it does not name.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(map) = sources.iter().find(|source| source.path == MAP) else {
        return Vec::new();
    };
    let exists = |path: &str| {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        path.is_empty()
            || sources.iter().any(|source| source.path == path || source.path.starts_with(&below))
    };
    let folders: BTreeSet<&str> =
        sources.iter().filter_map(|source| Some(source.path.split_once('/')?.0)).collect();
    let mut findings = Vec::new();
    for (index, line) in map.text.lines().enumerate() {
        let linked = links(line).into_iter().map(|link| resolve("docs", link));
        let quoted = quotes(line)
            .filter(|name| name.split_once('/').is_some_and(|(first, _)| folders.contains(first)));
        let named = quoted
            .filter(|name| !name.contains([' ', '*', '{', '<', '…', ':', '(']))
            .map(String::from);
        for path in linked.chain(named) {
            if !exists(&path) {
                findings.push(Finding::new(
                    MAP,
                    index + 1,
                    format!("names {path}, which does not exist"),
                ));
            }
        }
    }
    let with_code = sources
        .iter()
        .filter(|source| source.is_rust())
        .filter_map(|source| Some(source.path.split_once('/')?.0));
    for folder in with_code.collect::<BTreeSet<_>>() {
        if !folder.starts_with('.') && !map.text.contains(&format!("{folder}/")) {
            findings.push(Finding::new(MAP, 0, format!("does not name the folder {folder}/")));
        }
    }
    findings
}

/// Targets of the links in a line that lead to files of the repository.
fn links(line: &str) -> Vec<&str> {
    let ends = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split_once(')'));
    let targets = ends.map(|(target, _)| target.split('#').next().unwrap_or_default());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// What stands between backticks in a line.
fn quotes(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A path relative to a folder, as one from the root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn found(map: &str) -> Vec<String> {
        let sources =
            [source("osr/src/redirect.rs", ""), source("docs/notes.md", ""), source(MAP, map)];
        check(&sources).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_map_that_holds() {
        let map = "`osr/src/redirect.rs`, [walker](../osr/src/redirect.rs#L1), [n](notes.md), `osr/`, `a/b`, [w](https://x/y)";
        assert_eq!(found(map), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_found() {
        assert_eq!(
            found("osr/ `osr/src/gone.rs`"),
            ["names osr/src/gone.rs, which does not exist"]
        );
        assert_eq!(found("osr/ [x](../osr/gone)"), ["names osr/gone, which does not exist"]);
    }

    #[test]
    fn a_folder_left_out_is_found() {
        assert_eq!(found("nothing"), ["does not name the folder osr/"]);
    }

    #[test]
    fn no_map_no_findings() {
        assert!(check(&[source("osr/src/redirect.rs", "")]).is_empty());
    }
}
