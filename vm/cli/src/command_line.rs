//! The command line: which options there are, and what they mean.

use crate::quantity::{parse_bytes, parse_duration};
use crate::timeline::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use midair::{DataPolicy, Policy, Printable, StressSpec};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// What the help says of how the process ends.
macro_rules! exit_status {
    () => {
        "\
Exit status: that of the program, and
    1  if it cannot be loaded, or what there is to print cannot be written
    2  if the command line is wrong
  126  if the program called a function that cannot be run
  134  if it trapped, or its time limit ended it"
    };
}

/// Runs WebAssembly programs, and moves their functions to faster code while they run.
#[derive(Parser, Debug)]
#[command(name = "midair", version)]
#[command(after_help = concat!("`run` may be left out: `midair FILE` runs FILE.\n\n", exit_status!()))]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Run(RunOptions),
    Watch(WatchOptions),
    Wast(WastOptions),
}

/// Runs a program (.wasm or .wat)
#[derive(Args, Debug)]
#[command(override_usage = "midair run [OPTIONS] FILE [ARGS]...", after_help = exit_status!())]
pub struct RunOptions {
    #[command(flatten)]
    pub tiering: TieringOptions,

    /// Let the guest see directory HOST, under the name GUEST if that is given
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = parse_directory)]
    pub directories: Vec<Directory>,

    /// Set environment variable K of the guest to V, or to what it is here
    #[arg(long = "env", value_name = "K[=V]", value_parser = parse_variable)]
    pub variables: Vec<Variable>,

    /// The program's own name, which is the file's name otherwise
    #[arg(long, value_name = "NAME")]
    pub argv0: Option<String>,

    /// Call the exported function NAME with ARGS, which `--` may precede, and print its results; what it does not take of
    /// them are the program's own arguments, if it asks for any
    #[arg(long, value_name = "NAME")]
    pub invoke: Option<String>,

    /// At exit, also by Ctrl-C, print what happened to standard error; as JSON, to FILE if that is given; or write a timeline,
    /// a picture if FILE ends with .svg, a trace for Perfetto if it ends with .json
    #[arg(long, value_name = "json[:FILE]|timeline:FILE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", value_parser = parse_stats)]
    pub stats: Vec<StatsOutput>,

    /// When functions are validated: each at its first call, or all when the program is loaded
    // A large program's start should not wait for functions that it may never call.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "lazy")]
    validate: Validation,

    /// Trap after N units of fuel
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,

    /// Trap after a time such as 500ms, 10s or 2m
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Most bytes of linear memory; K, M and G stand for KiB, MiB and GiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_memory: Option<u64>,

    /// Most bytes of stack
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "8M")]
    pub max_stack: u64,

    /// The program, and its arguments
    // One list, so that whatever follows FILE belongs to the guest.
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

impl RunOptions {
    /// The program's file.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(&self.program[0])
    }

    /// What follows the file. A first `--` is none of the arguments of a function.
    pub fn arguments(&self) -> &[OsString] {
        match &self.program[1..] {
            [first, rest @ ..] if self.invoke.is_some() && first == "--" => rest,
            arguments => arguments,
        }
    }

    /// Whether functions are validated at their first call.
    pub fn lazy_validation(&self) -> bool {
        matches!(self.validate, Validation::Lazy)
    }

    /// The option that was taken for a file because there is none of that name.
    fn unknown_option(&self) -> Option<&str> {
        self.program[0].to_str().filter(|first| first.len() > 1 && first.starts_with('-'))
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Validation {
    /// All when the program is loaded
    Eager,
    /// Each at its first call
    Lazy,
}

/// Runs a program (.wasm or .wat), and brings it up to each new version of its file while it runs
#[derive(Args, Debug)]
#[command(override_usage = "midair watch [OPTIONS] FILE [ARGS]...", after_help = exit_status!())]
pub struct WatchOptions {
    /// What to do when the data that memory begins with has moved or changed
    #[arg(long, value_enum, value_name = "DATA", default_value = "refuse")]
    data: DataName,

    /// What frames of a changed function do that are suspended in its old body
    #[arg(long, value_enum, value_name = "POLICY", default_value = "migrate")]
    policy: PolicyName,

    #[command(flatten)]
    pub run: RunOptions,
}

impl WatchOptions {
    /// What becomes of data segments that differ.
    pub fn data(&self) -> DataPolicy {
        match self.data {
            DataName::Refuse => DataPolicy::Refuse,
            DataName::Keep => DataPolicy::Keep,
            DataName::Apply => DataPolicy::Apply,
        }
    }

    /// What suspended frames do.
    pub fn policy(&self) -> Policy {
        match self.policy {
            PolicyName::Migrate => Policy::Migrate,
            PolicyName::Finish => Policy::Finish,
            PolicyName::Trap => Policy::Trap,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DataName {
    /// Refuse the new version
    Refuse,
    /// Leave memory as it is
    Keep,
    /// Write the bytes that differ into memory
    Apply,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyName {
    /// They go on in the new body, as soon as they are where that has a matching place
    Migrate,
    /// They finish in the old body
    Finish,
    /// They trap
    Trap,
}

/// Runs scripts of the specification's test suite
#[derive(Args, Debug)]
pub struct WastOptions {
    #[command(flatten)]
    pub tiering: TieringOptions,

    /// The scripts
    #[arg(value_name = "FILES", required = true)]
    pub files: Vec<PathBuf>,
}

/// Options that say which tier runs functions.
#[derive(Args, Debug)]
pub struct TieringOptions {
    /// Which tier runs functions: all by one from their first call on, or each by the one it has earned
    #[arg(long, value_enum, value_name = "TIER", default_value = "auto")]
    tier: TierName,

    /// In the tier auto: calls and iterations before a function gets baseline code, or `never`
    #[arg(long, value_name = "N", value_parser = parse_threshold)]
    baseline_after: Option<Threshold>,

    /// In the tier auto: calls and iterations for each 100 bytes of its body before a function is optimized, or `never`
    #[arg(long, value_name = "N", value_parser = parse_threshold)]
    optimize_after: Option<Threshold>,

    /// Force transitions between tiers: a comma list of osr:N, retire:N, mixed:N, far:N, until:N, seed:S
    #[arg(long, value_name = "SPEC")]
    stress: Option<StressSpec>,
}

impl TieringOptions {
    /// Puts the options into a configuration.
    pub fn configure(&self, config: &mut midair::Config) {
        config.tier(match self.tier {
            TierName::Interp => midair::Tier::Interp,
            TierName::Baseline => midair::Tier::Baseline,
            TierName::Optimized => midair::Tier::Optimized,
            TierName::Auto => midair::Tier::Auto,
        });
        match self.baseline_after {
            Some(Threshold(Some(count))) => _ = config.baseline_threshold(count),
            Some(Threshold(None)) => _ = config.baseline_code(false),
            None => {}
        }
        if let Some(Threshold(count)) = self.optimize_after {
            config.optimized_threshold(count.unwrap_or(u32::MAX));
        }
        if let Some(stress) = self.stress {
            config.stress(stress);
        }
    }
}

/// When a function moves on to a tier; `None` is never.
#[derive(Clone, Copy, Debug)]
struct Threshold(Option<u32>);

fn parse_threshold(text: &str) -> Result<Threshold, String> {
    match text {
        "never" => Ok(Threshold(None)),
        count => match count.parse() {
            Ok(count) => Ok(Threshold(Some(count))),
            Err(_) => Err("neither a number nor `never`".to_owned()),
        },
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TierName {
    /// The interpreter alone
    Interp,
    /// Code that is made in microseconds, on the interpreter's frames
    Baseline,
    /// Code of the optimising compiler
    Optimized,
    /// From one to the next as functions turn out to be hot
    Auto,
}

/// A directory that the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub host: PathBuf,
    pub guest: String,
}

fn parse_directory(text: &str) -> Result<Directory, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("a directory's name is missing".to_owned());
    }
    Ok(Directory { host: PathBuf::from(host), guest: guest.to_owned() })
}

/// A variable of the guest's environment; without a value, it is inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: Option<String>,
}

fn parse_variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("the variable's name is missing".to_owned());
    }
    Ok(Variable { name: name.to_owned(), value })
}

/// Where statistics go, and how they look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsOutput {
    /// Text for people, to standard error.
    Text,
    /// JSON, to this file or else to standard error.
    Json(Option<PathBuf>),
    /// What happened when.
    Timeline(Format, PathBuf),
}

fn parse_stats(text: &str) -> Result<StatsOutput, String> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("", "") => Ok(StatsOutput::Text),
        ("json", "") if text.ends_with(':') => Err("the file's name is missing".to_owned()),
        ("json", "") => Ok(StatsOutput::Json(None)),
        ("json", file) => Ok(StatsOutput::Json(Some(PathBuf::from(file)))),
        ("timeline", "") => Err("a timeline needs a file: `timeline:FILE`".to_owned()),
        ("timeline", file) => {
            let file = PathBuf::from(file);
            match file.extension().and_then(OsStr::to_str) {
                Some("svg") => Ok(StatsOutput::Timeline(Format::Svg, file)),
                Some("json") => Ok(StatsOutput::Timeline(Format::Trace, file)),
                _ => Err("a timeline is a picture, FILE.svg, or a trace, FILE.json".to_owned()),
            }
        }
        _ => {
            Err("expected `json`, `json:FILE`, `timeline:FILE.svg` or `timeline:FILE.json`"
                .to_owned())
        }
    }
}

/// Words that the first argument can be other than an option of `run` or a file.
const FIRST_WORDS: [&str; 8] = ["run", "watch", "wast", "help", "-h", "--help", "-V", "--version"];

/// The arguments with `run` put in where it was left out.
pub fn with_command(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| !FIRST_WORDS.iter().any(|word| first == word)) {
        arguments.insert(1, "run".into());
    }
    arguments
}

/// Parses a command line whose first argument is the command's own name. The error is what there is to print if it
/// is wrong, or if it asks for help.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let command = CommandLine::try_parse_from(with_command(arguments))?.command;
    let program = match &command {
        Command::Run(options) => Some(("run", options)),
        Command::Watch(options) => Some(("watch", &options.run)),
        Command::Wast(_) => None,
    };
    if let Some((name, options)) = program
        && let Some(option) = options.unknown_option()
    {
        use clap::CommandFactory;
        let message = format!("unexpected argument '{}' found", Printable(option));
        let mut command_line = CommandLine::command();
        command_line.build();
        let command =
            command_line.find_subcommand_mut(name).expect("the command has these subcommands");
        return Err(command.error(clap::error::ErrorKind::UnknownArgument, message));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> RunOptions {
        match parse(line.split(' ').map(OsString::from)) {
            Ok(Command::Run(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    fn error(line: &str) -> String {
        parse(line.split(' ').map(OsString::from)).unwrap_err().to_string()
    }

    #[test]
    fn run_may_be_left_out() {
        for line in ["midair run a.wasm", "midair a.wasm"] {
            assert_eq!(run(line).file(), PathBuf::from("a.wasm"));
        }
        let options = run("midair --tier=interp a.wasm b");
        assert!(matches!(options.tiering.tier, TierName::Interp));
        assert_eq!(options.arguments(), ["b"]);
    }

    #[test]
    fn watching_takes_the_options_of_running() {
        let line =
            "midair watch --tier=interp --data keep --policy=trap --max-memory 1M a.wat x -y";
        match parse(line.split(' ').map(OsString::from)) {
            Ok(Command::Watch(options)) => {
                assert_eq!(options.data(), DataPolicy::Keep);
                assert_eq!(options.policy(), Policy::Trap);
                assert_eq!(options.run.max_memory, Some(1 << 20));
                assert_eq!(options.run.file(), PathBuf::from("a.wat"));
                assert_eq!(options.run.arguments(), ["x", "-y"]);
            }
            other => panic!("{other:?}"),
        }
        assert!(error("midair watch --data=x a.wat").contains("refuse"));
        assert!(error("midair watch --frob a.wat").contains("midair watch"));
        assert!(error("midair watch --help").contains("brings it up to each new version"));
    }

    #[test]
    fn what_follows_the_file_belongs_to_the_guest() {
        let options = run("midair run --stats a.wasm --stats=json --tier=interp -- -x --help run");
        assert_eq!(options.stats, [StatsOutput::Text]);
        assert!(matches!(options.tiering.tier, TierName::Auto));
        assert_eq!(
            options.arguments(),
            ["--stats=json", "--tier=interp", "--", "-x", "--help", "run"]
        );
    }

    #[test]
    fn arguments_of_a_function_may_follow_two_dashes() {
        let options = run("midair --invoke f a.wasm -- -1 --");
        assert_eq!(options.arguments(), ["-1", "--"]);
        assert_eq!(run("midair --invoke f a.wasm -1").arguments(), ["-1"]);
        assert_eq!(run("midair --invoke f -- a.wasm -1").arguments(), ["-1"]);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(error("midair run --frob a.wasm").contains("--frob"));
        assert!(error("midair --frob a.wasm").contains("--frob"));
        assert!(error("midair run").contains("FILE"));
        assert!(error("midair wast").contains("FILES"));
        assert!(error("midair run --tier=x a.wasm").contains("interp"));
        assert!(error("midair run --stress=gc:1 a.wasm").contains("not available yet"));
        assert!(error("midair run --timeout=x a.wasm").contains("--timeout"));
        assert!(error("midair run --validate=x a.wasm").contains("eager"));
    }

    #[test]
    fn statistics_have_several_forms_at_once() {
        let options =
            run("midair --stats --stats=timeline:a.svg --stats=timeline:b/c.d.json a.wasm");
        let timeline = |format, file| StatsOutput::Timeline(format, PathBuf::from(file));
        let trace = timeline(Format::Trace, "b/c.d.json");
        let expected = [StatsOutput::Text, timeline(Format::Svg, "a.svg"), trace];
        assert_eq!(options.stats, expected);
        assert!(error("midair --stats=timeline a.wasm").contains("timeline:FILE"));
        assert!(error("midair --stats=timeline:a.png a.wasm").contains("FILE.svg"));
    }

    #[test]
    fn values_are_parsed() {
        let options = run(
            "midair --dir /tmp --dir a::/b --env X=a=b --env Y --stats=json:out.json --fuel 9 \
             --timeout 2m --validate=eager --max-memory 1G --max-stack=64K --stress=osr:3 a.wasm",
        );
        assert_eq!(options.directories[0].guest, "/tmp");
        assert_eq!(options.directories[1].host, PathBuf::from("a"));
        assert_eq!(options.directories[1].guest, "/b");
        assert_eq!(options.variables[0].value.as_deref(), Some("a=b"));
        assert_eq!(options.variables[1].value, None);
        assert_eq!(options.stats, [StatsOutput::Json(Some(PathBuf::from("out.json")))]);
        assert_eq!(options.fuel, Some(9));
        assert!(!options.lazy_validation());
        assert!(run("midair a.wasm").lazy_validation());
        assert_eq!(options.timeout, Some(Duration::from_secs(120)));
        assert_eq!(options.max_memory, Some(1 << 30));
        assert_eq!(options.max_stack, 64 << 10);
        assert_eq!(options.tiering.stress.unwrap().osr, Some(3));
    }
}
