//! The first half of an update: everything that can fail, without touching the running program.
//!
//! For every function that changes: the new body is validated and lowered, frames are mapped, also those of
//! still older versions, and what is hot is compiled. What has been prepared and is not published leaves no
//! trace.

use super::changes::{ChangedBody, Changes};
use super::definitions::FREED;
use super::frame_map::FrameMap;
use super::growth::{Committed, Growth};
use super::mapping::{Analysis, Mapping, Names};
use super::memory_frame;
use super::policy::Policy;
use super::references;
use super::refusal::Refusal;
use super::source_names::{DebugInfos, Origin, SourceNames};
use crate::code::continuation::{Continuation, Migration};
use crate::code::events::Event;
use crate::code::layout::Compositions;
use crate::code::module_code::{ModuleCode, is_limit};
use crate::code::publication::Succession;
use crate::code::version::FunctionVersion;
use crate::module::ModuleState;
use crate::types::error::{ErrorKind, OfKind as _};
use anyhow::{Context as _, Result};
use midair_tiers::FunctionBody;
use midair_tiers::compile::EntryPoint;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An update that only has to be published. The caller holds [`ModuleCode::begin_replacement`] from before
/// this is made until it is published or dropped.
pub(crate) struct Prepared<'m> {
    module: &'m Arc<ModuleState>,
    code: &'m Arc<ModuleCode>,
    /// What is added to the module, until it is.
    growth: Option<Growth<'m>>,
    /// See [`Changes::retyped`]: from the second ones to the first ones.
    retyped: HashMap<u32, u32>,
    pub(crate) bodies: Vec<PreparedBody>,
    /// Announced when the update is published.
    events: Vec<Event>,
    /// The global that points to the stack in linear memory, once it has been looked for.
    stack_pointer: OnceCell<Option<u32>>,
    debug_infos: Rc<DebugInfos>,
}

/// A new version that only has to be made current.
pub(crate) struct PreparedBody {
    pub(crate) succession: Succession,
    pub(crate) policy: Policy,
    /// Points of the old body that have a counterpart.
    pub(crate) points_mapped: usize,
    pub(crate) refusals: Vec<Refusal>,
    /// The map that the embedder has given.
    pub(crate) map: Option<FrameMap>,
    /// Whether the old version has machine code for calls, and the new one shall have some.
    pub(crate) hot: bool,
    /// Bytes of machine code of `new`.
    pub(crate) compiled_bytes: usize,
}

impl PreparedBody {
    pub(crate) fn function(&self) -> u32 {
        self.succession.function()
    }
}

impl<'m> Prepared<'m> {
    /// Prepares an update; with `compile`, so that it can be published.
    pub(crate) fn new(
        module: &'m Arc<ModuleState>,
        changes: Changes,
        compile: bool,
    ) -> Result<Prepared<'m>> {
        let code = &module.code;
        let growth = Some(Growth::prepare(module, &changes)?);
        references::check(module, &changes)?;
        let retyped = changes.retyped.into_iter().map(|(old, new)| (new, old)).collect();
        let (bodies, events) = (Vec::new(), Vec::new());
        let mut prepared = Prepared {
            module,
            code,
            growth,
            retyped,
            bodies,
            events,
            stack_pointer: OnceCell::new(),
            debug_infos: Rc::default(),
        };
        let mut seen = HashSet::new();
        for changed in changes.bodies {
            let function = changed.function;
            let result = if seen.insert(function) {
                prepared.body(changed)
            } else {
                Err(anyhow::anyhow!("it gets two bodies at once"))
            };
            result
                .of_kind(ErrorKind::UpdateRefused)
                .with_context(|| format!("{} cannot be replaced", code.function_label(function)))?;
        }
        // Compilation takes by far the longest: whatever else is wrong has been found before it.
        if compile {
            for index in 0..prepared.bodies.len() {
                let function = prepared.bodies[index].function();
                prepared.compile(index).of_kind(ErrorKind::UpdateRefused).with_context(|| {
                    format!("{} cannot be replaced", code.function_label(function))
                })?;
            }
        }
        Ok(prepared)
    }

    fn body(&mut self, changed: ChangedBody) -> Result<()> {
        let ChangedBody { function, body, policy, map, origin } = changed;
        let code = &self.code;
        let live = &code.env;
        anyhow::ensure!(
            function >= live.imported_functions && (function as usize) < live.functions.len(),
            "function {function} is not defined by the module"
        );
        let growth = self.growth.as_ref().expect(PREPARING);
        let env = growth.env();
        let old = code.current(function);
        code.check_redirection(function)?;
        let len = body.len();
        let body = FunctionBody::new(Arc::new(body), 0, len, function, old.body.version + 1);
        let mut after = Analysis::new(env, &body, || growth.validation(function))
            .context("the new body is not valid in this module")?;
        code.update_step("validation")?;
        // A frame that has called a function of which there is another one now goes on behind the call of
        // that one, for what is still to come of the call are its results.
        after.safepoints.take_for_equal(|function| {
            let old = *self.retyped.get(&function)?;
            let results = |function| &env.func_type(function).results;
            (results(old) == results(function)).then_some(old)
        });
        let new = Arc::new(FunctionVersion::new(body));
        let lowered = code.lowered_in(env, &new)?;
        code.update_step("lowering")?;
        let reachable = |point| lowered.has_safepoint(env, point);
        // One that takes another one's place has its name, and is not known by it yet.
        let retyped = &self.retyped;
        let name = |function| code.function_label(*retyped.get(&function).unwrap_or(&function));
        let module = self.module.clone();
        let of_old = SourceNames::new(&self.debug_infos, &old.body, move || {
            Origin::of_present(&module, function)
        });
        let is_compiled = origin.is_some();
        let of_new = SourceNames::new(&self.debug_infos, &new.body, || origin);
        let names = Names { env, function: &name, old: &of_old, new: &of_new, is_compiled };

        let (mut points_mapped, mut refusals) = (0, Vec::new());
        let mut may_stay = policy == Policy::Finish;
        anyhow::ensure!(
            map.is_none() || policy == Policy::Migrate,
            "a frame map is given, and the policy is `{policy}`, by which no frame goes on in the new body"
        );
        let migration = match policy {
            Policy::Finish => Migration::Stay,
            Policy::Trap => Migration::Trap,
            Policy::Migrate => {
                let before = Analysis::new(env, &old.body, || growth.validation(function))
                    .context("the old body is not valid")?;
                let mut mapping = Mapping::new(&names, &before, &after, map.as_ref(), &reachable)?;
                if let Some(refusal) = self.memory_frame(&old, &new, [&of_old, &of_new]) {
                    mapping.keep_frames(refusal, map.as_ref());
                }
                points_mapped = mapping.len();
                may_stay = points_mapped < before.safepoints.points.len();
                refusals = std::mem::take(&mut mapping.refusals);
                mapping.into_migration(&new)
            }
        };
        if may_stay {
            code.prepare_landing(&old)?;
        }
        code.update_step("mapping")?;
        let older = lead_on(code.older_versions(function), &old, &new, &migration, || {
            after.identity(&new, reachable)
        });
        let linked = !code.state(function).native.load(Ordering::Relaxed).is_null();
        // A function that has been freed only traps.
        let hot = linked && new.body.bytes() != FREED;
        self.bodies.push(PreparedBody {
            succession: Succession { may_stay, old, new, migration, older, moved: Arc::default() },
            policy,
            points_mapped,
            refusals,
            map,
            hot,
            compiled_bytes: 0,
        });
        Ok(())
    }

    /// Why the frames of a function that lie in linear memory cannot be those of its new body.
    fn memory_frame(
        &self,
        old: &FunctionVersion,
        new: &FunctionVersion,
        names: [&SourceNames; 2],
    ) -> Option<Refusal> {
        let code = self.code;
        let pointer = self.stack_pointer.get_or_init(|| memory_frame::stack_pointer(self.module));
        let function = new.body.function;
        let parameters = code.env.func_type(function).params.len() as u32;
        let (old, new) = (old.body.bytes(), new.body.bytes());
        let pointer = ((*pointer)?, memory_frame::has_long_addresses(self.module));
        let why = memory_frame::difference(old, new, parameters, pointer, names)?;
        Some(Refusal::MemoryFrame { function: code.function_label(function), why })
    }

    /// Compiles what would have to be compiled again soon: the function if it is hot, and the loops that its
    /// old versions have been entered at.
    fn compile(&mut self, index: usize) -> Result<()> {
        let body = &self.bodies[index];
        if !self.code.compiles() {
            return Ok(());
        }
        let mut entries = BTreeSet::new();
        let versions =
            body.succession.older.iter().map(|(version, migration)| (version, migration));
        for (version, migration) in
            versions.chain([(&body.succession.old, &body.succession.migration)])
        {
            for (point, _) in &version.code().loops {
                if let Continuation::Move { version, point, .. } = migration.at(*point)
                    && Arc::ptr_eq(&version, &body.succession.new)
                {
                    entries.insert(point);
                }
            }
        }
        let new = body.succession.new.clone();
        let growth = self.growth.as_ref().expect(PREPARING);
        let entries = entries.into_iter().map(EntryPoint::Loop);
        for entry in body.hot.then_some(EntryPoint::Function).into_iter().chain(entries) {
            match self.code.compile_aside(growth.env(), &new, entry) {
                Ok((bytes, event)) => {
                    self.bodies[index].compiled_bytes += bytes;
                    self.events.push(event);
                }
                // What the compiler does not take on stays in the interpreter, as ever.
                Err(error) if is_limit(&error) => self.code.refuse(&new, entry, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes what is added a part of the module: once, before the bodies are published.
    pub(super) fn commit_growth(&mut self) -> Committed<'m> {
        self.growth.take().expect(PREPARING).commit()
    }

    /// The other parts, for the one who publishes them.
    pub(super) fn into_parts(mut self) -> (Vec<PreparedBody>, Vec<Event>) {
        (std::mem::take(&mut self.bodies), std::mem::take(&mut self.events))
    }
}

/// Where frames of still older versions go on when `old` is replaced by `new` and its frames go on as `migration`
/// says.
fn lead_on(
    older: Vec<Arc<FunctionVersion>>,
    old: &Arc<FunctionVersion>,
    new: &Arc<FunctionVersion>,
    migration: &Migration,
    identity: impl FnOnce() -> Migration,
) -> Vec<(Arc<FunctionVersion>, Migration)> {
    if matches!(migration, Migration::Trap) {
        // No old body of the function runs on.
        return older.into_iter().map(|version| (version, Migration::Trap)).collect();
    }
    // Frames of an older version with just this body are frames of the new one, and so are those that are on
    // their way to it.
    let same = older.iter().filter(|version| version.body.bytes() == new.body.bytes());
    let same: HashSet<_> = same.map(Arc::as_ptr).collect();
    let identity = (!same.is_empty()).then(identity);
    let identity_of = |version: &Arc<FunctionVersion>| {
        identity.as_ref().filter(|_| same.contains(&Arc::as_ptr(version)))
    };
    let next = |version: &Arc<FunctionVersion>| match Arc::ptr_eq(version, old) {
        true => Some(migration),
        false => identity_of(version),
    };
    let mut compositions = Compositions::default();
    let lead = |version: Arc<FunctionVersion>| {
        let further = identity_of(&version)
            .cloned()
            .unwrap_or_else(|| version.migration().then(next, &mut compositions));
        (version, further)
    };
    older.into_iter().map(lead).collect()
}

/// Why there is a growth.
const PREPARING: &str = "the growth is committed when all has been prepared";

impl Drop for Prepared<'_> {
    /// What has not been published is given back.
    fn drop(&mut self) {
        for body in &self.bodies {
            for object in body.succession.new.code().take_objects() {
                // SAFETY: the version never became current, so nobody knows the address.
                unsafe { self.code.system.heap.free(&object) };
            }
        }
    }
}
