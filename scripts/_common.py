"""What the scripts share: who signs, which registry, and how the chain is read.

Ape runs the top level of every script on each ``ape run``: what takes time to import is imported
where it is used.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import click
from ape.cli import ConnectedProviderCommand

from alithis.base.text import printable
from alithis.errors import AlithisError, RpcError, TransportError

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ProviderAPI, ReceiptAPI, TransactionAPI
    from ape.contracts import ContractContainer, ContractInstance
    from ape.contracts.base import ContractEvent, ContractMethodHandler

MAINNET = 314
CALIBRATION = 314159
TEST_ACCOUNT = "TEST::"

_MAX_SAID = 1000  # characters of what others say
# What comes up where Ape or web3 takes a node's answer apart: they trust it blindly.
_UNUSABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_LOG_LEVELS = ("debug", "info", "success", "warning", "error")
_SAID_BETTER = {
    "Missing URI": "no public endpoint of the network answers: name one, as in "
    "--network filecoin:calibration:https://…, or set WEB3_PROVIDER_URI",
}

account_option = click.option(
    "--account",
    "alias",
    envvar="ALITHIS_ACCOUNT",
    show_envvar=True,
    help="Alias of the Ape account that signs ('ape accounts list'), or TEST::0 on a local chain.",
)
registry_option = click.option(
    "--registry",
    "address",
    envvar="ALITHIS_REGISTRY",
    show_envvar=True,
    help="Address of the registry.  [default: the one last deployed on the network]",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before sending.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")


class ScriptError(click.ClickException):
    """One clear line, and exit status 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """Makes what others wrote fit for a terminal."""
        super().__init__(printable(" ".join(message.splitlines())))


class ScriptCommand(ConnectedProviderCommand):
    """A command with a connected network, whose foreseeable failures are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the script; anything that Ape, the node or the library refuses is one line."""
        import requests
        from ape.exceptions import ApeException
        from web3.exceptions import Web3Exception

        _log_to_stderr()
        try:
            return super().invoke(ctx)
        except (AlithisError, ApeException, Web3Exception, requests.RequestException) as error:
            raise ScriptError(_one_line(error)) from error
        except _UNUSABLE as error:
            if not _is_of_node(error):
                raise
            raise ScriptError(_said_by_node(error)) from error


def _is_of_node(error: Exception) -> bool:
    """Whether it came up where a node's answer is taken apart."""
    frames = walk_tb(error.__traceback__)
    names = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    ours = max(at for at, name in enumerate(names) if name in ("scripts", __name__.split(".")[0]))
    return not {"web3", "ape_ethereum", "ape_node", "ape_foundry"}.isdisjoint(names[ours:])


def _log_to_stderr() -> None:
    """What Ape logs is not the script's output."""
    for handler in logging.getLogger("ape").handlers:
        if isinstance(getattr(handler, "echo_kwargs", None), dict):
            handler.echo_kwargs = {level: {"err": True} for level in _LOG_LEVELS}


def _one_line(error: Exception) -> str:
    from ape.exceptions import CustomError

    if isinstance(error, CustomError):
        return f"the contract refuses: {error.name}({_words(error.inputs)})"
    text = " ".join(str(error)[:_MAX_SAID].split()) or type(error).__name__
    return _SAID_BETTER.get(text.partition(" for ")[0], text)


def _said_by_node(error: Exception) -> str:
    if not isinstance(error, _UNUSABLE):
        return _one_line(error)
    return f"the node answers what cannot be used: {type(error).__name__}: {_one_line(error)}"


def _words(inputs: Mapping[str, Any]) -> str:
    """A contract error's values, its enums in words."""
    from alithis.manifest.terms import ClaimStatus, Kind, Relation

    enums = {"kind": Kind, "targetKind": Kind, "relation": Relation}
    enums |= {"status": ClaimStatus, "answer": ClaimStatus}
    words = {
        name: list(enums[name])[value]
        for name, value in inputs.items()
        if name in enums and value < len(enums[name])
    }
    hexes = {name: value.hex() for name, value in inputs.items() if isinstance(value, bytes)}
    return ", ".join(f"{name}={value}" for name, value in (inputs | words | hexes).items())


def say(text: str, *, err: bool = False) -> None:
    """Prints text that may hold what others wrote."""
    click.echo(printable(text), err=err)


def container() -> ContractContainer:
    """The registry's contract, as exported into the library: no compiler is needed."""
    from ape.contracts import ContractContainer
    from ethpm_types import ContractType

    from alithis.chain.contract import artifact

    exported = artifact()
    fields = {
        "contractName": exported["contractName"],
        "abi": exported["abi"],
        "deploymentBytecode": {"bytecode": exported["bytecode"]},
        "runtimeBytecode": {"bytecode": exported["deployedBytecode"]},
    }
    return ContractContainer(ContractType.model_validate(fields))


# -- Who signs ---------------------------------------------------------------------------------


def signer(alias: str | None, network: NetworkAPI, chain: int | None = None) -> AccountAPI:
    """The account that signs, unlocked and ready to sign without a further question.

    Args:
        alias: An Ape account's alias, ``TEST::<index>``, or None: then the first test account on
            a local chain, and on a live one whatever the user picks on the terminal.
        network: The connected network.
        chain: Id of the chain that the signature is for; None for the connected one's.

    Raises:
        ScriptError: No account was named and nobody can be asked, there is no such account, it
            cannot be unlocked, or its key is public and the network live.
    """
    from ape import accounts

    is_here = chain in (None, network.provider.chain_id)
    is_live = not (network.is_dev and is_here)  # nothing says that another chain is a local one
    where = network.choice if is_here else f"chain {chain}"
    if alias is None and not is_live:
        return accounts.test_accounts[0]
    account = _load_account(alias) if alias is not None else _pick_account(where)
    public = {known.address for known in accounts.test_accounts}
    if is_live and account.address in public:
        raise ScriptError(
            f"{alias or account.address} has a public key: anyone can empty it on {where}"
        )
    if hasattr(account, "set_autosign"):
        _unlock(account)
    return account


def _pick_account(where: str) -> AccountAPI:
    from ape import accounts
    from ape.api import TestAccountAPI
    from ape.cli import select_account

    if not list(accounts.aliases):
        raise ScriptError("Ape knows no account: make one with 'ape accounts generate ALIAS'")
    if not sys.stdin.isatty():
        raise ScriptError(f"who signs on {where}? Give --account or set ALITHIS_ACCOUNT")
    return select_account("Who signs", key=lambda account: not isinstance(account, TestAccountAPI))


def _load_account(alias: str) -> AccountAPI:
    from ape import accounts

    if alias.upper().startswith(TEST_ACCOUNT):
        return _test_account(alias)
    known = list(accounts.aliases)
    if alias not in known:
        hint = f"Ape knows {', '.join(known)}" if known else "'ape accounts generate' makes one"
        raise ScriptError(f"there is no account '{alias}': {hint}")
    return accounts.load(alias)


def _test_account(alias: str) -> AccountAPI:
    from ape import accounts

    index = alias[len(TEST_ACCOUNT) :]
    last = len(accounts.test_accounts) - 1
    if not index.isdecimal() or int(index) > last:
        raise ScriptError(f"there is no account {alias}: they are TEST::0 to TEST::{last}")
    return accounts.test_accounts[int(index)]


def _unlock(account: Any) -> None:
    """Asks for the passphrase, or reads APE_ACCOUNTS_<alias>_PASSPHRASE."""
    from ape.logging import LogLevel, logger
    from ape_accounts.accounts import InvalidPasswordError

    variable = f"APE_ACCOUNTS_{account.alias}_PASSPHRASE"
    if variable not in os.environ and not sys.stdin.isatty():
        raise ScriptError(f"account '{account.alias}' is locked: set {variable}")
    try:
        with logger.at_level(LogLevel.ERROR):  # the script asks before it sends: no need to warn
            account.set_autosign(True)
    except InvalidPasswordError:
        raise ScriptError(f"that is not the passphrase of account '{account.alias}'") from None


# -- What it costs -----------------------------------------------------------------------------


def unsent(
    method: ContractMethodHandler, *arguments: Any, sender: AccountAPI | str
) -> TransactionAPI:
    """A call of a contract's method as a transaction, its gas and fees left to `approve`.

    Ape's own ``as_transaction`` asks the node for them at once, which then minds the balance.
    """
    from ape.contracts.base import ContractTransaction

    (abi,) = method.abis
    call = ContractTransaction(abi, method.contract.address)
    return call.serialize_transaction(*arguments, sender=sender)


def approve(transaction: TransactionAPI, account: AccountAPI, action: str, *, yes: bool) -> None:
    """On a live network, says what a transaction may cost, and asks; on a local chain, nothing.

    Sets the transaction's gas and fees, so that it costs no more than was said.

    Args:
        transaction: As a contract's method or constructor makes it.
        account: Who signs and pays.
        action: What it does, as in "deploy a registry".
        yes: Whether not to ask.

    Raises:
        ScriptError: The account cannot pay, the transaction would fail, or nobody can be asked.
        click.Abort: The user thinks better of it.
    """
    provider = account.provider
    if provider.network.is_dev:
        return
    held = transport().request("eth_getBalance", [account.address, "latest"])
    balance = _quantity("eth_getBalance", held)
    fee = _price(transaction, account, balance)
    rows = {
        "network": f"{provider.network.choice}, chain {provider.chain_id}, {_host(provider)}",
        "account": f"{account.alias or ''} {account.address}".strip(),
        "balance": format_fil(balance, provider.chain_id),
        "gas": f"{transaction.gas_limit:,}",
        "fee": f"at most {format_fil(fee, provider.chain_id)}",
    }
    click.echo(f"About to {action}:", err=True)
    for name, value in rows.items():
        click.echo(f"  {name:<9}{value}", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise ScriptError(f"nobody can be asked whether to {action}: --yes does it unasked")
    click.confirm("Go on?", abort=True, err=True)


def submit(transaction: TransactionAPI, account: AccountAPI) -> ReceiptAPI:
    """Signs and sends a transaction, and waits for it.

    Raises:
        ScriptError: It failed, or the node fell silent or talked nonsense once it was signed: it
            names the transaction.
        ApeException: It was refused before it was signed.
    """
    import requests
    from ape.exceptions import ProviderError, TransactionError
    from web3.exceptions import Web3Exception

    try:
        receipt = account.call(transaction)
    except TransactionError as error:
        if transaction.signature is None:
            raise
        said = f"{_one_line(error)} (transaction {_hash(transaction)})"
        raise ScriptError(said) from error
    except (ProviderError, requests.RequestException, Web3Exception, *_UNUSABLE) as error:
        if transaction.signature is None:
            raise
        raise _uncertain(_said_by_node(error), transaction) from error
    if receipt.txn_hash != _hash(transaction):
        raise _uncertain("the node answers with another transaction's receipt", transaction)
    return receipt


def _uncertain(said: str, transaction: TransactionAPI) -> ScriptError:
    return ScriptError(
        f"{said}; transaction {_hash(transaction)} may have been sent "
        "all the same: look it up before you send another"
    )


def number_in(receipt: ReceiptAPI, event: ContractEvent, argument: str) -> int:
    """A number that the one event of a transaction tells, such as the new token's.

    Raises:
        ScriptError: The node's receipt does not tell it.
    """
    with naming(receipt):
        (found,) = receipt.events.filter(event)
        number = found.event_arguments[argument]
        if not isinstance(number, int):
            raise TypeError(f"{event.name}.{argument} is no number")
    return int(number)


@contextmanager
def naming(receipt: ReceiptAPI) -> Iterator[None]:
    """Whatever the node answers to what is asked after a transaction must not hide it.

    Raises:
        ScriptError: It answers with an error, or what cannot be used.
    """
    import requests
    from ape.exceptions import ApeException
    from web3.exceptions import Web3Exception

    foreseen = (AlithisError, ApeException, Web3Exception, requests.RequestException)
    try:
        yield
    except (*foreseen, *_UNUSABLE) as error:
        raise ScriptError(
            f"{_said_by_node(error)}; transaction {receipt.txn_hash} is done all the same: "
            "look it up before you send another"
        ) from error


def _hash(transaction: TransactionAPI) -> str:
    from eth_utils import to_hex

    return to_hex(transaction.txn_hash)


def _price(transaction: TransactionAPI, account: AccountAPI, balance: int) -> int:
    """Sets gas and fees; returns the most that it can cost, in attoFIL."""
    provider = account.provider
    name = provider.network.choice
    if balance == 0:
        raise ScriptError(f"{account.address} holds nothing on {name}: send it some FIL first")
    gas = _ask("eth_estimateGas", transaction, account.address)
    transaction.gas_limit = _quantity("eth_estimateGas", gas)
    provider.prepare_transaction(transaction)
    if min(transaction.max_fee, transaction.max_priority_fee) < 0:
        raise ScriptError("the node answers what cannot be used: fees below zero")
    fee = transaction.gas_limit * transaction.max_fee
    if fee > balance:
        raise ScriptError(
            f"{account.address} holds {format_fil(balance, provider.chain_id)} on {name}, "
            f"and it may cost {format_fil(fee, provider.chain_id)}"
        )
    return int(fee)


def _quantity(method: str, value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch("0x[0-9a-fA-F]{1,64}", value):
        raise TransportError(f"{method}: the node answers what cannot be used: {value!r:.80}")
    return int(value, 16)


def rehearse(transaction: TransactionAPI, sender: str) -> None:
    """Has the node carry a transaction out without keeping what it does.

    Raises:
        CustomError: The contract refuses it.
        RpcError: It fails otherwise.
    """
    _ask("eth_call", transaction, sender, "latest")


def _ask(method: str, transaction: TransactionAPI, sender: str, *block: str) -> Any:
    # Without a price in it, the node does not mind the balance: `_price` compares that.
    call = {"from": sender, "data": f"0x{bytes(transaction.data).hex()}"}
    if transaction.receiver:
        call["to"] = str(transaction.receiver)
    try:
        return transport().request(method, [call, *block])
    except RpcError as error:
        raise _custom_error(error, transaction) or error from None


def _custom_error(error: RpcError, transaction: TransactionAPI) -> Exception | None:
    """The contract's own error, by its name and with its values, if that is what the node says."""
    from ape import networks
    from eth_pydantic_types import HexBytes

    if not (error.data and transaction.receiver):
        return None
    try:
        return networks.ecosystem.decode_custom_error(HexBytes(error.data), transaction.receiver)
    except ValueError:  # what the node says is no data of an error, or cut short
        return None


def format_fil(amount: int, chain_id: int) -> str:
    """An amount of attoFIL in FIL, or in the test network's tFIL: six places, or all it takes."""
    from decimal import Decimal

    unit = "FIL" if chain_id == MAINNET else "tFIL"
    value = Decimal(amount).scaleb(-18)
    return f"{value:,.6f} {unit}" if not 0 < amount < 10**12 else f"{value:f} {unit}"


def _host(provider: ProviderAPI) -> str:
    """The endpoint without what may be secret in its URL."""
    from urllib.parse import urlsplit

    return urlsplit(provider.connection_str or "").hostname or "a local node"


def filecoin_address(address: str, chain_id: int) -> str | None:
    """A contract's or key's address as Filecoin writes it: f410…, or t410… on a test network.

    FIP-0048: protocol 4, the Ethereum Address Manager's namespace 10, then the 20 bytes and a
    checksum over all of it, in lower-case base32.

    Args:
        address: 0x and 40 hexadecimal digits.
        chain_id: The chain's id.

    Returns:
        The address, or None where the chain is not Filecoin's.
    """
    prefix = {MAINNET: "f410f", CALIBRATION: "t410f"}.get(chain_id)
    if prefix is None:
        return None
    subaddress = bytes.fromhex(address.removeprefix("0x"))
    protocol_and_namespace = bytes([4, 10])  # 10 is its own LEB128 encoding
    checksum = hashlib.blake2b(protocol_and_namespace + subaddress, digest_size=4).digest()
    encoded = base64.b32encode(subaddress + checksum).decode("ascii")
    return prefix + encoded.rstrip("=").lower()


def explorer_link(address: str, network: NetworkAPI) -> str | None:
    """Where people look an address up, or None on a local chain or a fork."""
    site = {"mainnet": "filfox.info", "calibration": "calibration.filfox.info"}.get(network.name)
    return f"https://{site}/en/address/{address}" if site else None


# -- Which registry ----------------------------------------------------------------------------


def find_registry(
    address: str | None, network: NetworkAPI, account: AccountAPI | None = None
) -> ContractInstance:
    """The registry at ``address``, or else the one last deployed, or else a new one.

    Args:
        address: What --registry or ALITHIS_REGISTRY says.
        network: The connected network.
        account: Who deploys one where none is known, which is done on local chains only.

    Raises:
        ScriptError: There is no contract at the address, or none is known on a live network.
    """
    if address is not None:
        return container().at(_contract_address(address, network))
    for known in _remembered(network):
        if network.provider.get_code(known):
            return container().at(known)
    if network.is_dev and account is not None:
        return account.deploy(container())
    raise ScriptError(
        f"no registry is known on {network.choice}: give --registry (or ALITHIS_REGISTRY), "
        f"or deploy one with 'ape run deploy --network {network.choice}'"
    )


def _contract_address(text: str, network: NetworkAPI) -> str:
    address = checksummed(text)
    if not network.provider.get_code(address):
        raise ScriptError(f"there is no contract at {text} on {network.choice}")
    return address


def checksummed(text: str) -> str:
    """An address in the spelling that carries a checksum (ERC-55).

    Raises:
        ScriptError: It is none, or its checksum is wrong.
    """
    from eth_utils import is_address, to_checksum_address

    if not is_address(text):
        raise ScriptError(f"'{text}' is not an address: 0x and 40 hexadecimal digits")
    return to_checksum_address(text)


def _remembered(network: NetworkAPI) -> Iterator[str]:
    """Addresses of the registries that Ape saw deployed on the network, newest first.

    Ape reads what it kept of live networks only while connected to one, so that for a fork its
    file is read here.
    """
    from ape import chain
    from ape.managers._deploymentscache import Deployments

    name = container().contract_type.name or ""
    ecosystem = network.ecosystem
    live = Deployments.model_validate_file(ecosystem.data_folder / "deployments_map.json")
    networks = live.ecosystems.get(ecosystem.name, {})
    kept = networks.get(network.name.removesuffix("-fork"), {}).get(name, [])
    for deployment in reversed([*kept, *chain.contracts.deployments[name]]):
        # Ape also notes contracts that it was merely told of: those have no transaction.
        if deployment.transaction_hash:
            yield deployment.address


# -- How the chain is read ---------------------------------------------------------------------


class ProviderTransport:
    """JSON-RPC through a connected Ape provider: what alithis.chain.registry reads the chain with.

    Args:
        provider: The provider. Of Ape's embedded chain (py-evm behind eth-tester) the requests
            and results are put into a node's own shapes.
    """

    def __init__(self, provider: ProviderAPI) -> None:
        """Keeps the provider."""
        self._provider = provider

    def request(self, method: str, params: list[Any]) -> Any:
        """The result of one JSON-RPC request, as the node writes it: hexadecimal and plain types.

        Raises:
            RpcError: The node answered with an error, such as a call that reverted.
            TransportError: The node did not answer.
        """
        import requests
        from ape_test.provider import LocalProvider
        from web3.exceptions import Web3Exception

        web3 = self._provider.web3
        if isinstance(self._provider, LocalProvider):
            return _request_embedded(web3.provider, method, params)
        try:
            response = web3.provider.make_request(method, params)
        except (requests.RequestException, Web3Exception, OSError, ValueError) as error:
            said = str(error)[:_MAX_SAID]
            raise TransportError(f"{method}: no usable answer from the node: {said}") from error
        if not isinstance(response, Mapping) or not response.keys() & {"error", "result"}:
            raise TransportError(f"{method}: the node answers with neither result nor error")
        if error := response.get("error"):
            raise _rpc_error(error)
        return response["result"]


def transport() -> ProviderTransport:
    """JSON-RPC through Ape's active provider."""
    from ape import networks

    return ProviderTransport(networks.provider)


def _rpc_error(error: Any) -> RpcError:
    fields = error if isinstance(error, Mapping) else {"message": error}
    code, data = fields.get("code"), fields.get("data")
    is_hex = isinstance(data, str) and re.fullmatch("0x([0-9a-fA-F]{2})+", data)
    message = str(fields.get("message", "the node gives no reason"))
    return RpcError(
        message, code=code if type(code) is int else -32603, data=data if is_hex else None
    )


# -- … of the embedded chain, which takes and gives Python values -------------------------------


def _request_embedded(tester: Any, method: str, params: list[Any]) -> Any:
    """Asks eth-tester as if it were a node."""
    from eth_tester.exceptions import BlockNotFound, TransactionFailed
    from eth_tester.exceptions import ValidationError as RequestError
    from eth_utils.exceptions import ValidationError
    from web3.providers.eth_tester.middleware import request_formatters, result_formatters

    namespace, _, name = method.partition("_")
    endpoint = tester.api_endpoints.get(namespace, {}).get(name)
    if endpoint is None:
        raise RpcError(f"the method {method} does not exist", code=-32601)
    if prepare := _PREPARE.get(method):
        params = prepare(tester.ethereum_tester, params)
    try:
        result = endpoint(tester.ethereum_tester, request_formatters.get(method, list)(params))
    except TransactionFailed as error:
        raise _revert(str(error)) from error
    except (BlockNotFound, RequestError, ValidationError, NotImplementedError) as error:
        raise RpcError(f"{method}: {error or 'not implemented'}", code=-32000) from error
    remap = result_formatters.get(method)
    return _plain(remap(result) if remap else result)


def _fill_call(tester: Any, params: list[Any]) -> list[Any]:
    """A call from an account that can pay for all the gas there is, at the block's price."""
    call, block = params[0], params[1] if len(params) > 1 else "latest"
    header = tester.get_block_by_number(_block_number(tester, block))
    filled = {
        "from": tester.get_accounts()[0],
        "maxFeePerGas": hex(header["base_fee_per_gas"]),
        "maxPriorityFeePerGas": "0x0",
    }
    return [{**filled, **call}, block, *params[2:]]


def _fill_filter(tester: Any, params: list[Any]) -> list[Any]:
    """Blocks by number: eth-tester takes "latest" for every block, and "earliest" for none."""
    blocks = {
        end: hex(_block_number(tester, params[0].get(end, "latest")))
        for end in ("fromBlock", "toBlock")
    }
    return [{**params[0], **blocks}]


_PREPARE: dict[str, Callable[[Any, list[Any]], list[Any]]] = {
    "eth_call": _fill_call,
    "eth_estimateGas": _fill_call,
    "eth_getLogs": _fill_filter,
}


def _block_number(tester: Any, block: str) -> int:
    if block.startswith("0x"):
        return int(block, 16)
    return 0 if block == "earliest" else int(tester.get_block_by_number("latest")["number"])


def _revert(text: str) -> RpcError:
    """eth-tester states what a call reverted with by its repr, or decoded when it is a string."""
    if text[:2] not in ("b'", 'b"'):
        return RpcError(f"execution reverted: {text}", code=3)
    data: bytes = ast.literal_eval(text)
    return RpcError("execution reverted", code=3, data=f"0x{data.hex()}")


def _plain(value: Any) -> Any:
    """A result in JSON-RPC's encoding: quantities and data as 0x-prefixed, lower-case hex."""
    if isinstance(value, Mapping):
        fields = dict(value)
        if fields.get("type") == "mined":  # a log, of which a node says that it was not removed
            del fields["type"]
            fields["removed"] = False
        return {name: _plain_field(name, field) for name, field in fields.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return value.lower() if isinstance(value, str) else value


def _plain_field(name: str, value: Any) -> Any:
    if name == "logsBloom":
        return f"0x{value:0512x}"
    return None if name in ("to", "contractAddress") and not value else _plain(value)
