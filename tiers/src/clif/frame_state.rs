//! Frame states: what the canonical frame is at each safepoint.
//!
//! While a function is being built it is not known yet which of a frame's values are constants:
//! block parameters of loops turn into aliases when the loop's back edges are known. So the translator
//! only notes the values, and [`FrameStates::resolve`] fills exception tables and makes the poll calls
//! when the function is complete.

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
        let mut items = Items::default();
        for site in self.sites {
            items.clear();
            items.add(context)?;
            let mut values = Vec::with_capacity(site.values.len());
            for (kind, value) in site.values {
                let value = match value {
                    StateValue::Dead => SiteValue::Dead,
                    StateValue::Zero => SiteValue::Const(0),
                    StateValue::Value(value) => {
                        let value = func.dfg.resolve_aliases(value);
                        match constant_bits(func, value) {
                            Some(bits) => SiteValue::Const(bits & kind.mask()),
                            None if site.kind == SiteKind::Call => {
                                SiteValue::Item(items.add_once(value)?)
                            }
                            None => SiteValue::Item(items.add(value)?),
                        }
                    }
                };
                values.push((kind, value));
            }
            let inst = match site.kind {
                SiteKind::Call => {
                    fill_exception_table(func, site.inst, &items.values);
                    site.inst
                }
                SiteKind::Poll => insert_poll_call(func, site.inst, site.point, &items.values),
            };
            instructions.push((site.point, inst));
            sites
                .insert(site.point, SiteDescription { kind: site.kind, point: site.point, values });
        }
        Ok((sites, instructions))
    }
}

/// The values that one site's instruction is given.
#[derive(Default)]
struct Items {
    values: Vec<Value>,
    numbers: HashMap<Value, u16>,
}

impl Items {
    fn clear(&mut self) {
        self.values.clear();
        self.numbers.clear();
    }

    /// Adds a value. A poll's arguments are counted off against its frame's values, so that each
    /// value has an argument of its own.
    fn add(&mut self, value: Value) -> Result<u16, TooManyFrameValues> {
        let number = u16::try_from(self.values.len()).map_err(|_| TooManyFrameValues)?;
        self.values.push(value);
        Ok(number)
    }

    /// Adds a value that may have been added before.
    fn add_once(&mut self, value: Value) -> Result<u16, TooManyFrameValues> {
        if let Some(&number) = self.numbers.get(&value) {
            return Ok(number);
        }
        let number = self.add(value)?;
        self.numbers.insert(value, number);
        Ok(number)
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
