//! Random programs of the shapes that people write: variables, loops that count and gather, and ticks in them.

use super::language::{Expr, Operator, PARAMETERS, Program, Stmt, Ty, Var, Variable, What};
use midair_tests::mutation::Random;

pub(super) const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "g", "h", "k", "p", "q", "s", "t"];

/// Makes what is random.
pub(super) struct Maker<'a> {
    pub(super) random: &'a mut Random,
    pub(super) program: Program,
    /// Variables that may be read where it makes something, and which of them nothing else may set.
    pub(super) visible: Vec<Var>,
    pub(super) fixed: Vec<Var>,
}

pub(super) fn program(random: &mut Random) -> Program {
    let variable = |(name, ty): (&str, Ty)| Variable { name: name.to_owned(), ty };
    let program = Program {
        variables: ["n", "m"].into_iter().zip(PARAMETERS).map(variable).collect(),
        body: Vec::new(),
        result: Expr::number(Ty::I64, 0),
        next_id: super::language::ID_STEP,
    };
    let visible = (0..PARAMETERS.len()).collect();
    let mut maker = Maker { random, program, visible, fixed: Vec::new() };
    let mut body = Vec::new();
    for _ in 0..1 + maker.random.below(3) {
        body.push(maker.declaration());
    }
    for _ in 0..1 + maker.random.below(3) {
        maker.stmt(2, &mut body);
    }
    if maker.random.below(3) != 0 {
        maker.a_loop(2, &mut body);
    }
    body.push(maker.tick());
    let result = maker.expr(Ty::I64, 2);
    maker.program.body = body;
    maker.program.result = result;
    maker.program
}

impl Maker<'_> {
    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    pub(super) fn ty(&mut self) -> Ty {
        [Ty::I32, Ty::I32, Ty::I32, Ty::I64, Ty::F64][self.random.below(5)]
    }

    pub(super) fn small(&mut self) -> i64 {
        self.random.below(12) as i64 - 2
    }

    /// A variable that is not there yet; it is visible from now on.
    pub(super) fn fresh(&mut self, ty: Ty) -> Var {
        let count = self.program.variables.len();
        let mut name = NAMES[count % NAMES.len()].to_owned();
        if count >= NAMES.len() {
            name += &(count / NAMES.len()).to_string();
        }
        let var = self.program.variable(&name, ty);
        self.visible.push(var);
        var
    }

    /// A visible variable of this type.
    pub(super) fn known(&mut self, ty: Ty) -> Option<Var> {
        let of: Vec<Var> = self.visible.iter().copied().filter(|&v| self.is(v, ty)).collect();
        (!of.is_empty()).then(|| of[self.random.below(of.len())])
    }

    fn is(&self, var: Var, ty: Ty) -> bool {
        self.program.variables[var].ty == ty
    }

    /// One that may be set.
    pub(super) fn free(&mut self) -> Option<Var> {
        let free = |var: &Var| !self.fixed.contains(var) && *var >= PARAMETERS.len();
        let of: Vec<Var> = self.visible.iter().copied().filter(free).collect();
        (!of.is_empty()).then(|| of[self.random.below(of.len())])
    }

    pub(super) fn expr(&mut self, ty: Ty, depth: usize) -> Expr {
        match self.random.below(if depth == 0 { 5 } else { 14 }) {
            0 | 1 => Expr::number(ty, self.small()),
            2..5 => match self.known(ty) {
                Some(var) => Expr::Var(var),
                None => Expr::number(ty, self.small()),
            },
            5 => {
                let from = self.ty();
                self.expr(from, depth - 1).convert(from, ty)
            }
            12 | 13 => self.of_counter(ty).unwrap_or_else(|| self.expr(ty, depth - 1)),
            6 if ty == Ty::I32 => {
                let index = self.expr(Ty::I32, 0);
                // Mostly within the array.
                let mask = Expr::i32(31);
                let index = match self.random.below(3) {
                    0 => Expr::binary(Operator::And, Ty::I32, index, mask),
                    _ => index,
                };
                Expr::Element(Box::new(index))
            }
            _ => {
                use Operator::{Add, And, Mul, Sub, Xor};
                let operators = [Add, Add, Add, Mul, Mul, Sub, Xor, And];
                let operator = operators[self.random.below(if ty == Ty::F64 { 6 } else { 8 })];
                let (a, b) = (self.expr(ty, depth - 1), self.expr(ty, depth - 1));
                Expr::binary(operator, ty, a, b)
            }
        }
    }

    /// A multiple of what counts a loop, or a sum with it: what compilers make counters of.
    fn of_counter(&mut self, ty: Ty) -> Option<Expr> {
        let fits = |var: &Var| self.fixed.contains(var) && self.is(*var, ty);
        let of: Vec<Var> = self.visible.iter().copied().filter(fits).collect();
        let counter = *of.get(self.random.below(of.len().max(1)))?;
        let operator = [Operator::Add, Operator::Mul, Operator::Mul][self.random.below(3)];
        let by = Expr::number(ty, 2 + self.random.below(7) as i64);
        Some(Expr::binary(operator, ty, Expr::Var(counter), by))
    }

    pub(super) fn test(&mut self) -> Expr {
        let ty = self.ty();
        let (a, b) = (self.expr(ty, 1), self.expr(ty, 1));
        let operator = [Operator::Less, Operator::Less, Operator::Equal][self.random.below(3)];
        Expr::binary(operator, ty, a, b)
    }

    pub(super) fn declaration(&mut self) -> Stmt {
        let ty = self.ty();
        let value = match self.chance(60) {
            true => Expr::number(ty, self.small()),
            false => self.expr(ty, 2),
        };
        let var = self.fresh(ty);
        self.program.stmt(What::Let(var, value))
    }

    pub(super) fn tick(&mut self) -> Stmt {
        let ty = self.ty();
        let value = self.expr(ty, 2);
        let result = match self.chance(30) {
            true => self.free().filter(|&var| self.is(var, Ty::I32)),
            false => None,
        };
        self.program.stmt(What::Tick(value, result))
    }

    /// A variable is set, most often to something made of what it was.
    pub(super) fn set(&mut self) -> Option<Stmt> {
        let var = self.free()?;
        let ty = self.program.variables[var].ty;
        let value = self.expr(ty, 2);
        let value = match self.random.below(3) {
            0 => value,
            1 => Expr::add(ty, Expr::Var(var), value),
            _ => Expr::add(ty, Expr::Var(var), self.expr(ty, 0)),
        };
        Some(self.program.stmt(What::Set(var, value)))
    }

    pub(super) fn stmt(&mut self, depth: usize, list: &mut Vec<Stmt>) {
        match self.random.below(if depth == 0 { 9 } else { 14 }) {
            0 | 1 => {
                let stmt = self.declaration();
                list.push(stmt);
            }
            2..5 => list.extend(self.set()),
            5 => {
                let index = self.expr(Ty::I32, 1);
                let mask = Expr::i32(63);
                let index = Expr::binary(Operator::And, Ty::I32, index, mask);
                let value = self.expr(Ty::I32, 1);
                list.push(self.program.stmt(What::Store(index, value)));
            }
            6..9 => {
                let stmt = self.tick();
                list.push(stmt);
            }
            9 | 10 => {
                let test = self.test();
                let yes = self.inside(depth - 1, 1);
                let no = if self.chance(40) { self.inside(depth - 1, 1) } else { Vec::new() };
                list.push(self.program.stmt(What::If(test, yes, no)));
            }
            _ => self.a_loop(depth, list),
        }
    }

    /// A list of its own, of about so many statements.
    fn inside(&mut self, depth: usize, count: usize) -> Vec<Stmt> {
        let (outside, mut list) = (self.visible.len(), Vec::new());
        for _ in 0..count + self.random.below(2) {
            self.stmt(depth, &mut list);
        }
        self.visible.truncate(outside);
        list
    }

    fn loop_body(&mut self, depth: usize) -> Vec<Stmt> {
        let mut body = self.inside(depth - 1, 1);
        if self.chance(70) {
            body.extend(self.set());
        }
        if self.chance(75) {
            let at = self.random.below(body.len() + 1);
            let tick = self.tick();
            body.insert(at, tick);
        }
        body
    }

    pub(super) fn a_loop(&mut self, depth: usize, list: &mut Vec<Stmt>) {
        match self.random.below(4) {
            0 => {
                // As long as the host answers so.
                let go = self.fresh(Ty::I32);
                list.push(self.program.stmt(What::Let(go, Expr::i32(1))));
                self.fixed.push(go);
                let mut body = self.loop_body(depth);
                let value = self.expr(Ty::I32, 1);
                body.push(self.program.stmt(What::Tick(value, Some(go))));
                let test = match self.chance(70) {
                    true => Expr::Var(go),
                    false => Expr::binary(Operator::Less, Ty::I32, Expr::i32(-1), Expr::Var(go)),
                };
                list.push(self.program.stmt(What::While(test, body)));
            }
            1 => {
                let ty = if self.chance(70) { Ty::I32 } else { self.ty() };
                let (var, start) = (self.fresh(ty), self.small());
                list.push(self.program.stmt(What::Let(var, Expr::number(ty, start))));
                self.fixed.push(var);
                let step = 1 + self.random.below(3) as i64;
                let rounds = 2 + self.random.below(4) as i64;
                let mut body = self.loop_body(depth);
                let next = Expr::add(ty, Expr::Var(var), Expr::number(ty, step));
                let set = self.program.stmt(What::Set(var, next));
                let at = if self.chance(70) { body.len() } else { 0 };
                body.insert(at, set);
                let bound = Expr::number(ty, start + rounds * step);
                let test = Expr::binary(Operator::Less, ty, Expr::Var(var), bound);
                list.push(self.program.stmt(What::While(test, body)));
            }
            _ => {
                let ty = if self.chance(85) { Ty::I32 } else { Ty::I64 };
                let start = if self.chance(70) { 0 } else { self.small() };
                let step = if self.chance(70) { 1 } else { 1 + self.random.below(4) as i64 };
                let rounds = 2 + self.random.below(4) as i64;
                let bound = match self.known(ty).filter(|_| self.chance(25)) {
                    Some(known) => Expr::Var(known),
                    None => Expr::number(ty, start + rounds * step),
                };
                let outside = self.visible.len();
                let var = self.fresh(ty);
                self.fixed.push(var);
                let body = self.loop_body(depth);
                self.visible.truncate(outside);
                let start = Expr::number(ty, start);
                list.push(self.program.stmt(What::For(var, start, bound, step, body)));
            }
        }
    }
}
