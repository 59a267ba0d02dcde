//! New versions become current: the one moment at which a running program changes.

use super::baseline;
use super::continuation::Migration;
use super::counters::MovedFrames;
use super::events::Event;
use super::module_code::{ModuleCode, Output};
use super::version::{CodeOwner, FunctionVersion};
use crate::config::Tier;
use anyhow::{Context as _, Error, Result};
use midair_osr::{CodeObject, ShadowStackActive};
use midair_tiers::ModuleEnv;
use midair_tiers::compile::EntryPoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How often a hot loop or function that waits for its code asks again, in calls plus iterations.
pub(crate) const ASK_AGAIN: i32 = 1_000;
/// A version takes the place of another one.
pub(crate) struct Succession {
    /// Whether there are points at which frames of `old` stay in it.
    pub(crate) may_stay: bool,
    pub(crate) old: Arc<FunctionVersion>,
    /// Lowered, and compiled if the old one is hot.
    pub(crate) new: Arc<FunctionVersion>,
    /// What frames of `old` do.
    pub(crate) migration: Migration,
    /// What frames of still older versions do.
    pub(crate) older: Vec<(Arc<FunctionVersion>, Migration)>,
    /// Counts frames of `old` when they go on.
    pub(crate) moved: Arc<MovedFrames>,
}

impl Succession {
    pub(crate) fn function(&self) -> u32 {
        self.new.body.function
    }
}

impl ModuleCode {
    /// Fails if suspended frames of a function might have to be redirected, and must not be.
    pub(crate) fn check_redirection(&self, function: u32) -> Result<()> {
        if !self.config.forbids_redirection() {
            return Ok(());
        }
        let compiled = self.versions(function).iter().any(|version| version.code().has_objects());
        anyhow::ensure!(!compiled, ShadowStackActive);
        Ok(())
    }

    /// Makes sure that frames of a version that leave its machine code can go on in it: in the interpreter.
    /// Where a compiled tier is forced, code need not have been lowered before. Fails if that is not possible.
    pub(crate) fn prepare_landing(&self, version: &FunctionVersion) -> Result<()> {
        // If it is compiled by the time that the update is published, this is asked again.
        if !version.code().has_objects() {
            return Ok(());
        }
        let lowered = self.lowered(version).map(drop);
        lowered.context(
            "frames might stay in the old body, which is compiled, and the interpreter cannot run it",
        )
    }

    /// Compiles an entry point of a version that is not current yet, in the index spaces that the module is
    /// going to have, and keeps it with the version.
    /// Returns its size, and what is to be announced if the version becomes current.
    pub(crate) fn compile_aside(
        self: &Arc<Self>,
        env: &ModuleEnv,
        version: &Arc<FunctionVersion>,
        entry: EntryPoint,
    ) -> Result<(usize, Event)> {
        let options = version.code().options();
        let Output { description, origin } = self.compile(env, version, entry, &options)?;
        self.update_step("compilation")?;
        let owner = CodeOwner {
            module: Arc::downgrade(self),
            module_number: self.id,
            version: version.clone(),
            entry,
            options: Some(options),
        };
        let object = self.system.heap.publish(description, Arc::new(owner))?;
        if let Err(error) = self.update_step("code space") {
            // SAFETY: nobody knows the address of the code that was published just now.
            unsafe { self.system.heap.free(&object) };
            return Err(error);
        }
        let bytes = object.len();
        version.code().insert(entry, object);
        Ok((bytes, self.compiled(version, entry, Tier::Optimized, bytes, origin)))
    }

    /// An entry point is not compiled, and never will be.
    pub(crate) fn refuse(&self, version: &FunctionVersion, entry: EntryPoint, error: &Error) {
        version.code().refused.push(entry);
        self.refused(version, entry, error);
    }

    /// Makes prepared versions current, all of them, and unlinks the code of those that were until now.
    /// Returns that code, which is to be retired. The caller holds [`ModuleCode::begin_replacement`].
    ///
    /// Fails, without changing anything, only where frames must not be redirected or could not stay in the old
    /// body, and code of one of the functions has been compiled since the new versions were prepared.
    pub(crate) fn publish<'s>(
        &self,
        successions: impl ExactSizeIterator<Item = &'s Succession> + Clone,
    ) -> Result<Vec<Arc<CodeObject>>> {
        let count = successions.len();
        for succession in successions.clone().filter(|succession| succession.may_stay) {
            self.prepare_landing(&succession.old)?;
        }
        let forbidden = self.config.forbids_redirection();
        let mut functions = self.table();
        // With the table's lock held: code that is being compiled gets in before this, or not at all.
        for succession in successions.clone().filter(|_| forbidden) {
            let entry = self.entry(&mut functions, succession.function());
            anyhow::ensure!(!entry.has_objects(), ShadowStackActive);
        }
        let mut objects = Vec::new();
        for succession in successions {
            let (function, new) = (succession.function(), &succession.new);
            let lowered = new.lowered().expect("a prepared version has been lowered");
            let entry = self.entry(&mut functions, function);
            for (version, migration) in &succession.older {
                version.set_migration(migration.clone());
            }
            succession.old.count_frames(&succession.moved);
            succession.old.set_migration(succession.migration.clone());
            let old = std::mem::replace(&mut entry.current, new.clone());
            debug_assert!(Arc::ptr_eq(&old, &succession.old), "versions change one at a time");
            entry.older.push(old);
            // Loops that finish in an older body may have been compiled since that was replaced.
            let older = entry.older.iter();
            objects.extend(older.flat_map(|version| version.code().take_all_objects()));

            let code = new.code().function.as_ref().map(|object| object.start().cast_mut());
            self.unlink(function);
            let state = self.state(function);
            state.lowered.store(Arc::as_ptr(lowered).cast_mut().cast(), Ordering::SeqCst);
            // A loop that has been taken out of its code shall not be interpreted for long.
            let countdown = code.map_or(baseline::first_countdown(&self.config), |_| ASK_AGAIN);
            state.countdown.store(countdown, Ordering::Relaxed);
            if let Some(code) = code {
                state.entry.store(code, Ordering::SeqCst);
                state.native.store(code, Ordering::SeqCst);
            }
        }
        drop(functions);
        self.old_versions.add(count);
        self.announce_replacement();
        Ok(objects)
    }

    /// How often functions have been replaced: what the contexts of instances point to.
    pub(crate) fn epoch(&self) -> &AtomicU64 {
        &self.epoch
    }

    /// Tells the interpreters of all stores that functions have been replaced: that new versions are
    /// current, and old ones know where their frames go on. From here on every frame of the interpreter is
    /// asked for its continuation before it goes on.
    ///
    /// This is all the work of a replacement that is done for frames of the interpreter, however many
    /// there are.
    fn announce_replacement(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        // A safepoint lowers the poll flag, executes a fence, and then looks at the epoch. So it sees the new
        // one, or the flag stays raised.
        fence(Ordering::SeqCst);
        for store in self.stores() {
            store.arm();
        }
    }
}
