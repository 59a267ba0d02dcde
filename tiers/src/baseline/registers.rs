//! Which slots of the frame lie in registers, and which of these still have to be written.
//!
//! Each slot is in one register at most. A *temporary* is read once (but for what says that it is not), so that reading it
//! makes its register free, with nothing written; whoever then reads it once more panics. At labels, calls and wherever a
//! handler may look at the frame, everything has been written: what registers hold there is only a copy.

use super::assembler::{Assembler, Load, Mem, Reg, Width, Xmm};
use std::ops::Range;

/// The frame's header.
pub(super) const FP: Reg = Reg::RSI;
/// Base of memory 0.
pub(super) const MEMORY: Reg = Reg::RDX;
/// Length of memory 0.
pub(super) const MEMORY_LEN: Reg = Reg::RCX;
/// The instance's context.
pub(super) const CX: Reg = Reg::R8;
/// The store's context.
pub(super) const ST: Reg = Reg::R9;
/// The instruction, where a handler is jumped to; otherwise free.
pub(super) const IP: Reg = Reg::RDI;
/// Free within an instruction.
pub(super) const SCRATCH: Reg = Reg::RAX;
/// Free within an instruction.
pub(super) const FLOAT_SCRATCH: Xmm = Xmm(0);

/// What holds slots: general registers, then vector registers.
const GENERAL: [Reg; 7] = [Reg::R10, Reg::R11, Reg::RBP, Reg::R12, Reg::R13, Reg::R14, Reg::R15];
const FIRST_VECTOR: u8 = 2;
const PLACES: usize = GENERAL.len() + 14;
/// No slot has this number.
const NONE: i32 = i32::MIN;

/// What is in the registers at a place of the code, all of it written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State([i32; PLACES]);

impl State {
    /// Nothing.
    pub(super) const EMPTY: State = State([NONE; PLACES]);

    /// What this and another one have in common.
    pub(super) fn intersect(&mut self, other: &State) {
        for (slot, other) in self.0.iter_mut().zip(&other.0) {
            if slot != other {
                *slot = NONE;
            }
        }
    }

    /// Loads what this has and `from` has not.
    pub(super) fn load_from(&self, from: &State, asm: &mut Assembler) {
        for place in 0..PLACES {
            if self.0[place] != NONE && self.0[place] != from.0[place] {
                load(asm, place, self.0[place]);
            }
        }
    }

    /// Whether [`State::load_from`] would do nothing.
    pub(super) fn is_within(&self, from: &State) -> bool {
        self.0.iter().zip(&from.0).all(|(slot, other)| *slot == NONE || slot == other)
    }
}

fn memory(slot: i32) -> Mem {
    Mem::at(FP, slot * 8)
}

fn load(asm: &mut Assembler, place: usize, slot: i32) {
    match register(place) {
        Register::General(reg) => asm.load(Load::U64, reg, memory(slot)),
        Register::Vector(xmm) => asm.load_xmm(xmm, memory(slot)),
    }
}

enum Register {
    General(Reg),
    Vector(Xmm),
}

/// The kinds of places.
#[derive(Clone, Copy)]
enum Kind {
    General,
    Vector,
}

impl Kind {
    fn places(self) -> Range<usize> {
        match self {
            Kind::General => 0..GENERAL.len(),
            Kind::Vector => GENERAL.len()..PLACES,
        }
    }
}

fn register(place: usize) -> Register {
    match GENERAL.get(place) {
        Some(&reg) => Register::General(reg),
        None => Register::Vector(vector(place)),
    }
}

fn vector(place: usize) -> Xmm {
    Xmm((place - GENERAL.len()) as u8 + FIRST_VECTOR)
}

/// The registers at the instruction that is being translated.
pub(super) struct Registers {
    slots: [i32; PLACES],
    /// Of which places the slot has not been written.
    dirty: u32,
    /// Places that this instruction uses.
    locked: u32,
    /// Where to look for a victim next: among general and among vector registers.
    hands: [usize; 2],
    /// From here on slots are temporaries.
    first_temporary: i32,
    /// For each temporary: in which stretch of code it was read for the last time without having been written. To read it
    /// once more there would be a mistake.
    unwritten: Vec<u32>,
    /// The number of the stretch, which ends at the next label. They begin with 1.
    stretch: u32,
}

impl Registers {
    pub(super) fn new(first_temporary: i32) -> Registers {
        Registers {
            slots: [NONE; PLACES],
            dirty: 0,
            locked: 0,
            hands: [0, 0],
            first_temporary,
            unwritten: Vec::new(),
            stretch: 1,
        }
    }

    /// What is in the registers.
    pub(super) fn state(&self) -> State {
        State(self.slots)
    }

    /// Control comes here with this in the registers.
    pub(super) fn set_state(&mut self, state: &State) {
        (self.slots, self.dirty, self.locked) = (state.0, 0, 0);
        self.stretch += 1;
    }

    /// The next instruction may use all registers.
    pub(super) fn end_instruction(&mut self) {
        self.locked = 0;
    }

    fn is_temporary(&self, slot: i32) -> bool {
        slot >= self.first_temporary
    }

    fn find(&self, slot: i32) -> Option<usize> {
        self.slots.iter().position(|&held| held == slot)
    }

    /// Whether the slot is in a register.
    pub(super) fn holds(&self, slot: i32) -> bool {
        self.find(slot).is_some()
    }

    /// Writes everything. The flags stay.
    pub(super) fn write_all(&mut self, asm: &mut Assembler) {
        let mut dirty = std::mem::take(&mut self.dirty);
        while dirty != 0 {
            let place = dirty.trailing_zeros() as usize;
            dirty &= dirty - 1;
            self.write(asm, place);
        }
    }

    /// The code that [`Registers::write_all`] would write, elsewhere: what is in the registers here stays unwritten. No
    /// register may be made free between here and the jump to there.
    pub(super) fn write_all_elsewhere(&self) -> Unwritten {
        Unwritten { slots: self.slots, dirty: self.dirty }
    }

    fn write(&self, asm: &mut Assembler, place: usize) {
        write(asm, place, self.slots[place]);
    }

    /// Nothing is in the registers any more, and any slots may have been written elsewhere.
    pub(super) fn forget_all(&mut self) {
        self.set_state(&State::EMPTY);
    }

    /// Nothing is in the registers any more, and these slots have been written elsewhere.
    pub(super) fn forget_all_but_unwritten(&mut self, written: impl Iterator<Item = i32>) {
        (self.slots, self.dirty, self.locked) = (State::EMPTY.0, 0, 0);
        written.for_each(|slot| self.set_unwritten(slot, false));
    }

    /// The slot gets another value.
    fn forget(&mut self, slot: i32) {
        if let Some(place) = self.find(slot) {
            self.slots[place] = NONE;
            self.dirty &= !(1 << place);
        }
    }

    /// The slot was read for the last time if it is a temporary. Its register stays as it is until the end of the
    /// instruction.
    pub(super) fn was_read(&mut self, slot: i32) {
        if self.is_temporary(slot)
            && let Some(place) = self.find(slot)
        {
            let is_unwritten = self.dirty >> place & 1 == 1;
            self.forget(slot);
            self.set_unwritten(slot, is_unwritten);
        }
    }

    fn set_unwritten(&mut self, slot: i32, is_unwritten: bool) {
        if !self.is_temporary(slot) {
            return;
        }
        let index = (slot - self.first_temporary) as usize;
        if is_unwritten && index >= self.unwritten.len() {
            self.unwritten.resize(index + 1, 0);
        }
        if let Some(stretch) = self.unwritten.get_mut(index) {
            *stretch = if is_unwritten { self.stretch } else { 0 };
        }
    }

    /// # Panics
    /// If the slot's value was never written because what has read it was taken for its only reader.
    pub(super) fn assert_written(&self, slot: i32) {
        let index = usize::try_from(slot - self.first_temporary).ok();
        let unwritten = index.and_then(|index| self.unwritten.get(index));
        assert_ne!(unwritten, Some(&self.stretch), "slot {slot} is read twice");
    }

    /// Makes room in a place of this kind.
    fn free_place(&mut self, asm: &mut Assembler, kind: Kind) -> usize {
        let range = kind.places();
        let is_locked = |locked: u32, place: usize| locked >> place & 1 == 1;
        let free = range.clone().find(|&p| self.slots[p] == NONE && !is_locked(self.locked, p));
        let place = free.unwrap_or_else(|| {
            let hand = &mut self.hands[kind as usize];
            loop {
                let place = range.start + *hand % range.len();
                *hand += 1;
                // An instruction uses fewer than there are.
                if !is_locked(self.locked, place) {
                    break place;
                }
            }
        });
        if self.dirty >> place & 1 == 1 {
            self.write(asm, place);
            self.dirty &= !(1 << place);
        }
        self.slots[place] = NONE;
        self.locked |= 1 << place;
        place
    }

    /// A register for this instruction only.
    pub(super) fn scratch(&mut self, asm: &mut Assembler) -> Reg {
        GENERAL[self.free_place(asm, Kind::General)]
    }

    /// A [scratch register](Registers::scratch) is that of the slot's new value from here on.
    pub(super) fn define_scratch(&mut self, scratch: Reg, slot: i32) {
        let place = GENERAL.iter().position(|&reg| reg == scratch);
        self.define_place(place.expect("scratch registers are places"), slot);
    }

    /// The slot's value in a general register.
    pub(super) fn read(&mut self, asm: &mut Assembler, slot: i32) -> Reg {
        GENERAL[self.read_place(asm, slot, Kind::General)]
    }

    /// The slot's value in a vector register.
    pub(super) fn read_float(&mut self, asm: &mut Assembler, slot: i32) -> Xmm {
        vector(self.read_place(asm, slot, Kind::Vector))
    }

    fn read_place(&mut self, asm: &mut Assembler, slot: i32, kind: Kind) -> usize {
        let held = self.find(slot);
        let place = match held.filter(|place| kind.places().contains(place)) {
            Some(place) => place,
            None => {
                let place = self.free_place(asm, kind);
                self.set_place(asm, place, held, slot);
                if let Some(from) = held {
                    self.slots[from] = NONE;
                    let was_dirty = self.dirty >> from & 1;
                    self.dirty = self.dirty & !(1 << from) | was_dirty << place;
                }
                self.slots[place] = slot;
                place
            }
        };
        self.locked |= 1 << place;
        place
    }

    /// The vector register that the slot is in.
    pub(super) fn held_float(&mut self, slot: i32) -> Option<Xmm> {
        let place = self.find(slot).filter(|place| Kind::Vector.places().contains(place))?;
        self.locked |= 1 << place;
        Some(vector(place))
    }

    /// Sets a register to the value of a slot, which lies in the place `held` or only in its frame.
    fn set_place(&self, asm: &mut Assembler, place: usize, held: Option<usize>, slot: i32) {
        match (held.map(register), register(place)) {
            (None, _) => {
                self.assert_written(slot);
                load(asm, place, slot);
            }
            (Some(Register::General(from)), Register::General(to)) => asm.mov(Width::W64, to, from),
            (Some(Register::General(from)), Register::Vector(to)) => asm.xmm_from_reg(to, from),
            (Some(Register::Vector(from)), Register::General(to)) => asm.reg_from_xmm(to, from),
            (Some(Register::Vector(from)), Register::Vector(to)) => asm.mov_xmm(to, from),
        }
    }

    /// The place is that of the slot's new value from here on.
    fn define_place(&mut self, place: usize, slot: i32) {
        self.forget(slot);
        self.set_unwritten(slot, false);
        self.slots[place] = slot;
        self.dirty |= 1 << place;
        self.locked |= 1 << place;
    }

    /// A general register for the slot's new value. What the instruction has read keeps its register.
    pub(super) fn define(&mut self, asm: &mut Assembler, slot: i32) -> Reg {
        GENERAL[self.new_place(asm, slot, Kind::General)]
    }

    /// A vector register for the slot's new value. What the instruction has read keeps its register.
    pub(super) fn define_float(&mut self, asm: &mut Assembler, slot: i32) -> Xmm {
        vector(self.new_place(asm, slot, Kind::Vector))
    }

    fn new_place(&mut self, asm: &mut Assembler, slot: i32, kind: Kind) -> usize {
        self.forget(slot);
        let place = self.free_place(asm, kind);
        self.define_place(place, slot);
        place
    }

    /// A general register with the value of `from`, to be made into that of `to`.
    pub(super) fn change(&mut self, asm: &mut Assembler, from: i32, to: i32) -> Reg {
        GENERAL[self.change_place(asm, from, to, Kind::General)]
    }

    /// A vector register with the value of `from`, to be made into that of `to`.
    pub(super) fn change_float(&mut self, asm: &mut Assembler, from: i32, to: i32) -> Xmm {
        vector(self.change_place(asm, from, to, Kind::Vector))
    }

    fn change_place(&mut self, asm: &mut Assembler, from: i32, to: i32, kind: Kind) -> usize {
        let held = self.find(from);
        // Whether nobody wants the old value of `from` any more once `to` has got a new one.
        let is_last_use = from == to || self.is_temporary(from);
        let place = match held.filter(|place| is_last_use && kind.places().contains(place)) {
            Some(place) => place,
            None => {
                let place = self.free_place(asm, kind);
                self.set_place(asm, place, held, from);
                place
            }
        };
        self.was_read(from);
        self.define_place(place, to);
        place
    }

    /// Copies a slot that may be read once more, though it is a temporary.
    pub(super) fn copy_and_keep(&mut self, asm: &mut Assembler, to: i32, from: i32) {
        if let Some(held) = self.held_float(from) {
            let copy = self.define_float(asm, to);
            asm.mov_xmm(copy, held);
        } else {
            let held = self.read(asm, from);
            let copy = self.define(asm, to);
            asm.mov(Width::W64, copy, held);
        }
    }

    /// Copies a slot.
    pub(super) fn copy(&mut self, asm: &mut Assembler, to: i32, from: i32) {
        if to == from {
            return;
        }
        if self.find(from).is_some_and(|place| place >= GENERAL.len()) {
            self.change_float(asm, from, to);
        } else {
            self.change(asm, from, to);
        }
    }
}

fn write(asm: &mut Assembler, place: usize, slot: i32) {
    match register(place) {
        Register::General(reg) => asm.store(8, memory(slot), reg),
        Register::Vector(xmm) => asm.store_xmm(memory(slot), xmm),
    }
}

/// What was not written somewhere, to be written on a way out.
#[derive(Clone, Copy)]
pub(super) struct Unwritten {
    slots: [i32; PLACES],
    dirty: u32,
}

impl Unwritten {
    pub(super) fn write(&self, asm: &mut Assembler) {
        let mut dirty = self.dirty;
        while dirty != 0 {
            let place = dirty.trailing_zeros() as usize;
            dirty &= dirty - 1;
            write(asm, place, self.slots[place]);
        }
    }
}
