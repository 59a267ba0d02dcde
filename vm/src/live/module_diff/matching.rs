//! Which functions and globals of a new module are those of the running one.
//!
//! In this order: imports by their names, what is exported under the same name, what has the same unique name
//! in the name section; then, until nothing more is found, functions whose bodies are the same under the map
//! found so far, what two equal bodies refer to at the same place, and what lies at the same place between
//! matched neighbours. A match never has another type, and a named item is only taken for one of another
//! name if their bodies are the same.
//!
//! No answer is wrong for the program: what is matched with something that differs gets a new body, and what
//! is not matched is added. A good answer changes little, and moves frames to where their user expects them.

use super::colours::{Colours, Free, Node};
use super::skeleton::{Reference, Skeleton};
use crate::module::Item;
use crate::module::provenance::IndexMaps;
use midair_tiers::module_env::GlobalType;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// A function, as far as matching goes.
pub(super) struct FunctionFacts<'a> {
    /// Type index in the running module, the same for equal types.
    pub(super) ty: u32,
    /// Module and name.
    pub(super) import: Option<(&'a str, &'a str)>,
    pub(super) name: Option<&'a str>,
    /// `None` if it is imported, or its body cannot be parsed.
    pub(super) skeleton: Option<Skeleton>,
    /// Whether it belongs to the source that the running module was last brought up to.
    pub(super) present: bool,
}

/// A global, as far as matching goes.
pub(super) struct GlobalFacts<'a> {
    pub(super) ty: GlobalType,
    pub(super) import: Option<(&'a str, &'a str)>,
    pub(super) name: Option<&'a str>,
    /// Its first value, unless it is imported.
    pub(super) init: Option<Skeleton>,
    pub(super) present: bool,
}

/// What is known of the items of one of the two modules.
pub(super) struct Side<'a> {
    pub(super) functions: Vec<FunctionFacts<'a>>,
    pub(super) globals: Vec<GlobalFacts<'a>>,
    /// Defined functions, in the order of their source.
    pub(super) function_order: Vec<u32>,
    /// Defined globals, in the order of their source.
    pub(super) global_order: Vec<u32>,
    pub(super) exports: HashMap<&'a str, Item>,
    /// Functions in tables, each with a hash of the entry.
    pub(super) slots: Vec<(u32, u64)>,
}

/// Pairs of one index space.
#[derive(Default)]
pub(super) struct Pairs {
    /// From the new module's indices to the running one's.
    pub(super) live_of: Vec<Option<u32>>,
    /// From the running module's indices to the new one's.
    pub(super) new_of: Vec<Option<u32>>,
}

impl Pairs {
    fn new(new: usize, live: usize) -> Pairs {
        Pairs { live_of: vec![None; new], new_of: vec![None; live] }
    }

    /// Whether neither has a counterpart yet.
    fn both_free(&self, new: u32, live: u32) -> bool {
        self.live_of[new as usize].is_none() && self.new_of[live as usize].is_none()
    }

    pub(super) fn set(&mut self, new: u32, live: u32) {
        debug_assert!(self.both_free(new, live));
        self.live_of[new as usize] = Some(live);
        self.new_of[live as usize] = Some(new);
    }

    /// Takes a counterpart back.
    pub(super) fn unset(&mut self, new: u32) {
        if let Some(live) = self.live_of[new as usize].take() {
            self.new_of[live as usize] = None;
        }
    }

    fn free_new(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.live_of).filter(|(_, live)| live.is_none()).map(|(new, _)| new)
    }

    fn free_live(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.new_of).filter(|(_, new)| new.is_none()).map(|(live, _)| live)
    }
}

/// The pairs found.
pub(super) struct Matching<'a> {
    new: &'a Side<'a>,
    live: &'a Side<'a>,
    pub(super) functions: Pairs,
    pub(super) globals: Pairs,
    /// Matched functions of the new module whose references have not been compared.
    fresh: Vec<u32>,
    /// How many references may still be looked at to tell equal bodies apart one by one.
    budget: usize,
}

/// Enough to tell apart thousands of equal bodies; with many more, they are paired in their order.
const BUDGET: usize = 6_000_000;

/// Matches the functions and globals of two modules.
pub(super) fn match_modules<'a>(new: &'a Side<'a>, live: &'a Side<'a>) -> Matching<'a> {
    let mut matching = Matching::new(new, live);
    matching.imports();
    matching.exports();
    matching.names();
    matching.contents();
    matching
}

/// A name without the part that a compiler may make anew at each build: the hash at the end of Rust's
/// legacy mangling.
fn stable_name(name: &str) -> &str {
    let hash = name.len().checked_sub("17h0123456789abcdefE".len());
    hash.and_then(|at| name.split_at_checked(at))
        .filter(|(_, hash)| {
            hash.starts_with("17h")
                && hash.ends_with('E')
                && hash[3..19].bytes().all(|b| b.is_ascii_hexdigit())
        })
        .map_or(name, |(stable, _)| stable)
}

/// Whether items of these names are not to be taken for each other on other evidence than equal bodies.
fn names_differ(a: Option<&str>, b: Option<&str>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if stable_name(a) != stable_name(b))
}

/// Keys that exactly one item has.
fn unique<K: Hash + Eq, T: Copy>(items: impl Iterator<Item = (K, T)>) -> HashMap<K, T> {
    let mut found: HashMap<K, Option<T>> = HashMap::new();
    for (key, item) in items {
        found.entry(key).and_modify(|item| *item = None).or_insert(Some(item));
    }
    found.into_iter().filter_map(|(key, item)| Some((key, item?))).collect()
}

/// Pairs of items whose key is unique on both sides, in the order of the new module.
fn unique_pairs<K: Hash + Eq, T: Copy + Ord>(
    new: impl Iterator<Item = (K, T)>,
    live: impl Iterator<Item = (K, T)>,
) -> Vec<(T, T)> {
    let live = unique(live);
    let mut pairs: Vec<_> =
        unique(new).into_iter().filter_map(|(key, new)| Some((new, *live.get(&key)?))).collect();
    pairs.sort_unstable();
    pairs
}

/// Pairs of items with the same key: the first with the first, and so on.
fn pairs_in_order<K: Hash + Eq>(
    new: impl Iterator<Item = Option<K>>,
    live: impl Iterator<Item = Option<K>>,
) -> Vec<(u32, u32)> {
    let mut found: HashMap<K, VecDeque<u32>> = HashMap::new();
    for (i, key) in (0..).zip(live) {
        if let Some(key) = key {
            found.entry(key).or_default().push_back(i);
        }
    }
    let pair = |(i, key): (u32, Option<K>)| Some((i, found.get_mut(&key?)?.pop_front()?));
    (0..).zip(new).filter_map(pair).collect()
}

impl<'a> Matching<'a> {
    fn new(new: &'a Side<'a>, live: &'a Side<'a>) -> Matching<'a> {
        Matching {
            new,
            live,
            functions: Pairs::new(new.functions.len(), live.functions.len()),
            globals: Pairs::new(new.globals.len(), live.globals.len()),
            fresh: Vec::new(),
            budget: BUDGET,
        }
    }

    /// Of a module whose items are known to be there.
    pub(super) fn known(new: &'a Side<'a>, live: &'a Side<'a>, maps: &IndexMaps) -> Matching<'a> {
        let mut matching = Matching::new(new, live);
        (0..).zip(&maps.functions).for_each(|(new, live)| matching.functions.set(new, *live));
        (0..).zip(&maps.globals).for_each(|(new, live)| matching.globals.set(new, *live));
        matching
    }

    fn pair_functions(&mut self, new: u32, live: u32) {
        self.functions.set(new, live);
        self.fresh.push(new);
    }

    /// Imports of the same module, name and type.
    fn imports(&mut self) {
        let key = |facts: &FunctionFacts<'a>| Some((facts.import?.0, facts.import?.1, facts.ty));
        let pairs =
            pairs_in_order(self.new.functions.iter().map(key), self.live.functions.iter().map(key));
        pairs.into_iter().for_each(|(new, live)| self.pair_functions(new, live));
        let key =
            |facts: &GlobalFacts<'a>| Some((facts.import?, facts.ty.content, facts.ty.mutable));
        let pairs =
            pairs_in_order(self.new.globals.iter().map(key), self.live.globals.iter().map(key));
        pairs.into_iter().for_each(|(new, live)| self.globals.set(new, live));
    }

    /// What is exported under the same name. Where a function's own name says otherwise, that counts: then
    /// the export points elsewhere.
    fn exports(&mut self) {
        let mut exports: Vec<_> = self.new.exports.iter().collect();
        exports.sort_unstable_by_key(|(name, _)| **name);
        let named = |side: &Side<'_>| -> HashSet<String> {
            let names = side.functions.iter().filter_map(|facts| facts.name);
            names.map(|name| stable_name(name).to_owned()).collect()
        };
        let mut names = None;
        for (name, &new) in exports {
            let Some(&live) = self.live.exports.get(name) else { continue };
            match (new, live) {
                (Item::Func(new), Item::Func(live)) => {
                    let (a, b) = (self.function(new), self.live_function(live));
                    if !self.functions.both_free(new, live) || !self.may_pair(new, live) {
                        continue;
                    }
                    if names_differ(a.name, b.name) {
                        let (new_names, live_names) =
                            names.get_or_insert_with(|| (named(self.new), named(self.live)));
                        let known = |names: &HashSet<String>, name: Option<&str>| {
                            name.is_some_and(|name| names.contains(stable_name(name)))
                        };
                        if known(live_names, a.name) || known(new_names, b.name) {
                            continue;
                        }
                    }
                    self.pair_functions(new, live);
                }
                (Item::Global(new), Item::Global(live))
                    if self.globals.both_free(new, live) && self.may_pair_globals(new, live) =>
                {
                    self.globals.set(new, live);
                }
                _ => {}
            }
        }
    }

    /// What has the same name in the name section, once on both sides. Functions that only older sources
    /// had come last: they are back.
    fn names(&mut self) {
        for present in [true, false] {
            for normalise in [|name| name, stable_name as fn(_) -> _] {
                let new = self.functions.free_new().filter_map(|i| {
                    let facts = self.function(i);
                    let defined = facts.import.is_none();
                    facts.name.filter(|_| defined).map(|name| ((normalise(name), facts.ty), i))
                });
                let live = self.functions.free_live().filter_map(|i| {
                    let facts = self.live_function(i);
                    let candidate = facts.import.is_none() && facts.present == present;
                    facts.name.filter(|_| candidate).map(|name| ((normalise(name), facts.ty), i))
                });
                for (new, live) in unique_pairs(new, live) {
                    self.pair_functions(new, live);
                }
            }
            let new = self.globals.free_new().filter_map(|i| {
                let facts = &self.new.globals[i as usize];
                let name = facts.name.filter(|_| facts.import.is_none())?;
                Some(((name, facts.ty.content, facts.ty.mutable), i))
            });
            let live = self.globals.free_live().filter_map(|i| {
                let facts = &self.live.globals[i as usize];
                let candidate = facts.import.is_none() && facts.present == present;
                let name = facts.name.filter(|_| candidate)?;
                Some(((name, facts.ty.content, facts.ty.mutable), i))
            });
            for (new, live) in unique_pairs(new, live) {
                self.globals.set(new, live);
            }
        }
    }

    /// By what functions and globals are, do and lie next to, from strong evidence to weak. Whatever is
    /// found makes the evidence for the rest stronger, so each find begins anew.
    fn contents(&mut self) {
        loop {
            let (new, live) = (self.free_new(), self.free_live(true));
            let found = self.colours(&new, &live).is_some_and(|colours| {
                self.unique_colours(&colours)
                    || self.references()
                    || self.shared_colours(&colours, true)
                    || self.equal_globals(true)
                    || self.neighbouring_globals()
                    || self.equal_globals(false)
                    || self.shared_colours(&colours, false)
                    || self.neighbouring_functions()
            });
            if !found && !self.bodies_that_are_back() && !self.globals_that_are_back() {
                return;
            }
        }
    }

    fn function(&self, new: u32) -> &'a FunctionFacts<'a> {
        &self.new.functions[new as usize]
    }

    fn live_function(&self, live: u32) -> &'a FunctionFacts<'a> {
        &self.live.functions[live as usize]
    }

    /// Whether two functions can be the same at all.
    fn may_pair(&self, new: u32, live: u32) -> bool {
        let (a, b) = (self.function(new), self.live_function(live));
        a.ty == b.ty && a.import.is_none() && b.import.is_none()
    }

    fn may_pair_globals(&self, new: u32, live: u32) -> bool {
        let (a, b) = (&self.new.globals[new as usize], &self.live.globals[live as usize]);
        a.ty == b.ty && a.import.is_none() && b.import.is_none()
    }

    /// What has no counterpart in the running module, in the order of the source.
    fn free_new(&self) -> Free {
        let functions = self.new.function_order.iter().copied().filter(|&i| {
            self.functions.live_of[i as usize].is_none() && self.function(i).skeleton.is_some()
        });
        let globals = self.new.global_order.iter().copied();
        Free {
            functions: functions.collect(),
            globals: globals.filter(|i| self.globals.live_of[*i as usize].is_none()).collect(),
        }
    }

    /// What has no counterpart in the new module: of the present source, in its order, or of older ones.
    fn free_live(&self, present: bool) -> Free {
        let all: Vec<u32>;
        let (functions, globals) = if present {
            (&self.live.function_order, &self.live.global_order[..])
        } else {
            let count = self.live.functions.len() as u32;
            all = (0..count).filter(|i| !self.live_function(*i).present).collect();
            (&all, &[][..])
        };
        let functions = functions.iter().copied().filter(|&i| {
            self.functions.new_of[i as usize].is_none() && self.live_function(i).skeleton.is_some()
        });
        let globals = globals.iter().copied();
        Free {
            functions: functions.collect(),
            globals: globals.filter(|i| self.globals.new_of[*i as usize].is_none()).collect(),
        }
    }

    /// `None` if there is nothing to match.
    fn colours(&self, new: &Free, live: &Free) -> Option<Colours> {
        let functions = !new.functions.is_empty() && !live.functions.is_empty();
        let globals = !new.globals.is_empty() && !live.globals.is_empty();
        (functions || globals).then(|| {
            let (functions, globals) = (&self.functions.live_of, &self.globals.live_of);
            Colours::new((self.new, new), (self.live, live), functions, globals)
        })
    }

    fn pair(&mut self, new: Node, live: Node) {
        match (new, live) {
            (Node::Function(new), Node::Function(live)) => self.pair_functions(new, live),
            (Node::Global(new), Node::Global(live)) => self.globals.set(new, live),
            _ => debug_assert!(false, "{new:?} and {live:?} have different colours"),
        }
    }

    /// Whether these may be taken for each other, their colours being the same.
    fn names_agree(&self, new: Node, live: Node) -> bool {
        match (new, live) {
            (Node::Function(_), Node::Function(_)) => true,
            (Node::Global(new), Node::Global(live)) => !self.global_names_differ(new, live),
            _ => false,
        }
    }

    /// What has the same colour, and is unique on both sides.
    fn unique_colours(&mut self, colours: &Colours) -> bool {
        for round in colours.rounds.iter().rev() {
            let pairs = unique_pairs(round.new.iter().copied(), round.live.iter().copied());
            let pairs = pairs.into_iter().filter(|(new, live)| self.names_agree(*new, *live));
            let pairs: Vec<_> = pairs.collect();
            if !pairs.is_empty() {
                pairs.into_iter().for_each(|(new, live)| self.pair(new, live));
                return true;
            }
        }
        false
    }

    /// What has the same colour, but is not unique: one pair at a time, for it may tell others apart.
    /// `in_context`: in the last round only.
    fn shared_colours(&mut self, colours: &Colours, in_context: bool) -> bool {
        self.budget = self.budget.saturating_sub(colours.cost);
        let rounds = colours.rounds.iter().rev();
        for round in rounds.filter(|r| r.in_context == in_context).take(if in_context {
            1
        } else {
            usize::MAX
        }) {
            let mut classes: HashMap<u64, (Vec<Node>, Vec<Node>)> = HashMap::new();
            for (colour, node) in &round.new {
                classes.entry(*colour).or_default().0.push(*node);
            }
            for (colour, node) in &round.live {
                classes.entry(*colour).or_default().1.push(*node);
            }
            let mut classes: Vec<_> = classes
                .into_values()
                .filter(|(new, live)| {
                    !new.is_empty() && !live.is_empty() && self.names_agree(new[0], live[0])
                })
                .collect();
            classes.sort_unstable_by_key(|(new, live)| {
                (new.len() != live.len(), new.len().max(live.len()), new[0])
            });
            if self.budget > 0 {
                classes.truncate(1);
                classes.iter_mut().for_each(|(new, _)| new.truncate(1));
            }
            let found = !classes.is_empty();
            for (new, live) in classes {
                for (new, live) in new.into_iter().zip(live) {
                    if self.names_agree(new, live) {
                        self.pair(new, live);
                    }
                }
            }
            if found {
                return true;
            }
        }
        false
    }

    /// What equal bodies refer to at the same place.
    fn references(&mut self) -> bool {
        let mut found = false;
        while let Some(new) = self.fresh.pop() {
            let live = self.functions.live_of[new as usize].expect("it has been matched");
            let (Some(a), Some(b)) = (
                &self.new.functions[new as usize].skeleton,
                &self.live.functions[live as usize].skeleton,
            ) else {
                continue;
            };
            if a.hash != b.hash {
                continue;
            }
            for (a, b) in a.references.iter().zip(&b.references) {
                match (*a, *b) {
                    (Reference::Function(new), Reference::Function(live)) => {
                        let names = (self.function(new).name, self.live_function(live).name);
                        if self.functions.both_free(new, live)
                            && self.may_pair(new, live)
                            && self.live_function(live).present
                            && !names_differ(names.0, names.1)
                        {
                            self.pair_functions(new, live);
                            found = true;
                        }
                    }
                    (Reference::Global(new), Reference::Global(live))
                        if self.globals.both_free(new, live)
                            && self.may_pair_globals(new, live)
                            && self.live.globals[live as usize].present
                            && !self.global_names_differ(new, live) =>
                    {
                        self.globals.set(new, live);
                        found = true;
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn global_names_differ(&self, new: u32, live: u32) -> bool {
        names_differ(self.new.globals[new as usize].name, self.live.globals[live as usize].name)
    }

    /// Globals of the same type and first value, unique on both sides or else in their order.
    fn equal_globals(&mut self, unique: bool) -> bool {
        self.globals_of_equal_values(unique, true)
    }

    /// Globals without a name that only older sources had.
    fn globals_that_are_back(&mut self) -> bool {
        self.globals_of_equal_values(false, false)
    }

    /// Globals of the present source, or of older ones.
    fn globals_of_equal_values(&mut self, unique: bool, present: bool) -> bool {
        let key = |facts: &GlobalFacts<'_>, present: bool| {
            let init = facts
                .init
                .as_ref()
                .filter(|_| facts.import.is_none() && facts.present == present)?;
            // What the value refers to is left to the comparison of the values.
            Some((facts.ty.content, facts.ty.mutable, init.hash))
        };
        let pairs = {
            let new = self.new.globals.iter().zip(&self.globals.live_of);
            let new = new.map(|(facts, live)| key(facts, true).filter(|_| live.is_none()));
            let live = self.live.globals.iter().zip(&self.globals.new_of);
            let live = live.map(|(facts, new)| key(facts, present).filter(|_| new.is_none()));
            if unique {
                unique_pairs(
                    (0..).zip(new).filter_map(|(i, key)| Some((key?, i))),
                    (0..).zip(live).filter_map(|(i, key)| Some((key?, i))),
                )
            } else {
                pairs_in_order(new, live)
            }
        };
        let mut found = false;
        for (new, live) in pairs {
            // What is back has to be sure: it has the value that it had.
            let named = |facts: &GlobalFacts<'_>| facts.name.is_some();
            let (a, b) = (&self.new.globals[new as usize], &self.live.globals[live as usize]);
            if !self.global_names_differ(new, live) && (present || !named(a) && !named(b)) {
                self.globals.set(new, live);
                found = true;
            }
        }
        found
    }

    fn neighbouring_globals(&mut self) -> bool {
        let pairs = neighbours(
            &self.new.global_order,
            &self.live.global_order,
            &self.globals,
            |new, live| self.may_pair_globals(new, live) && !self.global_names_differ(new, live),
        );
        pairs.iter().for_each(|&(new, live)| self.globals.set(new, live));
        !pairs.is_empty()
    }

    fn neighbouring_functions(&mut self) -> bool {
        let pairs = neighbours(
            &self.new.function_order,
            &self.live.function_order,
            &self.functions,
            |new, live| {
                let names = (self.function(new).name, self.live_function(live).name);
                self.may_pair(new, live) && !names_differ(names.0, names.1)
            },
        );
        pairs.iter().for_each(|&(new, live)| self.pair_functions(new, live));
        !pairs.is_empty()
    }

    /// Functions without a name that only older sources had: the same bodies, or at least the same but for
    /// what they refer to.
    fn bodies_that_are_back(&mut self) -> bool {
        for exactly in [true, false] {
            let (new, live) = (self.free_new(), self.free_live(false));
            let Some(colours) = self.colours(&new, &live) else { return false };
            let alone = colours.rounds.iter().rfind(|round| !round.in_context);
            let round = alone.expect("there is at least one round of each kind");
            let key = |side: &Side<'_>, colour: u64, node: Node| match node {
                Node::Function(i) if !exactly => {
                    let facts = &side.functions[i as usize];
                    Some((facts.ty.into(), facts.skeleton.as_ref()?.hash))
                }
                _ => Some((colour, 0)),
            };
            let mut candidates: HashMap<(u64, u128), VecDeque<Node>> = HashMap::new();
            for &(colour, node) in &round.live {
                if let Some(key) = key(self.live, colour, node) {
                    candidates.entry(key).or_default().push_back(node);
                }
            }
            let mut found = false;
            for &(colour, new) in &round.new {
                let key = key(self.new, colour, new);
                let live = key.and_then(|key| candidates.get_mut(&key)?.pop_front());
                if let Some(live) = live {
                    self.pair(new, live);
                    found = true;
                }
            }
            if found {
                return true;
            }
        }
        false
    }
}

/// How many candidates are looked at to find a neighbour, so that this takes no longer for long runs.
const LOOKAHEAD: usize = 32;

/// Pairs of free items that lie, in the same order, between the same matched neighbours.
fn neighbours(
    new: &[u32],
    live: &[u32],
    pairs: &Pairs,
    compatible: impl Fn(u32, u32) -> bool,
) -> Vec<(u32, u32)> {
    let place_of: HashMap<u32, usize> = live.iter().enumerate().map(|(at, i)| (*i, at)).collect();
    let place = |new: u32| {
        let live = pairs.live_of[new as usize]?;
        place_of.get(&live).copied()
    };
    let mut found = Vec::new();
    // Matches may have changed places, so that what lies between some overlaps.
    let mut taken = HashSet::new();
    let mut from = 0;
    let mut at = 0;
    while at < new.len() {
        if let Some(live) = place(new[at]) {
            from = live + 1;
            at += 1;
            continue;
        }
        let run = new[at..].iter().take_while(|i| place(**i).is_none()).count();
        let run = &new[at..at + run];
        at += run.len();
        let to = new.get(at).map_or(live.len(), |next| place(*next).expect("the run ends here"));
        if from > to {
            continue;
        }
        let mut candidates = live[from..to]
            .iter()
            .copied()
            .filter(|i| pairs.new_of[*i as usize].is_none() && !taken.contains(i))
            .collect::<VecDeque<u32>>();
        for &i in run.iter().filter(|i| pairs.live_of[**i as usize].is_none()) {
            if let Some(skip) =
                candidates.iter().take(LOOKAHEAD).position(|&live| compatible(i, live))
            {
                found.push((i, candidates[skip]));
                taken.insert(candidates[skip]);
                candidates.drain(..=skip);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_mangled_names_do_not_count() {
        let name = "_ZN4core3fmt5write17h0123456789abcdefE";
        assert_eq!(stable_name(name), "_ZN4core3fmt5write");
        for name in [
            "",
            "E",
            "main",
            "17h0123456789abcdeE",
            "_ZN4core17h0123456789abcdegE",
            "é7h0123456789abcdefE",
        ] {
            assert_eq!(stable_name(name), name);
        }
    }

    #[test]
    fn neighbours_are_found_between_matches() {
        let mut pairs = Pairs::new(6, 6);
        pairs.set(1, 2);
        pairs.set(4, 4);
        let all: Vec<u32> = (0..6).collect();
        assert_eq!(neighbours(&all, &all, &pairs, |_, _| true), [(0, 0), (2, 3), (5, 5)]);
        assert_eq!(neighbours(&all, &all, &pairs, |_, live| live == 1), [(0, 1)]);
    }

    #[test]
    fn no_neighbour_is_taken_twice() {
        let mut pairs = Pairs::new(5, 4);
        pairs.set(0, 0);
        pairs.set(2, 3);
        pairs.set(3, 1);
        assert_eq!(neighbours(&[0, 1, 2, 3, 4], &[0, 1, 2, 3], &pairs, |_, _| true), [(1, 2)]);
    }

    #[test]
    fn neighbours_that_have_changed_places_enclose_nothing() {
        let mut pairs = Pairs::new(3, 3);
        pairs.set(0, 2);
        pairs.set(2, 0);
        let all = [0, 1, 2];
        assert_eq!(neighbours(&all, &all, &pairs, |_, _| true), []);
    }
}
