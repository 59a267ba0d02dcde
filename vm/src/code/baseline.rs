//! Baseline code: machine code on the frames of the interpreter, for functions that have been called a few times.
//!
//! To everything that looks at frames such a frame is the interpreter's. So nothing has to be known about baseline code
//! where frames are walked, listed, moved or counted; it is made here, and put in use and out of use.

use super::module_code::{ModuleCode, Origin};
use super::retire;
use super::version::{CodeOwner, FunctionVersion};
use crate::config::{Config, Tier};
use anyhow::{Result, anyhow};
use midair_osr::CodeObject;
use midair_tiers::baseline::{self, BaselineCode, BaselineLinks};
use midair_tiers::compile::EntryPoint;
use midair_tiers::interp::LoweredCode;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The baseline code of a version, which is in use.
pub(crate) struct LinkedBaseline {
    pub(crate) object: Arc<CodeObject>,
    links: BaselineLinks,
    lowered: Arc<LoweredCode>,
}

impl LinkedBaseline {
    /// Takes the code out of use, but for what other baseline code calls. It is to be retired.
    pub(crate) fn unlink(self) -> Arc<CodeObject> {
        self.lowered.unlink_baseline();
        self.object
    }
}

/// Bytes that the smallest bodies are taken to have: what it costs to compile any body at all.
const LEAST_BODY: usize = 25;

/// Whether functions get baseline code.
fn has_tier(config: &Config) -> bool {
    match config.tier {
        Tier::Interp | Tier::Optimized => false,
        Tier::Baseline => true,
        Tier::Auto => config.baseline_code,
    }
}

/// Calls and iterations after which a function that has not been called yet is looked at.
pub(super) fn first_countdown(config: &Config) -> i32 {
    let optimized = config.optimized_threshold;
    let first = match config.tier {
        Tier::Baseline => 0,
        _ if has_tier(config) => optimized.min(config.baseline_threshold),
        _ => optimized,
    };
    i32::try_from(first).unwrap_or(i32::MAX)
}

impl ModuleCode {
    /// Calls and iterations from baseline code on until the optimising tier: in proportion to what it costs to compile the
    /// body.
    pub(crate) fn second_countdown(&self, version: &FunctionVersion) -> i32 {
        if !self.compiles() || self.config.optimized_threshold == u32::MAX {
            return i32::MAX;
        }
        let rest = self.config.optimized_threshold.saturating_sub(self.config.baseline_threshold);
        let bytes = version.body.bytes().len().max(LEAST_BODY) as u64;
        let rest = u64::from(rest) * bytes / Config::THRESHOLD_BYTES;
        i32::try_from(rest).unwrap_or(i32::MAX)
    }

    /// Whether a version that is interpreted is to get baseline code.
    pub(crate) fn wants_baseline(&self, version: &FunctionVersion) -> bool {
        if !has_tier(&self.config) {
            return false;
        }
        let code = version.code();
        code.baseline.is_none() && !code.no_baseline && version.lowered().is_some()
    }

    /// Gives a version baseline code if it is current. Failures, panics of the compiler included, leave it in the
    /// interpreter, and are counted and announced.
    pub(crate) fn compile_baseline(self: &Arc<Self>, version: &Arc<FunctionVersion>) {
        if let Err(error) = self.try_compile_baseline(version) {
            version.code().no_baseline = true;
            self.announce_failure(version, EntryPoint::Function, Tier::Baseline, &error);
        }
    }

    fn try_compile_baseline(self: &Arc<Self>, version: &Arc<FunctionVersion>) -> Result<()> {
        let Some(lowered) = version.lowered() else { return Ok(()) };
        let started = Instant::now();
        let compile = AssertUnwindSafe(|| baseline::compile(&self.env, lowered));
        let compiled = catch_unwind(compile).map_err(|_| {
            // Tests would not notice: the function is interpreted.
            if cfg!(feature = "verify-slots") {
                let function = version.body.function;
                let text = format!("baseline code of function {function}: its compiler panicked\n");
                // Not by `eprintln`, whose output tests capture.
                let _ = std::io::stderr().write_all(text.as_bytes());
                std::process::abort();
            }
            anyhow!("the compiler panicked")
        })?;
        let Some(BaselineCode { description, links }) = compiled else {
            // Builds without optimisation have no baseline tier.
            version.code().no_baseline = true;
            return Ok(());
        };
        let time = started.elapsed();
        let owner = CodeOwner {
            module: Arc::downgrade(self),
            module_number: self.id,
            version: version.clone(),
            entry: EntryPoint::Function,
            options: None,
        };
        let object = self.system.heap.publish(description, Arc::new(owner))?;
        let function = version.body.function;
        let mut functions = self.table();
        let current = Arc::ptr_eq(&self.entry(&mut functions, function).current, version);
        let mut code = version.code();
        if !current || code.baseline.is_some() {
            drop((code, functions));
            // SAFETY: nobody knows the address of the code that was published just now.
            unsafe { self.system.heap.free(&object) };
            return Ok(());
        }
        // SAFETY: the code stays until it has been unlinked and retired.
        unsafe { lowered.link_baseline(&links, object.start()) };
        let bytes = object.len();
        code.baseline = Some(LinkedBaseline { object, links, lowered: lowered.clone() });
        drop(code);
        self.relink_baseline(version);
        drop(functions);
        let origin = Origin { time, cached: false };
        let event = self.compiled(version, EntryPoint::Function, Tier::Baseline, bytes, origin);
        self.system.events.send(|| event);
        Ok(())
    }

    /// Lets baseline code call the baseline code of a current version directly, unless there is machine code to be
    /// called. The caller holds the table.
    pub(super) fn relink_baseline(&self, version: &FunctionVersion) {
        let state = self.state(version.body.function);
        if state.native.load(Ordering::SeqCst).is_null()
            && let Some(baseline) = &version.code().baseline
        {
            // SAFETY: the code is in use; whoever takes it out of use unlinks the state, with the table held.
            unsafe { state.link_baseline(&baseline.links, baseline.object.start()) };
        }
    }

    /// Retires the baseline code of a function. Does not wait: the store that is served last frees the code. Returns
    /// whether there was some. Its next call gives it new code.
    pub(crate) fn retire_baseline(self: &Arc<Self>, function: u32) -> bool {
        let functions = self.table();
        let Some(version) = functions.get(&function).map(|entry| entry.current.clone()) else {
            return false;
        };
        let Some(baseline) = version.code().baseline.take() else { return false };
        let state = self.state(function);
        state.unlink_baseline();
        let object = baseline.unlink();
        state.countdown.store(0, Ordering::Relaxed);
        drop(functions);
        // SAFETY: the code has been unlinked, and no address of baseline code is ever kept across a safepoint.
        unsafe { retire::request(&self.system, vec![object], self.stores(), None) };
        true
    }
}
