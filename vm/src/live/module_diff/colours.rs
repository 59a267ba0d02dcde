//! Telling functions and globals apart by what they do, whom they call and who refers to them.
//!
//! A *colour* is a hash. In round 0, the colour of a function is that of its skeleton and of its references,
//! in which all functions of one type that have no counterpart yet look the same; in each later round they
//! look as their colour of the round before. When that tells no more of them apart, rounds *in context*
//! follow: there, also who refers to a function or global counts, and in which table entries it stands.
//!
//! So where little has changed, the last rounds tell everything apart that can be told apart; and a function
//! that calls a changed one, or is called by one, still has its equal in the early rounds.

use super::matching::Side;
use super::skeleton::Reference;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Rounds of either kind are at most so many; chains of references are rarely longer before they meet
/// something that is matched.
const MAX_ROUNDS: usize = 12;

/// Something to be matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(super) enum Node {
    Function(u32),
    Global(u32),
}

/// What has no counterpart on one side.
pub(super) struct Free {
    /// Functions whose bodies are known.
    pub(super) functions: Vec<u32>,
    pub(super) globals: Vec<u32>,
}

/// One round's colours of what is free on both sides.
pub(super) struct Round {
    pub(super) new: Vec<(u64, Node)>,
    pub(super) live: Vec<(u64, Node)>,
    /// Whether it is a round in context; only those colour globals.
    pub(super) in_context: bool,
}

/// All rounds, and how many references have been looked at for them.
pub(super) struct Colours {
    pub(super) rounds: Vec<Round>,
    pub(super) cost: usize,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// One side while it is coloured.
struct Painter<'a> {
    side: &'a Side<'a>,
    free: &'a Free,
    /// How each function looks to those that refer to it.
    looks: Vec<u64>,
    global_looks: Vec<u64>,
    /// References to what is free: by whom, which of its references, and to what.
    uses: Vec<(u32, u32, Node)>,
}

impl<'a> Painter<'a> {
    /// `live_of` and `global_of` say which item of the running module each item is, if that is known.
    fn new(
        side: &'a Side<'a>,
        free: &'a Free,
        live_of: impl Fn(u32) -> Option<u32>,
        global_of: impl Fn(u32) -> Option<u32>,
    ) -> Painter<'a> {
        let looks = (0..).zip(&side.functions).map(|(i, facts)| match live_of(i) {
            Some(live) => hash((0, live)),
            None => hash((1, facts.ty, facts.import)),
        });
        let global_looks = (0..).zip(&side.globals).map(|(i, facts)| match global_of(i) {
            Some(live) => hash((2, live)),
            None => hash((3, facts.ty.content, facts.ty.mutable, facts.import)),
        });
        let (looks, global_looks) = (looks.collect(), global_looks.collect());
        Painter { side, free, looks, global_looks, uses: Vec::new() }
    }

    fn cost(&self) -> usize {
        let skeletons =
            self.free.functions.iter().map(|i| &self.side.functions[*i as usize].skeleton);
        skeletons.flatten().map(|skeleton| skeleton.references.len() + 1).sum()
    }

    /// Colours of the free functions, as their references look now.
    fn paint(&self) -> Vec<(u64, Node)> {
        let colour = |&i: &u32| {
            let facts = &self.side.functions[i as usize];
            let skeleton = facts.skeleton.as_ref().expect("free functions have a skeleton");
            let mut hasher = DefaultHasher::new();
            (facts.ty, skeleton.hash).hash(&mut hasher);
            for reference in &skeleton.references {
                match *reference {
                    Reference::Function(i) => self.looks[i as usize].hash(&mut hasher),
                    Reference::Global(i) => self.global_looks[i as usize].hash(&mut hasher),
                    Reference::Data(_) | Reference::Elements(_) => {}
                }
            }
            (hasher.finish(), Node::Function(i))
        };
        self.free.functions.iter().map(colour).collect()
    }

    /// Finds out who refers to what is free, for rounds in context.
    fn find_uses(&mut self) {
        let functions: HashSet<u32> = self.free.functions.iter().copied().collect();
        let globals: HashSet<u32> = self.free.globals.iter().copied().collect();
        for (user, facts) in (0..).zip(&self.side.functions) {
            let references = facts.skeleton.iter().flat_map(|skeleton| &skeleton.references);
            for (nth, reference) in (0..).zip(references) {
                match *reference {
                    Reference::Function(i) if functions.contains(&i) => {
                        self.uses.push((user, nth, Node::Function(i)));
                    }
                    Reference::Global(i) if globals.contains(&i) => {
                        self.uses.push((user, nth, Node::Global(i)));
                    }
                    _ => {}
                }
            }
        }
        for &i in &self.free.globals {
            let facts = &self.side.globals[i as usize];
            let init = facts.init.as_ref().map(|init| init.hash);
            self.global_looks[i as usize] = hash((self.global_looks[i as usize], init));
        }
    }

    /// Colours of all that is free, as it and its users look now.
    fn paint_in_context(&self) -> Vec<(u64, Node)> {
        // Sums, for users have no order.
        let mut functions = vec![0u64; self.side.functions.len()];
        let mut globals = vec![0u64; self.side.globals.len()];
        for &(user, nth, node) in &self.uses {
            let place = match node {
                Node::Function(i) => &mut functions[i as usize],
                Node::Global(i) => &mut globals[i as usize],
            };
            *place = place.wrapping_add(hash((self.looks[user as usize], nth)));
        }
        for &(function, slot) in &self.side.slots {
            let place = &mut functions[function as usize];
            *place = place.wrapping_add(slot);
        }
        let mut colours = self.paint();
        for (colour, node) in &mut colours {
            if let Node::Function(i) = *node {
                let i = i as usize;
                *colour = hash((*colour, self.looks[i], functions[i]));
            }
        }
        colours.extend(self.free.globals.iter().map(|&i| {
            let colour = hash((self.global_looks[i as usize], globals[i as usize]));
            (colour, Node::Global(i))
        }));
        colours
    }

    fn look_as(&mut self, colours: &[(u64, Node)]) {
        for &(colour, node) in colours {
            match node {
                Node::Function(i) => self.looks[i as usize] = colour,
                Node::Global(i) => self.global_looks[i as usize] = colour,
            }
        }
    }
}

impl Colours {
    /// Of what is free on both sides. `live_of` and `global_of` are the pairs found so far, by index in the
    /// new module.
    pub(super) fn new(
        (new, new_free): (&Side<'_>, &Free),
        (live, live_free): (&Side<'_>, &Free),
        live_of: &[Option<u32>],
        global_of: &[Option<u32>],
    ) -> Colours {
        let paired: HashSet<u32> = live_of.iter().flatten().copied().collect();
        let globals: HashSet<u32> = global_of.iter().flatten().copied().collect();
        let mut new =
            Painter::new(new, new_free, |i| live_of[i as usize], |i| global_of[i as usize]);
        let mut live = Painter::new(
            live,
            live_free,
            |i| paired.contains(&i).then_some(i),
            |i| globals.contains(&i).then_some(i),
        );
        let mut colours = Colours { rounds: Vec::new(), cost: 0 };
        let cost = new.cost() + live.cost();
        for in_context in [false, true] {
            if in_context {
                new.find_uses();
                live.find_uses();
            }
            let cost = cost + new.uses.len() + live.uses.len();
            let mut classes = 0;
            for _ in 0..MAX_ROUNDS {
                let paint = |painter: &Painter<'_>| {
                    if in_context { painter.paint_in_context() } else { painter.paint() }
                };
                let (a, b) = (paint(&new), paint(&live));
                colours.cost += cost;
                let distinct: HashSet<u64> =
                    a.iter().chain(&b).map(|(colour, _)| *colour).collect();
                new.look_as(&a);
                live.look_as(&b);
                colours.rounds.push(Round { new: a, live: b, in_context });
                if distinct.len() == classes {
                    break;
                }
                classes = distinct.len();
            }
        }
        colours
    }
}
