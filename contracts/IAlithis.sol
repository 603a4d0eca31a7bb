// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Alithis: commitments to datasets and models, and the links between them
/// @author The Alithis authors
/// @notice Each ERC-721 token commits to one artifact, a dataset or a model, data point by data point: it holds the
/// root of a Merkle tree over the artifact's leaves, so that anyone can prove to this contract that a data point is in
/// it. A token's links name the older tokens that the artifact was made from.
/// @dev Ids count from 1 and are never burnt. A commitment, its publisher and its links never change once minted. Beside
/// them stand a token's statuses (superseded, withdrawn, disordered), which are set once and never cleared, its claims,
/// whose answers only move towards the claimant, and the counts of both claims and attestations. A link's
/// countersignature alone can be taken back. There is no owner, no fee and no upgrade: anyone may publish.
///
/// The events hold all of this state: whoever has every event needs no call. Texts that come with claims, answers and
/// withdrawals are in the events alone.
///
/// The tree is that of RFC 9162, section 2.1, with SHA-256, over the artifact's distinct leaves in ascending order.
///
/// Beside this interface the contract is an ERC-721 token with its metadata extension. Its `tokenURI` is
/// `ipfs://f01551220` followed by the metadata digest in lower-case hexadecimal: the CIDv1 of a raw block is its
/// SHA-256, so the URI needs no storage and whoever fetches it can check it. Its `multicall(bytes[])` makes several
/// calls in one, all or none, from the same sender. Its `eip712Domain()` (ERC-5267) says what signatures are made for.
///
/// @dev Warning: A commitment is what its publisher states. The contract checks that it is well-formed, not that the
/// content exists, that the leaves ascend, that the size is true or that the publisher holds any right.
/// @dev Warning: Roots and metadata digests are not unique, lest a copier block the author by minting first. Who was
/// first shows in the order of the `Minted` events of a root.
/// @dev Warning: A link is stated by the token's publisher alone. Only a countersignature shows that the target's owner
/// confirms it; `Supersedes` needs that owner from the start.
/// @dev Warning: Texts in events are whatever their sender wrote: never more than 1,024 bytes, and nothing else is
/// checked. Show them as text, and fetch nothing from them unasked.
/// @dev Warning: Ids are given in the order of the chain. Until the block of a mint is final another token may come to
/// bear its id: wait before you link to it, countersign or sign.
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

    /// @notice How a claim has been answered.
    /// @dev In the order in which answers may follow each other: towards the claimant, never back.
    /// Open: not at all. Rejected: the owner denies it. Accepted: the owner grants it. Removed: the owner has published
    /// an artifact without the data point, the one that supersedes the token.
    enum ClaimStatus {
        Open,
        Rejected,
        Accepted,
        Removed
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

    /// @notice A link, and whether it is more than the publisher's word.
    /// @param target Id of the older token.
    /// @param relation How the artifact came from it.
    /// @param countersigned Whether the target's owner has confirmed it, and no owner taken that back.
    struct LinkRecord {
        uint256 target;
        Relation relation;
        bool countersigned;
    }

    /// @notice What somebody says against the use of a data point that is in a token's tree.
    /// @param leaf The data point's leaf.
    /// @param claimant Who filed the claim.
    /// @param time When: seconds since 1970, by the block's clock.
    /// @param status How it has been answered.
    struct Claim {
        bytes32 leaf;
        address claimant;
        uint64 time;
        ClaimStatus status;
    }

    /// @notice A token's commitment, where it comes from, its statuses and its counts.
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
    /// @param attestations How many times somebody has proved to this contract that a data point is in it.
    /// @param claims How many claims there are: they are numbered from 1 to this.
    /// @param openClaims How many of them nobody has answered.
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
        uint64 attestations;
        uint64 claims;
        uint64 openClaims;
    }

    /// @notice A token was minted. With its `Linked` events, this is all that its record and links hold.
    /// @param id Id of the token.
    /// @param root Merkle tree hash over the leaves.
    /// @param publisher Who minted it.
    /// @param kind Dataset or model.
    /// @param scheme How the leaves are made.
    /// @param size Number of leaves.
    /// @param metadataDigest SHA-256 of the metadata document.
    /// @param time When: seconds since 1970, by the block's clock.
    event Minted(
        uint256 indexed id,
        bytes32 indexed root,
        address indexed publisher,
        Kind kind,
        Scheme scheme,
        uint64 size,
        bytes32 metadataDigest,
        uint64 time
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

    /// @notice A token was minted by somebody else, with its publisher's signature.
    /// @param id Id of the token.
    /// @param publisher Who signed.
    /// @param relayer Who sent it.
    /// @param nonce The publisher's nonce that was used up.
    event Relayed(uint256 indexed id, address indexed publisher, address indexed relayer, uint256 nonce);

    /// @notice A publisher used up a nonce, so that what it signed with it is void.
    /// @param publisher Whose nonce.
    /// @param nonce The nonce.
    event NonceRevoked(address indexed publisher, uint256 indexed nonce);

    /// @notice Somebody proved that a leaf is in a token's tree.
    /// @param id Id of the token.
    /// @param leaf The leaf.
    /// @param attester Who proved it.
    /// @param index The leaf's place, from 0.
    event Attested(uint256 indexed id, bytes32 indexed leaf, address indexed attester, uint256 index);

    /// @notice The owner of a link's target confirmed the link.
    /// @param id Id of the token that has the link.
    /// @param target Id of the older token.
    /// @param owner Who owned the target.
    /// @param position Place among the token's links, from 0.
    event Countersigned(uint256 indexed id, uint256 indexed target, address indexed owner, uint256 position);

    /// @notice The owner of a link's target took the confirmation back.
    /// @param id Id of the token that has the link.
    /// @param target Id of the older token.
    /// @param owner Who owned the target: not always who had confirmed the link.
    /// @param position Place among the token's links, from 0.
    event CountersignatureRetracted(
        uint256 indexed id,
        uint256 indexed target,
        address indexed owner,
        uint256 position
    );

    /// @notice Somebody filed a claim.
    /// @param id Id of the token.
    /// @param leaf The leaf it is about.
    /// @param claimant Who filed it.
    /// @param number Its number among the token's claims, from 1.
    /// @param time When: seconds since 1970, by the block's clock.
    /// @param uri Where the claim is set out, in the claimant's words.
    event Claimed(
        uint256 indexed id,
        bytes32 indexed leaf,
        address indexed claimant,
        uint256 number,
        uint64 time,
        string uri
    );

    /// @notice A token's owner answered a claim.
    /// @param id Id of the token.
    /// @param number The claim's number.
    /// @param owner Who owned the token.
    /// @param answer The answer.
    /// @param uri Where the answer is set out, in the owner's words.
    event ClaimAnswered(
        uint256 indexed id,
        uint256 indexed number,
        address indexed owner,
        ClaimStatus answer,
        string uri
    );

    /// @notice Somebody proved that a token's leaves do not ascend.
    /// @dev The places are not indexed: nobody asks for what stands at a place of any token.
    /// @param id Id of the token.
    /// @param reporter Who proved it.
    /// @param lower Place of the first leaf.
    /// @param lowerLeaf The first leaf, which is not below the second.
    /// @param upper Place of the second leaf, above the first's.
    /// @param upperLeaf The second leaf.
    event Disordered( // solhint-disable-line gas-indexed-events
        uint256 indexed id,
        address indexed reporter,
        uint256 lower,
        bytes32 lowerLeaf,
        uint256 upper,
        bytes32 upperLeaf
    );

    /// @notice A token's owner withdrew it.
    /// @param id Id of the token.
    /// @param owner Who owned it.
    /// @param uri Where the reason is set out, in the owner's words.
    event Withdrawn(uint256 indexed id, address indexed owner, string uri);

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

    /// @notice Only a token's owner may do this, not an operator nor the publisher who gave it away.
    /// @param id Id of the token.
    /// @param owner Who owns it.
    /// @param sender Who tried.
    error NotOwner(uint256 id, address owner, address sender);

    /// @notice The proof does not show the leaf at this place of the token's tree.
    /// @param id Id of the token.
    /// @param leaf The leaf.
    /// @param index The place.
    error NotIncluded(uint256 id, bytes32 leaf, uint256 index);

    /// @notice The token has no such link.
    /// @param id Id of the token.
    /// @param position The place given.
    error NonexistentLink(uint256 id, uint256 position);

    /// @notice The link is countersigned.
    /// @param id Id of the token.
    /// @param position Place of the link.
    error AlreadyCountersigned(uint256 id, uint256 position);

    /// @notice The link is not countersigned.
    /// @param id Id of the token.
    /// @param position Place of the link.
    error NotCountersigned(uint256 id, uint256 position);

    /// @notice The token has no such claim.
    /// @param id Id of the token.
    /// @param number The number given.
    error NonexistentClaim(uint256 id, uint256 number);

    /// @notice The answer would not move the claim towards the claimant.
    /// @param id Id of the token.
    /// @param number The claim's number.
    /// @param status How it has been answered.
    /// @param answer The answer given.
    error InvalidAnswer(uint256 id, uint256 number, ClaimStatus status, ClaimStatus answer);

    /// @notice No token supersedes this one, so that nothing can have been removed.
    /// @param id Id of the token.
    error NotSuperseded(uint256 id);

    /// @notice The token has been withdrawn before.
    /// @param id Id of the token.
    error AlreadyWithdrawn(uint256 id);

    /// @notice The token's leaves have been proved not to ascend before.
    /// @param id Id of the token.
    error AlreadyDisordered(uint256 id);

    /// @notice The two leaves stand in order, or the places do not, so that nothing is proved against the token.
    /// @param lower Place of the first leaf.
    /// @param lowerLeaf The first leaf.
    /// @param upper Place of the second leaf.
    /// @param upperLeaf The second leaf.
    error NoDisorder(uint256 lower, bytes32 lowerLeaf, uint256 upper, bytes32 upperLeaf);

    /// @notice The URI has more bytes than an event should hold.
    /// @param length How many it has.
    /// @param limit How many it may have.
    error UriTooLong(uint256 length, uint256 limit);

    /// @notice More tokens lie between the two than one call walks through.
    /// @param id Id of the token.
    /// @param ancestor Id of the older token.
    /// @param limit How many tokens it walks through.
    error LineageTooLarge(uint256 id, uint256 ancestor, uint256 limit);

    /// @notice The time within which the signature counts is over.
    /// @param deadline When it ended: seconds since 1970.
    error ExpiredSignature(uint256 deadline);

    /// @notice The publisher has not signed this mint: another field, another chain, another contract, a nonce other
    /// than the publisher's next, or no valid signature at all.
    /// @param publisher Who should have signed.
    /// @param nonce The publisher's next nonce.
    error InvalidSignature(address publisher, uint256 nonce);

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

    /// @notice Mints a dataset token to a publisher who has signed for it, so that the sender pays.
    /// @dev Anyone may send it. The signature is over EIP-712's MintDataset(address publisher,Commitment commitment,
    /// Link[] links,uint256 nonce,uint256 deadline), with Commitment(bytes32 root,uint64 size,uint8 scheme,bytes32
    /// metadataDigest) and Link(uint256 target,uint8 relation), in the domain that `eip712Domain()` tells, and with the
    /// publisher's next nonce: 65 bytes by the publisher's key, with the lower s, or whatever a publisher that is a
    /// contract accepts (ERC-1271). The same rules hold as for `mintDataset`, with the signer as the sender.
    /// @param publisher Who signed, and owns the token.
    /// @param commitment The dataset's commitment.
    /// @param links_ Older datasets it was made from or supersedes, in any order: at most 256, none twice.
    /// @param deadline Until when the signature counts, that second included: seconds since 1970.
    /// @param signature The publisher's signature.
    /// @return id Id of the token.
    function mintDatasetFor(
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 id);

    /// @notice Mints a model token to a publisher who has signed for it, so that the sender pays.
    /// @dev As `mintDatasetFor`, with MintModel in MintDataset's place.
    /// @param publisher Who signed, and owns the token.
    /// @param commitment The model's commitment.
    /// @param links_ Datasets and older models it was made from or supersedes, in any order: at most 256, none twice.
    /// @param deadline Until when the signature counts, that second included: seconds since 1970.
    /// @param signature The publisher's signature.
    /// @return id Id of the token.
    function mintModelFor(
        address publisher,
        Commitment calldata commitment,
        Link[] calldata links_,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 id);

    /// @notice Uses up the sender's next nonce, so that whatever it signed with it can be minted no more.
    /// @dev Signatures with later nonces stay: they come into force once their turn comes.
    /// @return nonce The nonce.
    function revokeNonce() external returns (uint256 nonce);

    /// @notice Proves that a leaf is in a token's tree, for the record: the token counts it, the event holds it.
    /// @dev Anyone may, for any token, any number of times. Reverts with NotIncluded where `verifyInclusion` is false.
    /// @dev Warning: Leaves are public. That somebody can prove one does not show that they hold the data point; and a
    /// count of attestations is no count of people.
    /// @param id Id of the token.
    /// @param leaf The leaf, 32 bytes, before the tree's leaf hash.
    /// @param index Its place among the leaves, from 0.
    /// @param path The inclusion path, from the leaf's sibling up.
    function attest(uint256 id, bytes32 leaf, uint256 index, bytes32[] calldata path) external;

    /// @notice Confirms a link to a token that the sender owns: the artifact was made from it as the link says.
    /// @dev Only the target's owner at the time may, no operator. It stays when the target is sold.
    /// @param id Id of the token that has the link.
    /// @param position Place among the token's links, from 0.
    function countersign(uint256 id, uint256 position) external;

    /// @notice Takes back the confirmation of a link to a token that the sender owns.
    /// @dev Only the target's owner at the time may, even if an earlier owner had confirmed the link. The events keep
    /// who confirmed it, who took that back, and when.
    /// @param id Id of the token that has the link.
    /// @param position Place among the token's links, from 0.
    function retractCountersignature(uint256 id, uint256 position) external;

    /// @notice Files a claim about a data point that is in a token's tree: consent, licence, personal data.
    /// @dev Anyone may, with a proof. It can't be taken back. Reverts with NotIncluded where `verifyInclusion` is false.
    /// @dev Warning: Leaves are public. The proof shows that the data point is in the tree, not that the claimant has
    /// any right in it.
    /// @param id Id of the token.
    /// @param leaf The leaf, 32 bytes, before the tree's leaf hash.
    /// @param index Its place among the leaves, from 0.
    /// @param path The inclusion path, from the leaf's sibling up.
    /// @param uri Where the claim is set out: at most 1,024 bytes, none at all if there is nothing to add.
    /// @return number Its number among the token's claims, from 1.
    function claim(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32[] calldata path,
        string calldata uri
    ) external returns (uint256 number);

    /// @notice Answers a claim about a token that the sender owns.
    /// @dev Only the token's owner at the time may, no operator. An answer may be followed by another that goes further
    /// towards the claimant (Rejected, Accepted, Removed), and by no other. Removed needs that the token has been
    /// superseded.
    /// @dev Warning: That the superseding artifact lacks the data point is the owner's word. Under the Sha256 scheme
    /// anyone can check it by `verifyExclusion` of the leaf in the superseding token.
    /// @param id Id of the token.
    /// @param number The claim's number, from 1.
    /// @param answer The answer.
    /// @param uri Where the answer is set out: at most 1,024 bytes, none at all if there is nothing to add.
    function answerClaim(uint256 id, uint256 number, ClaimStatus answer, string calldata uri) external;

    /// @notice Marks a token for ever as one whose leaves do not ascend, so that its proofs of absence prove nothing.
    /// @dev Anyone may, with two leaves that stand in the wrong order or are equal. An inclusion proof and an exclusion
    /// proof of the same leaf hold such a pair.
    /// @param id Id of the token.
    /// @param lower Place of the first leaf.
    /// @param lowerLeaf The first leaf, not below the second.
    /// @param lowerPath The first leaf's inclusion path.
    /// @param upper Place of the second leaf, above the first's.
    /// @param upperLeaf The second leaf.
    /// @param upperPath The second leaf's inclusion path.
    function reportDisorder(
        uint256 id,
        uint256 lower,
        bytes32 lowerLeaf,
        bytes32[] calldata lowerPath,
        uint256 upper,
        bytes32 upperLeaf,
        bytes32[] calldata upperPath
    ) external;

    /// @notice Withdraws a token that the sender owns: its owner stands by the artifact no more.
    /// @dev Only the token's owner at the time may, no operator, and once. Nothing is deleted: the record stays, can be
    /// proved against, linked to and claimed against, and the token can be sold.
    /// @param id Id of the token.
    /// @param uri Where the reason is set out: at most 1,024 bytes, none at all if there is nothing to add.
    function withdraw(uint256 id, string calldata uri) external;

    /// @notice A token's record.
    /// @dev Reverts with ERC721NonexistentToken if there is no such token.
    /// @param id Id of the token.
    /// @return The record.
    function record(uint256 id) external view returns (Record memory);

    /// @notice A token's links, in the order in which they were given.
    /// @dev Reverts with ERC721NonexistentToken if there is no such token.
    /// @param id Id of the token.
    /// @return The links.
    function links(uint256 id) external view returns (LinkRecord[] memory);

    /// @notice A claim against a token.
    /// @dev Reverts with ERC721NonexistentToken if there is no such token, with NonexistentClaim if there is no such
    /// claim.
    /// @param id Id of the token.
    /// @param number The claim's number, from 1 to the record's `claims`.
    /// @return The claim.
    function claimOf(uint256 id, uint256 number) external view returns (Claim memory);

    /// @notice Whether a token was made from an older one, by the links: directly or through other tokens.
    /// @dev Follows DerivedFrom, TrainedOn, FineTunedFrom and DistilledFrom; not ValidatedOn and TestedOn, which measure
    /// an artifact and are not in it, nor Supersedes. No token is made from itself. Each token on the way is visited
    /// once; where they are more than 1,024, the first included, it reverts with LineageTooLarge. Reverts with ERC721NonexistentToken if there
    /// is no such token.
    /// @dev Warning: Links are what publishers state. False shows that none states it, not that it is not so.
    /// @param id Id of the token.
    /// @param ancestor Id of the older token.
    /// @return Whether a chain of such links leads from the token to the older one.
    function isDerivedFrom(uint256 id, uint256 ancestor) external view returns (bool);

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

    /// @notice Whether a leaf is absent from the tree that a token commits to, by the two leaves between which it would
    /// stand.
    /// @dev False for every proof that does not hold, however malformed, at a cost bounded by the tree's depth; and for
    /// every proof once the token is disordered. Reverts with ERC721NonexistentToken if there is no such token.
    /// @dev Warning: This holds as long as the leaves ascend, which nobody has checked. Whoever finds that they do not
    /// can prove it by `reportDisorder`.
    /// @dev Warning: True shows that the commitment does not cover the leaf. It does not show that the data was not used,
    /// nor that a data point that differs in one bit is absent.
    /// @param id Id of the token.
    /// @param leaf The leaf, 32 bytes, before the tree's leaf hash.
    /// @param index Where it would stand: how many leaves are below it.
    /// @param left The leaf at `index - 1`; zero where `index` is 0.
    /// @param leftPath Its inclusion path; empty where `index` is 0.
    /// @param right The leaf at `index`; zero where `index` is the tree's size.
    /// @param rightPath Its inclusion path; empty where `index` is the tree's size.
    /// @return Whether the neighbours stand side by side in the tree, the leaf strictly between them.
    function verifyExclusion(
        uint256 id,
        bytes32 leaf,
        uint256 index,
        bytes32 left,
        bytes32[] calldata leftPath,
        bytes32 right,
        bytes32[] calldata rightPath
    ) external view returns (bool);

    /// @notice A publisher's next nonce, which its next signature must be over.
    /// @param publisher The publisher.
    /// @return The nonce: how many it has used up.
    function nonces(address publisher) external view returns (uint256);

    /// @notice How many tokens have been minted; their ids are 1 to this number.
    /// @return The number of tokens.
    function totalSupply() external view returns (uint256);

    /// @notice The block in which the contract was deployed: where a query of its events starts.
    /// @return The block's number.
    function deploymentBlock() external view returns (uint256);
}
