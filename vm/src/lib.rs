//! Midair: a WebAssembly virtual machine that changes its own code in mid-air.

pub mod stats;
pub mod stress;

pub use stats::Stats;
pub use stress::StressSpec;
