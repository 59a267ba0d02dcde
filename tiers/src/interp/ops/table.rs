//! Tables, references and globals.
//!
//! Indices and lengths are read with 64 bits: above those of 32 bits there are zeroes.

use crate::context::{Builtins, GROW_TRAPS, TableDef};
use crate::interp::machine::{Machine, handlers};
use crate::trap::TrapCode;

handlers! {
    fn table_get(m) {
        let table = table(m, m.operand(12));
        let index = m.get::<u64>(10) as usize;
        if index >= (*table).len {
            return m.trap(TrapCode::TableOutOfBounds);
        }
        m.set(8, *(*table).base.add(index));
        m.next(16)
    }
    fn table_set(m) {
        let table = table(m, m.operand(12));
        let index = m.get::<u64>(8) as usize;
        if index >= (*table).len {
            return m.trap(TrapCode::TableOutOfBounds);
        }
        *(*table).base.add(index) = m.get::<u64>(10);
        m.next(16)
    }
    fn table_size(m) {
        m.set(8, (*table(m, m.operand(10))).len as u64);
        m.next(14)
    }
    fn table_grow(m) {
        let (value, delta) = (m.get::<u64>(10), m.get::<u64>(12));
        let old = (builtins(m).table_grow)(m.cx, m.operand(14), value, delta);
        if old == GROW_TRAPS {
            return m.trap(TrapCode::HostError);
        }
        m.set(8, old);
        m.next(18)
    }
    fn table_fill(m) {
        let (dst, value) = (m.get::<u64>(8), m.get::<u64>(10));
        let len = m.get::<u64>(12);
        let status = (builtins(m).table_fill)(m.cx, m.operand(14), dst, value, len);
        m.next_or_raise(status, 18)
    }
    fn table_copy(m) {
        let (dst, src) = (m.get::<u64>(8), m.get::<u64>(10));
        let len = m.get::<u64>(12);
        let (to, from) = (m.operand(14), m.operand(18));
        let status = (builtins(m).table_copy)(m.cx, to, from, dst, src, len);
        m.next_or_raise(status, 22)
    }
    fn table_init(m) {
        let (dst, src) = (m.get::<u64>(8), m.get::<u64>(10));
        let len = m.get::<u64>(12);
        let (to, segment) = (m.operand(14), m.operand(18));
        let status = (builtins(m).table_init)(m.cx, to, segment, dst, src, len);
        m.next_or_raise(status, 22)
    }
    fn elem_drop(m) {
        (builtins(m).elem_drop)(m.cx, m.operand(8));
        m.next(12)
    }
    fn ref_func(m) {
        let reference = (builtins(m).ref_func)(m.cx, m.operand(10));
        m.set(8, reference as u64);
        m.next(14)
    }
    fn ref_is_null(m) {
        m.set(8, u32::from(m.get::<u64>(10) == 0));
        m.next(12)
    }
    fn ref_as_non_null(m) {
        if m.get::<u64>(8) == 0 {
            return m.trap(TrapCode::NullReference);
        }
        m.next(10)
    }
    fn global_get(m) {
        let cell = *(*m.cx).globals.add(m.operand::<u32>(10) as usize);
        m.set(8, (*cell).0[0]);
        m.next(14)
    }
    fn global_set(m) {
        let cell = *(*m.cx).globals.add(m.operand::<u32>(10) as usize);
        (*cell).0[0] = m.get::<u64>(8);
        m.next(14)
    }
    fn global_get_own(m) {
        // A global that the module defines lies behind the context, at this offset.
        let cell = m.cx.cast::<u8>().add(m.operand::<u32>(10) as usize);
        m.set(8, cell.cast::<u64>().read());
        m.next(14)
    }
    fn global_set_own(m) {
        let cell = m.cx.cast::<u8>().add(m.operand::<u32>(10) as usize);
        cell.cast::<u64>().write(m.get::<u64>(8));
        m.next(14)
    }
}

/// The definition of a table by its index.
///
/// # Safety
/// The registers must be those of a running activation, and `index` a table of its module, which
/// validation sees to.
#[inline(always)]
unsafe fn table(m: Machine, index: u32) -> *const TableDef {
    // SAFETY: validated code names only tables of its module.
    unsafe { *(*m.cx).tables.add(index as usize) }
}

/// The runtime calls of the instance.
///
/// # Safety
/// The registers must be those of a running activation, whose instance outlives the reference.
#[inline(always)]
unsafe fn builtins<'a>(m: Machine) -> &'a Builtins {
    // SAFETY: an instance's table of runtime calls lives as long as the instance.
    unsafe { &*(*m.cx).builtins }
}
