//! From the language to WebAssembly, at two levels.
//!
//! Without optimisation every variable has a local of its own, in the order of declaration. With it few variables
//! are left as they were: each pass is simple, and does what compilers do. All of them change statements into
//! statements, which are put into code in the same way.

mod code;
mod copies;
pub(super) mod liveness;
mod loops;
mod values;

pub(super) use code::{Code, F, module};

use crate::interpreter::ARRAY;
use crate::language::{Expr, Operator, Program, Stmt, Ty, each_stmt_mut};
use std::fmt;

/// A pass of the optimiser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    /// Constants and copies are propagated, and constants folded.
    Propagate,
    /// What nobody reads is not computed.
    Dead,
    /// Loops test at their end.
    Rotate,
    /// What is the same in each round is computed in front of a loop.
    Hoist,
    /// Multiples of a counter are counters of their own.
    Strength,
    /// So are sums of a counter and a constant.
    Offset,
    /// A loop is tested by such a counter instead of its own.
    Test,
    /// What is computed twice is kept.
    Common,
    /// What is used behind a call is computed there.
    Sink,
    /// Two rounds in one.
    Unroll,
    /// Variables that do not live at the same time share a local.
    Colour,
}

pub(super) const PASSES: [Pass; 11] = [
    Pass::Propagate,
    Pass::Dead,
    Pass::Rotate,
    Pass::Hoist,
    Pass::Strength,
    Pass::Offset,
    Pass::Test,
    Pass::Common,
    Pass::Sink,
    Pass::Unroll,
    Pass::Colour,
];

/// How programs are compiled: with which passes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Level(pub(super) Vec<Pass>);

impl Level {
    fn has(&self, pass: Pass) -> bool {
        self.0.contains(&pass)
    }

    pub(super) fn is_optimised(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_optimised() {
            false => f.write_str("not optimised"),
            true => write!(f, "optimised with {:?}", self.0),
        }
    }
}

/// Compiles a program, which has no `for`. `seed`: what locals are numbered by.
pub(super) fn compile(program: &Program, level: &Level, seed: u64) -> Code {
    let mut program = program.clone();
    lower_elements(&mut program);
    if level.has(Pass::Propagate) {
        values::propagate(&mut program);
    }
    if level.has(Pass::Dead) {
        liveness::remove_dead(&mut program);
    }
    if level.has(Pass::Rotate) {
        loops::rotate(&mut program);
    }
    if level.has(Pass::Propagate) {
        values::propagate(&mut program);
    }
    if level.has(Pass::Hoist) {
        loops::hoist(&mut program);
    }
    let (multiples, offsets) = (level.has(Pass::Strength), level.has(Pass::Offset));
    if multiples || offsets {
        loops::reduce(&mut program, multiples, offsets, level.has(Pass::Test));
    }
    if level.has(Pass::Common) {
        copies::share(&mut program);
    }
    if level.has(Pass::Sink) {
        copies::sink(&mut program);
    }
    if level.has(Pass::Propagate) {
        values::propagate(&mut program);
    }
    if level.has(Pass::Dead) {
        liveness::remove_dead(&mut program);
    }
    if level.has(Pass::Unroll) {
        loops::unroll(&mut program);
    }
    let colours = level.has(Pass::Colour).then_some(seed);
    code::generate(&program, colours)
}

/// A program as far as it is not known before it runs: what an optimiser takes it for.
pub(super) fn folded(program: &Program) -> Program {
    let mut program = program.clone();
    values::propagate(&mut program);
    loops::rotate(&mut program);
    values::propagate(&mut program);
    program
}

/// Elements become what lies at their addresses.
fn lower_elements(program: &mut Program) {
    let lower = |expr: &mut Expr| {
        if let Expr::Element(index) = expr {
            *expr = Expr::Load(Box::new(address((**index).clone())));
        }
    };
    each_stmt_mut(&mut program.body, &mut |stmt| {
        stmt.exprs_mut().into_iter().for_each(|expr| expr.each_mut(&mut { lower }));
        if let crate::language::What::Store(index, _) = &mut stmt.what {
            *index = address(index.clone());
        }
    });
    program.result.each_mut(&mut { lower });
}

fn address(index: Expr) -> Expr {
    let offset = Expr::binary(Operator::Mul, Ty::I32, index, Expr::i32(4));
    Expr::add(Ty::I32, offset, Expr::i32(ARRAY))
}

/// The variables that an expression reads.
fn reads(expr: &Expr) -> Vec<usize> {
    let mut found = Vec::new();
    expr.each(&mut |expr| found.extend(expr.var()));
    found
}

/// Whether one of the statements sets something that the expression reads.
fn changes(list: &[Stmt], expr: &Expr) -> bool {
    let read = reads(expr);
    list.iter().any(|stmt| read.iter().any(|&var| stmt.assigns(var)))
}

/// How often a variable is read in a list.
fn uses(list: &[Stmt], var: usize) -> usize {
    let mut count = 0;
    crate::language::each_stmt(list, &mut |stmt| {
        for expr in stmt.exprs() {
            expr.each(&mut |expr| count += usize::from(*expr == Expr::Var(var)));
        }
    });
    count
}
