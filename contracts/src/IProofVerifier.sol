// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title One way to have a coprocessor's proof checked, whatever proving system made it.
interface IProofVerifier {
    /// @notice The proof does not show that the program committed these public values.
    error ProofRejected();
    /// @notice This verifier checks no proofs of that program.
    error UnknownProgram(bytes32 program);
    /// @notice The proof is not as long as a proof of this system is.
    error MalformedProof(uint256 length);
    /// @notice There is no contract at the address of the verifier.
    error NotAContract(address account);

    /// @notice Reverts unless `proof` shows that `program` committed `publicValues`. A caller needs to look at nothing else.
    /// @dev Never take `program` from whoever brings the proof: anybody can write a program that commits what they like.
    /// @param program What names the circuit: SP1's hash of its verifying key, or what an adapter of a Groth16 verifier was
    /// made with.
    /// @param publicValues The root (32 bytes), then the circuit's output.
    /// @param proof The proof in its system's encoding. It is not unique: from one proof anybody can make others of the same
    /// public values, so it must name nothing.
    function verify(bytes32 program, bytes calldata publicValues, bytes calldata proof) external view;
}
