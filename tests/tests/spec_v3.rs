//! The specification's test suite of WebAssembly 3.0 and of proposals in every tier, and under stress: nothing may fail,
//! and nothing is skipped but scripts that are known to need what is not built.

use midair::{Config, Tier};
use midair_cli::wast::{self, Report};
use midair_tests::spec_suite_v3::{SKIPPED, all, scripts};
use midair_tests::suite_schedule;
use midair_watchdog::Watchdog;

fn config(tier: Tier, stress: Option<&str>) -> Config {
    let mut config = wast::config();
    config.tier(tier);
    if let Some(stress) = stress {
        config.stress(suite_schedule(stress));
    }
    config
}

fn run(tier: Tier, stress: Option<&str>) {
    run_with(config(tier, stress), &format!("{tier:?} {}", stress.unwrap_or("without stress")));
}

fn run_with(config: Config, what: &str) {
    let _watchdog = Watchdog::start();
    let mut total = Report::default();
    for script in scripts() {
        total.add(wast::run_script(&config, &script.name, script.text));
    }
    for failure in total.failures.iter().take(50) {
        println!("{failure}");
    }
    println!("{what}: {total}");
    assert!(total.passed > 20_000, "most of the suite is missing");
    assert!(total.failures.is_empty() && total.skipped == 0, "{total}");
}

/// What is skipped exists, and fails: otherwise it need not be skipped any more.
#[test]
fn what_is_skipped_fails() {
    let _watchdog = Watchdog::start();
    let config = config(Tier::Interp, None);
    let all = all();
    for (name, reason) in SKIPPED {
        let script = all.iter().find(|script| script.name == *name);
        let script = script.unwrap_or_else(|| panic!("there is no {name}"));
        let report = wast::run_script(&config, name, script.text);
        assert!(!report.failures.is_empty(), "{name} is skipped for {reason}, but does not fail");
        for failure in report.failures {
            assert!(!failure.message.contains("panicked"), "{failure}");
        }
    }
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
    interp_osr_retire: Interp, "osr:1,retire:1";
    baseline: Baseline;
    baseline_osr_retire: Baseline, "osr:1,retire:1";
    baseline_mixed: Baseline, "mixed:2,seed:7";
    optimized: Optimized;
    optimized_osr_retire: Optimized, "osr:1,retire:1";
    auto: Auto;
    auto_osr_retire: Auto, "osr:1,retire:1";
    auto_mixed: Auto, "mixed:1";
    auto_osr_retire_mixed_far: Auto, "osr:3,retire:3,mixed:2,far:8,seed:5";
}
