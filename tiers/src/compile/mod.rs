//! The compiler: one function in, one code description out.
//!
//! ```text
//!   clif       from bytecode to Cranelift's intermediate form
//!   settings   what a compilation chooses among Cranelift's settings
//! ```

pub mod clif;
pub(crate) mod settings;

use crate::body::FunctionBody;
use crate::caught::CaughtLocals;
use crate::fuel::FuelPlan;
use crate::liveness::{Liveness, LivenessError};
use crate::module_env::ModuleEnv;
use crate::types::ValType;
use clif::{Source, TranslateError};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::{CodegenError, CompiledCode, Context};
use cranelift_frontend::FunctionBuilderContext;
use midair_osr::CodeDescription;
use midair_osr::cranelift::{DescribeError, Sites};
use settings::{CodeGenerators, CodegenSettings, RegisterAllocation};
use std::cell::Cell;
use std::fmt;

/// Choices of one compilation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompileOptions {
    /// How it is compiled.
    pub settings: CodegenSettings,
    /// Keep the CLIF and the machine code as text: see [`MachineCode::listing`].
    /// [`Compiler::compile`] prints it to standard error.
    pub dump_clif: bool,
}

impl CompileOptions {
    /// Compilation with these settings.
    pub fn new(settings: CodegenSettings) -> CompileOptions {
        CompileOptions { settings, dump_clif: false }
    }
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions::new(CodegenSettings::OPTIMIZED)
    }
}

/// Where control enters the code that is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum EntryPoint {
    /// The function's entry.
    Function,
    /// The loop at this point, or the handler ([`crate::Handler`]): an OSR entry. It has the machine signature of the function, but
    /// ignores its parameters and loads the canonical frame at the point from
    /// `StackContext::resume`. Only what can be reached from there is compiled.
    Loop(u32),
}

/// Why a function cannot be compiled. It then stays with the interpreter.
#[derive(Debug)]
#[non_exhaustive]
pub enum CompileError {
    /// It would take too much time or memory, or its frame is too large.
    TooLarge(String),
    /// It uses something that the compiler, or this processor, does not support.
    Unsupported(String),
    /// The entry's point is not a loop, or not one that can be reached.
    NoSuchLoop(u32),
    /// The body does not parse. A validated body does.
    Parse(wasmparser::BinaryReaderError),
    /// Cranelift refused what the translator made: a bug.
    Codegen(String),
    /// The compiled code's tables do not fit together: a bug.
    Describe(DescribeError),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::TooLarge(what) => write!(f, "function too large: {what}"),
            CompileError::Unsupported(what) => write!(f, "not supported: {what}"),
            CompileError::NoSuchLoop(point) => write!(f, "no loop to enter at {point:#x}"),
            CompileError::Parse(error) => write!(f, "{error}"),
            CompileError::Codegen(error) => write!(f, "code generation: {error}"),
            CompileError::Describe(error) => write!(f, "code description: {}", error.0),
        }
    }
}

impl std::error::Error for CompileError {}

impl From<TranslateError> for CompileError {
    fn from(error: TranslateError) -> Self {
        match error {
            TranslateError::TooLarge(what) => CompileError::TooLarge(what.to_owned()),
            TranslateError::Unsupported(what) => CompileError::Unsupported(what),
            TranslateError::NoSuchLoop(point) => CompileError::NoSuchLoop(point),
            TranslateError::Parse(error) => CompileError::Parse(error),
            TranslateError::ShareOperands(count) => {
                CompileError::Codegen(format!("{count} operands below a loop"))
            }
        }
    }
}

impl From<wasmparser::BinaryReaderError> for CompileError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        CompileError::Parse(error)
    }
}

/// What is compiled at all. Beyond it a function stays with the interpreter: its compilation would
/// occupy a thread for too long, or its frame the stack.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// Bytes of a body.
    pub max_body: usize,
    /// Product of a body's locals and its basic blocks: bounds the tables of SSA construction.
    pub max_locals_by_blocks: usize,
    /// Basic blocks of a body: the time that registers take grows with the square of the blocks.
    pub max_blocks: usize,
    /// Arguments and results that the calls of a body pass in memory, all together: the time that registers take by
    /// backtracking grows with their square.
    pub max_values_in_memory: usize,
    /// Sum over the `br_table`s of a body of the square of how many labels each leads to: to find registers for what a
    /// branch passes to its targets takes so long.
    pub max_fan_out: u64,
    /// Bytes of a frame.
    pub max_frame: u32,
}

impl Default for CompileLimits {
    fn default() -> Self {
        CompileLimits {
            max_body: 1 << 20,
            max_locals_by_blocks: 1 << 26,
            max_blocks: 1 << 16,
            max_values_in_memory: 1 << 16,
            max_fan_out: 1 << 25,
            max_frame: 64 << 10,
        }
    }
}

/// Compiled code before it is described: for tests and for people who want to look at it.
#[derive(Debug)]
pub struct MachineCode {
    /// What Cranelift made.
    pub code: CompiledCode,
    /// The safepoints in it, by source location.
    pub sites: Sites,
    /// CLIF and machine code, if asked for.
    pub listing: Option<Listing>,
}

/// A compilation as text.
#[derive(Debug, Clone)]
pub struct Listing {
    /// As translated, before any optimisation.
    pub clif: String,
    /// Assembly with virtual labels.
    pub assembly: String,
}

/// Compiles functions for the host. One is enough for all threads.
pub struct Compiler {
    generators: CodeGenerators,
    limits: CompileLimits,
}

/// What a compilation needs, kept for the next one on the same thread.
struct Workspace {
    context: Context,
    builder: FunctionBuilderContext,
}

impl Workspace {
    fn new() -> Box<Workspace> {
        Box::new(Workspace { context: Context::new(), builder: FunctionBuilderContext::new() })
    }
}

/// A workspace that a larger body was compiled in is not kept: it may hold very much memory.
const MAX_KEPT_BODY: usize = 64 << 10;

thread_local! {
    /// Empty while a compilation is going on, and after one that panicked or failed.
    static WORKSPACE: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl Compiler {
    /// A compiler for this processor.
    pub fn new() -> Result<Compiler, CompileError> {
        Self::with_verifier(cfg!(debug_assertions))
    }

    /// A compiler that has Cranelift verify its input and the results of its passes, or not.
    pub fn with_verifier(verify: bool) -> Result<Compiler, CompileError> {
        Ok(Compiler { generators: CodeGenerators::new(verify)?, limits: CompileLimits::default() })
    }

    /// The same compiler with other limits.
    pub fn with_limits(self, limits: CompileLimits) -> Compiler {
        Compiler { limits, ..self }
    }

    /// Compiles a valid body.
    pub fn compile(
        &self,
        env: &ModuleEnv,
        body: &FunctionBody,
        entry: EntryPoint,
        options: &CompileOptions,
    ) -> Result<CodeDescription, CompileError> {
        let compiled = self.machine_code(env, body, entry, options)?;
        if let Some(listing) = &compiled.listing {
            eprintln!(
                ";; {body:?}, {entry:?}, {:?}\n{}\n{}",
                options.settings, listing.clif, listing.assembly
            );
        }
        let (isa, max_frame) = (self.isa(options.settings)?, self.limits.max_frame);
        midair_osr::cranelift::describe(&compiled.code, &*isa, &compiled.sites, max_frame)
            .map_err(CompileError::Describe)
    }

    /// What code with these settings is made for.
    pub fn isa(&self, settings: CodegenSettings) -> Result<OwnedTargetIsa, CompileError> {
        self.generators.get(settings)
    }

    /// Compiles a valid body to what [`Compiler::compile`] makes its description of.
    pub fn machine_code(
        &self,
        env: &ModuleEnv,
        body: &FunctionBody,
        entry: EntryPoint,
        options: &CompileOptions,
    ) -> Result<MachineCode, CompileError> {
        let size = body.bytes().len();
        if size > self.limits.max_body {
            return Err(CompileError::TooLarge(format!("{size} bytes")));
        }
        let caught = CaughtLocals::of(body)?;
        let locals = local_types(env, body, &caught)?;
        let liveness = Liveness::new(body, locals.len() as u32).map_err(|error| match error {
            LivenessError::TooLarge => {
                CompileError::TooLarge(format!("{} locals in many blocks", locals.len()))
            }
            LivenessError::Parse(error) => CompileError::Parse(error),
        })?;
        // A call ends a block, a loop's poll makes two more.
        let blocks = liveness.blocks() + liveness.calls() + 2 * liveness.loops();
        if locals.len().saturating_mul(blocks as usize) > self.limits.max_locals_by_blocks {
            return Err(CompileError::TooLarge(format!(
                "{} locals in {blocks} blocks",
                locals.len()
            )));
        }
        if blocks as usize > self.limits.max_blocks {
            return Err(CompileError::TooLarge(format!("{blocks} blocks")));
        }
        if liveness.fan_out() > self.limits.max_fan_out {
            return Err(CompileError::TooLarge("branches to very many labels".to_owned()));
        }
        let plan = env.consume_fuel.then(|| FuelPlan::new(body)).transpose()?;
        let isa = self.isa(options.settings)?;
        let max_values_in_memory = match options.settings.register_allocation {
            RegisterAllocation::Backtracking => self.limits.max_values_in_memory,
            RegisterAllocation::SinglePass => usize::MAX,
        };
        let source = Source {
            env,
            body,
            locals: &locals,
            caught: &caught,
            liveness: &liveness,
            entry,
            count_calls: env.count_calls,
            charges: plan.as_ref().map_or(&[], FuelPlan::charges),
            max_values_in_memory,
            isa: &*isa,
        };
        let mut workspace = WORKSPACE.take().unwrap_or_else(Workspace::new);
        let compiled = workspace.compile(source, self.limits, options)?;
        if size <= MAX_KEPT_BODY {
            workspace.clear();
            WORKSPACE.set(Some(workspace));
        }
        Ok(compiled)
    }
}

impl Workspace {
    fn clear(&mut self) {
        self.context.clear();
        // Cranelift 0.135 forgets them: they would pile up, and its passes go over all of them.
        self.context.func.dfg.exception_tables.clear();
    }

    fn compile(
        &mut self,
        source: Source<'_>,
        limits: CompileLimits,
        options: &CompileOptions,
    ) -> Result<MachineCode, CompileError> {
        let context = &mut self.context;
        let translation = clif::translate(source, &mut context.func, &mut self.builder)?;
        let clif = options.dump_clif.then(|| context.func.display().to_string());
        context.set_disasm(options.dump_clif);
        context
            .compile(source.isa, &mut ControlPlane::default())
            .map_err(|error| codegen_error(&error.inner))?;
        let Some(code) = context.take_compiled_code() else {
            return Err(CompileError::Codegen("no code".to_owned()));
        };
        let frame = code.buffer.frame_layout().map_or(0, |l| l.frame_to_fp_offset);
        if frame > limits.max_frame {
            return Err(CompileError::TooLarge(format!("a frame of {frame} bytes")));
        }
        // What cannot be reached has been dropped: in OSR entries, and behind constant conditions.
        let mut sites = translation.sites;
        for (point, inst) in translation.instructions {
            let block = context.func.layout.inst_block(inst);
            if block.is_none_or(|block| !context.domtree.is_reachable(block)) {
                sites.remove(&point);
            }
        }
        let listing =
            clif.map(|clif| Listing { clif, assembly: code.vcode.clone().unwrap_or_default() });
        Ok(MachineCode { code, sites, listing })
    }
}

fn codegen_error(error: &CodegenError) -> CompileError {
    match error {
        CodegenError::ImplLimitExceeded | CodegenError::CodeTooLarge => {
            CompileError::TooLarge("a limit of the code generator".to_owned())
        }
        error => CompileError::Codegen(error.to_string()),
    }
}

/// Types of the parameters, the declared and the hidden locals.
fn local_types(
    env: &ModuleEnv,
    body: &FunctionBody,
    caught: &CaughtLocals,
) -> Result<Vec<ValType>, CompileError> {
    /// More than any validator accepts.
    const MAX_LOCALS: usize = 1 << 16;
    let mut types = env.func_type(body.function).params.to_vec();
    let mut reader = body.reader().get_locals_reader()?;
    for _ in 0..reader.get_count() {
        let (count, ty) = reader.read()?;
        let Some(ty) = env.val_type(ty) else {
            return Err(CompileError::Unsupported(format!("locals of type {ty}")));
        };
        if types.len() + count as usize > MAX_LOCALS {
            return Err(CompileError::TooLarge(format!("{count} locals")));
        }
        types.extend(std::iter::repeat_n(ty, count as usize));
    }
    types.extend(std::iter::repeat_n(ValType::EXNREF, caught.count()));
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FuncType;
    use std::sync::Arc;

    /// A function that calls itself many times.
    fn calls(count: usize) -> (ModuleEnv, FunctionBody) {
        let mut env = ModuleEnv::default();
        env.types.push(FuncType::new([ValType::I32], [ValType::I32]));
        env.functions.push(0);
        let mut code = vec![0, 0x20, 0];
        code.extend([0x10, 0].repeat(count));
        code.push(0x0b);
        let len = code.len();
        (env, FunctionBody::new(Arc::new(code), 0, len, 0, 0))
    }

    #[test]
    fn a_body_with_too_many_blocks_is_not_compiled() {
        let (env, body) = calls(100);
        let options = CompileOptions::default();
        let compile = |max_blocks| {
            let limits = CompileLimits { max_blocks, ..CompileLimits::default() };
            let compiler = Compiler::new().unwrap().with_limits(limits);
            compiler.machine_code(&env, &body, EntryPoint::Function, &options)
        };
        assert!(compile(200).is_ok());
        let Err(CompileError::TooLarge(why)) = compile(50) else { panic!("it is compiled") };
        assert!(why.ends_with(" blocks"), "{why}");
        // And by default what takes seconds is not.
        assert!(CompileLimits::default().max_blocks <= 1 << 16);
    }
}
