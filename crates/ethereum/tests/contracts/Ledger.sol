// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// A token, and one variable of every kind of layout.
contract Ledger {
    mapping(address => uint256) public balanceOf; // slot 0
    mapping(address => mapping(address => uint256)) public allowance; // slot 1
    uint128 public low; // slot 2, offset 0
    uint64 public middle; // slot 2, offset 16
    bool public flag; // slot 2, offset 24
    string public short; // slot 3
    string public long; // slot 4
    uint256[] public numbers; // slot 5
    uint32[] public packed; // slot 6
    struct Item {
        uint256 price;
        uint128 sold;
        uint128 left;
    }
    mapping(string => Item) public items; // slot 7
    mapping(bytes4 => bool) public known; // slot 8
    mapping(int256 => uint256) public signed; // slot 9
    uint16[20] public fixedSmall; // slots 10 and 11
    Item[] public list; // slot 12
    string public empty; // slot 13

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor() {
        balanceOf[msg.sender] = 1_000_000;
        low = 7;
        middle = 8;
        flag = true;
        short = "short";
        long = "a text of more than thirty-one bytes has its own slots, as many as it needs";
        for (uint32 i = 0; i < 12; i++) packed.push(i * 1000 + 1);
        numbers.push(11);
        numbers.push(22);
        numbers.push(33);
        items["book"] = Item(30, 4, 96);
        known[0xdeadbeef] = true;
        signed[-5] = 55;
        for (uint16 i = 0; i < 20; i++) fixedSmall[i] = i + 100;
        list.push(Item(1, 2, 3));
        list.push(Item(4, 5, 6));
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        return true;
    }
}
