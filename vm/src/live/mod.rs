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
//!
//!   mapping       where frames of one body go on in another one
//!   safepoints    the points of a body as the validator sees them
//!   body_types    types as the validator of a body tells them
//!   operand_stacks  the types on the operand stacks there, shared
//!   canonical     operators in one form, however long linkers have made them
//!   alignment     which points of two bodies correspond
//!   values        what the values of a body are made of
//!   effects       which operators read and write what others do
//!   partition     which values are computed in the same way
//!   correspondence  which values of two bodies are the same variable
//!   source_names  what the source calls places and variables of a body
//!   frame_map     maps that embedders give
//!   refusal       why a frame cannot go on in the new body
//!
//!   memory_references  what a body refers to in linear memory
//!   memory_pairs  what two bodies of a function refer to, operator by operator
//!   agreement     whether they agree on where things lie
//!   memory_frame  the part of a frame that lies in memory
//! ```

mod agreement;
pub(crate) mod alignment;
pub(crate) mod applied;
mod body_types;
mod canonical;
pub(crate) mod census;
pub(crate) mod changes;
pub(crate) mod correspondence;
pub(crate) mod data;
pub(crate) mod definitions;
mod effects;
pub(crate) mod entries;
pub(crate) mod frame_map;
pub(crate) mod growth;
pub(crate) mod in_each_store;
pub(crate) mod larger_memories;
pub(crate) mod mapping;
mod memory_frame;
mod memory_pairs;
mod memory_references;
pub(crate) mod module_diff;
pub(crate) mod operand_stacks;
pub(crate) mod partition;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod prepare;
pub(crate) mod references;
pub(crate) mod refusal;
pub(crate) mod reservations;
pub(crate) mod safepoints;
pub(crate) mod source_names;
pub(crate) mod transaction;
pub(crate) mod update;
pub(crate) mod values;
