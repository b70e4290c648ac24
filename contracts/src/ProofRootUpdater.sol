// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IProofVerifier} from "./IProofVerifier.sol";
import {IRootRegistry, IRootSink} from "./IRootRegistry.sol";
import {PublicValues} from "./PublicValues.sol";

/// @title Brings a registry roots that are proved to follow from those it has.
/// @notice Anybody may call it: the proof decides. Its program commits an accepted root and, as its output, the next one. What
/// that is worth is what the program checks: it has to show not only that blocks were added and nothing else was
/// changed, but also that each of these blocks is one of its chain, for anybody can add a block that is none.
/// @dev It must be an updater of the registry.
contract ProofRootUpdater {
    /// @notice The root that the proof starts from is not accepted.
    error RootNotAccepted(bytes32 root);
    /// @notice The output is not a root in two halves.
    error MalformedOutput(uint256 length);

    /// @notice Checks the proofs.
    IProofVerifier public immutable verifier;
    /// @notice The program that they have to be of.
    bytes32 public immutable program;
    /// @notice The registry that gets the roots.
    address public immutable registry;

    /// @param verifier_ Checks the proofs.
    /// @param program_ The program that they have to be of.
    /// @param registry_ The registry that gets the roots.
    constructor(IProofVerifier verifier_, bytes32 program_, address registry_) {
        if (address(verifier_).code.length == 0) revert IProofVerifier.NotAContract(address(verifier_));
        if (registry_.code.length == 0) revert IProofVerifier.NotAContract(registry_);
        verifier = verifier_;
        program = program_;
        registry = registry_;
    }

    /// @notice Has a root accepted that follows from one that is.
    /// @param publicValues The accepted root (32 bytes), then the next one's high and low 128 bits, a word each: so circuits of
    /// both proving systems can say it.
    /// @param proof The proof.
    function update(bytes calldata publicValues, bytes calldata proof) external {
        (bytes32 from, bytes calldata output) = PublicValues.split(publicValues);
        if (output.length != 64) revert MalformedOutput(output.length);
        if (!IRootRegistry(registry).isAccepted(from)) revert RootNotAccepted(from);
        verifier.verify(program, publicValues, proof);
        (uint256 high, uint256 low) = abi.decode(output, (uint256, uint256));
        IRootSink(registry).accept(PublicValues.joinRoot(high, low));
    }
}
