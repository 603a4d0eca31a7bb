// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IAlithis} from "./IAlithis.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Alithis
/// @author The Alithis authors
/// @notice See IAlithis.
contract Alithis is IAlithis, ERC721, Multicall {
    /// @dev Bits 0-7: relation. Bits 16-63: target. Four to a slot.
    type PackedLink is uint64;

    /// @dev Three slots that never change, one for statuses. Ids fit 48 bits: 2^48 mints cost more gas than there is.
    struct Entry {
        bytes32 root;
        bytes32 metadataDigest;
        address publisher;
        uint48 size;
        uint40 time;
        uint8 kindAndScheme;
        uint48 supersededBy;
        bool withdrawn;
        bool disordered;
    }

    /// @dev So that any token's links can be read, and walked, within one call.
    uint256 private constant _MAX_LINKS = 256;

    /// @dev Version, raw codec and SHA-256 multihash header: with a digest behind it, the CID of a raw block.
    bytes4 private constant _CID_PREFIX = 0x01551220;

    /// @inheritdoc IAlithis
    uint256 public immutable deploymentBlock = block.number;

    /// @inheritdoc IAlithis
    uint256 public totalSupply;

    mapping(uint256 id => Entry) private _entries;

    mapping(uint256 id => PackedLink[]) private _links;

    constructor() ERC721("Alithis", "ALITHIS") {}

    /* MINTING */

    /// @inheritdoc IAlithis
    function mintDataset(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id) {
        return _publish(Kind.Dataset, msg.sender, commitment, links_);
    }

    /// @inheritdoc IAlithis
    function mintModel(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id) {
        return _publish(Kind.Model, msg.sender, commitment, links_);
    }

    /* READING */

    /// @inheritdoc IAlithis
    function record(uint256 id) external view returns (Record memory) {
        Entry storage entry = _entry(id);
        return
            Record({
                kind: _kind(entry),
                scheme: Scheme(entry.kindAndScheme >> 4),
                size: entry.size,
                root: entry.root,
                metadataDigest: entry.metadataDigest,
                publisher: entry.publisher,
                time: entry.time,
                supersededBy: entry.supersededBy,
                withdrawn: entry.withdrawn,
                disordered: entry.disordered
            });
    }

    /// @inheritdoc IAlithis
    function links(uint256 id) external view returns (Link[] memory) {
        _entry(id);
        PackedLink[] memory packed = _links[id];
        Link[] memory unpacked = new Link[](packed.length);
        for (uint256 i = 0; i < packed.length; ++i) {
            uint64 bits = PackedLink.unwrap(packed[i]);
            unpacked[i] = Link({target: bits >> 16, relation: Relation(uint8(bits))});
        }
        return unpacked;
    }

    /// @inheritdoc IAlithis
    function verifyInclusion(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path
    ) external view returns (bool) {
        Entry storage entry = _entry(id);
        return MerkleTree.verifyInclusion(entry.root, entry.size, leaf, index, path);
    }

    /// @inheritdoc ERC721
    function tokenURI(uint256 id) public view override returns (string memory) {
        bytes memory cid = abi.encodePacked(_CID_PREFIX, _entry(id).metadataDigest);
        // Multibase "f" stands where toHexString has "0x".
        return string.concat("ipfs://f", string(Bytes.slice(bytes(Strings.toHexString(cid)), 2)));
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAlithis).interfaceId || super.supportsInterface(interfaceId);
    }

    /* INTERNALS */

    function _publish(
        Kind kind,
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_
    ) private returns (uint256 id) {
        if (commitment.root == 0) revert InvalidRoot(commitment.root);
        if (commitment.size == 0 || commitment.size > type(uint48).max) revert InvalidSize(commitment.size);
        if (commitment.metadataDigest == 0) revert InvalidMetadataDigest(commitment.metadataDigest);

        id = ++totalSupply;
        _entries[id] = Entry({
            root: commitment.root,
            metadataDigest: commitment.metadataDigest,
            publisher: publisher,
            size: uint48(commitment.size),
            time: uint40(block.timestamp),
            kindAndScheme: uint8(kind) | (uint8(commitment.scheme) << 4),
            supersededBy: 0,
            withdrawn: false,
            disordered: false
        });
        emit Minted(
            id,
            commitment.root,
            publisher,
            kind,
            commitment.scheme,
            commitment.size,
            commitment.metadataDigest
        );
        if (links_.length != 0) _link(id, kind, publisher, links_);

        _safeMint(publisher, id);
    }

    function _link(uint256 id, Kind kind, address publisher, Link[] calldata links_) private {
        if (links_.length > _MAX_LINKS) revert TooManyLinks(links_.length, _MAX_LINKS);
        PackedLink[] memory packed = new PackedLink[](links_.length);
        PackedLink[] memory seen = new PackedLink[](2 * links_.length);
        for (uint256 i = 0; i < links_.length; ++i) {
            (uint256 target, Relation relation) = (links_[i].target, links_[i].relation);
            if (target == 0 || target >= id) revert UnknownTarget(i, target);
            Kind targetKind = _kind(_entries[target]);
            if (!_relates(kind, relation, targetKind)) revert WrongRelation(i, kind, relation, targetKind);
            packed[i] = PackedLink.wrap((uint64(target) << 16) | uint64(relation));
            if (!_add(seen, packed[i])) revert DuplicateLink(i, target, relation);
            if (relation == Relation.Supersedes) _supersede(target, id, publisher);
            emit Linked(id, target, relation, i);
        }
        _links[id] = packed;
    }

    function _supersede(uint256 id, uint256 by, address publisher) private {
        address owner = _ownerOf(id);
        if (owner != publisher) revert NotOwnerOfSuperseded(id, owner, publisher);
        Entry storage entry = _entries[id];
        if (entry.supersededBy != 0) revert AlreadySuperseded(id, entry.supersededBy);
        entry.supersededBy = uint48(by);
        emit Superseded(id, by);
    }

    function _entry(uint256 id) private view returns (Entry storage entry) {
        entry = _entries[id];
        if (entry.publisher == address(0)) revert ERC721NonexistentToken(id);
    }

    function _kind(Entry storage entry) private view returns (Kind) {
        return Kind(entry.kindAndScheme & 0x0f);
    }

    function _relates(Kind kind, Relation relation, Kind targetKind) private pure returns (bool) {
        if (relation == Relation.Supersedes) return kind == targetKind;
        if (kind == Kind.Dataset) return targetKind == Kind.Dataset && relation == Relation.DerivedFrom;
        if (targetKind == Kind.Model) return relation == Relation.FineTunedFrom || relation == Relation.DistilledFrom;
        return
            relation == Relation.TrainedOn || relation == Relation.ValidatedOn || relation == Relation.TestedOn;
    }

    /// @notice Adds a link to a hash set with room to spare, unless it is there.
    /// @param set Slots of the set, 0 where empty. A link is never 0, since ids count from 1.
    /// @param link The link.
    /// @return Whether it was added.
    function _add(PackedLink[] memory set, PackedLink link) private pure returns (bool) {
        uint64 bits = PackedLink.unwrap(link);
        uint256 slot = uint256(keccak256(abi.encode(bits))) % set.length;
        while (PackedLink.unwrap(set[slot]) != 0) {
            if (PackedLink.unwrap(set[slot]) == bits) return false;
            slot = (slot + 1) % set.length;
        }
        set[slot] = link;
        return true;
    }
}
