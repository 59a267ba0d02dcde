//! Constants and copies are propagated, and what is made of constants is computed.

use crate::interpreter;
use crate::language::{Expr, Operator, Program, Stmt, Ty, Var, What};
use std::collections::HashMap;

/// Variables that are known to be a constant, or what another variable is.
type Known = HashMap<Var, Expr>;

pub(super) fn propagate(program: &mut Program) {
    let mut known = Known::new();
    program.body = list(std::mem::take(&mut program.body), &mut known);
    simplify(&mut program.result, &known);
}

fn forget(known: &mut Known, var: Var) {
    known.remove(&var);
    known.retain(|_, value| *value != Expr::Var(var));
}

fn forget_all(known: &mut Known, list: &[Stmt]) {
    crate::language::each_stmt(list, &mut |stmt| {
        if let Some(var) = stmt.sets() {
            forget(known, var);
        }
    });
}

fn list(statements: Vec<Stmt>, known: &mut Known) -> Vec<Stmt> {
    let mut out = Vec::new();
    for mut stmt in statements {
        match &mut stmt.what {
            What::Let(var, value) | What::Set(var, value) => {
                simplify(value, known);
                forget(known, *var);
                if matches!(value, Expr::Const(..) | Expr::Var(_)) && *value != Expr::Var(*var) {
                    known.insert(*var, value.clone());
                }
            }
            What::Tick(value, result) => {
                simplify(value, known);
                if let Some(result) = result {
                    forget(known, *result);
                }
            }
            What::Store(at, value) => {
                simplify(at, known);
                simplify(value, known);
            }
            What::If(test, yes, no) => {
                simplify(test, known);
                if let Expr::Const(_, bits) = test {
                    let taken = std::mem::take(if *bits as u32 != 0 { yes } else { no });
                    out.extend(list(taken, known));
                    continue;
                }
                let mut other = known.clone();
                *yes = list(std::mem::take(yes), known);
                *no = list(std::mem::take(no), &mut other);
                known.retain(|var, value| other.get(var) == Some(value));
            }
            What::While(test, body) => {
                let mut first = test.clone();
                simplify(&mut first, known);
                if matches!(first, Expr::Const(_, bits) if bits as u32 == 0) {
                    continue;
                }
                forget_all(known, body);
                simplify(test, known);
                *body = list(std::mem::take(body), &mut known.clone());
            }
            What::DoWhile(body, test) => {
                forget_all(known, body);
                let mut inside = known.clone();
                *body = list(std::mem::take(body), &mut inside);
                simplify(test, &inside);
            }
            What::For(..) | What::Unrolled(..) => unreachable!("not at this time"),
        }
        out.push(stmt);
    }
    out
}

fn simplify(expr: &mut Expr, known: &Known) {
    expr.each_mut(&mut |expr| {
        if let Expr::Var(var) = expr
            && let Some(value) = known.get(var)
        {
            *expr = value.clone();
        }
        fold(expr);
    });
}

/// Makes something simpler of an expression whose inputs are simple.
pub(super) fn fold(expr: &mut Expr) {
    match expr {
        Expr::Convert(from, to, a) => {
            if let Expr::Const(_, bits) = **a {
                *expr = Expr::Const(*to, interpreter::convert(*from, *to, bits));
            }
        }
        Expr::Binary(operator, ty, a, b) => {
            let (operator, ty) = (*operator, *ty);
            if let (Expr::Const(_, x), Expr::Const(_, y)) = (&**a, &**b) {
                let result = if operator.compares() { Ty::I32 } else { ty };
                *expr = Expr::Const(result, interpreter::binary(operator, ty, *x, *y));
                return;
            }
            if ty == Ty::F64 {
                return;
            }
            if operator == Operator::Sub
                && let Expr::Const(_, bits) = **b
            {
                let negative = interpreter::binary(Operator::Sub, ty, 0, bits);
                **b = Expr::Const(ty, negative);
                *expr = Expr::Binary(Operator::Add, ty, a.clone(), b.clone());
                return fold(expr);
            }
            if operator.commutes() && matches!(**a, Expr::Const(..)) {
                std::mem::swap(a, b);
            }
            let Expr::Const(_, y) = **b else { return };
            let zero = Expr::Const(ty, 0);
            match (operator, y) {
                (Operator::Add | Operator::Xor, 0) | (Operator::Mul, 1) => {
                    let same = (**a).clone();
                    *expr = same;
                }
                (Operator::Mul | Operator::And, 0) if !a.reads_memory() => *expr = zero,
                _ => {
                    // (x + 1) + 2 is x + 3.
                    let associates = matches!(operator, Operator::Add | Operator::Mul);
                    if let Expr::Binary(inner, _, x, c) = &**a
                        && let Expr::Const(_, c) = **c
                        && *inner == operator
                        && associates
                    {
                        let both = interpreter::binary(operator, ty, c, y);
                        *expr = Expr::binary(operator, ty, (**x).clone(), Expr::Const(ty, both));
                        fold(expr);
                    }
                }
            }
        }
        _ => {}
    }
}
