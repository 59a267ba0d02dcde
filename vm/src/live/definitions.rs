//! Defining functions one by one: adding, retyping, freeing them, and what refers to them.
//!
//! ```text
//!   an update is begun      the index spaces of the module are as long as they are then
//!   add_function, retype    their indices are the next ones, so that bodies can refer to them at once
//!   plan, apply             fails if the module has grown since
//! ```

use super::changes::{AddedFunction, ChangedBody, ChangedElements, Changes};
use super::module_diff::summary::FunctionLabel;
use super::policy::Policy;
use super::references;
use super::update::Update;
use crate::module::{Item, ModuleState};
use crate::types::printable::{PrintableName, function_name};
use crate::types::signatures::Signature;
use anyhow::{Context as _, Result, bail, ensure};
use midair_tiers::types::{FuncType, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The body of a function that has been freed: no locals, `unreachable`, end.
pub(super) const FREED: [u8; 3] = [0, 0x00, 0x0b];

/// What an update defines function by function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions {
    /// Lengths of the module's index spaces when the update was begun.
    first_type: usize,
    first_function: usize,
    types: Vec<Arc<Signature>>,
    functions: Vec<NewFunction>,
    exports: BTreeMap<Box<str>, Item>,
    entries: BTreeMap<(u32, u32), Option<u32>>,
    /// Pairs of functions, of which the second one takes the place of the first one.
    retyped: Vec<(u32, u32)>,
    /// Pairs of functions, of which the second one gets the references to the first one.
    moved: Vec<(u32, u32)>,
    freed: BTreeSet<u32>,
    /// This brings back what was there before: nothing is checked.
    undoing: bool,
}

#[derive(Clone, Debug)]
struct NewFunction {
    ty: u32,
    name: Option<String>,
}

/// What an update defines, one thing each, in the order in which they are listed here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Definition {
    /// A function is added.
    Added {
        /// The function.
        function: FunctionLabel,
        /// Its type.
        ty: FuncType,
    },
    /// A function takes the place of one of another type.
    Retyped {
        /// The one before.
        old: FunctionLabel,
        /// The one that is added, or was there already.
        new: FunctionLabel,
        /// Its type.
        ty: FuncType,
    },
    /// References in tables, globals, element segments and exports become references to another function.
    Moved {
        /// The function that they refer to until now.
        from: FunctionLabel,
        /// The one that they will refer to.
        to: FunctionLabel,
    },
    /// A function is freed.
    Freed {
        /// The function.
        function: FunctionLabel,
    },
    /// An export is added or points elsewhere.
    Export {
        /// Its name.
        name: String,
        /// The function that it is then.
        function: FunctionLabel,
    },
    /// A table entry is set.
    Entry {
        /// Index of the table.
        table: u32,
        /// Index of the entry.
        index: u32,
        /// The function that it is then; `None`: null.
        function: Option<FunctionLabel>,
    },
}

/// A function in a sentence.
pub(super) struct Quoted<'a>(pub(super) &'a FunctionLabel);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.name {
            Some(name) => {
                write!(f, "`{}` (function {})", function_name(name), self.0.index)
            }
            None => write!(f, "function {}", self.0.index),
        }
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Definition::Added { function, ty } => {
                write!(f, "{} is added, of type {ty}", Quoted(function))
            }
            Definition::Retyped { old, new, ty } => {
                write!(f, "{} takes the place of {}, and is of type {ty}", Quoted(new), Quoted(old))
            }
            Definition::Moved { from, to } => {
                write!(f, "references to {} become references to {}", Quoted(from), Quoted(to))
            }
            Definition::Freed { function } => write!(f, "{} is freed", Quoted(function)),
            Definition::Export { name, function } => {
                write!(f, "export `{}` is {}", PrintableName(name), Quoted(function))
            }
            Definition::Entry { table, index, function } => {
                write!(f, "entry {index} of table {table} is ")?;
                match function {
                    Some(function) => write!(f, "{}", Quoted(function)),
                    None => f.write_str("null"),
                }
            }
        }
    }
}

impl Update {
    /// The index of a function type in the module, for bodies that call through tables: of an equal type that
    /// it has, or of one that the update adds, with those that it refers to.
    ///
    /// # Panics
    /// If it refers to a type that the engine of the module does not know.
    pub fn type_index(&mut self, ty: &FuncType) -> u32 {
        let module = &self.module.state;
        let wanted = module.engine.intern(ty).expect("a type of the module's engine");
        let definitions = &mut self.definitions;
        let loaded = &module.env.type_ids[..definitions.first_type];
        let position = |types: &[Arc<Signature>], id: TypeId| {
            let added = types.iter().map(|signature| signature.id());
            loaded.iter().copied().chain(added).position(|known| known == id)
        };
        if position(&definitions.types, wanted.id()).is_none() {
            let known = |id| position(&definitions.types, id).is_some();
            let needed = module.engine.types_needed(&wanted, known);
            definitions.types.extend(needed);
        }
        position(&definitions.types, wanted.id()).expect("it was just added") as u32
    }

    /// Adds a function to the module, and returns its index. Its body is given with [`Update::body`], and
    /// can refer to this function and to others that the update adds.
    ///
    /// The index is valid only if this update is applied before others that add something; otherwise planning
    /// and applying fail, and it has to be begun anew. How many functions can be added is
    /// [`Config::spare_functions`](crate::Config::spare_functions).
    ///
    /// The embedder calls it by an [export](Update::export), or by
    /// [`Instance::get_func_by_index`](crate::Instance::get_func_by_index). What is not needed any more can
    /// be [freed](Update::free).
    ///
    /// ```
    /// use midair::{Engine, FuncType, Instance, Module, Store, ValType};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, "(module)")?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    ///
    /// let mut update = module.update();
    /// let square = update.add_function(Some("square"), &FuncType::new([ValType::I32], [ValType::I32]));
    /// // local.get 0, local.get 0, i32.mul, end
    /// update.body(square, [0, 0x20, 0, 0x20, 0, 0x6c, 0x0b]).apply()?;
    ///
    /// let handle = instance.get_func_by_index(&mut store, square).unwrap();
    /// assert_eq!(handle.typed::<i32, i32>(&store)?.call(&mut store, 7)?, 49);
    ///
    /// module.update().free(square).apply()?;
    /// assert!(handle.typed::<i32, i32>(&store)?.call(&mut store, 7).is_err());
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn add_function(&mut self, name: Option<&str>, ty: &FuncType) -> u32 {
        let ty = self.type_index(ty);
        let definitions = &mut self.definitions;
        definitions.functions.push(NewFunction { ty, name: name.map(str::to_owned) });
        (definitions.first_function + definitions.functions.len() - 1) as u32
    }

    /// Gives a function another type: adds a function of that type and the same name which takes its place,
    /// and returns the index of that one. Its body is given with [`Update::body`].
    ///
    /// An index keeps its type for ever, for frames, tables and code exist that count on it. So everything
    /// that refers to the old function has to change in the same update: calls and references in bodies, table
    /// entries, globals, element segments and exports. If something is left, planning and applying fail with
    /// [`StillReferred`](crate::StillReferred), which says what.
    ///
    /// A caller's frame that waits for the old function goes on behind the call of the new one in the caller's
    /// new body, if their results are of the same types. What is still held elsewhere (handles of the
    /// embedder, values in frames that finish in old bodies) goes on calling the old function, which stays
    /// until it is [freed](Update::free).
    ///
    /// ```
    /// use midair::{Engine, FuncType, Instance, Module, Store, ValType};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module
    ///     (func $area (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
    ///     (func (export "run") (result i32) (call $area (i32.const 5))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    /// assert_eq!(run.call(&mut store, ())?, 25);
    ///
    /// // From the side of a square to the sides of a rectangle.
    /// let mut update = module.update();
    /// let i32 = ValType::I32;
    /// let area = update.retype(0, &FuncType::new([i32, i32], [i32]));
    /// // local.get 0, local.get 1, i32.mul, end
    /// let update = update.body(area, [0, 0x20, 0, 0x20, 1, 0x6c, 0x0b]);
    /// let error = update.apply().unwrap_err().to_string();
    /// assert!(error.ends_with("`run` (function 1) calls it at offset 0x3"), "{error}");
    ///
    /// // i32.const 5, i32.const 6, call `area`, end
    /// let run_index = module.function_index("run").unwrap();
    /// let update = update.body(run_index, [0, 0x41, 5, 0x41, 6, 0x10, area as u8, 0x0b]);
    /// println!("{}", update.plan()?);
    /// let applied = update.apply()?;
    /// assert_eq!(run.call(&mut store, ())?, 30);
    /// applied.undo()?;
    /// assert_eq!(run.call(&mut store, ())?, 25);
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn retype(&mut self, function: u32, ty: &FuncType) -> u32 {
        let name = self.module.state.function_name(function).map(str::to_owned);
        let new = self.add_function(name.as_deref(), ty);
        self.definitions.retyped.push((function, new));
        new
    }

    /// All references to the function `from` become references to `to`, in every instance at the moment at
    /// which it gets the new bodies: table entries, globals, elements of passive segments, exports. So do
    /// those in instances that are made later.
    ///
    /// The two may be of different types. Then calls through a table that expect the old one trap, as ever.
    pub fn move_references(mut self, from: u32, to: u32) -> Update {
        self.definitions.moved.push((from, to));
        self
    }

    /// Frees a function: its body and its machine code are dropped, and its index is left to be given another
    /// body, of the same type, by a later [update](Update::body).
    ///
    /// Nothing may refer to it any more, but functions that are freed by the same update; if something does,
    /// planning and applying fail with [`StillReferred`](crate::StillReferred). Frames that are suspended in
    /// it finish, or trap if its [`Policy`] is [`Trap`](Policy::Trap). Whatever calls it after that (a handle
    /// of the embedder, a reference in a frame) traps as by `unreachable`.
    ///
    /// To know that nothing refers to a function, all bodies of the module are looked through, once for each
    /// update: free many at once.
    pub fn free(mut self, function: u32) -> Update {
        self.definitions.freed.insert(function);
        self
    }

    /// Exports a function under a name. An export of that name points to it from then on; that changes what
    /// is looked up later, not handles that are held.
    pub fn export(mut self, name: &str, function: u32) -> Update {
        self.definitions.exports.insert(name.into(), Item::Func(function));
        self
    }

    /// Sets a table entry to a function, or to null: in every instance at the moment at which it gets the new
    /// bodies, and in instances that are made later. The table grows as needed.
    pub fn table_entry(mut self, table: u32, index: u32, function: Option<u32>) -> Update {
        self.definitions.entries.insert((table, index), function);
        self
    }
}

impl Definitions {
    /// Of an update that begins now.
    pub(super) fn begin(module: &ModuleState) -> Definitions {
        Definitions {
            first_type: module.env.types.len(),
            first_function: module.env.functions.len(),
            ..Definitions::default()
        }
    }

    /// Whether nothing is defined.
    pub(super) fn is_empty(&self) -> bool {
        self.types.is_empty()
            && self.functions.is_empty()
            && self.exports.is_empty()
            && self.entries.is_empty()
            && self.retyped.is_empty()
            && self.moved.is_empty()
            && self.freed.is_empty()
    }

    /// Whether the function is freed.
    pub(super) fn frees(&self, function: u32) -> bool {
        self.freed.contains(&function)
    }

    /// Whether what tables and globals hold is said one by one.
    pub(crate) fn sets_references(&self) -> bool {
        !(self.entries.is_empty() && self.moved.is_empty())
    }

    /// How people know a function.
    fn label(&self, module: &ModuleState, function: u32) -> FunctionLabel {
        let added = (function as usize).checked_sub(self.first_function);
        let name = match added.and_then(|i| self.functions.get(i)) {
            Some(added) => added.name.clone(),
            None => references::label(module, function).name,
        };
        FunctionLabel { index: function, name }
    }

    /// Adds what is defined to the changes of an update, whose bodies are these. Nobody else may be updating
    /// the module.
    pub(super) fn add_to(
        &self,
        module: &ModuleState,
        bodies: &mut BTreeMap<u32, Vec<u8>>,
        changes: &mut Changes,
    ) -> Result<()> {
        if !(self.types.is_empty() && self.functions.is_empty()) {
            let env = &module.env;
            ensure!(
                (env.types.len(), env.functions.len()) == (self.first_type, self.first_function),
                "functions or types have been added to the module since this update was begun, so that its \
                 indices are those of others: begin it anew"
            );
        }
        self.check_functions(module)?;
        changes.types.extend(self.types.iter().cloned());
        for (function, added) in (self.first_function as u32..).zip(&self.functions) {
            let label = self.label(module, function);
            let body = bodies
                .remove(&function)
                .with_context(|| format!("{} is added without a body", Quoted(&label)))?;
            changes.functions.push(AddedFunction { ty: added.ty, body, name: added.name.clone() });
        }
        for &function in &self.freed {
            ensure!(
                !bodies.contains_key(&function),
                "{} gets a body and is freed",
                Quoted(&self.label(module, function))
            );
            changes.bodies.push(ChangedBody {
                function,
                body: FREED.to_vec(),
                policy: Policy::default(),
                map: None,
                origin: None,
            });
        }
        changes.retyped.extend(&self.retyped);
        changes.moved.extend(&self.moved);
        let mut exports = self.exports.clone();
        for export in module.exports.list() {
            let Item::Func(function) = export.item() else { continue };
            if let Some((_, to)) = self.moved.iter().find(|(from, _)| *from == function) {
                exports.entry(export.name.clone()).or_insert(Item::Func(*to));
            }
        }
        changes.inverse = self.inverse(module, &exports);
        changes.definitions = self.list(module, &exports);
        changes.exports.extend(exports);
        let entries = self.entries.iter().map(|(&(table, offset), &function)| ChangedElements {
            table,
            offset,
            functions: vec![function],
        });
        changes.elements.extend(entries);
        if !self.undoing {
            let old = self.retyped.iter().map(|(old, _)| *old);
            changes.abandoned.extend(old.chain(self.freed.iter().copied()));
        }
        Ok(())
    }

    /// Refuses what is said of functions that do not exist or are imported, or twice.
    fn check_functions(&self, module: &ModuleState) -> Result<()> {
        let count = module.env.functions.len().max(self.first_function + self.functions.len());
        let pairs = || self.retyped.iter().chain(&self.moved);
        for function in pairs().map(|(from, _)| *from).chain(self.freed.iter().copied()) {
            ensure!(
                function >= module.env.imported_functions,
                "{} is imported: only its callers can be changed",
                Quoted(&self.label(module, function))
            );
        }
        let named = pairs().flat_map(|(from, to)| [*from, *to]);
        for function in named.chain(self.freed.iter().copied()) {
            ensure!((function as usize) < count, "there is no function {function}");
        }
        for (what, pairs) in
            [("another type", &self.retyped), ("its references moved", &self.moved)]
        {
            let mut seen = BTreeSet::new();
            for (from, to) in pairs {
                if !seen.insert(from) {
                    bail!("{} gets {what} twice", Quoted(&self.label(module, *from)));
                }
                ensure!(
                    !pairs.iter().any(|(from, _)| from == to),
                    "{} gets {what}, and is what another function is changed to",
                    Quoted(&self.label(module, *to))
                );
            }
        }
        Ok(())
    }

    /// What is defined, one by one.
    fn list(&self, module: &ModuleState, exports: &BTreeMap<Box<str>, Item>) -> Vec<Definition> {
        let label = |function: u32| self.label(module, function);
        let ty = |function: u32| {
            let env = &module.env;
            let index = match (function as usize).checked_sub(self.first_function) {
                Some(i) if i < self.functions.len() => self.functions[i].ty as usize,
                _ => env.functions[function as usize] as usize,
            };
            match index.checked_sub(self.first_type) {
                Some(i) if i < self.types.len() => self.types[i].ty.clone(),
                _ => env.types[index].clone(),
            }
        };
        let mut list = Vec::new();
        let functions = self.first_function as u32..;
        for (function, _) in functions.zip(&self.functions) {
            if !self.retyped.iter().any(|(_, new)| *new == function) {
                list.push(Definition::Added { function: label(function), ty: ty(function) });
            }
        }
        for &(old, new) in &self.retyped {
            list.push(Definition::Retyped { old: label(old), new: label(new), ty: ty(new) });
        }
        for &(from, to) in &self.moved {
            list.push(Definition::Moved { from: label(from), to: label(to) });
        }
        for &function in &self.freed {
            list.push(Definition::Freed { function: label(function) });
        }
        for (name, item) in exports {
            if let Item::Func(function) = *item {
                list.push(Definition::Export { name: name.to_string(), function: label(function) });
            }
        }
        for (&(table, index), function) in &self.entries {
            list.push(Definition::Entry { table, index, function: function.map(label) });
        }
        list
    }

    /// What undoes this in the module as it is. What was added stays, unused.
    fn inverse(&self, module: &ModuleState, exports: &BTreeMap<Box<str>, Item>) -> Definitions {
        let back = |pairs: &[(u32, u32)]| pairs.iter().map(|(from, to)| (*to, *from)).collect();
        let before = |name: &str| Some((name.into(), module.export(name)?.item()));
        let mut entries = BTreeMap::new();
        if !self.entries.is_empty() {
            let said = references::initial_entries(module);
            entries = self
                .entries
                .keys()
                .map(|place| (*place, said.get(place).copied().flatten()))
                .collect();
        }
        Definitions {
            first_type: self.first_type,
            first_function: self.first_function,
            exports: exports.keys().filter_map(|name| before(name)).collect(),
            entries,
            retyped: back(&self.retyped),
            moved: back(&self.moved),
            undoing: true,
            ..Definitions::default()
        }
    }
}

impl ModuleState {
    /// What a body may refer to has changed in so far as functions have taken the place of others.
    pub(super) fn set_superseded(&self, changes: &Superseded) {
        let mut superseded = self.added.superseded();
        superseded.retain(|function| !changes.current.contains(function));
        superseded.extend(&changes.old);
    }
}

/// Which functions an update makes ones that nothing should refer to, and which it makes current.
pub(super) struct Superseded {
    old: BTreeSet<u32>,
    current: BTreeSet<u32>,
}

impl Superseded {
    pub(super) fn new(changes: &Changes) -> Superseded {
        let old: BTreeSet<u32> = changes
            .retyped
            .iter()
            .map(|(old, _)| *old)
            .chain(changes.abandoned.iter().copied())
            .collect();
        let bodies = changes.bodies.iter().map(|changed| changed.function);
        let current = changes.retyped.iter().map(|(_, new)| *new).chain(bodies);
        let current = current.filter(|function| !old.contains(function)).collect();
        Superseded { old, current }
    }
}
