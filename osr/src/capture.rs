//! Transfer: a frame that is returned to through a redirected address is captured in its canonical form
//! and goes on elsewhere.

use crate::code_object::CodeObject;
use crate::context::{ContextHeader, StackContext, current};
use crate::frame_map::{Location, SiteKind};
use std::sync::Arc;

/// Registers that carry a call's results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReturnRegisters {
    /// `rax`, `rdx`.
    pub gpr: [u64; 2],
    /// `xmm0`, `xmm1`, low halves.
    pub xmm: [u64; 2],
}

/// A frame that has left its machine code, in canonical form.
#[derive(Debug)]
pub struct CapturedFrame {
    /// The code object that the frame ran. Its bytes may be gone.
    pub object: Arc<CodeObject>,
    /// The frame's context pointer.
    pub context: *mut ContextHeader,
    /// The frame map's point.
    pub point: u32,
    /// Whether the frame was suspended at a call or at a poll.
    pub kind: SiteKind,
    /// The frame's values in the frame map's order, [`crate::ValueKind::slots`] slots each, masked.
    /// After a call the results are *not* among them.
    pub values: Vec<u64>,
    /// After a call: where its results are.
    pub returned: ReturnRegisters,
}

/// Decides where captured frames of a stack go on.
pub trait TransferHook {
    /// Called when a captured frame is to go on. The answer is code, or an entry thunk, with the
    /// signature of the frame's function. It is entered with the captured context in `rdi`, undefined
    /// arguments, and the return address of the frame; whatever state it needs, the hook has put where
    /// it looks for it (`StackContext::resume`).
    ///
    /// Must not unwind: a panic aborts the process, for there is no frame to unwind to.
    fn transfer(&mut self, stack: *mut StackContext, frame: CapturedFrame) -> *const u8;
}

/// All registers at a landing: see `stubs`. General registers by hardware number.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct MachineState {
    gpr: [u64; 16],
    xmm: [[u64; 2]; 16],
    pub(crate) target: usize,
    _pad: u64,
}

const RAX: usize = 0;
const RDX: usize = 2;
const RSP: usize = 4;
const RBP: usize = 5;
const RDI: usize = 7;

impl MachineState {
    /// The value's slots. `sp` is the frame's stack pointer at the site.
    ///
    /// # Safety
    /// `location` must come from the frame map of the site that this state was saved at.
    unsafe fn read(&self, location: Location, slots: usize) -> [u64; 2] {
        match location {
            Location::Dead => [0, 0],
            Location::GprPlus(n, addend) => {
                [self.gpr[usize::from(n)].wrapping_add_signed(addend), 0]
            }
            Location::SpPlus(offset, addend) => {
                // SAFETY: the caller's contract.
                let [base, _] = unsafe { self.read(Location::Sp(offset), 1) };
                [base.wrapping_add_signed(addend), 0]
            }
            Location::Const(bits) => [bits, 0],
            Location::Gpr(n) => [self.gpr[usize::from(n)], 0],
            Location::Xmm(n) => self.xmm[usize::from(n)],
            Location::Sp(offset) => {
                let at = (self.gpr[RSP] as usize + offset as usize) as *const u64;
                // SAFETY: the frame map says that the value lies there; the frame is still intact.
                // Slots of vectors need not be aligned.
                unsafe {
                    let low = at.read_unaligned();
                    [low, if slots > 1 { at.add(1).read_unaligned() } else { 0 }]
                }
            }
        }
    }
}

/// Called by the landing stub. On return `state` describes the entry of the target.
///
/// # Safety
/// Only the landing stub calls it: `state` is what it saved.
pub(crate) unsafe extern "sysv64" fn land(state: *mut MachineState) {
    // A panic must not leave this function: there is nothing to unwind into.
    let guard = AbortOnPanic;
    // SAFETY: the stub's frame is exclusively ours.
    let state = unsafe { &mut *state };
    let stack = current();
    let fp = state.gpr[RBP] as usize;
    // SAFETY: a return was redirected on this thread, so its current stack is the one.
    let entry = unsafe { (*stack).redirected.take(fp) };
    let object = entry.object;
    let map = object.frame_map(entry.return_address).expect("a redirected site has a frame map");
    let mut values = Vec::with_capacity(map.values.len());
    // SAFETY: all locations come from the map of this site.
    unsafe {
        for value in &map.values {
            let slots = value.kind.slots();
            let [low, high] = state.read(value.location, slots);
            values.push(low & value.kind.mask());
            if slots > 1 {
                values.push(high);
            }
        }
    }
    // SAFETY: as above.
    let context = unsafe { state.read(map.context, 1)[0] } as *mut ContextHeader;
    let returned = ReturnRegisters {
        gpr: [state.gpr[RAX], state.gpr[RDX]],
        xmm: [state.xmm[0][0], state.xmm[1][0]],
    };

    // Drop the frame: give back the registers that its prologue saved. `fp` and what lies above it
    // belongs to the frame until here.
    //
    //   fp+8  return address into the caller   <- rsp at the target's entry
    //   fp    caller's rbp
    //   ...   clobber area
    for &(register, below) in object.saved_registers() {
        // SAFETY: the prologue saved the register there; the frame is intact.
        state.gpr[usize::from(register)] = unsafe { *((fp - below as usize) as *const u64) };
    }
    // SAFETY: the frame's first two words are the frame record.
    state.gpr[RBP] = unsafe { *(fp as *const u64) };
    state.gpr[RSP] = (fp + 8) as u64;
    state.gpr[RDI] = context as u64;

    let frame =
        CapturedFrame { object, context, point: map.point, kind: map.kind, values, returned };
    // SAFETY: hooks are installed before managed code runs; nothing else borrows them here.
    let hook = unsafe { (*stack).transfer.as_mut() }.expect("a stack of managed frames has a hook");
    state.target = hook.transfer(stack, frame) as usize;
    std::mem::forget(guard);
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("midair-osr: a panic while a frame was in transfer");
        std::process::abort();
    }
}
