// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// A token as small as one can be: what the demo moves about and has proved.
contract Token {
    event Transfer(address indexed from, address indexed to, uint256 value);

    /// At slot 0.
    mapping(address => uint256) public balanceOf;
    uint256 public immutable totalSupply;

    constructor() {
        totalSupply = 1_000_000 ether;
        balanceOf[msg.sender] = totalSupply;
        emit Transfer(address(0), msg.sender, totalSupply);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}
