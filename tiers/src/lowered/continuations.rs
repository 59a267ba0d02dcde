//! Where baseline code is entered, and left for the interpreter.
//!
//! No address of baseline code is ever on a stack. What refers to it are the *words* of its lowered code's continuations,
//! which look to the interpreter like instructions: a frame that is suspended at a call returns to a word, as it would to an
//! instruction, and jumps to what it says. While the function has baseline code that is where the code goes on; otherwise it is
//! a handler that goes on with the lowered instruction. So code is taken out of use by writing its words, however many
//! frames are suspended in it.
//!
//! Before most words there is a copy of the lowered instruction that ends there: a call, a loop header, or an instruction
//! that baseline code leaves to its handler. It writes what it holds in registers, jumps to the handler with the
//! address of the copy, and the handler goes on with what follows, which is the word.
//!
//! ```text
//!   | word of the entry | 0 | 0 | ... | handler | operands | word | offset | size | handler | ...
//!   ^                                 ^                    ^
//!   LoweredCode::entry                a call's copy        what the call returns to
//! ```
//!
//! `offset` is that of the next lowered instruction, `size` that of the copy.

use crate::lowered::code::LoweredCode;
use crate::lowered::frame;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a word and what follows it.
const RECORD: usize = 16;

/// A word, as it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    /// Byte offset of the word.
    word: u32,
    /// Offset of the next lowered instruction.
    next: u32,
}

/// Continuations under construction.
#[derive(Default)]
pub(crate) struct ContinuationsBuilder {
    words: Vec<u64>,
    sites: Vec<Site>,
}

impl ContinuationsBuilder {
    /// Adds the copy of an instruction, of which `next` is the offset behind it, and the word behind that. Answers where the
    /// word is, in bytes. Instructions have to come in order.
    pub(crate) fn add(&mut self, instruction: &[u8], next: u32) -> u32 {
        let start = self.words.len() * 8;
        let word = start + instruction.len().next_multiple_of(8);
        self.words.resize((word + RECORD) / 8, 0);
        let copy = word - instruction.len();
        // SAFETY: plain bytes of the vector.
        unsafe {
            let bytes = self.words.as_mut_ptr().cast::<u8>().add(copy);
            bytes.copy_from_nonoverlapping(instruction.as_ptr(), instruction.len());
        }
        self.words[word / 8 + 1] = u64::from(next) | (instruction.len() as u64) << 32;
        self.sites.push(Site { word: word as u32, next });
        word as u32
    }

    /// What has been built, with all words at `handler`.
    pub(crate) fn finish(self, handler: u64) -> Continuations {
        let words: Box<[AtomicU64]> = self.words.into_iter().map(AtomicU64::new).collect();
        let continuations = Continuations { words, sites: self.sites.into() };
        continuations.set_all(|_| handler);
        continuations
    }
}

/// The continuations of one lowered code.
pub(crate) struct Continuations {
    words: Box<[AtomicU64]>,
    /// Ascending, in both respects.
    sites: Box<[Site]>,
}

impl Continuations {
    /// How many words there are.
    pub(crate) fn len(&self) -> usize {
        self.sites.len()
    }

    /// Address of the first byte.
    pub(crate) fn base(&self) -> *const u8 {
        self.words.as_ptr().cast()
    }

    /// Sets all words; each is told by its number.
    pub(crate) fn set_all(&self, value: impl Fn(usize) -> u64) {
        for (number, site) in self.sites.iter().enumerate() {
            self.words[site.word as usize / 8].store(value(number), Ordering::Release);
        }
    }

    /// The instruction to go on with at this offset of the lowered code, if there is a word for it behind an instruction.
    pub(crate) fn at(&self, next: u32) -> Option<*const u8> {
        let first = self.sites.partition_point(|site| site.next < next);
        // The first is that of the entry, at which nothing is begun anew.
        let site = self.sites.get(first.max(1)).filter(|site| site.next == next)?;
        Some(self.base().wrapping_add(site.word as usize))
    }

    /// The offset of the lowered instruction that the one at this address is a copy of; of a word, that of the next.
    pub(crate) fn offset_of(&self, ip: *const u8) -> Option<u32> {
        let at = (ip as usize).wrapping_sub(self.base() as usize);
        if at >= self.words.len() * 8 {
            return None;
        }
        let index = self.sites.partition_point(|site| (site.word as usize) < at);
        let site = self.sites.get(index)?;
        Some(site.next - (site.word - at as u32))
    }

    /// Bytes of memory.
    pub(crate) fn memory_size(&self) -> usize {
        self.words.len() * 8 + self.sites.len() * size_of::<Site>()
    }
}

/// What a word stands for while there is no baseline code: the lowered instruction.
///
/// # Safety
/// `ip` must be the address of a word, and `fp` that of the header of a frame of its code.
#[inline(always)]
pub(crate) unsafe fn resumed(ip: *const u8, fp: *const u64) -> *const u8 {
    // SAFETY: the caller's contract: an offset follows the word, and the frame's code is alive.
    unsafe {
        let code: &LoweredCode = &*frame::code(fp);
        let next = ip.add(8).cast::<u32>().read();
        code.first().add(next as usize)
    }
}

/// What baseline code calls where there is none: leaves the call to the handler of the instruction that ends at the word
/// in `rdi`.
pub(crate) fn call_by_handler() -> *mut u8 {
    unsafe extern "C" {
        fn midair_tiers_call_by_handler();
    }
    midair_tiers_call_by_handler as *const () as *mut u8
}

std::arch::global_asm!(
    ".text",
    ".p2align 4",
    ".globl midair_tiers_call_by_handler",
    ".type midair_tiers_call_by_handler,@function",
    "midair_tiers_call_by_handler:",
    "mov eax, [rdi + 12]",
    "sub rdi, rax",
    "jmp [rdi]",
    ".size midair_tiers_call_by_handler, . - midair_tiers_call_by_handler",
);
