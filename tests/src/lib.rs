//! What the tests of the whole have in common.

use midair::{Config, Tier};

pub mod differential;
pub mod mutation;
pub mod program;
pub mod replace_stress;
pub mod spec_suite;
pub mod spec_suite_v3;

/// Lets functions get baseline code at their first call, and no other because they are hot.
pub fn in_baseline_code(config: &mut Config) -> &mut Config {
    config.tier(Tier::Auto).baseline_threshold(0).optimized_threshold(u32::MAX)
}
