//! What throws. How an exception finds its handler is in `interp/unwind.rs`.

use crate::interp::catch_up::go_on;
use crate::interp::machine::handlers;
use crate::interp::{Position, unwind};
use crate::trap::TrapCode;

handlers! {
    fn throw(m) {
        let (tag, values) = (m.operand::<u32>(8), m.far_slot(12));
        m.ip = m.ip.add(16);
        m.save(Position::Call);
        go_on!(m, unwind::throw(m.cx, m.st, tag, values))
    }
    fn throw_ref(m) {
        let exception = m.get::<u64>(8);
        if exception == 0 {
            return m.trap(TrapCode::NullReference);
        }
        m.ip = m.ip.add(10);
        m.save(Position::Call);
        go_on!(m, unwind::throw_ref(m.cx, m.st, exception))
    }
}
