//! Vectors that grow under their readers.
//!
//! The index spaces of a running module only grow: code that is running keeps pointers into them, and
//! compilers read them on other threads. So their elements never move and never change, and there is room
//! for more behind them, of which an operating system gives no memory before it is used.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A vector to which elements can be appended while others read it, as long as there is room.
///
/// ```
/// use midair_tiers::AppendVec;
///
/// let mut list = AppendVec::from_iter(["a"]);
/// list.reserve(1);
/// let list = list;
/// let first: *const &str = &list[0];
/// assert_eq!(list.append("b"), Ok(()));
/// assert_eq!(list[..], ["a", "b"]);
/// assert_eq!(first, &raw const list[0]);
/// ```
pub struct AppendVec<T> {
    /// Allocated by a `Vec` of this capacity. Elements below `len` are initialised, and are not written any
    /// more while `self` is shared.
    base: NonNull<T>,
    capacity: usize,
    len: AtomicUsize,
    /// Held by who appends to a shared vector.
    appending: Mutex<()>,
}

// SAFETY: it owns its elements as a `Vec` does.
unsafe impl<T: Send> Send for AppendVec<T> {}
// SAFETY: shared, it gives out shared references to elements, and takes in elements from any thread, one at
// a time.
unsafe impl<T: Send + Sync> Sync for AppendVec<T> {}

impl<T> AppendVec<T> {
    /// No elements, and no room.
    pub fn new() -> AppendVec<T> {
        AppendVec::from(Vec::new())
    }

    /// How many elements it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many elements can be appended while it is shared.
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// Makes room for at least so many more elements. Elements may move, for nobody else looks at them.
    pub fn reserve(&mut self, additional: usize) {
        self.change(|list| list.reserve_exact(additional));
    }

    /// Appends an element. Elements may move, for nobody else looks at them.
    pub fn push(&mut self, value: T) {
        self.change(|list| list.push(value));
    }

    /// Appends an element while others may be reading; gives it back if there is no room.
    pub fn append(&self, value: T) -> Result<(), T> {
        let _appending = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let len = self.len.load(Ordering::Relaxed);
        if len == self.capacity {
            return Err(value);
        }
        // SAFETY: the place is within the allocation, and not an element yet, so nobody reads it; the lock
        // keeps others from writing it.
        unsafe { self.base.as_ptr().add(len).write(value) };
        // Whoever sees the new length sees the element.
        self.len.store(len + 1, Ordering::Release);
        Ok(())
    }

    /// Works on the elements as on a `Vec`.
    fn change(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        let mut list = std::mem::take(self).into_vec();
        change(&mut list);
        *self = AppendVec::from(list);
    }

    fn into_vec(self) -> Vec<T> {
        let this = ManuallyDrop::new(self);
        let len = this.len.load(Ordering::Relaxed);
        // SAFETY: the parts came from a `Vec`, with as many elements initialised; `this` is not dropped.
        unsafe { Vec::from_raw_parts(this.base.as_ptr(), len, this.capacity) }
    }
}

impl<T> From<Vec<T>> for AppendVec<T> {
    fn from(list: Vec<T>) -> AppendVec<T> {
        let mut list = ManuallyDrop::new(list);
        AppendVec {
            // SAFETY: the pointer of a `Vec` is not null.
            base: unsafe { NonNull::new_unchecked(list.as_mut_ptr()) },
            capacity: list.capacity(),
            len: AtomicUsize::new(list.len()),
            appending: Mutex::new(()),
        }
    }
}

impl<T> FromIterator<T> for AppendVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> AppendVec<T> {
        AppendVec::from(Vec::from_iter(elements))
    }
}

impl<T> Default for AppendVec<T> {
    fn default() -> AppendVec<T> {
        AppendVec::new()
    }
}

/// A copy of the elements, without room for more.
impl<T: Clone> Clone for AppendVec<T> {
    fn clone(&self) -> AppendVec<T> {
        AppendVec::from(self.to_vec())
    }
}

impl<T> Deref for AppendVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: so many elements are initialised, and they are not written while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), len) }
    }
}

impl<T> Drop for AppendVec<T> {
    fn drop(&mut self) {
        let len = *self.len.get_mut();
        // SAFETY: the parts came from a `Vec`, with as many elements initialised, and nobody uses them any
        // more.
        drop(unsafe { Vec::from_raw_parts(self.base.as_ptr(), len, self.capacity) });
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for AppendVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_full_vector_gives_the_element_back() {
        let list = AppendVec::from(vec![1]);
        assert_eq!((list.room(), list.append(2)), (0, Err(2)));
        assert_eq!(list[..], [1]);
    }

    #[test]
    fn elements_are_dropped_once() {
        let value = Arc::new(());
        let mut list = AppendVec::new();
        list.push(value.clone());
        list.reserve(4);
        list.append(value.clone()).unwrap();
        assert_eq!(Arc::strong_count(&value), 3);
        let copy = list.clone();
        drop(list);
        assert_eq!((copy.len(), Arc::strong_count(&value)), (2, 3));
        drop(copy);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn readers_see_whole_elements_while_others_append() {
        let mut list = AppendVec::new();
        list.reserve(1000);
        let list = list;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| while list.append(Box::new(7)).is_ok() {});
            }
            while list.room() > 0 {
                assert!(list.iter().all(|element| **element == 7));
            }
        });
        assert_eq!(list.len(), 1000);
    }
}
