//! Frame maps: for one call or poll site of one code object, where each value of the canonical
//! frame lies while the frame is suspended there.

/// Register class of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueClass {
    /// In a general register, 64 bits.
    Int,
    /// In a vector register.
    Float,
}

/// How a value is represented in a canonical frame, and in every other array of slots: arguments and results
/// outside machine code, what an interpreter works on, cells of globals.
///
/// # The canonical form of a slot
///
/// Every kind but `V128` takes one 64-bit slot; `V128` takes two, low half first. A value narrower than its slot
/// is zero-extended: whoever reads a slot may rely on its upper bits. In machine locations (registers and stack
/// slots) these are *undefined*, so they are lost wherever a value comes out of machine code, by [`ValueKind::canonical`] and nothing else: in a [`CallShape`](crate::CallShape) that reads
/// arguments or results, and where a frame's values are read by its map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ValueKind {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float, as its bits.
    F32,
    /// 64-bit float, as its bits.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference: 64 bits that a collector may have to update.
    Ref,
}

impl ValueKind {
    /// Number of 64-bit slots.
    pub const fn slots(self) -> usize {
        match self {
            ValueKind::V128 => 2,
            _ => 1,
        }
    }

    /// The canonical slot of a value that lay in a machine location with these bits; of a vector the first one.
    #[inline(always)]
    pub const fn canonical(self, bits: u64) -> u64 {
        match self {
            ValueKind::I32 | ValueKind::F32 => bits & 0xffff_ffff,
            _ => bits,
        }
    }

    /// Register class in calls.
    pub const fn class(self) -> ValueClass {
        match self {
            ValueKind::F32 | ValueKind::F64 | ValueKind::V128 => ValueClass::Float,
            _ => ValueClass::Int,
        }
    }
}

/// Where a value lies while its frame is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// Not live: nothing reads it again. Captured as zero.
    Dead,
    /// Known at compile time (low half for `V128`; the high half is then zero).
    Const(u64),
    /// A `V128` that is known at compile time, low half first.
    ConstVector([u64; 2]),
    /// General register, by hardware number.
    Gpr(u8),
    /// Vector register, by hardware number.
    Xmm(u8),
    /// Bytes above the stack pointer at the site, that is the stack pointer's value right after
    /// the call returned.
    Sp(u32),
    /// What the general register holds, plus a constant (wrapping).
    GprPlus(u8, i64),
    /// What lies at that stack offset, plus a constant (wrapping).
    SpPlus(u32, i64),
}

impl Location {
    /// Whether there is a value.
    pub fn is_kept(self) -> bool {
        self != Location::Dead
    }

    /// The location of the sum of the integer that lies here and a constant, if there is one.
    pub fn plus(self, addend: i64) -> Option<Location> {
        Some(match self {
            Location::Gpr(n) => Location::GprPlus(n, addend),
            Location::Sp(offset) => Location::SpPlus(offset, addend),
            _ => return None,
        })
    }
}

/// A value of the canonical frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameValue {
    /// Representation.
    pub kind: ValueKind,
    /// Location at the site.
    pub location: Location,
}

/// What a site is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteKind {
    /// An ordinary call: on return its results are in the return registers or the result buffer.
    Call,
    /// A poll in a cold block: it returns nothing and preserves every register.
    Poll,
}

/// The frame map of one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameMap {
    /// Call or poll.
    pub kind: SiteKind,
    /// The language's name for the place, e.g. a bytecode offset.
    pub point: u32,
    /// Where the context pointer lies.
    pub context: Location,
    /// The frame's values in the order that the language gave them.
    pub values: Box<[FrameValue]>,
}

/// A frame map without its values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameMapHead {
    pub(crate) kind: SiteKind,
    pub(crate) point: u32,
    pub(crate) context: Location,
}

/// The frame maps of one code object, encoded: a large function has hundreds of sites with hundreds of
/// values each, most of them read never.
///
/// A map is: site kind, point, context location, number of values, then the values. A value starts with a
/// byte `kind << 4 | location tag`, followed by the tag's payload as LEB128. Runs of dead values of one
/// kind are one value with a count.
#[derive(Clone, Debug, Default)]
pub struct FrameMapTable {
    /// Return offset, and where its map starts in `encoded`; sorted.
    sites: Vec<(u32, u32)>,
    encoded: Vec<u8>,
}

const DEAD: u8 = 0;
const CONST: u8 = 1;
const GPR: u8 = 2;
const XMM: u8 = 3;
const SP: u8 = 4;
const GPR_PLUS: u8 = 5;
const SP_PLUS: u8 = 6;
const CONST_VECTOR: u8 = 7;

const KINDS: [ValueKind; 6] = [
    ValueKind::I32,
    ValueKind::I64,
    ValueKind::F32,
    ValueKind::F64,
    ValueKind::V128,
    ValueKind::Ref,
];

impl FrameMapTable {
    /// Encodes the maps of these return offsets, in any order.
    pub fn new(maps: impl IntoIterator<Item = (u32, FrameMap)>) -> FrameMapTable {
        let mut table = FrameMapTable::default();
        for (offset, map) in maps {
            table.sites.push((offset, table.encoded.len() as u32));
            table.encode(&map);
        }
        table.sites.sort_unstable();
        table.sites.shrink_to_fit();
        table.encoded.shrink_to_fit();
        table
    }

    /// The map of the site that returns to this offset.
    pub fn get(&self, return_offset: u32) -> Option<FrameMap> {
        let (head, values) = self.read(return_offset)?;
        let FrameMapHead { kind, point, context } = head;
        let mut decoded = Vec::with_capacity(values.left);
        decoded.extend(values);
        Some(FrameMap { kind, point, context, values: decoded.into() })
    }

    /// The same, to be decoded as far as it is needed.
    pub(crate) fn read(&self, return_offset: u32) -> Option<(FrameMapHead, FrameValues<'_>)> {
        let i = self.sites.binary_search_by_key(&return_offset, |s| s.0).ok()?;
        let mut bytes = Decoder { bytes: &self.encoded[self.sites[i].1 as usize..] };
        let kind = if bytes.byte() == 0 { SiteKind::Call } else { SiteKind::Poll };
        let point = bytes.number() as u32;
        let context = bytes.value().location;
        let left = bytes.number() as usize;
        let dead = FrameValue { kind: ValueKind::I64, location: Location::Dead };
        Some((
            FrameMapHead { kind, point, context },
            FrameValues { bytes, left, run: 0, value: dead },
        ))
    }

    /// All sites' return offsets, ascending.
    pub fn return_offsets(&self) -> impl Iterator<Item = u32> + '_ {
        self.sites.iter().map(|s| s.0)
    }

    /// Memory that the table takes.
    pub fn bytes(&self) -> usize {
        self.sites.len() * 8 + self.encoded.len()
    }

    fn encode(&mut self, map: &FrameMap) {
        self.encoded.push(match map.kind {
            SiteKind::Call => 0,
            SiteKind::Poll => 1,
        });
        self.put(u64::from(map.point));
        self.put_value(ValueKind::I64, map.context);
        self.put(map.values.len() as u64);
        let mut rest = &map.values[..];
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|v| *v == first).count();
            if first.location == Location::Dead {
                self.put_value(first.kind, first.location);
                self.put(run as u64);
                rest = &rest[run..];
            } else {
                self.put_value(first.kind, first.location);
                rest = &rest[1..];
            }
        }
    }

    fn put_value(&mut self, kind: ValueKind, location: Location) {
        let kind = KINDS.iter().position(|k| *k == kind).expect("every kind is listed") as u8;
        let (tag, payload, addend) = match location {
            Location::Dead => (DEAD, None, None),
            Location::Const(bits) => (CONST, Some(bits), None),
            Location::ConstVector([low, high]) => (CONST_VECTOR, Some(low), Some(high as i64)),
            Location::Gpr(n) => (GPR, Some(u64::from(n)), None),
            Location::Xmm(n) => (XMM, Some(u64::from(n)), None),
            Location::Sp(offset) => (SP, Some(u64::from(offset)), None),
            Location::GprPlus(n, addend) => (GPR_PLUS, Some(u64::from(n)), Some(addend)),
            Location::SpPlus(offset, addend) => (SP_PLUS, Some(u64::from(offset)), Some(addend)),
        };
        self.encoded.push(kind << 4 | tag);
        if let Some(payload) = payload {
            self.put(payload);
        }
        if let Some(addend) = addend {
            // Small ones of either sign are short: the sign goes into the lowest bit.
            self.put((addend << 1 ^ addend >> 63) as u64);
        }
    }

    fn put(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.encoded.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.encoded.push(value as u8);
    }
}

/// The values of an encoded frame map.
#[derive(Clone)]
pub(crate) struct FrameValues<'a> {
    bytes: Decoder<'a>,
    /// How many are left.
    left: usize,
    /// So many of these are equal to `value`.
    run: usize,
    value: FrameValue,
}

impl Iterator for FrameValues<'_> {
    type Item = FrameValue;

    fn next(&mut self) -> Option<FrameValue> {
        self.left = self.left.checked_sub(1)?;
        if self.run == 0 {
            self.value = self.bytes.value();
            let is_run = self.value.location == Location::Dead;
            self.run = if is_run { self.bytes.number() as usize } else { 1 };
        }
        self.run -= 1;
        Some(self.value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for FrameValues<'_> {}

#[derive(Clone)]
struct Decoder<'a> {
    bytes: &'a [u8],
}

impl Decoder<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().expect("the encoder wrote whole maps");
        self.bytes = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    fn addend(&mut self) -> i64 {
        let bits = self.number();
        (bits >> 1) as i64 ^ -((bits & 1) as i64)
    }

    fn value(&mut self) -> FrameValue {
        let byte = self.byte();
        let kind = KINDS[usize::from(byte >> 4)];
        let location = match byte & 0xf {
            DEAD => Location::Dead,
            CONST => Location::Const(self.number()),
            CONST_VECTOR => Location::ConstVector([self.number(), self.addend() as u64]),
            GPR => Location::Gpr(self.number() as u8),
            XMM => Location::Xmm(self.number() as u8),
            SP => Location::Sp(self.number() as u32),
            GPR_PLUS => Location::GprPlus(self.number() as u8, self.addend()),
            _ => Location::SpPlus(self.number() as u32, self.addend()),
        };
        FrameValue { kind, location }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn location() -> impl Strategy<Value = Location> {
        prop_oneof![
            3 => Just(Location::Dead),
            1 => any::<u64>().prop_map(Location::Const),
            1 => any::<[u64; 2]>().prop_map(Location::ConstVector),
            1 => (0u8..16).prop_map(Location::Gpr),
            1 => (0u8..16).prop_map(Location::Xmm),
            2 => any::<u32>().prop_map(Location::Sp),
            1 => (0u8..16, any::<i64>()).prop_map(|(n, addend)| Location::GprPlus(n, addend)),
            1 => (any::<u32>(), any::<i64>()).prop_map(|(at, addend)| Location::SpPlus(at, addend)),
        ]
    }

    fn map() -> impl Strategy<Value = FrameMap> {
        let value = (0usize..KINDS.len(), location())
            .prop_map(|(kind, location)| FrameValue { kind: KINDS[kind], location });
        (any::<bool>(), any::<u32>(), location(), proptest::collection::vec(value, 0..40)).prop_map(
            |(call, point, context, values)| FrameMap {
                kind: if call { SiteKind::Call } else { SiteKind::Poll },
                point,
                context: if context == Location::Dead { Location::Gpr(3) } else { context },
                values: values.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn encoded_maps_decode_to_themselves(
            maps in proptest::collection::btree_map(any::<u32>(), map(), 0..8)
        ) {
            let table = FrameMapTable::new(maps.clone().into_iter().rev());
            for (offset, map) in &maps {
                prop_assert_eq!(table.get(*offset), Some(map.clone()));
            }
            prop_assert_eq!(table.return_offsets().collect::<Vec<_>>(), maps.into_keys().collect::<Vec<_>>());
        }
    }
}
