//! What a body refers to in linear memory: addresses of static data, slots of the frame that it keeps there, and
//! fields of what pointers lead to; and how far apart elements are.
//!
//! It is read off the operators one after the other, with what is known of the operands: constants, the stack
//! pointer, and addresses within the frame, also where locals carry them that are set once (as unoptimised code
//! does everywhere). Whatever else happens to a value makes it unknown. So a reference may be missed or be called
//! a field; none is called what it is not, but for constants that only look like addresses.

use super::canonical;
use midair_tiers::atomics::{Atomic, AtomicKind};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use wasmparser::{BinaryReader, FunctionBody, MemArg, MemArgTarget, Operator};

/// What an operator refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum MemoryReference {
    /// Memory at an address that is known.
    At(u64),
    /// A constant that may be an address.
    Constant(u32),
    /// Memory at this offset from an address that is not known: a field, or an element of static data.
    Offset(u64),
    /// A slot of the frame in memory, from its lowest address on.
    Frame(i64),
    /// A pointer, or what is added to one, goes on by this with each round of a loop.
    Step(i32),
}

/// What a load or store takes memory for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Access {
    pub(crate) bytes: u8,
    pub(crate) is_float: bool,
}

/// An operator of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReferringOperator {
    /// Hash of the operator without what a compiler chooses anew at each build: numbers of locals, constants,
    /// offsets.
    pub(crate) shape: u64,
    /// The local's number, for what tells two operators of one shape apart.
    pub(crate) detail: u64,
    pub(crate) reference: Option<MemoryReference>,
    /// Of loads and stores of one value, and whether it is a store.
    pub(crate) access: Option<(Access, bool)>,
    /// What an index into memory is multiplied by: the distance of two elements.
    pub(crate) distance: Option<u32>,
}

/// A body, as far as it has to do with memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryReferences {
    pub(crate) operators: Vec<ReferringOperator>,
    /// Size of the frame that it keeps in memory.
    pub(crate) frame: Option<i64>,
}

/// Something that keeps a value, which changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Variable {
    Local(u32),
    /// In the frame in memory.
    Slot(i64),
}

/// What is known of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Unknown,
    /// A constant, and the operator that makes it.
    Constant(i32, usize),
    StackPointer,
    /// An address in the frame.
    Frame(i64),
    /// A constant, if it is one, and a multiple of the second number.
    Element(u32, u32),
    /// What a variable has just now.
    Of(Variable),
    /// That and a constant, which this operator makes.
    Beyond(Variable, i32, usize),
}

/// What is done with a constant.
#[derive(Clone, Copy, Default)]
struct Uses {
    /// It is multiplied, compared and the like, as no address is that matters: the end of an array moves with
    /// the array.
    number: bool,
    other: bool,
}

struct Reader {
    stack_pointer: Option<u32>,
    /// Whether addresses have 64 bits.
    long: bool,
    stack: Vec<Value>,
    /// How often each local is set; parameters once more.
    sets: HashMap<u32, u32>,
    locals: HashMap<u32, Value>,
    uses: HashMap<usize, Uses>,
    /// Variables that are used as addresses.
    pointers: HashSet<Variable>,
    /// Those that constants are added to; by the operators that make the constants.
    steps: HashMap<usize, (Variable, i32)>,
    found: MemoryReferences,
}

impl Access {
    /// As a person is told of it.
    pub(crate) fn name(self) -> String {
        let kind = if self.is_float { "a float" } else { "an integer" };
        let plural = if self.bytes == 1 { "" } else { "s" };
        format!("{kind} of {} byte{plural}", self.bytes)
    }
}

impl MemoryReferences {
    /// Of a body, which has to be well-formed: what cannot be parsed is left out. `stack_pointer`: the global that
    /// LLVM's linker calls so; `long`: whether addresses have 64 bits.
    pub(crate) fn of(
        body: &[u8],
        parameters: u32,
        stack_pointer: Option<u32>,
        long: bool,
    ) -> MemoryReferences {
        let mut reader = Reader {
            stack_pointer,
            long,
            stack: Vec::new(),
            sets: (0..parameters).map(|local| (local, 1)).collect(),
            locals: HashMap::new(),
            uses: HashMap::new(),
            pointers: HashSet::new(),
            steps: HashMap::new(),
            found: MemoryReferences::default(),
        };
        for (operator, _) in operators(body) {
            if let Operator::LocalSet { local_index } | Operator::LocalTee { local_index } =
                operator
            {
                *reader.sets.entry(local_index).or_default() += 1;
            }
        }
        let mut buffer = Vec::new();
        for (operator, bytes) in operators(body) {
            reader.operator(&operator, canonical::shortest(&operator, bytes, &mut buffer));
        }
        for (at, uses) in reader.uses {
            if uses.number && !uses.other {
                reader.found.operators[at].reference = None;
            }
        }
        for (at, (variable, by)) in reader.steps {
            if reader.pointers.contains(&variable) {
                reader.found.operators[at].reference = Some(MemoryReference::Step(by));
            }
        }
        reader.found
    }
}

/// What an operator that computes addresses of 64 bits would be if they had 32. Static data lies where these reach.
fn narrowed(operator: &Operator<'_>) -> Option<Operator<'static>> {
    use Operator as O;
    Some(match *operator {
        O::I64Const { value } => match (i32::try_from(value), u32::try_from(value)) {
            (Ok(value), _) => O::I32Const { value },
            (_, Ok(value)) => O::I32Const { value: value as i32 },
            _ => return None,
        },
        O::I64Add => O::I32Add,
        O::I64Sub => O::I32Sub,
        O::I64Mul => O::I32Mul,
        O::I64Shl => O::I32Shl,
        O::I64And => O::I32And,
        O::I64Or => O::I32Or,
        O::I64Eq => O::I32Eq,
        O::I64Ne => O::I32Ne,
        O::I64LtS => O::I32LtS,
        O::I64LtU => O::I32LtU,
        O::I64GtS => O::I32GtS,
        O::I64GtU => O::I32GtU,
        O::I64LeS => O::I32LeS,
        O::I64LeU => O::I32LeU,
        O::I64GeS => O::I32GeS,
        O::I64GeU => O::I32GeU,
        O::I64Eqz => O::I32Eqz,
        _ => return None,
    })
}

/// The operators of a body with their bytes, up to the first that makes no sense.
fn operators(body: &[u8]) -> impl Iterator<Item = (Operator<'_>, &[u8])> {
    let reader = FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader().ok();
    reader.into_iter().flat_map(move |mut reader| {
        std::iter::from_fn(move || {
            if reader.eof() {
                return None;
            }
            let (operator, offset) = reader.read_with_offset().ok()?;
            Some((operator, &body[offset as usize..reader.original_position() as usize]))
        })
    })
}

pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A load or store of one value: its memory argument, what it takes memory for, and whether it is a store.
fn access(operator: &Operator<'_>) -> Option<(MemArg, Access, bool)> {
    use Operator as O;
    if let Some(atomic) = Atomic::of(operator) {
        let access = Access { bytes: atomic.bytes as u8, is_float: false };
        return Some((atomic.memarg, access, atomic.kind == AtomicKind::Store));
    }
    let (memarg, bytes, is_store) = match *operator {
        O::I32Load8S { memarg }
        | O::I32Load8U { memarg }
        | O::I64Load8S { memarg }
        | O::I64Load8U { memarg }
        | O::V128Load8Splat { memarg }
        | O::V128Load8Lane { memarg, .. } => (memarg, 1, false),
        O::I32Load16S { memarg }
        | O::I32Load16U { memarg }
        | O::I64Load16S { memarg }
        | O::I64Load16U { memarg }
        | O::V128Load16Splat { memarg }
        | O::V128Load16Lane { memarg, .. } => (memarg, 2, false),
        O::I32Load { memarg }
        | O::F32Load { memarg }
        | O::I64Load32S { memarg }
        | O::I64Load32U { memarg }
        | O::V128Load32Splat { memarg }
        | O::V128Load32Zero { memarg }
        | O::V128Load32Lane { memarg, .. } => (memarg, 4, false),
        O::I64Load { memarg }
        | O::F64Load { memarg }
        | O::V128Load8x8S { memarg }
        | O::V128Load8x8U { memarg }
        | O::V128Load16x4S { memarg }
        | O::V128Load16x4U { memarg }
        | O::V128Load32x2S { memarg }
        | O::V128Load32x2U { memarg }
        | O::V128Load64Splat { memarg }
        | O::V128Load64Zero { memarg }
        | O::V128Load64Lane { memarg, .. } => (memarg, 8, false),
        O::V128Load { memarg } => (memarg, 16, false),
        O::I32Store8 { memarg } | O::I64Store8 { memarg } | O::V128Store8Lane { memarg, .. } => {
            (memarg, 1, true)
        }
        O::I32Store16 { memarg } | O::I64Store16 { memarg } | O::V128Store16Lane { memarg, .. } => {
            (memarg, 2, true)
        }
        O::I32Store { memarg }
        | O::F32Store { memarg }
        | O::I64Store32 { memarg }
        | O::V128Store32Lane { memarg, .. } => (memarg, 4, true),
        O::I64Store { memarg } | O::F64Store { memarg } | O::V128Store64Lane { memarg, .. } => {
            (memarg, 8, true)
        }
        O::V128Store { memarg } => (memarg, 16, true),
        _ => return None,
    };
    let is_float = matches!(
        operator,
        O::F32Load { .. } | O::F64Load { .. } | O::F32Store { .. } | O::F64Store { .. }
    );
    Some((memarg, Access { bytes, is_float }, is_store))
}

/// The lane that is loaded or stored, if it is one of a vector.
fn lane(operator: &Operator<'_>) -> Option<u8> {
    use Operator as O;
    match *operator {
        O::V128Load8Lane { lane, .. }
        | O::V128Load16Lane { lane, .. }
        | O::V128Load32Lane { lane, .. }
        | O::V128Load64Lane { lane, .. }
        | O::V128Store8Lane { lane, .. }
        | O::V128Store16Lane { lane, .. }
        | O::V128Store32Lane { lane, .. }
        | O::V128Store64Lane { lane, .. } => Some(lane),
        _ => None,
    }
}

impl Reader {
    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Unknown)
    }

    /// What is done with an operand, if it is a constant.
    fn uses(&mut self, value: Value) -> Option<&mut Uses> {
        match value {
            Value::Constant(_, at) => Some(self.uses.entry(at).or_default()),
            _ => None,
        }
    }

    fn take(&mut self) -> Value {
        let value = self.pop();
        if let Some(uses) = self.uses(value) {
            uses.other = true;
        }
        value
    }

    fn take_number(&mut self) -> Value {
        let value = self.pop();
        if let Some(uses) = self.uses(value) {
            uses.number = true;
        }
        value
    }

    /// Control flow goes on elsewhere: what is on the stack is used, nobody knows how.
    fn forget(&mut self) {
        while !self.stack.is_empty() {
            self.take();
        }
    }

    /// Of two operands, of which `b` may be subtracted.
    fn sum(&mut self, sign: i64) -> Value {
        let (b, a) = (self.pop(), self.pop());
        let is_frame = |value| matches!(value, Value::StackPointer | Value::Frame(_));
        let in_frame = is_frame(a) || is_frame(b);
        for value in [a, b] {
            if let Some(uses) = self.uses(value) {
                *(if in_frame { &mut uses.number } else { &mut uses.other }) = true;
            }
        }
        match (a, b) {
            (Value::Element(base, scale), Value::Constant(more, _))
            | (Value::Constant(more, _), Value::Element(base, scale))
                if sign > 0 =>
            {
                Value::Element(base.wrapping_add(more as u32), scale)
            }
            (Value::Element(base, scale), Value::Unknown | Value::Of(_) | Value::Beyond(..))
            | (Value::Unknown | Value::Of(_) | Value::Beyond(..), Value::Element(base, scale))
                if sign > 0 =>
            {
                Value::Element(base, scale)
            }
            (Value::StackPointer, Value::Constant(size, _)) => {
                let size = -sign * i64::from(size);
                match self.found.frame {
                    None if size > 0 => {
                        self.found.frame = Some(size);
                        Value::Frame(0)
                    }
                    _ => Value::Unknown,
                }
            }
            (Value::Frame(at), Value::Constant(offset, _)) => {
                Value::Frame(at + sign * i64::from(offset))
            }
            (Value::Constant(offset, _), Value::Frame(at)) if sign > 0 => {
                Value::Frame(at + i64::from(offset))
            }
            (Value::Of(variable), Value::Constant(by, at)) => {
                Value::Beyond(variable, (sign as i32).wrapping_mul(by), at)
            }
            (Value::Constant(by, at), Value::Of(variable)) if sign > 0 => {
                Value::Beyond(variable, by, at)
            }
            _ => Value::Unknown,
        }
    }

    /// A variable is set.
    fn set(&mut self, variable: Variable, value: Value) {
        if let Value::Beyond(of, by, at) = value
            && of == variable
        {
            self.steps.insert(at, (variable, by));
        }
    }

    /// What an access to memory refers to, and how far apart elements are there.
    fn place(&mut self, base: Value, offset: u64) -> (Option<MemoryReference>, Option<u32>) {
        if let Value::Of(variable) | Value::Beyond(variable, ..) = base {
            self.pointers.insert(variable);
        }
        let (reference, distance) = match base {
            Value::Constant(base, _) => {
                (MemoryReference::At(u64::from(base as u32) + offset), None)
            }
            Value::Frame(at) => (MemoryReference::Frame(at + offset as i64), None),
            Value::Element(base, scale) => {
                (MemoryReference::Offset(u64::from(base) + offset), Some(scale))
            }
            // Where it is stepped as well as used, the step tells more.
            Value::Beyond(_, by, at) if !self.steps.contains_key(&at) => {
                let from = offset.checked_add_signed(i64::from(by)).unwrap_or(offset);
                (MemoryReference::Offset(from), None)
            }
            Value::Unknown | Value::StackPointer | Value::Of(_) | Value::Beyond(..) => {
                (MemoryReference::Offset(offset), None)
            }
        };
        (Some(reference), distance)
    }

    fn operator(&mut self, operator: &Operator<'_>, bytes: &[u8]) {
        use Operator as O;
        let narrowed = if self.long { narrowed(operator) } else { None };
        let operator = narrowed.as_ref().unwrap_or(operator);
        let at = self.found.operators.len();
        let (mut shape, mut detail) = (hash(&bytes), 0);
        let mut reference = None;
        let (mut accessed, mut distance) = (None, None);
        match *operator {
            O::I32Const { value } => {
                shape = hash(&"constant");
                detail = u64::from(value as u32);
                reference = Some(MemoryReference::Constant(value as u32));
                self.stack.push(Value::Constant(value, at));
            }
            O::LocalGet { local_index } => {
                (shape, detail) = (hash(&"get"), u64::from(local_index));
                let value = self.locals.get(&local_index).copied();
                let known = value.filter(|value| *value != Value::Unknown);
                self.stack.push(known.unwrap_or(Value::Of(Variable::Local(local_index))));
            }
            O::LocalSet { local_index } | O::LocalTee { local_index } => {
                (shape, detail) = (hash(&&bytes[..1]), u64::from(local_index));
                let value = self.pop();
                self.set(Variable::Local(local_index), value);
                if self.sets.get(&local_index) == Some(&1) {
                    self.locals.insert(local_index, value);
                } else if let Some(uses) = self.uses(value) {
                    uses.other = true;
                }
                if matches!(operator, O::LocalTee { .. }) {
                    self.stack.push(value);
                }
            }
            O::GlobalGet { global_index } => {
                let is = self.stack_pointer == Some(global_index);
                self.stack.push(if is { Value::StackPointer } else { Value::Unknown });
            }
            O::GlobalSet { .. } | O::Drop => {
                self.take();
            }
            O::I32Add | O::I32Sub => {
                let sum = self.sum(if matches!(operator, O::I32Add) { 1 } else { -1 });
                if let Value::Frame(slot) = sum {
                    reference = Some(MemoryReference::Frame(slot));
                }
                self.stack.push(sum);
            }
            // A frame that is aligned begins where it is aligned.
            O::I32And if self.stack.iter().rev().take(2).any(|v| matches!(v, Value::Frame(_))) => {
                let (b, a) = (self.take(), self.take());
                self.stack.push(if matches!(a, Value::Frame(_)) { a } else { b });
            }
            O::I32Mul | O::I32Shl => {
                let (b, a) = (self.take_number(), self.take_number());
                let scale = match (operator, a, b) {
                    (O::I32Shl, _, Value::Constant(bits, _)) => Some(1u32 << (bits & 31)),
                    (O::I32Mul, Value::Constant(scale, _), _)
                    | (O::I32Mul, _, Value::Constant(scale, _)) => Some(scale as u32),
                    _ => None,
                };
                self.stack.push(scale.map_or(Value::Unknown, |scale| Value::Element(0, scale)));
            }
            O::I32And
            | O::I32Or
            | O::I32Xor
            | O::I32DivS
            | O::I32DivU
            | O::I32RemS
            | O::I32RemU
            | O::I32ShrS
            | O::I32ShrU
            | O::I32Rotl
            | O::I32Rotr
            | O::I32Eq
            | O::I32Ne
            | O::I32LtS
            | O::I32LtU
            | O::I32GtS
            | O::I32GtU
            | O::I32LeS
            | O::I32LeU
            | O::I32GeS
            | O::I32GeU => {
                self.take_number();
                self.take_number();
                self.stack.push(Value::Unknown);
            }
            O::I32Eqz
            | O::I32Clz
            | O::I32Ctz
            | O::I32Popcnt
            | O::I64ExtendI32S
            | O::I64ExtendI32U
            | O::F32ConvertI32S
            | O::F32ConvertI32U
            | O::F64ConvertI32S
            | O::F64ConvertI32U => {
                self.take_number();
                self.stack.push(Value::Unknown);
            }
            _ => {
                if let Some((memarg, access, is_store)) = access(operator) {
                    let memory = memarg.target;
                    // What access it is, and which lane's.
                    let lane = lane(operator);
                    let kind = std::mem::discriminant(operator);
                    shape = hash(&("access", memory, is_store));
                    detail = hash(&(kind, lane));
                    // The vector that a lane is loaded into.
                    if lane.is_some() && !is_store {
                        self.take();
                    }
                    accessed = Some((access, is_store));
                    // What an atomic operator has besides its address, but for a value that it only stores.
                    let more = match Atomic::of(operator).map(|atomic| atomic.kind) {
                        Some(AtomicKind::Modify(_) | AtomicKind::Notify) => 1,
                        Some(AtomicKind::CompareExchange | AtomicKind::Wait) => 2,
                        _ => 0,
                    };
                    for _ in 0..more {
                        self.take();
                    }
                    let stored = is_store.then(|| self.take());
                    let base = self.take();
                    let is_word = access.bytes == if self.long { 8 } else { 4 };
                    if memory == MemArgTarget::Memory(0) {
                        (reference, distance) = self.place(base, memarg.offset);
                    }
                    let slot = match reference {
                        Some(MemoryReference::Frame(slot)) if is_word => Some(Variable::Slot(slot)),
                        _ => None,
                    };
                    match (stored, slot) {
                        (Some(stored), Some(slot)) => self.set(slot, stored),
                        (Some(_), None) => {}
                        (None, slot) => self.stack.push(slot.map_or(Value::Unknown, Value::Of)),
                    }
                } else {
                    self.forget();
                }
            }
        }
        let access = accessed;
        let operator = ReferringOperator { shape, detail, reference, access, distance };
        self.found.operators.push(operator);
    }
}
