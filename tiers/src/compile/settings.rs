//! What a compilation chooses among Cranelift's settings, and the code generators for these choices.

use crate::compile::CompileError;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::Configurable;
use midair_osr::cranelift;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How much Cranelift optimises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum OptLevel {
    /// Not at all.
    None,
    /// For speed.
    Speed,
    /// For speed and for small code.
    SpeedAndSize,
}

/// How values get their registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum RegisterAllocation {
    /// In one pass: compiles fast.
    SinglePass,
    /// With backtracking: runs fast.
    Backtracking,
}

/// The choices of a compilation that change its code but not what the code does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub struct CodegenSettings {
    /// How much is optimised.
    pub opt_level: OptLevel,
    /// How values get their registers.
    pub register_allocation: RegisterAllocation,
    /// Whether loads that must give the same value are merged.
    pub alias_analysis: bool,
}

impl CodegenSettings {
    /// What the optimising tier compiles with, unless it is told otherwise.
    pub const OPTIMIZED: CodegenSettings = CodegenSettings {
        opt_level: OptLevel::Speed,
        register_allocation: RegisterAllocation::Backtracking,
        alias_analysis: true,
    };

    /// The cheapest compilation: code that is as different as can be, and does the same.
    pub const UNOPTIMIZED: CodegenSettings = CodegenSettings {
        opt_level: OptLevel::None,
        register_allocation: RegisterAllocation::SinglePass,
        alias_analysis: true,
    };
}

impl OptLevel {
    fn name(self) -> &'static str {
        match self {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
            OptLevel::SpeedAndSize => "speed_and_size",
        }
    }
}

impl RegisterAllocation {
    fn name(self) -> &'static str {
        match self {
            RegisterAllocation::SinglePass => "single_pass",
            RegisterAllocation::Backtracking => "backtracking",
        }
    }
}

impl fmt::Display for CodegenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.opt_level.name(), self.register_allocation.name())?;
        f.write_str(if self.alias_analysis { "" } else { "/no alias analysis" })
    }
}

/// The code generators for this processor, made when they are first asked for. There are few settings, so all
/// are kept.
pub(crate) struct CodeGenerators {
    verify: bool,
    made: Mutex<HashMap<CodegenSettings, OwnedTargetIsa>>,
}

impl CodeGenerators {
    /// Code generators that have Cranelift verify its input and the results of its passes, or not. Fails if
    /// this processor is not supported.
    pub(crate) fn new(verify: bool) -> Result<CodeGenerators, CompileError> {
        let this = CodeGenerators { verify, made: Mutex::default() };
        this.get(CodegenSettings::OPTIMIZED)?;
        Ok(this)
    }

    /// The code generator for these settings.
    pub(crate) fn get(&self, settings: CodegenSettings) -> Result<OwnedTargetIsa, CompileError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(isa) = made.get(&settings) {
            return Ok(isa.clone());
        }
        let isa = target_isa(settings, self.verify)?;
        made.insert(settings, isa.clone());
        Ok(isa)
    }
}

fn target_isa(chosen: CodegenSettings, verify: bool) -> Result<OwnedTargetIsa, CompileError> {
    let unsupported = |reason: &dyn fmt::Display| CompileError::Unsupported(reason.to_string());
    let flag = |on: bool| if on { "true" } else { "false" };
    let mut flags = cranelift::flags();
    for (name, value) in [
        ("opt_level", chosen.opt_level.name()),
        ("regalloc_algorithm", chosen.register_allocation.name()),
        ("enable_alias_analysis", flag(chosen.alias_analysis)),
        ("enable_verifier", flag(verify)),
    ] {
        flags.set(name, value).map_err(|error| unsupported(&error))?;
    }
    cranelift::code_generator(flags).map_err(|error| unsupported(&error))
}
