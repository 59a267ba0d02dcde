//! The machine that executes lowered code: its registers, and the one seam for dispatch.
//!
//! An instruction starts with the address of its handler. A handler does its work and then calls the
//! handler of the next instruction *as its last act*, with the six machine registers as arguments.
//! Handlers follow System V, so all six are in processor registers, and an optimising build turns
//! the call into a jump: the native stack does not grow. That takes care on our side: a handler must
//! own nothing that has a destructor and must not let the address of a local escape.
//!
//! Builds without optimisation cannot do that. There (`debug_assertions`, or the feature
//! `loop-dispatch` to test it) [`Machine::dispatch`]
//! parks the registers in the activation and returns to a loop that calls the next handler.
//!
//! ```text
//! register   System V   holds
//! ip         rdi        address of the current instruction
//! fp         rsi        header of the current frame (see `frame layout` in the parent module)
//! mem        rdx        base of memory 0
//! mem_len    rcx        accessible bytes of memory 0
//! cx         r8         InstanceContext
//! st         r9         StoreContext
//! ```

use super::activation::Position;
use crate::context::{InstanceContext, StoreContext};
use crate::trap::TrapCode;

/// How a run of handlers ended.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flow(pub(crate) usize);

impl Flow {
    /// The base frame returned.
    pub(crate) const RETURNED: Flow = Flow(0);
    /// A trap was raised, or came out of machine code.
    pub(crate) const TRAPPED: Flow = Flow(1);
    /// The base frame is gone and something is called in its place: see the activation.
    pub(crate) const TAIL_CALL: Flow = Flow(2);
    /// Loop dispatch: the registers are parked in the activation.
    #[cfg(any(debug_assertions, feature = "loop-dispatch"))]
    pub(crate) const CONTINUE: Flow = Flow(3);
}

/// Executes one instruction and all that follow it.
pub(crate) type Handler = unsafe extern "sysv64" fn(
    ip: *const u8,
    fp: *mut u64,
    mem: *mut u8,
    mem_len: usize,
    cx: *mut InstanceContext,
    st: *mut StoreContext,
) -> Flow;

/// The machine registers. Only ever a value that the optimiser dissolves.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) ip: *const u8,
    pub(crate) fp: *mut u64,
    pub(crate) mem: *mut u8,
    pub(crate) mem_len: usize,
    pub(crate) cx: *mut InstanceContext,
    pub(crate) st: *mut StoreContext,
}

/// Offset of an instruction's first operand: behind the handler's address.
pub(crate) const OPERANDS: usize = 8;

/// Defines handlers: `fn name(m) { body }` where `m` is the [`Machine`] at this instruction and the
/// body ends in one of its dispatching methods.
macro_rules! handlers {
    ($( $(#[$meta:meta])* fn $name:ident($m:ident) $body:block )*) => {$(
        $(#[$meta])*
        pub(crate) unsafe extern "sysv64" fn $name(
            ip: *const u8,
            fp: *mut u64,
            mem: *mut u8,
            mem_len: usize,
            cx: *mut $crate::context::InstanceContext,
            st: *mut $crate::context::StoreContext,
        ) -> $crate::interp::machine::Flow {
            #[allow(unused_mut)]
            let mut $m = $crate::interp::machine::Machine { ip, fp, mem, mem_len, cx, st };
            #[allow(unused_unsafe)]
            // SAFETY: lowered code names only slots of its own frame, and its instructions have the
            // layouts that their handlers read (`Op::layout`); the registers are those of a
            // running activation.
            unsafe { $body }
        }
    )*};
}
pub(crate) use handlers;

impl Machine {
    /// The operand at byte `at` of the instruction.
    ///
    /// # Safety
    /// The instruction must have an operand of this type there.
    #[inline(always)]
    pub(crate) unsafe fn operand<T: Copy>(self, at: usize) -> T {
        // SAFETY: the caller's contract; operands are not aligned.
        unsafe { self.ip.add(at).cast::<T>().read_unaligned() }
    }

    /// The frame slot that the operand at byte `at` names.
    ///
    /// # Safety
    /// The instruction must have a slot operand there.
    #[inline(always)]
    pub(crate) unsafe fn slot(self, at: usize) -> *mut u64 {
        // SAFETY: lowered code names only slots of its own frame.
        unsafe { self.fp.offset(self.operand::<i16>(at) as isize) }
    }

    /// The frame slot that the operand at byte `at` names with 32 bits.
    ///
    /// # Safety
    /// The instruction must have such a slot operand there.
    #[inline(always)]
    pub(crate) unsafe fn far_slot(self, at: usize) -> *mut u64 {
        // SAFETY: lowered code names only slots of its own frame.
        unsafe { self.fp.offset(self.operand::<i32>(at) as isize) }
    }

    /// The value of the slot that the operand at byte `at` names.
    ///
    /// # Safety
    /// As for [`Machine::slot`]; the slot must hold a `T`.
    #[inline(always)]
    pub(crate) unsafe fn get<T: SlotValue>(self, at: usize) -> T {
        // SAFETY: the caller's contract. Reading the low bytes only lets the processor forward a
        // narrower store.
        unsafe { T::read(self.slot(at)) }
    }

    /// Writes the slot that the operand at byte `at` names, all 64 bits of it.
    ///
    /// # Safety
    /// As for [`Machine::slot`].
    #[inline(always)]
    pub(crate) unsafe fn set<T: SlotValue>(self, at: usize, value: T) {
        // SAFETY: the caller's contract.
        unsafe { *self.slot(at) = value.into_slot() }
    }

    /// Goes on with the instruction behind this one, which has `size` bytes.
    ///
    /// # Safety
    /// `size` must be the size of this instruction.
    #[inline(always)]
    pub(crate) unsafe fn next(mut self, size: usize) -> Flow {
        // SAFETY: the caller's contract; code never ends without a control instruction.
        unsafe {
            self.ip = self.ip.add(size);
            self.dispatch()
        }
    }

    /// Goes on where the branch operand at byte `at` leads. Branch offsets count from their own
    /// first byte.
    ///
    /// # Safety
    /// The instruction must have a branch operand there.
    #[inline(always)]
    pub(crate) unsafe fn branch(mut self, at: usize) -> Flow {
        // SAFETY: branch operands lead to instructions of the same code.
        unsafe {
            let offset = self.operand::<i32>(at);
            self.ip = self.ip.offset(at as isize + offset as isize);
            self.dispatch()
        }
    }

    /// Executes the instruction at `ip`: the seam between the two forms of dispatch.
    ///
    /// # Safety
    /// `ip` must be the address of an instruction and the other registers those of its frame.
    #[cfg(not(any(debug_assertions, feature = "loop-dispatch")))]
    #[inline(always)]
    pub(crate) unsafe fn dispatch(self) -> Flow {
        // SAFETY: every instruction starts with a handler's address.
        unsafe {
            let handler = self.ip.cast::<Handler>().read_unaligned();
            handler(self.ip, self.fp, self.mem, self.mem_len, self.cx, self.st)
        }
    }

    /// Executes the instruction at `ip`: the seam between the two forms of dispatch.
    ///
    /// # Safety
    /// `ip` must be the address of an instruction and the other registers those of its frame.
    #[cfg(any(debug_assertions, feature = "loop-dispatch"))]
    #[inline(always)]
    pub(crate) unsafe fn dispatch(self) -> Flow {
        // SAFETY: an activation runs, so the store context points to it.
        unsafe {
            (*(*self.st).activation.cast::<super::Activation>()).parked = Some(self);
        }
        Flow::CONTINUE
    }

    /// Runs from the instruction at `ip` until the activation's base frame is left.
    ///
    /// # Safety
    /// As for [`Machine::dispatch`]; the innermost activation must be this machine's.
    pub(crate) unsafe fn run(self) -> Flow {
        // SAFETY: every instruction starts with a handler's address.
        unsafe { self.run_from(self.ip.cast::<Handler>().read_unaligned()) }
    }

    /// Runs from `handler` on until the activation's base frame is left.
    ///
    /// # Safety
    /// As for [`Machine::run`]; `handler` must be fit for the instruction at `ip`.
    #[cfg(not(any(debug_assertions, feature = "loop-dispatch")))]
    pub(crate) unsafe fn run_from(self, handler: Handler) -> Flow {
        // SAFETY: the caller's contract.
        unsafe {
            let Machine { ip, fp, mem, mem_len, cx, st } = self;
            midair_tiers_run(ip, fp, mem, mem_len, cx, st, handler)
        }
    }

    /// Runs from `handler` on until the activation's base frame is left.
    ///
    /// # Safety
    /// As for [`Machine::run`]; `handler` must be fit for the instruction at `ip`.
    #[cfg(any(debug_assertions, feature = "loop-dispatch"))]
    pub(crate) unsafe fn run_from(self, handler: Handler) -> Flow {
        let (mut m, mut handler) = (self, handler);
        loop {
            // SAFETY: the caller's contract; a handler that answers `CONTINUE` has parked registers
            // that can be dispatched.
            unsafe {
                let flow = handler(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
                if flow != Flow::CONTINUE {
                    return flow;
                }
                let activation = (*m.st).activation.cast::<super::Activation>();
                match (*activation).parked.take() {
                    Some(parked) => m = parked,
                    None => unreachable!("a handler went on without parking its registers"),
                }
                handler = m.ip.cast::<Handler>().read_unaligned();
            }
        }
    }

    /// Raises a trap at this instruction.
    ///
    /// # Safety
    /// The registers must be those of a running activation.
    #[inline(always)]
    pub(crate) unsafe fn trap(self, code: TrapCode) -> Flow {
        let raise = trap_handler(code);
        // SAFETY: the caller's contract.
        unsafe { raise(self.ip, self.fp, self.mem, self.mem_len, self.cx, self.st) }
    }

    /// Raises the trap of this number at this instruction.
    ///
    /// # Safety
    /// The registers must be those of a running activation.
    pub(crate) unsafe fn raise(self, code: u32) -> Flow {
        // SAFETY: the caller's contract.
        unsafe { self.raise_at(Position::Trap, code) }
    }

    /// Raises the trap of this number with the top frame at `position` of `ip`.
    ///
    /// # Safety
    /// The registers must be those of a running activation.
    pub(crate) unsafe fn raise_at(self, position: Position, code: u32) -> Flow {
        // SAFETY: the caller's contract.
        unsafe {
            self.save(position);
            (*self.st).trap = code;
            ((*(*self.cx).builtins).raise)(self.cx, code);
        }
        Flow::TRAPPED
    }

    /// Goes on behind this instruction of `size` bytes if `status` is 0, else raises it.
    ///
    /// # Safety
    /// As for [`Machine::next`].
    #[inline(always)]
    pub(crate) unsafe fn next_or_raise(self, status: u32, size: usize) -> Flow {
        // SAFETY: the caller's contract.
        unsafe { if status == 0 { self.next(size) } else { self.raise(status) } }
    }

    /// Saves the top frame into the activation, so that the frames can be walked.
    ///
    /// # Safety
    /// The registers must be those of a running activation.
    #[inline]
    pub(crate) unsafe fn save(self, position: Position) {
        // SAFETY: an activation runs, so the store context points to it.
        unsafe {
            let activation = (*self.st).activation.cast::<super::Activation>();
            (*activation).save(self.fp, self.ip, position);
        }
    }

    /// Takes up what the activation says: the top frame and its instruction.
    ///
    /// # Safety
    /// The registers must be those of a running activation, and what was saved last be where it goes on.
    #[inline(always)]
    pub(crate) unsafe fn restore(&mut self) {
        // SAFETY: an activation runs, so the store context points to it.
        unsafe {
            let activation = (*self.st).activation.cast::<super::Activation>();
            (self.fp, self.ip) = (*activation).saved();
        }
    }

    /// Reads the length of memory 0 again, after something that may have grown it.
    ///
    /// # Safety
    /// The registers must be those of a running activation.
    #[inline(always)]
    pub(crate) unsafe fn reload_memory(&mut self) {
        // SAFETY: `memory0` always points to a memory's definition.
        self.mem_len = unsafe { (*(*self.cx).memory0).len() };
    }
}

/// What is jumped to, as to the handler of the instruction that traps: one cold function for each code, so that the hot path
/// keeps its registers where they are.
#[inline(always)]
pub(crate) fn trap_handler(code: TrapCode) -> Handler {
    match code {
        TrapCode::Unreachable => raise_trap::<{ TrapCode::Unreachable as u32 }>,
        TrapCode::MemoryOutOfBounds => raise_trap::<{ TrapCode::MemoryOutOfBounds as u32 }>,
        TrapCode::TableOutOfBounds => raise_trap::<{ TrapCode::TableOutOfBounds as u32 }>,
        TrapCode::IndirectCallToNull => raise_trap::<{ TrapCode::IndirectCallToNull as u32 }>,
        TrapCode::BadSignature => raise_trap::<{ TrapCode::BadSignature as u32 }>,
        TrapCode::IntegerOverflow => raise_trap::<{ TrapCode::IntegerOverflow as u32 }>,
        TrapCode::IntegerDivisionByZero => raise_trap::<{ TrapCode::IntegerDivisionByZero as u32 }>,
        TrapCode::BadConversionToInteger => {
            raise_trap::<{ TrapCode::BadConversionToInteger as u32 }>
        }
        TrapCode::StackOverflow => raise_trap::<{ TrapCode::StackOverflow as u32 }>,
        TrapCode::OutOfFuel => raise_trap::<{ TrapCode::OutOfFuel as u32 }>,
        TrapCode::Interrupt => raise_trap::<{ TrapCode::Interrupt as u32 }>,
        TrapCode::NullReference => raise_trap::<{ TrapCode::NullReference as u32 }>,
        TrapCode::InvalidFunction => raise_trap::<{ TrapCode::InvalidFunction as u32 }>,
        TrapCode::HostError => raise_trap::<{ TrapCode::HostError as u32 }>,
        TrapCode::FunctionReplaced => raise_trap::<{ TrapCode::FunctionReplaced as u32 }>,
        TrapCode::UncaughtException => raise_trap::<{ TrapCode::UncaughtException as u32 }>,
        TrapCode::UnalignedAtomic => raise_trap::<{ TrapCode::UnalignedAtomic as u32 }>,
        TrapCode::WaitInUnsharedMemory => raise_trap::<{ TrapCode::WaitInUnsharedMemory as u32 }>,
    }
}

#[cfg(not(any(debug_assertions, feature = "loop-dispatch")))]
#[allow(improper_ctypes)] // What handlers are given is Rust's own.
unsafe extern "sysv64" {
    /// Calls a handler. Baseline code, which that may lead to, uses all registers; those that functions preserve are
    /// preserved here.
    fn midair_tiers_run(
        ip: *const u8,
        fp: *mut u64,
        mem: *mut u8,
        mem_len: usize,
        cx: *mut InstanceContext,
        st: *mut StoreContext,
        handler: Handler,
    ) -> Flow;
}

#[cfg(not(any(debug_assertions, feature = "loop-dispatch")))]
std::arch::global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_tiers_run",
    ".type midair_tiers_run,@function",
    "midair_tiers_run:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbp, 0",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "push r13",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r13, 0",
    "push r14",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r14, 0",
    "push r15",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r15, 0",
    // Calls happen with the stack pointer at a multiple of 16.
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "call [rsp + 64]",
    "add rsp, 8",
    ".cfi_adjust_cfa_offset -8",
    "pop r15",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r15",
    "pop r14",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r14",
    "pop r13",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r13",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "pop rbp",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbp",
    "ret",
    ".cfi_endproc",
    ".size midair_tiers_run, . - midair_tiers_run",
);

/// # Safety
/// As for [`Machine::raise`]: the arguments must be the registers of a running activation, as
/// [`Machine::trap`] passes them on.
#[cold]
#[inline(never)]
unsafe extern "sysv64" fn raise_trap<const CODE: u32>(
    ip: *const u8,
    fp: *mut u64,
    mem: *mut u8,
    mem_len: usize,
    cx: *mut InstanceContext,
    st: *mut StoreContext,
) -> Flow {
    let machine = Machine { ip, fp, mem, mem_len, cx, st };
    // SAFETY: called with the registers of a running activation.
    unsafe { machine.raise(CODE) }
}

/// A value as it lies in a frame slot. Values narrower than the slot have zero upper bits there.
pub(crate) trait SlotValue: Copy {
    /// Reads the value from its slot.
    ///
    /// # Safety
    /// `slot` must be readable and hold a value of this type.
    unsafe fn read(slot: *const u64) -> Self;
    /// The slot's bits.
    fn into_slot(self) -> u64;
    /// From a 32-bit immediate, which is sign-extended.
    fn from_immediate(immediate: i32) -> Self;
}

macro_rules! slot_values {
    ($($ty:ty: $bits:ty, |$i:ident| $from:expr;)*) => {$(
        impl SlotValue for $ty {
            #[inline(always)]
            unsafe fn read(slot: *const u64) -> Self {
                // SAFETY: the caller's contract; little-endian, so the low half comes first.
                unsafe { slot.cast::<$ty>().read() }
            }
            #[inline(always)]
            fn into_slot(self) -> u64 {
                <$bits>::from_ne_bytes(self.to_ne_bytes()) as u64
            }
            #[inline(always)]
            fn from_immediate($i: i32) -> Self {
                $from
            }
        }
    )*};
}

slot_values! {
    u32: u32, |i| i as u32;
    i32: u32, |i| i;
    u64: u64, |i| i as i64 as u64;
    i64: u64, |i| i64::from(i);
    f32: u32, |i| f32::from_bits(i as u32);
    f64: u64, |i| f64::from(i);
}

const _: () = assert!(cfg!(target_endian = "little"));
