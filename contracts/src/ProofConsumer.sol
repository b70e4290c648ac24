// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IProofVerifier} from "./IProofVerifier.sol";
import {IRootRegistry} from "./IRootRegistry.sol";
import {PublicValues} from "./PublicValues.sol";

/// @title For contracts that act on what a proof says, once.
/// @notice It checks all that can be checked without knowing what the output means: the root against a registry, that the
/// claim was not made before, and the proof. What the output says is the inheriting contract's to check.
abstract contract ProofConsumer {
    /// @notice The root is not one that the registry accepts.
    error RootNotAccepted(bytes32 root);
    /// @notice What the proof says was acted on before.
    error AlreadyClaimed(bytes32 claim);

    /// @notice Checks the proofs.
    IProofVerifier public immutable verifier;
    /// @notice Knows the roots.
    IRootRegistry public immutable registry;
    /// @notice The only program whose proofs are taken.
    bytes32 public immutable program;
    /// @notice What was claimed.
    mapping(bytes32 claim => bool) public isClaimed;

    /// @param verifier_ Checks the proofs.
    /// @param registry_ Knows the roots.
    /// @param program_ The only program whose proofs are taken.
    constructor(IProofVerifier verifier_, IRootRegistry registry_, bytes32 program_) {
        if (address(verifier_).code.length == 0) revert IProofVerifier.NotAContract(address(verifier_));
        if (address(registry_).code.length == 0) revert IProofVerifier.NotAContract(address(registry_));
        verifier = verifier_;
        registry = registry_;
        program = program_;
    }

    /// @notice Reverts unless the proof is new and holds at an accepted root; its output otherwise.
    /// @dev The claim is marked before the proof is checked, and everything called is called by STATICCALL, so there is no
    /// moment at which a second call could find it unmarked.
    function _claim(bytes calldata publicValues, bytes calldata proof) internal returns (bytes calldata output) {
        bytes32 root;
        (root, output) = PublicValues.split(publicValues);
        if (!registry.isAccepted(root)) revert RootNotAccepted(root);
        bytes32 claim = keccak256(abi.encode(program, _nullifier(root, output)));
        if (isClaimed[claim]) revert AlreadyClaimed(claim);
        isClaimed[claim] = true;
        verifier.verify(program, publicValues, proof);
    }

    /// @notice What may be claimed once only: two outputs that claim the same thing must have the same one.
    /// @dev Make it of what the public values say, never of the proof: anybody can turn one Groth16 proof into any number of
    /// others of the same public values. Leave `root` out unless the claim is one about that root: what was so at one root is mostly
    /// so at the next one too, and would be claimed again there.
    function _nullifier(bytes32 root, bytes calldata output) internal view virtual returns (bytes32);
}
