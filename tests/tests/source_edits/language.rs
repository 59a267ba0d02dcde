//! A small imperative language: one function with named variables, which shows its state by `tick`.
//!
//! ```text
//! fn f(n: i32, m: i64) -> i64 {
//!     let a: i32 = 3;
//!     for i in 0..5 step 1 {
//!         a = tick#8((a + i));
//!     }
//!     return (i64)a;
//! }
//! ```
//!
//! A variable has a number of its own that edits leave alone, and so has a statement: what has the same number
//! before and after an edit is the same one for the person who made the edit, whatever it is called then.

use std::fmt::{self, Write as _};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(super) enum Ty {
    I32,
    I64,
    F64,
}

/// Number of a variable: index of what is known of it.
pub(super) type Var = usize;
/// Number of a statement.
pub(super) type Id = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    And,
    Xor,
    Less,
    Equal,
}

#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(super) enum Expr {
    /// By its bits.
    Const(Ty, u64),
    Var(Var),
    /// With the type of the operands. Comparisons are `i32`.
    Binary(Operator, Ty, Box<Expr>, Box<Expr>),
    /// From this type to that one.
    Convert(Ty, Ty, Box<Expr>),
    /// An element of the array, by its index: an `i32`.
    Element(Box<Expr>),
    /// The `i32` at an address: what compilers make of elements.
    Load(Box<Expr>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stmt {
    pub(super) id: Id,
    pub(super) what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    Let(Var, Expr),
    Set(Var, Expr),
    /// Sets an element of the array.
    Store(Expr, Expr),
    /// Shows a value, and may keep what the host answers in an `i32`.
    Tick(Expr, Option<Var>),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    While(Expr, Vec<Stmt>),
    /// `for v in from..to step s`, where the bound is computed each time.
    For(Var, Expr, Expr, i64, Vec<Stmt>),
    /// Tests behind its body. Only compilers make it, as the next one.
    DoWhile(Vec<Stmt>, Expr),
    /// The same, twice a round.
    Unrolled(Vec<Stmt>, Expr, Vec<Stmt>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) ty: Ty,
}

/// A program: the first variables are its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program {
    pub(super) variables: Vec<Variable>,
    pub(super) body: Vec<Stmt>,
    /// What it returns, an `i64`.
    pub(super) result: Expr,
    /// The number of the next statement.
    pub(super) next_id: Id,
}

pub(super) const PARAMETERS: [Ty; 2] = [Ty::I32, Ty::I64];

/// Numbers of statements are multiples of this: what a `for` is made of has those in between.
pub(super) const ID_STEP: Id = 4;

impl Operator {
    pub(super) fn compares(self) -> bool {
        matches!(self, Operator::Less | Operator::Equal)
    }

    pub(super) fn commutes(self) -> bool {
        !matches!(self, Operator::Sub | Operator::Less)
    }
}

impl Expr {
    pub(super) fn i32(value: i32) -> Expr {
        Expr::Const(Ty::I32, u64::from(value as u32))
    }

    /// A small number of any type.
    pub(super) fn number(ty: Ty, value: i64) -> Expr {
        Expr::Const(
            ty,
            match ty {
                Ty::I32 => u64::from(value as i32 as u32),
                Ty::I64 => value as u64,
                Ty::F64 => (value as f64).to_bits(),
            },
        )
    }

    pub(super) fn binary(operator: Operator, ty: Ty, a: Expr, b: Expr) -> Expr {
        Expr::Binary(operator, ty, Box::new(a), Box::new(b))
    }

    pub(super) fn add(ty: Ty, a: Expr, b: Expr) -> Expr {
        Expr::binary(Operator::Add, ty, a, b)
    }

    pub(super) fn convert(self, from: Ty, to: Ty) -> Expr {
        if from == to { self } else { Expr::Convert(from, to, Box::new(self)) }
    }

    /// The variable that it is.
    pub(super) fn var(&self) -> Option<Var> {
        match self {
            Expr::Var(var) => Some(*var),
            _ => None,
        }
    }

    pub(super) fn inputs(&self) -> Vec<&Expr> {
        match self {
            Expr::Const(..) | Expr::Var(_) => vec![],
            Expr::Binary(_, _, a, b) => vec![a, b],
            Expr::Convert(_, _, a) | Expr::Element(a) | Expr::Load(a) => vec![a],
        }
    }

    pub(super) fn inputs_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Const(..) | Expr::Var(_) => vec![],
            Expr::Binary(_, _, a, b) => vec![a, b],
            Expr::Convert(_, _, a) | Expr::Element(a) | Expr::Load(a) => vec![a],
        }
    }

    /// Calls `f` for this expression and all that it is made of.
    pub(super) fn each(&self, f: &mut dyn FnMut(&Expr)) {
        f(self);
        for input in self.inputs() {
            input.each(f);
        }
    }

    /// The same, from the inside out.
    pub(super) fn each_mut(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        for input in self.inputs_mut() {
            input.each_mut(f);
        }
        f(self);
    }

    pub(super) fn any(&self, mut f: impl FnMut(&Expr) -> bool) -> bool {
        let mut found = false;
        self.each(&mut |expr| found |= f(expr));
        found
    }

    pub(super) fn reads(&self, var: Var) -> bool {
        self.any(|expr| *expr == Expr::Var(var))
    }

    pub(super) fn reads_memory(&self) -> bool {
        self.any(|expr| matches!(expr, Expr::Element(_) | Expr::Load(_)))
    }

    pub(super) fn replace(&mut self, old: &Expr, new: &Expr) {
        if self == old {
            *self = new.clone();
            return;
        }
        for input in self.inputs_mut() {
            input.replace(old, new);
        }
    }
}

impl Stmt {
    /// The expressions of this statement itself, not of those in it.
    pub(super) fn exprs(&self) -> Vec<&Expr> {
        match &self.what {
            What::Let(_, a) | What::Set(_, a) | What::Tick(a, _) => vec![a],
            What::If(a, ..) | What::While(a, _) | What::DoWhile(_, a) => vec![a],
            What::Unrolled(_, a, _) => vec![a],
            What::Store(a, b) | What::For(_, a, b, ..) => vec![a, b],
        }
    }

    pub(super) fn exprs_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.what {
            What::Let(_, a) | What::Set(_, a) | What::Tick(a, _) => vec![a],
            What::If(a, ..) | What::While(a, _) | What::DoWhile(_, a) => vec![a],
            What::Unrolled(_, a, _) => vec![a],
            What::Store(a, b) | What::For(_, a, b, ..) => vec![a, b],
        }
    }

    pub(super) fn lists(&self) -> Vec<&Vec<Stmt>> {
        match &self.what {
            What::If(_, a, b) | What::Unrolled(a, _, b) => vec![a, b],
            What::While(_, a) | What::DoWhile(a, _) | What::For(.., a) => vec![a],
            _ => vec![],
        }
    }

    pub(super) fn lists_mut(&mut self) -> Vec<&mut Vec<Stmt>> {
        match &mut self.what {
            What::If(_, a, b) | What::Unrolled(a, _, b) => vec![a, b],
            What::While(_, a) | What::DoWhile(a, _) | What::For(.., a) => vec![a],
            _ => vec![],
        }
    }

    pub(super) fn is_loop(&self) -> bool {
        matches!(self.what, What::While(..) | What::For(..) | What::DoWhile(..))
    }

    /// The variable that this statement itself sets.
    pub(super) fn sets(&self) -> Option<Var> {
        match self.what {
            What::Let(var, _) | What::Set(var, _) | What::For(var, ..) => Some(var),
            What::Tick(_, result) => result,
            _ => None,
        }
    }

    /// Whether this statement, or one in it, sets the variable.
    pub(super) fn assigns(&self, var: Var) -> bool {
        self.sets() == Some(var) || self.lists().into_iter().flatten().any(|s| s.assigns(var))
    }
}

/// Calls `f` for all statements, those within others behind them.
pub(super) fn each_stmt(list: &[Stmt], f: &mut dyn FnMut(&Stmt)) {
    for stmt in list {
        f(stmt);
        for list in stmt.lists() {
            each_stmt(list, f);
        }
    }
}

pub(super) fn each_stmt_mut(list: &mut [Stmt], f: &mut dyn FnMut(&mut Stmt)) {
    for stmt in list {
        f(stmt);
        for list in stmt.lists_mut() {
            each_stmt_mut(list, f);
        }
    }
}

/// Calls `f` for the list that a statement is in, and its index there. Whether there is one.
pub(super) fn at_stmt(
    list: &mut Vec<Stmt>,
    id: Id,
    f: &mut dyn FnMut(&mut Vec<Stmt>, usize),
) -> bool {
    if let Some(index) = list.iter().position(|stmt| stmt.id == id) {
        f(list, index);
        return true;
    }
    list.iter_mut().any(|stmt| stmt.lists_mut().into_iter().any(|list| at_stmt(list, id, f)))
}

/// The way to a statement: indices of statements, and between them which of a statement's lists.
pub(super) type Path = Vec<usize>;

pub(super) fn path_to(list: &[Stmt], id: Id) -> Option<Path> {
    for (i, stmt) in list.iter().enumerate() {
        if stmt.id == id {
            return Some(vec![i]);
        }
        for (which, inner) in stmt.lists().into_iter().enumerate() {
            if let Some(rest) = path_to(inner, id) {
                return Some([vec![i, which], rest].concat());
            }
        }
    }
    None
}

/// The lists that a path goes through, with the index in each: the outermost first.
pub(super) fn levels<'a>(body: &'a [Stmt], path: &[usize]) -> Vec<(&'a [Stmt], usize)> {
    let (mut list, mut found) = (body, Vec::new());
    let mut path = path.iter().copied();
    while let Some(index) = path.next() {
        found.push((list, index));
        if let Some(which) = path.next() {
            list = list[index].lists()[which];
        }
    }
    found
}

impl Program {
    pub(super) fn ty(&self, expr: &Expr) -> Ty {
        match expr {
            Expr::Const(ty, _) | Expr::Convert(_, ty, _) => *ty,
            Expr::Var(var) => self.variables[*var].ty,
            Expr::Binary(operator, ty, ..) => {
                if operator.compares() {
                    Ty::I32
                } else {
                    *ty
                }
            }
            Expr::Element(_) | Expr::Load(_) => Ty::I32,
        }
    }

    pub(super) fn variable(&mut self, name: &str, ty: Ty) -> Var {
        self.variables.push(Variable { name: name.to_owned(), ty });
        self.variables.len() - 1
    }

    pub(super) fn stmt(&mut self, what: What) -> Stmt {
        let id = self.next_id;
        self.next_id += ID_STEP;
        Stmt { id, what }
    }

    pub(super) fn get(&self, id: Id) -> Option<&Stmt> {
        let path = path_to(&self.body, id)?;
        levels(&self.body, &path).last().map(|&(list, index)| &list[index])
    }

    /// Numbers of all statements that are such.
    pub(super) fn ids(&self, mut such: impl FnMut(&Stmt) -> bool) -> Vec<Id> {
        let mut ids = Vec::new();
        each_stmt(&self.body, &mut |stmt| ids.extend(such(stmt).then_some(stmt.id)));
        ids
    }

    /// The variables that are declared in front of a statement.
    pub(super) fn visible(&self, id: Id) -> Vec<Var> {
        let mut found: Vec<Var> = (0..PARAMETERS.len()).collect();
        let Some(path) = path_to(&self.body, id) else { return found };
        let levels = levels(&self.body, &path);
        for (depth, &(list, index)) in levels.iter().enumerate() {
            let before = list[..index].iter();
            found.extend(before.filter_map(|stmt| match stmt.what {
                What::Let(var, _) => Some(var),
                _ => None,
            }));
            if let What::For(var, ..) = list[index].what
                && depth + 1 < levels.len()
            {
                found.push(var);
            }
        }
        found
    }

    /// Whether everything that is read or set is declared, once, and of the right type.
    pub(super) fn is_valid(&self) -> bool {
        let mut visible = vec![false; self.variables.len()];
        visible[..PARAMETERS.len()].fill(true);
        let mut declared = visible.clone();
        self.valid(&self.body, &mut visible, &mut declared)
            && self.valid_expr(&self.result, &visible) == Some(Ty::I64)
    }

    fn valid_expr(&self, expr: &Expr, visible: &[bool]) -> Option<Ty> {
        let of = |expr: &Expr| self.valid_expr(expr, visible);
        match expr {
            Expr::Const(..) => {}
            Expr::Var(var) => visible[*var].then_some(())?,
            Expr::Binary(_, ty, a, b) => (of(a)? == *ty && of(b)? == *ty).then_some(())?,
            Expr::Convert(from, _, a) => (of(a)? == *from).then_some(())?,
            Expr::Element(a) | Expr::Load(a) => (of(a)? == Ty::I32).then_some(())?,
        }
        Some(self.ty(expr))
    }

    /// Leaves in `visible` what is declared at the list's end too.
    fn valid(&self, list: &[Stmt], visible: &mut [bool], declared: &mut [bool]) -> bool {
        list.iter().all(|stmt| {
            let types: Option<Vec<Ty>> =
                stmt.exprs().into_iter().map(|expr| self.valid_expr(expr, visible)).collect();
            let Some(types) = types else { return false };
            let of = |var: Var| self.variables[var].ty;
            let mut declare = |var: Var| !std::mem::replace(&mut declared[var], true);
            let fits = match stmt.what {
                What::Let(var, _) => types[0] == of(var) && declare(var),
                What::Set(var, _) => types[0] == of(var) && visible[var],
                What::Store(..) => types == [Ty::I32, Ty::I32],
                What::Tick(_, result) => {
                    result.is_none_or(|var| visible[var] && of(var) == Ty::I32)
                }
                What::For(var, ..) => types == [of(var), of(var)] && declare(var),
                _ => types[0] == Ty::I32,
            };
            let mut inside = visible.to_owned();
            match stmt.what {
                What::For(var, ..) => inside[var] = true,
                What::Let(var, _) => visible[var] = true,
                _ => {}
            }
            fits && stmt.lists().into_iter().all(|l| self.valid(l, &mut inside.clone(), declared))
        })
    }
}

/// What has a `for` turned into what it stands for.
pub(super) fn without_for(list: &[Stmt], program: &Program) -> Vec<Stmt> {
    let mut out = Vec::new();
    for stmt in list {
        let mut stmt = stmt.clone();
        for list in stmt.lists_mut() {
            *list = without_for(list, program);
        }
        let What::For(var, from, to, step, mut body) = stmt.what else {
            out.push(stmt);
            continue;
        };
        let ty = program.variables[var].ty;
        let next = Expr::add(ty, Expr::Var(var), Expr::number(ty, step));
        body.push(Stmt { id: stmt.id + 2, what: What::Set(var, next) });
        out.push(Stmt { id: stmt.id + 1, what: What::Let(var, from) });
        let test = Expr::binary(Operator::Less, ty, Expr::Var(var), to);
        out.push(Stmt { id: stmt.id, what: What::While(test, body) });
    }
    out
}

impl Program {
    /// The same program without `for`.
    pub(super) fn plain(&self) -> Program {
        Program { body: without_for(&self.body, self), ..self.clone() }
    }

    fn write_expr(&self, f: &mut String, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Const(Ty::I32, bits) => write!(f, "{}", *bits as i32),
            Expr::Const(Ty::I64, bits) => write!(f, "{}L", *bits as i64),
            Expr::Const(Ty::F64, bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Expr::Var(var) => f.write_str(&self.variables[*var].name),
            Expr::Binary(operator, _, a, b) => {
                f.push('(');
                self.write_expr(f, a)?;
                f.push_str(match operator {
                    Operator::Add => " + ",
                    Operator::Sub => " - ",
                    Operator::Mul => " * ",
                    Operator::And => " & ",
                    Operator::Xor => " ^ ",
                    Operator::Less => " < ",
                    Operator::Equal => " == ",
                });
                self.write_expr(f, b)?;
                f.push(')');
                Ok(())
            }
            Expr::Convert(_, to, a) => {
                write!(f, "({})", name(*to))?;
                self.write_expr(f, a)
            }
            Expr::Element(a) | Expr::Load(a) => {
                f.push_str(if matches!(expr, Expr::Load(_)) { "*[" } else { "a[" });
                self.write_expr(f, a)?;
                f.push(']');
                Ok(())
            }
        }
    }

    fn text(&self, expr: &Expr) -> String {
        let mut text = String::new();
        self.write_expr(&mut text, expr).expect("strings can be written to");
        text
    }

    fn write_list(&self, f: &mut fmt::Formatter<'_>, list: &[Stmt], depth: usize) -> fmt::Result {
        let indent = "    ".repeat(depth);
        for stmt in list {
            let of = |var: &Var| &self.variables[*var].name;
            f.write_str(&indent)?;
            match &stmt.what {
                What::Let(var, value) => {
                    let ty = name(self.variables[*var].ty);
                    writeln!(f, "let {}: {ty} = {};", of(var), self.text(value))?;
                    continue;
                }
                What::Set(var, value) => {
                    writeln!(f, "{} = {};", of(var), self.text(value))?;
                    continue;
                }
                What::Store(at, value) => {
                    writeln!(f, "a[{}] = {};", self.text(at), self.text(value))?;
                    continue;
                }
                What::Tick(value, result) => {
                    let result = result.map_or(String::new(), |var| format!("{} = ", of(&var)));
                    writeln!(f, "{result}tick#{}({});", stmt.id, self.text(value))?;
                    continue;
                }
                What::If(test, ..) => writeln!(f, "if {} {{", self.text(test))?,
                What::While(test, _) => writeln!(f, "while {} {{", self.text(test))?,
                What::For(var, from, to, step, _) => {
                    let (from, to) = (self.text(from), self.text(to));
                    writeln!(f, "for {} in {from}..{to} step {step} {{", of(var))?;
                }
                What::DoWhile(..) | What::Unrolled(..) => writeln!(f, "do {{")?,
            }
            for (i, list) in stmt.lists().into_iter().enumerate() {
                if i == 1 {
                    if list.is_empty() {
                        continue;
                    }
                    writeln!(f, "{indent}}} else {{")?;
                }
                self.write_list(f, list, depth + 1)?;
            }
            match &stmt.what {
                What::DoWhile(_, test) | What::Unrolled(_, test, _) => {
                    writeln!(f, "{indent}}} while {};", self.text(test))?;
                }
                _ => writeln!(f, "{indent}}}")?,
            }
        }
        Ok(())
    }
}

fn name(ty: Ty) -> &'static str {
    match ty {
        Ty::I32 => "i32",
        Ty::I64 => "i64",
        Ty::F64 => "f64",
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fn f(n: i32, m: i64) -> i64 {{")?;
        self.write_list(f, &self.body, 1)?;
        writeln!(f, "    return {};", self.text(&self.result))?;
        writeln!(f, "}}")
    }
}
