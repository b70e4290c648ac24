//! SP1 programs: their proofs are checked by SP1's verifier contract, which is on most chains already.

use crate::{
    ContractName, Word,
    abi::{Argument, call},
};

/// Calldata of SP1's verifier contract: `verifyProof(programVKey, publicValues, proofBytes)`. `program` is the hash of the
/// program's verifying key, `public_values` is `root (32 bytes) ‖ output`.
pub fn sp1_call(program: &Word, public_values: &[u8], proof: &[u8]) -> Vec<u8> {
    let arguments = [Argument::Static(*program), Argument::Bytes(public_values), Argument::Bytes(proof)];
    call("verifyProof(bytes32,bytes,bytes)", &arguments)
}

/// The Solidity source of a contract that has SP1's verifier contract check proofs of one program alone. It has the interface
/// `IProofVerifier` of `contracts/`, and a function that gives root and output apart.
pub fn sp1_contract(name: &ContractName, program: &Word) -> String {
    format!(
        "// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Verifies SP1 proofs (groth16 and plonk) of one program by SP1's verifier contract.
/// @notice Written by `cargo coprocessor export solidity`. That the root is one to be believed is for the caller to check.
/// @dev It has the interface IProofVerifier of the coprocessor's contracts.
contract {name} {{
    /// @notice The proof does not show that the program committed these public values.
    error ProofRejected();
    /// @notice This verifier checks no proofs of that program.
    error UnknownProgram(bytes32 program);
    /// @notice The proof is too short for one.
    error MalformedProof(uint256 length);
    /// @notice The public values are too short for a root.
    error TooShort(uint256 length);
    /// @notice There is no contract at the address of the verifier.
    error NotAContract(address account);

    /// @notice The hash of the program's verifying key.
    bytes32 public constant PROGRAM = {program};
    /// @notice SP1's verifier contract, or its gateway.
    address public immutable verifier;

    /// @param verifier_ SP1's verifier contract, or its gateway, on this chain.
    constructor(address verifier_) {{
        if (verifier_.code.length == 0) revert NotAContract(verifier_);
        verifier = verifier_;
    }}

    /// @notice The root and the output that the proof shows the program to have committed; reverts if it shows nothing.
    /// @param publicValues The root (32 bytes), then the output.
    /// @param proof What SP1 calls the proof's bytes.
    function verified(bytes calldata publicValues, bytes calldata proof)
        external
        view
        returns (bytes32 root, bytes memory output)
    {{
        verify(PROGRAM, publicValues, proof);
        if (publicValues.length < 32) revert TooShort(publicValues.length);
        return (bytes32(publicValues[:32]), publicValues[32:]);
    }}

    /// @notice Reverts unless the proof shows that the program committed these public values.
    /// @param program Has to be PROGRAM.
    /// @param publicValues The root (32 bytes), then the output.
    /// @param proof What SP1 calls the proof's bytes.
    function verify(bytes32 program, bytes calldata publicValues, bytes calldata proof) public view {{
        if (program != PROGRAM) revert UnknownProgram(program);
        // Stand-ins for development take empty proofs: one that was left in place by mistake lets nothing pass here.
        if (proof.length <= 4) revert MalformedProof(proof.length);
        try ISP1Verifier(verifier).verifyProof(program, publicValues, proof) {{}}
        catch {{
            revert ProofRejected();
        }}
    }}
}}

/// @title What SP1's verifier contracts, and the gateway in front of them, offer.
interface ISP1Verifier {{
    /// @notice Reverts unless the proof holds.
    function verifyProof(bytes32 programVKey, bytes calldata publicValues, bytes calldata proofBytes) external view;
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calldata_has_two_byte_strings_after_the_program() {
        let data = sp1_call(&Word([7; 32]), &[1; 33], &[2; 5]);
        assert_eq!(hex::encode(&data[..4]), "41493c60");
        assert_eq!(data[4..36], [7; 32]);
        assert_eq!(data.len(), 4 + 32 * (3 + 3 + 2));
    }

    #[test]
    fn the_contract_is_of_one_program() {
        let text = sp1_contract(&"Hello".parse().unwrap(), &Word([0xab; 32]));
        assert!(text.contains("contract Hello {"));
        assert!(text.contains(&format!("PROGRAM = 0x{};", "ab".repeat(32))));
    }
}
