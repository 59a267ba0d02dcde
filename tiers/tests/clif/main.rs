//! Tests of the translation to CLIF and of the code that comes out of it.

mod module;
mod spec_suite;
mod throughput;
