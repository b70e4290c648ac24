//! The proof as a controller of Valence v0.4 receives it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// base64 of the MessagePack of `{proof, inputs}`, both base64 strings, as the crate `msgpacker` 0.4 packs that struct: the
/// two strings one after the other, without a map or array around them.
pub(crate) fn encode(proof: &[u8], inputs: &[u8]) -> String {
    let mut packed = Vec::new();
    for bytes in [proof, inputs] {
        let text = STANDARD.encode(bytes);
        rmp::encode::write_str(&mut packed, &text).expect("a Vec takes every write");
    }
    STANDARD.encode(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_holds_the_format() {
        let packed = STANDARD.decode(encode(&[1, 2, 3], &[4])).unwrap();
        assert_eq!(packed, [&[0xa4][..], b"AQID", &[0xa4], b"BA=="].concat());
    }

    #[test]
    fn a_long_proof_has_a_32_bit_length() {
        let packed = STANDARD.decode(encode(&vec![0; 60_000], &[])).unwrap();
        assert_eq!(packed[..5], [0xdb, 0, 1, 0x38, 0x80]);
        assert_eq!(packed.len(), 5 + 80_000 + 1);
    }
}
