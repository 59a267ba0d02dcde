//! Random changes of modules, the same in every run.

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }
}

/// Bytes that mean something at many places: limits of LEB128 numbers, types, section numbers.
const TELLING: [u8; 16] = [
    0x00, 0x01, 0x02, 0x0a, 0x0b, 0x40, 0x60, 0x6f, 0x70, 0x7c, 0x7f, 0x80, 0x81, 0xfc, 0xfd, 0xff,
];

/// `module` after a few random changes behind its header; `other` is where parts come from.
pub fn mutate(module: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = module.to_vec();
    // Mostly one change that keeps all lengths right, so that many mutants are valid.
    let changes = if random.below(2) == 0 { 1 } else { 1 + random.below(4) };
    for _ in 0..changes {
        let at = |bytes: &[u8], random: &mut Random| match bytes.len() {
            0..=8 => bytes.len(),
            len => 8 + random.below(len - 8),
        };
        let position = at(&bytes, random);
        if position == bytes.len() {
            bytes.push(random.word() as u8);
            continue;
        }
        match random.below(12) {
            0 | 7 | 8 => bytes[position] ^= 1 << random.below(8),
            1 | 9 => bytes[position] = random.word() as u8,
            2 | 10 | 11 => bytes[position] = TELLING[random.below(TELLING.len())],
            3 => bytes.insert(position, TELLING[random.below(TELLING.len())]),
            4 => {
                let end = (position + 1 + random.below(8)).min(bytes.len());
                bytes.drain(position..end);
            }
            5 => {
                let from = at(other, random);
                let end = (from + 1 + random.below(32)).min(other.len());
                bytes.splice(position..position, other[from..end].iter().copied());
            }
            _ => {
                let from = at(&bytes, random);
                let end = (from + 1 + random.below(32)).min(bytes.len());
                let part = bytes[from..end].to_vec();
                bytes.splice(position..position, part);
            }
        }
    }
    bytes
}
