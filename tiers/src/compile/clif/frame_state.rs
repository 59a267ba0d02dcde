//! Frame states: what the canonical frame is at each safepoint.
//!
//! While a function is being built it is not known yet which of a frame's values are constants:
//! block parameters of loops turn into aliases when the loop's back edges are known. So the translator
//! only notes the values, and [`FrameStates::resolve`] fills exception tables and makes the poll calls
//! when the function is complete.

use super::aliases::Aliases;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    AbiParam, ExceptionTableData, ExceptionTableItem, Function, Inst, InstBuilder, InstructionData,
    MemFlagsData, Opcode, Signature, SourceLoc, Value, ValueDef, types,
};
use cranelift_codegen::isa::CallConv;
use midair_osr::cranelift::{SiteDescription, SiteValue, Sites};
use midair_osr::{ContextHeader, SiteKind, ValueKind};
use std::collections::HashMap;

/// A value of a canonical frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum StateValue {
    /// Nothing reads it again.
    Dead,
    /// Zero: a declared local at the function's entry.
    Zero,
    /// What this SSA value is at the site.
    Value(Value),
}

/// A site whose frame state has been noted.
struct PendingSite {
    kind: SiteKind,
    point: u32,
    /// The `try_call`, or the jump at the end of the poll's cold block.
    inst: Inst,
    values: Vec<(ValueKind, StateValue)>,
}

/// The instruction of each site by its point: to find out which sites survived optimisation.
pub(crate) type SiteInstructions = Vec<(u32, Inst)>;

/// More frame values than a frame map should hold.
pub(super) struct TooManyFrameValues;

/// Most values of all sites of a function.
const MAX_FRAME_VALUES: usize = 8 << 20;

/// The frame states of a function.
#[derive(Default)]
pub(super) struct FrameStates {
    sites: Vec<PendingSite>,
    total_values: usize,
}

impl FrameStates {
    /// Notes the state at a safepoint.
    pub(super) fn push(
        &mut self,
        kind: SiteKind,
        point: u32,
        inst: Inst,
        values: Vec<(ValueKind, StateValue)>,
    ) -> Result<(), TooManyFrameValues> {
        self.total_values += values.len();
        if self.total_values > MAX_FRAME_VALUES {
            return Err(TooManyFrameValues);
        }
        self.sites.push(PendingSite { kind, point, inst, values });
        Ok(())
    }

    /// Attaches the states to the function's instructions.
    pub(super) fn resolve(
        self,
        func: &mut Function,
        context: Value,
    ) -> Result<(Sites, SiteInstructions), TooManyFrameValues> {
        let mut sites = Sites::with_capacity(self.sites.len());
        let mut instructions = SiteInstructions::with_capacity(self.sites.len());
        let mut sums = Sums::default();
        let mut items = Items::default();
        for PendingSite { kind, point, inst, values } in self.sites {
            let values = items.describe(func, &mut sums, context, kind, &values)?;
            let inst = match kind {
                SiteKind::Call => {
                    fill_exception_table(func, inst, &items.values);
                    inst
                }
                SiteKind::Poll => insert_poll_call(func, inst, point, &items.values),
            };
            instructions.push((point, inst));
            sites.insert(point, SiteDescription { kind, point, values });
        }
        Ok((sites, instructions))
    }
}

/// The values that one site's instruction is given, from which its frame can be computed.
///
/// Values that differ by a constant are one item: a pointer, and locals that point into the same
/// object. What the frame map computes need not be kept in a register or on the stack.
#[derive(Default)]
struct Items {
    values: Vec<Value>,
    /// By the base of a sum: which of the frame's values is the item for all with this base.
    representatives: HashMap<Value, Representative>,
    /// Values of the frame that are computed: index, base, addend.
    sums: Vec<(usize, Value, i64)>,
}

#[derive(Clone, Copy)]
struct Representative {
    value: Value,
    addend: i64,
    number: Option<u16>,
}

impl Items {
    /// Collects the items of a site and says how its frame is computed from them.
    fn describe(
        &mut self,
        func: &Function,
        sums: &mut Sums,
        context: Value,
        kind: SiteKind,
        values: &[(ValueKind, StateValue)],
    ) -> Result<Vec<(ValueKind, SiteValue)>, TooManyFrameValues> {
        self.values.clear();
        self.representatives.clear();
        self.values.push(context);
        // The base itself represents its sums if it is in the frame, else the first of them.
        for (_, value) in values {
            let StateValue::Value(value) = *value else { continue };
            let value = sums.aliases.resolve(func, value);
            let (base, addend) = sums.of(func, value);
            let representative = Representative { value, addend, number: None };
            let chosen = self.representatives.entry(base).or_insert(representative);
            if value == base {
                *chosen = representative;
            }
        }
        let mut described: Vec<(ValueKind, SiteValue)> = Vec::with_capacity(values.len());
        for &(value_kind, value) in values {
            let value = match value {
                StateValue::Dead => SiteValue::Dead,
                StateValue::Zero => SiteValue::Const(0),
                StateValue::Value(value) => {
                    let value = sums.aliases.resolve(func, value);
                    match (constant_bits(func, value), constant_vector(func, value)) {
                        (Some(bits), _) => SiteValue::Const(value_kind.canonical(bits)),
                        (None, Some(halves)) => SiteValue::ConstVector(halves),
                        (None, None) => {
                            let index = described.len();
                            self.item(func, sums, kind, value, index)?
                        }
                    }
                }
            };
            described.push((value_kind, value));
        }
        for (index, base, addend) in self.sums.drain(..) {
            let representative = &self.representatives[&base];
            let Some(number) = representative.number else {
                unreachable!("every representative is a value of the frame")
            };
            let difference = addend.wrapping_sub(representative.addend);
            described[index].1 = SiteValue::ItemPlus(number, difference);
        }
        Ok(described)
    }

    /// The description of a value, which is the `index`th of the frame. (That of a sum follows later.)
    fn item(
        &mut self,
        func: &Function,
        sums: &mut Sums,
        kind: SiteKind,
        value: Value,
        index: usize,
    ) -> Result<SiteValue, TooManyFrameValues> {
        // A poll's arguments are counted off against the values that are plain items: each value is one
        // of its own, but integers can be "an item plus 0".
        if kind == SiteKind::Poll && !func.dfg.value_type(value).is_int() {
            return self.push(value).map(SiteValue::Item);
        }
        let (base, addend) = sums.of(func, value);
        let Some(&representative) = self.representatives.get(&base) else {
            unreachable!("every value of the frame has been seen")
        };
        match representative.number {
            None if representative.value == value => {
                let number = self.push(value)?;
                let numbered = Representative { number: Some(number), ..representative };
                self.representatives.insert(base, numbered);
                Ok(SiteValue::Item(number))
            }
            Some(number) if representative.value == value && kind == SiteKind::Call => {
                Ok(SiteValue::Item(number))
            }
            _ => {
                self.sums.push((index, base, addend));
                Ok(SiteValue::Dead)
            }
        }
    }

    fn push(&mut self, value: Value) -> Result<u16, TooManyFrameValues> {
        let number = u16::try_from(self.values.len()).map_err(|_| TooManyFrameValues)?;
        self.values.push(value);
        Ok(number)
    }
}

/// Values as sums of another value and a constant.
#[derive(Default)]
struct Sums {
    known: HashMap<Value, (Value, i64)>,
    aliases: Aliases,
    /// Values on the way to a base, with what each adds.
    chain: Vec<(Value, i64)>,
}

impl Sums {
    /// The value's base, which is no such sum itself, and what is added to it. In 32 bits the sum is
    /// right modulo 2^32.
    fn of(&mut self, func: &Function, value: Value) -> (Value, i64) {
        let mut sum = (value, 0);
        self.chain.clear();
        loop {
            if let Some(&(base, addend)) = self.known.get(&sum.0) {
                sum = (base, addend);
                break;
            }
            let Some((operand, addend)) = sum_of_constant(func, &mut self.aliases, sum.0) else {
                sum = (sum.0, 0);
                break;
            };
            self.chain.push((sum.0, addend));
            sum.0 = operand;
        }
        for &(value, addend) in self.chain.iter().rev() {
            sum.1 = i64::wrapping_add(sum.1, addend);
            self.known.insert(value, sum);
        }
        sum
    }
}

/// The operand and the constant of an addition or subtraction of a constant.
fn sum_of_constant(func: &Function, aliases: &mut Aliases, value: Value) -> Option<(Value, i64)> {
    let ValueDef::Result(inst, 0) = func.dfg.value_def(value) else { return None };
    let InstructionData::Binary { opcode, args: [first, second] } = func.dfg.insts[inst] else {
        return None;
    };
    let [first, second] = [first, second].map(|operand| aliases.resolve(func, operand));
    let constant = |operand| {
        let bits = constant_bits(func, operand)?;
        Some(if func.dfg.value_type(operand) == types::I32 {
            i64::from(bits as i32)
        } else {
            bits as i64
        })
    };
    match opcode {
        Opcode::Iadd => match (constant(first), constant(second)) {
            (None, Some(addend)) => Some((first, addend)),
            (Some(addend), None) => Some((second, addend)),
            _ => None,
        },
        Opcode::Isub if constant(first).is_none() => {
            Some((first, constant(second)?.wrapping_neg()))
        }
        _ => None,
    }
}

/// The bits of a value that is a constant by its definition.
fn constant_bits(func: &Function, value: Value) -> Option<u64> {
    let ValueDef::Result(inst, 0) = func.dfg.value_def(value) else {
        return None;
    };
    match func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits() as u64),
        InstructionData::UnaryIeee32 { imm, .. } => Some(imm.bits().into()),
        InstructionData::UnaryIeee64 { imm, .. } => Some(imm.bits()),
        _ => None,
    }
}

/// The halves of a vector that is a constant by its definition.
fn constant_vector(func: &Function, value: Value) -> Option<[u64; 2]> {
    let ValueDef::Result(inst, 0) = func.dfg.value_def(value) else {
        return None;
    };
    let InstructionData::UnaryConst { opcode: Opcode::Vconst, constant_handle } =
        func.dfg.insts[inst]
    else {
        return None;
    };
    let bytes: [u8; 16] = func.dfg.constants.get(constant_handle).as_slice().try_into().ok()?;
    let bits = u128::from_le_bytes(bytes);
    Some([bits as u64, (bits >> 64) as u64])
}

fn fill_exception_table(func: &mut Function, call: Inst, items: &[Value]) {
    let Some(table) = func.dfg.insts[call].exception_table() else {
        unreachable!("guest calls are try_calls")
    };
    let table = &mut func.dfg.exception_tables[table];
    let items = items.iter().map(|&value| ExceptionTableItem::Context(value));
    *table = ExceptionTableData::new(table.signature(), *table.normal_return(), items);
}

/// Calls the poll stub before `jump`, with the items as arguments.
fn insert_poll_call(func: &mut Function, jump: Inst, point: u32, items: &[Value]) -> Inst {
    // Under this convention the callee preserves all registers: the loop around the poll keeps its
    // values where they are.
    let mut signature = Signature::new(CallConv::PreserveAll);
    signature.params.extend(items.iter().map(|&value| AbiParam::new(func.dfg.value_type(value))));
    let signature = func.import_signature(signature);
    let mut cursor = FuncCursor::new(func).at_inst(jump).with_srcloc(SourceLoc::new(point));
    // Not marked as movable: hoisted out of its loop it would occupy a register there.
    let flags = MemFlagsData::trusted();
    let stub = cursor.ins().load(types::I64, flags, items[0], ContextHeader::POLL);
    cursor.ins().call_indirect(signature, stub, items)
}
