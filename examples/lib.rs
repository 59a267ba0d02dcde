//! Programs that show what Midair is for: see the examples beside this file.

/// The README's example is one of the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
