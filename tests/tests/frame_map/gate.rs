//! How the host holds a function at the header of a loop: by a few words of the guest's memory.
//!
//! Each loop begins with a gate. It counts the headers that are gone through, and goes back to its own as long as
//! the number is the one that the host wants the function to stop at. So the frame runs, and comes to a safepoint
//! at that header again and again, until the host lets it go.

use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use wasm_encoder::{Instruction, MemArg, MemArgTarget};

/// Headers that have been gone through.
const PASSED: u64 = 0;
/// The one to stop at.
const STOP: u64 = 4;
/// How often it has gone back there.
const ROUNDS: u64 = 8;

/// What no loop comes to.
const NOWHERE: u32 = u32::MAX;

/// The function that runs has not done what it must within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The gate of a loop: label 0 is the loop, which may carry a value.
pub(super) fn instructions() -> Vec<Instruction<'static>> {
    let target = MemArgTarget::Memory(0);
    let at = |offset| MemArg { offset, align: 2, target, ordering: None };
    let zero = || Instruction::I32Const(0);
    let load = |offset| [zero(), Instruction::I32Load(at(offset))];
    let stops = || [load(PASSED), load(STOP)].concat().into_iter().chain([Instruction::I32Eq]);
    let mut list = vec![zero()];
    list.extend(load(ROUNDS));
    list.extend(stops());
    list.extend([Instruction::I32Add, Instruction::I32Store(at(ROUNDS))]);
    list.extend(stops());
    list.extend([Instruction::BrIf(0), zero()]);
    list.extend(load(PASSED));
    let store = Instruction::I32Store(at(PASSED));
    list.extend([Instruction::I32Const(1), Instruction::I32Add, store]);
    list
}

/// The words of a memory. Dropping it lets the function go.
pub(super) struct Gate<'a> {
    stop: &'a AtomicU32,
    rounds: &'a AtomicU32,
}

impl Gate<'_> {
    /// Lets no function through that comes to this header, counted from 1; `None`: lets all through.
    ///
    /// # Safety
    /// The memory at `base` must outlive the gate, and only guests may use its first words otherwise.
    pub(super) unsafe fn new<'a>(base: *mut u8, header: Option<usize>) -> Gate<'a> {
        // SAFETY: as the caller vouches; memories are aligned.
        let word = |offset: u64| unsafe { AtomicU32::from_ptr(base.add(offset as usize).cast()) };
        let gate = Gate { stop: word(STOP), rounds: word(ROUNDS) };
        gate.stop.store(header.map_or(NOWHERE, |header| header as u32 - 1), Ordering::Release);
        gate
    }

    /// Waits until the function has been at its header twice from now on, so that it has come to the safepoint
    /// there after what happened before this. `ended` tells whether it will not do so.
    pub(super) fn wait_for_rounds(&self, ended: impl Fn() -> bool) -> Result<()> {
        let (from, started) = (self.rounds.load(Ordering::Acquire), Instant::now());
        while self.rounds.load(Ordering::Acquire).wrapping_sub(from) < 2 {
            ensure!(!ended(), "it has not stopped at the header");
            ensure!(started.elapsed() < PATIENCE, "it does not come to the header");
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.stop.store(NOWHERE, Ordering::Release);
    }
}
