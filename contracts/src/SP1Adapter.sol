// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IProofVerifier} from "./IProofVerifier.sol";

/// @title What SP1's verifier contracts, and the gateway in front of them, offer.
interface ISP1Verifier {
    /// @notice Reverts unless the proof holds.
    function verifyProof(bytes32 programVKey, bytes calldata publicValues, bytes calldata proofBytes) external view;
}

/// @title Checks groth16 and plonk proofs of SP1 programs by SP1's verifier contract.
/// @notice One serves all programs: a program is named by the hash of its verifying key (`cargo coprocessor vk`).
/// @dev It has no owner, and nothing of it can be changed. Behind a gateway, whoever owns the gateway decides which verifiers
/// there are.
contract SP1Adapter is IProofVerifier {
    /// @notice SP1's verifier contract, or the gateway.
    ISP1Verifier public immutable verifier;

    /// @dev Each proof begins with four bytes that name the verifier it is for.
    uint256 private constant VERIFIER_NAME_LENGTH = 4;

    /// @param verifier_ SP1's verifier contract, or the gateway.
    constructor(ISP1Verifier verifier_) {
        if (address(verifier_).code.length == 0) revert NotAContract(address(verifier_));
        verifier = verifier_;
    }

    /// @inheritdoc IProofVerifier
    /// @param proof What SP1 calls the proof's bytes.
    function verify(bytes32 program, bytes calldata publicValues, bytes calldata proof) external view {
        // Stand-ins for development take empty proofs: one that was left in place by mistake lets nothing pass here.
        if (proof.length <= VERIFIER_NAME_LENGTH) revert MalformedProof(proof.length);
        try verifier.verifyProof(program, publicValues, proof) {}
        catch {
            revert ProofRejected();
        }
    }
}
