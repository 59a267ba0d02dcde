//! What is tried: a program, an edit of it, how both are compiled, how they are run, and when the edit is made. And
//! how what fails is made smaller, so that a person can read it.

use super::compiler::{Level, PASSES};
use super::edits::{KINDS, Kind, edit};
use super::guest::Delivery;
use super::language::{Expr, Id, Program, Stmt, Ty, Var, at_stmt, each_stmt};
use super::programs;
use midair_tests::mutation::Random;
use proptest::prelude::*;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::TestRunner;
use std::fmt;

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Interpreted,
    Baseline,
    Optimized,
    /// Interpreted at first; loops go on in machine code after some rounds.
    Rising,
    /// Functions change their tiers at every so many safepoints, by a seed.
    Mixed(u64, u64),
}

#[derive(Clone, PartialEq)]
pub(super) struct Case {
    pub(super) old: Program,
    pub(super) new: Program,
    pub(super) kinds: Vec<Kind>,
    /// Variables that have taken over what others were for.
    pub(super) roles: Vec<(Var, Var)>,
    pub(super) level: Level,
    /// What the locals of both are numbered by.
    pub(super) seeds: [u64; 2],
    pub(super) mode: Mode,
    pub(super) delivery: Delivery,
    pub(super) arguments: [i32; 2],
    /// In which tick the edit is made: of those that there are, counted round.
    pub(super) tick: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { kinds, level, mode, delivery, .. } = self;
        writeln!(f, "{kinds:?}, {level}, {mode:?}, {delivery:?}")?;
        writeln!(f, "arguments {:?}, seeds {:?}", self.arguments, self.seeds)?;
        write!(f, "=== old\n{}=== new\n{}", self.old, self.new)
    }
}

fn case(random: &mut Random) -> Case {
    loop {
        let old = programs::program(random);
        if !old.is_valid() {
            continue;
        }
        let (mut new, mut kinds, mut roles) = (old.clone(), Vec::new(), Vec::new());
        for _ in 0..if random.below(4) == 0 { 2 } else { 1 } {
            let kind = KINDS[random.below(KINDS.len())];
            if let Some(edited) = edit(kind, &new, random) {
                new = edited.program;
                roles.extend(edited.role);
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            continue;
        }
        let level = match random.below(3) {
            0 => Level(Vec::new()),
            1 => Level(PASSES.to_vec()),
            _ => Level(PASSES.into_iter().filter(|_| random.below(3) != 0).collect()),
        };
        let seeds = match random.below(2) {
            0 => [0, 0],
            _ => [random.word() % 100, random.word() % 100],
        };
        let mode = match random.below(8) {
            0 => Mode::Baseline,
            1 => Mode::Optimized,
            2 => Mode::Rising,
            3 => Mode::Mixed(1 + random.word() % 4, random.word() % 100),
            _ => Mode::Interpreted,
        };
        // Who gives a body alone vouches for its counters. Names of locals are those of variables.
        let delivery = match random.below(4) {
            _ if level.is_optimised() => Delivery::Module,
            0 => Delivery::Body,
            1 => Delivery::Module,
            _ => Delivery::NamedModule,
        };
        let arguments = [random.below(9) as i32 - 1, random.below(9) as i32 - 1];
        let tick = random.below(64);
        return Case { old, new, kinds, roles, level, seeds, mode, delivery, arguments, tick };
    }
}

#[derive(Debug)]
pub(super) struct Cases;

impl Strategy for Cases {
    type Tree = Tree;
    type Value = Case;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Cases> {
        let seed = any::<u64>().new_tree(runner)?.current();
        let case = case(&mut Random::new(seed));
        Ok(Tree { smaller: Vec::new().into_iter(), smallest: case.clone(), case })
    }
}

/// A case, and those that are a little smaller than the smallest one that has failed.
pub(super) struct Tree {
    case: Case,
    smallest: Case,
    smaller: std::vec::IntoIter<Case>,
}

impl Tree {
    fn next(&mut self) -> bool {
        match self.smaller.next() {
            Some(smaller) => {
                self.case = smaller;
                true
            }
            None => {
                self.case = self.smallest.clone();
                false
            }
        }
    }
}

impl ValueTree for Tree {
    type Value = Case;

    fn current(&self) -> Case {
        self.case.clone()
    }

    fn simplify(&mut self) -> bool {
        self.smallest = self.case.clone();
        self.smaller = smaller(&self.smallest).into_iter();
        self.next()
    }

    fn complicate(&mut self) -> bool {
        self.next()
    }
}

fn smaller(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut with = |change: &mut dyn FnMut(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        let differs =
            smaller.old.body != smaller.new.body || smaller.old.result != smaller.new.result;
        if smaller != *case && differs && smaller.old.is_valid() && smaller.new.is_valid() {
            found.push(smaller);
        }
    };
    with(&mut |case| case.mode = Mode::Interpreted);
    with(&mut |case| case.delivery = Delivery::Module);
    with(&mut |case| case.level = Level(Vec::new()));
    let mut ids: Vec<Id> = case.old.ids(|_| true);
    ids.extend(case.new.ids(|_| true));
    ids.sort_unstable();
    ids.dedup();
    for &id in &ids {
        let remove = &mut |list: &mut Vec<Stmt>, at: usize| drop(list.remove(at));
        with(&mut |case| {
            at_stmt(&mut case.old.body, id, remove);
            at_stmt(&mut case.new.body, id, remove);
        });
        let open = &mut |list: &mut Vec<Stmt>, at: usize| {
            let inner: Vec<Stmt> = list[at].lists().into_iter().flatten().cloned().collect();
            if !inner.is_empty() {
                list.splice(at..=at, inner);
            }
        };
        with(&mut |case| {
            at_stmt(&mut case.old.body, id, open);
            at_stmt(&mut case.new.body, id, open);
        });
    }
    for pass in &case.level.0 {
        with(&mut |case| case.level.0.retain(|other| other != pass));
    }
    with(&mut |case| case.seeds = [0, 0]);
    with(&mut |case| case.arguments = [0, 0]);
    with(&mut |case| case.tick /= 2);
    with(&mut |case| {
        let zero = Expr::number(Ty::I64, 0);
        (case.old.result, case.new.result) = (zero.clone(), zero);
    });
    for expr in expressions(case) {
        let ty = case.new.ty(&expr);
        let mut instead: Vec<Expr> = vec![Expr::number(ty, 0), Expr::number(ty, 1)];
        instead.extend(expr.inputs().into_iter().filter(|e| case.new.ty(e) == ty).cloned());
        if let Expr::Const(..) = expr {
            instead.retain(|other| *other < expr);
        }
        for simpler in instead {
            for which in 0..3 {
                with(&mut |case| {
                    let programs = match which {
                        0 => vec![&mut case.old, &mut case.new],
                        1 => vec![&mut case.old],
                        _ => vec![&mut case.new],
                    };
                    for program in programs {
                        super::language::each_stmt_mut(&mut program.body, &mut |stmt| {
                            for place in stmt.exprs_mut() {
                                place.replace(&expr, &simpler);
                            }
                        });
                        program.result.replace(&expr, &simpler);
                    }
                });
            }
        }
    }
    found
}

/// The expressions of both programs, the largest first.
fn expressions(case: &Case) -> Vec<Expr> {
    let mut found: Vec<Expr> = Vec::new();
    for program in [&case.old, &case.new] {
        let mut add = |expr: &Expr| {
            expr.each(&mut |expr| {
                if !found.contains(expr) {
                    found.push(expr.clone());
                }
            });
        };
        each_stmt(&program.body, &mut |stmt| stmt.exprs().into_iter().for_each(&mut add));
        add(&program.result);
    }
    found
}
