// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Alithis: commitments to datasets and models, and the links between them
/// @author The Alithis authors
/// @notice Each ERC-721 token commits to one artifact, a dataset or a model, data point by data point: it holds the
/// root of a Merkle tree over the artifact's leaves, so that anyone can prove to this contract that a data point is in
/// it. A token's links name the older tokens that the artifact was made from.
/// @dev Ids count from 1 and are never burnt. A record and its links never change once minted; only the statuses beside
/// them (superseded, withdrawn, disordered) are ever set, and are never cleared. There is no owner, no fee and no
/// upgrade: anyone may publish.
///
/// The tree is that of RFC 9162, section 2.1, with SHA-256, over the artifact's distinct leaves in ascending order.
///
/// Beside this interface the contract is an ERC-721 token with its metadata extension. Its `tokenURI` is
/// `ipfs://f01551220` followed by the metadata digest in lower-case hexadecimal: the CIDv1 of a raw block is its
/// SHA-256, so the URI needs no storage and whoever fetches it can check it. Its `multicall(bytes[])` makes several
/// calls in one.
///
/// @dev Warning: A commitment is what its publisher states. The contract checks that it is well-formed, not that the
/// content exists, that the leaves ascend, that the size is true or that the publisher holds any right.
/// @dev Warning: Roots and metadata digests are not unique, lest a copier block the author by minting first. Who was
/// first shows in the order of the `Minted` events of a root.
/// @dev Warning: A link is stated by the token's publisher alone, without the target's owner, except `Supersedes`.
interface IAlithis {
    /// @notice What a token stands for.
    enum Kind {
        Dataset,
        Model
    }

    /// @notice How a leaf is made from a data point's digest.
    /// @dev Sha256: the leaf is the digest. Keyed: the leaf is an HMAC of the digest under a key of its own, for
    /// personal or guessable data. The contract treats both alike.
    enum Scheme {
        Sha256,
        Keyed
    }

    /// @notice How an artifact came from an older one.
    /// @dev DerivedFrom: dataset to dataset. TrainedOn, ValidatedOn, TestedOn: model to dataset. FineTunedFrom,
    /// DistilledFrom: model to model. Supersedes: to an older token of the same kind that the publisher owns.
    enum Relation {
        DerivedFrom,
        TrainedOn,
        ValidatedOn,
        TestedOn,
        FineTunedFrom,
        DistilledFrom,
        Supersedes
    }

    /// @notice All that the chain holds of an artifact's content.
    /// @param root RFC 9162 Merkle tree hash over the distinct leaves in ascending order. Not zero.
    /// @param size Number of leaves. Neither zero nor above 2^48 - 1.
    /// @param scheme How the leaves are made.
    /// @param metadataDigest SHA-256 of the metadata document. Not zero.
    struct Commitment {
        bytes32 root;
        uint64 size;
        Scheme scheme;
        bytes32 metadataDigest;
    }

    /// @notice A typed edge to an older token.
    /// @param target Id of the older token.
    /// @param relation How the artifact came from it.
    struct Link {
        uint256 target;
        Relation relation;
    }

    /// @notice A token's commitment, where it comes from, and its statuses.
    /// @param kind Dataset or model.
    /// @param scheme How the leaves are made.
    /// @param size Number of leaves.
    /// @param root Merkle tree hash over the leaves.
    /// @param metadataDigest SHA-256 of the metadata document.
    /// @param publisher Who minted it. Never changes: owning the token later does not make one its author.
    /// @param time When it was minted: seconds since 1970, by the block's clock.
    /// @param supersededBy Id of the token that replaces it; 0 while none does.
    /// @param withdrawn Whether it has been withdrawn.
    /// @param disordered Whether its leaves have been proved not to ascend, so that no proof of absence is worth anything.
    // Never stored in this shape, so that its order may serve the reader.
    // solhint-disable-next-line gas-struct-packing
    struct Record {
        Kind kind;
        Scheme scheme;
        uint64 size;
        bytes32 root;
        bytes32 metadataDigest;
        address publisher;
        uint64 time;
        uint256 supersededBy;
        bool withdrawn;
        bool disordered;
    }

    /// @notice A token was minted. With its `Linked` events, this is all that its record and links hold.
    /// @param id Id of the token.
    /// @param root Merkle tree hash over the leaves.
    /// @param publisher Who minted it.
    /// @param kind Dataset or model.
    /// @param scheme How the leaves are made.
    /// @param size Number of leaves.
    /// @param metadataDigest SHA-256 of the metadata document.
    event Minted(
        uint256 indexed id,
        bytes32 indexed root,
        address indexed publisher,
        Kind kind,
        Scheme scheme,
        uint64 size,
        bytes32 metadataDigest
    );

    /// @notice A token was minted with this link.
    /// @param id Id of the token.
    /// @param target Id of the older token.
    /// @param relation How the artifact came from it.
    /// @param position Place among the token's links, from 0.
    event Linked(uint256 indexed id, uint256 indexed target, Relation indexed relation, uint256 position);

    /// @notice A token was replaced by a younger one.
    /// @param id Id of the replaced token.
    /// @param by Id of the token that replaces it.
    event Superseded(uint256 indexed id, uint256 indexed by);

    /// @notice The root is zero.
    /// @param root The root given.
    error InvalidRoot(bytes32 root);

    /// @notice The size is zero or above 2^48 - 1.
    /// @param size The size given.
    error InvalidSize(uint64 size);

    /// @notice The metadata digest is zero.
    /// @param metadataDigest The digest given.
    error InvalidMetadataDigest(bytes32 metadataDigest);

    /// @notice More links than a token may have.
    /// @param count How many were given.
    /// @param limit How many there may be.
    error TooManyLinks(uint256 count, uint256 limit);

    /// @notice A link to a token that does not exist yet.
    /// @param position Place of the link.
    /// @param target Id it names.
    error UnknownTarget(uint256 position, uint256 target);

    /// @notice A relation that does not hold between the two kinds.
    /// @param position Place of the link.
    /// @param kind Kind of the token being minted.
    /// @param relation Relation given.
    /// @param targetKind Kind of the older token.
    error WrongRelation(uint256 position, Kind kind, Relation relation, Kind targetKind);

    /// @notice The same target and relation twice.
    /// @param position Place of the second.
    /// @param target Id it names.
    /// @param relation Relation given.
    error DuplicateLink(uint256 position, uint256 target, Relation relation);

    /// @notice Only its owner may supersede a token.
    /// @param id Id of the token to be superseded.
    /// @param owner Who owns it.
    /// @param publisher Who tried to supersede it.
    error NotOwnerOfSuperseded(uint256 id, address owner, address publisher);

    /// @notice The token has been superseded before.
    /// @param id Id of the token to be superseded.
    /// @param by Id of the token that replaced it.
    error AlreadySuperseded(uint256 id, uint256 by);

    /// @notice Mints a dataset token to the sender, its publisher.
    /// @dev A sender that is a contract must accept ERC-721 tokens; it is asked last, when the token is complete.
    /// @param commitment The dataset's commitment.
    /// @param links_ Older datasets it was made from or supersedes, in any order: at most 256, none twice.
    /// @return id Id of the token.
    function mintDataset(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id);

    /// @notice Mints a model token to the sender, its publisher.
    /// @dev A sender that is a contract must accept ERC-721 tokens; it is asked last, when the token is complete.
    /// @param commitment The model's commitment.
    /// @param links_ Datasets and older models it was made from or supersedes, in any order: at most 256, none twice.
    /// @return id Id of the token.
    function mintModel(Commitment calldata commitment, Link[] calldata links_) external returns (uint256 id);

    /// @notice A token's record.
    /// @dev Reverts with ERC721NonexistentToken if there is no such token.
    /// @param id Id of the token.
    /// @return The record.
    function record(uint256 id) external view returns (Record memory);

    /// @notice A token's links, in the order in which they were given.
    /// @dev Reverts with ERC721NonexistentToken if there is no such token.
    /// @param id Id of the token.
    /// @return The links.
    function links(uint256 id) external view returns (Link[] memory);

    /// @notice Whether a leaf stands at an index in the tree that a token commits to: RFC 9162, section 2.1.3.2.
    /// @dev False for every proof that does not hold, however malformed, at a cost bounded by the tree's depth. Reverts
    /// with ERC721NonexistentToken if there is no such token.
    /// @dev Warning: True shows that the commitment covers the leaf. It does not show what was done with the data.
    /// @param id Id of the token.
    /// @param leaf The leaf, 32 bytes, before the tree's leaf hash.
    /// @param index Its place among the leaves, from 0.
    /// @param path The inclusion path, from the leaf's sibling up.
    /// @return Whether the path leads from the leaf to the token's root.
    function verifyInclusion(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path
    ) external view returns (bool);

    /// @notice How many tokens have been minted; their ids are 1 to this number.
    /// @return The number of tokens.
    function totalSupply() external view returns (uint256);

    /// @notice The block in which the contract was deployed: where a query of its events starts.
    /// @return The block's number.
    function deploymentBlock() external view returns (uint256);
}
