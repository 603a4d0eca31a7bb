"""Signing a mint as a wallet does: EIP-712 typed data, hashed by eth-account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ape
from ape.api import AccountAPI
from ape.contracts import ContractInstance
from eth_account.messages import SignableMessage, encode_typed_data

from helpers.registry_model import Kind

FOREVER = 2**256 - 1
FIELDS = {
    "EIP712Domain": {
        "name": "string",
        "version": "string",
        "chainId": "uint256",
        "verifyingContract": "address",
    },
    "Commitment": {
        "root": "bytes32",
        "size": "uint64",
        "scheme": "uint8",
        "metadataDigest": "bytes32",
    },
    "Link": {"target": "uint256", "relation": "uint8"},
}
MINT_FIELDS = {
    "publisher": "address",
    "commitment": "Commitment",
    "links": "Link[]",
    "nonce": "uint256",
    "deadline": "uint256",
}
PRIMARY = {Kind.DATASET: "MintDataset", Kind.MODEL: "MintModel"}


def domain(registry: ContractInstance, **changes: Any) -> dict[str, Any]:
    """The registry's EIP-712 domain, with changes."""
    own = {
        "name": "Alithis",
        "version": "1",
        "chainId": ape.networks.provider.chain_id,
        "verifyingContract": str(registry.address),
    }
    return own | changes


def message(
    kind: Kind,
    publisher: str,
    commitment: tuple[bytes, int, int, bytes],
    links: Sequence[tuple[int, int]],
    nonce: int,
    deadline: int,
    domain: dict[str, Any],
) -> SignableMessage:
    """What a publisher signs to have a token minted."""
    types = FIELDS | {PRIMARY[kind]: MINT_FIELDS}
    return encode_typed_data(
        full_message={
            "domain": domain,
            "primaryType": PRIMARY[kind],
            "types": {
                name: [{"name": field, "type": kind} for field, kind in fields.items()]
                for name, fields in types.items()
            },
            "message": {
                "publisher": publisher,
                "commitment": dict(zip(FIELDS["Commitment"], commitment, strict=True)),
                "links": [dict(zip(FIELDS["Link"], link, strict=True)) for link in links],
                "nonce": nonce,
                "deadline": deadline,
            },
        }
    )


def sign(
    registry: ContractInstance,
    signer: AccountAPI,
    kind: Kind,
    commitment: tuple[bytes, int, int, bytes],
    links: Sequence[tuple[int, int]] = (),
    *,
    publisher: str | None = None,
    nonce: int | None = None,
    deadline: int = FOREVER,
    **changes: Any,
) -> tuple[Any, ...]:
    """The arguments of mintDatasetFor or mintModelFor, signed.

    Args:
        registry: Where it is to be minted.
        signer: Whose key signs.
        kind: Dataset or model.
        commitment: An IAlithis.Commitment.
        links: Targets and relations.
        publisher: In whose name; by default the signer's own.
        nonce: By default the publisher's next.
        deadline: Until when.
        **changes: To the domain.
    """
    name = str(publisher or signer.address)
    nonce = registry.nonces(name) if nonce is None else nonce
    signable = message(kind, name, commitment, links, nonce, deadline, domain(registry, **changes))
    signature = signer.sign_message(signable)
    return name, commitment, list(links), deadline, signature.encode_rsv()
