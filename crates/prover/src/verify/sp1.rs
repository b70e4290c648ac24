//! SP1 proofs by SP1's small verifier crate: compressed, groth16 and plonk. Core proofs need the SDK's.

use coprocessor_types::{Backend, ProofKind};
use num_bigint::BigUint;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sp1_hypercube::{HashableKey, SP1VerifyingKey};
use sp1_primitives::io::SP1PublicValues;
use sp1_verifier::{
    GROTH16_VK_BYTES, Groth16Verifier, PLONK_VK_BYTES, PlonkVerifier, SP1Proof, VK_ROOT_BYTES,
    compressed::SP1CompressedVerifier, hash_public_inputs, hash_public_inputs_with_fn,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use super::{Claim, ProofVerifier, VerifyError};

/// The version of SP1's circuits whose keys are in the verifier crate of this build: the SDK writes it into every proof. It
/// changes together with the version of `sp1-verifier`.
pub const CIRCUIT_VERSION: &str = "v6.1.0";

/// Exit code, root of verifying keys and nonce, before the proof proper.
const WRAPPED_HEAD: usize = 96;

/// Checks compressed, groth16 and plonk proofs of SP1 circuits.
///
/// The verifying key is bincode of `SP1VerifyingKey`, the proof is bincode of the SDK's `SP1ProofWithPublicValues`. Both have
/// to be the one encoding of what they hold, with nothing left over. Whatever the SDK's own `verify` checks is checked here.
/// The one thing no check covers is a wrapped proof's field `raw_proof`, which the SDK's verifier does not look at either.
#[derive(Default)]
pub struct Sp1SmallVerifier {
    /// Made at the first compressed proof: it takes a while.
    compressed: OnceLock<SP1CompressedVerifier>,
}

/// The SDK's `SP1ProofWithPublicValues`, which lives in a crate too heavy for this one.
#[derive(Serialize, Deserialize)]
struct Bundle {
    proof: SP1Proof,
    public_values: SP1PublicValues,
    sp1_version: String,
    tee_proof: Option<Vec<u8>>,
}

/// What groth16 and plonk proofs have in common.
struct Wrapped<'a> {
    public_inputs: &'a [String; 5],
    encoded: &'a str,
    key_hash: &'a [u8; 32],
}

impl ProofVerifier for Sp1SmallVerifier {
    fn verifies(&self, backend: Backend, kind: ProofKind) -> bool {
        backend == Backend::Sp1 && matches!(kind, ProofKind::Compressed | ProofKind::Groth16 | ProofKind::Plonk)
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        if !self.verifies(claim.backend, claim.kind) {
            return Err(VerifyError::Unsupported { backend: claim.backend, kind: claim.kind });
        }
        // SP1's code asserts here and there; on bytes from a stranger an assertion is a refusal. What it works on is dropped
        // with the unwinding, and the verifier itself is never changed.
        catch_unwind(AssertUnwindSafe(|| self.check(claim)))
            .unwrap_or_else(|_| Err(rejected("the verifier gave up on it")))
    }
}

/// An SP1 verifying key's hash as on-chain verifiers know it: `0x` and 64 hexadecimal digits. `verifying_key` is bincode of
/// the SDK's `SP1VerifyingKey`.
///
/// # Errors
/// [`VerifyError::BadKey`].
pub fn sp1_vkey_hash(verifying_key: &[u8]) -> Result<String, VerifyError> {
    let key: SP1VerifyingKey = decode(verifying_key).map_err(|reason| VerifyError::BadKey { reason })?;
    Ok(key.bytes32())
}

/// What SP1's verifier contracts are called with, beside a proof's public values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sp1OnChain {
    /// The hash of the program's verifying key: `0x` and 64 hexadecimal digits.
    pub program_vkey: String,
    /// The proof's bytes: four that name the contract's key, then the proof.
    pub proof_bytes: Vec<u8>,
}

/// The call that has a proof of SP1 verified on chain; `None` for kinds that no contract takes. `verifying_key` and `proof` are
/// encoded as [`Sp1SmallVerifier`] says; nothing is verified.
///
/// # Errors
/// [`VerifyError::BadKey`], [`VerifyError::Malformed`], or [`VerifyError::Rejected`] where the proof is not hexadecimal.
pub fn sp1_on_chain(verifying_key: &[u8], kind: ProofKind, proof: &[u8]) -> Result<Option<Sp1OnChain>, VerifyError> {
    if !matches!(kind, ProofKind::Groth16 | ProofKind::Plonk) {
        return Ok(None);
    }
    let malformed = |reason| VerifyError::Malformed { kind, reason };
    let bundle: Bundle = decode(proof).map_err(malformed)?;
    let (key_hash, encoded) = match (&bundle.proof, kind) {
        (SP1Proof::Groth16(proof), ProofKind::Groth16) => (&proof.groth16_vkey_hash, &proof.encoded_proof),
        (SP1Proof::Plonk(proof), ProofKind::Plonk) => (&proof.plonk_vkey_hash, &proof.encoded_proof),
        (other, _) => return Err(malformed(format!("it is a {} proof", other.to_string().to_lowercase()))),
    };
    let encoded = hex::decode(encoded).map_err(|_| rejected("its proof is not hexadecimal"))?;
    let proof_bytes = [&key_hash[..4], &encoded].concat();
    Ok(Some(Sp1OnChain { program_vkey: sp1_vkey_hash(verifying_key)?, proof_bytes }))
}

impl Sp1SmallVerifier {
    fn check(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        let key: SP1VerifyingKey = decode(claim.verifying_key).map_err(|reason| VerifyError::BadKey { reason })?;
        let malformed = |reason| VerifyError::Malformed { kind: claim.kind, reason };
        let bundle: Bundle = decode(claim.proof).map_err(malformed)?;
        if bundle.sp1_version != CIRCUIT_VERSION {
            return Err(VerifyError::Version { got: clip(&bundle.sp1_version), expected: CIRCUIT_VERSION.into() });
        }
        if bundle.public_values.as_slice() != claim.public_inputs {
            return Err(VerifyError::PublicInputs);
        }
        if bundle.tee_proof.is_some() {
            return Err(rejected("it carries a TEE's signature, which is not asked for"));
        }
        match (&bundle.proof, claim.kind) {
            (SP1Proof::Compressed(proof), ProofKind::Compressed) => self
                .compressed
                .get_or_init(SP1CompressedVerifier::new)
                .verify_compressed_with_public_values(proof, claim.public_inputs, &key.hash_koalabear())
                .map_err(rejected),
            (SP1Proof::Groth16(proof), ProofKind::Groth16) => {
                let wrapped = Wrapped {
                    public_inputs: &proof.public_inputs,
                    encoded: &proof.encoded_proof,
                    key_hash: &proof.groth16_vkey_hash,
                };
                let bytes = wrapped.bytes(&key, claim.public_inputs)?;
                Groth16Verifier::verify(&bytes, claim.public_inputs, &key.bytes32(), &GROTH16_VK_BYTES)
                    .map_err(rejected)
            }
            (SP1Proof::Plonk(proof), ProofKind::Plonk) => {
                let wrapped = Wrapped {
                    public_inputs: &proof.public_inputs,
                    encoded: &proof.encoded_proof,
                    key_hash: &proof.plonk_vkey_hash,
                };
                let bytes = wrapped.bytes(&key, claim.public_inputs)?;
                PlonkVerifier::verify(&bytes, claim.public_inputs, &key.bytes32(), &PLONK_VK_BYTES).map_err(rejected)
            }
            (other, _) => Err(malformed(format!("it is a {} proof", other.to_string().to_lowercase()))),
        }
    }
}

impl Wrapped<'_> {
    /// The proof as the verifier takes it, once its parts say the same as the claim: the numbers beside it are decimal copies
    /// of what is inside.
    fn bytes(&self, key: &SP1VerifyingKey, public_inputs: &[u8]) -> Result<Vec<u8>, VerifyError> {
        let encoded = hex::decode(self.encoded).map_err(|_| rejected("its proof is not hexadecimal"))?;
        let (head, _) = encoded.split_at_checked(WRAPPED_HEAD).ok_or_else(|| rejected("its proof is too short"))?;
        if hex::encode(&encoded) != self.encoded {
            return Err(rejected("its proof is not in lower-case hexadecimal"));
        }
        let decimal = |bytes: &[u8]| BigUint::from_bytes_be(bytes).to_string();
        // Not `bytes32_raw`: it panics for the one key in 256 whose hash begins with a zero byte.
        let key = key.bytes32();
        let key = BigUint::parse_bytes(key.trim_start_matches("0x").as_bytes(), 16).map(|hash| hash.to_string());
        let [stated_key, stated_digest, stated_head @ ..] = self.public_inputs;
        if Some(stated_key) != key.as_ref() {
            return Err(rejected("it is of another circuit"));
        }
        let digests =
            [hash_public_inputs(public_inputs), hash_public_inputs_with_fn(public_inputs, sp1_verifier::blake3_hash)];
        if !digests.iter().any(|digest| *stated_digest == decimal(digest)) {
            return Err(VerifyError::PublicInputs);
        }
        if !head.chunks(32).zip(stated_head).all(|(inside, stated)| *stated == decimal(inside)) {
            return Err(rejected("the numbers beside the proof are not those in it"));
        }
        if head[32..64] != *VK_ROOT_BYTES {
            return Err(rejected("it was made with other recursion keys"));
        }
        Ok([&self.key_hash[..4], &encoded].concat())
    }
}

/// Reads bincode as SP1 writes it. Allocates no more than the input is long, leaves nothing over, and takes no second
/// encoding of the same value.
fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    use bincode::Options;
    let format = || bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes();
    let value: T = format().with_limit(bytes.len() as u64).deserialize(bytes).map_err(|error| error.to_string())?;
    match format().serialize(&value) {
        Ok(canonical) if canonical == bytes => Ok(value),
        _ => Err("it is not in its canonical encoding".into()),
    }
}

fn rejected(reason: impl ToString) -> VerifyError {
    VerifyError::Rejected { reason: reason.to_string() }
}

fn clip(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests;
