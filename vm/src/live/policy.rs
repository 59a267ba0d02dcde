//! What frames of a changed body do.

use std::fmt;

/// What becomes of frames that are suspended in the old body of a function when it gets a new one.
/// Calls from then on run the new body in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[non_exhaustive]
pub enum Policy {
    /// They go on in the new body, at the point that matches the one where they are suspended. Where there
    /// is none, they stay in the old body until they come to a point that has one: a loop, or a call that
    /// returns. Until then they are interpreted; only a loop that no such point can follow is compiled.
    #[default]
    Migrate,
    /// They stay in the old body to their end, through all later updates: in the interpreter, or in machine
    /// code that is made for it anew. (An update that brings just that body back makes it current again, and
    /// one with [`Policy::Trap`] ends them.)
    Finish,
    /// They trap when they are returned to, or at their next safepoint. Frames that an earlier update
    /// left in still older bodies trap too: after this, no old body of the function runs on.
    Trap,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Migrate => "migrate",
            Policy::Finish => "finish",
            Policy::Trap => "trap",
        })
    }
}
