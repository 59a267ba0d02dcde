//! Copies, branches, returns, loop headers, fuel and counted calls.

use crate::context::{FunctionState, StoreContext};
use crate::interp::catch_up::{catch_up, go_on};
use crate::interp::machine::{Flow, handlers};
use crate::interp::{Position, safepoint};
use crate::lowered::continuations::resumed;
use crate::lowered::frame::{CALLER_FP, RETURN_IP};
use crate::trap::TrapCode;
use std::sync::atomic::Ordering;

/// Bytes of a `loop_header` or `loop_exit`, whose operands are the same.
pub(in crate::interp) const LOOP_HEADER: usize = 20;
/// Bytes of a `call_exit`.
const CALL_EXIT: usize = 8;

handlers! {
    fn unreachable(m) {
        m.trap(TrapCode::Unreachable)
    }
    fn copy(m) {
        m.set(8, m.get::<u64>(10));
        m.next(12)
    }
    fn copy2(m) {
        // Both are read before either is written only where lowering does not care: the
        // destination is a pair of fresh temporaries.
        let dst = m.slot(8);
        let (a, b) = (m.get::<u64>(10), m.get::<u64>(12));
        *dst = a;
        *dst.add(1) = b;
        m.next(14)
    }
    fn copy_far(m) {
        *m.far_slot(8) = *m.far_slot(12);
        m.next(16)
    }
    fn copy_span(m) {
        let (dst, src, count) = (m.far_slot(8), m.far_slot(12), m.operand::<u32>(16));
        std::ptr::copy(src, dst, count as usize);
        m.next(20)
    }
    fn copy_imm32(m) {
        m.set(8, m.operand::<u32>(10));
        m.next(14)
    }
    fn copy_imm64(m) {
        m.set(8, m.operand::<u64>(10));
        m.next(18)
    }
    fn select(m) {
        let (a, b) = (m.get::<u64>(12), m.get::<u64>(14));
        m.set(8, if m.get::<u32>(10) != 0 { a } else { b });
        m.next(16)
    }
    fn br(m) {
        m.branch(8)
    }
    fn br_table(m) {
        // The last entry is the default.
        let last = m.operand::<u32>(10) - 1;
        let index = m.get::<u32>(8).min(last);
        m.branch(14 + index as usize * 4)
    }
    fn return0(m) {
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        m.dispatch()
    }
    fn return1(m) {
        // The header goes first: in a function without locals the result overwrites it.
        let (dst, value) = (m.slot(8), m.get::<u64>(10));
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        *dst = value;
        m.dispatch()
    }
    fn return1_imm(m) {
        // The header goes first: in a function without locals the result overwrites it.
        let (dst, value) = (m.slot(8), m.operand::<u64>(10));
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        *dst = value;
        m.dispatch()
    }
    fn return_span(m) {
        let (dst, src, count) = (m.far_slot(8), m.far_slot(12), m.operand::<u32>(16));
        // The header goes first: many results overwrite it.
        m.ip = m.fp.add(RETURN_IP).read() as *const u8;
        m.fp = m.fp.add(CALLER_FP).read() as *mut u64;
        std::ptr::copy(src, dst, count as usize);
        m.dispatch()
    }
    fn exit(_m) {
        Flow::RETURNED
    }
    /// A continuation of code that has no baseline code any more: see `lowered/continuations.rs`.
    fn continuation(m) {
        m.ip = resumed(m.ip, m.fp);
        m.dispatch()
    }
    /// In place of the instruction behind a call, where the frame that called has to be looked at
    /// before it goes on: see `interp/catch_up.rs`.
    #[cold]
    #[inline(never)]
    fn landing(m) {
        go_on!(m, catch_up(m, Position::Call))
    }
    fn loop_header(m) {
        let state = (*m.cx).functions.byte_add(m.operand::<u32>(8) as usize);
        if count_down(state) || safepoint::pending(m.st) {
            return safepoint::at_loop(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st);
        }
        m.next(LOOP_HEADER)
    }
    /// In place of a loop header at which frames of this body may go on in a newer one.
    #[cold]
    #[inline(never)]
    fn loop_exit(m) {
        safepoint::at_loop_exit(m.ip, m.fp, m.mem, m.mem_len, m.cx, m.st)
    }
    /// Behind a call at which frames of this body may go on in a newer one.
    #[cold]
    #[inline(never)]
    fn call_exit(m) {
        let here = m.ip;
        if !catch_up(m, Position::Call) {
            return Flow::TRAPPED;
        }
        m.restore();
        m.reload_memory();
        if std::ptr::eq(m.ip, here) {
            return m.next(CALL_EXIT);
        }
        m.dispatch()
    }
    fn fuel(m) {
        let left = (*m.st).fuel - m.operand::<i64>(8);
        if left < 0 {
            return m.trap(TrapCode::OutOfFuel);
        }
        (*m.st).fuel = left;
        m.next(16)
    }
    /// Of what is filled, copied or initialised next.
    fn fuel_for_length(m) {
        let cost = m.get::<u64>(8) >> m.operand::<u32>(10);
        // Fuel is never negative.
        let left = (*m.st).fuel as u64;
        if cost > left {
            return m.trap(TrapCode::OutOfFuel);
        }
        (*m.st).fuel = (left - cost) as i64;
        m.next(14)
    }
    fn count_call(m) {
        (*m.st).calls[StoreContext::INTERPRETER_CALLS] += 1;
        m.next(8)
    }
}

/// Counts one call or iteration; whether the countdown is over. Threads share the counter, and one
/// that loses a race only counts a little less.
///
/// # Safety
/// `state` must be an element of the `functions` of a live instance.
#[inline(always)]
pub(in crate::interp) unsafe fn count_down(state: *const FunctionState) -> bool {
    // SAFETY: callers pass an element of the instance's `functions`.
    let countdown = unsafe { &(*state).countdown };
    let left = countdown.load(Ordering::Relaxed).wrapping_sub(1);
    countdown.store(left, Ordering::Relaxed);
    left < 0
}
