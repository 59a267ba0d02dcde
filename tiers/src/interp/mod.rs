//! The interpreter: runs [`LoweredCode`], the register code that [`crate::lower`] makes.
//!
//! An instruction is the address of its handler followed by its operands, unaligned: frame slots
//! (16 bits, signed; bodies that need more of them are lowered in a wide form), immediates and branch offsets.
//! [`op`] lists all instructions and their layouts, [`machine`] holds the registers and the one seam for dispatch,
//! [`crate::lowered::frame`] the layout of frames, `ops` the handlers.
//!
//! Calls between functions of one instance stay in one run of handlers, an [`Activation`]. Any other
//! call, and any call of a function that has machine code, goes through `midair_osr::call`.

mod activation;
mod canonical;
mod catch_up;
#[cfg(test)]
mod catch_up_tests;
#[cfg(test)]
pub(crate) mod harness;
pub(crate) mod machine;
pub(crate) mod op;
mod ops;
mod safepoint;
#[cfg(test)]
pub(crate) mod spec_suite;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;
mod unwind;

pub use crate::lowered::code::LoweredCode;
pub use activation::{Activation, Frames, InterpFrame, Position};
pub use canonical::CanonicalFrame;

use crate::context::{InstanceContext, StoreContext};
use crate::lowered::frame::{CALLER_FP, CODE, RETURN_IP};
use crate::trap::TrapCode;
use machine::{Flow, Handler, Machine};
use std::sync::atomic::Ordering;

/// How a run of the interpreter ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Exit {
    /// The results are in place.
    Returned,
    /// A trap, or an exception that no frame has handled: its number is in `StoreContext::trap`.
    Trapped,
    /// The function has not begun and has this machine code: it is to be called with the arguments, which still lie in
    /// place.
    Enter(*const u8),
    /// In the place of the frame something else is called, with the arguments that lie where its own have: what it has
    /// called in its last step, or machine code to go on in. For an OSR entry the state is in `StackContext::resume`.
    TailCall(TailCall),
}

/// A call that takes the place of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailCall {
    /// Machine code, or an entry thunk.
    pub code: *const u8,
    /// The callee's instance, or whatever its thunk knows it by.
    pub context: *mut InstanceContext,
    /// The callee's type, in the caller's module.
    pub type_index: u32,
}

/// What the word of a continuation says that has no baseline code.
pub(crate) fn continuation_handler() -> u64 {
    let handler: Handler = ops::control::continuation;
    handler as usize as u64
}

/// Where a base frame returns to.
static EXIT: Handler = ops::control::exit;

/// Where a frame returns to whose caller has to be looked at before it goes on: see [`catch_up`].
static LANDING: Handler = ops::control::landing;

/// Calls a function that the module defines, with the arguments at `base`, where the results are put.
///
/// # Safety
/// `ctx` must be a complete instance context of the store that runs on this thread, `function` one of
/// its module's functions (imports first), and `base` a slot of the store's value stack, at or above
/// `value_top`, that holds the arguments.
pub unsafe fn call(ctx: *mut InstanceContext, function: u32, base: *mut u64) -> Exit {
    // SAFETY: the caller's contract.
    unsafe {
        // Before the code is looked up: what replaces that later, this activation has to see.
        let epoch = epoch(ctx);
        let shape = (*(*ctx).env).shape(function);
        let arguments = std::slice::from_raw_parts(base, shape.param_slots());
        shape.verify_arguments("arguments of the interpreter", arguments);
        Activation::run(ctx, epoch, |activation| {
            let machine = Machine::outside(ctx);
            let imported = (*(*ctx).env).imported_functions;
            let state = (*ctx).functions.add((function - imported) as usize);
            let code = loop {
                let code = (*state).lowered.load(Ordering::Acquire) as *const LoweredCode;
                if !code.is_null() {
                    break code;
                }
                let native = (*state).native.load(Ordering::Acquire);
                if !native.is_null() {
                    return Exit::Enter(native);
                }
                // Another thread may take away again what this has made, so both are looked at anew.
                let status = ((*(*ctx).builtins).prepare)(ctx, function);
                if status != 0 {
                    return machine.raise_without_frame(status);
                }
            };
            let Some(machine) = machine.push_base(&*code, base) else {
                return machine.raise_without_frame(TrapCode::StackOverflow as u32);
            };
            crate::lowered::frame::zero_locals(base.add((*code).params as usize), machine.fp);
            let flow = if ops::control::count_down(state) || safepoint::pending(machine.st) {
                machine.run_from(safepoint::at_entry)
            } else {
                machine.run()
            };
            exit(flow, activation)
        })
    }
}

/// What `InstanceContext::epoch` is now.
///
/// # Safety
/// `ctx` must be a complete instance context.
pub unsafe fn epoch(ctx: *const InstanceContext) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { (*(*ctx).epoch).load(Ordering::Acquire) }
}

/// Goes on with a frame that was suspended; at a call, with the call's results. The results are put at
/// `base`.
///
/// The safepoint at which the frame goes on is behind it.
///
/// # Safety
/// As for [`call`]. `code` must be code of a function of this instance that stays alive while frames
/// run it, and `frame` a frame of its body. Code and frame must have been chosen as of [`epoch`] or
/// later.
///
/// # Panics
/// If the body has no such safepoint, or the frame has another size.
pub unsafe fn resume(
    ctx: *mut InstanceContext,
    code: &LoweredCode,
    frame: CanonicalFrame<'_>,
    base: *mut u64,
    epoch: u64,
) -> Exit {
    // SAFETY: the caller's contract: the instance's module is that of the code.
    let (code, offset) = frame.place(code, unsafe { &*(*ctx).env });
    // SAFETY: the caller's contract. `place` has chosen the code for this frame.
    unsafe {
        Activation::run(ctx, epoch, |activation| {
            let machine = Machine::outside(ctx);
            let Some(mut machine) = machine.push_base(code, base) else {
                return machine.raise_without_frame(TrapCode::StackOverflow as u32);
            };
            frame.write(code, machine.fp);
            machine.ip = code.at(offset);
            exit(machine.run(), activation)
        })
    }
}

/// What a run of handlers that ended with `flow` means for its caller.
///
/// # Safety
/// `activation` must be the activation that ran, and still be alive.
unsafe fn exit(flow: Flow, activation: *const Activation) -> Exit {
    match flow {
        Flow::RETURNED => Exit::Returned,
        // SAFETY: callers pass their running activation.
        Flow::TAIL_CALL => Exit::TailCall(unsafe { (*activation).tail_called() }),
        _ => Exit::Trapped,
    }
}

impl Machine {
    /// The registers of an activation that has no frame yet.
    ///
    /// # Safety
    /// `cx` must be a complete instance context of a live store.
    unsafe fn outside(cx: *mut InstanceContext) -> Machine {
        // SAFETY: callers pass a complete instance context.
        unsafe {
            let st: *mut StoreContext = (*cx).store();
            Machine {
                ip: std::ptr::null(),
                fp: std::ptr::null_mut(),
                mem: (*cx).memory0_base,
                mem_len: (*(*cx).memory0).len(),
                cx,
                st,
            }
        }
    }

    /// Pushes the base frame, all but its locals; `None` if it does not fit.
    ///
    /// # Safety
    /// As for [`call`] with `base`; the registers must be those of [`Machine::outside`] in a running
    /// activation, and `code` must stay alive while the frame does.
    unsafe fn push_base(self, code: &LoweredCode, base: *mut u64) -> Option<Machine> {
        // SAFETY: the caller's contract.
        unsafe { self.push(code, base, [&raw const EXIT as u64, 0]) }
    }

    /// Pushes a frame at `base`, all but its locals; `None` if it does not fit. `linkage` is what its
    /// header says of its caller: `RETURN_IP` and `CALLER_FP`.
    ///
    /// # Safety
    /// `base` must be a slot of the value stack above the caller's operands, with nothing above it that
    /// is still wanted; the registers must be those of a running activation, and `code` must stay alive
    /// while the frame does.
    unsafe fn push(
        mut self,
        code: &LoweredCode,
        base: *mut u64,
        linkage: [u64; 2],
    ) -> Option<Machine> {
        let end = (base as usize).wrapping_add(code.frame_bytes);
        // SAFETY: the registers are those of a running activation; the frame is written only if it
        // fits into the value stack.
        unsafe {
            if end > (*self.st).value_limit as usize {
                return None;
            }
            self.fp = base.add(code.locals as usize);
            self.fp.add(RETURN_IP).write(linkage[0]);
            self.fp.add(CALLER_FP).write(linkage[1]);
            self.fp.add(CODE).write(std::ptr::from_ref(code) as u64);
        }
        self.ip = code.entry();
        Some(self)
    }

    /// Raises a trap before the activation has a frame.
    ///
    /// # Safety
    /// As for [`Machine::raise`]; the frame pointer must be null.
    unsafe fn raise_without_frame(self, code: u32) -> Exit {
        // SAFETY: the registers are those of a running activation; a null frame pointer saves "no
        // frame".
        unsafe {
            self.raise(code);
        }
        Exit::Trapped
    }
}
