//! Bytes that are to be written into a memory, later ones over earlier ones.

use std::collections::BTreeMap;

/// Bytes by address. However often a place is written, it is kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patches {
    /// No two pieces overlap or touch.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Patches {
    /// Writes bytes over what is there.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = address.saturating_add(bytes.len() as u64);
        let before = self.pieces.range_mut(..=address).next_back();
        let touching = before.filter(|(start, piece)| *start + piece.len() as u64 >= address);
        let start = match touching {
            Some((&start, piece)) => {
                let at = (address - start) as usize;
                let over = bytes.len().min(piece.len() - at);
                piece[at..at + over].copy_from_slice(&bytes[..over]);
                piece.extend_from_slice(&bytes[over..]);
                start
            }
            None => {
                self.pieces.insert(address, bytes.to_vec());
                address
            }
        };
        // Pieces that this one has come to overlap or touch become parts of it. It ends at `end`: had it ended
        // behind that, it would have touched them before.
        while let Some((&next, _)) = self.pieces.range(start + 1..=end).next() {
            let piece = self.pieces.remove(&next).unwrap_or_default();
            let rest = piece.get((end - next) as usize..).unwrap_or_default();
            self.pieces.entry(start).or_default().extend_from_slice(rest);
        }
    }

    /// The pieces in the order of their addresses.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces.iter().map(|(address, piece)| (*address, &**piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_what_a_memory_would_hold() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let (mut patches, mut memory) = (Patches::default(), [None; 64]);
            for _ in 0..20 {
                let address = random(56);
                let bytes: Vec<u8> = (0..random(9)).map(|_| random(256) as u8).collect();
                patches.write(address, &bytes);
                for (place, byte) in memory[address as usize..].iter_mut().zip(&bytes) {
                    *place = Some(*byte);
                }
            }
            let mut found = [None; 64];
            let mut free = 0;
            for (address, piece) in patches.pieces() {
                assert!(address >= free, "pieces overlap or touch");
                free = address + piece.len() as u64 + 1;
                for (place, byte) in found[address as usize..].iter_mut().zip(piece) {
                    *place = Some(*byte);
                }
            }
            assert_eq!(found, memory);
        }
    }
}
