//! What a watchdog says before it ends the process, seen from outside.

use midair_watchdog::Watchdog;
use std::process::Command;
use std::time::Duration;

/// Set in the process that hangs.
const HANGS: &str = "MIDAIR_WATCHDOG_TEST_HANGS";

#[inline(never)]
fn spins_for_ever() {
    loop {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As a test that fails beside a guest that it will not stop any more.
fn hang() {
    let _watchdog = Watchdog::telling(Duration::from_millis(300), || "seven frames".to_owned());
    std::thread::scope(|scope| {
        let guest = std::thread::Builder::new().name("guest".to_owned());
        guest.spawn_scoped(scope, spins_for_ever).unwrap();
        panic!("the reason of it all");
    });
}

#[test]
fn a_test_that_hangs_ends_with_a_dump_of_panics_state_and_threads() {
    if std::env::var_os(HANGS).is_some() {
        hang();
        return;
    }
    let test = "a_test_that_hangs_ends_with_a_dump_of_panics_state_and_threads";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test]).env(HANGS, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in
        ["has not ended after 300ms", test, "the reason of it all", "seven frames", "`guest`"]
    {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    assert!(said.contains("spins_for_ever"), "no backtrace of the guest in:\n{said}");
}

#[test]
fn a_test_that_ends_in_time_is_left_alone() {
    drop(Watchdog::within(Duration::from_millis(50)));
    std::thread::sleep(Duration::from_millis(200));
}
