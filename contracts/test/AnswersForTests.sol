// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Answers every call with the same bytes: a Groth16 verifier that is none.
contract AnswersForTests {
    bytes private _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        return _answer;
    }
}
