//! How much room there is on the native stack that a guest is called on.
//!
//! A thread enters a guest on the native stack that it runs on, and [`Config::max_wasm_stack`] is counted from there.
//! A host function may go on on another one, and call the guest on it: then it is counted from there again. What is
//! asked here is whether that has happened, and where that stack ends. The system knows: stacks are mappings with a
//! guard page in between.
//!
//! [`Config::max_wasm_stack`]: crate::Config::max_wasm_stack

use std::cell::Cell;
use std::ops::Range;

/// What is left of a native stack for the host below the guest's limit: for host functions, and for what the runtime
/// does on a guest's behalf.
const ROOM_OF_HOST: usize = 48 << 10;

thread_local! {
    /// The mapping that this thread has asked for last; empty at first.
    static LAST: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The present stack pointer, more or less.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// Where a guest's limit is that is called at the stack pointer `at`, and may use `size` bytes there. `None` if that is
/// on the native stack on which `outer` lies, or if it cannot be told.
#[cold]
pub(crate) fn limit_on_another(outer: usize, at: usize, size: usize) -> Option<usize> {
    let limit = at.saturating_sub(size);
    let (start, end) = LAST.get();
    let last = start..end;
    // Stacks come and go, so what was asked some time ago only counts if it says that there is no problem.
    let fits = |stack: &Range<usize>| limit >= stack.start + ROOM_OF_HOST;
    if last.contains(&at) && !last.contains(&outer) && fits(&last) {
        return Some(limit);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let stack = mapping_of(&maps, at)?;
    LAST.set((stack.start, stack.end));
    (!stack.contains(&outer)).then(|| limit.max(stack.start + ROOM_OF_HOST))
}

/// The mapping that an address lies in, of those that the system lists.
fn mapping_of(maps: &str, address: usize) -> Option<Range<usize>> {
    let mappings = maps.lines().filter_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(start)?..number(end)?)
    });
    mappings.into_iter().find(|mapping| mapping.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_own_stack_is_one_and_another_is_another() {
        let here = stack_pointer();
        assert_eq!(limit_on_another(here + 64, here, 1 << 16), None);
        // The memory of a vector that is large enough for a mapping of its own.
        let other = vec![0u8; 8 << 20];
        let at = other.as_ptr() as usize + (7 << 20);
        for _ in 0..2 {
            assert_eq!(limit_on_another(here, at, 1 << 20), Some(at - (1 << 20)));
        }
    }

    #[test]
    fn a_limit_leaves_room_for_the_host() {
        let maps =
            "1000-2000 r-xp 00000000 08:01 1 /bin/x\n7f00-9f00 rw-p 0 0 0\n9f00-a000 ---p 0 0 0\n";
        assert_eq!(mapping_of(maps, 0x7f00), Some(0x7f00..0x9f00));
        assert_eq!(mapping_of(maps, 0x9eff), Some(0x7f00..0x9f00));
        assert_eq!(mapping_of(maps, 0x2000), None);
    }
}
