//! Stress schedules: transitions at every Nth safepoint, for tests.
//!
//! A schedule changes when frames move between tiers, when machine code is thrown away, and which tier a
//! function runs in when it is called. It must never change what the guest computes.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// When to force transitions, as text `osr:7,retire:5,mixed:20,seed:1`.
///
/// The default forces none.
///
/// ```
/// use midair::StressSpec;
/// let spec: StressSpec = "osr:7,retire:5".parse().unwrap();
/// assert_eq!(spec.osr, Some(7));
/// assert_eq!(spec.to_string(), "osr:7,retire:5");
/// assert!("osr:0".parse::<StressSpec>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StressSpec {
    /// At every Nth safepoint, leave compiled code for the interpreter, and enter compiled code from
    /// it.
    pub osr: Option<u64>,
    /// At every Nth safepoint, recompile the running function and those suspended below it, and
    /// retire and free their old code.
    pub retire: Option<u64>,
    /// Each function has a tier of its own, chosen at random when it is first called among those that the
    /// [tier](crate::Config::tier) of the engine allows: the interpreter, baseline code, and the optimising compiler
    /// with and without its optimisations. At every Nth safepoint on average a function gets another one, so that its
    /// next call finds other code than the call before did. Frames of machine code stay where they are. The optimising
    /// compiler's code is kept, so that it compiles each function once with each of the two settings.
    pub mixed: Option<u64>,
    /// At every Nth allocation, collect garbage. Not available yet: never parsed.
    pub gc: Option<u64>,
    /// At every Nth guard, fail it. Not available yet: never parsed.
    pub deopt: Option<u64>,
    /// The Nth compilation of the engine panics, once: a compiler that fails must cost the guest nothing but
    /// speed.
    pub panic: Option<u64>,
    /// The Nth step of preparing updates that can fail does so, once in the engine: the program must go on
    /// untouched, and the same update succeed afterwards.
    pub fail: Option<u64>,
    /// The interpreter's instructions name only the slots that are at most N away from their frame's header, as
    /// if their operands were so small: bodies with more locals or operands are lowered in the form that is meant
    /// for those with tens of thousands of them. N is 7 at least.
    pub far: Option<u16>,
    /// A store's safepoints after its Nth are left alone. A fault is bisected by it: the least N that shows it
    /// names the transition. It also bounds what a schedule costs in a program of very many safepoints.
    pub until: Option<u64>,
    /// Seed of what a schedule chooses at random.
    pub seed: u64,
}

impl StressSpec {
    /// Whether any transition is forced.
    pub fn is_active(&self) -> bool {
        let periods = [self.osr, self.retire, self.mixed, self.gc, self.deopt];
        periods.iter().any(Option::is_some)
    }
}

/// Why a text is no [`StressSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseStressError(String);

impl fmt::Display for ParseStressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseStressError {}

impl FromStr for StressSpec {
    type Err = ParseStressError;

    fn from_str(text: &str) -> Result<StressSpec, ParseStressError> {
        let mut spec = StressSpec::default();
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',') {
            let Some((key, number)) = item.split_once(':') else {
                return Err(ParseStressError(format!(
                    "`{item}` is not of the form KEY:NUMBER (keys are osr, retire, mixed, panic, fail, \
                     far, until, seed)"
                )));
            };
            if seen.contains(&key) {
                return Err(ParseStressError(format!("`{key}` is given twice")));
            }
            seen.push(key);
            match key {
                "osr" => spec.osr = Some(interval(key, number)?),
                "retire" => spec.retire = Some(interval(key, number)?),
                "mixed" => spec.mixed = Some(interval(key, number)?),
                "panic" => spec.panic = Some(interval(key, number)?),
                "fail" => spec.fail = Some(interval(key, number)?),
                "far" => spec.far = Some(distance(number)?),
                "until" => spec.until = Some(interval(key, number)?),
                "seed" => {
                    spec.seed = number.parse().map_err(|_| {
                        ParseStressError(format!("`{number}` is not a number, in `{item}`"))
                    })?;
                }
                "gc" | "deopt" => {
                    return Err(ParseStressError(format!(
                        "stress by `{key}` is not available yet"
                    )));
                }
                _ => {
                    return Err(ParseStressError(format!(
                        "unknown stress `{key}` (known are osr, retire, mixed, panic, fail, far, \
                         until, seed)"
                    )));
                }
            }
        }
        Ok(spec)
    }
}

/// The `N` of `key:N`, which is at least 1.
fn interval(key: &str, number: &str) -> Result<u64, ParseStressError> {
    number.parse().map(NonZeroU64::get).map_err(|_| {
        ParseStressError(format!("`{key}:{number}` needs a number of at least 1 after the colon"))
    })
}

/// The `N` of `far:N`. Header and scratch slots of a frame are always near.
fn distance(number: &str) -> Result<u16, ParseStressError> {
    number.parse().ok().filter(|&slots| slots >= 7).ok_or_else(|| {
        ParseStressError(format!("`far:{number}` needs a number from 7 to 65535 after the colon"))
    })
}

impl fmt::Display for StressSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = (self.seed != 0).then_some(self.seed);
        let items = [
            ("osr", self.osr),
            ("retire", self.retire),
            ("mixed", self.mixed),
            ("gc", self.gc),
            ("deopt", self.deopt),
            ("panic", self.panic),
            ("fail", self.fail),
            ("far", self.far.map(u64::from)),
            ("until", self.until),
            ("seed", seed),
        ];
        let mut separator = "";
        for (key, number) in items {
            if let Some(number) = number {
                write!(f, "{separator}{key}:{number}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::StressSpec;

    fn error(text: &str) -> String {
        text.parse::<StressSpec>().unwrap_err().to_string()
    }

    #[test]
    fn parses_what_it_prints() {
        for text in [
            "osr:1",
            "retire:5",
            "osr:7,retire:5",
            "osr:3,retire:2,mixed:4,seed:9",
            "mixed:1",
            "panic:3,fail:2",
            "osr:2,far:9",
            "retire:1,until:100,seed:3",
        ] {
            assert_eq!(text.parse::<StressSpec>().unwrap().to_string(), text);
        }
        assert!(!"panic:4".parse::<StressSpec>().unwrap().is_active());
        assert!(!"fail:4".parse::<StressSpec>().unwrap().is_active());
        assert!(!"seed:4".parse::<StressSpec>().unwrap().is_active());
        assert!(!"until:4".parse::<StressSpec>().unwrap().is_active());
        assert!(!"far:8".parse::<StressSpec>().unwrap().is_active());
        assert!("retire:1".parse::<StressSpec>().unwrap().is_active());
        assert!("mixed:1".parse::<StressSpec>().unwrap().is_active());
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(error("").contains("KEY:NUMBER"));
        assert!(error("osr").contains("KEY:NUMBER"));
        assert!(error("osr:0").contains("at least 1"));
        assert!(error("mixed:0").contains("at least 1"));
        assert!(error("until:0").contains("at least 1"));
        assert!(error("osr:x").contains("at least 1"));
        assert!(error("far:6").contains("7 to 65535"));
        assert!(error("retire:-1").contains("at least 1"));
        assert!(error("osr:1,osr:2").contains("twice"));
        assert!(error("gc:1").contains("not available yet"));
        assert!(error("deopt:1").contains("not available yet"));
        assert!(error("seed:x").contains("not a number"));
        assert!(error("frob:1").contains("unknown"));
        assert!(error("osr:1,").contains("KEY:NUMBER"));
    }
}
