//! The ledger of machine code: of every byte in the code heap, whose it is and what keeps it there.
//!
//! What is live is taken from the heap's own books in one moment, so that the sum is exact. Whom an object
//! belongs to is asked right afterwards: an object that has been unlinked or freed in between is listed as
//! [`CodeState::Unlinked`].

use super::module_code::ModuleCode;
use super::system::CodeSystem;
use super::version::CodeOwner;
use crate::config::Tier;
use crate::types::printable::PrintableName;
use midair_osr::{CodeHeapStats, CodeObject};
use midair_tiers::CodegenSettings;
use midair_tiers::compile::EntryPoint;
use std::fmt;
use std::sync::Arc;

/// Everything that the code heap of an engine holds, at one moment: see
/// [`Engine::code_ledger`](crate::Engine::code_ledger).
///
/// `Display` prints it as a table.
///
/// ```
/// use midair::{CodeState, Config, Engine, Instance, Module, Pin, Store, Tier};
///
/// let engine = Engine::new(Config::new().tier(Tier::Optimized))?;
/// let module = Module::new(&engine, r#"(module $m (func $answer (export "f") (result i32) (i32.const 42)))"#)?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// instance.get_typed_func::<(), i32>(&mut store, "f")?.call(&mut store, ())?;
///
/// let ledger = engine.code_ledger();
/// let [entry] = &ledger.code[..] else { panic!("one function was compiled") };
/// assert_eq!(entry.function_name.as_deref(), Some("answer"));
/// assert_eq!((entry.state, entry.pin), (CodeState::Linked, Pin::CurrentVersion));
/// assert_eq!(ledger.live_bytes(), ledger.heap.live_bytes);
///
/// drop((store, module));
/// assert!(engine.code_ledger().code.is_empty());
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CodeLedger {
    /// All code objects whose bytes are there, by address.
    pub code: Vec<LedgerEntry>,
    /// Replaced versions of functions that are kept, with or without machine code.
    pub versions: Vec<KeptVersion>,
    /// Modules of the engine.
    pub modules: usize,
    /// The heap's counters at the moment that `code` was listed.
    pub heap: CodeHeapStats,
    /// Address and length of what has been freed and waits for a barrier to be used again.
    pub quarantined: Vec<(usize, usize)>,
    /// Bytes of the entry thunks: code that calls of functions without machine code go to. They are shared by
    /// all modules and stay as long as the engine.
    pub thunk_bytes: u64,
    /// Bytes of address space that are set aside for them.
    pub thunk_area_bytes: u64,
    /// Bytes of address space that new code can have.
    pub free_bytes: u64,
    /// Bytes of address space of the heap.
    pub reserved_bytes: u64,
}

/// One code object.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// Number of the object, unique in its engine.
    pub id: u64,
    /// Address of its first byte.
    pub address: usize,
    /// Bytes of machine code.
    pub bytes: usize,
    /// Bytes that it takes in the heap: `bytes`, rounded up.
    pub heap_bytes: usize,
    /// Bytes of its tables, which lie elsewhere.
    pub table_bytes: usize,
    /// Number of its module, unique in its engine; 0 if that is gone just now.
    pub module: u64,
    /// Name of the module.
    pub module_name: Option<String>,
    /// Index of the function.
    pub function: u32,
    /// Name of the function.
    pub function_name: Option<String>,
    /// Number of the function's version.
    pub version: u32,
    /// Which compiler made it.
    pub tier: Tier,
    /// How the optimising compiler made it; `None` for baseline code.
    pub settings: Option<CodegenSettings>,
    /// Where control enters it.
    pub entry: CodeEntry,
    /// What leads to it.
    pub state: CodeState,
    /// Who keeps it.
    pub pin: Pin,
}

/// Where control enters a code object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum CodeEntry {
    /// At the function's start.
    Function,
    /// At the loop at this offset in the function's body: on-stack replacement.
    Loop(u32),
}

/// What leads to a code object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum CodeState {
    /// Calls of the function go to it.
    Linked,
    /// Frames that run a loop of the function in the interpreter, or leave retired code at it, enter it.
    OsrEntry,
    /// Nothing but frames of its own.
    Unlinked,
}

/// Who keeps a code object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Pin {
    /// The function's current version, and so the module.
    CurrentVersion,
    /// A replaced version of which a frame still runs a loop.
    OlderVersion,
    /// A retirement: the code is freed when so many stores have been served.
    Retirement {
        /// Stores whose guests have yet to come to a safepoint.
        stores: usize,
    },
    /// A thread that is just publishing it, or about to free it.
    InTransit,
}

/// A replaced version of a function that is still kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeptVersion {
    /// Number of its module, unique in its engine.
    pub module: u64,
    /// Name of the module.
    pub module_name: Option<String>,
    /// Index of the function.
    pub function: u32,
    /// Name of the function.
    pub function_name: Option<String>,
    /// Number of the version.
    pub version: u32,
    /// Bytes of its lowered code.
    pub lowered_bytes: usize,
    /// Code objects of its own.
    pub code_objects: usize,
    /// Frames that have not gone on yet since their code was retired, compilations, and maps of other
    /// versions' frames that lead to it.
    pub references: usize,
}

/// The ledger in a few numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LedgerSummary {
    /// Modules of the engine.
    pub modules: usize,
    /// Code objects that calls go to.
    pub linked: Sum,
    /// Code objects that loops enter.
    pub osr_entries: Sum,
    /// Code objects that nothing leads to but frames.
    pub unlinked: Sum,
    /// Replaced versions that are kept, and bytes of their lowered code.
    pub old_versions: Sum,
    /// Pieces of freed code that wait for a barrier.
    pub quarantined: Sum,
    /// Bytes of entry thunks.
    pub thunk_bytes: u64,
    /// Bytes of code memory given back to the system.
    pub released_bytes: u64,
    /// Bytes of code memory that the system has given out.
    pub committed_bytes: u64,
}

/// A number of things and their bytes in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Sum {
    /// How many.
    pub count: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

impl CodeLedger {
    /// Bytes of all code objects, as they lie in the heap.
    pub fn live_bytes(&self) -> u64 {
        self.code.iter().map(|entry| entry.heap_bytes as u64).sum()
    }

    /// The ledger in a few numbers.
    pub fn summary(&self) -> LedgerSummary {
        let mut summary = LedgerSummary {
            modules: self.modules,
            thunk_bytes: self.thunk_bytes,
            released_bytes: self.heap.released_bytes,
            committed_bytes: self.heap.committed_bytes,
            ..LedgerSummary::default()
        };
        for entry in &self.code {
            let sum = match entry.state {
                CodeState::Linked => &mut summary.linked,
                CodeState::OsrEntry => &mut summary.osr_entries,
                CodeState::Unlinked => &mut summary.unlinked,
            };
            sum.add(entry.heap_bytes);
        }
        self.versions.iter().for_each(|v| summary.old_versions.add(v.lowered_bytes));
        self.quarantined.iter().for_each(|&(_, bytes)| summary.quarantined.add(bytes));
        summary
    }
}

impl CodeSystem {
    /// The ledger, now.
    pub(crate) fn ledger(&self) -> CodeLedger {
        let snapshot = self.heap.snapshot();
        let modules = self.modules();
        let mut versions: Vec<_> = modules.iter().flat_map(|module| module.kept()).collect();
        versions.sort_by_key(|kept| (kept.module, kept.function, kept.version));
        CodeLedger {
            code: snapshot.objects.iter().map(|object| self.entry_of(object)).collect(),
            versions,
            modules: modules.len(),
            heap: snapshot.stats,
            quarantined: snapshot.quarantined,
            thunk_bytes: snapshot.thunk_bytes,
            thunk_area_bytes: snapshot.thunk_area_bytes,
            free_bytes: snapshot.free_bytes,
            reserved_bytes: snapshot.reserved_bytes,
        }
    }

    fn entry_of(&self, object: &Arc<CodeObject>) -> LedgerEntry {
        let owner = CodeOwner::of(object);
        let function = owner.version.body.function;
        let module = owner.module.upgrade();
        let held = module.as_ref().and_then(|module| module.holds(owner, object));
        let (state, pin) = match held {
            Some(held) => held,
            None => {
                let stores = self.retirements.waiting(object);
                let pin = stores.map_or(Pin::InTransit, |stores| Pin::Retirement { stores });
                (CodeState::Unlinked, pin)
            }
        };
        let (module, module_name, function_name) = match &module {
            Some(module) => (module.id, module.name(), module.function_name(function)),
            None => (0, None, None),
        };
        LedgerEntry {
            id: object.id,
            address: object.start() as usize,
            bytes: object.len(),
            heap_bytes: object.heap_bytes(),
            table_bytes: object.table_bytes(),
            module,
            module_name,
            function,
            function_name,
            version: owner.version.body.version,
            tier: owner.tier(),
            settings: owner.options.map(|options| options.settings),
            entry: match owner.entry {
                EntryPoint::Function => CodeEntry::Function,
                EntryPoint::Loop(point) => CodeEntry::Loop(point),
            },
            state,
            pin,
        }
    }
}

impl ModuleCode {
    fn name(&self) -> Option<String> {
        Some(self.module()?.name()?.to_owned())
    }

    fn function_name(&self, function: u32) -> Option<String> {
        Some(self.module()?.function_name(function)?.to_owned())
    }

    /// The replaced versions that are kept.
    fn kept(&self) -> Vec<KeptVersion> {
        let module_name = self.name();
        let kept = self.kept_versions().into_iter().map(|(version, references)| {
            let function = version.body.function;
            let code_objects = version.code().len();
            KeptVersion {
                module: self.id,
                module_name: module_name.clone(),
                function,
                function_name: self.function_name(function),
                version: version.body.version,
                lowered_bytes: version.lowered().map_or(0, |code| code.memory_size()),
                code_objects,
                references: references.saturating_sub(code_objects),
            }
        });
        kept.collect()
    }
}

impl fmt::Display for CodeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodeEntry::Function => f.pad("function"),
            CodeEntry::Loop(point) => f.pad(&format!("loop {point:#x}")),
        }
    }
}

impl fmt::Display for CodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CodeState::Linked => "linked",
            CodeState::OsrEntry => "osr entry",
            CodeState::Unlinked => "unlinked",
        })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::CurrentVersion => f.write_str("current version"),
            Pin::OlderVersion => f.write_str("running loop of a replaced version"),
            Pin::Retirement { stores } => write!(f, "retirement, waiting for {stores} stores"),
            Pin::InTransit => f.write_str("in transit"),
        }
    }
}

/// `module!function`, by names or else by numbers.
fn place(module: u64, name: &Option<String>, function: u32, of: &Option<String>) -> String {
    let printable = |name: &String| PrintableName(name).to_string();
    let module = name.as_ref().map_or_else(|| format!("#{module}"), printable);
    let function = of.as_ref().map_or_else(|| format!("func[{function}]"), printable);
    format!("{module}!{function}")
}

impl fmt::Display for CodeLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() {
            writeln!(
                f,
                "{:<14} {:>7} {:<28} {:>7} {:<18} {:<10} {:<9} pinned by",
                "address", "bytes", "function", "version", "compiled", "entry", "state"
            )?;
        }
        for entry in &self.code {
            let place =
                place(entry.module, &entry.module_name, entry.function, &entry.function_name);
            writeln!(
                f,
                "{:<#14x} {:>7} {:<28} {:>7} {:<18} {:<10} {:<9} {}",
                entry.address,
                entry.heap_bytes,
                place,
                entry.version,
                entry.settings.map_or("baseline".to_owned(), |settings| settings.to_string()),
                entry.entry,
                entry.state,
                entry.pin
            )?;
        }
        for kept in &self.versions {
            let place = place(kept.module, &kept.module_name, kept.function, &kept.function_name);
            writeln!(
                f,
                "kept: {place} version {}, {} bytes of lowered code, for {} code objects, {} references \
                 and whatever frames of the interpreter run it",
                kept.version, kept.lowered_bytes, kept.code_objects, kept.references
            )?;
        }
        write!(f, "{}", self.summary())
    }
}

impl fmt::Display for LedgerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LedgerSummary { linked, osr_entries, unlinked, old_versions, quarantined, .. } = self;
        write!(
            f,
            "{} modules; {} B linked ({}), {} B osr entries ({}), {} B unlinked ({}), \
             {} B quarantined, {} B thunks, {} B committed, {} B given back; \
             {} old versions ({} B lowered)",
            self.modules,
            linked.bytes,
            linked.count,
            osr_entries.bytes,
            osr_entries.count,
            unlinked.bytes,
            unlinked.count,
            quarantined.bytes,
            self.thunk_bytes,
            self.committed_bytes,
            self.released_bytes,
            old_versions.count,
            old_versions.bytes
        )
    }
}
