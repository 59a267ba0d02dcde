//! The third walker: `unwinding`, which goes by call frame information and recovers all callee-saved registers.
//!
//! It asks for the information of each program counter: that of managed code is Cranelift's own, kept with the
//! code object; that of the host and of the stubs is in the executable. The landing stub stands for whatever
//! frame was redirected to it: what the walk will need for these is put into a queue before it begins.
//!
//! Linking `unwinding` makes it the unwinder of the whole process, panics included.

use super::{RedirectedFrame, Sighting, host_code};
use crate::code::registers::CALLEE_SAVED;
use crate::code::registry;
use crate::stub_addresses;
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Once;
use unwinding::abi::{
    _Unwind_Backtrace, _Unwind_GetGR, _Unwind_GetIP, UnwindContext, UnwindReasonCode,
};
use unwinding::custom_eh_frame_finder::{
    EhFrameFinder, FrameInfo, FrameInfoKind, set_custom_eh_frame_finder,
};

thread_local! {
    /// The redirected frames that the walk in progress has not come to yet, outermost first.
    static REDIRECTED: RefCell<Vec<RedirectedFrame>> = const { RefCell::new(Vec::new()) };
    /// The one that it came to last, whose table it may still read.
    static PRESENT: RefCell<Option<RedirectedFrame>> = const { RefCell::new(None) };
}

struct Finder;

// SAFETY: what it answers is the address of call frame information that stays as long as the frame that it is
// asked for is looked at.
unsafe impl EhFrameFinder for Finder {
    fn find(&self, pc: usize) -> Option<FrameInfo> {
        let info =
            |table: usize| FrameInfo { text_base: None, kind: FrameInfoKind::EhFrame(table) };
        if stub_addresses::landing_code().contains(&pc)
            && let Some(frame) = REDIRECTED.with_borrow_mut(Vec::pop)
        {
            let table = frame.0.as_ptr() as usize;
            PRESENT.set(Some(frame));
            return Some(info(table));
        }
        if let Some(object) = registry::lookup(pc) {
            // SAFETY: code that has a frame on this thread's stack is alive.
            return Some(info(unsafe { (*object).unwind_table() }.address()));
        }
        let module = host_code::module_of(pc)?;
        let kind = FrameInfoKind::EhFrameHdr(module.eh_frame_hdr.as_ptr() as usize);
        Some(FrameInfo { text_base: Some(module.code.start), kind })
    }
}

/// Walks this thread's stack; `see` is asked at each frame whether to go on.
fn backtrace<F: FnMut(&UnwindContext<'_>) -> bool>(redirected: Vec<RedirectedFrame>, mut see: F) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let installed = set_custom_eh_frame_finder(&Finder);
        installed.expect("nobody else installs a finder in a program that verifies walks");
    });
    extern "C" fn step<F: FnMut(&UnwindContext<'_>) -> bool>(
        context: &UnwindContext<'_>,
        see: *mut c_void,
    ) -> UnwindReasonCode {
        // SAFETY: the pointer that is passed below.
        let see = unsafe { &mut *see.cast::<F>() };
        if see(context) { UnwindReasonCode::NO_REASON } else { UnwindReasonCode::NORMAL_STOP }
    }
    REDIRECTED.with_borrow_mut(|queue| queue.extend(redirected.into_iter().rev()));
    // The answer says how the walk ended: what was seen says it better.
    let _ = _Unwind_Backtrace(step::<F>, (&raw mut see).cast());
    REDIRECTED.with_borrow_mut(Vec::clear);
    PRESENT.set(None);
}

/// What a DWARF number is for each of [`CALLEE_SAVED`]: rbx, r12 to r15.
const DWARF_CALLEE_SAVED: [i32; CALLEE_SAVED.len()] = [3, 12, 13, 14, 15];
const DWARF_RBP: i32 = 6;

fn sighting(context: &UnwindContext<'_>) -> Sighting {
    Sighting {
        fp: _Unwind_GetGR(context, DWARF_RBP),
        pc: _Unwind_GetIP(context),
        registers: Some(DWARF_CALLEE_SAVED.map(|n| _Unwind_GetGR(context, n) as u64)),
    }
}

/// The managed frames of this thread's stack from the innermost outwards, as far as they agree with `ours`, and
/// the one after that. `redirected` are those among them that have been redirected.
#[inline(never)]
pub(super) fn walk(ours: &[Sighting], redirected: Vec<RedirectedFrame>) -> Vec<Sighting> {
    let mut found: Vec<Sighting> = Vec::with_capacity(ours.len());
    backtrace(redirected, |context| {
        let mut seen = sighting(context);
        let expected = &ours[found.len()];
        if seen.pc == stub_addresses::landing_address() {
            // Its own address is in the redirect table only.
            seen.pc = expected.pc;
        } else if registry::lookup(seen.pc - 1).is_none() {
            return true;
        }
        found.push(seen);
        seen == *expected && found.len() < ours.len()
    });
    found
}

/// The caller of the frame in whose landing this is called.
#[inline(never)]
pub(super) fn caller_of_landing(dropped: RedirectedFrame) -> Vec<Sighting> {
    let (mut found, mut landed) = (Vec::new(), false);
    backtrace(vec![dropped], |context| {
        if landed {
            found.push(sighting(context));
            return false;
        }
        landed = stub_addresses::landing_code().contains(&(_Unwind_GetIP(context) - 1));
        true
    });
    found
}
