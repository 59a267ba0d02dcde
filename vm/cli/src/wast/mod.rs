//! Scripts of the specification's test suite (`.wast`).
//!
//! [`run_script`] runs one, and reports on each of its directives. Scripts of proposals that are
//! not built yet can be read; their directives fail, or are counted as skipped where nothing of the
//! kind can be run.

mod directive;
mod spectest;
mod values;

use crate::command_line::WastOptions;
use crate::ending::End;
use crate::failure::{CANNOT_RUN, causes};
use crate::output;
use directive::{Outcome, Script};
use midair::Config;
use std::sync::{Arc, Mutex, PoisonError};
use wast::lexer::Lexer;
use wast::parser::ParseBuffer;

/// What became of a script's directives.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many did what they say.
    pub passed: u64,
    /// How many cannot be run.
    pub skipped: u64,
    /// Those that did something else.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Adds what became of another script's directives.
    pub fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failures.len(),
            self.skipped
        )
    }
}

/// A directive that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Name of the script.
    pub file: String,
    /// Line of the directive, from 1.
    pub line: usize,
    /// What differed.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Bytes of stack that a script's guests may use. Scripts count on deep recursion as well as on an
/// end to it; and under stress each call takes time in proportion to its depth.
const GUEST_STACK: usize = 320 << 10;

/// Bytes of stack for the host below that: the text parser is recursive.
const HOST_STACK: usize = 8 << 20;

/// The configuration with which scripts are meant to be run, to be adjusted as to tiers and stress.
pub fn config() -> Config {
    let mut config = Config::new();
    // A script's invalid modules have to be found when they are loaded.
    config.max_wasm_stack(GUEST_STACK).lazy_validation(false);
    config
}

/// Runs a script in a store of its own, on a thread of its own.
///
/// `name` is what the script is called in failures. A script that makes the virtual machine panic
/// fails at that directive.
pub fn run_script(config: &Config, name: &str, text: &str) -> Report {
    let progress = Arc::new(Mutex::new(Progress::default()));
    let thread = std::thread::scope(|scope| {
        let progress = progress.clone();
        std::thread::Builder::new()
            .name("script".to_owned())
            .stack_size(GUEST_STACK + HOST_STACK)
            .spawn_scoped(scope, move || run_directives(config, name, text, &progress))
            .map(|thread| thread.join())
    });
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    let message = match thread {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panicked: {}", text.unwrap_or("(no text)")))
        }
        Err(error) => Some(format!("cannot start a thread: {error}")),
    };
    if let Some(message) = message {
        let span = wast::token::Span::from_offset(progress.offset);
        progress.fail(name, text, span, message);
    }
    std::mem::take(&mut progress.report)
}

/// How far a script has come.
#[derive(Default)]
struct Progress {
    report: Report,
    /// Offset of the directive that is being run.
    offset: usize,
}

impl Progress {
    fn fail(&mut self, name: &str, text: &str, span: wast::token::Span, message: String) {
        self.report.failures.push(Failure {
            file: name.to_owned(),
            line: span.linecol_in(text).0 + 1,
            message,
        });
    }
}

fn run_directives(config: &Config, name: &str, text: &str, progress: &Mutex<Progress>) {
    let fail = |span, message| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.fail(name, text, span, message);
    };
    let mut lexer = Lexer::new(text);
    // Scripts test identifiers of all kinds.
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(error) => return fail(error.span(), error.message()),
    };
    let directives = match wast::parser::parse::<wast::Wast>(&buffer) {
        Ok(script) => script.directives,
        Err(error) => return fail(error.span(), error.message()),
    };
    std::thread::scope(|scope| {
        let mut script = match Script::new(config, scope) {
            Ok(script) => script,
            Err(error) => return fail(wast::token::Span::from_offset(0), causes(&error)),
        };
        let mut last = wast::token::Span::from_offset(0);
        for directive in directives {
            let span = directive.span();
            last = span;
            progress.lock().unwrap_or_else(PoisonError::into_inner).offset = span.offset();
            let outcome = script.run(directive);
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(Outcome::Passed) => progress.report.passed += 1,
                Ok(Outcome::Skipped) => progress.report.skipped += 1,
                Err(error) => progress.fail(name, text, span, causes(&error)),
            }
        }
        if let Err(error) = script.wait_for_all() {
            fail(last, causes(&error));
        }
    });
}

/// `midair wast`
pub(crate) fn command(options: &WastOptions) -> End {
    match run_scripts(options) {
        Ok(true) => End::Status(0),
        Ok(false) => End::Status(1),
        Err(end) => end,
    }
}

/// Whether all directives of the scripts passed. Fails with the end that the process has to take before that.
fn run_scripts(options: &WastOptions) -> Result<bool, End> {
    let mut config = config();
    options.tiering.configure(&mut config);
    let mut total = Report::default();
    for file in &options.files {
        let name = file.display().to_string();
        let report = match std::fs::read(file) {
            Ok(text) => run_script(&config, &name, &String::from_utf8_lossy(&text)),
            Err(error) => {
                output::tell(&format!("error: cannot read `{name}`: {error}\n"))?;
                return Err(End::Status(CANNOT_RUN));
            }
        };
        for failure in &report.failures {
            output::print(&format!("{failure}\n"))?;
        }
        output::print(&format!("{name}: {report}\n"))?;
        total.add(report);
    }
    output::print(&format!("{total}\n"))?;
    Ok(total.failures.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Report {
        run_script(&config(), "test.wast", text)
    }

    fn failure(text: &str) -> String {
        let report = run(text);
        assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
        report.failures[0].to_string()
    }

    #[test]
    fn passes_are_counted() {
        let report = run(r#"
            (module $m
                (func (export "add") (param i32 i32) (result i32)
                    (i32.add (local.get 0) (local.get 1)))
                (func (export "div") (param i32 i32) (result i32)
                    (i32.div_s (local.get 0) (local.get 1)))
                (func $deep (export "deep") (call $deep))
                (func (export "nan") (result f32 f64)
                    (f32.div (f32.const 0) (f32.const 0)) (f64.const nan:0x9000000000000))
                (func (export "null") (result externref) (ref.null extern))
                (func (export "same") (param externref) (result externref) (local.get 0))
                (global (export "g") i64 (i64.const 7)))
            (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 3))
            (assert_return (get "g") (i64.const 7))
            (assert_return (get $m "g") (i64.const 7))
            (assert_return (invoke "nan") (f32.const nan:canonical) (f64.const nan:arithmetic))
            (assert_return (invoke "null") (ref.null extern))
            (assert_return (invoke "same" (ref.extern 3)) (ref.extern 3))
            (assert_trap (invoke "div" (i32.const 1) (i32.const 0)) "integer divide by zero")
            (assert_exhaustion (invoke "deep") "call stack exhausted")
            (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 3))
            (register "other" $m)
            (module (import "other" "g" (global i64)) (import "spectest" "print" (func)))
            (assert_unlinkable (module (import "other" "h" (func))) "unknown import")
            (assert_unlinkable (module (import "other" "g" (func))) "incompatible import type")
            (assert_invalid (module (func (result i32))) "type mismatch")
            (assert_malformed (module quote "(func (bla))") "unknown operator")
            (assert_malformed (module binary "bla") "unexpected end")
            (assert_trap (module (func $f unreachable) (start $f)) "unreachable")
        "#);
        assert_eq!(report.to_string(), "18 passed, 0 failed, 0 skipped", "{report:?}");
    }

    #[test]
    fn failures_name_the_line_and_the_difference() {
        let module = "(module (func (export \"f\") (result i32) (i32.const 1)))\n";
        assert_eq!(
            failure(&format!("{module}(assert_return (invoke \"f\") (i32.const 2))")),
            "test.wast:2: expected (i32.const 2), got (i32.const 1)"
        );
        assert_eq!(
            failure(&format!("{module}\n(assert_trap (invoke \"f\") \"unreachable\")")),
            "test.wast:3: expected the trap `unreachable`, got (i32.const 1)"
        );
        assert!(failure(&format!("{module}(invoke \"g\")")).contains("no function `g`"));
        assert!(failure("(assert_invalid (module) \"x\")").contains("is valid"));
        assert!(
            failure("(assert_malformed (module binary \"\\00asm\\01\\00\\00\\00\") \"x\")")
                .contains("well-formed")
        );
        assert!(failure("(module (func (result i32)))").contains("type mismatch"));
    }

    #[test]
    fn what_follows_a_refused_module_does_not_run_on_the_one_before() {
        let good = r#"(module $m (func (export "f") (result i32) (i32.const 1)))
            (register "m" $m)
            "#;
        let refused = "(module $m (func (result i32)))";
        for (after, reason) in [
            (r#"(assert_return (invoke "f") (i32.const 1))"#, "there is no instance"),
            (r#"(assert_return (invoke $m "f") (i32.const 1))"#, "there is no instance $m"),
            (r#"(register "m")"#, "there is no instance"),
            (
                r#"(register "m" $m) (module (import "m" "f" (func (result i32))))"#,
                "unknown import",
            ),
        ] {
            let report = run(&format!("{good}{refused}\n{after}"));
            let last = report.failures.last().unwrap().to_string();
            assert!(report.failures.len() >= 2 && last.contains(reason), "{report:?}");
        }
        let definition = "(module definition $d) (module definition $d (func (result i32)))";
        let report = run(&format!("{definition} (module instance $i $d) (module instance)"));
        assert_eq!(report.failures.len(), 3, "{report:?}");
    }

    #[test]
    fn threads_run_beside_each_other_and_tell_what_fails() {
        let script = |expected: u32| {
            format!(
                r#"(module $m (memory (export "shared") 1 1 shared))
                (thread $a (shared (module $m))
                    (register "m" $m)
                    (module (memory (import "m" "shared") 1 1 shared)
                        (func (export "run") (result i32)
                            (i32.atomic.store (i32.const 8) (i32.const 42))
                            (drop (memory.atomic.notify (i32.const 8) (i32.const 1)))
                            (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
                    (assert_return (invoke "run") (either (i32.const 0) (i32.const 1))))
                (thread $b (shared (module $m))
                    (register "m" $m)
                    (module (memory (import "m" "shared") 1 1 shared)
                        (func (export "run") (result i32)
                            (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
                            (i32.atomic.store (i32.const 0) (i32.const 1))
                            (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
                            (i32.atomic.load (i32.const 8))))
                    (assert_return (invoke "run") (i32.const {expected})))
                (wait $a)
                (wait $b)"#
            )
        };
        let report = run(&script(42));
        assert_eq!(report.to_string(), "5 passed, 0 failed, 0 skipped", "{report:?}");
        let failure = failure(&script(41));
        assert!(
            failure.contains("thread $b") && failure.contains("got (i32.const 42)"),
            "{failure}"
        );
        // Also if nobody waits for it.
        let failing = script(41).replace("(wait $b)", "");
        assert_eq!(run(&failing).failures.len(), 1);
        assert_eq!(run("(wait $a)").failures.len(), 1);
    }

    #[test]
    fn a_text_that_is_no_script_fails() {
        assert!(failure("(module (func)").starts_with("test.wast:1: "));
        assert!(failure("\n(assert_frob)").starts_with("test.wast:2: "));
    }
}
