//! Bodies of functions: statements, loops, branches and calls.

use super::choices::Choices;
use super::{BUDGET_GLOBAL, Limits, MAX_DEPTH, MAX_OPERATORS, Signature, TABLE, TYPES, type_index};
use wasm_encoder::{BlockType, Function, HeapType, Instruction, RefType, ValType};

/// The body of a function in the making.
pub(super) struct Body<'c, 'b> {
    pub(super) choices: &'c mut Choices<'b>,
    types: &'c mut Vec<Signature>,
    callees: &'c [Signature],
    imports: usize,
    signature: &'c Signature,
    limits: &'c Limits,
    /// The function that makes addresses: see [`super::address_function`].
    pub(super) address: u32,
    /// Types of all locals, parameters first. Loop counters are not in it.
    locals: Vec<ValType>,
    /// The local that holds an exception, if there is one.
    exception: Option<u32>,
    /// Locals that count iterations.
    counters: Vec<u32>,
    /// Types of all declared locals.
    declared: Vec<ValType>,
    /// Locals that hold references to functions of these types.
    references: Vec<(RefType, u32)>,
    /// For every enclosing block and loop, innermost last: what a branch to it takes, or `None` if
    /// nothing branches there (loops, whose iterations are bounded otherwise).
    pub(super) labels: Vec<Option<Vec<ValType>>>,
    depth: u32,
    code: Vec<Instruction<'static>>,
}

impl<'c, 'b> Body<'c, 'b> {
    pub(super) fn new(
        choices: &'c mut Choices<'b>,
        types: &'c mut Vec<Signature>,
        callees: &'c [Signature],
        (imports, address): (usize, u32),
        signature: &'c Signature,
        limits: &'c Limits,
    ) -> Body<'c, 'b> {
        let mut declared = TYPES.to_vec();
        let more = choices.below(8);
        declared.extend((0..more).map(|_| choices.of(&TYPES)));
        let locals = signature.params.iter().chain(&declared).copied().collect();
        Body {
            choices,
            types,
            callees,
            imports,
            signature,
            limits,
            address,
            locals,
            exception: None,
            counters: Vec::new(),
            declared,
            references: Vec::new(),
            labels: Vec::new(),
            depth: 0,
            code: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Function {
        let results = self.signature.results.clone();
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Eqz);
        self.emit(Instruction::If(BlockType::Empty));
        for &ty in &results {
            self.zero(ty);
        }
        self.emit(Instruction::Return);
        self.emit(Instruction::End);
        self.spend();
        self.labels.push(Some(results.clone()));
        for (param, ty) in (0..).zip(self.signature.params.clone()) {
            self.record(param, ty);
        }
        for _ in 0..1 + self.choices.below(8) {
            self.statement();
        }
        let alike = self.alike();
        if self.limits.tail_calls && !alike.is_empty() && self.choices.one_in(5) {
            let callee = self.choices.of(&alike);
            self.tail_call(callee);
        } else {
            for ty in results {
                if self.choices.one_in(2) {
                    self.narrowed(ty);
                } else {
                    self.expression(ty);
                }
            }
        }
        self.emit(Instruction::End);
        let mut function = Function::new(self.declared.iter().map(|&ty| (1, ty)));
        for instruction in &self.code {
            function.instruction(instruction);
        }
        function
    }

    pub(super) fn emit(&mut self, instruction: Instruction<'static>) {
        self.code.push(instruction);
    }

    /// Takes one from the budget.
    fn spend(&mut self) {
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(1));
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::GlobalSet(BUDGET_GLOBAL));
    }

    fn zero(&mut self, ty: ValType) {
        self.emit(match ty {
            ValType::I64 => Instruction::I64Const(0),
            ValType::F32 => Instruction::F32Const(0.0.into()),
            ValType::F64 => Instruction::F64Const(0.0.into()),
            ValType::V128 => Instruction::V128Const(0),
            _ => Instruction::I32Const(0),
        });
    }

    fn constant(&mut self, ty: ValType) {
        let number = self.choices.number();
        let high = if ty == ValType::V128 { self.choices.number() } else { 0 };
        self.emit(match ty {
            ValType::I64 => Instruction::I64Const(number),
            ValType::F32 => Instruction::F32Const((number as f32 / 8.0).into()),
            ValType::F64 => Instruction::F64Const((number as f64 / 8.0).into()),
            ValType::V128 => {
                Instruction::V128Const(i128::from(high) << 64 | i128::from(number as u64))
            }
            _ => Instruction::I32Const(number as i32),
        });
    }

    /// A local of this type: there always is one.
    pub(super) fn local(&mut self, ty: ValType) -> u32 {
        let locals: Vec<u32> = (0..self.locals.len() as u32)
            .filter(|&index| self.locals[index as usize] == ty)
            .collect();
        self.choices.of(&locals)
    }

    pub(super) fn global(ty: ValType) -> u32 {
        1 + TYPES.iter().position(|&t| t == ty).expect("a known type") as u32
    }

    /// A counter that no enclosing loop uses.
    fn new_counter(&mut self) -> u32 {
        let counter = (self.signature.params.len() + self.declared.len()) as u32;
        self.declared.push(ValType::I32);
        self.locals.push(ValType::FUNCREF); // Never chosen.
        self.counters.push(counter);
        counter
    }

    /// A local for exceptions.
    pub(super) fn exception_local(&mut self) -> u32 {
        if let Some(local) = self.exception {
            return local;
        }
        let local = (self.signature.params.len() + self.declared.len()) as u32;
        self.declared.push(ValType::Ref(RefType::EXNREF));
        self.locals.push(ValType::FUNCREF); // Never chosen.
        self.exception = Some(local);
        local
    }

    /// The index of a type.
    pub(super) fn type_of(&mut self, params: Vec<ValType>, results: Vec<ValType>) -> u32 {
        type_index(self.types, &Signature { params, results })
    }

    fn is_full(&self) -> bool {
        self.depth >= MAX_DEPTH || self.code.len() > MAX_OPERATORS
    }

    /// Pushes one value.
    pub(super) fn expression(&mut self, ty: ValType) {
        if self.is_full() {
            let local = self.local(ty);
            return self.emit(Instruction::LocalGet(local));
        }
        self.depth += 1;
        if self.limits.exceptions && self.choices.one_in(8) {
            self.guarded(ty);
            self.depth -= 1;
            return;
        }
        let is_integer = matches!(ty, ValType::I32 | ValType::I64);
        if self.limits.atomics && is_integer && self.choices.one_in(6) {
            self.atomic(ty);
            self.depth -= 1;
            return;
        }
        match self.choices.below(24) {
            0 => self.constant(ty),
            1 | 2 => {
                let local = self.local(ty);
                self.emit(Instruction::LocalGet(local));
            }
            3 => {
                self.expression(ty);
                let local = self.local(ty);
                self.emit(Instruction::LocalTee(local));
            }
            4 => self.emit(Instruction::GlobalGet(Self::global(ty))),
            5..=8 => self.binary(ty),
            9 => self.unary(ty),
            10 => self.conversion(ty),
            11 => self.load(ty),
            12 => {
                self.expression(ty);
                self.expression(ty);
                self.expression(ValType::I32);
                self.emit(Instruction::Select);
            }
            13 => {
                self.expression(ValType::I32);
                self.emit(Instruction::If(BlockType::Result(ty)));
                self.labels.push(Some(vec![ty]));
                self.expression(ty);
                self.emit(Instruction::Else);
                self.expression(ty);
                self.end();
            }
            14 => {
                self.emit(Instruction::Block(BlockType::Result(ty)));
                self.labels.push(Some(vec![ty]));
                self.statement();
                self.expression(ty);
                self.maybe_branch(&[ty]);
                self.end();
            }
            15 | 16 => self.loop_with_values(&[ty]),
            17 => {
                // A loop that carries several values, all but one of which are then dropped.
                let mut types: Vec<ValType> = vec![ty];
                for _ in 0..self.choices.below(4) {
                    types.push(self.choices.of(&TYPES));
                }
                self.loop_with_values(&types);
                for &ty in types[1..].iter().rev() {
                    let local = self.local(ty);
                    self.emit(Instruction::LocalSet(local));
                }
            }
            18 => self.narrowed(ty),
            19 | 20 => self.widened(ty),
            _ => self.call_for(ty),
        }
        self.depth -= 1;
    }

    pub(super) fn end(&mut self) {
        self.emit(Instruction::End);
        self.labels.pop();
    }

    /// A loop with these types as parameters and results, entered with values of theirs.
    fn loop_with_values(&mut self, types: &[ValType]) {
        for &ty in types {
            self.expression(ty);
        }
        let signature = Signature { params: types.to_vec(), results: types.to_vec() };
        let ty = BlockType::FunctionType(type_index(self.types, &signature));
        let counter = self.start_counter();
        self.emit(Instruction::Loop(ty));
        self.labels.push(None);
        // The topmost value changes in each iteration; the others wait below.
        let last = types[types.len() - 1];
        let local = self.local(last);
        self.emit(Instruction::LocalSet(local));
        self.statement();
        self.expression(last);
        self.iterate(counter);
        self.end();
    }

    fn start_counter(&mut self) -> u32 {
        let counter = self.new_counter();
        let iterations = 1 + self.choices.below(self.limits.iterations) as i32;
        self.emit(Instruction::I32Const(iterations));
        self.emit(Instruction::LocalSet(counter));
        counter
    }

    /// Goes back to the innermost loop while its counter and the budget last.
    fn iterate(&mut self, counter: u32) {
        if self.limits.crew {
            self.crew_iteration(counter);
        }
        self.emit(Instruction::LocalGet(counter));
        self.emit(Instruction::I32Const(1));
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::LocalTee(counter));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::I32And);
        self.spend_if_positive();
        self.emit(Instruction::BrIf(0));
    }

    /// Takes one from the budget unless it is used up.
    fn spend_if_positive(&mut self) {
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::GlobalGet(BUDGET_GLOBAL));
        self.emit(Instruction::I32Const(0));
        self.emit(Instruction::I32GtS);
        self.emit(Instruction::I32Sub);
        self.emit(Instruction::GlobalSet(BUDGET_GLOBAL));
    }

    /// Perhaps branches to an enclosing block that takes the types on top of the stack.
    fn maybe_branch(&mut self, types: &[ValType]) {
        let targets: Vec<u32> = (0..self.labels.len() as u32)
            .filter(|&depth| {
                let label = &self.labels[self.labels.len() - 1 - depth as usize];
                label.as_deref() == Some(types)
            })
            .collect();
        if targets.is_empty() || self.choices.one_in(3) {
            return;
        }
        self.expression(ValType::I32);
        if self.choices.one_in(3) {
            let list: Vec<u32> =
                (0..self.choices.below(4)).map(|_| self.choices.of(&targets)).collect();
            let default = self.choices.of(&targets);
            self.emit(Instruction::If(BlockType::Empty));
            // In a dead end, so that what follows need not be unreachable.
            self.labels.push(None);
            for &ty in types {
                let local = self.local(ty);
                self.emit(Instruction::LocalGet(local));
            }
            self.expression(ValType::I32);
            self.emit(Instruction::BrTable(
                list.iter().map(|depth| depth + 1).collect(),
                default + 1,
            ));
            self.end();
        } else {
            let target = self.choices.of(&targets);
            self.emit(Instruction::BrIf(target));
        }
    }

    pub(super) fn statement(&mut self) {
        if self.is_full() {
            return;
        }
        self.depth += 1;
        let ty = self.choices.of(&TYPES);
        if self.limits.atomics && self.choices.one_in(10) {
            self.atomic_statement();
            self.depth -= 1;
            return;
        }
        if self.limits.crew && self.choices.one_in(10) {
            self.crew_statement();
            self.depth -= 1;
            return;
        }
        if self.limits.exceptions && self.choices.one_in(24) {
            self.throw();
            self.depth -= 1;
            return;
        }
        if self.limits.tail_calls && self.choices.one_in(24) {
            self.perhaps_tail_call();
            self.depth -= 1;
            return;
        }
        match self.choices.below(14) {
            0..=2 => {
                self.expression(ty);
                let local = self.local(ty);
                self.emit(Instruction::LocalSet(local));
            }
            3 => {
                self.expression(ty);
                self.emit(Instruction::GlobalSet(Self::global(ty)));
            }
            4 | 5 => self.store(ty),
            6 => {
                self.expression(ValType::I32);
                self.emit(Instruction::If(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statement();
                if self.choices.one_in(2) {
                    self.emit(Instruction::Else);
                    self.statement();
                }
                self.end();
            }
            7 => {
                self.emit(Instruction::Block(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.statement();
                self.maybe_branch(&[]);
                self.statement();
                self.end();
            }
            8..=10 => {
                let counter = self.start_counter();
                self.emit(Instruction::Block(BlockType::Empty));
                self.labels.push(Some(Vec::new()));
                self.emit(Instruction::Loop(BlockType::Empty));
                self.labels.push(None);
                self.statement();
                self.maybe_branch(&[]);
                self.statement();
                self.iterate(counter);
                self.end();
                self.end();
            }
            11 => self.bulk(),
            12 => {
                self.expression(ValType::I32);
                self.emit(Instruction::I32Const(1));
                self.emit(Instruction::I32And);
                self.emit(Instruction::MemoryGrow(0));
                self.emit(Instruction::GlobalSet(Self::global(ValType::I32)));
            }
            _ => {
                let callee = self.choices.below(self.callees.len() as u32) as usize;
                let results = self.callees[callee].results.clone();
                self.call(callee);
                for ty in results.into_iter().rev() {
                    let local = self.local(ty);
                    self.emit(Instruction::LocalSet(local));
                }
            }
        }
        self.depth -= 1;
    }

    /// Calls something that has a result of this type, if there is such a function.
    pub(super) fn call_for(&mut self, ty: ValType) {
        let callees: Vec<usize> = (0..self.callees.len())
            .filter(|&index| self.callees[index].results.contains(&ty))
            .collect();
        if callees.is_empty() {
            return self.binary(ty);
        }
        let callee = self.choices.of(&callees);
        let results = self.callees[callee].results.clone();
        self.call(callee);
        // Keep the last result of the type; what lies above goes into locals, what lies below it is
        // dropped after it has waited there.
        let kept = results.iter().rposition(|&t| t == ty).expect("such a result");
        for &ty in results[kept + 1..].iter().rev() {
            let local = self.local(ty);
            self.emit(Instruction::LocalSet(local));
        }
        if kept > 0 {
            let local = self.local(ty);
            self.emit(Instruction::LocalSet(local));
            for _ in 0..kept {
                self.emit(Instruction::Drop);
            }
            self.emit(Instruction::LocalGet(local));
        }
    }

    fn arguments(&mut self, signature: &Signature) {
        for &ty in &signature.params {
            if self.choices.one_in(4) {
                self.narrowed(ty);
            } else {
                self.expression(ty);
            }
        }
    }

    /// What can be called in the last step.
    fn alike(&self) -> Vec<usize> {
        let results = &self.signature.results;
        (0..self.callees.len()).filter(|&i| self.callees[i].results == *results).collect()
    }

    /// Perhaps leaves the function for another one, wherever this is.
    fn perhaps_tail_call(&mut self) {
        let alike = self.alike();
        if alike.is_empty() {
            return;
        }
        self.expression(ValType::I32);
        self.emit(Instruction::I32Const(3));
        self.emit(Instruction::I32And);
        self.emit(Instruction::I32Eqz);
        self.emit(Instruction::If(BlockType::Empty));
        self.labels.push(None);
        let callee = self.choices.of(&alike);
        self.tail_call(callee);
        self.end();
    }

    /// In the last step: a callee with the results of this function.
    fn tail_call(&mut self, callee: usize) {
        let signature = self.callees[callee].clone();
        let reference = self.limits.references && self.choices.one_in(4);
        let reference = reference.then(|| self.take_reference(callee, &signature));
        self.arguments(&signature);
        if let Some((ty, local)) = reference {
            self.emit(Instruction::LocalGet(local));
            return self.emit(Instruction::ReturnCallRef(ty));
        }
        if callee < self.imports || self.choices.one_in(2) {
            return self.emit(Instruction::ReturnCall(callee as u32));
        }
        let type_index = type_index(self.types, &signature);
        let table_index = self.index_of(callee);
        self.emit(Instruction::ReturnCallIndirect { type_index, table_index });
    }

    fn call(&mut self, callee: usize) {
        let signature = self.callees[callee].clone();
        let reference = self.limits.references && self.choices.one_in(4);
        let reference = reference.then(|| self.take_reference(callee, &signature));
        self.arguments(&signature);
        match reference {
            Some((ty, local)) => {
                self.emit(Instruction::LocalGet(local));
                self.emit(Instruction::CallRef(ty));
            }
            None => self.call_with_arguments(callee, &signature),
        }
        if let Some(&ty) = signature.results.last() {
            let local = self.local(ty);
            self.emit(Instruction::LocalTee(local));
            self.record(local, ty);
        }
    }

    /// Puts a reference to a function into a local; the index of its type, and the local.
    fn take_reference(&mut self, callee: usize, signature: &Signature) -> (u32, u32) {
        let index = type_index(self.types, signature);
        let ty = RefType { nullable: self.choices.one_in(2), heap_type: HeapType::Concrete(index) };
        let known = self.references.iter().find(|(known, _)| *known == ty);
        let local = known.map(|(_, local)| *local).unwrap_or_else(|| {
            let local = (self.signature.params.len() + self.declared.len()) as u32;
            self.declared.push(ValType::Ref(ty));
            self.locals.push(ValType::FUNCREF); // Never chosen.
            self.references.push((ty, local));
            local
        });
        self.emit(Instruction::RefFunc(callee as u32));
        if self.choices.one_in(3) {
            // The function's own again, by way of a reference that may be null.
            self.emit(Instruction::LocalSet(local));
            self.emit(Instruction::Block(BlockType::Result(ValType::Ref(RefType {
                nullable: false,
                ..ty
            }))));
            self.emit(Instruction::LocalGet(local));
            self.emit(Instruction::BrOnNonNull(0));
            self.emit(Instruction::RefFunc(callee as u32));
            self.emit(Instruction::End);
        }
        self.emit(Instruction::LocalSet(local));
        (index, local)
    }

    fn call_with_arguments(&mut self, callee: usize, signature: &Signature) {
        if callee < self.imports || self.choices.one_in(2) {
            return self.emit(Instruction::Call(callee as u32));
        }
        let type_index = type_index(self.types, signature);
        let table_index = self.index_of(callee);
        self.emit(Instruction::CallIndirect { type_index, table_index });
    }

    /// Puts an index into a table on the stack, nearly always that of a function, and answers the table.
    fn index_of(&mut self, callee: usize) -> u32 {
        let is_long = self.choices.one_in(2);
        match (self.choices.one_in(20), is_long) {
            // Often another type, or null.
            (true, false) => {
                self.expression(ValType::I32);
                self.emit(Instruction::I32Const(TABLE as i32 - 1));
                self.emit(Instruction::I32And);
            }
            // That too, or outside of the table, with a lower half that is inside.
            (true, true) => {
                self.expression(ValType::I64);
                self.emit(Instruction::I64Const(1 << 63 | 1 << 32 | (i64::from(TABLE) - 1)));
                self.emit(Instruction::I64And);
            }
            (false, false) => self.emit(Instruction::I32Const(callee as i32)),
            (false, true) => self.emit(Instruction::I64Const(callee as i64)),
        }
        is_long.into()
    }
}
