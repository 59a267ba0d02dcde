//! Call frame information of code objects, for those who verify our own tables by it.

use crate::stub_addresses;
use cranelift_codegen::CompiledCode;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::UnwindInfo;
use gimli::write::{Address, EhFrame, EndianVec, FrameTable};
use std::fmt;

/// An `.eh_frame` section for one piece of code.
#[derive(Clone, Default)]
pub struct UnwindTable {
    /// One CIE, one FDE, and an end mark. The FDE's addresses are absolute.
    bytes: Box<[u8]>,
}

impl UnwindTable {
    /// What Cranelift knows of the code, which lies nowhere yet; `None` if it knows nothing.
    pub(crate) fn new(code: &CompiledCode, isa: &dyn TargetIsa) -> Option<UnwindTable> {
        let Ok(Some(UnwindInfo::SystemV(info))) = code.create_unwind_info(isa) else { return None };
        let mut table = FrameTable::default();
        let cie = table.add_cie(isa.create_systemv_cie()?);
        table.add_fde(cie, info.to_fde(Address::Constant(0)));
        let mut section = EhFrame(EndianVec::new(gimli::LittleEndian));
        table.write_eh_frame(&mut section).ok()?;
        let mut bytes = section.0.into_vec();
        bytes.extend([0; 4]);
        Some(UnwindTable { bytes: bytes.into() })
    }

    /// Says where the code lies.
    pub(crate) fn place(&mut self, start: usize) {
        if let Some(range) = self.code_range() {
            range[..8].copy_from_slice(&start.to_le_bytes());
        }
    }

    /// The FDE's start address and length, 8 bytes each.
    fn code_range(&mut self) -> Option<&mut [u8]> {
        // Each entry begins with the length of what follows; an FDE then has an offset of 4 bytes.
        let cie = u32::from_le_bytes(self.bytes.get(..4)?.try_into().ok()?) as usize;
        self.bytes.get_mut(cie + 12..cie + 28)
    }

    /// Address of the section. It is empty if there is no code.
    pub(crate) fn address(&self) -> usize {
        const EMPTY: &[u8] = &[0; 4];
        if self.bytes.is_empty() { EMPTY.as_ptr() as usize } else { self.bytes.as_ptr() as usize }
    }

    /// The section for a frame whose return address, at this offset in its code, leads to the landing stub: for
    /// anything in the stub it says what it says for that call.
    pub(crate) fn at_landing(&self, return_offset: usize) -> Box<[u8]> {
        let mut table = self.clone();
        let landing = stub_addresses::landing_code();
        if let Some(range) = table.code_range() {
            // What follows the prologue has one row.
            let start = landing.start + 1 - return_offset;
            let len = landing.end - start;
            range[..8].copy_from_slice(&start.to_le_bytes());
            range[8..].copy_from_slice(&len.to_le_bytes());
        }
        table.bytes
    }
}

impl fmt::Debug for UnwindTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unwind table of {} bytes", self.bytes.len())
    }
}
