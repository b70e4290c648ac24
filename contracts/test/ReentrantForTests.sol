// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Payout} from "../src/examples/Payout.sol";

/// @title A recipient that withdraws again while it is being paid.
contract ReentrantForTests {
    Payout private immutable _payout;
    /// @notice How often it was paid.
    uint256 public payments;
    /// @notice What the withdrawal within the withdrawal failed with.
    bytes public refusal;

    constructor(Payout payout) {
        _payout = payout;
    }

    function withdraw() external {
        _payout.withdraw();
    }

    receive() external payable {
        ++payments;
        try _payout.withdraw() {}
        catch (bytes memory reason) {
            refusal = reason;
        }
    }
}
