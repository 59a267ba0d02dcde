//! Lowering: from validated bytecode to the interpreter's register code.
//!
//! One pass over the body, optionally validating as it goes. The operand stack is symbolic
//! ([`operands`]): `local.get` and constants cost nothing until something has to read them, and most
//! instructions take a local or a constant where it is. [`code_buffer`] writes the code and can take
//! its last instruction back, which is how results are put straight into locals and comparisons are
//! fused with branches. [`control`] has blocks and branches, [`arithmetic`] the choice among an
//! operator's forms, [`exceptions`] what throws and where it is handled, [`fusion`] pairs of operators that are one
//! instruction, [`translate`] the operators one by one, [`vector`] those on vectors, [`atomics`] those
//! of threads.
//!
//! Everything is counted in slots. A vector is two operands, its halves, one right above the other and both in the same form;
//! and so are locals ([`local_slots`]). Only operators that take either kind have to know what is on the stack.
//!
//! Slot numbers have 16 bits in instructions. A body for which that is not enough is lowered again in a
//! wide form, which [`code_buffer`] describes; everything else is the same for both.
//!
//! Where control flow merges, and at loop headers, every operand is in its temporary. At calls
//! operands below the arguments may still be locals or constants; [`record`] lowers a body again
//! to find out which.

mod arithmetic;
mod atomics;
mod code_buffer;
mod control;
mod exceptions;
mod fusion;
mod local_slots;
mod memory_access;
mod operands;
#[cfg(test)]
mod snapshot;
mod translate;
mod vector;

use crate::body::FunctionBody;
use crate::caught::CaughtLocals;
use crate::context::FunctionState;
use crate::fuel::FuelPlan;
use crate::interp::LoweredCode;
use crate::interp::op::Op;
use crate::lowered::code::{Form, Lowered, Lowering, Site, Sites, SuspendedAt};
use crate::lowered::frame::{HEADER, SCRATCH, VECTOR_SCRATCH};
use crate::module_env::ModuleEnv;
use crate::types::{ValType, slot_count};
use code_buffer::{CodeBuffer, Reach};
use control::Frame;
use local_slots::LocalSlots;
use midair_osr::SiteKind;
use operands::{Operand, OperandStack};
use std::fmt;
use wasmparser::{
    BinaryReader, BinaryReaderError, FuncToValidate, OperatorsReader, ValidatorResources,
};

/// Why a body was not lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LowerError {
    /// What is wrong.
    pub message: String,
    /// Offset in the module's bytes.
    pub offset: usize,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at offset {:#x})", self.message, self.offset)
    }
}

impl std::error::Error for LowerError {}

impl From<BinaryReaderError> for LowerError {
    fn from(error: BinaryReaderError) -> LowerError {
        LowerError { message: error.message().to_string(), offset: error.offset() as usize }
    }
}

/// Lowers a body. With `validate` it is validated on the way; without, it must be known to be valid.
pub fn lower(
    env: &ModuleEnv,
    body: &FunctionBody,
    validate: Option<FuncToValidate<ValidatorResources>>,
) -> Result<LoweredCode, LowerError> {
    let (lowered, _) = run(env, body, validate, Form::Usual, false)?;
    Ok(LoweredCode::new(body.clone(), lowered, &LOWERING))
}

/// What lowered code is lowered by when it is needed once more.
static LOWERING: Lowering = Lowering { again: lower_again, record };

/// Lowers a body that was lowered before to another form.
fn lower_again(env: &ModuleEnv, body: &FunctionBody, form: Form<'_>) -> Lowered {
    run_again(env, body, form, false).0
}

/// Lowers a body that was lowered before, to know how the code relates to it.
fn record(env: &ModuleEnv, body: &FunctionBody, form: Form<'_>) -> Sites {
    let recording = run_again(env, body, form, true).1;
    let mut sites = recording.sites;
    // The handlers of a `try_table` come behind its body.
    sites.sites.sort_by_key(|site| site.point);
    sites.instructions =
        recording.instructions.iter().map(|&(offset, point, _)| (offset, point)).collect();
    sites
}

fn run_again(
    env: &ModuleEnv,
    body: &FunctionBody,
    form: Form<'_>,
    record: bool,
) -> (Lowered, Recording) {
    let lowered = run(env, body, None, form, record);
    lowered.expect("a body that was lowered before can be lowered again")
}

/// What a recording run learns.
struct Recording {
    sites: Sites,
    instructions: Vec<(u32, u32, Op)>,
}

fn run(
    env: &ModuleEnv,
    body: &FunctionBody,
    validate: Option<FuncToValidate<ValidatorResources>>,
    form: Form<'_>,
    record: bool,
) -> Result<(Lowered, Recording), LowerError> {
    let (mut validate, mut caught) = (validate, None);
    let mut scratch = [0, SCRATCH, VECTOR_SCRATCH].into_iter();
    let mut reach = Reach::new(env.slot_reach, scratch.next().expect("there are some"));
    loop {
        // Once is enough to find out whether it is valid.
        let validate = validate.take();
        match run_within(env, body, validate, form, record, reach, caught.as_ref())? {
            Attempt::Done(lowered, recording) => return Ok((lowered, recording)),
            Attempt::OutOfReach => {
                let scratch = scratch.next().expect("the wide form can name every slot");
                reach = Reach::new(env.slot_reach, scratch);
            }
            Attempt::NeedsCaught => caught = Some(CaughtLocals::of(body)?),
        }
    }
}

/// How lowering with certain means ended.
enum Attempt {
    Done(Lowered, Recording),
    /// Instructions of the narrow form cannot name all slots.
    OutOfReach,
    /// There are hidden locals. Nobody looks for them before it is known, for few bodies have any.
    NeedsCaught,
}

/// Lowers a body with instructions that can name these slots, and with these hidden locals. With `validate` the whole
/// body is valid in any case.
fn run_within(
    env: &ModuleEnv,
    body: &FunctionBody,
    validate: Option<FuncToValidate<ValidatorResources>>,
    form: Form<'_>,
    record: bool,
    reach: Reach,
    caught: Option<&CaughtLocals>,
) -> Result<Attempt, LowerError> {
    let base = body.module_offset() as u64;
    let mut reader = BinaryReader::new(body.bytes(), base);
    let mut validator = validate.map(|v| v.into_validator(Default::default()));
    let ty = env.func_type(body.function);

    let mut locals = LocalSlots::default();
    ty.params.iter().for_each(|&ty| locals.push(1, ty));
    let mut number = ty.params.len() as u32;
    for _ in 0..reader.read_var_u32()? {
        let offset = reader.original_position();
        let count: u32 = reader.read()?;
        let local: wasmparser::ValType = reader.read()?;
        if let Some(validator) = &mut validator {
            validator.define_locals(offset, count, local)?;
        }
        let Some(local) = env.val_type(local) else {
            return Err(unsupported(&format!("locals of type {local}"), offset));
        };
        locals.push(count as usize, local);
        // Validation allows 50,000.
        number = number.saturating_add(count);
    }
    let hidden = caught.map_or(0, CaughtLocals::count);
    let first_caught = number;
    locals.push(hidden, ValType::EXNREF);
    let local_slots = locals.count();
    if let Some(validator) = &validator {
        reader.set_features(*validator.features());
    }

    let fuel = if env.consume_fuel {
        FuelPlan::new(body).map_err(LowerError::from)?
    } else {
        FuelPlan::default()
    };
    let mut charges = fuel.charges().iter().peekable();

    let mut lowerer = Lowerer::new(env, body, locals, form, record, reach);
    lowerer.caught = caught;
    lowerer.first_caught = first_caught;
    if env.count_calls {
        lowerer.code.at_point(FunctionBody::ENTRY);
        lowerer.code.op(Op::count_call);
    }
    let mut operators = OperatorsReader::new(reader);
    let mut read_to_the_end = true;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        if let Some(validator) = &mut validator {
            validator.op(offset, &operator)?;
        }
        if lowerer.code.has_overflowed()
            || lowerer.needs_caught
            || lowerer.stack.max_height() > MAX_HEIGHT
        {
            // There is nothing left to do but to validate.
            if validator.is_none() {
                read_to_the_end = false;
                break;
            }
            continue;
        }
        let point = (offset - base) as u32;
        lowerer.code.at_point(point);
        if let Some(&&(at, cost)) = charges.peek()
            && at == point
        {
            charges.next();
            lowerer.charge(cost);
        }
        lowerer
            .operator(point, &operator)
            .map_err(|Unsupported| unsupported(&format!("{operator:?}"), offset))?;
    }
    if read_to_the_end {
        operators.finish()?;
    }
    if lowerer.needs_caught {
        return Ok(Attempt::NeedsCaught);
    }
    let too_large = lowerer.stack.max_height() > MAX_HEIGHT;
    if too_large {
        lowerer.abandon();
    } else if lowerer.code.has_overflowed() {
        return Ok(Attempt::OutOfReach);
    }
    let (first_temp, max_height) = (lowerer.first_temp, lowerer.stack.max_height());
    let has_vectors = lowerer.local_slots.has_vectors() || lowerer.stack.has_had_vectors();
    let (code, instructions) = lowerer.code.finish();
    let lowered = Lowered {
        code: code.into_boxed_slice(),
        locals: local_slots as u32,
        params: slot_count(&ty.params) as u32,
        slots_above: (first_temp + max_height) as u32,
        first_temp: first_temp as u32,
        has_vectors,
        too_large,
        has_handlers: lowerer.sites.regions.iter().any(|region| !region.handlers.is_empty()),
        has_tail_calls: lowerer.has_tail_calls,
    };
    let recording = Recording { sites: lowerer.sites, instructions };
    Ok(Attempt::Done(lowered, recording))
}

fn unsupported(what: &str, offset: u64) -> LowerError {
    LowerError { message: format!("{what} are not supported"), offset: offset as usize }
}

/// Most operands at a time. A body cannot have more of them, but for calls and blocks with many results,
/// of which a few bytes push a thousand. Such a body is not lowered: a frame of 32 MiB does not fit any stack, so
/// that all calls of the function overflow the stack.
const MAX_HEIGHT: usize = 1 << 22;
/// At a call at most so many operands below the arguments are left where they are: keeps the tables
/// of sites small whatever the bytecode does.
const MAX_UNSETTLED_AT_CALL: usize = 16;

/// An operator that is not built yet.
struct Unsupported;

/// The state of lowering one body.
struct Lowerer<'a> {
    env: &'a ModuleEnv,
    code: CodeBuffer,
    stack: OperandStack,
    frames: Vec<Frame>,
    /// Slots of all locals.
    locals: usize,
    local_slots: LocalSlots,
    /// Slot of the lowest operand.
    first_temp: usize,
    /// Slots of the function's results.
    results: usize,
    /// In code that cannot be reached: how many blocks were opened since it became so.
    unreachable: Option<u32>,
    /// How many operands below the arguments of a call may be where they are.
    unsettled_at_call: usize,
    /// Points at which frames ask whether to leave this body.
    exits: &'a [u32],
    /// The hidden locals, and the number of the first; `None` as long as nobody has needed them.
    caught: Option<&'a CaughtLocals>,
    first_caught: u32,
    needs_caught: bool,
    /// Offset of the function's state in the instance's `functions`.
    state: u32,
    sites: Sites,
    has_tail_calls: bool,
}

impl<'a> Lowerer<'a> {
    fn new(
        env: &'a ModuleEnv,
        body: &FunctionBody,
        local_slots: LocalSlots,
        form: Form<'a>,
        record: bool,
        reach: Reach,
    ) -> Lowerer<'a> {
        let results = slot_count(&env.func_type(body.function).results);
        let locals = local_slots.count();
        let mut lowerer = Lowerer {
            env,
            code: CodeBuffer::new(body.bytes().len() * 6 + 32, reach, record),
            stack: OperandStack::new(locals),
            frames: Vec::new(),
            locals,
            local_slots,
            first_temp: HEADER + reach.scratch(),
            results,
            unreachable: None,
            unsettled_at_call: match form {
                Form::Usual => MAX_UNSETTLED_AT_CALL,
                Form::Settled | Form::WithExits(_) => 0,
            },
            exits: match form {
                Form::WithExits(points) => points,
                Form::Usual | Form::Settled => &[],
            },
            caught: None,
            first_caught: 0,
            needs_caught: false,
            state: 0,
            sites: Sites::default(),
            has_tail_calls: false,
        };
        lowerer.state = lowerer.state_offset(body.function);
        lowerer.frames.push(Frame::of_function(results));
        lowerer
    }

    /// Forgets what has been lowered: no frame of the body can be made.
    fn abandon(&mut self) {
        self.code = CodeBuffer::new(8, Reach::new(None, 0), self.code.is_recording());
        self.code.op(Op::unreachable);
        self.sites = Sites::default();
    }

    /// Offset of a defined function's state in the instance's `functions`.
    fn state_offset(&self, function: u32) -> u32 {
        let index = function.saturating_sub(self.env.imported_functions);
        index * FunctionState::SIZE as u32
    }

    fn is_exit(&self, point: u32) -> bool {
        self.exits.binary_search(&point).is_ok()
    }

    fn charge(&mut self, cost: u32) {
        if self.unreachable.is_none() {
            self.code.op(Op::fuel).quad(u64::from(cost));
        }
    }

    /// The `index`th slot of the locals.
    fn local_slot(&self, index: u32) -> i32 {
        index as i32 - self.locals as i32
    }

    fn temp_slot(&self, index: usize) -> i32 {
        (self.first_temp + index) as i32
    }

    /// Pops an operand; its temporary is the height afterwards.
    fn pop(&mut self) -> (Operand, usize) {
        let operand = self.stack.pop();
        (operand, self.stack.height())
    }

    /// Pops an operand to read it from a slot.
    fn pop_slot(&mut self) -> i32 {
        let (operand, temp) = self.pop();
        self.slot_of(operand, temp)
    }

    /// The slot to read a popped operand from; puts a constant into the operand's temporary.
    fn slot_of(&mut self, operand: Operand, temp: usize) -> i32 {
        match operand {
            Operand::Temp => self.temp_slot(temp),
            Operand::Local(local) => self.local_slot(local),
            Operand::Const(bits) => {
                let slot = self.temp_slot(temp);
                self.emit_const(slot, bits);
                slot
            }
        }
    }

    /// Pushes the result of the next instruction and answers where it goes.
    fn push_temp(&mut self) -> i32 {
        let temp = self.stack.push(Operand::Temp);
        self.temp_slot(temp)
    }

    fn emit_const(&mut self, slot: i32, bits: u64) {
        match u32::try_from(bits) {
            Ok(low) => self.code.op(Op::copy_imm32).slot(slot).uint(low),
            Err(_) => self.code.op(Op::copy_imm64).slot(slot).quad(bits),
        };
    }

    /// Copies a slot into another one.
    fn emit_copy_slot(&mut self, slot: i32, source: i32) {
        if self.code.is_far(slot) || self.code.is_far(source) {
            self.code.op(Op::copy_far).far_slot(slot).far_slot(source);
        } else {
            self.code.op(Op::copy).slot(slot).slot(source);
        }
    }

    /// Copies an operand into a slot.
    fn emit_copy(&mut self, slot: i32, operand: Operand, temp: usize) {
        let source = match operand {
            Operand::Const(bits) => return self.emit_const(slot, bits),
            Operand::Local(local) => self.local_slot(local),
            Operand::Temp => self.temp_slot(temp),
        };
        if source != slot {
            self.emit_copy_slot(slot, source);
        }
    }

    /// Puts all operands below `height` into their temporaries.
    fn settle(&mut self, height: usize) {
        for index in self.stack.unsettled(height) {
            let operand = self.stack.get(index);
            self.emit_copy(self.temp_slot(index), operand, index);
            self.stack.settle(index);
        }
    }

    /// Puts the operands that still equal a local into their temporaries, before it is set.
    fn preserve(&mut self, local: u32) {
        while let Some(index) = self.stack.take_pending(local) {
            self.emit_copy_slot(self.temp_slot(index), self.local_slot(local));
        }
    }

    /// `local.set`.
    fn set_local(&mut self, local: u32) {
        let first = self.local_slots.first(local);
        if self.local_slots.is_vector(local) {
            return self.set_vector_local(first);
        }
        let local = first;
        let (operand, temp) = self.pop();
        if operand == Operand::Local(local) {
            return;
        }
        let slot = self.local_slot(local);
        let computed =
            operand == Operand::Temp && self.code.last_result(self.temp_slot(temp)).is_some();
        if !computed {
            self.preserve(local);
            self.emit_copy(slot, operand, temp);
            return;
        }
        // The result goes straight into the local. What still equals the local has to be saved
        // before the instruction that computes it.
        if self.stack.is_pending(local)
            && let Some(last) = self.code.take_back()
        {
            self.preserve(local);
            self.code.put_back(&last);
        }
        self.code.retarget(slot);
    }

    /// Operands of these types, in their temporaries.
    fn push_temps(&mut self, types: &[ValType]) {
        for ty in types {
            match ty {
                ValType::V128 => drop(self.push_vector_temp()),
                _ => drop(self.push_temp()),
            }
        }
    }

    /// Notes the safepoint that has just been emitted, if anyone wants to know. The operand stack is
    /// as it has to be while a frame is suspended there.
    fn note_site(&mut self, kind: SiteKind, point: u32, results: usize) {
        if !self.code.is_recording() {
            return;
        }
        let first = self.sites.exceptions.len() as u32;
        for index in self.stack.first_unsettled()..self.stack.height() {
            let at = match self.stack.get(index) {
                Operand::Temp => continue,
                Operand::Local(local) => SuspendedAt::Local(local),
                Operand::Const(bits) => SuspendedAt::Const(bits),
            };
            self.sites.exceptions.push((index as u32, at));
        }
        self.sites.sites.push(Site {
            point,
            kind,
            resume: self.code.len() as u32,
            height: self.stack.height() as u32,
            results: results as u32,
            exceptions: (first, self.sites.exceptions.len() as u32),
        });
    }
}
