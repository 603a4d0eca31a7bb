"""JSON-RPC through the node that Ape is connected to."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from alithis.errors import RpcError, TransportError

if TYPE_CHECKING:
    from ape.api import ProviderAPI

_MAX_SAID = 1000  # characters of what a node says


class ProviderTransport:
    """Lets the library read the chain through a connected Ape provider.

    Args:
        provider: The provider. For Ape's embedded chain (py-evm behind eth-tester), requests and
            results are converted to the types that a node uses.
    """

    def __init__(self, provider: ProviderAPI) -> None:
        """Keep the provider."""
        self._provider = provider

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request as a node writes it: hexadecimal and plain types.

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
            raise TransportError(f"{method}: the node's answer has neither a result nor an error")
        if refused := response.get("error"):
            raise _rpc_error(refused)
        return response["result"]


def transport() -> ProviderTransport:
    """Return JSON-RPC through Ape's active provider."""
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


# -- The embedded chain, which takes and returns Python values ----------------------------------


def _request_embedded(tester: Any, method: str, params: list[Any]) -> Any:
    """Send a request to eth-tester as if it were a node."""
    from eth_tester.exceptions import BlockNotFound, TransactionFailed
    from eth_tester.exceptions import ValidationError as RequestError
    from eth_utils.exceptions import ValidationError
    from web3.providers.eth_tester import middleware

    namespace, _, name = method.partition("_")
    endpoint = tester.api_endpoints.get(namespace, {}).get(name)
    if endpoint is None:
        raise RpcError(f"the method {method} does not exist", code=-32601)
    if prepare := _PREPARE.get(method):
        params = prepare(tester.ethereum_tester, params)
    # web3 types the keys as RPCEndpoint, but they are plain method names.
    request_formatters: Any = middleware.request_formatters
    result_formatters: Any = middleware.result_formatters
    try:
        result = endpoint(tester.ethereum_tester, request_formatters.get(method, list)(params))
    except TransactionFailed as error:
        raise _revert(str(error)) from error
    except (BlockNotFound, RequestError, ValidationError, NotImplementedError) as error:
        raise RpcError(f"{method}: {error or 'not implemented'}", code=-32000) from error
    remap = result_formatters.get(method)
    return _plain(remap(result) if remap else result)


def _fill_call(tester: Any, params: list[Any]) -> list[Any]:
    """Fill in a sender that can pay for the block's whole gas limit, and the block's base fee."""
    call, block = params[0], params[1] if len(params) > 1 else "latest"
    header = tester.get_block_by_number(_block_number(tester, block))
    filled = {
        "from": tester.get_accounts()[0],
        "maxFeePerGas": hex(header["base_fee_per_gas"]),
        "maxPriorityFeePerGas": "0x0",
    }
    return [{**filled, **call}, block, *params[2:]]


def _fill_filter(tester: Any, params: list[Any]) -> list[Any]:
    """Name blocks by number: eth-tester reads "latest" as every block and "earliest" as none."""
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
    """Convert eth-tester's revert: it gives the repr of the data, or the text of a string."""
    if text[:2] not in ("b'", 'b"'):
        return RpcError(f"execution reverted: {text}", code=3)
    data: bytes = ast.literal_eval(text)
    return RpcError("execution reverted", code=3, data=f"0x{data.hex()}")


def _plain(value: Any) -> Any:
    """Return a result in JSON-RPC's encoding: quantities and data as lower-case 0x hex."""
    if isinstance(value, Mapping):
        fields = dict(value)
        if fields.get("type") == "mined":  # a log; a node writes "removed": false instead
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
