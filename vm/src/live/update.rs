//! Updates: what an embedder wants to change in a running program.

use super::applied::{Applied, Replacement};
use super::changes::{ChangedBody, Changes};
use super::definitions::Definitions;
use super::frame_map::FrameMap;
use super::module_diff::initial_data::DataPolicy;
use super::module_diff::live_module::LiveModule;
use super::module_diff::{diff, diff_back};
use super::plan::Plan;
use super::policy::Policy;
use super::transaction;
use crate::module::Module;
use crate::module::provenance::Provenance;
use crate::types::error::{ErrorKind, OfKind as _};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Changes to a running program, which happen all together or not at all.
///
/// It is made by [`Module::update`], and can be [planned](Update::plan) and [applied](Update::apply) from
/// any thread, also by a host function that the program calls, while any number of threads run the module
/// in stores of their own.
///
/// ```
/// use midair::{Engine, Instance, Module, Policy, Store};
///
/// fn program(step: i32) -> String {
///     format!(
///         r#"(module
///             (func $twice (export "twice") (param i32) (result i32)
///                 (i32.mul (local.get 0) (i32.const {step})))
///             (func (export "next") (param i32) (result i32)
///                 (i32.add (call $twice (local.get 0)) (i32.const {step}))))"#
///     )
/// }
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, program(2))?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let next = instance.get_typed_func::<i32, i32>(&mut store, "next")?;
/// assert_eq!(next.call(&mut store, 10)?, 22);
///
/// let edited = Module::new(&engine, program(3))?;
/// let mut update = module.update();
/// for name in ["twice", "next"] {
///     let function = module.function_index(name).unwrap();
///     update = update.body(function, edited.function_body(name).unwrap());
/// }
/// println!("{}", update.plan()?);
/// let applied = update.apply()?;
/// assert_eq!(next.call(&mut store, 10)?, 33);
///
/// applied.undo()?;
/// assert_eq!(next.call(&mut store, 10)?, 22);
/// # Ok::<(), midair::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "an update does nothing until it is applied"]
pub struct Update {
    pub(super) module: Module,
    /// The module that the running one is brought up to.
    source: Option<Source>,
    data: DataPolicy,
    bodies: BTreeMap<u32, Vec<u8>>,
    default_policy: Policy,
    policies: BTreeMap<u32, Policy>,
    maps: BTreeMap<u32, FrameMap>,
    pub(super) definitions: Definitions,
    count_frames: bool,
}

/// A module that a running one is brought up to.
#[derive(Clone, Debug)]
enum Source {
    /// A new one.
    New(Module),
    /// One that it was brought up to before.
    Before(Provenance),
}

impl Module {
    /// Begins an update of all programs that run this module. It does nothing until it is applied.
    pub fn update(&self) -> Update {
        Update {
            module: self.clone(),
            source: None,
            data: DataPolicy::default(),
            default_policy: Policy::default(),
            bodies: BTreeMap::new(),
            policies: BTreeMap::new(),
            maps: BTreeMap::new(),
            definitions: Definitions::begin(&self.state),
            count_frames: false,
        }
    }

    /// Gives a function a new body while the program runs: an [`Update`](crate::Update) of one function,
    /// whose suspended frames [migrate](crate::Policy::Migrate).
    ///
    /// `body` is in binary format, with indices of this module. All calls from now on run the new body.
    /// Suspended frames go on in it at the point that the two bodies have in common; where there is none, they
    /// stay in the old body until they come to one. The old machine code is poisoned and freed before this returns, and before any of
    /// those frames is returned to. It can be called from any thread, also by a host function that the
    /// program calls.
    ///
    /// Fails, leaving everything as it was, if `function` is not defined by the module, if the body is
    /// not valid, or if the function has been compiled and this machine forbids redirecting return addresses.
    ///
    /// ```
    /// use midair::{Engine, Linker, Module, Result, Store};
    ///
    /// fn program(answer: i32) -> String {
    ///     format!(
    ///         r#"(module
    ///             (import "host" "edit" (func $edit))
    ///             (func (export "answer") (result i32) (call $edit) (i32.const {answer})))"#
    ///     )
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, program(41))?;
    /// let body = Module::new(&engine, program(42))?.function_body("answer").unwrap();
    ///
    /// let mut linker = Linker::new(&engine);
    /// let edited = module.clone();
    /// linker.func_wrap("host", "edit", move || -> Result<()> {
    ///     let answer = edited.function_index("answer").unwrap();
    ///     edited.replace_function(answer, &body)?;
    ///     Ok(())
    /// })?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let answer = instance.get_typed_func::<(), i32>(&mut store, "answer")?;
    /// answer.call(&mut store, ())?;
    /// assert_eq!(answer.call(&mut store, ())?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_function(&self, function: u32, body: &[u8]) -> Result<Replacement> {
        self.update().body(function, body).apply().map(Replacement::new)
    }
}

impl Update {
    /// Gives a function a new body, in binary format with indices of this module: local declarations,
    /// operators, end. That is what [`Module::function_body`] returns. The function can also be one that the
    /// update [adds](Update::add_function).
    pub fn body(mut self, function: u32, body: impl Into<Vec<u8>>) -> Update {
        self.bodies.insert(function, body.into());
        self
    }

    /// Brings the running program up to a new version of the module, in binary or text format.
    ///
    /// Its functions are matched with those of the running module: by the names of imports, exports and the
    /// name section, by what they do, and last by where they lie. What differs gets new bodies; functions,
    /// types, globals, table entries and exports are added. A function of another type is added, and takes
    /// the place of the old one wherever the new module refers to it. Globals, tables and memories keep their
    /// contents, and grow to the sizes that the new module begins with; a global that cannot be set has its new
    /// value in new bodies. What is no longer used stays, and is found when a later module has it again.
    ///
    /// Fails if it is not a valid module. If the running module cannot be brought up to it, planning and
    /// applying fail with [`ModuleRefused`](crate::ModuleRefused), which says why. Bodies that are given too
    /// are those of the running module's functions in addition, or instead of what the new module says.
    ///
    /// ```
    /// use midair::{Engine, Instance, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(
    ///     &engine,
    ///     r#"(module (global $count (mut i32) (i32.const 0))
    ///         (func (export "next") (result i32)
    ///             (global.set $count (i32.add (global.get $count) (i32.const 1)))
    ///             (global.get $count)))"#,
    /// )?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let next = instance.get_typed_func::<(), i32>(&mut store, "next")?;
    /// next.call(&mut store, ())?;
    /// assert_eq!(next.call(&mut store, ())?, 2);
    ///
    /// let update = module.update().module(
    ///     r#"(module (func $step (result i32) (i32.const 100))
    ///         (global $count (mut i32) (i32.const 0))
    ///         (func (export "next") (result i32)
    ///             (global.set $count (i32.add (global.get $count) (call $step)))
    ///             (global.get $count)))"#,
    /// )?;
    /// let applied = update.apply()?;
    /// println!("{}", applied.summary.unwrap());
    /// assert_eq!(next.call(&mut store, ())?, 102);
    /// # Ok::<(), midair::Error>(())
    /// ```
    pub fn module(mut self, source: impl AsRef<[u8]>) -> Result<Update> {
        let engine = self.module.engine();
        let source = Module::new(engine, source)?;
        if engine.config().lazy_validation {
            Module::validate(engine, source.state.bytes())?;
        }
        self.source = Some(Source::New(source));
        Ok(self)
    }

    /// Defines what was defined before.
    pub(super) fn defining(mut self, definitions: Definitions) -> Update {
        self.definitions = definitions;
        self
    }

    /// Brings the running program back to a module that it was brought up to before. `data`: also its data.
    pub(super) fn back_to(mut self, source: Provenance, data: bool) -> Update {
        self.source = Some(Source::Before(source));
        self.data(if data { DataPolicy::Apply } else { DataPolicy::Keep })
    }

    /// What becomes of data segments of a [new module](Update::module) that differ from those that the
    /// running program began with. By default the update is refused.
    pub fn data(mut self, policy: DataPolicy) -> Update {
        self.data = policy;
        self
    }

    /// What suspended frames of all functions do whose bodies change, unless
    /// [`policy`](Update::policy) says otherwise for one of them. By default they
    /// [migrate](Policy::Migrate).
    pub fn default_policy(mut self, policy: Policy) -> Update {
        self.default_policy = policy;
        self
    }

    /// What suspended frames of the function do if its body changes. By default they
    /// [migrate](Policy::Migrate).
    pub fn policy(mut self, function: u32, policy: Policy) -> Update {
        self.policies.insert(function, policy);
        self
    }

    /// Where suspended frames of the function go on if its body changes. What the map does not mention is
    /// mapped by default.
    pub fn frame_map(mut self, function: u32, map: FrameMap) -> Update {
        self.maps.insert(function, map);
        self
    }

    /// Whether [`Applied::frames`] lists the suspended frames of the functions that change, each with what it
    /// does. Every frame of a stack is looked at for that while its guest stands still, so that the pause is
    /// longer where stacks are deep. Off by default: then frames of the interpreter are not looked for, and
    /// those of machine code while the guest runs on.
    pub fn count_frames(mut self, on: bool) -> Update {
        self.count_frames = on;
        self
    }

    /// The module whose programs are updated.
    pub fn module_to_update(&self) -> &Module {
        &self.module
    }

    /// All that changes, in the index spaces of the running module. Nobody else may be updating it. `undone`:
    /// what is undone by it.
    fn changes(&self, undone: Option<&Applied>) -> Result<Changes> {
        let mut changes = match &self.source {
            Some(source) => {
                let module = &self.module.state;
                anyhow::ensure!(
                    self.definitions.is_empty(),
                    "an update that brings the program up to a new module defines nothing besides"
                );
                anyhow::ensure!(
                    !module.added.is_set_one_by_one(),
                    "table entries or references of the running program have been set one by one, and a new \
                     module does not say what becomes of them"
                );
                let provenance = module.added.provenance().clone();
                let provenance = provenance.unwrap_or_else(|| Provenance::of_loaded(module));
                let live = LiveModule::new(module, provenance);
                match source {
                    Source::New(source) => diff(&live, &source.state, self.data)?,
                    Source::Before(before) => diff_back(&live, before, self.data)?,
                }
            }
            None => Changes::default(),
        };
        if let Some(undone) = undone {
            let functions = undone.functions.iter().map(|applied| applied.function).collect();
            changes.keep_bodies(&functions);
        }
        let mut bodies = self.bodies.clone();
        self.definitions.add_to(&self.module.state, &mut bodies, &mut changes)?;
        changes.bodies.retain(|changed| !bodies.contains_key(&changed.function));
        let given = bodies.into_iter().map(|(function, body)| {
            let (policy, map, origin) = (Policy::default(), None, None);
            ChangedBody { function, body, policy, map, origin }
        });
        changes.bodies.extend(given);
        for changed in &mut changes.bodies {
            changed.policy =
                self.policies.get(&changed.function).copied().unwrap_or(self.default_policy);
            if self.definitions.frees(changed.function) && changed.policy == Policy::Migrate {
                changed.policy = Policy::Finish;
            }
            changed.map = self.maps.get(&changed.function).cloned();
        }
        let mapped = changes.bodies.iter().filter(|changed| changed.map.is_some());
        let mapped: BTreeSet<u32> = mapped.map(|changed| changed.function).collect();
        for function in self.maps.keys() {
            anyhow::ensure!(
                mapped.contains(function),
                "a frame map is given for {}, whose body does not change",
                self.module.state.code.function_label(*function)
            );
        }
        Ok(changes)
    }

    /// What would happen if the update were applied now. Nothing is changed; guests stand still only while
    /// their frames are looked at.
    pub fn plan(&self) -> Result<Plan> {
        transaction::plan(&self.module, || self.changes(None)).of_kind(ErrorKind::UpdateRefused)
    }

    /// Changes the running program.
    ///
    /// Everything that can fail is done first, while guests run on: all new bodies are validated, lowered,
    /// and compiled where the old ones are hot. If any of that fails, the program is as it was, and goes on.
    /// Otherwise all functions get their new bodies; all calls from then on run these. Suspended frames do
    /// what the [`Policy`] of their function says, each when it is returned to or at its next safepoint; the
    /// old machine code is poisoned and freed before this returns, without waiting for any of them.
    ///
    /// It waits until every guest that runs the module has come to a safepoint, which is soon.
    pub fn apply(&self) -> Result<Applied> {
        self.apply_as(None)
    }

    /// Applies it, as undoing `undone`.
    pub(super) fn apply_as(&self, undone: Option<&Applied>) -> Result<Applied> {
        transaction::apply(&self.module, || self.changes(undone), undone, self.count_frames)
            .of_kind(ErrorKind::UpdateRefused)
    }
}
