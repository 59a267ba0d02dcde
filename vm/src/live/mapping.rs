//! Where the frames of an old body go on in a new one, and why some cannot.

use super::alignment::{Alignment, Unaligned};
use super::correspondence::{Correspondence, LocalNames, Origin, Place, Unknown};
use super::frame_map::{FrameMap, PointMap, Source};
use super::operand_stacks::OperandStack;
use super::refusal::{At, Refusal};
use super::safepoints::{Safepoint, SafepointKind, Safepoints};
use super::source_names::SourceNames;
use super::values::Values;
use crate::code::continuation::{Migration, Points, Target};
use crate::code::layout::{Layout, Slot};
use crate::code::version::FunctionVersion;
use crate::store::value::Val;
use crate::types::error::{ErrorKind, OfKind as _};
use crate::types::slots::halves;
use anyhow::Result;
use midair_tiers::liveness::Liveness;
use midair_tiers::{FunctionBody, ModuleEnv, ValType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use wasmparser::{FuncToValidate, ValidatorResources};

/// What is known of a body that is compared with another one.
pub(crate) struct Analysis {
    pub(crate) safepoints: Safepoints,
    liveness: Liveness,
    /// `None` if there are too many.
    values: Option<Values>,
    bytes: Arc<[u8]>,
}

impl Analysis {
    /// Validates a body and analyses it.
    pub(crate) fn new(
        env: &ModuleEnv,
        body: &FunctionBody,
        validate: impl Fn() -> FuncToValidate<ValidatorResources>,
    ) -> Result<Analysis> {
        let safepoints = Safepoints::new(env, body, validate())?;
        let liveness = Liveness::new(body, safepoints.locals.len() as u32)
            .map_err(|error| anyhow::anyhow!("its locals cannot be analysed: {error:?}"))?;
        let values = Values::new(env, body, validate(), &safepoints, &liveness);
        Ok(Analysis { safepoints, liveness, values, bytes: body.bytes().into() })
    }

    fn locals(&self) -> &[ValType] {
        &self.safepoints.locals
    }

    /// The safepoint at a point.
    fn at(&self, point: u32) -> Option<&Safepoint> {
        let points = &self.safepoints.points;
        let index = points.binary_search_by_key(&point, |safepoint| safepoint.point).ok()?;
        Some(&points[index])
    }

    /// Number of locals that the body declares, parameters included.
    fn declared(&self) -> usize {
        self.safepoints.locals.len() - self.safepoints.hidden
    }

    /// The hidden locals that are live at a point.
    fn live_hidden(&self, point: u32) -> Vec<u32> {
        let hidden = self.declared() as u32..self.locals().len() as u32;
        hidden.filter(|&local| self.is_live(point, local)).collect()
    }

    fn is_live(&self, point: u32, local: u32) -> bool {
        self.liveness.at(point).is_some_and(|live| live.contains(local))
    }

    /// Slots of all locals.
    pub(crate) fn local_slots(&self) -> usize {
        slots(self.locals())
    }

    /// Every frame goes on at the same point of an equal body.
    pub(crate) fn identity(
        &self,
        to: &Arc<FunctionVersion>,
        reachable: impl Fn(u32) -> bool,
    ) -> Migration {
        let layout = Arc::new(Layout::identity(self.local_slots()));
        let points = self.safepoints.points.iter().map(|safepoint| safepoint.point);
        let target = |point| Target { version: to.clone(), point, layout: layout.clone() };
        let points = points.filter(|&point| reachable(point)).map(|point| (point, target(point)));
        Migration::Points(Arc::new(Points::new(points)))
    }
}

/// What messages need to know of the module.
pub(crate) struct Names<'a> {
    pub(crate) env: &'a ModuleEnv,
    /// How a person is told of a function.
    pub(crate) function: &'a dyn Fn(u32) -> String,
    /// What the sources of the old body and of the new one say.
    pub(crate) old: &'a SourceNames,
    pub(crate) new: &'a SourceNames,
    /// Whether the new body has come with a module.
    pub(crate) is_compiled: bool,
}

impl Names<'_> {
    /// What the names of locals tell.
    fn locals(&self, old: &Analysis, new: &Analysis) -> LocalNames {
        let named = |names: &SourceNames, body: &Analysis| -> HashMap<_, _> {
            let locals = (0..).zip(body.locals());
            let named = locals
                .filter_map(|(local, &ty)| Some(((names.local(local)?.to_owned(), ty), local)));
            named.filter(|((name, _), local)| is_given(name, *local)).collect()
        };
        let after = named(self.new, new);
        if after.is_empty() {
            return LocalNames { is_compiled: self.is_compiled, ..LocalNames::default() };
        }
        let before = named(self.old, old);
        let names: HashSet<&String> = before.keys().map(|(name, _)| name).collect();
        let mut found = LocalNames { is_compiled: self.is_compiled, ..LocalNames::default() };
        for ((name, ty), local) in after {
            let is_new = !names.is_empty() && !names.contains(&name);
            match before.get(&(name, ty)) {
                Some(same) => drop(found.same.insert(local, *same)),
                None if is_new => drop(found.new.insert(local)),
                None => {}
            }
        }
        found
    }

    fn site(&self, kind: SafepointKind) -> String {
        match kind {
            SafepointKind::Entry => "the entry".to_owned(),
            SafepointKind::Loop => "the loop".to_owned(),
            SafepointKind::Call(function) => format!("the call of {}", (self.function)(function)),
            SafepointKind::CallIndirect(ty) => match self.env.types.get(ty as usize) {
                Some(ty) => format!("the indirect call of type {ty}"),
                None => "the indirect call".to_owned(),
            },
            SafepointKind::CallRef(ty) => match self.env.types.get(ty as usize) {
                Some(ty) => format!("the call of a reference of type {ty}"),
                None => "the call of a reference".to_owned(),
            },
            SafepointKind::Wait(_) => "the wait".to_owned(),
        }
    }
}

/// Whether somebody has given a local this name. Tools that have none call locals by their numbers (`12`, `local12`), and
/// these say nothing.
fn is_given(name: &str, local: u32) -> bool {
    let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    !name.is_empty() && number != name && number != local.to_string()
}

/// The points of the old body that have a counterpart.
pub(crate) struct Mapping {
    points: HashMap<u32, (u32, Arc<Layout>)>,
    /// Why others have none.
    pub(crate) refusals: Vec<Refusal>,
}

impl Mapping {
    /// Number of points that have a counterpart.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// Where the frames of the old body go on in `to`.
    pub(crate) fn into_migration(self, to: &Arc<FunctionVersion>) -> Migration {
        let target = |(point, layout)| Target { version: to.clone(), point, layout };
        let points = self.points.into_iter().map(|(old, new)| (old, target(new)));
        Migration::Points(Arc::new(Points::new(points)))
    }

    /// Maps frames of `old` to `new`: as `map` says, and otherwise as the bodies can be aligned. `reachable`
    /// tells of the points of `new` whether anything leads there (the validator takes the end of every
    /// block for reachable; the tiers do not). Fails if `map` is wrong.
    pub(crate) fn new(
        names: &Names<'_>,
        old: &Analysis,
        new: &Analysis,
        map: Option<&FrameMap>,
        reachable: &dyn Fn(u32) -> bool,
    ) -> Result<Mapping> {
        let mut mapping = Mapping { points: HashMap::new(), refusals: Vec::new() };
        match map {
            Some(map) if map.exclusive => mapping.refuse_all(names, old),
            _ => mapping.align(names, old, new, map, reachable),
        }
        let given: &[PointMap] = map.map_or(&[], |map| &map.points);
        let said: HashSet<u32> = given.iter().map(|given| given.old).collect();
        mapping
            .refusals
            .retain(|refusal| refusal.point().is_none_or(|point| !said.contains(&point)));
        for given in given {
            let check = || {
                let checked = checked(names, old, new, given, reachable);
                anyhow::Context::with_context(checked.of_kind(ErrorKind::UpdateRefused), || {
                    format!("frame map from offset {:#x} to {:#x}", given.old, given.new)
                })
            };
            let checked = check();
            match (checked, old.at(given.old)) {
                (Ok(layout), _) => {
                    mapping.points.insert(given.old, (given.new, Arc::new(layout)));
                }
                (Err(error), Some(safepoint)) if map.is_some_and(|map| map.lenient) => {
                    mapping.points.remove(&given.old);
                    let (point, site) = (given.old, names.site(safepoint.kind));
                    let (line, why) = (names.old.line(point), format!("{error:#}"));
                    mapping.refusals.push(Refusal::NoCounterpart { point, line, site, why });
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(mapping)
    }

    /// Frames stay where they are, for this reason: all but those that are at the entry and have made nothing
    /// yet, and those that the embedder's map says something of.
    pub(crate) fn keep_frames(&mut self, refusal: Refusal, map: Option<&FrameMap>) {
        let given = map.map_or(&[][..], |map| &map.points);
        let is_given = |point: u32| given.iter().any(|map| map.old == point);
        self.points.retain(|&point, _| point == 0 || is_given(point));
        self.refusals.retain(|refusal| refusal.point().is_some_and(is_given));
        self.refusals.push(refusal);
    }

    /// No point has a counterpart.
    fn refuse_all(&mut self, names: &Names<'_>, old: &Analysis) {
        self.refusals.extend(old.safepoints.points.iter().map(|safepoint| {
            Refusal::NoCounterpart {
                point: safepoint.point,
                line: names.old.line(safepoint.point),
                site: names.site(safepoint.kind),
                why: "the frame map does not mention it".to_owned(),
            }
        }));
    }

    /// The default map.
    fn align(
        &mut self,
        names: &Names<'_>,
        old: &Analysis,
        new: &Analysis,
        map: Option<&FrameMap>,
        reachable: &dyn Fn(u32) -> bool,
    ) {
        let (before, after) = (&old.safepoints.points, &new.safepoints.points);
        if old.bytes == new.bytes {
            let layout = Arc::new(Layout::identity(old.local_slots()));
            let points = before.iter().map(|safepoint| safepoint.point);
            let points = points.filter(|&point| reachable(point));
            self.points.extend(points.map(|point| (point, (point, layout.clone()))));
            return;
        }
        let alignment = Alignment::new(before, after);
        let values = old.values.as_ref().zip(new.values.as_ref());
        // Which values correspond depends on which calls and loops do: also on those that the embedder knows.
        let mut known = alignment.counterparts.clone();
        for given in map.map_or(&[][..], |map| &map.points) {
            let index = |points: &[Safepoint], at| {
                points.binary_search_by_key(&at, |safepoint| safepoint.point).ok()
            };
            if let (Some(i), Some(j)) = (index(before, given.old), index(after, given.new)) {
                known[i] = Ok(j);
            }
        }
        let local_names = names.locals(old, new);
        let values =
            values.and_then(|(old, new)| Correspondence::new(old, new, &known, local_names));
        let Some(values) = values else { return self.refusals.push(Refusal::TooLarge) };
        let mut layouts = Layouts::new(old, new);
        let mut sites = None;
        for (i, counterpart) in alignment.counterparts.iter().enumerate() {
            let (safepoint, point) = (&before[i], before[i].point);
            let layout = match *counterpart {
                Err(why) => {
                    let site = names.site(safepoint.kind);
                    let sites = sites.get_or_insert_with(|| Sites::of(names, &new.safepoints));
                    let why = sites.reason(names, old, safepoint, &new.safepoints, why);
                    let line = names.old.line(point);
                    Err(Refusal::NoCounterpart { point, line, site, why })
                }
                Ok(index) => {
                    let target = after[index].point;
                    match reachable(target) {
                        false => {
                            let line = names.old.line(point);
                            Err(Refusal::Unreachable { point, line, target })
                        }
                        true => match layouts.at(&values, i, index) {
                            Ok(layout) => Ok((target, layout)),
                            Err(Unknown::Value { place, ty, why }) => {
                                let (line, why) = (names.old.line(point), why.to_owned());
                                let variable = names.new.variable(target, place);
                                Err(Refusal::UnknownValue {
                                    point,
                                    line,
                                    target,
                                    place,
                                    variable,
                                    ty,
                                    why,
                                })
                            }
                            Err(Unknown::TooLarge) => {
                                // What is known of some points only is no basis for the others.
                                self.points.clear();
                                self.refusals = vec![Refusal::TooLarge];
                                return;
                            }
                        },
                    }
                }
            };
            match layout {
                Ok(target) => drop(self.points.insert(point, target)),
                Err(refusal) => self.refusals.push(refusal),
            }
        }
    }
}

/// Layouts of frames, most of which are the same.
struct Layouts<'a> {
    old: &'a Analysis,
    new: &'a Analysis,
    /// Slots of the old locals.
    old_slots: u32,
    /// First slots of the old locals, and of the new ones.
    first_slots: [Vec<u32>; 2],
    /// Where the new locals' slots came from last. Those that nobody reads stay as they are, so that points share one
    /// layout.
    locals: Vec<Slot>,
    /// The layout of the last point, if its operands stay, as long as `locals` are the same.
    last: Option<Arc<Layout>>,
    known: HashMap<Layout, Arc<Layout>>,
    /// Slots of all that are known.
    slots: usize,
}

/// Slots of all layouts of a mapping: 64 MiB.
const MOST_SLOTS: usize = 4 << 20;

impl<'a> Layouts<'a> {
    fn new(old: &'a Analysis, new: &'a Analysis) -> Layouts<'a> {
        let first_slots = [old, new].map(|analysis| {
            let mut next = 0;
            let first = |ty: &ValType| {
                let first = next;
                next += slots(&[*ty]) as u32;
                first
            };
            analysis.locals().iter().map(first).collect()
        });
        let locals = vec![Slot::Const(0); new.local_slots()];
        let (last, known) = (None, HashMap::new());
        let old_slots = old.local_slots() as u32;
        Layouts { old, new, old_slots, first_slots, locals, last, known, slots: 0 }
    }

    /// The layout of frames that were suspended at one safepoint and go on at another one, by index.
    fn at(
        &mut self,
        values: &Correspondence<'_>,
        old: usize,
        new: usize,
    ) -> Result<Arc<Layout>, Unknown> {
        let (from, to) = (&self.old.safepoints.points[old], &self.new.safepoints.points[new]);
        let (before, after) =
            (self.old.safepoints.operands(from), self.new.safepoints.operands(to));
        let base = self.old_slots;
        let mut next = base;
        let mut operand_slots = Vec::with_capacity(before.len());
        for ty in &before {
            operand_slots.push(next);
            next += slots(&[*ty]) as u32;
        }
        let first = |place: Place| match place {
            Place::Local(local) => self.first_slots[0][local as usize],
            Place::Operand(i) => operand_slots[i as usize],
        };
        let sources = values.sources(old, new, &first)?;
        let parts = |origin: Origin, ty: ValType| {
            (0..slots(&[ty])).map(move |part| match origin {
                Origin::Old(slot) => Slot::Old(slot + part as u32),
                Origin::Const(halves) => Slot::Const(halves[part]),
            })
        };
        for (local, source) in sources.locals {
            let ty = self.new.locals()[local as usize];
            let at = self.first_slots[1][local as usize] as usize;
            for (part, slot) in parts(source, ty).enumerate() {
                if self.locals[at + part] != slot {
                    self.locals[at + part] = slot;
                    self.last = None;
                }
            }
        }
        let operands = sources.operands.into_iter().zip(&after);
        let operands: Vec<Slot> = operands.flat_map(|(source, &ty)| parts(source, ty)).collect();
        let stay = operands.iter().copied().eq((base..next).map(Slot::Old));
        if let Some(last) = self.last.as_ref().filter(|_| stay) {
            return Ok(last.clone());
        }
        let layout = Layout::new(base as usize, self.locals.iter().copied());
        let slots = self.locals.len() + operands.len();
        let layout = match stay {
            true => layout,
            false => layout.with_operands((next - base) as usize, operands),
        };
        let layout = match self.known.get(&layout) {
            Some(known) => known.clone(),
            None if self.slots + slots > MOST_SLOTS => return Err(Unknown::TooLarge),
            None => {
                self.slots += slots;
                let shared = Arc::new(layout.clone());
                self.known.insert(layout, shared.clone());
                shared
            }
        };
        self.last = stay.then(|| layout.clone());
        Ok(layout)
    }
}

/// Declared locals match by index; new ones start at zero. Fails if one that somebody reads at `target` has another type, or is
/// not kept at `point`.
fn layout_by_index(
    names: &Names<'_>,
    old: &Analysis,
    new: &Analysis,
    point: u32,
    target: u32,
) -> Result<Layout> {
    let mut locals = Vec::new();
    let mut next = 0;
    let declared = &old.locals()[..old.declared()];
    for (local, &ty) in (0..).zip(&new.locals()[..new.declared()]) {
        let count = slots(&[ty]);
        let wanted = new.is_live(target, local);
        match declared.get(local as usize) {
            Some(&before) if before == ty => {
                if wanted && !old.is_live(point, local) {
                    let line = names.old.line(point);
                    anyhow::bail!("{}", Refusal::LocalNotKept { point, line, local, ty });
                }
                locals.extend((next..next + count as u32).map(Slot::Old));
            }
            Some(before) if wanted => {
                anyhow::bail!(
                    "local {local} is of type {before} in the old body and {ty} in the new one"
                )
            }
            _ => locals.extend(std::iter::repeat_n(Slot::Const(0), count)),
        }
        next += declared.get(local as usize).map_or(0, |&ty| slots(&[ty]) as u32);
    }
    locals.extend(hidden_locals(names, old, new, point, target)?);
    Ok(Layout::new(old.local_slots(), locals))
}

/// Where the caught exceptions come from that the new body throws again. If the bodies have equally many `try` whose
/// exceptions are thrown again, these are the same; otherwise the handlers are that the frame is in, if these are equally
/// many. Fails if there is none for one that is needed.
fn hidden_locals(
    names: &Names<'_>,
    old: &Analysis,
    new: &Analysis,
    point: u32,
    target: u32,
) -> Result<Vec<Slot>> {
    let (from, to) = (old.live_hidden(point), new.live_hidden(target));
    let source = |hidden: usize| {
        let local = (new.declared() + hidden) as u32;
        if old.safepoints.hidden == new.safepoints.hidden {
            Some((old.declared() + hidden) as u32)
        } else if from.len() == to.len() {
            to.iter().position(|&live| live == local).map(|n| from[n])
        } else {
            None
        }
    };
    let slot = |hidden: usize| {
        if !to.contains(&((new.declared() + hidden) as u32)) {
            return Ok(Slot::Const(0));
        }
        let source = source(hidden).filter(|source| from.contains(source));
        let source = source.ok_or_else(|| {
            let at = At(point, &names.old.line(point)).to_string();
            anyhow::anyhow!(
                "the new body throws a caught exception again that a frame suspended at {at} does not hold"
            )
        })?;
        Ok(Slot::Old(slots(&old.locals()[..source as usize]) as u32))
    };
    (0..new.safepoints.hidden).map(slot).collect()
}

/// The safepoints of a body by what they are, to say why others have no counterpart among them.
struct Sites {
    kinds: HashMap<SafepointKind, SitesOfKind>,
    /// As people are told of them.
    told: HashSet<String>,
}

struct SitesOfKind {
    /// Index of the first.
    first: usize,
    depths: HashSet<u32>,
    operands: HashSet<OperandStack>,
}

impl Sites {
    fn of(names: &Names<'_>, body: &Safepoints) -> Sites {
        let mut sites = HashMap::new();
        for (i, safepoint) in body.points.iter().enumerate() {
            let empty =
                || SitesOfKind { first: i, depths: HashSet::new(), operands: HashSet::new() };
            let alike = sites.entry(safepoint.kind).or_insert_with(empty);
            alike.depths.insert(safepoint.depth);
            alike.operands.insert(safepoint.operands);
        }
        let told = sites.keys().map(|kind| names.site(*kind)).collect();
        Sites { kinds: sites, told }
    }

    /// What keeps a safepoint of another body from having a counterpart.
    fn reason(
        &self,
        names: &Names<'_>,
        body: &Analysis,
        old: &Safepoint,
        new: &Safepoints,
        why: Unaligned,
    ) -> String {
        let Some(alike) = self.kinds.get(&old.kind) else {
            return match self.told.contains(&names.site(old.kind)) {
                true => "there that function is of another type".to_owned(),
                false => "it has none such".to_owned(),
            };
        };
        let first = &new.points[alike.first];
        if why == Unaligned::Ambiguous {
            return "several are equally alike, so that it is not clear which one it is".to_owned();
        }
        if !alike.depths.contains(&old.depth) {
            let blocks = |depth: u32| match depth.saturating_sub(1) {
                1 => "1 block".to_owned(),
                n => format!("{n} blocks"),
            };
            return format!(
                "there it is inside {}, not {}",
                blocks(first.depth),
                blocks(old.depth)
            );
        }
        if !alike.operands.contains(&old.operands) {
            return format!(
                "there the operand stack holds {}, not {}",
                list(new, first),
                list(&body.safepoints, old)
            );
        }
        "those that it has correspond to others of the old body".to_owned()
    }
}

/// The operands at a safepoint, for a message; of very many only the number.
fn list(body: &Safepoints, safepoint: &Safepoint) -> String {
    const MOST: usize = 64;
    match safepoint.operands.len() {
        0 => "nothing".to_owned(),
        1..=MOST => {
            let types = body.operands(safepoint);
            types.iter().map(ValType::to_string).collect::<Vec<_>>().join(", ")
        }
        n => format!("{n} values"),
    }
}

/// The layout that an embedder's map says, if it is right.
fn checked(
    names: &Names<'_>,
    old: &Analysis,
    new: &Analysis,
    given: &PointMap,
    reachable: &dyn Fn(u32) -> bool,
) -> Result<Layout> {
    let missing =
        |which: &str| format!("nothing can be suspended at that offset of the {which} body");
    let from = old.at(given.old).ok_or_else(|| anyhow::anyhow!(missing("old")))?;
    let to = new.at(given.new).ok_or_else(|| anyhow::anyhow!(missing("new")))?;
    anyhow::ensure!(reachable(to.point), "nothing leads to that offset of the new body");
    let results = |kind| match kind {
        SafepointKind::Call(function) => Some(&names.env.func_type(function).results),
        SafepointKind::CallIndirect(ty) | SafepointKind::CallRef(ty) => {
            Some(&names.env.types[ty as usize].results)
        }
        SafepointKind::Entry | SafepointKind::Loop | SafepointKind::Wait(_) => None,
    };
    let same = from.kind == to.kind
        || results(from.kind).is_some() && results(from.kind) == results(to.kind);
    anyhow::ensure!(same, "{} cannot go on as {}", names.site(from.kind), names.site(to.kind));
    let frame = OldFrame { analysis: old, at: from, operands: old.safepoints.operands(from) };
    let locals = match &given.locals {
        Some(sources) => {
            anyhow::ensure!(
                sources.len() == new.declared(),
                "{} locals are given, and the new body has {}",
                sources.len(),
                new.declared()
            );
            anyhow::ensure!(
                from.kind != SafepointKind::Entry,
                "at its entry a function has its parameters and nothing else"
            );
            let mut slots = Vec::new();
            for (i, (source, &ty)) in sources.iter().zip(new.locals()).enumerate() {
                let wanted = new.is_live(to.point, i as u32);
                let value = frame.slots(source, ty, wanted);
                let value = value.of_kind(ErrorKind::UpdateRefused);
                slots.extend(anyhow::Context::with_context(value, || format!("local {i}"))?);
            }
            slots.extend(hidden_locals(names, old, new, from.point, to.point)?);
            Layout::new(old.local_slots(), slots)
        }
        None => layout_by_index(names, old, new, from.point, to.point)?,
    };
    let Some(sources) = &given.operands else {
        anyhow::ensure!(
            from.operands == to.operands,
            "the operands are of other types: say where each comes from"
        );
        return Ok(locals);
    };
    anyhow::ensure!(
        sources.len() == to.operands.len(),
        "{} operands are given, and the new body has {} there",
        sources.len(),
        to.operands.len()
    );
    let mut values = Vec::new();
    for (i, (source, ty)) in sources.iter().zip(new.safepoints.operands(to)).enumerate() {
        let value = frame.slots(source, ty, true);
        let value = value.of_kind(ErrorKind::UpdateRefused);
        values.extend(anyhow::Context::with_context(value, || format!("operand {i}"))?);
    }
    Ok(locals.with_operands(slots(&frame.operands), values))
}

/// What values can come from.
struct OldFrame<'a> {
    analysis: &'a Analysis,
    at: &'a Safepoint,
    operands: Vec<ValType>,
}

impl OldFrame<'_> {
    /// The slots of a value of type `ty`. `wanted`: whether anybody looks at it.
    fn slots(&self, source: &Source, ty: ValType, wanted: bool) -> Result<Vec<Slot>> {
        let locals = &self.analysis.locals()[..self.analysis.declared()];
        let of = |what: &str, index: u32, types: &[ValType], base: usize| -> Result<Vec<Slot>> {
            let found = types.get(index as usize).copied();
            let found = found.ok_or_else(|| anyhow::anyhow!("there is no old {what} {index}"))?;
            anyhow::ensure!(
                found == ty,
                "it is of type {ty}, and old {what} {index} of type {found}"
            );
            let first = base + slots(&types[..index as usize]);
            Ok((first..first + slots(&[ty])).map(|slot| Slot::Old(slot as u32)).collect())
        };
        match source {
            Source::Local(index) => {
                let slots = of("local", *index, locals, 0)?;
                anyhow::ensure!(
                    !wanted || self.analysis.is_live(self.at.point, *index),
                    "the old body does not need its local {index} any more at offset {:#x}, so that its \
                     value is not kept",
                    self.at.point
                );
                Ok(slots)
            }
            Source::Operand(index) => {
                of("operand", *index, &self.operands, self.analysis.local_slots())
            }
            Source::Const(value) => {
                let bits = match value {
                    Val::I32(value) => u64::from(*value as u32),
                    Val::I64(value) => *value as u64,
                    Val::F32(bits) => u64::from(*bits),
                    Val::F64(bits) => *bits,
                    Val::V128(bits) => *bits as u64,
                    Val::FuncRef(None) | Val::ExternRef(None) | Val::ExnRef(None) => 0,
                    Val::FuncRef(Some(_)) | Val::ExternRef(Some(_)) | Val::ExnRef(Some(_)) => {
                        anyhow::bail!("a reference that is not null belongs to one store")
                    }
                };
                let found = value.ty();
                let default = Val::default_for_ty(ty).map(|default| default.ty());
                anyhow::ensure!(
                    found == ty || matches!(ty, ValType::Ref(_)) && default == Some(found),
                    "it is of type {ty}, and the constant of type {found}"
                );
                Ok(match value {
                    Val::V128(bits) => halves(*bits).map(Slot::Const).to_vec(),
                    _ => vec![Slot::Const(bits)],
                })
            }
        }
    }
}

/// Slots of values of these types.
fn slots(types: &[ValType]) -> usize {
    midair_tiers::types::slot_count(types)
}
