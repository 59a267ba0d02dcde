//! Live replacement: what changes when a running program does, and what becomes of suspended frames.
//!
//! ```text
//!   changes       all that one update changes, in the index spaces of the running module
//!   policy        what frames of a changed body do
//!   frame_map     maps that embedders give, from points and values of one body to another's
//!   safepoints    the points of a body as the validator sees them
//!   alignment     the default map: which points of two bodies correspond
//!   refusal       why a frame cannot go on in the new body
//!   layout        how the slots of a frame are laid out anew
//!   continuation  what a version's frames do once it is no longer current
//! ```

// The transaction that uses all of this is being put together.
#![allow(dead_code, unused_imports)]

mod alignment;
mod changes;
mod continuation;
mod frame_map;
mod layout;
mod policy;
mod refusal;
mod safepoints;

pub(crate) use alignment::FrameMapping;
pub(crate) use changes::{AddedFunction, AddedGlobal, ChangedBody, ChangedElements, Changes};
pub(crate) use continuation::{Continuation, Migration};
pub use frame_map::{FrameMap, Source};
pub(crate) use layout::{Compositions, Layout};
pub use policy::Policy;
pub use refusal::Refusal;
pub(crate) use safepoints::Safepoints;
