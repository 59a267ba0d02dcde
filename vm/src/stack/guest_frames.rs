//! All frames of a guest in the order in which they were called.
//!
//! The interpreter calls machine code by way of Rust, and machine code comes back to the interpreter by a callout,
//! on the same native stack or on another one. So each run of the interpreter remembers how many calls into machine
//! code were under way when it began, and frames of machine code are told by which of these calls they were entered:
//! those of a later one are further in than the run.

use midair_tiers::interp::{Activation, Frames, InterpFrame};
use std::iter::Peekable;

/// A frame of a guest; `M` is what is known of one of machine code.
pub(crate) enum GuestFrame<'a, M> {
    Machine(M),
    Interpreted(InterpFrame<'a>),
}

/// Iterator over the frames of a guest, innermost first.
pub(crate) struct GuestFrames<'a, I: Iterator> {
    machine: Peekable<I>,
    activation: Option<&'a Activation>,
    /// Those of `activation` that are left, once they have been reached.
    frames: Option<Frames<'a>>,
}

impl<'a, M, I: Iterator<Item = (usize, M)>> GuestFrames<'a, I> {
    /// Puts frames of machine code and those of the interpreter in order. Those of machine code are given from the
    /// innermost outwards, each with the number of calls into machine code that were under way.
    pub(crate) fn new(machine: I, innermost: Option<&'a Activation>) -> GuestFrames<'a, I> {
        GuestFrames { machine: machine.peekable(), activation: innermost, frames: None }
    }
}

impl<'a, M, I: Iterator<Item = (usize, M)>> Iterator for GuestFrames<'a, I> {
    type Item = GuestFrame<'a, M>;

    fn next(&mut self) -> Option<GuestFrame<'a, M>> {
        loop {
            if let Some(frames) = &mut self.frames {
                if let Some(frame) = frames.next() {
                    return Some(GuestFrame::Interpreted(frame));
                }
                self.frames = None;
                self.activation = self.activation.and_then(Activation::outer);
            }
            let outside = self.activation.map_or(0, Activation::entries);
            if let Some((_, frame)) = self.machine.next_if(|(entries, _)| *entries > outside) {
                return Some(GuestFrame::Machine(frame));
            }
            self.frames = Some(self.activation?.frames());
        }
    }
}
