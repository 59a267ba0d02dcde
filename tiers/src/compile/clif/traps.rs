//! Trap codes in machine code.

use crate::trap::TrapCode;
use cranelift_codegen::ir;
use std::num::NonZeroU8;

/// The code that Cranelift records for one of our traps.
pub(crate) const fn cranelift_trap_code(code: TrapCode) -> ir::TrapCode {
    ir::TrapCode::unwrap_user(code as u8)
}

/// The trap that a code in compiled code's tables stands for: one of ours, or one of those that
/// Cranelift's own instructions (division, conversion) raise.
pub fn trap_code_of(code: ir::TrapCode) -> Option<TrapCode> {
    Some(match code {
        ir::TrapCode::STACK_OVERFLOW => TrapCode::StackOverflow,
        ir::TrapCode::HEAP_OUT_OF_BOUNDS => TrapCode::MemoryOutOfBounds,
        ir::TrapCode::INTEGER_OVERFLOW => TrapCode::IntegerOverflow,
        ir::TrapCode::INTEGER_DIVISION_BY_ZERO => TrapCode::IntegerDivisionByZero,
        ir::TrapCode::BAD_CONVERSION_TO_INTEGER => TrapCode::BadConversionToInteger,
        code => return TrapCode::from_number(code.as_raw().get().into()),
    })
}

/// The same for a trap site of a code description, which has Cranelift's raw number.
pub fn trap_code_of_site(raw: u32) -> Option<TrapCode> {
    let raw = NonZeroU8::new(u8::try_from(raw).ok()?)?;
    trap_code_of(ir::TrapCode::from_raw(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_through_cranelift() {
        for code in TrapCode::ALL {
            assert_eq!(trap_code_of(cranelift_trap_code(code)), Some(code));
        }
        for &code in ir::TrapCode::non_user_traps() {
            assert!(trap_code_of(code).is_some(), "{code}");
        }
        assert_eq!(trap_code_of(ir::TrapCode::unwrap_user(200)), None);
    }
}
