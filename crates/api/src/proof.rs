//! Proofs, and having one verified.

use crate::Base64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A verified proof with all that a verifier needs. `Accept: application/octet-stream` gives `proof` alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProofView {
    /// The task it was made for.
    pub task: String,
    /// The program.
    pub program: String,
    /// `sp1` or `groth16`.
    pub backend: String,
    /// The form of proof.
    pub kind: String,
    /// The coprocessor root it is bound to.
    pub root: String,
    /// The circuit's output.
    pub output: Base64,
    /// `root ‖ output`: what the proof binds.
    pub public_inputs: Base64,
    /// The proof in its backend's encoding. For SP1: what the SDK's `SP1ProofWithPublicValues::save` writes.
    pub proof: Base64,
    /// SHA-256 of the circuit.
    pub circuit: String,
    /// The verifying key in its backend's encoding; null for a mock proof of a circuit never set up.
    pub verifying_key: Option<Base64>,
    /// For SP1's groth16 and plonk proofs: what SP1's verifier contract is called with, beside `public_inputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sp1_on_chain: Option<Sp1OnChainView>,
}

/// Arguments of `verifyProof` of SP1's verifier contracts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sp1OnChainView {
    /// The hash of the program's verifying key: `0x` and 64 hexadecimal digits.
    pub program_vkey: String,
    /// What SP1 calls the proof's bytes.
    pub proof_bytes: Base64,
}

/// A proof to verify: against a program of this service, or against a verifying key that comes along.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The program; else `verifying_key` and `backend` are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// `sp1` or `groth16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The verifying key in its backend's encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying_key: Option<Base64>,
    /// The form the proof must have. A mock proof is accepted only where `mock` is asked for.
    pub kind: String,
    /// The proof in its backend's encoding.
    pub proof: Base64,
    /// `root ‖ output` that it must bind.
    pub public_inputs: Base64,
}

/// What verification came to. A proof that does not hold is an answer, not a problem.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifyView {
    /// Whether the proof holds.
    pub valid: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The root in the public inputs.
    pub root: String,
    /// Whether that root is this instance's own.
    pub own_root: bool,
}
