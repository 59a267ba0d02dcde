//! What the tests of the whole have in common.

pub mod differential;
pub mod mutation;
pub mod program;
pub mod replace_stress;
pub mod spec_suite;
pub mod spec_suite_v3;
