//! What optimisers do with loops.

use super::{changes, uses, values};
use crate::interpreter::{binary, convert};
use crate::language::{Expr, Operator, Program, Stmt, Ty, Var, What, each_stmt_mut};

/// Has loops test at their end, and once in front of them.
pub(super) fn rotate(program: &mut Program) {
    each_stmt_mut(&mut program.body, &mut |stmt| {
        if let What::While(test, body) = &mut stmt.what {
            let (test, body) = (test.clone(), std::mem::take(body));
            let rotated = Stmt { id: stmt.id + 3, what: What::DoWhile(body, test.clone()) };
            stmt.what = What::If(test, vec![rotated], Vec::new());
        }
    });
}

/// Calls `f` for all lists, the outermost first.
fn each_list(list: &mut Vec<Stmt>, f: &mut dyn FnMut(&mut Vec<Stmt>)) {
    f(list);
    for stmt in list {
        for inner in stmt.lists_mut() {
            each_list(inner, f);
        }
    }
}

/// The body of a loop, and how it is tested.
fn parts(stmt: &mut Stmt) -> Option<(&mut Vec<Stmt>, &mut Expr)> {
    match &mut stmt.what {
        What::While(test, body) | What::DoWhile(body, test) => Some((body, test)),
        _ => None,
    }
}

/// What is computed alike in each round is computed in front of the loop.
pub(super) fn hoist(program: &mut Program) {
    let mut body = std::mem::take(&mut program.body);
    each_list(&mut body, &mut |list| {
        let mut i = 0;
        while i < list.len() {
            if !list[i].is_loop() {
                i += 1;
                continue;
            }
            let around = [list[i].clone()];
            let mut found: Vec<Expr> = Vec::new();
            let mut look = |expr: &Expr| invariants(expr, &around, &mut found);
            crate::language::each_stmt(&around, &mut |stmt| {
                stmt.exprs().into_iter().for_each(&mut look);
            });
            for expr in found {
                let ty = program.ty(&expr);
                let var = program.variable("hoisted", ty);
                each_stmt_mut(&mut list[i..=i], &mut |stmt| {
                    for place in stmt.exprs_mut() {
                        place.replace(&expr, &Expr::Var(var));
                    }
                });
                list.insert(i, program.stmt(What::Let(var, expr)));
                i += 1;
            }
            i += 1;
        }
    });
    program.body = body;
}

/// The largest expressions that nothing in a loop changes. What may trap stays where it is.
fn invariants(expr: &Expr, around: &[Stmt], found: &mut Vec<Expr>) {
    let is_computed = matches!(expr, Expr::Binary(..) | Expr::Convert(..));
    let is_constant = !expr.any(|expr| matches!(expr, Expr::Var(_)));
    if is_computed && !is_constant && !expr.reads_memory() && !changes(around, expr) {
        if !found.contains(expr) {
            found.push(expr.clone());
        }
        return;
    }
    expr.inputs().into_iter().for_each(|input| invariants(input, around, found));
}

/// An expression that is `factor * counter + offset`.
fn linear(expr: &Expr, counter: Var, ty: Ty) -> Option<(u64, u64)> {
    let constant = |expr: &Expr| match expr {
        Expr::Const(_, bits) => Some(*bits),
        _ => None,
    };
    match expr {
        Expr::Var(var) if *var == counter => Some((convert(Ty::I32, ty, 1), 0)),
        Expr::Binary(operator @ (Operator::Mul | Operator::Add), of, a, b) if *of == ty => {
            let (inner, by) = match (constant(a), constant(b)) {
                (None, Some(by)) => (a, by),
                (Some(by), None) => (b, by),
                _ => return None,
            };
            let (factor, offset) = linear(inner, counter, ty)?;
            Some(match operator {
                Operator::Mul => {
                    (binary(*operator, ty, factor, by), binary(*operator, ty, offset, by))
                }
                _ => (factor, binary(*operator, ty, offset, by)),
            })
        }
        _ => None,
    }
}

/// The largest linear expressions of a counter.
fn linears(expr: &Expr, counter: Var, ty: Ty, found: &mut Vec<(Expr, (u64, u64))>) {
    if let Some(form) = linear(expr, counter, ty) {
        if !found.iter().any(|(known, _)| known == expr) {
            found.push((expr.clone(), form));
        }
        return;
    }
    expr.inputs().into_iter().for_each(|input| linears(input, counter, ty, found));
}

/// The counters of a loop: variables that are set once in its body, in each round, to a constant more.
fn counters(body: &[Stmt], program: &Program) -> Vec<(Var, usize, u64)> {
    let mut found = Vec::new();
    for (i, stmt) in body.iter().enumerate() {
        let What::Set(var, Expr::Binary(Operator::Add, ty, a, b)) = &stmt.what else { continue };
        let (Expr::Var(from), Expr::Const(_, step)) = (&**a, &**b) else { continue };
        let is_only = body.iter().filter(|stmt| stmt.assigns(*var)).count() == 1;
        if from == var && *ty != Ty::F64 && is_only && program.variables[*var].ty == *ty {
            found.push((*var, i, *step));
        }
    }
    found
}

/// Gives linear expressions of counters counters of their own.
pub(super) fn reduce(program: &mut Program, multiples: bool, offsets: bool, test_too: bool) {
    let mut body = std::mem::take(&mut program.body);
    let all = body.clone();
    each_list(&mut body, &mut |list| {
        let mut i = 0;
        while i < list.len() {
            let (before, rest) = list.split_at_mut(i);
            let mut declared = Vec::new();
            if let Some((body, test)) = parts(&mut rest[0]) {
                for (counter, _, step) in counters(body, program) {
                    let ty = program.variables[counter].ty;
                    let one = convert(Ty::I32, ty, 1);
                    let mut found = Vec::new();
                    crate::language::each_stmt(body, &mut |stmt| {
                        if stmt.sets() != Some(counter) {
                            let exprs = stmt.exprs().into_iter();
                            exprs.for_each(|expr| linears(expr, counter, ty, &mut found));
                        }
                    });
                    found.retain(|(expr, (factor, offset))| match *factor {
                        0 => false,
                        factor if factor == one => {
                            offsets && *offset != 0 && *expr != Expr::Var(counter)
                        }
                        _ => multiples,
                    });
                    let mut made = Vec::new();
                    for (expr, (factor, offset)) in found {
                        let var = program.variable("reduced", ty);
                        let mut start = Expr::add(
                            ty,
                            Expr::binary(
                                Operator::Mul,
                                ty,
                                Expr::Var(counter),
                                Expr::Const(ty, factor),
                            ),
                            Expr::Const(ty, offset),
                        );
                        start.each_mut(&mut values::fold);
                        declared.push(program.stmt(What::Let(var, start)));
                        each_stmt_mut(body, &mut |stmt| {
                            for place in stmt.exprs_mut() {
                                place.replace(&expr, &Expr::Var(var));
                            }
                        });
                        let by = Expr::Const(ty, binary(Operator::Mul, ty, step, factor));
                        let next = Expr::add(ty, Expr::Var(var), by);
                        let at = body.iter().position(|stmt| stmt.sets() == Some(counter));
                        let at = at.expect("it is set in the body") + 1;
                        body.insert(at, program.stmt(What::Set(var, next)));
                        made.push((var, factor, offset));
                    }
                    if test_too
                        && let Some(&other) = made.first()
                        && starts_small(before, counter)
                        && (step as i32) > 0
                        && uses(body, counter) == 1
                        && uses(&all, counter) <= uses_in_its_loop(&all, counter)
                        && !program.result.reads(counter)
                    {
                        replace_test(test, counter, ty, other);
                    }
                }
            }
            let count = declared.len();
            list.splice(i..i, declared);
            i += count + 1;
        }
    });
    program.body = body;
}

/// How often a counter is read in the loop that counts it.
fn uses_in_its_loop(all: &[Stmt], counter: Var) -> usize {
    let mut inside = 0;
    crate::language::each_stmt(all, &mut |stmt| {
        if stmt.is_loop() && stmt.assigns(counter) {
            let around = std::slice::from_ref(stmt);
            inside = inside.max(uses(around, counter));
        }
    });
    inside
}

/// Whether a variable is a small constant behind these statements.
fn starts_small(before: &[Stmt], var: Var) -> bool {
    let last = before.iter().rev().find(|stmt| stmt.assigns(var));
    match last.map(|stmt| &stmt.what) {
        Some(What::Let(_, Expr::Const(_, bits)) | What::Set(_, Expr::Const(_, bits))) => {
            (*bits as i32).unsigned_abs() < 1000
        }
        _ => false,
    }
}

/// `counter < c` is `factor * counter + offset < factor * c + offset` as long as nothing is too large.
fn replace_test(test: &mut Expr, counter: Var, ty: Ty, (var, factor, offset): (Var, u64, u64)) {
    let Expr::Binary(Operator::Less, _, a, b) = test else { return };
    let (Expr::Var(tested), Expr::Const(_, bound)) = (&**a, &**b) else { return };
    let is_small = |bits: u64, most: u32| (bits as i32).unsigned_abs() < most;
    let positive = (factor as i32) > 0;
    if *tested == counter
        && positive
        && is_small(*bound, 1000)
        && is_small(factor, 1000)
        && is_small(offset, 100_000)
    {
        let scaled = binary(Operator::Mul, ty, *bound, factor);
        **b = Expr::Const(ty, binary(Operator::Add, ty, scaled, offset));
        **a = Expr::Var(var);
    }
}

/// Has the innermost loops do two rounds in one.
pub(super) fn unroll(program: &mut Program) {
    each_stmt_mut(&mut program.body, &mut |stmt| {
        if let What::DoWhile(body, test) = &mut stmt.what
            && !body.iter().any(|inner| !inner.lists().is_empty())
            && body.len() <= 4
        {
            let body = std::mem::take(body);
            stmt.what = What::Unrolled(body.clone(), test.clone(), body);
        }
    });
}
