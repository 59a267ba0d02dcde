//! How much memory the process has, and whether it grows.

use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const MEBIBYTE: u64 = 1 << 20;

/// Memory that belongs to this process alone and the code that its engines share with nobody: files that
/// are mapped do not count.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    (field("RssAnon:").unwrap_or(0) + field("RssShmem:").unwrap_or(0)) * 1024
}

/// In mebibytes.
pub fn text(bytes: u64) -> String {
    format!("{} MiB", bytes / MEBIBYTE)
}

/// Checks that memory does not grow within a round: what is replaced is replaced, not piled up.
#[derive(Debug, Default)]
pub struct WithinRound {
    samples: Vec<u64>,
}

/// Rounds with fewer samples are too short to say anything.
const ENOUGH: usize = 20;

impl WithinRound {
    /// Looks at the memory now.
    pub fn sample(&mut self) {
        self.samples.push(resident());
    }

    /// Fails if the second half of the round needed much more than the first.
    pub fn check(&self) -> Result<()> {
        let (first, second) = self.samples.split_at(self.samples.len() / 2);
        let most = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
        let (first, second) = (most(first), most(second));
        ensure!(
            self.samples.len() < ENOUGH || second <= first + first / 2 + 64 * MEBIBYTE,
            "memory grows within a round: from {} to {}",
            text(first),
            text(second)
        );
        Ok(())
    }
}

/// Checks that memory does not grow from round to round.
#[derive(Debug, Default)]
pub struct AcrossRounds {
    after: Vec<u64>,
}

/// Rounds after which everything that stays has been there once.
const WARM: usize = 12;

/// How long to wait for memory to be given back.
const PATIENCE: Duration = Duration::from_secs(30);

impl AcrossRounds {
    /// A round is over, and everything of it has been dropped. Fails if more is left than there was after
    /// the first rounds. Compilers that are at work hold their module until they notice that nobody wants
    /// it any more, so that some patience is needed.
    pub fn check(&mut self) -> Result<u64> {
        let first = self.after.iter().copied().max().unwrap_or(0);
        let most = first + first / 4 + 64 * MEBIBYTE;
        let start = Instant::now();
        loop {
            // SAFETY: the function may be called at any time.
            unsafe { libc::malloc_trim(0) };
            let now = resident();
            if self.after.len() < WARM {
                self.after.push(now);
                return Ok(now);
            }
            if now <= most {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "memory grows from round to round: {} after the first ones, {} now",
                text(first),
                text(now)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
