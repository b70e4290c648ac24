// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IProofVerifier} from "../IProofVerifier.sol";
import {IRootRegistry} from "../IRootRegistry.sol";
import {ProofConsumer} from "../ProofConsumer.sol";

/// @title An example: ether for whom a proof names.
/// @notice Its program's output is four words: `audience`, which application and chain the proof is meant for; `nullifier`,
/// which is the same whenever the same claim is proved; `recipient`; and `amount` in wei. All of them are in the proof, so
/// whoever sees a claim on its way to a block can hand it in first, but gets nothing from it.
contract Payout is ProofConsumer {
    /// @notice The output is not four words.
    error MalformedOutput(uint256 length);
    /// @notice The proof is meant for another application or another chain.
    error WrongAudience(uint256 audience);
    /// @notice The recipient is longer than an address.
    error MalformedRecipient(uint256 recipient);
    /// @notice The contract has less ether than is claimed.
    error NotFunded(uint256 amount, uint256 available);
    /// @notice The caller is owed nothing.
    error NothingOwed(address account);
    /// @notice The caller does not take ether.
    error TransferFailed(address account);

    /// @notice A recipient was promised ether.
    event Claimed(address indexed recipient, uint256 amount, uint256 nullifier);
    /// @notice A recipient was sent ether.
    event Withdrawn(address indexed recipient, uint256 amount);

    /// @dev As the circuit commits it.
    struct Output {
        uint256 audience;
        uint256 nullifier;
        uint256 recipient;
        uint256 amount;
    }

    /// @notice What a proof for this contract has to say: a hash of the chain's id and this address, cut to 248 bits so that a
    /// Groth16 circuit can hold it.
    uint256 public immutable audience;
    /// @notice What an account can withdraw, in wei.
    mapping(address account => uint256) public owed;
    /// @notice What all accounts together can withdraw, in wei.
    uint256 public totalOwed;

    /// @param verifier_ Checks the proofs.
    /// @param registry_ Knows the roots.
    /// @param program_ The only program whose proofs are taken.
    constructor(IProofVerifier verifier_, IRootRegistry registry_, bytes32 program_)
        payable
        ProofConsumer(verifier_, registry_, program_)
    {
        audience = uint256(keccak256(abi.encode(block.chainid, address(this)))) >> 8;
    }

    /// @notice Takes ether to pay out.
    receive() external payable {}

    /// @notice Promises the amount to the recipient that a proof names. Anybody may call it.
    /// @param publicValues The root (32 bytes), then the output.
    /// @param proof The proof.
    function claim(bytes calldata publicValues, bytes calldata proof) external {
        Output memory said = _decode(_claim(publicValues, proof));
        if (said.audience != audience) revert WrongAudience(said.audience);
        if (said.recipient > type(uint160).max) revert MalformedRecipient(said.recipient);
        uint256 available = address(this).balance - totalOwed;
        if (said.amount > available) revert NotFunded(said.amount, available);
        address recipient = address(uint160(said.recipient));
        totalOwed += said.amount;
        owed[recipient] += said.amount;
        emit Claimed(recipient, said.amount, said.nullifier);
    }

    /// @notice Sends the caller what it is owed.
    function withdraw() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert NothingOwed(msg.sender);
        // Before the ether: the receiver runs code, which may call this again.
        owed[msg.sender] = 0;
        totalOwed -= amount;
        emit Withdrawn(msg.sender, amount);
        (bool sent,) = msg.sender.call{value: amount}("");
        if (!sent) revert TransferFailed(msg.sender);
    }

    /// @dev Of the output alone: the same claim at a later root is the same claim.
    function _nullifier(bytes32, bytes calldata output) internal pure override returns (bytes32) {
        return bytes32(_decode(output).nullifier);
    }

    function _decode(bytes calldata output) private pure returns (Output memory) {
        if (output.length != 4 * 32) revert MalformedOutput(output.length);
        return abi.decode(output, (Output));
    }
}
