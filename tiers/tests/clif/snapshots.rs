//! What the translation makes of small functions: the files in `snapshots/`.
//!
//! A file is a module, preceded by options in lines that begin with `;;!`, and followed by the expected
//! text in lines that begin with `;;`:
//!
//! * `;;! show = clif` or `assembly`
//! * `;;! settings = unoptimized` or `optimized` (matters for assembly)
//! * `;;! function = N`: index among the functions that the module defines; 0 if missing
//! * `;;! loop = N`: show the OSR entry at the function's `N`th loop
//!
//! `MIDAIR_BLESS=1 cargo test -p midair-tiers --test clif snapshots` rewrites the expectations.

use crate::module::{TestModule, loops};
use midair_tiers::{CodegenSettings, CompileOptions, Compiler, EntryPoint};
use std::path::Path;

fn option<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.strip_prefix(";;!")?.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The file without its expectations.
fn input(text: &str) -> String {
    let is_expectation = |line: &&str| line.starts_with(";;") && !line.starts_with(";;!");
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_expectation(line)).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

fn number(text: &str, name: &str) -> Option<usize> {
    option(text, name).map(|value| value.parse().expect("a number"))
}

fn output(text: &str) -> String {
    let module = TestModule::from_wat(text);
    let body = &module.bodies[number(text, "function").unwrap_or(0)];
    let entry = match number(text, "loop") {
        Some(index) => EntryPoint::Loop(loops(body)[index]),
        None => EntryPoint::Function,
    };
    let settings = match option(text, "settings") {
        Some("unoptimized") => CodegenSettings::UNOPTIMIZED,
        Some("optimized") | None => CodegenSettings::OPTIMIZED,
        Some(other) => panic!("settings {other}"),
    };
    let compiler = Compiler::with_verifier(true).expect("a supported processor");
    let options = CompileOptions { dump_clif: true, ..CompileOptions::new(settings) };
    let compiled =
        compiler.machine_code(&module.env, body, entry, &options).expect("a body that compiles");
    let listing = compiled.listing.expect("a listing was asked for");
    let mut sites: Vec<_> = compiled.sites.values().collect();
    sites.sort_by_key(|site| site.point);
    let mut output = match option(text, "show") {
        Some("assembly") => listing.assembly,
        _ => listing.clif,
    };
    for site in sites {
        output += &format!("\n{:?} {:#x}:", site.kind, site.point);
        for (kind, value) in &site.values {
            output += &format!(" {kind:?} {value:?},");
        }
        output.pop();
    }
    output
}

#[test]
fn snapshots() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clif/snapshots");
    let bless = std::env::var_os("MIDAIR_BLESS").is_some();
    let (mut count, mut differing) = (0, Vec::new());
    for file in std::fs::read_dir(directory).expect("the directory of snapshots") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let input = input(&text);
        let mut expected = input.clone() + "\n";
        for line in output(&text).trim().lines() {
            expected += format!(";; {line}").trim_end();
            expected.push('\n');
        }
        count += 1;
        if bless {
            std::fs::write(&path, expected).expect("a writable file");
        } else if text != expected {
            eprintln!("{}: expected\n{text}\nfound\n{expected}", path.display());
            differing.push(path);
        }
    }
    assert!(differing.is_empty(), "{differing:?} differ; MIDAIR_BLESS=1 accepts them");
    assert!(count > 0);
}
