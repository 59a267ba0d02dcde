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
    /// Those of the frame that was returned last; meaningless at first.
    registers: Registers,
    /// The frame that was returned last.
    callee: Option<WalkedFrame>,
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
    pub(crate) fn new(walk: StackWalk<'a>) -> FrameReader<'a> {
        FrameReader {
            walk,
            registers: Registers::default(),
            callee: None,
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

    /// Goes to the next frame outwards, of which nothing is read.
    pub fn advance(&mut self) -> Option<&WalkedFrame> {
        let frame = self.walk.next()?;
        match self.callee.take() {
            // SAFETY: the frame is suspended behind its prologue.
            Some(callee) if callee.fp == frame.inside => unsafe {
                self.registers.restore_saved(callee.fp, callee.object().saved_registers());
            },
            _ => {
                let map = frame.object().read_frame_map(frame.pc);
                let kind = map.map_or(SiteKind::Call, |(map, _)| map.kind);
                // SAFETY: the callee is not the managed frame before, so it is the stub of an exit: the poll
                // stub at polls, else the callout stub.
                self.registers = unsafe { registers_at_exit(frame.inside, kind) };
            }
        }
        self.registers.gpr[RBP] = frame.fp as u64;
        // A callee pops its return address and nothing else.
        self.registers.gpr[RSP] = frame.return_slot as u64 + 8;
        Some(self.callee.insert(frame))
    }

    /// The frame that [`FrameReader::advance`] has gone to.
    pub fn frame(&self) -> Option<&WalkedFrame> {
        self.callee.as_ref()
    }

    /// The context pointer of the frame that [`FrameReader::advance`] has gone to; `None` if its site has no frame map.
    pub fn context(&self) -> Option<*mut ContextHeader> {
        let frame = self.callee.as_ref()?;
        let (map, _) = frame.object().read_frame_map(frame.pc)?;
        // SAFETY: the map is that of the site, at which the frame has these registers.
        Some(unsafe { self.registers.context(&map) } as *mut ContextHeader)
    }

    /// General registers of the frame that [`FrameReader::advance`] has gone to.
    pub(crate) fn registers(&self) -> &[u64; 16] {
        &self.registers.gpr
    }
}

impl Iterator for FrameReader<'_> {
    type Item = SuspendedFrame;

    fn next(&mut self) -> Option<SuspendedFrame> {
        self.advance()?;
        let frame = self.callee.as_ref()?;
        let map = self.wants_values().then(|| frame.object().read_frame_map(frame.pc));
        let state = map.flatten().map(|(map, values)| {
            let value = |value: FrameValue| {
                // SAFETY: the value is one of this site, whose registers these are.
                value.location.is_kept().then(|| unsafe { self.registers.value(&value) })
            };
            FrameState {
                kind: map.kind,
                point: map.point,
                // SAFETY: as above.
                context: unsafe { self.registers.context(&map) } as *mut ContextHeader,
                values: values.map(value).collect(),
            }
        });
        Some(SuspendedFrame {
            fp: frame.fp,
            pc: frame.pc,
            entries: frame.entries,
            redirected: frame.redirected,
            lands: frame.lands(),
            saved_registers: CALLEE_SAVED.map(|n| self.registers.gpr[usize::from(n)]),
            state,
            object: frame.object_arc(),
        })
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
