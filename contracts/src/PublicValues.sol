// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title What a coprocessor's proof says: a root of 32 bytes, then the circuit's output.
/// @notice SP1's circuits commit it as bytes. Groth16's have numbers below a prime as public signals, in which 32 bytes don't
/// fit: there the root is the first two, its high and its low 128 bits, and the output the others. As bytes each output
/// signal is one big-endian word, so both forms say the same and there is one way to write each.
library PublicValues {
    /// @notice The order of BN254's scalar field: public signals are below it. A number and the number plus this are the same
    /// to a circuit, so only the smaller may ever pass.
    uint256 internal constant FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @notice Fewer bytes than a root has.
    error TooShort(uint256 length);
    /// @notice An output for signals that is not a whole number of words.
    error NotWholeWords(uint256 length);
    /// @notice Fewer signals than a root has.
    error TooFewSignals(uint256 count);
    /// @notice A half of a root that is longer than 128 bits.
    error RootHalfTooLarge(uint256 half);
    /// @notice A signal that is not below the field's order.
    error NotInField(uint256 index, uint256 value);

    /// @notice The root and the output of public values in bytes.
    function split(bytes calldata publicValues) internal pure returns (bytes32 root, bytes calldata output) {
        if (publicValues.length < 32) revert TooShort(publicValues.length);
        return (bytes32(publicValues[:32]), publicValues[32:]);
    }

    /// @notice The root and the output of public signals.
    function splitSignals(uint256[] calldata signals)
        internal
        pure
        returns (bytes32 root, uint256[] calldata outputs)
    {
        if (signals.length < 2) revert TooFewSignals(signals.length);
        root = joinRoot(signals[0], signals[1]);
        outputs = signals[2:];
        for (uint256 i = 0; i < outputs.length; ++i) {
            if (outputs[i] >= FIELD) revert NotInField(i + 2, outputs[i]);
        }
    }

    /// @notice The public signals that say what these bytes say.
    function toSignals(bytes calldata publicValues) internal pure returns (uint256[] memory signals) {
        (bytes32 root, bytes calldata output) = split(publicValues);
        if (output.length % 32 != 0) revert NotWholeWords(output.length);
        signals = new uint256[](2 + output.length / 32);
        (signals[0], signals[1]) = (uint256(root) >> 128, uint128(uint256(root)));
        for (uint256 i = 2; i < signals.length; ++i) {
            uint256 value = uint256(bytes32(output[(i - 2) * 32:]));
            if (value >= FIELD) revert NotInField(i, value);
            signals[i] = value;
        }
    }

    /// @notice The root of two halves.
    function joinRoot(uint256 high, uint256 low) internal pure returns (bytes32) {
        if (high > type(uint128).max) revert RootHalfTooLarge(high);
        if (low > type(uint128).max) revert RootHalfTooLarge(low);
        return bytes32(high << 128 | low);
    }
}
