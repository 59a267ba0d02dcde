//! The code of modules: what each function is run by, and when that changes.
//!
//! ```text
//!   module_code   the functions of a module: versions, linked code, what compilers have refused
//!   function_entry   what it knows of one of them
//!   bodies        where the bodies lie that a module is loaded with
//!   version       one body of a function, and what was made of it
//!   baseline      machine code on the interpreter's frames
//!   cache         copies of retired code, for when the same is asked for again
//!   system        code heap, compiler threads and their queue, shared by an engine
//!   invalid_body  what is said of a function that cannot be run
//!   retire        from unlinked code to freed bytes, across stores
//!   publication   new versions become current
//!   mixed         a stress schedule that gives functions other tiers between their calls
//!   recompile     the same body, compiled otherwise
//!   module_names  how people call the module and its functions
//!
//!   continuation  what a version's frames do once it is no longer current
//!   exits         where those that stay in it leave it later
//!   old_versions  which of them still have frames
//!   layout        how the slots of a frame are laid out anew
//!   standing      moments at which a thread must not wait for guests
//!   suspension    how frames are suspended at the points of a body
//!
//!   ledger        whose every byte of code is, and what keeps it
//!   counters, stats, events   what is counted, as it is shown, and what is told
//!   sampling, accounts   where processor time goes, by a profiling timer; where the wall time of guests' threads goes
//!   timeline      what happened when, to be looked at afterwards
//! ```

pub(crate) mod accounts;
pub(crate) mod baseline;
pub(crate) mod bodies;
pub(crate) mod cache;
pub(crate) mod continuation;
pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod exits;
mod function_entry;
mod invalid_body;
pub(crate) mod layout;
pub(crate) mod ledger;
pub(crate) mod mixed;
pub(crate) mod module_code;
pub(crate) mod module_names;
pub(crate) mod old_versions;
pub(crate) mod publication;
pub(crate) mod recompile;
pub(crate) mod retire;
pub(crate) mod sampling;
pub(crate) mod standing;
pub mod stats;
pub(crate) mod suspension;
pub(crate) mod system;
pub mod timeline;
pub(crate) mod version;

use retire::retire;
