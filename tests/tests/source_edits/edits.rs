//! Random edits, of the kinds that people make.

use super::language::{
    Expr, ID_STEP, Id, Operator, Program, Stmt, Ty, Var, What, at_stmt, each_stmt_mut,
};
use super::programs::Maker;
use midair_tests::mutation::Random;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A constant in an expression that is shown or stored.
    Constant,
    /// What a variable begins with.
    Initial,
    /// The order of two declarations.
    SwapDeclarations,
    /// A variable is added to a loop, stepped, and shown.
    AddVariable,
    RemoveVariable,
    Rename,
    /// A variable gets another type.
    Retype,
    /// A variable is added that begins and goes on as another one, and is used otherwise.
    Twin,
    /// By how much a variable goes on.
    Step,
    AddStatement,
    RemoveStatement,
    MoveStatement,
    SwapOperands,
    WrapInIf,
    WrapInLoop,
    /// How long a loop runs.
    Bound,
    AddTick,
    /// What is gathered in one variable is gathered in two.
    SplitAccumulator,
    /// What had a variable of its own is kept in another one.
    Reuse,
}

pub(super) const KINDS: [Kind; 19] = [
    Kind::Constant,
    Kind::Initial,
    Kind::SwapDeclarations,
    Kind::AddVariable,
    Kind::RemoveVariable,
    Kind::Rename,
    Kind::Retype,
    Kind::Twin,
    Kind::Step,
    Kind::AddStatement,
    Kind::RemoveStatement,
    Kind::MoveStatement,
    Kind::SwapOperands,
    Kind::WrapInIf,
    Kind::WrapInLoop,
    Kind::Bound,
    Kind::AddTick,
    Kind::SplitAccumulator,
    Kind::Reuse,
];

impl Kind {
    /// Whether all variables are what they were after such an edit.
    pub(super) fn is_harmless(self) -> bool {
        use Kind::{AddStatement, Constant, Rename, SwapDeclarations, SwapOperands};
        matches!(self, Constant | Rename | SwapDeclarations | SwapOperands | AddStatement)
    }
}

/// A program after an edit.
pub(super) struct Edited {
    pub(super) program: Program,
    /// A variable that has taken over what another one was for.
    pub(super) role: Option<(Var, Var)>,
}

/// Makes an edit of this kind; `None` if there is nothing to be edited so.
pub(super) fn edit(kind: Kind, old: &Program, random: &mut Random) -> Option<Edited> {
    let maker = Maker { random, program: old.clone(), visible: Vec::new(), fixed: Vec::new() };
    let mut editor = Editor { maker, role: None };
    editor.edit(kind)?;
    let (program, role) = (editor.maker.program, editor.role);
    (program.is_valid() && program != *old).then_some(Edited { program, role })
}

struct Editor<'a> {
    maker: Maker<'a>,
    role: Option<(Var, Var)>,
}

fn constants(stmt: &Stmt) -> usize {
    let mut count = 0;
    for expr in stmt.exprs() {
        expr.each(&mut |expr| count += usize::from(matches!(expr, Expr::Const(..))));
    }
    count
}

impl Editor<'_> {
    fn program(&mut self) -> &mut Program {
        &mut self.maker.program
    }

    fn below(&mut self, bound: usize) -> usize {
        self.maker.random.below(bound)
    }

    /// One of the statements that are such.
    fn pick(&mut self, such: impl FnMut(&Stmt) -> bool) -> Option<Id> {
        let ids = self.maker.program.ids(such);
        (!ids.is_empty()).then(|| ids[self.below(ids.len())])
    }

    fn at(&mut self, id: Id, mut f: impl FnMut(&mut Vec<Stmt>, usize)) {
        at_stmt(&mut self.maker.program.body, id, &mut f);
    }

    fn change(&mut self, id: Id, mut f: impl FnMut(&mut Stmt)) {
        self.at(id, |list, i| f(&mut list[i]));
    }

    /// What may be read at a statement.
    fn look_from(&mut self, id: Id) {
        self.maker.visible = self.maker.program.visible(id);
        self.maker.fixed = self.maker.program.counters();
    }

    /// Another number than this one.
    fn other(&mut self, ty: Ty, bits: u64) -> Expr {
        loop {
            let other = Expr::number(ty, self.maker.small());
            if other != Expr::Const(ty, bits) {
                return other;
            }
        }
    }

    fn other_constant(&mut self, id: Id) -> Option<()> {
        let count = constants(self.maker.program.get(id)?);
        let mut which = self.below(count.checked_sub(1)? + 1);
        let numbers: Vec<i64> = (0..8).map(|_| self.maker.small()).collect();
        self.change(id, |stmt| {
            for expr in stmt.exprs_mut() {
                expr.each_mut(&mut |expr| {
                    let Expr::Const(ty, bits) = *expr else { return };
                    if which == 0 {
                        let others = numbers.iter().map(|&n| Expr::number(ty, n));
                        let other = others.into_iter().find(|n| *n != Expr::Const(ty, bits));
                        *expr = other.unwrap_or_else(|| Expr::number(ty, 77));
                    }
                    which = which.wrapping_sub(1);
                });
            }
        });
        Some(())
    }

    fn edit(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Constant => {
                let shows = |stmt: &Stmt| matches!(stmt.what, What::Tick(..) | What::Store(..));
                let id = self.pick(|stmt| shows(stmt) && constants(stmt) > 0)?;
                self.other_constant(id)
            }
            Kind::Initial => {
                let begins = |stmt: &Stmt| match &stmt.what {
                    What::Let(_, value) | What::For(_, value, ..) => {
                        matches!(value, Expr::Const(..))
                    }
                    _ => false,
                };
                let id = self.pick(begins)?;
                let ty = match self.maker.program.get(id)?.exprs()[0] {
                    Expr::Const(ty, bits) => self.other(*ty, *bits),
                    _ => return None,
                };
                self.change(id, |stmt| *stmt.exprs_mut()[0] = ty.clone());
                Some(())
            }
            Kind::SwapDeclarations => self.swap_declarations(),
            Kind::AddVariable => self.add_variable(),
            Kind::RemoveVariable => self.remove_variable(),
            Kind::Rename => {
                let declared = self.declared();
                let var = declared.get(self.below(declared.len().max(1))).copied()?;
                let name = format!("{}_", self.program().variables[var].name);
                self.program().variables[var].name = name;
                Some(())
            }
            Kind::Retype => self.retype(),
            Kind::Twin => self.twin(),
            Kind::Step => {
                let id = self.pick(|stmt| match &stmt.what {
                    What::Set(var, value) => value.reads(*var) && constants(stmt) > 0,
                    What::For(..) => true,
                    _ => false,
                })?;
                if let What::For(..) = self.maker.program.get(id)?.what {
                    let by = 1 + self.below(5) as i64;
                    self.change(id, |stmt| {
                        if let What::For(_, _, _, step, _) = &mut stmt.what {
                            *step = by;
                        }
                    });
                    return Some(());
                }
                self.other_constant(id)
            }
            Kind::AddStatement => {
                let id = self.pick(|_| true)?;
                self.look_from(id);
                let stmt = match self.below(4) {
                    0 => self.maker.declaration(),
                    1 => {
                        let index = Expr::i32(self.below(64) as i32);
                        let value = self.maker.expr(Ty::I32, 1);
                        self.program().stmt(What::Store(index, value))
                    }
                    _ => self.maker.set()?,
                };
                self.at(id, |list, i| list.insert(i, stmt.clone()));
                Some(())
            }
            Kind::RemoveStatement => {
                let id = self.pick(|stmt| !matches!(stmt.what, What::Let(..)))?;
                self.at(id, |list, i| drop(list.remove(i)));
                Some(())
            }
            Kind::MoveStatement => {
                let (id, to) = (self.pick(|_| true)?, self.pick(|_| true)?);
                let near = self.below(3) != 0;
                let mut moved = None;
                self.at(id, |list, i| match near {
                    true if i + 1 < list.len() => list.swap(i, i + 1),
                    true => {}
                    false => moved = Some(list.remove(i)),
                });
                let Some(moved) = moved else { return Some(()) };
                self.at(to, |list, i| list.insert(i, moved.clone()));
                Some(())
            }
            Kind::SwapOperands => {
                let has = |stmt: &Stmt| {
                    let is_binary = |expr: &Expr| matches!(expr, Expr::Binary(..));
                    stmt.exprs().into_iter().any(|expr| expr.any(is_binary))
                };
                let id = self.pick(has)?;
                self.change(id, |stmt| {
                    for expr in stmt.exprs_mut() {
                        expr.each_mut(&mut |expr| {
                            if let Expr::Binary(_, _, a, b) = expr {
                                std::mem::swap(a, b);
                            }
                        });
                    }
                });
                Some(())
            }
            Kind::WrapInIf | Kind::WrapInLoop => {
                let id = self.pick(|stmt| !matches!(stmt.what, What::Let(..)))?;
                self.look_from(id);
                let test = self.maker.test();
                let var = self.maker.fresh(Ty::I32);
                let bound = Expr::i32(1 + self.below(2) as i32);
                let around = match kind {
                    Kind::WrapInIf => What::If(test, Vec::new(), Vec::new()),
                    _ => What::For(var, Expr::i32(0), bound, 1, Vec::new()),
                };
                let mut around = self.program().stmt(around);
                self.at(id, |list, i| {
                    std::mem::swap(&mut list[i], &mut around);
                    let inner = around.clone();
                    list[i].lists_mut()[0].push(inner);
                });
                Some(())
            }
            Kind::Bound => {
                let id = self.pick(|stmt| match &stmt.what {
                    What::For(_, _, bound, ..) => matches!(bound, Expr::Const(..)),
                    What::While(test, _) => {
                        let is_constant = |expr: &Expr| matches!(expr, Expr::Const(..));
                        test.any(is_constant)
                    }
                    _ => false,
                })?;
                let by = 1 + self.below(3) as i64;
                let more = |expr: &mut Expr| {
                    if let Expr::Const(ty, bits) = *expr
                        && ty != Ty::F64
                    {
                        *expr = Expr::number(ty, bits as i64 + by);
                    }
                };
                self.change(id, |stmt| match &mut stmt.what {
                    What::For(_, _, bound, ..) => more(bound),
                    What::While(test, _) => test.each_mut(&mut |expr| more(expr)),
                    _ => {}
                });
                Some(())
            }
            Kind::AddTick => {
                let id = self.pick(|stmt| stmt.is_loop() || matches!(stmt.what, What::Tick(..)))?;
                self.look_from(id);
                let tick = self.maker.tick();
                let (inside, behind) = (self.below(2) == 0, self.below(2) == 0);
                self.at(id, |list, i| {
                    let inner = list[i].lists_mut().into_iter().next();
                    match inner.filter(|_| inside) {
                        Some(inner) => {
                            let at = if behind { inner.len() } else { 0 };
                            inner.insert(at, tick.clone());
                        }
                        None => list.insert(i + usize::from(behind), tick.clone()),
                    }
                });
                Some(())
            }
            Kind::SplitAccumulator => self.split_accumulator(),
            Kind::Reuse => self.reuse(),
        }
    }

    /// Variables that a `let` declares.
    fn declared(&self) -> Vec<Var> {
        let mut found = Vec::new();
        super::language::each_stmt(&self.maker.program.body, &mut |stmt| {
            if let What::Let(var, _) = stmt.what {
                found.push(var);
            }
        });
        found
    }

    fn swap_declarations(&mut self) -> Option<()> {
        let is_let = |stmt: &Stmt| matches!(stmt.what, What::Let(..));
        let a = self.pick(is_let)?;
        let mut swapped = false;
        let from = self.below(4);
        self.at(a, |list, i| {
            let others: Vec<usize> =
                (0..list.len()).filter(|&j| j != i && is_let(&list[j])).collect();
            if !others.is_empty() {
                list.swap(i, others[from % others.len()]);
                swapped = true;
            }
        });
        swapped.then_some(())
    }

    /// Has a tick in the loop, or behind it, show this.
    fn show(&mut self, loop_id: Id, shown: Expr, ty: Ty) -> Option<()> {
        let body = self.maker.program.get(loop_id)?.lists()[0].clone();
        let mut ticks = Vec::new();
        super::language::each_stmt(&body, &mut |stmt| {
            ticks.extend(matches!(stmt.what, What::Tick(..)).then_some(stmt.id));
        });
        if !ticks.is_empty() && self.below(2) == 0 {
            let tick = ticks[self.below(ticks.len())];
            let program = self.maker.program.clone();
            self.change(tick, |stmt| {
                if let What::Tick(value, _) = &mut stmt.what {
                    let of = program.ty(value);
                    let shown = shown.clone().convert(ty, of);
                    *value = Expr::add(of, value.clone(), shown);
                }
            });
            return Some(());
        }
        let tick = self.program().stmt(What::Tick(shown, None));
        let (inside, last) = (self.below(3) != 0, self.below(2) == 0);
        self.at(loop_id, |list, i| {
            if !inside {
                return list.insert(i + 1, tick.clone());
            }
            let body = list[i].lists_mut().into_iter().next().expect("a loop has a body");
            let at = if last { body.len() } else { 0 };
            body.insert(at, tick.clone());
        });
        Some(())
    }

    fn add_variable(&mut self) -> Option<()> {
        let id = self.pick(Stmt::is_loop)?;
        self.look_from(id);
        let ty = self.maker.ty();
        let start = match self.below(3) {
            0 => self.maker.expr(ty, 1),
            _ => Expr::number(ty, self.maker.small()),
        };
        let step = match self.below(2) {
            0 => self.maker.expr(ty, 1),
            _ => Expr::number(ty, 1 + self.below(4) as i64),
        };
        let var = self.maker.fresh(ty);
        let declaration = self.program().stmt(What::Let(var, start));
        let stepped = self.program().stmt(What::Set(var, Expr::add(ty, Expr::Var(var), step)));
        let last = self.below(2) == 0;
        self.at(id, |list, i| {
            let body = list[i].lists_mut().into_iter().next().expect("a loop has a body");
            let at = if last { body.len() } else { 0 };
            body.insert(at, stepped.clone());
            list.insert(i, declaration.clone());
        });
        self.show(id, Expr::Var(var), ty)
    }

    fn remove_variable(&mut self) -> Option<()> {
        let declared = self.declared();
        let var = declared.get(self.below(declared.len().max(1))).copied()?;
        let ty = self.maker.program.variables[var].ty;
        let instead = Expr::number(ty, self.maker.small());
        self.maker.program.body = without(&self.maker.program.body, var)?;
        let program = &mut self.maker.program;
        let replace = |expr: &mut Expr| expr.replace(&Expr::Var(var), &instead);
        each_stmt_mut(&mut program.body, &mut |stmt| {
            stmt.exprs_mut().into_iter().for_each(replace);
            if let What::Tick(_, result) = &mut stmt.what
                && *result == Some(var)
            {
                *result = None;
            }
        });
        replace(&mut program.result);
        Some(())
    }

    fn retype(&mut self) -> Option<()> {
        let mut candidates = self.declared();
        let ticks = self.maker.program.ids(|stmt| matches!(stmt.what, What::Tick(_, Some(_))));
        for id in ticks {
            let result = self.maker.program.get(id)?.sets();
            candidates.retain(|&var| Some(var) != result);
        }
        let old = candidates.get(self.below(candidates.len().max(1))).copied()?;
        let from = self.maker.program.variables[old].ty;
        let to = match from {
            Ty::I32 => Ty::I64,
            Ty::I64 => [Ty::I32, Ty::F64][self.below(2)],
            Ty::F64 => Ty::I64,
        };
        let name = self.maker.program.variables[old].name.clone();
        let new = self.maker.program.variable(&name, to);
        let program = &mut self.maker.program;
        let read = Expr::Var(new).convert(to, from);
        each_stmt_mut(&mut program.body, &mut |stmt| {
            for expr in stmt.exprs_mut() {
                expr.replace(&Expr::Var(old), &read);
            }
            if let What::Let(var, value) | What::Set(var, value) = &mut stmt.what
                && *var == old
            {
                *var = new;
                *value = match value.clone() {
                    Expr::Const(_, bits) if from != Ty::F64 => Expr::number(to, bits as i64),
                    // `v = (from)v + c` is `v = v + (to)c`.
                    Expr::Binary(operator, _, a, b) if *a == read && !operator.compares() => {
                        match operator {
                            Operator::Add | Operator::Sub | Operator::Mul => {
                                Expr::binary(operator, to, Expr::Var(new), b.convert(from, to))
                            }
                            _ => Expr::Binary(operator, from, a, b).convert(from, to),
                        }
                    }
                    value => value.convert(from, to),
                };
            }
        });
        program.result.replace(&Expr::Var(old), &read);
        Some(())
    }

    fn twin(&mut self) -> Option<()> {
        // A variable that is declared in front of a loop and stepped in it.
        let declared = self.declared();
        let steps = |stmt: &Stmt| match &stmt.what {
            What::Set(var, value) => declared.contains(var) && value.reads(*var),
            _ => false,
        };
        let set = self.pick(steps)?;
        let What::Set(var, value) = self.maker.program.get(set)?.what.clone() else { return None };
        let let_id = self.pick(|stmt| matches!(stmt.what, What::Let(v, _) if v == var))?;
        let What::Let(_, start) = self.maker.program.get(let_id)?.what.clone() else { return None };
        let ty = self.maker.program.variables[var].ty;
        let twin = self.maker.fresh(ty);
        self.role = Some((twin, var));
        let mut stepped = value;
        stepped.replace(&Expr::Var(var), &Expr::Var(twin));
        let declaration = self.program().stmt(What::Let(twin, start));
        let stepped = self.program().stmt(What::Set(twin, stepped));
        let first = usize::from(self.below(2) == 0);
        self.at(let_id, |list, i| list.insert(i + first, declaration.clone()));
        self.at(set, |list, i| list.insert(i + first, stepped.clone()));
        let loops = self.maker.program.ids(|stmt| {
            stmt.is_loop() && stmt.lists().into_iter().flatten().any(|inner| inner.assigns(twin))
        });
        let loop_id = loops.last().copied()?;
        self.show(loop_id, Expr::Var(twin), ty)
    }

    fn split_accumulator(&mut self) -> Option<()> {
        let gathers = |stmt: &Stmt| match &stmt.what {
            What::Set(var, Expr::Binary(Operator::Add, _, a, _)) => **a == Expr::Var(*var),
            _ => false,
        };
        let set = self.pick(gathers)?;
        let What::Set(var, _) = self.maker.program.get(set)?.what else { return None };
        let let_id = self.pick(|stmt| matches!(stmt.what, What::Let(v, _) if v == var))?;
        let ty = self.maker.program.variables[var].ty;
        let half = self.maker.fresh(ty);
        self.role = Some((half, var));
        let declaration = self.program().stmt(What::Let(half, Expr::number(ty, 0)));
        self.at(let_id, |list, i| list.insert(i + 1, declaration.clone()));
        self.look_from(set);
        let test = self.maker.test();
        if !test.any(|expr| expr.var().is_some()) {
            return None;
        }
        let mut other = self.maker.program.get(set)?.clone();
        other.id = self.program().next_id;
        self.program().next_id += ID_STEP;
        if let What::Set(to, value) = &mut other.what {
            *to = half;
            value.replace(&Expr::Var(var), &Expr::Var(half));
        }
        let mut choice = self.program().stmt(What::If(test, Vec::new(), vec![other]));
        self.at(set, |list, i| {
            std::mem::swap(&mut list[i], &mut choice);
            let inner = choice.clone();
            list[i].lists_mut()[0].push(inner);
        });
        let both = Expr::add(ty, Expr::Var(var), Expr::Var(half));
        each_stmt_mut(&mut self.maker.program.body, &mut |stmt| {
            if let What::Tick(value, _) = &mut stmt.what {
                value.replace(&Expr::Var(var), &both);
            }
        });
        let result = &mut self.maker.program.result;
        result.replace(&Expr::Var(var), &both);
        Some(())
    }

    /// `let w = e` becomes `v = e`, and `w` is `v` from then on.
    fn reuse(&mut self) -> Option<()> {
        let id = self.pick(|stmt| matches!(stmt.what, What::Let(..)))?;
        let What::Let(own, _) = self.maker.program.get(id)?.what else { return None };
        self.look_from(id);
        let ty = self.maker.program.variables[own].ty;
        let (fixed, variables) = (self.maker.fixed.clone(), &self.maker.program.variables);
        let fits = |var: &Var| *var > 1 && variables[*var].ty == ty && !fixed.contains(var);
        let others: Vec<Var> = self.maker.visible.iter().copied().filter(fits).collect();
        let other = others.get(self.below(others.len().max(1))).copied()?;
        self.role = Some((other, own));
        let program = &mut self.maker.program;
        each_stmt_mut(&mut program.body, &mut |stmt| {
            for expr in stmt.exprs_mut() {
                expr.replace(&Expr::Var(own), &Expr::Var(other));
            }
            match &mut stmt.what {
                What::Let(var, value) if *var == own => {
                    stmt.what = What::Set(other, value.clone());
                }
                What::Set(var, _) | What::Tick(_, Some(var)) if *var == own => *var = other,
                _ => {}
            }
        });
        program.result.replace(&Expr::Var(own), &Expr::Var(other));
        Some(())
    }
}

/// A list without the statements that set a variable; `None` if it is a `for`'s.
fn without(list: &[Stmt], var: Var) -> Option<Vec<Stmt>> {
    let mut kept = Vec::new();
    for stmt in list {
        let mut stmt = stmt.clone();
        match stmt.what {
            What::Let(v, _) | What::Set(v, _) if v == var => continue,
            What::For(v, ..) if v == var => return None,
            _ => {}
        }
        for list in stmt.lists_mut() {
            *list = without(list, var)?;
        }
        kept.push(stmt);
    }
    Some(kept)
}

impl Program {
    /// Variables that loops are tested by: nothing else is to set them.
    fn counters(&self) -> Vec<Var> {
        let mut found = Vec::new();
        super::language::each_stmt(&self.body, &mut |stmt| match &stmt.what {
            What::For(var, ..) => found.push(*var),
            What::While(test, _) => test.each(&mut |expr| {
                if let Expr::Var(var) = expr {
                    found.push(*var);
                }
            }),
            _ => {}
        });
        found
    }
}
