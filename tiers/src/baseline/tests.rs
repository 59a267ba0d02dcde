//! The encodings, read by an independent disassembler.

use super::assembler::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use proptest::prelude::*;

/// What the disassembler reads: all instructions, in the form `mov rax,[rsi+8]`.
fn read(code: &[u8]) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(false);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_show_branch_size(false);
    formatter.options_mut().set_branch_leading_zeros(false);
    formatter.options_mut().set_small_hex_numbers_in_decimal(false);
    formatter.options_mut().set_uppercase_hex(false);
    let mut text = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        text.push(line);
    }
    text.join("; ")
}

fn encoded(emit: impl FnOnce(&mut Assembler)) -> String {
    let mut asm = Assembler::with_capacity(64);
    emit(&mut asm);
    read(&asm.finish())
}

const NAMES_64: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const NAMES_32: [&str; 16] = [
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d",
    "r13d", "r14d", "r15d",
];
const NAMES_16: [&str; 16] = [
    "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w",
    "r14w", "r15w",
];
const NAMES_8: [&str; 16] = [
    "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b",
    "r13b", "r14b", "r15b",
];

fn name(width: Width, reg: Reg) -> &'static str {
    let names = if width == Width::W64 { &NAMES_64 } else { &NAMES_32 };
    names[reg.0 as usize]
}

fn name_of_bytes(bytes: u8, reg: Reg) -> &'static str {
    let names = match bytes {
        1 => &NAMES_8,
        2 => &NAMES_16,
        4 => &NAMES_32,
        _ => &NAMES_64,
    };
    names[reg.0 as usize]
}

fn bits(n: u64) -> String {
    format!("{n:#x}")
}

/// A place in memory, and how the disassembler writes it.
#[derive(Clone, Copy, Debug)]
struct Place {
    base: Reg,
    index: Option<(Reg, u8)>,
    disp: i32,
}

impl Place {
    fn mem(self) -> Mem {
        match self.index {
            Some((index, scale)) => Mem::indexed(self.base, index, scale, self.disp),
            None => Mem::at(self.base, self.disp),
        }
    }

    fn text(self) -> String {
        let mut text = format!("[{}", NAMES_64[self.base.0 as usize]);
        if let Some((index, scale)) = self.index {
            text += &format!("+{}", NAMES_64[index.0 as usize]);
            if scale > 0 {
                text += &format!("*{}", 1 << scale);
            }
        }
        if self.disp != 0 {
            text += if self.disp < 0 { "-" } else { "+" };
            text += &bits(u64::from(self.disp.unsigned_abs()));
        }
        text + "]"
    }
}

fn reg() -> impl Strategy<Value = Reg> {
    (0..16u8).prop_map(Reg)
}

fn xmm() -> impl Strategy<Value = Xmm> {
    (0..16u8).prop_map(Xmm)
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::W32), Just(Width::W64)]
}

fn imm() -> impl Strategy<Value = i32> {
    prop_oneof![-200..200i32, any::<i32>(), Just(i32::MIN), Just(i32::MAX)]
}

fn place() -> impl Strategy<Value = Place> {
    let index = prop_oneof![
        Just(None),
        (reg().prop_filter("no index", |reg| reg.0 != 4), 0..4u8).prop_map(Some)
    ];
    let disp = prop_oneof![Just(0), imm()];
    (reg(), index, disp).prop_map(|(base, index, disp)| Place { base, index, disp })
}

const ALU: [(Alu, &str); 6] = [
    (Alu::Add, "add"),
    (Alu::Or, "or"),
    (Alu::And, "and"),
    (Alu::Sub, "sub"),
    (Alu::Xor, "xor"),
    (Alu::Cmp, "cmp"),
];
const SHIFTS: [(Shift, &str); 5] = [
    (Shift::Rol, "rol"),
    (Shift::Ror, "ror"),
    (Shift::Shl, "shl"),
    (Shift::Shr, "shr"),
    (Shift::Sar, "sar"),
];
const CONDS: [(Cond, &str); 14] = [
    (Cond::Overflow, "o"),
    (Cond::Below, "b"),
    (Cond::AboveOrEqual, "ae"),
    (Cond::Equal, "e"),
    (Cond::NotEqual, "ne"),
    (Cond::BelowOrEqual, "be"),
    (Cond::Above, "a"),
    (Cond::Sign, "s"),
    (Cond::Parity, "p"),
    (Cond::NoParity, "np"),
    (Cond::Less, "l"),
    (Cond::GreaterOrEqual, "ge"),
    (Cond::LessOrEqual, "le"),
    (Cond::Greater, "g"),
];
/// How bytes become a register's: instruction, bytes read, whether to 64 bits.
const LOADS: [(Load, &str, u8, Width); 9] = [
    (Load::U8, "movzx", 1, Width::W32),
    (Load::U16, "movzx", 2, Width::W32),
    (Load::U32, "mov", 4, Width::W32),
    (Load::U64, "mov", 8, Width::W64),
    (Load::S8To32, "movsx", 1, Width::W32),
    (Load::S16To32, "movsx", 2, Width::W32),
    (Load::S8, "movsx", 1, Width::W64),
    (Load::S16, "movsx", 2, Width::W64),
    (Load::S32, "movsxd", 4, Width::W64),
];
const FLOAT_OPS: [(FloatOp, &str); 5] = [
    (FloatOp::Sqrt, "sqrt"),
    (FloatOp::Add, "add"),
    (FloatOp::Mul, "mul"),
    (FloatOp::Sub, "sub"),
    (FloatOp::Div, "div"),
];

fn size(bytes: u8) -> &'static str {
    match bytes {
        1 => "byte ptr ",
        2 => "word ptr ",
        4 => "dword ptr ",
        _ => "qword ptr ",
    }
}

fn suffix(ty: Float) -> &'static str {
    if ty == Float::F64 { "sd" } else { "ss" }
}

proptest! {
    #[test]
    fn integer_instructions_are_what_they_should_be(
        w in width(), a in reg(), b in reg(), n in imm(), place in place(), count in 0..64u8,
    ) {
        let (x, y) = (name(w, a), name(w, b));
        let all = if w == Width::W64 { u64::MAX } else { u64::from(u32::MAX) };
        let unsigned = |n: i32| bits(i64::from(n) as u64 & all);
        let at = place.text();
        prop_assert_eq!(encoded(|asm| asm.mov(w, a, b)), format!("mov {x},{y}"));
        prop_assert_eq!(encoded(|asm| asm.lea(w, a, place.mem())), format!("lea {x},{at}"));
        prop_assert_eq!(encoded(|asm| asm.test(w, a, b)), format!("test {x},{y}"));
        prop_assert_eq!(encoded(|asm| asm.imul(w, a, b)), format!("imul {x},{y}"));
        // The disassembler names a register once that is both.
        let multiplied = match a == b {
            true => format!("imul {x},{}", unsigned(n)),
            false => format!("imul {x},{y},{}", unsigned(n)),
        };
        prop_assert_eq!(
            encoded(|asm| asm.imul_imm(w, a, b, n)),
            multiplied
        );
        prop_assert_eq!(encoded(|asm| asm.neg(w, a)), format!("neg {x}"));
        prop_assert_eq!(encoded(|asm| asm.divide(true, w, a)), format!("idiv {x}"));
        prop_assert_eq!(encoded(|asm| asm.divide(false, w, a)), format!("div {x}"));
        let test = format!("test {},{}", name(Width::W32, a), bits(u64::from(n as u32)));
        prop_assert_eq!(encoded(|asm| asm.test_imm(a, n)), test);
        for (op, text) in ALU {
            prop_assert_eq!(encoded(|asm| asm.alu(op, w, a, b)), format!("{text} {x},{y}"));
            prop_assert_eq!(
                encoded(|asm| asm.alu_mem(op, w, a, place.mem())),
                format!("{text} {x},{at}")
            );
            prop_assert_eq!(
                encoded(|asm| asm.alu_imm(op, w, a, n)),
                format!("{text} {x},{}", unsigned(n))
            );
            let size = if w == Width::W64 { "qword ptr " } else { "dword ptr " };
            prop_assert_eq!(
                encoded(|asm| asm.alu_imm_mem(op, w, place.mem(), n)),
                format!("{text} {size}{at},{}", unsigned(n))
            );
        }
        for (op, text) in SHIFTS {
            let shifted = encoded(|asm| asm.shift_imm(op, w, a, count));
            prop_assert_eq!(shifted, format!("{text} {x},{}", bits(count.into())));
            prop_assert_eq!(encoded(|asm| asm.shift_cl(op, w, a)), format!("{text} {x},cl"));
        }
        for (opcode, text) in [(0xbd, "lzcnt"), (0xbc, "tzcnt"), (0xb8, "popcnt")] {
            prop_assert_eq!(
                encoded(|asm| asm.count_bits(opcode, w, a, b)),
                format!("{text} {x},{y}")
            );
        }
        for (cond, text) in CONDS {
            let byte = NAMES_8[a.0 as usize];
            prop_assert_eq!(encoded(|asm| asm.setcc(cond, a)), format!("set{text} {byte}"));
            let (x, y) = (name(Width::W64, a), name(Width::W64, b));
            prop_assert_eq!(encoded(|asm| asm.cmov(cond, a, b)), format!("cmov{text} {x},{y}"));
        }
    }

    #[test]
    fn moves_of_integers_are_what_they_should_be(
        a in reg(), b in reg(), n in imm(), place in place(),
        quad in prop_oneof![any::<u64>(), any::<u32>().prop_map(u64::from), any::<i32>().prop_map(|n| n as u64)],
    ) {
        let at = place.text();
        for (load, text, bytes, to) in LOADS {
            let x = name(to, a);
            let size = if text.starts_with("movs") && bytes == 4 || text == "mov" { "" } else { size(bytes) };
            prop_assert_eq!(
                encoded(|asm| asm.load(load, a, place.mem())),
                format!("{text} {x},{size}{at}")
            );
            prop_assert_eq!(
                encoded(|asm| asm.extend(load, a, b)),
                format!("{text} {x},{}", name_of_bytes(bytes, b))
            );
        }
        for bytes in [1, 2, 4, 8] {
            prop_assert_eq!(
                encoded(|asm| asm.store(bytes, place.mem(), b)),
                format!("mov {at},{}", name_of_bytes(bytes, b))
            );
            let mask = if bytes == 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 };
            let value = bits(i64::from(n) as u64 & mask);
            prop_assert_eq!(
                encoded(|asm| asm.store_imm(bytes, place.mem(), n)),
                format!("mov {}{at},{value}", size(bytes))
            );
        }
        let narrow = if u32::try_from(quad).is_ok() { Width::W32 } else { Width::W64 };
        prop_assert_eq!(
            encoded(|asm| asm.mov_imm(a, quad)),
            format!("mov {},{}", name(narrow, a), bits(quad))
        );
        prop_assert_eq!(
            encoded(|asm| _ = asm.mov_imm64(a, quad)),
            format!("mov {},{}", name(Width::W64, a), bits(quad))
        );
        prop_assert_eq!(encoded(|asm| asm.jmp_reg(a)), format!("jmp {}", name(Width::W64, a)));
        prop_assert_eq!(encoded(|asm| asm.jmp_mem(place.mem())), format!("jmp qword ptr {at}"));
        prop_assert_eq!(encoded(|asm| asm.sign_into_rdx(Width::W32)), "cdq");
        prop_assert_eq!(encoded(|asm| asm.sign_into_rdx(Width::W64)), "cqo");
    }

    #[test]
    fn float_instructions_are_what_they_should_be(
        a in xmm(), b in xmm(), r in reg(), w in width(), place in place(), mode in 0..4u8,
    ) {
        let (x, y) = (format!("xmm{}", a.0), format!("xmm{}", b.0));
        let (at, wide) = (place.text(), NAMES_64[r.0 as usize]);
        prop_assert_eq!(encoded(|asm| asm.mov_xmm(a, b)), format!("movaps {x},{y}"));
        prop_assert_eq!(encoded(|asm| asm.load_xmm(a, place.mem())), format!("movq {x},{at}"));
        prop_assert_eq!(encoded(|asm| asm.store_xmm(place.mem(), a)), format!("movq {at},{x}"));
        let stored = encoded(|asm| asm.store_xmm128(place.mem(), a));
        prop_assert_eq!(stored, format!("movups {at},{x}"));
        prop_assert_eq!(encoded(|asm| asm.xmm_from_reg(a, r)), format!("movq {x},{wide}"));
        prop_assert_eq!(encoded(|asm| asm.reg_from_xmm(r, a)), format!("movq {wide},{x}"));
        prop_assert_eq!(encoded(|asm| asm.zero_xmm(a)), format!("xorps {x},{x}"));
        for ty in [Float::F32, Float::F64] {
            let s = suffix(ty);
            let moved = encoded(|asm| asm.load_float(ty, a, place.mem()));
            prop_assert_eq!(moved, format!("mov{s} {x},{at}"));
            let moved = encoded(|asm| asm.store_float(ty, place.mem(), a));
            prop_assert_eq!(moved, format!("mov{s} {at},{x}"));
            for (op, text) in FLOAT_OPS {
                prop_assert_eq!(encoded(|asm| asm.float(op, ty, a, b)), format!("{text}{s} {x},{y}"));
            }
            prop_assert_eq!(
                encoded(|asm| asm.compare_floats(ty, a, b)),
                format!("ucomi{s} {x},{y}")
            );
            prop_assert_eq!(
                encoded(|asm| asm.round(ty, a, b, mode)),
                format!("round{s} {x},{y},{}", bits(u64::from(mode | 8)))
            );
            prop_assert_eq!(
                encoded(|asm| asm.float_from_integer(ty, w, a, r)),
                format!("cvtsi2{s} {x},{}", name(w, r))
            );
            prop_assert_eq!(
                encoded(|asm| asm.integer_from_float(ty, w, r, a)),
                format!("cvtt{s}2si {},{x}", name(w, r))
            );
            let other = if ty == Float::F64 { "ss" } else { "sd" };
            prop_assert_eq!(
                encoded(|asm| asm.convert_float(ty, a, b)),
                format!("cvt{other}2{s} {x},{y}")
            );
        }
    }

    #[test]
    fn jumps_lead_to_their_labels(before in 0..300usize, after in 0..300usize, a in reg()) {
        // A label bound before and one behind, with other instructions in between.
        let mut asm = Assembler::with_capacity(0);
        let (back, ahead) = (asm.label(), asm.label());
        asm.bind(back);
        (0..before).for_each(|_| asm.mov(Width::W32, Reg::RAX, Reg::RAX));
        let at = asm.len();
        asm.jmp(back);
        asm.jcc(Cond::Less, ahead);
        asm.lea_label(a, ahead);
        (0..after).for_each(|_| asm.mov(Width::W32, Reg::RAX, Reg::RAX));
        asm.bind(ahead);
        let end = asm.offset(ahead);
        asm.distance(ahead, back);
        let code = asm.finish();
        let found: Vec<_> = Decoder::with_ip(64, &code[at..end as usize], at as u64, 0)
            .into_iter()
            .take(3)
            .collect();
        prop_assert_eq!(found[0].near_branch_target(), 0);
        prop_assert_eq!(found[1].near_branch_target(), u64::from(end));
        prop_assert_eq!(found[2].memory_displacement64(), u64::from(end));
        prop_assert_eq!(&code[end as usize..], (0i32.wrapping_sub(end as i32)).to_le_bytes());
    }
}
