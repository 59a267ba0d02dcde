//! A memory that several programs share, each in a thread of its own. They add to its cells, and never look at what these
//! hold: so a program goes on as it would alone, and in the end the cells hold the sum of what all have added.

use super::body::Body;
use super::{BUDGET_GLOBAL, MEMORIES, Signature};
use std::convert::Infallible;
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, EntityType, Function, ImportSection, Instruction, MemArg, MemArgTarget, MemoryType,
    Module, ValType,
};
use wasmparser::{ImportSectionReader, Parser};

/// Bytes of the cells of each of the four widths, one after the other by growing width. Behind them is as much that is never
/// written, where programs wait for each other.
const CELLS: u32 = 1024;

/// The memory's index while a program is made; in the end it is the first one, for it is imported.
const MEMORY: u32 = MEMORIES.len() as u32;

/// The cells of such a memory, as what has been added to each of them, cut off at its width.
pub fn sums(memory: &[u8]) -> Vec<u64> {
    let cells = (0..4).flat_map(|width| {
        let region = &memory[(width * CELLS) as usize..((width + 1) * CELLS) as usize];
        region.chunks(1 << width).map(|cell| {
            let mut bytes = [0; 8];
            bytes[..cell.len()].copy_from_slice(cell);
            u64::from_le_bytes(bytes)
        })
    });
    cells.collect()
}

/// What the cells hold when `times` programs have each added these sums.
pub fn multiplied(sums: &[u64], times: u64) -> Vec<u64> {
    let cells = sums.iter().enumerate().map(|(cell, sum)| {
        let first_of =
            |width: u32| (0..width).map(|width| (CELLS >> width) as usize).sum::<usize>();
        let width = (0..4).rev().find(|&width| cell >= first_of(width)).expect("one of four");
        sum.wrapping_mul(times) & u64::MAX >> (64 - (8 << width))
    });
    cells.collect()
}

/// Type of the function that adds to a cell of eight bytes by exchanging it.
pub(super) fn signature() -> Signature {
    Signature { params: vec![ValType::I32, ValType::I64], results: vec![] }
}

/// That function: it tries until nobody has come in between.
pub(super) fn add_by_exchange() -> Function {
    use Instruction::*;
    let at = cell(3);
    let mut function = Function::new([(1, ValType::I64)]);
    for instruction in [
        Loop(BlockType::Empty),
        LocalGet(0),
        LocalGet(0),
        I64AtomicLoad(at),
        LocalTee(2),
        LocalGet(2),
        LocalGet(1),
        I64Add,
        I64AtomicRmwCmpxchg(at),
        LocalGet(2),
        I64Ne,
        BrIf(0),
        End,
        End,
    ] {
        function.instruction(&instruction);
    }
    function
}

fn cell(width: u32) -> MemArg {
    let offset = u64::from(width * CELLS);
    MemArg { offset, align: width, target: MemArgTarget::Memory(MEMORY), ordering: None }
}

/// Where programs wait: few places, so that they meet.
pub(super) const PLACES: u32 = 2;

fn waiting_place() -> MemArg {
    MemArg { offset: u64::from(4 * CELLS), ..cell(2) }
}

/// Waits until another thread comes by, but no longer than this.
pub(super) fn wait(place: u32, microseconds: u32) -> [Instruction<'static>; 5] {
    use Instruction::*;
    let nanoseconds = 1000 * i64::from(microseconds);
    let at = waiting_place();
    [I32Const(place as i32 * 4), I32Const(0), I64Const(nanoseconds), MemoryAtomicWait32(at), Drop]
}

impl Body<'_, '_> {
    /// Adds to a cell, or waits for the others, or wakes them.
    pub(super) fn crew_statement(&mut self) {
        use Instruction::*;
        if self.choices.one_in(6) {
            return self.wait_for_the_crew();
        }
        let long = self.choices.one_in(2);
        let width = self.choices.below(if long { 4 } else { 3 });
        self.expression(ValType::I32);
        self.align_to_cell(width);
        self.expression(if long { ValType::I64 } else { ValType::I32 });
        if long && width == 3 && self.choices.one_in(2) {
            return self.emit(Call(self.address + 1));
        }
        self.add_to_cell(long, width);
    }

    /// Adds what a loop's counter is to a cell that depends on it.
    pub(super) fn crew_iteration(&mut self, counter: u32) {
        let width = self.choices.below(3);
        self.emit(Instruction::LocalGet(counter));
        self.align_to_cell(width);
        self.emit(Instruction::LocalGet(counter));
        self.add_to_cell(false, width);
    }

    /// Adds what is on top of the stack to the cell whose address is below it.
    fn add_to_cell(&mut self, long: bool, width: u32) {
        use Instruction::*;
        let at = cell(width);
        let subtract = self.choices.one_in(2);
        self.emit(match (long, width, subtract) {
            (false, 0, false) => I32AtomicRmw8AddU(at),
            (false, 0, true) => I32AtomicRmw8SubU(at),
            (false, 1, false) => I32AtomicRmw16AddU(at),
            (false, 1, true) => I32AtomicRmw16SubU(at),
            (false, _, false) => I32AtomicRmwAdd(at),
            (false, _, true) => I32AtomicRmwSub(at),
            (true, 0, false) => I64AtomicRmw8AddU(at),
            (true, 0, true) => I64AtomicRmw8SubU(at),
            (true, 1, false) => I64AtomicRmw16AddU(at),
            (true, 1, true) => I64AtomicRmw16SubU(at),
            (true, 2, false) => I64AtomicRmw32AddU(at),
            (true, 2, true) => I64AtomicRmw32SubU(at),
            (true, _, false) => I64AtomicRmwAdd(at),
            (true, _, true) => I64AtomicRmwSub(at),
        });
        self.emit(Drop);
    }

    /// Now and then waits some microseconds, or until another thread comes by; or wakes one that waits. Which of them it was
    /// is dropped.
    fn wait_for_the_crew(&mut self) {
        use Instruction::*;
        for instruction in
            [GlobalGet(BUDGET_GLOBAL), I32Const(31), I32And, I32Eqz, If(BlockType::Empty)]
        {
            self.emit(instruction);
        }
        let place = self.choices.below(PLACES);
        if self.choices.one_in(3) {
            self.emit(I32Const(place as i32 * 4));
            self.emit(I32Const(1));
            self.emit(MemoryAtomicNotify(waiting_place()));
            self.emit(Drop);
        } else {
            let microseconds = self.choices.below(500);
            wait(place, microseconds).into_iter().for_each(|instruction| self.emit(instruction));
        }
        self.emit(End);
    }

    /// Makes what is on top of the stack the address of a cell.
    fn align_to_cell(&mut self, width: u32) {
        let mask = (CELLS - 1) & !((1 << width) - 1);
        self.emit(Instruction::I32Const(mask as i32));
        self.emit(Instruction::I32And);
    }
}

/// The program, whose instructions name a memory behind its own, with that memory imported: as its first one.
pub(super) fn with_crew(program: &[u8]) -> Vec<u8> {
    let mut module = Module::new();
    let made = Importer.parse_core_module(&mut module, Parser::new(0), program);
    made.expect("a program that has just been made");
    module.finish()
}

struct Importer;

impl Reencode for Importer {
    type Error = Infallible;

    fn memory_index(&mut self, memory: u32) -> Result<u32, reencode::Error<Infallible>> {
        Ok((memory + 1) % (MEMORY + 1))
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        utils::parse_import_section(self, imports, section)?;
        let ty = MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: true,
            page_size_log2: None,
        };
        imports.import("crew", "memory", EntityType::Memory(ty));
        Ok(())
    }
}
