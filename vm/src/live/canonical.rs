//! Operators in one form.
//!
//! Linkers leave room in indices, addresses and constants, which are longer than they have to be; bodies of updates are
//! encoded afresh. Whether two operators are the same must not depend on it.

use wasm_encoder::Encode as _;
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasmparser::Operator;

/// The shortest encoding of an operator that was read from `bytes`. `buffer` is overwritten.
pub(super) fn shortest<'a>(
    operator: &Operator<'_>,
    bytes: &'a [u8],
    buffer: &'a mut Vec<u8>,
) -> &'a [u8] {
    if bytes.len() == 1 {
        return bytes;
    }
    buffer.clear();
    match RoundtripReencoder.instruction(operator.clone()) {
        Ok(instruction) => {
            instruction.encode(buffer);
            buffer
        }
        // What cannot be encoded is only itself.
        Err(_) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{BinaryReader, OperatorsReader};

    fn shortest_of(bytes: &[u8]) -> Vec<u8> {
        let operator = OperatorsReader::new(BinaryReader::new(bytes, 0)).read().unwrap();
        shortest(&operator, bytes, &mut Vec::new()).to_vec()
    }

    #[test]
    fn what_is_longer_than_it_has_to_be_is_shortened() {
        // global.get 0, i32.const -1, i32.load offset=8, drop
        assert_eq!(shortest_of(&[0x23, 0x80, 0x80, 0x80, 0x80, 0x00]), [0x23, 0]);
        assert_eq!(shortest_of(&[0x41, 0xff, 0xff, 0xff, 0xff, 0x7f]), [0x41, 0x7f]);
        assert_eq!(shortest_of(&[0x28, 2, 0x88, 0x80, 0x00]), [0x28, 2, 8]);
        assert_eq!(shortest_of(&[0x1a]), [0x1a]);
    }
}
