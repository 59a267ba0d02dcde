//! The language: functions of integers, as source, as bytecode for a stack machine, and interpreted.
//!
//! ```text
//! function = name "(" [name {"," name}] ")" "=" expression
//! expression = "if" expression "then" expression "else" expression | sum
//! sum = product {("+" | "-") product}        product = atom {"*" atom}
//! atom = number | name | name "(" [expression {"," expression}] ")" | "(" expression ")"
//! ```
//!
//! Every value is a 64-bit integer, and what is not 0 is true.

/// An operation. Those before a place in the bytecode fix how many values lie on the operand stack there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Op {
    Const(i64),
    Parameter(usize),
    Add,
    Subtract,
    Multiply,
    /// Takes a value and goes on at that place if it is 0.
    JumpIfZero(usize),
    Jump(usize),
    /// Calls the function of that number with so many arguments from the operand stack.
    Call(usize, usize),
    Return,
}

/// A function in bytecode.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub parameters: usize,
    /// Each operation, with the number of values on the operand stack before it.
    pub code: Vec<(Op, usize)>,
}

impl Function {
    /// Where the calls are, in order.
    pub fn calls(&self) -> impl Iterator<Item = usize> {
        (0..self.code.len()).filter(|&at| matches!(self.code[at].0, Op::Call(..)))
    }

    /// How many values the frame has while the call at this place is under way: the parameters, then what lies on
    /// the operand stack below the call's arguments.
    pub fn frame_len(&self, call: usize) -> usize {
        let (Op::Call(_, arguments), depth) = self.code[call] else {
            panic!("no call at {call}");
        };
        self.parameters + depth - arguments
    }

    /// Goes on at a place in the bytecode, with these parameters and values on the operand stack. `call` calls
    /// functions; its `None`, that a call has trapped, is handed on.
    pub fn interpret(
        &self,
        mut at: usize,
        mut frame: Vec<i64>,
        call: impl Fn(usize, &[i64]) -> Option<i64>,
    ) -> Option<i64> {
        loop {
            let mut pop = || frame.pop().expect("the parser has counted");
            let result = match self.code[at].0 {
                Op::Const(value) => value,
                Op::Parameter(n) => frame[n],
                Op::Add => pop().wrapping_add(pop()),
                Op::Multiply => pop().wrapping_mul(pop()),
                Op::Subtract => {
                    let right = pop();
                    pop().wrapping_sub(right)
                }
                Op::JumpIfZero(to) => {
                    at = if pop() == 0 { to } else { at + 1 };
                    continue;
                }
                Op::Jump(to) => {
                    at = to;
                    continue;
                }
                Op::Call(callee, arguments) => {
                    let arguments = frame.split_off(frame.len() - arguments);
                    call(callee, &arguments)?
                }
                Op::Return => return frame.pop(),
            };
            frame.push(result);
            at += 1;
        }
    }
}

/// Parses one function; `names` are those that it may call, by number.
pub fn parse(source: &str, names: &[&str]) -> Result<Function, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (token, after) = rest.split_at(word.max(first.len_utf8()));
        tokens.push(token);
        rest = after.trim_start();
    }
    let parser =
        Parser { tokens: &tokens, names, parameters: Vec::new(), code: Vec::new(), depth: 0 };
    parser.function()
}

struct Parser<'a> {
    /// What has not been read yet.
    tokens: &'a [&'a str],
    names: &'a [&'a str],
    parameters: Vec<&'a str>,
    code: Vec<(Op, usize)>,
    /// Values on the operand stack.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let (first, rest) = self.tokens.split_first().ok_or("the source ends too early")?;
        self.tokens = rest;
        Ok(first)
    }

    /// Reads this token if it is the next one.
    fn skip(&mut self, token: &str) -> bool {
        let is_next = self.tokens.first() == Some(&token);
        self.tokens = &self.tokens[usize::from(is_next)..];
        is_next
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.skip(token) { Ok(()) } else { Err(format!("`{token}` is missing")) }
    }

    fn emit(&mut self, op: Op) {
        self.code.push((op, self.depth));
        match op {
            Op::Const(_) | Op::Parameter(_) => self.depth += 1,
            Op::Call(_, arguments) => self.depth = self.depth + 1 - arguments,
            Op::Jump(_) => {}
            Op::Add | Op::Subtract | Op::Multiply | Op::JumpIfZero(_) | Op::Return => {
                self.depth -= 1;
            }
        }
    }

    fn function(mut self) -> Result<Function, String> {
        let name = self.next()?.to_owned();
        self.expect("(")?;
        while !self.skip(")") {
            let parameter = self.next()?;
            self.parameters.push(parameter);
            self.skip(",");
        }
        self.expect("=")?;
        self.expression()?;
        self.emit(Op::Return);
        if let Some(token) = self.tokens.first() {
            return Err(format!("`{token}` behind the end of {name}"));
        }
        Ok(Function { name, parameters: self.parameters.len(), code: self.code })
    }

    fn expression(&mut self) -> Result<(), String> {
        if !self.skip("if") {
            return self.sum();
        }
        self.expression()?;
        self.expect("then")?;
        let branch = self.code.len();
        self.emit(Op::JumpIfZero(0));
        let depth = self.depth;
        self.expression()?;
        self.expect("else")?;
        let jump = self.code.len();
        self.emit(Op::Jump(0));
        self.depth = depth;
        self.code[branch].0 = Op::JumpIfZero(self.code.len());
        self.expression()?;
        self.code[jump].0 = Op::Jump(self.code.len());
        Ok(())
    }

    fn sum(&mut self) -> Result<(), String> {
        self.product()?;
        loop {
            let op = match self.tokens.first() {
                Some(&"+") => Op::Add,
                Some(&"-") => Op::Subtract,
                _ => return Ok(()),
            };
            self.next()?;
            self.product()?;
            self.emit(op);
        }
    }

    fn product(&mut self) -> Result<(), String> {
        self.atom()?;
        while self.skip("*") {
            self.atom()?;
            self.emit(Op::Multiply);
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<(), String> {
        let token = self.next()?;
        if token == "(" {
            self.expression()?;
            return self.expect(")");
        }
        if let Ok(number) = token.parse() {
            self.emit(Op::Const(number));
            return Ok(());
        }
        if !self.skip("(") {
            let found = self.parameters.iter().position(|name| *name == token);
            self.emit(Op::Parameter(found.ok_or_else(|| format!("no parameter `{token}`"))?));
            return Ok(());
        }
        let found = self.names.iter().position(|name| *name == token);
        let callee = found.ok_or_else(|| format!("no function `{token}`"))?;
        let mut arguments = 0;
        while !self.skip(")") {
            self.expression()?;
            arguments += 1;
            self.skip(",");
        }
        self.emit(Op::Call(callee, arguments));
        Ok(())
    }
}
