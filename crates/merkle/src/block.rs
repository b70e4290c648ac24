//! Blocks and the instance, at a coprocessor root.

use crate::Value;
use crate::{
    hash::{block_key, block_value, domain_key, domain_value, instance_key, leaf_hash},
    opening::{DOMAIN_DEPTH, OpeningError, ROOT_DEPTH, opened_root},
};
use coprocessor_types::{BlockOpening, InstanceId, Root, StateProof};

/// Checks that `root` commits to the block `proof` names: its domain, number, state root and payload, and the trust the
/// opening names.
///
/// `proof.proof`, the domain's own proof of a state under the state root, is not looked at: that is for the circuit.
///
/// An attacker who chooses both arguments but not the root cannot pass off a block under another number or domain, with
/// another state root or payload, or with a trust it was not accepted with; neither can he pass off an inner node or the
/// instance's own leaf as a block or a domain. Sizes are bounded by the depths of the trees, not by the opening.
///
/// # Errors
/// See [`OpeningError`].
pub fn verify_block(root: &Root, proof: &StateProof, opening: &BlockOpening) -> Result<(), OpeningError> {
    let value = block_value(proof.number, &proof.state_root, &proof.payload, &opening.trust);
    let domain_root = opened_root(&block_key(proof.number), &value, &opening.domain_siblings, DOMAIN_DEPTH)?;
    let key = domain_key(&proof.domain);
    // Whoever draws an instance's identity may draw `domain_value(r)` for an r of his own making.
    if key == instance_key() {
        return Err(OpeningError::InstancePlace);
    }
    let got = opened_root(&key, &domain_value(&domain_root), &opening.root_siblings, ROOT_DEPTH)?;
    expect_root(root, got)
}

/// Checks that `root` is a root of `instance`. `siblings` lead from the instance's leaf up.
///
/// An attacker who chooses the siblings cannot show another instance for a root that was built by the rules.
///
/// # Errors
/// See [`OpeningError`].
pub fn verify_instance(root: &Root, instance: &InstanceId, siblings: &[Root]) -> Result<(), OpeningError> {
    let got = opened_root(&instance_key(), &Value(instance.0), siblings, ROOT_DEPTH)?;
    expect_root(root, got)
}

/// The root of an instance that has no domain yet.
pub fn instance_root(instance: &InstanceId) -> Root {
    leaf_hash(&instance_key(), &Value(instance.0))
}

fn expect_root(expected: &Root, got: Root) -> Result<(), OpeningError> {
    match got == *expected {
        true => Ok(()),
        false => Err(OpeningError::OtherRoot { expected: *expected, got }),
    }
}
