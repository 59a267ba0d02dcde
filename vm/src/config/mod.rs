//! Configuration of an engine.
//!
//! ```text
//!   proposals   which parts of the language there are, and what is said of the others
//!   stress      schedules that make every safepoint a transition
//! ```

pub(crate) mod proposals;
pub mod stress;

use crate::types::error::{ErrorKind, Failure};
use stress::StressSpec;

/// Which tier runs guest code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Only the interpreter.
    Interp,
    /// Every function gets baseline code at its first call: machine code that is made in microseconds, and runs on
    /// frames of the interpreter.
    Baseline,
    /// Every function is compiled by the optimising compiler before its first call.
    Optimized,
    /// Functions start in the interpreter and move up when they are hot.
    #[default]
    Auto,
}

impl std::str::FromStr for Tier {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Tier> {
        Ok(match name {
            "interp" => Tier::Interp,
            "baseline" => Tier::Baseline,
            "optimized" => Tier::Optimized,
            "auto" => Tier::Auto,
            _ => {
                let text = format!(
                    "unknown tier `{name}`: expected `interp`, `baseline`, `optimized` or `auto`"
                );
                return Err(Failure::new(ErrorKind::Misuse, text).into());
            }
        })
    }
}

/// What a module can have at all.
const MOST_SPARE: usize = 1 << 20;

/// Configuration of an [`Engine`](crate::Engine).
///
/// ```
/// use midair::{Config, Engine, Tier};
///
/// let mut config = Config::new();
/// config.tier(Tier::Interp).consume_fuel(true);
/// let engine = Engine::new(&config)?;
/// assert_eq!(engine.config().get_tier(), Tier::Interp);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) tier: Tier,
    pub(crate) consume_fuel: bool,
    pub(crate) max_wasm_stack: usize,
    pub(crate) compiler_threads: usize,
    pub(crate) lazy_validation: bool,
    pub(crate) baseline_code: bool,
    pub(crate) baseline_threshold: u32,
    pub(crate) optimized_threshold: u32,
    pub(crate) simd: bool,
    pub(crate) relaxed_simd: bool,
    pub(crate) extended_const: bool,
    pub(crate) multi_memory: bool,
    pub(crate) function_references: bool,
    pub(crate) memory64: bool,
    pub(crate) custom_page_sizes: bool,
    pub(crate) wide_arithmetic: bool,
    pub(crate) exceptions: bool,
    pub(crate) tail_call: bool,
    pub(crate) threads: bool,
    pub(crate) osr: bool,
    pub(crate) background_compilation: bool,
    pub(crate) stress: StressSpec,
    pub(crate) code_space: usize,
    pub(crate) code_cache: usize,
    pub(crate) guests_redirect_frames: Option<bool>,
    pub(crate) spare_functions: usize,
    pub(crate) sample_tiers: bool,
    pub(crate) assume_shadow_stack: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tier: Tier::Auto,
            consume_fuel: false,
            max_wasm_stack: 512 << 10,
            compiler_threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            lazy_validation: false,
            baseline_code: true,
            baseline_threshold: 1,
            optimized_threshold: 50_000,
            simd: true,
            relaxed_simd: true,
            extended_const: true,
            multi_memory: true,
            function_references: true,
            memory64: true,
            custom_page_sizes: true,
            wide_arithmetic: true,
            exceptions: true,
            tail_call: true,
            threads: true,
            osr: true,
            background_compilation: true,
            stress: StressSpec::default(),
            code_space: 1 << 30,
            code_cache: 8 << 20,
            guests_redirect_frames: None,
            spare_functions: 32,
            sample_tiers: false,
            assume_shadow_stack: false,
        }
    }
}

impl Config {
    /// Bytes of a body for which [`Config::optimized_threshold`] is meant.
    pub(crate) const THRESHOLD_BYTES: u64 = 100;

    /// The default configuration.
    pub fn new() -> Config {
        Config::default()
    }

    /// Which tier runs guest code. Default: [`Tier::Auto`].
    pub fn tier(&mut self, tier: Tier) -> &mut Config {
        self.tier = tier;
        self
    }

    /// The tier that is configured.
    pub fn get_tier(&self) -> Tier {
        self.tier
    }

    /// Whether guest code counts the operators that it executes, and traps when the store's fuel is
    /// used up: see [`Store::set_fuel`](crate::Store::set_fuel). Default: off.
    ///
    /// An operator costs a unit; `block`, `loop`, `else`, `end`, `nop` and `drop` cost none. What fills, copies or
    /// initialises costs one more for each 64 bytes of memory or element of a table, before it begins.
    pub fn consume_fuel(&mut self, on: bool) -> &mut Config {
        self.consume_fuel = on;
        self
    }

    /// Bytes of native stack that guest code may use before it traps with a stack overflow, and bytes
    /// of the interpreter's value stack. Default: 512 KiB.
    ///
    /// The thread that calls guest code must have this much stack left, plus what its host functions
    /// need. If a host function goes on on another native stack (that of a coroutine, or one that the
    /// `stacker` crate makes) and calls its guest there, the same is counted anew from that call; a stack that is
    /// smaller has its limit near its end. Such calls have to nest: safe code cannot make a host function return
    /// to the guest while a later call into the same store is suspended on another stack, for that call borrows
    /// the store; unsafe code that does ends the process.
    pub fn max_wasm_stack(&mut self, bytes: usize) -> &mut Config {
        self.max_wasm_stack = bytes;
        self
    }

    /// Number of threads that compile in the background. Default: the number of processors, at most 4.
    pub fn compiler_threads(&mut self, threads: usize) -> &mut Config {
        self.compiler_threads = threads;
        self
    }

    /// Whether a function's body is validated at its first call instead of when the module is loaded.
    ///
    /// Loading then only looks at what lies outside the bodies, and a function whose body is invalid
    /// traps when it is called. Default: off.
    pub fn lazy_validation(&mut self, on: bool) -> &mut Config {
        self.lazy_validation = on;
        self
    }

    /// Whether functions get [baseline code](Tier::Baseline) where the tier is [`Tier::Auto`], until the optimising
    /// compiler is worth its time. Default: on.
    pub fn baseline_code(&mut self, on: bool) -> &mut Config {
        self.baseline_code = on;
        self
    }

    /// Calls plus loop iterations after which a function gets baseline code, at the next one. Default: 1.
    pub fn baseline_threshold(&mut self, count: u32) -> &mut Config {
        self.baseline_threshold = count;
        self
    }

    /// Calls plus loop iterations after which a function is compiled by the optimising compiler. Where functions get
    /// [baseline code](Config::baseline_code) first, this is for each 100 bytes of the function's body: the more it costs to
    /// compile it, the longer it must have run; calls between it and machine code count many times. `u32::MAX` is never.
    /// Default: 50,000.
    pub fn optimized_threshold(&mut self, count: u32) -> &mut Config {
        self.optimized_threshold = count;
        self
    }

    /// Whether modules may use 128-bit vectors. Default: on. Without them there are no relaxed ones either.
    ///
    /// Functions with vectors are compiled if the processor has SSSE3 and SSE4.1; otherwise they stay in the
    /// interpreter.
    pub fn wasm_simd(&mut self, on: bool) -> &mut Config {
        self.simd = on;
        self
    }

    /// Whether modules may use the relaxed operators on vectors (a part of WebAssembly 3.0). Default: on.
    ///
    /// Their results are those of the specification's deterministic profile, in every tier and on every processor.
    pub fn wasm_relaxed_simd(&mut self, on: bool) -> &mut Config {
        self.relaxed_simd = on;
        self
    }

    /// Whether modules may compute in constant expressions (a part of WebAssembly 3.0). Default: on.
    pub fn wasm_extended_const(&mut self, on: bool) -> &mut Config {
        self.extended_const = on;
        self
    }

    /// Whether modules may have several memories (a part of WebAssembly 3.0). Default: on.
    pub fn wasm_multi_memory(&mut self, on: bool) -> &mut Config {
        self.multi_memory = on;
        self
    }

    /// Whether modules may say of references which functions they refer to and that they are not null, and call them
    /// without a table; types that refer to each other, and subtypes of types of functions, are a part of that (of
    /// WebAssembly 3.0). Default: on.
    pub fn wasm_function_references(&mut self, on: bool) -> &mut Config {
        self.function_references = on;
        self
    }

    /// Whether modules may have memories with addresses of 64 bits, and tables with such indices (a part of WebAssembly
    /// 3.0). Default: on.
    pub fn wasm_memory64(&mut self, on: bool) -> &mut Config {
        self.memory64 = on;
        self
    }

    /// Whether modules may have memories with pages of single bytes (the proposal of custom page sizes). Default: on.
    pub fn wasm_custom_page_sizes(&mut self, on: bool) -> &mut Config {
        self.custom_page_sizes = on;
        self
    }

    /// Whether modules may throw and catch exceptions: `try_table`, and the older `try` and `catch` that toolchains still
    /// emit. Default: on.
    pub fn wasm_exceptions(&mut self, on: bool) -> &mut Config {
        self.exceptions = on;
        self
    }

    /// Whether modules may add, subtract and multiply with 128 bits (the proposal of wide arithmetic). Default: on.
    pub fn wasm_wide_arithmetic(&mut self, on: bool) -> &mut Config {
        self.wide_arithmetic = on;
        self
    }

    /// Whether modules may make tail calls (a part of WebAssembly 3.0). Default: on.
    pub fn wasm_tail_call(&mut self, on: bool) -> &mut Config {
        self.tail_call = on;
        self
    }

    /// Whether modules may have shared memories and atomic operators (the threads proposal). Default: on.
    pub fn wasm_threads(&mut self, on: bool) -> &mut Config {
        self.threads = on;
        self
    }

    /// Whether a running loop may move between the tiers (on-stack replacement). Default: on.
    pub fn osr(&mut self, on: bool) -> &mut Config {
        self.osr = on;
        self
    }

    /// Whether hot functions are compiled on other threads while the guest goes on. When off, the
    /// guest waits for each compilation, so that what happens is the same in every run. Default: on.
    pub fn background_compilation(&mut self, on: bool) -> &mut Config {
        self.background_compilation = on;
        self
    }

    /// Bytes of address space for machine code. When it is full, functions stay in the interpreter.
    /// Default: 1 GiB.
    pub fn code_space(&mut self, bytes: usize) -> &mut Config {
        self.code_space = bytes;
        self
    }

    /// Most bytes of memory for copies of machine code that was replaced. When a function gets a body back that
    /// it had before, or is recompiled with options that it had before, its code is published from such a copy
    /// instead of being compiled. 0: everything is compiled. Default: 8 MiB.
    ///
    /// Copies are made only of what is replaced by an update or a recompilation, so that a program whose
    /// functions are not replaced uses none of it.
    pub fn code_cache(&mut self, bytes: usize) -> &mut Config {
        self.code_cache = bytes;
        self
    }

    /// Who goes through the frames of deep stacks when machine code is replaced: guests, each through its own, some
    /// 10 microseconds at each poll (`true`), or the thread that replaces, while guests run on (`false`). `None`,
    /// which is the default: guests, if as many of them run as there are processors.
    pub fn guests_redirect_frames(&mut self, on: impl Into<Option<bool>>) -> &mut Config {
        self.guests_redirect_frames = on.into();
        self
    }

    /// How many functions can be added to each module while it runs; and as many types, globals and exports.
    /// An update that adds more is refused. Default: 32.
    ///
    /// What running code has of a module stays where it is, so room for more is set aside when the module is
    /// loaded and when it is instantiated: about 300 bytes of address space for each function. The system
    /// gives memory for large room only when it is used.
    pub fn spare_functions(&mut self, count: usize) -> &mut Config {
        self.spare_functions = count.min(MOST_SPARE);
        self
    }

    /// Whether the engine finds out which tiers its guests spend their time in, and counts their calls: see
    /// [`TierStats`](crate::code::stats::TierStats). Default: off.
    ///
    /// Time is sampled by the signal `SIGPROF` of the process's profiling timer, about every millisecond
    /// of processor time. There is only one such timer, so that only one engine of a process can sample at
    /// a time: making another one fails. When the engine goes, timer and signal handler are
    /// as they were before. Counting makes calls a little slower.
    pub fn sample_tiers(&mut self, on: bool) -> &mut Config {
        self.sample_tiers = on;
        self
    }

    /// Whether to take this machine for one with a hardware shadow stack, where no return address can be
    /// rewritten: for tests. Functions that have been compiled can then not be replaced, and a
    /// stress schedule does not take frames out of machine code; everything else works. Default: off, and the machine is asked.
    pub fn assume_shadow_stack(&mut self, on: bool) -> &mut Config {
        self.assume_shadow_stack = on;
        self
    }

    /// Whether no return address may be rewritten.
    pub(crate) fn forbids_redirection(&self) -> bool {
        self.assume_shadow_stack || midair_osr::shadow_stack_active()
    }

    /// See [`Config::stress`].
    pub fn get_stress(&self) -> StressSpec {
        self.stress
    }

    /// Transitions to force at safepoints, for tests.
    pub fn stress(&mut self, stress: StressSpec) -> &mut Config {
        self.stress = stress;
        self
    }
}
