//! The second walker: `framehop`, which knows the host's call frame information and otherwise follows frame
//! records.

use super::Sighting;
use super::host_code;
use crate::code::registry;
use crate::stack::context::StackContext;
use crate::stub_addresses;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

thread_local! {
    static CACHE: RefCell<CacheX86_64> = RefCell::new(CacheX86_64::new());
}

/// No stack is larger.
const MAX_STACK: u64 = 1 << 30;

fn unwinder() -> &'static UnwinderX86_64<&'static [u8]> {
    static UNWINDER: OnceLock<UnwinderX86_64<&'static [u8]>> = OnceLock::new();
    UNWINDER.get_or_init(|| {
        let mut unwinder = UnwinderX86_64::new();
        for module in host_code::modules() {
            let range = |bytes: &[u8]| -> Range<u64> {
                let range = bytes.as_ptr_range();
                range.start as u64..range.end as u64
            };
            let code = module.code.start as u64..module.code.end as u64;
            // Addresses in the tables are relative to themselves; so all is given as it lies in memory.
            let sections = ExplicitModuleSectionInfo {
                base_svma: code.start,
                text_svma: Some(code.clone()),
                eh_frame_svma: Some(range(module.eh_frame)),
                eh_frame: Some(module.eh_frame),
                eh_frame_hdr_svma: Some(range(module.eh_frame_hdr)),
                eh_frame_hdr: Some(module.eh_frame_hdr),
                ..ExplicitModuleSectionInfo::default()
            };
            unwinder.add_module(Module::new(String::new(), code.clone(), code.start, sections));
        }
        unwinder
    })
}

/// The first `count` managed frames from a frame record outwards.
///
/// # Safety
/// As for [`super::verify`].
pub(super) unsafe fn walk(stack: &StackContext, record: usize, count: usize) -> Vec<Sighting> {
    let mut read = |address: u64| {
        if !address.is_multiple_of(8) || address.wrapping_sub(record as u64) > MAX_STACK {
            return Err(());
        }
        // SAFETY: between the record and the stack's end.
        let value = unsafe { *(address as *const usize) };
        if value != stub_addresses::landing_address() {
            return Ok(value as u64);
        }
        // A redirected return address: the word below it is the frame pointer that it belongs to.
        // SAFETY: as above.
        let fp = unsafe { *((address - 8) as *const usize) };
        stack.redirected.get_by_address(fp).map(|entry| entry.return_address as u64).ok_or(())
    };
    let is_managed = |fp: usize, pc: usize| {
        registry::lookup(pc - 1).is_some()
            || stack.redirected.get_by_address(fp).is_some_and(|entry| entry.return_address == pc)
    };
    let mut found = Vec::new();
    let (Ok(fp), Ok(mut pc)) = (read(record as u64), read(record as u64 + 8)) else { return found };
    let mut registers = UnwindRegsX86_64::new(pc, record as u64 + 16, fp);
    CACHE.with_borrow_mut(|cache| {
        loop {
            let fp = registers.bp() as usize;
            if is_managed(fp, pc as usize) {
                found.push(Sighting { fp, pc: pc as usize, registers: None });
                if found.len() == count {
                    break;
                }
            }
            let Some(address) = FrameAddress::from_return_address(pc) else { break };
            match unwinder().unwind_frame(address, &mut registers, cache, &mut read) {
                Ok(Some(caller)) => pc = caller,
                _ => break,
            }
        }
    });
    found
}
