//! For tests: a check that slots are in canonical form wherever they pass from one kind of code to another.

use crate::code::frame_map::ValueKind;

/// Checks that each slot is what [`ValueKind::canonical`] makes of it. `boundary` says where they pass.
///
/// Does nothing without the feature `verify-slots`.
///
/// # Panics
/// If one is not.
#[inline(always)]
pub fn verify_slots(boundary: &str, slots: &[u64], kinds: impl Iterator<Item = ValueKind>) {
    if cfg!(feature = "verify-slots") {
        let mut at = 0;
        for (i, kind) in kinds.enumerate() {
            let Some(&bits) = slots.get(at) else { return };
            if bits != kind.canonical(bits) {
                not_canonical(boundary, i, kind, bits);
            }
            at += kind.slots();
        }
    }
}

/// Ends the process: callers are in the midst of calls that nothing may unwind through.
#[cold]
fn not_canonical(boundary: &str, value: usize, kind: ValueKind, bits: u64) -> ! {
    eprintln!("midair-osr: {boundary}: value {value} of kind {kind:?} is {bits:#x}");
    eprintln!("{}", std::backtrace::Backtrace::force_capture());
    std::process::abort();
}
