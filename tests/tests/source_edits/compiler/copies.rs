//! Where values are computed: once for all who need them, or where they are needed.

use super::{changes, uses};
use crate::language::{Expr, Program, Stmt, What, each_stmt, each_stmt_mut};

/// Values that are computed again are kept.
const MOST_KEPT: usize = 4;

/// Calls `f` for all lists until it has changed something.
fn in_lists(list: &mut Vec<Stmt>, f: &mut dyn FnMut(&mut Vec<Stmt>) -> bool) -> bool {
    f(list)
        || list.iter_mut().any(|stmt| stmt.lists_mut().into_iter().any(|inner| in_lists(inner, f)))
}

/// Keeps what a later statement of the same list computes again.
pub(super) fn share(program: &mut Program) {
    let mut body = std::mem::take(&mut program.body);
    for _ in 0..MOST_KEPT {
        let shared = in_lists(&mut body, &mut |list| {
            let Some((first, last, expr)) = computed_twice(list) else { return false };
            let ty = program.ty(&expr);
            let var = program.variable("common", ty);
            for stmt in &mut list[first..=last] {
                // Loops may change what it is made of.
                if !stmt.is_loop() {
                    for place in stmt.exprs_mut() {
                        place.replace(&expr, &Expr::Var(var));
                    }
                }
            }
            list.insert(first, program.stmt(What::Let(var, expr)));
            true
        });
        if !shared {
            break;
        }
    }
    program.body = body;
}

fn computed_twice(list: &[Stmt]) -> Option<(usize, usize, Expr)> {
    for (first, stmt) in list.iter().enumerate().filter(|(_, stmt)| !stmt.is_loop()) {
        let mut candidates = Vec::new();
        for expr in stmt.exprs() {
            expr.each(&mut |expr| {
                let is_read = expr.any(|expr| matches!(expr, Expr::Var(_)));
                if matches!(expr, Expr::Binary(..)) && is_read && !expr.reads_memory() {
                    candidates.push(expr.clone());
                }
            });
        }
        for expr in candidates {
            for last in first + 1..list.len() {
                if changes(&list[first..last], &expr) {
                    break;
                }
                let again = |stmt: &Stmt| stmt.exprs().into_iter().any(|e| e.any(|e| *e == expr));
                if !list[last].is_loop() && again(&list[last]) {
                    return Some((first, last, expr));
                }
            }
        }
    }
    None
}

/// Computes values behind the calls that they would be kept over.
pub(super) fn sink(program: &mut Program) {
    let mut body = std::mem::take(&mut program.body);
    let all = body.clone();
    while in_lists(&mut body, &mut |list| {
        (0..list.len()).any(|i| {
            let What::Let(var, value) = list[i].what.clone() else { return false };
            let mut sets = 0;
            each_stmt(&all, &mut |stmt| sets += usize::from(stmt.sets() == Some(var)));
            let here = uses(&list[i + 1..], var);
            // Those that the compiler has made are only in this list.
            let everywhere = uses(&all, var).max(here) + usize::from(program.result.reads(var));
            let last = list.iter().rposition(|stmt| uses(std::slice::from_ref(stmt), var) > 0);
            let Some(last) = last.filter(|&last| last > i) else { return false };
            let mut calls = false;
            each_stmt(&list[i + 1..=last], &mut |stmt| {
                calls |= matches!(stmt.what, What::Tick(..));
            });
            let computed = matches!(value, Expr::Binary(..) | Expr::Convert(..));
            if sets > 1
                || everywhere != here
                || !calls
                || !computed
                || value.reads_memory()
                || changes(&list[i + 1..=last], &value)
            {
                return false;
            }
            each_stmt_mut(&mut list[i + 1..=last], &mut |stmt| {
                for place in stmt.exprs_mut() {
                    place.replace(&Expr::Var(var), &value);
                }
            });
            list.remove(i);
            true
        })
    }) {}
    program.body = body;
}
