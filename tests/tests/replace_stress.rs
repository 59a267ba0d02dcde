//! A short form of `cargo xtask stress replace`: generated programs whose functions are replaced while they
//! run. All kinds of frames have to move.

use midair_tests::replace_stress::{self, Options};
use midair_watchdog::Watchdog;
use std::path::Path;
use std::time::Duration;

#[test]
fn generated_programs_do_not_notice_that_they_are_replaced() {
    let _watchdog = Watchdog::start();
    let options = Options {
        time: Duration::from_secs(20),
        threads: 3,
        seed: 1,
        first_round: 0,
        program: None,
        corpus: None,
        size: "quick".to_owned(),
        room: Path::new(env!("CARGO_TARGET_TMPDIR")).join("replace-stress"),
        hold: false,
    };
    replace_stress::run(&options).unwrap();
}
