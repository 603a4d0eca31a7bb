"""Minting: what a token commits to, what its publisher signs, and the checks before sending.

Nothing here signs or sends a transaction: that needs a key, which a wallet or the Ape plugin
(``alithis_ape``) has. Everything is computed from plain values (root, size, scheme, metadata
digest, links), so that minting needs no manifest files.

Sources: EIP-712, `docs/format.md` ("Signed mints"), `contracts/IAlithis.sol`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

from alithis.base.untrusted_json import parse
from alithis.chain.abi import interface
from alithis.chain.filecoin import format_fil
from alithis.chain.records import Link, Record
from alithis.chain.registry import Registry
from alithis.chain.rpc import Transport
from alithis.chain.values import WORD, parse_quantity
from alithis.errors import FormatError, MintError, RefusedError, RpcError, TransportError
from alithis.manifest.terms import Kind, Relation, Scheme

VERSION = 1
"""Version of the format of a signed mint's file."""
MAX_BYTES = 256 * 1024
"""Maximum size of such a file in bytes."""
MAX_SIGNATURE = 8192
"""Maximum size of a signature in bytes: with an ERC-1271 wallet it may contain many signatures."""

_PRIMARY = {Kind.DATASET: "MintDataset", Kind.MODEL: "MintModel"}
_DOMAIN = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
}
_COMMITMENT = {"root": "bytes32", "size": "uint64", "scheme": "uint8", "metadataDigest": "bytes32"}
_LINK = {"target": "uint256", "relation": "uint8"}
_MINT = {
    "publisher": "address",
    "commitment": "Commitment",
    "links": "Link[]",
    "nonce": "uint256",
    "deadline": "uint256",
}


class Call(NamedTuple):
    """A call of the contract: the method's name and its arguments, as the ABI takes them."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a token commits to.

    Attributes:
        root: tree hash over the leaves, 32 bytes.
        size: number of leaves.
        scheme: how the leaves are made.
        metadata_digest: SHA-256 of metadata.json, 32 bytes.
    """

    root: bytes
    size: int
    scheme: Scheme
    metadata_digest: bytes

    def encoded(self) -> tuple[bytes, int, int, bytes]:
        """Return the tuple that the contract expects."""
        return self.root, self.size, self.scheme.number, self.metadata_digest


def mint_call(kind: Kind, commitment: Commitment, links: Iterable[Link]) -> Call:
    """Return the call of a publisher that mints without a relayer."""
    return Call(_method(kind), (commitment.encoded(), _encoded(links)))


def _method(kind: Kind) -> str:
    return {Kind.DATASET: "mintDataset", Kind.MODEL: "mintModel"}[kind]


def _encoded(links: Iterable[Link]) -> list[tuple[int, int]]:
    return [(link.target, link.relation.number) for link in links]


# -- Links to older tokens -----------------------------------------------------------------------


class StatedInput(Protocol):
    """An input that a model's metadata states, such as `alithis.manifest.transcript.Input`."""

    @property
    def relation(self) -> str:
        """How the model was made from it, such as ``trained_on``."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def metadata(self) -> bytes:
        """SHA-256 of its metadata.json, 32 bytes."""


def input_links(
    registry: Registry, inputs: Sequence[StatedInput], chosen: Iterable[Link] = ()
) -> list[Link]:
    """Find the tokens of a model's inputs: for each input, the oldest token of its publisher.

    Args:
        registry: the registry; tokens are found by their metadata digest.
        inputs: the inputs that the model's metadata states.
        chosen: the user's own links; an input with such a link needs no other.

    Raises:
        MintError: an input has no token in the registry, or tokens of several publishers.
    """
    tokens: dict[bytes, list[Record]] = {}
    for record in registry.tokens():
        if not record.withdrawn and not record.disordered:
            tokens.setdefault(record.metadata_digest, []).append(record)
    given = {(link.target, link.relation) for link in chosen}
    links = []
    for stated in inputs:
        relation, records = Relation(stated.relation), tokens.get(stated.metadata, [])
        if not {(record.id, relation) for record in records} & given:
            links.append(Link(_only(records, stated, registry), relation))
    return links


def _only(records: Sequence[Record], stated: StatedInput, registry: Registry) -> int:
    """Choose the token of an input.

    Anybody can copy a public manifest and mint it again. So if several publishers minted the same
    metadata, the user has to say which token is the original.

    Raises:
        MintError: there is no token, or there are tokens of several publishers.
    """
    if not records:
        raise MintError(
            f"{stated.relation} {stated.name}: no token of registry {registry.address} has the "
            f"metadata {stated.metadata.hex()}; mint it first"
        )
    if len({record.publisher for record in records}) > 1:
        raise MintError(
            f"{stated.name} was minted by several publishers (token {_listed(records)}): "
            f"choose with --link {stated.relation}=TOKEN"
        )
    return records[0].id


def check_inputs(inputs: Iterable[StatedInput], links: Iterable[Link]) -> None:
    """Check that the links name a token for each input, for signing without the chain.

    Raises:
        MintError: an input has no link.
    """
    left = [link.relation for link in links]
    for stated in inputs:
        relation = Relation(stated.relation)
        if relation not in left:
            raise MintError(
                f"the input {stated.name} has no token: give --link {relation}=TOKEN, "
                "or sign with access to the registry"
            )
        left.remove(relation)


def find_token(registry: Registry, root: bytes, metadata_digest: bytes, name: str) -> int:
    """Find the only token that commits to a manifest.

    Args:
        registry: the registry.
        root: the manifest's root, 32 bytes.
        metadata_digest: SHA-256 of its metadata.json, 32 bytes.
        name: the manifest's name in errors.

    Raises:
        MintError: there is no such token, or there are several.
    """
    found = [
        record
        for record in registry.tokens()
        if (record.metadata_digest, record.root) == (metadata_digest, root)
    ]
    if not found:
        raise MintError(f"no token of registry {registry.address} commits to {name}; mint it first")
    if len(found) > 1:
        raise MintError(
            f"several tokens commit to {name}: {_listed(found)}. Name one by its number"
        )
    return found[0].id


def _listed(records: Iterable[Record]) -> str:
    return ", ".join(f"{record.id} by {record.publisher}" for record in records)


def target_warnings(links: Iterable[Link], records: Mapping[int, Record]) -> Iterator[str]:
    """Yield the known problems of the tokens that links lead to.

    Args:
        links: the links.
        records: the record of each target.
    """
    for link in links:
        record = records[link.target]
        marks = {
            "was withdrawn": record.withdrawn,
            "was proved not to be in order": record.disordered,
            f"is superseded by token {record.superseded_by}": record.superseded_by,
            f"has {record.open_claims} open claims": record.open_claims,
        }
        for mark, holds in marks.items():
            if holds:
                yield f"{link.relation} {link.target}: the token {mark}"


def minted_before(
    records: Iterable[Record], publisher: str, kind: Kind, commitment: Commitment
) -> Record | None:
    """Return the publisher's first token with the same leaves, if there is one."""
    wanted = (publisher, kind, commitment.root, commitment.size)
    return next(
        (
            record
            for record in records
            if (record.publisher, record.kind, record.root, record.size) == wanted
        ),
        None,
    )


# -- Signed mints: the publisher signs, somebody else sends the transaction -----------------------


@dataclass(frozen=True, slots=True)
class MintRequest:
    """A mint that a publisher signs, so that somebody else can send and pay for it.

    Attributes:
        kind: dataset or model.
        publisher: the publisher's address.
        commitment: what the token commits to.
        links: links to the older tokens that the artifact was made from.
        nonce: the publisher's next nonce in the registry.
        deadline: the last time at which it may be sent, in seconds since 1970.
        chain: the chain's id.
        registry: the registry's address.
    """

    kind: Kind
    publisher: str
    commitment: Commitment
    links: tuple[Link, ...]
    nonce: int
    deadline: int
    chain: int
    registry: str

    def own_call(self) -> Call:
        """Return the call of a publisher that sends the mint without a signature."""
        return mint_call(self.kind, self.commitment, self.links)

    def relay_call(self, signature: bytes) -> Call:
        """Return the call with which anybody can send the signed mint."""
        commitment, links = self.commitment.encoded(), _encoded(self.links)
        arguments = (self.publisher, commitment, links, self.deadline, signature)
        return Call(f"{_method(self.kind)}For", arguments)

    def typed_data(self) -> dict[str, Any]:
        """Return the EIP-712 typed data for a wallet's eth_signTypedData_v4."""
        primary = _PRIMARY[self.kind]
        root, size, scheme, digest = self.commitment.encoded()
        types = {"EIP712Domain": _DOMAIN, primary: _MINT, "Commitment": _COMMITMENT, "Link": _LINK}
        return {
            "types": {name: _fields(fields) for name, fields in types.items()},
            "primaryType": primary,
            "domain": {
                "name": "Alithis",
                "version": "1",
                "chainId": self.chain,
                "verifyingContract": self.registry,
            },
            "message": {
                "publisher": self.publisher,
                "commitment": {
                    "root": f"0x{root.hex()}",
                    "size": size,
                    "scheme": scheme,
                    "metadataDigest": f"0x{digest.hex()}",
                },
                "links": [dict(zip(_LINK, link, strict=True)) for link in _encoded(self.links)],
                "nonce": self.nonce,
                "deadline": self.deadline,
            },
        }

    @classmethod
    def of(cls, typed_data: Mapping[str, Any], where: str) -> Self:
        """Read untrusted typed data.

        A request is made of its values, and that request's typed data must equal the given data.
        Otherwise the given data has other types or more fields than a mint, and a wallet would have
        signed something else than what is shown here.

        Args:
            typed_data: the parsed JSON.
            where: the file's name, for errors.

        Raises:
            FormatError: it is not exactly the typed data of a mint.
        """
        try:
            request = cls._of(typed_data)
            same = request.typed_data() == typed_data
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise FormatError(
                f"{where}: the typed data is not a mint for an Alithis registry"
            ) from error
        if not same:
            raise FormatError(f"{where}: the typed data has other types or fields than a mint")
        return request

    @classmethod
    def _of(cls, typed_data: Mapping[str, Any]) -> Self:
        from eth_utils.address import to_checksum_address

        (kind,) = (kind for kind, name in _PRIMARY.items() if name == typed_data["primaryType"])
        domain, message = typed_data["domain"], typed_data["message"]
        committed = message["commitment"]
        return cls(
            kind=kind,
            publisher=to_checksum_address(message["publisher"]),
            commitment=Commitment(
                root=_bytes32(committed["root"]),
                size=_number(committed["size"], 64),
                scheme=list(Scheme)[_number(committed["scheme"], 8)],
                metadata_digest=_bytes32(committed["metadataDigest"]),
            ),
            links=tuple(
                Link(_number(link["target"]), list(Relation)[_number(link["relation"], 8)])
                for link in message["links"]
            ),
            nonce=_number(message["nonce"]),
            deadline=_number(message["deadline"]),
            chain=_number(domain["chainId"]),
            registry=to_checksum_address(domain["verifyingContract"]),
        )

    def check(self, registry: Registry, now: int) -> None:
        """Check what the contract will check, to explain a refusal in plain words.

        Args:
            registry: the registry that it will be sent to.
            now: time of the chain's last block, in seconds since 1970.

        Raises:
            MintError: it is for another registry, its nonce is not the next one, or it has expired.
        """
        if (self.chain, self.registry) != (registry.chain_id, registry.address):
            raise MintError(
                f"signed for registry {self.registry} on chain {self.chain}, "
                f"not for {registry.address} on {registry.chain_id}"
            )
        nonce = registry.nonce(self.publisher)
        if self.nonce != nonce:
            when = "was already used" if self.nonce < nonce else "cannot be used yet"
            raise MintError(
                f"nonce {self.nonce} of {self.publisher} {when}: the next nonce is {nonce}"
            )
        if self.deadline < now:
            raise MintError("the signature has expired: ask the publisher to sign again")


def _fields(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields.items()]


def _number(value: Any, bits: int = 256) -> int:
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError(value)
    return value


def _bytes32(text: str) -> bytes:
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != WORD:
        raise ValueError(text)
    return data


def dump(request: MintRequest, signature: bytes | None) -> bytes:
    """Return the content of a mint's file, with or without a signature."""
    document = {
        "alithis": "mint",
        "version": VERSION,
        "typedData": request.typed_data(),
        "signature": f"0x{signature.hex()}" if signature else None,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def load(data: bytes, where: str) -> tuple[MintRequest, bytes | None]:
    """Read an untrusted file with a mint.

    Args:
        data: the file's content.
        where: its name, for errors.

    Returns:
        The mint and its signature, if it has one. The signature is not checked here.

    Raises:
        FormatError: it is not such a file.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{where}: has more than {MAX_BYTES} bytes")
    document = parse(data, where)
    version = document.get("version")
    if document.get("alithis") != "mint" or type(version) is not int or version != VERSION:
        raise FormatError(f"{where}: is not a signed mint of format version {VERSION}")
    typed, signature = document.get("typedData"), document.get("signature")
    if not isinstance(typed, dict):
        raise FormatError(f"{where}: typedData is not an object")
    return MintRequest.of(typed, where), None if signature is None else parse_signature(signature)


def parse_signature(text: Any) -> bytes:
    """Read a signature: 0x and hexadecimal digits.

    Raises:
        FormatError: it is not a signature.
    """
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError):
        data = b""
    if not 0 < len(data) <= MAX_SIGNATURE:
        raise FormatError(f"the signature must be 0x and 1 to {MAX_SIGNATURE} bytes in hexadecimal")
    return data


# -- Checks before sending -----------------------------------------------------------------------


class Message(NamedTuple):
    """A transaction for a node to simulate.

    It contains no gas price: with one, a node would refuse a sender with too low a balance before
    the contract could report other problems. `check_balance` checks the balance.

    Attributes:
        sender: the sender's address.
        data: the encoded call, or the contract's creation code.
        to: the contract's address; None to create a contract.
    """

    sender: str
    data: bytes
    to: str | None

    def as_json(self) -> dict[str, str]:
        """Return the transaction object for eth_call and eth_estimateGas."""
        to = {"to": self.to} if self.to else {}
        return {"from": self.sender, "data": f"0x{self.data.hex()}", **to}


def rehearse(transport: Transport, message: Message) -> None:
    """Simulate a transaction on the node; nothing is changed on the chain.

    Raises:
        RefusedError: the contract refuses it.
        TransportError: it fails for another reason, or the node gives no usable answer.
    """
    _ask(transport, "eth_call", message, "latest")


def estimate_gas(transport: Transport, message: Message) -> int:
    """Ask the node how much gas a transaction needs.

    Raises:
        RefusedError: the contract refuses it.
        TransportError: it fails for another reason, or the node gives no usable answer.
    """
    return parse_quantity(_ask(transport, "eth_estimateGas", message), "eth_estimateGas")


def _ask(transport: Transport, method: str, message: Message, *block: str) -> Any:
    try:
        return transport.request(method, [message.as_json(), *block])
    except RpcError as error:
        refusal = interface().refusal(error.data)
        if refusal is None:
            raise
        raise RefusedError(refusal, code=error.code, data=error.data) from error


def highest_fee(gas: int, max_fee: int, max_priority_fee: int) -> int:
    """Return the most that a transaction can cost, in attoFIL.

    Args:
        gas: its gas limit.
        max_fee: the maximum price of a unit of gas, in attoFIL.
        max_priority_fee: the part of that price that may go to the block's producer.

    Raises:
        TransportError: the node suggested negative fees.
    """
    if min(max_fee, max_priority_fee) < 0:
        raise TransportError("the node suggested negative fees: use another RPC endpoint")
    return gas * max_fee


def check_balance(account: str, balance: int, fee: int, network: str, chain: int) -> None:
    """Check that an account can pay.

    Args:
        account: its address.
        balance: its balance in attoFIL.
        fee: the most that the transaction can cost, in attoFIL; 0 if that is not known yet.
        network: the network's name.
        chain: the chain's id.

    Raises:
        MintError: the balance is zero, or less than the fee.
    """
    if balance == 0:
        raise MintError(f"{account} has no FIL on {network}: send it some first")
    if fee > balance:
        raise MintError(
            f"{account} has {format_fil(balance, chain)} on {network}, but the transaction may "
            f"cost {format_fil(fee, chain)}: send it more"
        )
