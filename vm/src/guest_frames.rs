//! All frames of a guest in the order in which they were called: those of machine code and those of the
//! interpreter lie on one native stack, which grows downwards. The lower, the more recent.

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
    /// Puts frames of machine code, given by their frame pointers from the innermost outwards, and those of
    /// the interpreter in order.
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
            let next = self.activation.map_or(usize::MAX, Activation::native_address);
            if let Some((_, frame)) = self.machine.next_if(|(fp, _)| *fp < next) {
                return Some(GuestFrame::Machine(frame));
            }
            self.frames = Some(self.activation?.frames());
        }
    }
}
