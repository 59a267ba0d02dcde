//! Nothing in the repository depends on one machine or speaks to a registry directly: packages
//! are named, and the ordinary clients know where to find them.

use super::{Finding, Source};

/// Directories of machines. In pieces, so that this file does not name what it forbids.
const MACHINE: [&str; 3] = ["work", "root", "home"];

/// Hosts of registries, the parts of each name apart for the same reason.
const HOSTS: [[&str; 2]; 7] = [
    ["crates", "io"],
    ["debian", "org"],
    ["npmjs", "com"],
    ["npmjs", "org"],
    ["pypi", "org"],
    ["pythonhosted", "org"],
    ["ubuntu", "com"],
];

/// Machine paths, and hosts of registries; a lock file names its registry and is excepted from
/// the second.
pub fn check(source: &Source) -> Vec<Finding> {
    let hosts: Vec<String> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    let lock_file = source.path.ends_with("Cargo.lock");
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(directory) = MACHINE.iter().find(|directory| has_absolute_path(line, directory))
        {
            findings.push(Finding::new(
                &source.path,
                index + 1,
                format!("a path of one machine, under its {directory} directory"),
            ));
        }
        if let Some(host) = hosts.iter().find(|host| !lock_file && line.contains(host.as_str())) {
            findings.push(Finding::new(
                &source.path,
                index + 1,
                format!("the host name {host}; name the package only"),
            ));
        }
    }
    findings
}

/// Whether a line has `/directory` as the beginning of an absolute path.
fn has_absolute_path(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let Some(before) = line[..at].strip_suffix('/') else {
            return false;
        };
        let after = line[at + directory.len()..].chars().next();
        let absolute = before
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && !"_-./~})]*".contains(c));
        absolute && after.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-')
    })
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn found(line: &str) -> usize {
        check(&source("a.md", line)).len()
    }

    #[test]
    fn machine_paths_are_found() {
        for directory in MACHINE {
            assert_eq!(found(&format!("see /{directory}/x")), 1);
            assert_eq!(found(&format!("DIR=/{directory}")), 1);
            assert_eq!(found(&format!("target/{directory}/x, a/{directory}, /{directory}er/x")), 0);
        }
    }

    #[test]
    fn registry_hosts_are_found_but_not_in_lock_files() {
        let line = format!("from https://files.{}/x", HOSTS[5].join("."));
        assert_eq!(found(&line), 1);
        assert_eq!(check(&source("tests/xtask/Cargo.lock", &line)).len(), 0);
    }
}
