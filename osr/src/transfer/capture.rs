//! Transfer: a frame that is returned to through a redirected address is captured in its canonical form
//! and goes on elsewhere.

use crate::code::registers::{RBP, RSP, Registers};
use crate::code::verify_slots::verify_slots;
use crate::stack::captured_frame::{CapturedFrame, ReturnRegisters};
use crate::stack::context::{ContextHeader, current};

/// All registers at a landing, and where the stub goes from there: see `stubs`.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct MachineState {
    registers: Registers,
    pub(crate) target: usize,
    /// The word below the stack pointer at the landing, where the return address was.
    pub(crate) back: usize,
}

const RAX: usize = 0;
const RDX: usize = 2;
const RDI: usize = 7;

/// Called by the landing stub. Answers 0 if the frame has been dropped: `state` describes the entry of the
/// target. Otherwise the frame goes on where it was: `state` is as it was, and `back` is the address.
///
/// # Safety
/// Only the landing stub calls it: `state` is what it saved.
pub(crate) unsafe extern "sysv64" fn land(state: *mut MachineState) -> usize {
    // A panic must not leave this function: there is nothing to unwind into.
    let guard = AbortOnPanic;
    // SAFETY: the stub's frame is exclusively ours.
    let state = unsafe { &mut *state };
    let stack = current();
    let registers = &mut state.registers;
    let fp = registers.gpr[RBP] as usize;
    // SAFETY: a return was redirected on this thread, so its current stack is the one.
    let entry = unsafe {
        let at = (*stack).position(fp);
        if (*stack).barrier == Some(at) {
            let mutator = (*stack).mutator.clone();
            mutator.cross(stack);
        }
        (*stack).redirected.take(at)
    };
    if !entry.moves {
        state.back = entry.return_address;
        std::mem::forget(guard);
        return 1;
    }
    let return_address = entry.return_address;
    let object = entry.into_object();
    let map = object.read_frame_map(return_address);
    let (map, kept) = map.expect("a redirected site has a frame map");
    // Some more often come to them: results, or what a handler is given.
    let mut values = Vec::with_capacity(kept.len() + 4);
    let mut has_vectors = false;
    for value in kept.clone() {
        // SAFETY: the value is one of this site, whose registers these are.
        let slots = unsafe { registers.value(&value) };
        values.extend_from_slice(&slots[..value.kind.slots()]);
        has_vectors |= value.kind.slots() > 1 && value.location.is_kept();
    }
    verify_slots("a captured frame", &values, kept.map(|value| value.kind));
    // SAFETY: as above.
    let context = unsafe { registers.context(&map) } as *mut ContextHeader;
    let returned = ReturnRegisters {
        gpr: [registers.gpr[RAX], registers.gpr[RDX]],
        xmm: [registers.xmm[0], registers.xmm[1]],
    };

    // Drop the frame: give back the registers that its prologue saved. `fp` and what lies above it
    // belongs to the frame until here.
    //
    //   fp+8  return address into the caller   <- rsp at the target's entry
    //   fp    caller's rbp
    //   ...   clobber area
    // SAFETY: the frame is intact, and its first two words are the frame record.
    unsafe {
        registers.restore_saved(fp, object.saved_registers());
        registers.gpr[RBP] = *(fp as *const u64);
    }
    registers.gpr[RSP] = (fp + 8) as u64;
    registers.gpr[RDI] = context as u64;
    #[cfg(feature = "verify-walks")]
    // SAFETY: this is the landing of that frame, of which nothing has been overwritten.
    unsafe {
        crate::verify_walks::verify_drop(&object, return_address, fp, registers);
    }

    let (point, kind) = (map.point, map.kind);
    let frame = CapturedFrame { object, context, point, kind, values, has_vectors, returned };
    // SAFETY: hooks are installed before managed code runs; nothing else borrows them here.
    let hook = unsafe { (*stack).transfer.as_mut() }.expect("a stack of managed frames has a hook");
    state.target = hook.transfer(stack, frame) as usize;
    std::mem::forget(guard);
    0
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(MachineState, registers) == 0);
    assert!(offset_of!(MachineState, back) == size_of::<MachineState>() - 8);
};

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("midair-osr: a panic while a frame was in transfer");
        std::process::abort();
    }
}
