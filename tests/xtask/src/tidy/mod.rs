//! `cargo xtask tidy`: the rules of the repository that no compiler checks.
//!
//! Each rule is a function from the tracked files to findings, and has tests that show it fail.

mod layers;
mod leaks;
mod map;
mod return_address;
mod rooms;
mod rust_text;
mod safety;
mod shape;
mod waiting;

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::{process, project};

/// A text file of the repository.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root, with forward slashes.
    pub path: String,
    pub text: String,
}

/// A rule broken at a place.
#[derive(Debug, PartialEq)]
pub struct Finding {
    pub path: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_string(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Checks every rule; true if none is broken.
pub fn run() -> Result<bool> {
    let sources = sources()?;
    let mut findings = layers::check(&layers::packages()?);
    for source in &sources {
        findings.extend(shape::check_file(source));
        findings.extend(leaks::check(source));
        if source.is_rust() {
            findings.extend(safety::check(source));
            findings.extend(waiting::check(source));
            findings.extend(return_address::check(source));
            findings.extend(layers::check_words(source));
            findings.extend(rooms::check(source));
        }
    }
    findings.extend(shape::check_top_level(&sources));
    findings.extend(map::check(&sources));
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", sources.len(), findings.len());
    Ok(findings.is_empty())
}

/// Every file that git tracks or would track, if it is text.
fn sources() -> Result<Vec<Source>> {
    let root = project::root();
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let listing =
        String::from_utf8(process::run_tool(&mut git, "listing the files of the repository")?)?;
    let mut sources: Vec<Source> = listing
        .split_terminator('\0')
        .filter_map(|path| {
            // A file that is deleted but still tracked, or not text, has nothing to check.
            let text = fs::read_to_string(root.join(path)).ok()?;
            Some(Source { path: path.to_string(), text })
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_string(), text: text.to_string() }
}
