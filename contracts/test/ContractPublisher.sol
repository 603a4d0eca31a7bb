// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";
import {IAlithis} from "../IAlithis.sol";

/// @title A publisher that is a contract, and answers a token in the way it is told
/// @author The Alithis authors
/// @notice For tests only.
contract ContractPublisher is IERC721Receiver {
    /// @notice What to do when a token comes in.
    /// @dev Refuse: answer with other bytes than the standard's. Revert: with an error of one's own. Ignore: revert with
    /// nothing, like a contract that has no such function. Reenter: mint a model linked to the token, once.
    enum Answer {
        Accept,
        Refuse,
        Revert,
        Ignore,
        Reenter
    }

    /// @notice What the registry said of a token while it was coming in.
    /// @param id Id of the token.
    /// @param publisher Its record's publisher.
    /// @param links How many links it has.
    /// @param supply How many tokens there were.
    event Received(uint256 indexed id, address indexed publisher, uint256 links, uint256 supply); // solhint-disable-line gas-indexed-events

    /// @notice The error of one's own.
    /// @param id Id of the token that came in.
    error Unwanted(uint256 id);

    IAlithis private immutable _registry;
    Answer private immutable _answer;
    bool private _entered;

    /// @notice Settles where to publish and how to answer.
    /// @param registry Where to publish.
    /// @param answer What to do when a token comes in.
    constructor(IAlithis registry, Answer answer) {
        _registry = registry;
        _answer = answer;
    }

    /// @notice Mints a dataset.
    /// @param commitment The dataset's commitment.
    /// @param links Its links.
    /// @return id Id of the token.
    function mintDataset(
        IAlithis.Commitment calldata commitment,
        IAlithis.Link[] calldata links
    ) external returns (uint256 id) {
        return _registry.mintDataset(commitment, links);
    }

    /// @inheritdoc IERC721Receiver
    function onERC721Received(address, address, uint256 id, bytes calldata) external returns (bytes4) {
        IAlithis.Record memory record = _registry.record(id);
        emit Received(id, record.publisher, _registry.links(id).length, _registry.totalSupply());
        if (_answer == Answer.Refuse) return bytes4(0);
        if (_answer == Answer.Revert) revert Unwanted(id);
        // solhint-disable-next-line gas-custom-errors, reason-string
        if (_answer == Answer.Ignore) revert();
        if (_answer == Answer.Reenter && !_entered) {
            _entered = true;
            _mintModel(id, record);
        }
        return IERC721Receiver.onERC721Received.selector;
    }

    function _mintModel(uint256 dataset, IAlithis.Record memory record) private {
        IAlithis.Link[] memory links = new IAlithis.Link[](1);
        links[0] = IAlithis.Link(dataset, IAlithis.Relation.TrainedOn);
        uint256 id = _registry.mintModel(
            IAlithis.Commitment(record.root, record.size, record.scheme, record.metadataDigest),
            links
        );
        if (id != dataset + 1) revert Unwanted(id);
    }
}
