//! `cargo xtask edits`: programs that real compilers built are edited while they run.
//!
//! Each edit is compiled at each level of optimisation, and applied to the running program by `midair watch`. The
//! program prints variables that go on by a fixed step; if one of them jumps, state was lost, and the edit was
//! applied wrongly. That an edit is refused is never wrong, only a pity.

use crate::check;
use crate::process::{End, run_limited, run_tool};
use crate::project;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[derive(clap::Args)]
pub struct EditsArgs {
    /// Only edits whose names contain this.
    filter: Option<String>,
    /// Show what the program was told of each edit.
    #[arg(long)]
    explain: bool,
    /// The `midair` that runs the programs, instead of one that is built for it.
    #[arg(long)]
    midair: Option<PathBuf>,
    /// The C compiler; it has to know the target wasm32-wasi.
    #[arg(long, default_value = "clang-19")]
    clang: PathBuf,
    /// The Rust compiler; it has to have the standard library of one of the WASI targets.
    #[arg(long, default_value = "/usr/bin/rustc")]
    rustc: PathBuf,
}

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing more is said of an edit when all is said.
const SAID: Duration = Duration::from_millis(200);
/// Lines of output that are looked at before and after an edit.
const LINES: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Language {
    C,
    Rust,
}

/// An edit of one of the programs.
struct Edit {
    language: Language,
    name: &'static str,
    /// What is replaced, and by what.
    replace: &'static [(&'static str, &'static str)],
    /// Steps that variables may make besides those they made before.
    steps: &'static [(&'static str, i64)],
}

const fn c(name: &'static str, replace: &'static [(&'static str, &'static str)]) -> Edit {
    Edit { language: Language::C, name, replace, steps: &[] }
}

const fn rust(name: &'static str, replace: &'static [(&'static str, &'static str)]) -> Edit {
    Edit { language: Language::Rust, name, replace, steps: &[] }
}

const fn stepping(edit: Edit, steps: &'static [(&'static str, i64)]) -> Edit {
    Edit { steps, ..edit }
}

const EDITS: &[Edit] = &[
    stepping(c("another step", &[("last += 1", "last += 2")]), &[("last", 2)]),
    stepping(c("another step of a local", &[("down -= 1", "down -= 3")]), &[("down", -3)]),
    c("a comment", &[("int count", "/* counted */ int count")]),
    c("another initial value of a local", &[("int up = 5", "int up = 50")]),
    c("another initial value of a static", &[("{700, 800}", "{700, 900}")]),
    c(
        "two locals swapped",
        &[("  int up = 5;\n  int down = 1000;", "  int down = 1000;\n  int up = 5;")],
    ),
    c(
        "a local added",
        &[
            ("int down = 1000;", "int down = 1000;\n  int added = 3;"),
            ("up += 1;", "up += 1; added += count; if (added == 99) down -= added;"),
        ],
    ),
    c(
        "a local added to the loop",
        &[(
            "int count = step(1);",
            "int before = up; int count = step(1); if (before == 12345) down = 0;",
        )],
    ),
    c(
        "an array among the locals",
        &[("int down = 1000;", "int down = 1000;\n  volatile char text[40]; text[0] = 1;")],
    ),
    c("a struct that grew at its end", &[("  int second;", "  int second;\n  int third;")]),
    c("a struct that grew in the middle", &[("  int second;", "  int between;\n  int second;")]),
    c(
        "a struct whose fields are swapped",
        &[("  int first;\n  int second;", "  int second;\n  int first;")],
    ),
    c(
        "a static added in front",
        &[
            ("static int calls;", "static volatile int added;\nstatic int calls;"),
            ("  last += 1;", "  last += 1;\n  added += 1;"),
        ],
    ),
    c(
        "a static added at the end",
        &[
            ("static struct pair *heap;", "static struct pair *heap;\nstatic volatile int added;"),
            ("  last += 1;", "  last += 1;\n  added += 1;"),
        ],
    ),
    c(
        "a static with a value added",
        &[
            ("static int calls;", "static int calls;\nint added = 77;"),
            ("  last += 1;", "  last += 1;\n  added += 1;"),
        ],
    ),
    c("a static array enlarged", &[("static int table[4]", "static int table[9]")]),
    c("an array of structs enlarged", &[("pairs[3]", "pairs[5]")]),
    c(
        "statics reordered",
        &[(
            "static int calls;\nstatic int table[4];\nstatic int last;",
            "static int last;\nstatic int table[4];\nstatic int calls;",
        )],
    ),
    c("a text of the same length", &[("up=%d down", "up=%d DOWN")]),
    c("a longer text", &[("up=%d down", "up=%d going-further-down")]),
    c("another static is used", &[("  last += 1;", "  last += 1;\n  table[3] += 1;")]),
    c(
        "a function added",
        &[
            (
                "int main(void) {",
                "__attribute__((noinline)) static int twice(int x) { return 2 * x + calls; }\nint main(void) {",
            ),
            ("down -= 1;", "down -= 1; if (twice(down) == 1) up = 0;"),
        ],
    ),
    stepping(rust("another step", &[("LAST += 1", "LAST += 2")]), &[("last", 2)]),
    stepping(rust("another step of a local", &[("up += 1", "up += 2")]), &[("up", 2)]),
    rust(
        "a value of another type in between",
        &[(
            "down -= 1;",
            "let half = f64::from(up) / 2.0; if half < 0.0 { up = 0; }\n        down -= 1;",
        )],
    ),
    rust(
        "a value that nobody needs for long of another type",
        &[("let calls = step(1);", "let calls = step((1.0 + f64::from(up) * 0.0) as usize);")],
    ),
    rust("another initial value of a local", &[("let mut up = 5", "let mut up = 50")]),
    rust(
        "two locals swapped",
        &[(
            "    let mut up = 5;\n    let mut down = 1000;",
            "    let mut down = 1000;\n    let mut up = 5;",
        )],
    ),
    rust(
        "a struct that grew at its end",
        &[
            ("    second: i32,", "    second: i32,\n    third: i32,"),
            ("second: 0 }", "second: 0, third: 0 }"),
            ("second: 10 }", "second: 10, third: 0 }"),
            ("second: 20 }", "second: 20, third: 0 }"),
        ],
    ),
    rust(
        "a struct that grew in front",
        &[
            ("    first: i32,", "    zeroth: i64,\n    first: i32,"),
            ("Pair { first", "Pair { zeroth: 0, first"),
        ],
    ),
    rust(
        "a static added",
        &[
            ("static mut CALLS", "static mut ADDED: i32 = 0;\nstatic mut CALLS"),
            (
                "LAST += 1;",
                "LAST += 1;\n        std::ptr::write_volatile(std::ptr::addr_of_mut!(ADDED), LAST);",
            ),
        ],
    ),
    rust(
        "an array enlarged",
        &[
            ("[Pair; 3]", "[Pair; 4]"),
            (
                "Pair { first: 3, second: 0 }",
                "Pair { first: 3, second: 0 }, Pair { first: 4, second: 0 }",
            ),
        ],
    ),
    rust(
        "statics reordered",
        &[
            ("static mut CALLS", "static mut X"),
            ("static mut LAST", "static mut CALLS"),
            ("static mut X", "static mut LAST"),
        ],
    ),
    rust("a longer text", &[("up={up} down", "up={up} going-further-down")]),
];

const LEVELS: [&str; 4] = ["0", "1", "2", "s"];

/// What became of an edit.
enum Outcome {
    Applied,
    /// Frames stayed in old bodies.
    Partly,
    Refused,
    Same,
    Wrong(String),
}

/// Returns false if an edit was applied wrongly.
pub fn run(args: &EditsArgs) -> Result<bool> {
    let midair = match &args.midair {
        Some(midair) => midair.clone(),
        None => check::build_midair()?,
    };
    let directory = project::target().join("edits");
    fs::create_dir_all(&directory)?;
    let compilers = Compilers::find(args, &directory)?;
    let lab = Lab { midair, directory, compilers };
    let mut wrong = 0;
    println!("{:<42} {:>10} {:>10} {:>10} {:>10}", "edit", "-O0", "-O1", "-O2", "-Os");
    for edit in EDITS
        .iter()
        .filter(|edit| args.filter.as_ref().is_none_or(|filter| edit.label().contains(filter)))
    {
        if !lab.compilers.has(edit.language) {
            continue;
        }
        let mut explained = Vec::new();
        print!("{:<42}", edit.label());
        for level in LEVELS {
            let (outcome, report) = edit.attempt(&lab, level)?;
            let word = match &outcome {
                Outcome::Applied => "applied",
                Outcome::Partly => "partly",
                Outcome::Refused => "refused",
                Outcome::Same => "no change",
                Outcome::Wrong(_) => "WRONG",
            };
            print!(" {word:>10}");
            std::io::stdout().flush()?;
            if let Outcome::Wrong(how) = &outcome {
                wrong += 1;
                explained.push(format!("-O{level}: {how}\n{report}"));
            } else if args.explain {
                explained.push(format!("-O{level}:\n{report}"));
            }
        }
        println!();
        for text in explained {
            println!("{}", text.trim_end().replace('\n', "\n    "));
        }
    }
    println!("\n{wrong} edits were applied wrongly");
    Ok(wrong == 0)
}

/// What edits are made with.
struct Lab {
    midair: PathBuf,
    directory: PathBuf,
    compilers: Compilers,
}

/// Which of the compilers there are.
struct Compilers {
    clang: Option<PathBuf>,
    /// With its target.
    rustc: Option<(PathBuf, &'static str)>,
}

impl Compilers {
    /// Says which are missing.
    fn find(args: &EditsArgs, directory: &Path) -> Result<Compilers> {
        let mut found = Compilers { clang: None, rustc: None };
        let probe = directory.join("probe");
        let (source, object) = (probe.with_extension("c"), probe.with_extension("wasm"));
        fs::write(&source, "#include <stdio.h>\nint main(void) { return puts(\"\"); }\n")?;
        if compile_c(&args.clang, "0", &source, &object).is_ok() {
            found.clang = Some(args.clang.clone());
        }
        let source = probe.with_extension("rs");
        fs::write(&source, "fn main() {}\n")?;
        for target in ["wasm32-wasip1", "wasm32-wasi"] {
            if found.rustc.is_none()
                && compile_rust(&args.rustc, target, "0", &source, &object).is_ok()
            {
                found.rustc = Some((args.rustc.clone(), target));
            }
        }
        if found.clang.is_none() {
            println!("no C: `{}` does not build programs for WASI", args.clang.display());
        }
        if found.rustc.is_none() {
            println!("no Rust: `{}` does not build programs for WASI", args.rustc.display());
        }
        if found.clang.is_none() && found.rustc.is_none() {
            bail!("there is no compiler to build the edits with");
        }
        Ok(found)
    }

    fn has(&self, language: Language) -> bool {
        match language {
            Language::C => self.clang.is_some(),
            Language::Rust => self.rustc.is_some(),
        }
    }

    fn compile(&self, language: Language, level: &str, source: &Path, wasm: &Path) -> Result<()> {
        match language {
            Language::C => {
                compile_c(self.clang.as_deref().context("no C compiler")?, level, source, wasm)
            }
            Language::Rust => {
                let (rustc, target) = self.rustc.as_ref().context("no Rust compiler")?;
                compile_rust(rustc, target, level, source, wasm)
            }
        }
    }
}

fn compile_c(clang: &Path, level: &str, source: &Path, wasm: &Path) -> Result<()> {
    let mut command = Command::new(clang);
    command.args(["--target=wasm32-wasi", "-g", &format!("-O{level}"), "-o"]).arg(wasm).arg(source);
    run_tool(&mut command, "compiling C").map(drop)
}

fn compile_rust(rustc: &Path, target: &str, level: &str, source: &Path, wasm: &Path) -> Result<()> {
    let mut command = Command::new(rustc);
    let level = format!("opt-level={level}");
    command.args(["--edition=2021", "--target", target, "--cap-lints=allow"]);
    command.args(["-C", &level, "-g", "-o"]).arg(wasm).arg(source);
    run_tool(&mut command, "compiling Rust").map(drop)
}

impl Edit {
    fn label(&self) -> String {
        let language = match self.language {
            Language::C => "C",
            Language::Rust => "Rust",
        };
        format!("{language}: {}", self.name)
    }

    /// The program before and after.
    fn sources(&self) -> Result<(String, String)> {
        let before = match self.language {
            Language::C => include_str!("edits/counter.c"),
            Language::Rust => include_str!("edits/counter.rs.txt"),
        };
        let mut after = before.to_owned();
        for (from, to) in self.replace {
            if !after.contains(from) {
                bail!("{}: the program has no `{from}`", self.label());
            }
            after = after.replace(from, to);
        }
        Ok((before.to_owned(), after))
    }

    /// Makes the edit; also what was said of it.
    fn attempt(&self, lab: &Lab, level: &str) -> Result<(Outcome, String)> {
        let (before, after) = self.sources()?;
        let Lab { midair, directory, compilers } = lab;
        // Under one name, which some compilers write into the program.
        let source = directory.join(match self.language {
            Language::C => "counter.c",
            Language::Rust => "counter.rs",
        });
        let (running, edited) = (directory.join("running.wasm"), directory.join("edited.wasm"));
        fs::write(&source, before)?;
        compilers.compile(self.language, level, &source, &running)?;
        fs::write(&source, after)?;
        compilers.compile(self.language, level, &source, &edited)?;
        if fs::read(&running)? == fs::read(&edited)? {
            return Ok((Outcome::Same, String::new()));
        }
        // That it works by itself, so that the fault is not the program's.
        let check = run_limited(Command::new(midair).arg("run").arg(&edited), None, PATIENCE)?;
        if check.end != End::Exit(0) {
            bail!("{}: the edited program ends with {}", self.label(), check.end);
        }
        let mut watched = Watched::start(midair, &running)?;
        let mut lines = Vec::new();
        for _ in 0..LINES {
            lines.push(watched.line()?);
        }
        fs::rename(&edited, &running)?;
        let first = watched.stderr.recv_timeout(PATIENCE).context("nothing is said of an edit")?;
        for _ in 0..LINES {
            match watched.line() {
                Ok(line) => lines.push(line),
                Err(error) => {
                    let report = watched.rest(first);
                    return Ok((Outcome::Wrong(format!("{error:#}")), report));
                }
            }
        }
        let report = watched.rest(first);
        let jump = self.jump(&lines);
        Ok(match jump {
            Some(jump) => (Outcome::Wrong(jump), report),
            None if report.contains("not applied") => (Outcome::Refused, report),
            None if report.contains("finish") || report.contains("stay") => {
                (Outcome::Partly, report)
            }
            None => (Outcome::Applied, report),
        })
    }

    /// The first variable that did not go on as it should have.
    fn jump(&self, lines: &[String]) -> Option<String> {
        let mut steps: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for &(variable, step) in self.steps {
            steps.entry(variable.to_owned()).or_default().insert(step);
        }
        for (i, pair) in lines.windows(2).enumerate() {
            let (before, after) = (variables(&pair[0]), variables(&pair[1]));
            for (name, value) in before {
                // A text that has changed has other names in it.
                let Some(now) = after.get(&name) else { continue };
                let step = now - value;
                let known = steps.entry(name.clone()).or_default();
                if i + 1 < LINES {
                    known.insert(step);
                } else if !known.contains(&step) {
                    return Some(format!("`{name}` went from {value} to {now}"));
                }
            }
        }
        None
    }
}

fn variables(line: &str) -> BTreeMap<String, i64> {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// A program that is being watched.
struct Watched {
    child: Child,
    stdin: ChildStdin,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Watched {
    fn start(midair: &Path, wasm: &Path) -> Result<Watched> {
        let mut command = Command::new(midair);
        command.arg("watch").arg(wasm);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting midair")?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = lines(child.stdout.take().context("stdout")?);
        let stderr = lines(child.stderr.take().context("stderr")?);
        Ok(Watched { child, stdin, stdout, stderr })
    }

    /// Lets the program go on, and returns what it prints.
    fn line(&mut self) -> Result<String> {
        writeln!(self.stdin).and_then(|()| self.stdin.flush()).context("the program is gone")?;
        self.stdout.recv_timeout(PATIENCE).context("the program does not answer")
    }

    /// All that was said of the edit.
    fn rest(&mut self, first: String) -> String {
        let mut text = first + "\n";
        while let Ok(line) = self.stderr.recv_timeout(SAID) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
