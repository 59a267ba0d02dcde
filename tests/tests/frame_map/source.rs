//! Random functions, and random edits of them.

use proptest::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ty {
    I32,
    I64,
    F32,
    F64,
}

/// A value of the type that is wanted where it stands.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Const(i8),
    /// One of the locals of the type.
    Local(u8),
    Add(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug)]
pub(super) enum Stmt {
    Set(u8, Expr),
    /// Calls one of the two imports, and keeps the result.
    Call {
        import: bool,
        argument: Expr,
        result: u8,
    },
    Loop(u8, Vec<Stmt>),
    /// A loop that takes a value of the local's type on the operand stack and hands it on from round to round,
    /// until the local gets it.
    Carry(u8, u8, Expr, Vec<Stmt>),
    Block(Vec<Stmt>),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// A value waits on the operand stack.
    Hold(u8, Expr, Vec<Stmt>),
}

/// A function: its parameters are the first `PARAMS` locals.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) locals: Vec<Ty>,
    pub(super) body: Vec<Stmt>,
}

pub(super) const PARAMS: usize = 2;

/// What an editor does to a function. Positions count statements from the first on.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Insert(u8, Stmt),
    Delete(u8),
    Wrap(u8),
    Hold(u8, u8),
    Constant(u8, i8),
    AddLocal(Ty),
    DropLocal,
    Retype(u8, Ty),
}

pub(super) fn ty() -> impl Strategy<Value = Ty> {
    prop_oneof![Just(Ty::I32), Just(Ty::I64), Just(Ty::F32), Just(Ty::F64)]
}

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![any::<i8>().prop_map(Expr::Const), any::<u8>().prop_map(Expr::Local)];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), inner).prop_map(|(a, b)| Expr::Add(Box::new(a), Box::new(b)))
    })
}

pub(super) fn call() -> impl Strategy<Value = Stmt> {
    (any::<bool>(), expr(), any::<u8>()).prop_map(|(import, argument, result)| Stmt::Call {
        import,
        argument,
        result,
    })
}

pub(super) fn stmt() -> impl Strategy<Value = Stmt> {
    let set = (any::<u8>(), expr()).prop_map(|(local, value)| Stmt::Set(local, value));
    prop_oneof![1 => set, 2 => call()].prop_recursive(3, 16, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            (1u8..4, list()).prop_map(|(count, body)| Stmt::Loop(count, body)),
            carry(list()),
            list().prop_map(Stmt::Block),
            (expr(), list(), list()).prop_map(|(c, a, b)| Stmt::If(c, a, b)),
            (any::<u8>(), expr(), list()).prop_map(|(l, value, body)| Stmt::Hold(l, value, body)),
        ]
    })
}

fn carry(body: impl Strategy<Value = Vec<Stmt>>) -> impl Strategy<Value = Stmt> {
    (1u8..4, any::<u8>(), expr(), body)
        .prop_map(|(count, local, value, body)| Stmt::Carry(count, local, value, body))
}

/// The last statement makes sure that there is a call and a loop.
pub(super) fn source() -> impl Strategy<Value = Source> {
    let last = carry(proptest::collection::vec(call(), 1..2));
    (proptest::collection::vec(ty(), PARAMS..7), proptest::collection::vec(stmt(), 1..6), last)
        .prop_map(|(locals, mut body, last)| {
            body.push(last);
            Source { locals, body }
        })
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (any::<u8>(), stmt()).prop_map(|(at, stmt)| Edit::Insert(at, stmt)),
        2 => any::<u8>().prop_map(Edit::Delete),
        1 => any::<u8>().prop_map(Edit::Wrap),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(at, local)| Edit::Hold(at, local)),
        3 => (any::<u8>(), any::<i8>()).prop_map(|(at, value)| Edit::Constant(at, value)),
        2 => ty().prop_map(Edit::AddLocal),
        1 => Just(Edit::DropLocal),
        1 => (any::<u8>(), ty()).prop_map(|(local, ty)| Edit::Retype(local, ty)),
    ]
}

/// How many statements there are, those within others included.
pub(super) fn count(list: &[Stmt]) -> usize {
    let inner = |stmt: &Stmt| match stmt {
        Stmt::Loop(_, a) | Stmt::Block(a) | Stmt::Hold(_, _, a) | Stmt::Carry(_, _, _, a) => {
            count(a)
        }
        Stmt::If(_, a, b) => count(a) + count(b),
        Stmt::Set(..) | Stmt::Call { .. } => 0,
    };
    list.iter().map(|stmt| 1 + inner(stmt)).sum()
}

/// Runs `f` on the list that statement `at` is in, and its index there.
pub(super) fn at_statement(
    list: &mut Vec<Stmt>,
    at: &mut usize,
    f: &mut dyn FnMut(&mut Vec<Stmt>, usize),
) -> bool {
    for i in 0..list.len() {
        if *at == 0 {
            f(list, i);
            return true;
        }
        *at -= 1;
        let found = match &mut list[i] {
            Stmt::Loop(_, a) | Stmt::Block(a) | Stmt::Hold(_, _, a) | Stmt::Carry(_, _, _, a) => {
                at_statement(a, at, f)
            }
            Stmt::If(_, a, b) => at_statement(a, at, f) || at_statement(b, at, f),
            Stmt::Set(..) | Stmt::Call { .. } => false,
        };
        if found {
            return true;
        }
    }
    false
}

impl Source {
    pub(super) fn edit(&self, edit: &Edit) -> Source {
        let mut new = self.clone();
        let statements = count(&new.body).max(1);
        let mut change = |at: u8, f: &mut dyn FnMut(&mut Vec<Stmt>, usize)| {
            at_statement(&mut new.body, &mut (usize::from(at) % statements), f);
        };
        match edit {
            Edit::Insert(at, stmt) => change(*at, &mut |list, i| list.insert(i, stmt.clone())),
            Edit::Delete(at) => change(*at, &mut |list, i| drop(list.remove(i))),
            Edit::Wrap(at) => change(*at, &mut |list, i| {
                let stmt = list.remove(i);
                list.insert(i, Stmt::Block(vec![stmt]));
            }),
            Edit::Hold(at, local) => change(*at, &mut |list, i| {
                let stmt = list.remove(i);
                list.insert(i, Stmt::Hold(*local, Expr::Local(*local), vec![stmt]));
            }),
            Edit::Constant(at, value) => change(*at, &mut |list, i| match &mut list[i] {
                Stmt::Set(_, expr)
                | Stmt::Call { argument: expr, .. }
                | Stmt::If(expr, ..)
                | Stmt::Hold(_, expr, _) => *expr = Expr::Const(*value),
                Stmt::Loop(count, _) | Stmt::Carry(count, ..) => {
                    *count = 1 + value.unsigned_abs() % 4
                }
                Stmt::Block(_) => {}
            }),
            Edit::AddLocal(ty) => new.locals.push(*ty),
            Edit::DropLocal => new.locals.truncate(PARAMS.max(new.locals.len() - 1)),
            Edit::Retype(local, ty) => {
                let declared = new.locals.len() - PARAMS;
                if declared > 0 {
                    new.locals[PARAMS + usize::from(*local) % declared] = *ty;
                }
            }
        }
        new
    }
}
