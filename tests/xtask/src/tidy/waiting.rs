//! A test that starts threads waits for them, and has a watchdog for the case that they never come back.

use super::{Finding, Source, rust_text};

/// What starts a thread. (Who needs a builder only wants a larger stack, and joins at once.)
const STARTS: [&str; 2] = ["thread::spawn(", "thread::scope("];

/// Tests without a watchdog, in files of tests that start threads.
pub fn check(source: &Source) -> Vec<Finding> {
    let of_tests = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
    // What those of `xtask` and the model are about is not whether threads end.
    let elsewhere = ["tests/xtask/", "tests/model/", "tests/src/", "tests/watchdog/"];
    if !of_tests || elsewhere.iter().any(|start| source.path.starts_with(start)) {
        return Vec::new();
    }
    let code = rust_text::without_comments_and_strings(&source.text);
    if !STARTS.iter().any(|start| code.contains(start)) {
        return Vec::new();
    }
    let lines: Vec<&str> = code.lines().collect();
    let tests = lines.iter().enumerate().filter(|(_, line)| **line == "#[test]");
    let unwatched = tests.filter(|(at, _)| {
        let body = lines[at + 1..].iter().take_while(|line| **line != "#[test]");
        !body.take(4).any(|line| line.contains("Watchdog::"))
    });
    unwatched
        .map(|(at, _)| {
            Finding::new(&source.path, at + 1, "this test starts threads and has no watchdog")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn findings(path: &str, body: &str) -> usize {
        check(&source(path, &format!("#[test]\nfn waits() {{\n{body}}}\n"))).len()
    }

    #[test]
    fn a_test_with_threads_needs_a_watchdog() {
        let threads = "    std::thread::spawn(|| ());\n";
        assert_eq!(findings("tests/tests/a.rs", threads), 1);
        assert_eq!(findings("vm/src/a/tests.rs", threads), 1);
        assert_eq!(findings("vm/src/a.rs", threads), 0);
        let watched = format!("    let _watchdog = Watchdog::start();\n{threads}");
        assert_eq!(findings("tests/tests/a.rs", &watched), 0);
        assert_eq!(findings("tests/tests/a.rs", "    let _ = 1;\n"), 0);
    }

    #[test]
    fn the_watchdog_of_another_test_does_not_count() {
        let text = "#[test]\nfn a() {\n    Watchdog::start();\n}\n#[test]\nfn b() {\n    thread::spawn(f);\n}\n";
        assert_eq!(
            check(&source("osr/tests/a.rs", text)),
            [Finding::new("osr/tests/a.rs", 5, "this test starts threads and has no watchdog")]
        );
    }
}
