//! The MessagePack values the host gives: an optional byte vector, state proofs, blocks, and what shows them.
//!
//! `nil` is none; bytes are `bin 8`, `bin 16` or `bin 32`, the shortest that fits. Writers that treat a byte vector as
//! a list of numbers give an array of unsigned integers: that is read too.
//!
//! A struct is its fields one after the other, a hash its 32 numbers without a header.

use crate::host::{Block, RootUpdate};
use alloc::vec::Vec;
use coprocessor_types::{BlockOpening, DomainId, Root, StateProof, TrustId};

const NIL: u8 = 0xc0;

/// `None` when the bytes are not one optional byte vector and nothing else.
pub(crate) fn read_optional_bytes(packed: &[u8]) -> Option<Option<Vec<u8>>> {
    let (tag, rest) = packed.split_first()?;
    match tag {
        &NIL => rest.is_empty().then_some(None),
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

/// `None` when the bytes are not one optional block and nothing else.
pub(crate) fn read_latest_block(mut packed: &[u8]) -> Option<Option<Block>> {
    if packed == [NIL] {
        return Some(None);
    }
    let rest = &mut packed;
    let block = block(rest)?;
    rest.is_empty().then_some(Some(block))
}

/// A list of the domain's tree and the root tree, each its key and its siblings; then the trust. `None` for anything else.
pub(crate) fn read_block_proof(mut packed: &[u8]) -> Option<BlockOpening> {
    let rest = &mut packed;
    if array_length(rest)? != 2 {
        return None;
    }
    // The keys follow from what was asked for.
    let _: [u8; 32] = hash(rest)?;
    let domain_siblings = siblings(rest)?;
    let _: [u8; 32] = hash(rest)?;
    let root_siblings = siblings(rest)?;
    let trust = TrustId(hash(rest)?);
    rest.is_empty().then_some(BlockOpening { trust, domain_siblings, root_siblings })
}

/// `None` when the bytes are not one optional update and nothing else.
pub(crate) fn read_root_update(mut packed: &[u8]) -> Option<Option<RootUpdate>> {
    if packed == [NIL] {
        return Some(None);
    }
    let rest = &mut packed;
    let (id, root, previous) = (hash(rest)?, Root(hash(rest)?), Root(hash(rest)?));
    let update = RootUpdate { id, root, previous, block: block(rest)?, trust: TrustId(hash(rest)?) };
    rest.is_empty().then_some(Some(update))
}

fn block(rest: &mut &[u8]) -> Option<Block> {
    Some(Block { domain: DomainId(hash(rest)?), number: number(rest)?, state_root: hash(rest)?, payload: bin(rest)? })
}

fn siblings(rest: &mut &[u8]) -> Option<Vec<Root>> {
    let count = array_length(rest)?;
    // Each takes 32 bytes at least, so a large count in short bytes allocates nothing.
    if count > rest.len() / 32 {
        return None;
    }
    (0..count).map(|_| hash(rest).map(Root)).collect()
}

fn array_length(rest: &mut &[u8]) -> Option<usize> {
    let [tag] = array(rest)?;
    match tag {
        0x90..=0x9f => Some(usize::from(tag & 0x0f)),
        0xdc => array(rest).map(|bytes| u16::from_be_bytes(bytes).into()),
        _ => None,
    }
}

/// As many numbers as there are bytes in it.
fn hash<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let mut hash = [0; N];
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
    let Some(bytes) = bytes else { return alloc::vec![NIL] };
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
    let StateProof { domain, number, state_root, payload, proof } = proof;
    let mut packed = Vec::new();
    write_fields(&mut packed, domain, *number, state_root, payload);
    packed.extend(write_optional_bytes(Some(proof)));
    packed
}

/// Writes as the host does.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn write_latest_block(block: Option<&Block>) -> Vec<u8> {
    let Some(Block { domain, number, state_root, payload }) = block else { return alloc::vec![NIL] };
    let mut packed = Vec::new();
    write_fields(&mut packed, domain, *number, state_root, payload);
    packed
}

/// Writes as the host does, with keys that nobody reads.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn write_block_proof(opening: &BlockOpening) -> Vec<u8> {
    let mut packed = alloc::vec![0x92];
    for siblings in [&opening.domain_siblings, &opening.root_siblings] {
        write_hash(&mut packed, &[0; 32]);
        packed.push(0xdc);
        packed.extend(u16::try_from(siblings.len()).expect("a tree is at most 256 deep").to_be_bytes());
        siblings.iter().for_each(|sibling| write_hash(&mut packed, &sibling.0));
    }
    write_hash(&mut packed, &opening.trust.0);
    packed
}

/// Writes as the host does.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn write_root_update(update: Option<&RootUpdate>) -> Vec<u8> {
    let Some(update) = update else { return alloc::vec![NIL] };
    let mut packed = Vec::new();
    write_hash(&mut packed, &update.id);
    write_hash(&mut packed, &update.root.0);
    write_hash(&mut packed, &update.previous.0);
    packed.extend(write_latest_block(Some(&update.block)));
    write_hash(&mut packed, &update.trust.0);
    packed
}

#[cfg(any(test, feature = "testing"))]
fn write_fields(packed: &mut Vec<u8>, domain: &DomainId, number: u64, state_root: &[u8; 32], payload: &[u8]) {
    write_hash(packed, &domain.0);
    match number {
        0..=0x7f => packed.push(number as u8),
        0x80..=0xff => packed.extend([0xcc, number as u8]),
        0x100..=0xffff => {
            packed.push(0xcd);
            packed.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            packed.push(0xce);
            packed.extend((number as u32).to_be_bytes());
        }
        number => {
            packed.push(0xcf);
            packed.extend(number.to_be_bytes());
        }
    }
    write_hash(packed, state_root);
    packed.extend(write_optional_bytes(Some(payload)));
}

#[cfg(any(test, feature = "testing"))]
fn write_hash(packed: &mut Vec<u8>, hash: &[u8]) {
    for byte in hash {
        match byte {
            0..=0x7f => packed.push(*byte),
            _ => packed.extend([0xcc, *byte]),
        }
    }
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

    fn block(number: u64) -> Block {
        Block { domain: DomainId([0x7f; 32]), number, state_root: [0x80; 32], payload: vec![1] }
    }

    #[test]
    fn blocks_and_updates_are_their_fields_one_after_the_other() {
        let fields = [&[0x7f; 32][..], &[5], &[0xcc, 0x80].repeat(32), &[0xc4, 1, 1]].concat();
        assert_eq!(write_latest_block(Some(&block(5))), fields);
        let update = RootUpdate {
            id: [0x81; 16],
            root: Root([4; 32]),
            previous: Root([5; 32]),
            block: block(5),
            trust: TrustId([6; 32]),
        };
        let fixture = [&[0xcc, 0x81].repeat(16)[..], &[4; 32], &[5; 32], &fields, &[6; 32]].concat();
        assert_eq!(write_root_update(Some(&update)), fixture);
        assert_eq!(read_latest_block(&fields), Some(Some(block(5))));
        assert_eq!(read_root_update(&fixture), Some(Some(update)));
        assert_eq!((read_latest_block(&[NIL]), read_root_update(&[NIL])), (Some(None), Some(None)));
        assert_eq!(read_latest_block(&[&fields[..], &[0]].concat()), None, "extended");
        assert_eq!(read_root_update(&[&fixture[..], &[0]].concat()), None, "extended");
        assert!((0..fields.len()).all(|cut| read_latest_block(&fields[..cut]).is_none()), "truncated");
        assert!((0..fixture.len()).all(|cut| read_root_update(&fixture[..cut]).is_none()), "truncated");
    }

    #[test]
    fn block_proofs_are_a_list_of_two_trees_and_the_trust() {
        let siblings = |count: u8| (0..count).map(|index| Root([index; 32])).collect::<Vec<_>>();
        let opening = |in_domain, in_root| BlockOpening {
            trust: TrustId([0xff; 32]),
            domain_siblings: siblings(in_domain),
            root_siblings: siblings(in_root),
        };
        // With the short header that the host writes for short lists.
        let fixture = [&[0x92][..], &[1; 32], &[0x91], &[0; 32], &[2; 32], &[0x90], &[0xcc, 0xff].repeat(32)].concat();
        assert_eq!(read_block_proof(&fixture), Some(opening(1, 0)));
        for (in_domain, in_root) in [(0, 0), (64, 255), (15, 16)] {
            let packed = write_block_proof(&opening(in_domain, in_root));
            assert_eq!(read_block_proof(&packed), Some(opening(in_domain, in_root)));
            assert_eq!(read_block_proof(&[&packed[..], &[0]].concat()), None, "extended");
            assert!((0..packed.len()).all(|cut| read_block_proof(&packed[..cut]).is_none()), "truncated");
        }
        for (at, bad) in [(0, 0x91), (0, 0x93), (33, 0xdd), (33, 0x9f)] {
            let mut other = fixture.clone();
            other[at] = bad;
            assert_eq!(read_block_proof(&other), None);
        }
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
