"""A chain in Python, with the registry's model on it: what the library reads, without a chain.

It answers the requests that the library sends to a node, in JSON-RPC's types, directly
(``request``) or over HTTP (`serve_chain`). Contracts are called as Ape's are, so that a test reads
the same on this chain and on a real one::

    chain = FakeChain()
    registry = chain.deploy()
    registry.mintDataset(commitment, [], sender=chain.accounts[0])
    reader = Registry(chain, registry.address)

That the answers are the contract's own is tested in ``tests/chain/test_contract_machine.py``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_abi import decode
from eth_utils import to_checksum_address

from alithis.chain.contract import artifact
from alithis.errors import RpcError
from helpers import abi
from helpers import registry_model as model
from helpers.abi import Account, Contract, Receipt, address_of

ACCOUNTS = tuple(address_of(f"account {number}") for number in range(10))
GENESIS = 1_750_000_000
"""Seconds since 1970 at block 0; a block comes every second."""
ERC165, ERC721, ERC721_METADATA, ERC5267 = "01ffc9a7", "80ac58cd", "5b5e139f", "84b0196e"
REVERTED, UNKNOWN_METHOD = 3, -32601


# -- The chain -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A block, and the state after it: of each registry, by its address in lower case."""

    number: int
    time: int
    hash: bytes
    parent: bytes
    states: Mapping[str, model.State]
    logs: Sequence[Mapping[str, Any]] = ()
    transactions: Sequence[str] = ()


@dataclass
class FakeChain:
    """A chain that mines each transaction at once.

    Attributes:
        chain_id: the chain's id.
        accounts: who may send.
        codes: other contracts, by address in lower case: what each answers to its call data.
        uri: where it is served (`serve_chain`).
    """

    chain_id: int = 1337
    accounts: list[Account] = field(default_factory=lambda: list(ACCOUNTS))
    codes: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    uri: str = ""

    def __post_init__(self) -> None:
        self._serial = itertools.count()
        self._deployed: dict[str, int] = {}
        self._blocks = [Block(0, GENESIS, _digest("genesis"), bytes(32), {})]

    @property
    def height(self) -> int:
        """Number of the last block."""
        return self._blocks[-1].number

    def block(self, number: int) -> Block:
        """Returns a block."""
        return self._blocks[number]

    def deploy(self) -> Contract:
        """Puts a registry without tokens on the chain."""
        address = address_of(f"registry {len(self._deployed)} of chain {self.chain_id}")
        self._deployed[address.lower()] = self.height + 1
        self._append({address.lower(): model.State()})
        return Contract(self, address)

    def mine(self, count: int = 1) -> None:
        """Adds blocks without a transaction."""
        for _ in range(count):
            self._append({})

    def snapshot(self) -> int:
        """Returns a snapshot for `restore`."""
        return self.height

    def restore(self, height: int) -> None:
        """Removes the blocks above a height; later blocks replace them, as in a reorganisation."""
        del self._blocks[height + 1 :]

    def _append(
        self,
        states: Mapping[str, model.State],
        logs: Sequence[tuple[str, model.Log]] = (),
        transaction: str | None = None,
    ) -> Block:
        last = self._blocks[-1]
        number, made = last.number + 1, _digest(f"block {next(self._serial)}")
        written = [
            {
                "address": address,
                **abi.log_fields(log),
                "blockNumber": hex(number),
                "blockHash": abi.to_hex(made),
                "transactionHash": transaction,
                "transactionIndex": "0x0",
                "logIndex": hex(at),
                "removed": False,
            }
            for at, (address, log) in enumerate(logs)
        ]
        block = Block(
            number,
            last.time + 1,
            made,
            last.hash,
            {**last.states, **states},
            written,
            [transaction] * (transaction is not None),
        )
        self._blocks.append(block)
        return block

    # Transactions and calls

    def send(self, to: str, data: bytes, sender: str, *, signed: bool = False) -> Receipt:
        """Mines a transaction.

        Raises:
            RefusedError: the contract reverts.
        """
        last = self._blocks[-1]
        run = _Run(self, last, to.lower(), sender, last.time + 1, signed)
        run(data)
        transaction = abi.to_hex(_digest(f"transaction {next(self._serial)}"))
        logs = [(to.lower(), log) for log in run.logs]
        block = self._append({to.lower(): run.state}, logs, transaction)
        return Receipt(transaction, block.number, block.time)

    def read(self, to: str, data: bytes) -> bytes:
        """Returns the result of a call in the state after the last block."""
        return self.call(to, data, self._blocks[-1])

    def call(self, to: str, data: bytes, block: Block, sender: str = model.NOBODY) -> bytes:
        """Returns what a call returns.

        Raises:
            RefusedError: the contract reverts.
        """
        if to.lower() in self.codes:
            return self.codes[to.lower()](data)
        if to.lower() not in block.states:
            return b""
        return _Run(self, block, to.lower(), sender, block.time)(data)

    def deployment_block(self, address: str) -> int:
        """Returns the block in which a registry was deployed."""
        return self._deployed[address.lower()]

    # JSON-RPC

    def request(self, method: str, params: list[Any]) -> Any:
        """Returns the result of a JSON-RPC request.

        Raises:
            RpcError: the node refuses it.
        """
        answer = getattr(self, f"_{method}", None)
        if answer is None:
            raise RpcError(f"the method {method} does not exist", code=UNKNOWN_METHOD)
        return answer(*params)

    def _eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain_id)

    def _eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self.height)

    def _eth_getCode(self, address: str, block: str = "latest") -> str:  # noqa: N802
        if address.lower() in self.codes:
            return "0xfe"
        found = self._at(block)
        is_registry = found is not None and address.lower() in found.states
        return artifact()["deployedBytecode"] if is_registry else "0x"

    def _eth_call(self, call: Mapping[str, str], block: str = "latest") -> str:
        found = self._at(block)
        if found is None:
            raise RpcError("header not found", code=-32000)
        data = bytes.fromhex(call["data"].removeprefix("0x"))
        try:
            return abi.to_hex(self.call(call["to"], data, found, call.get("from", model.NOBODY)))
        except model.RefusedError as error:
            data = abi.revert_data(error)
            raise RpcError("execution reverted", code=REVERTED, data=abi.to_hex(data)) from error
        except RevertError as error:
            raise RpcError("execution reverted", code=REVERTED, data="0x") from error

    def _eth_getBlockByNumber(self, block: str, _full: bool = False) -> Any:  # noqa: N802
        found = self._at(block)
        if found is None:
            return None
        return {
            "number": hex(found.number),
            "hash": abi.to_hex(found.hash),
            "parentHash": abi.to_hex(found.parent),
            "timestamp": hex(found.time),
            "transactions": list(found.transactions),
        }

    def _eth_getLogs(self, query: Mapping[str, Any]) -> list[Any]:  # noqa: N802
        first, last = (self._number(query.get(end, "latest")) for end in ("fromBlock", "toBlock"))
        addresses = query.get("address", [])
        addresses = [addresses] if isinstance(addresses, str) else addresses
        wanted = {address.lower() for address in addresses}
        return [
            dict(log)
            for block in self._blocks[first : last + 1]
            for log in block.logs
            if log["address"] in wanted and _matches(log["topics"], query.get("topics", []))
        ]

    def _number(self, block: str) -> int:
        names = {"latest": self.height, "earliest": 0}
        return names[block] if block in names else int(block, 16)

    def _at(self, block: str) -> Block | None:
        number = self._number(block)
        return self._blocks[number] if number <= self.height else None


class RevertError(Exception):
    """A call that reverts without a reason."""


def reverting(_: bytes) -> bytes:
    """A contract without functions (`FakeChain.codes`)."""
    raise RevertError


class _Run:
    """Call data that is carried out on a registry; `state` and `logs` are what it leaves."""

    def __init__(
        self,
        chain: FakeChain,
        block: Block,
        address: str,
        sender: str,
        time: int,
        signed: bool = False,
    ) -> None:
        self.chain, self.address, self.sender = chain, address, sender
        self.time, self.signed = time, signed
        self.state = block.states[address]
        self.logs: list[model.Log] = []

    def __call__(self, data: bytes) -> bytes:
        function = abi.by_selector().get(data[:4])
        if function is None:
            raise RevertError
        try:
            args = decode(function.types("inputs"), data[4:])
        except Exception as error:  # eth-abi raises more than it documents
            raise RevertError from error
        return function.encode_output(self.run(function.name, _plain(args)))

    def run(self, name: str, args: list[Any]) -> Any:
        if name == "multicall":
            return [self(data) for data in args[0]]
        if name == "deploymentBlock":
            return self.chain.deployment_block(self.address)
        if name == "supportsInterface":
            own = artifact()["interfaceId"].removeprefix("0x")
            return args[0].hex() in (own, ERC165, ERC721, ERC721_METADATA, ERC5267)
        options = {"sender": self.sender, "time": self.time, "signed": self.signed}
        outcome = model.call(self.state, name, args, **options)
        self.state = outcome.state
        self.logs += outcome.logs
        return outcome.value


def _plain(value: Any) -> Any:
    """Gives decoded values the model's types: lists for arrays, checksummed addresses."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, str) and value[:2] == "0x" and len(value) == 42:
        return to_checksum_address(value)
    return value


def _matches(found: Sequence[str], asked: Sequence[Any]) -> bool:
    """Returns whether a log's topics match a query."""
    if len(found) < len(asked):
        return False
    return all(
        want is None or topic in ([want] if isinstance(want, str) else want)
        for topic, want in zip(found, asked, strict=False)
    )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


# -- Over HTTP -------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet
    chain: FakeChain
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        try:
            with self.lock:
                answer["result"] = self.chain.request(body["method"], body["params"])
        except RpcError as error:
            said = {"code": error.code, "message": str(error), "data": error.data}
            answer["error"] = {name: value for name, value in said.items() if value is not None}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serve_chain(chain: FakeChain) -> Iterator[FakeChain]:
    """Serves a chain on a local port, for the ``with`` block."""

    class Own(_Handler):
        pass

    Own.chain, Own.lock = chain, threading.Lock()
    with _Server(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            chain.uri = f"http://127.0.0.1:{server.server_address[1]}"
            yield chain
        finally:
            server.shutdown()
            thread.join()
