//! Why a frame cannot go on in the new body.

use super::correspondence::Place;
use crate::module::debug_info::SourceLine;
use crate::types::printable::PrintableName;
use midair_tiers::ValType;
use std::fmt;

/// Why frames that are suspended in the old body of a function cannot go on in the new one. They stay in
/// the old body until they come to a point where they can.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The part of the frame that the function keeps in linear memory is laid out anew, and what lies there cannot
    /// be moved. This concerns all points of the function but its entry.
    MemoryFrame {
        /// The function, as a person is told of it.
        function: String,
        /// What differs.
        why: String,
    },
    /// The new body has no point that matches the one where the frame is suspended.
    NoCounterpart {
        /// Offset in the old body.
        point: u32,
        /// Its line, if the module says it.
        line: Option<SourceLine>,
        /// What is there: `the call of f`.
        site: String,
        /// What is different in the new body.
        why: String,
    },
    /// There is a match, but nothing leads there.
    Unreachable {
        /// Offset in the old body.
        point: u32,
        /// Its line, if the module says it.
        line: Option<SourceLine>,
        /// Offset in the new body.
        target: u32,
    },
    /// The new body may read a value of which it is not known which value of the old frame it is, if any.
    UnknownValue {
        /// Offset in the old body.
        point: u32,
        /// Its line, if the module says it.
        line: Option<SourceLine>,
        /// Offset in the new body.
        target: u32,
        /// Where the value is in the new frame.
        place: Place,
        /// The variable that it is, if the new module says it.
        variable: Option<String>,
        /// Its type.
        ty: ValType,
        /// Why nothing in the old frame is taken for it.
        why: String,
    },
    /// To compare the bodies would take too much time or memory, so that nothing is known of any point. A
    /// [`FrameMap`](crate::FrameMap) can say where frames go on.
    TooLarge,
    /// The new body reads a local that the machine code of the old one has not kept.
    LocalNotKept {
        /// Offset in the old body.
        point: u32,
        /// Its line, if the module says it.
        line: Option<SourceLine>,
        /// Index of the local.
        local: u32,
        /// Its type.
        ty: ValType,
    },
}

impl Refusal {
    /// Offset in the old body of the point that is refused; `None` if all are.
    pub fn point(&self) -> Option<u32> {
        match *self {
            Refusal::MemoryFrame { .. } => None,
            Refusal::NoCounterpart { point, .. }
            | Refusal::Unreachable { point, .. }
            | Refusal::UnknownValue { point, .. }
            | Refusal::LocalNotKept { point, .. } => Some(point),
            Refusal::TooLarge => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::MemoryFrame { function, why } => {
                write!(f, "the frame of {function} in memory is laid out anew: {why}")
            }
            Refusal::NoCounterpart { point, line, site, why } => {
                let point = At(*point, line);
                write!(f, "{site} at {point} has no counterpart in the new body: {why}")
            }
            Refusal::Unreachable { point, line, target } => write!(
                f,
                "the counterpart of {} in the new body, at offset {target:#x}, cannot be reached",
                At(*point, line)
            ),
            Refusal::UnknownValue { point, line, target, place, variable, ty, why } => {
                if let Some(name) = variable {
                    write!(f, "variable `{}`, ", PrintableName(name))?;
                }
                write!(
                    f,
                    "{place} ({ty}) of the new body at offset {target:#x} cannot be filled by a frame that is \
                     suspended at {}: {why}",
                    At(*point, line)
                )
            }
            Refusal::TooLarge => f.write_str(
                "the bodies are too large to be compared, so that no frame goes on in the new one unless a frame \
                 map says where",
            ),
            Refusal::LocalNotKept { point, line, local, ty } => write!(
                f,
                "the new body reads local {local} ({ty}), which the old one does not need any more at {}, so \
                 that its value is not kept",
                At(*point, line)
            ),
        }
    }
}

/// A point, for a message.
pub(crate) struct At<'a>(pub(crate) u32, pub(crate) &'a Option<SourceLine>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x}", self.0)?;
        self.1.as_ref().map_or(Ok(()), |line| write!(f, " ({line})"))
    }
}
