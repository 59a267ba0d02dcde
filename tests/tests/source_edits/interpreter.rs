//! Runs the language as it is written: what a program shows, and the state in which it does so.

use super::language::{Expr, Id, Operator, Path, Program, Stmt, Ty, Var, What};
use std::collections::HashMap;

/// The array lies there in the guest's memory, which is one page.
pub(super) const ARRAY: i32 = 1024;
/// Elements that do not begin as zeros.
pub(super) const ELEMENTS: i32 = 64;
pub(super) const MEMORY: usize = 65536;
/// The host wants to see no more than so much.
pub(super) const MOST_TICKS: usize = 40;
/// Statements that may be run.
const MOST_STEPS: usize = 4_000;

/// What element `i` begins with.
pub(super) fn element(i: i32) -> i32 {
    i * i * 7 + 3
}

/// What the host answers to a tick. Mostly not 0.
pub(super) fn answer(site: Id, count: usize) -> i32 {
    let mixed = (u64::from(site) * 31 + count as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 60) as i32
}

/// What a program shows to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    Tick(Id, i64),
    /// It ends with this result.
    Result(i64),
    /// It ends with a trap.
    Trap,
    /// It does not end. No program that is run does this.
    Endless,
}

/// What is known of variables, by their bits.
pub(super) type Environment = Vec<Option<u64>>;

/// The state in a tick.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) site: Id,
    pub(super) variables: Environment,
    pub(super) memory: Vec<u8>,
    pub(super) shown: Vec<Shown>,
    /// The variables when each statement was last begun.
    pub(super) before: HashMap<Id, Environment>,
}

/// Why a program does not go on.
enum Stop {
    /// It is in the tick that was asked for.
    Suspended(Id),
    /// The host has seen enough.
    Enough,
    Trap,
    TooLong,
}

/// What became of a program.
pub(super) enum End {
    Suspended(Box<State>),
    /// What it has shown altogether.
    Shown(Vec<Shown>),
    TooLong,
}

struct Machine<'a> {
    program: &'a Program,
    variables: Environment,
    memory: Vec<u8>,
    shown: Vec<Shown>,
    before: HashMap<Id, Environment>,
    suspend_in: Option<usize>,
    /// The tick in which it was, if it goes on.
    was_in: Option<Id>,
    /// Whether ticks show nothing, and are not answered.
    is_mute: bool,
    steps: usize,
}

impl<'a> Machine<'a> {
    fn new(program: &'a Program, variables: Environment, memory: Vec<u8>) -> Machine<'a> {
        Machine {
            program,
            variables,
            memory,
            shown: Vec::new(),
            before: HashMap::new(),
            suspend_in: None,
            was_in: None,
            is_mute: false,
            steps: 0,
        }
    }
}

/// Runs a program, which has no `for`, from its beginning to the tick of this number, counted from 1.
pub(super) fn run(program: &Program, arguments: [u64; 2], suspend_in: Option<usize>) -> End {
    let mut memory = vec![0; MEMORY];
    for i in 0..ELEMENTS {
        let at = (ARRAY + 4 * i) as usize;
        memory[at..at + 4].copy_from_slice(&element(i).to_le_bytes());
    }
    let mut variables = vec![None; program.variables.len()];
    for (variable, argument) in variables.iter_mut().zip(arguments) {
        *variable = Some(argument);
    }
    Machine { suspend_in, ..Machine::new(program, variables, memory) }.finish(&[])
}

/// Goes on in another program, behind the tick that `path` leads to.
pub(super) fn go_on(program: &Program, state: &State, variables: Environment, path: &Path) -> End {
    let machine = Machine::new(program, variables, state.memory.clone());
    let (shown, was_in) = (state.shown.clone(), Some(state.site));
    Machine { shown, was_in, ..machine }.finish(path)
}

/// What variables are behind a statement, whose ticks show nothing and are not answered; `None` if it needs an answer or
/// does not end.
pub(super) fn after(
    program: &Program,
    stmt: &Stmt,
    variables: Environment,
    memory: &[u8],
) -> Option<Environment> {
    let mut machine =
        Machine { is_mute: true, ..Machine::new(program, variables, memory.to_vec()) };
    machine.stmt(stmt).ok()?;
    Some(machine.variables)
}

impl Machine<'_> {
    fn finish(mut self, path: &[usize]) -> End {
        let ended = self.list(&self.program.body, path).and_then(|()| {
            let result = self.value(&self.program.result)?;
            self.shown.push(Shown::Result(result as i64));
            Ok(())
        });
        match ended {
            Ok(()) | Err(Stop::Enough) => End::Shown(self.shown),
            Err(Stop::Trap) => {
                self.shown.push(Shown::Trap);
                End::Shown(self.shown)
            }
            Err(Stop::TooLong) => End::TooLong,
            Err(Stop::Suspended(site)) => {
                let Machine { variables, memory, shown, before, .. } = self;
                End::Suspended(Box::new(State { site, variables, memory, shown, before }))
            }
        }
    }

    /// Runs a list, from inside the statement that `path` leads to if that is not empty.
    fn list(&mut self, list: &[Stmt], path: &[usize]) -> Result<(), Stop> {
        let Some((&at, rest)) = path.split_first() else {
            return list.iter().try_for_each(|stmt| self.stmt(stmt));
        };
        self.resume(&list[at], rest)?;
        list[at + 1..].iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn resume(&mut self, stmt: &Stmt, path: &[usize]) -> Result<(), Stop> {
        let Some((&which, rest)) = path.split_first() else {
            let What::Tick(_, result) = stmt.what else { unreachable!("only ticks are resumed") };
            return self.answered(self.was_in.unwrap_or(stmt.id), result);
        };
        self.list(stmt.lists()[which], rest)?;
        match stmt.what {
            What::While(..) => self.stmt(stmt),
            _ => Ok(()),
        }
    }

    fn answered(&mut self, site: Id, result: Option<Var>) -> Result<(), Stop> {
        if let Some(result) = result {
            self.variables[result] = Some(u64::from(answer(site, self.shown.len()) as u32));
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(Stop::TooLong);
        }
        if self.suspend_in.is_some() {
            self.before.insert(stmt.id, self.variables.clone());
        }
        match &stmt.what {
            What::Let(var, value) | What::Set(var, value) => {
                self.variables[*var] = Some(self.value(value)?);
            }
            What::Store(at, value) => {
                let (at, value) = (self.value(at)?, self.value(value)?);
                let address = element_address(at);
                let bytes = self.memory.get_mut(address..address + 4).ok_or(Stop::Trap)?;
                bytes.copy_from_slice(&(value as u32).to_le_bytes());
            }
            What::Tick(_, result) if self.is_mute => {
                if let Some(result) = result {
                    self.variables[*result] = None;
                }
            }
            What::Tick(value, result) => {
                let (ty, value) = (self.program.ty(value), self.value(value)?);
                let value = convert(ty, Ty::I64, value) as i64;
                self.shown.push(Shown::Tick(stmt.id, value));
                if self.suspend_in == Some(self.shown.len()) {
                    return Err(Stop::Suspended(stmt.id));
                }
                if self.shown.len() == MOST_TICKS {
                    return Err(Stop::Enough);
                }
                self.answered(stmt.id, *result)?;
            }
            What::If(test, yes, no) => {
                let list = if self.value(test)? as u32 != 0 { yes } else { no };
                self.list(list, &[])?;
            }
            What::While(test, body) => {
                while self.value(test)? as u32 != 0 {
                    self.list(body, &[])?;
                    self.steps += 1;
                    if self.steps > MOST_STEPS {
                        return Err(Stop::TooLong);
                    }
                }
            }
            What::DoWhile(body, test) => loop {
                self.list(body, &[])?;
                self.steps += 1;
                if self.steps > MOST_STEPS {
                    return Err(Stop::TooLong);
                }
                if self.value(test)? as u32 == 0 {
                    break;
                }
            },
            What::For(..) | What::Unrolled(..) => {
                unreachable!("only what is plain is run")
            }
        }
        Ok(())
    }

    fn value(&self, expr: &Expr) -> Result<u64, Stop> {
        value(expr, &|var| self.variables[var], &self.memory).ok_or(Stop::Trap)
    }
}

fn element_address(index: u64) -> usize {
    (index as u32).wrapping_mul(4).wrapping_add(ARRAY as u32) as usize
}

/// The value of an expression, if it has one.
pub(super) fn value(expr: &Expr, of: &dyn Fn(Var) -> Option<u64>, memory: &[u8]) -> Option<u64> {
    Some(match expr {
        Expr::Const(_, bits) => *bits,
        Expr::Var(var) => of(*var)?,
        Expr::Binary(operator, ty, a, b) => {
            binary(*operator, *ty, value(a, of, memory)?, value(b, of, memory)?)
        }
        Expr::Convert(from, to, a) => convert(*from, *to, value(a, of, memory)?),
        Expr::Element(a) => {
            let address = element_address(value(a, of, memory)?);
            let bytes = memory.get(address..address + 4)?;
            u64::from(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
        }
        Expr::Load(_) => unreachable!("only compilers make it"),
    })
}

pub(super) fn binary(operator: Operator, ty: Ty, a: u64, b: u64) -> u64 {
    match ty {
        Ty::I32 => {
            let (a, b) = (a as i32, b as i32);
            let result = match operator {
                Operator::Add => a.wrapping_add(b),
                Operator::Sub => a.wrapping_sub(b),
                Operator::Mul => a.wrapping_mul(b),
                Operator::And => a & b,
                Operator::Xor => a ^ b,
                Operator::Less => i32::from(a < b),
                Operator::Equal => i32::from(a == b),
            };
            u64::from(result as u32)
        }
        Ty::I64 => {
            let (a, b) = (a as i64, b as i64);
            let result = match operator {
                Operator::Add => a.wrapping_add(b),
                Operator::Sub => a.wrapping_sub(b),
                Operator::Mul => a.wrapping_mul(b),
                Operator::And => a & b,
                Operator::Xor => a ^ b,
                Operator::Less => i64::from(a < b),
                Operator::Equal => i64::from(a == b),
            };
            result as u64
        }
        Ty::F64 => {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            match operator {
                Operator::Add => (a + b).to_bits(),
                Operator::Sub => (a - b).to_bits(),
                Operator::Mul => (a * b).to_bits(),
                Operator::Less => u64::from(a < b),
                Operator::Equal => u64::from(a == b),
                Operator::And | Operator::Xor => unreachable!("not of floats"),
            }
        }
    }
}

pub(super) fn convert(from: Ty, to: Ty, value: u64) -> u64 {
    let number = match from {
        Ty::I32 => i64::from(value as i32),
        Ty::I64 => value as i64,
        Ty::F64 => match to {
            Ty::I32 => i64::from(f64::from_bits(value) as i32),
            Ty::I64 => f64::from_bits(value) as i64,
            Ty::F64 => return value,
        },
    };
    match to {
        Ty::I32 => u64::from(number as u32),
        Ty::I64 => number as u64,
        Ty::F64 => (number as f64).to_bits(),
    }
}
