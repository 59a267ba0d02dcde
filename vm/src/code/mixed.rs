//! Mixed tiers: a stress schedule by which each function runs in a tier of its own, and in another one after a
//! while. So cold functions call hot ones and the reverse, in every combination, and no two calls of a function
//! need to find the same code.
//!
//! ```text
//!   linked code  <--- set_runner --->  shelf: code that nothing leads to
//!        \                               /
//!         `---- both in VersionCode ----'
//! ```
//!
//! Frames are left alone: those that run code which has been put on the shelf finish in it. Code on the shelf
//! belongs to its version like any other, so that it is retired with it.

use super::module_code::ModuleCode;
use super::version::{CodeOwner, FunctionVersion};
use crate::config::Tier;
use midair_osr::CodeObject;
use midair_tiers::CodegenSettings;
use midair_tiers::compile::{CompileOptions, EntryPoint};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What runs a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Runner {
    Interpreter,
    Baseline,
    Compiled(CompileOptions),
}

/// The functions that have been called, by index: with one thread the same choices are made in each run.
#[derive(Default)]
pub(super) struct Mixed(Mutex<BTreeSet<u32>>);

impl Mixed {
    fn add(&self, function: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(function);
    }

    /// The first called function from this index on.
    fn from(&self, index: u32) -> Option<u32> {
        let called = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        called.range(index..).chain(&*called).next().copied()
    }
}

/// Random bits: the `n`th of a seed (SplitMix64).
pub(crate) fn hash(seed: u64, n: u64) -> u64 {
    let mut bits = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

impl ModuleCode {
    /// Whether there is a schedule of mixed tiers.
    pub(super) fn is_mixed(&self) -> bool {
        self.config.stress.mixed.is_some()
    }

    /// What runs a function when it is first called; `None` if that is for its counter to say.
    pub(super) fn first_runner(&self, function: u32) -> Option<Runner> {
        if !self.is_mixed() {
            return match self.config.tier {
                Tier::Interp | Tier::Auto => None,
                Tier::Baseline => Some(Runner::Baseline),
                Tier::Optimized => Some(Runner::Compiled(CompileOptions::default())),
            };
        }
        self.mixed.add(function);
        Some(self.choose(hash(!self.config.stress.seed, function.into())))
    }

    /// One of those that the configuration allows. Code that was compiled otherwise has other frames: a tier more.
    fn choose(&self, bits: u64) -> Runner {
        let [unoptimized, optimized] = [CodegenSettings::UNOPTIMIZED, CodegenSettings::OPTIMIZED]
            .map(|settings| Runner::Compiled(CompileOptions::new(settings)));
        let runners: &[Runner] = match self.config.tier {
            Tier::Interp => &[Runner::Interpreter],
            Tier::Baseline => &[Runner::Interpreter, Runner::Baseline],
            Tier::Optimized => &[Runner::Interpreter, optimized],
            Tier::Auto => &[Runner::Interpreter, Runner::Baseline, unoptimized, optimized],
        };
        runners[bits as usize % runners.len()]
    }

    /// Gives a function a tier: the one that is running, or another one that has been called.
    pub(crate) fn mix(self: &Arc<Self>, bits: u64, running: Option<u32>) {
        let functions = self.env.functions.len() as u64;
        let chosen = match running.filter(|_| bits & 1 == 0) {
            Some(running) => Some(running),
            None => self.mixed.from(((bits >> 1 & 0xffff_ffff) % functions) as u32),
        };
        if let Some(function) = chosen {
            self.set_runner(function, self.choose(bits >> 40));
        }
    }

    /// Makes the next call of a function go there. Does nothing where that is not possible.
    fn set_runner(self: &Arc<Self>, function: u32, runner: Runner) {
        let version = self.current(function);
        if self.lowered(&version).is_err() {
            return;
        }
        let counters = &self.system.counters;
        let before = version.code().function.clone();
        let Runner::Compiled(options) = runner else {
            let shelved = before.is_some() && self.shelve(&version);
            let has_baseline = runner == Runner::Baseline;
            let changed = self.set_baseline(&version, has_baseline);
            if shelved || changed && !has_baseline {
                counters.mixed_unlinked.add(1);
            } else if changed {
                counters.mixed_linked.add(1);
            }
            return;
        };
        let options = version.code().options.unwrap_or(options);
        if before.as_ref().is_some_and(|code| CodeOwner::of(code).options == Some(options)) {
            return;
        }
        if before.is_some() && !self.shelve(&version) {
            return;
        }
        self.compile_and_install(&version, EntryPoint::Function, options);
        if version.code().function.is_some() {
            let counter = match before {
                Some(_) => &counters.mixed_exchanged,
                None => &counters.mixed_linked,
            };
            counter.add(1);
        }
    }

    /// Gives a function baseline code, or takes it away until this is called again; the latter only where there is no other
    /// tier to be mixed with, for making it anew takes large functions a long time. Returns whether anything has changed.
    pub(super) fn set_baseline(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        has_it: bool,
    ) -> bool {
        if has_it {
            let wanted = self.wants_baseline(version);
            if wanted {
                self.compile_baseline(version);
            }
            return wanted && version.code().baseline.is_some();
        }
        if self.config.tier != Tier::Baseline {
            return false;
        }
        let function = version.body.function;
        let had_it = self.retire_baseline(function);
        self.state(function).countdown.store(i32::MAX, Ordering::Relaxed);
        had_it
    }

    /// Puts the code of a function on the shelf, and lets calls go to the interpreter. Does nothing if the
    /// version is not current any more.
    fn shelve(&self, version: &Arc<FunctionVersion>) -> bool {
        let function = version.body.function;
        let mut functions = self.table();
        if !Arc::ptr_eq(&self.entry(&mut functions, function).current, version) {
            return false;
        }
        let Some(lowered) = version.lowered() else { return false };
        self.unlink(function);
        let state = self.state(function);
        state.lowered.store(Arc::as_ptr(lowered).cast_mut().cast(), Ordering::Release);
        let mut code = version.code();
        let taken = code.function.take();
        let shelved = taken.is_some();
        code.shelved.extend(taken);
        drop(code);
        self.relink_baseline(version);
        shelved
    }

    /// Takes code that was compiled so from the shelf, and links it. Does nothing if there is none, or if the
    /// function has code.
    pub(super) fn unshelve(
        &self,
        version: &Arc<FunctionVersion>,
        options: &CompileOptions,
    ) -> bool {
        let function = version.body.function;
        let mut functions = self.table();
        if !Arc::ptr_eq(&self.entry(&mut functions, function).current, version) {
            return false;
        }
        let mut code = version.code();
        let is_it = |object: &Arc<CodeObject>| CodeOwner::of(object).options == Some(*options);
        let Some(at) = code.shelved.iter().position(is_it) else { return false };
        if code.function.is_some() {
            return false;
        }
        let object = code.shelved.swap_remove(at);
        code.function = Some(object.clone());
        drop(code);
        self.link(function, &object);
        true
    }
}
