//! The MessagePack values the host gives: an optional byte vector, and a state proof.
//!
//! `nil` is none; bytes are `bin 8`, `bin 16` or `bin 32`, the shortest that fits. Writers that treat a byte vector as
//! a list of numbers give an array of unsigned integers: that is read too.
//!
//! A struct is its fields one after the other, a hash its 32 numbers without a header.

use alloc::vec::Vec;
use coprocessor_types::{DomainId, StateProof};

/// `None` when the bytes are not one optional byte vector and nothing else.
pub(crate) fn read_optional_bytes(packed: &[u8]) -> Option<Option<Vec<u8>>> {
    let (tag, rest) = packed.split_first()?;
    match tag {
        0xc0 => rest.is_empty().then_some(None),
        0xc4 => exact(length::<1>(rest)?).map(Some),
        0xc5 => exact(length::<2>(rest)?).map(Some),
        0xc6 => exact(length::<4>(rest)?).map(Some),
        0x90..=0x9f => numbers((usize::from(tag & 0x0f), rest)).map(Some),
        0xdc => numbers(length::<2>(rest)?).map(Some),
        0xdd => numbers(length::<4>(rest)?).map(Some),
        _ => None,
    }
}

/// `None` when the bytes are not one state proof and nothing else.
pub(crate) fn read_state_proof(mut packed: &[u8]) -> Option<StateProof> {
    let rest = &mut packed;
    let proof = StateProof {
        domain: DomainId(hash(rest)?),
        number: number(rest)?,
        state_root: hash(rest)?,
        payload: bin(rest)?,
        proof: bin(rest)?,
    };
    rest.is_empty().then_some(proof)
}

fn hash(rest: &mut &[u8]) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for byte in &mut hash {
        *byte = number(rest)?.try_into().ok()?;
    }
    Some(hash)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let [tag] = array(rest)?;
    match tag {
        0..=0x7f => Some(tag.into()),
        0xcc => array::<1>(rest).map(|bytes| bytes[0].into()),
        0xcd => array(rest).map(|bytes| u16::from_be_bytes(bytes).into()),
        0xce => array(rest).map(|bytes| u32::from_be_bytes(bytes).into()),
        0xcf => array(rest).map(u64::from_be_bytes),
        _ => None,
    }
}

fn bin(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let [tag] = array(rest)?;
    let (length, after) = match tag {
        0xc4 => length::<1>(rest),
        0xc5 => length::<2>(rest),
        0xc6 => length::<4>(rest),
        _ => None,
    }?;
    let (bytes, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(bytes.to_vec())
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn length<const N: usize>(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<N>()?;
    let length = length.iter().fold(0, |length: u32, byte| length << 8 | u32::from(*byte));
    Some((length as usize, rest))
}

fn exact((length, bytes): (usize, &[u8])) -> Option<Vec<u8>> {
    (bytes.len() == length).then(|| bytes.to_vec())
}

fn numbers((count, mut bytes): (usize, &[u8])) -> Option<Vec<u8>> {
    // Each number takes a byte at least, so a large count in short bytes allocates nothing.
    if count > bytes.len() {
        return None;
    }
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, rest) = match bytes {
            [number @ 0..=0x7f, rest @ ..] | [0xcc, number, rest @ ..] => (*number, rest),
            _ => return None,
        };
        numbers.push(number);
        bytes = rest;
    }
    bytes.is_empty().then_some(numbers)
}

/// Writes as the host does.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn write_optional_bytes(bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else { return alloc::vec![0xc0] };
    let mut packed = Vec::with_capacity(bytes.len() + 5);
    match bytes.len() {
        len @ 0..=0xff => packed.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => {
            packed.push(0xc5);
            packed.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            packed.push(0xc6);
            packed.extend_from_slice(&u32::try_from(len).expect("a file is below 4 GiB").to_be_bytes());
        }
    }
    packed.extend_from_slice(bytes);
    packed
}

/// Writes as the host does.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn write_state_proof(proof: &StateProof) -> Vec<u8> {
    let mut packed = Vec::new();
    let hash = |packed: &mut Vec<u8>, hash: &[u8; 32]| {
        for byte in hash {
            match byte {
                0..=0x7f => packed.push(*byte),
                _ => packed.extend([0xcc, *byte]),
            }
        }
    };
    hash(&mut packed, &proof.domain.0);
    match proof.number {
        number @ 0..=0x7f => packed.push(number as u8),
        number @ 0x80..=0xff => packed.extend([0xcc, number as u8]),
        number @ 0x100..=0xffff => {
            packed.push(0xcd);
            packed.extend((number as u16).to_be_bytes());
        }
        number @ 0x1_0000..=0xffff_ffff => {
            packed.push(0xce);
            packed.extend((number as u32).to_be_bytes());
        }
        number => {
            packed.push(0xcf);
            packed.extend(number.to_be_bytes());
        }
    }
    hash(&mut packed, &proof.state_root);
    packed.extend(write_optional_bytes(Some(&proof.payload)));
    packed.extend(write_optional_bytes(Some(&proof.proof)));
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// As `msgpacker` 0.4 packs an `Option<Vec<u8>>`.
    #[test]
    fn fixtures_hold_the_format() {
        let fixtures: [(Option<Vec<u8>>, Vec<u8>); 5] = [
            (None, vec![0xc0]),
            (Some(vec![]), vec![0xc4, 0]),
            (Some(vec![1, 2, 255]), vec![0xc4, 3, 1, 2, 255]),
            (Some(vec![7; 256]), [&[0xc5, 1, 0][..], &[7; 256]].concat()),
            (Some(vec![7; 65536]), [&[0xc6, 0, 1, 0, 0][..], &[7; 65536]].concat()),
        ];
        for (value, packed) in fixtures {
            assert_eq!(write_optional_bytes(value.as_deref()), packed);
            assert_eq!(read_optional_bytes(&packed), Some(value));
            assert_eq!(read_optional_bytes(&packed[..packed.len() - 1]), None, "truncated");
            assert_eq!(read_optional_bytes(&[&packed[..], &[0]].concat()), None, "extended");
        }
    }

    /// As `msgpacker` 0.4 packs the struct.
    #[test]
    fn state_proofs_are_their_fields_one_after_the_other() {
        let proof = |number| StateProof {
            domain: DomainId([0x7f; 32]),
            number,
            state_root: [0x80; 32],
            payload: vec![1],
            proof: vec![2, 3],
        };
        let fixture = [&[0x7f; 32][..], &[5], &[0xcc, 0x80].repeat(32), &[0xc4, 1, 1, 0xc4, 2, 2, 3]].concat();
        assert_eq!(write_state_proof(&proof(5)), fixture);
        for number in [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let packed = write_state_proof(&proof(number));
            assert_eq!(read_state_proof(&packed), Some(proof(number)));
            assert_eq!(read_state_proof(&[&packed[..], &[0]].concat()), None, "extended");
            assert!((0..packed.len()).all(|cut| read_state_proof(&packed[..cut]).is_none()), "truncated");
        }
        assert_eq!(read_state_proof(&[&[0xcd, 1, 0][..], &fixture[1..]].concat()), None, "256 is no byte");
    }

    #[test]
    fn a_list_of_numbers_is_read_as_bytes() {
        assert_eq!(read_optional_bytes(&[0x93, 1, 0xcc, 200, 0x7f]), Some(Some(vec![1, 200, 127])));
        assert_eq!(read_optional_bytes(&[0xdc, 0, 1, 5]), Some(Some(vec![5])));
        assert_eq!(read_optional_bytes(&[0xdd, 0, 0, 0, 1, 5]), Some(Some(vec![5])));
        for bad in [&[0x91][..], &[0x91, 0xff], &[0x91, 1, 2], &[0xdd, 255, 255, 255, 255, 1], &[0xa1, b'x'], &[]] {
            assert_eq!(read_optional_bytes(bad), None, "{bad:?}");
        }
    }
}
