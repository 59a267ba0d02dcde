pub struct CodeHeap {}
pub struct CodeHeapStats {}
