// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What a call costs another contract
/// @author The Alithis authors
/// @notice For tests only.
contract GasProbe {
    /// @notice The measured call failed.
    /// @param reason What it reverted with.
    error CallFailed(bytes reason);

    /// @notice Makes a static call and measures it.
    /// @param target Contract to call.
    /// @param input Calldata, selector first.
    /// @return output What the contract answered.
    /// @return gasUsed Gas of the call, once the transaction has paid for its first access to the contract's account.
    function measure(
        address target,
        bytes calldata input
    ) external view returns (bytes memory output, uint256 gasUsed) {
        if (target.code.length == 0) revert CallFailed("");
        bool success;
        // Solidity would count its own handling of what is returned.
        // slither-disable-next-line assembly
        assembly ("memory-safe") { // solhint-disable-line no-inline-assembly
            output := mload(0x40)
            calldatacopy(output, input.offset, input.length)
            let before := gas()
            success := staticcall(gas(), target, output, input.length, 0x00, 0x00)
            gasUsed := sub(before, gas())
            mstore(output, returndatasize())
            returndatacopy(add(output, 0x20), 0x00, returndatasize())
            mstore(0x40, and(add(add(output, 0x3f), returndatasize()), not(0x1f)))
        }
        if (!success) revert CallFailed(output);
    }
}
