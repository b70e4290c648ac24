// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IProofVerifier} from "./IProofVerifier.sol";
import {PublicValues} from "./PublicValues.sol";

/// @title Checks proofs of one circom circuit by its Groth16 verifier contract.
/// @notice That contract has the interface that circom's tools agree on,
/// `verifyProof(uint256[2] a, uint256[2][2] b, uint256[2] c, uint256[N] signals) returns (bool)`, and the verifying key in its
/// code. `cargo coprocessor export solidity` and `snarkjs zkey export solidityverifier` both write one.
/// @dev It has no owner, and nothing of it can be changed.
contract Groth16Adapter is IProofVerifier {
    /// @notice Other public signals than the circuit has.
    error WrongSignalCount(uint256 expected, uint256 got);

    /// @notice The verifier contract.
    address public immutable verifier;
    /// @notice What names the circuit to callers.
    bytes32 public immutable program;
    /// @notice How many public signals the circuit has, the root's two included.
    uint256 public immutable signalCount;
    /// @dev Of `verifyProof` with so many signals.
    bytes4 private immutable _selector;

    /// @dev Coordinates of a, b and c.
    uint256 private constant PROOF_LENGTH = 8 * 32;

    /// @param verifier_ The verifier contract.
    /// @param signalCount_ How many public signals the circuit has, the root's two included.
    /// @param program_ What is to name the circuit: the verifying key's hash that `cargo coprocessor export solidity` prints.
    constructor(address verifier_, uint256 signalCount_, bytes32 program_) {
        if (verifier_.code.length == 0) revert NotAContract(verifier_);
        if (signalCount_ < 2) revert PublicValues.TooFewSignals(signalCount_);
        verifier = verifier_;
        program = program_;
        signalCount = signalCount_;
        bytes memory signature =
            abi.encodePacked("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[", _decimal(signalCount_), "])");
        _selector = bytes4(keccak256(signature));
    }

    /// @inheritdoc IProofVerifier
    /// @param proof `abi.encode(uint256[2] a, uint256[2][2] b, uint256[2] c)`: 256 bytes.
    function verify(bytes32 program_, bytes calldata publicValues, bytes calldata proof) external view {
        if (program_ != program) revert UnknownProgram(program_);
        if (proof.length != PROOF_LENGTH) revert MalformedProof(proof.length);
        uint256[] memory signals = PublicValues.toSignals(publicValues);
        if (signals.length != signalCount) revert WrongSignalCount(signalCount, signals.length);
        // The interface has one function for each number of signals, and Solidity no type for all of them.
        (bool done, bytes memory answer) = verifier.staticcall(abi.encodePacked(_selector, proof, signals));
        if (!done || answer.length != 32 || uint256(bytes32(answer)) != 1) revert ProofRejected();
    }

    function _decimal(uint256 number) private pure returns (bytes memory digits) {
        do {
            digits = abi.encodePacked(uint8(48 + number % 10), digits);
            number /= 10;
        } while (number != 0);
    }
}
