// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {ISP1Verifier} from "../src/SP1Adapter.sol";

/// @title Stands in for SP1's verifier contract in tests. It proves nothing.
/// @notice It takes exactly the calls that it was told of, and refuses every other as SP1's does: by reverting.
contract MockSP1VerifierForTests is ISP1Verifier {
    error NotExpected();

    mapping(bytes32 call => bool) private _expected;

    /// @notice Has one call accepted.
    function expect(bytes32 programVKey, bytes calldata publicValues, bytes calldata proofBytes) external {
        _expected[keccak256(abi.encode(programVKey, publicValues, proofBytes))] = true;
    }

    function verifyProof(bytes32 programVKey, bytes calldata publicValues, bytes calldata proofBytes) external view {
        if (!_expected[keccak256(abi.encode(programVKey, publicValues, proofBytes))]) revert NotExpected();
    }
}
