//! What the tests of the whole have in common.

use midair::StressSpec;

pub mod differential;
pub mod mutation;
pub mod program;
pub mod replace_stress;
pub mod spec_suite;
pub mod spec_suite_v3;

/// A schedule for the specification's suite: that of the text, for the first 100,000 safepoints of a store. Its
/// tests of tail calls go on for millions of equal calls, and transitions at all of them took most of the suite's
/// time.
pub fn suite_schedule(text: &str) -> StressSpec {
    let mut schedule: StressSpec = text.parse().expect("a schedule");
    schedule.until = Some(100_000);
    schedule
}
