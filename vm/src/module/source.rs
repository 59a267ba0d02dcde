//! Where a module's bytes are.

use anyhow::{Context as _, Result};
use midair_tiers::body::ByteSource;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// How every binary module starts.
const MAGIC: &[u8] = b"\0asm";

/// Whether these bytes start like a binary module.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// A file mapped into memory.
struct MappedFile(memmap2::Mmap);

impl ByteSource for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of the module in a file: mapped if it is binary, translated if it is text.
pub(super) fn open(path: &Path) -> Result<Arc<dyn ByteSource>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut start)?;
    if is_binary(&start) {
        // SAFETY: the mapping is only read. That the file is not changed meanwhile is asked of the
        // caller in the documentation of `Module::from_file`, as everywhere that maps files.
        let map = unsafe { memmap2::Mmap::map(&file) }.context("cannot map the file")?;
        return Ok(Arc::new(MappedFile(map)));
    }
    let mut bytes = start;
    file.read_to_end(&mut bytes)?;
    let binary = wat::Parser::new().parse_bytes(Some(path), &bytes)?.into_owned();
    Ok(Arc::new(binary))
}
