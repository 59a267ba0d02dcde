//! The ways in which Midair is run on each program.

use std::fmt;

use crate::corpus::manifest::Size;

/// Every tier that can be forced, and the default policy.
const TIERS: [&str; 4] = ["interp", "baseline", "optimized", "auto"];

/// The transitions forced by default: often enough to meet every kind of frame, not so often
/// that nothing else happens.
const STRESS: &str = "osr:7,retire:5";

/// Functions in different tiers, which call each other.
const MIXED: &str = "mixed:50";

/// A tier, and forced transitions if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub tier: String,
    pub stress: Option<String>,
}

impl Configuration {
    /// The configurations that the options of the command line ask for.
    pub fn all(tiers: &[String], stress: Option<&str>) -> Vec<Configuration> {
        let in_tier = |tier: &str, stress: Option<&str>| Configuration {
            tier: tier.to_string(),
            stress: stress.map(String::from),
        };
        if !tiers.is_empty() {
            return tiers.iter().map(|tier| in_tier(tier, stress)).collect();
        }
        if stress.is_some() {
            return TIERS.iter().map(|tier| in_tier(tier, stress)).collect();
        }
        let plain = TIERS.iter().map(|tier| in_tier(tier, None));
        plain.chain([STRESS, MIXED].map(|stress| in_tier("auto", Some(stress)))).collect()
    }

    /// How much work to give: far less when transitions are forced.
    pub fn size(&self, quick: bool) -> Size {
        match (&self.stress, quick) {
            (Some(_), _) => Size::Stress,
            (None, true) => Size::Quick,
            (None, false) => Size::Full,
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tier)?;
        self.stress.iter().try_for_each(|stress| write!(f, " {stress}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(tiers: &[&str], stress: Option<&str>) -> Vec<String> {
        let tiers: Vec<String> = tiers.iter().map(ToString::to_string).collect();
        Configuration::all(&tiers, stress).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn by_default_all_tiers_and_one_under_stress_and_mixed_tiers() {
        assert_eq!(
            spelled(&[], None),
            ["interp", "baseline", "optimized", "auto", "auto osr:7,retire:5", "auto mixed:50"]
        );
    }

    #[test]
    fn options_narrow_the_choice() {
        assert_eq!(spelled(&["interp"], None), ["interp"]);
        assert_eq!(spelled(&["auto", "interp"], Some("osr:1")), ["auto osr:1", "interp osr:1"]);
        assert_eq!(spelled(&[], Some("osr:1")).len(), 4);
    }
}
