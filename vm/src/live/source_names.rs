//! What the source of a body calls its places and its variables.
//!
//! Bodies that are loaded, or that a new module brings, are of a module that may say it: local names in its name section,
//! lines and variables in its DWARF. An update's bodies are encoded afresh, so that their offsets are others than in
//! that module: places are told by the operators that come before them.

use super::correspondence::Place;
use crate::module::ModuleState;
use crate::module::debug_info::{DebugInfo, InMemory, SourceLine, Storage, Variables};
use crate::module::provenance::Provenance;
use midair_tiers::FunctionBody;
use std::cell::{LazyCell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The function of a module that a body is of.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) module: Arc<ModuleState>,
    pub(crate) function: u32,
}

impl Origin {
    /// Whether the module's debug information says something of the function.
    pub(crate) fn is_described(&self) -> bool {
        let body = self.module.code.loaded_body(self.function).module_offset() as u64;
        self.module.source_layout().is_some_and(|layout| layout.describes(body))
    }

    /// Of the present body of a function: it was made of the module that the program was last brought up to. (Or
    /// somebody has given it by itself. Then it looks like another one, or they differ in nothing that has a name.)
    pub(crate) fn of_present(module: &Arc<ModuleState>, function: u32) -> Option<Origin> {
        let imported = module.env.imported_functions;
        let Some(Provenance { source, maps, .. }) = module.added.provenance().clone() else {
            let loaded = imported + module.code.loaded_functions() as u32;
            let is_loaded = (imported..loaded).contains(&function);
            return is_loaded.then(|| Origin { module: module.clone(), function });
        };
        // Most have the index that they have had.
        let index = match maps.functions.get(function as usize) {
            Some(&same) if same == function => function,
            _ => maps.functions.iter().position(|&live| live == function)? as u32,
        };
        let defined = index >= source.env.imported_functions;
        defined.then_some(Origin { module: source, function: index })
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("function", &self.function).finish_non_exhaustive()
    }
}

/// The debug information of modules that bodies are of, each read when it is first asked for.
#[derive(Default)]
pub(crate) struct DebugInfos(RefCell<HashMap<*const ModuleState, Option<Rc<DebugInfo>>>>);

impl DebugInfos {
    fn of(&self, module: &Arc<ModuleState>) -> Option<Rc<DebugInfo>> {
        let mut infos = self.0.borrow_mut();
        // The module lives as long as the origin that it is asked for, and so as long as this.
        let read = || DebugInfo::read(module.bytes()).map(Rc::new);
        infos.entry(Arc::as_ptr(module)).or_insert_with(read).clone()
    }
}

/// What the source calls what is in one body.
pub(crate) struct SourceNames {
    infos: Rc<DebugInfos>,
    known: LazyCell<Option<Known>, Box<dyn FnOnce() -> Option<Known>>>,
}

struct Known {
    origin: Origin,
    points: Points,
    /// Of the body in its module.
    offset: u64,
    variables: OnceCell<Option<Variables>>,
}

impl Known {
    fn new(body: &FunctionBody, origin: Origin) -> Option<Known> {
        let of_origin = origin.module.code.loaded_body(origin.function);
        let points = Points::new(body, &of_origin)?;
        let offset = of_origin.module_offset() as u64;
        Some(Known { origin, points, offset, variables: OnceCell::new() })
    }
}

impl SourceNames {
    /// What the source of a body says. Nothing is looked at before it is asked for.
    pub(crate) fn new(
        infos: &Rc<DebugInfos>,
        body: &FunctionBody,
        origin: impl FnOnce() -> Option<Origin> + 'static,
    ) -> SourceNames {
        let body = body.clone();
        let known = move || Known::new(&body, origin()?);
        SourceNames { infos: infos.clone(), known: LazyCell::new(Box::new(known)) }
    }

    fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The name of a local in the name section.
    pub(crate) fn local(&self, local: u32) -> Option<&str> {
        let Origin { module, function } = &self.known()?.origin;
        module.local_name(*function, local)
    }

    /// The line that a point is of.
    pub(crate) fn line(&self, point: u32) -> Option<SourceLine> {
        let (info, address) = self.address(point)?;
        info.line(address)
    }

    /// The variable that is there at a point.
    pub(crate) fn variable(&self, point: u32, place: Place) -> Option<String> {
        let Place::Local(local) = place else { return None };
        if let Some(name) = self.local(local) {
            return Some(name.to_owned());
        }
        self.stored(point, Storage::Local(local))
    }

    /// The variable that begins at this byte of the function's frame in linear memory.
    pub(crate) fn at_byte(&self, byte: u64) -> Option<String> {
        self.stored(FunctionBody::ENTRY, Storage::FrameByte(byte))
    }

    /// The variables that lie in the function's frame in linear memory, if the module says anything of its source.
    pub(crate) fn in_memory(&self) -> Option<Vec<InMemory>> {
        self.variables().map(Variables::in_memory)
    }

    fn stored(&self, point: u32, at: Storage) -> Option<String> {
        let (_, address) = self.address(point)?;
        self.variables()?.at(address, at).map(str::to_owned)
    }

    fn variables(&self) -> Option<&Variables> {
        let (info, first) = self.address(FunctionBody::ENTRY)?;
        self.known()?.variables.get_or_init(|| info.variables(first)).as_ref()
    }

    fn address(&self, point: u32) -> Option<(Rc<DebugInfo>, u64)> {
        let known = self.known()?;
        let info = self.infos.of(&known.origin.module)?;
        let address = info.address(known.offset + u64::from(known.points.in_origin(point)?))?;
        Some((info, address))
    }
}

/// From the points of a body to those of the one that it was made of.
enum Points {
    Same,
    /// Offsets of the operators in both, in ascending order.
    Other(Vec<(u32, u32)>),
}

impl Points {
    /// `None` if the one is not made of the other.
    fn new(body: &FunctionBody, of_origin: &FunctionBody) -> Option<Points> {
        if body.bytes() == of_origin.bytes() {
            return Some(Points::Same);
        }
        let (ours, theirs) = (operators(body)?, operators(of_origin)?);
        let alike = ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(ours, theirs)| ours.1 == theirs.1);
        let offsets = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours.0, theirs.0));
        alike.then(|| Points::Other(offsets.collect()))
    }

    fn in_origin(&self, point: u32) -> Option<u32> {
        match self {
            Points::Same => Some(point),
            // The entry is no operator's.
            Points::Other(_) if point == FunctionBody::ENTRY => Some(point),
            Points::Other(offsets) => {
                let at = offsets.binary_search_by_key(&point, |(ours, _)| *ours).ok()?;
                Some(offsets[at].1)
            }
        }
    }
}

/// Where the operators of a body are, and how each begins.
fn operators(body: &FunctionBody) -> Option<Vec<(u32, u8)>> {
    let mut reader = body.reader().get_operators_reader().ok()?;
    let mut operators = Vec::new();
    while !reader.eof() {
        let at = reader.original_position() as u32;
        operators.push((at, body.bytes()[at as usize]));
        reader.read().ok()?;
    }
    Some(operators)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Engine, Module};

    #[test]
    fn a_body_is_made_of_another_if_it_has_the_same_operators() {
        let engine = Engine::new(&Config::new()).unwrap();
        let body = |text: &str| {
            let text = format!("(module (global i32 (i32.const 1)) (func (param i32 i32) {text}))");
            Module::new(&engine, text).unwrap().state.code.loaded_body(0)
        };
        let source = body("(local.set 0 (i32.const 1)) (drop (local.get 1))");
        // Constants are encoded in other lengths, where functions and addresses have got other numbers.
        let same = body("(local.set 0 (i32.const 1000)) (drop (local.get 1))");
        let points = Points::new(&same, &source).expect("it has the same operators");
        let point = |body: &FunctionBody, operator: usize| operators(body).unwrap()[operator].0;
        for operator in 0..5 {
            assert_eq!(points.in_origin(point(&same, operator)), Some(point(&source, operator)));
        }
        assert_eq!(points.in_origin(point(&same, 1) + 1), None);
        for other in
            ["(local.set 0 (i32.const 1))", "(local.set 0 (i32.const 1)) (drop (global.get 0))"]
        {
            assert!(Points::new(&body(other), &source).is_none(), "{other}");
        }
    }
}
