//! x86-64 machine code, as far as the baseline tier needs it.
//!
//! Encodings are those of the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; the tests compare them
//! with what an independent disassembler reads.

/// A general register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reg(pub(super) u8);

#[allow(missing_docs)]
impl Reg {
    pub(super) const RAX: Reg = Reg(0);
    pub(super) const RCX: Reg = Reg(1);
    pub(super) const RDX: Reg = Reg(2);
    pub(super) const RBP: Reg = Reg(5);
    pub(super) const RSI: Reg = Reg(6);
    pub(super) const RDI: Reg = Reg(7);
    pub(super) const R8: Reg = Reg(8);
    pub(super) const R9: Reg = Reg(9);
    pub(super) const R10: Reg = Reg(10);
    pub(super) const R11: Reg = Reg(11);
    pub(super) const R12: Reg = Reg(12);
    pub(super) const R13: Reg = Reg(13);
    pub(super) const R14: Reg = Reg(14);
    pub(super) const R15: Reg = Reg(15);
}

/// A vector register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Xmm(pub(super) u8);

/// Operand size of an integer instruction. Results of 32 bits have zeroes above them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    W32,
    W64,
}

/// Type of a float instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Float {
    F32,
    F64,
}

/// A place in memory: `base + index * 2^scale + disp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mem {
    base: Reg,
    index: Option<(Reg, u8)>,
    disp: i32,
}

impl Mem {
    pub(super) fn at(base: Reg, disp: i32) -> Mem {
        Mem { base, index: None, disp }
    }

    /// `scale` is the binary logarithm of the factor, at most 3.
    pub(super) fn indexed(base: Reg, index: Reg, scale: u8, disp: i32) -> Mem {
        debug_assert!(scale <= 3);
        Mem { base, index: Some((index, scale)), disp }
    }
}

/// Instructions of the form `op a, b`, with the opcode extension of their immediate form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations, with their opcode extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Shift {
    Rol = 0,
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Conditions, with their encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Cond {
    Overflow = 0,
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Sign = 8,
    Parity = 10,
    NoParity = 11,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

/// How bytes of memory become a register's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    U8,
    U16,
    U32,
    U64,
    /// Signed, to 32 bits.
    S8To32,
    S16To32,
    /// Signed, to 64 bits.
    S8,
    S16,
    S32,
}

/// Float instructions of two operands, with their opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum FloatOp {
    Sqrt = 0x51,
    Add = 0x58,
    Mul = 0x59,
    Sub = 0x5c,
    Div = 0x5e,
}

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label(u32);

const UNBOUND: u32 = u32::MAX;

/// Code under construction.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<u8>,
    /// Offset of each label.
    labels: Vec<u32>,
    /// Places of 32 bits that hold a distance to a label from behind them.
    jumps: Vec<(u32, Label)>,
    /// Places of 32 bits that hold the distance of the second label from the first.
    distances: Vec<(u32, Label, Label)>,
}

/// The operand that a ModRM byte describes beside its register.
#[derive(Clone, Copy)]
enum Rm {
    Reg(u8),
    Mem(Mem),
}

/// What an instruction's encoding is made of.
struct Encoding<'a> {
    /// Operand size or SSE prefix.
    prefix: Option<u8>,
    wide: bool,
    opcode: &'a [u8],
    reg: u8,
    rm: Rm,
    /// Whether a register operand is its low byte: `spl` to `dil` need a REX prefix.
    bytes: bool,
}

impl Assembler {
    pub(super) fn with_capacity(capacity: usize) -> Assembler {
        Assembler { code: Vec::with_capacity(capacity), ..Assembler::default() }
    }

    /// Offset of the next instruction.
    pub(super) fn len(&self) -> usize {
        self.code.len()
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u32 - 1)
    }

    /// Binds a label to this place.
    pub(super) fn bind(&mut self, label: Label) {
        debug_assert_eq!(self.labels[label.0 as usize], UNBOUND, "a label is bound once");
        self.labels[label.0 as usize] = self.code.len() as u32;
    }

    /// Where a label is bound.
    pub(super) fn offset(&self, label: Label) -> u32 {
        let offset = self.labels[label.0 as usize];
        debug_assert_ne!(offset, UNBOUND, "a label is bound");
        offset
    }

    /// The code, with all jumps.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for &(at, label) in &self.jumps {
            let distance = self.offset(label) as i32 - (at as i32 + 4);
            self.code[at as usize..][..4].copy_from_slice(&distance.to_le_bytes());
        }
        for &(at, from, to) in &self.distances {
            let distance = self.offset(to) as i32 - self.offset(from) as i32;
            self.code[at as usize..][..4].copy_from_slice(&distance.to_le_bytes());
        }
        self.code
    }

    fn encode(&mut self, e: Encoding<'_>) {
        let mut bytes = [0; 16];
        let mut len = 0;
        let mut put = |byte: u8| {
            bytes[len] = byte;
            len += 1;
        };
        if let Some(prefix) = e.prefix {
            put(prefix);
        }
        let (index, base, needs_rex) = match e.rm {
            Rm::Reg(reg) => (0, reg, e.bytes && (4..8).contains(&reg)),
            Rm::Mem(mem) => (mem.index.map_or(0, |(index, _)| index.0), mem.base.0, false),
        };
        let rex = 0x40 | u8::from(e.wide) << 3 | (e.reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 || needs_rex || (e.bytes && (4..8).contains(&e.reg)) {
            put(rex);
        }
        for &byte in e.opcode {
            put(byte);
        }
        let reg = (e.reg & 7) << 3;
        match e.rm {
            Rm::Reg(rm) => put(0xc0 | reg | (rm & 7)),
            Rm::Mem(Mem { base, index, disp }) => {
                // With a base of rbp or r13 there is no form without a displacement.
                let (mode, size) = match disp {
                    0 if base.0 & 7 != 5 => (0x00, 0),
                    -128..=127 => (0x40, 1),
                    _ => (0x80, 4),
                };
                match index {
                    Some((index, scale)) => {
                        debug_assert_ne!(index.0, 4, "rsp is no index");
                        put(mode | reg | 4);
                        put(scale << 6 | (index.0 & 7) << 3 | (base.0 & 7));
                    }
                    // A base of rsp or r12 needs the second byte.
                    None if base.0 & 7 == 4 => {
                        put(mode | reg | 4);
                        put(0x24);
                    }
                    None => put(mode | reg | (base.0 & 7)),
                }
                let disp = disp.to_le_bytes();
                disp.iter().take(size).for_each(|&byte| put(byte));
            }
        }
        self.code.extend_from_slice(&bytes[..len]);
    }

    fn integer(&mut self, width: Width, opcode: &[u8], reg: u8, rm: Rm) {
        let wide = width == Width::W64;
        self.encode(Encoding { prefix: None, wide, opcode, reg, rm, bytes: false });
    }

    fn sse(&mut self, prefix: Option<u8>, wide: bool, opcode: &[u8], reg: u8, rm: Rm) {
        self.encode(Encoding { prefix, wide, opcode, reg, rm, bytes: false });
    }

    fn imm32(&mut self, imm: i32) {
        self.code.extend_from_slice(&imm.to_le_bytes());
    }

    // Integers.

    pub(super) fn mov(&mut self, width: Width, dst: Reg, src: Reg) {
        self.integer(width, &[0x8b], dst.0, Rm::Reg(src.0));
    }

    /// Sets all 64 bits. The flags stay.
    pub(super) fn mov_imm(&mut self, dst: Reg, imm: u64) {
        if let Ok(imm) = u32::try_from(imm) {
            self.short_register(false, 0xb8, dst);
            self.imm32(imm as i32);
        } else if let Ok(imm) = i32::try_from(imm as i64) {
            self.integer(Width::W64, &[0xc7], 0, Rm::Reg(dst.0));
            self.imm32(imm);
        } else {
            self.mov_imm64(dst, imm);
        }
    }

    /// Sets all 64 bits by an immediate of 64 bits, and answers where in the code that stands.
    pub(super) fn mov_imm64(&mut self, dst: Reg, imm: u64) -> u32 {
        self.short_register(true, 0xb8, dst);
        self.code.extend_from_slice(&imm.to_le_bytes());
        self.code.len() as u32 - 8
    }

    /// An instruction whose opcode names the register.
    fn short_register(&mut self, wide: bool, opcode: u8, reg: Reg) {
        let rex = 0x40 | u8::from(wide) << 3 | reg.0 >> 3;
        if rex != 0x40 {
            self.code.push(rex);
        }
        self.code.push(opcode | (reg.0 & 7));
    }

    pub(super) fn load(&mut self, load: Load, dst: Reg, mem: Mem) {
        let (width, opcode): (Width, &[u8]) = match load {
            Load::U8 => (Width::W32, &[0x0f, 0xb6]),
            Load::U16 => (Width::W32, &[0x0f, 0xb7]),
            Load::U32 => (Width::W32, &[0x8b]),
            Load::U64 => (Width::W64, &[0x8b]),
            Load::S8To32 => (Width::W32, &[0x0f, 0xbe]),
            Load::S16To32 => (Width::W32, &[0x0f, 0xbf]),
            Load::S8 => (Width::W64, &[0x0f, 0xbe]),
            Load::S16 => (Width::W64, &[0x0f, 0xbf]),
            Load::S32 => (Width::W64, &[0x63]),
        };
        self.integer(width, opcode, dst.0, Rm::Mem(mem));
    }

    /// The same conversions from a register's low bits.
    pub(super) fn extend(&mut self, load: Load, dst: Reg, src: Reg) {
        let (wide, opcode): (bool, &[u8]) = match load {
            Load::U8 => (false, &[0x0f, 0xb6]),
            Load::U16 => (false, &[0x0f, 0xb7]),
            Load::U32 => (false, &[0x8b]),
            Load::U64 => (true, &[0x8b]),
            Load::S8To32 => (false, &[0x0f, 0xbe]),
            Load::S16To32 => (false, &[0x0f, 0xbf]),
            Load::S8 => (true, &[0x0f, 0xbe]),
            Load::S16 => (true, &[0x0f, 0xbf]),
            Load::S32 => (true, &[0x63]),
        };
        // The destination of these is never a byte.
        let bytes = matches!(load, Load::U8 | Load::S8To32 | Load::S8);
        let rm = Rm::Reg(src.0);
        self.encode(Encoding { prefix: None, wide, opcode, reg: dst.0, rm, bytes });
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) of a register.
    pub(super) fn store(&mut self, bytes: u8, mem: Mem, src: Reg) {
        let prefix = (bytes == 2).then_some(0x66);
        let opcode: &[u8] = if bytes == 1 { &[0x88] } else { &[0x89] };
        let (wide, is_byte) = (bytes == 8, bytes == 1);
        let (reg, rm) = (src.0, Rm::Mem(mem));
        self.encode(Encoding { prefix, wide, opcode, reg, rm, bytes: is_byte });
    }

    /// Stores the low `bytes` of an immediate, which is sign-extended to 64 bits.
    pub(super) fn store_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        let prefix = (bytes == 2).then_some(0x66);
        let opcode: &[u8] = if bytes == 1 { &[0xc6] } else { &[0xc7] };
        let (wide, rm) = (bytes == 8, Rm::Mem(mem));
        self.encode(Encoding { prefix, wide, opcode, reg: 0, rm, bytes: false });
        let imm = imm.to_le_bytes();
        self.code.extend_from_slice(&imm[..usize::from(bytes.min(4))]);
    }

    pub(super) fn lea(&mut self, width: Width, dst: Reg, mem: Mem) {
        self.integer(width, &[0x8d], dst.0, Rm::Mem(mem));
    }

    /// Sets a register to the address of a label.
    pub(super) fn lea_label(&mut self, dst: Reg, label: Label) {
        // Relative to the next instruction.
        let rex = 0x48 | (dst.0 >> 3) << 2;
        self.code.extend_from_slice(&[rex, 0x8d, 0x05 | (dst.0 & 7) << 3]);
        self.jump_distance(label);
    }

    pub(super) fn alu(&mut self, op: Alu, width: Width, dst: Reg, src: Reg) {
        self.integer(width, &[(op as u8) << 3 | 0x03], dst.0, Rm::Reg(src.0));
    }

    pub(super) fn alu_mem(&mut self, op: Alu, width: Width, dst: Reg, mem: Mem) {
        self.integer(width, &[(op as u8) << 3 | 0x03], dst.0, Rm::Mem(mem));
    }

    pub(super) fn alu_imm(&mut self, op: Alu, width: Width, dst: Reg, imm: i32) {
        self.alu_imm_to(op, width, Rm::Reg(dst.0), imm);
    }

    pub(super) fn alu_imm_mem(&mut self, op: Alu, width: Width, mem: Mem, imm: i32) {
        self.alu_imm_to(op, width, Rm::Mem(mem), imm);
    }

    fn alu_imm_to(&mut self, op: Alu, width: Width, rm: Rm, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.integer(width, &[0x83], op as u8, rm);
            self.code.push(short as u8);
        } else {
            self.integer(width, &[0x81], op as u8, rm);
            self.imm32(imm);
        }
    }

    pub(super) fn test(&mut self, width: Width, a: Reg, b: Reg) {
        self.integer(width, &[0x85], b.0, Rm::Reg(a.0));
    }

    pub(super) fn test_imm(&mut self, a: Reg, imm: i32) {
        self.integer(Width::W32, &[0xf7], 0, Rm::Reg(a.0));
        self.imm32(imm);
    }

    pub(super) fn imul(&mut self, width: Width, dst: Reg, src: Reg) {
        self.integer(width, &[0x0f, 0xaf], dst.0, Rm::Reg(src.0));
    }

    pub(super) fn imul_imm(&mut self, width: Width, dst: Reg, src: Reg, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.integer(width, &[0x6b], dst.0, Rm::Reg(src.0));
            self.code.push(short as u8);
        } else {
            self.integer(width, &[0x69], dst.0, Rm::Reg(src.0));
            self.imm32(imm);
        }
    }

    pub(super) fn shift_imm(&mut self, op: Shift, width: Width, dst: Reg, count: u8) {
        self.integer(width, &[0xc1], op as u8, Rm::Reg(dst.0));
        self.code.push(count);
    }

    /// By the count in `cl`.
    pub(super) fn shift_cl(&mut self, op: Shift, width: Width, dst: Reg) {
        self.integer(width, &[0xd3], op as u8, Rm::Reg(dst.0));
    }

    /// Sign-extends `rax` into `rdx`.
    pub(super) fn sign_into_rdx(&mut self, width: Width) {
        if width == Width::W64 {
            self.code.push(0x48);
        }
        self.code.push(0x99);
    }

    /// Divides `rdx:rax`: quotient in `rax`, remainder in `rdx`.
    pub(super) fn divide(&mut self, signed: bool, width: Width, divisor: Reg) {
        self.integer(width, &[0xf7], if signed { 7 } else { 6 }, Rm::Reg(divisor.0));
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        self.integer(width, &[0xf7], 3, Rm::Reg(dst.0));
    }

    /// Sets the low byte; the rest stays.
    pub(super) fn setcc(&mut self, cond: Cond, dst: Reg) {
        let opcode = [0x0f, 0x90 | cond as u8];
        let rm = Rm::Reg(dst.0);
        self.encode(Encoding {
            prefix: None,
            wide: false,
            opcode: &opcode,
            reg: 0,
            rm,
            bytes: true,
        });
    }

    pub(super) fn cmov(&mut self, cond: Cond, dst: Reg, src: Reg) {
        self.integer(Width::W64, &[0x0f, 0x40 | cond as u8], dst.0, Rm::Reg(src.0));
    }

    /// `lzcnt`, `tzcnt` and `popcnt`, of which the last byte of the opcode is given.
    pub(super) fn count_bits(&mut self, opcode: u8, width: Width, dst: Reg, src: Reg) {
        let wide = width == Width::W64;
        self.sse(Some(0xf3), wide, &[0x0f, opcode], dst.0, Rm::Reg(src.0));
    }

    // Control.

    pub(super) fn jmp(&mut self, label: Label) {
        self.code.push(0xe9);
        self.jump_distance(label);
    }

    pub(super) fn jcc(&mut self, cond: Cond, label: Label) {
        self.code.extend_from_slice(&[0x0f, 0x80 | cond as u8]);
        self.jump_distance(label);
    }

    fn jump_distance(&mut self, label: Label) {
        self.jumps.push((self.code.len() as u32, label));
        self.imm32(0);
    }

    pub(super) fn jmp_reg(&mut self, reg: Reg) {
        self.integer(Width::W32, &[0xff], 4, Rm::Reg(reg.0));
    }

    pub(super) fn jmp_mem(&mut self, mem: Mem) {
        self.integer(Width::W32, &[0xff], 4, Rm::Mem(mem));
    }

    /// A place in a table of jumps: how far `to` is from `from`.
    pub(super) fn distance(&mut self, from: Label, to: Label) {
        self.distances.push((self.code.len() as u32, from, to));
        self.imm32(0);
    }

    // Floats. In a register that holds an f32 the next 32 bits are zero.

    pub(super) fn mov_xmm(&mut self, dst: Xmm, src: Xmm) {
        self.sse(None, false, &[0x0f, 0x28], dst.0, Rm::Reg(src.0));
    }

    /// 64 bits, zeroes above.
    pub(super) fn load_xmm(&mut self, dst: Xmm, mem: Mem) {
        self.sse(Some(0xf3), false, &[0x0f, 0x7e], dst.0, Rm::Mem(mem));
    }

    pub(super) fn load_float(&mut self, ty: Float, dst: Xmm, mem: Mem) {
        self.sse(Some(ty.scalar()), false, &[0x0f, 0x10], dst.0, Rm::Mem(mem));
    }

    /// 64 bits.
    pub(super) fn store_xmm(&mut self, mem: Mem, src: Xmm) {
        self.sse(Some(0x66), false, &[0x0f, 0xd6], src.0, Rm::Mem(mem));
    }

    pub(super) fn store_float(&mut self, ty: Float, mem: Mem, src: Xmm) {
        self.sse(Some(ty.scalar()), false, &[0x0f, 0x11], src.0, Rm::Mem(mem));
    }

    /// 128 bits, to any address.
    pub(super) fn store_xmm128(&mut self, mem: Mem, src: Xmm) {
        self.sse(None, false, &[0x0f, 0x11], src.0, Rm::Mem(mem));
    }

    /// 64 bits, zeroes above.
    pub(super) fn xmm_from_reg(&mut self, dst: Xmm, src: Reg) {
        self.sse(Some(0x66), true, &[0x0f, 0x6e], dst.0, Rm::Reg(src.0));
    }

    pub(super) fn reg_from_xmm(&mut self, dst: Reg, src: Xmm) {
        self.sse(Some(0x66), true, &[0x0f, 0x7e], src.0, Rm::Reg(dst.0));
    }

    pub(super) fn zero_xmm(&mut self, dst: Xmm) {
        self.sse(None, false, &[0x0f, 0x57], dst.0, Rm::Reg(dst.0));
    }

    pub(super) fn float(&mut self, op: FloatOp, ty: Float, dst: Xmm, src: Xmm) {
        self.sse(Some(ty.scalar()), false, &[0x0f, op as u8], dst.0, Rm::Reg(src.0));
    }

    /// Compares unordered: a NaN sets parity, carry and zero.
    pub(super) fn compare_floats(&mut self, ty: Float, a: Xmm, b: Xmm) {
        let prefix = (ty == Float::F64).then_some(0x66);
        self.sse(prefix, false, &[0x0f, 0x2e], a.0, Rm::Reg(b.0));
    }

    /// `roundss` or `roundsd` of SSE4.1, without the inexact exception.
    pub(super) fn round(&mut self, ty: Float, dst: Xmm, src: Xmm, mode: u8) {
        let opcode = if ty == Float::F64 { 0x0b } else { 0x0a };
        self.sse(Some(0x66), false, &[0x0f, 0x3a, opcode], dst.0, Rm::Reg(src.0));
        self.code.push(mode | 8);
    }

    /// From an integer. The bits above the result stay.
    pub(super) fn float_from_integer(&mut self, ty: Float, width: Width, dst: Xmm, src: Reg) {
        let wide = width == Width::W64;
        self.sse(Some(ty.scalar()), wide, &[0x0f, 0x2a], dst.0, Rm::Reg(src.0));
    }

    /// Towards zero; the least integer if it is out of range.
    pub(super) fn integer_from_float(&mut self, ty: Float, width: Width, dst: Reg, src: Xmm) {
        let wide = width == Width::W64;
        self.sse(Some(ty.scalar()), wide, &[0x0f, 0x2c], dst.0, Rm::Reg(src.0));
    }

    /// From the other float type. The bits above the result stay.
    pub(super) fn convert_float(&mut self, to: Float, dst: Xmm, src: Xmm) {
        let from = if to == Float::F64 { Float::F32 } else { Float::F64 };
        self.sse(Some(from.scalar()), false, &[0x0f, 0x5a], dst.0, Rm::Reg(src.0));
    }
}

impl Float {
    /// The prefix of scalar instructions.
    fn scalar(self) -> u8 {
        match self {
            Float::F32 => 0xf3,
            Float::F64 => 0xf2,
        }
    }
}
