//! For tests: the configurations in which a guest has to behave alike.

use crate::config::{Config, Tier};

/// Calls `test` with a configuration for each tier, and for guests that change tiers all the time.
pub(crate) fn every_tier(test: impl Fn(&mut Config)) {
    for tier in [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto] {
        test(Config::new().tier(tier));
    }
    test(Config::new().background_compilation(false).optimized_threshold(4));
    for stress in ["osr:1", "retire:1", "osr:2,retire:3", "mixed:2", "osr:3,retire:5,mixed:1"] {
        for tier in [Tier::Baseline, Tier::Optimized, Tier::Auto] {
            let stress = stress.parse().unwrap();
            // Every safepoint may walk the whole stack.
            test(Config::new().tier(tier).stress(stress).max_wasm_stack(64 << 10));
        }
    }
}
