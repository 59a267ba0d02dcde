//! Edits of source programs, made while they run: no frame goes on with a state that the source does not account for.
//!
//! A random program of a small language is compiled, not at all or thoroughly optimised, and run. In one of its calls
//! of the host it is edited, at source level, compiled anew, and its function is updated. The oracle interprets the
//! source, and knows nothing of bodies, locals and alignments: a frame that goes on in the new body shows from then on
//! what the new source shows that is continued with the variables of the old one; a frame that does not shows what
//! the old source does. Anything else is state that is silently wrong.
//!
//! Runs for about [`SLICE`], or for `MIDAIR_RANDOM_SECONDS`, from the seed `MIDAIR_RANDOM_SEED`.

mod cases;
mod compiler;
mod edits;
mod guest;
mod interpreter;
mod language;
mod oracle;
mod programs;

use anyhow::Result;
use cases::{Case, Cases, Mode};
use compiler::compile;
use edits::{KINDS, Kind};
use guest::Outcome;
use interpreter::{End, MOST_TICKS, Shown, State, go_on, run};
use language::{Program, path_to};
use midair_watchdog::Watchdog;
use oracle::Oracle;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SLICE: Duration = Duration::from_secs(10);
/// Also where the machine is busy with other things.
const FEWEST: usize = 512;

/// What happened, to know that cases are worth something.
#[derive(Default)]
struct Tally {
    /// Frames that went on in the new body, and that stayed, by the only edit that there was and by whether the
    /// program was optimised.
    by_kind: BTreeMap<(Kind, bool), [usize; 2]>,
    moved: usize,
    stayed: usize,
    /// Updates that were refused, and such that changed no body.
    refused: usize,
    same: usize,
    /// Programs that do not end, or show nothing.
    useless: usize,
    /// It is not known how the frame has to go on: too many ways are right, or none is known.
    unknown: usize,
    /// Frames that went on though the tick was not there any more.
    gone: usize,
}

fn check(case: &Case, tally: &RefCell<Tally>) -> Result<(), TestCaseError> {
    let useless = || {
        tally.borrow_mut().useless += 1;
        Ok(())
    };
    let (old, new) = (case.old.plain(), case.new.plain());
    let arguments = [u64::from(case.arguments[0] as u32), i64::from(case.arguments[1]) as u64];
    let [End::Shown(of_old), End::Shown(of_new)] = [&old, &new].map(|p| run(p, arguments, None))
    else {
        return useless();
    };
    let codes =
        [compile(&old, &case.level, case.seeds[0]), compile(&new, &case.level, case.seeds[1])];
    let fail = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
    // Compiled programs show what their source does.
    for (code, expected, mode) in
        [(&codes[0], &of_old, case.mode), (&codes[1], &of_new, Mode::Interpreted)]
    {
        let (shown, _) = guest::run(mode, code, arguments, None).map_err(fail)?;
        prop_assert_eq!(&shown, expected, "without an edit");
    }
    let ticks = of_old.iter().filter(|shown| matches!(shown, Shown::Tick(..))).count();
    if ticks == 0 {
        return useless();
    }
    let tick = 1 + case.tick % ticks.min(MOST_TICKS - 1);
    let End::Suspended(state) = run(&old, arguments, Some(tick)) else {
        return Err(TestCaseError::fail("the source comes to a tick, and then it does not"));
    };
    let (shown, outcome) =
        guest::run(case.mode, &codes[0], arguments, Some((tick, &codes[1], case.delivery)))
            .map_err(fail)?;
    let moved = matches!(outcome, Some(Outcome::Moved(_)));
    if let [kind] = case.kinds[..]
        && outcome != Some(Outcome::Same)
    {
        let mut tally = tally.borrow_mut();
        let counts = tally.by_kind.entry((kind, case.level.is_optimised())).or_default();
        counts[usize::from(!moved)] += 1;
    }
    let Some(Outcome::Moved(point)) = outcome else {
        let mut tally = tally.borrow_mut();
        match outcome {
            Some(Outcome::Stayed) => tally.stayed += 1,
            Some(Outcome::Refused) => tally.refused += 1,
            _ => tally.same += 1,
        }
        return match shown == of_old {
            true => Ok(()),
            false => fail_at(tick, "stays in the old body", &shown, &[of_old]),
        };
    };
    tally.borrow_mut().moved += 1;
    let Some(&site) = codes[1].ticks.get(&point) else {
        return Err(TestCaseError::fail("the frame goes on at a place that is no tick"));
    };
    if !codes[1].ticks.values().any(|&tick| tick == state.site) {
        // Where it goes on instead is anybody's guess.
        tally.borrow_mut().gone += 1;
        return Ok(());
    }
    prop_assert_eq!(site, state.site, "the tick that it goes on behind, and the one that it is in");
    let Some(right) = ways_to_go_on(case, &old, &new, &state, site) else {
        tally.borrow_mut().unknown += 1;
        return Ok(());
    };
    match right.contains(&shown) {
        true => Ok(()),
        false => fail_at(tick, "goes on in the new body", &shown, &right),
    }
}

/// What the new program may show altogether that is continued behind a tick; `None` if that is too much, or may not
/// end.
fn ways_to_go_on(
    case: &Case,
    old: &Program,
    new: &Program,
    state: &State,
    site: language::Id,
) -> Option<Vec<Vec<Shown>>> {
    let path = path_to(&new.body, site)?;
    let (roles, optimised) = (&case.roles[..], case.level.is_optimised());
    let mut ways = Vec::new();
    for variables in Oracle::new(old, new, state, site, roles, optimised).environments()? {
        let End::Shown(shown) = go_on(new, state, variables, &path) else { return None };
        if !ways.contains(&shown) {
            ways.push(shown);
        }
    }
    Some(ways)
}

fn fail_at(
    tick: usize,
    what: &str,
    shown: &[Shown],
    right: &[Vec<Shown>],
) -> Result<(), TestCaseError> {
    // The first step at which none that agreed until then agrees any more.
    let agrees = |right: &Vec<Shown>| right.iter().zip(shown).take_while(|(a, b)| a == b).count();
    let step = right.iter().map(agrees).max().unwrap_or(0);
    let line = |list: &[Shown]| {
        list.iter().map(|shown| format!("{shown:?}")).collect::<Vec<_>>().join(" ")
    };
    let right: Vec<String> = right.iter().take(8).map(|right| line(right)).collect();
    Err(TestCaseError::fail(format!(
        "edited in its tick {tick}, the frame {what}, and is wrong from step {} on:\n  shows    {}\n  right is {}",
        step + 1,
        line(shown),
        right.join("\n        or "),
    )))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_frame_goes_on_with_a_state_that_the_source_does_not_account_for() {
    let slice = number("MIDAIR_RANDOM_SECONDS").map_or(SLICE, Duration::from_secs);
    let seed = number("MIDAIR_RANDOM_SEED").unwrap_or(1);
    let _watchdog = Watchdog::within(slice + Duration::from_secs(180));
    let (start, tally) = (Instant::now(), RefCell::new(Tally::default()));
    let mut cases = 0;
    for batch in 0_u64.. {
        if start.elapsed() > slice && cases >= FEWEST {
            break;
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&batch.to_le_bytes());
        let config = ProptestConfig {
            cases: 64,
            max_shrink_time: 60_000,
            max_shrink_iters: 100_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let result = TestRunner::new_with_rng(config, rng).run(&Cases, |case| check(&case, &tally));
        cases += 64;
        match result {
            Ok(()) => {}
            Err(TestError::Abort(reason)) => panic!("{reason}"),
            Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:?}"),
        }
    }
    println!("{cases} pairs of modules");
    tally.into_inner().report();
}

impl Tally {
    /// Says what happened, and fails if too little did.
    fn report(self) {
        let Tally { by_kind, moved, stayed, refused, same, useless, unknown, gone } = self;
        println!("{moved} moved (of {unknown} it is not known how, {gone} had no tick any more)");
        println!("{stayed} stayed, {refused} updates were refused, {same} changed nothing");
        println!("{useless} programs were useless");
        for ((kind, optimised), [moved, stayed]) in &by_kind {
            let level = if *optimised { "optimised" } else { "not optimised" };
            println!("{kind:?}, {level}: {moved} moved, {stayed} stayed");
        }
        assert!(moved + stayed > 200, "too few programs were edited");
        assert!(10 * (useless + unknown + gone) < moved, "too little was compared");
        for optimised in [false, true] {
            let mut harmless = [0, 0];
            for kind in KINDS {
                let [moved, stayed] = by_kind.get(&(kind, optimised)).copied().unwrap_or_default();
                if kind.is_harmless() {
                    harmless = [harmless[0] + moved, harmless[1] + stayed];
                }
                let enough = moved + stayed < 50 || moved > 5;
                assert!(enough, "{kind:?}, optimised: {optimised}: only {moved} moved");
            }
            // An edit that changes no variable keeps nearly all frames going.
            let [moved, stayed] = harmless;
            let enough = moved + stayed < 40 || moved > stayed;
            assert!(enough, "harmless edits, optimised: {optimised}: only {moved} moved");
        }
    }
}
