//! From bytecode to machine code, with a frame map at every call.

use crate::language::{Function, Op};
use midair_osr::cranelift::{self, SiteDescription, SiteValue, Sites};
use midair_osr::cranelift_codegen::control::ControlPlane;
use midair_osr::cranelift_codegen::ir::condcodes::IntCC;
use midair_osr::cranelift_codegen::ir::{
    self, AbiParam, BlockArg, ExceptionTableData, ExceptionTableItem, InstBuilder, MemFlagsData,
    Signature, SourceLoc, TrapCode, UserFuncName, Value, types,
};
use midair_osr::cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use midair_osr::cranelift_codegen::settings::Configurable;
use midair_osr::cranelift_codegen::{self, CodegenError};
use midair_osr::cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use midair_osr::{CodeDescription, ContextHeader, SiteKind, StackContext, ValueKind};
use std::collections::HashMap;

/// The trap of a function that finds no room on the stack.
pub const OUT_OF_STACK: u8 = 1;

/// Where the context has the address of the table of entries: behind its header.
pub const ENTRIES: i32 = size_of::<ContextHeader>() as i32;

/// No frame of this language is larger. A function checks the stack behind its prologue, so there has to be as much room
/// below the limit.
const MAX_FRAME: u32 = 64 << 10;

/// Where machine code for a function begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At its start, with the arguments where a caller puts them.
    Function,
    /// Behind the call at this place: an OSR entry. The frame is in the resume buffer, then the call's result.
    Behind(usize),
}

/// What only has to be made once: Cranelift's code generator.
pub fn code_generator() -> Result<OwnedTargetIsa, Box<dyn std::error::Error>> {
    let mut flags = cranelift::flags();
    flags.set("opt_level", "speed")?;
    Ok(cranelift::code_generator(flags)?)
}

/// The context and so many integers, to one integer. Also of OSR entries, whatever their arguments are: a frame that
/// goes on there returns to the caller of the function.
fn signature(parameters: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.resize(1 + parameters, AbiParam::new(types::I64));
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

/// Compiles a function.
pub fn compile(
    function: &Function,
    start: Start,
    isa: &OwnedTargetIsa,
) -> Result<CodeDescription, Box<dyn std::error::Error>> {
    let signature = signature(function.parameters);
    let mut context = cranelift_codegen::Context::for_function(ir::Function::with_name_signature(
        UserFuncName::default(),
        signature,
    ));
    let mut frontend = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut context.func, &mut frontend);
    let mut translator = Translator::new(function, builder);
    translator.translate(start);
    let Translator { mut builder, sites, .. } = translator;
    builder.seal_all_blocks();
    builder.finalize(isa.frontend_config());
    let code = context
        .compile(&**isa, &mut ControlPlane::default())
        .map_err(|error| -> CodegenError { error.inner })?;
    Ok(cranelift::describe(code, &**isa, &sites, MAX_FRAME)?)
}

struct Translator<'a> {
    function: &'a Function,
    builder: FunctionBuilder<'a>,
    sites: Sites,
    context: Variable,
    /// A variable for each parameter, then for each place of the operand stack.
    frame: Vec<Variable>,
    /// Blocks that begin in the middle of the bytecode.
    blocks: HashMap<usize, ir::Block>,
}

impl<'a> Translator<'a> {
    fn new(function: &'a Function, mut builder: FunctionBuilder<'a>) -> Translator<'a> {
        let deepest = function.code.iter().map(|(_, depth)| depth).max().unwrap_or(&0) + 1;
        let context = builder.declare_var(types::I64);
        let frame =
            (0..function.parameters + deepest).map(|_| builder.declare_var(types::I64)).collect();
        let mut blocks = HashMap::new();
        for (op, _) in &function.code {
            if let Op::JumpIfZero(to) | Op::Jump(to) = *op {
                blocks.entry(to).or_insert_with(|| builder.create_block());
            }
        }
        Translator { function, builder, sites: Sites::new(), context, frame, blocks }
    }

    /// The variable of a place of the operand stack.
    fn place(&self, depth: usize) -> Variable {
        self.frame[self.function.parameters + depth]
    }

    fn block_at(&mut self, at: usize) -> ir::Block {
        *self.blocks.entry(at).or_insert_with(|| self.builder.create_block())
    }

    fn load(&mut self, address: Value, offset: i32) -> Value {
        self.builder.ins().load(types::I64, MemFlagsData::trusted(), address, offset)
    }

    fn translate(&mut self, start: Start) {
        let entry = self.builder.create_block();
        self.builder.append_block_params_for_function_params(entry);
        self.builder.switch_to_block(entry);
        let parameters = self.builder.block_params(entry).to_vec();
        self.builder.def_var(self.context, parameters[0]);
        match start {
            Start::Function => {
                for (variable, value) in self.frame.iter().zip(&parameters[1..]) {
                    self.builder.def_var(*variable, *value);
                }
                self.check_stack(parameters[0]);
            }
            Start::Behind(call) => {
                self.load_frame(parameters[0], self.function.frame_len(call) + 1);
                let target = self.block_at(call + 1);
                self.builder.ins().jump(target, &[]);
                // All of the function is translated: a jump back might lead to what lies before the call. What
                // nothing leads to falls away.
                let unreached = self.builder.create_block();
                self.builder.switch_to_block(unreached);
            }
        }
        let mut falls_through = true;
        for at in 0..self.function.code.len() {
            if let Some(&block) = self.blocks.get(&at) {
                if falls_through {
                    self.builder.ins().jump(block, &[]);
                }
                self.builder.switch_to_block(block);
            }
            self.builder.set_srcloc(SourceLoc::new(at as u32));
            falls_through = self.translate_operation(at);
        }
    }

    /// Traps if the stack pointer is below the limit.
    fn check_stack(&mut self, context: Value) {
        let stack = self.load(context, ContextHeader::STACK);
        let limit = self.load(stack, StackContext::STACK_LIMIT);
        let pointer = self.builder.ins().get_stack_pointer(types::I64);
        let below = self.builder.ins().icmp(IntCC::UnsignedLessThan, pointer, limit);
        self.builder.ins().trapnz(below, TrapCode::unwrap_user(OUT_OF_STACK));
    }

    /// Loads the first variables of the frame from the resume buffer.
    fn load_frame(&mut self, context: Value, values: usize) {
        let stack = self.load(context, ContextHeader::STACK);
        let buffer = self.load(stack, StackContext::RESUME);
        for n in 0..values {
            let value = self.load(buffer, 8 * n as i32);
            self.builder.def_var(self.frame[n], value);
        }
    }

    /// Returns whether the next operation can follow.
    fn translate_operation(&mut self, at: usize) -> bool {
        let (op, depth) = self.function.code[at];
        match op {
            Op::Const(value) => {
                let value = self.builder.ins().iconst(types::I64, value);
                self.builder.def_var(self.place(depth), value);
            }
            Op::Parameter(n) => {
                let value = self.builder.use_var(self.frame[n]);
                self.builder.def_var(self.place(depth), value);
            }
            Op::Add | Op::Subtract | Op::Multiply => {
                let left = self.builder.use_var(self.place(depth - 2));
                let right = self.builder.use_var(self.place(depth - 1));
                let result = match op {
                    Op::Add => self.builder.ins().iadd(left, right),
                    Op::Subtract => self.builder.ins().isub(left, right),
                    _ => self.builder.ins().imul(left, right),
                };
                self.builder.def_var(self.place(depth - 2), result);
            }
            Op::JumpIfZero(to) => {
                let condition = self.builder.use_var(self.place(depth - 1));
                let (zero, next) = (self.block_at(to), self.builder.create_block());
                self.builder.ins().brif(condition, next, &[], zero, &[]);
                self.builder.switch_to_block(next);
            }
            Op::Jump(to) => {
                let target = self.block_at(to);
                self.builder.ins().jump(target, &[]);
                return false;
            }
            Op::Call(callee, arguments) => self.call(at, callee, depth - arguments, arguments),
            Op::Return => {
                let result = self.builder.use_var(self.place(depth - 1));
                self.builder.ins().return_(&[result]);
                return false;
            }
        }
        true
    }

    /// A call, and its place among the sites. The exception table of a `try_call` has no handlers here: its items say
    /// which values the frame consists of, and Cranelift answers where each of them lies.
    fn call(&mut self, at: usize, callee: usize, depth: usize, arguments: usize) {
        let context = self.builder.use_var(self.context);
        let mut passed = vec![context];
        passed.extend((0..arguments).map(|n| {
            let variable = self.place(depth + n);
            self.builder.use_var(variable)
        }));
        let entries = self.load(context, ENTRIES);
        let code = self.load(entries, 8 * callee as i32);

        // The context is always item 0; then the frame.
        let mut items = vec![ExceptionTableItem::Context(context)];
        let mut values = Vec::new();
        for n in 0..self.function.parameters + depth {
            let value = self.builder.use_var(self.frame[n]);
            items.push(ExceptionTableItem::Context(value));
            values.push((ValueKind::I64, SiteValue::Item(n as u16 + 1)));
        }
        let site = SiteDescription { kind: SiteKind::Call, point: at as u32, values };
        self.sites.insert(at as u32, site);

        let next = self.builder.create_block();
        let result = self.builder.append_block_param(next, types::I64);
        let normal = self.builder.func.dfg.block_call(next, &[BlockArg::TryCallRet(0)]);
        let signature = self.builder.import_signature(signature(arguments));
        let table = ExceptionTableData::new(signature, normal, items);
        let table = self.builder.func.dfg.exception_tables.push(table);
        self.builder.ins().try_call_indirect(code, &passed, table);
        self.builder.switch_to_block(next);
        self.builder.def_var(self.place(depth), result);
    }
}
