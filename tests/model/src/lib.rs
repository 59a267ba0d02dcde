//! The handshake of `midair-osr`, compiled from its own text, with the synchronisation of `loom` in place of
//! the system's: `tests/protocol.rs` explores what several threads can do to each other.

#[path = "../../../osr/src/handshake/mod.rs"]
pub mod handshake;
pub mod sync;
