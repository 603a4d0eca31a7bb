// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";

/// @title A token that keeps its metadata's URI in storage: what Alithis is compared with
/// @author The Alithis authors
/// @notice For tests only.
contract UriStorageToken is ERC721URIStorage {
    /// @notice How many tokens there are.
    uint256 public count;

    constructor() ERC721("Stored", "STORED") {}

    /// @notice Mints the next token to the sender.
    /// @param uri Where its metadata is; a data URI holds it.
    /// @return id Id of the token.
    function mint(string calldata uri) external returns (uint256 id) {
        id = ++count;
        _safeMint(msg.sender, id);
        _setTokenURI(id, uri);
    }
}
