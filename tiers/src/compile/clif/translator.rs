//! The state of a translation, and the loop over the operators.

use super::control::ControlFrame;
use super::frame_state::{FrameStates, SiteInstructions, StateValue, TooManyFrameValues};
use super::operand_stack::{Operand, OperandStack, clif_type};
use super::runtime::Runtime;
use super::tail_calls;
use crate::body::FunctionBody;
use crate::caught::CaughtLocals;
use crate::compile::EntryPoint;
use crate::liveness::Liveness;
use crate::module_env::ModuleEnv;
use crate::types::{FuncType, ValType};
use cranelift_codegen::ir::{
    AbiParam, Block, Function, InstBuilder, SigRef, Signature, SourceLoc, TrapCode, UserFuncName,
    Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use midair_osr::ValueKind;
use midair_osr::cranelift::Sites;
use std::collections::HashMap;
use wasmparser::Operator;

/// Why a body cannot be translated.
#[derive(Clone, Debug)]
pub(crate) enum TranslateError {
    /// Frame maps or graphs would take too much memory.
    TooLarge(&'static str),
    /// Something that is not built yet, or that the processor lacks.
    Unsupported(String),
    /// The OSR entry's point is not a reachable loop or handler.
    NoSuchLoop(u32),
    /// The body does not parse.
    Parse(wasmparser::BinaryReaderError),
    /// The OSR entry's loop has this many operands below its parameters, and they have to be shared:
    /// see [`OperandStack`]. Never leaves [`translate`].
    ShareOperands(usize),
}

impl From<wasmparser::BinaryReaderError> for TranslateError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        TranslateError::Parse(error)
    }
}

impl From<TooManyFrameValues> for TranslateError {
    fn from(_: TooManyFrameValues) -> Self {
        TranslateError::TooLarge("frame maps")
    }
}

/// Most operands at a time: what more of them hold does not fit a machine frame, unless it is all constants and
/// locals, and each safepoint describes them all.
const MAX_OPERANDS: usize = 1 << 14;

/// What goes with the CLIF of a function.
pub(crate) struct Translation {
    /// Frame states by source location.
    pub(crate) sites: Sites,
    /// The instructions that they are attached to.
    pub(crate) instructions: SiteInstructions,
}

/// The inputs of a translation.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) env: &'a ModuleEnv,
    pub(crate) body: &'a FunctionBody,
    /// Types of parameters, declared and hidden locals.
    pub(crate) locals: &'a [ValType],
    /// The last of `locals`.
    pub(crate) caught: &'a CaughtLocals,
    pub(crate) liveness: &'a Liveness,
    pub(crate) entry: EntryPoint,
    /// Whether calls are counted in `StoreContext::calls`.
    pub(crate) count_calls: bool,
    /// Fuel charges in the order of their points; empty if fuel is not counted.
    pub(crate) charges: &'a [(u32, u32)],
    /// Most arguments and results that all calls together pass in memory.
    pub(crate) max_values_in_memory: usize,
    pub(crate) isa: &'a dyn TargetIsa,
}

/// Translates a body into `func`, which is empty.
pub(crate) fn translate(
    source: Source<'_>,
    func: &mut Function,
    builder_context: &mut FunctionBuilderContext,
) -> Result<Translation, TranslateError> {
    match translate_sharing(source, func, builder_context, 0) {
        // Rare: compilers from C-like languages leave nothing on the operand stack across a loop.
        Err(TranslateError::ShareOperands(count)) => {
            *func = Function::new();
            *builder_context = FunctionBuilderContext::new();
            translate_sharing(source, func, builder_context, count)
        }
        result => result,
    }
}

fn translate_sharing(
    source: Source<'_>,
    func: &mut Function,
    builder_context: &mut FunctionBuilderContext,
    shared_operands: usize,
) -> Result<Translation, TranslateError> {
    let ty = source.env.func_type(source.body.function);
    func.name = UserFuncName::user(0, source.body.function);
    func.signature = match source.liveness.tail_calls() {
        true => tail_calls::signature(ty),
        false => signature(ty),
    };
    let mut translator = Translator::new(source, ty, func, builder_context, shared_operands);
    translator.run()?;
    let (states, context) = (translator.states, translator.runtime.context);
    translator.builder.finalize(source.isa.frontend_config());
    let (sites, instructions) = states.resolve(func, context)?;
    Ok(Translation { sites, instructions })
}

/// The machine signature of functions of a type: see `crate::abi`.
pub(super) fn signature(ty: &FuncType) -> Signature {
    let param = |&ty: &ValType| AbiParam::new(clif_type(ty));
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::I64));
    signature.params.extend(ty.params.iter().map(param));
    if crate::abi::results_in_registers(ty) {
        signature.returns.extend(ty.results.iter().map(param));
    }
    signature
}

/// The translation of one function.
pub(super) struct Translator<'a, 'f> {
    pub(super) source: Source<'a>,
    pub(super) ty: &'a FuncType,
    pub(super) builder: FunctionBuilder<'f>,
    pub(super) runtime: Runtime,
    /// A variable for each local.
    pub(super) variables: Vec<Variable>,
    pub(super) stack: OperandStack,
    pub(super) control: Vec<ControlFrame<'a>>,
    /// Whether the current operator can be reached.
    pub(super) reachable: bool,
    /// How many control instructions are open that began in unreachable code.
    pub(super) unreachable_depth: u32,
    /// The block that loads an OSR entry's frame, until the loop has been found.
    pub(super) osr_block: Option<Block>,
    pub(super) states: FrameStates,
    /// How many arguments and results the calls so far pass in memory.
    pub(super) values_in_memory: usize,
    /// The processor has been found to have the instructions that vectors need.
    pub(super) has_vector_instructions: bool,
    /// Signatures of guest calls by type index.
    pub(super) signatures: HashMap<u32, SigRef>,
    /// The same of tail calls.
    pub(super) tail_signatures: HashMap<u32, SigRef>,
    /// Signature of what is called to throw.
    pub(super) throw_signature: Option<SigRef>,
    /// Signatures of runtime calls by their number.
    pub(super) builtin_signatures: HashMap<u8, SigRef>,
}

impl<'a, 'f> Translator<'a, 'f> {
    fn new(
        source: Source<'a>,
        ty: &'a FuncType,
        func: &'f mut Function,
        builder_context: &'f mut FunctionBuilderContext,
        shared_operands: usize,
    ) -> Self {
        let mut builder = FunctionBuilder::new(func, builder_context);
        builder.set_srcloc(SourceLoc::new(FunctionBody::ENTRY));
        let variables =
            source.locals.iter().map(|&ty| builder.declare_var(clif_type(ty))).collect();
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let context = builder.block_params(entry)[0];
        Translator {
            source,
            ty,
            builder,
            runtime: Runtime { context },
            variables,
            stack: OperandStack::new(shared_operands),
            control: Vec::new(),
            reachable: true,
            unreachable_depth: 0,
            osr_block: None,
            states: FrameStates::default(),
            values_in_memory: 0,
            has_vector_instructions: false,
            signatures: HashMap::new(),
            tail_signatures: HashMap::new(),
            throw_signature: None,
            builtin_signatures: HashMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), TranslateError> {
        // Where an OSR entry skips what comes before its loop, that would not be noticed; and the operands of
        // code that nothing leads to need not be there.
        if let EntryPoint::Loop(point) = self.source.entry
            && self.source.liveness.at(point).is_none()
        {
            return Err(TranslateError::NoSuchLoop(point));
        }
        self.push_function_frame();
        self.translate_entry()?;
        let mut charges = self.source.charges.iter().copied().peekable();
        let start = self.skip_prefix()?;
        let mut operators = self.source.body.reader().get_operators_reader()?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            let point = offset as u32;
            if point < start {
                continue;
            }
            self.builder.set_srcloc(SourceLoc::new(point));
            while charges.peek().is_some_and(|charge| charge.0 < point) {
                charges.next();
            }
            if let Some((_, cost)) = charges.next_if(|charge| charge.0 == point)
                && self.reachable
            {
                self.charge_fuel(cost);
            }
            self.translate_operator(&operator, point)?;
            if self.stack.len() > MAX_OPERANDS {
                return Err(TranslateError::TooLarge("operand stacks"));
            }
        }
        match (self.source.entry, self.osr_block) {
            (EntryPoint::Loop(point), Some(_)) => Err(TranslateError::NoSuchLoop(point)),
            _ => Ok(()),
        }
    }

    fn translate_operator(
        &mut self,
        operator: &Operator<'_>,
        point: u32,
    ) -> Result<(), TranslateError> {
        if !self.reachable {
            return self.skip_operator(operator, point);
        }
        match *operator {
            Operator::Nop => {}
            Operator::Drop => {
                self.pop();
            }
            Operator::LocalGet { local_index } => {
                let operand = Operand {
                    value: self.local(local_index),
                    ty: self.source.locals[local_index as usize],
                    local: Some(local_index),
                };
                self.stack.push(&mut self.builder, operand);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                let value = self.canonical(value, self.source.locals[local_index as usize]);
                self.set_local(local_index, value);
            }
            Operator::LocalTee { local_index } => {
                let top = self.stack.get(&mut self.builder, self.stack.len() - 1);
                let value = self.canonical(top.value, top.ty);
                self.set_local(local_index, value);
                self.stack.set_top_local(local_index);
            }
            _ => {
                let done = self.translate_control(operator, point)?
                    || self.translate_call(operator, point)?
                    || self.translate_tail_call(operator)?
                    || self.translate_exceptions(operator, point)?
                    || self.translate_memory(operator)?
                    || self.translate_numeric(operator)?
                    || self.translate_vector(operator)?
                    || self.translate_atomic(operator, point)?;
                if !done {
                    return Err(TranslateError::Unsupported(format!("{operator:?}")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value, ty: ValType) {
        // What lies so low on the stack is a variable.
        let is_shared = self.stack.len() < self.stack.shared();
        let value = if is_shared { self.canonical(value, ty) } else { value };
        let operand = Operand { value, ty, local: None };
        self.stack.push(&mut self.builder, operand);
    }

    pub(super) fn pop(&mut self) -> Value {
        self.stack.pop(&mut self.builder).value
    }

    /// Pops the second operand, then the first.
    pub(super) fn pop2(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    /// Pops `count` operands; the result is in the order in which they were pushed.
    pub(super) fn pop_many(&mut self, count: usize) -> smallvec::SmallVec<[Value; 8]> {
        let values = self.peek_many(count);
        self.stack.truncate(self.stack.len() - count);
        values
    }

    /// The topmost `count` operands in the order in which they were pushed, as they are passed on.
    pub(super) fn peek_many(&mut self, count: usize) -> smallvec::SmallVec<[Value; 8]> {
        let height = self.stack.len();
        (height - count..height)
            .map(|depth| {
                let operand = self.stack.get(&mut self.builder, depth);
                self.canonical(operand.value, operand.ty)
            })
            .collect()
    }

    pub(super) fn local(&mut self, local: u32) -> Value {
        self.builder.use_var(self.variables[local as usize])
    }

    pub(super) fn set_local(&mut self, local: u32, value: Value) {
        self.builder.def_var(self.variables[local as usize], value);
    }

    pub(super) fn trap_code(code: crate::trap::TrapCode) -> TrapCode {
        super::traps::cranelift_trap_code(code)
    }

    /// The canonical frame here: the locals as they are live at `point`, then all operands.
    pub(super) fn frame_state(&mut self, point: u32) -> Vec<(ValueKind, StateValue)> {
        let locals = self.source.locals;
        let mut values = Vec::with_capacity(locals.len() + self.stack.len());
        values.extend(locals.iter().map(|ty| (ty.kind(), StateValue::Dead)));
        let live = self.source.liveness.at(point);
        if let Some(live) = live {
            for local in live.iter() {
                values[local as usize].1 = StateValue::Value(self.local(local));
            }
        }
        for depth in 0..self.stack.len() {
            let operand = self.stack.get(&mut self.builder, depth);
            let value = StateValue::Value(operand.value);
            values.push((operand.ty.kind(), value));
            // The interpreter may read an operand that came from a local in that local's slot. While
            // the local is dead it can as well have the operand's value.
            if let Some(local) = operand.local
                && !live.is_some_and(|live| live.contains(local))
            {
                values[local as usize].1 = value;
            }
        }
        values
    }

    /// A constant zero of a type.
    pub(super) fn zero(&mut self, ty: ValType) -> Value {
        match ty {
            ValType::F32 => self.builder.ins().f32const(0.0),
            ValType::F64 => self.builder.ins().f64const(0.0),
            ValType::V128 => {
                let zero = self.builder.func.dfg.constants.insert(vec![0; 16].into());
                self.builder.ins().vconst(types::I8X16, zero)
            }
            ty => self.builder.ins().iconst(clif_type(ty), 0),
        }
    }
}
