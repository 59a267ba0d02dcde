//! Tests of the translation to CLIF and of the code that comes out of it.

mod entry_poll;
mod large_bodies;
mod module;
mod snapshots;
mod spec_suite;
mod throughput;
