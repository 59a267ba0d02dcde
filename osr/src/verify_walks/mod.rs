//! A second and a third opinion on every walk. (Feature `verify-walks`, for tests.)
//!
//! Each time that a stack is walked, to redirect, to list or to read its frames, two walkers that share no code
//! with ours walk the same native stack:
//!
//! * `framehop` has to find the same managed frames, in the same order, by way of all host frames in between;
//! * `unwinding` goes by call frame information alone, from the very frame that asks, through the stubs, and has
//!   to recover the callee-saved registers that our reader recovers from its own tables.
//!
//! Where a frame is dropped, the registers that are given back to its caller are compared too. A disagreement
//! ends the process with a full description.
//!
//! A stack of any depth would make this quadratic under a stress schedule that walks at every safepoint. So the
//! innermost frames are compared at every walk, and all of them as often as their number allows at a constant
//! cost for each walk.

mod call_frame_info;
mod host_code;
mod native_walk;

use crate::code::code_object::CodeObject;
use crate::code::registers::{CALLEE_SAVED, RBP, Registers};
use crate::stack::context::{StackContext, current};
use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames that are compared at every walk.
const NEAR: usize = 12;

/// A frame as one of the walkers sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sighting {
    fp: usize,
    /// Where the frame goes on, or would if it had not been redirected.
    pc: usize,
    /// The callee-saved registers, in the order of [`CALLEE_SAVED`], if the walker knows them.
    registers: Option<[u64; 5]>,
}

impl fmt::Debug for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fp {:#x} pc {:#x}", self.fp, self.pc)?;
        if let Some([rbx, r12, r13, r14, r15]) = self.registers {
            write!(f, " rbx {rbx:#x} r12 {r12:#x} r13 {r13:#x} r14 {r14:#x} r15 {r15:#x}")?;
        }
        Ok(())
    }
}

/// Two walkers have seen different frames.
pub struct Disagreement {
    walker: &'static str,
    ours: Vec<Sighting>,
    theirs: Vec<Sighting>,
}

impl fmt::Debug for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.ours.iter().zip(&self.theirs).take_while(|(a, b)| a == b).count();
        writeln!(
            f,
            "{} disagrees with us about frame {at}, counted from the innermost:",
            self.walker
        )?;
        for (name, frames) in [("we", &self.ours), (self.walker, &self.theirs)] {
            let from = at.saturating_sub(3);
            writeln!(f, "  {name} saw {} frames", frames.len())?;
            for (number, frame) in frames.iter().enumerate().skip(from).take(8) {
                let mark = if number == at { '>' } else { ' ' };
                writeln!(f, "  {mark} {number:4} {frame:?}")?;
            }
        }
        Ok(())
    }
}

/// Fails unless `theirs` is what we have seen.
fn agree(
    walker: &'static str,
    ours: Vec<Sighting>,
    theirs: Vec<Sighting>,
) -> Result<(), Disagreement> {
    if ours == theirs { Ok(()) } else { Err(Disagreement { walker, ours, theirs }) }
}

static WALKS: AtomicU64 = AtomicU64::new(0);
static NATIVE_FRAMES: AtomicU64 = AtomicU64::new(0);
static REGISTER_FRAMES: AtomicU64 = AtomicU64::new(0);
static DROPS: AtomicU64 = AtomicU64::new(0);

/// What has been verified since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Walks with at least one frame.
    pub walks: u64,
    /// Frames that `framehop` has found too.
    pub native_frames: u64,
    /// Frames whose registers `unwinding` has recovered too.
    pub register_frames: u64,
    /// Frames for which that was done when they were dropped.
    pub drops: u64,
}

/// What has been verified since the process began.
pub fn verified() -> Verified {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Verified {
        walks: get(&WALKS),
        native_frames: get(&NATIVE_FRAMES),
        register_frames: get(&REGISTER_FRAMES),
        drops: get(&DROPS),
    }
}

/// Whether walks are verified: always in builds with debug assertions, else if the environment says
/// `MIDAIR_VERIFY_WALKS=1`.
pub fn active() -> bool {
    static ACTIVE: OnceLock<bool> = OnceLock::new();
    *ACTIVE.get_or_init(|| {
        cfg!(debug_assertions) || std::env::var_os("MIDAIR_VERIFY_WALKS").is_some_and(|v| v == "1")
    })
}

thread_local! {
    static BUDGET: Cell<Budget> = const { Cell::new(Budget { depth: 0, credit: 0 }) };
}

/// Where a walk begins.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// At the stub through which the stack's code has left for Rust.
    Exit,
    /// At the frame record of a managed frame, from which no stub leads to Rust: that of a trap. `exit_fp` is
    /// out of date then: it may even lie at the same address.
    Frame(usize),
}

impl Start {
    /// The frame record; 0 if there are no frames.
    fn record(self, stack: &StackContext) -> usize {
        match self {
            Start::Exit => stack.exit_fp,
            Start::Frame(fp) => fp,
        }
    }
}

/// How often all frames are compared.
#[derive(Clone, Copy)]
struct Budget {
    /// Frames of the last stack that was compared as a whole.
    depth: usize,
    /// Frames that have been saved up since.
    credit: usize,
}

/// Verifies the walk of a stack from there outwards. Ends the process if the walkers disagree.
///
/// # Safety
/// As for [`StackContext::walk`], or [`StackContext::walk_callers`].
pub(crate) unsafe fn verify(stack: &StackContext, start: Start) {
    if start.record(stack) == 0 || !active() {
        return;
    }
    let mut budget = BUDGET.get();
    let whole = budget.credit >= budget.depth;
    let limit = if whole { usize::MAX } else { NEAR };
    // SAFETY: as the caller vouches.
    match unsafe { check(stack, start, limit) } {
        Ok(frames) if whole => budget = Budget { depth: frames, credit: 0 },
        Ok(_) => budget.credit += NEAR,
        Err(disagreement) => give_up(&disagreement),
    }
    BUDGET.set(budget);
}

fn give_up(disagreement: &Disagreement) -> ! {
    eprintln!("midair-osr: {disagreement:?}");
    std::process::abort();
}

impl StackContext {
    /// Compares all frames below the innermost exit as other walkers see them with what we see, and returns
    /// their number. See [`crate::verify_walks`].
    ///
    /// # Safety
    /// As for [`StackContext::walk`].
    pub unsafe fn compare_walks(&self) -> Result<usize, Disagreement> {
        // SAFETY: as the caller vouches.
        unsafe { check(self, Start::Exit, usize::MAX) }
    }
}

/// Compares the innermost `limit` frames of a walk. Returns how many there were.
///
/// # Safety
/// As for [`verify`].
unsafe fn check(stack: &StackContext, start: Start, limit: usize) -> Result<usize, Disagreement> {
    let record = start.record(stack);
    // Frames of two stacks that call each other through the host lie on one native stack: other walkers
    // cannot tell them apart. Nor do they find from one native stack to another.
    if stack.is_interleaved() || record == 0 {
        return Ok(0);
    }
    let at_exit = matches!(start, Start::Exit);
    let ours: Vec<(Sighting, Option<RedirectedFrame>)> = if at_exit {
        // SAFETY: as the caller vouches.
        let frames = unsafe { stack.read_unverified() }.take(limit);
        frames
            .map(|frame| {
                let registers = Some(frame.saved_registers);
                let seen = Sighting { fp: frame.fp, pc: frame.pc, registers };
                let code = frame.lands.then(|| RedirectedFrame::new(&frame.object, frame.pc));
                (seen, code)
            })
            .collect()
    } else {
        stack
            .walk_unverified(record)
            .take(limit)
            .map(|frame| (Sighting { fp: frame.fp, pc: frame.pc, registers: None }, None))
            .collect()
    };
    let count = ours.len();
    if count == 0 {
        return Ok(0);
    }
    let places: Vec<_> = ours.iter().map(|(s, _)| Sighting { registers: None, ..*s }).collect();
    // SAFETY: as the caller vouches.
    let native = unsafe { native_walk::walk(stack, record, count) };
    agree("framehop", places, native)?;
    WALKS.fetch_add(1, Ordering::Relaxed);
    NATIVE_FRAMES.fetch_add(count as u64, Ordering::Relaxed);
    // That walker begins where it is called.
    if at_exit && std::ptr::eq(current(), stack) {
        let (ours, redirected): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
        let tables: Vec<_> = redirected.into_iter().flatten().collect();
        let found = call_frame_info::walk(&ours, tables);
        agree("unwinding", ours, found)?;
        REGISTER_FRAMES.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(count)
}

/// The call frame information of a frame whose return address leads to the landing stub.
struct RedirectedFrame(Box<[u8]>);

impl RedirectedFrame {
    fn new(object: &CodeObject, return_address: usize) -> RedirectedFrame {
        let offset = return_address - object.start() as usize;
        RedirectedFrame(object.unwind_table().at_landing(offset))
    }
}

/// Verifies that a frame was dropped as its prologue built it: `registers` are what its caller gets. Ends the
/// process if not.
///
/// # Safety
/// Called from a landing, with the frame that it is in, which is still intact.
pub(crate) unsafe fn verify_drop(
    object: &CodeObject,
    return_address: usize,
    fp: usize,
    registers: &Registers,
) {
    if !active() {
        return;
    }
    let given_back = CALLEE_SAVED.map(|n| registers.gpr[usize::from(n)]);
    // SAFETY: the frame record is intact.
    let pc = unsafe { *((fp + 8) as *const usize) };
    let ours = Sighting { fp: registers.gpr[RBP] as usize, pc, registers: Some(given_back) };
    let found = call_frame_info::caller_of_landing(RedirectedFrame::new(object, return_address));
    if let Err(disagreement) = agree("unwinding, of a frame's drop,", vec![ours], found) {
        give_up(&disagreement);
    }
    DROPS.fetch_add(1, Ordering::Relaxed);
}
