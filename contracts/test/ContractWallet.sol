// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";

/// @title A publisher that is a contract, signs as ERC-1271 has it, and calls the registry when it should not
/// @author The Alithis authors
/// @notice For tests only.
contract ContractWallet is IERC1271, IERC721Receiver {
    /// @notice How to answer whether a signature is its own.
    /// @dev Accept: the standard's magic value. Refuse: other bytes. Revert: with nothing. Truncate: the magic value in
    /// less than a word. Reenter: call the registry first, then accept whatever came of it.
    enum Answer {
        Accept,
        Refuse,
        Revert,
        Truncate,
        Reenter
    }

    /// @notice What came of the call that was made while a token was coming in.
    /// @param id Id of the token.
    /// @param success Whether the call succeeded.
    /// @param output What it returned or reverted with.
    event Reentered(uint256 indexed id, bool indexed success, bytes output);

    address private immutable _registry;
    Answer private immutable _answer;
    bytes private _input;
    bool private _entered;

    /// @notice Settles how to answer.
    /// @param registry Whom to call.
    /// @param answer How to answer whether a signature is its own.
    constructor(address registry, Answer answer) {
        // slither-disable-next-line missing-zero-check
        _registry = registry; // a wallet of a registry that is not there would fail its test
        _answer = answer;
    }

    /// @notice Settles what to call the registry with: when a signature is checked, or else when a token comes in.
    /// @param input Calldata; empty for no call.
    function prepare(bytes calldata input) external {
        _input = input;
    }

    /// @notice Calls the registry.
    /// @param input Calldata.
    function execute(bytes calldata input) external {
        (bool success, bytes memory output) = _call(input);
        if (success) return;
        // slither-disable-next-line assembly
        assembly ("memory-safe") { // solhint-disable-line no-inline-assembly
            revert(add(output, 0x20), mload(output))
        }
    }

    /// @inheritdoc IERC721Receiver
    function onERC721Received(address, address, uint256 id, bytes calldata) external returns (bytes4) {
        if (_answer != Answer.Reenter && _input.length != 0 && !_entered) {
            _entered = true;
            (bool success, bytes memory output) = _call(_input);
            // That the registry was called before is what the test is about.
            // slither-disable-next-line reentrancy-events
            emit Reentered(id, success, output);
        }
        return IERC721Receiver.onERC721Received.selector;
    }

    // _truncate ends the whole call, as it should.
    // slither-disable-start incorrect-return
    /// @inheritdoc IERC1271
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        // solhint-disable-next-line gas-custom-errors, reason-string
        if (_answer == Answer.Revert) revert();
        if (_answer == Answer.Refuse) return bytes4(0xffffffff);
        if (_answer == Answer.Truncate) _truncate();
        if (_answer == Answer.Reenter) _callWithinView();
        return IERC1271.isValidSignature.selector;
    }
    // slither-disable-end incorrect-return

    function _call(bytes memory input) private returns (bool success, bytes memory output) {
        // slither-disable-next-line low-level-calls
        return _registry.call(input); // solhint-disable-line avoid-low-level-calls
    }

    // Solidity would not let a view call: the chain does, and has the call fail where it writes.
    function _callWithinView() private view {
        bytes memory input = _input;
        address registry = _registry;
        // slither-disable-next-line assembly
        assembly ("memory-safe") { // solhint-disable-line no-inline-assembly
            pop(staticcall(gas(), registry, add(input, 0x20), mload(input), 0x00, 0x00))
        }
    }

    function _truncate() private pure {
        bytes4 magic = IERC1271.isValidSignature.selector;
        // slither-disable-next-line assembly
        assembly ("memory-safe") { // solhint-disable-line no-inline-assembly
            mstore(0x00, magic)
            return(0x00, 0x04)
        }
    }
}
