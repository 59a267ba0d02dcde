//! Where things stand: the workspace root and what lies under it.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace root, found from this package's manifest so that the current directory does
/// not matter.
pub fn root() -> PathBuf {
    // Cargo sets the variable when it runs the binary; the compiled-in value serves when the
    // binary is started by hand.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.ancestors().nth(2).map_or(manifest.clone(), Path::to_path_buf)
}

/// Sources of the corpus that the project wrote itself: kernels, scripts, drawings.
pub fn own_programs() -> PathBuf {
    root().join("tests/xtask/programs")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Everything that `cargo xtask corpus` fetches, builds and records.
pub fn corpus() -> PathBuf {
    target().join("corpus")
}

/// The release build of the command line under test.
pub fn midair() -> PathBuf {
    target().join("release/midair")
}

/// The cargo that started this process, or the one on PATH.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
