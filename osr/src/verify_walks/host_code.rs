//! Where the process's own code has its call frame information.

use std::ops::Range;
use std::sync::OnceLock;

/// One executable or library.
pub(super) struct HostModule {
    /// Its executable addresses.
    pub(super) code: Range<usize>,
    pub(super) eh_frame_hdr: &'static [u8],
    pub(super) eh_frame: &'static [u8],
}

/// What was loaded when this was first asked for.
pub(super) fn modules() -> &'static [HostModule] {
    static MODULES: OnceLock<Vec<HostModule>> = OnceLock::new();
    MODULES.get_or_init(|| {
        let mut modules: Vec<HostModule> = Vec::new();
        // SAFETY: the callback gets the pointer to the vector, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut modules).cast()) };
        modules
    })
}

/// The module whose code holds `pc`.
pub(super) fn module_of(pc: usize) -> Option<&'static HostModule> {
    modules().iter().find(|module| module.code.contains(&pc))
}

/// # Safety
/// Called by `dl_iterate_phdr` with the pointer to a `Vec<HostModule>`.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    modules: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: as the caller vouches; the loader's description is valid during the call.
    unsafe {
        let modules = &mut *modules.cast::<Vec<HostModule>>();
        let headers = std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
        let address = |header: &libc::Elf64_Phdr| {
            let start = (*info).dlpi_addr as usize + header.p_vaddr as usize;
            start..start + header.p_memsz as usize
        };
        let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let code = loaded().find(|header| header.p_flags & libc::PF_X != 0).map(address);
        let table =
            headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME).map(address);
        let (Some(code), Some(table)) = (code, table) else { return 0 };
        // Version, three encodings, then the address of .eh_frame, relative to itself: what all linkers write.
        let bytes = |range: Range<usize>| -> &'static [u8] {
            std::slice::from_raw_parts(range.start as *const u8, range.len())
        };
        let hdr = bytes(table.clone());
        if hdr.len() < 8 || hdr[..2] != [1, 0x1b] {
            return 0;
        }
        let offset = i32::from_le_bytes([hdr[4], hdr[5], hdr[6], hdr[7]]);
        let start = (table.start + 4).wrapping_add_signed(offset as isize);
        let Some(segment) = loaded().map(address).find(|range| range.contains(&start)) else {
            return 0;
        };
        modules.push(HostModule { code, eh_frame_hdr: hdr, eh_frame: bytes(start..segment.end) });
        0
    }
}
