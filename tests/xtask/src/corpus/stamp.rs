//! Stamps: small files that say what a directory or file was made from, so that a step which
//! has nothing to do does nothing, and one that was interrupted is done again.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The record of one finished step.
#[derive(Debug)]
pub struct Stamp {
    made: PathBuf,
    file: PathBuf,
    key: String,
}

impl Stamp {
    /// A stamp next to `made`; `key` says everything that the result depends on.
    pub fn beside(made: &Path, key: &str) -> Stamp {
        let mut name = made.file_name().unwrap_or_default().to_os_string();
        name.push(".stamp");
        Stamp { made: made.to_path_buf(), file: made.with_file_name(name), key: key.to_string() }
    }

    /// Whether the result is there and was made from the same things.
    pub fn is_current(&self) -> bool {
        self.made.exists() && fs::read_to_string(&self.file).is_ok_and(|text| text == self.key)
    }

    /// Records that the result is there now.
    pub fn set(&self) -> Result<()> {
        fs::write(&self.file, &self.key).with_context(|| self.file.display().to_string())
    }
}

/// An empty directory at `dir`, whatever was there before.
pub fn replace_directory(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))
}

/// SHA-256 of a file in hex, read in pieces: some modules are large, and the process stays small.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// SHA-256 of a text in hex.
pub fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_current_only_for_its_own_key_and_result() {
        let dir = std::env::temp_dir().join(format!("xtask-stamp-{}", std::process::id()));
        let made = dir.join("made");
        replace_directory(&made).unwrap();
        let stamp = Stamp::beside(&made, "one");
        assert!(!stamp.is_current());
        stamp.set().unwrap();
        assert!(stamp.is_current());
        assert!(!Stamp::beside(&made, "two").is_current());
        fs::remove_dir_all(&made).unwrap();
        assert!(!stamp.is_current());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        assert_eq!(
            hash_text("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
