//! Where the frames of an old body go on in a new one, and why some cannot.

use super::alignment::{Alignment, Unaligned};
use super::continuation::{Migration, Points, Target};
use super::frame_map::{FrameMap, PointMap, Source};
use super::layout::{Layout, Slot};
use super::refusal::Refusal;
use super::safepoints::{Safepoint, SafepointKind, Safepoints};
use crate::Result;
use crate::code::FunctionVersion;
use crate::value::Val;
use midair_osr::ValueKind;
use midair_tiers::liveness::Liveness;
use midair_tiers::{FunctionBody, ModuleEnv, ValType};
use std::collections::HashMap;
use std::sync::Arc;
use wasmparser::{FuncToValidate, ValidatorResources};

/// What is known of a body that is compared with another one.
pub(crate) struct Analysis {
    pub(crate) safepoints: Safepoints,
    liveness: Liveness,
}

impl Analysis {
    /// Validates a body and analyses it.
    pub(crate) fn new(
        env: &ModuleEnv,
        body: &FunctionBody,
        validate: FuncToValidate<ValidatorResources>,
    ) -> Result<Analysis> {
        let safepoints = Safepoints::new(env, body, validate)?;
        let liveness = Liveness::new(body, safepoints.locals.len() as u32)
            .map_err(|error| anyhow::anyhow!("its locals cannot be analysed: {error:?}"))?;
        Ok(Analysis { safepoints, liveness })
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
}

impl Names<'_> {
    fn site(&self, kind: SafepointKind) -> String {
        match kind {
            SafepointKind::Entry => "the entry".to_owned(),
            SafepointKind::Loop => "the loop".to_owned(),
            SafepointKind::Call(function) => format!("the call of {}", (self.function)(function)),
            SafepointKind::CallIndirect(ty) => match self.env.types.get(ty as usize) {
                Some(ty) => format!("the indirect call of type {ty}"),
                None => "the indirect call".to_owned(),
            },
        }
    }
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
            _ => mapping.align(names, old, new, reachable),
        }
        for given in map.map_or(&[][..], |map| &map.points) {
            let check = || {
                anyhow::Context::with_context(checked(names, old, new, given, reachable), || {
                    format!("frame map from offset {:#x} to {:#x}", given.old, given.new)
                })
            };
            let checked = check();
            mapping.refusals.retain(|refusal| refusal.point() != Some(given.old));
            match (checked, old.at(given.old)) {
                (Ok(layout), _) => {
                    mapping.points.insert(given.old, (given.new, Arc::new(layout)));
                }
                (Err(error), Some(safepoint)) if map.is_some_and(|map| map.lenient) => {
                    mapping.points.remove(&given.old);
                    let (point, site) = (given.old, names.site(safepoint.kind));
                    let why = format!("{error:#}");
                    mapping.refusals.push(Refusal::NoCounterpart { point, site, why });
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(mapping)
    }

    /// No point has a counterpart.
    fn refuse_all(&mut self, names: &Names<'_>, old: &Analysis) {
        self.refusals.extend(old.safepoints.points.iter().map(|safepoint| {
            Refusal::NoCounterpart {
                point: safepoint.point,
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
        reachable: &dyn Fn(u32) -> bool,
    ) {
        let layout = match default_layout(old, new) {
            Ok(layout) => Arc::new(layout),
            Err(refusal) => {
                self.refusals.push(refusal);
                return;
            }
        };
        let (before, after) = (&old.safepoints.points, &new.safepoints.points);
        let alignment = Alignment::new(before, after);
        for (safepoint, counterpart) in before.iter().zip(alignment.counterparts) {
            let point = safepoint.point;
            let refusal = match counterpart {
                Err(why) => {
                    let site = names.site(safepoint.kind);
                    let why = reason(old, safepoint, &new.safepoints, why);
                    Some(Refusal::NoCounterpart { point, site, why })
                }
                Ok(index) => {
                    let target = after[index].point;
                    let refusal = if reachable(target) {
                        lost_local(old, new, point, target)
                    } else {
                        Some(Refusal::Unreachable { point, target })
                    };
                    if refusal.is_none() {
                        self.points.insert(point, (target, layout.clone()));
                    }
                    refusal
                }
            };
            self.refusals.extend(refusal);
        }
    }
}

/// Locals match by index; new ones start at zero. Fails if a type differs.
fn default_layout(old: &Analysis, new: &Analysis) -> Result<Layout, Refusal> {
    for (i, (a, b)) in old.locals().iter().zip(new.locals()).enumerate() {
        if a != b {
            return Err(Refusal::LocalType { local: i as u32, old: *a, new: *b });
        }
    }
    let kept = old.local_slots().min(new.local_slots());
    let fresh = std::iter::repeat_n(Slot::Const(0), new.local_slots() - kept);
    Ok(Layout::new(old.local_slots(), (0..kept as u32).map(Slot::Old).chain(fresh)))
}

/// Machine code keeps what the old body may read. What the new one reads beyond that is lost.
fn lost_local(old: &Analysis, new: &Analysis, point: u32, target: u32) -> Option<Refusal> {
    let kept = old.locals().len() as u32;
    let mut wanted = new.liveness.at(target)?.iter().take_while(|&local| local < kept);
    let local = wanted.find(|&local| !old.is_live(point, local))?;
    Some(Refusal::LocalNotKept { point, local, ty: old.locals()[local as usize] })
}

/// What keeps a safepoint from having a counterpart among those of the new body.
fn reason(body: &Analysis, old: &Safepoint, new: &Safepoints, why: Unaligned) -> String {
    let alike = || new.points.iter().filter(|safepoint| safepoint.kind == old.kind);
    let Some(first) = alike().next() else { return "it has none such".to_owned() };
    if why == Unaligned::Ambiguous {
        return "several are equally alike, so that it is not clear which one it is".to_owned();
    }
    if alike().all(|safepoint| safepoint.depth != old.depth) {
        let blocks = |depth: u32| match depth.saturating_sub(1) {
            1 => "1 block".to_owned(),
            n => format!("{n} blocks"),
        };
        return format!("there it is inside {}, not {}", blocks(first.depth), blocks(old.depth));
    }
    if alike().all(|safepoint| safepoint.operands != old.operands) {
        return format!(
            "there the operand stack holds {}, not {}",
            list(new, first),
            list(&body.safepoints, old)
        );
    }
    "those that it has correspond to others of the old body".to_owned()
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
        SafepointKind::CallIndirect(ty) => Some(&names.env.types[ty as usize].results),
        SafepointKind::Entry | SafepointKind::Loop => None,
    };
    let same = from.kind == to.kind
        || results(from.kind).is_some() && results(from.kind) == results(to.kind);
    anyhow::ensure!(same, "{} cannot go on as {}", names.site(from.kind), names.site(to.kind));
    let frame = OldFrame { analysis: old, at: from, operands: old.safepoints.operands(from) };
    let locals = match &given.locals {
        Some(sources) => {
            anyhow::ensure!(
                sources.len() == new.locals().len(),
                "{} locals are given, and the new body has {}",
                sources.len(),
                new.locals().len()
            );
            anyhow::ensure!(
                from.kind != SafepointKind::Entry,
                "at its entry a function has its parameters and nothing else"
            );
            let mut slots = Vec::new();
            for (i, (source, &ty)) in sources.iter().zip(new.locals()).enumerate() {
                let wanted = new.is_live(to.point, i as u32);
                let value = frame.slots(source, ty, wanted);
                slots.extend(anyhow::Context::with_context(value, || format!("local {i}"))?);
            }
            Layout::new(old.local_slots(), slots)
        }
        None => {
            let lost = lost_local(old, new, from.point, to.point);
            match default_layout(old, new) {
                Ok(layout) if lost.is_none() => layout,
                Ok(_) => anyhow::bail!("{}", lost.expect("as just seen")),
                Err(refusal) => anyhow::bail!("{refusal}"),
            }
        }
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
        let locals = self.analysis.locals();
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
                let (found, bits) = match value {
                    Val::I32(value) => (ValType::I32, u64::from(*value as u32)),
                    Val::I64(value) => (ValType::I64, *value as u64),
                    Val::F32(bits) => (ValType::F32, u64::from(*bits)),
                    Val::F64(bits) => (ValType::F64, *bits),
                    Val::FuncRef(None) => (ValType::FuncRef, 0),
                    Val::ExternRef(None) => (ValType::ExternRef, 0),
                    Val::FuncRef(Some(_)) | Val::ExternRef(Some(_)) => {
                        anyhow::bail!("a reference that is not null belongs to one store")
                    }
                };
                anyhow::ensure!(
                    found == ty,
                    "it is of type {ty}, and the constant of type {found}"
                );
                Ok(vec![Slot::Const(bits)])
            }
        }
    }
}

/// Slots of values of these types.
fn slots(types: &[ValType]) -> usize {
    types.iter().map(|ty| ValueKind::slots(ty.kind())).sum()
}
