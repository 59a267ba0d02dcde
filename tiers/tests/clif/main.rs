//! Tests of the translation to CLIF and of the code that comes out of it.

mod entry_poll;
mod large_bodies;
mod module;
mod osr_entries;
mod snapshots;
mod spec_suite;
mod throughput;
