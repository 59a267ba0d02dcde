//! What has to hold for the architecture to be able to carry speed: one ratio each, with the
//! most that it may be.

use super::Contests;
use super::measure::{Contest, geometric_mean};

/// One floor and what was measured beside it.
#[derive(Debug)]
pub struct Floor {
    pub what: &'static str,
    pub at_most: f64,
    /// `None` when nothing could be measured.
    pub measured: Option<f64>,
    /// How many programs the figure is a mean over.
    pub programs: usize,
}

/// All floors, from what was measured.
pub fn all(contests: &Contests) -> Vec<Floor> {
    let hello: Vec<&Contest> =
        contests.whole.iter().filter(|contest| contest.program == "clang-hello").collect();
    let whole: Vec<&Contest> = contests.whole.iter().collect();
    let steady: Vec<&Contest> = contests.steady.iter().collect();
    vec![
        floor("interpreter: time of wasmi's", 1.5, &whole, |c| {
            c.time_ratio("midair interp", "wasmi")
        }),
        floor("optimised steady state: time of wasmtime's", 1.3, &steady, |c| {
            c.time_ratio("midair optimized", "wasmtime precompiled")
        }),
        floor(
            "clang compiling a hello-world, cold: time of wasmtime's, uncached",
            0.1,
            &hello,
            |c| c.time_ratio("midair auto", "wasmtime"),
        ),
        floor("peak memory of wasmtime's", 1.0, &whole, |c| {
            c.memory_ratio("midair auto", "wasmtime")
        }),
    ]
}

fn floor(
    what: &'static str,
    at_most: f64,
    over: &[&Contest],
    ratio: impl Fn(&Contest) -> Option<f64>,
) -> Floor {
    let ratios: Vec<f64> = over.iter().filter_map(|contest| ratio(contest)).collect();
    Floor { what, at_most, measured: geometric_mean(&ratios), programs: ratios.len() }
}
