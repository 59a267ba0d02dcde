//! What a frame may show that goes on in an edited program.
//!
//! It is in a tick, and goes on behind that tick in the new program. Every variable that is in both programs keeps
//! its value, whatever has been edited: also one that begins otherwise now, or has another step. One that is new has
//! the value that it would have on entry to its loop.
//!
//! Between these lie variables that no loop around the tick sets: they are names for what was computed on the way
//! there. If that computation has been edited a compiler need not keep the variable at all, and what it computes
//! anew is then the edited value, of the values that were kept. So both are right for such a variable: what it was,
//! and what its definition makes now of values that are right. A variable that a loop around the tick carries from
//! round to round has one right value.
//!
//! A new variable that a loop sets which is over is treated as if that loop had not run: nobody knows better.
//!
//! What the old program does not read any more is in no frame of optimised code, and may not be in that code at all.
//! Such a variable may keep its value, or be new. The same is true at any level of one that the old program only ever
//! sets. And where an edit has had a variable take over what another one was for, which is computed otherwise now, it may
//! have the value of either: the text says no more than that.

use super::compiler::{folded, liveness};
use super::interpreter::{Environment, State, after};
use super::language::{Expr, Id, PARAMETERS, Program, Stmt, Var, What, each_stmt, levels, path_to};

/// Values that a variable may have, and how many ways to combine them are tried.
const MOST_VALUES: usize = 6;
const MOST_WAYS: usize = 400;
/// How far definitions are followed.
const DEPTH: usize = 6;

/// A frame in a tick, and the program that it goes on in.
pub(super) struct Oracle<'a> {
    /// As the compiler knows it.
    new: Program,
    state: &'a State,
    /// The tick that it goes on behind.
    site: Id,
    /// Variables that have taken over what others were for.
    roles: Vec<(Var, Var)>,
    /// Variables that are in the old program, there.
    known: Vec<Var>,
    /// Variables that loops carry from round to round, as far as can be known before a program runs.
    carried: Vec<bool>,
    /// Variables that the old program may have nowhere any more.
    forgotten: Vec<bool>,
}

/// A place of the new program: the lists around it, with the index in each.
type Place<'a> = Vec<(&'a [Stmt], usize)>;

impl<'a> Oracle<'a> {
    /// `optimised`: whether the compiler does more than translate.
    pub(super) fn new(
        old: &Program,
        new: &Program,
        state: &'a State,
        site: Id,
        roles: &[(Var, Var)],
        optimised: bool,
    ) -> Oracle<'a> {
        // An optimiser knows some of it before it runs: what cannot be set is not carried.
        let [old, new] = match optimised {
            true => [folded(old), folded(new)],
            false => [old.clone(), new.clone()],
        };
        let carried = |var| {
            // What only one of the two carries may be a constant for the other one.
            is_carried(&new, var, site) && (!optimised || is_carried(&old, var, state.site))
        };
        let carried = (0..new.variables.len()).map(carried).collect();
        let forgotten = forgotten(&old, state.site, optimised);
        let known = old.visible(state.site);
        let roles = roles.iter().copied();
        let roles = roles.filter(|&(_, var)| definitions(&old, var) != definitions(&new, var));
        let roles = roles.collect();
        Oracle { new, state, site, roles, known, carried, forgotten }
    }

    /// The values that all variables may have together; `None` if there are too many ways, or nobody can say.
    pub(super) fn environments(&self) -> Option<Vec<Environment>> {
        let path = path_to(&self.new.body, self.site)?;
        let place = levels(&self.new.body, &path);
        let mut ways: Vec<Environment> = vec![vec![None; self.new.variables.len()]];
        for var in self.new.visible(self.site) {
            let values = self.values(var, &place, &place, DEPTH);
            ways = combine(&ways, var, &values);
            if ways.is_empty() || ways.len() > MOST_WAYS {
                return None;
            }
        }
        Some(ways)
    }

    /// What a variable was at a place, in the old program, if it was there.
    fn kept(&self, var: Var, place: &Place<'_>, tick: &Place<'_>) -> Option<u64> {
        if place == tick {
            return *self.state.variables.get(var).filter(|_| self.known.contains(&var))?;
        }
        // Before the next statement there that was in the old program too.
        let &(list, index) = place.last().expect("a place is in a list");
        let next = list[index..].iter().find_map(|stmt| self.state.before.get(&stmt.id));
        *next?.get(var)?
    }

    /// The values that a variable may have at a place that the frame has come by before it came to the tick.
    fn values(&self, var: Var, place: &Place<'_>, tick: &Place<'_>, depth: usize) -> Vec<u64> {
        let kept = self.kept(var, place, tick);
        let is_known = kept.is_some();
        let others = self.roles.iter().filter(|(new, _)| *new == var);
        let others = others.filter_map(|&(_, old)| self.kept(old, place, tick));
        let mut found: Vec<u64> = kept.into_iter().chain(others).collect();
        if depth == 0 || var < PARAMETERS.len() && is_known {
            return found;
        }
        let (definition, comes_round) = definition(var, place);
        let is_carried = if place == tick { self.carried[var] } else { comes_round };
        let is_forgotten = self.forgotten.get(var).is_some_and(|&forgotten| forgotten);
        if is_known && is_carried && !is_forgotten {
            return found;
        }
        let Some((at, stmt)) = definition else { return found };
        if stmt.is_loop() && (!is_known || is_forgotten) {
            // It may be as if that loop had not run.
            found.extend(self.values(var, &at, tick, depth - 1));
        }
        let mut ways: Vec<Environment> = vec![vec![None; self.new.variables.len()]];
        for input in inputs(var, stmt) {
            // What nothing sets in between is still what it was there.
            let is_still = place == tick && !stmt.assigns(input) && unchanged(input, &at, tick);
            let from = if is_still { tick } else { &at };
            let values = self.values(input, from, tick, depth - 1);
            if !values.is_empty() {
                ways = combine(&ways, input, &values);
            }
            ways.truncate(4 * MOST_VALUES);
        }
        for way in ways {
            let variables = after(&self.new, stmt, way, &self.state.memory);
            let value = variables.and_then(|variables| variables[var]);
            found.extend(value.filter(|value| !found.contains(value)));
        }
        // The first one is what was kept.
        found.truncate(MOST_VALUES);
        found
    }
}

/// All that a variable is set to, in the order of the program.
fn definitions(program: &Program, var: Var) -> Vec<Option<Expr>> {
    let mut found = Vec::new();
    each_stmt(&program.body, &mut |stmt| match &stmt.what {
        What::Let(set, expr) | What::Set(set, expr) if *set == var => {
            found.push(Some(expr.clone()))
        }
        What::Tick(_, Some(set)) if *set == var => found.push(None),
        _ => {}
    });
    found
}

/// Each of some environments, with each of these values of a variable.
fn combine(ways: &[Environment], var: Var, values: &[u64]) -> Vec<Environment> {
    let with = |way: &Environment| -> Vec<Environment> {
        let each = values.iter().map(|&value| {
            let mut way = way.clone();
            way[var] = Some(value);
            way
        });
        each.collect()
    };
    ways.iter().flat_map(with).collect()
}

/// Variables that a program, which is in a tick, need not have anywhere any more.
fn forgotten(old: &Program, site: Id, optimised: bool) -> Vec<bool> {
    let mut live_there = liveness::Live::new();
    let mut live_anywhere = liveness::Live::new();
    let mut live = liveness::Live::new();
    old.result.each(&mut |expr| live.extend(expr.var()));
    liveness::backwards(&old.body, &mut live, &mut |stmt, live| {
        live_anywhere.extend(live);
        if stmt.id == site {
            live_there.clone_from(live);
        }
    });
    let needed = if optimised { live_there } else { live_anywhere };
    (0..old.variables.len()).map(|var| !needed.contains(&var)).collect()
}

/// Whether a variable has its value at a tick from a loop: one around it, or one that is over.
fn is_carried(program: &Program, var: Var, site: Id) -> bool {
    let Some(path) = path_to(&program.body, site) else { return false };
    comes_from_loop(var, &levels(&program.body, &path), DEPTH)
}

fn comes_from_loop(var: Var, place: &Place<'_>, depth: usize) -> bool {
    let (definition, comes_round) = definition(var, place);
    let Some((mut at, stmt)) = definition else { return comes_round };
    let by_loop = match &stmt.what {
        // What each round computes anew, of what is the same in all of them, is not carried.
        What::DoWhile(body, _) => {
            at.push((body, body.len()));
            depth == 0
                || inputs(var, stmt)
                    .into_iter()
                    .any(|input| stmt.assigns(input) && comes_from_loop(input, &at, depth - 1))
                || comes_from_loop(var, &at, depth - 1)
        }
        _ => stmt.is_loop(),
    };
    comes_round || by_loop
}

/// The variables that a statement makes a variable of.
fn inputs(var: Var, stmt: &Stmt) -> Vec<Var> {
    let mut inputs = Vec::new();
    each_stmt(std::slice::from_ref(stmt), &mut |stmt| {
        for expr in stmt.exprs() {
            expr.each(&mut |expr| inputs.extend(expr.var()));
        }
    });
    if stmt.sets() != Some(var) {
        inputs.push(var);
    }
    inputs.sort_unstable();
    inputs.dedup();
    inputs
}

/// The last statement that sets a variable before a place, with where it is, and whether a loop around the place
/// carries the variable there from its round before.
fn definition<'a>(var: Var, place: &Place<'a>) -> (Option<(Place<'a>, &'a Stmt)>, bool) {
    let mut is_carried = false;
    for depth in (0..place.len()).rev() {
        let (list, index) = place[depth];
        if depth + 1 < place.len() && list[index].is_loop() && list[index].assigns(var) {
            is_carried = true;
        }
        if let Some(i) = list[..index].iter().rposition(|stmt| stmt.assigns(var)) {
            let at: Place<'a> = [&place[..depth], &[(list, i)]].concat();
            // What is set only sometimes may come from further away.
            let before = || definition(var, &at).1;
            let comes_round = is_carried || !certainly_sets(&list[i], var) && before();
            return (Some((at.clone(), &list[i])), comes_round);
        }
    }
    (None, is_carried)
}

/// Whether a statement sets a variable whichever way it goes.
fn certainly_sets(stmt: &Stmt, var: Var) -> bool {
    let in_list = |list: &[Stmt]| list.iter().any(|stmt| certainly_sets(stmt, var));
    stmt.sets() == Some(var)
        || match &stmt.what {
            What::If(_, yes, no) => in_list(yes) && in_list(no),
            What::DoWhile(body, _) => in_list(body),
            _ => false,
        }
}

/// Whether nothing sets a variable between two places of which the second one comes later.
fn unchanged(var: Var, from: &Place<'_>, to: &Place<'_>) -> bool {
    for depth in 0..to.len() {
        let (list, end) = to[depth];
        let together = depth < from.len() && std::ptr::eq(from[depth].0, list);
        let start = if together { from[depth].1 + 1 } else { 0 };
        if together && from[depth].1 == end {
            // Both are in this one. It goes round only outside of what is between them.
            continue;
        }
        if list[start.min(end)..end].iter().any(|stmt| stmt.assigns(var)) {
            return false;
        }
        if depth + 1 < to.len() && list[end].is_loop() && list[end].assigns(var) {
            return false;
        }
        if together && from.len() > depth + 1 {
            // The definition is inside of something that is before the tick.
            if list[from[depth].1].assigns(var) {
                return false;
            }
        }
    }
    true
}
