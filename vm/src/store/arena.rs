//! Allocations that stay where they are until their store is dropped.

use std::ptr::NonNull;

/// Values with stable addresses, which machine code and handles point to.
pub(crate) struct Arena<V> {
    values: Vec<NonNull<V>>,
}

impl<V> Default for Arena<V> {
    fn default() -> Arena<V> {
        Arena { values: Vec::new() }
    }
}

impl<V> Arena<V> {
    /// Moves `value` to its place.
    pub(crate) fn alloc(&mut self, value: V) -> NonNull<V> {
        let pointer = NonNull::from(Box::leak(Box::new(value)));
        self.values.push(pointer);
        pointer
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NonNull<V>> + '_ {
        self.values.iter().copied()
    }
}

impl<V> Drop for Arena<V> {
    fn drop(&mut self) {
        for value in self.values.drain(..) {
            // SAFETY: the pointer came from a box, and is forgotten here.
            drop(unsafe { Box::from_raw(value.as_ptr()) });
        }
    }
}
