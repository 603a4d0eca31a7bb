"""What the scripts share: who signs, which registry, and how the chain is read.

Ape runs the top level of every script on each ``ape run``, so that nothing here imports Ape or
the library until it is called.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from ape.cli import ConnectedProviderCommand

from alithis.errors import AlithisError, TransportError

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ProviderAPI
    from ape.contracts import ContractContainer, ContractInstance

    from alithis.registry import RpcError

TEST_ACCOUNT = "TEST::"

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


class ScriptCommand(ConnectedProviderCommand):
    """A command with a connected network, whose foreseeable failures are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the script; anything that Ape, the node or the library refuses is one line."""
        import requests
        from ape.exceptions import ApeException
        from web3.exceptions import Web3Exception

        try:
            return super().invoke(ctx)
        except (AlithisError, ApeException, Web3Exception, requests.RequestException) as error:
            raise ScriptError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def container() -> ContractContainer:
    """The registry's contract, as exported into the library: no compiler is needed."""
    from ape.contracts import ContractContainer
    from ethpm_types import ContractType

    from alithis.contract import artifact

    exported = artifact()
    fields = {
        "contractName": exported["contractName"],
        "abi": exported["abi"],
        "deploymentBytecode": {"bytecode": exported["bytecode"]},
        "runtimeBytecode": {"bytecode": exported["deployedBytecode"]},
    }
    return ContractContainer(ContractType.model_validate(fields))


# -- Who signs ---------------------------------------------------------------------------------


def signer(alias: str | None, network: NetworkAPI) -> AccountAPI:
    """The account that signs, unlocked and ready to sign without a further question.

    Args:
        alias: An Ape account's alias, ``TEST::<index>``, or None: then the first test account on
            a local chain, and on a live one whatever the user picks on the terminal.
        network: The connected network.

    Raises:
        ScriptError: No account was named and nobody can be asked, or there is no such account.
    """
    from ape import accounts

    if alias is None and network.is_dev:
        return accounts.test_accounts[0]
    if alias is not None and alias.upper().startswith(TEST_ACCOUNT):
        return _test_account(alias, network)
    account = _pick_account(network) if alias is None else _load_account(alias)
    if hasattr(account, "set_autosign"):
        _unlock(account)
    return account


def _test_account(alias: str, network: NetworkAPI) -> AccountAPI:
    from ape import accounts

    if not network.is_dev:
        raise ScriptError(f"{alias} has a public key: anyone can empty it on {network.choice}")
    index = alias[len(TEST_ACCOUNT) :]
    if not index.isdecimal() or int(index) >= len(accounts.test_accounts):
        last = len(accounts.test_accounts) - 1
        raise ScriptError(f"there is no account {alias}: they are TEST::0 to TEST::{last}")
    return accounts.test_accounts[int(index)]


def _pick_account(network: NetworkAPI) -> AccountAPI:
    from ape import accounts
    from ape.cli import select_account

    if not list(accounts.aliases):
        raise ScriptError("Ape knows no account: make one with 'ape accounts generate ALIAS'")
    if not sys.stdin.isatty():
        raise ScriptError(f"who signs on {network.choice}? Give --account or set ALITHIS_ACCOUNT")
    return select_account("Account that signs", key=lambda account: hasattr(account, "alias"))


def _load_account(alias: str) -> AccountAPI:
    from ape import accounts

    known = list(accounts.aliases)
    if alias not in known:
        hint = f"Ape knows {', '.join(known)}" if known else "'ape accounts generate' makes one"
        raise ScriptError(f"there is no account '{alias}': {hint}")
    return accounts.load(alias)


def _unlock(account: Any) -> None:
    """Asks for the passphrase, or reads APE_ACCOUNTS_<alias>_PASSPHRASE."""
    from ape.logging import LogLevel, logger

    if f"APE_ACCOUNTS_{account.alias}_PASSPHRASE" not in os.environ and not sys.stdin.isatty():
        raise ScriptError(
            f"account '{account.alias}' is locked: set APE_ACCOUNTS_{account.alias}_PASSPHRASE"
        )
    with logger.at_level(LogLevel.ERROR):  # the script asks before it sends: no need to warn
        account.set_autosign(True)


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
    from eth_utils import is_address, to_checksum_address

    if not is_address(text):
        raise ScriptError(f"'{text}' is not an address: 0x and 40 hexadecimal digits")
    if not network.provider.get_code(to_checksum_address(text)):
        raise ScriptError(f"there is no contract at {text} on {network.choice}")
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
    """JSON-RPC through a connected Ape provider: what alithis.registry reads the chain with.

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

        web3 = self._provider.web3
        if isinstance(self._provider, LocalProvider):
            return _request_embedded(web3.provider, method, params)
        try:
            response = web3.provider.make_request(method, params)
        except (requests.RequestException, OSError) as error:
            raise TransportError(f"{method}: no usable answer from the node: {error}") from error
        if error := response.get("error"):
            raise _rpc_error(error)
        return response["result"]


def transport() -> ProviderTransport:
    """JSON-RPC through Ape's active provider."""
    from ape import networks

    return ProviderTransport(networks.provider)


def _rpc_error(error: Mapping[str, Any]) -> RpcError:
    from alithis.registry import RpcError

    data = error.get("data")
    is_hex = isinstance(data, str) and data.startswith("0x")
    message = str(error.get("message", "the node gives no reason"))
    return RpcError(message, code=int(error.get("code", -32603)), data=data if is_hex else None)


# -- … of the embedded chain, which takes and gives Python values -------------------------------


def _request_embedded(tester: Any, method: str, params: list[Any]) -> Any:
    """Asks eth-tester as if it were a node."""
    from eth_tester.exceptions import BlockNotFound, TransactionFailed
    from eth_tester.exceptions import ValidationError as RequestError
    from eth_utils.exceptions import ValidationError
    from web3.providers.eth_tester.middleware import request_formatters, result_formatters

    from alithis.registry import RpcError

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
    from alithis.registry import RpcError

    if text[:2] not in ("b'", 'b"'):
        return RpcError(f"execution reverted: {text}", code=3)
    data: bytes = ast.literal_eval(text)
    return RpcError("execution reverted", code=3, data=f"0x{data.hex()}")


def _plain(value: Any) -> Any:
    """A result in JSON-RPC's encoding: quantities and data as 0x-prefixed, lower-case hex."""
    if isinstance(value, Mapping):
        return {name: _plain_field(name, field) for name, field in value.items()}
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
