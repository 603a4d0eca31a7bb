// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IAlithis} from "./IAlithis.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Alithis
/// @author The Alithis authors
/// @notice See IAlithis.
contract Alithis is IAlithis, ERC721, EIP712, Nonces, Multicall {
    /// @dev Bits 0-7: relation. Bit 8: countersigned. Bits 16-63: target. Four to a slot.
    type PackedLink is uint64;

    /// @dev Three slots that never change, one for statuses and counts. Ids fit 48 bits: 2^48 mints cost more gas than there is.
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
        uint64 attestations;
        uint48 claims;
        uint48 openClaims;
    }

    /// @dev Two slots.
    struct PackedClaim {
        bytes32 leaf;
        address claimant;
        uint40 time;
        ClaimStatus status;
    }

    /// @dev So that any token's links can be read, and walked, within one call.
    uint256 private constant _MAX_LINKS = 256;

    /// @dev So that an event stays well below what a chain takes.
    uint256 private constant _MAX_URI = 1024;

    /// @dev So that a walk through the links needs no more memory than it is worth.
    uint256 private constant _MAX_LINEAGE = 1024;

    uint64 private constant _COUNTERSIGNED = 1 << 8;

    /// @dev EIP-712: the types that a type refers to follow it, by name.
    bytes private constant _COMMITMENT_TYPE =
        "Commitment(bytes32 root,uint64 size,uint8 scheme,bytes32 metadataDigest)";
    bytes private constant _LINK_TYPE = "Link(uint256 target,uint8 relation)";
    bytes private constant _MINT_FIELDS =
        "(address publisher,Commitment commitment,Link[] links,uint256 nonce,uint256 deadline)";
    bytes32 private constant _COMMITMENT_TYPEHASH = keccak256(_COMMITMENT_TYPE);
    bytes32 private constant _LINK_TYPEHASH = keccak256(_LINK_TYPE);
    bytes32 private constant _MINT_DATASET_TYPEHASH =
        keccak256(bytes.concat("MintDataset", _MINT_FIELDS, _COMMITMENT_TYPE, _LINK_TYPE));
    bytes32 private constant _MINT_MODEL_TYPEHASH =
        keccak256(bytes.concat("MintModel", _MINT_FIELDS, _COMMITMENT_TYPE, _LINK_TYPE));

    /// @dev Version, raw codec and SHA-256 multihash header: with a digest behind it, the CID of a raw block.
    bytes4 private constant _CID_PREFIX = 0x01551220;

    /// @inheritdoc IAlithis
    uint256 public immutable deploymentBlock = block.number;

    /// @inheritdoc IAlithis
    uint256 public totalSupply;

    mapping(uint256 id => Entry) private _entries;

    mapping(uint256 id => PackedLink[]) private _links;

    mapping(uint256 id => mapping(uint256 number => PackedClaim)) private _claims;

    constructor() ERC721("Alithis", "ALITHIS") EIP712("Alithis", "1") {}

    /* MINTING */

    /// @inheritdoc IAlithis
    function mintDataset(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id) {
        id = _publish(Kind.Dataset, msg.sender, commitment, links_);
        _safeMint(msg.sender, id);
    }

    /// @inheritdoc IAlithis
    function mintModel(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id) {
        id = _publish(Kind.Model, msg.sender, commitment, links_);
        _safeMint(msg.sender, id);
    }

    /// @inheritdoc IAlithis
    function mintDatasetFor(
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 id) {
        return _publishFor(Kind.Dataset, publisher, commitment, links_, deadline, signature);
    }

    /// @inheritdoc IAlithis
    function mintModelFor(
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 id) {
        return _publishFor(Kind.Model, publisher, commitment, links_, deadline, signature);
    }

    /// @inheritdoc IAlithis
    function revokeNonce() external returns (uint256 nonce) {
        nonce = _useNonce(msg.sender);
        emit NonceRevoked(msg.sender, nonce);
    }

    /* EVIDENCE */

    /// @inheritdoc IAlithis
    function attest(uint256 id, bytes32 leaf, uint256 index, bytes32[] calldata path) external {
        Entry storage entry = _entry(id);
        _requireIncluded(entry, id, leaf, index, path);
        ++entry.attestations;
        emit Attested(id, leaf, msg.sender, index);
    }

    /// @inheritdoc IAlithis
    function countersign(uint256 id, uint256 position) external {
        (uint64 bits, uint256 target) = _linkToOwned(id, position);
        if (bits & _COUNTERSIGNED != 0) revert AlreadyCountersigned(id, position);
        _links[id][position] = PackedLink.wrap(bits | _COUNTERSIGNED);
        emit Countersigned(id, target, msg.sender, position);
    }

    /// @inheritdoc IAlithis
    function retractCountersignature(uint256 id, uint256 position) external {
        (uint64 bits, uint256 target) = _linkToOwned(id, position);
        if (bits & _COUNTERSIGNED == 0) revert NotCountersigned(id, position);
        _links[id][position] = PackedLink.wrap(bits & ~_COUNTERSIGNED);
        emit CountersignatureRetracted(id, target, msg.sender, position);
    }

    /// @inheritdoc IAlithis
    function claim(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path,
        string calldata uri
    ) external returns (uint256 number) {
        Entry storage entry = _entry(id);
        _requireIncluded(entry, id, leaf, index, path);
        _requireShort(uri);
        number = ++entry.claims;
        ++entry.openClaims;
        uint40 time = uint40(block.timestamp);
        _claims[id][number] = PackedClaim(leaf, msg.sender, time, ClaimStatus.Open);
        emit Claimed(id, leaf, msg.sender, number, time, uri);
    }

    /// @inheritdoc IAlithis
    function answerClaim(uint256 id, uint256 number, ClaimStatus answer, string calldata uri) external {
        Entry storage entry = _entry(id);
        _requireOwner(id);
        PackedClaim storage packed = _claim(id, number);
        ClaimStatus status = packed.status;
        if (answer <= status) revert InvalidAnswer(id, number, status, answer);
        if (answer == ClaimStatus.Removed && entry.supersededBy == 0) revert NotSuperseded(id);
        _requireShort(uri);
        packed.status = answer;
        if (status == ClaimStatus.Open) --entry.openClaims;
        emit ClaimAnswered(id, number, msg.sender, answer, uri);
    }

    /// @inheritdoc IAlithis
    function reportDisorder(
        uint256 id,
        uint256 lower,
        bytes32 lowerLeaf,
        bytes32[] calldata lowerPath,
        uint256 upper,
        bytes32 upperLeaf,
        bytes32[] calldata upperPath
    ) external {
        Entry storage entry = _entry(id);
        if (entry.disordered) revert AlreadyDisordered(id);
        if (lower >= upper || lowerLeaf < upperLeaf) revert NoDisorder(lower, lowerLeaf, upper, upperLeaf);
        _requireIncluded(entry, id, lowerLeaf, lower, lowerPath);
        _requireIncluded(entry, id, upperLeaf, upper, upperPath);
        entry.disordered = true;
        emit Disordered(id, msg.sender, lower, lowerLeaf, upper, upperLeaf);
    }

    /// @inheritdoc IAlithis
    function withdraw(uint256 id, string calldata uri) external {
        Entry storage entry = _entry(id);
        _requireOwner(id);
        if (entry.withdrawn) revert AlreadyWithdrawn(id);
        _requireShort(uri);
        entry.withdrawn = true;
        emit Withdrawn(id, msg.sender, uri);
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
                disordered: entry.disordered,
                attestations: entry.attestations,
                claims: entry.claims,
                openClaims: entry.openClaims
            });
    }

    /// @inheritdoc IAlithis
    function links(uint256 id) external view returns (LinkRecord[] memory) {
        _entry(id);
        PackedLink[] memory packed = _links[id];
        LinkRecord[] memory unpacked = new LinkRecord[](packed.length);
        for (uint256 i = 0; i < packed.length; ++i) {
            uint64 bits = PackedLink.unwrap(packed[i]);
            unpacked[i] = LinkRecord(bits >> 16, Relation(uint8(bits)), bits & _COUNTERSIGNED != 0);
        }
        return unpacked;
    }

    /// @inheritdoc IAlithis
    function claimOf(uint256 id, uint256 number) external view returns (Claim memory) {
        _entry(id);
        PackedClaim storage packed = _claim(id, number);
        return Claim(packed.leaf, packed.claimant, packed.time, packed.status);
    }

    /// @inheritdoc IAlithis
    function isDerivedFrom(uint256 id, uint256 ancestor) external view returns (bool) {
        _entry(id);
        _entry(ancestor);
        if (id <= ancestor) return false;
        // Links lead to smaller ids: a queue of what lies between the two ends, however the links cross.
        uint256 limit = Math.min(id - ancestor, _MAX_LINEAGE);
        uint64[] memory seen = new uint64[](2 * limit);
        uint256[] memory queue = new uint256[](limit);
        queue[0] = id;
        uint256 count = 1;
        for (uint256 i = 0; i < count; ++i) {
            PackedLink[] storage packed = _links[queue[i]];
            for (uint256 j = 0; j < packed.length; ++j) {
                uint64 bits = PackedLink.unwrap(packed[j]);
                uint64 target = bits >> 16;
                if (target < ancestor || !_derives(Relation(uint8(bits)))) continue;
                if (target == ancestor) return true;
                if (!_add(seen, target)) continue;
                if (count == limit) revert LineageTooLarge(id, ancestor, limit);
                queue[count] = target;
                ++count;
            }
        }
        return false;
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

    /// @inheritdoc IAlithis
    function verifyExclusion(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32 left,
        bytes32[] calldata leftPath,
        bytes32 right,
        bytes32[] calldata rightPath
    ) external view returns (bool) {
        Entry storage entry = _entry(id);
        if (entry.disordered) return false;
        return MerkleTree.verifyExclusion(entry.root, entry.size, leaf, index, left, leftPath, right, rightPath);
    }

    /// @inheritdoc IAlithis
    function nonces(address publisher) public view override(IAlithis, Nonces) returns (uint256) {
        return super.nonces(publisher);
    }

    /// @inheritdoc ERC721
    function tokenURI(uint256 id) public view override returns (string memory) {
        bytes memory cid = abi.encodePacked(_CID_PREFIX, _entry(id).metadataDigest);
        // Multibase "f" stands where toHexString has "0x".
        return string.concat("ipfs://f", string(Bytes.slice(bytes(Strings.toHexString(cid)), 2)));
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return
            interfaceId == type(IAlithis).interfaceId ||
            interfaceId == type(IERC5267).interfaceId ||
            super.supportsInterface(interfaceId);
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
            disordered: false,
            attestations: 0,
            claims: 0,
            openClaims: 0
        });
        emit Minted(
            id,
            commitment.root,
            publisher,
            kind,
            commitment.scheme,
            commitment.size,
            commitment.metadataDigest,
            uint40(block.timestamp)
        );
        if (links_.length != 0) _link(id, kind, publisher, links_);
    }

    function _publishFor(
        Kind kind,
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 deadline,
        bytes calldata signature
    ) private returns (uint256 id) {
        // A block's clock may be off by seconds: so may a deadline.
        // slither-disable-next-line timestamp
        if (block.timestamp > deadline) revert ExpiredSignature(deadline);
        // Used up before a publisher that is a contract is asked, and given back if it refuses.
        uint256 nonce = _useNonce(publisher);
        bytes32 digest = _hashTypedDataV4(_hashMint(kind, publisher, commitment, links_, nonce, deadline));
        if (!SignatureChecker.isValidSignatureNowCalldata(publisher, digest, signature)) {
            revert InvalidSignature(publisher, nonce);
        }
        id = _publish(kind, publisher, commitment, links_);
        emit Relayed(id, publisher, msg.sender, nonce);
        _safeMint(publisher, id);
    }

    function _link(uint256 id, Kind kind, address publisher, Link[] calldata links_) private {
        if (links_.length > _MAX_LINKS) revert TooManyLinks(links_.length, _MAX_LINKS);
        PackedLink[] memory packed = new PackedLink[](links_.length);
        uint64[] memory seen = new uint64[](2 * links_.length);
        for (uint256 i = 0; i < links_.length; ++i) {
            (uint256 target, Relation relation) = (links_[i].target, links_[i].relation);
            if (target == 0 || target >= id) revert UnknownTarget(i, target);
            Kind targetKind = _kind(_entries[target]);
            if (!_relates(kind, relation, targetKind)) revert WrongRelation(i, kind, relation, targetKind);
            uint64 bits = (uint64(target) << 16) | uint64(relation);
            packed[i] = PackedLink.wrap(bits);
            if (!_add(seen, bits)) revert DuplicateLink(i, target, relation);
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

    function _linkToOwned(uint256 id, uint256 position) private view returns (uint64 bits, uint256 target) {
        _entry(id);
        if (position >= _links[id].length) revert NonexistentLink(id, position);
        bits = PackedLink.unwrap(_links[id][position]);
        target = bits >> 16;
        _requireOwner(target);
    }

    function _requireOwner(uint256 id) private view {
        address owner = _ownerOf(id);
        if (owner != msg.sender) revert NotOwner(id, owner, msg.sender);
    }

    function _requireIncluded(
        Entry storage entry,
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path
    ) private view {
        if (!MerkleTree.verifyInclusion(entry.root, entry.size, leaf, index, path)) revert NotIncluded(id, leaf, index);
    }

    function _claim(uint256 id, uint256 number) private view returns (PackedClaim storage packed) {
        packed = _claims[id][number];
        if (packed.claimant == address(0)) revert NonexistentClaim(id, number);
    }

    function _entry(uint256 id) private view returns (Entry storage entry) {
        entry = _entries[id];
        if (entry.publisher == address(0)) revert ERC721NonexistentToken(id);
    }

    function _kind(Entry storage entry) private view returns (Kind) {
        return Kind(entry.kindAndScheme & 0x0f);
    }

    function _requireShort(string calldata uri) private pure {
        uint256 length = bytes(uri).length;
        if (length > _MAX_URI) revert UriTooLong(length, _MAX_URI);
    }

    // What a publisher signs: EIP-712's hashStruct of MintDataset or MintModel.
    function _hashMint(
        Kind kind,
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 nonce,
        uint256 deadline
    ) private pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](links_.length);
        for (uint256 i = 0; i < links_.length; ++i) {
            hashes[i] = keccak256(abi.encode(_LINK_TYPEHASH, links_[i]));
        }
        return
            keccak256(
                abi.encode(
                    kind == Kind.Dataset ? _MINT_DATASET_TYPEHASH : _MINT_MODEL_TYPEHASH,
                    publisher,
                    keccak256(abi.encode(_COMMITMENT_TYPEHASH, commitment)),
                    keccak256(abi.encodePacked(hashes)),
                    nonce,
                    deadline
                )
            );
    }

    function _derives(Relation relation) private pure returns (bool) {
        return
            relation == Relation.DerivedFrom ||
            relation == Relation.TrainedOn ||
            relation == Relation.FineTunedFrom ||
            relation == Relation.DistilledFrom;
    }

    function _relates(Kind kind, Relation relation, Kind targetKind) private pure returns (bool) {
        if (relation == Relation.Supersedes) return kind == targetKind;
        if (kind == Kind.Dataset) return targetKind == Kind.Dataset && relation == Relation.DerivedFrom;
        if (targetKind == Kind.Model) return relation == Relation.FineTunedFrom || relation == Relation.DistilledFrom;
        return
            relation == Relation.TrainedOn || relation == Relation.ValidatedOn || relation == Relation.TestedOn;
    }

    /// @notice Adds a number to a hash set with room to spare, unless it is there.
    /// @param set Slots of the set, 0 where empty.
    /// @param number The number, not 0.
    /// @return Whether it was added.
    function _add(uint64[] memory set, uint64 number) private pure returns (bool) {
        uint256 slot = uint256(keccak256(abi.encode(number))) % set.length;
        while (set[slot] != 0) {
            if (set[slot] == number) return false;
            slot = (slot + 1) % set.length;
        }
        set[slot] = number;
        return true;
    }
}
