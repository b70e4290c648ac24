// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Which roots a proof may be bound to.
interface IRootRegistry {
    /// @notice Whether proofs at this root are taken: it was accepted, and not revoked since.
    function isAccepted(bytes32 root) external view returns (bool);

    /// @notice When the root was accepted, in seconds since 1970; 0 if it is not.
    function acceptedAt(bytes32 root) external view returns (uint64);
}

/// @title A registry as those see it who bring it roots.
interface IRootSink {
    /// @notice Has proofs at this root taken from now on. Accepting a root again changes nothing.
    function accept(bytes32 root) external;
}
