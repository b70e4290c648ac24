//! MessagePack as Valence v0.4's controllers unpack it: a struct is its fields one after the other, an array of known
//! length its items without a header, an absent option nil.
//!
//! Those controllers look at no bytes after what they unpack. Where our tree needs more than v0.4 had a field for, it
//! comes there.

use crate::abi::Code;
use crate::network::{BlockProof, LatestBlock, RootUpdate};
use coprocessor_types::{Root, StateProof, TrustId};
use rmp::encode::{write_array_len, write_bin, write_uint};

/// An optional `{domain, number, root, payload}`.
pub(super) fn latest_block(block: Option<&LatestBlock>) -> Result<Vec<u8>, Code> {
    let Some(block) = block else { return Ok(nil()) };
    let mut packed = Vec::with_capacity(block.payload.len() + 160);
    write_block(&mut packed, block)?;
    Ok(packed)
}

/// `{domain, number, state_root, payload, proof}`.
pub(super) fn state_proof(proof: &StateProof) -> Result<Vec<u8>, Code> {
    let StateProof { domain, number, state_root, payload, proof } = proof;
    let mut packed = Vec::with_capacity(payload.len() + proof.len() + 160);
    write_bytes(&mut packed, &domain.0)?;
    write_uint(&mut packed, *number).map_err(|_| Code::Serialization)?;
    write_bytes(&mut packed, state_root)?;
    write_bin(&mut packed, payload).map_err(|_| Code::Serialization)?;
    write_bin(&mut packed, proof).map_err(|_| Code::Serialization)?;
    Ok(packed)
}

/// `{trees: [{key, opening: {path}}]}`, the domain's tree before the root tree; then the block's trust.
///
/// v0.4's leaves were state roots and its keys block numbers from the most significant bit on. Ours are what
/// `docs/ARCHITECTURE.md` says, so the path leads to the root from the block's value, which holds its trust.
pub(super) fn block_proof(proof: &BlockProof) -> Result<Vec<u8>, Code> {
    let BlockProof { block_key, domain_key, opening } = proof;
    let mut packed = Vec::with_capacity(48 * (opening.domain_siblings.len() + opening.root_siblings.len() + 4));
    let trees = [(block_key, &opening.domain_siblings), (domain_key, &opening.root_siblings)];
    write_len(&mut packed, trees.len())?;
    for (key, siblings) in trees {
        write_bytes(&mut packed, key)?;
        write_roots(&mut packed, siblings)?;
    }
    write_trust(&mut packed, &opening.trust)?;
    Ok(packed)
}

/// An optional `{uuid, root, previous, block: {domain, number, root, payload}}`; then the block's trust, if there is one.
pub(super) fn root_update(update: Option<&RootUpdate>) -> Result<Vec<u8>, Code> {
    let Some(RootUpdate { id, root, previous, block, trust }) = update else { return Ok(nil()) };
    let mut packed = Vec::with_capacity(block.payload.len() + 320);
    write_bytes(&mut packed, id)?;
    write_bytes(&mut packed, &root.0)?;
    write_bytes(&mut packed, &previous.0)?;
    write_block(&mut packed, block)?;
    write_trust(&mut packed, trust)?;
    Ok(packed)
}

fn nil() -> Vec<u8> {
    vec![rmp::Marker::Null.to_u8()]
}

fn write_block(packed: &mut Vec<u8>, block: &LatestBlock) -> Result<(), Code> {
    let LatestBlock { domain, number, state_root, payload } = block;
    write_bytes(packed, &domain.0)?;
    write_uint(packed, *number).map_err(|_| Code::Serialization)?;
    write_bytes(packed, state_root)?;
    write_bin(packed, payload).map_err(|_| Code::Serialization)
}

fn write_roots(packed: &mut Vec<u8>, roots: &[Root]) -> Result<(), Code> {
    write_len(packed, roots.len())?;
    roots.iter().try_for_each(|root| write_bytes(packed, &root.0))
}

fn write_trust(packed: &mut Vec<u8>, trust: &TrustId) -> Result<(), Code> {
    write_bytes(packed, &trust.0)
}

fn write_len(packed: &mut Vec<u8>, len: usize) -> Result<(), Code> {
    let len = u32::try_from(len).map_err(|_| Code::Serialization)?;
    write_array_len(packed, len).map(drop).map_err(|_| Code::Serialization)
}

/// An array of known length is its numbers, without a header.
fn write_bytes(packed: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Code> {
    bytes.iter().try_for_each(|byte| write_uint(packed, (*byte).into()).map(drop)).map_err(|_| Code::Serialization)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_types::{BlockOpening, DomainId};
    use msgpacker::{Packable, Unpackable as _};

    const DOMAIN: [u8; 32] = [0x7f; 32];
    const STATE_ROOT: [u8; 32] = [0x80; 32];

    fn block(number: u64, payload: Vec<u8>) -> LatestBlock {
        LatestBlock { domain: DomainId(DOMAIN), number, state_root: STATE_ROOT, payload }
    }

    fn fields(number: u64, payload: &Vec<u8>) -> Vec<u8> {
        [DOMAIN.pack_to_vec(), number.pack_to_vec(), STATE_ROOT.pack_to_vec(), payload.pack_to_vec()].concat()
    }

    #[test]
    fn blocks_and_proofs_are_packed_as_controllers_unpack() {
        for number in [0_u64, 127, 128, 255, 256, 70_000, u64::MAX] {
            for payload in [vec![], vec![1; 300]] {
                let fields = fields(number, &payload);
                assert_eq!(latest_block(Some(&block(number, payload.clone()))).unwrap(), fields);
                let (domain, state_root, proof) = (DomainId(DOMAIN), STATE_ROOT, vec![2, 3]);
                let proof = StateProof { domain, number, state_root, payload, proof };
                assert_eq!(state_proof(&proof).unwrap(), [fields, vec![0xc4, 2, 2, 3]].concat());
            }
        }
        assert_eq!(latest_block(None).unwrap(), [0xc0]);
    }

    #[test]
    fn a_block_proof_is_a_list_of_trees_and_the_trust() {
        let siblings = |count: u8| (0..count).map(|index| Root([index; 32])).collect::<Vec<_>>();
        for (in_domain, in_root) in [(0, 0), (1, 3), (15, 16), (64, 255)] {
            let opening = BlockOpening {
                trust: TrustId([9; 32]),
                domain_siblings: siblings(in_domain),
                root_siblings: siblings(in_root),
            };
            let packed = block_proof(&BlockProof { block_key: [1; 32], domain_key: DOMAIN, opening }).unwrap();
            let mut expected = vec![0x92];
            for (key, count) in [([1; 32], in_domain), (DOMAIN, in_root)] {
                key.pack(&mut expected);
                msgpacker::pack_array(&mut expected, siblings(count).iter().map(|root| root.0));
            }
            // Beyond what v0.4 unpacks.
            [9_u8; 32].pack(&mut expected);
            assert_eq!(packed, expected);
        }
    }

    #[test]
    fn an_update_is_its_names_the_block_and_the_trust() {
        let update = RootUpdate {
            id: [0x81; 16],
            root: Root([4; 32]),
            previous: Root([5; 32]),
            block: block(300, vec![1]),
            trust: TrustId([6; 32]),
        };
        let names = [[0x81_u8; 16].pack_to_vec(), [4_u8; 32].pack_to_vec(), [5_u8; 32].pack_to_vec()].concat();
        let expected = [names, fields(300, &vec![1]), [6_u8; 32].pack_to_vec()].concat();
        assert_eq!(root_update(Some(&update)).unwrap(), expected);
        assert_eq!(root_update(None).unwrap(), [0xc0]);
    }

    #[test]
    fn what_follows_is_nothing_to_those_who_unpack() {
        let packed = latest_block(Some(&block(1, vec![2]))).unwrap();
        let more = [packed.clone(), [6_u8; 32].pack_to_vec()].concat();
        let (read, domain) = <[u8; 32]>::unpack(&more).unwrap();
        assert_eq!((domain, u64::unpack(&more[read..]).unwrap().1), (DOMAIN, 1));
    }
}
