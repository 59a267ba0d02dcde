//! Live replacement: what changes when a running program does, and what becomes of suspended frames.
//!
//! ```text
//!   update        what an embedder asks for: `Module::update`
//!   changes       all that one update changes, in the index spaces of the running module
//!   definitions   functions that are added, retyped, freed one by one
//!   references    who refers to a function; moving references
//!   transaction   an update happens: prepared, published, old code retired
//!   prepare       what can fail, without touching the running program
//!   applied, plan what an update did, and what it would do
//!   census        where suspended frames are
//!   growth        the running module gets more functions, types, globals, exports
//!   entries       its tables get other entries
//!   larger_memories  its memories grow
//!   reservations  what both count in stores beforehand
//!   in_each_store what is done to all instances of a module
//!
//!   data          bytes that an update writes into memories
//!   module_diff   what brings a running module up to a new one
//!
//!   policy        what frames of a changed body do
//!   continuation  what a version's frames do once it is no longer current
//!   exits         where those that stay in it leave it later
//!   old_versions  which of them still have frames
//!   layout        how the slots of a frame are laid out anew
//!
//!   mapping       where frames of one body go on in another one
//!   safepoints    the points of a body as the validator sees them
//!   operand_stacks  the types on the operand stacks there, shared
//!   alignment     which points of two bodies correspond
//!   values        what the values of a body are made of
//!   correspondence  which values of two bodies are the same variable
//!   frame_map     maps that embedders give
//!   refusal       why a frame cannot go on in the new body
//! ```

mod alignment;
mod applied;
mod census;
mod changes;
mod continuation;
mod correspondence;
mod data;
mod definitions;
mod entries;
mod exits;
mod frame_map;
mod growth;
mod in_each_store;
mod larger_memories;
mod layout;
mod mapping;
mod module_diff;
mod old_versions;
mod operand_stacks;
mod plan;
mod policy;
mod prepare;
mod references;
mod refusal;
mod reservations;
mod safepoints;
mod transaction;
mod update;
mod values;

pub use applied::{Applied, AppliedFunction, Replacement};
pub(crate) use changes::{
    AddedFunction, AddedGlobal, AtLeast, ChangedBody, ChangedData, ChangedElements, Changes,
    NewSource,
};
pub(crate) use continuation::{Continuation, Migration};
pub use correspondence::Place;
pub use definitions::Definition;
pub(crate) use definitions::Definitions;
pub(crate) use entries::set_earlier;
pub(crate) use exits::Exits;
pub use frame_map::{FrameMap, Source};
pub use module_diff::{DataPolicy, FunctionLabel, ModuleRefusal, ModuleRefused, ModuleSummary};
pub(crate) use module_diff::{LiveModule, Provenance, diff, diff_back};
pub(crate) use old_versions::OldVersions;
pub use plan::{Plan, PlannedFrames, PlannedFunction, PlannedOutcome};
pub use policy::Policy;
pub(crate) use prepare::PreparedBody;
pub use references::{Reference, StillReferred};
pub use refusal::Refusal;
pub(crate) use safepoints::Safepoints;
pub use update::Update;
