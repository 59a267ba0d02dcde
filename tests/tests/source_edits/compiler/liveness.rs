//! Which variables are still read, and the removal of what computes others.

use super::reads;
use crate::language::{Expr, Program, Stmt, Var, What};
use std::collections::BTreeSet;

pub(crate) type Live = BTreeSet<Var>;

fn read(live: &mut Live, expr: &Expr) {
    live.extend(reads(expr));
}

/// What is live, from the end of a list to its beginning. `at` is told of each statement that sets a variable or is a
/// tick, with what is live behind it. What only serves to compute what nobody reads is not live.
pub(crate) fn backwards(list: &[Stmt], live: &mut Live, at: &mut dyn FnMut(&Stmt, &Live)) {
    for stmt in list.iter().rev() {
        match &stmt.what {
            What::Let(var, value) | What::Set(var, value) => {
                at(stmt, live);
                let is_read = live.remove(var);
                // It may trap.
                if is_read || value.reads_memory() {
                    read(live, value);
                }
            }
            What::Tick(value, result) => {
                at(stmt, live);
                if let Some(var) = result {
                    live.remove(var);
                }
                read(live, value);
            }
            What::Store(a, b) => {
                read(live, a);
                read(live, b);
            }
            What::If(test, yes, no) => {
                let mut other = live.clone();
                backwards(yes, live, at);
                backwards(no, &mut other, at);
                live.append(&mut other);
                read(live, test);
            }
            What::While(test, body) => {
                read(live, test);
                let behind = live.clone();
                let mut head = behind.clone();
                until_stable(&mut head, |head| {
                    backwards(body, head, &mut |_, _| {});
                    head.extend(behind.iter().copied());
                });
                *live = head.clone();
                backwards(body, &mut head, at);
            }
            What::DoWhile(body, test) => {
                let mut behind = live.clone();
                read(&mut behind, test);
                let mut head = Live::new();
                until_stable(&mut head, |head| {
                    head.extend(behind.iter().copied());
                    backwards(body, head, &mut |_, _| {});
                });
                let mut end = behind;
                end.extend(head.iter().copied());
                backwards(body, &mut end, at);
                *live = end;
            }
            What::Unrolled(first, test, second) => {
                let mut behind = live.clone();
                read(&mut behind, test);
                let mut head = Live::new();
                let around = |head: &mut Live, at: &mut dyn FnMut(&Stmt, &Live)| {
                    head.extend(behind.iter().copied());
                    backwards(second, head, at);
                    head.extend(behind.iter().copied());
                    backwards(first, head, at);
                };
                until_stable(&mut head, |head| around(head, &mut |_, _| {}));
                around(&mut head, at);
                *live = head;
            }
            What::For(..) => unreachable!("only what is plain is compiled"),
        }
    }
}

fn until_stable(live: &mut Live, mut step: impl FnMut(&mut Live)) {
    loop {
        let mut next = live.clone();
        step(&mut next);
        next.extend(live.iter().copied());
        if next == *live {
            return;
        }
        *live = next;
    }
}

/// Removes the statements that set what nobody reads, or only they do.
pub(super) fn remove_dead(program: &mut Program) {
    let mut live: Live = reads(&program.result).into_iter().collect();
    let mut dead = BTreeSet::new();
    let mut unanswered = BTreeSet::new();
    backwards(&program.body, &mut live, &mut |stmt, live| {
        if stmt.sets().is_none_or(|var| live.contains(&var)) {
            return;
        }
        match &stmt.what {
            What::Tick(..) => drop(unanswered.insert(std::ptr::from_ref(stmt))),
            What::Let(_, value) | What::Set(_, value) if !value.reads_memory() => {
                dead.insert(std::ptr::from_ref(stmt));
            }
            _ => {}
        }
    });
    let statements = sweep(&program.body, &dead, &unanswered);
    program.body = statements;
}

fn sweep(
    list: &[Stmt],
    dead: &BTreeSet<*const Stmt>,
    unanswered: &BTreeSet<*const Stmt>,
) -> Vec<Stmt> {
    let mut kept = Vec::new();
    for stmt in list {
        let here = std::ptr::from_ref(stmt);
        if dead.contains(&here) {
            continue;
        }
        let mut new = stmt.clone();
        if let What::Tick(_, result) = &mut new.what
            && unanswered.contains(&here)
        {
            *result = None;
        }
        for (inner, old) in new.lists_mut().into_iter().zip(stmt.lists()) {
            *inner = sweep(old, dead, unanswered);
        }
        if let What::If(test, yes, no) = &new.what
            && yes.is_empty()
            && no.is_empty()
            && !test.reads_memory()
        {
            continue;
        }
        kept.push(new);
    }
    kept
}
