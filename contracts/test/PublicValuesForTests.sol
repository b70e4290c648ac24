// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {PublicValues} from "../src/PublicValues.sol";

/// @title The library's functions, to be called from outside.
contract PublicValuesForTests {
    function split(bytes calldata publicValues) external pure returns (bytes32, bytes memory) {
        return PublicValues.split(publicValues);
    }

    function splitSignals(uint256[] calldata signals) external pure returns (bytes32, uint256[] memory) {
        return PublicValues.splitSignals(signals);
    }

    function toSignals(bytes calldata publicValues) external pure returns (uint256[] memory) {
        return PublicValues.toSignals(publicValues);
    }
}
