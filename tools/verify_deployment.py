"""Checks that a registry on a chain was created from this source, and from nothing else.

The contract's constructor takes no arguments, so that the transaction that created it must carry
exactly the creation code of ``alithis/chain/contract/Alithis.json``; what then stands at the
address is what the chain made of it. That this file is a compile of ``contracts/`` is checked by
``tools/export_contract.py --check``.

Usage: python tools/verify_deployment.py RPC_URL TRANSACTION
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from alithis.chain.contract import artifact
from alithis.chain.rpc import HttpTransport
from alithis.errors import AlithisError


class NotThisSourceError(Exception):
    """The transaction did not create a registry from this source; the message says why."""


def created_registry(transaction: Mapping[str, Any], receipt: Mapping[str, Any]) -> str:
    """The address of the registry that a transaction created.

    Args:
        transaction: What eth_getTransactionByHash returns.
        receipt: What eth_getTransactionReceipt returns.

    Raises:
        NotThisSourceError: It created none, or one of another code.
    """
    if transaction.get("to") is not None:
        raise NotThisSourceError(f"it calls {transaction['to']}, and creates no contract itself")
    sent = str(transaction.get("input", "")).lower()
    if sent != artifact()["bytecode"].lower():
        raise NotThisSourceError(
            f"its creation code has {len(sent) // 2 - 1} bytes that are not the "
            f"{len(artifact()['bytecode']) // 2 - 1} of this source's"
        )
    if receipt.get("status") != "0x1" or not receipt.get("contractAddress"):
        raise NotThisSourceError("it failed")
    return str(receipt["contractAddress"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the registry's address, or why it is none of this source."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="JSON-RPC endpoint of the chain")
    parser.add_argument("transaction", help="hash of the transaction that created the registry")
    options = parser.parse_args(arguments)
    try:
        print(_verify(HttpTransport(options.url), options.transaction))
    except (AlithisError, NotThisSourceError) as error:
        print(f"{options.transaction}: {error}", file=sys.stderr)
        return 1
    return 0


def _verify(node: HttpTransport, name: str) -> str:
    if not re.fullmatch("0x[0-9a-fA-F]{64}", name):
        raise NotThisSourceError("is no transaction's hash: 0x and 64 hexadecimal digits")
    chain = int(node.request("eth_chainId", []), 16)
    transaction = node.request("eth_getTransactionByHash", [name])
    receipt = node.request("eth_getTransactionReceipt", [name])
    if not transaction or not receipt:
        raise NotThisSourceError(f"chain {chain} has no such transaction")
    address = created_registry(transaction, receipt)
    return f"{address} on chain {chain} was created from this source"


if __name__ == "__main__":
    sys.exit(main())
