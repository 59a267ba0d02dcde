//! Reading the values of suspended frames in place: nothing is redirected, dropped or moved.
//!
//! A value of a frame that is suspended at a call lies in its stack slots or in a callee-saved register.
//! What such a register held while the frame ran, a callee may have saved in its own frame since. So the
//! reader goes from the innermost frame outwards and undoes what each callee's prologue did:
//!
//! ```text
//!   stub of the exit      saved all callee-saved registers       -> registers of frame 0
//!   frame 0               its clobber area                       -> registers of frame 1
//!   ...
//!   entry trampoline, Rust frames: skipped
//!   stub of the exit that the Rust frames were called through    -> registers of the next frame
//! ```

use crate::code::code_object::CodeObject;
use crate::code::frame_map::{FrameValue, SiteKind};
use crate::code::registers::{CALLEE_SAVED, RBP, RSP, Registers};
use crate::stack::callout_frame::CalloutFrame;
use crate::stack::context::{ContextHeader, StackContext};
use crate::stack::walk::{StackWalk, WalkedFrame};
use std::sync::Arc;

/// A suspended frame and what it holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SuspendedFrame {
    /// The code object that the frame runs. Its bytes may be gone.
    pub object: Arc<CodeObject>,
    /// Frame pointer.
    pub fp: usize,
    /// Where the frame goes on in its own code.
    pub pc: usize,
    /// How many calls from Rust into managed code were under way when the frame was called.
    pub entries: usize,
    /// Whether the frame will leave its code when it is returned to.
    pub redirected: bool,
    /// Whether its return address leads to the landing stub.
    #[cfg_attr(not(feature = "verify-walks"), expect(dead_code))]
    pub(crate) lands: bool,
    /// The callee-saved registers while the frame was running, in the order of [`CALLEE_SAVED`].
    pub saved_registers: [u64; 5],
    /// What the frame map of its site says; `None` if the site has none, as a runtime call.
    pub state: Option<FrameState>,
}

/// The canonical form of a suspended frame.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FrameState {
    /// Whether the frame is suspended at a call or at a poll.
    pub kind: SiteKind,
    /// The frame map's point.
    pub point: u32,
    /// The frame's context pointer.
    pub context: *mut ContextHeader,
    /// The frame's values in the frame map's order, masked. The second slot is 0 for all kinds but `V128`.
    /// `None`: the code has not kept the value, for nothing reads it again. After a call its results are
    /// not among them.
    pub values: Vec<Option<[u64; 2]>>,
}

/// Iterator over the suspended managed frames of a stack with their values, innermost first.
#[derive(Debug)]
pub struct FrameReader<'a> {
    walk: StackWalk<'a>,
    /// Those of the frame that was returned last, with what its prologue saved given back; meaningless
    /// at first.
    registers: Registers,
    /// Frame pointer of the frame that was returned last; 0 at first.
    callee: usize,
    /// Whether only registers are asked for.
    #[cfg(feature = "verify-walks")]
    without_values: bool,
}

impl StackContext {
    /// Reads the frames below the innermost exit, from the innermost outwards.
    ///
    /// # Safety
    /// As for [`StackContext::walk`].
    pub unsafe fn read_frames(&mut self) -> FrameReader<'_> {
        // SAFETY: as the caller vouches.
        FrameReader::new(unsafe { self.walk() })
    }

    /// The same without values, for those who verify walks.
    ///
    /// # Safety
    /// As for [`StackContext::walk`].
    #[cfg(feature = "verify-walks")]
    pub(crate) unsafe fn read_unverified(&self) -> FrameReader<'_> {
        let walk = self.walk_unverified(self.exit_fp);
        FrameReader { without_values: true, ..FrameReader::new(walk) }
    }
}

impl<'a> FrameReader<'a> {
    fn new(walk: StackWalk<'a>) -> FrameReader<'a> {
        FrameReader {
            walk,
            registers: Registers::default(),
            callee: 0,
            #[cfg(feature = "verify-walks")]
            without_values: false,
        }
    }

    fn wants_values(&self) -> bool {
        #[cfg(feature = "verify-walks")]
        return !self.without_values;
        #[cfg(not(feature = "verify-walks"))]
        true
    }
}

impl Iterator for FrameReader<'_> {
    type Item = SuspendedFrame;

    fn next(&mut self) -> Option<SuspendedFrame> {
        let frame = self.walk.next()?;
        let record = frame.callee_record();
        let after_exit = record != self.callee;
        let wanted = self.wants_values() || after_exit;
        let map = wanted.then(|| frame.object().frame_map(frame.pc)).flatten();
        if after_exit {
            let kind = map.as_ref().map_or(SiteKind::Call, |map| map.kind);
            // SAFETY: the callee is not the managed frame before, so it is the stub of an exit: the poll
            // stub at polls, else the callout stub.
            self.registers = unsafe { registers_at_exit(record, kind) };
        }
        self.callee = frame.fp;
        self.registers.gpr[RBP] = frame.fp as u64;
        // Above the callee's frame record: a callee pops its return address and nothing else.
        self.registers.gpr[RSP] = (record + 16) as u64;
        let state = map.map(|map| {
            let value = |value: &FrameValue| {
                // SAFETY: the value is one of this site, whose registers these are.
                value.location.is_kept().then(|| unsafe { self.registers.value(value) })
            };
            FrameState {
                kind: map.kind,
                point: map.point,
                // SAFETY: as above.
                context: unsafe { self.registers.context(&map) } as *mut ContextHeader,
                values: map.values.iter().map(value).collect(),
            }
        });
        let read = SuspendedFrame {
            fp: frame.fp,
            pc: frame.pc,
            entries: frame.entries,
            redirected: frame.redirected,
            lands: frame.lands(),
            saved_registers: CALLEE_SAVED.map(|n| self.registers.gpr[usize::from(n)]),
            state,
            object: frame.object_arc(),
        };
        // SAFETY: the frame is suspended behind its prologue.
        unsafe { self.registers.restore_saved(frame.fp, frame.object().saved_registers()) };
        Some(read)
    }
}

impl WalkedFrame {
    /// The frame record of what this frame has called.
    fn callee_record(&self) -> usize {
        self.return_slot as usize - 8
    }
}

/// The registers of a managed frame when it left through the stub whose frame record is at `record`.
///
/// # Safety
/// It must be the poll stub for a poll, and the callout stub for a call, and its frame be intact.
unsafe fn registers_at_exit(record: usize, kind: SiteKind) -> Registers {
    match kind {
        SiteKind::Poll => {
            let saved = (record - size_of::<Registers>()) as *const Registers;
            // SAFETY: the poll stub has all registers saved there.
            unsafe { (*saved).clone() }
        }
        SiteKind::Call => {
            let frame = (record - size_of::<CalloutFrame>()) as *const CalloutFrame;
            // SAFETY: the callout stub has its frame there. Its handler may hold a reference to the frame,
            // but not to this field, and nobody writes it.
            let saved = unsafe { (&raw const (*frame).saved).read() };
            let mut registers = Registers::default();
            for (n, value) in CALLEE_SAVED.into_iter().zip(saved) {
                registers.gpr[usize::from(n)] = value;
            }
            registers
        }
    }
}
