//! Proofs on EVM chains.
//!
//! Reads verifying keys, proofs and public signals of Groth16 over BN254 as snarkjs writes them (JSON with decimal strings),
//! and writes the Solidity contract that verifies them, with the interface that circom's tools agree on. For SP1 programs it
//! writes a contract that has SP1's own verifier checked against one program. For both it writes calldata.
//!
//! What is written here is for chains with the precompiled contracts of EIP-196 and EIP-197. It does no I/O and proves
//! nothing. The contracts that stand around a verifier are in `contracts/`.

pub mod abi;
mod curve;
mod error;
mod groth16;
mod name;
mod snarkjs;
mod sp1;
mod word;

pub use curve::{G1, G2};
pub use error::SolidityError;
pub use groth16::{MAX_SIGNALS, Proof, PublicSignals, VerifyingKey};
pub use name::ContractName;
pub use sp1::{sp1_call, sp1_contract};
pub use word::Word;

/// Calldata of `IProofVerifier.verify(program, public_values, proof)`, which the adapters in `contracts/` and the contract of
/// [`sp1_contract`] have. `public_values` is `root (32 bytes) ‖ output`.
pub fn verify_call(program: &Word, public_values: &[u8], proof: &[u8]) -> Vec<u8> {
    use abi::Argument::{Bytes, Static};
    abi::call("verify(bytes32,bytes,bytes)", &[Static(*program), Bytes(public_values), Bytes(proof)])
}
