//! Compile times. Not run by default: `cargo test --release -p midair-tiers --test clif -- --ignored
//! throughput --nocapture`, with `MIDAIR_COMPILE=FILE` naming a module, and optionally
//! `MIDAIR_COMPILE_FIRST=N`, `MIDAIR_COMPILE_COUNT=N`.

use crate::module::{TestModule, loops};
use midair_tiers::{
    CodegenSettings, CompileError, CompileOptions, Compiler, EntryPoint, FunctionBody,
};
use std::time::Duration;

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds on the processor"))
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Sums over many compilations.
#[derive(Default)]
struct Totals {
    functions: usize,
    bytes: usize,
    code: usize,
    tables: usize,
    time: Duration,
    slowest: Option<(Duration, FunctionBody)>,
    failures: Vec<String>,
}

impl Totals {
    fn add(
        &mut self,
        compiler: &Compiler,
        module: &TestModule,
        body: &FunctionBody,
        entry: EntryPoint,
        settings: CodegenSettings,
    ) {
        let start = cpu_time();
        let result = compiler.compile(&module.env, body, entry, &CompileOptions::new(settings));
        let time = cpu_time() - start;
        match result {
            Ok(description) => {
                self.functions += 1;
                self.bytes += body.bytes().len();
                self.code += description.bytes.len();
                self.tables += description.frame_maps.bytes();
                self.time += time;
                if self.slowest.as_ref().is_none_or(|slowest| time > slowest.0) {
                    self.slowest = Some((time, body.clone()));
                }
            }
            Err(CompileError::NoSuchLoop(_)) => {}
            Err(error) => self.failures.push(format!("{body:?} {entry:?}: {error}")),
        }
    }

    fn print(&self, name: &str) {
        let seconds = self.time.as_secs_f64();
        println!(
            "{name}: {} functions, {:.2} MB in {seconds:.2} s: {:.2} MB/s; code {:.2} MB, frame maps {:.2} MB; slowest {:?}",
            self.functions,
            self.bytes as f64 / 1e6,
            self.bytes as f64 / 1e6 / seconds,
            self.code as f64 / 1e6,
            self.tables as f64 / 1e6,
            self.slowest,
        );
        for failure in &self.failures {
            println!("  {failure}");
        }
    }
}

#[test]
#[ignore = "takes a module from the environment"]
fn throughput() {
    let Ok(path) = std::env::var("MIDAIR_COMPILE") else { return };
    let bytes = std::fs::read(path).expect("a readable file");
    let module = TestModule::new_unchecked(bytes).expect("a module");
    let first = number("MIDAIR_COMPILE_FIRST", 0);
    let count = number("MIDAIR_COMPILE_COUNT", 2000);
    let bodies = &module.bodies[first.min(module.bodies.len())..];
    let bodies = &bodies[..count.min(bodies.len())];
    let compiler = Compiler::with_verifier(false).expect("a supported processor");
    for settings in [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED] {
        let (mut functions, mut entries) = (Totals::default(), Totals::default());
        for body in bodies {
            functions.add(&compiler, &module, body, EntryPoint::Function, settings);
            for point in loops(body).into_iter().take(3) {
                entries.add(&compiler, &module, body, EntryPoint::Loop(point), settings);
            }
        }
        functions.print(&format!("{settings}"));
        entries.print(&format!("{settings}, OSR entries"));
    }
}
