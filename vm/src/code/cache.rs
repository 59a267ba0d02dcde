//! Copies of retired code, for when the same is asked for again.
//!
//! Whoever edits and reverts, undoes an update, or tries two variants in turn asks for code that was there
//! before. What a compiler makes depends on the body, the entry point, the options, and the index spaces of the
//! module, in which an index keeps its meaning for ever. So this is what a copy is found by, with the module's
//! number in place of its index spaces. Only code that was published is kept: what an update compiles that then
//! fails may refer to functions that never come to be.
//!
//! Code without frame maps is not kept. Code of a compiled tier that has no safepoint is only right in the body that was
//! loaded, for later versions poll at their entry; and baseline code holds the address of its version's lowered code, which
//! goes with that. Both are quickly made again.
//!
//! A copy is moved out when it is asked for, and comes back when that code is retired. So nothing is held twice,
//! and a program whose code is never retired has nothing here. The copy that has been here longest gives way.

use super::stats::CodeCacheStats;
use super::version::{CodeOwner, FunctionVersion};
use midair_osr::{CodeDescription, CodeObject};
use midair_tiers::compile::{CompileOptions, EntryPoint};
use std::collections::BTreeMap;
use std::collections::hash_map::{self, HashMap, RandomState};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Copies of retired code. See the module's documentation.
pub(crate) struct CodeCache {
    /// Most bytes of all copies; 0: there are none.
    limit: usize,
    hasher: RandomState,
    copies: Mutex<Copies>,
}

#[derive(Default)]
struct Copies {
    /// By the hash of what they are found by. Of two with the same hash the older one gives way.
    by_hash: HashMap<u64, Copy>,
    /// Hashes by age.
    by_age: BTreeMap<u64, u64>,
    next_age: u64,
    bytes: usize,
    hits: u64,
    misses: u64,
}

struct Copy {
    age: u64,
    module: u64,
    function: u32,
    entry: EntryPoint,
    options: CompileOptions,
    body: Box<[u8]>,
    code: CodeDescription,
    bytes: usize,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) module: u64,
    pub(super) version: &'a FunctionVersion,
    pub(super) entry: EntryPoint,
    pub(super) options: &'a CompileOptions,
}

impl Wanted<'_> {
    fn function(&self) -> u32 {
        self.version.body.function
    }

    fn body(&self) -> &[u8] {
        self.version.body.bytes()
    }

    fn is(&self, copy: &Copy) -> bool {
        copy.module == self.module
            && copy.function == self.function()
            && copy.entry == self.entry
            && copy.options == *self.options
            && *copy.body == *self.body()
    }
}

impl CodeCache {
    /// A cache of at most so many bytes.
    pub(super) fn new(limit: usize) -> CodeCache {
        CodeCache { limit, hasher: RandomState::new(), copies: Mutex::default() }
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        // Nothing that can panic happens between two changes that belong together.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, wanted: &Wanted<'_>) -> u64 {
        let Wanted { module, entry, options, .. } = wanted;
        let settings = (options.settings, options.dump_clif);
        self.hasher.hash_one((module, wanted.function(), entry, settings, wanted.body()))
    }

    /// Takes the code out that the compiler would make.
    pub(super) fn take(&self, wanted: &Wanted<'_>) -> Option<CodeDescription> {
        // What is to be printed has to be made.
        if self.limit == 0 || wanted.options.dump_clif {
            return None;
        }
        let hash = self.hash(wanted);
        let copies = &mut *self.copies();
        if !copies.by_hash.get(&hash).is_some_and(|copy| wanted.is(copy)) {
            copies.misses += 1;
            return None;
        }
        copies.hits += 1;
        copies.remove(hash).map(|copy| copy.code)
    }

    /// Keeps a copy of code that is about to be freed.
    ///
    /// # Safety
    /// The code is not freed before this returns.
    pub(super) unsafe fn keep(&self, object: &CodeObject) {
        // A copy's own size is not known before it is made; its bytes and tables are most of it.
        if self.limit < object.len() + object.table_bytes() || !object.has_frame_maps() {
            return;
        }
        let owner = CodeOwner::of(object);
        let Some(module) = owner.module.upgrade() else { return };
        let Some(options) = &owner.options else { return };
        let (version, entry) = (&*owner.version, owner.entry);
        let wanted = Wanted { module: module.id, version, entry, options };
        // SAFETY: as the caller vouches.
        let code = unsafe { object.describe() };
        let copy = Copy {
            age: 0,
            module: module.id,
            function: wanted.function(),
            entry,
            options: *options,
            body: wanted.body().into(),
            bytes: size_of::<Copy>() + wanted.body().len() + object.len() + object.table_bytes(),
            code,
        };
        let hash = self.hash(&wanted);
        // Under the lock, so that a module that goes away sees it.
        let copies = &mut *self.copies();
        module.has_copies();
        copies.insert(hash, copy);
        while copies.bytes > self.limit
            && let Some((_, hash)) = copies.by_age.pop_first()
        {
            copies.remove(hash);
        }
    }

    /// Forgets the code of a module that is going away.
    pub(super) fn forget_module(&self, module: u64) {
        let copies = &mut *self.copies();
        let of_module = copies.by_hash.extract_if(|_, copy| copy.module == module);
        for (_, copy) in of_module {
            copies.by_age.remove(&copy.age);
            copies.bytes -= copy.bytes;
        }
    }

    pub(crate) fn stats(&self) -> CodeCacheStats {
        let copies = self.copies();
        CodeCacheStats {
            hits: copies.hits,
            misses: copies.misses,
            entries: copies.by_hash.len() as u64,
            bytes: copies.bytes as u64,
        }
    }
}

impl Copies {
    fn insert(&mut self, hash: u64, copy: Copy) {
        self.remove(hash);
        self.next_age += 1;
        self.bytes += copy.bytes;
        self.by_age.insert(self.next_age, hash);
        self.by_hash.insert(hash, Copy { age: self.next_age, ..copy });
    }

    fn remove(&mut self, hash: u64) -> Option<Copy> {
        let hash_map::Entry::Occupied(entry) = self.by_hash.entry(hash) else { return None };
        let copy = entry.remove();
        self.by_age.remove(&copy.age);
        self.bytes -= copy.bytes;
        Some(copy)
    }
}
