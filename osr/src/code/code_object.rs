//! Code objects: published code and its tables. The tables lie outside the code and outlive it.

use crate::code::frame_map::{FrameMap, FrameMapHead, FrameMapTable, FrameValues};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Everything about a piece of compiled code but its address.
#[derive(Debug, Clone, Default)]
pub struct CodeDescription {
    /// Machine code without relocations.
    pub bytes: Vec<u8>,
    /// Bytes of stack below the frame pointer.
    pub frame_size: u32,
    /// Callee-saved registers that the prologue saved: hardware number, and how far *below* the frame
    /// pointer each lies.
    pub saved_registers: SmallVec<[(u8, u32); 5]>,
    /// Frame maps by return offset.
    pub frame_maps: FrameMapTable,
    /// Offset of each instruction that may trap, and its trap code (Cranelift's raw numbers), sorted.
    pub traps: Vec<(u32, u8)>,
    /// Where the code of each point begins, sorted by offset: the point of an offset is that of the last
    /// entry at or before it.
    pub points: Vec<(u32, u32)>,
    /// The compiler's call frame information.
    #[cfg(feature = "verify-walks")]
    pub unwind_table: crate::code::unwind_table::UnwindTable,
}

/// State of a code object's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum CodeState {
    /// Published.
    Live,
    /// Unlinked; its frames are being redirected.
    Retired,
    /// Poisoned: no byte of it is left.
    Freed,
}

/// Published code.
pub struct CodeObject {
    /// Number of the object, unique in its heap.
    pub id: u64,
    start: usize,
    len: usize,
    description: CodeDescription,
    state: AtomicU8,
    /// What the embedder knows of it: the version of the function, for one.
    pub owner: Arc<dyn Any + Send + Sync>,
}

impl CodeObject {
    pub(crate) fn new(
        id: u64,
        start: usize,
        mut description: CodeDescription,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> CodeObject {
        let len = description.bytes.len();
        // The bytes live in the heap now; a second copy would double the memory.
        description.bytes = Vec::new();
        #[cfg(feature = "verify-walks")]
        description.unwind_table.place(start);
        let state = AtomicU8::new(CodeState::Live as u8);
        CodeObject { id, start, len, description, state, owner }
    }

    /// Counts one more reference to a code object that is known by its address.
    ///
    /// # Safety
    /// It must be alive, and live in an `Arc`, as all published code objects do.
    pub(crate) unsafe fn counted(object: *const CodeObject) -> Arc<CodeObject> {
        // SAFETY: as the caller vouches.
        unsafe {
            Arc::increment_strong_count(object);
            Arc::from_raw(object)
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<CodeObject> {
        Arc::new(CodeObject::new(0, 0, CodeDescription::default(), Arc::new(())))
    }

    /// What it was published from.
    ///
    /// # Safety
    /// The bytes must not be freed meanwhile.
    pub unsafe fn describe(&self) -> CodeDescription {
        // SAFETY: code is readable; it is there, as the caller vouches, and never written while it is.
        let bytes = unsafe { std::slice::from_raw_parts(self.start(), self.len) };
        CodeDescription { bytes: bytes.to_vec(), ..self.description.clone() }
    }

    /// Address of the first byte.
    pub fn start(&self) -> *const u8 {
        self.start as *const u8
    }

    /// Number of bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it takes in its heap.
    pub fn heap_bytes(&self) -> usize {
        crate::code::code_heap::heap_bytes(self.len)
    }

    /// Whether the bytes are still there.
    pub fn state(&self) -> CodeState {
        match self.state.load(Ordering::Acquire) {
            0 => CodeState::Live,
            1 => CodeState::Retired,
            _ => CodeState::Freed,
        }
    }

    /// Marks the object as unlinked. Returns whether it was live until now.
    pub fn retire(&self) -> bool {
        let (live, retired) = (CodeState::Live as u8, CodeState::Retired as u8);
        self.state.compare_exchange(live, retired, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Marks the object as freed. Returns whether it was not before.
    pub(crate) fn mark_freed(&self) -> bool {
        self.state.swap(CodeState::Freed as u8, Ordering::AcqRel) != CodeState::Freed as u8
    }

    /// Bytes of stack below the frame pointer.
    pub fn frame_size(&self) -> u32 {
        self.description.frame_size
    }

    /// Whether there are sites at which its frames can be suspended.
    pub fn has_frame_maps(&self) -> bool {
        self.description.frame_maps.return_offsets().next().is_some()
    }

    /// The frame map of the site that returns to this address.
    pub fn frame_map(&self, return_address: usize) -> Option<FrameMap> {
        self.description.frame_maps.get((return_address - self.start) as u32)
    }

    /// The same, to be decoded as far as it is needed.
    pub(crate) fn read_frame_map(
        &self,
        return_address: usize,
    ) -> Option<(FrameMapHead, FrameValues<'_>)> {
        self.description.frame_maps.read((return_address - self.start) as u32)
    }

    /// The trap code of the instruction at `pc`.
    pub fn trap_code(&self, pc: usize) -> Option<u8> {
        let offset = (pc - self.start) as u32;
        let traps = &self.description.traps;
        let i = traps.binary_search_by_key(&offset, |t| t.0).ok()?;
        Some(traps[i].1)
    }

    /// The point whose code holds the instruction at `pc`. For a suspended frame ask for its return
    /// address minus 1.
    pub fn point(&self, pc: usize) -> Option<u32> {
        let offset = (pc - self.start) as u32;
        let points = &self.description.points;
        let i = points.partition_point(|p| p.0 <= offset);
        (i > 0).then(|| points[i - 1].1)
    }

    #[cfg(feature = "verify-walks")]
    pub(crate) fn unwind_table(&self) -> &crate::code::unwind_table::UnwindTable {
        &self.description.unwind_table
    }

    pub(crate) fn saved_registers(&self) -> &[(u8, u32)] {
        &self.description.saved_registers
    }

    /// Bytes of the tables.
    pub fn table_bytes(&self) -> usize {
        self.description.frame_maps.bytes()
            + self.description.traps.len() * 8
            + self.description.points.len() * 8
    }
}

impl std::fmt::Debug for CodeObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "code object {} at {:#x}+{} ({:?})", self.id, self.start, self.len, self.state())
    }
}
