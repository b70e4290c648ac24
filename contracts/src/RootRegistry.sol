// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IRootRegistry, IRootSink} from "./IRootRegistry.sol";

/// @title The roots that one owner accepts.
/// @notice Roots are accepted by the owner and by updaters that the owner names: an account of the coprocessor's operator,
/// or a contract that takes roots by proof, such as ProofRootUpdater. Only the owner revokes. A revoked root stays revoked,
/// so an updater whose key was stolen, or who is late, can't bring it back.
contract RootRegistry is IRootRegistry, IRootSink {
    /// @notice The caller is not the owner.
    error NotOwner(address caller);
    /// @notice The caller is not whom ownership was offered to.
    error NotOfferedOwner(address caller);
    /// @notice The caller may not accept roots.
    error NotUpdater(address caller);
    /// @notice No coprocessor has this root.
    error ZeroRoot();
    /// @notice The root was revoked, for good.
    error RootRevoked(bytes32 root);
    /// @notice A registry without an owner could never revoke.
    error ZeroOwner();

    /// @notice Proofs at this root are taken from now on.
    event RootAccepted(bytes32 indexed root, address indexed by);
    /// @notice Proofs at this root are never taken again.
    event RootWithdrawn(bytes32 indexed root);
    /// @notice Whether an account may accept roots.
    event UpdaterSet(address indexed updater, bool allowed);
    /// @notice Ownership was offered, or with the zero address no longer is.
    event OwnershipOffered(address indexed from, address indexed to);
    /// @notice There is another owner.
    event OwnershipTaken(address indexed from, address indexed to);

    /// @dev One storage slot.
    struct Status {
        uint64 acceptedAt;
        bool revoked;
    }

    /// @notice Who names updaters and revokes roots.
    address public owner;
    /// @notice Who can become the owner by taking ownership.
    address public offeredOwner;
    /// @notice Who, beside the owner, accepts roots.
    mapping(address account => bool) public isUpdater;
    mapping(bytes32 root => Status) private _roots;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    /// @param owner_ The owner: for anything of worth an account of several keys.
    constructor(address owner_) {
        if (owner_ == address(0)) revert ZeroOwner();
        owner = owner_;
        emit OwnershipTaken(address(0), owner_);
    }

    /// @inheritdoc IRootSink
    function accept(bytes32 root) external {
        if (msg.sender != owner && !isUpdater[msg.sender]) revert NotUpdater(msg.sender);
        if (root == 0) revert ZeroRoot();
        Status storage status = _roots[root];
        if (status.revoked) revert RootRevoked(root);
        if (status.acceptedAt != 0) return;
        status.acceptedAt = uint64(block.timestamp);
        emit RootAccepted(root, msg.sender);
    }

    /// @notice Has proofs at this root refused from now on, for good. The root need not have been accepted before. Roots that
    /// were accepted because they follow from it stay accepted: revoke each.
    function revoke(bytes32 root) external onlyOwner {
        _roots[root].revoked = true;
        emit RootWithdrawn(root);
    }

    /// @notice Says whether an account may accept roots.
    function setUpdater(address updater, bool allowed) external onlyOwner {
        isUpdater[updater] = allowed;
        emit UpdaterSet(updater, allowed);
    }

    /// @notice Offers ownership. Nothing changes until it is taken, so a mistyped address owns nothing. The zero address takes
    /// the offer back.
    function offerOwnership(address to) external onlyOwner {
        offeredOwner = to;
        emit OwnershipOffered(msg.sender, to);
    }

    /// @notice Takes the ownership that was offered.
    function takeOwnership() external {
        if (msg.sender != offeredOwner) revert NotOfferedOwner(msg.sender);
        emit OwnershipTaken(owner, msg.sender);
        owner = msg.sender;
        delete offeredOwner;
    }

    /// @inheritdoc IRootRegistry
    function isAccepted(bytes32 root) external view returns (bool) {
        return acceptedAt(root) != 0;
    }

    /// @inheritdoc IRootRegistry
    function acceptedAt(bytes32 root) public view returns (uint64) {
        Status storage status = _roots[root];
        return status.revoked ? 0 : status.acceptedAt;
    }
}
