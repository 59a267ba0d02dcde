//! The specification's test suite in every tier, and under stress: nothing may fail or be skipped.

use midair::Tier;
use midair_cli::wast::{self, Report};
use midair_tests::{spec_suite, suite_schedule};

fn run(tier: Tier, stress: Option<&str>) {
    let mut config = wast::config();
    config.tier(tier);
    if let Some(stress) = stress {
        config.stress(suite_schedule(stress));
    }
    let mut total = Report::default();
    for script in spec_suite::scripts() {
        total.add(wast::run_script(&config, &script.name, script.text));
    }
    for failure in total.failures.iter().take(50) {
        println!("{failure}");
    }
    println!("{tier:?} {}: {total}", stress.unwrap_or("without stress"));
    assert!(total.passed > 45_000, "most of the suite is missing");
    assert!(total.failures.is_empty() && total.skipped == 0, "{total}");
}

macro_rules! combinations {
    ($($name:ident: $tier:ident $(, $stress:literal)?;)*) => {
        $(
            #[test]
            fn $name() {
                let stress: &[&str] = &[$($stress)?];
                run(Tier::$tier, stress.first().copied());
            }
        )*
    };
}

combinations! {
    interp: Interp;
    interp_osr: Interp, "osr:1";
    interp_retire: Interp, "retire:1";
    interp_osr_retire: Interp, "osr:1,retire:1";
    baseline: Baseline;
    baseline_osr: Baseline, "osr:1";
    baseline_retire: Baseline, "retire:1";
    baseline_osr_retire: Baseline, "osr:1,retire:1";
    optimized: Optimized;
    optimized_osr: Optimized, "osr:1";
    optimized_retire: Optimized, "retire:1";
    optimized_osr_retire: Optimized, "osr:1,retire:1";
    auto: Auto;
    auto_osr: Auto, "osr:1";
    auto_retire: Auto, "retire:1";
    auto_osr_retire: Auto, "osr:1,retire:1";
    auto_mixed: Auto, "mixed:1";
    auto_mixed_seldom: Auto, "mixed:5,seed:1";
    auto_osr_mixed: Auto, "osr:2,mixed:1,seed:2";
    auto_retire_mixed: Auto, "retire:2,mixed:1,seed:3";
    auto_osr_retire_mixed: Auto, "osr:3,retire:3,mixed:2,seed:4";
    interp_far: Interp, "far:7";
    auto_osr_retire_mixed_far: Auto, "osr:3,retire:3,mixed:2,far:8,seed:5";
    baseline_mixed: Baseline, "mixed:1";
    baseline_osr_retire_mixed: Baseline, "osr:2,retire:3,mixed:5,seed:6";
    baseline_far: Baseline, "far:7";
    optimized_mixed: Optimized, "mixed:1,seed:1";
}
