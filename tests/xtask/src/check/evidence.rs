//! Whether a run really was what its configuration says.
//!
//! A binary that ignores `--tier` or `--stress` gives right answers everywhere, so right answers
//! alone do not show that a tier works. The run's own statistics have to say that it was used.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::configuration::Configuration;

/// What happens to functions and calls where tiers are mixed.
const MIXED: [&str; 5] =
    ["linked", "unlinked", "interpreter_to_code", "code_to_interpreter", "exchanged"];

/// What the statistics of a run lack for it to count in `configuration`; `None` if nothing.
pub fn lacking(stats: &Value, configuration: &Configuration) -> Option<String> {
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let compiled = |tier: &str| number(&format!("/compilations/{tier}/count"));
    let tier = configuration.tier.as_str();
    let stressed = |kind: &str| {
        let stress = configuration.stress.as_deref().unwrap_or_default();
        stress.split(',').any(|part| part.starts_with(kind))
    };
    if matches!(tier, "baseline" | "optimized") && compiled(tier) == 0 {
        return Some(format!("nothing was compiled for the {tier} tier"));
    }
    if tier == "interp" {
        // Nothing is compiled here without stress; what stress does here is not prescribed.
        let compiled = compiled("baseline") + compiled("optimized");
        let strange = configuration.stress.is_none() && compiled > 0;
        return strange.then(|| format!("{compiled} functions were compiled for the interpreter"));
    }
    if stressed("osr:")
        && tier != "baseline"
        && number("/osr_entries/total") + number("/osr_exits/total") == 0
    {
        return Some("no transition between the tiers took place".to_string());
    }
    if stressed("retire:") && number("/code_bytes/freed") == 0 {
        return Some("no code was retired and freed".to_string());
    }
    if stressed("mixed:") {
        // The forced tiers have one compiler only, and baseline code runs on frames of the interpreter.
        let kinds: &[&str] = match tier {
            "auto" => &MIXED,
            "baseline" => &MIXED[..2],
            _ => &MIXED[..4],
        };
        let missing = kinds.iter().find(|kind| number(&format!("/mixed_tiers/{kind}")) == 0);
        return missing.map(|kind| format!("tiers were not mixed: {kind} is 0"));
    }
    None
}

/// What the statistics of a long run of hot loops lack besides, in a tier that may choose: there is no
/// reason not to compile then.
pub fn lacking_when_hot(stats: &Value, configuration: &Configuration) -> Option<String> {
    let compiled = |tier: &str| {
        stats.pointer(&format!("/compilations/{tier}/count")).and_then(Value::as_u64).unwrap_or(0)
    };
    let interpreted = compiled("baseline") + compiled("optimized") == 0;
    (configuration.tier == "auto" && interpreted)
        .then(|| "a long run of hot loops compiled nothing".to_string())
}

/// The statistics that a run has left in `file`.
pub fn statistics(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).context("the run left no statistics")?;
    serde_json::from_str(&text).context("reading the run's statistics")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lacks(stats: &Value, tier: &str, stress: Option<&str>) -> bool {
        let configuration =
            Configuration { tier: tier.to_string(), stress: stress.map(String::from) };
        lacking(stats, &configuration).is_some()
    }

    #[test]
    fn statistics_of_an_interpreter_are_no_evidence_for_a_compiler() {
        let nothing = json!({});
        assert!(lacks(&nothing, "baseline", None));
        assert!(lacks(&nothing, "optimized", None));
        assert!(lacks(&nothing, "auto", Some("osr:7")));
        assert!(lacks(&nothing, "auto", Some("retire:5")));
        assert!(lacks(&nothing, "auto", Some("mixed:5")));
        assert!(!lacks(&nothing, "interp", None));
        assert!(!lacks(&nothing, "auto", None));
    }

    #[test]
    fn what_was_used_counts() {
        let stats = json!({
            "compilations": { "baseline": { "count": 0 }, "optimized": { "count": 3 } },
            "osr_exits": { "total": 1 },
            "mixed_tiers": {
                "linked": 1, "unlinked": 1, "interpreter_to_code": 1, "code_to_interpreter": 1, "exchanged": 0
            },
            "code_bytes": { "freed": 64 },
        });
        assert!(!lacks(&stats, "optimized", Some("osr:7,retire:5")));
        assert!(!lacks(&stats, "optimized", Some("mixed:50")));
        assert!(lacks(&stats, "auto", Some("mixed:50")));
        assert!(lacks(&stats, "baseline", None));
        assert!(lacks(&stats, "interp", None));
    }

    #[test]
    fn a_hot_run_that_compiles_nothing_was_only_interpreted() {
        let auto = Configuration { tier: "auto".to_string(), stress: None };
        let interp = Configuration { tier: "interp".to_string(), stress: None };
        let stats = json!({ "compilations": { "optimized": { "count": 1 } } });
        assert!(lacking_when_hot(&json!({}), &auto).is_some());
        assert!(lacking_when_hot(&stats, &auto).is_none());
        assert!(lacking_when_hot(&json!({}), &interp).is_none());
    }
}
