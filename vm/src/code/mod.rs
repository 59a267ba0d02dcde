//! The code of modules: what each function is run by, and when that changes.
//!
//! ```text
//!   module_code   the functions of a module: versions, linked code, what compilers have refused
//!   version       one body of a function, and what was made of it
//!   cache         copies of retired code, for when the same is asked for again
//!   system        code heap, compiler threads and their queue, shared by an engine
//!   frames        what a person is told of frames of machine code
//!   runtime_calls the interpreter's runtime calls that are about code
//!   callout       machine code calls a function that has none
//!   transition    safepoints, tier-up, and where frames go that leave their machine code
//!   interpreter_frames  where frames of the interpreter go on whose function was replaced
//!   retire        from unlinked code to freed bytes, across stores
//!   publication   new versions become current
//!   mixed         a stress schedule that gives functions other tiers between their calls
//!   recompile     the same body, compiled otherwise
//!   ledger        whose every byte of code is, and what keeps it
//!   counters, events   what is counted, and what is told
//! ```

mod cache;
pub(crate) mod callout;
pub(crate) mod counters;
mod events;
mod frames;
mod interpreter_frames;
mod ledger;
mod mixed;
mod module_code;
mod publication;
mod recompile;
mod retire;
pub(crate) mod runtime_calls;
mod system;
pub(crate) mod transition;
mod version;

pub(crate) use counters::MovedFrames;
pub(crate) use events::EVENTS_KEPT;
pub use events::{Event, Events, ModuleLabel};
pub(crate) use frames::{frame_info, object_info, trapped_frame};
pub use ledger::{
    CodeEntry, CodeLedger, CodeState, KeptVersion, LedgerEntry, LedgerSummary, Pin, Sum,
};
pub(crate) use module_code::{ModuleCode, is_limit};
pub use recompile::{RecompileOptions, Recompiled};
pub(crate) use retire::{Retiring, retire, retire_around};
pub(crate) use system::CodeSystem;
pub(crate) use transition::module_of;
pub(crate) use version::{CodeOwner, FunctionVersion};
